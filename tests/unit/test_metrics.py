"""Calibration: the figures of probabilities that are known to be right, too sure, or always right."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

import utils


def sample(n, temperature, seed=0):
    """Logits (n, 10), and labels drawn by their probabilities at a temperature."""
    draws = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(n, 10, generator=draws)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=draws)[:, 0]


def calibration_error(logits, labels):
    """The expected calibration error, image by image."""
    confidence, predicted = (part.numpy() for part in logits.double().softmax(1).max(1))
    right, error = predicted == labels.numpy(), 0.0
    for low in np.arange(15) / 15:
        inside = (low <= confidence) & (confidence < low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return error


def test_figures_of_a_model_that_is_too_sure():
    logits, labels = sample(6000, temperature=2.5)
    measured = utils.measure_calibration(logits, labels)
    assert measured.temperature == pytest.approx(2.5, rel=0.05)
    assert measured.error == pytest.approx(calibration_error(logits, labels), abs=1e-5)
    wrong = logits.argmax(1) != labels
    assert measured.confidence_when_wrong == pytest.approx(logits.softmax(1).amax(1)[wrong].mean().item(), rel=1e-5)
    assert measured.scaled_loss == pytest.approx(F.cross_entropy(logits / 2.5, labels).item(), abs=0.005)
    assert F.cross_entropy(logits, labels) > measured.scaled_loss + 0.3


def test_figures_of_a_model_that_is_as_sure_as_it_may_be():
    measured = utils.measure_calibration(*sample(6000, temperature=1))
    assert measured.temperature == pytest.approx(1, rel=0.05)
    assert measured.error < 0.02


def test_temperature_has_the_lowest_loss():
    logits, labels = sample(500, temperature=0.7)
    loss = lambda log: F.cross_entropy(logits.double() / np.exp(log), labels).item()
    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-8}).x
    assert np.log(utils.fit_temperature(logits, labels)) == pytest.approx(best, abs=1e-5)


def test_loss_is_scaled_by_the_temperature_of_images_that_it_is_not_measured_on():
    """Where the halves contradict each other, each is measured with the temperature that is right for the other."""
    logits = torch.tensor([[3.0, 0.0]]).repeat(200, 1)
    labels = torch.tensor([0, 1] * 100)  # the even ones are right, the odd ones wrong
    measured = utils.measure_calibration(logits, labels)
    assert measured.scaled_loss > F.cross_entropy(logits, labels)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_images_that_are_all_right_have_figures_too(n):
    measured = utils.measure_calibration(torch.eye(10)[:n] * 5, torch.arange(n))
    assert measured.confidence_when_wrong is None
    assert 0 <= measured.scaled_loss < 1
    assert 0 < measured.temperature < 1
