"""A folder of results from a stranger: nothing outside it is written, and nothing of what lies there is shown."""

import base64
import json
import os
import shutil
import sys

import pytest

from experiments import sweep
from report import __main__ as report_main
from report import overview, results
from runner import files, records
from runner.config import Config
from runner.errors import UsageError
from tests.helpers.cli import execute
from tests.helpers.fake_runs import fake_baselines, fake_run
from tests.helpers.internals import blank_png

if sys.platform == "win32":
    pytest.skip("makes links and pipes", allow_module_level=True)

SECRET = b"-----BEGIN PRIVATE KEY-----"
ENCODED = base64.b64encode(SECRET[:24]).decode()


@pytest.fixture
def outside(tmp_path):
    """A folder beside the results with a file in it, and what tells that nothing in there has changed."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(SECRET)
    return folder


def content_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def report_text(results, slug="cifar10"):
    return (results / slug / "report.md").read_text(encoding="utf-8")


def change_json(path, change):
    content = files.read_json(path)
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


# ---- the report -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["report.md", "report.html", "gallery.md", "report/parameters.png", "report/cues.png"])
def test_link_in_place_of_a_page_or_a_figure_is_replaced(tmp_path, outside, name):
    for model in ("Q1_1", "Q1_2"):
        fake_run(tmp_path, model)
    fake_run(tmp_path, "Q1_1", data="SYNTHETIC", slug="synthetic-colour-1", dataset="synthetic", cues="colour")
    link = tmp_path / "cifar10" / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside / "notes.txt")
    assert report_main.main([str(tmp_path / "cifar10"), "--study"]) == 0
    assert not link.is_symlink()
    assert content_of(outside) == {next(iter(content_of(outside))): SECRET}


@pytest.mark.parametrize("name", [".report.md.part", ".report.html.part", "report/.parameters.png.part"])
def test_link_in_place_of_a_temporary_file_is_not_followed(tmp_path, outside, name):
    fake_run(tmp_path, "Q1_1")
    link = tmp_path / "cifar10" / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside / "notes.txt")
    overview.write(tmp_path, overview.Options(study=True))
    assert (outside / "notes.txt").read_bytes() == SECRET


def test_link_in_place_of_the_folder_of_figures_is_refused(tmp_path, outside, capsys):
    fake_run(tmp_path, "Q1_1")
    (tmp_path / "cifar10" / "report").symlink_to(outside)
    assert report_main.main([str(tmp_path), "--study"]) == 1
    assert "report is a link that leads out of" in capsys.readouterr().err
    assert list(outside.iterdir()) == [outside / "notes.txt"]


def test_event_files_replace_a_link(tmp_path, outside):
    pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install -r requirements-optional.txt")
    fake_run(tmp_path, "Q1_1")
    (tmp_path / "cifar10" / "tensorboard").symlink_to(outside)
    assert report_main.main([str(tmp_path), "--tensorboard", "--study"]) == 0
    assert list(outside.iterdir()) == [outside / "notes.txt"]
    assert list((tmp_path / "cifar10" / "tensorboard").glob("Q1_1/*/events*"))


def affine_run(folder, **facts):
    """Puts what --collapse leaves into a run's folder, with these facts beside the right ones."""
    scores = dict.fromkeys(("own_mean", "own_sd", "others_sd", "own_highest", "own_lowest"), 0.5)
    right = {"largest_difference": 1e-6, "effective_rank": 7.5, "network_parameters": 30_730, "uniform_share": 0.1}
    files.write_json(folder / "matrix.json", right | {"epoch": 10, "weights": "last", "scores": scores} | facts)
    (folder / "templates.png").write_bytes(blank_png())


def test_pictures_of_a_run_that_lies_elsewhere_are_shown(tmp_path):
    """As where somebody keeps a copy of runs beside the others."""
    fake_run(tmp_path, "Q1_1")
    run = fake_run(tmp_path, "Q2_1", seed=1)
    affine_run(run)
    (tmp_path / "backup" / "Q2_1").mkdir(parents=True)
    run.rename(tmp_path / "backup" / "Q2_1" / run.name)
    study = overview.write(tmp_path, overview.Options(study=True)).study
    assert not study.notes
    page = (study.folder / "gallery.md").read_text(encoding="utf-8")
    assert f"](../backup/Q2_1/{run.name}/templates.png)" in page


@pytest.mark.parametrize("facts", [{"epoch": 9}, {"weights": "best"}, {"effective_rank": 10.5}])
def test_matrix_that_is_not_the_results_is_left_out(tmp_path, facts):
    for seed in range(2):
        affine_run(fake_run(tmp_path, "Q2_1", seed))
    assert overview.write(tmp_path, overview.Options(study=True)).notes == []
    affine_run(fake_run(tmp_path, "Q2_1", 2), **facts)
    study = overview.write(tmp_path, overview.Options(study=True)).study
    assert all("seed-2/matrix.json is left out, it can't be read: " in note for note in study.notes)
    assert study.notes
    assert "seed-2" not in (study.folder / "gallery.md").read_text(encoding="utf-8")


def test_odd_baseline_beside_proper_ones_is_left_out_with_a_line(tmp_path):
    fake_run(tmp_path, "Q1_1", shuffle="per-image")
    fake_baselines(tmp_path / "cifar10")
    change_json(
        tmp_path / "cifar10/baselines.json", lambda content: content["baselines"].update(mine={"accuracy": "bad"})
    )
    [note] = overview.write(tmp_path, overview.Options(study=True)).notes
    assert "baselines.json can't be read" in note


def test_name_that_tensorboard_can_not_take_is_told(tmp_path):
    pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install -r requirements-optional.txt")
    fake_run(tmp_path, "Q1_1", name=os.fsdecode(b"run\xff"))
    with pytest.raises(UsageError, match="TensorBoard can't write of "):
        report_main.write_events(*results.read_run_sets(tmp_path))


@pytest.mark.parametrize("name", ["../../../outside/x", "/x", "..", "a/b", "a\\b", "a\nb", "a\x1b[2Jb", "", "x" * 200])
def test_name_of_a_model_that_names_no_file_is_left_out(tmp_path, outside, name):
    for seed, shuffle in ((0, "none"), (0, "fixed")):
        folder = fake_run(tmp_path, "Q1_2", seed, shuffle)
        change_json(folder / "config.json", lambda content: content["settings"].update(model_name=name))
    fake_run(tmp_path, "Q1_1")
    (tmp_path / "cifar10" / "report" / "shuffles_..").mkdir(parents=True)
    assert report_main.main([str(tmp_path), "--tensorboard", "--study"]) == 0
    assert list(outside.iterdir()) == [outside / "notes.txt"]
    text = report_text(tmp_path)
    assert text.count("is left out") == 2
    assert "\x1b" not in text


@pytest.mark.parametrize("picture", ["link", "text"])
@pytest.mark.parametrize("place", ["report", "run"])
def test_picture_that_is_a_link_or_none_is_not_shown(tmp_path, outside, place, picture):
    for shuffle in ("none", "fixed"):
        folder = fake_run(tmp_path, "Q1_1", shuffle=shuffle)
    folder = folder if place == "run" else tmp_path / "cifar10" / "report"
    folder.mkdir(exist_ok=True)
    if picture == "link":
        (folder / "samples.png").symlink_to(outside / "notes.txt")
    else:
        (folder / "samples.png").write_bytes(SECRET)
    page = overview.write(tmp_path, overview.Options(study=True)).path.read_text(encoding="utf-8")
    assert ENCODED not in page
    assert "samples.png can&#39;t be shown" in page


@pytest.mark.parametrize("name", ["templates.png", "matrix.json", "transfer.json", "on-x.json", "baselines.json"])
@pytest.mark.parametrize("how", ["link", "pipe", "endless", "folder"])
def test_extra_file_that_is_no_regular_one_is_left_out(tmp_path, outside, name, how):
    folder = fake_run(tmp_path, "Q2_1")
    scores = dict.fromkeys(("own_mean", "own_sd", "others_sd", "own_highest", "own_lowest"), 0.5)
    matrix = {"network_parameters": 1, "largest_difference": 0.0, "effective_rank": 1.0, "scores": scores}
    files.write_json(folder / "matrix.json", matrix)
    path = (tmp_path / "cifar10" if name == "baselines.json" else folder) / name
    path.unlink(missing_ok=True)
    make_odd(path, how, outside)
    page = overview.write(tmp_path, overview.Options(study=True)).path
    assert f"{name} can&#39;t be" in page.read_text(encoding="utf-8")
    assert (
        base64.b64encode(SECRET[:24]).decode() not in page.with_name("gallery.html").read_text(encoding="utf-8")
        if (page.with_name("gallery.html").exists())
        else True
    )


def make_odd(path, how, outside):
    """Puts something that is no regular file at ``path``."""
    if how == "link":
        path.symlink_to(outside / "notes.txt")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


@pytest.mark.parametrize("how", ["link", "pipe", "endless", "folder"])
@pytest.mark.parametrize("name", ["config.json", "history.csv", "metrics.json"])
def test_run_whose_file_is_no_regular_one_is_left_out(tmp_path, outside, name, how):
    fake_run(tmp_path, "Q1_1")
    path = fake_run(tmp_path, "Q1_2") / name
    shutil.move(path, outside / "notes.txt")  # what a link leads to is right
    make_odd(path, how, outside)
    written = overview.write(tmp_path, overview.Options(study=True))
    assert [group.model for group in written.study.models] == ["Q1_1"]
    assert "Q1_2" in written.notes[0]


def test_file_beyond_any_sane_size_is_left_out(tmp_path):
    fake_run(tmp_path, "Q1_1")
    path = fake_run(tmp_path, "Q1_2") / "history.csv"
    os.truncate(path, 2**40)
    [note] = overview.write(tmp_path, overview.Options(study=True)).notes
    assert "history.csv" in note
    assert "MiB" in note


# ---- folders that are links -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_folder_in_results_that_leads_out_of_them_is_left_out_with_a_line(tmp_path, outside, depth):
    here, other = tmp_path / "results", tmp_path / "other"
    fake_run(here, "Q1_1")
    run = fake_run(other, "Q1_2", slug="cifar10" if depth > 1 else "cifar10-b")
    there = [run, *run.parents][3 - depth]
    link = here / there.relative_to(other)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(there)
    [note] = overview.write(here, overview.Options(study=True)).notes
    assert f"{link} is a link that leads out of {here}" in note
    # Its own name is what the user says, and may be any link.
    if depth == 1:
        assert overview.write(link, overview.Options(study=True)).path == link / "report.html"


def test_results_that_are_reached_by_a_link_are_read(tmp_path):
    fake_run(tmp_path / "disk", "Q1_1")
    fake_run(tmp_path / "disk", "Q1_2")
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    shutil.move(tmp_path / "disk" / "cifar10" / "Q1_2", tmp_path / "disk" / "moved")
    (tmp_path / "disk" / "cifar10" / "Q1_2").symlink_to("../moved")  # which stays inside
    written = overview.write(tmp_path / "results", overview.Options(study=True))
    assert [group.model for group in written.study.models] == ["Q1_1", "Q1_2"]


# ---- runs that go on ------------------------------------------------------------------------------------------------


def test_run_writes_no_file_through_a_link(saved_run, ex1_main, outside):
    shutil.copytree(saved_run, outside / "run")
    before = content_of(outside)
    for path in list(saved_run.iterdir()):
        if path.suffix != ".pt" and path.name not in ("config.json", ".lock"):
            path.unlink()
            path.symlink_to(outside / "run" / path.name if path.name != "metrics.json" else outside / "new")
        (saved_run / f".{path.name}.part").symlink_to(outside / "notes.txt")
    (saved_run / ".holder").symlink_to(outside / "notes.txt")
    assert ex1_main("--resume", str(saved_run)) == 0
    assert content_of(outside) == before
    assert not [path for path in saved_run.iterdir() if path.is_symlink()]


@pytest.mark.parametrize("name", ["last.pt", "config.json"])
def test_run_is_not_read_through_a_link(saved_run, ex1_main, outside, name, capsys):
    shutil.copy(saved_run / name, outside / "file")
    for other in (name, "previous.pt") if name == "last.pt" else (name, "last.pt", "previous.pt"):
        (saved_run / other).unlink(missing_ok=True)
    (saved_run / name).symlink_to(outside / "file")
    assert ex1_main("--resume", str(saved_run)) == 1
    assert "is a link" in capsys.readouterr().err


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_training_does_not_follow_a_link_out_of_the_results(saved_run, ex1_main, outside, depth, capsys):
    link = [saved_run, *saved_run.parents][3 - depth]
    shutil.move(link, outside / "moved")
    link.symlink_to(outside / "moved")
    before = content_of(outside)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "2", "--resume", "auto") == (0 if depth == 3 else 1)
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--resume", "auto") == 1
    assert f"{link} is a link that leads out of" in capsys.readouterr().err
    assert content_of(outside) == before


@pytest.mark.parametrize("how", ["link", "dangling", "pipe"])
def test_log_of_a_run_is_no_link(tmp_path, few_images, outside, how, capsys):
    arguments = ["--data-dir", str(few_images), "--results-dir", str(tmp_path / "results"), "--threads", "1"]
    arguments += ["--model-name", "Q1_4", "--epochs", "1", "--seeds", "0-1", "--jobs", "1"]
    assert execute(arguments) == 0
    log = next((tmp_path / "results").glob("*/*/*.log"))
    shutil.rmtree(log.with_suffix(""))
    log.unlink()
    if how == "pipe":
        os.mkfifo(log)
    else:
        log.symlink_to(outside / ("notes.txt" if how == "link" else "new"))
    capsys.readouterr()
    assert execute(arguments) == 1
    assert f"{log}: is " in capsys.readouterr().err
    assert content_of(outside) == {next(iter(content_of(outside))): SECRET}


# ---- runs that are finished -----------------------------------------------------------------------------------------


def in_test(**changes):
    return lambda content: content["test"].update(changes)


def in_class(value):
    return lambda content: content["test"]["per_class_accuracy"].update(dict.fromkeys(["cat"], value))


def all_correct(content):
    test = content["test"]
    shares = dict.fromkeys(test["per_class_accuracy"], 1.0)
    confusion = [[10 * (row == column) for column in range(10)] for row in range(10)]
    test.update(images=100, accuracy=1.0, per_class_accuracy=shares, confusion=confusion)


RESULTS = {
    "another accuracy": in_test(accuracy=0.99),
    "another accuracy, uncounted": in_test(accuracy=0.99, confusion=None),
    "another accuracy, counted": all_correct,
    "another loss": in_test(loss=0.01),
    "a loss beyond all bounds": in_test(loss=10**400),
    "no number as a loss": in_test(loss=float("nan")),
    "no images": in_test(images=0),
    "more images": in_test(images=101),
    "no classes": in_test(per_class_accuracy={}, confusion=None),
    "a class below 0": in_class(-0.1),
    "a class that is none": in_class(float("nan")),
    "text for a class": in_class("x"),
    "no accuracy": in_test(accuracy=None),
    "other epochs": lambda content: content.update(epochs=7),
    "text for the test": lambda content: content.update(test="x"),
}


@pytest.mark.parametrize("change", RESULTS.values(), ids=RESULTS)
def test_result_that_contradicts_itself_or_its_history_is_not_said(saved_run, ex1_main, tmp_path, change, capsys):
    [job] = sweep.plan([Config("Q1_1", epochs=1, results_dir=str(tmp_path / "results"))])
    facts = records.read_config(saved_run)["data"]
    assert sweep.result_of(job, facts) == records.read_metrics(saved_run)
    change_json(saved_run / "metrics.json", change)
    assert sweep.result_of(job, facts) is None
    assert ex1_main("--model-name", "Q1_1", "--epochs", "1", "--resume", "auto") == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("ex1.py: error: ")
    assert "delete its metrics.json, and --resume goes on" in said.err
    assert "Accuracy of" not in said.out
