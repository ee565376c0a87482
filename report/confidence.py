"""What a validation loss that climbs says: whether a network decides worse, or is only surer of its mistakes."""

from __future__ import annotations

from report.results import SeedGroup
from report.text import points_text

CLIMB_NATS = 0.02  # a validation loss that rises by less has not turned
KEPT_POINTS = 1.0  # an accuracy that falls by less has held


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
    if after > before:
        return (
            f"{course}: it decides as well as before and is surer of its mistakes. The loss that climbs is the price "
            "of over-confidence, not of worse decisions."
        )
    return f"{course}."
