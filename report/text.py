"""How verdicts, numbers and settings are put into words, and numbers into the cells of a table."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from report import stats
from report.stats import Estimate

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not decided"
NO_RUNS = "no runs"  # of what a claim is about


def join_names(names: Sequence[str]) -> str:
    """List names in words, e.g. ``C5, C8 and C10``."""
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + "".join(names[-1:])


def decide(estimate: Estimate, limit: float = 0.0, above: bool = True) -> str:
    """Tell whether a quantity is above (or below) a limit: decided where the limit is outside its interval."""
    if estimate.low > limit:
        return HOLDS if above else FAILS
    if estimate.high < limit:
        return FAILS if above else HOLDS
    return UNDECIDED


def decide_near(estimate: Estimate, value: float, margin: float) -> str:
    """Tell whether a quantity is within a margin of a value: decided where its whole interval is inside or outside."""
    if abs(estimate.mean - value) + estimate.half_width <= margin:
        return HOLDS
    return FAILS if abs(estimate.mean - value) - estimate.half_width > margin else UNDECIDED


def decide_all(
    estimates: Sequence[Estimate], decide_one: Callable[[Estimate], str] = decide, comparisons: int = 0
) -> str:
    """Tell whether something is so in every comparison.

    That all are so needs no correction (an intersection-union test). That one is not so is the worst of many, and takes
    an interval that holds for all of them together: for ``comparisons``, where there are more than these.
    """
    if all(decide_one(estimate) == HOLDS for estimate in estimates):
        return HOLDS
    n = comparisons or len(estimates)
    return FAILS if any(decide_one(stats.widen(estimate, n)) == FAILS for estimate in estimates) else UNDECIDED


def combine(verdicts: Iterable[str]) -> str:
    """Join verdicts: ``HOLDS`` if all do, ``FAILS`` if one does, else ``UNDECIDED``."""
    different = set(verdicts)
    return FAILS if FAILS in different else UNDECIDED if UNDECIDED in different else HOLDS


def number_text(value: float, form: str) -> str:
    """Format a number; what rounds to zero has no minus sign."""
    text = format(value, form)
    return format(0.0, form) if re.fullmatch(r"-0(\.0*)?", text) else text


def interval_text(
    estimate: Estimate, form: str, unit: str = "", separator: str = " ", bounds: tuple[float, float] | None = None
) -> str:
    """Show a quantity with its interval, e.g. ``74.1 (73.6 … 74.6) %``; the interval ends at its ``bounds``."""
    if not estimate.has_interval:
        return number_text(estimate.mean, form) + unit
    lowest, highest = bounds or (-math.inf, math.inf)
    low, high = max(estimate.low, lowest), min(estimate.high, highest)
    if low < high and f"{low:{form}}" == f"{high:{form}}":  # one digit more, or it would look like none
        form = re.sub(r"\d", lambda digits: str(int(digits[0]) + 1), form)
    mean, low_text, high_text = (number_text(value, form) for value in (estimate.mean, low, high))
    return f"{mean}{separator}({low_text} … {high_text}){unit}"


percent_text = partial(interval_text, form=".1f", unit=" %")
accuracy_text = partial(percent_text, bounds=(0.0, 100.0))
points_text = partial(interval_text, form="+.1f", unit=" points")  # a difference of percentages
nats_text = partial(interval_text, form="+.2f", unit=" nats")  # a difference of losses


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
    text = number_text(estimate.mean, form)
    if estimate.has_interval:
        ends = (number_text(end, form) for end in (max(estimate.low, low), min(estimate.high, high)))
        text += f" ± {estimate.sd:{form}}\n({' … '.join(ends)})"
    return Cell(text, estimate.mean)


accuracy_cell = partial(mean_cell, low=0.0, high=100.0)  # of accuracies in percent
loss_cell = partial(mean_cell, form=".3f", low=0.0)  # of cross-entropies in nats


def diff_cell(estimate: Estimate, form: str = "+.1f") -> Cell:
    """Show a difference and its 95 % interval."""
    return Cell(interval_text(estimate, form, separator="\n"), estimate.mean)


def count_cell(n: int) -> Cell:
    return Cell(f"{n:,}", n)


def number_cell(value: float, digits: int, kind: str = "f") -> Cell:
    return Cell(number_text(value, f".{digits}{kind}"), value)
