"""What the gallery expects of models."""

import models
from report import cues


def test_is_convolutional_is_false_for_affine_and_own_models():
    assert cues.is_convolutional("Q1_1")
    assert not cues.is_convolutional("Q2_1")
    assert not cues.is_convolutional("NoConv")


def test_is_convolutional_is_false_for_registered_own_models(registry):
    models.register("NoConv")(object)
    assert not cues.is_convolutional("NoConv")
