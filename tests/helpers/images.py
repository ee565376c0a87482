"""Images and data sets of random numbers, in memory and as files."""

import contextlib
import logging

import numpy as np
import torch
from PIL import Image

import data
import datasets
from runner.config import Config

CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def make_images(n, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return data.Images(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draws), torch.arange(n) % 10)


def make_dataset(n_train=1000, n_test=200):
    """A data set of random images, balanced."""
    return data.Dataset("X", "x", "made", tuple("0123456789"), make_images(n_train, 1), make_images(n_test, 2), "")


def write_image_folder(folder, train, test, classes=CLASSES, seed=0, name="{}.png"):
    """Writes a folder of PNG images as ``--data-dir`` takes it: ``train`` and ``test`` images of each class."""
    draws = np.random.default_rng(seed)
    for split, n in (("train", train), ("test", test)):
        for one in classes:
            (folder / split / one).mkdir(parents=True)
            for i in range(n):
                pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / one / name.format(i))
    return folder


class _Listener(logging.Handler):
    """Gives messages to ``info``, and warnings to ``warning``."""

    def __init__(self, info, warning):
        super().__init__()
        self.info, self.warning = info, warning

    def emit(self, record):
        (self.warning if record.levelno >= logging.WARNING else self.info)(record.getMessage())


@contextlib.contextmanager
def listening(info=lambda text: None, warning=lambda text: None):
    """Has what the program logs inside go to ``info``, and its warnings to ``warning``, and nowhere else."""
    log = logging.getLogger("ex1")
    before = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = [_Listener(info, warning)], False
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.handlers, log.propagate = before[0], before[2]
        log.setLevel(before[1])


def load_images(dataset, data_dir, url="", notice=lambda text: None, warn=lambda text: None):
    """The data set that a run with these options is on; ``notice`` and ``warn`` get what is said."""
    with listening(notice, warn):
        return datasets.load(
            Config("Q1_1", dataset=dataset, data_dir=str(data_dir), data_url=url, batch_size=1, epochs=1)
        )
