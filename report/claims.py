"""The published claims, and the rules by which the runs decide them.

A claim is a list of statements; it holds if all of them do, and does not hold if one of them does not. What the runs
are too few for, or their intervals too wide, is not decided, with what would decide it. The thresholds are the
constants below; ``templates/prose.md.j2`` has the rules in words, with these constants filled in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.stats import spearmanr

import models
from report import stats
from report.calibration import CLIMB_NATS, overconfidence_text
from report.results import SeedGroup, Study
from report.stats import Estimate
from report.text import (
    FAILS,
    HOLDS,
    NO_RUNS,
    UNDECIDED,
    accuracy_text,
    combine,
    decide,
    decide_all,
    decide_near,
    nats_text,
    points_text,
)
from runner.errors import counted

MIN_RUNS = 3  # of what a claim is about; what it is compared with needs one run
MIN_EPOCHS = 10  # to say what becomes of a network that is trained on: the published runs have 10 or 15
EARLY_EPOCHS = 2  # the textbook's training run, which the early figures come from
FIGURE_POINTS = 3.0  # a published percentage is met within these
LOST_POINTS = 10.0  # that a fixed shuffle costs, as published
DROP_POINTS = 5.0  # "about" as many points lost: within these
UNDERFIT_NATS = 0.1  # validation loss above training loss, at most
FALL_NATS = 0.05  # a loss that falls by less has not gone down
A_BIT = 2.0  # "a bit" larger or smaller: at most by this factor
AROUND_POINTS = 5.0  # a variation's accuracy
FAR_POINTS = 10.0  # "far" below or above
HELP_POINTS = 1.0  # an improvement that counts
CHANCE_PERCENT = 10.0  # of ten classes with the same number of images


LACKS = "It needs"  # how the reason begins where runs are too few


class NotEnough(Exception):
    """Too few runs to decide; the message says which are missing."""


@dataclass(frozen=True)
class Statement:
    """A part of a claim, with its verdict and the reason for it in a sentence."""

    text: str
    verdict: str
    reason: str
    of_runs: bool = True  # whether runs decide it, and not the table of networks


@dataclass(frozen=True)
class Claim:
    """A published claim as the runs see it."""

    key: str
    published: str  # in words
    measured: str  # the figures beside it
    statements: tuple[Statement, ...]
    of_rebuilt: bool  # whether it is about networks whose structure is not published in full
    groups: tuple[SeedGroup, ...]  # that the figures are of
    show: Callable[..., str]  # what gives the figures, which says of what kind they are
    percent: float | None  # the published accuracy

    has_runs: bool = True  # whether there are runs of all that it is about
    lacks: tuple[str, ...] = ()  # what more runs are needed, in words

    @property
    def verdict(self) -> str:
        if self.has_runs or any(each.verdict == FAILS and each.of_runs for each in self.statements):
            return combine(statement.verdict for statement in self.statements)
        return NO_RUNS


def require_group(
    study: Study, model: str, shuffle: str = "none", runs: int = MIN_RUNS, epochs: int = MIN_EPOCHS
) -> SeedGroup:
    """Return the group of a model and shuffle. Raises NotEnough if it has fewer runs, or shorter ones."""
    group = study.group(model, shuffle)
    n = len(group.runs) if group else 0
    if not group or n < runs:
        what = model + (f" with shuffle {shuffle}" if shuffle != "none" else "")
        raise NotEnough(f"{runs} run{'s' * (runs > 1)} of {what}, there {'is' if n == 1 else 'are'} {n}")
    if group.epochs < epochs:
        raise NotEnough(f"{epochs} epochs, these runs have {group.epochs}")
    return group


def by_epochs(study: Study, model: str) -> dict[int, SeedGroup]:
    """Return the groups of a model without a shuffle and of the classic recipe, by how many epochs they have."""
    groups = [group for group in (*study.models, *study.others) if (group.model, group.shuffle) == (model, "none")]
    return {group.epochs: group for group in groups if all(name == "epochs" for name, _ in group.settings)}


def find_longest(study: Study, model: str) -> SeedGroup | None:
    """Find the longest runs of a model, enough of them, for whose epochs there are runs of Q1_1 too."""
    originals = by_epochs(study, "Q1_1")
    enough = [group for group in by_epochs(study, model).values() if len(group.runs) >= MIN_RUNS]
    return max((group for group in enough if group.epochs in originals), key=lambda group: group.epochs, default=None)


def find_longer(study: Study) -> list[SeedGroup]:
    """List the groups beyond those compared that C5 is judged by, where it is."""
    longest = [group for model in UNDERFITTING if (group := find_longest(study, model))] if is_judged(study) else []
    originals = [by_epochs(study, "Q1_1")[epochs] for epochs in dict.fromkeys(group.epochs for group in longest)]
    return [group for group in (*longest, *originals) if group in study.others]


def attempt(rule: Callable[..., Iterator[Statement]], *arguments: object) -> Iterator[Statement]:
    """Apply a rule; what it lacks runs for is not decided, and leaves a claim's other statements alone."""
    try:
        yield from rule(*arguments)
    except NotEnough as missing:
        yield Statement("", UNDECIDED, f"{LACKS} {missing}.")


def closing_text(verdict: str, estimate: Estimate, limits: Iterable[float] = (0.0,), comparisons: int = 1) -> str:
    """Say how many runs would decide on which side of the nearest limit a quantity is; empty where that is decided."""
    if verdict != UNDECIDED:
        return ""
    if not estimate.sd >= 0:
        return " Several runs of each would tell how far seeds differ, and then how many decide it."
    groups = 2 if estimate.method in ("Welch", "pooled") else 1
    apart = min(abs(estimate.mean - limit) for limit in limits)
    critical = partial(stats.critical_t, comparisons=comparisons)
    needed = stats.seeds_to_decide(apart, estimate.sd, groups, critical)
    of_each = " of each" * (groups > 1)
    if needed is None:
        return f" More than {stats.MOST_SEEDS:,} runs{of_each} would be needed to decide it."
    return f" About {max(needed, estimate.n + 1):,} runs{of_each} would decide it."


def decide_part(estimate: Estimate, comparisons: int, limit: float = 0.0, above: bool = True) -> str:
    """Tell whether a quantity is above (or below) a limit, where a claim is refuted by one of several comparisons."""
    return decide_all([estimate], partial(decide, limit=limit, above=above), comparisons)


def find_early_epoch(group: SeedGroup, published: float) -> int:
    """Find the early epoch after which the mean accuracy is nearest to a published one."""
    epochs = range(1, min(EARLY_EPOCHS, group.epochs) + 1)
    return min(epochs, key=lambda epoch: abs(group.mean("val_accuracy", epoch).mean - published))


def check_percentage(group: SeedGroup, published: float) -> Iterator[Statement]:
    """Check whether a published percentage is met, and when: after an early epoch or the last."""
    early = range(1, min(EARLY_EPOCHS, group.epochs) + 1)
    accuracies = {epoch: group.mean("val_accuracy", epoch) for epoch in dict.fromkeys([*early, group.epochs])}
    found = {epoch: decide_near(each, published, FIGURE_POINTS) for epoch, each in accuracies.items()}
    met = [epoch for epoch, verdict in found.items() if verdict == HOLDS]
    verdict = HOLDS if met else UNDECIDED if UNDECIDED in found.values() else FAILS
    reason = ", ".join(f"{accuracy_text(each)} after {epoch}" for epoch, each in accuracies.items()) + " epochs"
    reason += ", and any of these may meet the figure" * (len(accuracies) > 1)
    if met and met[0] != group.epochs:
        epochs = " and ".join(map(str, met))
        reason += f": it is that of epoch {epochs}, not of a network that has learnt all it can"
    nearest = min(accuracies, key=lambda epoch: abs(accuracies[epoch].mean - published))
    closing = closing_text(verdict, accuracies[nearest], (published - FIGURE_POINTS, published + FIGURE_POINTS))
    if closing:
        reason += f": nearest is epoch {nearest}, partly within {FIGURE_POINTS:g} points of {published:g} %"
    yield Statement(f"{published:g} %", verdict, f"{reason}.{closing}")


def check_underfit(study: Study, model: str, comparisons: int) -> Iterator[Statement]:
    """Check whether a network is too small for the training images, as the rules say, after its longest training."""
    require_group(study, model)
    require_group(study, "Q1_1", runs=1)
    group = find_longest(study, model) or require_group(study, model)
    original = by_epochs(study, "Q1_1")[group.epochs]
    higher = study.difference(group, original, "train_loss")
    losses = zip(group.values("train_loss"), group.values("val_loss"))
    excess = stats.mean([val - train for train, val in losses])
    verdicts = decide_part(higher, comparisons), decide_part(excess, comparisons, UNDERFIT_NATS, above=False)
    widened = stats.widen(excess, comparisons)
    last_epoch = group.change("train_loss", max(1, group.epochs - 1))
    reason = (
        f"After {group.epochs} epochs training loss is {group.mean('train_loss').mean:.2f} nats, {nats_text(higher)} "
        f"against Q1_1; the validation loss is {nats_text(excess)} from it, ({widened.low:+.2f} … {widened.high:+.2f}) "
        f"for all {comparisons} comparisons of this claim together. In the last epoch training loss changes by "
        f"{last_epoch.mean:+.3f} nats, and what comes after {group.epochs} epochs is not known."
    )
    verdict = combine(verdicts)
    if verdict == UNDECIDED:
        refuting = comparisons if excess.mean > UNDERFIT_NATS else 1
        reason += closing_text(verdicts[0], higher, comparisons=comparisons if higher.mean < 0 else 1)
        reason += closing_text(verdicts[1], excess, (UNDERFIT_NATS,), refuting)
    yield Statement(f"{named(model)} underfits", verdict, reason)


def check_overfit(study: Study, model: str) -> Iterator[Statement]:
    """Check whether validation loss turns and climbs while training loss falls, as the rules say."""
    group = require_group(study, model)
    epoch, climb = group.min_loss_epoch, group.loss_climb
    falls = group.change("train_loss", epoch)
    climbs = decide_part(climb, 2, CLIMB_NATS) if epoch < group.epochs else FAILS
    does_fall = decide_part(falls, 2, -FALL_NATS, above=False)
    verdict = combine([climbs, does_fall])
    reason = (
        f"Mean validation loss is lowest after epoch {epoch} ({group.mean('val_loss', epoch).mean:.2f} nats). Until "
        f"epoch {group.epochs} it changes by {nats_text(climb)}, each seed's from the epoch where the others are "
        f"lowest, while training loss changes by {nats_text(falls)}. "
        f"{overconfidence_text(group)}"
    )
    if verdict == UNDECIDED:
        reason += closing_text(climbs, climb, (CLIMB_NATS,)) + closing_text(does_fall, falls, (-FALL_NATS,))
    yield Statement(f"{model}'s test loss turns and climbs while its training loss falls", verdict, reason)


def check_best(study: Study, model: str, others: list[str]) -> Iterator[Statement]:
    """Check whether a model has the best accuracy of all, as the rules say."""
    group = require_group(study, model)
    lead = {other: study.difference(group, require_group(study, other, runs=1)) for other in others}
    nearest = min(lead, key=lambda other: lead[other].mean)
    verdict = decide_all([*lead.values()])
    reason = (
        f"{accuracy_text(group.mean('val_accuracy'))} after {group.epochs} epochs, {points_text(lead[nearest])} "
        f"against {named(nearest)}, the next; {sum(map(is_rebuilt, others))} of the {len(others)} others are rebuilt."
    )
    reason += closing_text(verdict, lead[nearest])
    yield Statement(f"{model} has the best test accuracy of {others[0]} to {model}", verdict, reason)


def check_variations(study: Study, models_around: list[str], original: str) -> Iterator[Statement]:
    """Check whether models are all near another one in accuracy, as the rules say."""
    group = require_group(study, original)
    gaps = {name: study.difference(require_group(study, name, runs=1), group) for name in models_around}
    verdict = decide_all([*gaps.values()], partial(decide_near, value=0, margin=AROUND_POINTS))
    reason = ", ".join(f"{named(name)} {gap.mean:+.1f}" for name, gap in gaps.items())
    if widths := [gap.half_width for gap in gaps.values() if gap.has_interval]:
        reason += f" (95 % intervals: ± {max(widths):.1f} at most)"
    limits = (-AROUND_POINTS, AROUND_POINTS)
    nearest = min(gaps, key=lambda name: abs(abs(gaps[name].mean) - AROUND_POINTS))
    reason = f"Points against {original}: {reason}."
    if closing := closing_text(verdict, gaps[nearest], limits):
        reason += f" The closest call is {named(nearest)}, {points_text(gaps[nearest])}.{closing}"
    yield Statement(f"in accuracy, too, variations around {original}", verdict, reason)


# ---- what is shown beside a claim ------------------------------------------------------------------------------------


def _parameters(model: str) -> int:
    return models.find(model).parameters or 0


def is_rebuilt(model: str) -> bool:
    return models.find(model).known_from == models.REBUILT


def named(model: str) -> str:
    """Name a model, and say so if its structure is rebuilt."""
    return f"{model} (rebuilt)" if is_rebuilt(model) else model


def _seeds(group: SeedGroup) -> str:
    return counted(len(group.runs), "seed")


def show_course(group: SeedGroup) -> str:
    """Show accuracies after the early epochs and the last, e.g. ``47.4 / 54.4 / 63.1 % after 1 / 2 / 10 epochs``."""
    epochs = dict.fromkeys([*range(1, min(EARLY_EPOCHS, group.epochs) + 1), group.epochs])
    means = " / ".join(f"{group.mean('val_accuracy', epoch).mean:.1f}" for epoch in epochs)
    return f"{means} % after {' / '.join(map(str, epochs))} epoch{'s' * (group.epochs > 1)} ({_seeds(group)})"


def _in_order(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {values[name]:.0f}" for name in sorted(values, key=lambda name: -values[name]))


def show_by_class(group: SeedGroup) -> str:
    """Show recall, F1 and the number of answers of all classes, each from the highest to the lowest."""
    epoch, classes = find_early_epoch(group, PER_IMAGE_PERCENT), group.example.data["classes"]
    recall = {name: group.mean(f"val_accuracy_of_{name}", epoch).mean for name in classes}
    lines = [f"accuracy after epoch {epoch}: {_in_order(recall)} % ({_seeds(group)})"]
    if has_answers(group):
        f1, answers = (
            {name: group.by_confusion(partial(measure, of=i)).mean for i, name in enumerate(classes)}
            for measure in (score_f1, count_answers)
        )
        most = max(answers, key=lambda name: answers[name])
        lines.append(f"F1 after epoch {group.epochs}: {_in_order(f1)} %")
        lines.append(f"{most} is answered most often: {_in_order(answers)} times")
    return "\n".join(lines)


def show_final(*groups: SeedGroup) -> str:
    """Show the last accuracies, e.g. ``Q1_19: 74.1 % (3 seeds)``."""
    return "\n".join(
        f"{named(group.model)}: {group.mean('val_accuracy').mean:.1f} % ({_seeds(group)})" for group in groups
    )


def show_losses(*groups: SeedGroup) -> str:
    """Show the last losses, e.g. ``Q1_4: training 1.52, validation 1.50 nats after 10 epochs (3 seeds)``."""
    losses = [(group, group.mean("train_loss").mean, group.mean("val_loss").mean) for group in groups]
    return "\n".join(
        f"{named(group.model)}: training {train:.2f}, validation {val:.2f} nats after "
        f"{counted(group.epochs, 'epoch')} ({_seeds(group)})"
        for group, train, val in losses
    )


# ---- the answers by class --------------------------------------------------------------------------------------------


def has_answers(group: SeedGroup) -> bool:
    """Tell whether all runs say which class was answered for which."""
    return all(run.confusion for run in group.runs.values())


def count_answers(confusion: np.ndarray, of: int) -> float:
    return float(confusion[:, of].sum())


def score_f1(confusion: np.ndarray, of: int) -> float:
    """Compute a class's F1 in percent: the harmonic mean of recall and precision, so that too many answers cost."""
    return 200 * float(confusion[of, of]) / max(1, float(confusion[of].sum() + confusion[:, of].sum()))


def compare_f1(confusion: np.ndarray, of: int, other: int) -> float:
    return score_f1(confusion, of) - score_f1(confusion, other)


def find_closest(leads: dict[tuple[str, str], Estimate], comparisons: int) -> tuple[tuple[str, str], Estimate]:
    """Find the smallest lead. One that is the other way round is the worst of many, and its interval one for all."""
    pair = min(leads, key=lambda pair: leads[pair].mean)
    return pair, stats.widen(leads[pair], comparisons) if leads[pair].mean < 0 else leads[pair]


def lead_text(lead: Estimate) -> str:
    """Show a difference of percentages, whose interval may reach farther than they can."""
    return f"{lead.mean:+.1f} ({max(lead.low, -100):+.1f} … {min(lead.high, 100):+.1f}) points"


def f1_text(group: SeedGroup, pairs: Iterable[tuple[str, str]], comparisons: int) -> str:
    """Say how the closest of pairs of classes, the better one first, comes out by F1 after the last epoch."""
    if not has_answers(group):
        return ""
    index = {name: i for i, name in enumerate(group.example.data["classes"])}
    leads = {
        (one, other): group.by_confusion(partial(compare_f1, of=index[one], other=index[other])) for one, other in pairs
    }
    (better, worse), lead = find_closest(leads, comparisons)
    f1 = [group.by_confusion(partial(score_f1, of=index[name])).mean for name in PER_IMAGE]
    rank = spearmanr(list(PER_IMAGE.values()), f1).statistic
    return (
        f" By F1, which is known after epoch {group.epochs} only, {better} − {worse} is closest, "
        f"{lead_text(lead)}; rank correlation {rank:+.2f}."
    )


# ---- the claims ------------------------------------------------------------------------------------------------------

# The published percentages with a per-image shuffle, of all images and by class.
PER_IMAGE_PERCENT = 25.0
PER_IMAGE = dict(plane=48, car=28, bird=13, cat=5, deer=46, dog=29, frog=36, horse=9, ship=31, truck=16)
UNDERFITTING = ("Q1_4", "Q1_17", "Q1_18")
SMALLER, LARGER = ("Q1_20", "Q1_21", "Q1_22"), ("Q1_23", "Q1_24", "Q1_25")  # than Q1_19

Rule = Callable[[Study], Iterator[Statement]]
CHECKS: list[Callable[[Study], Claim]] = []


def published(
    key: str,
    text: str,
    show: Callable[..., str],
    *names: str,
    find: Callable[[Study, str], SeedGroup | None] = Study.group,
    percent: float | None = None,
) -> Callable:
    """Decorate the rule of a claim, so that it is checked.

    Args:
        show: gives the figures beside it, of the groups that ``find`` finds by these names of models.
        percent: the published accuracy.
    """

    def register(rule: Rule) -> Rule:
        def check(study: Study) -> Claim:
            groups = [group for name in names if (group := find(study, name))]
            measured = show(*groups) if groups else NO_RUNS
            statements, of_rebuilt = tuple(attempt(rule, study)), any(map(is_rebuilt, names))
            lacks = tuple(each.reason for each in statements if each.reason.startswith(LACKS))
            what = key, text, measured, statements, of_rebuilt, tuple(groups), show, percent
            return Claim(*what, has_runs=len(groups) == len(names), lacks=lacks)

        CHECKS.append(check)
        return rule

    return register


@published("C1", "Q1_1 without shuffling: about 50 %", show_course, "Q1_1", percent=50.0)
def claim_q1_1_reaches_50(study: Study) -> Iterator[Statement]:
    yield from check_percentage(require_group(study, "Q1_1", epochs=1), 50.0)


@published(
    "C2",
    "Q1_1, fixed shuffle: 40 %, about 10 points lost",
    show_course,
    "Q1_1",
    find=partial(Study.group, shuffle="fixed"),
    percent=40.0,
)
def claim_fixed_shuffle_costs_10(study: Study) -> Iterator[Statement]:
    plain, fixed = require_group(study, "Q1_1", epochs=1), require_group(study, "Q1_1", "fixed", epochs=1)
    yield from check_percentage(fixed, 40)
    # The points lost are those of the early epoch in which the shuffled accuracy is nearest to the published one.
    epoch = min(find_early_epoch(fixed, 40), plain.epochs)
    early = stats.difference(plain.values("val_accuracy", epoch), fixed.values("val_accuracy", epoch))
    verdict = decide_all([early], partial(decide_near, value=LOST_POINTS, margin=DROP_POINTS), comparisons=2)
    reason = (
        f"{points_text(early)} lost after epoch {epoch}, where “about” is {LOST_POINTS:g} ± {DROP_POINTS:g}; "
        f"{points_text(study.difference(plain, fixed))} after the last."
    )
    reason += closing_text(verdict, early, (LOST_POINTS - DROP_POINTS, LOST_POINTS + DROP_POINTS))
    yield Statement("about 10 points lost", verdict, reason)


@published("C3", "Q1_1, per-image shuffle: 25 %, far above chance (10 %)", show_course, "Q1_1",
           find=partial(Study.group, shuffle="per-image"), percent=PER_IMAGE_PERCENT)  # fmt: skip
def claim_per_image_is_above_chance(study: Study) -> Iterator[Statement]:
    group = require_group(study, "Q1_1", "per-image", epochs=1)
    yield from check_percentage(group, PER_IMAGE_PERCENT)
    above = stats.mean([accuracy - CHANCE_PERCENT for accuracy in group.values("val_accuracy")])
    verdict = decide_part(above, 2, FAR_POINTS)
    reason = f"{points_text(above)} above {CHANCE_PERCENT:g} % after epoch {group.epochs}; “far” is {FAR_POINTS:g}."
    yield Statement("far above chance", verdict, reason + closing_text(verdict, above, (FAR_POINTS,)))


@published("C4", "Q1_1, per-image: planes (48 %) and deer (46 %) best, cats (5 %) worst",
           show_by_class, "Q1_1", find=partial(Study.group, shuffle="per-image"))  # fmt: skip
def claim_planes_and_deer_best(study: Study) -> Iterator[Statement]:
    group = require_group(study, "Q1_1", "per-image", epochs=1)
    if set(group.example.data["classes"]) != PER_IMAGE.keys():
        raise NotEnough("CIFAR-10's classes, these runs have others")
    epoch = find_early_epoch(group, PER_IMAGE_PERCENT)
    recall = {name: group.values(f"val_accuracy_of_{name}", epoch) for name in PER_IMAGE}
    rank = spearmanr(list(PER_IMAGE.values()), [stats.mean(values).mean for values in recall.values()]).statistic
    others = [name for name in PER_IMAGE if name not in ("plane", "deer")]
    statements = {
        "planes and deer best": [(one, other) for one in ("plane", "deer") for other in others],
        "cats worst": [(other, "cat") for other in PER_IMAGE if other != "cat"],
    }
    comparisons = sum(map(len, statements.values()))
    for statement, pairs in statements.items():
        # The classes of one network are a pair.
        leads = {pair: stats.mean([a - b for a, b in zip(recall[pair[0]], recall[pair[1]])]) for pair in pairs}
        verdict = decide_all([*leads.values()], comparisons=comparisons)
        (better, worse), lead = find_closest(leads, comparisons)
        reason = (
            f"After epoch {epoch}, whose accuracy is nearest to the published one, {better} − {worse}, the closest "
            f"call of {len(pairs)}, is {lead_text(lead)}. Rank correlation of all ten classes with the published "
            f"figures: {rank:+.2f}."
        )
        reason += closing_text(verdict, lead, comparisons=comparisons if lead.mean < 0 else 1)
        yield Statement(statement, verdict, reason + f1_text(group, pairs, comparisons))


@published("C5", "Q1_4, Q1_17 and Q1_18 underfit: training loss stays high, however many epochs",
           show_losses, *UNDERFITTING,
           find=lambda study, model: find_longest(study, model) or study.group(model))  # fmt: skip
def claim_three_models_underfit(study: Study) -> Iterator[Statement]:
    for model in UNDERFITTING:
        yield from attempt(check_underfit, study, model, 2 * len(UNDERFITTING))


@published("C6", "Q1_11 overfits: test loss turns and climbs fast while training loss falls; more parameters in FC "
           "layers", show_losses, "Q1_11")  # fmt: skip
def claim_q1_11_overfits(study: Study) -> Iterator[Statement]:
    yield from check_overfit(study, "Q1_11")
    original, larger = (
        sum(layer.parameters for layer in models.find(model).layers() if layer.kind == "linear")
        for model in ("Q1_1", "Q1_11")
    )
    reason = f"{larger:,} of {_parameters('Q1_11'):,}; in Q1_1 they are {original:,} of {_parameters('Q1_1'):,}."
    yield Statement(
        "it has more parameters in its fully connected layers", HOLDS if larger > original else FAILS, reason, False
    )


@published("C7", "Q1_19 is the best of the early set, though it has more parameters than Q1_11",
           show_final, "Q1_19", "Q1_11")  # fmt: skip
def claim_q1_19_is_best(study: Study) -> Iterator[Statement]:
    yield from check_best(study, "Q1_19", [f"Q1_{number}" for number in range(1, 19)])
    ours, other = _parameters("Q1_19"), _parameters("Q1_11")
    yield Statement(
        "it has more parameters than Q1_11", HOLDS if ours > other else FAILS, f"{ours:,} against {other:,}.", False
    )


@published("C8", "Q1_20 to Q1_22 a bit smaller, Q1_23 to Q1_25 a bit larger: variations around Q1_19",
           show_final, "Q1_19", *SMALLER, *LARGER)  # fmt: skip
def claim_q1_20_to_25_vary_q1_19(study: Study) -> Iterator[Statement]:
    ratio = {model: _parameters(model) / _parameters("Q1_19") for model in SMALLER + LARGER}
    is_so = all(ratio[model] < 1 for model in SMALLER) and all(ratio[model] > 1 for model in LARGER)
    reason = ", ".join(f"{model} × {value:.2f}" for model, value in ratio.items())
    verdict = HOLDS if is_so else FAILS
    reason = f"Parameters, which are published, against Q1_19's: {reason}."
    yield Statement("three are smaller, three larger", verdict, reason, False)
    far = [model for model, value in ratio.items() if max(value, 1 / value) > A_BIT]
    reason = f"By more than a factor of {A_BIT:g}: {', '.join(far)}." if far else f"None by more than {A_BIT:g} times."
    yield Statement("by a bit", FAILS if far else HOLDS, reason, False)
    yield from attempt(check_variations, study, [*ratio], "Q1_19")


@published("C9a", "Q2_1: without non-linearities accuracy drops far below Q1_1's", show_final, "Q2_1", "Q1_1")
def claim_q2_1_falls_far_below(study: Study) -> Iterator[Statement]:
    affine, original = require_group(study, "Q2_1"), require_group(study, "Q1_1", runs=1)
    lost = study.difference(affine, original)
    verdict = decide(lost, -FAR_POINTS, above=False)
    reason = f"{points_text(lost)} against Q1_1 after {affine.epochs} epochs; “far” is {FAR_POINTS:g}."
    reason += closing_text(verdict, lost, (-FAR_POINTS,))
    yield Statement("accuracy far below Q1_1's", verdict, reason)


@published("C9b", "Q2_1: without non-linearities the loss does not go down", show_losses, "Q2_1")
def claim_q2_1_does_not_learn(study: Study) -> Iterator[Statement]:
    affine = require_group(study, "Q2_1")
    train, val = (affine.change(column, 1) for column in ("train_loss", "val_loss"))
    falls = [decide(change, -FALL_NATS, above=False) for change in (train, val)]
    verdict = {(HOLDS, HOLDS): FAILS, (FAILS, FAILS): HOLDS}.get((falls[0], falls[1]), UNDECIDED)
    reason = (
        f"From the first epoch to the last, training loss changes by {nats_text(train)}, validation loss by "
        f"{nats_text(val)}."
    )
    if sorted(falls) == sorted((HOLDS, FAILS)):
        reason += " One goes down and the other does not: no run decides which of the two the claim means."
    elif verdict == UNDECIDED:
        reason += "".join(closing_text(fall, change, (-FALL_NATS,)) for fall, change in zip(falls, (train, val)))
    yield Statement("the loss does not go down", verdict, reason)


@published("C10", "Q2_2: widening an affine network does not help", show_final, "Q2_2", "Q2_1")
def claim_q2_2_width_does_not_help(study: Study) -> Iterator[Statement]:
    wide, narrow = require_group(study, "Q2_2"), require_group(study, "Q2_1")
    # These two go together seed by seed, as no other two networks do.
    gain = study.difference(wide, narrow, paired=True)
    ratio = _parameters("Q2_2") / _parameters("Q2_1")
    verdict = decide(gain, HELP_POINTS, above=False)
    reason = (
        f"{points_text(gain)} for {ratio:.1f} times the parameters; an improvement counts from {HELP_POINTS:g} point."
    )
    both = [draw for draw in wide.runs if draw in narrow.runs]
    if len(both) >= MIN_RUNS:
        # What seeds make of each epoch's accuracy, float (epochs, seeds): a few seeds by themselves tell little.
        epochs = range(1, min(wide.epochs, narrow.epochs) + 1)
        curves = [[group.by_draw("val_accuracy", epoch) for epoch in epochs] for group in (wide, narrow)]
        ours, theirs = (np.array([[each[draw] for draw in both] for each in curve]) for curve in curves)
        ours, theirs = (values - values.mean(axis=1, keepdims=True) for values in (ours, theirs))
        r = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
        reason += (
            f" The verdict is by pairs of one seed, because these two go together: over all epochs the accuracies "
            f"of the seeds, minus their mean, correlate with r = {r:.2f}."
        )
    reason += closing_text(verdict, gain, (HELP_POINTS,))
    yield Statement("widening an affine network does not help", verdict, reason)


def check_claims(study: Study) -> list[Claim]:
    """Decide every published claim by the runs; runs of another recipe, or on other images, say nothing of any."""
    return [check(study) for check in CHECKS] if is_judged(study) else []


def is_complete(checked: Sequence[Claim]) -> bool:
    """Tell whether every run is there that the claims need."""
    return bool(checked) and all(claim.has_runs and not claim.lacks for claim in checked)


def is_judged(study: Study) -> bool:
    return study.is_cifar10 and study.is_classic
