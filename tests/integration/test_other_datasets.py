"""Runs on images of other classes than CIFAR-10's: from training to the report."""

import json
import os
import signal

import pytest
import torch
from torch import nn

import ex1
import models
import utils
from report import overview
from runner import checkpoint, files, records
from tests.helpers.cli import accuracies, execute, run_folder
from tests.helpers.fake_runs import fake_run
from tests.helpers.images import write_image_folder
from tests.helpers.paths import PROJECT

THREE = ("one", "two", "three")


@pytest.fixture
def trained(tmp_path, capsys):
    """The folder of a run on three classes, of their images, and what the run said."""
    images = write_image_folder(tmp_path / "images", 8, 4, THREE)
    assert train("Q2_1", images, tmp_path) == 0
    return run_folder(tmp_path), images, capsys.readouterr().out


def train(model, images, place, *options):
    where = ["--dataset", "folder", "--data-dir", images, "--results-dir", place / "results", "--threads", "1"]
    return execute(["--model-name", model, "--epochs", "1", *where, *options])


def test_native_step_leaves_other_classes_to_pytorchs(tmp_path, capsys):
    assert train("Q1_1", write_image_folder(tmp_path / "images", 8, 4, THREE), tmp_path, "--step", "native") == 0
    assert "it is for images of 10 classes, and not of 3" in capsys.readouterr().err
    assert records.read_config(run_folder(tmp_path))["machine"]["step"] == "torch"


def test_last_layer_follows_the_classes(trained):
    run, _, out = trained
    assert run.parts[-3].startswith("folder-")
    config, metrics = records.read_config(run), records.read_metrics(run)
    assert config["data"]["classes"] == sorted(THREE)
    assert config["parameters"] == models.find("Q2_1").parameters - 7 * 85
    assert [*metrics["test"]["per_class_accuracy"]] == sorted(THREE)
    assert [len(row) for row in metrics["test"]["confusion"]] == [3, 3, 3]
    assert len(accuracies(out)) == 4


def test_saved_run_is_used_as_any_other(trained, tmp_path, capsys):
    run, images, out = trained
    place = ["--data-dir", images]
    assert execute(["--evaluate", run, *place]) == 0
    assert accuracies(capsys.readouterr().out) == accuracies(out)
    assert execute(["--evaluate", run, "--on", images / "test"]) == 0
    assert execute(["--predict", images / "test" / "one" / "0.png", "--from", run]) == 0
    assert sum(name in capsys.readouterr().out for name in THREE) <= 3
    assert execute(["--collapse", run, *place]) == 0
    assert json.loads((run / "matrix.json").read_text(encoding="utf-8"))["parameters"] == 3 * 3073
    assert execute(["--resume", run, "--epochs", "2", *place]) == 0
    capsys.readouterr()
    assert execute(["--resume", run, "--epochs", "2", "--dataset", "cifar10", *place]) == 2
    assert "it has --dataset folder, not cifar10" in capsys.readouterr().err


def test_longer_run_has_the_bits_of_one_in_one_go(trained, tmp_path):
    run, images, _ = trained
    assert execute(["--resume", run, "--epochs", "2", "--data-dir", images]) == 0
    assert train("Q2_1", images, tmp_path / "straight", "--epochs", "2") == 0
    [longer] = run.parent.glob("*epochs-2*")
    ours, theirs = (
        torch.load(folder / "last.pt", weights_only=True)["model"]
        for folder in (longer, run_folder(tmp_path / "straight"))
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_run_stopped_in_an_epoch_goes_on_to_the_same_bits(trained, tmp_path, monkeypatch):
    run, images, _ = trained
    train_epoch = ex1.train_epoch

    def stopped(*args):
        for number, done in enumerate(train_epoch(*args)):
            if number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield done

    monkeypatch.setattr(ex1, "train_epoch", stopped)
    assert train("Q2_1", images, tmp_path / "stopped") == 128 + signal.SIGTERM
    monkeypatch.undo()
    [folder] = (tmp_path / "stopped").glob("results/*/*/*")
    assert torch.load(folder / "last.pt", weights_only=True)["metrics"]["logits"][0].shape == (4, 3)
    assert execute(["--resume", folder, "--data-dir", images]) == 0
    ours, theirs = (torch.load(place / "last.pt", weights_only=True)["model"] for place in (folder, run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_checkpoint_that_claims_other_classes_is_refused(trained, capsys):
    run, images, _ = trained
    content = files.read_json(run / "config.json")
    content["data"]["classes"].append("four")
    files.write_json(run / "config.json", content)
    saved = torch.load(run / "last.pt", weights_only=True)
    saved["dataset"]["classes"].append("four")
    checkpoint.save(run / "last.pt", saved)
    assert execute(["--evaluate", run, "--data-dir", images]) == 1
    assert "Q2_1 has changed since this run was trained" in capsys.readouterr().err


def test_own_network_takes_the_number_of_classes(tmp_path, capsys, registry):
    images = write_image_folder(tmp_path / "images", 4, 1, THREE)
    models.register("Any")(lambda classes=10: nn.Sequential(nn.Flatten(), nn.Linear(3072, classes)))
    assert train("Any", images, tmp_path) == 0
    assert records.read_config(run_folder(tmp_path))["parameters"] == 3 * 3073
    capsys.readouterr()
    own = PROJECT / "docs" / "no_convolutions.py"
    assert train("NoConv", images, tmp_path, "--model-file", own) == 2
    assert (
        "NoConv makes (2, 10) of 2 images, not logits of shape (2, 3); these images have 3 classes: let its class"
        in (capsys.readouterr().err)
    )


@pytest.mark.figures
def test_of_very_many_classes_the_best_and_the_worst_are_shown(tmp_path):
    names = [f"class {number} of very many with a long name that goes on and on" for number in range(100)]
    confusion = torch.diag(torch.arange(100)) + 1
    metrics = utils.EvalMetrics(4.6, confusion, 0.1)
    lines = utils.result_lines(metrics.as_dict(names))
    assert lines[1] == "the best and the worst 20 of 100 classes"
    assert [line.split()[3] for line in lines[2:]] == [str(n) for n in (*range(99, 79, -1), *range(19, -1, -1))]
    utils.plot_per_class(tmp_path / "per_class.png", "Q1_1 on data", metrics, names)
    utils.plot_confusion(tmp_path / "confusion.png", "Q1_1 on data", metrics, names)
    assert min(path.stat().st_size for path in tmp_path.glob("*.png")) > 10_000


def test_report_on_other_data_says_nothing_of_claims_and_has_no_gallery(tmp_path):
    names = [f"c{number}" for number in range(60)]
    for slug in ("cifar100", "folder-1a2b3c4d"):
        for shuffle in ("none", "fixed", "per-image"):
            fake_run(tmp_path / slug, "Q1_1", shuffle=shuffle, slug=slug, data="Others", classes=names)
        report = overview.write(tmp_path / slug, overview.Options(study=True))
        text = report.path.with_suffix(".md").read_text(encoding="utf-8")
        assert report.notes == []
        assert "say nothing of any of them" in text
        assert "Others (this is not CIFAR-10)" in text
        assert "Accuracy by class: the best and the worst 20 of 60 classes" in text
        assert not report.path.with_name("gallery.html").exists()
