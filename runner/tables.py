"""Studies that are kept as tables: a few CSV files in place of a folder for each run.

A folder of results with ``study.json`` is such a study. In every table ``run`` is the folder of a run below it, which
need not be there. Checkpoints, pictures and logs are not kept.
"""

import csv
import functools
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import files
from runner.config import FIELDS, PLACES
from runner.errors import RunnerError, one_line
from runner.files import HISTORY_COLUMNS, OF_CLASS

DEPTH = 3  # of a run's folder below that of the results: data set, model, run
STUDY, VERSION = "study.json", 1  # what makes a folder a study that is kept as tables, and says of which data sets
RUNS, EPOCHS, CONFUSIONS, CORRECT = "runs.csv", "history.csv", "confusions.csv", "correct.csv"
# Tables with a row for each file that one of the commands for saved runs wrote, by the beginning of its name.
MEASURED = {files.TRANSFER: "transfers.csv", files.CONFLICT: "conflicts.csv", files.MATRIX_FACTS: "matrices.csv"}
MEASURED |= {files.ON: "other_images.csv"}

Row = dict[str, Any]
NO_SETTINGS = {*PLACES, "data_check", "results_dir", "checkpoint_every", "tensorboard"}  # which say where and how
SETTINGS = [name for name in FIELDS if name not in NO_SETTINGS]

OF_RUN = ("source", "permutation_sha256", "neighbours_kept")  # entries of a run's data that are not of the data set

# Columns of runs.csv and where a run's config.json or metrics.json has them. First what a run is ...
FACTS = {"dataset_name": "config.data.name", "dataset_sha256": "config.data.sha256"}
FACTS |= {name: f"config.settings.{name}" for name in SETTINGS}
FACTS |= {name: f"config.{name}" for name in ("parameters", "macs")}
FACTS |= {name: f"config.data.{name}" for name in ("permutation_sha256", "neighbours_kept")}
# ... then how it did on the test images ...
TEST = {f"test_{name}": f"metrics.test.{name}" for name in ("loss", "accuracy", "images", "confidence")}
CALIBRATION = ("error", "confidence_when_wrong", "temperature", "scaled_loss")
TEST |= {f"test_calibration_{name}": f"metrics.test.calibration.{name}" for name in CALIBRATION}
TEST |= {"compiled": "metrics.compiled"}
# ... and what computed it: threads, precision and step are those that were used, where the settings may say "auto".
MACHINE = {name: f"config.machine.{name}" for name in ("device_name", "git_commit", "started", "platform", "command")}
MACHINE |= {f"{name}_used": f"config.machine.{name}" for name in ("device", "threads", "precision", "step")}
MACHINE |= {"model_sha256": "config.machine.model_sha256", "resumed": "config.resumed", "continues": "config.continues"}
VERSIONS = ("python", "torch", "torchvision", "numpy", "matplotlib", "torchsummary")
MACHINE |= {name: f"config.machine.versions.{name}" for name in VERSIONS}
STORED = FACTS | TEST | MACHINE

TYPES: dict[str, Any] = {name: FIELDS[name].type for name in SETTINGS}
TYPES |= dict.fromkeys(("parameters", "macs", "test_images", "threads_used"), int)
TYPES |= dict.fromkeys(("neighbours_kept", *TEST), float) | {"test_images": int, "compiled": bool}
TYPES |= dict.fromkeys(("command", "resumed", "continues"), json.loads)
ANSWERED = "answered_"  # how the columns of confusions.csv begin, the number of the class follows
LAST = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_confidence")  # columns of the last epoch


@dataclass
class SavedRun:
    """What the files of a run say, those that a study keeps."""

    config: dict  # config.json
    history: list[dict[str, float]]
    metrics: dict | None  # metrics.json; None for an unfinished run
    measured: dict[str, dict] = field(default_factory=dict)  # transfer.json and the like, by name

    def row(self, name: str) -> Row:
        """Make the row of ``runs.csv`` of a run of this name, None where a value is not known."""
        content = {"config": self.config, "metrics": self.metrics or {}}
        row: Row = {"run": name} | {column: _look_up(content, path) for column, path in FACTS.items()}
        row |= {"finished": self.metrics is not None, "epochs_done": len(self.history)}
        row |= {column: self.history[-1][column] if self.history else None for column in LAST}
        row |= {"seconds": sum(epoch["seconds"] for epoch in self.history)}
        return row | {column: _look_up(content, path) for column, path in (TEST | MACHINE).items()}

    def epoch_rows(self, name: str) -> list[Row]:
        """Make the rows of the table ``history.csv`` of a run of this name."""
        return [{"run": name} | row | {"epoch": int(row["epoch"])} for row in self.history]


def _look_up(content: Any, path: str) -> Any:
    """Return what nested dictionaries hold at a path such as ``config.data.name``; None where they lack it."""
    for key in path.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content


@dataclass
class KeptRun:
    """A finished run in the tables of a study, as the text of their cells."""

    dataset: dict
    row: Mapping[str, str]
    history: list[Mapping[str, str]] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)  # test images by true class, then by the class answered
    correct: str = ""
    measured: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def read_history(self) -> list[dict[str, float]]:
        """Make the rows of the run's ``history.csv``: without the columns that it never had."""
        own = {f"{OF_CLASS}{name}" for name in self.dataset["classes"]} | HISTORY_COLUMNS
        had = {column for row in self.history for column, text in row.items() if text and column != "run"}
        rows = [{column: float(row[column] or "nan") for column in row if column in own | had} for row in self.history]
        for epoch, row in enumerate(rows, 1):
            files.check_row(row, epoch)
        return rows

    def read_config(self) -> dict:
        """Make the run's ``config.json``, without what says where its files were."""
        return self._content()["config"]

    def read_metrics(self) -> dict:
        """Make the run's ``metrics.json``: the share of each class is that in its confusion."""
        metrics, last = self._content()["metrics"], self.history[-1]
        metrics["epochs"] = len(self.history)
        for part, split in (("train", "train"), ("validation", "val")):
            metrics[part] = {name: float(last[f"{split}_{name}"]) for name in files.MEASURES}
        shares = [row[i] / sum(row) if sum(row) else None for i, row in enumerate(self.confusion)]
        metrics["test"]["per_class_accuracy"] = dict(zip(self.dataset["classes"], shares, strict=True))
        metrics["test"]["confusion"] = self.confusion
        metrics["test"] |= {"correct_images": self.correct} if self.correct else {}
        return metrics

    def read_measured(self, name: str) -> dict:
        """Make ``transfer.json``, or the like, of the run."""
        content: dict[str, Any] = {}
        for column, text in self.measured[name].items():
            key, _, inner = column.partition(".")
            if text and column not in ("run", "file"):
                (content.setdefault(key, {}) if inner else content)[inner or key] = _from_cell(text)
        return content

    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = {"config": {"machine": {"versions": {}}}, "metrics": {"test": {}}}
        content["config"]["data"] = {**self.dataset, "permutation_sha256": None}
        for column, path in STORED.items():
            if text := self.row.get(column):
                *parents, last = path.split(".")
                inner = functools.reduce(lambda outer, key: outer.setdefault(key, {}), parents, content)
                inner[last] = text == "True" if TYPES.get(column) is bool else TYPES.get(column, str)(text)
            elif TYPES.get(column) is str:  # a setting may be empty
                content["config"]["settings"][column] = ""
        return content


def find(run: Path) -> KeptRun | None:
    """Find a run in the tables of the study that it is of, if it is kept in such. Raises RunnerError if damaged."""
    if len(run.parents) < DEPTH:
        return None
    return read(run.parents[DEPTH - 1]).get("/".join(run.parts[-DEPTH:]))


def read(root: Path) -> Mapping[str, KeptRun]:
    """Read the runs that a folder of results keeps as tables, by their ``run``; none where it is no such study.

    Raises RunnerError if its files can't be read.
    """
    try:
        changed = (root / STUDY).lstat().st_mtime_ns
    except OSError:
        return {}
    return _read(root, changed)


@functools.lru_cache(maxsize=8)
def _read(root: Path, changed: int) -> Mapping[str, KeptRun]:  # study.json is written last: ``changed`` tells it anew
    facts = files.read_json(root / STUDY)
    if facts.get("version") != VERSION:
        raise RunnerError(f"{root / STUDY} is of another version of the program: it can't be read")
    try:
        datasets = {(each["name"], each["sha256"]): each for each in facts["datasets"]}
        runs = dict[str, KeptRun]()
        for row in _read_csv(root / RUNS):
            if not re.fullmatch(r"([^./\\][^/\\]*/){2}[^./\\][^/\\]*", row["run"]):
                raise ValueError(f"{row['run']!r:.60} is not the folder of a run")
            runs[row["run"]] = KeptRun(datasets[row["dataset_name"], row["dataset_sha256"]], row)
        for row in _read_csv(root / EPOCHS):
            runs[row["run"]].history.append(row)
        for row in _read_csv(root / CONFUSIONS):
            runs[row["run"]].confusion.append(_counts(row))
        for row in _read_csv(root / CORRECT):
            runs[row["run"]].correct = row["correct_images"]
        for name in MEASURED.values():
            for row in _read_csv(root / name):
                runs[row["run"]].measured[row["file"]] = row
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise RunnerError(f"the tables of {root} can't be read: {one_line(error)}") from error
    return runs


def _counts(row: Mapping[str, str]) -> list[int]:
    return [int(text) for column, text in row.items() if text and column.startswith(ANSWERED)]


def _read_csv(path: Path) -> Iterable[Mapping[str, str]]:
    """Read the rows of a table; none where there is no such file. Raises ValueError for rows of unequal length."""
    if not path.exists():
        return
    for row in csv.DictReader(io.StringIO(files.read_file(path).decode(), newline="")):
        if None in row or None in row.values():
            raise ValueError(f"{path.name} has a row of another length than its head")
        yield row


def check_kept(run: SavedRun) -> dict:
    """Return a run's result on the test images. Raises RunnerError where there is none that a study keeps."""
    if not run.metrics:
        raise RunnerError("it is not finished")
    if "confusion" not in run.metrics["test"]:
        raise RunnerError("it has no confusion matrix: an earlier version trained it")
    return run.metrics["test"]


def write(root: Path, runs: Mapping[str, SavedRun]) -> list[Path]:
    """Write a study's tables and ``study.json`` into ``root``; return their paths.

    Raises RunnerError for a run that ``check_kept`` refuses.
    """
    datasets, tables = dict[str, dict](), {name: list[Row]() for name in (RUNS, EPOCHS, CONFUSIONS, CORRECT)}
    tables |= {name: [] for name in MEASURED.values()}
    for name, run in runs.items():
        dataset = {key: value for key, value in run.config["data"].items() if key not in OF_RUN}
        datasets[json.dumps(dataset)] = dataset
        head = {"run": name}
        tables[RUNS].append(run.row(name))
        tables[EPOCHS] += run.epoch_rows(name)
        test = check_kept(run)
        for true, answered in zip(dataset["classes"], test["confusion"], strict=True):
            counts = {f"{ANSWERED}{number}": count for number, count in enumerate(answered)}
            tables[CONFUSIONS].append(head | {"true_class": true} | counts)
        if "correct_images" in test:
            tables[CORRECT].append(head | {"correct_images": test["correct_images"]})
        for file, content in run.measured.items():
            start = next(start for start in MEASURED if file.startswith(start))
            tables[MEASURED[start]].append(head | {"file": file} | _flatten(content))

    for name in (name for name, rows in tables.items() if not rows):  # it may be there of an earlier time
        (root / name).unlink(missing_ok=True)
    written = [write_csv(root / name, rows) for name, rows in tables.items() if rows]
    files.write_json(root / STUDY, {"version": VERSION, "datasets": [*datasets.values()]})
    return [*written, root / STUDY]


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as CSV, with every column that one of them has; what is not known is empty. Return the path."""
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(text := io.StringIO(), columns, lineterminator="\n")
    writer.writeheader()
    # NaN is what has no value, such as the accuracy of a class without images.
    writer.writerows({key: _to_text(value) for key, value in row.items()} for row in rows)
    files.write_file(path, text.getvalue())
    return path


def _to_text(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return "" if isinstance(value, float) and math.isnan(value) else value


def _flatten(content: dict) -> dict[str, str]:
    """Make one column of each entry of a JSON file, ``outer.inner`` of a dictionary's; a deeper one stays JSON."""
    columns = dict[str, str]()
    for key, value in content.items():
        if isinstance(value, dict) and value:
            columns |= {f"{key}.{inner}": _to_cell(each) for inner, each in value.items()}
        else:
            columns[key] = _to_cell(value)
    return columns


def _to_cell(value: Any) -> str:
    """Write a value of a JSON file as JSON, a text without its quotes where it is not taken for another value then."""
    return value if isinstance(value, str) and _from_cell(value) == value != "" else json.dumps(value)


def _from_cell(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
