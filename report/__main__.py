"""Report on all runs in a folder of results: ``python -m report [RESULTS]``."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner import startup

if TYPE_CHECKING:
    from report.results import Study


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m report",
        description="Compares all runs in a folder of results, and decides which published claims hold.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("results", nargs="?", type=startup.expand_home, default="results", metavar="RESULTS",
        help="folder of results, or of one data set in it (default: results)")  # fmt: skip
    add("--compare", nargs="+", default=(), metavar="MODEL",
        help="models to show side by side (default: the original, the one that overfits and the best)")  # fmt: skip
    add("--tensorboard", action="store_true", help="write event files for TensorBoard, too")
    return parser.parse_args(argv)


def write_events(study: "Study") -> Path:
    """Write all histories as event files, in place of those there. Raises UsageError where TensorBoard can't."""
    from runner import files
    from runner.errors import UsageError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    folder, groups = study.folder / "tensorboard", [*study.groups.values(), *study.others]
    runs = [*(run for group in groups for run in group.runs.values()), *study.unfinished]
    for place in (folder, *(run.folder for run in runs)):
        try:
            str(place).encode()
        except UnicodeEncodeError:
            raise UsageError(f"--tensorboard: TensorBoard can't write of {place}, whose name is not UTF-8") from None
    with files.new_folder(folder) as new:
        for run in runs:
            with SummaryWriter(new / run.config.model_name / run.folder.name) as writer:
                for row in run.history:
                    for column, value in row.items():
                        split, _, name = column.partition("_")
                        if split in ("train", "val") and not math.isnan(value):
                            writer.add_scalar(f"{name}/{split}", value, int(row["epoch"]))
    return folder


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    # After the options, so that -h and mistakes are answered at once.
    from report import overview
    from runner.errors import RunnerError, one_line, printable, quote

    try:
        results = Path(options.results)
        if results.name in ("", ".."):  # such as ".": beside it there may be folders of generated images
            results = results.resolve()
        report = overview.write(results, options.compare)
        messages = [*report.notes, report.summary]
        if options.tensorboard:
            events = write_events(report.study)
            messages.insert(-1, f"event files for TensorBoard: {quote(['tensorboard', '--logdir', str(events)])}")
    except (RunnerError, OSError) as error:
        print(f"python -m report: error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    for message in messages:
        print(printable(message))
    return 0


if __name__ == "__main__":
    startup.prepare()
    startup.tell_errors_in_a_line("python -m report")
    sys.exit(main())
