"""Whatever goes wrong is one line and an exit code, and what was saved stays."""

from pathlib import Path

import pytest
import torch

import datasets
import ex1
from runner import checkpoint, files
from tests.helpers import internals
from tests.helpers.cli import execute
from tests.helpers.compare import outcome, same
from tests.helpers.processes import flip

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


def test_full_disk_is_told_and_keeps_last_good_checkpoint(stopped_run):
    here, folder, straight = stopped_run
    checkpoints = {name: (folder / name).read_bytes() for name in ("last.pt", "previous.pt")}
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
    assert same(outcome(folder), outcome(straight))


@pytest.mark.parametrize("name", ["config.json", "history.csv", "metrics.json", "curves.png", "last.pt"])
def test_unwritable_file_stops_run_with_one_line(ex1_main, tmp_path, capsys, monkeypatch, name):
    write = files.write_file

    def failing(path, *args):
        if path.name == name:
            raise OSError(28, "can't be written: No space left on device", str(path))
        write(path, *args)

    internals.write_files_with(failing, monkeypatch.setattr)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1") == 1
    line = only_line(capsys.readouterr().err)
    assert f"{name}: can't be written: No space left on device" in line
    if name in ("history.csv", "metrics.json", "curves.png"):
        assert "the last good checkpoint is" in line
        assert "after epoch 1; to go on: " in line
    if name == "last.pt":
        assert "there is no checkpoint of it yet" in line


def test_vanished_results_folder_stops_run_with_one_line(ex1_main, tmp_path, capsys, monkeypatch):
    validate = ex1.validate

    def vanish(*args):
        (tmp_path / "results").rename(tmp_path / "gone")
        return validate(*args)

    monkeypatch.setattr(ex1, "validate", vanish)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1") == 1
    line = only_line(capsys.readouterr().err)
    assert "was deleted or moved while this run trained" in line
    assert "to go on" not in line


def test_results_folder_that_cannot_be_made_is_told(small_synthetic, capsys):
    command = ["--model-name", "Q1_1", "--dataset", "synthetic", "--results-dir", "/proc/here"]
    assert execute(command) == 1
    assert "/proc/here" in only_line(capsys.readouterr().err)


def test_unwritable_output_does_not_stop_run(place):
    here = place(images=(200, 50))
    here.log = Path("/dev/full")
    if not here.log.exists():
        pytest.skip("needs /dev/full")
    assert here.run("--model-name", "Q1_1", "--epochs", "1") == 0
    assert (here.runs[0] / "metrics.json").exists()


def test_diverging_run_names_step_rate_and_checkpoint(ex1_main, tmp_path, capsys):
    assert ex1_main("--model-name", "Q1_1", "--epochs", "3", "--lr", "1e30") == 3
    line = only_line(capsys.readouterr().err)
    assert "Q1_1, epoch 1: " in line
    assert "the training loss is nan at step 2; the learning rate is 1e+30; train it with a lower rate" in line
    assert line.endswith("; there is no checkpoint of it yet")
    assert "to go on" not in line


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        (("Q1_1", "--lr", "0.001"), "0.0001"),
        (("Q1_1", "--lr", "5"), "0.001"),
        (("Q1_1", "--recipe", "fast"), "0.006"),
        (("Q2_1", "--recipe", "fast", "--lr", "5"), "0.01"),
    ],
)
def test_rate_that_is_likely_to_train_is_advised(ex1_main, capsys, monkeypatch, arguments, rate):
    monkeypatch.setattr(files, "MAX_MEASURED", 0.1)
    assert ex1_main("--model-name", *arguments, "--limit", "100") == 3
    assert f"; train it with a lower rate, such as --lr {rate}; " in only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("every", "what"), [("0", "the training loss is nan"), ("30", "the network's output is not a finite number")]
)
def test_later_divergence_names_step_and_checkpoint_before(ex1_main, tmp_path, capsys, monkeypatch, every, what):
    step, steps = torch.optim.SGD.step, []

    def blow_up(optimizer):
        steps.append(1)
        step(optimizer)
        if len(steps) == 70:
            optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.SGD, "step", blow_up)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "3", "--checkpoint-every", every, "--step", "torch") == 3
    line = only_line(capsys.readouterr().err)
    assert f"Q1_1, epoch 2: {what} at step 21; the learning rate is 0.001; train it with" in line
    assert "; the last good" in line
    assert "last.pt, after epoch 1" in line
    (folder,) = (path.parent for path in tmp_path.glob("results/*/*/*/last.pt"))
    assert all(value.isfinite().all() for value in checkpoint.load(folder)["model"].values())


def test_checkpoint_is_not_written_of_infinite_weights(ex1_main, tmp_path, capsys, monkeypatch):
    step = torch.optim.SGD.step

    def blow_up(optimizer):
        step(optimizer)
        optimizer.param_groups[0]["params"][0].data.fill_(float("inf"))

    monkeypatch.setattr(torch.optim.SGD, "step", blow_up)
    assert ex1_main("--model-name", "Q1_1", "--checkpoint-every", "1", "--step", "torch") == 3
    assert "a weight is not a finite number after step 1; the learning rate is 0.001" in capsys.readouterr().err
    assert not list(tmp_path.glob("results/*/*/*/*.pt"))


OWN = """
from torch import nn
from cifar10_runner import register

@register("Own")
class Own(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 10))
        self.steps = 0

    def forward(self, images):
        self.steps += self.training
        if self.steps == {step}:
            raise {error}
        return super().forward(images)
"""


@pytest.mark.parametrize(
    ("step", "error", "told"),
    [
        (5, "ValueError('a mistake')", "there is no checkpoint of it yet"),
        (15, "ValueError('a mistake')", "last.pt, after epoch 1"),
        (5, "MemoryError('none left')", "there is no checkpoint of it yet; to go on: "),
        (15, "RuntimeError('CUDA out of memory')", "last.pt, after epoch 1; to go on: "),
    ],
)
def test_failing_own_model_is_told_how_to_go_on_where_that_can_help(
    ex1_main, tmp_path, capsys, registry, step, error, told
):
    (tmp_path / "own.py").write_text(OWN.format(step=step, error=error), encoding="utf-8")
    command = ("--model-file", str(tmp_path / "own.py"), "--model-name", "own", "--batch-size", "20")
    assert ex1_main(*command) == 1
    line = only_line(capsys.readouterr().err)
    assert f"Own, epoch {1 + step // 10}: {error.partition('(')[0]}: " in line
    (folder,) = tmp_path.glob("results/synthetic/Own/*")
    end = f" --resume {folder} --model-file {tmp_path}/own.py"
    assert told in line
    assert line.endswith(end if "to go on: " in told else told)


def test_traceback_is_shown_with_debug_alone(ex1_main, capsys, monkeypatch):
    def fail(*args):
        raise KeyError("something unforeseen")

    monkeypatch.setattr(ex1.trial, "load_run", fail)
    assert ex1_main("--model-name", "Q1_1") == 1
    line = only_line(capsys.readouterr().err)
    assert line.endswith("KeyError: 'something unforeseen'; --debug shows where in the code it came from")
    assert ex1_main("--model-name", "Q1_1", "--debug") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == "ex1.py: error: KeyError: 'something unforeseen'"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--batch-size 50001", "--batch-size 50001: give less, as 50,000 images are left to train on"),
        ("--batch-size 501 --train-fraction 0.01", "give less, as 500 images are left"),
        ("--val holdout --holdout 50000", "--holdout 50000: give fewer, as there are 50,000 training images"),
        ("--device cuda", "--device cuda: there is none on this machine"),
    ],
)
def test_impossible_settings_are_refused_before_reading_images(tiny_official, capsys, monkeypatch, arguments, reason):
    monkeypatch.setattr(datasets, "_load_cifar10", lambda *args: pytest.fail("read the images"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = ["--data-dir", str(tiny_official[0])]
    assert execute(["--model-name", "Q1_1", *arguments.split(), *place]) == 2
    assert reason in only_line(capsys.readouterr().err)
