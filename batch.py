"""Many runs: every model, shuffle and seed of a batch, each in a process of its own.

Each is the run that ``ex1.py --resume auto`` trains, and what it says goes to a file ``RUN.log`` beside its folder. So
a batch that is begun again skips the finished runs and goes on with the others. The processes are of this machine, or
tasks of a Ray cluster, see ``cluster.py``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

import console
import data
import ex1
import models
import runs
import sources
import steps
import utils
from commands import Command
from runner import files, signals
from runner.config import Config
from runner.errors import BusyError, RunnerError, one_line
from runner.signals import Stopped, StopSignal

POLL_SECONDS = 0.5
ATTEMPTS = 2


@dataclasses.dataclass(eq=False)
class Job:
    """A run of the batch.

    Attributes:
        command: what trains it.
        log: the file that gets what it says.
        attempts: how often it was started.
        log_start: where in the log what was said since the last start begins, in bytes.
        started: when it was, in seconds of ``time.monotonic``.
    """

    command: Command
    config: Config
    log: Path = Path()
    attempts: int = 0
    log_start: int = 0
    started: float = 0.0

    @property
    def name(self) -> str:
        return self.config.run_name.replace("__", ", ").replace("shuffle-none, ", "")

    @property
    def cost(self) -> float:
        """How long it takes in a unit of its own: multiply-accumulates an image, with what a step costs besides.

        The two constants fit the steps of these networks at batch sizes around 4 on one thread. Nothing but the order
        of the runs and the time that is left rests on them.
        """
        model = models.find(self.config.model_name)
        macs = 0 if model.module else sum(layer.macs for layer in model.layers())
        step = 16e6 + 52 * (model.parameters or 0)
        return self.config.epochs * (macs + step / self.config.batch_size)

    def begin(self, described: dict) -> None:
        """Has the log ready for another attempt, on the data described."""
        self.log = (
            Path(self.config.results_dir) / described["slug"] / self.config.model_name / f"{self.config.run_name}.log"
        )
        files.make_folder(self.log.parent)
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        self.attempts += 1
        self.started = time.monotonic()

    def said(self) -> str:
        """What the log says since the last start."""
        try:
            return self.log.read_bytes()[self.log_start :].decode(errors="replace")
        except OSError:
            return ""

    def epochs(self) -> tuple[int, int]:
        """The epochs that were done before the last start, and that are done now, as far as the log says."""
        seen = [int(number) for number in re.findall(r"^\[.*\] \S+ epoch +(\d+)/", self.said(), re.MULTILINE)]
        return (seen[0] - 1, seen[-1]) if seen else (0, 0)


class Engine(Protocol):
    """Where runs are trained; ``name`` says it in words."""

    name: str

    def has_room(self) -> bool:
        """Whether another run may be started."""

    def start(self, job: Job) -> None:
        """Has a run trained."""

    def wait(self, seconds: float) -> list[tuple[Job, int]]:
        """The runs that have ended, with their exit codes, after at most so many seconds."""

    def stop(self) -> None:
        """Asks all runs to save and to stop; it may be asked again."""

    def close(self) -> None:
        """Lets go of what it holds."""


class LocalProcesses:
    """Trains runs in processes of this machine, ``jobs`` at a time."""

    def __init__(self, jobs: int):
        self.jobs, self.stopping = jobs, False
        self.name = f"this machine, {jobs} at a time"
        self.processes: dict[Job, multiprocessing.process.BaseProcess] = {}
        # A fork server imports torch once for all runs; macOS forks no process safely that has loaded its libraries.
        self.context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self.context.set_forkserver_preload(["batch", "torch.optim", "matplotlib.figure", "torchsummary"])

    def has_room(self) -> bool:
        return len(self.processes) < self.jobs

    def start(self, job: Job) -> None:
        process = self.context.Process(target=train_alone, args=(job.command, str(job.log)), name=job.name)
        process.start()
        self.processes[job] = process

    def wait(self, seconds: float) -> list[tuple[Job, int]]:
        multiprocessing.connection.wait([process.sentinel for process in self.processes.values()], seconds)
        ended = [(job, process.exitcode) for job, process in self.processes.items() if process.exitcode is not None]
        for job, _ in ended:
            self.processes.pop(job).close()
        return ended

    def stop(self) -> None:
        for process in self.processes.values() if not self.stopping else ():
            process.terminate()
        self.stopping = True

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()


def train_alone(command: Command, log: str) -> None:
    """What the process of a run does: trains it, says all to its log, and exits with its code."""
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()  # Ctrl-C is for the batch, which then asks each run to stop, once
    sys.exit(train_with_log(command, log))


def train_with_log(command: Command, log: str) -> int:
    """Trains the run of ``command`` with what is said going to the file ``log``, and returns the exit code."""
    with open(log, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    signals.stop_at_once_on_signals()
    if "model_file" in command.given:
        models.load_file(command.given["model_file"])
    return ex1.main(command)


def run(command: Command) -> None:
    """Trains what is not finished of a batch, and reports on all results of its data set.

    Raises:
        RunnerError: settings or data that don't work out, or runs that failed.
        BusyError: other processes train what is left.
        Stopped: a signal came; every run is saved.
    """
    jobs = plan(command)
    config = jobs[0].config
    data.check_sizes(config, sources.most_training_images(config.dataset, config.data_dir))
    dataset = ex1.load_data(config, command.quiet)
    data.select(dataset, config)
    described = utils.describe_dataset(dataset)
    del dataset
    say = console.speaker(described["name"], command.quiet)

    with contextlib.closing(make_engine(command, described)) as engine:
        todo = [job for job in jobs if accuracy_of(job, described) is None]
        say(f"{len(jobs)} runs on {engine.name}, {len(jobs) - len(todo)} of them finished already")
        failed, busy = train_all(todo, engine, described, Display(todo, say, command.quiet))

    try:
        import report

        report.write(Path(config.results_dir) / described["slug"], say=say)
    except Exception as error:
        console.warn(f"no report: {one_line(error)}")
    finished = len(jobs) - len(failed) - len(busy)
    console.speaker(described["name"])(f"{finished} of {len(jobs)} runs are finished")
    for job in busy:
        console.warn(f"{job.name}: another process trains it")
    for job in failed:
        console.warn(f"{job.name}: failed, see {job.log}")
    if failed:
        raise RunnerError(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again")
    if busy:
        raise BusyError(f"{len(busy)} of {len(jobs)} runs are left to other processes")


def plan(command: Command) -> list[Job]:
    """The runs of a batch, the longest first, so that none of them is begun when all others have ended."""
    jobs = [Job(single, single.config()) for single in command.runs()]
    return sorted(jobs, key=lambda job: -job.cost)


def make_engine(command: Command, described: dict) -> Engine:
    """The engine that the command line asks for.

    Raises:
        UsageError: it is not there.
    """
    batch, config = command.batch, command.runs()[0].config()
    if batch.engine == "ray":
        import cluster

        return cluster.RayTasks(batch, config, described)
    ex1.pick_device(config)  # raises now what every run would
    return LocalProcesses(batch.jobs or max(1, steps.cores() // config.threads))


def accuracy_of(job: Job, described: dict) -> float | None:
    """The test accuracy of a finished run on the data described, in [0, 1]; None if there is none."""
    with contextlib.suppress(RunnerError, LookupError, TypeError):
        for folder in runs.find_runs(job.config, described):
            if runs.is_finished(folder):
                return float(files.read_json(folder / runs.METRICS)["test"]["accuracy"])
    return None


def train_all(todo: list[Job], engine: Engine, described: dict, display: Display) -> tuple[list[Job], list[Job]]:
    """Trains the runs of ``todo``, each that fails once more when all others are done.

    Returns:
        The runs that failed, and those that other processes were at.

    Raises:
        Stopped: a signal came; every run is saved.
    """
    waiting, failed, busy = deque(todo), [], []
    running: list[Job] = []
    stop = StopSignal()
    with stop, display:
        while running or (waiting and not stop.requested):
            while waiting and engine.has_room() and not stop.requested:
                job = waiting.popleft()
                job.begin(described)
                engine.start(job)
                running.append(job)
            display.show(running, waiting, failed)
            if stop.requested:
                engine.stop()
            for job, code in engine.wait(POLL_SECONDS):
                running.remove(job)
                accuracy = accuracy_of(job, described)
                if accuracy is not None:
                    display.say_done(job, accuracy)
                elif stop.requested:
                    continue
                elif code == BusyError.exit_code:
                    busy.append(job)
                    display.say(f"{job.name}: another process trains it")
                elif job.attempts < ATTEMPTS:
                    waiting.append(job)
                    display.say(f"{job.name} failed ({reason(job, code)}); it will be tried once more")
                else:
                    failed.append(job)
                    display.say(f"{job.name} failed again ({reason(job, code)})")
    if stop.requested:
        raise Stopped(stop.requested, f"stopped, {display.done} of {len(todo)} runs done; the same command goes on")
    return failed, busy


def reason(job: Job, code: int) -> str:
    """Why a run ended: the last line of its log that names an error, else its exit code or signal."""
    errors = [line for line in job.said().splitlines() if line.startswith("ex1.py: error: ")]
    if errors:
        return errors[-1].removeprefix("ex1.py: error: ")
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class Display:
    """What the screen shows of a batch: a line for each run that ends, and in a terminal a bar below."""

    def __init__(self, todo: list[Job], say: Callable[[str], None], quiet: bool):
        self.todo, self._say, self.done = todo, say, 0
        self._began, self._spent = time.monotonic(), 0.0
        self._bar = tqdm(
            total=sum(job.cost for job in todo),
            leave=False,
            disable=True if quiet else None,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}% {bar}",
        )
        self._left = ""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, running: list[Job], waiting: Collection[Job], failed: list[Job]) -> None:
        """Shows how many runs are done, running, failed and waiting, and the time that is left."""
        spent, left = self._spent, sum(job.cost for job in waiting)
        begun = 0
        for job in running:
            if job.said():
                begun += 1
            else:
                job.started = time.monotonic()  # a cluster lets it wait
            before, done = job.epochs()
            spent += job.cost * (done - before) / job.config.epochs
            left += job.cost * (job.config.epochs - done) / job.config.epochs
        counts = [f"{self.done} done", f"{begun} running", f"{len(failed)} failed"]
        counts.append(f"{len(running) - begun + len(waiting)} waiting")
        if spent:
            self._left = f", {tqdm.format_interval((time.monotonic() - self._began) * left / spent)} left"
        self._bar.n = self._bar.total - left
        self._bar.set_description_str(", ".join(counts) + self._left)

    def say(self, text: str) -> None:
        self._bar.clear()
        self._say(text)
        self._bar.refresh()

    def say_done(self, job: Job, accuracy: float) -> None:
        before, done = job.epochs()
        self._spent += job.cost * (done - before) / job.config.epochs
        self.done += 1
        took = tqdm.format_interval(time.monotonic() - job.started)
        left = self._left if self._bar.disable and self.done < len(self.todo) else ""
        result = f"test accuracy {100 * accuracy:.1f} % after epoch {job.config.epochs}"
        self.say(f"{self.done}/{len(self.todo)} {job.name}: {result}, {took}{left}")
