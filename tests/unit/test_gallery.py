"""What the gallery makes of models, classes and cues."""

import numpy as np
import pytest

import models
from datasets import synthetic
from report import cues, gallery, results, stats
from tests.helpers.fake_runs import fake_run


def test_is_convolutional_is_false_for_affine_and_own_models():
    assert cues.is_convolutional("Q1_1")
    assert not cues.is_convolutional("Q2_1")
    assert not cues.is_convolutional("NoConv")


def test_is_convolutional_is_false_for_registered_own_models(registry):
    models.register("NoConv")(object)
    assert not cues.is_convolutional("NoConv")


def test_ceilings_are_what_the_scatter_of_the_images_allows():
    """The class whose hue, or whose centre, is nearest to the one that was drawn."""
    rng = np.random.default_rng(0)
    n = 200_000
    hues = rng.normal(0, synthetic.HUE_JITTER, n)
    assert abs(100 * np.mean(abs(hues) < 0.05) - cues.CEILINGS["colour"]) < 0.15
    places = 9 + 1j * 0 + rng.normal(0, synthetic.CENTRE_JITTER, (n, 2)) @ [1, 1j]
    assert abs(100 * np.mean(abs(np.angle(places)) < np.pi / 10) - cues.CEILINGS["position"]) < 0.2


@pytest.mark.parametrize(("gained", "is_learning"), [(0.005, False), (0.015, True)])
def test_network_whose_training_accuracy_rises_is_still_learning(tmp_path, gained, is_learning):
    group = results.read_study(tmp_path if fake_run(tmp_path, accuracy=90) else tmp_path).models[0]
    for run in group.runs.values():
        run.history[-2]["train_accuracy"] = run.history[-1]["train_accuracy"] - 100 * gained
    assert cues.is_learning(group) == is_learning


def known(**percent):
    return {name: stats.proportion(value, 1000) for name, value in percent.items()}


def test_order_of_classes_is_told_where_their_intervals_lie_apart():
    assert gallery.best_text(known(a=70, b=60, c=40, d=38, e=20, f=5)).endswith("a, b best; f, e worst.")
    undecided = gallery.best_text(known(a=52, b=51, c=50, d=49, e=48, f=47))
    assert undecided.endswith("which it knows best is not decided; which it knows worst is not decided.")


def test_correlation_of_classes_is_decided_by_what_those_without_a_shuffle_leave():
    plain = [70.0, 75, 45, 40, 50, 52, 71, 64, 74, 68]
    network = [value / 2 + way for value, way in zip(plain, (1, -1, 1, -1, 1, -1, 1, -1, 1, -1))]
    histogram = [value / 2 + way for value, way in zip(plain, (1, 1, -1, -1, 1, 1, -1, -1, 1, 0))]
    assert stats.correlation(network, histogram)[1] > 0.5
    assert ": not decided, partial correlation " in gallery.correlation_text("So", network, histogram, plain, 1)
    assert ": holds, partial correlation " in gallery.correlation_text("So", network, network, plain, 1)
    assert ": not decided, there are no runs " in gallery.correlation_text("So", network, network, None, 1)


def test_partial_correlation_is_that_of_what_is_left():
    rng = np.random.default_rng(0)
    common, a, b = rng.normal(size=(3, 400))
    r, low, high = stats.partial_correlation(common + a, common + b, common)
    assert low < 0 < high
    assert abs(r) < 0.1
    assert stats.correlation(common + a, common + b)[1] > 0.3
    # By the formula from the three correlations, with Fisher's interval of one value fewer.
    x, y, z = common + a, 0.5 * a + b, common
    xy, xz, yz = (stats.correlation(*pair)[0] for pair in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5
    r, low, high = stats.partial_correlation(x, y, z)
    assert r == pytest.approx(expected)
    assert np.arctanh([low, high]) == pytest.approx(
        np.arctanh(expected) + np.array([-1, 1]) * 1.96 / 396**0.5, abs=1e-4
    )


def test_partial_correlation_needs_something_left():
    x = [1.0, 2, 3, 4, 5, 7]
    with pytest.raises(ValueError, match="no partial correlation"):
        stats.partial_correlation(x, [3.0, 1, 2, 5, 4, 6], x)
    with pytest.raises(ValueError, match="at least 5"):
        stats.partial_correlation([1.0, 2, 3, 5], [1.0, 3, 2, 4], [2.0, 1, 3, 4])
