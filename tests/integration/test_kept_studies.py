"""Studies that are kept as tables: everything that reads runs finds the same in them as in their folders."""

import shutil
from dataclasses import replace

import pytest

import report
import runner.tables
from experiments import sweep
from report import overview, results, tables
from report.__main__ import main
from runner import records
from runner.errors import RunnerError
from runner.files import write_json
from tests.helpers.fake_runs import fake_run
from tests.helpers.images import CLASSES

CONFUSION = [[600 if i == j else 400 * (j == (i + 1) % 10) for j in range(10)] for i in range(10)]


@pytest.fixture
def two_data_sets(tmp_path):
    """A folder of results with runs on two data sets of other classes, one run of them unfinished."""
    root = tmp_path / "results"
    for seed in range(2):
        fake_run(root, "Q1_1", seed, confusion=CONFUSION, lr=0.01)
        fake_run(root, "Q1_4", seed, "block:8", confusion=CONFUSION, shuffle_seed=seed, epochs=4)
    others = [f"a/{name}, “{name}”" for name in CLASSES]
    fake_run(root, "Q2_1", confusion=CONFUSION, data="My images", slug="mine", classes=others)
    fake_run(root, "Q1_1", 5, finished=False)
    return root


def keep_alone(root):
    """Keeps a folder of results as tables, and removes the folders of the finished runs."""
    assert main([str(root), "--keep"]) == 0
    for folder in root.glob("*/*/*"):
        if (folder / "metrics.json").exists():
            shutil.rmtree(folder)


def what_is_read(root):
    """All runs as they are read for a report, those of the settings that say where and how apart."""
    runs = [results.read_run(folder) for folder in records.list_runs(root)]
    return [replace(run, config=replace(run.config, results_dir="")) for run in runs]


def test_runs_are_read_as_from_their_folders(two_data_sets, capsys):
    before = what_is_read(two_data_sets)
    keep_alone(two_data_sets)
    assert "seed-5 is left out: it is not finished" in capsys.readouterr().out
    assert [path.parent.name[-6:] for path in two_data_sets.rglob("config.json")] == ["seed-5"]
    assert what_is_read(two_data_sets) == before
    assert len(before) == 6
    of_one = [run for run in before if run.folder.parents[1].name == "cifar10"]
    assert what_is_read(two_data_sets / "cifar10") == of_one


def test_tables_and_reports_stay_as_they_are(two_data_sets):
    options = overview.Options((), "", False)
    before = tables.read_tables(two_data_sets), overview.write(two_data_sets, options).summaries
    page = (two_data_sets / "cifar10/report.md").read_text(encoding="utf-8")
    keep_alone(two_data_sets)
    assert (tables.read_tables(two_data_sets), overview.write(two_data_sets, options).summaries) == before
    assert (two_data_sets / "cifar10/report.md").read_text(encoding="utf-8") == page


def test_load_reads_both_forms(two_data_sets):
    pandas = pytest.importorskip("pandas")
    before = report.load(two_data_sets.parent)
    keep_alone(two_data_sets)
    for table, earlier in zip(report.load(two_data_sets.parent), before):
        pandas.testing.assert_frame_equal(table, earlier)


def test_study_grows(two_data_sets):
    keep_alone(two_data_sets)
    new = fake_run(two_data_sets, "Q1_1", 7, confusion=CONFUSION, lr=0.01)
    assert len(what_is_read(two_data_sets)) == 7
    # As the two tables are of all runs, the others must not stay behind them.
    assert main([str(two_data_sets), "--csv"]) == 0
    shutil.rmtree(new)
    assert len(what_is_read(two_data_sets)) == 7


def test_table_without_rows_does_not_stay(two_data_sets):
    [run] = (folder for folder in records.list_runs(two_data_sets) if folder.parent.name == "Q2_1")
    write_json(run / "transfer.json", {"epoch": 10, "weights": "last"})
    for is_measured in (True, False):
        assert main([str(two_data_sets), "--keep"]) == 0
        assert (two_data_sets / "transfers.csv").exists() == is_measured
        (run / "transfer.json").unlink(missing_ok=True)


def test_run_in_its_folder_comes_before_the_one_that_is_kept(two_data_sets):
    keep_alone(two_data_sets)
    kept = next(folder for folder in records.list_runs(two_data_sets) if folder.parent.name == "Q2_1")
    others = results.read_run(kept).data["classes"]
    fake_run(two_data_sets, "Q2_1", accuracy=90, data="My images", slug="mine", classes=others)
    assert results.read_run(kept).test > 85
    assert len(what_is_read(two_data_sets)) == 6


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("runs.csv", "cifar10/Q1_1/Q1_1__shuffle-none__lr-0.01__seed-0", "../../elsewhere"),
        ("runs.csv", "run,", "ran,"),
        ("runs.csv", "My images,", "Your images,"),
        ("history.csv", ",1,", ",1,9,"),
        ("confusions.csv", ",600,400,", ",600,4oo,"),
        ("confusions.csv", "answered_9", "answer_9"),
        ("confusions.csv", ",600,400,", ",500,500,"),
        ("study.json", '"version": 1', '"version": 2'),
        ("study.json", '"slug"', '"snail"'),
        ("study.json", "{", ""),
    ],
)
def test_damaged_tables_are_refused_in_a_line(two_data_sets, table, old, new, capsys):
    keep_alone(two_data_sets)
    shutil.rmtree(two_data_sets / "cifar10")
    text = (two_data_sets / table).read_text(encoding="utf-8")
    assert old in text
    (two_data_sets / table).write_text(text.replace(old, new), encoding="utf-8")
    capsys.readouterr()
    code = main([str(two_data_sets)])
    text = "".join(capsys.readouterr())
    assert code == 1 or "left out" in text
    assert "can't be read" in text
    assert "Traceback" not in text


def test_table_that_leads_elsewhere_is_not_followed(two_data_sets, tmp_path, capsys):
    keep_alone(two_data_sets)
    shutil.rmtree(two_data_sets / "cifar10")
    (two_data_sets / "runs.csv").rename(tmp_path / "runs.csv")
    (two_data_sets / "runs.csv").symlink_to(tmp_path / "runs.csv")
    assert main([str(two_data_sets)]) == 1
    assert "is a link, which is not followed" in capsys.readouterr().err


def test_what_a_study_can_not_keep_stays_where_it_is(tmp_path, capsys):
    fake_run(tmp_path, "Q1_1")  # without a confusion, as of earlier versions
    assert main([str(tmp_path), "--keep"]) == 1
    assert "no confusion matrix" in capsys.readouterr().err
    assert not (tmp_path / "study.json").exists()
    with pytest.raises(RunnerError, match="no finished run to keep"):
        tables.keep(tmp_path)


def test_command_goes_on_with_a_study_that_is_kept(ex1_main, tmp_path, capsys):
    command = ("--model-name", "Q2_1", "--epochs", "1", "--lr", "0.001")
    assert ex1_main(*command) == 0
    [first] = (path.parent for path in tmp_path.glob("results/*/*/*/metrics.json"))
    root = first.parents[2]
    assert ex1_main("--transfer", str(first)) == 0
    measured = records.read_measured(first, "transfer.json")
    [config] = [results.read_run(first).config]
    content, result = records.read_config(first), records.read_metrics(first)
    facts = content["data"]
    keep_alone(root)
    assert records.read_measured(first, "transfer.json") == measured

    # All that a run's files say has a column, but where it was, and what stands twice in them.
    kept = records.read_config(first)
    apart = {"source", *runner.tables.NO_SETTINGS}
    for name in ("settings", "data", "machine"):
        said, told = (
            {key: value for key, value in each[name].items() if value is not None} for each in (content, kept)
        )
        assert told == {key: value for key, value in said.items() if key not in apart}
    assert (kept["parameters"], kept["macs"]) == (content["parameters"], content["macs"])
    del result["test"]["confusion_axes"]
    assert records.read_metrics(first)["test"] == result["test"]

    # A sweep takes its result, the same command trains nothing, and --new does not take its name.
    [job] = sweep.plan([config])
    assert sweep.result_of(job, facts)["test"]["accuracy"] == results.read_run(first).test / 100
    capsys.readouterr()
    assert ex1_main(*command) == 0
    assert "Accuracy of the network" in capsys.readouterr().out
    assert not list(root.glob("*/*/*"))
    assert ex1_main(*command, "--new") == 0
    assert [folder.name for folder in root.glob("*/*/*")] == [f"{first.name}__run-2"]

    # The weights of a run that is kept are gone.
    assert ex1_main("--evaluate", str(first)) == 1
    assert "its result alone is kept" in capsys.readouterr().err
