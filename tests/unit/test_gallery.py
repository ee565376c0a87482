"""What the gallery expects of models."""

import gallery
import models


def test_convolves_is_false_for_affine_and_own_models():
    assert gallery.convolves("Q1_1")
    assert not gallery.convolves("Q2_1")
    assert not gallery.convolves("NoConv")


def test_convolves_is_false_for_registered_own_models(registry):
    models.register("NoConv")(object)
    assert not gallery.convolves("NoConv")
