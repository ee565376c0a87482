"""Synthetic images whose class is carried by known cues: what each shuffle takes of them, and what was expected."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import fmean

import models
from report import plots, stats
from report.claims import CHANCE_PERCENT
from report.page import Block, Heading, Row, Table, Text, prose
from report.results import NoRuns, Study, read_run_json, read_study, settings_text
from report.text import accuracy_cell, count_cell, decide, diff_cell, number_cell, percent_text, points_text
from runner import files
from runner.config import CUES, PARTIAL_SHUFFLES, PUBLISHED_SHUFFLES, cue_strengths
from runner.errors import RunnerError
from runner.files import checked_number

Cues = tuple[str, ...]  # what carries the class, in words

MARGIN = 5.0  # points of accuracy within which a cue has survived a shuffle, and a network is at chance

# Expected of what has convolutions and ReLU alone; an affine network knows of no neighbourhood to begin with.
TEXTURE_FALLS = "texture falls in a fixed shuffle"

TEMPLATE_COLUMNS = (
    "cues", "model", "shuffle", "runs", "the same in all places (%)", "own score: mean", "standard deviation",
    "others' standard deviation", "own is highest (%)", "own is lowest (%)",
)  # fmt: skip


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


def cue_section(root: Path, folder: Path, notes: list[str]) -> list[Block]:
    """Show accuracy by cue, shuffle and model on the synthetic images in ``root``, and whether it is as expected."""
    studies = read_studies(root, notes)
    if not studies:
        return []
    names = list(dict.fromkeys(group.model for study in studies.values() for group in study.models))
    rows: list[Row] = []
    for (cues, study), name in product(studies.items(), names):
        groups = [study.group(name, shuffle) for shuffle in PUBLISHED_SHUFFLES]
        if counts := [len(group.runs) for group in groups if group]:
            cells = [accuracy_cells(study, name, shuffle)[0] for shuffle in PUBLISHED_SHUFFLES]
            rows.append([" + ".join(cues), name, count_cell(max(counts)), *cells])
    return [
        Heading("Calibration: images whose answer is known"),
        prose("cues", settings=all_settings_text(studies)),
        plots.plot_cues(folder / "cues.png", studies, names),
        Table(("cues", "model", "runs", *(f"{shuffle} (%)" for shuffle in PUBLISHED_SHUFFLES)), rows),
        Text(f"What was expected; within {MARGIN:g} points counts as the same:"),
        Table(("expected", "model", "verdict", "measured"), list(check_expectations(studies, names)), sortable=False),
        *partial_shuffle_blocks(studies),
        *template_blocks(studies, notes),
    ]


def all_settings_text(studies: dict[Cues, Study]) -> str:
    """Name the settings of all studies, with the cues that each are of where they are not all the same."""
    cues_of: dict[str, list[str]] = {}
    for cues, study in studies.items():
        cues_of.setdefault(settings_text(study.settings), []).append(" + ".join(cues))
    if len(cues_of) == 1:
        return next(iter(cues_of))
    return "; ".join(f"{settings} ({', '.join(cues)})" for settings, cues in cues_of.items())


def check_expectations(studies: dict[Cues, Study], names: list[str]) -> Iterator[Row]:
    """Make a row for each expectation of a cue alone and each model: in words, verdict, the figures it rests on."""
    rules = (  # cue, what is expected, shuffle, whether it is compared with chance, whether it stays above the limit
        ("colour", "colour survives a per-image shuffle", "per-image", False, True),
        ("position", "position survives a fixed shuffle", "fixed", False, True),
        ("position", "position falls to chance in a per-image shuffle", "per-image", True, False),
        ("texture", TEXTURE_FALLS, "fixed", False, False),
        ("texture", "texture falls to chance in a per-image shuffle", "per-image", True, False),
    )
    for (cue, statement, shuffle, to_chance, above), name in product(rules, names):
        study = studies.get((cue,))
        plain, group = (study and study.group(name, each) for each in ("none", shuffle))
        if study and plain and group and (statement != TEXTURE_FALLS or is_convolutional(name)):
            above_chance = stats.mean([accuracy - CHANCE_PERCENT for accuracy in group.values("val_accuracy")])
            estimate = above_chance if to_chance else study.difference(group, plain)
            verdict = decide(estimate, MARGIN if to_chance else -MARGIN, above)
            what = "chance" if to_chance else "no shuffle"
            reason = f"{percent_text(group.mean('val_accuracy'))}, {points_text(estimate)} from {what}"
            yield [statement, name, verdict, reason]


def accuracy_cells(study: Study, name: str, shuffle: str) -> Row:
    """Show a model's accuracy with a shuffle, and its difference from none; empty where there are no such runs."""
    group, plain = study.group(name, shuffle), study.group(name)
    accuracy = accuracy_cell(group.values("val_accuracy")) if group else ""
    return [accuracy, diff_cell(study.difference(group, plain)) if group and plain and group is not plain else ""]


def is_convolutional(name: str) -> bool:
    """Tell whether a network is one of the 27 and has ReLU; of own models it is not known whether they convolve."""
    rows = models.REGISTRY.values()
    return any(model.name == name and model.relu and model.known_from != models.OWN for model in rows)


def partial_shuffle_blocks(studies: dict[Cues, Study]) -> list[Block]:
    """Show what the shuffles between the extremes leave of cues."""
    rows: list[Row] = []
    for cues, study in studies.items():
        for (name, shuffle), group in study.groups.items():
            if shuffle in PARTIAL_SHUFFLES:
                runs, cells = count_cell(len(group.runs)), accuracy_cells(study, name, shuffle)
                rows.append([" + ".join(cues), name, shuffle, runs, *cells])
    if not rows:
        return []
    return [
        Text("Between the extremes, where block:K moves blocks of K×K pixels and within:K the pixels inside each:"),
        Table(("cues", "model", "shuffle", "runs", "accuracy (%)", "less none"), rows),
    ]


def template_blocks(studies: dict[Cues, Study], notes: list[str]) -> list[Block]:
    """Show what the templates of affine networks have learnt of cues: means over the seeds."""
    rows: list[Row] = []
    for cues, study in studies.items():
        for group in study.groups.values():
            facts = [read_run_json(run, files.MATRIX_FACTS, template_facts, notes) for run in group.runs.values()]
            if readable := [each for each in facts if each]:
                cells = [number_cell(fmean(values), 1) for values in zip(*readable)]
                rows.append([" + ".join(cues), group.model, group.shuffle, count_cell(len(readable)), *cells])
    if not rows:
        return []
    return [prose("templates"), Table(TEMPLATE_COLUMNS, rows)]


def template_facts(facts: dict) -> list[float]:
    """Return the numbers of ``TEMPLATE_COLUMNS`` from a ``matrix.json``."""
    scores = facts["scores"]
    learnt = [checked_number(scores[key]) for key in ("own_mean", "own_sd", "others_sd")]
    shares = [100 * checked_number(scores[key], 0, 1) for key in ("own_highest", "own_lowest")]
    return [100 * checked_number(facts["uniform_share"], 0, 1), *learnt, *shares]
