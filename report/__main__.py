"""Report on all runs in a folder of results: ``python -m report [RESULTS]``."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runner import startup

if TYPE_CHECKING:
    from report.results import RunSet


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = startup.Parser(
        prog="python -m report",
        description="Compares all runs in a folder of results, also while some are being trained.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("results", nargs="?", type=startup.expand_home, default="results", metavar="RESULTS",
        help="folder of results, or of one data set in it (default: results); that of a run: its figures are drawn anew"
        )  # fmt: skip
    add("--compare", nargs="+", default=(), metavar="MODEL",
        help="models to show side by side, by name or pattern (default: the best)")  # fmt: skip
    add("--baseline", default="", metavar="NAME",
        help="compare all others with this setting and not with the best, e.g. Q1_1, fixed or 'lr 0.01'")  # fmt: skip
    add("--study", action="store_true",
        help="the published study first, and its gallery (default: where all of its runs are there)")  # fmt: skip
    figures = parser.add_argument_group("figures for a paper or a slide")
    add = figures.add_argument
    add("--format", choices=("png", "pdf", "svg"), default="png", help="write them in this format, too (default: png)")
    add("--width", type=float, metavar="INCHES", help="their width; text is then 8 points high")
    add("--no-titles", action="store_true", help="leave out their titles, which a caption replaces")
    add = parser.add_argument
    add("--tensorboard", action="store_true", help="write event files for TensorBoard, too")
    add("--csv", action="store_true", help="write all runs, and all epochs, as tables too: runs.csv and history.csv")
    add("--keep", action="store_true",
        help="keep the study in a few tables (study.json, runs.csv, …), from which all finished runs can be read when "
             "their folders are gone")  # fmt: skip
    options = parser.parse_args(argv)
    if options.width is not None and not 1 <= options.width <= 40:
        parser.error(f"--width {options.width:g}: must be from 1 to 40 inches")
    return options


def write_events(run_set: "RunSet") -> Path:
    """Write all histories as event files, in place of those there. Raises UsageError where TensorBoard can't."""
    from runner import files
    from runner.errors import UsageError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    folder, runs = run_set.folder / "tensorboard", [*run_set.finished, *run_set.unfinished]
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
    import utils
    from report import overview, run_figures, tables
    from runner import records
    from runner.errors import RunnerError, one_line, printable, quote

    try:
        results = Path(options.results)
        if results.name in ("", ".."):  # such as ".": beside it there may be folders of generated images
            results = results.resolve()
        style = utils.Style(options.format, options.width, not options.no_titles)
        if records.exists(results):
            print(f"in {printable(str(results))}: {', '.join(path.name for path in run_figures.draw(results, style))}")
            return 0
        asked = overview.Options(options.compare, options.baseline, options.study, style)
        report = overview.write(results, asked)
        messages = [*report.notes]
        for run_set in report.run_sets if options.tensorboard else ():
            events = write_events(run_set)
            messages.append(f"event files for TensorBoard: {quote(['tensorboard', '--logdir', str(events)])}")
        if options.keep or options.csv:
            paths, left_out = tables.keep(results) if options.keep else tables.write_tables(results)
            messages += [*left_out, f"all runs, and all epochs, as tables: {', '.join(map(str, paths))}"]
        messages += report.summaries
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
