"""A sweep: many runs, each in a process of its own, and a report on them.

Each is the run that ``ex1.py --resume auto`` trains, and what it says goes to a file ``RUN.log`` beside its folder. So
a sweep that is begun again skips the finished runs and goes on with the others.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

import data
import models
from experiments import trial
from experiments.engines import Engine, Job, LocalProcesses, Train
from report import overview
from runner import console, files, machine
from runner.config import Config, EngineConfig
from runner.errors import BusyError, RunnerError, one_line
from runner.run import find_runs, warn_of_changed_runs
from runner.signals import Stopped, StopSignal

log = logging.getLogger("ex1")

POLL_SECONDS = 0.5
ATTEMPTS = 2  # of a run that fails
REPORT_SECONDS = 60  # after which the report says how far the runs are, also where none has ended
REPORT_SHARE = 0.1  # of the time may go into reports while runs train


def run(configs: Sequence[Config], engine_config: EngineConfig, train: Train) -> None:
    """Train what is not finished of ``configs``, runs on one data set, by ``train``, and report on all results there.

    Raises RunnerError if settings or data don't work out, or runs failed; BusyError if other processes train what is
    left; Stopped if a signal came, with every run saved.
    """
    jobs = plan(configs)
    config = jobs[0].config  # what is asked of it here, they have in common
    on_ray = engine_config.engine == "ray"  # whose nodes may have a device that is not here
    dataset = trial.load([replace(job.config, device="cpu") if on_ray else job.config for job in jobs])
    data.split(dataset, config)  # raises now what every run would
    facts = dataset.facts
    del dataset
    for job in () if on_ray else jobs:
        job.config = replace(job.config, data_check="fast")  # the images, which the runs share, were checked here
    say = console.stdout_log(facts["name"])

    with contextlib.closing(make_engine(engine_config, config, facts, train)) as engine:
        todo = [job for job in jobs if accuracy_of(job, facts) is None]
        warn_of_changed_runs(changed_runs(todo, facts))
        say.info(f"{len(jobs)} runs on {engine.name}, {len(jobs) - len(todo)} of them finished already")
        live = LiveReport(Path(config.results_dir) / facts["slug"], jobs)
        try:
            failed, busy = train_all(todo, engine, facts, Display(todo, facts["name"]), live.rewrite)
        except Stopped:
            live.end()
            raise

    report_on(live, say)
    say.log(console.RESULT, f"{len(jobs) - len(failed) - len(busy)} of {len(jobs)} runs are finished")
    for job in busy:
        log.warning(f"{job.name}: another process trains it")
    for job in failed:
        log.warning(f"{job.name}: failed, see {job.log}")
    if failed:
        raise RunnerError(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again")
    if busy:
        raise BusyError(f"{len(busy)} of {len(jobs)} runs are left to other processes")


def plan(configs: Iterable[Config]) -> list[Job]:
    """Make the jobs, each on one thread, the longest first, so that none begins when all others have ended."""
    jobs = [Job(replace(config, threads=config.threads or 1)) for config in configs]
    return sorted(jobs, key=lambda job: -job.cost)


class LiveReport:
    """The report on a batch, which is written anew beside it, by a thread, as its runs end."""

    def __init__(self, folder: Path, jobs: Sequence[Job]):
        self.folder, self.names = folder, frozenset(job.config.run_name for job in jobs)
        self._thread: threading.Thread | None = None
        self._ended = time.monotonic()  # the report before
        self._took = 0.0

    def rewrite(self, running: Sequence[Job], waiting: int, has_news: bool) -> None:
        """Write it if a run has ended, or some time has gone by, unless reports take too much of the time."""
        pause = max(0 if has_news else REPORT_SECONDS, self._took / REPORT_SHARE)
        if (self._thread and self._thread.is_alive()) or time.monotonic() - self._ended < pause:
            return
        batch = overview.Batch(self.names, frozenset(job.config.run_name for job in running), waiting)
        self._thread = threading.Thread(target=self._write, args=(batch,), daemon=True)
        self._thread.start()

    def _write(self, batch: overview.Batch) -> None:
        began = time.monotonic()
        with contextlib.suppress(Exception):  # the one at the end says what is wrong
            overview.write(self.folder, batch=batch)
        self._ended = time.monotonic()
        self._took = self._ended - began

    def join(self) -> None:
        if self._thread:
            self._thread.join()

    def end(self) -> None:
        """Leave no page behind that says of runs that they train."""
        self.join()
        if self._thread:
            self._write(overview.Batch(self.names))


def report_on(live: LiveReport, say: logging.LoggerAdapter) -> None:
    """Write the report on a batch that is done, or say why there is none."""
    live.join()
    try:
        written = overview.write(live.folder, batch=overview.Batch(live.names))
    except Exception as error:
        log.warning(f"no report: {one_line(error)}")
    else:
        for line in [*written.notes, *written.summaries]:
            say.info(line)


def make_engine(engine_config: EngineConfig, config: Config, facts: dict, train: Train) -> Engine:
    """Make the engine for runs like ``config`` on the data described. Raises UsageError if it is not there."""
    if engine_config.engine == "ray":
        from experiments.ray_engine import RayTasks

        return RayTasks(engine_config, config, facts, train)
    machine.pick_device(config)  # raises now what every run would
    machine.git_commit()  # and says now if it is not known
    return LocalProcesses(engine_config.jobs or max(1, machine.cores() // config.threads), config.threads, train)


def accuracy_of(job: Job, facts: dict) -> float | None:
    """Read the test accuracy of a finished run on the data described, in [0, 1]; None if there is none."""
    with contextlib.suppress(RunnerError):
        for folder in find_runs(job.config, facts, models.find(job.config.model_name).sha256)[0]:
            if files.is_finished(folder):
                return float(files.read_result(folder, job.config)["test"]["accuracy"])
    return None


def changed_runs(todo: Iterable[Job], facts: dict) -> dict[Path, str]:
    """Find the runs of ``todo`` that are there of another network or step alone, with what is different about each."""
    changed: dict[Path, str] = {}
    for job in todo:
        with contextlib.suppress(RunnerError):
            found, others = find_runs(job.config, facts, models.find(job.config.model_name).sha256)
            changed |= {} if found else others
    return changed


class Display:
    """What the screen shows of a sweep: a line for each run that ends, and in a terminal a bar below."""

    def __init__(self, todo: list[Job], dataset: str):
        self.todo, self._log, self.done = todo, console.stdout_log(dataset), 0
        self._began, self._spent = time.monotonic(), 0.0
        cost = sum(job.cost for job in todo)
        self._bar = console.progress_bar("", cost, bar_format="{desc} {percentage:3.0f}% {bar}")
        self._left = ""

    def close(self) -> None:
        self._bar.close()

    def show(self, running: list[Job], waiting: Collection[Job], failed: list[Job]) -> None:
        """Show how many runs are done, running, failed and waiting, and the time that is left."""
        spent, left = self._spent, sum(job.cost for job in waiting)
        begun = 0
        for job in running:
            if job.read_log():
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
        self._log.info(text)
        self._bar.refresh()

    def say_done(self, job: Job, accuracy: float) -> None:
        before, done = job.epochs()
        self._spent += job.cost * (done - before) / job.config.epochs
        self.done += 1
        took = tqdm.format_interval(time.monotonic() - job.started)
        left = self._left if self._bar.disable and self.done < len(self.todo) else ""
        result = f"test accuracy {100 * accuracy:.1f} % after epoch {job.config.epochs}"
        self.say(f"{self.done}/{len(self.todo)} {job.name}: {result}, {took}{left}")


def train_all(
    todo: list[Job],
    engine: Engine,
    facts: dict,
    display: Display,
    rewrite: Callable[[list[Job], int, bool], None] = lambda *_: None,
) -> tuple[list[Job], list[Job]]:
    """Train the runs of ``todo``, each that fails once more when all others are done.

    ``rewrite`` is told the runs at work, the number of those that wait, and whether one has ended.
    Returns those that failed, and those that other processes were at. Raises Stopped if a signal came, with all saved.
    """
    waiting, running = deque(todo), list[Job]()
    failed, busy = list[Job](), list[Job]()
    with StopSignal() as stop, contextlib.closing(display):
        while running or (waiting and not stop.requested):
            # Start what there is room for; after a signal nothing more, and all that runs is asked to stop.
            while waiting and engine.has_room() and not stop.requested:
                job = waiting.popleft()
                job.begin(facts)
                engine.start(job)
                running.append(job)
            display.show(running, waiting, failed)
            if stop.requested:
                engine.stop()

            # What has ended is done if it left a result, whatever its exit code; else it may be tried again.
            ended = engine.wait(POLL_SECONDS)
            for job, code in ended:
                running.remove(job)
                accuracy = accuracy_of(job, facts)
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
            rewrite(running, len(waiting), bool(ended))
    if stop.requested:
        raise Stopped(stop.requested, f"stopped, {display.done} of {len(todo)} runs done; the same command goes on")
    return failed, busy


def reason(job: Job, code: int) -> str:
    """Tell why a run ended: the last line of its log that names an error, else its exit code or signal."""
    errors = [line for line in job.read_log().splitlines() if line.startswith("ex1.py: error: ")]
    if not code:
        return "it left no result of what was asked for: has the model file, or have the images, changed since?"
    if errors:
        return errors[-1].removeprefix("ex1.py: error: ")
    return f"signal {-code}" if code < 0 else f"exit code {code}"
