"""The folder of a run: made, locked, found again; a run that has ``metrics.json``, written last, is finished."""

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runner import checkpoint, files, records
from runner.checkpoint import has_checkpoint, position
from runner.config import AUTO, FIELDS, IDENTITY, PLACES, Config, flag_of, recipe_values
from runner.errors import (
    BusyError,
    CheckpointError,
    Diverged,
    FolderLost,
    RunnerError,
    UsageError,
    is_of_environment,
    one_line,
    quote,
)
from runner.files import BEST, CONFIG, LAST, PREVIOUS
from runner.lock import FolderLock
from runner.records import is_finished
from runner.resume import changed_model, changed_step, describe, describe_by_config, differences
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
    lock: FolderLock | None = None  # on the folder; None for a run that is finished

    def save(self, state: dict, best: bool = False) -> None:
        """Write ``last.pt``, the former to ``previous.pt``, ``best.pt`` if best. Raises OSError, RunnerError."""
        self.check_folder()
        content = {"config": asdict(self.config), "dataset": self.dataset, "machine": self.machine} | state
        check, self.saved_once = not self.saved_once, True
        if best:
            # First: a run that is killed in between does this epoch again, and would not know of a best one it lost.
            checkpoint.save(self.folder / BEST, content)
        previous = None if self.last_is_damaged else self.folder / PREVIOUS
        checkpoint.save(self.folder / LAST, content, previous, check)
        self.last_is_damaged = False

    def check_folder(self) -> None:
        """Raise FolderLost if the folder was deleted, moved, or made anew since it was locked."""
        if self.lock and not self.lock.is_ours():
            raise FolderLost(
                f"{self.folder} was deleted or moved while this run trained; it ends, as another may be there"
            )

    def write_config(self, facts: dict) -> None:
        """Write ``config.json``; for a run that goes on, add where and when to the one that is there."""
        content = facts | {"settings": asdict(self.config), "data": self.dataset, "machine": self.machine}
        if self.saved and not self.continues:
            content["resumed"] = []
            with contextlib.suppress(RunnerError, TypeError):  # one that is damaged, or of another run, is written anew
                there = records.read_config(self.folder)
                if not differences(asdict(Config.from_saved(there["settings"])), self.config, IDENTITY):
                    content |= {name: there[name] for name in ("settings", "machine")}
                    earlier = there.get("resumed")
                    content["resumed"] += earlier if isinstance(earlier, list) else []
            content["resumed"].append(self.machine | {"position": position(self.saved)})
        elif self.saved:
            content["continues"] = {"run": str(self.continues), "position": position(self.saved)}
        files.write_json(self.folder / CONFIG, content)

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
        except FolderLost:
            raise
        except (Exception, SystemExit) as error:
            # Where the machine failed, the same again may work; a network that failed is another once it is mended.
            refused = isinstance(error, RunnerError) and not isinstance(error, CheckpointError)
            can_help = (refused or is_of_environment(error)) and getattr(error, "can_go_on", True)
            go_on = f"; to go on: {self.resume_command}" if can_help and self.folder.is_dir() else ""
            what = f"{self.config.model_name}, {self.stage}: {one_line(error)}"
            failure = Diverged if isinstance(error, Diverged) else RunnerError
            advice = ""
            if isinstance(error, Diverged):
                rate = min(self.config.lr / 10, recipe_values(vars(self.config))["lr"])
                advice = f"; train it with a lower rate, such as --lr {rate:.1g}"
            raise failure(f"{what}{advice}; {self.last_checkpoint_text}{go_on}") from error

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
        for name in PLACES:
            if getattr(self.config, name) != FIELDS[name].default:
                command += [flag_of(name), str(getattr(self.config, name))]
        return quote(command)


@contextlib.contextmanager
def open_run(config: Config, dataset: dict, resume: str = "", model_sha256: str | None = None) -> Iterator[Run]:
    """Find or make the folder that a run trains in, and hold its lock inside the block.

    Without ``resume`` (``auto`` or the folder of a run), as with --new, it is a new folder; one whose name is taken
    gets the ending ``__run-2``, and so on. Runs on other data than ``dataset`` describes are passed over, and with a
    warning those of another own model than that of ``model_sha256`` or another step, and those of which nothing can be
    read.
    Raises BusyError if another process trains the run, CheckpointError if its checkpoints are damaged, RunnerError if
    there is no folder to be had, and UsageError if the folder holds another run than its name says.
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
        candidates, changed = _sort_out(_folders(parent, config), config, dataset, model_sha256)
        if resume and not candidates:
            warn_of_changed_runs(changed)
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
    if folder is None or lock is None:
        folder, lock = _new_folder(parent, config.run_name)

    try:
        files.remove_temporary_files(folder)
        run = Run(folder, config, dataset, lock=lock)
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
    locks = [FolderLock(folder) for folder in folders]
    for lock in locks:
        if _acquire(lock):
            return lock.folder, lock
    if locks:
        raise BusyError(f"{locks[0].folder} is being trained by {locks[0].holder}")
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


def find_runs(config: Config, dataset: dict, model_sha256: str | None) -> tuple[list[Path], dict[Path, str]]:
    """Find the folders of the runs of these settings on the data described, finished ones first, then the oldest.

    Runs of another own model than that of ``model_sha256`` or another step, and damaged ones, come second, with why.
    """
    found, changed = _sort_out(_folders(runs_folder(config, dataset), config), config, dataset, model_sha256)
    return sorted(found, key=lambda folder: not is_finished(folder)), changed


def _sort_out(
    folders: list[Path], config: Config, dataset: dict, model_sha256: str | None
) -> tuple[list[Path], dict[Path, str]]:
    """Take those of ``folders`` on the data described, and apart those of another model or step, and damaged ones.

    One that has written nothing yet may be a run of this model on this data.
    """
    same, changed = list[Path](), dict[Path, str]()
    for folder in folders:
        if has_checkpoint(folder) or records.exists(folder):
            try:
                saved = _describe_by_any(folder)
            except RunnerError as error:
                changed[folder] = f"as far as can be told ({error})"
                continue
            if saved["dataset"]["sha256"] != dataset["sha256"]:
                continue
            outdated = files.outdated_shuffle(saved["config"], saved["dataset"])
            if why := changed_model(saved, model_sha256) or changed_step(saved, config) or outdated:
                changed[folder] = why
                continue
        same.append(folder)
    return same, changed


def _describe_by_any(folder: Path) -> dict:
    """Read what a run is from its config.json, else from its checkpoint. Raises RunnerError if neither can be read."""
    try:
        return describe_by_config(folder)
    except RunnerError:
        return describe(folder)


def warn_of_changed_runs(changed: dict[Path, str]) -> None:
    """Warn that the runs ``changed`` are not those asked for, given what is different about each."""
    for folder, why in [*changed.items()][:1]:
        more = f", nor are {len(changed) - 1} more" * (len(changed) > 1)
        log.warning(f"{folder} is not the run asked for{more}, {why}: kept as it is, what is asked for is trained anew")


def _folders(parent: Path, config: Config) -> list[Path]:
    """Find the folders of runs with these settings, in the order in which they were begun."""
    # Earlier versions named every folder in full.
    names = f"{re.escape(config.run_name)}|{re.escape(config.full_name)}"
    pattern = re.compile(rf"(?:{names})(?:__run-(\d+))?")
    there = [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
    folders = {*there, *records.list_kept(parent)}
    matches = [(match, path) for path in folders if (match := pattern.fullmatch(path.name))]
    for _, path in matches:
        files.require_inside(path, parent)
    return [path for match, path in sorted(matches, key=lambda pair: int(pair[0][1] or 1))]


def _new_folder(parent: Path, name: str) -> tuple[Path, FolderLock]:
    """Make and lock a folder whose name is not taken."""
    number = 1
    while True:
        folder = parent / (name + (f"__run-{number}" if number > 1 else ""))
        number += 1
        if records.exists(folder):
            continue
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise RunnerError(f"{parent} is not a folder") from None
        except OSError as error:
            raise RunnerError(f"can't create {folder}: {error.strerror}") from error
        else:
            lock = FolderLock(folder)
            try:
                if _acquire(lock):
                    return folder, lock
            except RunnerError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise


def _acquire(lock: FolderLock) -> bool:
    """Lock a run's folder; False if another process has it. Raises RunnerError if it can't be written."""
    try:
        return lock.acquire()
    except OSError as error:
        raise RunnerError(f"{lock.folder} can't be written: {error.strerror}") from error
