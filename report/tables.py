"""All runs below a folder as two tables, a row for each run and one for each epoch: for pandas, or as CSV files.

Read from the files alone: neither torch nor the rest of a report is imported.
"""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runner import files, records, tables
from runner.errors import RunnerError, one_line
from runner.tables import Row, SavedRun

if TYPE_CHECKING:
    import pandas


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
    found, notes = read_runs(root)
    rows = [run.row(name) for name, run in found.items()]
    return (
        rows,
        [{"run": name} | row | {"epoch": int(row["epoch"])} for name, run in found.items() for row in run.history],
        notes,
    )


def read_runs(root: Path) -> tuple[dict[str, SavedRun], list[str]]:
    """Read the runs below ``root`` by their folders, and say what was left out. Raises RunnerError without runs."""
    found, notes = dict[str, SavedRun](), list[str]()
    for folder in records.list_runs(root, is_deep=True):
        try:
            files.require_inside(folder, root)
            run = records.read_run(folder)
        except Exception as error:  # whatever odd files raise
            notes.append(f"{folder} is left out: {one_line(error)}")
        else:
            found[folder.relative_to(root).as_posix()] = run
    if not found:
        why = f"{root} holds no runs" if root.is_dir() else f"{root}: folder does not exist"
        raise RunnerError("; ".join([why, *notes]))
    return found, notes


def write_tables(root: Path) -> tuple[list[Path], list[str]]:
    """Write the two tables as CSV files into ``root``; return their paths, and what was left out.

    In a study that is kept as tables they are of all its runs, so the others are written anew too.
    """
    if os.path.lexists(root / tables.STUDY):
        return keep(root)
    runs, epochs, notes = read_tables(root)
    return [tables.write_csv(root / name, rows) for name, rows in ((tables.RUNS, runs), (tables.EPOCHS, epochs))], notes


def keep(root: Path) -> tuple[list[Path], list[str]]:
    """Write a folder of results as a study in tables; return their paths, and what was left out.

    All commands read a run from there when its folder is gone. Raises RunnerError without a run to keep.
    """
    found, notes = read_runs(root)
    kept = dict[str, SavedRun]()
    for name, run in found.items():
        try:
            if len(Path(name).parts) != tables.DEPTH:
                raise RunnerError(f"it is not in the folder of a data set and a model of {root}")
            tables.check_kept(run)
            measured = {file: records.read_measured(root / name, file) for file in records.list_measured(root / name)}
            kept[name] = replace(run, measured={file: content for file, content in measured.items() if content})
        except RunnerError as error:
            notes.append(f"{root / name} is left out: {one_line(error)}")
    if not kept:
        raise RunnerError("; ".join([f"{root} holds no finished run to keep", *notes]))
    return tables.write(root, kept), notes
