"""What is known of saved runs: one reader for each file of theirs, in a run's folder or in the tables of its study.

A run is named by its folder. Where that holds no ``config.json``, and the folder of results keeps its runs as tables,
what they say is read: everything that reads runs through this module reads both forms.
"""

import csv
import dataclasses
import io
import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from runner import files, tables
from runner.config import Config, nearest
from runner.errors import RunnerError, UsageError, cause_of, counted, one_line
from runner.files import (
    CONFIG,
    HISTORY,
    HISTORY_COLUMNS,
    MAX_VALUES,
    MEASURES,
    METRICS,
    check_row,
    checked_number,
    has_fields,
    is_dataset,
    is_file_name,
    read_file,
    read_json,
)

Kept = TypeVar("Kept")


def _kept(run: Path) -> tables.KeptRun | None:
    """Find a run in the tables of its study; None where its folder is there to be read."""
    return None if os.path.lexists(run / CONFIG) else tables.find(run)


def _from_tables(run: Path, name: str, read: Callable[[tables.KeptRun], Kept]) -> Kept | None:
    """Read what stands for the file ``name`` in the tables of a study; None where they do not hold the run."""
    try:
        kept = _kept(run)
        return read(kept) if kept else None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunnerError(f"{run / name} can't be read from the tables of its study: {one_line(error)}") from error


def exists(run: Path) -> bool:
    """Tell whether a run has its description, in its folder or in the tables of its study."""
    return os.path.lexists(run / CONFIG) or tables.find(run) is not None


def is_finished(run: Path) -> bool:
    return (run / METRICS).exists() or _kept(run) is not None


def list_kept(parent: Path) -> list[Path]:
    """List the runs of a model that are kept as tables, by the folder of the model."""
    study = parent.parent.parent
    return [run for name in tables.read(study) if (run := study / name).parent == parent]


def list_runs(root: Path, is_deep: bool = False) -> list[Path]:
    """List the runs in a folder of results or of one data set, those too that are kept as tables.

    With ``is_deep`` studies and runs in all folders below are found too. Raises RunnerError for damaged tables.
    """
    patterns = ["**/"] if is_deep else ["*/*/*/", "*/*/"]
    runs = {path.parent for pattern in patterns for path in root.glob(pattern + CONFIG)}
    for study in [root, root.parent, *(path.parent for path in root.rglob(tables.STUDY) if is_deep)]:
        runs |= {study / name for name in tables.read(study)}
    return sorted(run for run in runs if run.is_relative_to(root))


def find_run(name: str, results: str | Path) -> Path:
    """Find a run by its path, a part of its name that no other in ``results`` has, or ``last``: the last one written.

    Raises UsageError if that is not one run.
    """
    if os.path.lexists(name) or exists(Path(name)):
        return Path(name)
    runs = list_runs(Path(results))
    if not runs:
        raise UsageError(f"{name}: there is no run in {results}; give a run's folder, or --results-dir")
    if name == "last":
        there = [run for run in runs if os.path.lexists(run / CONFIG)] or runs[-1:]
        return max(there, key=lambda run: max((os.lstat(file).st_mtime_ns for file in run.glob("*")), default=0))
    found = [run for run in runs if name.casefold() in str(run.relative_to(results)).casefold()]
    found = [run for run in found if run.name == name] or found
    if len(found) != 1:
        names = sorted(run.name for run in found or runs)
        many = (
            f"is a part of {counted(len(found), 'name')}" if found else "does not exist, and no run has it in its name"
        )
        near = f", such as {' and '.join(names[:2])}" if found else nearest(name, names)
        raise UsageError(f"{name} {many} in {results}{near}; give a run's folder, a unique part of its name, or last")
    return found[0]


def read_config(run: Path) -> dict:
    """Read ``config.json`` of a run. Raises RunnerError if it can't be read, or is not the description of a run."""
    content = _from_tables(run, CONFIG, tables.KeptRun.read_config) or read_json(run / CONFIG)
    sizes = content.get("parameters"), content.get("macs")
    if not (
        isinstance(content.get("settings"), dict)
        and is_file_name(content["settings"].get("model_name"))
        and is_dataset(content.get("data"))
        and content["data"]["classes"]
        and has_fields(content.get("machine"), {"versions": dict})
        and isinstance(content["machine"]["versions"].get("torch"), str)
        and all(isinstance(size, int) and 0 <= size < 10**15 for size in sizes)
    ):
        raise RunnerError(f"{run / CONFIG} is not the description of a run")
    return content


def read_metrics(run: Path) -> dict:
    """Read ``metrics.json`` of a finished run. Raises RunnerError if it can't be read, or contradicts itself."""
    content = _from_tables(run, METRICS, tables.KeptRun.read_metrics) or read_json(run / METRICS)
    try:
        _check_test(content["test"])
    except Exception as error:
        raise RunnerError(f"{run / METRICS} is not the result of a run: {one_line(error)}") from error
    return content


def _check_test(test: dict) -> None:
    """Raise an exception of any kind if this is not how a network did on the test images."""
    images, accuracy, shares = test["images"], test["accuracy"], [*test["per_class_accuracy"].values()]
    checked_number(images, 1)
    checked_number(test["loss"], 0)
    for share in (accuracy, *(share for share in shares if share is not None)):
        checked_number(share, 0, 1)
    if not (isinstance(images, int) and shares):
        raise ValueError("it counts no images, or has no classes")

    # All of it follows from the confusion, which files need not have.
    confusion = test.get("confusion")
    if confusion is None:
        return
    if not all(isinstance(count, int) and count >= 0 for count in itertools.chain(*confusion)):
        raise ValueError("its confusion counts what are no images")
    totals = [sum(row) for row in confusion]
    correct = [row[number] for number, row in enumerate(confusion)]
    expected = [right / total if total else None for right, total in zip(correct, totals)]
    pairs = [(accuracy, sum(correct) / images), *zip(shares, expected)]
    as_counted = all(share == other or abs(share - other) < 1e-9 for share, other in pairs)
    if not (sum(totals) == images and {len(row) for row in (*confusion, shares)} == {len(confusion)} and as_counted):
        raise ValueError("its accuracy is not that of its confusion")


def list_measured(run: Path) -> list[str]:
    """List the names of the files that commands for saved runs have written for a run, e.g. ``transfer.json``."""
    if kept := _kept(run):
        return sorted(kept.measured)
    return sorted(path.name for path in run.glob("*.json") if path.name.startswith(tuple(tables.MEASURED)))


def read_measured(run: Path, name: str) -> dict | None:
    """Read such a file; None where there is none. Raises RunnerError if it can't be read."""
    kept = _kept(run)
    if not (name in kept.measured if kept else os.path.lexists(run / name)):
        return None
    return _from_tables(run, name, lambda kept: kept.read_measured(name)) or read_json(run / name)


def read_run(run: Path) -> tables.SavedRun:
    """Read what a run is and came to. Raises an exception of any kind where its files are not those of one run."""
    description, history, metrics = read_config(run), read_history(run), None
    config = Config.from_saved(description["settings"])
    if outdated := files.outdated_shuffle(description["settings"], description["data"]):
        raise ValueError(outdated)
    if is_finished(run):
        metrics = read_metrics(run)
        check_result(metrics, history, config)
    # With every setting that there is today: earlier versions had fewer, and other names of some.
    description["settings"] = dataclasses.asdict(config)
    return tables.SavedRun(description, history, metrics)


def read_result(run: Path, config: Config) -> dict:
    """Read ``metrics.json`` of a finished run. Raises RunnerError if it can't be, or is not that of its history."""
    try:
        content = read_metrics(run)
        check_result(content, read_history(run), config)
    except Exception as error:
        where = "" if isinstance(error, RunnerError) else f"{run}: "
        remedy = f"delete its {METRICS}, and --resume goes on from its last checkpoint"
        raise RunnerError(f"{where}{one_line(error)}; {remedy}") from error
    return content


def check_result(metrics: dict, history: Sequence[dict[str, float]], config: Config) -> None:
    """Raise an exception of any kind if the result of a run is not that of its own history."""
    test, of = metrics["test"], {"validation": "val", "train": "train"}
    if not (len(history) == metrics["epochs"] and config.is_over([row["val_accuracy"] for row in history])):
        raise ValueError(f"{METRICS} and {HISTORY} are not of the same epochs")

    # What is in both. A run that went on elsewhere after its last epoch may have measured an image or two otherwise.
    pairs = [(metrics[part][key], f"{name}_{key}") for part, name in of.items() if part in metrics for key in MEASURES]
    if config.val == "test":
        pairs += [(test[key], f"val_{key}") for key in MEASURES]
    for value, column in pairs:
        if abs(checked_number(value) - history[-1][column]) > 0.01:
            raise ValueError(f"{METRICS} says {value} where {HISTORY} has {column} {history[-1][column]}")


def read_history(run: Path) -> list[dict[str, float]]:
    """Read ``history.csv``, a row an epoch, empty fields as NaN; [] without a file. Raises RunnerError if it can't."""
    if kept := _from_tables(run, HISTORY, tables.KeptRun.read_history):
        return kept
    path, rows = run / HISTORY, list[dict[str, float]]()
    if not path.exists():
        return rows
    try:
        table = csv.DictReader(io.StringIO(read_file(path).decode(), newline=""))
        columns = table.fieldnames or []
        # Each row as it is read: a file of many megabytes must not become gigabytes before it is refused.
        for row in table:
            rows.append({key: float(value) if value else math.nan for key, value in row.items() if key != "dataset"})
            if not rows[-1].keys() >= HISTORY_COLUMNS:
                raise RunnerError(f"{path} lacks columns: it is of an earlier version")
            if len(columns) * len(rows) > MAX_VALUES:
                raise RunnerError(f"{path} holds more than {MAX_VALUES:,} values, which no training of ours writes")
            check_row(rows[-1], len(rows))
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunnerError(f"{path} can't be read: {cause_of(error)}") from error
    return rows
