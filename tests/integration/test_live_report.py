"""The report while runs train, and of those that were stopped or failed."""

import json
import os
import socket

from experiments import sweep
from report import __main__ as report_main
from report import overview
from runner import files
from tests.helpers.fake_runs import fake_run
from tests.helpers.markdown import rows


def lock_by(folder, process):
    note = {"host": socket.gethostname(), "process": process, "since": "2026-01-01", "system_lock": True}
    (folder / files.HOLDER).write_text(json.dumps(note), encoding="utf-8")


def page_of(root):
    """The page and its Markdown."""
    path = overview.write(root).path
    return path.read_text(encoding="utf-8"), path.with_suffix(".md").read_text(encoding="utf-8")


def test_running_stopped_and_failed_runs_are_told_apart_with_nothing_finished(tmp_path, capsys):
    running, stopped, failed = (fake_run(tmp_path, "Q1_1", seed, finished=False) for seed in range(3))
    lock_by(running, os.getpid())
    lock_by(stopped, 2**22 + 1)  # no process has that number
    for folder, line in ((stopped, "ex1.py: stopped in epoch 10"), (failed, "ex1.py: error: the loss is nan\n\n")):
        folder.with_name(f"{folder.name}.log").write_text(f"first\n{line}", encoding="utf-8")
    (stopped / "last.pt").touch()
    (tmp_path / "cifar10/Q1_1/Q1_1__seed-9.log").write_text("ex1.py: error: no images", encoding="utf-8")
    assert report_main.main([str(tmp_path)]) == 0
    assert "report on unfinished runs alone" in capsys.readouterr().out
    page, text = page_of(tmp_path)
    assert "no run finished, 1 running, 2 failed, 1 stopped." in text
    table, columns = rows(text, "run")
    state, epochs, last, go_on = (
        columns.index(name) for name in ("state", "epochs", "last line of its log", "to go on")
    )
    assert [table[folder.name][state] for folder in (running, stopped, failed)] == ["running", "stopped", "failed"]
    assert table["Q1_1__seed-9"][state : epochs + 1] == ["failed", "none yet"]
    assert table[running.name][epochs] == "9 of 10"
    assert table[failed.name][last] == "ex1.py: error: the loss is nan"
    assert table[stopped.name][go_on].startswith("python ex1.py --resume ")
    assert table[running.name][go_on] == ""
    assert float(table[running.name][1]) > 10
    assert "location.reload()" in page


def test_page_stops_to_reload_when_nothing_runs(tmp_path):
    folder = fake_run(tmp_path, "Q1_1", finished=False)
    fake_run(tmp_path, "Q1_2")
    lock_by(folder, os.getpid())
    page, text = page_of(tmp_path)
    assert "location.reload()" in page
    assert "loads itself again while something runs" in text
    (folder / files.HOLDER).unlink()
    page, text = page_of(tmp_path)
    assert "location.reload()" not in page
    assert "loads itself" not in text


def test_batch_tells_what_waits_and_is_first_on_its_page(tmp_path):
    for lr in (0.01, 0.02, 0.03):
        fake_run(tmp_path, "Q1_1", lr=lr)
    own = [fake_run(tmp_path, "Q1_1", shuffle=shuffle, lr=0.5).name for shuffle in ("none", "fixed")]
    batch = overview.Batch(own, running=["Q1_1__shuffle-grey__lr-0.5__seed-0"], waiting=3)
    text = overview.write(tmp_path, batch=batch).path.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# Compared: shuffles, on CIFAR-10\n")
    assert "5 runs finished, 3 waiting." in text
    assert "\n## Compared: lr (Q1_1, recipe classic, 10 epochs)\n" in text


def test_report_on_a_folder_that_is_not_there_says_so(tmp_path, capsys):
    assert report_main.main([str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"python -m report: error: {tmp_path}/nowhere: folder does not exist\n"


def test_batch_rewrites_its_report_as_runs_end(tmp_path, monkeypatch):
    live = sweep.LiveReport(tmp_path / "cifar10", [])
    live.rewrite([], 1, has_news=True)
    live.join()
    assert not list(tmp_path.rglob("report.html"))  # there is nothing yet
    fake_run(tmp_path, "Q1_1")
    live.rewrite([], 1, has_news=False)
    live.join()
    assert not list(tmp_path.rglob("report.html"))
    monkeypatch.setattr(live, "_took", 0.0)
    live.rewrite([], 1, has_news=True)
    live.end()
    assert "location.reload()" not in (tmp_path / "cifar10/report.html").read_text(encoding="utf-8")
