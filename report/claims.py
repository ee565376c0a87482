"""The published claims, and the rules by which the runs decide them.

A claim is a list of statements; it holds if all of them do, and does not hold if one of them does not. What the runs
are too few for, or their intervals too wide, is not decided. The thresholds are the constants below; the report has the
rules in words, from ``templates/prose.md.j2``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scipy.stats import spearmanr

import models
from report import stats
from report.results import SeedGroup, Study
from report.stats import Estimate
from report.text import FAILS, HOLDS, UNDECIDED, combine, decide, nats_text, percent_text, points_text

MIN_RUNS = 3  # of what a claim is about; what it is compared with needs one run
MIN_EPOCHS = 10  # to say what becomes of a network that is trained on: the published runs have 10 or 15
EARLY_EPOCHS = 2  # the textbook's training run, which the early figures come from
FIGURE_POINTS = 3.0  # a published percentage is met within these
DROP_POINTS = 5.0  # "about 10 points lost"
UNDERFIT_NATS = 0.1  # validation loss above training loss, at most
FALL_NATS = 0.05  # a loss that falls by less has not gone down
A_BIT = 2.0  # "a bit" larger or smaller: at most by this factor
AROUND_POINTS = 5.0  # a variation's accuracy
FAR_POINTS = 10.0  # "far below"
HELP_POINTS = 1.0  # an improvement that counts
CHANCE_PERCENT = 10.0  # of ten classes with the same number of images
CLIMB_NATS = 0.02  # a validation loss that rises by less has not turned
KEPT_POINTS = 1.0  # an accuracy that falls by less has held


class NotEnough(Exception):
    """Too few runs to decide; the message says which are missing."""


@dataclass(frozen=True)
class Statement:
    """A part of a claim, with its verdict and the reason for it in a sentence."""

    text: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Claim:
    """A published claim as the runs see it."""

    key: str
    published: str  # in words
    measured: str  # the figures beside it
    statements: tuple[Statement, ...]

    @property
    def verdict(self) -> str:
        return combine(statement.verdict for statement in self.statements)


def require_group(
    study: Study, model: str, shuffle: str = "none", runs: int = MIN_RUNS, epochs: int = MIN_EPOCHS
) -> SeedGroup:
    """Return the group of a model and shuffle. Raises NotEnough if it has fewer runs, or shorter ones."""
    group = study.group(model, shuffle)
    n = len(group.runs) if group else 0
    if not group or n < runs:
        what = model + (f" with shuffle {shuffle}" if shuffle != "none" else "")
        raise NotEnough(f"needs {runs} run{'s' * (runs > 1)} of {what}, there {'is' if n == 1 else 'are'} {n}")
    if group.epochs < epochs:
        raise NotEnough(f"needs {epochs} epochs, these runs have {group.epochs}")
    return group


def attempt(rule: Callable[..., Iterator[Statement]], *arguments: object) -> Iterator[Statement]:
    """Apply a rule; what it lacks runs for is not decided, and leaves a claim's other statements alone."""
    try:
        yield from rule(*arguments)
    except NotEnough as missing:
        yield Statement("", UNDECIDED, f"It {missing}.")


def check_percentage(group: SeedGroup, published: float) -> Iterator[Statement]:
    """Check whether a published percentage is met, and when."""
    early = range(1, min(EARLY_EPOCHS, group.epochs) + 1)
    accuracies = {epoch: group.mean("val_accuracy", epoch) for epoch in dict.fromkeys([*early, group.epochs])}
    met = [epoch for epoch, accuracy in accuracies.items() if abs(accuracy.mean - published) <= FIGURE_POINTS]
    is_far = all(abs(each.mean - published) - each.half_width > FIGURE_POINTS for each in accuracies.values())
    reason = ", ".join(f"{percent_text(each)} after {epoch}" for epoch, each in accuracies.items()) + " epochs"
    if met and met[0] != group.epochs:
        epochs = " and ".join(map(str, met))
        reason += f": the figure is that of epoch {epochs}, not of a network that has learnt all it can"
    yield Statement(f"{published:g} %", HOLDS if met else FAILS if is_far else UNDECIDED, f"{reason}.")


def check_underfit(study: Study, model: str) -> Iterator[Statement]:
    """Check whether a network is too small for the training images, as the rules say."""
    group, original = require_group(study, model), require_group(study, "Q1_1", runs=1)
    higher = study.difference(group, original, "train_loss")
    excess = stats.mean([val - train for train, val in zip(group.values("train_loss"), group.values("val_loss"))])
    verdict = combine([decide(higher), decide(excess, UNDERFIT_NATS, above=False)])
    last_epoch = group.change("train_loss", max(1, group.epochs - 1))
    reason = (
        f"Training loss ends at {group.mean('train_loss').mean:.2f} nats, {nats_text(higher)} against Q1_1; the "
        f"validation loss is {nats_text(excess)} from it. Training still gains {-last_epoch.mean:.3f} nats in the "
        f"last epoch, so “however many epochs” is beyond {group.epochs} epochs."
    )
    yield Statement(f"{model} underfits", verdict, reason)


def check_overfit(study: Study, model: str) -> Iterator[Statement]:
    """Check whether validation loss turns and climbs while training loss falls, as the rules say."""
    group = require_group(study, model)
    epoch, climb = group.min_loss_epoch, group.loss_climb
    falls = group.change("train_loss", epoch)
    verdict = combine([decide(climb), decide(falls, above=False) if epoch < group.epochs else FAILS])
    reason = (
        f"Validation loss is lowest after epoch {epoch} ({group.mean('val_loss', epoch).mean:.2f} nats) and changes by "
        f"{nats_text(climb)} until epoch {group.epochs}, while training loss changes by {nats_text(falls)}. "
        f"{overconfidence_text(group)}"
    )
    yield Statement(f"{model}'s test loss turns and climbs while its training loss falls", verdict, reason)


def check_best(study: Study, model: str, others: list[str]) -> Iterator[Statement]:
    """Check whether a model has the best accuracy of all, as the rules say."""
    group = require_group(study, model)
    lead = {other: study.difference(group, require_group(study, other, runs=1)) for other in others}
    nearest = min(lead, key=lambda other: lead[other].mean)
    reason = f"{percent_text(group.mean('val_accuracy'))} after {group.epochs} epochs, {points_text(lead[nearest])}"
    reason += f" against {nearest}, the next."
    statement = f"{model} has the best test accuracy of {others[0]} to {model}"
    yield Statement(statement, combine(decide(estimate) for estimate in lead.values()), reason)


def check_variations(study: Study, models_around: list[str], original: str) -> Iterator[Statement]:
    """Check whether models are all near another one in accuracy, as the rules say."""
    group = require_group(study, original)
    gaps = {name: study.difference(require_group(study, name, runs=1), group) for name in models_around}
    is_far = any(gap.low > AROUND_POINTS or gap.high < -AROUND_POINTS for gap in gaps.values())
    is_near = all(gap.low > -AROUND_POINTS and gap.high < AROUND_POINTS for gap in gaps.values())
    reason = ", ".join(f"{name} {gap.mean:+.1f}" for name, gap in gaps.items())
    if widths := [gap.half_width for gap in gaps.values() if gap.has_interval]:
        reason += f" (95 % intervals: ± {max(widths):.1f} at most)"
    verdict = FAILS if is_far else HOLDS if is_near else UNDECIDED
    statement = f"in accuracy, too, variations around {original}"
    yield Statement(statement, verdict, f"Points against {original}: {reason}.")


def is_climbing(group: SeedGroup) -> bool:
    """Tell whether the mean validation loss turns before the last epoch, and climbs."""
    return group.min_loss_epoch < group.epochs and group.loss_climb.mean > CLIMB_NATS


def overconfidence_text(group: SeedGroup) -> str:
    """Say what becomes of a network's decisions and of its confidence while its validation loss climbs."""
    epoch, climb = group.min_loss_epoch, group.loss_climb
    if not is_climbing(group):
        return f"{group.model}'s validation loss does not climb within {group.epochs} epochs."
    accuracy = group.change("val_accuracy", epoch)
    before, after = (
        group.mean("val_confidence", when).mean - group.mean("val_accuracy", when).mean
        for when in (epoch, group.epochs)
    )
    course = (
        f"From epoch {epoch} to {group.epochs}, as {group.model}'s validation loss climbs by {climb.mean:.2f} nats, "
        f"its accuracy changes by {points_text(accuracy)} and its confidence goes from {before:+.1f} to {after:+.1f} "
        "points beyond its accuracy"
    )
    if accuracy.mean < -KEPT_POINTS:
        return f"{course}: it decides worse, and is surer of it."
    if after <= before:
        return f"{course}."
    return (
        f"{course}: it decides as well as before and is surer of its mistakes. The loss that climbs is the price of "
        "over-confidence, not of worse decisions."
    )


def _parameters(model: str) -> int:
    return models.find(model).parameters or 0


def _seeds(group: SeedGroup) -> str:
    return f"{len(group.runs)} seed{'s' * (len(group.runs) != 1)}"


def show_course(group: SeedGroup) -> str:
    """Show accuracies after the early epochs and the last, e.g. ``47.4 / 54.4 / 63.1 % after 1 / 2 / 10 epochs``."""
    epochs = dict.fromkeys([*range(1, min(EARLY_EPOCHS, group.epochs) + 1), group.epochs])
    means = " / ".join(f"{group.mean('val_accuracy', epoch).mean:.1f}" for epoch in epochs)
    return f"{means} % after {' / '.join(map(str, epochs))} epochs ({_seeds(group)})"


def show_by_class(group: SeedGroup) -> str:
    """Show the accuracies of all classes after the first epoch and the last, from the best to the worst."""
    lines = []
    for epoch in dict.fromkeys((1, group.epochs)):
        means = {name: group.mean(f"val_accuracy_of_{name}", epoch).mean for name in group.example.data["classes"]}
        order = ", ".join(f"{name} {means[name]:.0f}" for name in sorted(means, key=lambda name: -means[name]))
        lines.append(f"after epoch {epoch}: {order} % ({_seeds(group)})")
    return "\n".join(lines)


def show_final(*groups: SeedGroup) -> str:
    """Show the last accuracies with their 95 % intervals, e.g. ``Q1_19: 74.1 (73.6 … 74.6) %, 3 seeds``."""
    return "\n".join(f"{group.model}: {percent_text(group.mean('val_accuracy'))}, {_seeds(group)}" for group in groups)


def show_losses(*groups: SeedGroup) -> str:
    """Show the last losses, e.g. ``Q1_4: training 1.52, validation 1.50 nats (3 seeds)``."""
    losses = [(group, group.mean("train_loss").mean, group.mean("val_loss").mean) for group in groups]
    return "\n".join(
        f"{group.model}: training {train:.2f}, validation {val:.2f} nats ({_seeds(group)})"
        for group, train, val in losses
    )


# ---- the claims ------------------------------------------------------------------------------------------------------

# The published percentages by class, with a per-image shuffle.
PER_IMAGE = dict(plane=48, car=28, bird=13, cat=5, deer=46, dog=29, frog=36, horse=9, ship=31, truck=16)
SMALLER, LARGER = ("Q1_20", "Q1_21", "Q1_22"), ("Q1_23", "Q1_24", "Q1_25")  # than Q1_19

Rule = Callable[[Study], Iterator[Statement]]
CHECKS: list[Callable[[Study], Claim]] = []


def published(key: str, text: str, show: Callable[..., str], *names: str, shuffle: str = "none") -> Callable:
    """Decorate the rule of a claim, so that it is checked; ``show`` gives the figures of the groups beside it."""

    def register(rule: Rule) -> Rule:
        def check(study: Study) -> Claim:
            groups = [group for name in names if (group := study.group(name, shuffle))]
            measured = show(*groups) if groups else "no runs"
            if not (study.is_cifar10 and study.is_classic):
                wrong = "not the published recipe" if study.is_cifar10 else "not CIFAR-10"
                return Claim(key, text, measured, (Statement(text, UNDECIDED, f"These runs are {wrong}."),))
            return Claim(key, text, measured, tuple(attempt(rule, study)))

        CHECKS.append(check)
        return rule

    return register


@published("C1", "Q1_1 without shuffling: about 50 %", show_course, "Q1_1")
def claim_q1_1_reaches_50(study: Study) -> Iterator[Statement]:
    yield from check_percentage(require_group(study, "Q1_1", epochs=1), 50)


@published("C2", "Q1_1, fixed shuffle: 40 %, about 10 points lost", show_course, "Q1_1", shuffle="fixed")
def claim_fixed_shuffle_costs_10(study: Study) -> Iterator[Statement]:
    plain, fixed = require_group(study, "Q1_1", epochs=1), require_group(study, "Q1_1", "fixed", epochs=1)
    yield from check_percentage(fixed, 40)
    # The points lost are those of the early epoch in which the shuffled accuracy is nearest to the published one.
    epochs = range(1, min(EARLY_EPOCHS, fixed.epochs, plain.epochs) + 1)
    epoch = min(epochs, key=lambda epoch: abs(fixed.mean("val_accuracy", epoch).mean - 40))
    early = stats.difference(plain.values("val_accuracy", epoch), fixed.values("val_accuracy", epoch))
    off = abs(early.mean - 10)
    verdict = HOLDS if off <= DROP_POINTS else FAILS if off - early.half_width > DROP_POINTS else UNDECIDED
    last = study.difference(plain, fixed)
    reason = f"{points_text(early)} lost after epoch {epoch}, {points_text(last)} after the last."
    yield Statement("about 10 points lost", verdict, reason)


@published("C3", "Q1_1, per-image shuffle: 25 %, far above chance (10 %)", show_course, "Q1_1", shuffle="per-image")
def claim_per_image_is_above_chance(study: Study) -> Iterator[Statement]:
    group = require_group(study, "Q1_1", "per-image", epochs=1)
    yield from check_percentage(group, 25)
    above = stats.mean([accuracy - CHANCE_PERCENT for accuracy in group.values("val_accuracy")])
    yield Statement("far above chance", decide(above), f"{points_text(above)} above {CHANCE_PERCENT:g} %.")


@published("C4", "Q1_1, per-image: planes (48 %) and deer (46 %) best, cats (5 %) worst",
           show_by_class, "Q1_1", shuffle="per-image")  # fmt: skip
def claim_planes_and_deer_best(study: Study) -> Iterator[Statement]:
    group = require_group(study, "Q1_1", "per-image")
    if set(group.example.data["classes"]) != PER_IMAGE.keys():
        raise NotEnough("the classes are not CIFAR-10's")

    def lead(better: str, worse: str) -> Estimate:
        pair = (group.values(f"val_accuracy_of_{name}") for name in (better, worse))
        return stats.mean([a - b for a, b in zip(*pair)])

    means = [group.mean(f"val_accuracy_of_{name}").mean for name in PER_IMAGE]
    rank = spearmanr(list(PER_IMAGE.values()), means).statistic
    others = [name for name in PER_IMAGE if name not in ("plane", "deer")]
    for statement, pairs in (
        ("planes and deer best", [(one, other) for one in ("plane", "deer") for other in others]),
        ("cats worst", [(other, "cat") for other in PER_IMAGE if other != "cat"]),
    ):
        leads = {pair: lead(*pair) for pair in pairs}
        better, worse = min(leads, key=lambda pair: leads[pair].mean)
        reason = (
            f"After {group.epochs} epochs {better} less {worse}, the closest call, is "
            f"{points_text(leads[better, worse])}. Rank correlation of all ten classes with the published figures: "
            f"{rank:+.2f}."
        )
        yield Statement(statement, combine(map(decide, leads.values())), reason)


@published("C5", "Q1_4, Q1_17 and Q1_18 underfit: training loss stays high, however many epochs",
           show_losses, "Q1_4", "Q1_17", "Q1_18")  # fmt: skip
def claim_three_models_underfit(study: Study) -> Iterator[Statement]:
    for model in ("Q1_4", "Q1_17", "Q1_18"):
        yield from attempt(check_underfit, study, model)


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
        "it has more parameters in its fully connected layers", HOLDS if larger > original else FAILS, reason
    )


@published("C7", "Q1_19 is the best of the early set, though it has more parameters than Q1_11",
           show_final, "Q1_19", "Q1_11")  # fmt: skip
def claim_q1_19_is_best(study: Study) -> Iterator[Statement]:
    yield from check_best(study, "Q1_19", [f"Q1_{number}" for number in range(1, 19)])
    ours, other = _parameters("Q1_19"), _parameters("Q1_11")
    yield Statement(
        "it has more parameters than Q1_11", HOLDS if ours > other else FAILS, f"{ours:,} against {other:,}."
    )


@published("C8", "Q1_20 to Q1_22 a bit smaller, Q1_23 to Q1_25 a bit larger: variations around Q1_19",
           show_final, "Q1_19", *SMALLER, *LARGER)  # fmt: skip
def claim_q1_20_to_25_vary_q1_19(study: Study) -> Iterator[Statement]:
    ratio = {model: _parameters(model) / _parameters("Q1_19") for model in SMALLER + LARGER}
    is_so = all(ratio[model] < 1 for model in SMALLER) and all(ratio[model] > 1 for model in LARGER)
    reason = ", ".join(f"{model} × {value:.2f}" for model, value in ratio.items())
    verdict = HOLDS if is_so else FAILS
    yield Statement("three are smaller, three larger", verdict, f"Parameters against Q1_19's: {reason}.")
    far = [model for model, value in ratio.items() if max(value, 1 / value) > A_BIT]
    reason = f"By more than a factor of {A_BIT:g}: {', '.join(far)}." if far else f"None by more than {A_BIT:g} times."
    yield Statement("by a bit", FAILS if far else HOLDS, reason)
    yield from attempt(check_variations, study, [*ratio], "Q1_19")


@published("C9", "Q2_1: without non-linearities accuracy drops far below Q1_1's, and the loss does not go down",
           show_final, "Q2_1", "Q1_1")  # fmt: skip
def claim_q2_1_falls_far_below(study: Study) -> Iterator[Statement]:
    affine, original = require_group(study, "Q2_1"), require_group(study, "Q1_1", runs=1)
    lost = study.difference(affine, original)
    reason = f"{points_text(lost)} against Q1_1 after {affine.epochs} epochs."
    yield Statement("accuracy far below Q1_1's", decide(lost, -FAR_POINTS, above=False), reason)
    train, val = (affine.change(column, 1) for column in ("train_loss", "val_loss"))
    falls = decide(train, -FALL_NATS, above=False), decide(val, -FALL_NATS, above=False)
    verdict = FAILS if falls == (HOLDS, HOLDS) else HOLDS if falls == (FAILS, FAILS) else UNDECIDED
    reason = f"From the first epoch to the last, training loss changes by {nats_text(train)}, validation loss by "
    reason += nats_text(val) + "; the claim does not say which of the two it means" * (verdict == UNDECIDED)
    yield Statement("the loss does not go down", verdict, f"{reason}.")


@published("C10", "Q2_2: widening an affine network does not help", show_final, "Q2_2", "Q2_1")
def claim_q2_2_width_does_not_help(study: Study) -> Iterator[Statement]:
    gain = study.difference(require_group(study, "Q2_2"), require_group(study, "Q2_1"))
    ratio = _parameters("Q2_2") / _parameters("Q2_1")
    reason = (
        f"{points_text(gain)} for {ratio:.1f} times the parameters; an improvement counts from {HELP_POINTS:g} point."
    )
    yield Statement("widening an affine network does not help", decide(gain, HELP_POINTS, above=False), reason)


def check_claims(study: Study) -> list[Claim]:
    """Decide every published claim by the runs."""
    return [check(study) for check in CHECKS]
