"""What the networks look at: the part of a report that shuffles, cues, baselines and collapsed networks tell of.

It is made of what is there: runs with the shuffles between the extremes, ``transfer.json`` and ``matrix.json`` in the
folders of runs, ``baselines.json`` in that of the data set, and beside that the folders of synthetic images, whose cues
are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import affine
import baselines
import claims
import estimates
import figures
import models
import runs
from estimates import Estimate
from outcomes import Group, NoRuns, Outcome, Study, in_words, read
from pages import Block, Cell, Figure, Heading, Table, Text, accuracies, apart, count, number
from runner import files
from runner.config import BLOCK_SIZES, CUES, PARTIAL_SHUFFLES, PUBLISHED_SHUFFLES, SHUFFLES, cue_strengths
from runner.errors import RunnerError, one_line

MARGIN = 5.0
"""Points of accuracy within which a cue has survived a shuffle, and a network is at chance."""

TEXTURE_FALLS = "texture falls in a fixed shuffle"
"""Expected of what has convolutions and ReLU alone; an affine network knows of no neighbourhood to begin with."""


def compose(study: Study, folder: Path) -> list[Block]:
    """The gallery of ``study``, with its figures written to ``folder``; empty where there is nothing for one."""
    try:
        found = baselines.read(study.folder)
    except RunnerError as error:
        found = None
        study.notes.append(str(error))
    if found and found["data"]["sha256"] != study.data["sha256"]:
        found = None
    sections = [
        *known_cues(study.folder.parent, folder, study.notes),
        *neighbourhoods(study, folder, found),
        *transfers(study, folder),
        *colours(study, folder, found),
        *affine_networks(study, found),
    ]
    return [Heading(f"What networks look at: {study.data['name']}", 1), *sections] if sections else []


def beside(run: Outcome, name: str, parse: Callable[[dict], object], notes: list[str]) -> object:
    """What ``parse`` makes of the JSON file ``name`` in a run's folder; None where there is none, or it is damaged."""
    path = run.folder / name
    if not path.exists():
        return None
    try:
        return parse(files.read_json(path))
    except Exception as error:
        notes.append(f"{path} is left out, it can't be read: {one_line(error)}")
        return None


def finite(value: object) -> float:
    """A number of a JSON file.

    Raises:
        TypeError: it is none.
        ValueError: it is text that is none, or it is infinite or not a number.
    """
    if not math.isfinite(float(value)):
        raise ValueError(f"{value} where a number should be")
    return float(value)


def versus(study: Study, group: Group, value: float) -> Estimate:
    """How far the accuracy of ``group`` is from ``value``, in points."""
    own = group.at("val_accuracy")
    return estimates.difference(own, dict.fromkeys(own, value), study.pooled("val_accuracy"))


# ---- cues that are known --------------------------------------------------------------------------------------------


def known_cues(root: Path, folder: Path, notes: list[str]) -> list[Block]:
    """Accuracy by cue, shuffle and model on the synthetic images in ``root``, and whether it is as expected."""
    studies: dict[tuple[str, ...], Study] = {}
    for path in sorted(root.glob("synthetic*")):
        try:
            study = read(path)
        except NoRuns:
            continue
        config = study.runs[0].config
        labels = [cue if s == 1 else f"{cue} {s:g}" for cue, s in cue_strengths(config.cues).items()]
        if labels and config.data_seed:
            labels.append(f"data seed {config.data_seed}")
        if labels:
            studies[tuple(labels)] = study
    if not studies:
        return []
    places = lambda labels: [CUES.index(cue) for label in labels if (cue := label.split()[0]) in CUES]
    order = sorted(studies, key=lambda labels: (len(labels), places(labels), labels))
    studies = {labels: studies[labels] for labels in order}
    names = list(dict.fromkeys(group.model for study in studies.values() for group in study.models))
    path = folder / "cues.png"
    figures.plot_cues(path, studies, names)
    rows: list[list[str | Cell]] = []
    for cues, study in studies.items():
        for name in names:
            groups = [study.group(name, shuffle) for shuffle in PUBLISHED_SHUFFLES]
            if any(groups):
                cells = [accuracies(group.at("val_accuracy").values()) if group else "" for group in groups]
                rows.append([" + ".join(cues), name, count(max(len(group.runs) for group in groups if group)), *cells])
    return [
        Heading("Calibration: images whose answer is known"),
        Text(
            "The class of these generated images is carried by known cues and by nothing else: the hue of the whole "
            "image, the position of a blob, or a texture whose phase is random. What a network loses by a shuffle "
            f"here is what the shuffle takes away. Settings: {settings_of(studies)}. Accuracy is that on the test "
            "images; chance is 10 %."
        ),
        Figure(path, "Accuracy by cue and shuffle, a panel for each model"),
        Table(("cues", "model", "runs", *(f"{shuffle} (%)" for shuffle in PUBLISHED_SHUFFLES)), rows),
        Text(f"What was expected; within {MARGIN:g} points counts as the same:"),
        Table(("expected", "model", "verdict", "measured"), list(expectations(studies, names)), sortable=False),
        *between_extremes(studies),
        *templates_of_cues(studies, notes),
    ]


def settings_of(studies: dict[tuple[str, ...], Study]) -> str:
    """The settings of all studies, with the cues that each are of where they are not all the same."""
    cues_of: dict[str, list[str]] = {}
    for cues, study in studies.items():
        cues_of.setdefault(in_words(study.settings), []).append(" + ".join(cues))
    if len(cues_of) == 1:
        return next(iter(cues_of))
    return "; ".join(f"{settings} ({', '.join(cues)})" for settings, cues in cues_of.items())


def expectations(studies: dict[tuple[str, ...], Study], names: list[str]) -> Iterator[list[str | Cell]]:
    """What is expected of a cue alone, for each model: in words, the verdict, and the figures it rests on."""
    rules = (
        ("colour", "colour survives a per-image shuffle", "per-image", -MARGIN, True),
        ("position", "position survives a fixed shuffle", "fixed", -MARGIN, True),
        ("position", "position falls to chance in a per-image shuffle", "per-image", None, False),
        ("texture", TEXTURE_FALLS, "fixed", -MARGIN, False),
        ("texture", "texture falls to chance in a per-image shuffle", "per-image", None, False),
    )
    for cue, statement, shuffle, limit, above in rules:
        study = studies.get((cue,))
        for name in names if study else ():
            plain, group = study.group(name), study.group(name, shuffle)
            if not plain or not group or (statement == TEXTURE_FALLS and not convolves(name)):
                continue
            if limit is None:
                estimate, limit_here, what = versus(study, group, claims.CHANCE), MARGIN, "from chance"
            else:
                estimate, limit_here, what = study.difference(group, plain), limit, "from no shuffle"
            reason = f"{claims.percent(group.mean('val_accuracy'))}, {claims.points(estimate)} {what}"
            yield [statement, name, claims.decide(estimate, limit_here, above), reason]


def convolves(name: str) -> bool:
    """Whether the network is one of the 27 and has ReLU; of own models it is not known whether they convolve."""
    rows = models.REGISTRY.values()
    return any(model.name == name and model.relu and model.known_from != models.OWN for model in rows)


def between_extremes(studies: dict[tuple[str, ...], Study]) -> list[Block]:
    """What the shuffles between the extremes leave of cues."""
    rows: list[list[str | Cell]] = []
    for cues, study in studies.items():
        for group in (group for group in study.groups.values() if group.shuffle in PARTIAL_SHUFFLES):
            plain = study.group(group.model)
            lost = apart(study.difference(group, plain)) if plain else ""
            left = accuracies(group.at("val_accuracy").values())
            rows.append([" + ".join(cues), group.model, group.shuffle, count(len(group.runs)), left, lost])
    if not rows:
        return []
    return [
        Text("Between the extremes, where block:K moves blocks of K×K pixels and within:K the pixels inside each:"),
        Table(("cues", "model", "shuffle", "runs", "accuracy (%)", "less none"), rows),
    ]


def templates_of_cues(studies: dict[tuple[str, ...], Study], notes: list[str]) -> list[Block]:
    """What the templates of affine networks have learnt of cues: means over the seeds."""
    rows: list[list[str | Cell]] = []
    for cues, study in studies.items():
        for group in study.groups.values():
            found = [beside(run, affine.FACTS, of_template, notes) for run in group.runs.values()]
            if found := [facts for facts in found if facts]:
                cells = [number(fmean(values), 1) for values in zip(*found)]
                rows.append([" + ".join(cues), group.model, group.shuffle, count(len(found)), *cells])
    if not rows:
        return []
    return [
        Text(
            "What the templates of affine networks have learnt: how much of their squared weights is the same in all "
            "places; and what the test images score for their own class and for the others, where a score is a logit "
            "less the mean of the image's ten."
        ),
        Table(
            (
                "cues",
                "model",
                "shuffle",
                "runs",
                "the same in all places (%)",
                "own score: mean",
                "standard deviation",
                "others' standard deviation",
                "own is highest (%)",
                "own is lowest (%)",
            ),
            rows,
        ),
    ]


def of_template(facts: dict) -> list[float]:
    """What a table says of a ``matrix.json`` of a run on known cues."""
    scores = facts["scores"]
    return [
        100 * finite(facts["uniform_share"]),
        finite(scores["own_mean"]),
        finite(scores["own_sd"]),
        finite(scores["others_sd"]),
        100 * finite(scores["own_highest"]),
        100 * finite(scores["own_lowest"]),
    ]


# ---- shuffles between the extremes ----------------------------------------------------------------------------------


def neighbourhoods(study: Study, folder: Path, found: dict | None) -> list[Block]:
    """Accuracy against the size of the blocks that are moved, or moved in."""
    names = list(dict.fromkeys(model for model, shuffle in study.groups if shuffle in PARTIAL_SHUFFLES))
    if not names:
        return []
    path = folder / "neighbourhoods.png"
    histogram = 100 * found["baselines"][baselines.COLOUR]["accuracy"] if found else None
    figures.plot_neighbourhoods(path, study, names, BLOCK_SIZES, histogram)
    shuffles = [shuffle for shuffle in SHUFFLES if any(study.group(name, shuffle) for name in names)]
    rows: list[list[str | Cell]] = []
    for shuffle in shuffles:
        row: list[str | Cell] = [shuffle]
        for name in names:
            group, plain = study.group(name, shuffle), study.group(name)
            row += [accuracies(group.at("val_accuracy").values()) if group else ""]
            row += [apart(study.difference(group, plain)) if group and plain and group is not plain else ""]
        rows.append(row)
    columns = [column for name in names for column in (f"{name} (%)", f"{name} less none")]
    return [
        Heading("How large a neighbourhood does the network need?"),
        Text(
            "block:K moves blocks of K×K pixels and leaves their inside: what is next to what survives, within K "
            "pixels. within:K moves the pixels inside each block and leaves the blocks: where things are survives, to "
            "K pixels. Both are one permutation for all images, as fixed is; with blocks of one pixel, or pixels moved "
            "within all of the image, they are fixed. colour takes the colours and moves nothing. Intervals are over "
            "seeds of the weights and of the order; all runs of a shuffle have the same permutation."
        ),
        Figure(path, "Accuracy against the size of the blocks, a panel for each model"),
        Table(("shuffle", *columns), rows),
        Text(items=tuple(text for name in names if (text := enough(study, name)))),
    ]


def enough(study: Study, name: str) -> str:
    """From which block size on more than half of what a fixed shuffle takes is decidedly there."""
    plain, fixed = study.group(name), study.group(name, "fixed")
    sizes = [size for size in BLOCK_SIZES if study.group(name, f"block:{size}")]
    if not plain or not fixed or not sizes:
        return ""
    takes = study.difference(fixed, plain)
    if (verdict := claims.decide(takes, above=False)) != claims.HOLDS:
        return f"{name}: that a fixed shuffle takes anything: {verdict}, {claims.points(takes)}."
    below, above = fixed.at("val_accuracy"), plain.at("val_accuracy")
    half = {seed: (below[seed] + above[seed]) / 2 for seed in below.keys() & above.keys()}
    if not half:
        return ""
    for size in sizes:
        own = study.group(name, f"block:{size}").at("val_accuracy")
        beyond = estimates.difference(own, half, study.pooled("val_accuracy"))
        if claims.decide(beyond) == claims.HOLDS:
            return (
                f"{name}: blocks of {size}×{size} pixels, kept whole wherever they are moved, leave more than half of "
                f"what a fixed shuffle takes: {claims.points(beyond)} from the middle."
            )
    return f"{name}: of no size up to {sizes[-1]}×{sizes[-1]} is it decided that its blocks leave half of that."


# ---- trained on one, tested on another ------------------------------------------------------------------------------


def transfers(study: Study, folder: Path) -> list[Block]:
    """Accuracy of runs with one shuffle on images with another."""
    blocks: list[Block] = []
    for name in dict.fromkeys(model for model, _ in study.groups):
        table = {}
        for shuffle in SHUFFLES:
            group = study.group(name, shuffle)
            found = (
                [beside(run, runs.TRANSFER, in_percent, study.notes) for run in group.runs.values()] if group else []
            )
            if measured := [one for one in found if one]:
                table[shuffle] = {other: fmean(run[other] for run in measured) for other in measured[0]}
        if table:
            path = folder / f"transfer_{name}.png"
            figures.plot_transfer(path, f"{name} on {study.data['name']}", table)
            blocks.append(Figure(path, f"Accuracy of {name} by the shuffle of training and that of the test"))
    if not blocks:
        return []
    about = (
        "Each row is a network trained with one shuffle, each column the test images with another; means over the "
        "seeds, in percent. A row that stays bright says that what the network has learnt survives that shuffle."
    )
    return [Heading("Trained on one shuffle, tested on another"), Text(about), *blocks]


def in_percent(transfer: dict) -> dict[str, float]:
    """The accuracies of a ``transfer.json`` in percent, by shuffle."""
    return {shuffle: 100 * finite(transfer["test_accuracy"][shuffle]) for shuffle in SHUFFLES}


# ---- baselines ------------------------------------------------------------------------------------------------------


def colours(study: Study, folder: Path, found: dict | None) -> list[Block]:
    """Whether a network finds more in shuffled pixels than a classifier that sees their colours alone."""
    if not found:
        return []
    histogram = found["baselines"][baselines.COLOUR]
    bar = estimates.proportion(100 * histogram["accuracy"], histogram["images"])
    rows: list[list[str | Cell]] = [
        [f"{name}: {result['about']}", number(100 * result["accuracy"], 1), ""]
        for name, result in found["baselines"].items()
    ]
    groups = [group for (_, shuffle), group in study.groups.items() if shuffle == "per-image"]
    verdicts = []
    for group in groups:
        ahead = estimates.less(group.mean("val_accuracy"), bar)
        rows.append([f"{group.model}, per-image", accuracies(group.at("val_accuracy").values()), apart(ahead)])
        verdicts.append(
            f"{group.model} finds more in an image with shuffled pixels than its colour histogram tells: "
            f"{claims.decide(ahead)}, {claims.points(ahead)}."
        )
    return [
        Heading("Is it the colours?"),
        Text(
            "A per-image shuffle leaves which colours there are, and nothing else. How much that is, a classifier "
            "tells that sees the colour histogram alone: gradient boosting or logistic regression (scikit-learn), "
            "chosen on images held out from training."
        ),
        Table(("classifier", "test accuracy (%)", "less colour histogram"), rows),
        Text(items=tuple(verdicts)),
        *(block for group in groups for block in by_class(study, group, folder, found)),
    ]


def by_class(study: Study, group: Group, folder: Path, found: dict) -> list[Block]:
    """A network's accuracy in each class beside the colour histogram's, and how the two go together."""
    names, plain = study.data["classes"], study.group(group.model)
    told = baselines.per_class(found, baselines.COLOUR)
    own = {name: group.mean(f"val_accuracy_of_{name}") for name in names}
    if any(told.get(name) is None or math.isnan(own[name].mean) for name in names):
        return []
    each = found["baselines"][baselines.COLOUR]["images"] // len(names)
    known = {name: estimates.proportion(100 * told[name], each) for name in names}
    path = folder / f"colours_{group.model}.png"
    figures.plot_by_class(path, f"{group.model}, per-image, and the colour histogram", own, known)

    def of_class(name: str, group: Group) -> Cell:
        return accuracies(group.at(f"val_accuracy_of_{name}").values())

    rows: list[list[str | Cell]] = [
        [name, of_class(name, group), apart(known[name], ".1f"), *([of_class(name, plain)] if plain else [])]
        for name in names
    ]
    by_colour = [known[name].mean for name in names]
    compared = (
        ("With a per-image shuffle", group),
        ("Without a shuffle", plain),
        ("Trained and tested on grey values", study.group(group.model, "colour")),
    )
    items = [
        related(when, [one.mean(f"val_accuracy_of_{name}").mean for name in names], by_colour)
        for when, one in compared
        if one
    ]
    ranked = sorted(names, key=lambda name: -known[name].mean)
    items.append(f"The colour histogram alone knows {', '.join(ranked[:3])} best and {', '.join(ranked[-3:])} worst.")
    if group.model == "Q1_1":
        try:
            items += [f"“{part.statement}”: {part.verdict}. {part.reason}" for part in claims.c4(study)]
        except claims.NotEnough as error:
            items.append(f"“Planes and deer best, cats worst”: {claims.OPEN}, {error}.")
    columns = ["class", f"{group.model}, per-image (n = {len(group.runs)})", "colour histogram"]
    columns += [f"{group.model}, none (n = {len(plain.runs)})"] if plain else []
    return [
        Heading(f"{group.model} and the colours of each class", 3),
        Figure(path, f"Accuracy of {group.model} in each class against the colour histogram's"),
        Table(tuple(columns), rows),
        Text(items=tuple(items)),
    ]


def related(when: str, own: list[float], known: list[float]) -> str:
    """Whether a network's accuracies by class go with the colour histogram's, in words."""
    what = f"{when} the network's accuracy by class goes with the colour histogram's"
    try:
        r, low, high = estimates.correlation(own, known)
    except ValueError as error:
        return f"{what}: {claims.OPEN}, {error}."
    verdict = claims.HOLDS if low > 0 else claims.FAILS if high < 0 else claims.OPEN
    return f"{what}: {verdict}, correlation {r:+.2f} ({low:+.2f} … {high:+.2f}) over {len(own)} classes."


# ---- affine networks ------------------------------------------------------------------------------------------------


def affine_networks(study: Study, found: dict | None) -> list[Block]:
    """The networks that were collapsed into one matrix, beside a logistic regression that was trained as one."""
    rows, pictures = [], []
    everything = [*study.groups.values(), *study.others]
    for run in (run for group in everything for run in group.runs.values()):
        if facts := beside(run, affine.FACTS, matrix_cells, study.notes):
            rows.append([run.config.run_name, *facts, number(run.test, 1)])
            if (templates := run.folder / affine.TEMPLATES).exists():
                pictures.append(Figure(templates, f"Templates of the classes of {run.config.run_name}"))
    if not rows:
        return []
    if found:
        accuracy = 100 * found["baselines"][baselines.PIXELS]["accuracy"]
        parameters = count((math.prod(models.IMAGE_SHAPE) + 1) * models.CLASSES)
        rows.append(["logistic regression, trained directly", parameters, "", "", number(accuracy, 1)])
    columns = ("run", "parameters", "largest difference of a logit", "effective rank", "test accuracy (%)")
    return [
        Heading("Affine networks are one matrix"),
        Text(
            "Without ReLU and pools, all layers together are one affine function of the image: 3,072 weights and a "
            "bias for each class, 30,730 numbers, whatever the width of the layers in between. So width adds "
            "parameters but no function that a logistic regression on the pixels doesn't have. The pictures are the "
            "rows of that matrix: what speaks for a class, and what against it."
        ),
        Table(columns, rows),
        *pictures,
    ]


def matrix_cells(facts: dict) -> list[Cell]:
    """What a table says of a ``matrix.json``."""
    difference = finite(facts["largest_difference"])
    return [
        count(int(facts["network_parameters"])),
        Cell(f"{difference:.1e}", difference),
        number(finite(facts["effective_rank"]), 1),
    ]
