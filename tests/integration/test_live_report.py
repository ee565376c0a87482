"""The report while runs train, and of those that were stopped or failed."""

import json
import os
import re
import signal
import socket
import threading

import pytest

from experiments import engines, sweep
from report import __main__ as report_main
from report import live, overview
from runner import files, signals
from runner.config import Config
from runner.errors import BusyError, Diverged
from runner.signals import Stopped
from tests.helpers.fake_runs import fake_run
from tests.helpers.images import listening
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
    others = [f"Q1_1__shuffle-{shuffle}__lr-0.5__seed-0" for shuffle in ("grey", "per-image", "block-4", "block-8")]
    batch = live.Batch([*own, *others], running=others[:1], waiting=others[1:3])
    text = overview.write(tmp_path, batch=batch).path.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# Compared: shuffles, on CIFAR-10\n")
    assert "5 runs finished, 1 running, 2 waiting, 1 not begun." in text
    assert "\n## Compared: lr (Q1_1, recipe classic, 10 epochs)\n" in text


def test_report_on_a_folder_that_is_not_there_says_so(tmp_path, capsys):
    assert report_main.main([str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"python -m report: error: {tmp_path}/nowhere: folder does not exist\n"


def test_batch_rewrites_its_report_as_runs_end(tmp_path, monkeypatch):
    written = sweep.LiveReport(tmp_path / "cifar10", [])
    written.rewrite([], [], has_news=True)
    written.join()
    assert not list(tmp_path.rglob("report.html"))  # there is nothing yet
    fake_run(tmp_path, "Q1_1")
    written.rewrite([], [], has_news=False)
    written.join()
    assert not list(tmp_path.rglob("report.html"))
    monkeypatch.setattr(written, "_took", 0.0)
    written.rewrite([], [], has_news=True)
    written.end()
    assert "location.reload()" not in (tmp_path / "cifar10/report.html").read_text(encoding="utf-8")


class Scripted:
    """An engine with room for one run, each of which ends as a script says; one that is told 0 leaves a result."""

    name = "a script"

    def __init__(self, root, codes):
        self.root, self.codes, self.jobs = root, codes, []

    def has_room(self):
        return not self.jobs

    def start(self, job):
        job.has_begun = True
        job.log.write_text("results go to there\n", encoding="utf-8")
        self.jobs.append(job)

    def wait(self, seconds):
        job, code = self.jobs.pop(), self.codes.pop(0)
        if code == 0:
            fake_run(self.root, seed=job.config.seed)
        elif code == 128 + signal.SIGUSR1:
            os.kill(os.getpid(), signal.SIGUSR1)
        elif code > 0:
            job.log.write_text("ex1.py: error: no more\n", encoding="utf-8")
        return [(job, code)]

    def stop(self):
        pass

    def close(self):
        pass


@pytest.fixture
def scripted_sweep(tmp_path, monkeypatch):
    """Sweeps so many runs that end with these codes; returns what the pages count, what the last one says, and
    which seeds are left to other processes."""

    def sweep_of(number, codes, engine=Scripted):
        jobs = sweep.plan([Config("Q1_1", seed=seed, results_dir=str(tmp_path)) for seed in range(number)])
        written, states = sweep.LiveReport(tmp_path / "cifar10", jobs), []

        def rewrite(running, waiting, has_news):
            written._took = 0.0
            written.rewrite(running, waiting, has_news=True)
            written.join()
            for page in tmp_path.glob("cifar10/report.md"):
                states.extend(re.findall(r"(?:no run|\d+ runs?) finished.*", page.read_text(encoding="utf-8")))

        monkeypatch.setattr(sweep, "result_of", lambda job, _: result_in(job.log.with_suffix("")))
        facts, left = {"name": "CIFAR-10", "slug": "cifar10"}, []
        try:
            _, left = sweep.train_all(jobs, engine(tmp_path, codes), facts, sweep.Display(jobs, "data"), rewrite)
        except Stopped:
            written.end()
        else:
            overview.write(written.folder, batch=live.Batch(written.names))
        return states, (tmp_path / "cifar10/report.md").read_text(encoding="utf-8"), [job.config.seed for job in left]

    def result_in(folder):
        return {"test": {"accuracy": 0.5}, "epochs": 10} if (folder / files.METRICS).exists() else None

    return sweep_of


def test_page_counts_each_run_of_a_batch_once_at_each_moment(scripted_sweep):
    states, *_ = scripted_sweep(4, [0, 1, 0, Diverged.exit_code, 0])
    assert states == [
        "1 run finished, 1 running, 2 waiting.",
        "1 run finished, 1 running, 2 waiting.",  # one of which failed, and waits for another attempt
        "2 runs finished, 1 running, 1 waiting.",
        "2 runs finished, 1 running, 1 failed.",
    ]


def states_in(page):
    """The state of each run, by its seed, and the last line of its log."""
    table, columns = rows(page, "run")
    state, last = columns.index("state"), columns.index("last line of its log")
    return {int(name[-1]): (row[state], row[last]) for name, row in table.items()}


def test_screen_and_page_call_a_run_that_ended_the_same(scripted_sweep):
    said = []
    with listening(said.append):
        killed, stopped = -signal.SIGKILL, 128 + signal.SIGTERM
        _, page, left = scripted_sweep(5, [0, killed, BusyError.exit_code, 1, 0, stopped, killed])
    assert left == [2]
    assert said[1:] == [
        "Q1_1, seed-1 failed (signal 9); it will be tried once more",
        "Q1_1, seed-2: another process trains it",
        "Q1_1, seed-3 failed (no more); it will be tried once more",
        *said[4:5],
        "Q1_1, seed-1 failed again (signal 15)",
        "Q1_1, seed-3 failed again (signal 9)",
    ]
    assert "2 runs finished, 2 failed, 1 stopped." in page
    assert states_in(page) == {
        1: ("failed", "ex1.py: error: signal 15"),
        2: ("stopped", "ex1.py: left to another process"),
        3: ("failed", "ex1.py: error: signal 9"),
    }


def test_run_that_another_process_has_finished_meanwhile_is_not_left_to_it(scripted_sweep):
    class Shared(Scripted):
        def wait(self, seconds):
            if self.jobs[0].config.seed == 1:
                fake_run(self.root, seed=0)
            return super().wait(seconds)

    _, page, left = scripted_sweep(2, [BusyError.exit_code, 0], Shared)
    assert left == []
    assert "Runs without a result" not in page


def test_page_of_a_stopped_batch_tells_what_has_not_begun(scripted_sweep):
    _, page, _ = scripted_sweep(4, [0, 128 + signal.SIGUSR1])  # SIGINT is ignored where tests run in the background
    assert "1 run finished, 1 stopped, 2 not begun." in page
    assert [*states_in(page)] == [1]


def test_what_a_run_has_said_of_its_end_stays_the_last_line_of_its_log(monkeypatch):
    """The sweep lets go of a run that has reported, which is a signal to it."""
    handlers = {number: signal.getsignal(number) for number in signals.SIGNALS}
    seen = []

    class Pipe:
        def send(self, code):
            seen.extend([code, {signal.getsignal(number) for number in signals.SIGNALS}])

        def recv(self):
            threading.Event().wait()

    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(engines, "train_with_log", lambda *_: 3)
    try:
        with pytest.raises(SystemExit):
            engines.train_alone(None, Config("Q1_1"), "log", Pipe())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert seen[0] == 3
    assert signals.stop_at_once not in seen[1]
