"""What every program of ours does first: its streams are readied, its figures kept its own, ``~`` is a home."""

import argparse
import io
import os
import sys
import types

from runner.errors import one_line


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
