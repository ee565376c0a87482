"""The results of runs, read from their folders and grouped by seed; no model is loaded.

Accuracy is in percent here, loss in nats.
"""

import json
import math
import os
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

import models
from report import stats
from report.stats import Estimate, PooledSd
from runner import files, records
from runner.config import SHUFFLES, Config, parts_of_shuffle
from runner.errors import RunnerError, one_line
from runner.files import MAX_MEASURED, OF_CLASS, checked_number, is_share

CHANCE, COLOUR, PIXELS = "chance", "colour histogram", "logistic regression"  # names in baselines.json
GREY, HUES = "grey histogram", "colour-difference histogram"  # others there, which older files lack
IN_STUDY = {spec.name for spec in models.TABLE if spec.known_from != models.OWN}  # networks that their name tells

Settings = tuple[tuple[str, object], ...]
Draw = tuple[int, int]  # of a run: the number of its permutation, and its seed

# What is no setting of those compared: a permutation is a draw, and the precision the one that was computed in.
NO_SETTINGS = ("shuffle-seed", "precision")
IMAGE_POINTS = 1.5  # a difference of accuracies below which the choice of test images matters beside the seeds
Parsed = TypeVar("Parsed")


def settings_text(settings: Settings) -> str:
    """Name the settings that differ from the defaults, e.g. ``recipe fast, epochs 2``."""
    return ", ".join(f"{name} {value}" for name, value in settings) or "the classic recipe"


@dataclass(frozen=True)
class RunResult:
    """A run."""

    folder: Path
    config: Config
    settings: Settings  # those that differ from their defaults and are neither model, shuffle nor seed, by option
    data: dict
    machine: dict[str, str]
    history: list[dict[str, float]]  # a row an epoch, the columns of history.csv
    is_finished: bool
    parameters: int
    macs: int  # multiply-accumulates for one image
    test: float  # accuracy in percent; NaN for an unfinished run
    images: int  # that this was measured on
    permutation: str  # SHA-256 of the one that all its images have; empty without one
    neighbours_kept: float  # the share of neighbouring pixels that its shuffle leaves neighbours; NaN if not known
    correct: bytes  # a bit for each test image, whether it was classified correctly; empty if not known
    confusion: list[list[int]]  # test images by true class, then by the class answered; empty if not known


@dataclass
class SeedGroup:
    """The finished runs of one model, shuffle and set of settings.

    Runs of one permutation have it in common: where there are several permutations, one value is the mean over a
    permutation's runs, and else it is a run's. So the values are independent, and intervals are over what varies most.
    """

    model: str
    shuffle: str
    settings: Settings
    runs: dict[Draw, RunResult] = field(default_factory=dict)

    @property
    def permutations(self) -> int:
        """Count the permutations."""
        return len({permutation for permutation, _ in self.runs})

    @property
    def size(self) -> str:
        """Say how many runs there are, and of how many permutations if of several: ``15 runs, 5 permutations``."""
        n = len(self.runs)
        return f"{n} run{'s' * (n != 1)}" + f", {self.permutations} permutations" * (self.permutations > 1)

    @property
    def example(self) -> RunResult:
        return next(iter(self.runs.values()))

    @property
    def epochs(self) -> int:
        """Count the epochs that all of its runs have; with --patience a run may have ended before others."""
        return min(len(run.history) for run in self.runs.values())

    def by_draw(self, column: str, epoch: int = -1) -> dict[Draw, float]:
        """Return a column of the history by draw, after ``epoch`` epochs, -1: the last; NaN where a run has none."""
        return {draw: run.history[epoch - (epoch > 0)].get(column, math.nan) for draw, run in self.runs.items()}

    def independent(self, values: Mapping[Draw, float]) -> list[float]:
        """Make independent values of one for each run: means by permutation, or the values themselves."""
        if self.permutations < 2:
            return [*values.values()]
        return [statistics.fmean(each) for each in self.by_permutation(values)]

    def by_permutation(self, values: Mapping[Draw, float]) -> list[list[float]]:
        """Part values of one for each run by their permutation."""
        of_one = {permutation: list[float]() for permutation, _ in values}
        for (permutation, _), value in values.items():
            of_one[permutation].append(value)
        return [*of_one.values()]

    def values(self, column: str, epoch: int = -1) -> list[float]:
        """Return independent values of a column of the history, after ``epoch`` epochs; -1: after the last."""
        return self.independent(self.by_draw(column, epoch))

    def mean(self, column: str, epoch: int = -1) -> Estimate:
        return stats.mean(self.values(column, epoch))

    def change(self, column: str, since: int) -> Estimate:
        """Estimate how much a column changed from an epoch to the last."""
        before, after = self.by_draw(column, since), self.by_draw(column)
        return stats.mean(self.independent({draw: after[draw] - before[draw] for draw in after}))

    def by_confusion(self, measure: Callable[[np.ndarray], float]) -> Estimate:
        """Estimate what ``measure`` finds in the confusion matrix of the last epoch, int (true, answered)."""
        measured = {draw: measure(np.array(run.confusion)) for draw, run in self.runs.items()}
        return stats.mean(self.independent(measured))

    def correct_shares(self) -> np.ndarray | None:
        """Compute how often each test image was classified correctly, float (N,); None where a run does not tell."""
        packed = [np.frombuffer(run.correct, dtype=np.uint8) for run in self.runs.values()]
        if not len(packed[0]) or len({len(bits) for bits in packed}) > 1:
            return None
        return np.mean([np.unpackbits(bits) for bits in packed], axis=0)[: self.example.images]

    @property
    def min_loss_epoch(self) -> int:
        """The epoch where the mean validation loss is lowest."""
        return _find_lowest([*self._val_losses.values()]) + 1

    @property
    def loss_climb(self) -> Estimate:
        """How far the validation loss climbs from its lowest point until the last epoch.

        The lowest point of a noisy curve is too low. So each seed's climb starts at the epoch where the mean of the
        *other* seeds is lowest, which its own noise did not choose.
        """
        curves = self._val_losses
        others = {draw: [curve for other, curve in curves.items() if other != draw] for draw in curves}
        climbs = {draw: curve[-1] - curve[_find_lowest(others[draw] or [curve])] for draw, curve in curves.items()}
        return stats.mean(self.independent(climbs))

    @property
    def _val_losses(self) -> dict[Draw, list[float]]:
        return {draw: [row["val_loss"] for row in run.history[: self.epochs]] for draw, run in self.runs.items()}


def _find_lowest(curves: Sequence[Sequence[float]]) -> int:
    """Find where the mean of curves is lowest, by index."""
    means = [statistics.fmean(losses) for losses in zip(*curves)]
    return means.index(min(means))


@dataclass
class RunSet:
    """All runs on one data set."""

    folder: Path  # of the data set; it holds one of each model
    data: dict
    groups: list[SeedGroup]  # of finished runs, in the order in which people count
    unfinished: list[RunResult]
    notes: list[str]  # what was left out, and why

    @property
    def finished(self) -> list[RunResult]:
        return [run for group in self.groups for run in group.runs.values()]


def estimate_difference(
    a: SeedGroup, b: SeedGroup, column: str = "val_accuracy", pooled_sd: PooledSd | None = None
) -> Estimate:
    """Estimate the mean of ``column`` after the last epoch in ``a`` less that in ``b``.

    The test images are a source of its interval too where it is so small that they matter.
    """
    return add_test_images(stats.difference(a.values(column), b.values(column), pooled_sd), [(1, a), (-1, b)], column)


@dataclass
class Study:
    """All runs on one data set, and those of them that are compared: the ones of the most frequent settings."""

    folder: Path  # of the data set; it holds one of each model
    data: dict
    settings: Settings  # those compared, see RunResult.settings
    groups: dict[tuple[str, str], SeedGroup]  # by model and shuffle, in the order in which people count
    others: list[SeedGroup]  # of other settings
    unfinished: list[RunResult]
    notes: list[str]  # what was left out, and why

    @property
    def is_cifar10(self) -> bool:
        return self.data["slug"].partition("-")[0] == "cifar10"

    @property
    def is_classic(self) -> bool:
        """Whether the recipe is the published one, for any number of epochs."""
        precisions = {run.machine["precision"] for run in self.runs}
        return all(name == "epochs" for name, _ in self.settings) and precisions == {"fp32"}

    @property
    def runs(self) -> list[RunResult]:
        return [run for group in self.groups.values() for run in group.runs.values()]

    def group(self, model: str, shuffle: str = "none") -> SeedGroup | None:
        return self.groups.get((model, shuffle))

    @property
    def models(self) -> list[SeedGroup]:
        """The groups without a shuffle, one for each model that has runs."""
        return [group for (_, shuffle), group in self.groups.items() if shuffle == "none"]

    @property
    def budgets(self) -> dict[int, "Study"]:
        """The studies by number of epochs, fewest first, of runs that nothing else tells from those compared."""

        def rest(settings: Settings) -> Settings:
            return tuple(setting for setting in settings if setting[0] != "epochs")

        found = dict[int, dict[tuple[str, str], SeedGroup]]()
        for group in (*self.groups.values(), *self.others):
            if rest(group.settings) == rest(self.settings):
                found.setdefault(group.example.config.epochs, {})[group.model, group.shuffle] = group
        return {epochs: replace(self, groups=found[epochs]) for epochs in sorted(found)}

    def pooled_sd(self, column: str) -> PooledSd | None:
        """Pool how much a column differs between seeds after the last epoch, over all groups of several."""
        return stats.pool_sd([group.values(column) for group in self.groups.values()])

    def difference(self, a: SeedGroup, b: SeedGroup, column: str = "val_accuracy", paired: bool = False) -> Estimate:
        """Estimate the mean of ``column`` after the last epoch in ``a`` less that in ``b``.

        With ``paired`` runs of one seed are a pair, where there are two pairs: only for networks whose runs go together
        seed by seed.
        """
        ours, theirs = a.by_draw(column), b.by_draw(column)
        pairs = [ours[draw] - theirs[draw] for draw in ours if draw in theirs]
        if paired and len(pairs) > 1:
            return add_test_images(stats.mean(pairs, "paired"), [(1, a), (-1, b)], column)
        return self.contrast([(1, a), (-1, b)], column)

    def contrast(self, weighted: Sequence[tuple[float, SeedGroup]], column: str = "val_accuracy") -> Estimate:
        """Estimate a sum of weighted means of groups, as ``difference`` does for two."""
        values = [(weight, group.values(column)) for weight, group in weighted]
        return add_test_images(stats.contrast(values, self.pooled_sd(column)), weighted, column)


def add_test_images(
    estimate: Estimate, weighted: Sequence[tuple[float, SeedGroup]], column: str, below: float = IMAGE_POINTS
) -> Estimate:
    """Widen the interval of a sum of weighted accuracies by the choice of test images, if it is less than ``below``.

    It stays as it is where the runs do not tell which images they got right.
    """
    if column != "val_accuracy" or abs(estimate.mean) >= below or weighted[0][1].example.config.val != "test":
        return estimate
    shares = [(weight, each) for weight, group in weighted if (each := group.correct_shares()) is not None]
    if len(shares) < len(weighted) or len({len(each) for _, each in shares}) > 1:
        return estimate
    return stats.add_images(estimate, shares)


class NoRuns(RunnerError):
    """There is no run to report on."""


def find_frontier(groups: Sequence[SeedGroup]) -> list[SeedGroup]:
    """Find the models that no other one beats with as few parameters, from the smallest to the largest."""
    best: list[SeedGroup] = []
    for group in sorted(groups, key=lambda group: (group.example.parameters, -group.mean("val_accuracy").mean)):
        if not best or group.mean("val_accuracy").mean > best[-1].mean("val_accuracy").mean:
            best.append(group)
    return best


def read_run(folder: Path) -> RunResult:
    """Read a run from its files. Raises an exception of any kind where they are not those of one run."""
    saved = records.read_run(folder)
    description, history = saved.config, saved.history
    config = Config.from_saved(description["settings"])
    data = {key: description["data"][key] for key in ("name", "slug", "sha256", "classes")}
    if not files.is_class_list(data["classes"]):
        raise ValueError(f"{files.CONFIG} does not name {files.MIN_CLASSES} to {files.MAX_CLASSES} different classes")
    machine = {key: str(description["machine"].get(key)) for key in ("device_name", "threads", "git_commit")}
    machine["torch"] = str(description["machine"]["versions"]["torch"])
    machine["started"] = str(description["machine"].get("started"))
    machine["precision"] = str(description["machine"].get("precision") or "fp32")  # all that there was before
    sha256 = "" if config.model_name in IN_STUDY else str(description["machine"].get("model_sha256"))
    machine["network"] = sha256[:8]
    machine["step"] = "compiled" if config.compile else "not compiled"
    machine["computed_by"] = "native step" if description["machine"].get("step") == "native" else "PyTorch's step"
    parameters, macs = checked_number(description["parameters"], 1), checked_number(description["macs"], 0)

    kept = description["data"].get("neighbours_kept")
    neighbours_kept = math.nan if kept is None else checked_number(kept, 0, 1)

    check_history(history, config, data["classes"])
    test, images, correct = math.nan, 0, b""
    confusion: list[list[int]] = []
    if metrics := saved.metrics:
        if metrics["test"]["per_class_accuracy"].keys() != set(data["classes"]):
            raise ValueError(f"{files.METRICS} has other classes than {files.CONFIG}")
        if metrics.get("compiled") is False:  # where it failed, the run went on without
            machine["step"] = "not compiled"
        test, images = 100 * metrics["test"]["accuracy"], metrics["test"]["images"]
        correct, confusion = read_correct(metrics["test"]), metrics["test"].get("confusion", [])
    percent = [{key: 100 * value if is_share(key) else value for key, value in row.items()} for row in history]
    return RunResult(
        folder=folder,
        config=config,
        settings=tuple((name, value) for name, value in config.differing.items() if name not in NO_SETTINGS),
        data=data,
        machine=machine,
        history=percent,
        is_finished=saved.metrics is not None,
        parameters=int(parameters),
        macs=int(macs),
        test=test,
        images=images,
        permutation=str(description["data"].get("permutation_sha256") or ""),
        neighbours_kept=neighbours_kept,
        correct=correct,
        confusion=confusion,
    )


def read_correct(test: dict) -> bytes:
    """Read which test images were classified correctly; empty where a run does not tell. Raises ValueError if odd."""
    packed, images = bytes.fromhex(test.get("correct_images", "")), test["images"]
    share = sum(byte.bit_count() for byte in packed) / images
    if packed and (len(packed) != math.ceil(images / 8) or abs(share - test["accuracy"]) > 1e-9):
        raise ValueError(f"{files.METRICS} has other images classified correctly than its accuracy says")
    return packed


def check_history(history: Sequence[dict[str, float]], config: Config, classes: Sequence[str]) -> None:
    """Raise ValueError if a history is not one of these settings and classes."""
    by_class = {f"{OF_CLASS}{name}" for name in classes}
    for row in history:
        if {column for column in row if column.startswith(OF_CLASS)} != by_class:
            raise ValueError(f"{files.HISTORY} has other classes than {files.CONFIG}")
    if len(history) > config.epochs:
        raise ValueError(f"{files.HISTORY} has more epochs than {files.CONFIG}")


def read_run_sets(root: Path) -> list[RunSet]:
    """Read the runs in a folder of results, or in that of one data set, by data set, the most runs first.

    Raises NoRuns if there is none that can be read.
    """
    # A damaged run is left out with a note, so that one file can't keep the others from being reported.
    notes, runs = list[str](), list[RunResult]()
    for folder in records.list_runs(root):
        try:
            files.require_inside(folder, root)
            runs.append(read_run(folder))
        except files.LeadsOutside as error:
            notes.append(f"left out: {error}")
        except Exception as error:
            notes.append(f"{folder} is left out, it can't be read: {one_line(error)}")
    notes = [*dict.fromkeys(notes)]  # all runs behind one link are one
    if not runs:
        why = f"{root} holds no runs" if root.is_dir() else f"{root}: folder does not exist"
        raise NoRuns("; ".join([why, *notes]))
    # Runs in the folder that is named after their data and model come first: copies elsewhere are left out.
    runs.sort(key=lambda run: run.folder.parts[-3:-1] != (run.data["slug"], run.config.model_name))

    by_data: dict[str, list[RunResult]] = {}
    for run in runs:
        by_data.setdefault(json.dumps(run.data), []).append(run)
    run_sets: dict[Path, RunSet] = {}
    for of_data in sorted(by_data.values(), key=lambda them: (-sum(run.is_finished for run in them), -len(them))):
        folder = of_data[0].folder.parents[1]
        if folder in run_sets:  # of other images than the name of the folder says
            run_sets[folder].notes.append(_left_out_text(of_data, run_sets[folder].data["name"]))
            continue
        own_notes = [] if run_sets else notes
        groups = _group(_set_apart([run for run in of_data if run.is_finished], own_notes), own_notes)
        unfinished = [run for run in of_data if not run.is_finished]
        run_sets[folder] = RunSet(folder, of_data[0].data, groups, unfinished, own_notes)
    return [*run_sets.values()]


def _left_out_text(runs: Sequence[RunResult], here: str) -> str:
    n = len(runs)
    return f"{n} run{'s' * (n > 1)} on {runs[0].data['name']} left out: a page is on one data set, here {here}"


def make_study(run_set: RunSet) -> Study:
    """Make the study of the runs on one data set: of the most frequent settings, of equally many the classic ones.

    Raises NoRuns if none is finished.
    """
    counts: Counter[Settings] = Counter()
    for group in run_set.groups:
        counts[group.settings] += len(group.runs)
    if not counts:
        raise NoRuns("; ".join([f"{run_set.folder} holds no finished run", *run_set.notes]))
    settings = max(counts.items(), key=lambda item: (item[1], not item[0]))[0]
    return Study(
        folder=run_set.folder,
        data=run_set.data,
        settings=settings,
        groups={(group.model, group.shuffle): group for group in run_set.groups if group.settings == settings},
        others=[group for group in run_set.groups if group.settings != settings],
        unfinished=run_set.unfinished,
        notes=run_set.notes,
    )


def read_study(root: Path) -> Study:
    """Read the study of the data set with the most runs in a folder of results. Raises NoRuns if none is finished."""
    first, *others = read_run_sets(root)
    for other in others:
        first.notes.append(_left_out_text([*other.finished, *other.unfinished], first.data["name"]))
    return make_study(first)


def _set_apart(finished: list[RunResult], notes: list[str]) -> list[RunResult]:
    """Tell by one more setting the runs whose own network, precision or step is not that of most like them."""
    kinds: dict[str, Callable[[RunResult], object]] = {
        "network": lambda run: (run.config.model_name, run.settings),
        "precision": lambda run: (run.config.model_name, run.settings),
        "step": lambda run: run.settings,
    }
    for fact, kind_of in kinds.items():
        usual: dict[object, Counter] = {}
        # Of equally many the one that was trained last counts, as the first to be counted.
        for run in sorted(finished, key=lambda run: run.machine["started"], reverse=True):
            usual.setdefault(kind_of(run), Counter())[run.machine[fact]] += 1
        most = {kind: counts.most_common(1)[0][0] for kind, counts in usual.items()}
        apart = {run.folder: run for run in finished if run.machine[fact] != most[kind_of(run)]}
        for (model, value, other), n in Counter(
            (run.config.model_name, run.machine[fact], most[kind_of(run)]) for run in apart.values()
        ).items():
            notes.append(f"{n} run{'s' * (n > 1)} of {model} kept apart: {fact} {value}, most have {other}")
        finished = [
            replace(run, settings=(*run.settings, (fact, run.machine[fact]))) if run.folder in apart else run
            for run in finished
        ]
    return finished


def _group(finished: Iterable[RunResult], notes: list[str]) -> list[SeedGroup]:
    groups: dict[tuple, SeedGroup] = {}
    permutations: dict[object, int] = {}
    # Older runs do not tell their permutation; it is that of any other run that drew it by the same seed.
    finished = [*finished]
    known = {_drawn_by(run): run.permutation for run in finished if run.permutation}
    for run in finished:
        key = run.config.model_name, run.config.shuffle, run.settings
        group = groups.setdefault(key, SeedGroup(*key))
        moves = parts_of_shuffle(run.config.shuffle)[1] != "none"
        # Two shuffle seeds may draw the same permutation: four blocks have only nine.
        permutation = (run.permutation or known.get(_drawn_by(run)) or run.config.shuffle_seed) if moves else ""
        draw = permutations.setdefault(permutation, len(permutations)), run.config.seed
        if draw in group.runs:
            notes.append(f"{run.folder} is left out: {group.runs[draw].folder} is the same run")
        elif group.runs and (run.parameters, run.macs) != (group.example.parameters, group.example.macs):
            notes.append(
                f"{run.folder} is left out: its {group.model} is another network than {group.example.folder}'s"
            )
        else:
            group.runs[draw] = run
    return sorted(groups.values(), key=_order_of)


def _drawn_by(run: RunResult) -> tuple[str, int]:
    return parts_of_shuffle(run.config.shuffle)[1], run.config.shuffle_seed


def _order_of(group: SeedGroup) -> tuple:
    # Numbers in a name count as numbers, so that Q1_2 comes before Q1_10.
    name = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", group.model)]
    filters, permutation = parts_of_shuffle(group.shuffle)
    return name, [SHUFFLES.index(part) for part in filters], SHUFFLES.index(permutation), str(group.settings)


def read_run_json(run: RunResult, name: str, parse: Callable[[dict], Parsed], notes: list[str]) -> Parsed | None:
    """Read the JSON file ``name`` of a run by ``parse``; None where there is none, or it is damaged.

    None too where it was measured on other weights than those of the run's last epoch.
    """
    try:
        content = records.read_measured(run.folder, name)
        if content is None:
            return None
        epoch, weights = content.get("epoch", len(run.history)), content.get("weights", "last")
        if (epoch, weights) != (len(run.history), "last"):
            raise ValueError(f"it is of the {weights!r:.20} weights after epoch {epoch!r:.20}: measure it anew")
        return parse(content)
    except Exception as error:
        notes.append(f"{run.folder / name} is left out, it can't be read: {one_line(error)}")
        return None


def read_baselines(folder: Path) -> dict | None:
    """Read ``baselines.json`` of a data set's results; None if there is none. Raises RunnerError for another file."""
    path = folder / files.BASELINES
    if not os.path.lexists(path):
        return None
    content = files.read_json(path)
    try:
        content["data"]["sha256"]
        found = content["baselines"]
        is_whole = {CHANCE, COLOUR, PIXELS} <= found.keys() and all(map(_is_baseline, found.values()))
    except (KeyError, TypeError, AttributeError) as error:
        raise RunnerError(f"{path} can't be read: {one_line(error)}") from error
    if not is_whole:
        raise RunnerError(f"{path} can't be read: it is not the result of baselines")
    return content


def _is_baseline(result: dict) -> bool:
    of_classes = [*result["per_class_accuracy"].values()]
    shares = [result["accuracy"], *(share for share in of_classes if share is not None)]
    in_range = all(0 <= share <= 1 for share in shares) and 1 <= len(of_classes) <= result["images"] <= MAX_MEASURED
    return in_range and isinstance(result["images"], int) and isinstance(result["about"], str)
