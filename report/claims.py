"""The published claims, and the rules by which the runs decide them.

A claim is a list of parts; it holds if all of them do, and does not hold if one of them does not. What the runs are too
few for, or their intervals too wide, is not decided. Every threshold is a constant here.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import estimates
import models
from estimates import Estimate
from outcomes import Group, Study

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"

MIN_RUNS = 3  # of what a claim is about; what it is compared with needs one run
MIN_EPOCHS = 10  # to say what becomes of a network that is trained on: the published runs have 10 or 15
EARLY_EPOCHS = 2  # the textbook's training run, which the early figures come from
FIGURE_POINTS = 3.0  # a published percentage is met within these
DROP_POINTS = 5.0  # "about 10 points lost"
UNDERFIT_NATS = 0.1  # validation loss above training loss, at most
FALL_NATS = 0.05  # a loss that falls by less has not gone down
CLIMB_NATS = 0.02  # a validation loss that rises by less has not turned
KEPT_POINTS = 1.0  # an accuracy that falls by less has held
A_BIT = 2.0  # "a bit" larger or smaller: at most by this factor
AROUND_POINTS = 5.0  # a variation's accuracy
FAR_POINTS = 10.0  # "far below"
HELP_POINTS = 1.0  # an improvement that counts
CHANCE = 10.0

RULES = (
    f"Enough runs: {MIN_RUNS} seeds of what a claim is about, one of what it is compared with, and {MIN_EPOCHS} epochs "
    "where it is about a network that is trained on. Intervals are 95 % Student t over seeds: paired where both sides "
    "have seeds in common, else from the standard deviation between seeds that all groups have in common. Where a "
    "claim needs many comparisons, one that is the other way round refutes it.",
    f"A published percentage is met if the mean is within {FIGURE_POINTS:g} points of it after one of the first "
    f"{EARLY_EPOCHS} epochs, which is how long the textbook trains, or after the last; it is not if the whole interval "
    "is farther away at each of them.",
    f"Underfit: the training loss ends above the original net's, with its interval, and the validation loss is no more "
    f"than {UNDERFIT_NATS:g} nats above it, so that there is nothing for regularisation to win.",
    "Overfit: the validation loss ends above its lowest point, with its interval, while the training loss fell. The "
    "lowest point is found in the other seeds' curves, so that a seed's own noise is not taken for a turn.",
    "Best: its accuracy exceeds that of every other, with the interval of the difference.",
    f"Drop, far below: a difference of accuracies, with its interval; “far” is {FAR_POINTS:g} points, and widening "
    f"helps from {HELP_POINTS:g} point.",
    f"A loss does not go down if training and validation loss both fall by less than {FALL_NATS:g} nats.",
    f"A bit smaller or larger: at most {A_BIT:g} times; a variation: within {AROUND_POINTS:g} points of accuracy.",
)


class NotEnough(Exception):
    """Too few runs to decide; the message says which are missing."""


@dataclass(frozen=True)
class Part:
    """A statement of a claim, with its verdict and the reason for it in a sentence."""

    statement: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Claim:
    """A published claim as the runs see it.

    Attributes:
        published: what was published, in words.
        measured: the figures beside it.
    """

    key: str
    published: str
    measured: str
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> str:
        return combine(part.verdict for part in self.parts)


def combine(verdicts: Iterable[str]) -> str:
    """``HOLDS`` if all do, ``FAILS`` if one does, else ``OPEN``."""
    verdicts = set(verdicts)
    return FAILS if FAILS in verdicts else OPEN if OPEN in verdicts else HOLDS


# ---- words ----------------------------------------------------------------------------------------------------------


def percent(estimate: Estimate) -> str:
    """A percentage, with its interval."""
    interval = "" if estimate.half is None else f" ({estimate.low:.1f} … {estimate.high:.1f})"
    return f"{estimate.mean:.1f}{interval} %"


def points(estimate: Estimate) -> str:
    """A difference of percentages, with its interval."""
    interval = "" if estimate.half is None else f" ({estimate.low:+.1f} … {estimate.high:+.1f})"
    return f"{estimate.mean:+.1f}{interval} points"


def nats(estimate: Estimate) -> str:
    interval = "" if estimate.half is None else f" ({estimate.low:+.2f} … {estimate.high:+.2f})"
    return f"{estimate.mean:+.2f}{interval} nats"


def seeds(n: int) -> str:
    return f"{n} seed{'s' * (n != 1)}"


def decide(estimate: Estimate, limit: float = 0.0, above: bool = True) -> str:
    """Whether a quantity is above (or below) a limit: decided where the limit is outside its interval."""
    if estimate.half is None:
        return OPEN
    if estimate.low > limit:
        return HOLDS if above else FAILS
    if estimate.high < limit:
        return FAILS if above else HOLDS
    return OPEN


def need(study: Study, model: str, shuffle: str = "none", runs: int = MIN_RUNS, epochs: int = MIN_EPOCHS) -> Group:
    """The group of a model and shuffle.

    Raises:
        NotEnough: it has fewer runs, or shorter ones.
    """
    group = study.group(model, shuffle)
    there = len(group.runs) if group else 0
    if there < runs:
        what = model + (f" with shuffle {shuffle}" if shuffle != "none" else "")
        raise NotEnough(f"needs {runs} run{'s' * (runs > 1)} of {what}, there {'is' if there == 1 else 'are'} {there}")
    if group.epochs < epochs:
        raise NotEnough(f"needs {epochs} epochs, these runs have {group.epochs}")
    return group


# ---- rules ----------------------------------------------------------------------------------------------------------


def figure(group: Group, published: float) -> Part:
    """Whether a published percentage is met, and when."""
    early = range(1, min(EARLY_EPOCHS, group.epochs) + 1)
    at = {epoch: group.mean("val_accuracy", epoch) for epoch in dict.fromkeys([*early, group.epochs])}
    course = ", ".join(f"{percent(estimate)} after {epoch}" for epoch, estimate in at.items())
    met = [epoch for epoch, estimate in at.items() if abs(estimate.mean - published) <= FIGURE_POINTS]
    reason = f"{course} epochs"
    if met and met[0] != group.epochs:
        reason += (
            f": the figure is that of epoch {' and '.join(map(str, met))}, not of a network that has learnt all it can"
        )
    far = [abs(estimate.mean - published) - estimate.half > FIGURE_POINTS for estimate in at.values()]
    return Part(f"{published:g} %", HOLDS if met else FAILS if all(far) else OPEN, reason + ".")


def underfit(study: Study, model: str) -> Part:
    """Whether a network is too small for the training images, see ``RULES``."""
    group, original = need(study, model), need(study, "Q1_1", runs=1)
    higher = study.difference(group, original, "train_loss")
    end = group.mean("train_loss")
    excess = {seed: loss - group.at("train_loss")[seed] for seed, loss in group.at("val_loss").items()}
    apart = estimates.mean(list(excess.values()))
    verdict = combine([decide(higher), decide(apart, UNDERFIT_NATS, above=False)])
    pace = group.change("train_loss", max(1, group.epochs - 1))
    reason = (
        f"Training loss ends at {end.mean:.2f} nats, {nats(higher)} against Q1_1; the validation loss is {nats(apart)} "
        f"from it. Training still gains {-pace.mean:.3f} nats in the last epoch, so “however many epochs” is "
        f"beyond {group.epochs} epochs."
    )
    return Part(f"{model} underfits", verdict, reason)


def turn(group: Group) -> tuple[int, Estimate]:
    """The epoch where the mean validation loss is lowest, and how far the loss climbs until the last epoch.

    The lowest point of a noisy curve is too low. So each seed's climb starts at the epoch where the mean of the *other*
    seeds is lowest, which its own noise did not choose.
    """
    curves = {seed: [row["val_loss"] for row in run.history] for seed, run in group.runs.items()}

    def lowest(chosen: list[list[float]]) -> int:
        means = [statistics.fmean(losses) for losses in zip(*chosen)]
        return means.index(min(means))

    climbs = [
        curve[-1] - curve[lowest([other for key, other in curves.items() if key != seed] or [curve])]
        for seed, curve in curves.items()
    ]
    return lowest(list(curves.values())) + 1, estimates.mean(climbs)


def climbs(group: Group) -> bool:
    """Whether the mean validation loss has turned before the last epoch."""
    epoch, climb = turn(group)
    return epoch < group.epochs and climb.mean > CLIMB_NATS


def overfit(study: Study, model: str) -> Part:
    """Whether validation loss turns and climbs while training loss falls, see ``RULES``."""
    group = need(study, model)
    epoch, climb = turn(group)
    falls = group.change("train_loss", epoch)
    verdict = combine([decide(climb), decide(falls, above=False) if epoch < group.epochs else FAILS])
    reason = (
        f"Validation loss is lowest after epoch {epoch} ({group.mean('val_loss', epoch).mean:.2f} nats) and changes by "
        f"{nats(climb)} until epoch {group.epochs}, while training loss changes by {nats(falls)}."
    )
    return Part(f"{model}'s test loss turns and climbs while its training loss falls", verdict, reason)


def overconfidence(group: Group) -> str:
    """What becomes of a network's decisions and of its confidence while its validation loss climbs, in a sentence."""
    epoch, climb = turn(group)
    if not climbs(group):
        return f"{group.model}'s validation loss does not climb within {group.epochs} epochs."
    accuracy = group.change("val_accuracy", epoch)
    before, after = (
        group.mean("val_confidence", at).mean - group.mean("val_accuracy", at).mean for at in (epoch, group.epochs)
    )
    told = (
        f"From epoch {epoch} to {group.epochs}, as {group.model}'s validation loss climbs by {climb.mean:.2f} nats, "
        f"its accuracy changes by {points(accuracy)} and its confidence goes from {before:+.1f} to {after:+.1f} points "
        "beyond its accuracy"
    )
    if accuracy.mean < -KEPT_POINTS:
        return f"{told}: it decides worse, and is surer of it."
    if after > before:
        return (
            f"{told}: it decides as well as before and is surer of its mistakes. The loss that climbs is the price of "
            "over-confidence, not of worse decisions."
        )
    return f"{told}."


def best(study: Study, model: str, others: list[str]) -> Part:
    """Whether a model has the best accuracy of all, see ``RULES``."""
    group = need(study, model)
    apart = {other: study.difference(group, need(study, other, runs=1)) for other in others}
    verdict = combine(decide(estimate) for estimate in apart.values())
    nearest = min(apart, key=lambda other: apart[other].mean)
    reason = (
        f"{percent(group.mean('val_accuracy'))} after {group.epochs} epochs, {points(apart[nearest])} against "
        f"{nearest}, the next."
    )
    return Part(f"{model} has the best test accuracy of {others[0]} to {model}", verdict, reason)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation of two lists without ties."""
    return statistics.correlation(*([sorted(values).index(value) for value in values] for values in (a, b)))


# ---- the claims -----------------------------------------------------------------------------------------------------

PER_IMAGE = dict(plane=48, car=28, bird=13, cat=5, deer=46, dog=29, frog=36, horse=9, ship=31, truck=16)


def course(group: Group) -> str:
    """Accuracies after the early epochs and the last, e.g. ``47.4 / 54.4 / 63.1 % after 1 / 2 / 10 epochs``."""
    epochs = dict.fromkeys([*range(1, min(EARLY_EPOCHS, group.epochs) + 1), group.epochs])
    means = " / ".join(f"{group.mean('val_accuracy', epoch).mean:.1f}" for epoch in epochs)
    return f"{means} % after {' / '.join(map(str, epochs))} epochs ({seeds(len(group.runs))})"


def by_class(group: Group) -> str:
    """The accuracies of all classes after the first epoch and the last, from the best to the worst."""
    told = []
    for epoch in dict.fromkeys((1, group.epochs)):
        means = {name: group.mean(f"val_accuracy_of_{name}", epoch).mean for name in group.any.data["classes"]}
        order = ", ".join(f"{name} {means[name]:.0f}" for name in sorted(means, key=means.get, reverse=True))
        told.append(f"after epoch {epoch}: {order} % ({seeds(len(group.runs))})")
    return "\n".join(told)


def final(*groups: Group) -> str:
    """The last accuracies with their 95 % intervals, e.g. ``Q1_19: 74.1 (73.6 … 74.6) %, 3 seeds``."""
    return "\n".join(
        f"{group.model}: {percent(group.mean('val_accuracy'))}, {seeds(len(group.runs))}" for group in groups
    )


def losses(*groups: Group) -> str:
    """The last losses, e.g. ``Q1_4: training 1.52, validation 1.50 nats (3 seeds)``."""
    return "\n".join(
        f"{group.model}: training {group.mean('train_loss').mean:.2f}, validation {group.mean('val_loss').mean:.2f} "
        f"nats ({seeds(len(group.runs))})"
        for group in groups
    )


def c1(study: Study) -> Iterator[Part]:
    yield figure(need(study, "Q1_1", epochs=1), 50)


def c2(study: Study) -> Iterator[Part]:
    plain, fixed = need(study, "Q1_1", epochs=1), need(study, "Q1_1", "fixed", epochs=1)
    part = figure(fixed, 40)
    yield part
    epochs = range(1, min(EARLY_EPOCHS, fixed.epochs, plain.epochs) + 1)
    epoch = min(epochs, key=lambda epoch: abs(fixed.mean("val_accuracy", epoch).mean - 40))
    early = estimates.difference(plain.at("val_accuracy", epoch), fixed.at("val_accuracy", epoch))
    last = study.difference(plain, fixed)
    off = abs(early.mean - 10)
    far = early.half is not None and off - early.half > DROP_POINTS
    verdict = HOLDS if off <= DROP_POINTS else FAILS if far else OPEN
    reason = f"{points(early)} lost after epoch {epoch}, {points(last)} after the last."
    yield Part("about 10 points lost", verdict, reason)


def c3(study: Study) -> Iterator[Part]:
    group = need(study, "Q1_1", "per-image", epochs=1)
    yield figure(group, 25)
    above = estimates.mean([accuracy - CHANCE for accuracy in group.at("val_accuracy").values()])
    yield Part("far above chance", decide(above), f"{points(above)} above {CHANCE:g} %.")


def c4(study: Study) -> Iterator[Part]:
    group = need(study, "Q1_1", "per-image")
    if set(group.any.data["classes"]) != PER_IMAGE.keys():
        raise NotEnough("the classes are not CIFAR-10's")

    def apart(better: str, worse: str) -> Estimate:
        pair = (group.at(f"val_accuracy_of_{name}").values() for name in (better, worse))
        return estimates.mean([a - b for a, b in zip(*pair)])

    means = [group.mean(f"val_accuracy_of_{name}").mean for name in PER_IMAGE]
    rank = rank_correlation(list(PER_IMAGE.values()), means)
    others = [name for name in PER_IMAGE if name not in ("plane", "deer")]
    for statement, pairs in (
        ("planes and deer best", [(one, other) for one in ("plane", "deer") for other in others]),
        ("cats worst", [(other, "cat") for other in PER_IMAGE if other != "cat"]),
    ):
        better, worse = min(pairs, key=lambda pair: apart(*pair).mean)
        yield Part(
            statement,
            combine(decide(apart(*pair)) for pair in pairs),
            f"After {group.epochs} epochs {better} less {worse}, the closest call, is {points(apart(better, worse))}. "
            f"Rank correlation of all ten classes with the published figures: {rank:+.2f}.",
        )


def c5(study: Study) -> Iterator[Part | Callable[[], Part]]:
    for model in ("Q1_4", "Q1_17", "Q1_18"):
        yield lambda model=model: underfit(study, model)


def c6(study: Study) -> Iterator[Part | Callable[[], Part]]:
    group = need(study, "Q1_11")
    part = overfit(study, "Q1_11")
    yield Part(part.statement, part.verdict, f"{part.reason} {overconfidence(group)}")
    weights = {
        model: sum(layer.parameters for layer in models.find(model).layers() if layer.kind == "linear")
        for model in ("Q1_1", "Q1_11")
    }
    yield Part(
        "it has more parameters in its fully connected layers",
        HOLDS if weights["Q1_11"] > weights["Q1_1"] else FAILS,
        f"{weights['Q1_11']:,} of {models.find('Q1_11').parameters:,}; in Q1_1 they are {weights['Q1_1']:,} of "
        f"{models.find('Q1_1').parameters:,}.",
    )


def c7(study: Study) -> Iterator[Part]:
    yield best(study, "Q1_19", [f"Q1_{number}" for number in range(1, 19)])
    counts = {model: models.find(model).parameters for model in ("Q1_19", "Q1_11")}
    yield Part(
        "it has more parameters than Q1_11",
        HOLDS if counts["Q1_19"] > counts["Q1_11"] else FAILS,
        f"{counts['Q1_19']:,} against {counts['Q1_11']:,}.",
    )


def c8(study: Study) -> Iterator[Part | Callable[[], Part]]:
    size = {number: models.find(f"Q1_{number}").parameters for number in range(19, 26)}
    ratio = {number: parameters / size[19] for number, parameters in size.items() if number != 19}
    right = all(value < 1 for number, value in ratio.items() if number < 23)
    right &= all(value > 1 for number, value in ratio.items() if number >= 23)
    listed = ", ".join(f"Q1_{number} × {value:.2f}" for number, value in ratio.items())
    yield Part("three are smaller, three larger", HOLDS if right else FAILS, f"Parameters against Q1_19's: {listed}.")
    far = [f"Q1_{number}" for number, value in ratio.items() if max(value, 1 / value) > A_BIT]
    reason = f"By more than a factor of {A_BIT:g}: {', '.join(far)}." if far else f"None by more than {A_BIT:g} times."
    yield Part("by a bit", FAILS if far else HOLDS, reason)

    def around() -> Part:
        original = need(study, "Q1_19")
        apart = {n: study.difference(need(study, f"Q1_{n}", runs=1), original) for n in ratio}
        far = [
            n for n, by in apart.items() if by.half is not None and (by.low > AROUND_POINTS or by.high < -AROUND_POINTS)
        ]
        near = [
            n for n, by in apart.items() if by.half is not None and by.low > -AROUND_POINTS and by.high < AROUND_POINTS
        ]
        verdict = FAILS if far else HOLDS if len(near) == len(apart) else OPEN
        listed = ", ".join(f"Q1_{n} {by.mean:+.1f}" for n, by in apart.items())
        widest = max((by.half for by in apart.values() if by.half is not None), default=None)
        interval = "" if widest is None else f" (95 % intervals: ± {widest:.1f} at most)"
        return Part("in accuracy, too, variations around Q1_19", verdict, f"Points against Q1_19: {listed}{interval}.")

    yield around


def c9(study: Study) -> Iterator[Part | Callable[[], Part]]:
    affine, original = need(study, "Q2_1"), need(study, "Q1_1", runs=1)
    lost = study.difference(affine, original)
    yield Part(
        "accuracy far below Q1_1's",
        decide(lost, -FAR_POINTS, above=False),
        f"{points(lost)} against Q1_1 after {affine.epochs} epochs.",
    )
    train, val = (affine.change(column, 1) for column in ("train_loss", "val_loss"))
    falls = decide(train, -FALL_NATS, above=False), decide(val, -FALL_NATS, above=False)
    verdict = FAILS if falls == (HOLDS, HOLDS) else HOLDS if falls == (FAILS, FAILS) else OPEN
    reason = f"From the first epoch to the last, training loss changes by {nats(train)}, validation loss by {nats(val)}"
    if verdict == OPEN:
        reason += "; the claim does not say which of the two it means"
    yield Part("the loss does not go down", verdict, reason + ".")


def c10(study: Study) -> Iterator[Part]:
    wide, narrow = need(study, "Q2_2"), need(study, "Q2_1")
    gain = study.difference(wide, narrow)
    yield Part(
        "widening an affine network does not help",
        decide(gain, HELP_POINTS, above=False),
        f"{points(gain)} for {models.find('Q2_2').parameters / models.find('Q2_1').parameters:.1f} times the "
        f"parameters; an improvement counts from {HELP_POINTS:g} point.",
    )


# Key, what was published, the groups whose figures are shown beside it, and the function that decides.
CLAIMS = (
    ("C1", "Q1_1 without shuffling: about 50 %", course, [("Q1_1", "none")], c1),
    ("C2", "Q1_1, fixed shuffle: 40 %, about 10 points lost", course, [("Q1_1", "fixed")], c2),
    ("C3", "Q1_1, per-image shuffle: 25 %, far above chance (10 %)", course, [("Q1_1", "per-image")], c3),
    ("C4", "Q1_1, per-image: planes (48 %) and deer (46 %) best, cats (5 %) worst", by_class,
     [("Q1_1", "per-image")], c4),
    ("C5", "Q1_4, Q1_17 and Q1_18 underfit: training loss stays high, however many epochs", losses,
     [("Q1_4", "none"), ("Q1_17", "none"), ("Q1_18", "none")], c5),
    ("C6", "Q1_11 overfits: test loss turns and climbs fast while training loss falls; more parameters in FC layers",
     losses, [("Q1_11", "none")], c6),
    ("C7", "Q1_19 is the best of the early set, though it has more parameters than Q1_11", final,
     [("Q1_19", "none"), ("Q1_11", "none")], c7),
    ("C8", "Q1_20 to Q1_22 a bit smaller, Q1_23 to Q1_25 a bit larger: variations around Q1_19", final,
     [(f"Q1_{number}", "none") for number in range(19, 26)], c8),
    ("C9", "Q2_1: without non-linearities accuracy drops far below Q1_1's, and the loss does not go down", final,
     [("Q2_1", "none"), ("Q1_1", "none")], c9),
    ("C10", "Q2_2: widening an affine network does not help", final, [("Q2_2", "none"), ("Q2_1", "none")], c10),
)  # fmt: skip


def judge(study: Study) -> list[Claim]:
    """Every published claim with the verdict of the runs."""
    return [_judge(study, *claim) for claim in CLAIMS]


def _judge(
    study: Study,
    key: str,
    published: str,
    show: Callable[..., str],
    cells: list[tuple[str, str]],
    rule: Callable[[Study], Iterator[Part | Callable[[], Part]]],
) -> Claim:
    groups = [group for cell in cells if (group := study.group(*cell))]
    measured = show(*groups) if groups else "no runs"
    if not (study.is_cifar10 and study.is_classic):
        wrong = "not CIFAR-10" if not study.is_cifar10 else "not the published recipe"
        return Claim(key, published, measured, (Part(published, OPEN, f"These runs are {wrong}."),))
    parts = []
    try:
        for part in rule(study):
            try:
                parts.append(part() if callable(part) else part)
            except NotEnough as missing:
                parts.append(Part("", OPEN, f"It {missing}."))
    except NotEnough as missing:
        parts.append(Part("", OPEN, f"It {missing}."))
    return Claim(key, published, measured, tuple(parts))
