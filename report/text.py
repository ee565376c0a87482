"""How verdicts, numbers and settings are put into words, and numbers into the cells of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from report import stats
from report.stats import Estimate

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not decided"


def decide(estimate: Estimate, limit: float = 0.0, above: bool = True) -> str:
    """Tell whether a quantity is above (or below) a limit: decided where the limit is outside its interval."""
    if estimate.low > limit:
        return HOLDS if above else FAILS
    if estimate.high < limit:
        return FAILS if above else HOLDS
    return UNDECIDED


def combine(verdicts: Iterable[str]) -> str:
    """Join verdicts: ``HOLDS`` if all do, ``FAILS`` if one does, else ``UNDECIDED``."""
    different = set(verdicts)
    return FAILS if FAILS in different else UNDECIDED if UNDECIDED in different else HOLDS


def _with_interval(estimate: Estimate, form: str, separator: str = " ") -> str:
    interval = f"{separator}({estimate.low:{form}} … {estimate.high:{form}})" if estimate.has_interval else ""
    return f"{estimate.mean:{form}}{interval}"


def percent_text(estimate: Estimate) -> str:
    """Show a percentage with its interval, e.g. ``74.1 (73.6 … 74.6) %``."""
    return f"{_with_interval(estimate, '.1f')} %"


def points_text(estimate: Estimate) -> str:
    """Show a difference of percentages with its interval, e.g. ``-2.1 (-3.0 … -1.2) points``."""
    return f"{_with_interval(estimate, '+.1f')} points"


def nats_text(estimate: Estimate) -> str:
    """Show a difference of losses with its interval, e.g. ``+0.12 (+0.10 … +0.14) nats``."""
    return f"{_with_interval(estimate, '+.2f')} nats"


def settings_text(settings: Iterable[tuple[str, object]]) -> str:
    """Name the settings that differ from the defaults, e.g. ``recipe fast, epochs 2``."""
    return ", ".join(f"{name} {value}" for name, value in settings) or "the classic recipe"


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the number that it is sorted by; NaN comes last."""

    text: str
    value: float

    @property
    def sort_key(self) -> str:
        return "" if math.isnan(self.value) else repr(float(self.value))


def mean_cell(values: Iterable[float], form: str = ".1f", low: float = -math.inf, high: float = math.inf) -> Cell:
    """Show mean, standard deviation and 95 % interval of values by seed; the interval ends at ``low`` and ``high``."""
    estimate = stats.mean(list(values))
    text = format(estimate.mean, form)
    if estimate.has_interval:
        text += f" ± {estimate.sd:{form}}\n({max(estimate.low, low):{form}} … {min(estimate.high, high):{form}})"
    return Cell(text, estimate.mean)


def accuracy_cell(values: Iterable[float]) -> Cell:
    """Show accuracies in percent: mean ± standard deviation, the interval within [0, 100]."""
    return mean_cell(values, low=0.0, high=100.0)


def diff_cell(estimate: Estimate, form: str = "+.1f") -> Cell:
    """Show a difference and its 95 % interval."""
    return Cell(_with_interval(estimate, form, "\n"), estimate.mean)


def count_cell(n: int) -> Cell:
    return Cell(f"{n:,}", n)


def number_cell(value: float, digits: int, kind: str = "f") -> Cell:
    return Cell(f"{value:.{digits}{kind}}", value)
