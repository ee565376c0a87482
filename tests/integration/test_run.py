"""Whole runs from the command line, on a small synthetic set."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
import ex1
import models
import utils
from datasets import cifar10, download, synthetic
from experiments import probes
from report import results
from runner import checkpoint, config, records, rng
from runner.errors import RunnerError
from runner.step import initialize_kaiming
from tests.helpers import internals, reference
from tests.helpers.cli import accuracies, execute, run_folder
from tests.helpers.compare import same, weights

FILES = {
    "config.json", "history.csv", "metrics.json", "summary.txt", "curves.png", "per_class.png", "confusion.png",
    "samples.png", "last.pt", "previous.pt",
}  # fmt: skip


@pytest.mark.figures
def test_run_leaves_all_files_and_each_names_the_data(ex1_main, tmp_path, capsys):
    assert ex1_main("--model-name", "q1-1", "--epochs", "2", "--shuffle", "per-image", "--lr", "0.01") == 0
    folder = run_folder(tmp_path)
    assert {path.name for path in folder.iterdir() if path.name != ".lock"} == FILES
    assert folder.relative_to(tmp_path) == Path(
        "results/synthetic/Q1_1/Q1_1__shuffle-per-image__epochs-2__lr-0.01__seed-0"
    )

    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert settings["dataset"] == "SYNTHETIC (not CIFAR-10)"
    assert settings["settings"]["lr"] == 0.01
    assert set(settings["settings"]) == set(config.FIELDS)
    assert settings["machine"]["threads"] == 1
    assert settings["machine"]["device"] == "cpu"
    assert settings["machine"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert len(settings["data"]["sha256"]) == 64

    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {row["dataset"] for row in rows} == {"SYNTHETIC (not CIFAR-10)"}
    assert set(rows[0]) == {
        "dataset", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_confidence", "seconds",
        "val_calibration_error", "val_confidence_when_wrong", "val_scaled_loss", "images_per_second",
        *(f"val_accuracy_of_syn{n}" for n in range(10)),
    }  # fmt: skip
    assert 0 <= float(rows[1]["val_accuracy"]) <= 1

    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    confusion = torch.tensor(metrics["test"]["confusion"])
    assert confusion.sum() == metrics["test"]["images"] == 100
    assert metrics["test"]["accuracy"] == pytest.approx(confusion.trace().item() / 100)
    assert metrics["test"]["accuracy"] == metrics["validation"]["accuracy"] == float(rows[1]["val_accuracy"])
    correct = bin(int(metrics["test"]["correct_images"], 16)).count("1")
    assert correct == round(100 * metrics["test"]["accuracy"])
    calibration = metrics["test"]["calibration"]
    assert calibration["scaled_loss"] == float(rows[1]["val_scaled_loss"]) > 0
    assert calibration["error"] == float(rows[1]["val_calibration_error"]) > 0
    for name, row in zip(metrics["test"]["per_class_accuracy"], confusion):
        label = int(name.removeprefix("syn"))
        assert metrics["test"]["per_class_accuracy"][name] == pytest.approx(row[label].item() / row.sum().item())
    assert metrics["parameters"] == 62_006
    assert "best_epoch_by_holdout" not in metrics

    summary = (folder / "summary.txt").read_text(encoding="utf-8")
    assert "SYNTHETIC (not CIFAR-10)" in summary
    assert "MaxPool2d-2" in summary
    assert "Trainable parameters: 62,006" in summary
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300

    out, err = capsys.readouterr()
    assert all(line.startswith("[SYNTHETIC (not CIFAR-10)] ") for line in out.splitlines())
    assert "Accuracy of syn0 : " in out
    assert str(folder) in out
    assert "THIS IS NOT CIFAR-10" in err
    assert "\r" not in out + err


def test_run_twice_gives_same_figures_in_two_folders(ex1_main, tmp_path):
    command = ("--model-name", "Q1_24", "--epochs", "2", "--batch-size", "50", "--shuffle", "fixed")
    assert ex1_main(*command) == 0
    torch.randn(3)
    assert ex1_main(*command, "--new") == 0
    first, second = sorted(path.parent for path in tmp_path.glob("results/*/*/*/metrics.json"))
    assert second.name == first.name + "__run-2"
    assert same(weights(first), weights(second))
    assert (first / "metrics.json").read_text(encoding="utf-8") == (second / "metrics.json").read_text(encoding="utf-8")


def test_run_with_another_seed_is_another_run(ex1_main, tmp_path):
    for seed in "01":
        ex1_main("--model-name", "Q1_4", "--epochs", "1", "--seed", seed)
    first, second = sorted(path.parent for path in tmp_path.glob("results/*/*/*/metrics.json"))
    assert (first.name[-1], second.name[-1]) == ("0", "1")
    assert not same(weights(first), weights(second))


@pytest.mark.figures
def test_run_is_not_changed_by_its_figures(ex1_main, tmp_path, monkeypatch):
    command = ("--model-name", "Q1_24", "--epochs", "1", "--batch-size", "50")
    ex1_main(*command)
    monkeypatch.setattr(utils, "parameter_summary", lambda network: "")
    monkeypatch.setattr(utils, "plot_samples", lambda *args: None)
    ex1_main(*command, "--new")
    first, second = sorted(path.parent for path in tmp_path.glob("results/*/*/*/metrics.json"))
    assert same(weights(first), weights(second))


def test_run_with_holdout_looks_at_test_set_once(ex1_main, tmp_path, monkeypatch):
    looks = []
    real = data.Loader.epoch

    def watch(loader, epoch, done=0):
        looks.append((loader.split, epoch))
        return real(loader, epoch, done)

    monkeypatch.setattr(data.Loader, "epoch", watch)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "3", "--val", "holdout", "--holdout", "50", "--lr", "0.01") == 0
    train, test, held_out = data.TRAIN, data.TEST, data.HOLDOUT
    samples = [(held_out, 1)]
    assert looks == [
        *samples,
        (train, 1),
        (held_out, 1),
        (train, 2),
        (held_out, 2),
        (train, 3),
        (held_out, 3),
        (test, 3),
    ]
    folder = run_folder(tmp_path)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert metrics["validated_on"] == "50 images held out"
    assert metrics["test"]["images"] == 100
    best = metrics["best_epoch_by_holdout"]
    assert best["validation_accuracy"] == max(float(row["val_accuracy"]) for row in rows)
    saved = torch.load(folder / "best.pt", weights_only=True)
    assert len(saved["history"]) == best["epoch"]


def test_best_weights_are_of_best_epoch_on_holdout(ex1_main, tmp_path, monkeypatch):
    right = iter([1, 3, 3, 2, 0])  # of five images in each of four epochs, and of the test images

    def measured(*args):
        n = next(right)
        return utils.EvalMetrics(
            1.0, torch.diag(torch.tensor([n] + [0] * 9)) + torch.eye(10, dtype=int).roll(1, 1) * (5 - n), 0.5
        )

    monkeypatch.setattr(ex1, "validate", measured)
    ex1_main("--model-name", "Q1_1", "--epochs", "4", "--val", "holdout", "--holdout", "50", "--limit", "20")
    folder = run_folder(tmp_path)
    assert len(torch.load(folder / "best.pt", weights_only=True)["history"]) == 2
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["best_epoch_by_holdout"]["epoch"] == 2
    assert metrics["epochs"] == 4


@pytest.mark.parametrize("shuffle", ["none", "fixed", "per-image", "block:4", "grey+within:8", "edges:8"])
def test_evaluate_repeats_saved_run_to_last_digit(ex1_main, tmp_path, capsys, shuffle):
    ex1_main("--model-name", "Q1_1", "--epochs", "2", "--shuffle", shuffle, "--lr", "0.01", "--data-seed", "3")
    folder = run_folder(tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    first = capsys.readouterr().out
    assert ex1_main("--evaluate", str(folder)) == 0
    again = capsys.readouterr().out
    lines = [line for line in first.splitlines() if "Accuracy of" in line]
    assert len(lines) == 11
    assert lines == [line for line in again.splitlines() if "Accuracy of" in line]
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_val_shuffle_holds_in_training_and_evaluation(ex1_main, tmp_path, capsys):
    common = ("--model-name", "Q2_1", "--epochs", "4", "--lr", "0.005", "--cues", "position")
    ex1_main(*common, "--shuffle", "fixed", "--val-shuffle", "per-image")
    crossed = accuracies(capsys.readouterr().out)
    (cross,) = tmp_path.glob("results/*/*/*val-shuffle-per-image*")
    ex1_main(*common, "--shuffle", "fixed")
    straight = accuracies(capsys.readouterr().out)
    (plain,) = set(tmp_path.glob("results/*/Q2_1/*__seed-0")) - {cross}
    assert same(weights(plain), weights(cross))  # it is trained alike
    assert crossed != straight
    for run, shuffle, expected in [
        (plain, "per-image", crossed),
        (cross, "same", straight),
        (cross, "fixed", straight),
    ]:
        assert ex1_main("--evaluate", str(run), "--val-shuffle", shuffle) == 0
        assert accuracies(capsys.readouterr().out) == expected
    assert ex1_main("--evaluate", str(cross)) == 0
    assert accuracies(capsys.readouterr().out) == crossed


def test_cues_make_data_set_with_own_folder_and_name(ex1_main, tmp_path, capsys):
    common = ("--model-name", "Q1_1", "--epochs", "1")
    assert ex1_main(*common, "--cues", "position,colour:0.5") == 0
    folder = run_folder(tmp_path)
    assert folder.parents[1].name == "synthetic-colour-0.5-position-1"
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["dataset"].endswith("colour 0.5 position 1")
    first = accuracies(capsys.readouterr().out)
    assert ex1_main("--evaluate", str(folder)) == 0
    assert accuracies(capsys.readouterr().out) == first
    assert ex1_main("--resume", str(folder), "--cues", "texture") == 1
    assert "was trained on" in capsys.readouterr().err
    # All three at 0.7 is the set that is there without a word.
    assert ex1_main(*common, "--cues", "colour:0.7,position:0.7,texture:0.7") == 0
    assert (tmp_path / "results/synthetic").is_dir()


def test_evaluate_refuses_other_data(ex1_main, saved_run, capsys, monkeypatch):
    internals.shrink_synthetic(200, 50, monkeypatch.setattr)
    assert ex1_main("--evaluate", str(saved_run)) == 1
    assert "was trained on" in capsys.readouterr().err


def test_best_weights_of_holdout_run_can_be_used(ex1_main, tmp_path, capsys):
    ex1_main("--model-name", "Q1_1", "--epochs", "1", "--val", "holdout", "--holdout", "20")
    assert ex1_main("--evaluate", str(run_folder(tmp_path)), "--weights", "best") == 0
    assert "best checkpoint" in capsys.readouterr().out


def test_transfer_measures_run_with_every_shuffle(ex1_main, tmp_path, capsys):
    ex1_main("--model-name", "Q1_1", "--epochs", "2", "--lr", "0.01", "--shuffle", "fixed", "--cues", "colour,position")
    folder = run_folder(tmp_path)
    assert ex1_main("--transfer", str(folder)) == 0
    transfer = json.loads((folder / "transfer.json").read_text(encoding="utf-8"))
    assert transfer["trained_with"] == "fixed"
    own = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]["accuracy"]
    assert transfer["test_accuracy"]["fixed"] == own
    assert set(transfer["test_accuracy"]) == {*config.SHUFFLES, *probes.COMPOSED}
    capsys.readouterr()
    for shuffle in ("grey", "within:4"):
        ex1_main("--evaluate", str(folder), "--val-shuffle", shuffle)
        accuracy = transfer["test_accuracy"][shuffle]
        assert f"on 100 test images: {100 * accuracy:.1f} %" in capsys.readouterr().out


def test_transfer_of_a_run_whose_pixels_stay_is_a_mean_over_permutations(ex1_main, tmp_path, monkeypatch):
    ex1_main("--model-name", "Q1_1", "--epochs", "3", "--lr", "0.02", "--cues", "position")
    monkeypatch.setattr(probes, "SHUFFLES", ("none", "block:8"))
    monkeypatch.setattr(probes, "COMPOSED", ())
    folder = run_folder(tmp_path)
    assert ex1_main("--transfer", str(folder)) == 0
    transfer = json.loads((folder / "transfer.json").read_text(encoding="utf-8"))
    assert transfer["permutations"] == 5
    run = probes.load_run(str(folder), "last", {}, ex1.validate)
    images = run.test_images()[1]
    each = [run.measure(images, "block:8", seed).accuracy for seed in range(5)]
    assert transfer["test_accuracy"]["block:8"] == pytest.approx(sum(each) / 5)
    assert len(set(each)) > 1
    assert transfer["test_accuracy"]["none"] == run.measure(images).accuracy


def test_conflict_measures_which_cue_is_followed(ex1_main, tmp_path, monkeypatch):
    # 200 images are too few to learn from: all that a per-image shuffle leaves is colour, in any number of them.
    common = ("--model-name", "Q1_1", "--recipe", "fast", "--lr", "0.02", "--batch-size", "16")
    ex1_main(*common, "--epochs", "10", "--shuffle", "per-image", "--cues", "colour,position,texture")
    folder = run_folder(tmp_path)
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 500)
    assert ex1_main("--conflict", str(folder)) == 0
    content = json.loads((folder / "conflict.json").read_text(encoding="utf-8"))
    assert [pair["cues"] for pair in content["pairs"]] == [
        ["colour", "position"],
        ["colour", "texture"],
        ["position", "texture"],
    ]
    for pair in content["pairs"]:
        assert sum(pair["answers"].values()) == pytest.approx(1)
        for cue in pair["cues"]:
            assert pair["answers"][cue] > 0.3 if cue == "colour" else pair["answers"][cue] < 0.2


@pytest.mark.parametrize("action", ["--transfer", "--collapse", "--conflict"])
def test_measurement_that_can_not_be_written_is_not_begun(ex1_main, saved_run, capsys, monkeypatch, action):
    # root may write anywhere, so the system's answer is made up.
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != saved_run)
    monkeypatch.setattr(ex1, "validate", lambda *arguments: pytest.fail("measured"))
    assert ex1_main(action, str(saved_run)) == 1
    assert f"{saved_run} can't be written" in capsys.readouterr().err


def test_conflict_needs_two_cues(ex1_main, tmp_path, capsys):
    ex1_main("--model-name", "Q1_1", "--epochs", "1", "--cues", "colour")
    assert ex1_main("--conflict", str(run_folder(tmp_path))) == 2
    assert "was not trained on images whose class two cues or more tell" in capsys.readouterr().err


def test_collapse_writes_matrix_beside_affine_run(ex1_main, tmp_path, capsys):
    ex1_main("--model-name", "Q2_1", "--epochs", "1", "--shuffle", "per-image")
    folder = run_folder(tmp_path)
    assert ex1_main("--collapse", str(folder)) == 0
    assert "1,119,926 parameters come to 30,730 numbers" in capsys.readouterr().out
    facts = json.loads((folder / "matrix.json").read_text(encoding="utf-8"))
    assert 0 < facts["largest_difference"] < 1e-4
    assert facts["images"] == 100
    accuracy = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["validation"]["accuracy"]
    assert facts["scores"]["own_highest"] == pytest.approx(accuracy, abs=1e-6)
    assert facts["untrained"].keys() == facts["scores"].keys() | {"uniform_share"}
    assert facts["untrained"] != {**facts["scores"], "uniform_share": facts["uniform_share"]}
    with np.load(folder / "matrix.npz") as matrix:
        weight, bias = torch.from_numpy(matrix["weight"]), torch.from_numpy(matrix["bias"])
    network = models.build("Q2_1").eval()
    network.load_state_dict(weights(folder))
    images = torch.rand(5, 3, 32, 32)
    expected = images.double().flatten(1) @ weight.flatten(1).T + bias
    torch.testing.assert_close(network(images).detach().double(), expected, rtol=0, atol=1e-4)
    assert (folder / "templates.png").exists()


def test_collapse_refuses_network_that_is_not_affine(ex1_main, saved_run, capsys):
    before = set(saved_run.iterdir())
    assert ex1_main("--collapse", str(saved_run)) == 1
    assert "Q1_1 is not affine" in capsys.readouterr().err
    assert set(saved_run.iterdir()) == before


def test_predict_tells_what_the_network_computes(ex1_main, tmp_path, capsys):
    ex1_main("--model-name", "Q1_1", "--epochs", "1", "--shuffle", "fixed", "--lr", "0.01")
    folder = run_folder(tmp_path)
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=draws)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    Image.new("L", (100, 50), 128).save(tmp_path / "b.jpg")
    capsys.readouterr()
    assert ex1_main("--predict", str(tmp_path / "a.png"), str(tmp_path / "b.jpg"), "--from", str(folder)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "b.jpg, its pixels shuffled (fixed): syn" in lines[1]
    network = models.build("Q1_1").eval()
    network.load_state_dict(weights(folder))
    x = data.normalize(pixels.view(1, 3, 1024)[:, :, reference.fixed_permutation(0)].view(1, 3, 32, 32))
    probability, label = network(x).softmax(1).max(1)
    assert f"a.png, its pixels shuffled (fixed): syn{label.item()} {100 * probability.item():.1f} %," in lines[0]


def test_predict_answers_all_it_can_and_names_all_it_cannot(ex1_main, saved_run, tmp_path, capsys):
    (tmp_path / "many" / "sub").mkdir(parents=True)
    for name in ("many/b.png", "many/sub/a.png", "one.png"):
        Image.new("RGB", (40, 32), "red").save(tmp_path / name)
    (tmp_path / "many" / "bad.png").write_bytes((tmp_path / "one.png").read_bytes()[:60])
    paths = [str(tmp_path / name) for name in ("many", "none.png", "one.png")]
    assert ex1_main("--predict", *paths, "--from", str(saved_run)) == 1
    out, err = capsys.readouterr()
    answered = [line.partition(" sees in ")[2].partition(":")[0] for line in out.splitlines()]
    assert answered == [str(tmp_path / name) for name in ("many/b.png", "many/sub/a.png", "one.png")]
    bad, missing, last = err.splitlines()
    assert bad.startswith(f"{tmp_path}/many/bad.png: can't be read as an image: ")
    assert missing == f"{tmp_path}/none.png: No such file or directory"
    assert last == "ex1.py: error: --predict: 2 problems, they are named above"

    assert ex1_main("--predict", paths[1], "--from", str(saved_run)) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"ex1.py: error: {missing}\n")


def test_own_model_is_trained_and_asks_for_its_file_again(ex1_main, tmp_path, capsys, registry):
    own = tmp_path / "mine.py"
    own.write_text(
        "from torch import nn\nfrom models import register\n\n"
        "@register('Linear', change='one matrix')\nclass Linear(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(3072, 10))\n",
        encoding="utf-8",
    )
    assert ex1_main("--model-name", "linear", "--model-file", str(own), "--epochs", "1") == 0
    del registry["linear"]
    folder = run_folder(tmp_path)
    assert ex1_main("--evaluate", str(folder)) == 2
    assert f"give --model-file {own}" in capsys.readouterr().err
    assert ex1_main("--evaluate", str(folder), "--model-file", str(own)) == 0


def test_quiet_prints_the_result_alone(ex1_main, tmp_path, capsys):
    ex1_main("--model-name", "Q1_1", "--epochs", "1", "--quiet")
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "[SYNTHETIC (not CIFAR-10)] Q1_1: test accuracy" in out
    assert "THIS IS NOT CIFAR-10" in err


@pytest.mark.parametrize(
    ("run", "code", "message"),
    [
        ("nowhere", 2, "nowhere: there is no run in results; give a run's folder, or --results-dir"),
        ("empty", 1, "is this the folder of a run"),
        ("garbage", 1, "last.pt is damaged"),
    ],
)
def test_evaluate_tells_folder_without_run_in_a_line(ex1_main, tmp_path, capsys, run, code, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "last.pt").write_bytes(b"garbage")
    assert ex1_main("--evaluate", str(tmp_path / run)) == code
    out, err = capsys.readouterr()
    assert message in err
    assert len(err.splitlines()) == 1


def test_download_that_fails_stops_cifar10_and_not_auto(tmp_path, small_synthetic, capsys, monkeypatch):
    place = ["--data-dir", str(tmp_path / "none"), "--results-dir", str(tmp_path / "results"), "--epochs", "1"]
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("CIFAR10_URL", "http://127.0.0.1:9/x")
    assert execute(["--model-name", "Q1_1", "--dataset", "cifar10", *place]) == 1
    assert "ex1.py: error: http://127.0.0.1:9/x" in capsys.readouterr().err
    assert execute(["--model-name", "Q1_1", *place]) == 0
    err = capsys.readouterr().err
    assert "could not be downloaded" in err
    assert "THIS IS NOT CIFAR-10" in err
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["synthetic"]


def test_damaged_source_of_images_stops_the_run(tmp_path, capsys):
    (tmp_path / "data" / cifar10.BATCH_FOLDER).mkdir(parents=True)
    (tmp_path / "data" / cifar10.BATCH_FOLDER / "data_batch_1").write_bytes(b"x")
    place = ["--data-dir", str(tmp_path / "data"), "--results-dir", str(tmp_path / "results")]
    assert execute(["--model-name", "Q1_1", *place]) == 1
    assert "data_batch_1 is damaged" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_evaluate_tells_changed_model_or_checkpoint_in_a_line(ex1_main, saved_run, capsys, monkeypatch, registry):
    folder = saved_run

    def refused(code, message):
        capsys.readouterr()
        assert ex1_main("--evaluate", str(folder)) == code
        assert message in capsys.readouterr().err

    registry["q1_1"] = models.ModelSpec("Q1_1", "3k5", "", None)
    refused(1, "Q1_1 has changed since this run was trained")
    del registry["q1_1"]
    refused(2, "no model is named 'Q1_1'")
    monkeypatch.undo()
    saved = torch.load(folder / "last.pt", weights_only=True)
    checkpoint.save(folder / "last.pt", saved | {"config": saved["config"] | {"unheard_of": 1}})
    refused(1, "is not a run of this version of the program")
    checkpoint.save(folder / "last.pt", {"weights": 1})
    refused(1, "is not a checkpoint of this program")


def test_evaluate_asks_for_the_folder_of_images(ex1_main, tmp_path, capsys, monkeypatch):
    for split in ("train", "test"):
        for name in cifar10.CLASSES:
            (tmp_path / "images" / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(tmp_path / "images" / split / name / "a.png")
    place = ["--data-dir", str(tmp_path / "images"), "--results-dir", str(tmp_path / "results")]
    assert execute(["--model-name", "Q1_1", "--epochs", "1", "--dataset", "cifar10", *place]) == 0
    (tmp_path / "images").rename(tmp_path / "moved")
    monkeypatch.setattr(download, "download", lambda *args: pytest.fail("tried to download"))
    folder = str(run_folder(tmp_path))
    capsys.readouterr()
    assert ex1_main("--evaluate", folder) == 1
    assert "say with --data-dir where" in capsys.readouterr().err
    assert ex1_main("--evaluate", folder, "--data-dir", str(tmp_path / "moved")) == 0


def test_untrained_network_is_the_one_that_training_began_with():
    for recipe in ("classic", "fast"):
        settings = config.Config.from_given({"model_name": "Q1_1", "recipe": recipe, "seed": 3})
        before = torch.get_rng_state()
        made = probes.build_untrained(settings)
        assert torch.equal(torch.get_rng_state(), before)
        rng.seed_everything(3)
        network = models.build("Q1_1")
        if recipe == "fast":
            initialize_kaiming(network)
        assert same(made.state_dict(), network.state_dict())


# ---- early stopping, curves and events while a run trains ------------------------------------------------------------


def test_run_ends_when_its_patience_does(ex1_main, tmp_path, capsys):
    command = "--model-name Q1_1 --epochs 9 --val holdout --holdout 20 --patience 2 --lr 1e-12".split()
    assert ex1_main(*command) == 0
    out = capsys.readouterr().out
    assert "no better validation accuracy in 2 epochs: the run ends here" in out
    [folder] = tmp_path.glob("results/*/*/*")
    assert folder.name == "Q1_1__shuffle-none__epochs-9__lr-1e-12__patience-2__val-holdout__holdout-20__seed-0"
    assert len(records.read_history(folder)) == records.read_metrics(folder)["epochs"] == 3
    assert results.read_run(folder).is_finished
    assert ex1_main(*command) == 0
    assert f"{folder} is finished; " in capsys.readouterr().out


def test_curves_are_drawn_while_a_run_trains_where_that_is_cheap(ex1_main, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(utils, "plot_curves", lambda path, title, history, on: drawn.append(len(history)))
    for share, expected in ((0, [3]), (10**9, [1, 2, 3, 3])):
        monkeypatch.setattr(utils, "CURVES_SHARE", share)
        drawn.clear()
        assert ex1_main("--model-name", "Q1_1", "--epochs", "3", "--batch-size", "50", "--new") == 0
        assert drawn == expected


def test_events_are_written_while_a_run_trains_and_are_those_of_its_history(ex1_main, tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    command = ["--model-name", "Q1_1", "--epochs", "3", "--batch-size", "50", "--tensorboard"]
    show, seen = utils.Watch.show, []

    def read(folder):
        events = accumulator.EventAccumulator(str(folder / "tensorboard")).Reload()
        return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    def show_and_stop(watch, history):
        show(watch, history)
        seen.append(len(read(watch.folder)["loss/train"]))
        if len(history) == 2:
            raise RunnerError("stopped here")

    monkeypatch.setattr(utils.Watch, "show", show_and_stop)
    assert ex1_main(*command) == 1
    assert seen == [1, 2]
    monkeypatch.setattr(utils.Watch, "show", show)
    assert ex1_main(*command) == 0
    [folder] = tmp_path.glob("results/*/*/*")
    history, events = records.read_history(folder), read(folder)
    for tag, column in (("loss/train", "train_loss"), ("accuracy/val", "val_accuracy")):
        assert events[tag] == [(row["epoch"], pytest.approx(row[column], rel=1e-6)) for row in history]


def test_events_without_tensorboard_are_refused_before_images_are_read(ex1_main, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--tensorboard") == 2
    out, err = capsys.readouterr()
    assert err.splitlines()[-1].endswith("pip install tensorboard")
    assert out == ""


# ---- a run by its name, the plan before it is trained ----------------------------------------------------------------


def test_run_is_found_by_a_part_of_its_name_or_as_the_last(ex1_main, tmp_path, capsys):
    for seed in "01":
        assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--batch-size", "50", "--seed", seed) == 0
    first, second = sorted(tmp_path.glob("results/*/*/*"))
    where = ["--results-dir", str(tmp_path / "results")]
    for name, folder in (("seed-0", first), ("Q1_1/q1_1__shuffle-none__epochs-1__batch-size-50__SEED-1", second)):
        capsys.readouterr()
        assert ex1_main("--evaluate", name, *where) == 0
        assert f"{folder}: last checkpoint" in capsys.readouterr().out
    assert ex1_main("--resume", "last", *where) == 0
    assert f"{second} is finished; " in capsys.readouterr().out
    for name, why in (
        ("batch-size-50", "is a part of 2 names in .*, such as Q1_1__.* and Q1_1__"),
        ("seed-7", "does not exist, and no run has it in its name in .*results"),
    ):
        assert ex1_main("--resume", name, *where) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert re.search(why, line)


@pytest.mark.parametrize("name", ["last", "Q1_1"])
def test_run_that_is_asked_for_where_there_is_none_is_told_so(ex1_main, tmp_path, capsys, name):
    for action in ("--resume", "--evaluate"):
        assert ex1_main(action, name, "--results-dir", str(tmp_path)) == 2
        said = f"ex1.py: error: {name}: there is no run in {tmp_path}; give a run's folder, or --results-dir\n"
        assert capsys.readouterr().err == said


def test_dry_run_of_a_sweep_that_adds_seeds_shows_its_first_look(ex1_main, capsys):
    command = ["--model-name", "Q1_1", "--until-decided", "2", "--max-seeds", "4", "--dry-run"]
    assert ex1_main(*command, "--lr", "0.001,0.01") == 0
    out = capsys.readouterr().out
    assert out.count(": new, about ") == 6
    assert (
        "these are of look 1 of 2, 3 of each setting; until it is decided, 8 runs at most, 4 of each setting\n" in out
    )
    assert ex1_main(*command) == 2
    assert "--until-decided compares settings" in capsys.readouterr().err


def test_dry_run_shows_the_plan_and_how_far_it_is_and_trains_nothing(ex1_main, tmp_path, capsys):
    command = ["--model-name", "Q1_1", "--epochs", "2", "--lr", "0.001", "0.01", "--batch-size", "20,50"]
    assert ex1_main(*command[:4], "--batch-size", "20") == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert ex1_main(*command, "--seeds", "0-1", "--dry-run", "--jobs", "2") == 0
    out = capsys.readouterr().out
    assert out.count(": new, about ") == 7
    assert "Q1_1, epochs-2, batch-size-20, seed-0: finished" in out
    assert re.search(r"8 runs on SYNTHETIC .*, 1 finished: about \d+ s on this machine, 2 at a time", out)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert ex1_main("--model-name", "Q1_1", "--epochs", "2", "--batch-size", "20", "--dry-run") == 0
    assert "1 run on SYNTHETIC (not CIFAR-10), 1 finished\n" in capsys.readouterr().out


def test_few_steps_are_told_with_what_would_do(ex1_main, capsys):
    few = "25 steps are too few to learn much or to compare networks by: --epochs"
    ex1_main("--model-name", "Q1_1", "--epochs", "1", "--limit", "100")
    assert f"{few} 160 would do, fewer with a larger --limit" in capsys.readouterr().out
    ex1_main("--model-name", "Q1_1", "--lr", "0.001,1", "--epochs", "1", "--limit", "100", "--dry-run")
    assert f"2 of 2 runs: {few} 160 would do" in capsys.readouterr().out
    ex1_main("--model-name", "Q1_1", "--epochs", "1")
    assert " would do\n" in capsys.readouterr().out


def test_finished_run_is_not_said_to_go_on_where_its_schedule_is_planned(ex1_main, capsys):
    command = ["--model-name", "Q1_1", "--epochs", "1", "--limit", "100", "--schedule"]
    for schedule, longer in (("constant", True), ("cosine", False)):
        ex1_main(*command, schedule)
        capsys.readouterr()
        ex1_main(*command, schedule)
        out = capsys.readouterr().out
        assert "is finished; --new trains it again" in out
        assert ("--resume with more --epochs goes on with it" in out) == longer
