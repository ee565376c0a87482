"""The baselines beside the networks: what each can see, how it is chosen, and what is written and read."""

import json

import numpy as np
import pytest
import torch

import data
from datasets import synthetic
from experiments import baselines
from report.results import COLOUR, read_baselines
from runner.errors import RunnerError
from runner.rng import generator
from tests.helpers.fake_runs import fake_baselines
from tests.helpers.reference import per_image_permutations, permute_pixels

# ---- features --------------------------------------------------------------------------------------------------------


def test_histogram_counts_colours():
    pixels = np.zeros((1, 3, 32, 32), np.uint8)
    pixels[0, 0, :16] = 255  # half of it red, and the rest black
    histogram = baselines.colour_histogram(pixels, 4)
    assert histogram.shape == (1, 64)
    assert histogram.dtype == np.float32
    assert histogram[0, [0, 3 * 16]] ** 2 == pytest.approx([0.5, 0.5])
    assert (histogram**2).sum() == pytest.approx(1)


@pytest.mark.parametrize("bins", [4, 6, 8])
def test_histogram_bins_are_equally_wide(bins):
    grey = torch.arange(256, dtype=torch.uint8).repeat(4).view(1, 1, 32, 32).expand(1, 3, 32, 32)
    counts = baselines.colour_histogram(grey.numpy(), bins)[0] ** 2 * 1024
    used = counts[[i * (bins**2 + bins + 1) for i in range(bins)]]
    assert used.sum() == pytest.approx(1024)
    assert used.max() - used.min() <= 4 + 1e-3


def test_statistics_are_those_of_the_colours():
    images = synthetic.make_images(3, generator("test of statistics"), {})
    flat = images.pixels.flatten(2).numpy().astype(np.float64)
    found = baselines.colour_statistics(images.pixels.numpy())
    assert found.shape == (3, 145)
    assert found[:, 0] == pytest.approx(flat[:, 0].min(1))
    assert found[:, 16] == pytest.approx(flat[:, 0].max(1))
    assert found[:, 4 * 17 + 8] == pytest.approx(np.median(flat[:, 0] - flat[:, 1], axis=1), abs=1)
    assert found[:, 136:139] == pytest.approx(flat.mean(2), rel=1e-6)
    expected = [np.cov(image, bias=True)[np.triu_indices(3)] for image in flat]
    assert found[:, 139:] == pytest.approx(np.array(expected), rel=1e-4, abs=1e-2)


@pytest.mark.parametrize(
    "features",
    [
        lambda x: baselines.colour_histogram(x, 8),
        baselines.colour_statistics,
        baselines.grey_features,
        baselines.difference_features,
    ],
)
def test_colour_features_survive_permutations(features):
    images = synthetic.make_images(50, generator("test of permutations"), synthetic.STRENGTHS)
    shuffled = permute_pixels(images.pixels, per_image_permutations(50, 1))
    assert not torch.equal(shuffled, images.pixels)
    assert np.array_equal(features(images.pixels.numpy()), features(shuffled.numpy()))


def test_many_images_have_the_features_that_they_have_alone(monkeypatch):
    images = synthetic.make_images(25, generator("test of chunks"), synthetic.STRENGTHS)
    pixels = images.pixels.numpy()
    several = (lambda x: baselines.colour_features(x, 4), baselines.grey_features, baselines.difference_features)
    whole = [features(pixels) for features in several]
    monkeypatch.setattr(baselines, "CHUNK", 10)
    for features, before in zip(several, whole):
        assert np.array_equal(features(pixels), before)


def test_grey_features_know_no_colour_and_differences_no_lightness():
    pixels = synthetic.make_images(20, generator("test of grey"), synthetic.STRENGTHS).pixels.clamp(40, 180)
    grey = data.grey(pixels.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert np.array_equal(baselines.grey_features(pixels.numpy()), baselines.grey_features(grey.numpy()))
    assert baselines.grey_features(pixels.numpy()).shape == (20, 64 + 17 + 2)
    lighter = (pixels + 30).numpy()
    assert np.array_equal(baselines.difference_features(pixels.numpy()), baselines.difference_features(lighter))
    assert not np.array_equal(baselines.grey_features(pixels.numpy()), baselines.grey_features(lighter))
    none = baselines.difference_features(grey.numpy())
    assert (none == none[0]).all()
    lightness = grey[0, 0].numpy().ravel().astype(int)
    found = baselines.grey_features(pixels.numpy())[0]
    assert found[:64] == pytest.approx((np.bincount(lightness // 4, minlength=64) / 1024) ** 0.5)
    assert found[[64, 80, 81, 82]] == pytest.approx(
        [lightness.min(), lightness.max(), lightness.mean(), lightness.var()], rel=1e-5
    )


def test_raw_pixels_are_scaled_as_for_networks():
    pixels = np.tile(np.array([0, 255], np.uint8), 1536).reshape(1, 3, 32, 32)
    features = baselines.normalized_pixels(pixels)
    assert features.shape == (1, 3072)
    assert features[0, :2].tolist() == [-1, 1]


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_read_gives_none_without_file_and_error_for_damaged(tmp_path):
    assert read_baselines(tmp_path) is None
    assert read_baselines(tmp_path / "no folder") is None
    for content in ("{", "[]", "{}", '{"baselines": {"chance": {}}}'):
        (tmp_path / "baselines.json").write_text(content, encoding="utf-8")
        with pytest.raises(RunnerError, match="baselines.json can't be read"):
            read_baselines(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("accuracy", 43), ("accuracy", None), ("images", 5), ("images", None), ("about", ...)]
)
def test_results_that_cannot_be_are_an_error(tmp_path, key, value):
    fake_baselines(tmp_path)
    assert read_baselines(tmp_path)
    found = json.loads((tmp_path / "baselines.json").read_text(encoding="utf-8"))
    results = found["baselines"][COLOUR]
    if value is ...:
        del results[key]
    else:
        results[key] = value
    (tmp_path / "baselines.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(RunnerError, match="baselines.json can't be read"):
        read_baselines(tmp_path)
