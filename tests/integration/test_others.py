"""A saved run that is tested on other images, and what a report says of that."""

import json
import shutil
from hashlib import sha256

import pytest

from report import overview, results
from report.others import read_measured
from runner import files, records
from tests.helpers.cli import execute, run_folder
from tests.helpers.fake_runs import fake_run
from tests.helpers.images import load_images, make_images
from tests.helpers.markdown import rows
from tests.helpers.others import write_cifar10_1, write_cifar10_c


@pytest.fixture(scope="module")
def first_trained(tmp_path_factory, few_images):
    """A run on few images of CIFAR-10's classes; not to be changed."""
    place = tmp_path_factory.mktemp("trained")
    options = ["--data-dir", few_images, "--results-dir", place / "results", "--threads", "1", "--limit", "100"]
    assert execute(["--model-name", "Q1_1", "--epochs", "1", *options]) == 0
    return run_folder(place)


@pytest.fixture
def trained(first_trained, tmp_path):
    return shutil.copytree(first_trained, tmp_path / "run")


def result_on(run):
    """The one result of a run on other images, and its file."""
    [name] = records.list_measured(run)
    return json.loads((run / name).read_text(encoding="utf-8")), name


def test_run_on_its_own_test_images_comes_to_its_own_result(trained, few_images, tmp_path, capsys):
    assert execute(["--evaluate", trained, "--on", few_images / "test"]) == 0
    own = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["test"]
    content, name = result_on(trained)
    assert content["test"] == own
    assert (content["images"], content["accuracy"]) == (own["images"], own["accuracy"])
    assert name == f"on-folder-{content['sha256'][:8]}.json"
    assert "Accuracy of the network on 50 test images" in capsys.readouterr().out
    images = load_images("cifar10", few_images).test
    assert content["sha256"] == sha256(images.pixels.numpy().tobytes() + images.labels.numpy().tobytes()).hexdigest()
    # The same images in another form are told by the same SHA-256.
    (trained / name).unlink()
    assert execute(["--evaluate", trained, "--on", write_cifar10_1(tmp_path / "there", images)]) == 0
    again, name = result_on(trained)
    assert (again["test"], again["sha256"]) == (own, content["sha256"])
    assert name == f"on-cifar10.1-v6-{content['sha256'][:8]}.json"


@pytest.mark.figures
def test_run_on_corrupted_images_is_measured_by_corruption_and_severity(trained, tmp_path, capsys):
    images = make_images(40)
    assert execute(["--evaluate", trained, "--on", write_cifar10_c(tmp_path / "C", images)]) == 0
    content, name = result_on(trained)
    out = capsys.readouterr().out
    means = [accuracy for each in content["corruptions"].values() for accuracy in each]
    assert [len(each) for each in content["corruptions"].values()] == [5, 5]
    assert content["accuracy"] == pytest.approx(sum(means) / 10)
    assert content["images"] == 400
    assert f"mean over 2 corruptions at severities 1 to 5: {100 * content['accuracy']:.1f} %" in out
    assert (trained / name).with_suffix(".png").stat().st_size > 5000
    # Severity 1 of the first one is the images themselves.
    write_cifar10_1(tmp_path / "there", images)
    (trained / name).unlink()
    assert execute(["--evaluate", trained, "--on", tmp_path / "there"]) == 0
    assert result_on(trained)[0]["accuracy"] == content["corruptions"]["brightness"][0]


def test_run_on_other_classes_is_not_tested_on_cifar10(ex1_main, saved_run, tmp_path, capsys):
    for folder in (write_cifar10_1(tmp_path / "1", make_images(20)), write_cifar10_c(tmp_path / "C", make_images(20))):
        assert ex1_main("--evaluate", str(saved_run), "--on", str(folder)) == 2
        assert "was trained on SYNTHETIC (not CIFAR-10): on other classes" in capsys.readouterr().err
    assert not records.list_measured(saved_run)


def test_unreadable_images_leave_no_result(trained, tmp_path, capsys):
    folder = write_cifar10_c(tmp_path / "C", make_images(10))
    (folder / "brightness.npy").write_bytes(b"")
    assert execute(["--evaluate", trained, "--on", folder]) == 1
    assert "brightness.npy: can't be read" in capsys.readouterr().err
    assert not records.list_measured(trained)


# ---- the report ------------------------------------------------------------------------------------------------------


def write_on(run, accuracy=0.5, name="CIFAR-10.1 v6", **changes):
    content = {"epoch": 10, "weights": "last", "name": name, "sha256": "a" * 64, "images": 2000, "accuracy": accuracy}
    files.write_json(run / "on-cifar10.1-v6-aaaaaaaa.json", content | changes)


def report_of(root):
    report = overview.write(root)
    return report.path.with_suffix(".md").read_text(encoding="utf-8"), report.notes


def test_report_shows_other_images_beside_the_test_images(tmp_path):
    for seed, lost in enumerate((0.10, 0.12, 0.14)):
        run = fake_run(tmp_path, "Q1_1", seed, accuracy=60)
        write_on(run, results.read_run(run).test / 100 - lost)
    fake_run(tmp_path, "Q1_2")
    write_on(one := fake_run(tmp_path, "Q1_19", accuracy=75), 0.7)
    text, notes = report_of(tmp_path)
    assert notes == []
    assert "### CIFAR-10.1 v6 (2,000 images, SHA-256 aaaaaaaa)" in text
    found, _ = rows(text, "network")
    network, runs, _, _, difference = found["Q1_1"]
    assert (runs, difference) == ("3", "-12.0<br>(-17.0 … -7.0)")
    assert found["Q1_19"][3:] == ["70.0", f"{70 - results.read_run(one).test:+.1f}"]
    assert "Q1_2" not in found


def test_report_shows_corruptions_by_severity(tmp_path):
    write_on(
        fake_run(tmp_path, "Q1_1"),
        0.45,
        "CIFAR-10-C",
        corruptions={"fog": [0.5, 0.5, 0.5, 0.5, 0.5], "snow": [0.6, 0.5, 0.4, 0.3, 0.2]},
    )
    text, _ = report_of(tmp_path)
    assert "report/on_1.png" in text
    found, _ = rows(text, "corruption")
    assert (found["fog"], found["snow"]) == (["fog", "50.0"], ["snow", "40.0"])


@pytest.mark.parametrize(
    "change",
    [
        {"accuracy": 1.5},
        {"accuracy": "0.5"},
        {"name": "a\nb"},
        {"name": "x" * 300},
        {"sha256": "../.."},
        {"images": 0},
        {"images": 2.5},
        {"corruptions": []},
        {"corruptions": {"fog": [0.5] * 4}},
        {"corruptions": {"fog": [0.4] * 5}},
        {"corruptions": {"a b": [0.5] * 5}},
        {"weights": "best"},
        {"epoch": 3},
    ],
)
def test_result_that_can_not_be_is_left_out_with_a_note(tmp_path, change):
    write_on(fake_run(tmp_path, "Q1_1"), **change)
    text, notes = report_of(tmp_path)
    assert "## On other images" not in text
    assert ["on-cifar10.1-v6-aaaaaaaa.json is left out, it can't be read" in note for note in notes] == [True]


def test_report_reads_what_a_run_writes(trained, few_images):
    assert execute(["--evaluate", trained, "--on", few_images / "test", "--quiet"]) == 0
    content, _ = result_on(trained)
    assert read_measured(content).accuracy == 100 * content["accuracy"]
