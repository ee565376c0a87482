"""What is said on the screen: log lines, the result of a run, a bar of progress, and how a failure is told.

Every module logs to the logger "ex1". A record with a data set goes to standard output behind its name, any other to
standard error. Where a line can't be written, as after ``| head`` or to a full disk, the run goes on without.
"""

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from runner.config import Config
from runner.errors import RunnerError, one_line, printable
from runner.signals import Stopped

log = logging.getLogger("ex1")

tqdm.set_lock(threading.RLock())  # its own is one for several processes, which show no bars here

RESULT = logging.INFO + 5  # the level of what --quiet still prints, besides warnings


class ConsoleHandler(logging.Handler):
    """Write records, each a line, to the standard streams of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        text, dataset = record.getMessage(), getattr(record, "dataset", None)
        if dataset is None:
            _write(sys.stderr, text)
        else:
            _write(sys.stdout, f"[{dataset}] {text}")


def set_up_logging(quiet: bool = False) -> None:
    """Show the program's messages on the screen; with ``quiet`` the result, warnings and errors alone."""
    log.handlers = [ConsoleHandler()]
    log.setLevel(RESULT if quiet else logging.INFO)


class _DatasetAdapter(logging.LoggerAdapter):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": self.extra}


def stdout_log(dataset: str) -> logging.LoggerAdapter:
    """Make a logger for standard output, whose every line begins with the name of the data set."""
    return _DatasetAdapter(log, {"dataset": dataset})


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


BAR_OF_IMAGES = "{desc} {percentage:3.0f}% {remaining} left {rate_noinv_fmt} {bar}"


def progress_bar(what: str, total: float, done: int = 0, bar_format: str = BAR_OF_IMAGES) -> tqdm:
    """Make a bar, ``done`` of whose ``total`` was done before; none with --quiet or without a terminal."""
    disable = None if log.isEnabledFor(logging.INFO) else True  # None: only without a terminal
    look = {"unit": "img", "leave": False, "dynamic_ncols": True, "bar_format": bar_format}
    return tqdm(desc=printable(what), total=total, initial=done, disable=disable, **look)


def epoch_line(config: Config, row: dict, seconds_left: float) -> str:
    """Format an epoch that is done, a row of the history."""
    left = f", {tqdm.format_interval(seconds_left)} left" if seconds_left else ""
    return (
        f"{config.model_name} epoch {row['epoch']:>{len(str(config.epochs))}}/{config.epochs}"
        f"  training loss {row['train_loss']:.3f}, {100 * row['train_accuracy']:.1f} %"
        f"  validation loss {row['val_loss']:.3f}, {100 * row['val_accuracy']:.1f} %"
        f"  {row['seconds']:.0f} s, {row['images_per_second']:,.0f} images/s{left}"
    )
