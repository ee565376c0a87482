"""Folders of images of any classes."""

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import datasets
from datasets import image_folder
from runner.config import Config
from runner.errors import DataError
from tests.helpers.images import load_images, write_image_folder

CLASSES = ("Zebra", "apple", "été, or not")


@pytest.fixture
def any_folder(tmp_path):
    return write_image_folder(tmp_path / "fruit", 12, 3, CLASSES)


def test_classes_are_the_folders_by_name(any_folder):
    dataset = load_images("folder", any_folder)
    assert dataset.classes == CLASSES
    assert (dataset.name, dataset.slug) == (f"folder fruit {dataset.digest[:8]}", f"folder-{dataset.digest[:8]}")
    assert not dataset.is_cifar10
    assert dataset.train.labels.bincount().tolist() == [12, 12, 12]
    assert dataset.test.labels.bincount().tolist() == [3, 3, 3]
    first = np.asarray(Image.open(any_folder / "train" / "Zebra" / "0.png")).transpose(2, 0, 1)
    assert np.array_equal(dataset.train.pixels[0].numpy(), first)
    assert datasets.expected_labels(Config("Q1_1", dataset="folder", data_dir=str(any_folder)))[1] == CLASSES


def test_images_of_any_size_are_scaled_as_predict_does(any_folder):
    Image.fromarray(np.arange(3000, dtype=np.uint16).reshape(50, 60)).save(any_folder / "train" / "Zebra" / "0.png")
    told = []
    dataset = load_images("folder", any_folder, notice=told.append)
    assert any("of another size than 32×32 the middle square is scaled to that" in line for line in told)
    expected = image_folder.read_any_image(any_folder / "train" / "Zebra" / "0.png")
    assert torch.equal(dataset.train.pixels[0], expected)


def test_without_test_images_the_same_sixth_of_each_class_takes_their_place(any_folder):
    whole = load_images("folder", any_folder)
    shutil.rmtree(any_folder / "test")
    told = []
    first = load_images("folder", any_folder, notice=told.append)
    assert any("has no test/; 6 of 36 images take its place" in line for line in told)
    assert first.test.labels.bincount().tolist() == [2, 2, 2]
    assert first.train.labels.bincount().tolist() == [10, 10, 10]
    assert load_images("folder", any_folder).digest == first.digest != whole.digest
    rows = {row.numpy().tobytes() for images in (first.train, first.test) for row in images.pixels}
    assert rows == {row.numpy().tobytes() for row in whole.train.pixels}
    labels, _ = datasets.expected_labels(Config("Q1_1", dataset="folder", data_dir=str(any_folder)))
    assert torch.equal(labels, first.train.labels)


def test_folder_is_cached_until_it_changes(any_folder, monkeypatch):
    first = load_images("folder", any_folder)
    monkeypatch.setattr(image_folder, "decode", lambda *args: pytest.fail("decoded again"))
    assert load_images("folder", any_folder).digest == first.digest
    monkeypatch.undo()
    Image.new("RGB", (9, 9)).save(any_folder / "train" / "apple" / "new.png")
    assert len(load_images("folder", any_folder).train) == 37


def test_cache_of_other_classes_is_told(any_folder):
    load_images("folder", any_folder)
    cache = any_folder / ".cache-any.npz"
    with np.load(cache) as stored:
        arrays = dict(stored)
    np.savez(cache, **arrays | {"test_labels": arrays["test_labels"] + 5})
    with pytest.raises(DataError, match="its cache is of other images: remove the file .cache-any.npz there"):
        load_images("folder", any_folder)


def only_one(folder):
    for split in ("train", "test"):
        for name in CLASSES[1:]:
            shutil.rmtree(folder / split / name)


def too_many(folder):
    for number in range(999):
        (folder / "train" / f"{number}").mkdir()


WRONG = {
    "no train": (lambda folder: shutil.rmtree(folder / "train"), "has no folder train/, with a folder of images for e"),
    "one class": (only_one, "train: has 1 folders of classes, it takes 2 to 1,000"),
    "too many": (too_many, "train: has 1,002 folders of classes, it takes 2 to 1,000"),
    "a test class more": (
        lambda folder: (folder / "test" / "other").mkdir(),
        "other: not a class of these images; the",
    ),
    "a test class less": (
        lambda folder: shutil.rmtree(folder / "test" / "apple"),
        "test: has no folder of images for a",
    ),
    "a name in two cases": (lambda folder: (folder / "train" / "APPLE").mkdir(), "a class with two folders, the other"),
    "an empty class": (lambda folder: (folder / "train" / "empty").mkdir(), "empty: no image in it|for empty"),
    "a long name": (
        lambda folder: (folder / "train" / ("x" * 150)).mkdir(),
        "can't name a class: use up to 140 letters",
    ),
    "no image": (lambda folder: (folder / "train/apple/0.png").write_bytes(b"x"), "0.png: can't be read as an image"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_such_folder_is_refused(any_folder, wrong):
    change, reason = WRONG[wrong]
    change(any_folder)
    told = []
    with pytest.raises(DataError) as refused:
        load_images("folder", any_folder, warn=told.append)
    assert re.search(reason, "\n".join([str(refused.value), *told]))


def test_run_asks_for_the_folder_of_its_images(any_folder, tmp_path):
    dataset = load_images("folder", any_folder)
    with pytest.raises(DataError, match="the images of folder fruit .* are not in .*: say with --data-dir where"):
        datasets.reload(dataset.facts, Config("Q1_1", data_dir=str(tmp_path)), "run")
    again = datasets.reload(dataset.facts, Config("Q1_1", data_dir=str(any_folder)), "run")
    assert again.digest == dataset.digest
