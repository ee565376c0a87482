"""What makes runs of one network differ: seeds, the choice of test images, and permutations of pixels."""

import math
from collections.abc import Iterator

from report import stats
from report.neighbourhoods import ACCURACY, by_kernels, epochs_text
from report.page import Block, Folded, Heading, Row, Table, list_of, prose
from report.results import SeedGroup, Study
from report.text import FAILS, HOLDS, UNDECIDED, number_cell
from runner.config import parts_of_shuffle
from runner.errors import counted

MANY_RUNS = 20  # of one network and permutation, from which their spread itself can be told


def variation_section(study: Study) -> list[Block]:
    """Say how far seeds move a result by themselves, and whether permutations move it further."""
    budgets = study.budgets.values()
    verdicts = [told for each in budgets for group in each.groups.values() if (told := spread_verdict(each, group))]
    permuted = [permuted_groups(each) for each in budgets]
    rows = [row for found in permuted for row in permutation_rows(found)]
    verdicts += [told for each, found in zip(budgets, permuted) for told in permutation_verdicts(each, found)]
    if not verdicts:
        return []
    columns = ("model", "epochs", "shuffle", "runs", "sd over seeds", "sd over permutations", "p")
    table = [Folded("Permutations and seeds, in points", [Table(columns, rows)])] if rows else []
    return [Heading("What varies from run to run"), prose("variation"), *list_of(verdicts), *table]


def spread_verdict(study: Study, group: SeedGroup) -> str:
    """Say how much the seed alone makes, and whether it is more than that of images by themselves, in a sentence."""
    values, shares = group.values(ACCURACY), group.correct_shares()
    if group.permutations > 1 or len(values) < MANY_RUNS or shares is None:
        return ""
    spread = stats.spread(values)
    by_images = 100 * math.sqrt(float((shares * (1 - shares)).sum()) * len(values) / (len(values) - 1)) / len(shares)
    elsewhere = math.sqrt(max(0.0, spread.sd**2 - by_images**2))
    verdict = HOLDS if spread.low > by_images else FAILS if spread.high < by_images else UNDECIDED
    return (
        f"{group.model}, {group.shuffle}, {epochs_text(study)}: the accuracies of {len(values)} seeds have a standard "
        f"deviation of {spread.sd:.2f} ({spread.low:.2f} … {spread.high:.2f}) points, from {min(values):.1f} to "
        f"{max(values):.1f} %. Were each image right or wrong by itself it would be {by_images:.2f}; that it is more: "
        f"{verdict}. On endlessly many test images about {elsewhere:.2f} would be left."
    )


Permuted = list[tuple[SeedGroup, stats.Components]]


def permuted_groups(study: Study) -> Permuted:
    """List the groups with several runs of several permutations of all images, with how much either makes."""
    found = []
    for group in study.groups.values():
        is_one_for_all = parts_of_shuffle(group.shuffle)[1] != "per-image"
        if is_one_for_all and 1 < group.permutations < len(group.runs):
            runs = dict(sorted(group.runs.items()))
            seeds = group.by_permutation({draw: draw[1] for draw in runs})
            accuracies = group.by_permutation({draw: run.history[-1][ACCURACY] for draw, run in runs.items()})
            found.append((group, stats.components(accuracies, all(each == seeds[0] for each in seeds))))
    return found


def permutation_rows(permuted: Permuted) -> Iterator[Row]:
    """Make a row for each group of several permutations: what seeds make, what permutations make beyond that."""
    for group, found in permuted:
        who: Row = [group.model, number_cell(group.epochs, 0), group.shuffle, group.size]
        yield [*who, number_cell(found.within, 2), number_cell(found.between, 2), number_cell(found.p, 4)]


def permutation_verdicts(study: Study, permuted: Permuted) -> Iterator[str]:
    """Say for which shuffles of a network the permutation matters beyond the seed, in a sentence for each network."""
    level = 2 * (1 - stats.QUANTILE) / max(1, len(permuted))
    for name in by_kernels(group.model for group, _ in permuted):
        of_name = [(group.shuffle, each) for group, each in permuted if group.model == name]
        matters = [f"{shuffle} ({each.between:.1f} points)" for shuffle, each in of_name if each.p < level]
        verdict = f"with {', '.join(matters)}: {HOLDS}" if matters else f"with any shuffle: {UNDECIDED}"
        rest = len(of_name) - len(matters)
        others = f"; with {counted(rest, 'other')}: {UNDECIDED}" if matters and rest else ""
        yield f"{name}, {epochs_text(study)}: that permutations differ beyond their seeds {verdict}{others}."
