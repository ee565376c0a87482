"""A sweep: many runs, each in a process of its own, and a report on them.

Each is the run that ``ex1.py`` trains by itself, and what it says goes to a file ``RUN.log`` beside its folder. So a
sweep that is begun again skips the finished runs and goes on with the others.
"""

import contextlib
import logging
import math
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
from experiments.forecast import Forecast, makespan
from report import overview
from report.live import ERROR, Batch, last_line_of
from runner import checkpoint, console, machine, records
from runner.config import Config, EngineConfig
from runner.errors import BusyError, Diverged, RunnerError, counted, one_line
from runner.files import open_log
from runner.run import find_runs, warn_of_changed_runs
from runner.signals import Stopped, StopSignal

log = logging.getLogger("ex1")

POLL_SECONDS = 0.5
ATTEMPTS = 2  # of a run that fails, but for one that diverges: the same again would, too
MOST_SHOWN = 40  # runs that are shown one by one
FINISHED = "finished"
REPORT_SECONDS = 60  # after which the report says how far the runs are, also where none has ended
REPORT_SHARE = 0.1  # of the time may go into reports while runs train


def run(configs: Sequence[Config], engine_config: EngineConfig, train: Train) -> dict:
    """Train what is not finished of ``configs``, runs on one data set, by ``train``, and report on all results there.

    Returns what the files of these runs say of the data.
    Raises RunnerError if settings or data don't work out, or runs failed; BusyError if other processes train what is
    left; Stopped if a signal came, with every run saved.
    """
    jobs = plan(configs)
    config = jobs[0].config  # what is asked of it here, they have in common
    on_ray = engine_config.engine == "ray"  # whose nodes may have a device that is not here
    dataset = trial.load([replace(job.config, device="cpu") if on_ray else job.config for job in jobs])
    for each in trial.unlike([job.config for job in jobs], trial.SIZES):
        data.split(dataset, each)  # raises now what every such run would
    facts, too_short = dataset.facts, few_steps(jobs, dataset)
    del dataset
    for job in () if on_ray else jobs:
        job.config = replace(job.config, data_check="fast")  # the images, which the runs share, were checked here
    say = console.stdout_log(facts["name"])

    with contextlib.closing(make_engine(engine_config, config, facts, train)) as engine:
        todo = [job for job in jobs if result_of(job, facts) is None]
        warn_of_changed_runs(changed_runs(todo, facts))
        finished = f"{len(jobs) - len(todo):,} finished already" if len(todo) < len(jobs) else "none finished yet"
        say.info(f"{counted(len(jobs), 'run')} on {facts['name']}, {finished}; on {engine.name}")
        if too_short:
            say.info(too_short)
        live = LiveReport(Path(config.results_dir) / facts["slug"], jobs)
        try:
            failed, busy = train_all(todo, engine, facts, Display(todo, facts["name"]), live.rewrite)
        except Stopped:
            live.end()
            raise

    report_on(live, say)
    say.log(console.RESULT, f"{len(jobs) - len(failed) - len(busy)} of {counted(len(jobs), 'run')} finished")
    for job in busy:
        log.warning(f"{job.name}: another process trains it")
    for job in failed:
        log.warning(f"{job.name}: failed, see {job.log}")
    if failed:
        raise RunnerError(
            f"{len(failed)} of {counted(len(jobs), 'run')} failed, for the reasons above; the same command tries again"
        )
    if busy:
        raise BusyError(f"{len(busy)} of {counted(len(jobs), 'run')} left to other processes")
    return facts


def show(configs: Sequence[Config], engine_config: EngineConfig, train: Train) -> str:
    """Show which runs ``configs`` are, how far each is, and how long they take; train none. Returns the data's name."""
    jobs = plan(configs)
    dataset = trial.load([job.config for job in jobs])
    forecast, slots = Forecast(dataset), slots_of(engine_config, jobs[0].config)
    rows, left = list[str](), list[float]()
    for job in jobs:
        state, done = state_of(job, dataset.facts)
        if state != FINISHED:
            left.append(forecast.seconds(job.config, job.config.epochs - done))
            state += f", about {in_time(left[-1])}"
        rows.append(f"{job.name}: {state}")

    say = console.stdout_log(dataset.name)
    for row in rows[:MOST_SHOWN]:
        say.log(console.RESULT, row)
    if len(rows) > MOST_SHOWN:
        say.log(console.RESULT, f"… and {len(rows) - MOST_SHOWN:,} more")
    finished = f"{len(jobs) - len(left):,}" if len(left) < len(jobs) else "none"
    count = f"{counted(len(jobs), 'run')} on {dataset.name}, {finished} finished"
    if left:
        count += f": about {in_time(makespan([], left, slots))} on this machine, {slots} at a time"
    say.log(console.RESULT, count)
    if left:
        say.info("(from a few steps of each network, timed just now; other work on the machine makes it longer)")
    if too_short := few_steps(jobs, dataset):
        say.info(too_short)
    return dataset.name


def few_steps(jobs: Sequence[Job], dataset: data.Dataset) -> str:
    """Say how many runs are too short to learn much, and what would do for the shortest; empty if none is."""
    found = []
    for job in jobs:
        images = data.check_sizes(job.config, dataset.train.labels, dataset.classes)
        if told := console.few_steps(job.config, images):
            steps, needed = console.steps_needed(job.config, images)
            found.append((steps / needed, told))
    of = f"{len(found):,} of {counted(len(jobs), 'run')}: " if len(jobs) > 1 else ""
    return of + min(found)[1] if found else ""


def state_of(job: Job, facts: dict) -> tuple[str, int]:
    """Tell how far a run on the data described is: in words, and how many epochs are done."""
    if result_of(job, facts):
        return FINISHED, job.config.epochs
    found, _ = find_runs(job.config, facts, models.find(job.config.model_name).sha256)
    for folder in found:
        with contextlib.suppress(RunnerError):
            saved = checkpoint.load_last(folder)[0]
            return f"stopped {checkpoint.position(saved)}", len(saved["history"])
    return "new", 0


def slots_of(engine_config: EngineConfig, config: Config) -> int:
    """Count the runs at a time on this machine."""
    return engine_config.jobs or max(1, machine.cores() // (config.threads or 1))


def in_time(seconds: float) -> str:
    """Show a time that is estimated, e.g. ``40 s``, ``12 min`` or ``2 h 5 min``."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"


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

    def rewrite(self, running: Collection[Job], waiting: Collection[Job], has_news: bool) -> None:
        """Write it if a run has ended, or some time has gone by, unless reports take too much of the time."""
        pause = max(0 if has_news else REPORT_SECONDS, self._took / REPORT_SHARE)
        if (self._thread and self._thread.is_alive()) or time.monotonic() - self._ended < pause:
            return
        at_work = frozenset(job.config.run_name for job in running if job.is_at_work)
        to_come = frozenset(job.config.run_name for job in (*running, *waiting)) - at_work
        batch = Batch(self.names, at_work, to_come)
        self._thread = threading.Thread(target=self._write, args=(batch,), daemon=True)
        self._thread.start()

    def _write(self, batch: Batch) -> None:
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
            self._write(Batch(self.names))


def report_on(live: LiveReport, say: logging.LoggerAdapter) -> None:
    """Write the report on a batch that is done, or say why there is none."""
    live.join()
    try:
        written = overview.write(live.folder, batch=Batch(live.names))
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
    return LocalProcesses(slots_of(engine_config, config), config.threads, train)


def result_of(job: Job, facts: dict) -> dict | None:
    """Read ``metrics.json`` of a finished run on the data described; None if there is none."""
    with contextlib.suppress(RunnerError):
        for folder in find_runs(job.config, facts, models.find(job.config.model_name).sha256)[0]:
            if records.is_finished(folder):
                return records.read_result(folder, job.config)
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
        self._bar = console.progress_bar("", sum(job.cost for job in todo), left="")
        self._left, self._slots = "", 1
        self._ended: list[tuple[Job, float]] = []  # runs that are done, and the seconds that each took

    def close(self) -> None:
        self._bar.close()

    def show(self, running: list[Job], waiting: Collection[Job], failed: list[Job], busy: Collection[Job] = ()) -> None:
        """Show how many runs are done, running, failed, waiting and left to others, and the time left of all."""
        begun = 0
        for job in running:
            if job.is_at_work:
                begun += 1
                job.watch()
            else:
                job.started = time.monotonic()  # a cluster lets it wait
        self._slots = max(self._slots, begun)
        counts = [f"{self.done} done", f"{begun} running", f"{len(failed)} failed"]
        counts.append(f"{len(running) - begun + len(waiting)} waiting")
        counts += [f"{len(busy)} left to other processes"] * bool(busy)
        seconds = self.reckon(running, waiting)
        self._left = "" if seconds is None else f"{tqdm.format_interval(seconds)} left"
        undone = [job.cost * (1 - job.epochs()[1] / job.config.epochs) for job in running]
        self._bar.n = self._bar.total - sum(undone) - sum(job.cost for job in waiting)
        self._bar.set_description_str("  ".join(filter(None, [self._left, ", ".join(counts)])))

    def reckon(self, running: Iterable[Job], waiting: Iterable[Job]) -> float | None:
        """Reckon the seconds that are left, from what epochs took, and what runs took besides; None at the start."""
        # The speed of training, and what a run takes besides: its start-up, and figures at its end.
        seen = [job for job in (*running, *(job for job, _ in self._ended)) if job.last_epoch[1]]
        if not seen:
            return None
        speed = sum(job.last_epoch[0] - job.start_up for job in seen) / sum(map(self._done_of, seen))
        besides = [seconds - speed * self._done_of(job) for job, seconds in self._ended]
        besides = besides or [job.start_up for job in seen]
        overhead = max(0.0, sum(besides) / len(besides))

        # Of each run what is to come after its last epoch, or its start-up, less what has passed since then.
        now = time.monotonic()
        left = []
        for job in running:
            to_come = overhead - min(overhead, job.start_up)
            to_come += speed * job.cost * (1 - job.epochs()[1] / job.config.epochs)
            passed = now - job.started - (job.last_epoch[0] or job.start_up)
            left.append(max(0.0, to_come - passed))
        return makespan(left, [overhead + speed * job.cost for job in waiting], self._slots)

    def _done_of(self, job: Job) -> float:
        """Count what was done of a run since its last start, in its unit of cost."""
        before, done = job.epochs()
        return job.cost * (done - before) / job.config.epochs

    def say(self, text: str) -> None:
        self._log.info(text)

    def say_done(self, job: Job, result: dict) -> None:
        job.watch()
        seconds = time.monotonic() - job.started
        self._ended.append((job, seconds))
        self.done += 1
        left = f", {self._left}" if self._left and self._bar.disable and self.done < len(self.todo) else ""
        accuracy = f"test accuracy {100 * result['test']['accuracy']:.1f} % after epoch {result['epochs']}"
        self.say(f"{self.done}/{len(self.todo)} {job.name}: {accuracy}, {tqdm.format_interval(seconds)}{left}")


def train_all(
    todo: list[Job],
    engine: Engine,
    facts: dict,
    display: Display,
    rewrite: Callable[[Collection[Job], Collection[Job], bool], None] = lambda *_: None,
) -> tuple[list[Job], list[Job]]:
    """Train the runs of ``todo``, each that fails once more when all others are done.

    ``rewrite`` is told the runs at work, those that wait, and whether one has ended.
    Returns those that failed, and those that other processes were at. Raises Stopped if a signal came, with all saved.
    """
    waiting, running = deque(todo), list[Job]()
    failed, busy, has_news = list[Job](), list[Job](), False
    with StopSignal() as stop, contextlib.closing(display):
        while running or (waiting and not stop.requested):
            # Start what there is room for; after a signal nothing more, and all that runs is asked to stop.
            while waiting and engine.has_room() and not stop.requested:
                job = waiting.popleft()
                job.begin(facts)
                engine.start(job)
                running.append(job)
            display.show(running, waiting, failed, busy)
            rewrite(running, waiting, has_news)
            if stop.requested:
                engine.stop()

            # What has ended is done if it left a result, whatever its exit code; else it may be tried again.
            ended = engine.wait(POLL_SECONDS)
            for job, code in ended:
                running.remove(job)
                result = result_of(job, facts)
                if result:
                    display.say_done(job, result)
                elif stop.requested:
                    continue  # its log says so
                elif code == BusyError.exit_code:
                    busy.append(job)
                    end_log(job, "ex1.py: left to another process")
                    display.say(f"{job.name}: another process trains it")
                else:
                    why, can_help = reason(job, code), job.attempts < ATTEMPTS and code != Diverged.exit_code
                    end_log(job, ERROR + why)
                    (waiting if can_help else failed).append(job)
                    again = " again" * (job.attempts > 1)
                    display.say(f"{job.name} failed{again} ({why})" + "; it will be tried once more" * can_help)
            has_news = bool(ended)
    if stop.requested:
        raise Stopped(
            stop.requested, f"stopped, {display.done} of {counted(len(todo), 'run')} done; the same command goes on"
        )
    return failed, [job for job in busy if result_of(job, facts) is None]  # some may be finished now


def reason(job: Job, code: int) -> str:
    """Tell why a run ended: the last line of its log that names an error, else its exit code or signal."""
    errors = [line for line in job.read_log().splitlines() if line.startswith(ERROR)]
    if not code:
        return "it left no result of what was asked for: has the model file, or have the images, changed since?"
    if errors:
        return errors[-1].removeprefix(ERROR)
    number = -code if code < 0 else code - 128  # of the signal that killed it, or that it stopped at
    return f"signal {number}" if number > 0 else f"exit code {code}"


def end_log(job: Job, line: str) -> None:
    """Have a log end with the line that the report shows of the run: one that was killed could say nothing itself."""
    if last_line_of(job.log) != line:
        with contextlib.suppress(OSError, RunnerError), open_log(job.log) as file:
            file.write(f"{line}\n".encode(errors="backslashreplace"))
