"""The files of a run: their names, how they are written whole or not at all, and one reader for each.

Accuracy in files is a fraction in [0, 1]. Loss is the mean cross-entropy in nats.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.errors import RunnerError, one_line

CONFIG = "config.json"  # settings, data and machine; written first
METRICS = "metrics.json"  # the result; written last, so a run that has it is finished
HISTORY = "history.csv"  # a row an epoch
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"  # checkpoints; BEST by the hold-out's accuracy
LOCK, HOLDER = ".lock", ".holder"  # of a folder that one process at a time works in, and who that is
SUMMARY = "summary.txt"
SAMPLES, CURVES, PER_CLASS, CONFUSION = "samples.png", "curves.png", "per_class.png", "confusion.png"
TRANSFER = "transfer.json"  # --transfer: the test accuracy with each shuffle
MATRIX, MATRIX_FACTS, TEMPLATES = "matrix.npz", "matrix.json", "templates.png"  # --collapse
BASELINES = "baselines.json"  # beside the runs of a data set

# What a file says of a data set, and of what type it is.
DATASET_FIELDS = {"name": str, "slug": str, "sha256": str, "classes": list, "seed": (int, type(None))}
# Columns that every history has; accuracies by class follow.
HISTORY_COLUMNS = {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_confidence", "seconds"}


def write_file(path: Path, content: bytes | str, previous: Path | None = None) -> None:
    """Write a file whole or not at all: under a temporary name, to the disk, then renamed.

    Text is UTF-8, with escapes for bytes of file names that are none; they are read from JSON as they were. What was at
    ``path`` gets the name ``previous``. Only one process at a time may write into the folder; a temporary
    file that a killed one left is written over. Raises OSError, with what was at ``path`` there or at ``previous``.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
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
    writer = csv.DictWriter(text, ["dataset", *history[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"dataset": dataset, **row} for row in history)
    write_file(run / HISTORY, text.getvalue())


def is_finished(run: Path) -> bool:
    return (run / METRICS).exists()


def has_fields(content: Any, types: Mapping[str, Any]) -> bool:
    """Tell whether ``content`` is a dictionary with entries of these types; it may have others."""
    return isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in types.items())


def is_dataset(content: Any) -> bool:
    """Tell whether ``content`` is what a file says of a data set."""
    return has_fields(content, DATASET_FIELDS) and all(isinstance(name, str) for name in content["classes"])


def dataset_kind(facts: dict) -> str:
    """Name the ``--dataset`` that gives the data that a file of a run describes."""
    return "cifar10" if facts.get("seed") is None else "synthetic"


def read_json(path: Path) -> dict:
    """Read the object in a JSON file. Raises RunnerError if it can't be read, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunnerError(f"{path} can't be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise RunnerError(f"{path} can't be read: it holds no object")
    return content


def read_config(run: Path) -> dict:
    """Read ``config.json`` of a run. Raises RunnerError if it can't be read, or is not the description of a run."""
    content = read_json(run / CONFIG)
    sizes = content.get("parameters"), content.get("macs")
    if not (
        isinstance(content.get("settings"), dict)
        and is_dataset(content.get("data"))
        and content["data"]["classes"]
        and has_fields(content.get("machine"), {"versions": dict})
        and all(isinstance(size, int) and 0 <= size < 10**15 for size in sizes)
    ):
        raise RunnerError(f"{run / CONFIG} is not the description of a run")
    return content


def read_metrics(run: Path) -> dict:
    """Read ``metrics.json`` of a finished run. Raises RunnerError if it can't be read, or is not a result."""
    content = read_json(run / METRICS)
    test: Any = content.get("test")
    number = (int, float)
    fields = {"images": int, "loss": number, "accuracy": number, "per_class_accuracy": dict}
    if not (
        isinstance(content.get("epochs"), int)
        and has_fields(test, fields)
        and 0 <= test["accuracy"] <= 1
        and all(isinstance(value, (*number, type(None))) for value in test["per_class_accuracy"].values())
        and test["per_class_accuracy"]
    ):
        raise RunnerError(f"{run / METRICS} is not the result of a run")
    return content


def read_history(run: Path) -> list[dict[str, float]]:
    """Read ``history.csv``, a row an epoch, empty fields as NaN; [] without a file. Raises RunnerError if it can't."""
    path = run / HISTORY
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            rows = [
                {key: float(value) if value else math.nan for key, value in row.items() if key != "dataset"}
                for row in csv.DictReader(lines)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise RunnerError(f"{path} can't be read: {one_line(error)}") from error
    if any(not row.keys() >= HISTORY_COLUMNS for row in rows):
        raise RunnerError(f"{path} lacks columns: it is of an earlier version")
    if not all(math.isfinite(row[column]) for row in rows for column in HISTORY_COLUMNS):
        raise RunnerError(f"{path} holds what is no number")
    if [row["epoch"] for row in rows] != [*range(1, len(rows) + 1)]:
        raise RunnerError(f"{path} does not hold one epoch after the other")
    return rows
