"""Reports on many runs: ``python report.py [RESULTS]`` writes ``report.html``, ``report.md`` and their figures.

``report.html`` is one file with everything in it, which asks for nothing else. Both say the same: a report is one list
of headings, paragraphs, tables and figures, and is written out twice.
"""

from __future__ import annotations

import argparse
import sys

COMPARED = ("Q1_1", "Q1_11", "Q1_19")  # in the overlay, where nothing else is asked for


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="report.py",
        description="Compares all runs in a folder of results, and decides which published claims hold.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "results",
        nargs="?",
        default="results",
        metavar="RESULTS",
        help="folder of results, or of one data set in it (default: results)",
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=(),
        metavar="MODEL",
        help=f"models to show side by side (default: {' '.join(COMPARED)})",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write event files for TensorBoard, too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    OPTIONS = parse()  # -h and mistakes are answered before the slow imports

import math
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import claims
import figures
import gallery
import models
from outcomes import Group, NoRuns, Study, in_words, read
from pages import (
    Block,
    Cell,
    Code,
    Figure,
    Heading,
    Link,
    Table,
    Text,
    accuracies,
    apart,
    count,
    number,
    spread,
    to_html,
    to_markdown,
)
from runner import files
from runner.config import PUBLISHED_SHUFFLES
from runner.errors import RunnerError, UsageError, one_line

FOLDER = "report"  # of the figures
CALIBRATION_PANELS = 5
LINK = (Link("What the networks look at: the gallery", "gallery"),)


# ---- what the report says -------------------------------------------------------------------------------------------


def listed(values: Sequence[str]) -> str:
    """Different values with how often each comes, the most frequent first."""
    counts = Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} ({n} runs)" for value, n in counts)


def head(study: Study, command: str) -> list[Block]:
    runs = study.runs
    example = runs[0].config
    recipe = f"SGD, batches of {example.batch_size}, learning rate {example.lr:g}, momentum {example.momentum:g}"
    told = {"epochs", "batch-size", "lr", "momentum", "val"}
    others = "".join(f", {name} {value}" for name, value in study.settings if name not in told)
    validated_on = "the test images" if example.val == "test" else "images held out from training"
    shuffled = sum(run.config.shuffle != "none" for run in runs)
    facts = (
        f"Data: {study.data['name']}" + ("" if study.is_cifar10 else " (this is not CIFAR-10)"),
        f"Recipe: {recipe}, {example.epochs} epochs{others}; validation on {validated_on}",
        f"Runs: {len(runs)} of {len(study.models)} models, {shuffled} of them with shuffled pixels",
        f"Processor: {listed([run.machine['device_name'] for run in runs])}; "
        f"threads: {listed([run.machine['threads'] for run in runs])}; "
        f"PyTorch {listed([run.machine['torch'] for run in runs])}",
        f"Code: commit {listed([run.machine['git_commit'][:9] + run.machine['git_commit'][40:] for run in runs])}",
    )
    return [
        Heading(f"Small networks on {study.data['name']}", 1),
        Text(items=facts),
        Text(
            "Every figure is that of the last epoch, which nobody chose by looking at the test images. Of several "
            "seeds it is the mean ± the standard deviation, with the mean's 95 % interval in brackets (Student's t)."
        ),
        Code(command),
    ]


def claim_blocks(study: Study) -> list[Block]:
    judged = claims.judge(study)
    tally = Counter(claim.verdict for claim in judged)
    rows = []
    for claim in judged:
        why = "\n".join(
            (f"{part.statement}: {part.verdict}. " if len(claim.parts) > 1 and part.statement else "") + part.reason
            for part in claim.parts
        )
        rows.append([claim.key, claim.published, claim.measured, claim.verdict, why])
    return [
        Heading("Which published claims hold?"),
        Text(
            f"Of {len(judged)} claims {tally[claims.HOLDS]} hold, {tally[claims.FAILS]} do not hold, and "
            f"{tally[claims.OPEN]} are not decided."
        ),
        Table(("claim", "published", "measured", "verdict", "why"), rows, sortable=False),
        Text("The rules:"),
        Text(items=claims.RULES),
    ]


def model_row(group: Group, held_out: bool = False) -> list[str | Cell]:
    """A row of the table of models; with ``held_out`` the test accuracy besides, which is then another figure."""
    last = {column: list(group.at(column).values()) for column in ("train_loss", "val_loss")}
    last |= {column: list(group.at(column).values()) for column in ("train_accuracy", "val_accuracy")}
    losses = [val - train for train, val in zip(last["train_loss"], last["val_loss"])]
    seconds = [sum(row["seconds"] for row in run.history) / len(run.history) for run in group.runs.values()]
    return [
        group.model,
        count(group.any.parameters),
        count(group.any.macs),
        count(len(group.runs)),
        spread(last["train_loss"], ".3f"),
        accuracies(last["train_accuracy"]),
        spread(last["val_loss"], ".3f"),
        accuracies(last["val_accuracy"]),
        *([accuracies(run.test for run in group.runs.values())] if held_out else []),
        spread(group.gap.values()),
        spread(losses, ".3f"),
        number(sum(seconds) / len(seconds), 0),
    ]


MODEL_COLUMNS = (
    "model", "parameters", "multiply–accumulates", "runs", "training loss", "training accuracy (%)", "validation loss",
    "validation accuracy (%)", "gap (points)", "gap (nats)", "s/epoch",
)  # fmt: skip
TEST_COLUMN = MODEL_COLUMNS.index("gap (points)")


def model_blocks(study: Study, folder: Path) -> list[Block]:
    parameters = folder / "parameters.png"
    figures.plot_parameters(parameters)
    held_out = any(run.config.val == "holdout" for run in study.runs)
    columns = list(MODEL_COLUMNS)
    columns[TEST_COLUMN:TEST_COLUMN] = ["test accuracy (%)"] * held_out
    table = Table(tuple(columns), [model_row(group, held_out) for group in study.models])
    blocks: list[Block] = [
        Heading("The models"),
        Figure(parameters, "Bar chart of the trainable parameters of every model"),
        table,
        Text(
            "The gap is training less validation accuracy, and validation less training loss; training figures are the "
            "mean over the last epoch, each image before its own step and with dropout where there is any. Seconds are "
            "those of training, on a machine that did other things too: compare them within a report only."
        ),
    ]
    if study.models:
        path = folder / "accuracy_parameters.png"
        figures.plot_accuracy_against_parameters(path, study)
        on_frontier = ", ".join(group.model for group in figures.frontier(study.models))
        blocks += [
            Figure(path, "Validation accuracy of each model against its parameters"),
            Text(f"On the frontier, where no model with as few parameters is better: {on_frontier}."),
        ]
    return blocks


def curve_blocks(study: Study, folder: Path, compare: Sequence[str]) -> list[Block]:
    if not study.models:
        return []
    blocks: list[Block] = [Heading("Loss and accuracy over the epochs")]
    for key, label in (("loss", "loss (nats)"), ("accuracy", "accuracy (%)")):
        path = folder / f"all_{key}.png"
        figures.plot_all_curves(path, study, key, label)
        blocks.append(Figure(path, f"{label} over the epochs, a panel for each model, with common axes"))
    blocks.append(Text("Lines are means over the seeds; bands reach from the least to the greatest of them."))
    chosen = [group for name in compare or COMPARED if (group := study.group(name))]
    if chosen:
        path = folder / "compare.png"
        figures.plot_overlay(path, study, chosen)
        names = ", ".join(group.model for group in chosen)
        blocks += [Heading(f"Side by side: {names}", 3), Figure(path, f"Loss and accuracy of {names} over the epochs")]
    return blocks


def calibration_blocks(study: Study, folder: Path) -> list[Block]:
    """Why the validation loss climbs where it does: first the model that the study puzzled over, then by the climb."""
    climbing = [
        group for group in study.models if (turned := claims.turn(group))[0] < group.epochs and turned[1].mean > 0
    ]
    climbing.sort(key=lambda group: (group.model != "Q1_11", -claims.turn(group)[1].mean))
    if not climbing:
        return []
    shown = climbing[:CALIBRATION_PANELS]
    path = folder / "calibration.png"
    figures.plot_calibration(path, study, shown)
    return [
        Heading("Why the test loss climbs: over-confidence"),
        Figure(path, "Validation loss, accuracy and mean confidence over the epochs of the models whose loss climbs"),
        Text(items=tuple(claims.overconfidence(group) for group in shown)),
        Text(
            "Confidence is the mean probability that the network gives to the class it picks. A calibrated network is "
            "as often right as it is confident. Cross-entropy charges a mistake by how sure it was, so it climbs when "
            "confidence outgrows accuracy, even where not one more image is misjudged (Guo et al., 2017, “On "
            "Calibration of Modern Neural Networks”). The loss climbs by more than "
            f"{claims.CLIMB_NATS:g} nats in {len(climbing)} of {len(study.models)} models."
        ),
    ]


def shuffle_blocks(study: Study, folder: Path) -> list[Block]:
    blocks: list[Block] = []
    for model in dict.fromkeys(model for model, _ in study.groups):
        groups = [group for shuffle in PUBLISHED_SHUFFLES if (group := study.group(model, shuffle))]
        if len(groups) < 2:
            continue
        path = folder / f"shuffles_{model}.png"
        figures.plot_shuffles(path, study, groups)
        blocks += [
            Heading(f"{model} by pixel shuffle", 3),
            Figure(path, f"Accuracy of {model} with each pixel shuffle: over the epochs, and of each class"),
            shuffle_table(study, groups),
        ]
    if not blocks:
        return []
    pictures = []
    for shuffle in PUBLISHED_SHUFFLES[1:]:
        runs = [run for run in study.runs if run.config.shuffle == shuffle]
        pictures += [path for run in runs if (path := run.folder / "samples.png").exists()][:1]
    if pictures:
        try:
            figures.plot_samples(folder / "samples.png", pictures)
        except Exception as error:
            study.notes.append(f"the runs' samples.png can't be shown: {one_line(error)}")
    if (folder / "samples.png").exists():
        blocks += [
            Heading("What the network sees", 3),
            Figure(folder / "samples.png", "An image of each class before and after the shuffles"),
        ]
    about = Text(
        "Differences are to the run without a shuffle, in points, with their 95 % intervals: paired by seed where both "
        "have two seeds in common."
    )
    return [Heading("What shuffling the pixels costs"), about, *blocks]


def shuffle_table(study: Study, groups: Sequence[Group]) -> Table:
    plain = next((group for group in groups if group.shuffle == "none"), None)
    shuffled = [group for group in groups if group is not plain]
    columns = ["accuracy (%)", *(f"{group.shuffle} (n = {len(group.runs)})" for group in groups)]
    if plain:
        columns += [f"{group.shuffle} less none" for group in shuffled]
    rows: list[list[str | Cell]] = []
    for name, column in [
        ("all classes", "val_accuracy"),
        *((name, f"val_accuracy_of_{name}") for name in study.data["classes"]),
    ]:
        row: list[str | Cell] = [name, *(accuracies(group.at(column).values()) for group in groups)]
        if plain:
            row += [apart(study.difference(group, plain, column)) for group in shuffled]
        rows.append(row)
    return Table(tuple(columns), rows)


def rest_blocks(study: Study) -> list[Block]:
    blocks: list[Block] = []
    if study.others:
        rows = [[group.model, group.shuffle, in_words(group.settings), *model_row(group)[3:]] for group in study.others]
        columns = ("model", "shuffle", "settings", *MODEL_COLUMNS[3:])
        blocks += [Heading("Runs of other settings"), Table(columns, rows)]
    if study.unfinished:
        items = tuple(
            f"{run.config.run_name}: {len(run.history)} of {run.config.epochs} epochs" for run in study.unfinished
        )
        blocks += [Heading("Not finished, and not in any figure"), Text(items=items)]
    if study.notes:
        blocks += [Heading("Left out"), Text(items=tuple(study.notes))]
    return blocks


def compose(study: Study, folder: Path, compare: Sequence[str], command: str, more: Sequence[Block]) -> list[Block]:
    """The report on ``study``, with its figures written to ``folder``; ``more`` follows its head."""
    return [
        *head(study, command),
        *more,
        *claim_blocks(study),
        *model_blocks(study, folder),
        *curve_blocks(study, folder, compare),
        *calibration_blocks(study, folder),
        *shuffle_blocks(study, folder),
        *rest_blocks(study),
    ]


# ---- files -----------------------------------------------------------------------------------------------------------


def write_events(study: Study, say: Callable[[str], None]) -> None:
    """Writes the history of every run as TensorBoard's event files, in place of those that are there.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    folder = study.folder / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    groups = [*study.groups.values(), *study.others]
    for run in [*(run for group in groups for run in group.runs.values()), *study.unfinished]:
        with SummaryWriter(folder / run.config.model_name / run.folder.name) as writer:
            for row in run.history:
                for column, value in row.items():
                    part, _, name = column.partition("_")
                    if part in ("train", "val") and not math.isnan(value):
                        writer.add_scalar(f"{name}/{part}", value, int(row["epoch"]))
    say(f"event files for TensorBoard: tensorboard --logdir {shlex.quote(str(folder))}")


def write(
    results: Path, compare: Sequence[str] = (), tensorboard: bool = False, say: Callable[[str], None] = print
) -> Path:
    """Writes the report on the runs in ``results`` into the folder of their data set, and returns ``report.html``.

    Args:
        results: a folder of results, or that of one data set in it.
        compare: models of the overlay.
        tensorboard: write event files, too.

    Raises:
        RunnerError: there is no finished run.
        UsageError: a model to compare has no run, or TensorBoard is not installed.
        OSError: it can't be written.
    """
    try:
        study = read(results)
    except NoRuns as error:
        raise RunnerError(str(error)) from None
    compare = [model.name for names in compare for model in models.select(names)]
    for name in compare:
        if not study.group(name):
            there = ", ".join(group.model for group in study.models)
            raise UsageError(f"--compare {name}: there is no run of it, but of {there}")
    folder = study.folder
    command = ["python", "report.py", str(folder), *(["--compare", *compare] if compare else [])]
    files.make_folder(folder / FOLDER)
    shown = gallery.compose(study, folder / FOLDER) if study.is_cifar10 else []
    blocks = compose(study, folder / FOLDER, compare, shlex.join(command), LINK if shown else ())
    for name, page in (("gallery", shown), ("report", blocks)):
        if page:
            files.write_file(folder / f"{name}.md", to_markdown(page, folder))
            files.write_file(folder / f"{name}.html", to_html(page))
    for note in study.notes:
        say(note)
    if tensorboard:
        write_events(study, say)
    say(f"report on {len(study.runs)} runs: {folder / 'report.html'}, {folder / 'report.md'}")
    return folder / "report.html"


def main(options: argparse.Namespace) -> int:
    try:
        write(Path(options.results), options.compare, options.tensorboard)
    except (RunnerError, models.UnknownModel, OSError) as error:
        print(f"report.py: error: {one_line(error) if isinstance(error, OSError) else error}", file=sys.stderr)
        return getattr(error, "exit_code", 2 if isinstance(error, models.UnknownModel) else 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(OPTIONS))
