"""The results of many runs, read from their folders and grouped by seed; no model is ever loaded.

A run is read from its ``config.json``, ``history.csv`` and, if it is finished, ``metrics.json``. Runs that differ in
their seed alone are a group. Accuracy is in percent here, loss in nats.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import estimates
from estimates import Estimate
from runner.config import SHUFFLES, Config
from runner.errors import one_line

COLUMNS = {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_confidence", "seconds"}


@dataclass(frozen=True)
class Outcome:
    """A run.

    Attributes:
        settings: those that differ from their defaults and are neither model, shuffle nor seed, by option.
        history: a row per epoch of the numbers in ``history.csv``, accuracies and confidence in percent.
        finished: whether there is a result.
        macs: multiply-accumulates for one image.
        test: test accuracy in percent, NaN for an unfinished run.
    """

    folder: Path
    config: Config
    settings: tuple[tuple[str, object], ...]
    data: dict
    machine: dict
    history: list[dict[str, float]]
    finished: bool
    parameters: int
    macs: int
    test: float

    @property
    def cell(self) -> tuple[str, str, tuple]:
        """What is the same for all runs of its group."""
        return self.config.model_name, self.config.shuffle, self.settings


@dataclass
class Group:
    """The finished runs of one model, shuffle and set of settings, by seed."""

    model: str
    shuffle: str
    settings: tuple[tuple[str, object], ...]
    runs: dict[int, Outcome] = field(default_factory=dict)

    @property
    def any(self) -> Outcome:
        return next(iter(self.runs.values()))

    @property
    def epochs(self) -> int:
        return self.any.config.epochs

    def at(self, column: str, epoch: int = -1) -> dict[int, float]:
        """The values of a column of the history by seed, after ``epoch`` epochs; -1: after the last."""
        return {seed: run.history[epoch - (epoch > 0)][column] for seed, run in self.runs.items()}

    def mean(self, column: str, epoch: int = -1) -> Estimate:
        return estimates.mean(list(self.at(column, epoch).values()))

    def change(self, column: str, since: int, until: int = -1) -> Estimate:
        """How much a column changed from one epoch to another."""
        before = self.at(column, since)
        return estimates.mean([value - before[seed] for seed, value in self.at(column, until).items()])

    @property
    def gap(self) -> dict[int, float]:
        """The generalisation gap by seed: training less validation accuracy, in points."""
        val = self.at("val_accuracy")
        return {seed: train - val[seed] for seed, train in self.at("train_accuracy").items()}


@dataclass
class Study:
    """All runs on one data set, and those of them that are compared: the ones of the most frequent settings.

    Attributes:
        folder: that of the data set, which holds one of each model.
        settings: theirs, besides model, shuffle and seed, where they differ from the defaults.
        groups: the finished ones by model and shuffle, in the order in which people count.
        others: the groups of other settings.
        notes: what was left out, and why.
    """

    folder: Path
    data: dict
    settings: tuple[tuple[str, object], ...]
    groups: dict[tuple[str, str], Group]
    others: list[Group]
    unfinished: list[Outcome]
    notes: list[str]

    @property
    def is_cifar10(self) -> bool:
        return self.data["slug"].startswith("cifar10")

    @property
    def is_classic(self) -> bool:
        """Whether the recipe is the published one, for any number of epochs."""
        return all(name == "epochs" for name, _ in self.settings)

    @property
    def runs(self) -> list[Outcome]:
        return [run for group in self.groups.values() for run in group.runs.values()]

    def group(self, model: str, shuffle: str = "none") -> Group | None:
        return self.groups.get((model, shuffle))

    @property
    def models(self) -> list[Group]:
        """The groups without a shuffle, one for each model that has runs."""
        return [group for (_, shuffle), group in self.groups.items() if shuffle == "none"]

    def pooled(self, column: str) -> estimates.Pooled | None:
        """How much a column differs between seeds after the last epoch, over all groups of several seeds."""
        return estimates.pool([list(group.at(column).values()) for group in self.groups.values()])

    def difference(self, a: Group, b: Group, column: str = "val_accuracy") -> Estimate:
        """The mean of ``column`` after the last epoch in ``a`` less that in ``b``."""
        return estimates.difference(a.at(column), b.at(column), self.pooled(column))


class NoRuns(Exception):
    """There is no finished run to report on."""


def in_words(settings: Iterable[tuple[str, object]]) -> str:
    """Settings that differ from the defaults, as a text."""
    return ", ".join(f"{name} {value}" for name, value in settings) or "the classic recipe"


def natural(name: str) -> list:
    """A key that sorts ``Q1_2`` before ``Q1_10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def read_run(folder: Path) -> Outcome:
    """A run from its files.

    Raises:
        Exception: of any kind, where they are not those of a run.
    """
    about = json.loads((folder / "config.json").read_text())
    config = Config(**about["settings"])
    data = {key: about["data"][key] for key in ("name", "slug", "sha256", "classes")}
    texts = [data["name"], data["slug"], data["sha256"], *data["classes"]]
    if not all(isinstance(text, str) for text in texts) or not data["classes"]:
        raise ValueError("config.json does not say on which data")
    finished = (folder / "metrics.json").exists()
    history = []
    if (folder / "history.csv").exists():
        with open(folder / "history.csv", newline="") as lines:
            history = [_row(row) for row in csv.DictReader(lines)]
    if any(not row.keys() >= COLUMNS for row in history):
        raise ValueError("history.csv lacks columns: it is of an earlier version")
    if not all(math.isfinite(row[column]) for row in history for column in COLUMNS):
        raise ValueError("history.csv holds what is no number")
    if [row["epoch"] for row in history] != [*range(1, len(history) + 1)]:
        raise ValueError("history.csv does not hold one epoch after the other")
    test = math.nan
    if finished:
        metrics = json.loads((folder / "metrics.json").read_text())
        test = 100 * float(metrics["test"]["accuracy"])
        if not (len(history) == config.epochs == metrics["epochs"]):
            raise ValueError("metrics.json and history.csv are not of the same epochs")
    machine = about["machine"]
    facts = {key: str(machine.get(key)) for key in ("device_name", "threads", "git_commit")}
    facts["torch"] = str(machine["versions"]["torch"])
    settings = tuple(config.differing.items())
    sizes = int(about["parameters"]), int(about["macs"])
    if not all(0 <= size < 10**15 for size in sizes) or not (math.isnan(test) or 0 <= test <= 100):
        raise ValueError("its parameters, multiply-accumulates or accuracy can't be")
    return Outcome(folder, config, settings, data, facts, history, finished, *sizes, test)


def _row(row: dict[str, str]) -> dict[str, float]:
    """The numbers of a line of ``history.csv``; a class without images has NaN."""
    percent = ("accuracy", "confidence")
    numbers = {key: float(value) if value else math.nan for key, value in row.items() if key != "dataset"}
    return {key: 100 * x if any(word in key for word in percent) else x for key, x in numbers.items()}


def read(root: Path) -> Study:
    """The runs in ``root``, a folder of results or that of one data set in it.

    Raises:
        NoRuns: none of them is finished.
    """
    notes, found = [], []
    for path in sorted([*root.glob("*/*/*/config.json"), *root.glob("*/*/config.json")]):
        try:
            found.append(read_run(path.parent))
        except Exception as error:
            notes.append(f"{path.parent} is left out, it can't be read: {one_line(error)}")
    finished = [run for run in found if run.finished]
    if not finished:
        raise NoRuns("; ".join([f"{root} holds no finished run", *notes]))
    (sha256, name), _ = Counter((run.data["sha256"], run.data["name"]) for run in finished).most_common(1)[0]
    for other, n in Counter(run.data["name"] for run in found if run.data["sha256"] != sha256).items():
        notes.append(f"{n} run{'s' * (n > 1)} on {other} left out: a report is on one data set, here {name}")
    finished = [run for run in finished if run.data["sha256"] == sha256]
    settings = max(Counter(run.settings for run in finished).items(), key=lambda item: (item[1], not item[0]))[0]
    groups = list(_grouped(finished, notes.append))
    return Study(
        folder=finished[0].folder.parents[1],
        data=finished[0].data,
        settings=settings,
        groups={(group.model, group.shuffle): group for group in groups if group.settings == settings},
        others=[group for group in groups if group.settings != settings],
        unfinished=[run for run in found if not run.finished and run.data["sha256"] == sha256],
        notes=notes,
    )


def _grouped(finished: Iterable[Outcome], note: Callable[[str], None]) -> list[Group]:
    groups: dict[tuple, Group] = {}
    for run in finished:
        group = groups.setdefault(run.cell, Group(*run.cell))
        if run.config.seed in group.runs:
            note(f"{run.folder} is left out: {group.runs[run.config.seed].folder} is the same run")
        elif group.runs and (run.parameters, run.macs) != (group.any.parameters, group.any.macs):
            note(f"{run.folder} is left out: its {run.config.model_name} is another network than {group.any.folder}'s")
        else:
            group.runs[run.config.seed] = run
    order = lambda group: (natural(group.model), SHUFFLES.index(group.shuffle), str(group.settings))
    return sorted(groups.values(), key=order)
