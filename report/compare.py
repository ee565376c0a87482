"""Which settings vary among runs, which groups of runs are compared with which, and what the comparisons say.

Runs that differ in their seed alone are one group. Groups are compared where they differ in one setting alone, or in
several that were varied in combination; what differs in several settings at once is compared last.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

from report import stats
from report.results import SeedGroup, estimate_difference
from report.stats import Estimate, PooledSd
from report.text import join_names
from runner.config import FIELDS, in_words
from runner.errors import counted

ACCURACY = "val_accuracy"
LEVEL = 2 * (1 - stats.QUANTILE)  # of a test: 5 %
MEASURED_ON = ("val", "holdout")  # runs that differ in these are measured on other images, and not compared
RATE = "lr"  # what a recipe sets to suit the network and the optimiser
HIGHER, LOWER, OPEN, UNKNOWN = "higher", "lower", "not decided", "one run each"


def relative(group: SeedGroup) -> dict[str, object]:
    """Return the settings of a group, those of a recipe as far as they differ from it."""
    return {"model": group.model, "shuffle": group.shuffle} | dict(group.settings)


def value_of(group: SeedGroup, setting: str) -> Any:
    """Return the value of a setting, whether the recipe sets it or the run."""
    name = setting.replace("-", "_")
    if setting in ("model", "shuffle"):
        return getattr(group, setting)
    if name in FIELDS and setting != "precision":
        return in_words(getattr(group.example.config, name))
    return dict(group.settings).get(setting, "as most")  # a fact of the machine, see results._set_apart


def is_number(setting: str) -> bool:
    name = setting.replace("-", "_")
    return name in FIELDS and FIELDS[name].type in (int, float)


def value_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting_text(setting: str, value: object) -> str:
    """Show a value with its setting, e.g. ``lr 0.01``; a network and a shuffle say themselves what they are."""
    if setting == "epochs":
        return counted(int(str(value)), "epoch")
    if setting == "shuffle" and value == "none":
        return "no shuffle"
    return value_text(value) if setting in ("model", "shuffle") else f"{setting} {value_text(value)}"


@dataclass(frozen=True)
class Comparison:
    """How much more accurate a group is than the one that all are compared with."""

    group: SeedGroup
    difference: Estimate  # with its 95 % interval by itself, in points
    p: float  # corrected for all comparisons made; NaN where nothing tells how far seeds differ

    @property
    def verdict(self) -> str:
        if math.isnan(self.p):
            return UNKNOWN
        return OPEN if self.p >= LEVEL else HIGHER if self.difference.mean > 0 else LOWER


@dataclass
class Section:
    """Groups of runs that are compared with each other."""

    groups: list[SeedGroup]
    baseline: SeedGroup | None = None  # what all are compared with, where one was asked for; else the best

    def __post_init__(self):
        self.groups = sorted(self.groups, key=lambda group: [_order(group, name) for name in self.settings])

    @cached_property
    def settings(self) -> list[str]:
        """The settings that vary."""
        return varying(self.groups)

    @cached_property
    def implied(self) -> list[str]:
        """The settings that differ because the recipe sets them to suit others that vary."""
        if {"recipe", RATE} & set(self.settings) or len({value_of(group, RATE) for group in self.groups}) < 2:
            return []
        return [RATE]

    @cached_property
    def numbers(self) -> list[str]:
        return [name for name in self.settings if is_number(name)]

    @property
    def runs(self) -> int:
        return sum(len(group.runs) for group in self.groups)

    @cached_property
    def pooled_sd(self) -> PooledSd | None:
        return stats.pool_sd([group.values(ACCURACY) for group in self.groups])

    @cached_property
    def ranked(self) -> list[SeedGroup]:
        """The groups, the most accurate first."""
        return sorted(self.groups, key=lambda group: -group.mean(ACCURACY).mean)

    @property
    def best(self) -> SeedGroup:
        return self.ranked[0]

    @cached_property
    def comparisons(self) -> dict[int, Comparison]:
        """Compare all groups with the baseline, or else the best, by ``id`` of the group; corrected for all of them.

        With a baseline that was chosen beforehand each other group is one comparison, corrected after Holm. Where the
        best was picked from the results, any pair might have been the one that is looked at: Tukey's range counts that.
        """
        reference = self.baseline or self.best
        others = [group for group in self.ranked if group is not reference]
        differences = [estimate_difference(group, reference, pooled_sd=self.pooled_sd) for group in others]
        p_values = [stats.p_value(each, self.picked_of) for each in differences]
        if self.baseline:
            p_values = stats.correct_holm(p_values)
        return {id(group): Comparison(group, each, p) for group, each, p in zip(others, differences, p_values)}

    @cached_property
    def against_best(self) -> "Section":
        """The section with its groups compared with the best, whatever baseline was asked for."""
        return Section(self.groups) if self.baseline else self

    @property
    def picked_of(self) -> int:
        """Count the groups that the two of a comparison were picked from; 2 where they were chosen beforehand."""
        return 2 if self.baseline else len(self.groups)

    def critical_t(self, degrees: float) -> float:
        """Compute how many standard errors decide a comparison."""
        return stats.critical_t(degrees, len(self.groups) - 1 if self.baseline else 1, self.picked_of)

    def label(self, group: SeedGroup) -> str:
        """Name a group by what tells it from the others, e.g. ``Q1_1, lr 0.01``."""
        return ", ".join(setting_text(name, value_of(group, name)) for name in self.settings) or group.model

    @property
    def title(self) -> str:
        """Say in words what is compared, e.g. ``lr and batch-size``."""
        return join_names([f"{name}s" if name in ("model", "shuffle") else name for name in self.settings])

    @property
    def heading(self) -> str:
        return f"Compared: {self.title} ({self.common})" if self.settings else f"One setting: {self.common}"

    @property
    def common(self) -> str:
        """Name what all groups have in common, e.g. ``Q1_1, recipe fast, epochs 2``."""
        first = self.groups[0]
        shown: dict[str, object] = {
            "model": first.model,
            "shuffle": first.shuffle,
            "recipe": first.example.config.recipe,
        }
        shown |= {"epochs": first.example.config.epochs} | relative(first)
        if first.shuffle == "none":
            shown.pop("shuffle")
        words = [setting_text(name, in_words(value)) for name, value in shown.items() if name not in self.settings]
        return ", ".join(words)


def _order(group: SeedGroup, setting: str) -> tuple:
    value = value_of(group, setting)
    if is_number(setting):
        return (0, value)
    return tuple((0, int(word)) if word.isdecimal() else (1, word) for word in re.split(r"(\d+)", str(value)) if word)


def varying(groups: Sequence[SeedGroup]) -> list[str]:
    """List the settings that vary, models and shuffles first."""
    if len(groups) < 2:
        return []
    every = [relative(group) for group in groups]
    names = dict.fromkeys(name for each in every for name in each)
    order = ["model", "shuffle", "recipe", *(name.replace("_", "-") for name in FIELDS)]
    found = [name for name in names if len({each.get(name) for each in every}) > 1]
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def part(groups: Iterable[SeedGroup], key: Callable[[SeedGroup], object]) -> list[list[SeedGroup]]:
    """Part groups by a key, in the order in which its values come."""
    parts: dict[object, list[SeedGroup]] = {}
    for group in groups:
        parts.setdefault(key(group), []).append(group)
    return [*parts.values()]


def values_key(settings: Sequence[str]) -> Callable[[SeedGroup], object]:
    return lambda group: tuple(relative(group).get(name) for name in settings)


def rest_key(settings: Sequence[str], without: Iterable[str]) -> Callable[[SeedGroup], object]:
    left_out = set(without)
    return values_key([name for name in settings if name not in left_out])


def crossed(groups: Sequence[SeedGroup], a: str, b: str, settings: Sequence[str]) -> bool:
    """Tell whether two values of one setting come with the same two of another, all else equal."""
    for alike in part(groups, rest_key(settings, (a, b))):
        columns: dict[object, set] = {}
        for group in alike:
            of_group = relative(group)
            columns.setdefault(of_group.get(a), set()).add(of_group.get(b))
        if any(len(one & other) > 1 for one, other in combinations(columns.values(), 2)):
            return True
    return False


def make_sections(groups: Sequence[SeedGroup], own: Sequence[SeedGroup] = ()) -> list[Section]:
    """Put groups together that are compared: first those of the batch at work, then the sections with the most runs.

    A group that has none to be compared with is a section of its own.
    """
    # What was asked at once is one question; a batch of one setting is part of those that it is compared in.
    first = [Section(alike) for alike in part(own, values_key(MEASURED_ON)) if len(alike) > 1]
    found = [Section(each) for each in _find_sections(groups)]
    there = [{id(group) for group in section.groups} for section in first]
    found = [section for section in found if {id(group) for group in section.groups} not in there]
    asked = {id(group) for group in own} - set().union(*there)

    def order(section: Section) -> tuple:
        started = min(run.machine["started"] for group in section.groups for run in group.runs.values())
        is_asked = any(id(group) in asked for group in section.groups)
        return not is_asked, len(section.groups) == 1, -section.runs, started

    return sorted(first, key=order) + sorted(found, key=order)


def _find_sections(groups: Sequence[SeedGroup]) -> list[list[SeedGroup]]:
    found = []
    for alike in part(groups, values_key(MEASURED_ON)):
        settings, used = [*bundles(alike)], set[int]()
        for cluster in _find_clusters(alike, settings):
            for same in part(alike, rest_key(settings, cluster)):
                if len(same) > 1:
                    found.append(same)
                    used |= {id(group) for group in same}
        if left := [group for group in alike if id(group) not in used]:
            found.append(left)
    return found


def _find_clusters(groups: Sequence[SeedGroup], settings: Sequence[str]) -> list[set[str]]:
    """Join settings that were varied in combination."""
    clusters = [{name} for name in settings]
    for a, b in combinations(settings, 2):
        one, other = (next(cluster for cluster in clusters if name in cluster) for name in (a, b))
        if one is not other and crossed(groups, a, b, settings):
            clusters.remove(other)
            one |= other
    return clusters


def bundles(groups: Sequence[SeedGroup]) -> dict[str, list[str]]:
    """List the settings that vary, each with the others that have one value for each of its values, and it of theirs.

    Those vary as one, so that they are in its list alone; names come before numbers.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(varying(groups), key=is_number):
        for first, with_it in found.items():
            pairs = {(relative(group).get(first), relative(group).get(name)) for group in groups}
            if len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}):
                with_it.append(name)
                break
        else:
            found[name] = []
    return found


def inseparable(groups: Sequence[SeedGroup]) -> list[tuple[str, list[str]]]:
    """List the settings that never vary alone, each with those that always vary with it."""
    settings = varying(groups)
    found = []
    for name in settings:
        if all(len(alike) == 1 for alike in part(groups, rest_key(settings, [name]))):
            others = [other for other in settings if other != name]
            partners = [
                other for other in others
                if all(len(part(same, values_key([name]))) == 1 for same in part(groups, values_key([other])))
            ]  # fmt: skip
            found.append((name, partners))
    return found
