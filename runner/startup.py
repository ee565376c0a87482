"""What every program of ours does first: its streams are readied, its figures kept its own, ``~`` is a home."""

import argparse
import io
import os
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import NoReturn

from runner.config import nearest
from runner.errors import one_line, printable

# How argparse tells of mistakes, and how we do.
PHRASES = {
    r"^argument ": "",
    r"expected (at least )?one argument": "its value is missing",
    r"invalid int value: '(.*)'": r"\1 is not a whole number",
    r"invalid float value: '(.*)'": r"\1 is not a number",
}


def _tell_choices(match: re.Match) -> str:
    value, choices = match[1], match[2].replace("'", "")
    return f" {value}{nearest(value, choices.split(', '))}: choose from {choices}"


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, with the nearest option, and no usage before it."""

    def error(self, message: str) -> NoReturn:
        for theirs, ours in PHRASES.items():
            message = re.sub(theirs, ours, message)
        message = re.sub(r": invalid choice: '(.*)' \(choose from (.*)\)", _tell_choices, message)
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")

    def parse_args(self, args=None, namespace=None):
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            self.error(self.tell_unknown(options) if options else f"{' '.join(unknown)}: it belongs to no option")
        return known

    def tell_unknown(self, names: Sequence[str], synonyms: Mapping[str, str] | None = None) -> str:
        """Say that there are no such options, and which are nearest, also to the ``synonyms`` of options."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = {name: nearest((synonyms or {}).get(name, name), flags) for name in names}
        more = "--help-all" if "--help-all" in flags else "-h"
        all_of_them = "" if all(near.values()) else f" ({more} shows all)"
        return "; ".join(f"there is no option {name}{near[name]}" for name in near) + all_of_them


def prepare() -> None:
    """Have standard output take any text, and matplotlib read no settings of the user's; before it is imported."""
    open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # standard error has that from the start
    # What a notebook sets names a backend that may not be installed here. Our processes inherit this.
    os.environ.update(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull)
    if os.path.exists("matplotlibrc"):
        import_matplotlib_elsewhere()


def tell_errors_in_a_line(program: str, debug: bool | None = None) -> None:
    """Have an error that nothing else catches, such as one of an import, end the program in one line.

    ``debug`` is the value of the option --debug, None where there is none.
    """

    def tell(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        if debug:
            sys.__excepthook__(kind, error, trace)
        hint = "" if debug is not False else "; --debug shows where in the code it came from"
        print(f"{program}: error: {one_line(error)}{hint}", file=sys.stderr)

    sys.excepthook = tell


def open_standard_streams() -> None:
    """Open to nowhere the standard streams that were closed, so that no file of ours gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free, so this very one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))


def expand_home(text: str) -> str:
    """Replace ``~`` at the start of a path, which a shell leaves as it is after ``=``. Raises ArgumentTypeError."""
    path = os.path.expanduser(text)
    if path.startswith("~"):
        raise argparse.ArgumentTypeError(f"{text}: there is no such user; a folder of that name is ./{text}")
    return path


def import_matplotlib_elsewhere() -> None:
    """Import matplotlib in another folder: a ``matplotlibrc`` in the working directory would be read before any."""
    folder = os.getcwd()
    os.chdir(sys.prefix)
    try:
        import matplotlib  # noqa: F401
    finally:
        os.chdir(folder)
