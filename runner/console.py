"""What is said on the screen: log lines, the result of a run, a bar of progress, and how a failure is told.

Every module logs to the logger "ex1". A record with a data set goes to standard output, behind its name if its images
are generated; any other goes to standard error. Where a line can't be written, as after ``| head`` or to a full disk,
the run goes on without.
"""

import logging
import math
import os
import shutil
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from runner import machine
from runner.config import Config
from runner.errors import RunnerError, counted, one_line, printable
from runner.run import Run
from runner.signals import Stopped

log = logging.getLogger("ex1")

tqdm.set_lock(threading.RLock())  # its own is one for several processes, which show no bars here

RESULT = logging.INFO + 5  # the level of what --quiet still prints, besides warnings
# Steps below which accuracies don't yet say which network is better, and the rates of all steps together, over 1 less
# the momentum; measured with Q1_1 and Q1_19 on CIFAR-10: both recipes are at 35 to 47 % after so many.
MIN_STEPS, MIN_RATE_SUM = 200, 40
GENERATED = "SYNTHETIC"  # how the name of a data set begins that every line has to name


class ConsoleHandler(logging.Handler):
    """Write records, each a line, to the standard streams of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        text, dataset = record.getMessage(), getattr(record, "dataset", None)
        with tqdm.external_write_mode(sys.stderr):  # bars are cleared, and shown again below the line
            if dataset is None:
                _write(sys.stderr, text)  # it may hold a command to copy, which a break would cut
                return
            prefix = f"[{dataset}] " if dataset.startswith(GENERATED) else ""
            for line in _break_lines(text, len(prefix)):
                _write(sys.stdout, prefix + line)


def set_up_logging(quiet: bool = False) -> None:
    """Show the program's messages on the screen; with ``quiet`` the result, warnings and errors alone."""
    log.handlers = [ConsoleHandler()]
    log.setLevel(RESULT if quiet else logging.INFO)


class _DatasetAdapter(logging.LoggerAdapter):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": self.extra}


def stdout_log(dataset: str) -> logging.LoggerAdapter:
    """Make a logger for standard output, of what is said of a data set."""
    return _DatasetAdapter(log, {"dataset": dataset})


def _break_lines(text: str, taken: int) -> list[str]:
    """Break a line between words where a terminal would inside them; ``taken`` columns are needed before each."""
    if not (sys.stdout and sys.stdout.isatty()):
        return [text]
    room = max(1, shutil.get_terminal_size().columns - taken)
    as_it_is: dict[str, Any] = dict(
        break_long_words=False, break_on_hyphens=False, expand_tabs=False, replace_whitespace=False
    )
    return textwrap.wrap(text, room, **as_it_is) or [text]


def _write(stream: TextIO | None, line: str) -> None:
    """Write a line to the screen, as all that is said is; what names from files hold can't act on a terminal."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        # A stream that is not ours to prepare, as in a notebook, may take less than any text.
        print(printable(line).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)
        if stream is sys.stdout:
            _write(sys.stderr, f"standard output can't be written ({error.strerror}): nothing more is said there")


def _silence(stream: TextIO | None) -> None:
    # What print() could not deliver is still in the stream's buffer, and would be an error again at exit.
    if stream:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_text(text: str) -> None:
    """Print the lines of a text, --quiet or not."""
    for line in text.split("\n"):
        _write(sys.stdout, line)


def exit_code_of(action: Callable[[], object], program: str = "ex1.py", debug: bool = False) -> int:
    """Run ``action``, say in one line how it failed if it did, and return the exit code."""
    try:
        action()
    except Stopped as stopped:
        log.warning(f"{program}: {stopped}")
        return stopped.exit_code
    except KeyboardInterrupt:
        log.warning(f"{program}: stopped")
        return 130
    except Exception as error:
        if debug:
            for line in traceback.format_exc().splitlines():
                log.warning(line)
        expected = isinstance(error, (RunnerError, OSError))
        hint = "" if expected or debug else "; --debug shows where in the code it came from"
        log.warning(f"{program}: error: {one_line(error)}{hint}")
        return getattr(error, "exit_code", 1)
    return 0


def print_result(config: Config, dataset: str, run: str | Path, accuracy: float, lines: list[str]) -> None:
    """Print a run's result as published, with ``lines`` below its title; with --quiet its accuracy in [0, 1] alone."""
    say = stdout_log(dataset)
    if log.isEnabledFor(logging.INFO):
        for line in [config.title(dataset).replace("\n", ", "), *lines]:
            say.info(line)
    else:
        say.log(RESULT, f"{config.model_name}: test accuracy {100 * accuracy:.1f} %, {run}")


def say_start(run: Run, header: Mapping[str, Any], change: str) -> None:
    """Say what is to be trained, on what and where; ``change`` is what its network changes."""
    config, dataset, here = run.config, run.dataset, run.machine
    say = stdout_log(dataset["name"])
    say.info(f"{config.model_name}: {header['parameters']:,} parameters" + f"; {change}" * bool(change))
    say.info(f"{dataset['name']}: {dataset['train_images']:,} training images ({dataset['source']})")
    if config.val == "test":
        how = "don't choose settings by these numbers (--val holdout keeps the test images unseen)"
        say.info(f"validation on {header['validated_on']}, as published: {how}")
    else:
        say.info(f"validation on {header['validated_on']}")
    if busy := machine.busyness(here["threads"]):
        say.info(busy)
    if few := few_steps(config, dataset["train_images"]):
        say.info(few)
    where = f"{here['device']}, {counted(here['threads'], 'thread')}"
    where += f", {here['precision']}" * (here["precision"] != "fp32") + ", native step" * (here["step"] == "native")
    say.info(f"{where}; results go to {run.folder}")


def few_steps(config: Config, images: int) -> str:
    """Say that a run on so many images is too short to learn anything, and what would do; empty if it is not."""
    steps, needed = steps_needed(config, images)
    if steps >= needed:
        return ""
    fewer = ", fewer with a larger --limit" * bool(config.limit)
    few = f"{counted(steps, 'step')} {'is' if steps == 1 else 'are'} too few to learn much or to compare networks by"
    return f"{few}: --epochs {math.ceil(needed * config.epochs / steps)} would do{fewer}"


def steps_needed(config: Config, images: int) -> tuple[int, int]:
    """Count the steps of a run on so many images, and those below which it learns little."""
    needed = MIN_STEPS
    if config.optimizer == "sgd":
        mean_rate = config.lr if config.schedule == "constant" else config.lr / 2
        needed = max(MIN_STEPS, math.ceil(min(MIN_RATE_SUM * (1 - config.momentum) / mean_rate, 1e6)))
    return math.ceil(images / config.batch_size) * config.epochs, needed


class Bar(tqdm):
    """A line with a bar. What a window cuts off is the end of the line, and the bar stands at its beginning."""

    shown = 0  # columns of what is on the screen

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the line; where the window has become narrower than it was, what the terminal made of it goes first."""
        columns = shutil.get_terminal_size().columns
        if self.shown > columns:
            self.fp.write("\x1b[A" * ((self.shown - 1) // columns) + "\r\x1b[J")
            self.sp = self.status_printer(self.fp)  # which would fill the line to the length that it had
        text = str(self) if msg is None else msg
        self.shown = len(text)
        return super().display(text, pos)  # true: close() then puts the cursor at the line's beginning


def progress_bar(what: str, total: float, done: float = 0, left: str = "{remaining} left") -> Bar:
    """Make a bar, ``done`` of whose ``total`` was done before; none with --quiet or without a terminal.

    The time that is ``left`` is reckoned with the mean speed since it was made.
    """
    disable = None if log.isEnabledFor(logging.INFO) else True  # None: only without a terminal
    bar_format = "{percentage:3.0f} % {bar:12} " + left + "{desc}"
    look: dict[str, Any] = {"leave": False, "dynamic_ncols": True, "smoothing": 0, "bar_format": bar_format}
    return Bar(desc=printable(what), total=total, initial=done, disable=disable, **look)


def epoch_line(config: Config, row: dict, seconds_left: float) -> str:
    """Format an epoch that is done, a row of the history, and the time that is left of the run, in 80 columns."""
    left = f", {tqdm.format_interval(seconds_left)} left" if seconds_left else ""
    return (
        f"{config.model_name} epoch {row['epoch']:>{len(str(config.epochs))}}/{config.epochs}"
        f"  train {row['train_loss']:.3f}, {100 * row['train_accuracy']:.1f} %"
        f"  val {row['val_loss']:.3f}, {100 * row['val_accuracy']:.1f} %"
        f"  {row['seconds']:.0f} s{left}"
    )
