"""Errors that a user can mend, and how any error is put into one line."""

import re


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


class Diverged(RunnerError):
    """A loss, or a weight, is not a finite number any more."""

    can_go_on = False


def is_of_environment(error: BaseException) -> bool:
    """Tell whether the machine failed and not the code, so that the same may work later: a file, space or memory."""
    short_of_memory = re.search("out of memory|allocate memory", str(error))
    return isinstance(error, (OSError, MemoryError)) or bool(short_of_memory)


def one_line(error: BaseException) -> str:
    """Put an error into one line, with its path or type where it is not ours; unprintable characters become ``?``."""
    if isinstance(error, RunnerError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        lines = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return "".join(letter if letter.isprintable() else "?" for letter in text)
