"""Validation losses that climb, and what becomes of a network's decisions and of its confidence meanwhile."""

import math

from report.results import SeedGroup
from report.text import FAILS, HOLDS, decide, nats_text, points_text
from runner.errors import counted

CLIMB_NATS = 0.02  # a validation loss that rises by less has not turned
KEPT_POINTS = 1.0  # an accuracy that falls by less has held


def is_climbing(group: SeedGroup) -> bool:
    """Tell whether the mean validation loss turns before the last epoch, and climbs while the network still learns."""
    return _turns(group) and group.loss_climb.mean > CLIMB_NATS


def _turns(group: SeedGroup) -> bool:
    return group.min_loss_epoch < group.epochs and not has_diverged(group)


def has_diverged(group: SeedGroup) -> bool:
    """Tell whether the training loss climbs, too, from where the validation loss is lowest: the network unlearns."""
    return not group.change("train_loss", group.min_loss_epoch).mean <= CLIMB_NATS  # nor is NaN


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
    if has_diverged(group):
        return f"{group.model}'s training loss climbs, too, after epoch {epoch}: its training has diverged."
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
    diverged = [group.model for group in groups if has_diverged(group)]
    groups = [group for group in groups if group.model not in diverged]
    climbing = [group for group in groups if is_climbing(group)]
    turning = [group for group in groups if _turns(group) and not is_climbing(group)]
    single, several = ([group for group in groups if (len(group.runs) > 1) == is_one] for is_one in (False, True))
    sure = [group.model for group in climbing if decide(group.loss_climb, CLIMB_NATS) == HOLDS]
    worse = [
        group.model for group in climbing if group.change("val_accuracy", group.min_loss_epoch).mean < -KEPT_POINTS
    ]

    def count_in(some: list[SeedGroup], noun: str = "") -> str:
        return f"{sum(map(is_climbing, some))} of {counted(len(some), noun) if noun else len(some)}"

    told = f"The validation loss climbs by more than {CLIMB_NATS:g} nats from its lowest epoch to the last in "
    told += f"{count_in(groups, 'network')}"
    if single and several:
        told += f": in {count_in(several)} with several seeds, and in {count_in(single)} with one"
    sentences = [told]
    if single:
        sentences.append(
            "In the curve of one seed the lowest epoch is partly chance, so a climb looks larger than it is"
        )
    if several:
        sentences.append(f"The whole 95 % interval of the climb is above {CLIMB_NATS:g} nats in {_listed(sure)}")
    outgrown = counted(_count_outgrown(climbing), "network")
    sentences.append(
        f"Where the loss climbs, confidence grows more than accuracy in {outgrown}, and accuracy falls by more than "
        f"{KEPT_POINTS:g} point in {_listed(worse)}"
    )
    if turning:
        some = f"{_count_outgrown(turning)} of {counted(len(turning), 'network')}"
        sentences.append(f"Where it turns but climbs by less, confidence grows more than accuracy in {some}")
    if diverged:
        sentences.append(f"Not counted, as the training loss climbs too: {', '.join(diverged)}")
    return ". ".join(sentences) + "."


def _count_outgrown(groups: list[SeedGroup]) -> int:
    return sum(after > before for before, after in map(overconfidence, groups))


def _listed(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"
