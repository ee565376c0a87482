"""Shuffles between the extremes: how much of a neighbourhood a network needs, and what it uses without need."""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from report import plots, stats
from report.claims import CHANCE_PERCENT
from report.cues import difference_cell, group_pairs, is_convolutional
from report.page import Block, Folded, Heading, Row, Table, list_of, prose
from report.results import COLOUR, RunResult, SeedGroup, Study, read_run_json
from report.stats import Estimate
from report.text import HOLDS, accuracy_cell, decide, decide_near, diff_cell, interval_text, number_cell, points_text
from runner import files
from runner.config import BLOCK_SIZES, IN_BLOCKS, OLD_NAMES, PUBLISHED_SHUFFLES, is_shuffle
from runner.errors import counted
from runner.files import checked_number

ACCURACY = "val_accuracy"
ALIKE_POINTS = 2.0  # two shuffles come out alike where the whole interval of their difference is within these

NEED_COLUMNS = "shuffle", "runs", "neighbour pairs kept (%)", "need: trained with it (%)", "need − none"
USE_COLUMNS = (*NEED_COLUMNS, "use: only tested with it (%)", "use − none", "use − need")

Transfers = dict[tuple[str, str], list[dict[str, float]]]  # accuracies by test shuffle of each run, by trained group


def names_in_blocks(study: Study) -> list[str]:
    """List the models with shuffles between the extremes, those with kernels first."""
    return by_kernels(model for model, shuffle in study.groups if shuffle.partition(":")[0] in IN_BLOCKS)


def by_kernels(names: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(names), key=lambda name: not is_convolutional(name))


def epochs_of(study: Study) -> int:
    return next(iter(study.groups.values())).epochs


def epochs_text(study: Study) -> str:
    """Say how long the runs of a study are, e.g. ``2 epochs``."""
    n = epochs_of(study)
    return f"{n} epoch{'s' * (n != 1)}"


def neighbourhood_section(study: Study, folder: Path, baselines: dict | None) -> list[Block]:
    """Show accuracy against the share of neighbours kept, and against the size of blocks, for each budget."""
    names = names_in_blocks(study)
    panels = [(each, name) for name in names for each in study.budgets.values() if name in names_in_blocks(each)]
    if not panels:
        return []
    histogram = 100 * baselines[COLOUR]["accuracy"] if baselines else None
    verdicts = [neighbourhood_verdict(each, name) for each, name in panels]
    verdicts += [budget_verdict(study, name) for name in names]
    verdicts += [told for each, name in panels for told in alike_verdicts(each, name)]
    controls = list_of(told for each, name in panels for told in control_verdicts(each, name))
    by_size = plots.plot_neighbourhoods(folder / "neighbourhoods.png", panels, histogram)
    return [
        Heading("How large a neighbourhood does the network need?"),
        prose("neighbourhoods", alike=ALIKE_POINTS),
        plots.plot_neighbours_kept(folder / "neighbours_kept.png", panels, histogram),
        *list_of(verdicts),
        Folded("The same against the size of the blocks", [by_size]),
        *([Folded("Edges of blocks, and one order for all of them", controls)] if controls else []),
    ]


def neighbourhood_verdict(study: Study, name: str) -> str:
    """Name the smallest blocks that decidedly keep more than half of what a fixed shuffle takes, in a sentence."""
    plain, fixed = study.group(name), study.group(name, "fixed")
    blocks = {size: group for size in BLOCK_SIZES if (group := study.group(name, f"block:{size}"))}
    if not plain or not fixed or not blocks:
        return ""
    who, cost = f"{name}, {epochs_text(study)}", study.difference(fixed, plain)
    if (verdict := decide(cost, above=False)) != HOLDS:
        told = f"{who}: that a fixed shuffle takes anything: {verdict}, {points_text(cost)}."
        return f"{told} {permutations_text(study, name)}"
    for size, group in blocks.items():
        beyond = study.contrast([(1, group), (-0.5, fixed), (-0.5, plain)])
        if decide(beyond) == HOLDS:
            return (
                f"{who}: blocks of {size}×{size} pixels, kept whole wherever they are moved, leave more than half of "
                f"what a fixed shuffle takes: {points_text(beyond)} from the middle ({group.size})."
            )
    largest = max(blocks)
    return f"{who}: of no size up to {largest}×{largest} is it decided that its blocks leave half of that."


def permutations_text(study: Study, name: str) -> str:
    """Say whether a network comes out alike with all permutations that are one for all images, in a sentence."""
    kinds = ("fixed", *IN_BLOCKS)
    groups = [group for group in study.groups.values() if group.model == name and group.shuffle.split(":")[0] in kinds]
    n = sum(group.permutations for group in groups)
    weighted = [(group.permutations / n, group) for group in groups]
    estimate = study.contrast([*weighted, (-1.0, study.groups[name, "none"])])
    return (
        f"Over all {n} permutations that are one for all images it makes {interval_text(estimate, '+.2f', ' points')}; "
        f"within {ALIKE_POINTS:g} points of none: {decide_alike(estimate)}."
    )


def budget_verdict(study: Study, name: str) -> str:
    """Say whether what a fixed shuffle costs grows with the number of epochs, in a sentence."""
    pairs = group_pairs(study, name, "fixed")
    if len(pairs) < 2:
        return ""
    first, last = min(pairs), max(pairs)
    early, late = pairs[first][1:], pairs[last][1:]
    costs = [study.difference(plain, fixed) for plain, fixed in (early, late)]
    growth = study.contrast([*zip((1, -1, -1, 1), (*late, *early))])
    shares = [
        100 * (fixed.mean(ACCURACY).mean - CHANCE_PERCENT) / (plain.mean(ACCURACY).mean - CHANCE_PERCENT)
        for plain, fixed in (early, late)
    ]
    return (
        f"What a fixed shuffle costs {name} grows with training, from {costs[0].mean:.1f} points after "
        f"{counted(first, 'epoch')} to {costs[1].mean:.1f} after {last}: {decide(growth)}, {points_text(growth)}. Of "
        f"what it reaches above chance without a shuffle, {shares[0]:.0f} and {shares[1]:.0f} % are left."
    )


def decide_alike(difference: Estimate) -> str:
    return decide_near(difference, 0, ALIKE_POINTS)


def mean_kept(group: SeedGroup) -> float:
    """Return the share of neighbouring pixels that a group's shuffle leaves neighbours; NaN if it is not known."""
    return fmean(run.neighbours_kept for run in group.runs.values())


def alike_verdicts(study: Study, name: str) -> Iterator[str]:
    """Say of shuffles that permute as many pieces, of blocks and inside them, whether they come out alike."""
    plain = study.group(name)
    for a, b in zip(BLOCK_SIZES, reversed(BLOCK_SIZES)):  # within:K and block:32/K permute K² pieces
        inside, moved = study.group(name, f"within:{a}"), study.group(name, f"block:{b}")
        # To a network that loses nothing, all are alike.
        if not inside or not moved or not plain or decide_alike(study.difference(inside, plain)) == HOLDS:
            continue
        difference, shares = study.difference(inside, moved), [mean_kept(inside), mean_kept(moved)]
        kept = " and ".join(f"{100 * share:.0f}" for share in shares)
        told = "" if any(map(math.isnan, shares)) else f". They keep {kept} % of the pairs of neighbours"
        yield (
            f"{name}, {epochs_text(study)}: {inside.shuffle} and {moved.shuffle}, which both permute {a**2} pieces, "
            f"come out alike: {decide_alike(difference)}, {points_text(difference)}{told}."
        )


def control_verdicts(study: Study, name: str) -> Iterator[str]:
    """Say what the edges of blocks cost that stay in place, and what it costs that each block has an own order."""
    for size in BLOCK_SIZES:
        plain, edges, block, within, shared = (
            study.group(name, shuffle)
            for shuffle in ("none", f"edges:{size}", f"block:{size}", f"within:{size}", f"within-shared:{size}")
        )
        if plain and edges and block:
            cost, rest = study.difference(edges, plain), study.difference(block, edges)
            yield (
                f"{name}, {epochs_text(study)}: the edges of blocks of {size}×{size} pixels alone cost accuracy: "
                f"{decide(cost, above=False)}, {points_text(cost)}; that the blocks move costs more than they do: "
                f"{decide(rest, above=False)}, {points_text(rest)}."
            )
        if within and shared:
            gain = study.difference(shared, within)
            yield (
                f"{name}, {epochs_text(study)}: one order for all blocks of {size}×{size} pixels costs less than an "
                f"own one for each: {decide(gain)}, {points_text(gain)}."
            )


# ---- need and use ----


def read_transfers(study: Study) -> Transfers:
    """Read the accuracies of all runs on images with other shuffles; what can't be read is noted."""
    found: Transfers = {}
    for key, group in study.groups.items():
        read = (
            read_run_json(run, files.TRANSFER, partial(transfer_percentages, run=run), study.notes)
            for run in group.runs.values()
        )
        if measured := [each for each in read if each]:
            found[key] = measured
    return found


def transfer_percentages(transfer: dict, run: RunResult) -> dict[str, float]:
    """Return the accuracies of a run's ``transfer.json`` in percent, by shuffle. Raises ValueError for another's."""
    trained_with = OLD_NAMES.get(transfer["trained_with"], transfer["trained_with"])
    if trained_with != run.config.shuffle:
        raise ValueError(f"it is of a network that was trained with {trained_with!r:.40}")
    accuracies = {OLD_NAMES.get(name, name): share for name, share in transfer["test_accuracy"].items()}
    known = dict.fromkeys([*PUBLISHED_SHUFFLES, *(name for name in accuracies if is_shuffle(name))])
    return {shuffle: 100 * checked_number(accuracies[shuffle], 0, 1) for shuffle in known}


def in_common(measured: Sequence[dict[str, float]]) -> list[str]:
    """List the shuffles that all runs were tested with."""
    return [shuffle for shuffle in measured[0] if all(shuffle in each for each in measured)]


def use_section(study: Study, folder: Path, transfers: Transfers) -> list[Block]:
    """Show what each shuffle costs a network that was trained with it, beside one that was not: a table for each."""
    used = by_kernels(name for name, shuffle in transfers if shuffle == "none")
    tables = []
    for epochs, each in study.budgets.items():
        tested = transfers if epochs == epochs_of(study) else {}
        for name in dict.fromkeys([*names_in_blocks(each), *(used if tested else [])]):
            columns = USE_COLUMNS if (name, "none") in tested else NEED_COLUMNS
            rows = [row[: len(columns)] for row in use_rows(each, name, tested)]
            tables.append(Folded(f"{name}, {epochs_text(each)}: all shuffles", [Table(columns, rows)]))
    if not tables:
        return []
    figures = [plots.plot_use(folder / "use.png", study, use_bars(study, used, transfers))] if used else []
    verdicts = [use_verdict(study, name, transfers, "grey") for name in used]
    return [Heading("What it needs, and what it uses"), prose("use"), *figures, *list_of(verdicts), *tables]


def use_bars(study: Study, names: Sequence[str], transfers: Transfers) -> dict[str, dict[str, list[Estimate]]]:
    """Estimate accuracies by model and shuffle: trained with it, and tested alone, where both are known."""
    return {
        name: {
            shuffle: [group.mean(ACCURACY), stats.mean([each[shuffle] for each in tested])]
            for (model, shuffle), group in study.groups.items()
            if model == name and shuffle in in_common(tested := transfers[name, "none"])
        }
        for name in names
    }


def use_rows(study: Study, name: str, transfers: Transfers) -> Iterator[Row]:
    """Make a row for each shuffle: what is left to a network trained with it, and to one only tested with it."""
    plain, tested = study.group(name), transfers.get((name, "none"), [])
    for shuffle in [shuffle for model, shuffle in study.groups if model == name]:
        group, use = study.groups[name, shuffle], [each[shuffle] for each in tested if shuffle in each]
        kept = mean_kept(group)
        row: Row = [shuffle, group.size, "" if math.isnan(kept) else number_cell(100 * kept, 1)]
        row += [accuracy_cell(group.values(ACCURACY)), difference_cell(study, group, plain)]
        if use and group is not plain:
            less_none = stats.mean([each[shuffle] - each["none"] for each in tested if shuffle in each])
            row += [accuracy_cell(use), diff_cell(less_none), diff_cell(use_less_need(study, group, use))]
        else:
            row += ["", "", ""]
        yield row


def use_less_need(study: Study, group: SeedGroup, use: Sequence[float]) -> Estimate:
    return stats.difference(use, group.values(ACCURACY), study.pooled_sd(ACCURACY))


def use_verdict(study: Study, name: str, transfers: Transfers, shuffle: str) -> str:
    """Say whether a network uses what a shuffle takes more than it needs it, in a sentence."""
    plain, group, tested = study.group(name), study.group(name, shuffle), transfers.get((name, "none"), [])
    if not plain or not group or not tested or shuffle not in in_common(tested):
        return ""
    more = use_less_need(study, group, [each[shuffle] for each in tested])
    need = study.difference(group, plain)
    use = stats.mean([each[shuffle] - each["none"] for each in tested])
    return (
        f"{name} loses more by “{shuffle}” when it was not trained with it (what it uses) than when it was (what it "
        f"needs): {decide(more, above=False)}, {points_text(use)} against {points_text(need)}."
    )


def transfer_section(study: Study, folder: Path, transfers: Transfers) -> list[Block]:
    """Show the accuracy of runs with one shuffle on images with another: a map for each model."""
    figures = []
    for name in by_kernels(model for model, _ in transfers):
        measured = {shuffle: found for (model, shuffle), found in transfers.items() if model == name}
        columns = [shuffle for shuffle in in_common([each for found in measured.values() for each in found])]
        table = {
            shuffle: {column: fmean(each[column] for each in found) for column in columns}
            for shuffle, found in measured.items()
        }
        figures.append(plots.plot_transfer(folder / f"transfer_{name}.png", study, name, table))
    if not figures:
        return []
    return [Heading("Trained on one shuffle, tested on another"), prose("transfers"), Folded("The maps", figures)]
