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


def render_no_figures(setattr=setattr):
    """Has figures composed as ever and a blank picture written of each: to draw them takes most of a small run's time.

    Args:
        setattr: ``monkeypatch.setattr`` where it is to be undone.
    """
    from matplotlib.figure import Figure

    png = blank_png()
    setattr(Figure, "savefig", lambda figure, file, **options: file.write(png))


def shrink_synthetic(train, test, setattr=setattr):
    """Makes the synthetic set one of so many images, which is made and trained on in a moment."""
    setattr(synthetic, "TRAIN_IMAGES", train)
    setattr(synthetic, "TEST_IMAGES", test)


def make_synthetic_with(make_images, setattr=setattr):
    setattr(synthetic, "make_images", make_images)


def write_files_with(write_file, setattr=setattr):
    """Has every file of a run written by ``write_file``."""
    setattr(files, "write_file", write_file)
    setattr(checkpoint, "write_file", write_file)


def copy_registry(setattr=setattr):
    """Gives the registry of models in for a copy, which own models may be added to; returns it."""
    setattr(models, "REGISTRY", dict(models.REGISTRY))
    return models.REGISTRY
