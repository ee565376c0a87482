"""Baselines: ``python -m experiments.baselines`` trains classical classifiers on the images of the models.

* **chance** ignores the image.
* **colour histogram** knows which colours an image has and how often, but not where: all that a per-image shuffle
  leaves. A model with ``--shuffle per-image`` can't use more; whether it uses as much, this tells.
* **grey histogram** knows of each pixel the lightness alone, and **colour-difference histogram** what is left of its
  colour without it.
* **logistic regression** is affine in the pixels, like every model without ReLU, and is trained directly.

Candidates are compared on images held out from training; the best is trained again on all training images, and only it
meets the test images. Needs scikit-learn.
"""

from runner import startup

if __name__ == "__main__":
    startup.prepare()
    startup.tell_errors_in_a_line("python -m experiments.baselines")

import argparse
import importlib.metadata
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import data
import datasets
from report.results import CHANCE, COLOUR, GREY, HUES, PIXELS
from runner import console, files, machine
from runner.cli import check_results_dir
from runner.config import DATA_URL_VARIABLE, Config
from runner.errors import RunnerError, UsageError
from utils import EvalMetrics, count_confusion

Classifier = Any  # one of scikit-learn, which is imported where it is needed
SEED = 0
HOLDOUT = 5000  # images, of training
MIN_IMAGES = 100  # of training: a tenth of them, one of each class, is held out
CHUNK = 2000  # images whose colours are looked at once, so that little memory is needed
QUANTILES = 17
MIN_PROBABILITY = 1e-9  # for the loss, which a probability that was rounded to 0 would make infinite

ABOUT = {
    CHANCE: "the most frequent class of the training images, whatever the image",
    COLOUR: "sees which colours an image has and how often, but not where: no permutation of the pixels changes it",
    GREY: "sees how light the pixels are and how often, but no colour and not where",
    HUES: "sees how red, green and blue differ in the pixels and how often, but not how light they are and not where",
    PIXELS: "multinomial logistic regression on the 3,072 values that the networks get: affine, without hidden layers",
}
# The settings that each baseline is chosen from, as its file shows them.
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    CHANCE: [{}],
    COLOUR: [dict(zip(("classifier", "features", "bins per channel", "iterations", "C"), values)) for values in (
        ("logistic regression", "histogram",                4,  50, 1.0),
        ("logistic regression", "histogram",                6,  50, 1.0),
        ("logistic regression", "histogram",                8,  50, 1.0),
        ("logistic regression", "histogram",                8,  50, 0.1),
        ("gradient boosting",   "histogram",                4, 100),
        ("gradient boosting",   "histogram and statistics", 4, 100),
        ("gradient boosting",   "histogram and statistics", 4, 250),
    )],
    GREY: [{"classifier": "gradient boosting", "features": "grey", "iterations": n} for n in (100, 250)],
    HUES: [{"classifier": "gradient boosting", "features": "colour differences", "iterations": n} for n in (100, 250)],
    PIXELS: [{"C": c, "iterations": n} for c, n in ((1e-4, 100), (1e-3, 50), (1e-3, 100), (1e-2, 50))],
}  # fmt: skip


def colour_histogram(pixels: np.ndarray, bins: int) -> np.ndarray:
    """Compute the roots of the frequencies of colours in ``bins`` a channel: float32 (N, bins³) of (N, 3, 32, 32).

    The root makes Euclidean distance between features the Hellinger distance between histograms.
    """
    cells = bins**3
    counts = []
    for channels in _chunks(pixels):
        red, green, blue = (channels.astype(np.int64) * bins) >> 8
        cell = (red * bins + green) * bins + blue + cells * np.arange(len(red))[:, None]  # (n, 1024), image by image
        counts.append(np.bincount(cell.ravel(), minlength=cells * len(red)).reshape(-1, cells))
    return np.sqrt(np.concatenate(counts) / (32 * 32)).astype(np.float32)


def colour_statistics(pixels: np.ndarray) -> np.ndarray:
    """Compute quantiles, means and covariances of an image's colours, in grey levels and their squares, (N, 145).

    The quantiles, from minimum to maximum, are those of red, green, blue, their sum, their three differences, and the
    greatest less the least of them. All sums are of integers, so that no order of the pixels changes a digit.
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
        covariances = exact @ exact.transpose(0, 2, 1) / (32 * 32) - means[:, :, None] * means[:, None]
        rows.append(np.concatenate([quantiles, means, covariances[:, upper[0], upper[1]]], 1))
    return np.concatenate(rows).astype(np.float32)


def colour_features(pixels: np.ndarray, bins: int) -> np.ndarray:
    """Put :func:`colour_histogram` and :func:`colour_statistics` side by side, float32 (N, bins³ + 145)."""
    return np.concatenate([colour_histogram(pixels, bins), colour_statistics(pixels)], 1)


def grey_features(pixels: np.ndarray) -> np.ndarray:
    """Compute histogram, quantiles, mean and variance of the lightness of an image's pixels, float32 (N, 83)."""
    rows = []
    for channels in _chunks(pixels):
        lightness = data.grey(torch.from_numpy(channels.transpose(1, 2, 0)))[..., 0].numpy()
        rows.append(_describe_values(lightness.astype(np.int64), low=0, high=256))
    return np.concatenate(rows)


def difference_features(pixels: np.ndarray) -> np.ndarray:
    """Describe red less green, green less blue and red less blue as ``grey_features`` does lightness, (N, 249)."""
    rows = []
    for red, green, blue in (channels.astype(np.int64) for channels in _chunks(pixels)):
        values = (red - green, green - blue, red - blue)
        rows.append(np.concatenate([_describe_values(each, low=-256, high=256) for each in values], 1))
    return np.concatenate(rows)


def _describe_values(values: np.ndarray, low: int, high: int, bins: int = 64) -> np.ndarray:
    """Compute roots of frequencies in bins, quantiles, mean and variance of integers (n, 1024): float32 (n, 83)."""
    cells = (values - low) * bins // (high - low) + bins * np.arange(len(values))[:, None]
    counts = np.bincount(cells.ravel(), minlength=bins * len(values)).reshape(-1, bins)
    ranks = np.linspace(0, values.shape[1] - 1, QUANTILES).round().astype(int)
    quantiles = np.sort(values, axis=1)[:, ranks]
    moments = np.stack([values.mean(1), (values**2).mean(1) - values.mean(1) ** 2], 1)
    return np.concatenate([np.sqrt(counts / values.shape[1]), quantiles, moments], 1).astype(np.float32)


def normalized_pixels(pixels: np.ndarray) -> np.ndarray:
    """Scale pixels as the models get them, in a row: float32 (N, 3072) in [-1, 1]."""
    return data.normalize(torch.from_numpy(pixels)).flatten(1).numpy()


def _chunks(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the channels of some images at a time, uint8 (3, n, 1024)."""
    for start in range(0, len(pixels), CHUNK):
        yield pixels[start : start + CHUNK].reshape(-1, 3, 32 * 32).transpose(1, 0, 2)


def build_classifier(settings: dict[str, Any]) -> Classifier:
    """Build an untrained candidate, which takes pixels uint8 (N, 3, 32, 32)."""
    from sklearn import dummy, ensemble, linear_model, pipeline, preprocessing

    if not settings:
        return dummy.DummyClassifier(strategy="prior")

    # what it sees
    functions = {
        None: normalized_pixels,
        "histogram": colour_histogram,
        "histogram and statistics": colour_features,
        "grey": grey_features,
        "colour differences": difference_features,
    }
    bins = {"bins": settings["bins per channel"]} if "bins per channel" in settings else {}
    features = preprocessing.FunctionTransformer(functions[settings.get("features")], kw_args=bins)

    # what learns from that; early stopping would hold out images of its own
    iterations = settings["iterations"]
    if "C" in settings:
        return pipeline.make_pipeline(features, linear_model.LogisticRegression(C=settings["C"], max_iter=iterations))
    options = {"max_features": 0.2, "early_stopping": False, "random_state": SEED}
    return pipeline.make_pipeline(features, ensemble.HistGradientBoostingClassifier(max_iter=iterations, **options))


def choose(candidates: list[dict[str, Any]], train: data.Images, holdout: int) -> Classifier:
    """Compare the candidates on ``holdout`` images, and train the best, the earlier of equals, on all of ``train``."""
    from sklearn import exceptions, model_selection, pipeline

    # the images that --val holdout holds out, too; -1 is to train on
    fold = np.full(len(train), -1)
    fold[data.balanced_subset(train.labels, holdout, "holdout")] = 0
    classifiers = [build_classifier(settings) for settings in candidates]
    step, grid = pipeline.Pipeline([("candidate", classifiers[0])]), {"candidate": classifiers}
    search = model_selection.GridSearchCV(step, grid, cv=model_selection.PredefinedSplit(fold), error_score="raise")
    with warnings.catch_warnings():
        # The number of iterations is one of the settings that are chosen: fewer of them regularise, too.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return search.fit(train.pixels.numpy(), train.labels.numpy())


def evaluate(classifier: Classifier, dataset: data.Dataset) -> EvalMetrics:
    """Measure a trained classifier on the test images."""
    probabilities = classifier.predict_proba(dataset.test.pixels.numpy())  # (N, C)
    labels = dataset.test.labels
    of_own_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    loss = float(-np.log(of_own_class.clip(min=MIN_PROBABILITY)).mean())
    confusion = count_confusion(torch.from_numpy(probabilities.argmax(1)), labels, len(dataset.classes))
    return EvalMetrics(loss, confusion, confidence=float(probabilities.max(1).mean()))


def measure_one(name: str, dataset: data.Dataset) -> dict:
    """Choose, train and test one baseline, and make its entry of ``baselines.json``."""
    say = console.stdout_log(dataset.name)
    say.info(f"{name}: {ABOUT[name]}")
    began = time.perf_counter()
    candidates, holdout = CANDIDATES[name], min(HOLDOUT, len(dataset.train) // 10)
    search = choose(candidates, dataset.train, holdout)

    # what each candidate came to; a single one had no other to be compared with
    compared, table = [], search.cv_results_
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


def measure(dataset: data.Dataset) -> dict:
    """Make the content of ``baselines.json``. Raises RunnerError if training images are few, or a class has none."""
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


def run(options: argparse.Namespace) -> None:
    """Measure all baselines, and write and print what came out. Raises RunnerError if it can't."""
    # what can be told before images are read
    if options.limit and options.limit < MIN_IMAGES:
        raise UsageError(f"--limit {options.limit}: must be at least {MIN_IMAGES}")
    check_results_dir(options.results_dir)
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError("it needs a package that is not installed: pip install scikit-learn")

    # the images; no model of this name is looked for
    url = os.environ.get(DATA_URL_VARIABLE, "")
    places = {"data_dir": options.data_dir, "data_url": url}
    dataset = datasets.load(Config("baselines", dataset=options.dataset, cues=options.cues, **places))
    train, test = (data.subset(images, limit=options.limit) for images in (dataset.train, dataset.test))
    content = measure(replace(dataset, train=train, test=test))

    # the file, and a table of the test accuracies
    path = Path(options.results_dir) / dataset.slug / files.BASELINES
    if options.limit:
        path = path.with_stem(f"{path.stem}__limit-{options.limit}")
    files.require_inside(path.parent, Path(options.results_dir))
    files.make_folder(path.parent)
    files.write_json(path, content)
    say, width = console.stdout_log(dataset.name), max(map(len, CANDIDATES))
    for name, result in content["baselines"].items():
        tested = f"{100 * result['accuracy']:5.1f} % of {result['images']:,} test images"
        say.info(f"{name:<{width}}  {tested}  ({result['seconds']:.0f} s)")
    say.info(f"in {path}")


def main(argv: list[str] | None = None) -> int:
    description = "Trains classical classifiers on the images of the networks, and writes baselines.json into the "
    description += "folder of the data set's results."
    parser = startup.Parser(prog="python -m experiments.baselines", description=description, allow_abbrev=False)
    add = parser.add_argument
    folder: dict = {"type": startup.expand_home, "metavar": "DIR"}
    add("--data-dir", default="data", help="where CIFAR-10 is, or is downloaded to (default: data)", **folder)
    add("--dataset", choices=("auto", "cifar10", "synthetic"), default="auto",
        help="auto: CIFAR-10 if present or downloadable, else a generated set (default: auto)")  # fmt: skip
    add("--cues", default="", metavar="LIST", help="of the generated images, as ex1.py has them")
    add("--results-dir", default="results", help="folder of results (default: results)", **folder)
    trial = "for a quick trial: use at most N images of each split (default: 0, all); the file is named after it"
    add("--limit", type=int, default=0, metavar="N", help=trial)
    add("--debug", action="store_true", help="show where in the code an error came from")
    options = parser.parse_args(argv)
    console.set_up_logging()
    return console.exit_code_of(lambda: run(options), "python -m experiments.baselines", options.debug)


if __name__ == "__main__":
    sys.exit(main())
