import os
import tarfile
from hashlib import md5

os.environ.pop("CIFAR10_URL", None)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests share the cores with each other

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

import commands
import ex1
import sources
import synthetic
from tests.helpers import processes
from tests.helpers.official import python2_pickle
from tests.helpers.paths import PROJECT


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real():
    """CIFAR-10 from the project's data folder."""
    if sources.find(PROJECT / "data") is None:
        pytest.skip("needs the real images: put CIFAR-10 into data/")
    return sources.load("cifar10", PROJECT / "data")


@pytest.fixture
def small_synthetic(monkeypatch):
    """A synthetic set that is made and trained on in a moment."""
    monkeypatch.setattr(synthetic, "TRAIN_IMAGES", 200)
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 100)


@pytest.fixture
def ex1_main(tmp_path, small_synthetic):
    """Runs a command line on the small synthetic set, with results under ``tmp_path``, and returns the exit code."""

    def run(*argv):
        new = not {"--evaluate", "--transfer", "--collapse", "--predict", "--resume"} & set(argv) or "auto" in argv
        place = ["--results-dir", str(tmp_path / "results"), "--dataset", "synthetic"] if new else []
        return ex1.main(commands.parse([*argv, *place, "--threads", "1"]))

    return run


@pytest.fixture
def place(tmp_path):
    """Makes places where command lines run in processes of their own, see ``processes.Place``."""
    preload = ["ex1", "synthetic", "torch.optim", "torchvision.datasets", "matplotlib.figure", "torchsummary"]
    processes.PROCESSES.set_forkserver_preload(preload)
    places = []

    def make(name="place", **options):
        places.append(processes.Place(tmp_path / name, **options))
        return places[-1]

    yield make
    for place in places:
        place.kill_all()


@pytest.fixture
def tiny_official(tmp_path, monkeypatch):
    """A folder like the official ``cifar-10-batches-py``, with 10 images a batch and MD5s that are known to be right.

    Returns the folder, and the training and test pixels and labels in it.
    """
    folder = tmp_path / "official" / sources.BATCH_FOLDER
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    batches = {}
    for name in [*sources.TRAIN_BATCHES, *sources.TEST_BATCHES]:
        pixels = draws.integers(0, 256, (10, 3072), dtype=np.uint8)
        labels = [int(label) for label in draws.permutation(10)]
        names = [f"{i}.png" for i in range(10)]
        content = python2_pickle({"batch_label": name, "labels": labels, "data": pixels, "filenames": names})
        (folder / name).write_bytes(content)
        batches[name] = pixels, labels
        known = sources.TRAIN_BATCHES if name in sources.TRAIN_BATCHES else sources.TEST_BATCHES
        monkeypatch.setitem(known, name, md5(content).hexdigest())

    def joined(names):
        return (
            torch.from_numpy(np.concatenate([batches[n][0] for n in names]).reshape(-1, 3, 32, 32)),
            torch.tensor(sum((batches[n][1] for n in names), [])),
        )

    return folder, joined(sources.TRAIN_BATCHES), joined(sources.TEST_BATCHES)


@pytest.fixture
def tiny_archive(tiny_official, tmp_path, monkeypatch):
    """The tiny batches as an archive with the MD5 that torchvision knows; returns its path."""
    folder = tiny_official[0]
    path = tmp_path / "archive" / sources.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, sources.BATCH_FOLDER)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(path.read_bytes()).hexdigest())
    return path
