"""The chapter on the published study: its claims, its models and its shuffles, of the runs that it is about."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from report import claims, plots, stats
from report.page import Block, Folded, Heading, Row, Table, Text, prose
from report.provenance import machine_text
from report.results import IMAGE_POINTS, IN_STUDY, SeedGroup, Study, settings_text
from report.sections import (
    MODEL_COLUMNS,
    MOST_LINES,
    calibration_blocks,
    frontier_text,
    have_several,
    lines_blocks,
    sample_blocks,
    shown_columns,
    side_by_side_blocks,
)
from report.text import FAILS, HOLDS, NO_RUNS, UNDECIDED, join_names
from runner.config import PUBLISHED_SHUFFLES
from runner.errors import counted

COMPARED = ("Q1_1", "Q1_11", "Q1_19")  # in the overlay of a whole study, where nothing else is asked for

VERBS = {
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    UNDECIDED: ("is not decided", "are not decided"),
    NO_RUNS: ("has no runs", "have no runs"),
}


def _model_of(group: SeedGroup) -> str:
    return group.model


def opening_blocks(study: Study, folder: Path, checked: Sequence[claims.Claim]) -> list[Block]:
    """Say what holds, and show one picture."""
    keys = {verdict: [claim.key for claim in checked if claim.verdict == verdict] for verdict in VERBS}
    counts = [
        f"{len(keys[verdict])} {VERBS[verdict][len(keys[verdict]) != 1]} ({', '.join(keys[verdict])})"
        for verdict in VERBS
        if keys[verdict]
    ]
    blocks: list[Block] = [
        Heading(f"Small networks on {study.data['name']}", 1),
        prose("verdicts", claims=len(checked), counts=join_names(counts))
        if checked
        else prose("no_claims", of=_why_no_claims(study)),
    ]
    if keys[HOLDS]:
        held = [claim for claim in checked if claim.verdict == HOLDS]
        blocks.append(Text(items=tuple(f"{claim.key} holds: {claim.published}" for claim in held)))
    if len(study.models) > 1:
        title = f"Accuracy against parameters on {plots.data_name(study.data)}"
        path = folder / "accuracy_parameters.png"
        blocks += [
            plots.plot_accuracy_against_parameters(path, title, study.models, _model_of),
            Text(frontier_text(study.models)),
        ]
    return blocks


def _why_no_claims(study: Study) -> str:
    """Say what tells the runs from those that the published claims are about."""
    if not study.is_cifar10:
        return "on other images"
    settings = tuple(setting for setting in study.settings if setting[0] != "epochs")
    return f"of other settings ({settings_text(settings)})" if settings else "computed in another precision than fp32"


def plot_claim(path: Path, claim: claims.Claim) -> list[Block]:
    """Plot what a claim's figures are of; nothing where there are no runs, or of other classes."""
    if not claim.groups:
        return []
    if claim.show is claims.show_course:
        return [plots.plot_course(path, claim.groups, claim.percent)]
    if claim.show is claims.show_by_class:
        group = claim.groups[0]
        epoch = claims.find_early_epoch(group, claims.PER_IMAGE_PERCENT)
        is_known = set(group.example.data["classes"]) == claims.PER_IMAGE.keys()
        return [plots.plot_against_published(path, group, epoch, claims.PER_IMAGE)] if is_known else []
    plot = plots.plot_losses if claim.show is claims.show_losses else plots.plot_final
    return [plot(path, claim.groups)]


def claim_blocks(checked: Sequence[claims.Claim], folder: Path) -> list[Block]:
    """Show each claim and what was measured, with its verdict and a picture; table, reasons and rules are folded."""
    if not checked:
        return []
    of_each: list[Block] = []
    for claim in checked:
        measured = "; ".join(claim.measured.splitlines())
        of_each += [
            Heading(f"{claim.key}: {claim.verdict}", 3),
            Text(f"Published: {claim.published}. Measured: {measured}."),
            *plot_claim(folder / f"claim_{claim.key}.png", claim),
        ]
    rows: list[Row] = [[claim.key, claim.published, claim.measured, claim.verdict] for claim in checked]
    reasons: list[Row] = []
    for claim in checked:
        for part in claim.statements:
            reasons.append([f"{claim.key}: {part.text}" if part.text else claim.key, part.verdict, part.reason])
    rebuilt = join_names([claim.key for claim in checked if claim.of_rebuilt])
    return [
        Heading("Which published claims hold?"),
        prose("rebuilt", keys=rebuilt),
        *of_each,
        Folded("All claims in a table", [Table(("claim", "published", "measured", "verdict"), rows, sortable=False)]),
        Folded(
            "Why: each statement with its figures and 95 % intervals",
            [Table(("statement", "verdict", "why"), reasons, sortable=False)],
        ),
        Folded("The rules", [prose("rules", **vars(claims), IMAGE_POINTS=IMAGE_POINTS)]),
    ]


def longer_blocks(study: Study) -> list[Block]:
    """Say which runs beyond those compared a claim is judged by, and what they were computed with."""
    longer = [run for group in claims.find_longer(study) for run in group.runs.values()]
    epochs = ", ".join(map(str, sorted({run.config.epochs for run in longer})))
    told = f"For C5 besides: {counted(len(longer), 'run')} of {epochs} epochs."
    return [Text(f"{told} {machine_text(longer)}.")] if longer else []


def decidable_blocks(study: Study) -> list[Block]:
    """Say what difference of accuracy a study of this size can decide; nothing where no network has several runs."""
    pooled = study.pooled_sd("val_accuracy")
    numbers = [n for group in study.groups.values() if (n := len(group.values("val_accuracy"))) > 1]
    if not pooled:
        return []
    n = Counter(numbers).most_common(1)[0][0]
    sds = stats.decidable(n)
    return [prose("decidable", n=n, power=stats.POWER, points=sds * pooled.sd, sds=sds, sd=pooled.sd)]


def model_blocks(study: Study, folder: Path) -> list[Block]:
    """Compare all models without a shuffle."""
    columns = shown_columns(study.models)
    rows: list[Row] = [[group.model, *(MODEL_COLUMNS[name](group) for name in columns)] for group in study.models]
    counts = {group.model: group.example.parameters for group in study.models}
    return [
        Heading("The models"),
        *([plots.plot_parameters(folder / "parameters.png", counts)] if len(counts) > 1 else []),
        Folded("All models: losses, accuracies and gaps", [Table(("model", *columns), rows), prose("gaps")]),
    ]


def curve_blocks(study: Study, folder: Path, compare: Sequence[str]) -> list[Block]:
    if all(group.epochs == 1 for group in study.models):
        return []
    blocks: list[Block] = [Heading("Loss and accuracy over the epochs")]
    for key, label in (("loss", "loss (nats)"), ("accuracy", "accuracy (%)")):
        blocks.append(plots.plot_all_curves(folder / f"all_{key}.png", study, key, label))
    blocks += lines_blocks(study.models)
    own = [group.model for group in study.models if group.model not in IN_STUDY]
    chosen = [group for name in compare or (*COMPARED, *own) if (group := study.group(name))]
    if len(chosen) < 2 and not compare:
        chosen = study.models
    chosen = chosen[:MOST_LINES]
    if len(chosen) > 1 or compare:
        names = ", ".join(group.model for group in chosen)
        title = f"{names} on {plots.data_name(study.data)}"
        figure = plots.plot_overlay(folder / "compare.png", title, chosen, _model_of)
        blocks += [Heading(f"Side by side: {names}", 3), figure]
    return blocks


def shuffle_blocks(study: Study, folder: Path) -> list[Block]:
    """Compare the published shuffles, a section for each model that has runs with several of them."""
    blocks: list[Block] = []
    for model in dict.fromkeys(model for model, _ in study.groups):
        groups = [group for shuffle in PUBLISHED_SHUFFLES if (group := study.group(model, shuffle))]
        if len(groups) > 1:
            title = f"{model} by pixel shuffle on {plots.data_name(study.data)}"
            path = folder / f"shuffles_{model}.png"
            shown = side_by_side_blocks(path, title, groups, groups[0], lambda group: group.shuffle)
            blocks += [Heading(f"{model} by pixel shuffle", 3), *shown]
    if not blocks:
        return []
    samples = sample_blocks(study.runs, folder / "samples.png", study.notes)
    several = have_several([group for group in study.groups.values() if group.shuffle != "none"])
    return [Heading("What shuffling the pixels costs"), prose("shuffles", several=several), *blocks, *samples]


def compose(
    study: Study, folder: Path, checked: Sequence[claims.Claim], compare: Sequence[str], links: Sequence[Block]
) -> list[Block]:
    """Make the chapter, with its figures written to ``folder`` and ``links`` behind its opening."""
    return [
        *opening_blocks(study, folder, checked),
        *links,
        *claim_blocks(checked, folder),
        *longer_blocks(study),
        *decidable_blocks(study),
        *model_blocks(study, folder),
        *curve_blocks(study, folder, compare),
        *calibration_blocks(study.models, folder),
        *shuffle_blocks(study, folder),
    ]
