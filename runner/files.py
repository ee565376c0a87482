"""The files of a run: their names, how they are written whole or not at all, and one reader for each.

Accuracy in files is a fraction in [0, 1]. Loss is the mean cross-entropy in nats.
"""

import contextlib
import csv
import errno
import io
import itertools
import json
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from runner.config import IN_BLOCKS, OTHER_DATASETS, SHUFFLE_SETTINGS
from runner.errors import RunnerError, cause_of

CONFIG = "config.json"  # settings, data and machine; written first
METRICS = "metrics.json"  # the result; written last, so a run that has it is finished
HISTORY = "history.csv"  # a row an epoch
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"  # checkpoints; BEST by the hold-out's accuracy
LOCK, HOLDER = ".lock", ".holder"  # of a folder that one process at a time works in, and who that is
SUMMARY = "summary.txt"
SAMPLES, CURVES, PER_CLASS, CONFUSION = "samples.png", "curves.png", "per_class.png", "confusion.png"
TRANSFER = "transfer.json"  # --transfer: the test accuracy with each shuffle
ON = "on-"  # --evaluate --on: how the names of a result on other images (.json), and of its figure (.png), begin
CONFLICT = "conflict.json"  # --conflict: which of two cues a network follows
MATRIX, MATRIX_FACTS, TEMPLATES = "matrix.npz", "matrix.json", "templates.png"  # --collapse
EVENTS = "tensorboard"  # a folder: what TensorBoard reads
BASELINES = "baselines.json"  # beside the runs of a data set
UNTIL_DECIDED = "until-decided-"  # there too: how the names of what such a study found (.json) begin

# What a file says of a data set, and of what type it is.
DATASET_FIELDS = {"name": str, "slug": str, "sha256": str, "classes": list, "seed": (int, type(None))}
# Columns that every history has; accuracies by class follow.
HISTORY_COLUMNS = {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_confidence", "seconds"}

MAX_BYTES = 64 * 2**20  # of a text or a picture: a history of 100,000 epochs has half of that
MAX_VALUES = 4_000_000  # of a history: twice that of 100,000 epochs
MAX_MEASURED = 1e15  # of anything: seconds, images, nats, multiply-accumulates
SHARES = ("accuracy", "confidence", "calibration_error")  # parts of the names of columns that are fractions
OF_CLASS = "val_accuracy_of_"  # the beginning of the names of columns
MEASURES = ("loss", "accuracy")
MIN_CLASSES, MAX_CLASSES = 2, 1000  # of a data set
MAX_NAME = 140  # letters of the name of a data set or a class, bytes of that of a model


# ---- a folder that a stranger may have made: regular files alone are read, and no link leads out of it ---------------


def _no_follow(path: str, flags: int) -> int:
    # Where something else takes the file's place after the check: a pipe does not make us wait.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def check_regular(path: Path, most: int) -> None:
    """Raise OSError if what is at ``path`` is not a regular file of at most ``most`` bytes, or not there."""
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode):
        raise OSError(errno.ELOOP, "is a link, which is not followed: put the file itself there", str(path))
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    if facts.st_size > most:
        raise OSError(errno.EFBIG, f"is larger than {most >> 20:,} MiB", str(path))


def read_file(path: Path, most: int = MAX_BYTES, last: int = 0) -> bytes:
    """Read a regular file of at most ``most`` bytes, or its ``last`` ones alone. Raises OSError for anything else."""
    check_regular(path, most)
    with open(path, "rb", opener=_no_follow) as file:
        if last:
            file.seek(max(0, os.fstat(file.fileno()).st_size - last))
        return file.read(last or most)


def open_log(path: Path) -> IO[bytes]:
    """Open a file to add to its end; it is made if there is none. Raises RunnerError if it is no regular file."""
    try:
        with contextlib.suppress(FileNotFoundError):
            check_regular(path, sys.maxsize)
        return open(path, "ab", opener=_no_follow)
    except OSError as error:
        raise RunnerError(f"{path}: {error.strerror}") from error


class LeadsOutside(RunnerError):
    """A link in a folder of results, to what is not in there."""


def require_inside(path: Path, folder: Path) -> None:
    """Raise LeadsOutside if a link below ``folder``, which the user has named, makes ``path`` one outside of it."""
    top = Path(os.path.realpath(folder))
    for part in (*reversed(path.relative_to(folder).parents), path.relative_to(folder)):
        if not Path(os.path.realpath(folder / part)).is_relative_to(top):
            raise LeadsOutside(
                f"{folder / part} is a link that leads out of {folder}, and is not followed: "
                "name it in place of that folder, or move there what it leads to"
            )


def is_file_name(name: Any) -> bool:
    """Tell whether what a file says can be a part of a file's name: no path, and as the registry wants a model's."""
    return isinstance(name, str) and bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*", name)) and len(name.encode()) <= MAX_NAME


# ---- writing ---------------------------------------------------------------------------------------------------------


def write_file(path: Path, content: bytes | str, previous: Path | None = None) -> None:
    """Write a file whole or not at all: under a temporary name, to the disk, then renamed.

    Text is UTF-8, with escapes for bytes of file names that are none; they are read from JSON as they were. What was at
    ``path`` gets the name ``previous``. The temporary name is new each time: several processes may write, and nobody
    can have put a link there. Raises OSError, with what was at ``path`` there or at ``previous``.
    """
    temporary = _temporary_name(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content if isinstance(content, bytes) else content.encode(errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
        if previous:
            with contextlib.suppress(FileNotFoundError):
                path.replace(previous)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OSError(error.errno, f"can't be written: {error.strerror}", str(path)) from error


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{os.urandom(8).hex()}.part")


def remove_temporary_files(folder: Path) -> None:
    """Remove what killed processes left in a folder that no other one works in."""
    for path in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder to fill inside the block, which then takes the place of ``folder``."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder.parent) as place:
        new = Path(place, "new")
        new.mkdir()
        yield new
        for number in itertools.count():
            with contextlib.suppress(FileNotFoundError):
                folder.rename(Path(place, f"old-{number}"))
            try:
                new.rename(folder)
                break
            except OSError as error:  # another process was faster
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise


def _sync_folder(folder: Path) -> None:
    """Have the new names in ``folder`` outlast a power cut, where the system can do that."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there is none yet. Raises RunnerError if it can't be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunnerError(f"can't create {folder}: {error.strerror}") from error


def write_json(path: Path, content: dict) -> None:
    """Write ``content`` with one entry a line, and lists of numbers on one line."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, re.sub(r"\[\n[-\d\s,]*\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n")


def write_history(run: Path, dataset: str, history: Sequence[dict]) -> None:
    """Write ``history.csv`` of a run, one row an epoch, each with the data set's name."""
    text = io.StringIO()
    columns = dict.fromkeys(column for row in history for column in row)  # earlier versions had fewer
    writer = csv.DictWriter(text, ["dataset", *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"dataset": dataset, **row} for row in history)
    write_file(run / HISTORY, text.getvalue())


# ---- reading ---------------------------------------------------------------------------------------------------------


def has_fields(content: Any, types: Mapping[str, Any]) -> bool:
    """Tell whether ``content`` is a dictionary with entries of these types; it may have others."""
    return isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in types.items())


def is_dataset(content: Any) -> bool:
    """Tell whether ``content`` is what a file says of a data set, with names that can be shown."""
    return has_fields(content, DATASET_FIELDS) and all(
        isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()
        for name in (content["name"], *content["classes"])
    )


def is_class_list(classes: Sequence[str]) -> bool:
    """Tell whether these are so many different classes as a data set may have."""
    return MIN_CLASSES <= len(set(classes)) == len(classes) <= MAX_CLASSES


def outdated_shuffle(settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """Say that the pixels of a run were moved as an earlier version did; empty if they were not."""
    shuffles = (str(settings.get(name)) for name in SHUFFLE_SETTINGS)
    if "permutation_sha256" in dataset or not any(name.partition(":")[0] in IN_BLOCKS for name in shuffles):
        return ""
    return "an earlier version drew its permutation, which could leave blocks in their place"


def dataset_kind(facts: dict) -> str:
    """Name the ``--dataset`` that gives the data that a file of a run describes."""
    if facts.get("seed") is not None:
        return "synthetic"
    kinds = (kind for kind in OTHER_DATASETS if f"{facts['slug']}-".startswith(f"{kind}-"))
    return next(kinds, "cifar10")


def _finite(text: str) -> float:
    """Convert a number of a JSON file. Raises ValueError for NaN and infinity, which could not be written again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is not a finite number")
    return number


def read_json(path: Path) -> dict:
    """Read the object in a JSON file. Raises RunnerError if it can't be read, or holds something else."""
    try:
        content = json.loads(read_file(path).decode(), parse_float=_finite, parse_constant=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise RunnerError(f"{path} can't be read: {cause_of(error)}") from error
    if not isinstance(content, dict):
        raise RunnerError(f"{path} can't be read: it holds no object")
    return content


def is_share(column: str) -> bool:
    """Tell whether a column of the history is a fraction in files."""
    return any(part in column for part in SHARES)


def check_row(row: Mapping[str, Any], epoch: int) -> None:
    """Raise ValueError if a row of a history is not of ``epoch``, or holds what can't be measured."""
    for column, value in row.items():
        # A class without images has no accuracy, and where no answer is wrong, none has a confidence.
        if column in HISTORY_COLUMNS or not (value is None or math.isnan(value)):
            checked_number(value, 0, 1 if is_share(column) else MAX_MEASURED)
    if row["epoch"] != epoch:
        raise ValueError(f"it does not hold one epoch after the other: {row['epoch']:g} where {epoch} should be")


def checked_number(value: Any, low: float = -MAX_MEASURED, high: float = MAX_MEASURED) -> float:
    """Convert a number of a file; raise a ValueError where it is none, or not in [low, high]."""
    if not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{value!r:.40} where a number from {low:g} to {high:g} should be")
    return float(value)
