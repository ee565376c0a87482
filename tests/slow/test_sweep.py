"""Batches of runs, in processes of their own."""

import contextlib
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import datasets
import ex1
from experiments import engines, sweep
from runner import console
from runner.lock import FolderLock
from tests.helpers.cli import configs, execute, start, until
from tests.helpers.compare import outcomes_in, same
from tests.helpers.paths import PROJECT
from tests.helpers.waiting import WaitingModels


def test_sweep_equals_single_runs_and_skips_finished(command_line, tmp_path, capfd):
    common = ["--epochs", "2", "--model-name"]
    assert execute(command_line(*common, "Q1_4,Q1_1", "--shuffle", "none", "per-image", "--seeds", "0,3")) == 0
    together = outcomes_in(tmp_path / "results")
    assert len(together) == 8
    for name, shuffle, seed in (("Q1_1", "none", "0"), ("Q1_4", "per-image", "3")):
        single = [*common, name, "--shuffle", shuffle, "--seed", seed]
        assert execute(command_line(*single, results="single")) == 0
    for name, alone in outcomes_in(tmp_path / "single").items():
        assert same(together[name], alone)
    assert "4/8" in capfd.readouterr().out

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*/*/*")}
    assert execute(command_line(*common, "Q1_4,Q1_1", "--shuffle", "none", "per-image", "--seeds", "0,3")) == 0
    assert "8 finished already" in capfd.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*/*/*")}


def test_sweep_works_with_spawned_processes(command_line, tmp_path):
    [job] = sweep.plan(configs(command_line("--model-name", "Q1_4", "--epochs", "1", "--seeds", "0")))
    console.set_up_logging(quiet=True)
    facts = datasets.load(job.config).facts
    engine = engines.LocalProcesses(1, 1, ex1.train)
    engine.context = multiprocessing.get_context("spawn")
    with contextlib.closing(engine):
        assert sweep.train_all([job], engine, facts, sweep.Display([job], facts["name"])) == ([], [])
    assert len(outcomes_in(tmp_path / "results")) == 1


def test_sweep_in_quiet_says_outcome_only(command_line, tmp_path, capfd):
    arguments = command_line("--model-name", "Q1_4", "--seeds", "0", "--epochs", "1", "--limit", "20", "--quiet")
    assert execute(arguments) == 0
    out = capfd.readouterr().out
    assert re.fullmatch(r"1 of 1 run finished\n", out)
    assert len(list((tmp_path / "results").glob("*/report.html"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_sweep_after_signal_is_bitwise_equal(command_line, tmp_path, registry, number):
    models = WaitingModels(tmp_path, step=120)
    arguments = [*models.arguments(3), "--epochs", "4", "--jobs", "2"]
    stopped = start(command_line(*arguments))
    models.wait_for(2)
    assert len(list((tmp_path / "results").glob("*/*/*/last.pt"))) == 2
    # A terminal, and kill %1, reach every process of the group.
    (os.kill if number == signal.SIGKILL else os.killpg)(stopped.pid, number)
    said, _ = stopped.communicate(timeout=60)
    left = list((tmp_path / "results").glob("*/*/*.log"))
    assert len(left) == 2
    if number == signal.SIGKILL:
        until(lambda: all("to go on: " in path.read_text(encoding="utf-8") for path in left))
    else:
        assert stopped.returncode == 128 + number, said
        assert "the same command goes on" in said.splitlines()[-1]
    assert all("to go on: " in path.read_text(encoding="utf-8") for path in left)
    assert not list((tmp_path / "results").glob("*/*/*/metrics.json"))
    for folder in (path.parent for path in (tmp_path / "results").glob("*/*/*/.lock")):
        lock = FolderLock(folder)
        assert lock.acquire()  # nobody has it any more
        lock.release()

    models.let_go()
    assert execute(command_line(*arguments)) == 0
    assert any("going on from" in path.read_text(encoding="utf-8") for path in left)
    assert execute(command_line(*arguments, results="straight")) == 0
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "straight"))


def fork_server_of(process):
    """The number of the process that forks the runs of a sweep; Linux alone."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if parent == str(process.pid) and b"forkserver" in (path / "cmdline").read_bytes():
                return int(path.name)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the fork server and /proc")
@pytest.mark.parametrize("how", ["two Ctrl-C", "fork server killed"])
def test_runs_of_a_sweep_are_saved_however_it_ends(command_line, tmp_path, registry, how):
    models = WaitingModels(tmp_path, step=20)
    stopped = start(command_line(*models.arguments(2), "--epochs", "4", "--jobs", "2"))
    models.wait_for(2)
    if how == "two Ctrl-C":
        os.killpg(stopped.pid, signal.SIGINT)
        time.sleep(0.05)
    else:
        os.kill(fork_server_of(stopped), signal.SIGKILL)
        time.sleep(1)
        assert stopped.poll() is None  # it takes no run for ended that is not
    os.killpg(stopped.pid, signal.SIGINT)
    assert "exit code" not in stopped.communicate(timeout=60)[0]
    assert stopped.returncode == 130
    logs = list((tmp_path / "results").glob("*/*/*.log"))
    assert len(logs) == 2
    until(lambda: all("stopped in epoch 1 of 4, after 20 steps" in log.read_text(encoding="utf-8") for log in logs))
    for folder in (path.parent for path in (tmp_path / "results").glob("*/*/*/.lock")):
        lock = FolderLock(folder)
        until(lock.acquire)  # nobody has it any more
        lock.release()


OWN = """
import pathlib
from torch import nn
from models import register

class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.steps = nn.Linear(3072, 10), 0

    def forward(self, x):
        marks = pathlib.Path({marks!r})
        self.steps += self.training
        if self.steps == 10 and len(list(marks.iterdir())) < {fails}:
            (marks / str(len(list(marks.iterdir())))).touch()
            {how}
        return self.layer(x.flatten(1))

register("failing")(Failing)
"""


@pytest.mark.parametrize(
    ("fails", "how", "attempts"),
    [
        (1, "raise ValueError('the model is broken')", 2),
        (1, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 2),
        (9, "raise ValueError('the model is broken')", 2),
    ],
)
def test_sweep_tries_failed_run_once_more_and_names_it(command_line, tmp_path, capfd, fails, how, attempts, registry):
    (tmp_path / "marks").mkdir()
    (tmp_path / "own.py").write_text(OWN.format(marks=str(tmp_path / "marks"), fails=fails, how=how), encoding="utf-8")
    arguments = ["--model-file", str(tmp_path / "own.py"), "--model-name", "failing,Q1_4", "--epochs", "1"]
    code = execute(command_line(*arguments))
    out, err = capfd.readouterr()
    assert len(list((tmp_path / "marks").iterdir())) == min(fails, attempts)
    assert "will be tried once more" in out
    done = {path.parent.parent.name for path in (tmp_path / "results").glob("*/*/*/metrics.json")}
    if fails < attempts:
        assert (code, done) == (0, {"failing", "Q1_4"})
    else:
        assert (code, done) == (1, {"Q1_4"})
        log = re.search(r"failed, see (.*\.log)", err)[1]
        assert "the model is broken" in Path(log).read_text(encoding="utf-8")
        assert "the model is broken" in out
        assert "1 of 2 runs failed" in err.splitlines()[-1]


def test_sweep_leaves_run_of_another_process(command_line, tmp_path, capfd):
    arguments = command_line("--model-name", "Q1_1,Q1_4", "--epochs", "1")
    assert execute(arguments) == 0
    [folder] = (tmp_path / "results").glob("*/Q1_1/*seed-0")
    (folder / "metrics.json").unlink()
    lock = FolderLock(folder)
    assert lock.acquire()
    assert execute(arguments) == 75
    out, err = capfd.readouterr()
    assert "another process trains it" in err
    assert "once more" not in out
    lock.release()
    assert execute(arguments) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs the fork server, which runs have on Linux")
def test_sweep_imports_once_for_all_runs_from_any_folder(command_line, tmp_path):
    """Also from a folder that has modules of the same names as the project's."""
    for name in ("utils.py", "models.py", "datasets/__init__.py", "runner/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('this is another one')", encoding="utf-8")
    command = command_line("--model-name", "Q1_1", "--epochs", "1", "--seeds", "0,1", "--jobs", "1")
    done = subprocess.run(
        [sys.executable, PROJECT / "ex1.py", *command],
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "results").glob("*/*/*.log")]
    assert len(logs) == 2
    said = "\n".join([done.stderr, *logs])
    imports = Counter(re.findall(r"^import time: .*\| +([\w.]+)$", said, re.MULTILINE))
    # By the sweep itself, and by the server that its runs are forked from; the last by that alone.
    names = ("torch", "torch.optim", "matplotlib.figure", "utils", "models", "datasets", "runner.run", "torchsummary")
    assert [imports[name] for name in names] == [2] * 7 + [1]


def test_run_all_passes_its_arguments_on(command_line, tmp_path):
    arguments = command_line("--limit", "40", "--epochs", "1", "--model-name", "Q1_1", "--seeds", "0,1", "--jobs", "1")
    done = subprocess.run([PROJECT / "run_all.sh", *arguments], capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(outcomes_in(tmp_path / "results")) == 2
    listed = subprocess.run([PROJECT / "run_all.sh", "--jobs", "x"], capture_output=True, encoding="utf-8")
    assert listed.returncode == 2


def test_plan_that_is_killed_at_random_moments_ends_as_one_that_never_was(command_line, tmp_path):
    """A plan of 12 runs, over rates, batch sizes and seeds, killed with SIGKILL and begun again by the same command."""
    plan = "--model-name Q1_1 --lr 0.001,0.01 --batch-size 4 20 --seeds 0-2 --epochs 2 --checkpoint-every 10".split()
    moments = random.Random("a plan of 12")
    began = time.monotonic()
    assert execute(command_line(*plan, results="straight")) == 0
    duration = time.monotonic() - began
    finished = [0]
    while finished[-1] < 12 and len(finished) < 4:
        process = start(command_line(*plan))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=moments.uniform(0.2, 0.6) * duration)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        finished.append(len(list((tmp_path / "results").glob("*/*/*/metrics.json"))))
        assert finished == sorted(finished)
    until(lambda: execute(command_line(*plan)) == 0)  # a run that was killed with its plan may be about to end
    outcomes = outcomes_in(tmp_path / "results")
    assert len(outcomes) == 12
    assert same(outcomes, outcomes_in(tmp_path / "straight"))


def test_run_that_diverges_is_not_tried_again(command_line, tmp_path, capfd):
    assert execute(command_line("--model-name", "Q1_4", "--epochs", "1", "--lr", "0.001", "1e20")) == 1
    out, err = capfd.readouterr()
    assert "once more" not in out
    assert re.search(r"Q1_4, epochs-1, lr-1e\+20, seed-0 failed \(.* not a finite|failed \(.*loss is", out)
    assert "train it with a lower rate, such as --lr 0.001" in out
    assert "1 of 2 runs failed" in err.splitlines()[-1]
    [log] = (tmp_path / "results").glob("*/*/*1e+20*.log")
    said = log.read_text(encoding="utf-8")
    assert said.count("results go to") == 1
    assert said.splitlines()[-1].startswith("ex1.py: error: ")
    [page] = (tmp_path / "results").glob("*/report.md")
    assert "1 run finished, 1 failed." in page.read_text(encoding="utf-8")
