"""Runs that are not finished: which of them train right now, how far all are, and how to go on with them."""

import contextlib
import os
import sys
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

RUNNING, STOPPED, FAILED = "running", "stopped", "failed"
ERROR = "ex1.py: error: "  # how the line begins that a failed run ends its log with
LAST_BYTES = 4000  # of a log, which hold its last line
MOST_ROWS, MOST_OPEN = 200, 12  # of the table, and of one that is not folded


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


def state_of(folder: Path, last_line: str, running: Collection[str]) -> str:
    if folder.name in running or is_running(folder):
        return RUNNING
    return FAILED if last_line.startswith(ERROR) else STOPPED


def describe_run(run: RunResult, running: Collection[str]) -> Unfinished:
    last_line = last_line_of(run.folder.with_name(f"{run.folder.name}.log"))
    state = state_of(run.folder, last_line, running)
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
        go_on=quote(command) if state != RUNNING and os.path.lexists(run.folder / files.LAST) else "",
        last_line=last_line,
    )


def find_unfinished(run_set: RunSet, running: Collection[str] = ()) -> list[Unfinished]:
    """Describe all runs without a result, those too that have left nothing but a log.

    ``running`` names runs that are known to train, if not on this machine.
    """
    found = [describe_run(run, running) for run in run_set.unfinished]
    known = {run.folder.name for run in [*run_set.finished, *run_set.unfinished]}
    for log in sorted(run_set.folder.glob("*/*.log")):
        folder = log.with_suffix("")
        if folder.name not in known and not os.path.lexists(folder / files.CONFIG):
            last_line = last_line_of(log)
            state = state_of(folder, last_line, running)
            found.append(Unfinished(folder.name, state, (0, 0), None, None, "", last_line))
    order = (RUNNING, FAILED, STOPPED)
    return sorted(found, key=lambda each: (order.index(each.state), each.name))


def state_text(unfinished: Sequence[Unfinished], finished: int, waiting: int) -> str:
    """Count the runs by their state, e.g. ``3 runs finished, 2 waiting, 1 running``; empty where all are finished."""
    counts = [(sum(each.state == state for each in unfinished), state) for state in (RUNNING, FAILED, STOPPED)]
    told = [f"{n} {state}" for n, state in [*counts, (waiting, "waiting")] if n]
    runs = counted(finished, "run") if finished else "no run"
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
