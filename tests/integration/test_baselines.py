"""The baselines, measured on small sets."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import data
from data import Dataset, Images, digest, split_holdout
from datasets import synthetic
from experiments import baselines
from report.results import CHANCE, COLOUR, GREY, HUES, PIXELS, read_baselines
from runner.errors import RunnerError
from runner.rng import generator
from tests.helpers import internals


def dataset_of(train_images=1500, **strengths):
    """A data set of so many training and 500 test images with cues of these strengths."""
    train, test = (
        synthetic.make_images(n, generator("test of baselines", split), strengths)
        for split, n in enumerate((train_images, 500))
    )
    return Dataset("made", "made", "generated", synthetic.CLASSES, train, test, digest(train, test), seed=0)


@pytest.fixture
def few_iterations(monkeypatch):
    """The candidates with boosting of 5 iterations, which these images need no more of."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    full = ensemble.HistGradientBoostingClassifier
    monkeypatch.setattr(
        ensemble, "HistGradientBoostingClassifier", lambda max_iter, **settings: full(max_iter=5, **settings)
    )


def accuracies(dataset):
    return {name: result["accuracy"] for name, result in baselines.measure(dataset)["baselines"].items()}


def test_histogram_finds_colours_alone(few_iterations):
    found = accuracies(dataset_of(colour=1.0))
    assert found[CHANCE] == 0.1
    assert found[COLOUR] > 0.8
    assert found[HUES] > 0.8


def test_pixel_regression_alone_finds_places(few_iterations):
    found = accuracies(dataset_of(position=1.0))
    assert found[CHANCE] == 0.1
    assert max(found[COLOUR], found[GREY], found[HUES]) < 0.2
    assert found[PIXELS] > 0.6


def test_measure_chooses_on_holdout_and_trains_on_all_images(monkeypatch):
    dummy = pytest.importorskip("sklearn.dummy").DummyClassifier
    trained_on = []

    class Constant(dummy):
        def fit(self, pixels, labels):
            trained_on.append(len(labels))
            return super().fit(pixels, labels)

    def all_of_class_1_but_one(labels, n, purpose):  # that one is left to be trained on, which a constant asks for
        assert (n, purpose) == (150, "holdout")
        return torch.nonzero(labels == 1).flatten()[1:]

    monkeypatch.setattr(data, "balanced_subset", all_of_class_1_but_one)
    monkeypatch.setattr(baselines, "CANDIDATES", {"made": [{"label": 2}, {"label": 1}, {"label": 3}]})
    monkeypatch.setattr(baselines, "ABOUT", {"made": ""})
    monkeypatch.setattr(
        baselines, "build_classifier", lambda settings: Constant(strategy="constant", constant=settings["label"])
    )
    dataset = dataset_of()
    test = Images(dataset.test.pixels, torch.full_like(dataset.test.labels, 2))
    result = baselines.measure(replace(dataset, test=test))["baselines"]["made"]
    assert result["settings"] == {"label": 1}
    assert [(row["label"], row["holdout_accuracy"]) for row in result["candidates"]] == [(2, 0), (1, 1), (3, 0)]
    assert result["accuracy"] == 0
    assert trained_on == [1351] * 3 + [1500]


def test_held_out_images_are_not_trained_on(few_iterations, monkeypatch):
    from sklearn.base import BaseEstimator, ClassifierMixin

    seen = []
    build = baselines.build_classifier

    class Recorder(ClassifierMixin, BaseEstimator):
        def __init__(self, settings):
            self.settings = settings

        def fit(self, pixels, labels):
            seen.append(torch.from_numpy(pixels))
            self.fitted_ = build(self.settings).fit(pixels, labels)
            self.classes_ = self.fitted_.classes_
            return self

        def predict(self, pixels):
            return self.fitted_.predict(pixels)

    monkeypatch.setattr(baselines, "build_classifier", Recorder)
    dataset = dataset_of(300, colour=1.0)
    baselines.choose(baselines.CANDIDATES[COLOUR], dataset.train, 30)
    kept, _ = split_holdout(dataset.train, 30)
    *compared, last = seen
    assert len(compared) == len(baselines.CANDIDATES[COLOUR])
    assert all(torch.equal(pixels, kept.pixels) for pixels in compared)
    assert torch.equal(last, dataset.train.pixels)


def test_measure_repeats_to_the_last_digit(few_iterations):
    dataset = dataset_of(300, colour=0.5, position=0.5)
    for candidates in baselines.CANDIDATES.values():
        for settings in candidates:
            first, again = (
                baselines.evaluate(baselines.choose([settings], dataset.train, 30), dataset) for _ in range(2)
            )
            assert first.loss == again.loss, settings
            assert torch.equal(first.confusion, again.confusion)


def test_chance_is_the_most_frequent_training_class():
    pytest.importorskip("sklearn")
    dataset = dataset_of()
    labels = torch.arange(10).repeat_interleave(torch.arange(1, 11))  # so many of each class as its number plus 1
    dataset = replace(dataset, train=Images(dataset.train.pixels[: len(labels)], labels))
    found = baselines.evaluate(baselines.choose(baselines.CANDIDATES[CHANCE], dataset.train, 10), dataset)
    assert found.confusion[:, 9].tolist() == [50] * 10
    assert found.accuracy == 0.1
    assert found.confidence == pytest.approx(10 / 55)
    assert found.loss == pytest.approx(-np.log(np.arange(1, 11) / 55).mean())


def test_too_few_images_and_classes_without_any_are_refused():
    pytest.importorskip("sklearn")
    dataset = dataset_of()
    few = replace(dataset, train=dataset.train.take(slice(99)))
    one_class_less = replace(dataset, train=dataset.train.take(dataset.train.labels < 9))
    for bad in (few, one_class_less):
        with pytest.raises(RunnerError, match="100 training images"):
            baselines.measure(bad)


@pytest.fixture
def main(tmp_path, monkeypatch):
    """Runs a command line on a small synthetic set, with results under ``tmp_path``, and returns the exit code."""
    internals.shrink_synthetic(400, 200, monkeypatch.setattr)
    place = ["--dataset", "synthetic", "--results-dir", str(tmp_path)]
    return lambda *argv: baselines.main([*argv, *place])


def test_baselines_written_can_be_read(main, few_iterations, tmp_path, capsys):
    assert main() == 0
    found = read_baselines(tmp_path / "synthetic")
    assert found["data"]["slug"] == "synthetic"
    assert found["data"]["test_images"] == 200
    assert found["seed"] == 0
    assert found["sklearn"]
    assert found["machine"]["versions"]
    screen = capsys.readouterr().out
    for name, result in found["baselines"].items():
        confusion = np.array(result["confusion"])
        assert confusion.sum() == result["images"] == 200
        assert result["accuracy"] == confusion.trace() / 200
        assert result["per_class_accuracy"] == dict(zip(synthetic.CLASSES, confusion.diagonal() / 20))
        assert f"{name:<27}  {100 * result['accuracy']:5.1f} % of 200 test images" in screen
        accuracies = [row["holdout_accuracy"] for row in result["candidates"]]
        if accuracies:
            best = result["candidates"][accuracies.index(max(accuracies))]
            assert result["settings"].items() <= best.items()
    assert found["baselines"][CHANCE]["loss"] == pytest.approx(np.log(10))
    assert set(found["baselines"]) == {CHANCE, COLOUR, GREY, HUES, PIXELS}


def test_quick_trial_leaves_the_file_of_all_images_alone(main, few_iterations, tmp_path):
    assert main("--limit", "100") == 0
    assert read_baselines(tmp_path / "synthetic") is None
    found = json.loads((tmp_path / "synthetic" / "baselines__limit-100.json").read_text(encoding="utf-8"))
    assert (found["data"]["train_images"], found["data"]["test_images"]) == (100, 100)


@pytest.mark.parametrize("limit", ["99", "-1"])
def test_baselines_refuse_limit_with_too_few_images(main, limit, capsys):
    assert main("--limit", limit) == 2
    assert f"--limit {limit}: must be at least 100" in capsys.readouterr().err


def test_baselines_without_scikit_learn_say_what_to_do(main, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for name in [name for name in sys.modules if name.startswith("sklearn.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main() == 2
    said = capsys.readouterr()
    reason = "it needs a package that is not installed: pip install scikit-learn"
    assert said.err == f"python -m experiments.baselines: error: {reason}\n"
    assert not said.out


def test_images_that_are_missing_are_said_in_one_line(tmp_path, capsys):
    pytest.importorskip("sklearn")
    (tmp_path / "data").write_text("no folder", encoding="utf-8")
    assert baselines.main(["--dataset", "cifar10", "--data-dir", str(tmp_path / "data")]) == 1
    assert capsys.readouterr().err.startswith("python -m experiments.baselines: error: ")
