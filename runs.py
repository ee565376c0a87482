"""The folder of a run: made, locked, found again, and what its files say of it.

``config.json`` is written first and ``metrics.json`` last: a run that has that is finished.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import nn

import checkpoints
from checkpoints import BEST, LAST, PREVIOUS, CheckpointError, has_checkpoint, position
from commands import Command
from runner import files, rng
from runner.config import AUTO, FIELDS, IDENTITY, Config, flag_of
from runner.errors import BusyError, RunnerError, UsageError, one_line
from utils import Tally

CONFIG, METRICS, TRANSFER = "config.json", "metrics.json", "transfer.json"


# ---- settings of saved runs -----------------------------------------------------------------------------------------


def describe(run: str | Path) -> dict:
    """The ``config`` and ``dataset`` of a saved run, from its checkpoint, or before the first one from config.json.

    Raises:
        RunnerError: there is neither, or it can't be read.
    """
    run = Path(run)
    if has_checkpoint(run) or not (run / CONFIG).exists():
        return checkpoints.load(run)
    content = files.read_json(run / CONFIG)
    saved = {"config": content.get("settings"), "dataset": content.get("data")}
    if not (isinstance(saved["config"], dict) and checkpoints.holds(saved["dataset"], checkpoints.DATASET)):
        raise RunnerError(f"{run / CONFIG} is not the description of a run")
    return saved


def saved_config(run: str | Path, saved: dict, command: Command, **overrides: object) -> Config:
    """The settings of a saved run, with those that ``command`` gives in place of the saved ones.

    The saved address of the data and file of own models are not used: a run that somebody else made may not say where
    to download from or what to open.

    Raises:
        RunnerError: the run's settings are not those of this program.
        UsageError: they contradict those that are given.
    """
    settings = saved["config"] | {"data_url": "", "model_file": ""} | overrides
    try:
        Config(**settings)
    except (TypeError, UsageError) as error:
        raise RunnerError(f"{run} is not a run of this version of the program: {error}") from error
    return command.config(settings)


def config_to_train(command: Command) -> Config:
    """The settings of the run that ``command`` trains; with ``--resume RUN`` they are that run's.

    Raises:
        UsageError: the command line contradicts the run that it resumes.
        RunnerError: that run can't be read.
    """
    if command.resume in ("", AUTO):
        return command.config()
    saved = describe(command.resume)
    config = saved_config(command.resume, saved, command)
    data = {"dataset": kind_of_data(saved["dataset"]), "data_seed": saved["dataset"].get("seed") or 0}
    different = differences(saved["config"], config, IDENTITY - {"epochs"})
    if command.given.get("dataset") != "auto":
        different += differences(data, config, data.keys() & command.given)
    if different:
        raise UsageError(f"{command.resume} is another run than the one asked for: {'; '.join(different)}")
    _check_length(saved, config, command.resume)
    return config


def _check_length(saved: dict, config: Config, run: str) -> None:
    done, begun = len(saved.get("history", [])), bool(saved.get("tally", {}).get("steps"))
    if done + begun > config.epochs:
        more = f", and has begun epoch {done + 1}" * begun
        raise UsageError(f"--epochs {config.epochs}: {run} has {done} epoch{'s' * (done != 1)} behind it{more}")
    planned = saved["config"].get("epochs")
    if config.schedule != "constant" and config.epochs != planned:
        raise UsageError(
            f"--epochs {config.epochs}: the learning rate of {run} is planned for its {planned} epochs; more begin anew"
        )


def saved_model_file(run: str) -> object:
    """The file of own models that a saved run names; ``run`` may be no folder, as in ``--resume``."""
    return None if run in ("", AUTO) else describe(run)["config"].get("model_file")


def kind_of_data(described: dict) -> str:
    """The ``--dataset`` that gives the data that a file of a run describes."""
    return "cifar10" if described.get("seed") is None else "synthetic"


def differences(saved: dict, config: Config, names: set[str]) -> list[str]:
    """Those of the settings ``names`` that are others in ``config`` than in a saved run, in words."""
    return [
        f"it has {flag_of(name)} {saved[name]}, not {getattr(config, name)}"
        for name in FIELDS
        if name in names and name in saved and saved[name] != getattr(config, name)
    ]


# ---- folders --------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """The folder of one run, which no other process trains in, and where its training stands.

    Attributes:
        folder: where it is.
        config: its settings.
        dataset: the description of its data, for its files.
        saved: the checkpoint that it goes on from, None at its beginning.
        continues: the shorter run whose checkpoint that is, if it is another one's.
        finished: whether there is nothing left to train.
        machine: the description of the machine, for its files.
        stage: what is being done, for the message if it fails.
        last_is_damaged: whether ``last.pt`` is not to be kept as the previous checkpoint.
        saved_once: whether a checkpoint has been written, and so could be.
    """

    folder: Path
    config: Config
    dataset: dict
    saved: dict | None = None
    continues: Path | None = None
    finished: bool = False
    machine: dict = field(default_factory=dict)
    stage: str = "at its start"
    last_is_damaged: bool = False
    saved_once: bool = False

    @contextlib.contextmanager
    def telling_where_it_failed(self) -> Iterator[None]:
        """Turns an error into one that names the stage, the last good checkpoint and, if it helps, how to go on.

        Raises:
            RunnerError: for any error.
        """
        try:
            yield
        except (Exception, SystemExit) as error:
            can_go_on = getattr(error, "can_go_on", True) and self.folder.is_dir()
            go_on = f"; to go on: {self.resume_command}" if can_go_on else ""
            what = f"{self.config.model_name}, {self.stage}: {one_line(error)}"
            raise RunnerError(f"{what}; {self.last_good}{go_on}") from error

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Puts network, optimiser and random numbers into the state of the checkpoint, if there is one.

        Raises:
            CheckpointError: the checkpoint is of another network.
        """
        if self.saved is None:
            return
        try:
            network.load_state_dict(self.saved["model"])
            optimizer.load_state_dict(self.saved["optimizer"])
            rng.set_rng_state(self.saved["random"], device)
        except Exception as error:
            what = f"{self.config.model_name} has changed since, or the checkpoint is not one of it"
            raise CheckpointError(f"{self.continues or self.folder} can't be resumed: {what}") from error

    @property
    def history(self) -> list[dict]:
        """A row for each epoch that is done."""
        return list(self.saved["history"]) if self.saved else []

    @property
    def tally(self) -> Tally:
        """What the epoch after those has added up to so far."""
        return Tally(**self.saved["tally"]) if self.saved else Tally()

    def save(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        history: list[dict],
        tally: Tally,
        best: bool = False,
    ) -> None:
        """Writes ``last.pt``, and keeps the one before as ``previous.pt``.

        Args:
            history: a row for each epoch that is done.
            tally: what the epoch after those has added up to so far.
            best: write ``best.pt`` too.

        Raises:
            OSError: it can't be written; the checkpoints are as they were.
            CheckpointError: the network's state can't be saved.
        """
        checkpoint = {
            "config": asdict(self.config),
            "dataset": self.dataset,
            "machine": self.machine,
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": rng.rng_state(device),
            "history": history,
            "tally": asdict(tally),
        }
        check, self.saved_once = not self.saved_once, True
        if best:
            # First: a run that is killed in between does this epoch again, and would not know of a best one it lost.
            checkpoints.save(self.folder / BEST, checkpoint)
        previous = None if self.last_is_damaged else self.folder / PREVIOUS
        checkpoints.save(self.folder / LAST, checkpoint, previous, check)
        self.last_is_damaged = False

    @property
    def last_good(self) -> str:
        """Where the last good checkpoint is, in words."""
        with contextlib.suppress(CheckpointError):
            saved, path = checkpoints.load_last(self.folder)
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
def open_run(
    config: Config,
    dataset: dict,
    resume: str = "",
    notice: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> Iterator[Run]:
    """The folder that a run trains in, locked for as long as it is entered, and the checkpoint that it goes on from.

    Without ``resume`` it is always a new folder; one whose name is taken gets the ending ``__run-2``, and so on.

    Args:
        dataset: the description of what it is trained on; runs on other data are passed over.
        resume: empty, ``auto``, or the folder of a run; see ``--resume``.
        notice: is told of an unfinished run that could be resumed.
        warn: is told of a damaged checkpoint.

    Raises:
        RunnerError: the run is in another process's hands, its checkpoints are damaged, or there is no folder to be
            had.
        UsageError: the folder holds another run than its name says.
    """
    origin = None if resume in ("", AUTO) else Path(resume)
    if origin and not origin.name:  # such as "."
        origin = origin.resolve()
    parent = origin.parent if origin else Path(config.results_dir) / dataset["slug"] / config.model_name
    start = None
    if origin and describe(origin)["config"].get("epochs") == config.epochs:
        runs = [origin]
    else:
        runs = [folder for folder in _folders(parent, config.run_name) if _is_on(dataset, folder)]
        start = checkpoints.load(origin, warn=warn) if origin else None
    unfinished = [folder for folder in runs if not is_finished(folder)]
    lock = None
    if resume:
        for folder in unfinished:
            if lock := _lock(folder):
                break
        if not lock and unfinished:
            raise BusyError(f"{unfinished[0]} is being trained by another process")
        if runs and (not lock or is_finished(folder)):  # it may have been finished just before it was locked
            yield Run(folder if lock else runs[0], config, dataset, finished=True)
            return
    elif unfinished:
        notice(f"{unfinished[0]} was stopped, or trains right now; --resume auto goes on with it, this is a new run")
    if not lock:
        folder, lock = _new_folder(parent, config.run_name)
    try:
        run = Run(folder, config, dataset)
        if has_checkpoint(folder):
            run.saved, path = checkpoints.load_last(folder, warn)
            run.last_is_damaged = path.name != LAST
            different = differences(run.saved["config"], config, IDENTITY)
            if different:
                raise UsageError(f"{folder} is another run than its name says: {'; '.join(different)}")
        elif start:
            run.saved, run.continues = start, origin
            if (origin / BEST).exists():
                try:
                    checkpoints.save(folder / BEST, checkpoints.load(origin, "best"))
                except CheckpointError as error:
                    warn(f"{error}; there will be none of the epochs before")
            checkpoints.save(folder / LAST, start | {"config": asdict(config)})
        with run.telling_where_it_failed():
            yield run
    finally:
        lock.release()


def is_finished(run: Path) -> bool:
    return (run / METRICS).exists()


def find_runs(config: Config, dataset: dict) -> list[Path]:
    """The folders of the runs of these settings on the data described, finished ones first, then the oldest first."""
    parent = Path(config.results_dir) / dataset["slug"] / config.model_name
    found = [folder for folder in _folders(parent, config.run_name) if _is_on(dataset, folder)]
    return sorted(found, key=lambda folder: not is_finished(folder))


def _is_on(dataset: dict, run: Path) -> bool:
    """Whether the run is on the data described; one that has written nothing yet may be."""
    if not has_checkpoint(run) and not (run / CONFIG).exists():
        return True
    return describe(run)["dataset"]["sha256"] == dataset["sha256"]


def _folders(parent: Path, name: str) -> list[Path]:
    """The folders of runs called ``name``, in the order in which they were begun."""
    if not parent.is_dir():
        return []
    pattern = re.compile(re.escape(name) + r"(?:__run-(\d+))?")
    found = [(match, path) for path in parent.iterdir() if (match := pattern.fullmatch(path.name)) and path.is_dir()]
    return [path for match, path in sorted(found, key=lambda pair: int(pair[0][1] or 1))]


def _new_folder(parent: Path, name: str) -> tuple[Path, FileLock]:
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
            if lock := _lock(folder):
                return folder, lock
        number += 1


def _lock(folder: Path) -> FileLock | None:
    """The lock of a run's folder; None if another process has it. The system frees that of a process that ends."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as error:
        raise RunnerError(f"{folder} can't be written: {error.strerror}") from error
    return lock


def record(run: Run, facts: dict) -> None:
    """Writes ``config.json``; for a run that goes on, adds where and when to the one that is there."""
    path = run.folder / CONFIG
    content = facts | {"settings": asdict(run.config), "data": run.dataset, "machine": run.machine}
    if run.saved and not run.continues:
        with contextlib.suppress(RunnerError):  # one that is damaged is written anew
            content = files.read_json(path)
        earlier = content.get("resumed")
        content["resumed"] = earlier if isinstance(earlier, list) else []
        content["resumed"].append(run.machine | {"position": position(run.saved)})
    elif run.continues:
        content["continues"] = {"run": str(run.continues), "position": position(run.saved)}
    files.write_json(path, content)


def warn_of_other_machine(run: Run, warn: Callable[[str], None]) -> None:
    """Says what keeps a run that goes on from being bit for bit what it would have been without a stop."""
    before, now = run.saved["machine"], run.machine
    compared = {
        "threads": "threads",
        "device": "device",
        "device_name": "processor",
        "precision": "precision",
        "model_sha256": "own model",
    }
    before = {"precision": "fp32"} | before
    changes = [
        f"{word} {before.get(key)}, now {now[key]}" for key, word in compared.items() if before.get(key) != now[key]
    ]
    versions = before.get("versions", {}).get("torch"), now["versions"]["torch"]
    if versions[0] != versions[1]:
        changes.append(f"torch {versions[0]}, now {versions[1]}")
    if changes:
        warn(f"it began with {'; '.join(changes)}: the result will not be bit for bit that of a run without a stop")
