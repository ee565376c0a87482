"""CIFAR-100, MNIST, Fashion-MNIST and SVHN, in small files of the layout that torchvision leaves."""

from hashlib import md5

import pytest
import torch

import datasets
from datasets import published
from runner import files
from runner.config import Config
from runner.errors import DataError, UsageError
from tests.helpers.images import load_images, make_images
from tests.helpers.published import WRITE

TRAIN, TEST = make_images(40, 1), make_images(20, 2)


@pytest.fixture(params=WRITE)
def place(request, tmp_path, monkeypatch):
    """The name of a data set, and a folder with small files of it whose MD5s are known to be right."""
    kind, source = request.param, published.SETS[request.param]
    folder = tmp_path / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    WRITE[kind](folder, TRAIN, TEST)
    known = {path.name: md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert known.keys() == source.md5.keys()
    monkeypatch.setitem(published.SETS, kind, source._replace(md5=known))
    return kind, tmp_path, folder


def test_files_are_read_as_networks_take_them(place):
    kind, data_dir, folder = place
    dataset = load_images(kind, data_dir)
    assert (dataset.name, dataset.slug, dataset.is_cifar10) == (published.SETS[kind].name, kind, False)
    for ours, theirs in ((dataset.train, TRAIN), (dataset.test, TEST)):
        assert torch.equal(ours.labels, theirs.labels)
        expected = theirs.pixels
        if "mnist" in kind:
            expected = torch.zeros_like(theirs.pixels)
            expected[:, :, 2:30, 2:30] = theirs.pixels[:, :1, 2:30, 2:30]
        assert torch.equal(ours.pixels, expected)
    classes = {"cifar100": ["fine 0", "fine 99"], "fashion-mnist": ["T-shirt/top", "Ankle boot"]}
    assert [dataset.classes[0], dataset.classes[-1]] == classes.get(kind, ["0", "9"])
    # In the folder itself, too.
    assert load_images(kind, folder).digest == dataset.digest


def test_run_finds_its_images_again(place):
    kind, data_dir, _ = place
    dataset, config = load_images(kind, data_dir), Config("Q1_1", data_dir=str(data_dir))
    assert datasets.reload(dataset.facts, config, "run").digest == dataset.digest
    with pytest.raises(DataError, match="was trained on"):
        datasets.reload(dataset.facts | {"sha256": "0"}, config, "run")


def test_files_are_read_packed_or_unpacked(place):
    kind, data_dir, folder = place
    whole = load_images(kind, data_dir).digest
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    for gone in (".gz", ""):
        for path, content in kept.items():
            path.write_bytes(content)
            if "mnist" in kind and path.suffix == gone:
                path.unlink()
        assert load_images(kind, data_dir).digest == whole


def test_all_other_files_are_told_and_refused(place):
    kind, data_dir, folder = place
    for path in folder.glob("*.gz"):
        path.unlink()
    *_, before, last = sorted(folder.iterdir())
    before.write_bytes(before.read_bytes() + b"\0")
    with pytest.raises(DataError, match=f"{before.name} is damaged, or another: its MD5 is "):
        load_images(kind, data_dir)
    last.unlink()
    told = []
    with pytest.raises(DataError, match="2 problems"):
        load_images(kind, data_dir, warn=told.append)
    assert any(f"{before.name} is damaged, or another: its MD5 is " in line for line in told)
    assert any(f"{last.name} is missing" in line for line in told)


@pytest.mark.parametrize("kind", WRITE)
def test_missing_files_are_told_with_what_downloads_them(kind, tmp_path):
    name = published.SETS[kind].torchvision
    with pytest.raises(DataError, match=f"torchvision downloads it, .*import {name}; .*download=True") as refused:
        load_images(kind, tmp_path)
    compile(str(refused.value).split('"')[1], "the command", "exec")
    with pytest.raises(UsageError, match="nowhere does not exist: name the folder that holds the images"):
        load_images(kind, tmp_path / "nowhere")


def test_checksums_and_places_are_those_of_torchvision():
    from torchvision import datasets as theirs

    for source in published.SETS.values():
        there = getattr(theirs, source.torchvision)
        if source.is_grey:
            known = dict(there.resources)
            unpacked = {name: source.md5[name] for name in published.IDX}  # of which torchvision has none
            assert source.md5 == known | unpacked
            assert len({*unpacked.values(), *known.values()}) == 8
            assert source.folder == f"{source.torchvision}/raw"
            continue
        elif source.name == "SVHN":
            known = {name: checksum for _, name, checksum in (there.split_list["train"], there.split_list["test"])}
        else:
            known = dict(there.train_list + there.test_list) | {there.meta["filename"]: there.meta["md5"]}
            assert source.folder == there.base_folder
        assert source.md5 == known
    assert list(published.SETS["fashion-mnist"].classes) == theirs.FashionMNIST.classes


@pytest.mark.parametrize(("slug", "kind"), [
    ("cifar10", "cifar10"), ("cifar10-folder-1a2b", "cifar10"), ("cifar100", "cifar100"), ("mnist", "mnist"),
    ("fashion-mnist", "fashion-mnist"), ("svhn", "svhn"), ("folder-1a2b", "folder"), ("x", "cifar10"),
])  # fmt: skip
def test_results_folder_tells_the_data_set(slug, kind):
    assert files.dataset_kind({"slug": slug, "seed": None}) == kind
    assert files.dataset_kind({"slug": slug, "seed": 0}) == "synthetic"
