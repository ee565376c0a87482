"""Where the runs of a sweep are trained: a run as a job, the interface of an engine, and processes of this machine."""

import contextlib
import dataclasses
import io
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import models
from runner import console, signals, startup
from runner.config import AUTO, Config
from runner.errors import RunnerError
from runner.files import make_folder
from runner.machine import PROJECT
from runner.run import runs_folder

Train = Callable[[Config, str], object]  # ex1.train


@dataclasses.dataclass(eq=False)
class Job:
    """A run of a sweep."""

    config: Config
    log: Path = Path()  # the file that gets what it says
    attempts: int = 0  # how often it was started
    log_start: int = 0  # where in the log what was said since the last start begins, in bytes
    started: float = 0.0  # when it was, in seconds of ``time.monotonic``

    @property
    def name(self) -> str:
        return self.config.run_name.replace("__", ", ").replace("shuffle-none, ", "")

    @property
    def cost(self) -> float:
        """How long it takes in a unit of its own: multiply-accumulates an image, with what a step costs besides.

        The two constants fit the steps of these networks at batch sizes around 4 on one thread. Nothing but the order
        of the runs and the time that is left rests on them.
        """
        spec = models.find(self.config.model_name)
        macs = 0 if spec.module else sum(layer.macs for layer in spec.layers())
        step = 16e6 + 52 * (spec.parameters or 0)
        return self.config.epochs * (macs + step / self.config.batch_size)

    def begin(self, dataset: dict) -> None:
        """Have the log ready for another attempt, on the data described."""
        self.log = runs_folder(self.config, dataset) / f"{self.config.run_name}.log"
        make_folder(self.log.parent)
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        self.attempts += 1
        self.started = time.monotonic()

    def read_log(self) -> str:
        """Read what the log says since the last start."""
        try:
            return self.log.read_bytes()[self.log_start :].decode(errors="replace")
        except OSError:
            return ""

    def epochs(self) -> tuple[int, int]:
        """Count the epochs that were done before the last start, and that are done now, as far as the log says."""
        seen = [int(number) for number in re.findall(r"^\[.*\] \S+ epoch +(\d+)/", self.read_log(), re.MULTILINE)]
        return (seen[0] - 1, seen[-1]) if seen else (0, 0)


class Engine(Protocol):
    """Where runs are trained; ``name`` says it in words."""

    name: str

    def has_room(self) -> bool:
        """Tell whether another run may be started."""

    def start(self, job: Job) -> None:
        """Have a run trained."""

    def wait(self, seconds: float) -> list[tuple[Job, int]]:
        """Return the runs that have ended, with their exit codes, after at most so many seconds."""

    def stop(self) -> None:
        """Ask all runs to save and to stop; it may be asked again."""

    def close(self) -> None:
        """Let go of what it holds."""


class LocalProcesses:
    """Trains runs in processes of this machine, ``jobs`` at a time."""

    def __init__(self, jobs: int, train: Train):
        self.jobs, self.train, self.stopping = jobs, train, False
        self.name = f"this machine, {jobs} at a time"
        self.processes: dict[Job, multiprocessing.process.BaseProcess] = {}
        # A fork server imports torch once for all runs; macOS forks no process safely that has loaded its libraries.
        self.context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self.context.set_forkserver_preload(["experiments.preload"])
            start_fork_server()

    def has_room(self) -> bool:
        return len(self.processes) < self.jobs

    def start(self, job: Job) -> None:
        process = self.context.Process(target=train_alone, args=(self.train, job.config, str(job.log)), name=job.name)
        try:
            process.start()
        except (EOFError, ConnectionError) as error:
            raise RunnerError("the process that forks the runs has ended: was it killed, or out of memory?") from error
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


def start_fork_server() -> None:
    """Start the fork server in the project's folder, as it looks for modules in its working directory first."""
    folder = os.getcwd()
    os.chdir(PROJECT)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.chdir(folder)


def train_alone(train: Train, config: Config, log: str) -> None:
    """Be the process of a run: train it, say all to its log, and exit with its code."""
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()  # Ctrl-C is for the sweep, which then asks each run to stop, once
    sys.exit(train_with_log(train, config, log))


def train_with_log(train: Train, config: Config, log: str) -> int:
    """Train a run, or what is left of it, with what is said going to the file ``log``, and return the exit code."""
    startup.prepare()
    with open(log, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    signals.stop_at_once_on_signals()
    console.set_up_logging()

    def load_and_train() -> None:
        if config.model_file:
            models.load_file(config.model_file)
        train(config, AUTO)

    return console.exit_code_of(load_and_train)
