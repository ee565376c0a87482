"""What is claimed of the synthetic images: which cue carries the class, and what a shuffle leaves of it.

A nearest-mean classifier on hand-made features stands in for a network: it is instant and has no luck.
"""

from functools import cache

import numpy as np
import pytest
import torch

from datasets import synthetic
from runner import rng


def make(strengths, n=2000, seed=0):
    return made(tuple(strengths.items()), n, seed)


@cache
def made(strengths, n, seed):
    return synthetic.make_images(n, rng.generator("test", seed), dict(strengths))


def pixels(images):
    return images.pixels.numpy().astype(float).reshape(len(images), -1)


def colour(images):
    return images.pixels.numpy().astype(float).mean((2, 3))


def histogram(images):
    return np.sort(images.pixels.numpy().astype(float).reshape(len(images), 3, -1)).reshape(len(images), -1)


def spectrum(images):
    return np.abs(np.fft.fft2(images.pixels.numpy().astype(float).mean(1))).reshape(len(images), -1)


def nearest_mean_accuracy(features, strengths):
    train, test = make(strengths, seed=1), make(strengths, seed=2)
    x, y, labels = features(train), features(test), train.labels.numpy()
    means = np.stack([x[labels == label].mean(0) for label in range(10)])
    nearest = ((means**2).sum(1) - 2 * y @ means.T).argmin(1)  # of the squared distance, less what all have in common
    return (nearest == test.labels.numpy()).mean()


@pytest.mark.parametrize(
    ("cue", "features", "low", "high"),
    [
        ("colour", colour, 0.9, 1.0),
        ("position", pixels, 0.8, 1.0),
        ("texture", spectrum, 0.9, 1.0),
        # Sorted values are all that a per-image shuffle leaves, and they tell position and texture nothing.
        ("position", histogram, 0.0, 0.13),
        ("texture", histogram, 0.0, 0.13),
        ("colour", histogram, 0.9, 1.0),
    ],
)
def test_each_cue_is_found_where_it_is_and_nowhere_else(cue, features, low, high):
    assert low <= nearest_mean_accuracy(features, {cue: 1.0}) <= high


@pytest.mark.parametrize(("cue", "low", "high"), [("position", 0.9, 1.0), ("texture", -0.05, 0.05)])
def test_position_has_a_mean_image_and_texture_has_none(cue, low, high):
    def mean_images(seed):
        images = make({cue: 1.0}, seed=seed)
        means = np.stack([pixels(images)[images.labels.numpy() == label].mean(0) for label in range(10)])
        return (means - means.mean(0)).ravel()

    assert low <= np.corrcoef(mean_images(1), mean_images(2))[0, 1] <= high


def test_every_image_has_the_same_lightness_values(monkeypatch):
    monkeypatch.setattr(synthetic, "PIXEL_NOISE", 0.0)
    # The tint leaves the mean of the channels alone.
    values = np.sort(
        make({"position": 1.0, "texture": 1.0}, n=100).pixels.numpy().astype(float).mean(1).reshape(100, -1)
    )
    assert np.ptp(values, axis=0).max() <= 1.0
    assert np.ptp(values[0]) > 100


def test_cues_in_conflict_show_two_classes_and_the_third_tells_nothing():
    images, second = synthetic.make_conflict(("colour", "position"), 2000, seed=0)
    assert (second != images.labels).all()
    assert set(second.tolist()) == set(range(10))

    def accuracy(features, cue, labels):
        train = make({cue: 1.0}, seed=1)
        x, y = features(train), features(images)
        means = np.stack([x[train.labels.numpy() == label].mean(0) for label in range(10)])
        nearest = ((means**2).sum(1) - 2 * y @ means.T).argmin(1)
        return (nearest == labels.numpy()).mean()

    assert accuracy(colour, "colour", images.labels) > 0.9
    assert accuracy(pixels, "position", second) > 0.8
    assert accuracy(colour, "colour", second) < 0.05
    for labels in (images.labels, second):
        assert accuracy(spectrum, "texture", labels) < 0.15


def test_cue_of_strength_zero_tells_nothing():
    for features in (colour, pixels, spectrum):
        assert nearest_mean_accuracy(features, {}) < 0.13


def test_strength_is_the_share_of_truthful_images():
    # Half of the images show their class, and a tenth of the others by chance.
    assert abs(nearest_mean_accuracy(colour, {"colour": 0.5}) - 0.55) < 0.05


def test_each_cue_carries_a_part_of_the_class_by_default():
    for features in (colour, pixels, spectrum):
        assert 0.4 < nearest_mean_accuracy(features, synthetic.STRENGTHS) < 0.76


def test_synthetic_set_is_a_function_of_its_seed(small_synthetic):
    first, again, other = synthetic.make_dataset(0), synthetic.make_dataset(0), synthetic.make_dataset(1)
    assert first.digest == again.digest != other.digest
    assert torch.equal(first.train.pixels, again.train.pixels)
    assert first.slug != other.slug
    assert first.name != other.name


def test_synthetic_set_has_its_sizes():
    dataset = synthetic.make_dataset()
    assert dataset.train.pixels.shape == (10_000, 3, 32, 32)
    assert dataset.test.pixels.shape == (2_000, 3, 32, 32)
    assert dataset.train.labels.bincount().tolist() == [1000] * 10
    assert not dataset.is_cifar10
    assert "not CIFAR-10" in dataset.name
