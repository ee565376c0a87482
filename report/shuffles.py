"""What the published pixel shuffles cost a model: accuracy with each, over the epochs and by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from report import plots
from report.page import Block, Figure, Heading, Row, Table, Text
from report.results import SeedGroup, Study
from report.text import accuracy_cell, diff_cell
from runner import files
from runner.config import PUBLISHED_SHUFFLES
from runner.errors import one_line


def shuffle_blocks(study: Study, folder: Path) -> list[Block]:
    """Compare the published shuffles, a section for each model that has runs with several of them."""
    blocks: list[Block] = []
    for model in dict.fromkeys(model for model, _ in study.groups):
        groups = [group for shuffle in PUBLISHED_SHUFFLES if (group := study.group(model, shuffle))]
        if len(groups) > 1:
            path = folder / f"shuffles_{model}.png"
            plots.plot_shuffles(path, study, groups)
            blocks += [
                Heading(f"{model} by pixel shuffle", 3),
                Figure(path, f"Accuracy of {model} with each pixel shuffle: over the epochs, and of each class"),
                shuffle_table(study, groups),
            ]
    if not blocks:
        return []
    intro = Text(
        "Differences are to the run without a shuffle, in points, with their 95 % intervals: paired by seed where both "
        "have two seeds in common."
    )
    return [Heading("What shuffling the pixels costs"), intro, *blocks, *sample_blocks(study, folder / "samples.png")]


def sample_blocks(study: Study, path: Path) -> list[Block]:
    """Show one run's picture of samples for each shuffle; where the runs have none, the one that is at ``path``."""
    pictures = []
    for shuffle in PUBLISHED_SHUFFLES[1:]:
        runs = [run for run in study.runs if run.config.shuffle == shuffle]
        pictures += [picture for run in runs if (picture := run.folder / files.SAMPLES).exists()][:1]
    if pictures:
        try:
            plots.plot_samples(path, pictures)
        except Exception as error:
            study.notes.append(f"the runs' {files.SAMPLES} can't be shown: {one_line(error)}")
    if not path.exists():
        return []
    return [Heading("What the network sees", 3), Figure(path, "An image of each class before and after the shuffles")]


def shuffle_table(study: Study, groups: Sequence[SeedGroup]) -> Table:
    plain = next((group for group in groups if group.shuffle == "none"), None)
    shuffled = [group for group in groups if plain and group is not plain]
    columns = [f"{group.shuffle} (n = {len(group.runs)})" for group in groups]
    columns += [f"{group.shuffle} less none" for group in shuffled]
    rows: list[Row] = []
    for name in ("all classes", *study.data["classes"]):
        column = "val_accuracy" if name == "all classes" else f"val_accuracy_of_{name}"
        row: Row = [name, *(accuracy_cell(group.values(column).values()) for group in groups)]
        rows.append(row + [diff_cell(study.difference(group, plain, column)) for group in shuffled if plain])
    return Table(("accuracy (%)", *columns), rows)
