"""What tests replace inside the program, each in one place: modules move."""

import io

from PIL import Image

import models
from datasets import synthetic
from runner import checkpoint, files


def blank_png():
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), "white").save(buffer, "PNG")
    return buffer.getvalue()


def render_no_figures(set_attribute=setattr):
    """Has figures composed as ever and a blank picture written of each: to draw them takes most of a small run's time.

    Args:
        set_attribute: ``monkeypatch.setattr`` where it is to be undone.
    """
    from matplotlib.figure import Figure

    png = blank_png()
    set_attribute(Figure, "savefig", lambda figure, file, **options: file.write(png))


def shrink_synthetic(train, test, set_attribute=setattr):
    """Makes the synthetic set one of so many images, which is made and trained on in a moment."""
    set_attribute(synthetic, "TRAIN_IMAGES", train)
    set_attribute(synthetic, "TEST_IMAGES", test)


def make_synthetic_with(make_images, set_attribute=setattr):
    set_attribute(synthetic, "make_images", make_images)


def write_files_with(write_file, set_attribute=setattr):
    """Has every file of a run written by ``write_file``."""
    set_attribute(files, "write_file", write_file)
    set_attribute(checkpoint, "write_file", write_file)


def copy_registry(set_attribute=setattr):
    """Gives the registry of models in for a copy, which own models may be added to; returns it."""
    set_attribute(models, "REGISTRY", dict(models.REGISTRY))
    return models.REGISTRY
