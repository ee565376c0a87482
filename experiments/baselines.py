"""Baselines: ``python -m experiments.baselines`` trains classical classifiers on the images of the models.

* **chance** ignores the image.
* **colour histogram** knows which colours an image has and how often, but not where: all that a per-image shuffle
  leaves. A model with ``--shuffle per-image`` can't use more; whether it uses as much, this tells.
* **logistic regression** is affine in the pixels, like every model without ReLU, and is trained directly.

Candidates are compared on images held out from training; the best is trained again on all training images, and only it
meets the test images. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import data
import datasets
from data import Dataset, Images
from runner import console, files, machine
from runner.config import DATA_URL_VARIABLE, Config
from runner.errors import RunnerError, UsageError, one_line
from utils import EvalMetrics, count_confusion

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin
    from sklearn.model_selection import GridSearchCV

log = logging.getLogger("ex1")

SEED = 0
HOLDOUT = 5000  # images, of training
MIN_IMAGES = 100  # of training: a tenth of them, one of each class, is held out
CHUNK = 2000  # images whose colours are looked at once, so that little memory is needed
QUANTILES = 17
MIN_PROBABILITY = 1e-9  # for the loss, which a probability that was rounded to 0 would make infinite

CHANCE, COLOUR, PIXELS = "chance", "colour histogram", "logistic regression"
ABOUT = {
    CHANCE: "the most frequent class of the training images, whatever the image",
    COLOUR: "sees which colours an image has and how often, but not where: no permutation of the pixels changes it",
    PIXELS: "multinomial logistic regression on the 3,072 values that the networks get: affine, without hidden layers",
}
# The settings that each baseline is chosen from, as its file shows them.
COLOUR_SETTINGS = ("classifier", "features", "bins per channel", "iterations", "C")
# fmt: off
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    CHANCE: [{}],
    COLOUR: [dict(zip(COLOUR_SETTINGS, values)) for values in (
        ("logistic regression", "histogram",                4,  50, 1.0),
        ("logistic regression", "histogram",                6,  50, 1.0),
        ("logistic regression", "histogram",                8,  50, 1.0),
        ("logistic regression", "histogram",                8,  50, 0.1),
        ("gradient boosting",   "histogram",                4, 100),
        ("gradient boosting",   "histogram and statistics", 4, 100),
        ("gradient boosting",   "histogram and statistics", 4, 250),
    )],
    PIXELS: [{"C": c, "iterations": n} for c, n in ((1e-4, 100), (1e-3, 50), (1e-3, 100), (1e-2, 50))],
}
# fmt: on


# ---- features --------------------------------------------------------------------------------------------------------


def colour_histogram(pixels: np.ndarray, bins: int) -> np.ndarray:
    """Compute the square roots of the joint RGB histogram's frequencies.

    The root makes Euclidean distance between features the Hellinger distance between histograms.

    Args:
        pixels: uint8 (N, 3, 32, 32).
        bins: equal parts of each channel's range.

    Returns:
        float32 (N, bins³); the squares of a row add up to 1.
    """
    cells = bins**3
    counts = []
    for channels in _chunks(pixels):
        red, green, blue = (channels.astype(np.int64) * bins) >> 8
        cell = (red * bins + green) * bins + blue + cells * np.arange(len(red))[:, None]  # (n, 1024), image by image
        counts.append(np.bincount(cell.ravel(), minlength=cells * len(red)).reshape(-1, cells))
    return np.sqrt(np.concatenate(counts) / (32 * 32)).astype(np.float32)


def colour_statistics(pixels: np.ndarray) -> np.ndarray:
    """Compute quantiles, means and covariances of an image's colours, whichever pixels have them.

    The quantiles, from minimum to maximum, are those of red, green, blue, their sum, their three differences, and the
    greatest less the least of them. All sums are of integers, so that no order of the pixels changes a digit.

    Args:
        pixels: uint8 (N, 3, 32, 32).

    Returns:
        float32 (N, 145), in grey levels, the covariances in their squares.
    """
    ranks = np.linspace(0, 32 * 32 - 1, QUANTILES).round().astype(int)
    upper = np.triu_indices(3)
    rows = []
    for channels in _chunks(pixels):
        # quantiles of eight values of each pixel
        red, green, blue = channels = channels.astype(np.int16)
        spread = channels.max(0) - channels.min(0)
        values = np.stack([red, green, blue, red + green + blue, red - green, green - blue, red - blue, spread], 1)
        values.sort(2)  # (n, 8, 1024)
        quantiles = values[:, :, ranks].reshape(len(values), -1)

        # the first two moments of the channels
        exact = channels.transpose(1, 0, 2).astype(np.float64)  # (n, 3, 1024)
        means = exact.mean(2)
        products = exact @ exact.transpose(0, 2, 1) / (32 * 32)
        covariances = (products - means[:, :, None] * means[:, None])[:, upper[0], upper[1]]
        rows.append(np.concatenate([quantiles, means, covariances], 1))
    return np.concatenate(rows).astype(np.float32)


def histogram_and_statistics(pixels: np.ndarray, bins: int) -> np.ndarray:
    """Put :func:`colour_histogram` and :func:`colour_statistics` side by side, float32 (N, bins³ + 145)."""
    return np.concatenate([colour_histogram(pixels, bins), colour_statistics(pixels)], 1)


def normalized_pixels(pixels: np.ndarray) -> np.ndarray:
    """Scale uint8 (N, 3, 32, 32) as the models get it, in a row: float32 (N, 3072) in [-1, 1]."""
    return data.normalize(torch.from_numpy(pixels)).flatten(1).numpy()


def _chunks(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the channels of some images at a time, uint8 (3, n, 1024)."""
    for start in range(0, len(pixels), CHUNK):
        yield pixels[start : start + CHUNK].reshape(-1, 3, 32 * 32).transpose(1, 0, 2)


# ---- training and testing --------------------------------------------------------------------------------------------


def build_classifier(settings: dict[str, Any]) -> ClassifierMixin:
    """Build an untrained candidate, which takes pixels uint8 (N, 3, 32, 32)."""
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    if not settings:
        return DummyClassifier(strategy="prior")

    # what it sees
    features = FunctionTransformer(normalized_pixels)
    if "features" in settings:
        function = {"histogram": colour_histogram, "histogram and statistics": histogram_and_statistics}
        features = FunctionTransformer(function[settings["features"]], kw_args={"bins": settings["bins per channel"]})

    # what learns from that
    if "C" in settings:
        return make_pipeline(features, LogisticRegression(C=settings["C"], max_iter=settings["iterations"]))
    boosting = HistGradientBoostingClassifier(
        max_iter=settings["iterations"],
        max_features=0.2,
        early_stopping=False,  # it would hold out images of its own
        random_state=SEED,
    )
    return make_pipeline(features, boosting)


def choose(candidates: list[dict[str, Any]], train: Images, holdout: int) -> GridSearchCV:
    """Compare the candidates on ``holdout`` images, and train the best, the earlier of equals, on all of ``train``."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import Pipeline

    # the images that --val holdout holds out, too; -1 is to train on
    fold = np.full(len(train), -1)
    fold[data.balanced_subset(train.labels, holdout, "holdout")] = 0
    classifiers = [build_classifier(settings) for settings in candidates]
    pipeline, grid = Pipeline([("candidate", classifiers[0])]), {"candidate": classifiers}
    search = GridSearchCV(pipeline, grid, cv=PredefinedSplit(fold), refit=True, error_score="raise")
    with warnings.catch_warnings():
        # The number of iterations is one of the settings that are chosen: fewer of them regularise, too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return search.fit(train.pixels.numpy(), train.labels.numpy())


def evaluate(classifier: GridSearchCV, dataset: Dataset) -> EvalMetrics:
    """Measure a trained classifier on the test images."""
    probabilities = classifier.predict_proba(dataset.test.pixels.numpy())  # (N, C)
    labels = dataset.test.labels
    of_own_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return EvalMetrics(
        loss=float(-np.log(of_own_class.clip(min=MIN_PROBABILITY)).mean()),
        confusion=count_confusion(torch.from_numpy(probabilities.argmax(1)), labels, len(dataset.classes)),
        confidence=float(probabilities.max(1).mean()),
    )


def measure_one(name: str, dataset: Dataset) -> dict:
    """Choose, train and test one baseline, and make its entry of ``baselines.json``."""
    say = console.stdout_log(dataset.name)
    say.info(f"{name}: {ABOUT[name]}")
    began = time.perf_counter()
    candidates, holdout = CANDIDATES[name], min(HOLDOUT, len(dataset.train) // 10)
    search = choose(candidates, dataset.train, holdout)

    # what each candidate came to; a single one had no other to be compared with
    compared = []
    table = search.cv_results_
    rows = zip(candidates, table["mean_test_score"], table["mean_fit_time"] + table["mean_score_time"])
    for settings, accuracy, seconds in rows if len(candidates) > 1 else ():
        compared.append({**settings, "holdout_accuracy": float(accuracy), "seconds": round(float(seconds), 1)})
        in_words = ", ".join(f"{key} {value}" for key, value in settings.items())
        say.info(f"{100 * accuracy:.1f} % of {holdout:,} held out: {in_words} ({seconds:.0f} s)")

    # the best meets the test images
    return {
        "about": ABOUT[name],
        "settings": candidates[search.best_index_],
        "candidates": compared,
        **evaluate(search, dataset).as_dict(dataset.classes),
        "seconds": round(time.perf_counter() - began, 1),
    }


def measure(dataset: Dataset) -> dict:
    """Choose, train and test all baselines, and make the content of ``baselines.json``.

    Raises:
        RunnerError: there are too few training images, or a class has none.
    """
    if len(dataset.train) < MIN_IMAGES or len(dataset.train.labels.unique()) < len(dataset.classes):
        raise RunnerError(f"baselines need {MIN_IMAGES} training images or more, some of each class")
    on_cpu = machine.describe(machine.Machine(torch.device("cpu"), "fp32", torch.get_num_threads()))
    return {
        "data": dataset.facts,
        "machine": on_cpu | {"command": ["python", *sys.orig_argv[1:]]},  # sys.argv has a module's path on this machine
        "sklearn": importlib.metadata.version("scikit-learn"),
        "seed": SEED,
        "baselines": {name: measure_one(name, dataset) for name in CANDIDATES},
    }


# ---- the program -----------------------------------------------------------------------------------------------------


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.baselines",
        description="Trains classical classifiers on the images of the networks, and writes baselines.json into the "
        "folder of the data set's results.",
        allow_abbrev=False,
    )
    # fmt: off
    parser.add_argument("--data-dir", default="data", metavar="DIR",
        help="where CIFAR-10 is, or is downloaded to (default: data)")
    parser.add_argument("--dataset", choices=("auto", "cifar10", "synthetic"), default="auto",
        help="auto: CIFAR-10 if present or downloadable, else a generated set (default: auto)")
    parser.add_argument("--results-dir", default="results", metavar="DIR", help="folder of results (default: results)")
    parser.add_argument("--limit", type=int, default=0, metavar="N",
        help="for a quick trial: use at most N images of each split (default: 0, all); the file is named after it")
    # fmt: on
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> None:
    """Measure all baselines, and write and print what came out.

    Raises:
        RunnerError: there are no images, or too few.
        UsageError: a limit that leaves too few, or scikit-learn is not installed.
    """
    # what can be told before images are read
    if options.limit and options.limit < MIN_IMAGES:
        raise UsageError(f"--limit {options.limit}: must be at least {MIN_IMAGES}")
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError("it needs a package that is not installed: pip install scikit-learn")

    # the images; no model of this name is looked for
    url = os.environ.get(DATA_URL_VARIABLE, "")
    dataset = datasets.load(Config("baselines", dataset=options.dataset, data_dir=options.data_dir, data_url=url))
    train, test = (data.subset(images, limit=options.limit) for images in (dataset.train, dataset.test))
    content = measure(replace(dataset, train=train, test=test))

    # the file, and a table of the test accuracies
    folder, name = Path(options.results_dir) / dataset.slug, Path(files.BASELINES)
    path = folder / (name.with_stem(f"{name.stem}__limit-{options.limit}") if options.limit else name)
    files.make_folder(folder)
    files.write_json(path, content)
    width = max(map(len, CANDIDATES))
    table = [
        f"{name:<{width}}  {100 * result['accuracy']:5.1f} % of {result['images']:,} test images  "
        f"({result['seconds']:.0f} s)"
        for name, result in content["baselines"].items()
    ]
    console.stdout_log(dataset.name).info("\n".join([*table, f"in {path}"]))


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    console.set_up_logging()
    try:
        run(options)
    except (RunnerError, OSError) as error:
        log.error(f"baselines.py: error: {one_line(error)}")
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
