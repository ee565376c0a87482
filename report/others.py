"""How networks do on other images than those of their data set, as ``--evaluate RUN --on PATH`` measures it."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from report import plots, stats
from report.page import Block, Folded, Heading, Row, Table, prose
from report.results import Draw, SeedGroup, read_run_json, settings_text
from report.text import accuracy_cell, count_cell, diff_cell
from runner import files, records
from runner.files import checked_number, is_file_name

SEVERITIES = 5  # of a corruption
MOST = 100  # files of a run that are read, and corruptions in one


class Source(NamedTuple):
    """Other images, which several networks may have been measured on."""

    name: str
    sha256: str
    images: int
    corruptions: tuple[str, ...]  # () where they are not corrupted


class Measured(NamedTuple):
    """How a run does on other images, in percent."""

    source: Source
    accuracy: float
    by_severity: dict[str, list[float]]  # of each corruption, from severity 1


ByGroup = dict[int, tuple[SeedGroup, dict[Draw, Measured]]]  # by place among the groups, see SeedGroup.runs


def other_blocks(groups: Sequence[SeedGroup], folder: Path, notes: list[str]) -> list[Block]:
    """Compare networks on each set of other images that some were measured on."""
    found: dict[Source, ByGroup] = {}
    for place, group in enumerate(groups):
        for draw, run in group.runs.items():
            names = [name for name in records.list_measured(run.folder) if name.startswith(files.ON)]
            for name in names[:MOST]:
                if measured := read_run_json(run, name, read_measured, notes):
                    of_source = found.setdefault(measured.source, {})
                    of_source.setdefault(place, (group, {}))[1][draw] = measured
    if not found:
        return []
    label_of = partial(_name, has_settings=len({group.settings for group in groups}) > 1)
    blocks: list[Block] = [Heading("On other images"), prose("others")]
    for number, (source, by_group) in enumerate(sorted(found.items()), 1):
        heading = f"{source.name} ({source.images:,} images, SHA-256 {source.sha256[:8]})"
        blocks += [Heading(heading, 3), accuracy_table(by_group, label_of)]
        if source.corruptions:
            courses = {label_of(group): severity_means(group, measured) for group, measured in by_group.values()}
            blocks.append(plots.plot_severities(folder / f"on_{number}.png", source.name, courses))
            table = corruption_table(source, by_group, label_of)
            blocks.append(Folded("By corruption, the mean over its severities (%)", [table]))
    return blocks


def read_measured(content: dict) -> Measured:
    """Return what a file says of other images. Raises an exception of any kind if it does not."""
    name, sha256, images = content["name"], content["sha256"], content["images"]
    is_name = isinstance(name, str) and name.isprintable() and 0 < len(name) <= files.MAX_NAME
    if not (is_name and is_file_name(sha256) and isinstance(images, int)):
        raise ValueError("it does not say of which images it is")
    by_severity = {}
    for corruption, shares in content.get("corruptions", {}).items():
        by_severity[corruption] = [100 * checked_number(share, 0, 1) for share in shares]
        if not is_file_name(corruption) or len(shares) != SEVERITIES or len(by_severity) > MOST:
            raise ValueError("it is not of five severities of each corruption")
    accuracy = 100 * checked_number(content["accuracy"], 0, 1)
    if by_severity and abs(fmean(map(fmean, by_severity.values())) - accuracy) > 1e-6:
        raise ValueError("its accuracy is not the mean over its corruptions")
    source = Source(name, sha256, int(checked_number(images, 1)), tuple(by_severity))
    return Measured(source, accuracy, by_severity)


def _name(group: SeedGroup, has_settings: bool) -> str:
    shuffle = [group.shuffle] * (group.shuffle != "none")
    return ", ".join([group.model, *shuffle, *[settings_text(group.settings)] * has_settings])


def accuracy_table(by_group: ByGroup, label_of: plots.Labels) -> Table:
    """Show the accuracies on the test images and on other ones by network, of the runs that were measured on both."""
    rows: list[Row] = []
    for group, measured in by_group.values():
        test = {draw: group.runs[draw].test for draw in measured}
        there = {draw: each.accuracy for draw, each in measured.items()}
        # The two of one run are a pair: they are of the same weights.
        lost = stats.mean(group.independent({draw: there[draw] - test[draw] for draw in measured}))
        cells = [accuracy_cell(group.independent(values)) for values in (test, there)]
        rows.append([label_of(group), count_cell(len(measured)), *cells, diff_cell(lost)])
    return Table(("network", "runs", "test images (%)", "these images (%)", "difference (points)"), rows)


def severity_means(group: SeedGroup, measured: Mapping[Draw, Measured]) -> list[stats.Estimate]:
    """Estimate the accuracy on the test images, then at each severity, the mean over the corruptions."""
    courses = {
        draw: [group.runs[draw].test, *map(fmean, zip(*each.by_severity.values()))] for draw, each in measured.items()
    }
    columns = [{draw: course[at] for draw, course in courses.items()} for at in range(SEVERITIES + 1)]
    return [stats.mean(group.independent(column)) for column in columns]


def corruption_table(source: Source, by_group: ByGroup, label_of: plots.Labels) -> Table:
    rows: list[Row] = []
    for name in source.corruptions:
        row: Row = [name]
        for group, measured in by_group.values():
            means = {draw: fmean(each.by_severity[name]) for draw, each in measured.items()}
            row.append(accuracy_cell(group.independent(means)))
        rows.append(row)
    return Table(("corruption", *(label_of(group) for group, _ in by_group.values())), rows)
