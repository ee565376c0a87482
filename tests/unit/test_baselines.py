"""The baselines beside the networks: what each can see, how it is chosen, and what is written and read."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import baselines
import data
import synthetic
from config import RunnerError
from data import Dataset, Images, digest, generator, per_image_permutations, permute_pixels, split_holdout
from tests.helpers.fake_runs import fake_baselines
from tests.helpers.paths import PROJECT


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
    return {
        name: result["accuracy"]
        for name, result in baselines.measure(dataset, say=lambda text: None)["baselines"].items()
    }


# ---- features --------------------------------------------------------------------------------------------------------


def test_the_histogram_counts_colours():
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    pixels[0, 0, :16] = 255  # half of it red, and the rest black
    histogram = baselines.colour_histogram(pixels, 4)
    assert histogram.shape == (1, 64)
    assert histogram.dtype == np.float32
    assert histogram[0, [0, 3 * 16]] ** 2 == pytest.approx([0.5, 0.5])
    assert (histogram**2).sum() == pytest.approx(1)


@pytest.mark.parametrize("bins", [4, 6, 8])
def test_every_bin_is_as_wide_as_any_other(bins):
    grey = torch.arange(256, dtype=torch.uint8).repeat(4).view(1, 1, 32, 32).expand(1, 3, 32, 32)
    counts = baselines.colour_histogram(grey, bins)[0] ** 2 * 1024
    used = counts[[i * (bins**2 + bins + 1) for i in range(bins)]]
    assert used.sum() == pytest.approx(1024)
    assert used.max() - used.min() <= 4 + 1e-3


def test_the_statistics_are_those_of_the_colours():
    images = synthetic.make_images(3, generator("test of statistics"), {})
    flat = images.pixels.flatten(2).numpy().astype(np.float64)
    found = baselines.colour_statistics(images.pixels)
    assert found.shape == (3, 145)
    assert found[:, 0] == pytest.approx(flat[:, 0].min(1))
    assert found[:, 16] == pytest.approx(flat[:, 0].max(1))
    assert found[:, 4 * 17 + 8] == pytest.approx(np.median(flat[:, 0] - flat[:, 1], axis=1), abs=1)
    assert found[:, 136:139] == pytest.approx(flat.mean(2), rel=1e-6)
    expected = [np.cov(image, bias=True)[np.triu_indices(3)] for image in flat]
    assert found[:, 139:] == pytest.approx(np.array(expected), rel=1e-4, abs=1e-2)


@pytest.mark.parametrize("features", [lambda x: baselines.colour_histogram(x, 8), baselines.colour_statistics])
def test_no_permutation_of_the_pixels_changes_a_colour_feature(features):
    images = synthetic.make_images(50, generator("test of permutations"), synthetic.STRENGTHS)
    shuffled = permute_pixels(images.pixels, per_image_permutations(50, 1))
    assert not torch.equal(shuffled, images.pixels)
    assert np.array_equal(features(images.pixels), features(shuffled))


def test_many_images_have_the_features_that_they_have_alone(monkeypatch):
    images = synthetic.make_images(25, generator("test of chunks"), synthetic.STRENGTHS)
    whole = baselines.colours(images.pixels, 4)
    monkeypatch.setattr(baselines, "CHUNK", 10)
    assert np.array_equal(baselines.colours(images.pixels, 4), whole)


def test_logistic_regression_gets_the_pixels_as_the_networks_do():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).repeat(1536).view(1, 3, 32, 32)
    features = baselines.raw_pixels(pixels)
    assert features.shape == (1, 3072)
    assert features[0, :2].tolist() == [-1, 1]


# ---- what they find --------------------------------------------------------------------------------------------------


def test_colours_alone_are_found_by_the_histogram(few_iterations):
    found = accuracies(dataset_of(colour=1.0))
    assert found[baselines.CHANCE] == 0.1
    assert found[baselines.COLOUR] > 0.8


def test_places_alone_are_found_by_the_regression_on_pixels_only(few_iterations):
    found = accuracies(dataset_of(position=1.0))
    assert found[baselines.CHANCE] == 0.1
    assert found[baselines.COLOUR] < 0.2
    assert found[baselines.PIXELS] > 0.6


def test_the_best_on_the_holdout_is_chosen_and_trained_on_all_images(monkeypatch):
    dummy = pytest.importorskip("sklearn.dummy").DummyClassifier
    trained_on = []

    class Constant(dummy):
        def fit(self, features, labels):
            trained_on.append(len(labels))
            return super().fit(features, labels)

    def candidate(label):
        return baselines.Candidate(
            {"label": label}, baselines.raw_pixels, lambda: Constant(strategy="constant", constant=label)
        )

    def all_of_class_1_held_out(images, n):
        assert n == 150
        return images, images.take(images.labels == 1)

    monkeypatch.setattr(data, "split_holdout", all_of_class_1_held_out)
    monkeypatch.setattr(
        baselines, "baselines", lambda: {"made": baselines.Baseline("", tuple(map(candidate, (2, 1, 3))))}
    )
    dataset = dataset_of()
    test = Images(dataset.test.pixels, torch.full_like(dataset.test.labels, 2))
    result = baselines.measure(replace(dataset, test=test), say=lambda text: None)["baselines"]["made"]
    assert result["settings"] == {"label": 1}
    assert [(row["label"], row["holdout_accuracy"]) for row in result["candidates"]] == [(2, 0), (1, 1), (3, 0)]
    assert result["accuracy"] == 0
    assert trained_on == [1500] * 4


def test_held_out_images_are_not_trained_on(few_iterations, monkeypatch):
    seen = []
    fit = baselines._fit
    monkeypatch.setattr(baselines, "_fit", lambda candidate, images: seen.append(images) or fit(candidate, images))
    dataset = dataset_of(300, colour=1.0)
    baselines.choose(baselines.baselines()[baselines.COLOUR], dataset.train, say=lambda text: None)
    kept, _ = split_holdout(dataset.train, 30)
    assert seen
    assert all(torch.equal(images.pixels, kept.pixels) for images in seen)


def test_the_same_again_to_the_last_digit(few_iterations):
    dataset = dataset_of(300, colour=0.5, position=0.5)
    for baseline in baselines.baselines().values():
        for candidate in baseline.candidates:
            first, again = (baselines.evaluate(candidate, dataset) for _ in range(2))
            assert first.loss == again.loss, candidate.settings
            assert torch.equal(first.confusion, again.confusion)


def test_chance_is_the_most_frequent_class_of_the_training_images():
    pytest.importorskip("sklearn")
    dataset = dataset_of()
    labels = torch.arange(10).repeat_interleave(torch.arange(1, 11))  # so many of each class as its number plus 1
    dataset = replace(dataset, train=Images(dataset.train.pixels[: len(labels)], labels))
    found = baselines.evaluate(baselines.baselines()[baselines.CHANCE].candidates[0], dataset)
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


# ---- the program -----------------------------------------------------------------------------------------------------


@pytest.fixture
def main(tmp_path, monkeypatch):
    """Runs a command line on a small synthetic set, with results under ``tmp_path``, and returns the exit code."""
    monkeypatch.setattr(synthetic, "TRAIN_IMAGES", 400)
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 200)
    place = ["--dataset", "synthetic", "--results-dir", str(tmp_path)]
    return lambda *argv: baselines.main(baselines.parse([*argv, *place]))


def test_what_is_written_can_be_read(main, few_iterations, tmp_path, capsys):
    assert main() == 0
    found = baselines.read(tmp_path / "synthetic")
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
        assert baselines.per_class(found, name) == dict(zip(synthetic.CLASSES, confusion.diagonal() / 20))
        assert f"{name:<19}  {100 * result['accuracy']:5.1f} % of 200 test images" in screen
        accuracies = [row["holdout_accuracy"] for row in result["candidates"]]
        if accuracies:
            best = result["candidates"][accuracies.index(max(accuracies))]
            assert result["settings"].items() <= best.items()
    assert found["baselines"][baselines.CHANCE]["loss"] == pytest.approx(np.log(10))
    assert set(found["baselines"]) == {baselines.CHANCE, baselines.COLOUR, baselines.PIXELS}


def test_a_quick_trial_leaves_the_file_of_all_images_alone(main, few_iterations, tmp_path):
    assert main("--limit", "100") == 0
    assert baselines.read(tmp_path / "synthetic") is None
    found = json.loads((tmp_path / "synthetic" / "baselines__limit-100.json").read_text())
    assert (found["data"]["train_images"], found["data"]["test_images"]) == (100, 100)


@pytest.mark.parametrize("limit", ["99", "-1"])
def test_a_limit_that_leaves_too_few_images_is_refused(main, limit, capsys):
    assert main("--limit", limit) == 2
    assert f"--limit {limit}: must be at least 100" in capsys.readouterr().err


def test_without_scikit_learn_one_line_says_what_to_do(main, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for name in [name for name in sys.modules if name.startswith("sklearn.")]:
        monkeypatch.delitem(sys.modules, name)
    assert main() == 2
    said = capsys.readouterr()
    assert said.err == "baselines.py: error: it needs a package that is not installed: pip install scikit-learn\n"
    assert not said.out


def test_images_that_are_missing_are_said_in_one_line(tmp_path, capsys):
    pytest.importorskip("sklearn")
    (tmp_path / "data").write_text("no folder")
    options = baselines.parse(["--dataset", "cifar10", "--data-dir", str(tmp_path / "data")])
    assert baselines.main(options) == 1
    assert capsys.readouterr().err.startswith("baselines.py: error: ")


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_reading_needs_no_scikit_learn(tmp_path):
    fake_baselines(tmp_path)
    found = json.loads((tmp_path / "baselines.json").read_text())
    found["baselines"]["chance"]["per_class_accuracy"] = {"cat": 0.25, "dog": None}
    (tmp_path / "baselines.json").write_text(json.dumps(found))
    code = (
        "import sys, pathlib; sys.modules['sklearn'] = None; import baselines; "
        f"print(baselines.per_class(baselines.read(pathlib.Path({str(tmp_path)!r})), baselines.CHANCE))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert run.stdout == "{'cat': 0.25, 'dog': None}\n"


def test_no_file_is_none_and_a_damaged_one_is_an_error(tmp_path):
    assert baselines.read(tmp_path) is None
    assert baselines.read(tmp_path / "no folder") is None
    for content in ("{", "[]", "{}", '{"baselines": {"chance": {}}}'):
        (tmp_path / "baselines.json").write_text(content)
        with pytest.raises(RunnerError, match="baselines.json can't be read"):
            baselines.read(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("accuracy", 43), ("accuracy", None), ("images", 5), ("images", None), ("about", ...)]
)
def test_results_that_cannot_be_are_an_error(tmp_path, key, value):
    fake_baselines(tmp_path)
    assert baselines.read(tmp_path)
    found = json.loads((tmp_path / "baselines.json").read_text())
    results = found["baselines"][baselines.COLOUR]
    if value is ...:
        del results[key]
    else:
        results[key] = value
    (tmp_path / "baselines.json").write_text(json.dumps(found))
    with pytest.raises(RunnerError, match="baselines.json can't be read"):
        baselines.read(tmp_path)
