"""The report on many runs: ``report.html`` and ``report.md``, which say the same, and their figures."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import models
from report import claims, gallery, plots, stats
from report.calibration import climbing_text, is_climbing, overconfidence_text
from report.others import other_blocks
from report.page import Block, Code, Folded, Heading, Link, Row, Table, Text, prose, write_page
from report.provenance import commit_text, machine_text
from report.results import IMAGE_POINTS, SeedGroup, Study, find_frontier, read_study, settings_text
from report.text import FAILS, HOLDS, UNDECIDED, Cell, accuracy_cell, count_cell, diff_cell, mean_cell, number_cell
from runner import files
from runner.config import PUBLISHED_SHUFFLES
from runner.errors import UsageError, one_line, quote

COMPARED = ("Q1_1", "Q1_11", "Q1_19")  # in the overlay, where nothing else is asked for
FIGURES = "report"  # their folder
CALIBRATION_PANELS = 5


def data_blocks(study: Study, command: str) -> list[Block]:
    """Describe the data, the recipe, the machine and the code, and show the command that writes the report."""
    runs, config = study.runs, study.runs[0].config
    recipe = f"SGD, batches of {config.batch_size}, learning rate {config.lr:g}, momentum {config.momentum:g}"
    in_recipe = {"epochs", "batch-size", "lr", "momentum", "val"}
    others = "".join(f", {name} {value}" for name, value in study.settings if name not in in_recipe)
    validated_on = "the test images" if config.val == "test" else "images held out from training"
    shuffled = sum(run.config.shuffle != "none" for run in runs)
    longer = [run for group in claims.find_longer(study) for run in group.runs.values()]
    facts = [
        f"Data: {study.data['name']}" + ("" if study.is_cifar10 else " (this is not CIFAR-10)"),
        f"Recipe: {recipe}, {config.epochs} epochs{others}; validation on {validated_on}",
        f"Runs: {len(runs)} of {len(study.models)} models, {shuffled} of them with shuffled pixels",
        machine_text(runs),
        f"Code: commit {commit_text(runs)}",
    ]
    if longer:
        epochs = ", ".join(map(str, sorted({run.config.epochs for run in longer})))
        facts.append(f"For C5 besides: {len(longer)} runs of {epochs} epochs. {machine_text(longer)}")
    return [
        Heading("How it was measured"),
        Text(items=tuple(facts)),
        prose("figures", chosen=config.recipe == "fast"),
        *decidable_blocks(study),
        Code(command),
    ]


def decidable_blocks(study: Study) -> list[Block]:
    """Say what difference of accuracy a study of this size can decide; nothing where no network has several runs."""
    pooled = study.pooled_sd("val_accuracy")
    numbers = [n for group in study.groups.values() if (n := len(group.values("val_accuracy"))) > 1]
    if not pooled:
        return []
    n = Counter(numbers).most_common(1)[0][0]
    sds = stats.decidable(n)
    return [prose("decidable", n=n, power=stats.POWER, points=sds * pooled.sd, sds=sds, sd=pooled.sd)]


VERBS = {
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    UNDECIDED: ("is not decided", "are not decided"),
}


def join_names(names: Sequence[str]) -> str:
    """List names in words, e.g. ``C5, C8 and C10``."""
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]


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
        prose("verdicts", claims=len(checked), counts=join_names(counts)) if checked else prose("no_claims"),
    ]
    if keys[HOLDS]:
        held = [claim for claim in checked if claim.verdict == HOLDS]
        blocks.append(Text(items=tuple(f"{claim.key} holds: {claim.published}" for claim in held)))
    if study.models:
        on_frontier = ", ".join(group.model for group in find_frontier(study.models))
        blocks += [
            plots.plot_accuracy_against_parameters(folder / "accuracy_parameters.png", study),
            Text(
                f"The frontier joins the models whose mean none with as few parameters exceeds: {on_frontier}. This "
                "does not say that one of them is better than the next. A bar is the mean's 95 % interval; a model "
                "without one has a single run."
            ),
        ]
    return blocks


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


def _gap(group: SeedGroup, larger: str, smaller: str, form: str) -> Cell:
    return mean_cell([a - b for a, b in zip(group.values(larger), group.values(smaller))], form)


def _seconds_per_epoch(group: SeedGroup) -> float:
    seconds = [sum(row["seconds"] for row in run.history) / len(run.history) for run in group.runs.values()]
    return sum(seconds) / len(seconds)


SIZES, TEST = ("parameters", "multiply–accumulates"), "test accuracy (%)"  # columns that a table may lack
MODEL_COLUMNS: dict[str, Callable[[SeedGroup], Cell]] = {
    "parameters": lambda group: count_cell(group.example.parameters),
    "multiply–accumulates": lambda group: count_cell(group.example.macs),
    "runs": lambda group: count_cell(len(group.runs)),
    "training loss": lambda group: mean_cell(group.values("train_loss"), ".3f"),
    "training accuracy (%)": lambda group: accuracy_cell(group.values("train_accuracy")),
    "validation loss": lambda group: mean_cell(group.values("val_loss"), ".3f"),
    "validation accuracy (%)": lambda group: accuracy_cell(group.values("val_accuracy")),
    "test accuracy (%)": lambda group: accuracy_cell(run.test for run in group.runs.values()),
    "gap (points)": lambda group: _gap(group, "train_accuracy", "val_accuracy", ".1f"),
    "gap (nats)": lambda group: _gap(group, "val_loss", "train_loss", ".3f"),
    "s/epoch": lambda group: number_cell(_seconds_per_epoch(group), 0),
}


def model_blocks(study: Study, folder: Path) -> list[Block]:
    """Compare all models without a shuffle; the test accuracy is shown where it is not the validation's."""
    held_out = any(run.config.val == "holdout" for run in study.runs)
    columns = [name for name in MODEL_COLUMNS if held_out or name != TEST]
    rows: list[Row] = [[group.model, *(MODEL_COLUMNS[name](group) for name in columns)] for group in study.models]
    return [
        Heading("The models"),
        plots.plot_parameters(folder / "parameters.png"),
        Folded("All models: losses, accuracies and gaps", [Table(("model", *columns), rows), prose("gaps")]),
    ]


def curve_blocks(study: Study, folder: Path, compare: Sequence[str]) -> list[Block]:
    if not study.models:
        return []
    blocks: list[Block] = [Heading("Loss and accuracy over the epochs")]
    for key, label in (("loss", "loss (nats)"), ("accuracy", "accuracy (%)")):
        blocks.append(plots.plot_all_curves(folder / f"all_{key}.png", study, key, label))
    blocks.append(Text("Lines are means over the seeds; bands reach from the least to the greatest of them."))
    chosen = [group for name in compare or COMPARED if (group := study.group(name))]
    if chosen:
        heading = f"Side by side: {', '.join(group.model for group in chosen)}"
        blocks += [Heading(heading, 3), plots.plot_overlay(folder / "compare.png", study, chosen)]
    return blocks


def calibration_blocks(study: Study, folder: Path) -> list[Block]:
    """Show why the validation loss climbs where it does: first the model that the study puzzled over, then by climb."""
    climbing = [group for group in study.models if is_climbing(group)]
    climbing.sort(key=lambda group: (group.model != "Q1_11", -group.loss_climb.mean))
    if not climbing:
        return []
    shown = climbing[:CALIBRATION_PANELS]
    return [
        Heading("Where the test loss climbs: confidence and accuracy"),
        Text(climbing_text(study.models)),
        plots.plot_calibration(folder / "calibration.png", study, shown),
        prose("calibration"),
        Text(items=tuple(overconfidence_text(group) for group in shown)),
    ]


def shuffle_blocks(study: Study, folder: Path) -> list[Block]:
    """Compare the published shuffles, a section for each model that has runs with several of them."""
    blocks: list[Block] = []
    for model in dict.fromkeys(model for model, _ in study.groups):
        groups = [group for shuffle in PUBLISHED_SHUFFLES if (group := study.group(model, shuffle))]
        if len(groups) > 1:
            figure = plots.plot_shuffles(folder / f"shuffles_{model}.png", study, groups)
            told = plots.pick_group_classes(groups[0])[1]
            summary = f"{model} by class and shuffle" + f": {told}" * bool(told)
            table = Folded(summary, [shuffle_table(study, groups)])
            blocks += [Heading(f"{model} by pixel shuffle", 3), figure, table]
    if not blocks:
        return []
    samples = sample_blocks(study, folder / "samples.png")
    return [Heading("What shuffling the pixels costs"), prose("shuffles"), *blocks, *samples]


def shuffle_table(study: Study, groups: Sequence[SeedGroup]) -> Table:
    plain = next((group for group in groups if group.shuffle == "none"), None)
    shuffled = [group for group in groups if plain and group is not plain]
    columns = [f"{group.shuffle} (n = {len(group.runs)})" for group in groups]
    columns += [f"{group.shuffle} less none" for group in shuffled]
    rows: list[Row] = []
    for name in ("all classes", *plots.pick_group_classes(groups[0])[0]):
        column = "val_accuracy" if name == "all classes" else f"val_accuracy_of_{name}"
        row: Row = [name, *(accuracy_cell(group.values(column)) for group in groups)]
        rows.append(row + [diff_cell(study.difference(group, plain, column)) for group in shuffled if plain])
    return Table(("accuracy (%)", *columns), rows)


def sample_blocks(study: Study, path: Path) -> list[Block]:
    """Show one run's picture of samples for each shuffle; where the runs have none, the one that is at ``path``."""
    pictures = []
    for shuffle in PUBLISHED_SHUFFLES[1:]:
        runs = [run for run in study.runs if run.config.shuffle == shuffle]
        pictures += [picture for run in runs if os.path.lexists(picture := run.folder / files.SAMPLES)][:1]
    alt = "An image of each class before and after the shuffles"
    try:
        if pictures:
            figure = plots.plot_samples(path, alt, pictures)
        elif os.path.lexists(path):
            figure = plots.read_picture(path, alt)
        else:
            return []
    except Exception as error:
        study.notes.append(f"{files.SAMPLES} can't be shown: {one_line(error)}")
        return []
    return [Heading("What the network sees", 3), figure]


def rest_blocks(study: Study) -> list[Block]:
    blocks: list[Block] = []
    if study.others:
        columns = [name for name in MODEL_COLUMNS if name not in (*SIZES, TEST)]
        rows: list[Row] = []
        for group in study.others:
            cells = [MODEL_COLUMNS[name](group) for name in columns]
            rows.append([group.model, group.shuffle, settings_text(group.settings), *cells])
        table = Table(("model", "shuffle", "settings", *columns), rows)
        blocks += [Heading("Runs of other settings"), Folded("Their losses, accuracies and gaps", [table])]
    if study.unfinished:
        items = [f"{run.config.run_name}: {len(run.history)} of {run.config.epochs} epochs" for run in study.unfinished]
        blocks += [Heading("Not finished, and not in any figure"), Text(items=tuple(items))]
    if study.notes:
        blocks += [Heading("Left out"), Text(items=tuple(study.notes))]
    return blocks


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    path: Path  # of report.html
    study: Study

    @property
    def notes(self) -> list[str]:
        return self.study.notes

    @property
    def summary(self) -> str:
        return f"report on {len(self.study.runs)} runs: {self.path}, {self.path.with_suffix('.md')}"


def write(results: Path, compare: Sequence[str] = ()) -> Written:
    """Write the report on ``results``, and their gallery. Raises RunnerError without runs, or one of ``compare``."""
    study = read_study(results)
    try:
        compare = [model.name for names in compare for model in models.select(names)]
    except models.UnknownModel as error:
        raise UsageError(str(error)) from None
    for name in compare:
        if not study.group(name):
            there = ", ".join(group.model for group in study.models)
            raise UsageError(f"--compare {name}: there is no run of it, but of {there}")

    # The gallery first: the report names what was left out of either.
    folder = study.folder / FIGURES
    files.require_inside(folder, study.folder)
    files.make_folder(folder)
    gallery_blocks = gallery.compose(study, folder) if study.is_cifar10 else []
    if gallery_blocks:
        write_page(gallery_blocks, study.folder, "gallery")

    # The report.
    command = ["python", "-m", "report", str(study.folder), *(["--compare", *compare] if compare else [])]
    checked = claims.check_claims(study)
    blocks = [
        *opening_blocks(study, folder, checked),
        *([Link("What the networks look at: the gallery", "gallery")] if gallery_blocks else []),
        *claim_blocks(checked, folder),
        *data_blocks(study, quote(command)),
        *model_blocks(study, folder),
        *curve_blocks(study, folder, compare),
        *calibration_blocks(study, folder),
        *shuffle_blocks(study, folder),
        *other_blocks(study, folder),
        *rest_blocks(study),
    ]
    return Written(write_page(blocks, study.folder, "report"), study)
