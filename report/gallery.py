"""What the networks look at: shuffles between the extremes, transfers, colours, and affine networks as one matrix.

It is made of what is there: runs with the shuffles between the extremes, ``transfer.json`` and ``matrix.json`` in the
folders of runs, ``baselines.json`` in that of the data set, and beside that the folders of synthetic images.
"""

import math
import os
from functools import partial
from pathlib import Path
from statistics import fmean

import models
from report import claims, plots, stats
from report.cues import accuracy_cells, cue_section
from report.page import Block, Heading, Row, Table, Text, prose
from report.results import COLOUR, PIXELS, RunResult, SeedGroup, Study, read_baselines, read_run_json
from report.text import FAILS, HOLDS, UNDECIDED, accuracy_cell, count_cell, decide, diff_cell, number_cell, points_text
from runner import files
from runner.config import BLOCK_SIZES, OLD_NAMES, PARTIAL_SHUFFLES, PUBLISHED_SHUFFLES, SHUFFLES
from runner.errors import RunnerError, one_line
from runner.files import checked_number


def compose(study: Study, folder: Path) -> list[Block]:
    """Make the gallery of ``study``, with its figures written to ``folder``; empty where there is nothing for one."""
    baselines = None
    try:
        content = read_baselines(study.folder)
        if content and content["data"]["sha256"] == study.data["sha256"]:
            baselines = content["baselines"]
    except RunnerError as error:
        study.notes.append(str(error))
    sections = [
        *cue_section(study.folder.parent, folder, study.notes),
        *neighbourhood_section(study, folder, baselines),
        *transfer_section(study, folder),
        *colour_section(study, folder, baselines),
        *affine_section(study, baselines),
    ]
    return [Heading(f"What networks look at: {study.data['name']}", 1), *sections] if sections else []


def neighbourhood_section(study: Study, folder: Path, baselines: dict | None) -> list[Block]:
    """Show accuracy against the size of the blocks that are moved, or moved in."""
    names = list(dict.fromkeys(model for model, shuffle in study.groups if shuffle in PARTIAL_SHUFFLES))
    if not names:
        return []
    histogram = 100 * baselines[COLOUR]["accuracy"] if baselines else None
    shuffles = [shuffle for shuffle in SHUFFLES if any(study.group(name, shuffle) for name in names)]
    rows: list[Row] = [
        [each, *(cell for name in names for cell in accuracy_cells(study, name, each))] for each in shuffles
    ]
    columns = [column for name in names for column in (f"{name} (%)", f"{name} less none")]
    return [
        Heading("How large a neighbourhood does the network need?"),
        prose("neighbourhoods"),
        plots.plot_neighbourhoods(folder / "neighbourhoods.png", study, names, histogram),
        Table(("shuffle", *columns), rows),
        Text(items=tuple(verdict for name in names if (verdict := neighbourhood_verdict(study, name)))),
    ]


def neighbourhood_verdict(study: Study, name: str) -> str:
    """Name the smallest blocks that decidedly keep more than half of what a fixed shuffle takes, in a sentence."""
    plain, fixed = study.group(name), study.group(name, "fixed")
    blocks = {size: group for size in BLOCK_SIZES if (group := study.group(name, f"block:{size}"))}
    if not plain or not fixed or not blocks:
        return ""
    cost = study.difference(fixed, plain)
    if (verdict := decide(cost, above=False)) != HOLDS:
        return f"{name}: that a fixed shuffle takes anything: {verdict}, {points_text(cost)}."
    column = "val_accuracy"
    middle = [(-0.5, fixed.values(column)), (-0.5, plain.values(column))]
    for size, group in blocks.items():
        beyond = stats.contrast([(1, group.values(column)), *middle], study.pooled_sd(column))
        if decide(beyond) == HOLDS:
            return (
                f"{name}: blocks of {size}×{size} pixels, kept whole wherever they are moved, leave more than half of "
                f"what a fixed shuffle takes: {points_text(beyond)} from the middle."
            )
    largest = max(blocks)
    return f"{name}: of no size up to {largest}×{largest} is it decided that its blocks leave half of that."


def transfer_section(study: Study, folder: Path) -> list[Block]:
    """Show the accuracy of runs with one shuffle on images with another."""
    blocks: list[Block] = []
    for name in dict.fromkeys(model for model, _ in study.groups):
        table = {}
        for shuffle in SHUFFLES:
            group = study.group(name, shuffle)
            runs = group.runs.values() if group else ()
            transfers = [
                read_run_json(run, files.TRANSFER, partial(transfer_percentages, run=run), study.notes) for run in runs
            ]
            if measured := [each for each in transfers if each]:
                table[shuffle] = {other: fmean(each[other] for each in measured) for other in measured[0]}
        if table:
            blocks.append(plots.plot_transfer(folder / f"transfer_{name}.png", study, name, table))
    if not blocks:
        return []
    return [Heading("Trained on one shuffle, tested on another"), prose("transfers"), *blocks]


def transfer_percentages(transfer: dict, run: RunResult) -> dict[str, float]:
    """Return the accuracies of a run's ``transfer.json`` in percent, by shuffle. Raises ValueError for another's."""
    measured = tuple(transfer[key] for key in ("trained_with", "epoch", "weights"))
    if measured != (run.config.shuffle, run.config.epochs, "last"):
        raise ValueError(f"it is not of the run's last epoch: {measured!r:.80}; --transfer measures it anew")
    accuracies = {OLD_NAMES.get(name, name): share for name, share in transfer["test_accuracy"].items()}
    known = (*PUBLISHED_SHUFFLES, *(name for name in PARTIAL_SHUFFLES if name in accuracies))
    return {shuffle: 100 * checked_number(accuracies[shuffle], 0, 1) for shuffle in known}


def colour_section(study: Study, folder: Path, baselines: dict | None) -> list[Block]:
    """Say whether a network finds more in shuffled pixels than a classifier that sees their colours alone."""
    if not baselines:
        return []
    histogram = stats.proportion(100 * baselines[COLOUR]["accuracy"], baselines[COLOUR]["images"])
    rows: list[Row] = []
    for name, result in baselines.items():
        rows.append([f"{name}: {result['about']}", number_cell(100 * result["accuracy"], 1), ""])
    groups = [group for (_, shuffle), group in study.groups.items() if shuffle == "per-image"]
    verdicts = []
    for group in groups:
        lead = stats.difference_independent(group.mean("val_accuracy"), histogram)
        rows.append([f"{group.model}, per-image", accuracy_cell(group.values("val_accuracy")), diff_cell(lead)])
        statement = f"{group.model} finds more in an image with shuffled pixels than its colour histogram tells"
        verdicts.append(f"{statement}: {decide(lead)}, {points_text(lead)}.")
    return [
        Heading("Is it the colours?"),
        prose("colours"),
        Table(("classifier", "test accuracy (%)", "less colour histogram"), rows),
        Text(items=tuple(verdicts)),
        *(block for group in groups for block in class_section(study, group, folder, baselines[COLOUR])),
    ]


def class_section(study: Study, group: SeedGroup, folder: Path, histogram: dict) -> list[Block]:
    """Show a network's accuracy in each class beside the colour histogram's, and how the two go together."""
    names, plain = study.data["classes"], study.group(group.model)
    network = {name: group.mean(f"val_accuracy_of_{name}") for name in names}
    shares = histogram["per_class_accuracy"]
    if any(shares.get(name) is None or math.isnan(network[name].mean) for name in names):
        return []
    images = histogram["images"] // len(names)
    colours = {name: stats.proportion(100 * shares[name], images) for name in names}

    # The table: a row for each class.
    rows: list[Row] = []
    for name in names:
        column = f"val_accuracy_of_{name}"
        unshuffled = [accuracy_cell(plain.values(column))] if plain else []
        rows.append([name, accuracy_cell(group.values(column)), diff_cell(colours[name], ".1f"), *unshuffled])

    # What goes with the colours, which classes they tell, and what was published of the classes.
    compared = (
        ("With a per-image shuffle", group),
        ("Without a shuffle", plain),
        ("Trained and tested on grey values", study.group(group.model, "grey")),
    )
    by_colour = [colours[name].mean for name in names]
    items = [
        correlation_text(when, [each.mean(f"val_accuracy_of_{name}").mean for name in names], by_colour)
        for when, each in compared
        if each
    ]
    ranked = sorted(names, key=lambda name: -colours[name].mean)
    items.append(f"The colour histogram alone knows {', '.join(ranked[:3])} best and {', '.join(ranked[-3:])} worst.")
    if group.model == "Q1_1":
        try:
            parts = claims.claim_planes_and_deer_best(study)
            items += [f"“{part.text}”: {part.verdict}. {part.reason}" for part in parts]
        except claims.NotEnough as error:
            items.append(f"“Planes and deer best, cats worst”: {UNDECIDED}, {error}.")
    columns = ["class", f"{group.model}, per-image (n = {len(group.runs)})", "colour histogram"]
    columns += [f"{group.model}, none (n = {len(plain.runs)})"] if plain else []
    return [
        Heading(f"{group.model} and the colours of each class", 3),
        plots.plot_by_class(folder / f"colours_{group.model}.png", group.model, network, colours),
        Table(tuple(columns), rows),
        Text(items=tuple(items)),
    ]


def correlation_text(when: str, network: list[float], colours: list[float]) -> str:
    """Say whether a network's accuracies by class go with the colour histogram's."""
    what = f"{when} the network's accuracy by class goes with the colour histogram's"
    try:
        r, low, high = stats.correlation(network, colours)
    except ValueError as error:
        return f"{what}: {UNDECIDED}, {error}."
    verdict = HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED
    return f"{what}: {verdict}, correlation {r:+.2f} ({low:+.2f} … {high:+.2f}) over {len(network)} classes."


def affine_section(study: Study, baselines: dict | None) -> list[Block]:
    """Show the networks that were collapsed into one matrix beside a logistic regression that was trained as one."""
    rows: list[Row] = []
    pictures = []
    groups = [*study.groups.values(), *study.others]
    for run in (run for group in groups for run in group.runs.values()):
        if cells := read_run_json(run, files.MATRIX_FACTS, matrix_cells, study.notes):
            rows.append([run.config.run_name, *cells, number_cell(run.test, 1)])
            if os.path.lexists(templates := run.folder / files.TEMPLATES):
                alt = f"Templates of the classes of {run.config.run_name}"
                try:
                    pictures.append(plots.read_picture(templates, alt))
                except Exception as error:
                    study.notes.append(f"{templates} can't be shown: {one_line(error)}")
    if not rows:
        return []
    if baselines:
        accuracy = 100 * baselines[PIXELS]["accuracy"]
        parameters = count_cell((math.prod(models.IMAGE_SHAPE) + 1) * models.CLASSES)
        rows.append(["logistic regression, trained directly", parameters, "", "", number_cell(accuracy, 1)])
    columns = ("run", "parameters", "largest difference of a logit", "effective rank", "test accuracy (%)")
    return [Heading("Affine networks are one matrix"), prose("affine"), Table(columns, rows), *pictures]


def matrix_cells(facts: dict) -> Row:
    """Return what the table says of a ``matrix.json``."""
    keys = ("largest_difference", "effective_rank", "network_parameters")
    difference, rank, parameters = (checked_number(facts[key], 0) for key in keys)
    return [count_cell(int(parameters)), number_cell(difference, 1, "e"), number_cell(rank, 1)]
