"""Runs that are stopped, and go on as if nothing had happened."""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from report import results
from runner import checkpoint, config, files, records, resume
from runner.errors import CheckpointError
from tests.helpers import internals
from tests.helpers.cli import until
from tests.helpers.compare import assert_same_outcome, outcome, same
from tests.helpers.processes import Evil, Ignoring, KilledAtWrite, SignalAtStep, SlowData, SlowStep, flip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signal_saves_step_and_tells_how_to_go_on(place, number):
    case = ("--model-name", "Q1_1", "--epochs", "3", "--shuffle", "per-image", "--batch-size", "8")
    straight, stopped = (place(name, images=(1200, 100)) for name in ("straight", "stopped"))
    assert straight.run(*case) == 0
    assert stopped.run(*case, before=SignalAtStep(150 + 131, number)) == 128 + number
    (folder,) = stopped.runs
    said = stopped.said()
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("ex1.py: stopped in epoch 2 of 3, after 131 steps; to go on: ")
    assert said.splitlines()[-1].endswith(f" --resume {folder}")
    saved = checkpoint.load(folder)
    assert (len(saved["history"]), saved["metrics"]["steps"]) == (1, 131)
    assert stopped.run("--resume", str(folder)) == 0
    assert_same_outcome(folder, straight.runs[0])
    resumed = json.loads((folder / "config.json").read_text(encoding="utf-8"))["resumed"]
    assert [entry["position"] for entry in resumed] == ["after epoch 1 and 131 steps of the next"]


def test_only_another_ctrl_c_stops_at_once(place):
    """Several signals may come at once from a terminal that closes, or from a scheduler."""
    here = place(images=(200, 50))
    process = here.start("--model-name", "Q1_1", before=SlowStep())
    while not here.log.exists() or "results go to" not in here.log.read_text(encoding="utf-8"):
        time.sleep(0.01)
    time.sleep(0.3)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    while "Ctrl-C once more stops at once" not in here.log.read_text(encoding="utf-8"):
        time.sleep(0.01)
    for number in (signal.SIGHUP, signal.SIGTERM):
        os.kill(process.pid, number)
        time.sleep(0.3)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert time.monotonic() - began < 25
    assert "Traceback" not in here.said()


def test_hangup_that_nohup_ignores_stops_nothing(place):
    here = place(images=(200, 50))
    before = SignalAtStep(10, signal.SIGHUP)
    assert here.run("--model-name", "Q1_4", "--epochs", "1", before=Ignoring(signal.SIGHUP, before)) == 0
    assert "stopping" not in here.said()


def test_signal_before_training_stops_at_once(place, tmp_path):
    here = place()
    here.log.write_text("", encoding="utf-8")
    marker = tmp_path / "making"
    process = here.start("--model-name", "Q1_1", before=SlowData(marker))
    while process.is_alive() and not marker.exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert here.said().split() == ["ex1.py:", "stopped"]
    assert here.runs == []


def test_resume_does_not_lengthen_one_cycle_run(ex1_main, tmp_path, capsys):
    assert ex1_main("--model-name", "Q1_1", "--recipe", "fast", "--epochs", "1") == 0
    (run,) = tmp_path.glob("results/*/*/*")
    before = (run / "last.pt").read_bytes()
    assert ex1_main("--resume", str(run), "--epochs", "2") == 2
    assert "was planned for 1 epoch and can't be changed; begin a new run with --epochs 2" in capsys.readouterr().err
    assert ex1_main("--resume", str(run)) == 0
    assert (run / "last.pt").read_bytes() == before
    assert len(list(tmp_path.glob("results/*/*/*"))) == 1


def test_resume_of_finished_run_extends_it_in_new_folder(place):
    case = ("--model-name", "Q1_24", "--val", "holdout", "--holdout", "20", "--lr", "0.01", "--batch-size", "10")
    straight, extended = (place(name, images=(100, 50)) for name in ("straight", "extended"))
    assert straight.run(*case, "--epochs", "4") == 0
    assert extended.run(*case, "--epochs", "2") == 0
    (short,) = extended.runs
    before = {path: path.read_bytes() for path in short.iterdir()}
    assert extended.run("--resume", str(short), "--epochs", "4") == 0, extended.said()
    assert "going on from" in extended.said()
    (long,) = set(extended.runs) - {short}
    assert long.name == straight.runs[0].name
    assert same(outcome(long), outcome(straight.runs[0]))
    assert same(outcome(long, "best.pt"), outcome(straight.runs[0], "best.pt"))
    assert {path: path.read_bytes() for path in short.iterdir() if path in before} == before
    assert json.loads((long / "config.json").read_text(encoding="utf-8"))["continues"]["position"] == "after epoch 2"
    # The same again: there is nothing left to do, and nothing is done.
    before = {path: path.stat().st_mtime_ns for path in long.iterdir()}
    assert extended.run("--resume", str(short), "--epochs", "4") == 0
    assert "is finished" in extended.said()
    assert {path: path.stat().st_mtime_ns for path in long.iterdir()} == before
    assert extended.run("--resume", str(long), "--epochs", "3") == 2
    assert "has 4 epochs behind it" in extended.said()
    assert set(extended.runs) == {short, long}


def test_resume_of_killed_extension_goes_on(place):
    straight, here = (place(name, images=(300, 100)) for name in ("straight", "here"))
    assert straight.run("--model-name", "Q1_1", "--epochs", "4") == 0
    assert here.run("--model-name", "Q1_1", "--epochs", "1") == 0
    (short,) = here.runs
    for n in (3, 8, 11):
        assert here.run("--resume", str(short), "--epochs", "4", before=KilledAtWrite(n)) == -signal.SIGKILL
    assert here.run("--resume", str(short), "--epochs", "4") == 0
    (long,) = set(here.runs) - {short}
    assert same(outcome(long), outcome(straight.runs[0]))


def test_resume_in_current_folder_extends_beside_it(ex1_main, saved_run, monkeypatch):
    monkeypatch.chdir(saved_run)
    assert ex1_main("--resume", ".", "--epochs", "2") == 0
    assert (saved_run.parent / saved_run.name.replace("epochs-1", "epochs-2") / "metrics.json").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_resume_auto_passes_over_runs_on_other_data(ex1_main, saved_run, tmp_path, monkeypatch, finished):
    assert ex1_main("--model-name", "Q1_1", "--epochs", "2") == 0
    short, long = sorted(tmp_path.glob("results/*/*/*"))
    if not finished:
        (long / "metrics.json").unlink()
    before = (long / "last.pt").read_bytes()
    internals.shrink_synthetic(200, 90, monkeypatch.setattr)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "2", "--resume", "auto") == 0
    assert (long / "last.pt").read_bytes() == before
    other = long.with_name(long.name + "__run-2")
    assert json.loads((other / "metrics.json").read_text(encoding="utf-8"))["test"]["images"] == 90
    assert ex1_main("--resume", str(short), "--epochs", "2") == 1


def test_resume_auto_passes_over_a_run_of_another_step(ex1_main, saved_run, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda network: network)
    before = (saved_run / "last.pt").read_bytes()
    compiled = saved_run.with_name(f"{saved_run.name}__run-2")
    case, warning = (
        ("--model-name", "Q1_1", "--epochs", "1", "--resume", "auto"),
        " is not the run asked for, it has --",
    )
    assert ex1_main(*case, "--compile") == 0
    assert f"{saved_run}{warning}compile off, not on: kept as it is" in capsys.readouterr().err
    # Both are there now, and each is found by its own.
    for more, folder in (((), saved_run), (("--compile",), compiled)):
        assert ex1_main(*case, *more) == 0
        said = capsys.readouterr()
        assert f"{folder} is finished; " in said.out
        assert warning not in said.err
    assert (saved_run / "last.pt").read_bytes() == before
    assert set(saved_run.parent.iterdir()) == {saved_run, compiled}


NOISY = """
import random
import numpy, torch
from torch import nn
from models import register

@register("Noisy")
class Noisy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 10), nn.Dropout(0.3))
    def forward(self, x):
        return super().forward(x) + torch.randn(10) + random.random() * numpy.random.rand(10).astype("float32").mean()
"""


@pytest.mark.parametrize("kills", [[9, 10], [7], [8, 17, 6]])
def test_resume_of_model_drawing_in_evaluation_is_bitwise_equal(place, tmp_path, kills):
    (tmp_path / "noisy.py").write_text(NOISY, encoding="utf-8")
    case = ["--model-file", str(tmp_path / "noisy.py"), "--model-name", "Noisy", "--epochs", "3", "--batch-size", "20"]
    straight, killed = (place(name, images=(200, 50)) for name in ("straight", "killed"))
    assert straight.run(*case) == 0
    for n in kills:
        assert killed.run(*case, "--resume", "auto", before=KilledAtWrite(n)) == -signal.SIGKILL
    assert killed.run(*case, "--resume", "auto") == 0
    (folder,), (reference,) = killed.runs, straight.runs
    assert_same_outcome(folder, reference)
    killed.said()
    assert killed.run("--resume", str(folder)) == 2
    assert "Noisy is an own model: give --model-file" in killed.said()
    assert killed.run("--evaluate", str(folder), *case[:2]) == 0
    accuracy = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]["accuracy"]
    assert f"test images: {100 * accuracy:.1f} %" in killed.said()


def test_resume_refuses_contradicting_options(place):
    here = place(images=(200, 50))
    assert here.run("--model-name", "Q1_1", "--epochs", "1", "--shuffle", "fixed") == 0
    (folder,) = here.runs
    resume = ("--resume", str(folder))
    here.said()
    assert here.run(*resume, "--model-name", "Q1_2", "--shuffle", "none", "--seed", "3", "--batch-size", "8") == 2
    said = here.said()
    for difference in ("model-name Q1_1, not Q1_2", "shuffle fixed, not none", "seed 0, not 3", "batch-size 4, not 8"):
        assert f"it has --{difference}" in said
    assert here.run(*resume, "--compile") == 2
    assert "it has --compile off, not on" in here.said()
    assert here.run(*resume, "--data-seed", "4") == 2
    assert "it has --data-seed 0, not 4" in here.said()
    # Saying again what it is anyway is no contradiction.
    assert here.run(*resume, "--model-name", "q1-1", "--shuffle", "fixed", "--epochs", "1", "--threads", "1") == 0
    assert "is finished" in here.said()


def test_resume_says_what_changed_since_the_stop(place):
    here = place(images=(200, 50))
    case = ("--model-name", "Q1_1", "--epochs", "2")
    assert here.run(*case, before=KilledAtWrite(8)) == -signal.SIGKILL
    assert here.run(*case, "--resume", "auto", "--threads", "2") == 0
    assert "it began with threads 1, now 2: the result will not be bit for bit" in here.said()


MINE = """
from torch import nn
from models import register

@register("Mine")
class Mine(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 8), nn.{}(), nn.Linear(8, 10))
"""


def test_run_of_changed_own_model_is_not_gone_on_with(place, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(MINE.format("ReLU"), encoding="utf-8")
    here, file = place(images=(200, 50)), ("--model-file", str(mine))
    case = (*file, "--model-name", "Mine", "--epochs", "2")
    assert here.run(*case, before=KilledAtWrite(8)) == -signal.SIGKILL
    (first,) = here.runs
    before = {path: path.read_bytes() for path in first.iterdir()}

    # Another network: what is there is refused by name, and otherwise passed over and kept.
    mine.write_text(MINE.format("Tanh"), encoding="utf-8")
    here.said()
    for more in ((), ("--epochs", "3")):
        assert here.run("--resume", str(first), *file, *more) == 2
        assert f"{first} can't go on, its Mine is another network of that name (SHA-256 " in here.said()
    for said in (f"{first} is not the run asked for, its Mine is another network", " is finished; "):
        assert here.run(*case, "--resume", "auto") == 0
        assert said in here.said()
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    second = first.with_name(f"{first.name}__run-2")
    assert here.runs == [first, second]

    # Its figures are taken for those of the run only with a warning; and the first file finds its run again.
    mine.write_text(MINE.format("ReLU"), encoding="utf-8")
    here.said()
    assert here.run("--evaluate", str(second), *file) == 0
    assert here.said().count(f"{second}: its Mine is another network of that name") == 1
    assert here.run(*case, "--resume", "auto") == 0
    assert "going on from" in here.said()
    assert here.run("--evaluate", str(first), *file) == 0
    assert "another network" not in here.said()


def test_runs_starting_together_get_a_folder_each(place):
    here = place(images=(200, 50))
    case = ("--model-name", "Q1_1", "--epochs", "2", "--new")
    processes = [here.start(*case) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(here.runs) == 3
    for folder in here.runs[1:]:
        assert_same_outcome(folder, here.runs[0])


def test_run_with_long_name_is_found_again_under_either(place):
    here = place(images=(200, 50))
    case = ("--model-name", "Q1_4", "--epochs", "1", "--batch-size", "8", "--lr", "0.0012345", "--momentum", "0.8765")
    case += (
        "--weight-decay",
        "0.000125",
        "--label-smoothing",
        "0.0625",
        "--shuffle-seed",
        "12345678",
        "--init",
        "kaiming",
    )
    assert here.run(*case) == 0
    [folder] = here.runs
    assert "-more-" in folder.name
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]
    assert settings["shuffle_seed"] == 12345678
    folder.rename(folder.with_name(config.Config.from_saved(settings).full_name))  # as earlier versions named it
    here.said()
    assert here.run(*case, "--resume", "auto") == 0
    assert " is finished; " in here.said()
    assert len(here.runs) == 1


def test_run_whose_folder_was_made_anew_ends_and_writes_nothing(place):
    here = place(images=(200, 50))
    case = ("--model-name", "Q1_4", "--epochs", "5000")
    first = here.start(*case)
    until(lambda: list(here.results.glob("*/*/*/history.csv")))
    os.kill(first.pid, signal.SIGSTOP)
    shutil.rmtree(here.results)
    second = here.start(*case)
    until(lambda: list(here.results.glob("*/*/*/history.csv")))
    os.kill(first.pid, signal.SIGCONT)
    first.join(120)  # it would train for hours
    assert first.exitcode == 1
    assert "was deleted or moved while this run trained; it ends" in here.said()
    os.kill(second.pid, signal.SIGTERM)
    second.join()
    assert second.exitcode == 143
    [folder] = here.runs
    saved = checkpoint.load(folder)
    assert len(records.read_history(folder)) - len(saved["history"]) in (0, -1)


@pytest.mark.parametrize("moved", ["last.pt", "last.pt and config.json"])
def test_checkpoint_of_another_run_is_refused(ex1_main, tmp_path, capsys, moved):
    for seed in ("0", "1"):
        assert ex1_main("--model-name", "Q1_4", "--epochs", "1", "--seed", seed) == 0
    ours, other = sorted(tmp_path.glob("results/*/*/*"))
    (ours / "metrics.json").unlink()
    for name in moved.split(" and "):
        shutil.copy(other / name, ours / name)
    why = "its config.json: --seed 1, not 0" if moved == "last.pt" else "its name says: Q1_4, none, seed 1"
    for action in ("--resume", "--evaluate"):
        capsys.readouterr()
        assert ex1_main(action, str(ours)) == 1
        assert f"{ours} holds the checkpoint of another run than {why}" in capsys.readouterr().err
    shutil.copytree(other, tmp_path / "any name")
    assert ex1_main("--evaluate", str(tmp_path / "any name")) == 0


def test_checkpoint_of_other_data_than_its_description_is_refused(ex1_main, saved_run, capsys):
    content = files.read_json(saved_run / "config.json")
    content["data"] |= {"sha256": "0" * 64, "name": "OTHER"}
    files.write_json(saved_run / "config.json", content)
    assert ex1_main("--evaluate", str(saved_run)) == 1
    said = capsys.readouterr().err
    assert f"{saved_run} holds the checkpoint of another run than its config.json: SYNTHETIC" in said
    assert ", not OTHER" in said


def test_saved_places_are_not_used(saved_run, tmp_path, ex1_main, capsys):
    saved = torch.load(saved_run / "last.pt", weights_only=True)
    saved["config"]["data_dir"] = str(tmp_path / "there")
    saved["dataset"] |= {"slug": "cifar10", "seed": None, "name": "CIFAR-10"}
    checkpoint.save(saved_run / "last.pt", {key: value for key, value in saved.items() if key != "version"})
    (saved_run / "config.json").unlink()
    (tmp_path / "empty").mkdir()
    place = ["--data-dir", str(tmp_path / "empty"), "--data-url", "file:///nowhere"]
    assert ex1_main("--evaluate", str(saved_run), *place) == 1
    assert f"into {tmp_path / 'empty'} yourself" in capsys.readouterr().err
    assert not (tmp_path / "there").exists()


def test_resume_leaves_running_run_and_takes_dead_one(place):
    here = place(images=(200, 50))
    case = ("--model-name", "Q1_1", "--epochs", "2")
    process = here.start(*case, before=SlowStep())
    while not here.runs or not (here.runs[0] / "samples.png").exists():
        time.sleep(0.01)
    (folder,) = here.runs
    here.said()
    for how in ([*case, "--resume", "auto"], ["--resume", str(folder)]):
        assert here.run(*how) == 75
        said = here.said()
        assert f"{folder} is being trained by process {process.pid} on " in said
        assert "Traceback" not in said
    process.kill()
    process.join()
    assert (folder / ".lock").exists()
    assert here.run("--resume", str(folder)) == 0


def test_same_command_goes_on_then_shows_the_result_and_new_begins_anew(place):
    here = place(images=(200, 50))
    case = ("--model-name", "Q1_1", "--epochs", "2")
    assert here.run(*case, before=KilledAtWrite(8)) == -signal.SIGKILL
    assert here.run(*case) == 0
    assert "going on from" in here.said()
    [first] = here.runs
    before = {path: path.read_bytes() for path in first.iterdir()}
    assert here.run(*case) == 0
    said = here.said()
    assert f"{first} is finished; --new trains it again" in said
    assert "Accuracy of the network" in said
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert here.run(*case, "--new") == 0
    assert "going on from" not in here.said()
    _, second = here.runs
    assert_same_outcome(first, second)


# ---- damaged and malicious checkpoints ----


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "bit in a weight": lambda path: flip(path, path.stat().st_size // 2),
    "bit at the start": lambda path: flip(path, 3),
    "bit in the checksum": lambda path: flip(path, -5),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_resume_from_damaged_checkpoint_uses_the_one_before(stopped_run, damage):
    here, folder, reference = stopped_run
    damage(folder / "last.pt")
    assert here.run("--resume", str(folder)) == 0
    said = here.said()
    assert f"{folder / 'last.pt'} " in said
    assert f"{folder / 'previous.pt'} is used, after epoch" in said
    assert same(outcome(folder), outcome(reference))


def test_resume_keeps_checkpoint_used_for_damaged_one(stopped_run):
    here, folder, _ = stopped_run
    good = (folder / "previous.pt").read_bytes()
    flip(folder / "last.pt", 1000)
    assert here.run("--resume", str(folder), before=KilledAtWrite(5)) == -signal.SIGKILL  # having saved once
    assert (folder / "previous.pt").read_bytes() == good
    assert checkpoint._is_whole((folder / "last.pt").read_bytes())


def test_resume_with_damaged_description_uses_checkpoint(stopped_run):
    here, folder, reference = stopped_run
    (folder / "config.json").write_text((folder / "config.json").read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert here.run("--resume", str(folder)) == 0, here.said()
    assert same(outcome(folder), outcome(reference))
    assert len(json.loads((folder / "config.json").read_text(encoding="utf-8"))["resumed"]) == 1


ODD_DESCRIPTIONS = {
    "empty": lambda content: "{}",
    "without versions": lambda content: json.dumps(content | {"machine": {"versions": {}}}),
    "other parameters": lambda content: json.dumps(content | {"parameters": 5}),
    "settings that can not be": lambda content: json.dumps(content | {"settings": content["settings"] | {"lr": "x"}}),
    "NaN": lambda content: json.dumps(content | {"machine": content["machine"] | {"threads": float("nan")}}),
    "infinity": lambda content: json.dumps(content)[:-1] + ', "more": 1e400}',
    "text for earlier stops": lambda content: json.dumps(content | {"resumed": "x"}),
}


@pytest.mark.parametrize("change", ODD_DESCRIPTIONS.values(), ids=ODD_DESCRIPTIONS)
def test_description_that_is_not_of_the_run_is_written_anew(ex1_main, saved_run, change):
    (saved_run / "metrics.json").unlink()
    before = records.read_config(saved_run)
    (saved_run / "config.json").write_text(change(before), encoding="utf-8")
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--resume", "auto") == 0
    after = records.read_config(saved_run)
    assert len(after.pop("resumed")) == 1
    assert {name: after[name] for name in ("parameters", "macs", "data")} == {
        name: before[name] for name in ("parameters", "macs", "data")
    }
    assert results.read_run(saved_run).is_finished


def test_damaged_run_keeps_no_other_from_being_trained(ex1_main, saved_run, capsys):
    (saved_run / "config.json").write_text("{", encoding="utf-8")
    flip(saved_run / "last.pt", 1000)
    for name in ("metrics.json", "previous.pt"):
        (saved_run / name).unlink(missing_ok=True)
    before = {path: path.read_bytes() for path in saved_run.iterdir()}
    for number, how in ((2, []), (2, ["--resume", "auto"]), (3, ["--new"])):
        capsys.readouterr()
        assert ex1_main("--model-name", "Q1_1", "--epochs", "1", *how) == 0
        assert saved_run.with_name(f"{saved_run.name}__run-{number}").exists()
    shutil.rmtree(saved_run.with_name(f"{saved_run.name}__run-2"))
    shutil.rmtree(saved_run.with_name(f"{saved_run.name}__run-3"))
    capsys.readouterr()
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--resume", "auto") == 0
    said = capsys.readouterr().err
    assert f"{saved_run} is not the run asked for, as far as can be told ({saved_run / 'last.pt'} is damaged" in said
    assert "is trained anew" in said
    assert {path: path.read_bytes() for path in saved_run.iterdir()} == before


def test_model_may_be_named_as_a_folder_is(tmp_path):
    for model in ("A__shuffle-none", "A__shuffle-none__seed-3", "A" * 60):
        settings = config.Config(model, shuffle="block:8", epochs=1, lr=0.0125, weight_decay=0.0125, momentum=0.12345)
        saved = {"config": vars(settings)}
        for name in (settings.run_name, settings.full_name, f"{settings.run_name}__run-2", "any name"):
            resume.check_owner(tmp_path / name, saved)
        for different in ({"shuffle": "block:4"}, {"shuffle": "none"}, {"seed": 1}, {"model_name": "B"}):
            with pytest.raises(CheckpointError, match="of another run than its name says"):
                resume.check_owner(tmp_path / replace(settings, **different).run_name, saved)


def test_resume_refuses_a_file(stopped_run):
    here, folder, _ = stopped_run
    assert here.run("--resume", str(folder / "last.pt")) == 1
    assert f"{folder / 'last.pt'} is a file: give the folder of a run" in here.said()


def test_resume_with_both_checkpoints_damaged_trains_nothing(stopped_run):
    here, folder, _ = stopped_run
    for name in ("last.pt", "previous.pt"):
        flip(folder / name, 1000)
    assert here.run("--resume", str(folder)) == 1
    said = here.said()
    assert "last.pt is damaged" in said
    assert "previous.pt is damaged" in said
    assert len(said.splitlines()) == 1


def test_malicious_checkpoint_runs_no_code(stopped_run, tmp_path):
    here, folder, _ = stopped_run
    saved = torch.load(folder / "last.pt", weights_only=True)
    for name in ("last.pt", "previous.pt"):
        checkpoint.save(folder / name, saved | {"history": [Evil(tmp_path / "evil was here")]})
    for how in ("--resume", "--evaluate"):
        assert here.run(how, str(folder)) == 1
        said = here.said()
        assert "can't be read as a checkpoint" in said
        assert "Traceback" not in said
    assert not (tmp_path / "evil was here").exists()
    with contextlib.suppress(Exception):
        torch.load(folder / "last.pt", weights_only=False)
    assert (tmp_path / "evil was here").exists(), "the checkpoint was not malicious, so nothing was tested"


def test_checkpoint_may_not_name_download_or_code(stopped_run, tmp_path):
    here, folder, _ = stopped_run
    saved = torch.load(folder / "last.pt", weights_only=True)
    own = tmp_path / "own.py"
    own.write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')", encoding="utf-8")
    settings = saved["config"] | {"data_url": "http://127.0.0.1:9/evil", "model_file": str(own)}
    checkpoint.save(folder / "last.pt", saved | {"config": settings})
    saved = resume.saved_config(folder, checkpoint.load(folder), {})
    assert saved.data_url == saved.model_file == ""
    assert here.run("--evaluate", str(folder)) == 0
    assert not (tmp_path / "it ran").exists()


def test_checkpoint_is_loadable_by_anyone(stopped_run):
    _, folder, _ = stopped_run
    saved = torch.load(folder / "last.pt", weights_only=True)
    assert set(saved) == {*checkpoint.CONTENT, "version"}
    assert Path(folder).name == config.Config(**saved["config"]).run_name
