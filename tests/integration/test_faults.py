"""Whatever goes wrong is one line and an exit code, and what was saved stays."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import checkpoints
import commands
import config
import ex1
import models
import sources
import utils
from tests.helpers.paths import PROJECT
from tests.helpers.processes import KilledAtWrite, flip, outcome, same

resource = pytest.importorskip("resource")


def only_line(text):
    """The one line of an error, without the notice that the data is generated."""
    lines = [line for line in text.splitlines() if "!!" not in line and not line.startswith("[")]
    assert len(lines) == 1, text
    assert lines[0].startswith("ex1.py: error: ")
    return lines[0]


class FileSizeLimit:
    """Lets no file grow beyond so many bytes, as a disk that is full."""

    def __init__(self, size):
        self.size = size

    def __call__(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def test_a_full_disk_is_told_and_the_last_good_checkpoint_stays(place):
    here, straight = place("here", images=(200, 50)), place("straight", images=(200, 50))
    case = ("--model-name", "Q1_1", "--epochs", "3")
    assert straight.run(*case) == 0
    assert here.run(*case, before=KilledAtWrite(13)) == -9
    (folder,) = here.runs
    checkpoints = {name: (folder / name).read_bytes() for name in ("last.pt", "previous.pt")}
    here.said()
    # A checkpoint of Q1_1 has 500 kB; the limit lets all the smaller files through.
    assert here.run("--resume", str(folder), before=FileSizeLimit(300_000)) == 1
    line = only_line(here.said())
    assert f"{folder / 'last.pt'}: can't be written: File too large" in line
    assert f"the last good checkpoint is {folder / 'last.pt'}, after epoch 2; to go on: " in line
    assert {name: (folder / name).read_bytes() for name in checkpoints} == checkpoints
    assert not list(folder.glob(".*.pt.part"))
    flip(folder / "last.pt", 1000)
    assert here.run("--resume", str(folder), before=FileSizeLimit(300_000)) == 1
    assert f"the last good checkpoint is {folder / 'previous.pt'}, after epoch 1 and 50 steps" in here.said()
    assert here.run("--resume", str(folder)) == 0
    assert same(outcome(folder), outcome(straight.runs[0]))


@pytest.mark.parametrize("name", ["config.json", "history.csv", "metrics.json", "curves.png", "last.pt"])
def test_a_file_that_cannot_be_written_stops_the_run_with_a_line(ex1_main, tmp_path, capsys, monkeypatch, name):
    write = utils.write_file

    def failing(path, *args):
        if path.name == name:
            raise OSError(28, "can't be written: No space left on device", str(path))
        write(path, *args)

    monkeypatch.setattr(utils, "write_file", failing)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1") == 1
    line = only_line(capsys.readouterr().err)
    assert f"{name}: can't be written: No space left on device" in line
    if name in ("history.csv", "metrics.json", "curves.png"):
        assert "the last good checkpoint is" in line
        assert "after epoch 1; to go on: " in line
    if name == "last.pt":
        assert "there is no checkpoint of it yet" in line


def test_a_results_folder_that_vanishes_stops_the_run_with_a_line(ex1_main, tmp_path, capsys, monkeypatch):
    validate = ex1.validate

    def vanish(*args):
        (tmp_path / "results").rename(tmp_path / "gone")
        return validate(*args)

    monkeypatch.setattr(ex1, "validate", vanish)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1") == 1
    line = only_line(capsys.readouterr().err)
    assert "last.pt: can't be written: No such file or directory; there is no checkpoint of it" in line
    assert "to go on" not in line


@pytest.mark.parametrize("results", ["/proc/here", "/dev/null", "/dev/null/below"])
def test_a_results_folder_that_cannot_be_made_is_told(small_synthetic, capsys, results):
    command = ["--model-name", "Q1_1", "--dataset", "synthetic", "--results-dir", results]
    assert ex1.main(commands.parse(command)) == 1
    assert results in only_line(capsys.readouterr().err)


def test_output_that_cannot_be_written_does_not_stop_the_run(place):
    here = place(images=(200, 50))
    here.log = Path("/dev/full")
    if not here.log.exists():
        pytest.skip("needs /dev/full")
    assert here.run("--model-name", "Q1_1", "--epochs", "1") == 0
    assert (here.runs[0] / "metrics.json").exists()


def test_a_diverging_run_names_step_rate_and_checkpoint(ex1_main, tmp_path, capsys):
    assert ex1_main("--model-name", "Q1_1", "--epochs", "3", "--lr", "1e30") == 1
    line = only_line(capsys.readouterr().err)
    assert "Q1_1, epoch 1: " in line
    assert "the training loss is nan at step 2; the learning rate is 1e+30; there is no checkpoint of it yet" in line
    assert "to go on" not in line


@pytest.mark.parametrize(
    ("every", "what"), [("0", "the training loss is nan"), ("30", "the network's output is not a finite number")]
)
def test_a_run_that_diverges_later_names_the_step_and_the_checkpoint_before(
    ex1_main, tmp_path, capsys, monkeypatch, every, what
):
    step, steps = torch.optim.SGD.step, []

    def blow_up(optimizer):
        steps.append(1)
        step(optimizer)
        if len(steps) == 70:
            optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.SGD, "step", blow_up)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "3", "--checkpoint-every", every) == 1
    line = only_line(capsys.readouterr().err)
    assert f"Q1_1, epoch 2: {what} at step 21; the learning rate is 0.001; the last good" in line
    assert "last.pt, after epoch 1" in line
    (folder,) = (path.parent for path in tmp_path.glob("results/*/*/*/last.pt"))
    assert all(value.isfinite().all() for value in checkpoints.load(folder)["model"].values())


def test_no_checkpoint_is_written_of_weights_that_are_no_numbers(ex1_main, tmp_path, capsys, monkeypatch):
    step = torch.optim.SGD.step

    def blow_up(optimizer):
        step(optimizer)
        optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.SGD, "step", blow_up)
    assert ex1_main("--model-name", "Q1_1", "--checkpoint-every", "1") == 1
    assert "a weight is not a finite number after step 1; the learning rate is 0.001" in capsys.readouterr().err
    assert not list(tmp_path.glob("results/*/*/*/*.pt"))


OWN = """
import torch
from torch import nn
from models import register

@register("Own")
class Own(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10))
"""


def test_an_own_model_that_fails_in_a_step_is_told_with_its_place(ex1_main, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "REGISTRY", dict(models.REGISTRY))
    (tmp_path / "own.py").write_text(OWN)
    command = ("--model-file", str(tmp_path / "own.py"), "--model-name", "own", "--batch-size", "199")
    assert ex1_main(*command) == 1
    line = only_line(capsys.readouterr().err)
    assert "Own, epoch 1: ValueError: Expected more than 1 value per channel" in line
    assert f"--resume {tmp_path}/results/synthetic/Own" in line
    assert line.endswith(f"--model-file {tmp_path}/own.py")


def test_an_own_file_that_ends_the_program_does_not(tmp_path, capsys):
    (tmp_path / "own.py").write_text("import sys\nsys.exit(0)")
    with pytest.raises(SystemExit) as stopped:
        commands.parse(["--model-file", str(tmp_path / "own.py"), "--model-name", "Q1_1"])
    assert stopped.value.code == 2
    assert "own.py, line 2: SystemExit: 0" in capsys.readouterr().err


def test_a_state_that_could_not_be_read_again_is_not_trained(ex1_main, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "REGISTRY", dict(models.REGISTRY))
    methods = "\n    def get_extra_state(self): return {1, object}\n    def set_extra_state(self, state): pass\n"
    (tmp_path / "own.py").write_text(OWN + methods)
    assert ex1_main("--model-file", str(tmp_path / "own.py"), "--model-name", "own", "--batch-size", "20") == 1
    assert "epoch 1: the model's state holds more than tensors and numbers" in only_line(capsys.readouterr().err)


def test_a_line_of_an_error_is_one_line_and_commands_no_terminal():
    assert config.one_line(config.RunnerError("a\nb\x1b[1mc")) == "a?b?[1mc"
    assert config.one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert config.one_line(OSError(28, "full", "a\tb")) == "a?b: full"


def test_a_run_without_standard_streams(tmp_path):
    command = f"exec {shlex.quote(sys.executable)} ex1.py --model-name Q1_1 --epochs 1 --limit 100 --dataset synthetic "
    command += f"--results-dir {shlex.quote(str(tmp_path))} <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, cwd=PROJECT).returncode == 0
    assert list(tmp_path.glob("*/*/*/metrics.json"))


def test_a_traceback_is_shown_with_debug_alone(ex1_main, capsys, monkeypatch):
    def fail(*args):
        raise KeyError("something unforeseen")

    monkeypatch.setattr(ex1, "load_data", fail)
    assert ex1_main("--model-name", "Q1_1") == 1
    line = only_line(capsys.readouterr().err)
    assert line.endswith("KeyError: 'something unforeseen'; --debug shows where in the code it came from")
    assert ex1_main("--model-name", "Q1_1", "--debug") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == "ex1.py: error: KeyError: 'something unforeseen'"


def test_a_traceback_of_an_own_file_is_shown_with_debug(tmp_path, capsys):
    (tmp_path / "own.py").write_text("1 / 0")
    command = ["--model-file", str(tmp_path / "own.py"), "--model-name", "Q1_1"]
    for debug in (False, True):
        with pytest.raises(SystemExit) as stopped:
            commands.parse(command + ["--debug"] * debug)
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert "own.py, line 1: ZeroDivisionError" in err
        assert ("Traceback" in err) == debug


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--batch-size 50001", "--batch-size 50001: there are only 50,000 training images"),
        ("--batch-size 501 --train-fraction 0.01", "there are only 500 training images"),
        ("--val holdout --holdout 50000", "--holdout 50000: there are only 50,000 training images"),
        ("--device cuda", "--device cuda: there is none on this machine"),
    ],
)
def test_what_cannot_work_is_said_before_any_image_is_read(tiny_official, capsys, monkeypatch, arguments, reason):
    monkeypatch.setattr(sources, "load", lambda *args: pytest.fail("read the images"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = ["--data-dir", str(tiny_official[0])]
    assert ex1.main(commands.parse(["--model-name", "Q1_1", *arguments.split(), *place])) == 2
    assert reason in only_line(capsys.readouterr().err)


def test_a_file_reaches_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    path, events = tmp_path / "file", []
    path.write_text("old")
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(number):
        events.append(("fsync", os.fstat(number).st_size))
        fsync(number)

    def watched_replace(source, target):
        events.append((source.name, target.name))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    utils.write_file(path, "new text", previous=tmp_path / "before")
    assert events[:3] == [("fsync", 8), ("file", "before"), (".file.part", "file")]
    assert events[3][0] == "fsync"  # of the folder: its new names too
    assert path.read_text() == "new text"
    assert (tmp_path / "before").read_text() == "old"
