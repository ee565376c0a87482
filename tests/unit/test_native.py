"""The native step: what it computes, what it is taken for, and where what the compiler made is kept."""

import json
import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import models
import native
from experiments import forecast
from native import compiler
from native.compiler import NoNativeStep
from native.source import write_source
from runner import checkpoint
from runner.config import Config
from runner.machine import Machine
from runner.records import read_history
from runner.step import TrainStep, make_optimizer
from tests.helpers.cli import run_folder
from tests.helpers.native import CLASSIC, OTHER, PLAIN, agrees, make_batch, make_native, needs_compiler, row
from tests.helpers.paths import PROJECT

pytestmark = needs_compiler
ONE_THREAD = Machine(torch.device("cpu"), "fp32", 1)
SMALL = row("3k3 P", "D 9")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of these tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "cifar10-runner"


def numbers(step):
    return torch.cat([weight.detach().flatten() for weight in step.model.parameters()])


# ---- what it computes ----


@pytest.mark.parametrize(
    "spec",
    [models.find("Q1_1"), row("5k3p 6k5p P 17k2", "D 9 D"), row("6k5 3k4", "7", "Q2_x"), row("", "D 5 D D 6")],
    ids=lambda spec: f"{spec.features}|{spec.head}",
)
def test_step_is_that_of_float64(spec):
    """The models of the table have a slow test."""
    for batch in (4, 2):  # 2: the rest of an epoch
        for config in (CLASSIC, OTHER, PLAIN):
            assert agrees(spec, config, batch)


@pytest.mark.parametrize("options", [["-march=x86-64-v3"], ["-march=x86-64"]], ids=" ".join)
def test_step_is_that_of_float64_with_shorter_vectors(options):
    """Those of processors without AVX-512, and without AVX."""
    try:
        compiler.run([*compiler.find_compiler(), *compiler.FLAGS, *options, "-x", "c", "-fsyntax-only", "-"])
    except NoNativeStep as reason:
        pytest.skip(str(reason))
    assert agrees(row("5k3p 6k5 P", "7"), OTHER, 5, *options)


def test_step_repeats_bit_for_bit():
    """On other memory, too."""
    weights = []
    for _ in range(2):
        step, room = make_native(SMALL, OTHER), torch.empty(5 * 3072 + 1)
        torch.manual_seed(3)
        for number in range(5):
            images, labels = make_batch(5, number)
            moved = room[1:].view(5, 32, 32, 3).permute(0, 3, 1, 2).copy_(images)
            step(moved, labels)
        weights.append(numbers(step))
        room = torch.empty(77)
    assert torch.equal(*weights)


def test_values_are_dropped_anew_in_each_step_and_half_of_them():
    step = make_native(row("", "D"), Config("Q1_1", lr=0.001, momentum=0.0))
    images, labels = torch.ones(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64)
    seen = []
    for _ in range(2):
        before = step.model.layers[-1].weight.detach().clone()
        step(images, labels)
        seen.append(step.model.layers[-1].weight.detach()[0] == before[0])  # dropped from all four images
    assert not torch.equal(*seen)
    assert 0.02 < seen[0].float().mean() < 0.12


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "spec", [row("3k1 P", "5"), row("4k3p P 6k3p", "5"), row("4k3", "5", "Q2_x")], ids=lambda row: row.features
)
def test_number_that_is_not_finite_reaches_the_output(spec, bad):
    step = make_native(spec, CLASSIC)
    images, labels = make_batch(4)
    assert step(images, labels).isfinite().all()
    images[2, 1, 5, 5] = bad
    assert not step(images, labels)[2].isfinite().all()
    assert not numbers(step).isfinite().all()
    images[2, 1, 5, 5] = 0
    assert not step(images, labels).isfinite().all()


def test_batches_may_grow_and_images_lie_in_any_order():
    step, other = make_native(SMALL, CLASSIC), make_native(SMALL, CLASSIC)
    for size in (2, 7, 1):
        images, labels = make_batch(size)
        torch.manual_seed(size)
        logits = step(images, labels)
        torch.manual_seed(size)
        assert torch.equal(logits, other(images.contiguous(), labels))
        assert logits.shape == (size, 10)


def test_either_step_goes_on_with_the_momentum_of_the_other():
    steps = {}
    for kinds in ("native native native", "native torch native", "torch native torch"):
        step = make_native(row("3k3 P", "9"), OTHER)
        plain = TrainStep(step.model, step.optimizer, "fp32", OTHER.label_smoothing)
        for number, kind in enumerate(kinds.split()):
            (step if kind == "native" else plain)(*make_batch(4, number))
            checkpoint.load_momentum(step.optimizer, {"optimizer": step.optimizer.state_dict()})
        steps[kinds] = numbers(step)
    for weights in steps.values():
        assert torch.allclose(weights, steps["native native native"], atol=1e-6)


# ---- when it is taken ----


def test_default_takes_native_where_it_pays():
    assert Config("Q1_1").step == "auto"


@pytest.mark.parametrize(
    ("asked", "before", "threads", "taken"),
    [
        ("torch", None, 1, False),
        ("native", None, 2, True),
        ("auto", None, 1, True),
        ("auto", None, 2, True),
        ("auto", None, 3, False),
        ("auto", {"step": "native"}, 2, True),
        ("auto", {"step": "torch"}, 1, False),
        ("auto", {}, 1, False),  # of an earlier version
        ("native", {"step": "torch"}, 1, True),
    ],
)
def test_step_is_what_is_asked_for_and_auto_leaves_it_to_the_run_so_far(asked, before, threads, taken):
    here = Machine(torch.device("cpu"), "fp32", threads)
    library = native.choose(Config("Q1_1", step=asked), SMALL, here, models.CLASSES, before)
    assert (library is not None) == taken


@pytest.mark.parametrize(
    ("name", "batch_size", "threads", "precision", "pays"),
    [("Q1_19", 4, 2, "fp32", True), ("Q1_19", 16, 2, "fp32", False), ("Q1_19", 16, 1, "fp32", True),
     ("Q1_1", 128, 2, "fp32", True), ("Q2_1", 4, 2, "fp32", True), ("Q2_1", 16, 1, "fp32", False),
     ("Q1_1", 64, 2, "auto", True), ("Q1_11", 64, 2, "auto", False), ("Q1_11", 64, 1, "auto", True),
     ("Q1_19", 64, 1, "auto", False), ("Q1_1", 64, 1, "bf16", False)],
)  # fmt: skip
def test_auto_takes_native_where_it_was_measured_to_be_faster(name, batch_size, threads, precision, pays):
    here = Machine(torch.device("cpu"), precision, threads)
    config = Config(name, batch_size=batch_size)
    assert (native.choose(config, models.find(name), here, models.CLASSES) is not None) == pays


OWN = models.ModelSpec("Own", "", "", None, module=nn.Identity)


@pytest.mark.parametrize(
    ("spec", "here", "settings", "why"),
    [
        (OWN, ONE_THREAD, {}, "rows of the table"),
        (row("P 6k5"), ONE_THREAD, {}, "a pool behind a convolution only"),
        (SMALL, Machine(torch.device("cpu"), "bf16", 1), {}, "not in bf16 on cpu"),
        (SMALL, Machine(torch.device("cuda"), "fp32", 1), {}, "not in fp32 on cuda"),
        (SMALL, ONE_THREAD, {"compile": True}, "--compile"),
    ],
)
@pytest.mark.parametrize("asked", ["native", "auto"])
def test_what_it_can_not_do_is_done_by_pytorch_and_said_where_it_was_asked_for(
    spec, here, settings, why, asked, caplog
):
    caplog.set_level(logging.INFO, "ex1")
    assert native.choose(Config("Q1_1", step=asked, **settings), spec, here, models.CLASSES) is None
    assert [why in message for message in caplog.messages] == [True] * (asked == "native")


@pytest.mark.parametrize("asked", ["native", "auto"])
def test_images_of_more_or_fewer_classes_are_for_pytorch(asked, caplog):
    assert native.choose(Config("Q1_1", step=asked), SMALL, ONE_THREAD, 3) is None
    assert ["images of 10 classes, and not of 3" in text for text in caplog.messages] == [True] * (asked == "native")


def test_time_of_runs_on_other_classes_is_that_of_pytorch(caplog):
    speed = forecast.measure(Config("Q1_4", step="native", threads=1), 3)
    assert speed.step > 0
    assert any("images of 10 classes, and not of 3" in text for text in caplog.messages)


# ---- runs ----


def read_config(place):
    return json.loads((run_folder(place) / "config.json").read_text(encoding="utf-8"))


def test_run_records_its_step_goes_on_with_it_and_has_the_losses_of_pytorchs(ex1_main, tmp_path, capsys):
    command = ("--model-name", "Q1_1", "--epochs", "1", "--batch-size", "16", "--lr", "0.01")
    assert ex1_main(*command, "--step", "torch") == 0
    folder = run_folder(tmp_path)
    expected = read_history(folder)[0]["train_loss"]
    assert read_config(tmp_path)["machine"]["step"] == "torch"
    folder.rename(tmp_path / "torch")
    assert ex1_main(*command) == 0
    assert read_config(tmp_path)["machine"]["step"] == "native"
    assert "1 thread, native step;" in capsys.readouterr().out
    assert read_history(run_folder(tmp_path))[0]["train_loss"] == pytest.approx(expected, rel=1e-5)

    folder = str(run_folder(tmp_path))  # and those of more epochs are others
    assert ex1_main("--resume", folder, "--epochs", "2") == 0
    assert "1 thread, native step;" in (said := capsys.readouterr()).out
    assert "it began with" not in said.err
    assert ex1_main("--resume", folder, "--epochs", "3", "--step", "torch") == 0
    assert "it began with step native, now torch: the result will not be bit for bit" in capsys.readouterr().err


def test_loss_that_is_not_finite_stops_the_run_as_with_pytorchs_step(ex1_main, tmp_path, capsys):
    said = []
    for kind in ("torch", "native"):
        assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--lr", "1e20", "--step", kind) == 3
        said.append(
            [line for line in capsys.readouterr().err.splitlines() if "not a finite" in line or "loss is" in line]
        )
    assert len(said[0]) == 1
    assert said[0][0].partition(" at step ")[2] == said[1][0].partition(" at step ")[2]


# ---- the compiler and its cache ----


@pytest.fixture
def fails(tmp_path, monkeypatch):
    """A compiler that fails at what it is to compile, and one that is not there."""
    script = tmp_path / "broken-cc"
    script.write_text("#!/bin/sh\necho x.c: error: no space left >&2\nexit 1\n", encoding="utf-8")
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize("missing", [False, True])
def test_failing_compiler_leaves_pytorchs_step(missing, fails, monkeypatch, ex1_main, tmp_path, capsys):
    monkeypatch.setenv("CC", "/no/such/cc" if missing else fails)
    command = ("--model-name", "Q1_1", "--epochs", "1", "--batch-size", "50", "--step")
    assert ex1_main(*command, "native") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "the C compiler" in line]
    assert len(said) == 1
    assert "going on with PyTorch's step" in said[0]
    assert ("can't be run: " if missing else "error: no space left") in said[0]
    assert read_config(tmp_path)["machine"]["step"] == "torch"
    run_folder(tmp_path).rename(tmp_path / "first")
    assert ex1_main(*command, "auto") == 0
    assert "compiler" not in capsys.readouterr().err


def test_no_compiler_is_said_unless_a_package_brings_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(NoNativeStep, match=r"no C compiler: install gcc, clang or the package ziglang, or name one"):
        compiler.find_compiler()
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang/__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert compiler.find_compiler() == [sys.executable, "-m", "ziglang", "cc"]


def test_compiled_step_is_kept_and_taken_again(monkeypatch, cache):
    source = write_source(row("", "3"))
    compiler.load(source)
    kept = set(cache.iterdir())
    compiled = []
    monkeypatch.setattr(compiler, "write_file", lambda *args: compiled.append(args))
    compiler.load(source)
    assert not compiled
    compiler.load(source, "-DOTHER")
    assert len(compiled) == 1
    assert set(cache.iterdir()) == kept


@pytest.mark.parametrize("damage", [b"", b"\x7fELF and no more"])
def test_damaged_file_in_the_cache_is_made_anew(tmp_path, monkeypatch, cache, damage):
    source = write_source(row("", "3"))
    compiler.load(source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / cache.name).mkdir()
    for path in cache.iterdir():
        (tmp_path / cache.name / path.name).write_bytes(damage)
    assert compiler.load(source).bytes(1) > 0
    assert sum(path.read_bytes() != damage for path in tmp_path.glob("*/*")) == 1


def test_cache_that_can_not_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "cifar10-runner").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert agrees(row("", "4"), CLASSIC, 3)


def test_processes_that_compile_together_all_get_the_step(tmp_path):
    code = (
        "from models import ModelSpec; from native import compiler; from native.source import write_source\n"
        "compiler.load(write_source(ModelSpec('Q1_x', '', '3', None))).bytes"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, env=environment) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
    assert [path.suffix for path in tmp_path.glob("*/*")] == [".so"]


def test_optimiser_without_momentum_keeps_none():
    step = make_native(row("", "3"), PLAIN)
    step(*make_batch(2))
    assert all(state.get("momentum_buffer") is None for state in step.optimizer.state.values())
    assert make_optimizer(step.model, PLAIN).state_dict()["state"] == {}
