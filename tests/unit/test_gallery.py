"""What the gallery expects of models."""

import gallery
import models


def test_of_own_models_nothing_is_expected_of_texture():
    assert gallery.convolves("Q1_1")
    assert not gallery.convolves("Q2_1")
    assert not gallery.convolves("NoConv")


def test_of_registered_own_models_neither(registry):
    models.register("NoConv")(object)
    assert not gallery.convolves("NoConv")
