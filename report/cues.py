"""Synthetic images whose class is carried by known cues: what each shuffle takes of them, and what was expected."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import models
from report import plots, stats
from report.claims import CHANCE_PERCENT
from report.page import Block, Folded, Heading, Row, Table, Text, list_of, prose
from report.results import NoRuns, SeedGroup, Study, read_study, settings_text
from report.text import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Cell,
    accuracy_cell,
    accuracy_text,
    decide,
    diff_cell,
    number_cell,
    points_text,
)
from runner import files
from runner.config import CUES, PUBLISHED_SHUFFLES, cue_strengths
from runner.errors import RunnerError, counted

Cues = tuple[str, ...]  # what carries the class, in words

MARGIN = 5.0  # points of accuracy within which a cue has survived a shuffle, and a network is at chance
# What the best classifier gets of a cue that always tells the truth, in percent. A hue is 0.02 turns off (standard
# deviation), and half of the way to the next class is 0.05: 2 Φ(2.5) − 1. Of blobs that were drawn as the images are,
# 93.6 % are nearest to their own centre. A texture is told by its whole pattern: no bound is known below 100.
CEILINGS = {"colour": 98.8, "position": 93.6, "texture": 100.0}
LEARNING_POINTS = 1.0  # of training accuracy: a network that gained more in its last epoch is still learning
STILL_LEARNING = "still learning"

# Expected of what has convolutions and ReLU alone; an affine network knows of no neighbourhood to begin with.
TEXTURE_FALLS = "texture falls in a fixed shuffle"


def read_studies(root: Path, notes: list[str]) -> dict[Cues, Study]:
    """Read the studies on synthetic images in ``root`` by what carries the class, single cues first."""
    studies: dict[Cues, Study] = {}
    for path in sorted(root.glob("synthetic*")):
        try:
            files.require_inside(path, root)
            study = read_study(path)
        except NoRuns:
            continue
        except RunnerError as error:
            notes.append(str(error))
        else:
            config = study.runs[0].config
            strengths = cue_strengths(config.cues).items()
            if labels := [cue if strength == 1 else f"{cue} {strength:g}" for cue, strength in strengths]:
                seed = [f"data seed {config.data_seed}"] if config.data_seed else []
                studies[tuple(labels + seed)] = study

    def order(labels: Cues) -> tuple:
        return len(labels), [CUES.index(cue) for label in labels if (cue := label.split()[0]) in CUES], labels

    return {labels: studies[labels] for labels in sorted(studies, key=order)}


def cue_section(studies: Mapping[Cues, Study], folder: Path) -> list[Block]:
    """Show accuracy by cue, shuffle and model on the synthetic images, and whether it is as expected."""
    if not studies:
        return []
    names = list(dict.fromkeys(group.model for study in studies.values() for group in study.models))
    rows: list[Row] = []
    for (cues, study), name in product(studies.items(), names):
        groups = [study.group(name, shuffle) for shuffle in PUBLISHED_SHUFFLES]
        if sizes := list(dict.fromkeys(group.size for group in groups if group)):
            ceiling = ceiling_of(cues)
            cells = [cue_cell(group, ceiling) if group else "" for group in groups]
            bound = "" if math.isnan(ceiling) else number_cell(ceiling, 1)
            rows.append([" + ".join(cues), name, "\n".join(sizes), bound, *cells])
    columns = ("cues", "model", "runs", "ceiling (%)", *(f"{shuffle} (%)" for shuffle in PUBLISHED_SHUFFLES))
    return [
        Heading("Calibration: images whose answer is known"),
        prose("cues", settings=all_settings_text(studies), **CEILINGS, learning=LEARNING_POINTS),
        plots.plot_cues(folder / "cues.png", studies, names, {cues: ceiling_of(cues) for cues in studies}),
        Text(f"What was expected; within {MARGIN:g} points counts as the same:"),
        Table(("expected", "model", "verdict", "measured"), list(check_expectations(studies, names)), sortable=False),
        Folded("All cues and networks", [Table(columns, rows)]),
        *budget_blocks(studies, folder),
        *other_shuffle_blocks(studies),
    ]


def ceiling_of(cues: Cues) -> float:
    """Return the most that a cue by itself allows, in percent; NaN for several, or one that does not always tell."""
    return CEILINGS.get(cues[0], math.nan) if len(cues) == 1 else math.nan


def cue_cell(group: SeedGroup, ceiling: float) -> Cell:
    """Show an accuracy, its share of what the ceiling allows above chance, and whether the training was over."""
    cell = accuracy_cell(group.values("val_accuracy"))
    share = (cell.value - CHANCE_PERCENT) / (ceiling - CHANCE_PERCENT)
    of_ceiling = [] if math.isnan(share) else [f"{round(100 * share)} % of what is there"]
    return Cell("\n".join([cell.text, *of_ceiling, *[STILL_LEARNING] * is_learning(group)]), cell.value)


def is_learning(group: SeedGroup) -> bool:
    """Tell whether the training accuracy still rose in the last epoch; of a single epoch it is not known."""
    return group.epochs > 1 and group.change("train_accuracy", group.epochs - 1).mean > LEARNING_POINTS


def all_settings_text(studies: Mapping[Cues, Study]) -> str:
    """Name the settings of all studies, with the cues that each are of where they are not all the same."""
    cues_of: dict[str, list[str]] = {}
    for cues, study in studies.items():
        cues_of.setdefault(settings_text(study.settings), []).append(" + ".join(cues))
    if len(cues_of) == 1:
        return next(iter(cues_of))
    return "; ".join(f"{settings} ({', '.join(cues)})" for settings, cues in cues_of.items())


def check_expectations(studies: Mapping[Cues, Study], names: list[str]) -> Iterator[Row]:
    """Make a row for each expectation of a cue alone and each model: in words, verdict, the figures it rests on."""
    rules = (  # cue, what is expected, shuffle, whether it is compared with chance, whether it stays above the limit
        ("colour", "colour survives a per-image shuffle", "per-image", False, True),
        ("position", "position survives a fixed shuffle", "fixed", False, True),
        ("position", "position falls to chance in a per-image shuffle", "per-image", True, False),
        ("texture", TEXTURE_FALLS, "fixed", False, False),
        ("texture", "texture falls to chance in a per-image shuffle", "per-image", True, False),
    )
    for (cue, statement, shuffle, to_chance, above), name in product(rules, names):
        # The runs of the most epochs.
        pairs = group_pairs(studies.get((cue,)), name, shuffle)
        if not pairs or (statement == TEXTURE_FALLS and not is_convolutional(name)):
            continue
        study, plain, group = [*pairs.values()][-1]

        # The verdict. A network that finds little while it learns may yet find more.
        above_chance = stats.mean([accuracy - CHANCE_PERCENT for accuracy in group.values("val_accuracy")])
        estimate = above_chance if to_chance else study.difference(group, plain)
        verdict = decide(estimate, MARGIN if to_chance else -MARGIN, above)
        what = "chance" if to_chance else "no shuffle"
        reason = f"{accuracy_text(group.mean('val_accuracy'))}, {points_text(estimate)} from {what}"
        if verdict == (FAILS if above else HOLDS) and is_learning(group):
            verdict, reason = UNDECIDED, f"{reason}; {STILL_LEARNING} after {counted(group.epochs, 'epoch')}"
        yield [statement, name, verdict, reason]


def group_pairs(study: Study | None, name: str, shuffle: str) -> dict[int, tuple[Study, SeedGroup, SeedGroup]]:
    """Return a model's groups without a shuffle and with one, by number of epochs, where both are there."""
    return {
        epochs: (each, plain, group)
        for epochs, each in (study.budgets if study else {}).items()
        if (plain := each.group(name)) and (group := each.group(name, shuffle))
    }


def difference_cell(study: Study, group: SeedGroup | None, plain: SeedGroup | None) -> Cell | str:
    """Show how much two groups differ; empty where one is missing, or they are the same."""
    return diff_cell(study.difference(group, plain)) if group and plain and group is not plain else ""


def is_convolutional(name: str) -> bool:
    """Tell whether a network is one of the 27 and has ReLU; of own models it is not known whether they convolve."""
    rows = models.REGISTRY.values()
    return any(model.name == name and model.relu and model.known_from != models.OWN for model in rows)


def budget_blocks(studies: Mapping[Cues, Study], folder: Path) -> list[Block]:
    """Show what more epochs make of each cue with and without a fixed shuffle."""
    rows: list[Row] = []
    verdicts, shown = [], {}
    for (cue, *others), study in studies.items():
        names = dict.fromkeys(model for each in study.budgets.values() for model, _ in each.groups)
        for name in names if not others else ():
            pairs = {epochs: groups for epochs, (_, *groups) in group_pairs(study, name, "fixed").items()}
            if len(pairs) > 1:
                shown[cue, name] = pairs
                for epochs, groups in pairs.items():
                    cells = [cue_cell(each, ceiling_of((cue,))) for each in groups]
                    rows.append([cue, name, number_cell(epochs, 0), *cells])
                verdicts.append(budget_verdict(studies, cue, name))
    if not rows:
        return []
    columns = ("cue", "model", "epochs", "none (%)", "fixed (%)")
    return [
        Heading("More epochs", 3),
        prose("budgets"),
        plots.plot_budgets(folder / "budgets.png", shown),
        *list_of(verdicts),
        Folded("All numbers of epochs", [Table(columns, rows)]),
    ]


def budget_verdict(studies: Mapping[Cues, Study], cue: str, name: str) -> str:
    """Say whether a network finds more of a cue behind a fixed shuffle when it is trained for longer, in a sentence."""
    pairs = group_pairs(studies.get((cue,)), name, "fixed")
    if len(pairs) < 2:
        return ""
    first, last = min(pairs), max(pairs)
    _, _, early = pairs[first]
    study, plain, late = pairs[last]
    gain, rest = study.difference(late, early), study.difference(late, plain)
    learning = f" It is {STILL_LEARNING} then." if is_learning(late) else ""
    return (
        f"{name} finds more of {cue} behind a fixed shuffle when it is trained for longer, "
        f"{early.mean('val_accuracy').mean:.1f} % after {counted(first, 'epoch')} and "
        f"{late.mean('val_accuracy').mean:.1f} % after {last}: "
        f"{decide(gain)}, {points_text(gain)}; {points_text(rest)} from no shuffle.{learning}"
    )


def other_shuffle_blocks(studies: Mapping[Cues, Study]) -> list[Block]:
    """Show what filters and the shuffles between the extremes leave of cues."""
    rows: list[Row] = []
    verdicts = []
    for cues, study in studies.items():
        for (name, shuffle), group in study.groups.items():
            if shuffle not in PUBLISHED_SHUFFLES:
                cells = [cue_cell(group, ceiling_of(cues)), difference_cell(study, group, study.group(name))]
                rows.append([" + ".join(cues), name, shuffle, group.size, *cells])
        if len(cues) == 1:
            verdicts += [told for name, _ in study.groups if (told := blur_verdict(study, cues[0], name))]
    if not rows:
        return []
    return [
        Heading("Filters, and shuffles between the extremes", 3),
        *list_of(dict.fromkeys(verdicts)),
        Folded("All of them", [Table(("cues", "model", "shuffle", "runs", "accuracy (%)", "− none (points)"), rows)]),
    ]


def blur_verdict(study: Study, cue: str, name: str) -> str:
    """Say whether a fixed shuffle still costs a network a cue in images that were blurred before, in a sentence."""
    fixed, blurred, both = (study.group(name, each) for each in ("fixed", "blur:5", "blur:5+fixed"))
    if not fixed or not blurred or not both:
        return ""
    gain, cost = study.difference(both, fixed), study.difference(both, blurred)
    return (
        f"Blurred before the fixed shuffle, {cue} gives {name} more than without the blur: {decide(gain)}, "
        f"{points_text(gain)}; it survives the shuffle then: {decide(cost, -MARGIN)}, {points_text(cost)}."
    )
