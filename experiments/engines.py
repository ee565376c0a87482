"""Where the runs of a sweep are trained: a run as a job, the interface of an engine, and processes of this machine."""

import contextlib
import dataclasses
import io
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import models
from runner import console, signals, startup
from runner.config import AUTO, Config
from runner.errors import RunnerError
from runner.files import make_folder, open_log, read_file
from runner.machine import PROJECT
from runner.run import runs_folder

Train = Callable[[Config, str], object]  # ex1.train

STOP = "stop"  # what the sweep says to a run
JOIN_SECONDS = 5


@dataclasses.dataclass(eq=False)
class Job:
    """A run of a sweep."""

    config: Config
    log: Path = Path()  # the file that gets what it says
    attempts: int = 0  # how often it was started
    log_start: int = 0  # where in the log what was said since the last start begins, in bytes
    started: float = 0.0  # when it was, in seconds of ``time.monotonic``
    has_begun: bool = False  # whether it is known to be at work, and not in a queue, before its log says anything
    start_up: float = 0.0  # seconds from then to the first step of training; 0: not there yet
    last_epoch: tuple[float, int] = (0.0, 0)  # seconds from then to the end of the last epoch, and its number

    @property
    def name(self) -> str:
        return self.config.run_name.replace("__", ", ").replace("shuffle-none, ", "")

    @property
    def cost(self) -> float:
        """How long it takes in a unit of its own: multiply-accumulates, with what a step costs besides.

        The two constants fit the steps of these networks at batch sizes around 4 on one thread. Nothing but the order
        of the runs and the time that is left rests on them.
        """
        spec = models.find(self.config.model_name)
        macs = 0 if spec.module else sum(layer.macs for layer in spec.layers())
        step = 16e6 + 52 * (spec.parameters or 0)
        images = min(50_000 * self.config.train_fraction, self.config.limit or 50_000)
        return self.config.epochs * images * (macs + step / self.config.batch_size)

    def begin(self, dataset: dict) -> None:
        """Have the log ready for another attempt, on the data described."""
        self.log = runs_folder(self.config, dataset) / f"{self.config.run_name}.log"
        make_folder(self.log.parent)
        self.log_start = 0
        if os.path.lexists(self.log):
            with open_log(self.log) as file:
                self.log_start = file.tell()
        self.attempts += 1
        self.started, self.start_up, self.last_epoch = time.monotonic(), 0.0, (0.0, 0)
        self.has_begun = False

    def read_log(self) -> str:
        """Read what the log says since the last start."""
        try:
            return read_file(self.log)[self.log_start :].decode(errors="replace")
        except OSError:
            return ""

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun since its last start, and does not wait in the queue of a cluster."""
        return self.has_begun or bool(self.read_log())

    def epochs(self) -> tuple[int, int]:
        """Count the epochs that were done before the last start, and that are done now, as far as the log says."""
        said = re.findall(r"^(?:\[.*\] )?\S+ epoch +(\d+)/", self.read_log(), re.MULTILINE)
        seen = [int(number) for number in said]
        return (seen[0] - 1, seen[-1]) if seen else (0, 0)

    def watch(self) -> None:
        """Note when training has begun, and when an epoch more is done."""
        now, done = time.monotonic() - self.started, self.epochs()[1]
        if not self.start_up and "results go to" in self.read_log():
            self.start_up = now
        if done > self.last_epoch[1]:
            self.last_epoch = now, done


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
    """Trains runs in processes of this machine, ``jobs`` at a time.

    A pipe ties each to the sweep: it says how the process ended, and its end, however the sweep comes to it, makes the
    process save and stop.
    """

    def __init__(self, jobs: int, threads: int, train: Train):
        self.jobs, self.train = jobs, train
        self.name = f"this machine, {jobs} at a time on {threads} thread{'s' * (threads > 1)} each"
        self.running: dict[Connection, tuple[Job, multiprocessing.process.BaseProcess]] = {}
        # A fork server imports torch once for all runs; macOS forks no process safely that has loaded its libraries.
        self.context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        if sys.platform == "linux":
            self.context.set_forkserver_preload(["experiments.preload"])
            start_fork_server()

    def has_room(self) -> bool:
        return len(self.running) < self.jobs

    def start(self, job: Job) -> None:
        ours, theirs = multiprocessing.Pipe()
        arguments = (self.train, job.config, str(job.log), theirs)
        if sys.platform == "linux":
            start_fork_server()  # again, if something killed it
        process = self.context.Process(target=train_alone, args=arguments, name=job.name)
        try:
            process.start()
        except (EOFError, ConnectionError) as error:
            raise RunnerError("the process that forks the runs has ended: was it killed, or out of memory?") from error
        theirs.close()
        job.has_begun = True
        self.running[ours] = job, process

    def wait(self, seconds: float) -> list[tuple[Job, int]]:
        ended = []
        ready = multiprocessing.connection.wait(list(self.running), seconds)
        for pipe in [pipe for pipe in self.running if pipe in ready]:
            job, process = self.running.pop(pipe)
            try:
                code = pipe.recv()
            except (EOFError, OSError):  # it was killed; the fork server may know how, if it is still there
                process.join(JOIN_SECONDS)
                code = process.exitcode or 1
            pipe.close()
            ended.append((job, code))
        return ended

    def stop(self) -> None:
        for pipe in self.running:
            with contextlib.suppress(OSError):
                pipe.send(STOP)

    def close(self) -> None:
        for pipe in self.running:
            pipe.close()


def start_fork_server() -> None:
    """Start the fork server, if it is not there, in the project's folder, as it looks for modules there first.

    The signals that stop a sweep are blocked in it and its resource tracker: the end of a run is not for them to miss.
    """
    folder = os.getcwd()
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
    os.chdir(PROJECT)
    try:
        multiprocessing.resource_tracker.ensure_running()  # it unblocks some again
        signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
        multiprocessing.forkserver.ensure_running()
    finally:
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)


def train_alone(train: Train, config: Config, log: str, pipe: Connection) -> None:
    """Be the process of a run: train it, say all to its log, and tell the sweep the exit code."""
    with contextlib.suppress(AttributeError, OSError):
        os.setsid()  # Ctrl-C is for the sweep, which then asks each run to stop
    signals.stop_at_once_on_signals()
    threading.Thread(target=stop_with_sweep, args=(pipe,), daemon=True).start()
    code = train_with_log(train, config, log)
    signals.end_silently_on_signals()  # one comes from stop_with_sweep, as the sweep lets go of the pipe
    with contextlib.suppress(OSError):
        pipe.send(code)
    sys.exit(code)


def stop_with_sweep(pipe: Connection) -> None:
    """Have this process save and stop as soon as the sweep asks for it, or is gone."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    if os.name == "posix":
        os.kill(os.getpid(), signal.SIGTERM)  # it interrupts what the main thread waits for
    else:
        signal.raise_signal(signal.SIGTERM)  # where the other would end the process unsaved


def train_with_log(train: Train, config: Config, log: str) -> int:
    """Train a run, or what is left of it, with what is said going to the file ``log``, and return the exit code."""
    startup.prepare()
    with open_log(Path(log)) as file:
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
