"""Report on all runs in a folder of results: ``python -m report [RESULTS]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m report",
        description="Compares all runs in a folder of results, and decides which published claims hold.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("results", nargs="?", type=Path, default=Path("results"), metavar="RESULTS",
        help="folder of results, or of one data set in it (default: results)")  # fmt: skip
    add("--compare", nargs="+", default=(), metavar="MODEL",
        help="models to show side by side (default: the original, the one that overfits and the best)")  # fmt: skip
    add("--tensorboard", action="store_true", help="write event files for TensorBoard, too")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    # After the options, so that -h and mistakes are answered at once.
    from report import overview
    from runner.errors import RunnerError, one_line

    try:
        report = overview.write(options.results, options.compare, options.tensorboard)
    except (RunnerError, OSError) as error:
        print(f"python -m report: error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    print("\n".join([*report.notes, report.summary]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
