"""What the gallery expects of models."""

import models
from report import cues


def test_convolves_is_false_for_affine_and_own_models():
    assert cues.convolves("Q1_1")
    assert not cues.convolves("Q2_1")
    assert not cues.convolves("NoConv")


def test_convolves_is_false_for_registered_own_models(registry):
    models.register("NoConv")(object)
    assert not cues.convolves("NoConv")
