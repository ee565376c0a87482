"""Validation losses that climb, and what becomes of a network's decisions and of its confidence meanwhile."""

import math

from report.results import SeedGroup
from report.text import FAILS, HOLDS, decide, nats_text, points_text
from runner.errors import counted

CLIMB_NATS = 0.02  # a validation loss that rises by less has not turned
KEPT_POINTS = 1.0  # an accuracy that falls by less has held


def is_climbing(group: SeedGroup) -> bool:
    """Tell whether the mean validation loss turns before the last epoch, and climbs."""
    return group.min_loss_epoch < group.epochs and group.loss_climb.mean > CLIMB_NATS


def overconfidence(group: SeedGroup) -> tuple[float, float]:
    """Compute by how many points confidence exceeds accuracy where the validation loss is lowest, and at the end."""
    at_turn, at_end = (
        group.mean("val_confidence", epoch).mean - group.mean("val_accuracy", epoch).mean
        for epoch in (group.min_loss_epoch, group.epochs)
    )
    return at_turn, at_end


def overconfidence_text(group: SeedGroup) -> str:
    """Say what becomes of a network's decisions and of its confidence while its validation loss climbs."""
    epoch = group.min_loss_epoch
    if not is_climbing(group):
        return f"{group.model}'s validation loss does not climb within {counted(group.epochs, 'epoch')}."
    change, accuracy = (group.change(column, epoch) for column in ("val_loss", "val_accuracy"))
    before, after = overconfidence(group)
    course = (
        f"From epoch {epoch} to {group.epochs}, as {group.model}'s validation loss changes by {nats_text(change)}, "
        f"its accuracy changes by {points_text(accuracy)} and its confidence goes from {before:+.1f} to {after:+.1f} "
        "points beyond its accuracy"
        + (": it decides worse" if decide(accuracy, -KEPT_POINTS, above=False) == HOLDS else "")
    )
    return f"{course}.{mistakes_text(group, epoch)}"


def mistakes_text(group: SeedGroup, epoch: int) -> str:
    """Say how calibration changes from an epoch to the last, and what follows; empty where the runs don't tell."""
    changes = {
        name: group.change(f"val_{name}", epoch)
        for name in ("confidence_when_wrong", "calibration_error", "scaled_loss")
    }
    if any(math.isnan(change.mean) for change in changes.values()):
        return ""
    wrong, error, scaled = (
        [group.mean(f"val_{name}", when).mean for when in (epoch, group.epochs)] for name in changes
    )
    text = (
        f" The confidence of its wrong answers goes from {wrong[0]:.1f} to {wrong[1]:.1f} %"
        + ": it is surer of its mistakes" * (decide(changes["confidence_when_wrong"]) == HOLDS)
        + f". The expected calibration error goes from {error[0]:.1f} to {error[1]:.1f} points, and the loss that is "
        f"left after temperature scaling from {scaled[0]:.2f} to {scaled[1]:.2f} nats"
    )
    does_climb = decide(changes["scaled_loss"], CLIMB_NATS)
    if does_climb == FAILS:
        text += ": what climbs is the price of over-confidence, not of worse decisions"
    elif does_climb == HOLDS:
        text += ": a part of the climb is not over-confidence"
    return f"{text}."


def climbing_text(groups: list[SeedGroup]) -> str:
    """Say in how many networks the validation loss climbs, and what becomes of confidence and accuracy there."""
    climbing = [group for group in groups if is_climbing(group)]
    counts = []
    for several, what in (
        (True, "with several seeds"),
        (False, "with one seed, where the turn is found in the same curve, which biases the climb upwards"),
    ):
        of = sum((len(group.runs) > 1) == several for group in groups)
        counts += [f"{sum((len(group.runs) > 1) == several for group in climbing)} of {of} {what}"] * (of > 0)
    sure = [group.model for group in climbing if decide(group.loss_climb, CLIMB_NATS) == HOLDS]
    turning = [group for group in groups if group.min_loss_epoch < group.epochs and not is_climbing(group)]
    outgrown, outgrown_too = (
        sum(after > before for before, after in map(overconfidence, some)) for some in (climbing, turning)
    )
    each = "each" if outgrown == len(climbing) else str(outgrown)
    worse = [
        group.model for group in climbing if group.change("val_accuracy", group.min_loss_epoch).mean < -KEPT_POINTS
    ]
    return (
        f"The mean validation loss climbs by more than {CLIMB_NATS:g} nats in {len(climbing)} of {len(groups)} "
        f"networks: in {', and in '.join(counts)}. By whole 95 % intervals, each network for itself, it climbs in "
        f"{len(sure)}"
        + f" ({', '.join(sure)})" * bool(sure)
        + f". Confidence outgrows accuracy in {each} of the {len(climbing)}"
        + f", and in {outgrown_too} of {counted(len(turning), 'other')} whose loss is lowest before the end"
        * bool(turning)
        + f"; mean accuracy falls by more than {KEPT_POINTS:g} point in {len(worse)}"
        + f" ({', '.join(worse)})" * bool(worse)
        + "."
    )
