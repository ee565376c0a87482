"""What the networks look at: shuffles between the extremes, transfers, pixel values, and affine networks as a matrix.

It is made of what is there: runs with the shuffles between the extremes, ``transfer.json`` and ``matrix.json`` in the
folders of runs, ``baselines.json`` in that of the data set, and beside that the folders of synthetic images.
"""

import math
import os
from pathlib import Path

import models
from report import cues, neighbourhoods, plots, stats
from report.claims import CHANCE_PERCENT
from report.cue_probes import baselines_of, probe_section
from report.neighbourhoods import ACCURACY, Transfers, epochs_text
from report.page import Block, Figure, Folded, Heading, Row, Table, Text, list_of, prose
from report.provenance import provenance_section
from report.results import COLOUR, PIXELS, SeedGroup, Study, add_test_images, read_run_json
from report.stats import Estimate
from report.text import UNDECIDED, accuracy_cell, count_cell, decide, diff_cell, number_cell, percent_text, points_text
from report.variation import variation_section
from runner import files
from runner.errors import counted, one_line
from runner.files import checked_number

BAG = "DeepSets"  # the own network that sees each pixel alone: it is made for shuffles per image
REACH_POINTS = 1.0  # of accuracy within which a network has reached the histogram
HALF = 50.0  # percent
BEST = 3  # classes that a histogram may know best

GREY_PAIRS = (("grey", "none"), ("grey+fixed", "fixed"), ("grey+per-image", "per-image"), ("grey+block:8", "block:8"))


def compose(study: Study, folder: Path) -> list[Block]:
    """Make the gallery of ``study``, with its figures written to ``folder``; empty where there is nothing for one."""
    baselines = baselines_of(study, study.notes)
    transfers = neighbourhoods.read_transfers(study)
    synthetic = cues.read_studies(study.folder.parent, study.notes)
    sections = [
        *neighbourhoods.neighbourhood_section(study, folder, baselines),
        *neighbourhoods.use_section(study, folder, transfers),
        *pixel_section(study, folder, baselines),
        *cues.cue_section(synthetic, folder),
        *probe_section(synthetic, study.notes),
        *neighbourhoods.transfer_section(study, folder, transfers),
        *affine_section(study, baselines),
        *variation_section(study),
    ]
    if not sections:
        return []

    # What is found, and the first picture, stand before all.
    opening = list_of(find_most(study, transfers, synthetic))
    if picture := next((block for block in sections if isinstance(block, Figure)), None):
        sections.remove(picture)
        opening.append(picture)
    images = {study.data["name"]: study} | {
        f"generated: {' + '.join(labels)}": synthetic[labels] for labels in synthetic
    }
    title = Heading(f"What networks look at: {study.data['name']}", 1)
    return [title, *opening, *sections, *provenance_section(images)]


def find_most(study: Study, transfers: Transfers, synthetic: dict[cues.Cues, Study]) -> list[str]:
    """List what is found of one network, which has kernels if any has, in a few sentences: the sections' verdicts."""
    name = neighbourhoods.by_kernels(model for model, _ in study.groups)[0]
    return [
        neighbourhoods.neighbourhood_verdict(study, name),
        neighbourhoods.budget_verdict(study, name),
        neighbourhoods.use_verdict(study, name, transfers, "grey"),
        grey_verdict(study, name, *GREY_PAIRS[2]),
        cues.budget_verdict(synthetic, "texture", name),
    ]


# ---- pixel values ----


def pixel_section(study: Study, folder: Path, baselines: dict | None) -> list[Block]:
    """Say what is found in pixel values alone, how much without colour, and in which classes."""
    blocks: list[Block] = []
    if baselines:
        classes = shares_by_class(study, baselines[COLOUR])
        blocks += [prose("pixel_values"), *reader_blocks(study, baselines)]
        blocks += [Text(best_text(classes))] if classes else []
        names = neighbourhoods.by_kernels(model for model, shuffle in study.groups if shuffle == "per-image")
        comparisons = sum(1 + ((name, "grey") in study.groups) for name in names)
        for name in names:
            blocks += class_blocks(study, study.groups[name, "per-image"], folder, classes, comparisons)
    blocks += grey_blocks(study)
    return [Heading("What pixel values alone tell"), *blocks] if blocks else []


def reader_blocks(study: Study, baselines: dict) -> list[Block]:
    """Compare networks trained with a shuffle per image with the classifiers that see histograms."""
    histogram = stats.proportion(100 * baselines[COLOUR]["accuracy"], baselines[COLOUR]["images"])
    rows: list[Row] = []
    for name, result in baselines.items():
        lead = stats.difference_independent(stats.proportion(100 * result["accuracy"], result["images"]), histogram)
        less = diff_cell(lead) if name != COLOUR else ""
        rows.append([f"{name}: {result['about']}", "", number_cell(100 * result["accuracy"], 1), less])
    verdicts = []
    groups = [group for each in study.budgets.values() for group in each.groups.values()]
    for group in [group for group in groups if group.shuffle == "per-image"]:
        lead = stats.difference_independent(group.mean(ACCURACY), histogram)
        who = f"{group.model}, {counted(group.epochs, 'epoch')}"
        rows.append([f"{who}, per-image", group.size, accuracy_cell(group.values(ACCURACY)), diff_cell(lead)])
        statement, verdict = f"finds more in an image with shuffled pixels than its {COLOUR} tells", decide(lead)
        if group.model == BAG:
            statement, verdict = f"sees each pixel alone, and reaches the {COLOUR}", decide(lead, -REACH_POINTS)
        verdicts.append(f"{who}: it {statement}: {verdict}, {points_text(lead)}.")
    columns = ("classifier", "runs", "test accuracy (%)", f"− {COLOUR} (points)")
    return [*list_of(verdicts), Folded("All classifiers", [Table(columns, rows)])]


def share_above_chance(part: SeedGroup, whole: SeedGroup) -> Estimate:
    """Estimate what ``part`` finds above chance as a share of what ``whole`` does, in percent, by the delta method.

    It is NaN where ``whole`` finds nothing that is decidedly above chance.
    """
    above = [[value - CHANCE_PERCENT for value in group.values(ACCURACY)] for group in (part, whole)]
    found, there = (stats.mean(values) for values in above)
    if there.mean <= 0 or (there.has_interval and there.low <= 0):
        return Estimate(math.nan, 0)
    share = found.mean / there.mean
    weights = 1 / there.mean, -share / there.mean
    error = stats.contrast([*zip(weights, above)])
    error = add_test_images(error, [*zip(weights, (part, whole))], ACCURACY, below=math.inf)
    return Estimate(100 * share, error.n, half_width=100 * error.half_width)


def grey_verdict(study: Study, name: str, grey: str, shuffle: str) -> str:
    """Say what a network finds above chance in grey images as a share of that in colour, and if it is over half."""
    part, whole = study.group(name, grey), study.group(name, shuffle)
    share = share_above_chance(part, whole) if part and whole else Estimate(math.nan, 0)
    if math.isnan(share.mean):
        return ""
    return (
        f"Trained and tested on grey images, {name} reaches {percent_text(share)} of what it reaches above chance in "
        f"colour, both with shuffle “{shuffle}”; more than half: {decide(share, HALF)}."
    )


def grey_blocks(study: Study) -> list[Block]:
    """Show what is found in grey values beside what is found in colours, for each shuffle."""
    rows: list[Row] = []
    verdicts = []
    for name in neighbourhoods.by_kernels(model for model, shuffle in study.groups if shuffle.startswith("grey")):
        for grey, shuffle in GREY_PAIRS:
            part, whole = study.group(name, grey), study.group(name, shuffle)
            share = share_above_chance(part, whole) if part and whole else Estimate(math.nan, 0)
            if part and whole and not math.isnan(share.mean):
                cells = [accuracy_cell(each.values(ACCURACY)) for each in (whole, part)]
                difference = neighbourhoods.difference_cell(study, part, whole)
                rows.append([name, shuffle, *cells, difference, diff_cell(share, ".0f")])
                verdicts.append(grey_verdict(study, name, grey, shuffle))
    if not rows:
        return []
    columns = ("model", "shuffle", "in colour (%)", "in grey (%)", "grey − colour (points)", "share above chance (%)")
    return [
        Heading("How much is found without colour?", 3),
        prose("grey"),
        *list_of(verdicts),
        Folded(f"In colour and in grey values, {epochs_text(study)}", [Table(columns, rows)]),
    ]


def shares_by_class(study: Study, histogram: dict) -> dict[str, Estimate]:
    """Estimate a baseline's accuracy in each class, in percent; empty where one is missing."""
    names, shares = study.data["classes"], histogram["per_class_accuracy"]
    if any(shares.get(name) is None for name in names):
        return {}
    return {name: stats.proportion(100 * shares[name], histogram["images"] // len(names)) for name in names}


def class_blocks(
    study: Study, group: SeedGroup, folder: Path, colours: dict[str, Estimate], comparisons: int
) -> list[Block]:
    """Show a network's accuracy in each class beside the colour histogram's, and how the two go together."""
    names, plain = study.data["classes"], study.group(group.model)
    network = {name: group.mean(f"val_accuracy_of_{name}") for name in names}
    if not colours or any(math.isnan(each.mean) for each in network.values()):
        return []

    # The table: a row for each class.
    rows: list[Row] = []
    for name in names:
        column = f"val_accuracy_of_{name}"
        unshuffled = [accuracy_cell(plain.values(column))] if plain else []
        rows.append([name, accuracy_cell(group.values(column)), diff_cell(colours[name], ".1f"), *unshuffled])
    columns = ["class", f"{group.model}, per-image ({group.size})", COLOUR]
    columns += [f"{group.model}, none ({plain.size})"] if plain else []

    # What goes with the histogram.
    def by_class(each: SeedGroup) -> list[float]:
        return [each.mean(f"val_accuracy_of_{name}").mean for name in names]

    of_histogram, grey = [colours[name].mean for name in names], study.group(group.model, "grey")
    compared = {"With a per-image shuffle": group} | ({"Trained and tested on grey values": grey} if grey else {})
    items = [
        correlation_text(when, by_class(each), of_histogram, by_class(plain) if plain else None, comparisons)
        for when, each in compared.items()
    ]
    figure = plots.plot_by_class(folder / f"colours_{group.model}.png", group.model, network, colours)
    blocks = [*list_of(items), figure, Table(tuple(columns), rows)]
    return [Folded(f"{group.model} and the pixel values of each class", blocks)]


def correlation_text(
    when: str, network: list[float], histogram: list[float], plain: list[float] | None, comparisons: int
) -> str:
    """Say whether a network's accuracies by class go with the histogram's, beyond what they do without a shuffle."""
    what = f"{when} the network's accuracy by class goes with the {COLOUR}'s, given that without a shuffle"
    try:
        if plain is None:
            raise ValueError("there are no runs without a shuffle")
        r, low, high = stats.partial_correlation(network, histogram, plain, comparisons)
        alone = stats.correlation(network, histogram)[0]
    except ValueError as error:
        return f"{what}: {UNDECIDED}, {error}."
    partial = Estimate(r, len(network), half_width=0.0)
    verdict = decide(partial) if low > 0 or high < 0 else UNDECIDED
    return (
        f"{what}: {verdict}, partial correlation {r:+.2f} ({low:+.2f} … {high:+.2f}, for all {comparisons} of these "
        f"together), correlation by itself {alone:+.2f}, over {len(network)} classes, which are all there are and no "
        "sample."
    )


def best_text(histogram: dict[str, Estimate]) -> str:
    """Name the classes that a histogram decidedly knows best and worst: their intervals and the others' lie apart."""
    ranked = sorted(histogram, key=lambda name: -histogram[name].mean)
    told = []
    for order, end in ((ranked, "best"), (ranked[::-1], "worst")):
        ends = [
            n for n in range(1, BEST + 1)
            if abs(histogram[order[n - 1]].mean - histogram[order[n]].mean)
            > histogram[order[n - 1]].half_width + histogram[order[n]].half_width
        ]  # fmt: skip
        told.append(f"{', '.join(order[: ends[-1]])} {end}" if ends else f"which it knows {end} is {UNDECIDED}")
    return f"Of the {COLOUR} alone, by class: {'; '.join(told)}."


def affine_section(study: Study, baselines: dict | None) -> list[Block]:
    """Show the networks that were collapsed into one matrix beside a logistic regression that was trained as one."""
    rows: list[Row] = []
    pictures: list[Block] = []
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
    return [
        Heading("Affine networks are one matrix"),
        prose("affine"),
        Table(columns, rows),
        *([Folded("Their templates", pictures)] if pictures else []),
    ]


def matrix_cells(facts: dict) -> Row:
    """Return what the table says of a ``matrix.json``."""
    keys = ("largest_difference", "effective_rank", "network_parameters")
    limits = math.inf, models.CLASSES, files.MAX_MEASURED
    difference, rank, parameters = (checked_number(facts[key], 0, most) for key, most in zip(keys, limits))
    return [count_cell(int(parameters)), number_cell(difference, 1, "e"), number_cell(rank, 1)]
