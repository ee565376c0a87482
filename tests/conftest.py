"""Fixtures that several layers use."""

import logging
import os
import shutil
import tarfile
from hashlib import md5

os.environ.pop("CIFAR10_URL", None)
os.environ["https_proxy"] = "http://127.0.0.1:9"  # nothing is downloaded from where CIFAR-10 is published
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores

from runner import startup

startup.prepare()

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import cifar10, forms
from report import overview
from tests.helpers import internals, processes
from tests.helpers.cli import execute
from tests.helpers.fake_runs import fake_study
from tests.helpers.images import load_images, write_image_folder
from tests.helpers.official import python2_pickle
from tests.helpers.paths import PROJECT

torch.set_num_threads(1)

# Modules whose tests don't run beside each other, or share what takes long to make: all on one worker.
ON_ONE_WORKER = (
    "slow/test_browser.py",
    "slow/test_every_option.py",
    "slow/test_ray.py",
    "slow/test_theory.py",
    "unit/test_affine.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Every other test goes to the worker that is free. The mark xdist_group has no effect in pytest 9.2, xdist 3.8."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            module = nodeid.split("::")[0]
            return module if module.endswith(ON_ONE_WORKER) else nodeid

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def one_thread():
    """Undoes what a run in this process sets."""
    yield
    torch.set_num_threads(1)
    log = logging.getLogger("ex1")
    log.handlers.clear()
    log.setLevel(logging.NOTSET)


@pytest.fixture(autouse=True)
def no_figures(request, monkeypatch):
    """Figures are composed but not drawn in this process, except where a test is marked with ``figures``."""
    if not request.node.get_closest_marker("figures"):
        internals.render_no_figures(monkeypatch.setattr)


# ---- data -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real():
    """CIFAR-10 from the project's data folder."""
    if forms.find(PROJECT / "data") is None:
        pytest.skip("needs the real images: put CIFAR-10 into data/")
    return load_images("cifar10", PROJECT / "data")


@pytest.fixture
def small_synthetic(monkeypatch):
    """A synthetic set that is made and trained on in a moment."""
    internals.shrink_synthetic(200, 100, monkeypatch.setattr)


@pytest.fixture
def folder(tmp_path):
    """A data folder of PNG images, two of each class for training and one for testing."""
    draws = np.random.default_rng(1)
    names = ["airplane", "Automobile", *cifar10.CLASSES[2:]]
    for split, n in (("train", 2), ("test", 1)):
        for name in names:
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(n):
                image = Image.fromarray(draws.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                image.save(tmp_path / "images" / split / name / f"any name {9 - i}.PNG")
    return tmp_path / "images"


@pytest.fixture(scope="session")
def few_images(tmp_path_factory):
    """A data folder with 20 training and 5 test images of each class."""
    return write_image_folder(tmp_path_factory.mktemp("few-images"), 20, 5)


@pytest.fixture
def tiny_official(tmp_path, monkeypatch):
    """A folder like the official ``cifar-10-batches-py``, with 10 images a batch and MD5s that are known to be right.

    Returns the folder, and the training and test pixels and labels in it.
    """
    folder = tmp_path / "made" / "official" / cifar10.BATCH_FOLDER  # two below what tests take as a data folder
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    batches = {}
    for name in [*cifar10.TRAIN_BATCHES, *cifar10.TEST_BATCHES]:
        pixels = draws.integers(0, 256, (10, 3072), dtype=np.uint8)
        labels = [int(label) for label in draws.permutation(10)]
        names = [f"{i}.png" for i in range(10)]
        content = python2_pickle({"batch_label": name, "labels": labels, "data": pixels, "filenames": names})
        (folder / name).write_bytes(content)
        batches[name] = pixels, labels
        known = cifar10.TRAIN_BATCHES if name in cifar10.TRAIN_BATCHES else cifar10.TEST_BATCHES
        monkeypatch.setitem(known, name, md5(content).hexdigest())

    def joined(names):
        return (
            torch.from_numpy(np.concatenate([batches[n][0] for n in names]).reshape(-1, 3, 32, 32)),
            torch.tensor(sum((batches[n][1] for n in names), [])),
        )

    return folder, joined(cifar10.TRAIN_BATCHES), joined(cifar10.TEST_BATCHES)


@pytest.fixture
def tiny_archive(tiny_official, tmp_path, monkeypatch):
    """The tiny batches as an archive whose MD5 is known to be right; returns its path."""
    folder = tiny_official[0]
    path = tmp_path / "made" / "archive" / cifar10.ARCHIVE
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, cifar10.BATCH_FOLDER)
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", path.stat().st_size)
    return path


# ---- models ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch):
    """A copy of the registry of models, which own ones may be added to."""
    return internals.copy_registry(monkeypatch.setattr)


# ---- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ex1_main(tmp_path, small_synthetic):
    """Runs a command line on the small synthetic set, with results under ``tmp_path``, and returns the exit code."""

    def run(*argv):
        of_saved = {"--evaluate", "--transfer", "--collapse", "--conflict", "--predict", "--resume"}
        new = not of_saved & set(argv) or "auto" in argv
        place = ["--results-dir", str(tmp_path / "results"), "--dataset", "synthetic"] if new else []
        return execute([*argv, *place, "--threads", "1"])

    return run


@pytest.fixture
def place(tmp_path):
    """Makes places where command lines run in processes of their own, see ``processes.Place``."""
    processes.PROCESSES.set_forkserver_preload(processes.PRELOADED)
    places = []

    def make(name="place", **options):
        places.append(processes.Place(tmp_path / name, **options))
        return places[-1]

    yield make
    for place in places:
        place.kill_all()


@pytest.fixture(scope="session")
def first_stopped_run(tmp_path_factory):
    """The folders of a run killed as it was to save its third epoch, and of one of the same settings that was not."""
    processes.PROCESSES.set_forkserver_preload(processes.PRELOADED)
    folder = tmp_path_factory.mktemp("stopped-run")
    here, straight = (processes.Place(folder / name, images=(200, 50)) for name in ("here", "straight"))
    case = ("--model-name", "Q1_1", "--epochs", "3")
    assert straight.run(*case) == 0
    assert here.run(*case, before=processes.KilledAtWrite(13)) == -9
    assert (here.runs[0] / "previous.pt").exists()
    return here.runs[0], straight.runs[0]


@pytest.fixture
def stopped_run(first_stopped_run, place):
    """A place with a copy of that run, the run's folder, and the folder of the one that was not killed."""
    stopped, straight = first_stopped_run
    here = place("here", images=(200, 50))
    folder = shutil.copytree(stopped, here.results / stopped.relative_to(stopped.parents[2]))
    here.log.touch()
    return here, folder, straight


@pytest.fixture(scope="session")
def first_run(tmp_path_factory):
    """A finished run of one epoch of Q1_1 on the small synthetic set; not to be changed."""
    results = tmp_path_factory.mktemp("first-run")
    with pytest.MonkeyPatch.context() as patch:
        internals.shrink_synthetic(200, 100, patch.setattr)
        internals.render_no_figures(patch.setattr)
        arguments = ["--dataset", "synthetic", "--results-dir", results, "--threads", "1"]
        assert execute(["--model-name", "Q1_1", "--epochs", "1", *arguments]) == 0
    (folder,) = results.glob("*/*/*")
    return folder


@pytest.fixture
def saved_run(first_run, tmp_path):
    """A copy of that run in ``tmp_path/results``, where ``ex1_main`` would have put it."""
    return shutil.copytree(first_run, tmp_path / "results" / first_run.relative_to(first_run.parents[2]))


@pytest.fixture
def command_line(few_images, tmp_path, monkeypatch):
    """Makes a command line on few images, with results in ``tmp_path/NAME``, as arguments of ``ex1.py``."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")

    def make(*arguments, results="results"):
        return [*arguments, "--data-dir", str(few_images), "--results-dir", str(tmp_path / results)]

    return make


@pytest.fixture(scope="session")
def studied(tmp_path_factory):
    """A folder of a data set with runs of all models, and the report on them, its figures blank."""
    results = tmp_path_factory.mktemp("studied")
    fake_study(results)
    with pytest.MonkeyPatch.context() as patch:
        internals.render_no_figures(patch.setattr)
        return overview.write(results, overview.Options(study=True)).path.parent
