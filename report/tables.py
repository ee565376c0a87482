"""All runs below a folder as two tables, a row for each run and one for each epoch: for pandas, or as CSV files.

Read from the files alone: neither torch nor the rest of a report is imported.
"""

import csv
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import files
from runner.config import FIELDS, PLACES, Config
from runner.errors import RunnerError, one_line

if TYPE_CHECKING:
    import pandas

RUNS, EPOCHS = "runs.csv", "history.csv"
Row = dict[str, Any]

# Of a run's machine, and what its columns are called. "precision" and "step" are those that were computed with.
MACHINE = {"device_name": "device_name", "threads": "threads_used", "precision": "precision_used"}
MACHINE |= {"step": "step_used", "git_commit": "git_commit", "started": "started"}
LAST = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_confidence")  # columns of the last epoch
NO_SETTINGS = {*PLACES, "data_check", "results_dir", "checkpoint_every", "tensorboard"}  # which say where and how


def load(results: str | Path = "results") -> "tuple[pandas.DataFrame, pandas.DataFrame]":
    """Load all runs below a folder as two tables of pandas: one with a row for each run, one with a row for each epoch.

    In both ``run`` is the run's folder below ``results``. Accuracies are in [0, 1] and losses in nats, as in a run's
    own files; an unfinished run has no test accuracy. A run that can't be read is left out, with a warning. Raises
    ImportError without pandas, and RunnerError if there is no run.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError("report.load needs a package that is not installed: pip install pandas") from None
    runs, epochs, notes = read_tables(Path(results))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return pandas.DataFrame(runs), pandas.DataFrame(epochs)


def read_tables(root: Path) -> tuple[list[Row], list[Row], list[str]]:
    """Read a row for each run and one for each epoch, and say what was left out. Raises RunnerError without runs."""
    runs, epochs, notes = list[Row](), list[Row](), list[str]()
    for path in sorted(root.rglob(files.CONFIG)):
        try:
            files.require_inside(path.parent, root)
            run, history = _describe(path.parent)
        except Exception as error:  # whatever odd files raise
            notes.append(f"{path.parent} is left out: {one_line(error)}")
            continue
        name = {"run": path.parent.relative_to(root).as_posix()}
        runs.append(name | run)
        epochs += [name | row | {"epoch": int(row["epoch"])} for row in history]
    if not runs:
        why = f"{root} holds no runs" if root.is_dir() else f"{root}: folder does not exist"
        raise RunnerError("; ".join([why, *notes]))
    return runs, epochs, notes


def _describe(folder: Path) -> tuple[Row, list[Row]]:
    """Read what a run is and came to, and its history. Raises an exception of any kind where that is not one run's."""
    description, history = files.read_config(folder), files.read_history(folder)
    config = Config.from_saved(description["settings"])
    row: Row = {"dataset_name": description["data"]["name"], "dataset_sha256": description["data"]["sha256"]}
    row |= {name: getattr(config, name) for name in FIELDS if name not in NO_SETTINGS}
    row |= {"parameters": description["parameters"], "macs": description["macs"]}

    # The result: of the epochs that are done, and of the test images when all are.
    row |= {"finished": files.is_finished(folder), "epochs_done": len(history)}
    row |= {column: history[-1][column] if history else None for column in LAST}
    row |= {"test_loss": None, "test_accuracy": None, "test_images": None}
    if row["finished"]:
        metrics = files.read_metrics(folder)
        files.check_result(metrics, history, config)
        row |= {f"test_{name}": metrics["test"][name] for name in ("loss", "accuracy", "images")}
    row["seconds"] = sum(epoch["seconds"] for epoch in history)

    # The machine; files of earlier versions lack some of it.
    machine = description["machine"]
    row |= {column: machine.get(name) for name, column in MACHINE.items()}
    return row | {"torch": machine["versions"]["torch"]}, history


def write_tables(root: Path) -> tuple[list[Path], list[str]]:
    """Write the two tables as CSV files into ``root``; return their paths, and what was left out."""
    runs, epochs, notes = read_tables(root)
    for name, rows in ((RUNS, runs), (EPOCHS, epochs)):
        files.write_file(root / name, _to_csv(rows))
    return [root / RUNS, root / EPOCHS], notes


def _to_csv(rows: list[Row]) -> str:
    """Write rows as CSV, with every column that one of them has; what is not known is empty."""
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(text := io.StringIO(), columns, lineterminator="\n")
    writer.writeheader()
    # NaN is what has no value, such as the accuracy of a class without images.
    writer.writerows({key: "" if value != value else value for key, value in row.items()} for row in rows)
    return text.getvalue()
