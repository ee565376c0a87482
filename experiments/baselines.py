"""Baselines: ``python baselines.py`` trains classical classifiers on the images of the networks, for comparison.

* **chance** ignores the image.
* **colour histogram** knows which colours an image has and how often, but not where: all that a per-image shuffle
  leaves. A network with ``--shuffle per-image`` can't use more; whether it uses as much, this tells.
* **logistic regression** is affine in the pixels, like every network without ReLU, and is trained directly.

Candidates are compared on images held out from training; the best is trained again on all training images, and only it
meets the test images. Needs scikit-learn to train, not to read what came out.
"""

from __future__ import annotations

import argparse
import sys

SEED = 0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="baselines.py",
        description="Trains classical classifiers on the images of the networks, and writes baselines.json into the "
        "folder of the data set's results.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data-dir", default="data", metavar="DIR", help="where CIFAR-10 is, or is downloaded to (default: data)"
    )
    parser.add_argument(
        "--dataset",
        choices=("auto", "cifar10", "synthetic"),
        default="auto",
        help="auto: CIFAR-10 if present or downloadable, else a generated set (default: auto)",
    )
    parser.add_argument("--results-dir", default="results", metavar="DIR", help="folder of results (default: results)")
    parser.add_argument(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="for a quick trial: use at most N images of each split (default: 0, all); the file is named after it",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    OPTIONS = parse()  # -h and mistakes are answered before the slow imports

import importlib.metadata
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import console
import data
import sources
import utils
from data import Dataset, Images
from runner import files
from runner.config import DATA_URL_VARIABLE
from runner.errors import RunnerError, UsageError, one_line

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

FILE = "baselines.json"
CHANCE, COLOUR, PIXELS = "chance", "colour histogram", "logistic regression"
HOLDOUT = 5000
LEAST_IMAGES = 100  # of training: a tenth of them, one of each class, is held out
CHUNK = 2000  # images whose colours are looked at at once, so that little memory is needed
QUANTILES = 17
LEAST_PROBABILITY = 1e-9  # for the loss, which a probability that was rounded to 0 would make infinite


# ---- features --------------------------------------------------------------------------------------------------------


def colour_histogram(pixels: Tensor, bins: int) -> np.ndarray:
    """The square roots of the joint RGB histogram's frequencies.

    The root makes Euclidean distance between features the Hellinger distance between histograms.

    Args:
        pixels: uint8 (N, 3, 32, 32).
        bins: equal parts of each channel's range.

    Returns:
        float32 (N, bins³); the squares of a row add up to 1.
    """
    cells = bins**3
    counts = np.empty((len(pixels), cells), dtype=np.int64)
    for start, channels in _chunks(pixels):
        red, green, blue = (channels.astype(np.int64) * bins) >> 8
        cell = (red * bins + green) * bins + blue + cells * np.arange(len(red))[:, None]
        counts[start : start + len(red)] = np.bincount(cell.ravel(), minlength=cells * len(red)).reshape(-1, cells)
    return np.sqrt(counts / data.PIXELS).astype(np.float32)


def colour_statistics(pixels: Tensor) -> np.ndarray:
    """Quantiles, means and covariances of an image's colours, whichever pixels have them.

    The quantiles, from minimum to maximum, are those of red, green, blue, their sum, their three differences, and the
    greatest less the least of them. All sums are of integers, so that no order of the pixels changes a digit.

    Args:
        pixels: uint8 (N, 3, 32, 32).

    Returns:
        float32 (N, 145), in grey levels, the covariances in their squares.
    """
    ranks = np.linspace(0, data.PIXELS - 1, QUANTILES).round().astype(int)
    upper = np.triu_indices(3)
    rows = []
    for _, channels in _chunks(pixels):
        red, green, blue = channels = channels.astype(np.int16)
        spread = channels.max(0) - channels.min(0)
        values = np.stack([red, green, blue, red + green + blue, red - green, green - blue, red - blue, spread], 1)
        values.sort(2)
        exact = channels.transpose(1, 0, 2).astype(np.float64)
        means = exact.mean(2)
        products = exact @ exact.transpose(0, 2, 1) / data.PIXELS
        covariances = (products - means[:, :, None] * means[:, None])[:, upper[0], upper[1]]
        rows.append(np.concatenate([values[:, :, ranks].reshape(len(values), -1), means, covariances], 1))
    return np.concatenate(rows).astype(np.float32)


def colours(pixels: Tensor, bins: int) -> np.ndarray:
    """:func:`colour_histogram` and :func:`colour_statistics` side by side, float32 (N, bins³ + 145)."""
    return np.concatenate([colour_histogram(pixels, bins), colour_statistics(pixels)], 1)


def raw_pixels(pixels: Tensor) -> np.ndarray:
    """uint8 (N, 3, 32, 32) as the networks get it, in a row: float32 (N, 3072) in [-1, 1]."""
    return data.normalize(pixels).flatten(1).numpy()


def _chunks(pixels: Tensor) -> Iterator[tuple[int, np.ndarray]]:
    """The number of the first of some images at a time, and their channels, uint8 (3, n, 1024)."""
    for start in range(0, len(pixels), CHUNK):
        yield start, pixels[start : start + CHUNK].flatten(2).transpose(0, 1).numpy()


# ---- what is tried ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A classifier and what it sees of an image.

    Attributes:
        settings: what it differs from the other candidates by, for people and files.
        features: makes features (N, F) of pixels uint8 (N, 3, 32, 32).
        make: makes the untrained classifier.
    """

    settings: dict[str, object]
    features: Callable[[Tensor], np.ndarray]
    make: Callable[[], ClassifierMixin]


@dataclass(frozen=True)
class Baseline:
    """Candidates of which the best on the hold-out is the baseline; a single one is not compared.

    Attributes:
        about: what it is and sees, in words.
    """

    about: str
    candidates: tuple[Candidate, ...]


def baselines() -> dict[str, Baseline]:
    """All baselines by name.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    try:
        from sklearn.dummy import DummyClassifier
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise UsageError("it needs a package that is not installed: pip install scikit-learn") from None

    def logistic(c: float, iterations: int) -> Callable[[], ClassifierMixin]:
        return lambda: LogisticRegression(C=c, max_iter=iterations)

    def boosting(iterations: int) -> Callable[[], ClassifierMixin]:
        # Early stopping would hold out images of its own.
        return lambda: HistGradientBoostingClassifier(
            max_iter=iterations, max_features=0.2, early_stopping=False, random_state=SEED
        )

    def colour(
        classifier: str, seen: str, bins: int, iterations: int, make: Callable[[], ClassifierMixin], **settings: object
    ) -> Candidate:
        features = {"histogram": colour_histogram, "histogram and statistics": colours}[seen]
        about = {"classifier": classifier, "features": seen, "bins per channel": bins, "iterations": iterations}
        return Candidate({**about, **settings}, lambda pixels: features(pixels, bins), make)

    linear = [
        colour("logistic regression", "histogram", bins, 50, logistic(c, 50), C=c)
        for bins, c in ((4, 1.0), (6, 1.0), (8, 1.0), (8, 0.1))
    ]
    boosted = [
        colour("gradient boosting", seen, 4, iterations, boosting(iterations))
        for seen, iterations in (
            ("histogram", 100),
            ("histogram and statistics", 100),
            ("histogram and statistics", 250),
        )
    ]
    return {
        CHANCE: Baseline(
            "the most frequent class of the training images, whatever the image",
            (Candidate({}, lambda pixels: np.empty((len(pixels), 1)), lambda: DummyClassifier(strategy="prior")),),
        ),
        COLOUR: Baseline(
            "sees which colours an image has and how often, but not where: no permutation of the pixels changes it",
            (*linear, *boosted),
        ),
        PIXELS: Baseline(
            "multinomial logistic regression on the 3,072 values that the networks get: affine, without hidden layers",
            tuple(
                Candidate({"C": c, "iterations": iterations}, raw_pixels, logistic(c, iterations))
                for c, iterations in ((1e-4, 100), (1e-3, 50), (1e-3, 100), (1e-2, 50))
            ),
        ),
    }


# ---- training and testing --------------------------------------------------------------------------------------------


def choose(baseline: Baseline, train: Images, say: Callable[[str], None]) -> tuple[Candidate, list[dict]]:
    """The candidate that is best on a hold-out of ``train``, the earlier of equals, and what each came to.

    Args:
        say: is told of each candidate.
    """
    if len(baseline.candidates) == 1:
        return baseline.candidates[0], []
    kept, held_out = data.split_holdout(train, min(HOLDOUT, len(train) // 10))
    tried = []
    for candidate in baseline.candidates:
        began = time.perf_counter()
        classifier = _fit(candidate, kept)
        accuracy = float(classifier.score(candidate.features(held_out.pixels), held_out.labels.numpy()))
        seconds = time.perf_counter() - began
        tried.append({**candidate.settings, "holdout_accuracy": accuracy, "seconds": round(seconds, 1)})
        in_words = ", ".join(f"{name} {value}" for name, value in candidate.settings.items())
        say(f"{100 * accuracy:.1f} % of {len(held_out):,} held out: {in_words} ({seconds:.0f} s)")
    best = max(range(len(tried)), key=lambda i: tried[i]["holdout_accuracy"])
    return baseline.candidates[best], tried


def _fit(candidate: Candidate, images: Images) -> ClassifierMixin:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # The number of iterations is one of the settings that are chosen: fewer of them regularise, too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return candidate.make().fit(candidate.features(images.pixels), images.labels.numpy())


def evaluate(candidate: Candidate, dataset: Dataset) -> utils.Evaluation:
    """How ``candidate``, trained on all training images, does on the test images."""
    probabilities = _fit(candidate, dataset.train).predict_proba(candidate.features(dataset.test.pixels))
    labels = dataset.test.labels
    of_own_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return utils.Evaluation(
        loss=float(-np.log(of_own_class.clip(min=LEAST_PROBABILITY)).mean()),
        confusion=utils.count_confusion(torch.from_numpy(probabilities.argmax(1)), labels, len(dataset.classes)),
        confidence=float(probabilities.max(1).mean()),
    )


def measure(dataset: Dataset, say: Callable[[str], None] = print) -> dict:
    """What ``baselines.json`` says of all baselines on ``dataset``.

    Args:
        say: is told of each step.

    Raises:
        RunnerError: there are too few training images, or a class has none.
        UsageError: scikit-learn is not installed.
    """
    everything = baselines()
    if len(dataset.train) < LEAST_IMAGES or len(dataset.train.labels.unique()) < len(dataset.classes):
        raise RunnerError(f"baselines need {LEAST_IMAGES} training images or more, some of each class")
    machine = utils.describe_machine(torch.device("cpu"), "fp32")  # first, as it says when this started
    results = {}
    for name, baseline in everything.items():
        say(f"{name}: {baseline.about}")
        began = time.perf_counter()
        chosen, tried = choose(baseline, dataset.train, say)
        result = evaluate(chosen, dataset)
        results[name] = {
            "about": baseline.about,
            "settings": chosen.settings,
            "candidates": tried,
            **result.as_dict(dataset.classes),
            "seconds": round(time.perf_counter() - began, 1),
        }
    return {
        "data": utils.describe_dataset(dataset),
        "machine": machine,
        "sklearn": importlib.metadata.version("scikit-learn"),
        "seed": SEED,
        "baselines": results,
    }


# ---- what came out ---------------------------------------------------------------------------------------------------


def read(folder: Path) -> dict | None:
    """What ``baselines.json`` in ``folder``, that of a data set's results, says; None where there is none.

    Raises:
        RunnerError: the file can't be read, or is another one.
    """
    path = folder / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["data"]["sha256"]
        for result in (found["baselines"][name] for name in (CHANCE, COLOUR, PIXELS)):
            of_classes = result["per_class_accuracy"].values()
            shares = [result["accuracy"], *(share for share in of_classes if share is not None)]
            if not all(0 <= share <= 1 for share in shares):
                raise ValueError("an accuracy is not in [0, 1]")
            if result["images"] < max(1, len(of_classes)):
                raise ValueError("fewer images than classes")
            result["about"]
    except FileNotFoundError:
        return None
    except Exception as error:
        raise RunnerError(f"{path} can't be read: {one_line(error)}") from error
    return found


def per_class(found: dict, baseline: str) -> dict[str, float | None]:
    """The test accuracy of each class, in [0, 1], by its name; None for a class without test images.

    Args:
        found: from :func:`read`.
        baseline: one of ``CHANCE``, ``COLOUR`` and ``PIXELS``.
    """
    return found["baselines"][baseline]["per_class_accuracy"]


def table(found: dict) -> str:
    """The test accuracy of each baseline, in percent, in lines."""
    width = max(map(len, found["baselines"]))
    return "\n".join(
        f"{name:<{width}}  {100 * result['accuracy']:5.1f} % of {result['images']:,} test images  "
        f"({result['seconds']:.0f} s)"
        for name, result in found["baselines"].items()
    )


def main(options: argparse.Namespace) -> int:
    try:
        if options.limit and options.limit < LEAST_IMAGES:
            raise UsageError(f"--limit {options.limit}: must be at least {LEAST_IMAGES}")
        baselines()  # a missing package is said before images are read
        dataset = sources.load(
            options.dataset,
            options.data_dir,
            os.environ.get(DATA_URL_VARIABLE, ""),
            notice=console.warn,
            warn=console.warn,
        )
        if not dataset.is_cifar10:
            console.announce_generated_data()
        train, test = (data.subset(images, limit=options.limit) for images in (dataset.train, dataset.test))
        dataset = replace(dataset, train=train, test=test)
        say = console.speaker(dataset.name)
        found = measure(dataset, say)
        folder = Path(options.results_dir) / dataset.slug
        files.make_folder(folder)
        name = Path(FILE)
        path = folder / (f"{name.stem}__limit-{options.limit}{name.suffix}" if options.limit else FILE)
        files.write_json(path, found)
        say(f"{table(found)}\nin {path}")
    except (RunnerError, OSError) as error:
        print(f"baselines.py: error: {one_line(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(OPTIONS))
