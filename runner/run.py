"""The folder of a run: made, locked, found again; a run that has ``metrics.json``, written last, is finished."""

import contextlib
import logging
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner import checkpoint, files
from runner.checkpoint import has_checkpoint, position
from runner.config import AUTO, IDENTITY, Config
from runner.errors import BusyError, CheckpointError, RunnerError, UsageError, is_of_environment, one_line
from runner.files import BEST, CONFIG, LAST, PREVIOUS, is_finished
from runner.lock import FolderLock
from runner.resume import describe, differences
from runner.signals import Stopped, StopSignal

log = logging.getLogger("ex1")


@dataclass
class Run:
    """The folder of one run, which no other process trains in."""

    folder: Path
    config: Config
    dataset: dict  # the description of its data, for its files
    saved: dict | None = None  # the checkpoint that it goes on from, None at its beginning
    continues: Path | None = None  # the shorter run whose checkpoint that is, if it is another one's
    finished: bool = False  # whether there is nothing left to train
    machine: dict = field(default_factory=dict)  # the description of the machine, for its files
    stage: str = "at its start"  # what is being done, for the message if it fails
    last_is_damaged: bool = False  # whether ``last.pt`` is not to be kept as the previous checkpoint
    saved_once: bool = False  # whether a checkpoint has been written, and so could be

    def save(self, state: dict, best: bool = False) -> None:
        """Write ``last.pt``, the former to ``previous.pt``, ``best.pt`` if best. Raises OSError, CheckpointError."""
        content = {"config": asdict(self.config), "dataset": self.dataset, "machine": self.machine} | state
        check, self.saved_once = not self.saved_once, True
        if best:
            # First: a run that is killed in between does this epoch again, and would not know of a best one it lost.
            checkpoint.save(self.folder / BEST, content)
        previous = None if self.last_is_damaged else self.folder / PREVIOUS
        checkpoint.save(self.folder / LAST, content, previous, check)
        self.last_is_damaged = False

    def write_config(self, facts: dict) -> None:
        """Write ``config.json``; for a run that goes on, add where and when to the one that is there."""
        path = self.folder / CONFIG
        content = facts | {"settings": asdict(self.config), "data": self.dataset, "machine": self.machine}
        if self.saved and not self.continues:
            with contextlib.suppress(RunnerError):  # one that is damaged is written anew
                content = files.read_json(path)
            earlier = content.get("resumed")
            content["resumed"] = earlier if isinstance(earlier, list) else []
            content["resumed"].append(self.machine | {"position": position(self.saved)})
        elif self.saved:
            content["continues"] = {"run": str(self.continues), "position": position(self.saved)}
        files.write_json(path, content)

    def raise_if_stopped(self, stop: StopSignal, epochs: int, steps: int) -> None:
        """Raise Stopped if a signal asked for it, with the run saved after ``epochs`` and ``steps`` of the next."""
        if stop.requested:
            where = f"in epoch {epochs + 1} of {self.config.epochs}, after {steps:,} steps"
            if epochs == self.config.epochs:
                where = "after its last epoch"
            raise Stopped(stop.requested, f"stopped {where}; to go on: {self.resume_command}")

    @contextlib.contextmanager
    def reraise_with_context(self) -> Iterator[None]:
        """Turn any error into a RunnerError that names the stage, the last checkpoint and how to go on."""
        try:
            yield
        except (Exception, SystemExit) as error:
            # Where the machine failed, the same again may work; where the code did, once that is mended, and only if
            # there is something to go on from.
            refused = isinstance(error, RunnerError) and not isinstance(error, CheckpointError)
            by_itself, go_on = refused or is_of_environment(error), ""
            is_there = self.folder.is_dir() and (by_itself or has_checkpoint(self.folder))
            if is_there and getattr(error, "can_go_on", True):
                go_on = f"; {'' if by_itself else 'once the cause is mended, '}to go on: {self.resume_command}"
            what = f"{self.config.model_name}, {self.stage}: {one_line(error)}"
            raise RunnerError(f"{what}; {self.last_checkpoint_text}{go_on}") from error

    @property
    def last_checkpoint_text(self) -> str:
        """Where the last good checkpoint is, in words."""
        with contextlib.suppress(CheckpointError):
            saved, path = checkpoint.load_last(self.folder)
            return f"the last good checkpoint is {path}, {position(saved)}"
        return "there is no checkpoint of it yet"

    @property
    def resume_command(self) -> str:
        """The command that goes on with this run."""
        command = [sys.orig_argv[0], sys.argv[0], "--resume", str(self.folder)]
        if self.config.model_file:
            command += ["--model-file", self.config.model_file]
        return shlex.join(command)


@contextlib.contextmanager
def open_run(config: Config, dataset: dict, resume: str = "") -> Iterator[Run]:
    """Find or make the folder that a run trains in, and hold its lock inside the block.

    Without ``resume`` (``auto`` or the folder of a run) it is always a new folder; one whose name is taken gets the
    ending ``__run-2``, and so on. Runs on other data than ``dataset`` describes are passed over. Raises BusyError if
    another process trains the run, CheckpointError if its checkpoints are damaged, RunnerError if there is no folder to
    be had, and UsageError if the folder holds another run than its name says.
    """
    # The run to go on with; with more epochs it is another run, which starts from this one's checkpoint.
    origin = None if resume in ("", AUTO) else Path(resume)
    if origin and not origin.name:  # such as "."
        origin = origin.resolve()
    parent = origin.parent if origin else runs_folder(config, dataset)
    start = None
    if origin and describe(origin)["config"].get("epochs") == config.epochs:
        candidates = [origin]
    else:
        candidates = [folder for folder in _folders(parent, config) if _is_on(dataset, folder)]
        start = checkpoint.load(origin) if origin else None

    folder, lock = None, None
    unfinished = [folder for folder in candidates if not is_finished(folder)]
    if resume:
        folder, lock = _lock_first(unfinished)
        if candidates and (folder is None or is_finished(folder)):  # it may have been finished before it was locked
            if lock:
                lock.release()
            yield Run(folder or candidates[0], config, dataset, finished=True)
            return
    elif unfinished:
        log.info(f"{unfinished[0]} was stopped, or trains right now; --resume auto goes on with it, this is a new run")
    if folder is None or lock is None:
        folder, lock = _new_folder(parent, config.run_name)

    try:
        files.remove_temporary_files(folder)
        run = Run(folder, config, dataset)
        if has_checkpoint(folder):
            _go_on(run)
        elif start and origin:
            _start_from(run, start, origin)
        with run.reraise_with_context():
            yield run
    finally:
        lock.release()


def _lock_first(folders: list[Path]) -> tuple[Path | None, FolderLock | None]:
    """Lock the first folder that is free. Raises BusyError if none is."""
    for folder in folders:
        if lock := _lock(folder):
            return folder, lock
    if folders:
        raise BusyError(f"{folders[0]} is being trained by {FolderLock(folders[0]).holder}")
    return None, None


def _go_on(run: Run) -> None:
    """Have ``run`` go on from its own last checkpoint."""
    run.saved, path = checkpoint.load_last(run.folder)
    run.last_is_damaged = path.name != LAST
    different = differences(run.saved["config"], run.config, IDENTITY)
    if different:
        raise UsageError(f"{run.folder} is another run than its name says: {'; '.join(different)}")


def _start_from(run: Run, start: dict, origin: Path) -> None:
    """Have ``run`` start from ``start``, the checkpoint of the shorter run in ``origin``."""
    run.saved, run.continues = start, origin
    if (origin / BEST).exists():
        try:
            checkpoint.save(run.folder / BEST, checkpoint.load(origin, "best"))
        except CheckpointError as error:
            log.warning(f"{error}; there will be none of the epochs before")
    checkpoint.save(run.folder / LAST, start | {"config": asdict(run.config)})


def runs_folder(config: Config, dataset: dict) -> Path:
    """Name the folder of the runs of a model on the data described. Raises RunnerError if a link leads out of there."""
    results = Path(config.results_dir)
    files.require_inside(results / dataset["slug"] / config.model_name, results)
    return results / dataset["slug"] / config.model_name


def find_runs(config: Config, dataset: dict) -> list[Path]:
    """Find the folders of the runs of these settings on the data described, finished ones first, then the oldest."""
    folders = _folders(runs_folder(config, dataset), config)
    return sorted((folder for folder in folders if _is_on(dataset, folder)), key=lambda folder: not is_finished(folder))


def _is_on(dataset: dict, run: Path) -> bool:
    """Tell whether the run is on the data described; one that has written nothing yet may be."""
    if not has_checkpoint(run) and not (run / CONFIG).exists():
        return True
    try:
        facts = files.read_config(run)["data"]
    except RunnerError:
        facts = describe(run)["dataset"]
    return facts["sha256"] == dataset["sha256"]


def _folders(parent: Path, config: Config) -> list[Path]:
    """Find the folders of runs with these settings, in the order in which they were begun."""
    if not parent.is_dir():
        return []
    # Earlier versions named every folder in full.
    names = f"{re.escape(config.run_name)}|{re.escape(config.full_name)}"
    pattern = re.compile(rf"(?:{names})(?:__run-(\d+))?")
    matches = [(match, path) for path in parent.iterdir() if (match := pattern.fullmatch(path.name)) and path.is_dir()]
    for _, path in matches:
        files.require_inside(path, parent)
    return [path for match, path in sorted(matches, key=lambda pair: int(pair[0][1] or 1))]


def _new_folder(parent: Path, name: str) -> tuple[Path, FolderLock]:
    """Make and lock a folder whose name is not taken."""
    number = 1
    while True:
        folder = parent / (name + (f"__run-{number}" if number > 1 else ""))
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise RunnerError(f"{parent} is not a folder") from None
        except OSError as error:
            raise RunnerError(f"can't create {folder}: {error.strerror}") from error
        else:
            try:
                if lock := _lock(folder):
                    return folder, lock
            except RunnerError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise
        number += 1


def _lock(folder: Path) -> FolderLock | None:
    """Lock a run's folder; None if another process has it. Raises RunnerError if it can't be written."""
    lock = FolderLock(folder)
    try:
        return lock if lock.acquire() else None
    except OSError as error:
        raise RunnerError(f"{folder} can't be written: {error.strerror}") from error
