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
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scipy.stats import studentized_range

from report.page import Block, Heading, Row, Table, Text, prose
from report.results import RunSet
from report.stats import Estimate
from report.text import diff_cell
from runner import files
from runner.config import MIN_SEEDS
from runner.errors import RunnerError, counted, one_line
from runner.files import checked_number

ERROR = 0.05  # how often a study of equal networks may find a difference, with all its looks together
GROWTH = 1.5  # of the number of seeds from one look to the next
MOST = 20  # studies that a report shows
MAX_NAME = 500  # letters of a setting or a run


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

    def verdict(self, points: float) -> str:
        if self.is_decided:
            return "decided"
        return f"known to within {points:g}, not decided" if self.is_known(points) else "not decided"


@dataclass(frozen=True)
class Look:
    """What one look at a study found."""

    number: int
    looks: int  # that there are at most
    seeds: int  # of each setting
    points: float  # that a difference is to be known to within, or decided
    best: str  # the setting of the highest mean
    compared: dict[str, Comparison]  # the others with it, by their names
    runs: list[str]  # their names

    @property
    def is_reached(self) -> bool:
        return all(each.is_known(self.points) for each in self.compared.values())

    @property
    def text(self) -> str:
        """Say when it was, and which setting is best."""
        settings = counted(len(self.compared) + 1, "setting")
        when = f"look {self.number} of {self.looks} at most, with {self.seeds} seeds of each of {settings}"
        return f"{when}: {self.best} is best"


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


# ---- what a study leaves, and a report shows -------------------------------------------------------------------------


def write_look(folder: Path, study: str, look: Look) -> None:
    """Write what the last look at a study found beside its runs; ``study`` tells it from others."""
    files.write_json(folder / f"{files.UNTIL_DECIDED}{study}.json", asdict(look))


def parse_look(content: dict) -> Look:
    """Return what a file says of a look. Raises an exception of any kind if it does not."""
    compared = {
        _name(name): Comparison(checked_number(each["difference"], 0), checked_number(each["half_width"], 0))
        for name, each in content["compared"].items()
    }
    number, looks, seeds = (int(checked_number(content[name], 1)) for name in ("number", "looks", "seeds"))
    points = checked_number(content["points"], 0, 100)
    return Look(number, looks, seeds, points, _name(content["best"]), compared, [_name(run) for run in content["runs"]])


def _name(text: Any) -> str:
    if not (isinstance(text, str) and text.isprintable() and 0 < len(text) <= MAX_NAME):
        raise ValueError(f"{text!r:.40} is no name")
    return text


def look_blocks(run_set: RunSet) -> list[Block]:
    """Show the studies with --until-decided whose runs are all there; others are noted as left out."""
    blocks: list[Block] = []
    there = {run.folder.name for run in run_set.finished}
    for path in sorted(run_set.folder.glob(f"{files.UNTIL_DECIDED}*.json"))[:MOST]:
        try:
            look = parse_look(files.read_json(path))
            if not there.issuperset(look.runs):
                raise RunnerError("its runs are not all here")
        except Exception as error:
            run_set.notes.append(f"{path} is left out: {one_line(error)}")
            continue
        rows: list[Row] = []
        for name, each in look.compared.items():
            difference = Estimate(-each.difference, look.seeds, half_width=each.half_width)
            rows.append([name, diff_cell(difference), each.verdict(look.points)])
        blocks += [Text(f"L{look.text[1:]}."), Table(("setting", "difference from the best (points)", "verdict"), rows)]
    return [Heading("Seeds added until decided"), prose("until_decided"), *blocks] if blocks else []
