"""Runs that are not finished: which of them train right now, how far all are, and how to go on with them."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from report.page import Block, Folded, Heading, Row, Table, Text, list_of
from report.results import RunResult, RunSet
from report.text import number_cell
from runner import files
from runner.config import FIELDS, PLACES, flag_of
from runner.errors import RunnerError, counted, printable, quote
from runner.lock import HOLDER_FIELDS, is_gone

STATES = RUNNING, FAILED, STOPPED, WAITING, NOT_BEGUN = "running", "failed", "stopped", "waiting", "not begun"
ERROR = "ex1.py: error: "  # how the line begins that a failed run ends its log with
LAST_BYTES = 4000  # of a log, which hold its last line
MOST_ROWS, MOST_OPEN = 200, 12  # of the table, and of one that is not folded


@dataclass(frozen=True)
class Batch:
    """What a batch knew of its runs at one moment, by their names; those it says nothing more of have ended."""

    names: Collection[str] = ()  # of all of them: the report is about these first
    running: Collection[str] = ()
    waiting: Collection[str] = ()  # still to begin, or to go on


NO_BATCH = Batch()


@dataclass(frozen=True)
class Unfinished:
    """A run that has no result yet."""

    name: str
    state: str
    epochs: tuple[int, int]  # done, and planned; (0, 0) where it has not written them yet
    accuracy: float | None  # on the validation images after the last of them, in percent
    loss: float | None
    go_on: str  # the command; empty where it can't
    last_line: str  # of its log; empty without one


def is_running(folder: Path) -> bool:
    """Tell by the note in a run's folder whether a process trains it; of another machine's the note is believed."""
    with contextlib.suppress(RunnerError):
        holder = files.read_json(folder / files.HOLDER)
        return files.has_fields(holder, HOLDER_FIELDS) and not is_gone(holder["host"], holder["process"])
    return False


def last_line_of(log: Path) -> str:
    """Read the last line of a log that says anything; empty where there is none."""
    try:
        lines = files.read_file(log, sys.maxsize, last=LAST_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((printable(line.strip()) for line in reversed(lines) if line.strip()), "")


def state_of(folder: Path, name: str, last_line: str, batch: Batch) -> str:
    """Tell what has become of the run ``name``; what a batch knew holds, as files may be of a later moment."""
    if name in batch.running or is_running(folder):
        return RUNNING
    if name in batch.waiting:
        return WAITING
    return FAILED if last_line.startswith(ERROR) else STOPPED


def describe_run(run: RunResult, batch: Batch) -> Unfinished:
    last_line = last_line_of(run.folder.with_name(f"{run.folder.name}.log"))
    state = state_of(run.folder, run.config.run_name, last_line, batch)
    last = run.history[-1] if run.history else {}
    command = ["python", "ex1.py", "--resume", str(run.folder)]
    for name in PLACES:
        if getattr(run.config, name) != FIELDS[name].default:
            command += [flag_of(name), str(getattr(run.config, name))]
    return Unfinished(
        name=run.folder.name,
        state=state,
        epochs=(len(run.history), run.config.epochs),
        accuracy=last.get("val_accuracy"),
        loss=last.get("val_loss"),
        go_on=quote(command) if state in (FAILED, STOPPED) and os.path.lexists(run.folder / files.LAST) else "",
        last_line=last_line,
    )


def find_unfinished(run_set: RunSet, batch: Batch = NO_BATCH) -> list[Unfinished]:
    """Describe all runs without a result, those too that have left nothing but a log."""
    found = [describe_run(run, batch) for run in run_set.unfinished]
    known = {run.folder.name for run in [*run_set.finished, *run_set.unfinished]}
    for log in sorted(run_set.folder.glob("*/*.log")):
        folder = log.with_suffix("")
        if folder.name not in known and not os.path.lexists(folder / files.CONFIG):
            last_line = last_line_of(log)
            state = state_of(folder, folder.name, last_line, batch)
            found.append(Unfinished(folder.name, state, (0, 0), None, None, "", last_line))
    return sorted(found, key=lambda each: (STATES.index(each.state), each.name))


def state_text(run_set: RunSet, unfinished: Sequence[Unfinished], batch: Batch = NO_BATCH) -> str:
    """Count each run once, by its state, e.g. ``3 runs finished, 1 running, 2 waiting``; empty if all are finished."""
    counts = Counter(each.state for each in unfinished)
    seen = {run.config.run_name for run in (*run_set.finished, *run_set.unfinished)}
    for name in {*batch.names, *batch.running, *batch.waiting} - seen - {each.name for each in unfinished}:
        counts[RUNNING if name in batch.running else WAITING if name in batch.waiting else NOT_BEGUN] += 1
    told = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    runs = counted(len(run_set.finished), "run") if run_set.finished else "no run"
    return ", ".join([f"{runs} finished", *told]) if told else ""


def unfinished_blocks(unfinished: Sequence[Unfinished]) -> list[Block]:
    """Show how far the runs without a result are, and how to go on with those that nobody trains."""
    if not unfinished:
        return []
    rows: list[Row] = []
    for each in unfinished[:MOST_ROWS]:
        done, planned = each.epochs
        figures: Row = ["", ""]
        if each.accuracy is not None and each.loss is not None:
            figures = [number_cell(each.accuracy, 1), number_cell(each.loss, 3)]
        epochs = f"{done} of {planned}" if planned else "none yet"
        rows.append([each.name, *figures, each.state, epochs, each.last_line, each.go_on])
    columns = (
        "run",
        "validation accuracy (%)",
        "validation loss",
        "state",
        "epochs",
        "last line of its log",
        "to go on",
    )
    table = Table(columns, rows)
    more = [f"Besides, {len(unfinished) - MOST_ROWS:,} more."] * (len(unfinished) > MOST_ROWS)
    return [
        Heading("Runs without a result"),
        Text(
            "These are left out of figures and comparisons. To go on with all runs of a batch, give its command again."
        ),
        Folded(f"All {len(unfinished):,}", [table]) if len(unfinished) > MOST_OPEN else table,
        *list_of(more),
    ]
