"""Errors that a user can mend, and how any error, and any other text, is put into one line."""

import logging
import os
import re
import shlex
import subprocess
import traceback
from collections.abc import Sequence

log = logging.getLogger("ex1")

MOST_TOLD = 20  # problems with a data folder that are told one by one, and names in a line


class RunnerError(Exception):
    """Something a user can mend; ex1.py prints it as one line and exits with ``exit_code``."""

    exit_code = 1
    can_go_on = True  # whether a run that it stopped can go on once the cause is mended


class BusyError(RunnerError):
    """Another process is at work on the run."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class UsageError(RunnerError):
    """A setting, or a combination of settings, that cannot work."""

    exit_code = 2


class DataError(RunnerError):
    """Images that are missing, damaged or not what they should be; the message names the file."""


class CheckpointError(RunnerError):
    """A checkpoint that is missing, damaged or not one of this program; the message names the file."""


class FolderLost(RunnerError):
    """The folder of a run is not there any more, or another one is in its place."""

    can_go_on = False


class Diverged(RunnerError):
    """A loss, or a weight, has grown beyond what can be gone on with; the same again ends the same way."""

    exit_code = 3
    can_go_on = False


# What moves the cursor, begins a line, or turns the direction of what follows.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Make text of any origin one line that a screen or a page only shows: control characters become ``?``."""
    return _CONTROL.sub("?", text)


def counted(number: int, noun: str) -> str:
    """Count things in words, e.g. ``1 run`` or ``2,700 runs``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def quote(command: Sequence[str]) -> str:
    """Put a command into a line as the shell here takes it: cmd.exe on Windows, else a POSIX one."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def some_of(names: Sequence[str], between: str = ", ") -> str:
    """List names in a line, the first of very many alone."""
    more = len(names) - MOST_TOLD
    return between.join(names[:MOST_TOLD]) + f" and {more} more" * (more > 0)


def is_of_environment(error: BaseException) -> bool:
    """Tell whether the machine failed and not the code, so that the same may work later: a file, space or memory."""
    short_of_memory = re.search("out of memory|allocate memory", str(error))
    return isinstance(error, (OSError, MemoryError)) or bool(short_of_memory)


def one_line(error: BaseException) -> str:
    """Put an error into one line, with its path or type where it is not ours; control characters become ``?``."""
    if isinstance(error, RunnerError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        lines = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        if _came_from_import_of("torchvision", error):
            pair = " and ".join(f"{name} {installed_version(name)}" for name in ("torch", "torchvision"))
            text += f"; {pair} do not fit each other: install the two together, as the pair in constraints.txt"
    return printable(text)


def cause_of(error: BaseException) -> str:
    """Put an error into one line, for a message that names its file already, as :func:`one_line` would again."""
    return getattr(error, "strerror", None) or one_line(error)


def _came_from_import_of(package: str, error: BaseException) -> bool:
    """Tell whether an installed ``package`` failed to import, for another reason than a package that is missing."""
    modules = [
        str(frame.f_globals.get("__name__"))
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_name == "<module>"
    ]
    return not isinstance(error, ModuleNotFoundError) and any(name.split(".")[0] == package for name in modules)


def installed_version(package: str) -> str | None:
    """Look up the version of an installed package; None if it is not there."""
    import importlib.metadata  # which takes longer to import than -h to answer

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def raise_all(where: object, problems: Sequence[str], remedy: str = "", most: int = MOST_TOLD) -> None:
    """Raise DataError if there are ``problems``: a single one is its message, ``most`` of several get a line each."""
    if len(problems) == 1:
        raise DataError(problems[0] + remedy)
    for problem in problems[:most]:
        log.warning(one_line(DataError(problem)))
    if problems:
        told = "they are named above" if len(problems) <= most else f"the first {most} are named above"
        raise DataError(f"{where}: {len(problems):,} problems, {told}{remedy}")
