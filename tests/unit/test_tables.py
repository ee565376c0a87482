"""All runs as two tables, for pandas and as CSV files."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import report
from report import tables
from report.__main__ import main
from runner import records
from runner.errors import RunnerError
from tests.helpers.fake_runs import fake_run
from tests.helpers.paths import PROJECT


def three_runs(root):
    fake_run(root, "Q1_1", lr=0.01)
    fake_run(root, "Q1_4", seed=3, epochs=2)
    return fake_run(root, "Q1_1", finished=False)


def test_a_row_for_each_run_and_each_epoch(tmp_path):
    unfinished = three_runs(tmp_path)
    runs, epochs, notes = tables.read_tables(tmp_path)
    assert (len(runs), len(epochs), notes) == (3, 10 + 9 + 2, [])
    assert [row["lr"] for row in runs] == [0.01, 0.001, 0.001]
    assert [(row["epochs_done"], row["finished"]) for row in runs] == [(10, True), (9, False), (2, True)]
    assert runs[1]["run"] == unfinished.relative_to(tmp_path).as_posix()
    assert runs[1]["test_accuracy"] is None
    assert 0 < runs[0]["test_accuracy"] == epochs[9]["val_accuracy"] < 1
    assert runs[0]["val_accuracy"] == epochs[9]["val_accuracy"] > epochs[0]["val_accuracy"]
    assert [row["epoch"] for row in epochs] == [*range(1, 11), *range(1, 10), 1, 2]
    assert {row["run"] for row in epochs} == {row["run"] for row in runs}


def test_csv_holds_the_same(tmp_path, capsys):
    three_runs(tmp_path)
    assert main([str(tmp_path), "--csv"]) == 0
    assert f"{tmp_path / 'runs.csv'}, {tmp_path / 'history.csv'}" in capsys.readouterr().out
    for name, rows in zip(("runs.csv", "history.csv"), tables.read_tables(tmp_path)):
        with open(tmp_path / name, encoding="utf-8", newline="") as file:
            written = [*csv.DictReader(file)]
        assert written == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]


def test_folder_near_the_root_is_no_run():
    assert not any(records.exists(Path(path)) for path in ("/", "/tmp", "/tmp/results", ".", "results", "a/b"))


def test_damaged_run_is_left_out_with_a_note(tmp_path):
    three_runs(tmp_path)
    damaged = fake_run(tmp_path, "Q1_19")
    (damaged / "history.csv").write_text("epoch\nx\n", encoding="utf-8")
    runs, _, [note] = tables.read_tables(tmp_path)
    assert len(runs) == 3
    assert str(damaged) in note
    with pytest.raises(RunnerError, match="holds no runs"):
        tables.read_tables(tmp_path / "cifar10" / "Q1_19")


def test_load_makes_two_tables_of_pandas(tmp_path):
    pytest.importorskip("pandas")
    three_runs(tmp_path)
    runs, epochs = report.load(tmp_path)
    assert runs.shape[0] == 3
    assert runs.merge(epochs, on="run").groupby("run").size().tolist() == [10, 9, 2]


def test_load_without_pandas_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        report.load(tmp_path)


def test_load_imports_no_torch():
    code = "import sys; from report import load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0
