"""What a report shows of groups of runs that are compared: the answer, a picture, a table, curves, classes."""

import itertools
import math
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from report import plots, stats
from report.calibration import climbing_text, is_climbing, overconfidence_text
from report.compare import (
    ACCURACY,
    HIGHER,
    LOWER,
    OPEN,
    Comparison,
    Section,
    bundles,
    inseparable,
    is_number,
    part,
    rest_key,
    setting_text,
    value_of,
    value_text,
    values_key,
)  # fmt: skip
from report.page import Block, Figure, Folded, Heading, Row, Table, Text, prose
from report.results import IMAGE_POINTS, RunResult, SeedGroup, estimate_difference, find_frontier
from report.text import (
    Cell,
    accuracy_cell,
    accuracy_text,
    count_cell,
    diff_cell,
    interval_text,
    join_names,
    loss_cell,
    mean_cell,
    number_cell,
    points_text,
)  # fmt: skip
from runner import files
from runner.config import PUBLISHED_SHUFFLES
from runner.errors import counted, one_line

MOST_LINES = 7  # in one pair of axes: as many as there are colours
MOST_DOTS = 40  # in a dot plot
MIN_SIZES = 3  # different ones of networks, for a plot of accuracy against parameters
MOST_MAPS = 4
MOST_BARS = 4  # of a class
MOST_SIDE_BY_SIDE = 6  # figures of classes
MOST_NAMED = 5  # groups in a sentence
FILLED = 0.5  # of a heat map, more than that
CALIBRATION_PANELS = 6

Notes = list[str]


def data_name(section: Section) -> str:
    return plots.data_name(section.groups[0].example.data)


# ---- the answer ------------------------------------------------------------------------------------------------------


def compared_text(section: Section) -> str:
    """Say what is compared, e.g. ``lr (0.001, 0.01): 2 settings, 6 runs. In common: Q1_1, recipe classic.``"""
    told = []
    for name in section.settings:
        values = [*dict.fromkeys(value_text(value_of(group, name)) for group in section.groups)]
        if is_number(name):
            values.sort(key=float)
        shown = values if len(values) <= 2 * MOST_NAMED else [*values[:MOST_NAMED], "…", values[-1]]
        told.append(f"{name} ({', '.join(shown)})")
    n = len(section.groups)
    return f"{join_names(told)}: {n} settings, {counted(section.runs, 'run')}. In common: {section.common}."


def answer_texts(section: Section) -> list[str]:
    """Say what was compared, which is best, by how much, whether that is decided, and what would decide it."""
    best = section.best
    accuracy = accuracy_text(best.mean(ACCURACY))
    if len(section.groups) == 1:
        n = counted(section.runs, "run")
        alone = f"{section.common}: {accuracy} after the last epoch, {n}; there is nothing to compare it with."
        return [alone]
    return [
        compared_text(section),
        f"Best: {section.label(best)}: {accuracy}. {lead_text(section)}",
        *baseline_texts(section),
        *inseparable_texts(section.groups),
        *brought_texts(section),
    ]


def lead_text(section: Section) -> str:
    """Say by how much the best is ahead of the next, whether that is decided, and how many runs would decide it."""
    versus_best = section.against_best
    lead = versus_best.comparisons[id(section.ranked[1])]
    ahead = stats.scale(lead.difference, -1)
    open_ones = [group for group in section.ranked[1:] if versus_best.comparisons[id(group)].verdict != LOWER]
    text = f"It is {interval_text(ahead, '.1f', ' points')} ahead of the next, {section.label(lead.group)}: "
    decided = "decided" if lead.verdict == LOWER else "not decided"
    if math.isnan(lead.p):
        return f"{text}not decided. With one run each nothing tells how far seeds differ; --seeds 0-2 would."
    text += f"{decided}{corrected_text(versus_best)}."
    if not open_ones:
        return text
    if len(section.groups) > 2:
        named = [section.label(group) for group in open_ones[:MOST_NAMED]]
        more = [f"{len(open_ones) - MOST_NAMED} more"] * (len(open_ones) > MOST_NAMED)
        text += f" {len(open_ones)} of {len(section.groups) - 1} can't be told from it: {'; '.join(named + more)}."
    return f"{text} {needed_text(versus_best, versus_best.comparisons[id(open_ones[0])])}"


def corrected_text(section: Section) -> str:
    """Say what p values are corrected for; empty where it is a single comparison."""
    n = len(section.groups)
    if n < 3:
        return ""
    return (
        f", corrected for {n - 1:,} comparisons" if section.baseline else f", corrected for picking the best of {n:,}"
    )


def needed_text(section: Section, lead: Comparison) -> str:
    """Say how many more runs of each would decide a comparison."""
    groups = section.baseline or section.best, lead.group
    n = min(len(group.values(ACCURACY)) for group in groups)
    # What is drawn anew in each: seeds, or permutations where there are several.
    what = "shuffle seeds" if max(group.permutations for group in groups) > 1 else "runs"
    needed = stats.seeds_to_decide(lead.difference.mean, lead.difference.sd, critical=section.critical_t)
    if needed is None:
        return f"More than {stats.MOST_SEEDS:,} {what} of each would be needed to decide it."
    needed = max(needed, n + 1)
    more = f"{needed - n:,} more {what if needed > n + 1 else what[:-1]}"
    decide_it = "decide it" if lead.group is section.ranked[1] else f"tell {section.label(lead.group)} from it"
    return f"About {more} of each, {needed:,} in all, would {decide_it}."


def baseline_texts(section: Section) -> list[str]:
    """Say what is decidedly better or worse than the baseline that was asked for."""
    if not section.baseline:
        return []
    by_verdict = {
        verdict: [each for each in section.comparisons.values() if each.verdict == verdict]
        for verdict in (HIGHER, LOWER)
    }
    told = []
    for verdict, found in by_verdict.items():
        named = [f"{section.label(each.group)} ({points_text(each.difference)})" for each in found[:MOST_NAMED]]
        more = [f"{len(found) - MOST_NAMED} more"] * (len(found) > MOST_NAMED)
        told += [f"{verdict} {'; '.join(named + more)}"] if found else []
    left = len(section.comparisons) - sum(map(len, by_verdict.values()))
    told += [f"not decided: {left}"] * (left > 0)
    return [f"Against {section.label(section.baseline)}{corrected_text(section)}: {'. '.join(told)}."]


def inseparable_texts(groups: Sequence[SeedGroup]) -> list[str]:
    """Say in one sentence which settings never vary alone, those apart that have nothing to do with each other."""
    together: list[list[str]] = []
    for name, partners in inseparable(groups):
        linked = [names for names in together if {name, *partners} & {*names}]
        together = [names for names in together if names not in linked]
        together.append([*dict.fromkeys([*itertools.chain(*linked), name, *partners])])
    if not together:
        return []
    told = [f"{join_names(names)} never differ{'s' * (len(names) == 1)} alone" for names in together]
    return ["; ".join(told) + ": they can't be told apart."]


def brought_texts(section: Section) -> list[str]:
    """Say of what varies with the settings that were asked for: rates of the recipe, and images to validate on."""
    told = []
    for name in section.implied:
        values = sorted({value_of(group, name) for group in section.groups})
        told.append(
            f"{name}, as the recipe sets it, differs with {join_names(section.settings)} "
            f"({', '.join(map(value_text, values))}): they can't be told apart."
        )
    if "limit" in section.settings:
        images = sorted({run.images for group in section.groups for run in group.runs.values()})
        told.append(
            f"--limit shortens the validation images too, to {join_names([f'{n:,}' for n in images])} here; "
            "--train-fraction takes away training images alone."
        )
    return told


# ---- the picture -----------------------------------------------------------------------------------------------------


def picture(section: Section, folder: Path, stem: str) -> Figure | None:
    """Plot accuracy by what varies; nothing where nothing does."""
    groups = section.groups
    if len(groups) < 2:
        return None
    together = bundles(groups)
    numbers, names = [name for name in together if is_number(name)], [name for name in together if not is_number(name)]
    path, title = folder / f"{stem}.png", f"{section.title} on {data_name(section)}"
    by_names = part(groups, values_key(names))

    def label_names(group: SeedGroup) -> str:
        return ", ".join(setting_text(name, value_of(group, name)) for name in names)

    sizes_of_models = {group.example.parameters for group in groups}
    if names == ["model"] and not numbers and len(sizes_of_models) >= MIN_SIZES:
        return plots.plot_accuracy_against_parameters(path, title, groups, section.label)
    if len(numbers) == 1 and len(by_names) <= MOST_LINES and len(by_names) < len(groups):
        lines = {
            label_names(line[0]): [(value_of(group, numbers[0]), group.mean(ACCURACY)) for group in line]
            for line in (sorted(line, key=lambda group: value_of(group, numbers[0])) for line in by_names)
        }
        others = [f" (and {join_names(together[numbers[0]])} with it)"] * bool(together[numbers[0]])
        return plots.plot_lines(path, title, "".join([numbers[0], *others]), lines)
    if len(numbers) == 2 and len(by_names) <= MOST_MAPS:
        y, x = numbers
        unclear = {key for key, each in section.against_best.comparisons.items() if each.verdict == OPEN}
        maps = {
            label_names(of_map[0]): {
                (value_of(group, y), value_of(group, x)): (group.mean(ACCURACY).mean, id(group) in unclear)
                for group in of_map
            }
            for of_map in by_names
        }
        sizes = [len({pair[i] for of_map in maps.values() for pair in of_map}) for i in (0, 1)]
        if len(groups) > FILLED * math.prod(sizes) * len(maps) and min(sizes) > 1:
            return plots.plot_heat_maps(path, title, (y, x), maps)
    shown = section.ranked[:MOST_DOTS]
    reference = section.baseline or section.best
    shown += [reference] if reference not in shown else []
    accuracies = {section.label(group): group.mean(ACCURACY) for group in shown}
    is_baseline = "the baseline" if section.baseline else "the best"
    return plots.plot_dots(path, title, accuracies, section.label(reference), is_baseline)


def model_picture(section: Section, folder: Path, stem: str) -> list[Block]:
    """Plot the best settings of each model against its parameters, where the first picture is another."""
    best = {group.model: group for group in reversed(section.ranked)}
    if section.settings == ["model"] or len({group.example.parameters for group in best.values()}) < MIN_SIZES:
        return []
    title = f"Models at their best on {data_name(section)}"
    path = folder / f"{stem}_parameters.png"
    figure = plots.plot_accuracy_against_parameters(path, title, [*best.values()], lambda group: group.model)
    return [Heading("Parameters and accuracy", 3), figure, Text("Each model with the best of its settings.")]


# ---- the table -------------------------------------------------------------------------------------------------------


def _gap(group: SeedGroup, larger: str, smaller: str, form: str) -> Cell:
    return mean_cell([a - b for a, b in zip(group.values(larger), group.values(smaller))], form)


def _seconds_per_epoch(group: SeedGroup) -> Cell:
    of_runs = [statistics.fmean(row["seconds"] for row in run.history) for run in group.runs.values()]
    seconds = statistics.fmean(of_runs)
    return number_cell(seconds, 0 if seconds >= 10 else 1 if seconds >= 1 else 2)


TEST = "test accuracy (%)"  # columns: where it is not the validation accuracy; where runs may end early
ENDED = "epochs trained"
MODEL_COLUMNS: dict[str, Callable[[SeedGroup], Cell]] = {
    "validation accuracy (%)": lambda group: accuracy_cell(group.values("val_accuracy")),
    TEST: lambda group: accuracy_cell(run.test for run in group.runs.values()),
    "runs": lambda group: count_cell(len(group.runs)),
    ENDED: lambda group: number_cell(statistics.fmean(len(run.history) for run in group.runs.values()), 1),
    "parameters": lambda group: count_cell(group.example.parameters),
    "multiply–accumulates": lambda group: count_cell(group.example.macs),
    "training accuracy (%)": lambda group: accuracy_cell(group.values("train_accuracy")),
    "validation loss": lambda group: loss_cell(group.values("val_loss")),
    "training loss": lambda group: loss_cell(group.values("train_loss")),
    "gap (points)": lambda group: _gap(group, "train_accuracy", "val_accuracy", ".1f"),
    "gap (nats)": lambda group: _gap(group, "val_loss", "train_loss", ".3f"),
    "s/epoch": _seconds_per_epoch,
}


def shown_columns(groups: Sequence[SeedGroup]) -> list[str]:
    """List the columns of a table: all, but those that say nothing about these groups."""
    configs = [group.example.config for group in groups]
    says_something = {TEST: any(c.val == "holdout" for c in configs), ENDED: any(c.patience for c in configs)}
    return [name for name in MODEL_COLUMNS if says_something.get(name, True)]


def section_table(section: Section) -> Table:
    """Make a row for each group, the best first: what it is, how accurate, and how that differs."""
    reference = section.baseline or section.best
    # One name says itself what it is; of several settings, and of numbers, each has a column to sort by.
    own = section.settings if len(section.settings) > 1 or section.numbers else []
    own = [*own, *section.implied]
    columns, rows = shown_columns(section.groups), list[Row]()
    for group in section.ranked:
        accuracy, *cells = (MODEL_COLUMNS[name](group) for name in columns)
        compared = section.comparisons.get(id(group))
        differs: Row = ["", "", ""]
        if compared:
            p = Cell("" if math.isnan(compared.p) else f"{compared.p:.3f}".replace("0.000", "< 0.001"), compared.p)
            differs = [diff_cell(compared.difference), p, compared.verdict]
        values: Row = []
        for name in own:
            value = value_of(group, name)
            values.append(Cell(value_text(value), value) if is_number(name) else str(value))
        rows.append([section.label(group), accuracy, *differs, *values, *cells])
    first = "settings" if len(section.settings) > 1 else [*section.settings, "model"][0]
    than = section.label(reference) if section.baseline else "the best"
    differences = [f"difference from {than} (points)", "p, corrected", "verdict"]
    if len(section.groups) == 1:
        rows = [[row[0], row[1], *row[5:]] for row in rows]
        differences = []
    return Table((first, columns[0], *differences, *own, *columns[1:]), rows)


# ---- curves, classes, calibration ------------------------------------------------------------------------------------


def chosen_groups(section: Section, compare: Sequence[str], most: int) -> list[SeedGroup]:
    """Choose the groups that are shown together: the best of each model asked for, else all, or of many the best."""
    asked = part([group for group in section.ranked if group.model in compare], lambda group: group.model)
    if asked:
        in_turn = [group for each in itertools.zip_longest(*asked) for group in each if group]
        chosen = in_turn[: max(most, min(len(compare), MOST_LINES))]
        return sorted(chosen, key=lambda group: (compare.index(group.model), section.groups.index(group)))
    if len(section.groups) <= most:
        return section.groups
    best = section.ranked[:most]
    baseline = section.baseline
    return best if not baseline or baseline in best else [*best[:-1], baseline]


def have_several(groups: Sequence[SeedGroup]) -> bool:
    """Tell whether any setting has several runs, so that it has a mean, a range and intervals."""
    return any(len(group.runs) > 1 for group in groups)


def lines_blocks(groups: Sequence[SeedGroup]) -> list[Block]:
    """Say what lines over the epochs are; nothing where each is a run, which needs no word."""
    return [Text("Lines are means over the seeds; bands show the range over seeds.")] * have_several(groups)


def curve_blocks(section: Section, folder: Path, stem: str, compare: Sequence[str]) -> list[Block]:
    groups = chosen_groups(section, compare, MOST_LINES)
    if all(group.epochs == 1 for group in groups):
        return []
    heading = "Loss and accuracy over the epochs"
    if len(groups) < len(section.groups):
        heading += f": {'; '.join(map(section.label, groups))}" if compare else f": the best {len(groups)}"
    title = f"{section.title} on {data_name(section)}"
    figure = plots.plot_overlay(folder / f"{stem}_curves.png", title, groups, section.label)
    return [Heading(heading, 3), figure, *lines_blocks(groups)]


def class_blocks(section: Section, folder: Path, stem: str, compare: Sequence[str]) -> list[Block]:
    """Show groups side by side by class: those asked for, shuffles of one network where they vary, or a few groups."""
    by_shuffle = part(section.groups, rest_key(section.settings, ["shuffle"])) if "shuffle" in section.settings else []
    chosen = chosen_groups(section, compare, MOST_BARS)
    sets = [] if by_shuffle and not (compare and len({group.model for group in chosen}) > 1) else [chosen]
    sets += [each[:MOST_BARS] for each in by_shuffle if len(each) > 1][:MOST_SIDE_BY_SIDE]
    blocks: list[Block] = []
    for number, groups in enumerate(sets, 1):
        if len(groups) < 2:
            continue
        alike = Section(groups)
        reference = next((group for group in groups if group.shuffle == "none" and "shuffle" in alike.settings), None)
        reference = reference or (section.baseline if section.baseline in groups else None)
        reference = reference or next(group for group in section.ranked if group in groups)
        title = f"{alike.common}: {alike.title}" if "shuffle" in alike.settings else f"{alike.title} side by side"
        path = folder / f"{stem}_classes_{number}.png"
        blocks += [Heading(f"By class: {title}", 3), *side_by_side_blocks(path, title, groups, reference, alike.label)]
    return blocks and [*blocks, *([prose("classes")] if have_several(section.groups) else [])]


def side_by_side_blocks(
    path: Path, title: str, groups: Sequence[SeedGroup], reference: SeedGroup, label_of: plots.Labels
) -> list[Block]:
    """Show a few groups by class, in a figure and in a table with their differences from one of them."""
    figure = plots.plot_side_by_side(path, title, groups, label_of)
    classes, told = plots.pick_group_classes(groups[0])
    pooled = {"val_accuracy": stats.pool_sd([group.values("val_accuracy") for group in groups])}
    others = [group for group in groups if group is not reference]
    columns = [f"{label_of(group)} (n = {len(group.runs)})" for group in groups]
    columns += [f"{label_of(group)} − {label_of(reference)}" for group in others]
    rows: list[Row] = []
    for name in ("all classes", *classes):
        column = "val_accuracy" if name == "all classes" else f"val_accuracy_of_{name}"
        pooled[column] = stats.pool_sd([group.values(column) for group in groups])
        row: Row = [name, *(accuracy_cell(group.values(column)) for group in groups)]
        rows.append(row + [diff_cell(estimate_difference(each, reference, column, pooled[column])) for each in others])
    summary = "Accuracy by class" + f": {told}" * bool(told)
    return [figure, Folded(summary, [Table(("accuracy (%)", *columns), rows)])]


def calibration_blocks(groups: Sequence[SeedGroup], folder: Path, stem: str = "calibration") -> list[Block]:
    """Show why the validation loss climbs where it does: first the model that the study puzzled over, then by climb."""
    climbing = [group for group in groups if is_climbing(group)]
    climbing.sort(key=lambda group: (group.model != "Q1_11", -group.loss_climb.mean))
    if not climbing:
        return []
    shown = climbing[:CALIBRATION_PANELS]
    title = f"Loss, accuracy and confidence on {plots.data_name(groups[0].example.data)}"
    return [
        Heading("Where the test loss climbs: confidence and accuracy"),
        Text(climbing_text([*groups])),
        plots.plot_calibration(folder / f"{stem}.png", title, shown),
        prose("calibration"),
        Text(items=tuple(overconfidence_text(group) for group in shown)),
    ]


def sample_blocks(runs: Sequence[RunResult], path: Path, notes: Notes) -> list[Block]:
    """Show one run's picture of samples for each shuffle; where the runs have none, the one that is at ``path``."""
    pictures = []
    for shuffle in PUBLISHED_SHUFFLES[1:]:
        shuffled = [run for run in runs if run.config.shuffle == shuffle]
        pictures += [there for run in shuffled if os.path.lexists(there := run.folder / files.SAMPLES)][:1]
    alt = "An image of each class before and after the shuffles"
    try:
        if pictures:
            figure = plots.plot_samples(path, alt, pictures)
        elif os.path.lexists(path):
            figure = plots.read_picture(path, alt)
        else:
            return []
    except Exception as error:
        notes.append(f"{files.SAMPLES} can't be shown: {one_line(error)}")
        return []
    return [Heading("What the network sees", 3), figure]


# ---- a whole section -------------------------------------------------------------------------------------------------


def frontier_text(groups: Sequence[SeedGroup]) -> str:
    on_frontier = ", ".join(group.model for group in find_frontier(groups))
    bars = " A bar is the mean's 95 % interval; a model without one has a single run." * have_several(groups)
    return (
        f"The Pareto frontier joins the models that none of their size or smaller exceeds: {on_frontier}. This does "
        f"not say that one of them is better than the next.{bars}"
    )


def opening_blocks(section: Section, folder: Path, stem: str) -> list[Block]:
    """Give the answer in words and in one picture."""
    blocks: list[Block] = [Text(text) for text in answer_texts(section)]
    figure = picture(section, folder, stem)
    return [*blocks, figure] if figure else blocks


def detail_blocks(section: Section, folder: Path, stem: str, compare: Sequence[str]) -> list[Block]:
    """Show what is behind the answer."""
    table = Folded("All figures", [section_table(section)]) if len(section.groups) > 12 else section_table(section)
    n, several = len(section.groups), have_several(section.groups)
    rules = prose("table", n=n, several=several, picked=not section.baseline, IMAGE_POINTS=IMAGE_POINTS)
    return [
        Heading("All settings" if n > 1 else "All figures", 3),
        table,
        *([Folded("How to read the table", [rules])] if n > 1 or several else []),
        *model_picture(section, folder, stem),
        *curve_blocks(section, folder, stem, compare),
        *class_blocks(section, folder, stem, compare),
    ]
