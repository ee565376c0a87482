"""When a study whose seeds are added step by step may stop: each look at the runs costs a share of the 5 % of error.

Who looks at every new seed and stops at the first difference finds one where there is none far more often than in 5 %
of studies. So the looks are few and planned, and the error is shared out over them by a spending function of Pocock's
kind (Lan and DeMets, 1983, "Discrete sequential boundaries for clinical trials"). Each look tests at what it adds,
which holds whatever the looks have in common. The intervals of all looks hold together (Jennison and Turnbull, 1989,
"Interim analyses: the repeated confidence interval approach"). Those of one look are Tukey's for all pairs of networks,
as the best one is picked by the same runs.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from scipy.stats import studentized_range

from runner.config import MIN_SEEDS

ERROR = 0.05  # how often a study of equal networks may find a difference, with all its looks together
GROWTH = 1.5  # of the number of seeds from one look to the next


def plan_looks(first: int, most: int) -> list[int]:
    """Plan after how many seeds of each network to look, from ``first`` to ``most``."""
    looks = [min(max(first, MIN_SEEDS), most)]
    while looks[-1] < most:
        looks.append(min(most, math.ceil(GROWTH * looks[-1])))
    return looks


def spend(looks: Sequence[int]) -> list[float]:
    """Share ``ERROR`` out over looks at so many seeds: what each may spend."""
    spent = [ERROR * math.log(1 + (math.e - 1) * seeds / looks[-1]) for seeds in looks]
    return [after - before for before, after in zip([0.0, *spent], spent)]


@dataclass(frozen=True)
class Comparison:
    """The best network against another one, at one look."""

    difference: float  # of the means, never negative
    half_width: float  # of the interval that holds with those of all other looks and pairs

    @property
    def is_decided(self) -> bool:
        """Whether the best one is better."""
        return self.difference > self.half_width

    def is_known(self, points: float) -> bool:
        """Tell whether the difference is decided, or known to within ``points``."""
        return self.is_decided or self.half_width <= points


@cache  # it takes a tenth of a second
def _critical(error: float, networks: int, seeds: int) -> float:
    return float(studentized_range.isf(error, networks, networks * (seeds - 1)))


def compare_with_best(values: Mapping[str, Sequence[float]], error: float) -> tuple[str, dict[str, Comparison]]:
    """Compare the network of the highest mean with each other one, of as many seeds; spend ``error`` on it.

    Returns its name, and the comparisons by the others' names. Raises ValueError for unequal or too few seeds.
    """
    numbers = {len(each) for each in values.values()}
    if len(values) < 2 or len(numbers) > 1 or min(numbers) < 2:
        raise ValueError("a comparison takes two networks or more, with as many seeds each, at least two")
    (n,) = numbers
    means = {name: statistics.fmean(each) for name, each in values.items()}
    variance = statistics.fmean([statistics.variance(each) for each in values.values()])
    best = max(means, key=lambda name: means[name])
    half_width = _critical(error, len(values), n) * math.sqrt(variance / n)
    return best, {name: Comparison(means[best] - mean, half_width) for name, mean in means.items() if name != best}
