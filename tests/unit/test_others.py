"""Images to test a trained network on beside those of its data set."""

import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import cifar10, others
from runner.errors import RunnerError
from tests.helpers.images import CLASSES, listening, make_images, write_image_folder
from tests.helpers.others import write_cifar10_1, write_cifar10_c


def read(path, classes=CLASSES):
    """What is found at a path, and all of its parts."""
    with listening():
        found = others.find(path, classes)
        return found, [*found.parts]


def is_same(ours, theirs):
    return torch.equal(ours.pixels, theirs.pixels) and torch.equal(ours.labels, theirs.labels)


def write_pair(folder, images, x, y):
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{x}.npy", images.pixels.numpy())
    np.save(folder / f"{y}.npy", images.labels.numpy())
    return folder


# ---- each layout -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "cifar10.1_v6_data.npy"])
def test_cifar10_1_is_read_as_it_is(tmp_path, name):
    images = make_images(30)
    found, [part] = read(write_cifar10_1(tmp_path / "set", images) / name)
    assert (found.kind, found.name, found.is_cifar10) == ("cifar10.1-v6", "CIFAR-10.1 v6", True)
    assert part.corruption == ""
    assert is_same(part.images, images)


def test_cifar10_1_tells_its_versions_apart(tmp_path):
    write_cifar10_1(tmp_path, make_images(30))
    write_cifar10_1(tmp_path, make_images(20, seed=1), "v4")
    with pytest.raises(RunnerError, match="several sets of images: name one of them, cifar10.1_v4_data.npy, "):
        others.find(tmp_path, CLASSES)
    found, [part] = read(tmp_path / "cifar10.1_v4_data.npy")
    assert (found.name, len(part.images)) == ("CIFAR-10.1 v4", 20)


def test_cifar10_c_comes_by_corruption_and_severity(tmp_path):
    images = make_images(20)
    folder = write_cifar10_c(tmp_path / "C", images)
    (folder / "README.txt").write_text("about it", encoding="utf-8")
    found, parts = read(folder)
    assert (found.kind, found.name, found.is_cifar10) == ("cifar10-c", "CIFAR-10-C", True)
    assert [part.corruption for part in parts] == ["brightness"] * 5 + ["gaussian_noise"] * 5
    assert all(torch.equal(part.images.labels, images.labels) for part in parts)
    for severity in range(5):
        assert torch.equal(parts[severity].images.pixels, images.pixels // (1 + severity))
        assert torch.equal(parts[5 + severity].images.pixels, images.pixels // (2 + severity))
    assert [part.corruption for part in read(folder / "brightness.npy")[1]] == ["brightness"] * 5


def test_cifar10_c_is_never_in_memory_as_a_whole(tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros(50_000, np.uint8))
    for name in ("fog", "snow"):
        np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.uint8, (50_000, 32, 32, 3)).flush()
    tracemalloc.start()
    try:
        with listening():
            assert [len(part.images) for part in others.find(tmp_path, CLASSES).parts] == [10_000] * 10
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20  # a corruption has 147 MiB, a severity 29
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("x", "y"), [("images", "labels"), ("x_test", "y_test"), ("X", "y"), ("test_data", "test_labels")]
)
def test_arrays_of_images_and_labels_are_a_pair_by_their_names(tmp_path, x, y):
    images = make_images(30)
    found, [part] = read(write_pair(tmp_path / "mine", images, x, y))
    assert (found.kind, found.name, found.is_cifar10) == ("arrays", f"arrays {x}.npy", False)
    assert is_same(part.images, images)


def test_npz_is_read_without_its_training_part(tmp_path):
    images, arrays = make_images(30), {}
    for split, some in (("train", make_images(50, 1)), ("test", images)):
        arrays |= {f"x_{split}": some.pixels.numpy(), f"y_{split}": some.labels.numpy()}
    np.savez(tmp_path / "all.npz", **arrays)
    [part] = read(tmp_path / "all.npz")[1]
    assert is_same(part.images, images)


def test_folder_holds_images_of_any_size_for_each_class(tmp_path):
    folder = write_image_folder(tmp_path, 1, 2) / "test"
    (folder / "plane").rename(folder / "Airplane")
    Image.new("L", (80, 50), 255).save(folder / "cat" / "large.png")
    found, [part] = read(folder)
    assert (found.kind, found.name) == ("folder", "folder test")
    assert part.images.labels.bincount().tolist() == [2, 2, 2, 3, 2, 2, 2, 2, 2, 2]
    first = np.asarray(Image.open(folder / "Airplane" / "0.png")).transpose(2, 0, 1)
    assert np.array_equal(part.images.pixels[0].numpy(), first)
    large = part.images.pixels[part.images.labels == 3][2]
    assert (large == 255).all()


def test_classes_of_a_folder_are_those_of_the_run(tmp_path):
    classes = [f"syn{i}" for i in range(10)]
    folder = write_image_folder(tmp_path, 1, 1, classes) / "test"
    assert read(folder, classes)[1][0].images.labels.tolist() == list(range(10))
    with pytest.raises(RunnerError):
        read(folder)


# ---- what is none of them --------------------------------------------------------------------------------------------


def of_labels(labels):
    def change(folder):
        np.save(folder / "labels.npy", labels)

    return change


def of_pixels(pixels):
    def change(folder):
        np.save(folder / "brightness.npy", pixels)

    return change


def truncate(folder):
    path = folder / "brightness.npy"
    path.write_bytes(path.read_bytes()[:-1])


LABELS = np.tile(np.arange(10), 5)
WRONG_CORRUPTIONS = {
    "pickled labels": (of_labels(np.array([{}], dtype=object)), "labels.npy: can't be read: ValueError: Object arrays"),
    "labels that differ": (of_labels(np.arange(50) % 7), "those of the same 10,000 images, 5 times"),
    "labels of no five severities": (of_labels(LABELS[:42]), r"int64 \(42,\), CIFAR-10-C has"),
    "one label too high": (of_labels(LABELS + 1), "labels from 1 to 10, CIFAR-10-C has 0 to 9"),
    "other pixels": (of_pixels(np.zeros((50, 32, 32, 3))), r"brightness.npy: has float64 \(50, 32, 32, 3\), its lab"),
    "too few": (of_pixels(np.zeros((40, 32, 32, 3), np.uint8)), r"has uint8 \(40, 32, 32, 3\), its labels.npy tell"),
    "pickled pixels": (of_pixels(np.array([{}], dtype=object)), "brightness.npy: has object"),
    "cut off": (truncate, "brightness.npy: can't be read: "),
    "text": (lambda folder: (folder / "brightness.npy").write_bytes(b"text"), "brightness.npy: can't be read: "),
}


@pytest.mark.parametrize("wrong", WRONG_CORRUPTIONS)
def test_what_is_no_cifar10_c_is_refused_before_a_part_is_read(tmp_path, wrong):
    folder = write_cifar10_c(tmp_path, make_images(10), ["brightness"])
    change, reason = WRONG_CORRUPTIONS[wrong]
    change(folder)
    with pytest.raises(RunnerError, match=reason) as refused, listening():
        others.find(folder, CLASSES)
    assert "\n" not in str(refused.value)


def test_other_places_are_refused_in_a_line_that_says_what_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.png").write_bytes(b"")
    np.save(tmp_path / "labels.npy", np.arange(10))
    write_image_folder(tmp_path / "whole", 1, 1)
    places = {
        "empty": "holds no images to test on; --on takes CIFAR-10.1 ",
        "photo.png": "is not a set of images to test on; --on takes CIFAR-10.1 ",
        "labels.npy": "is not a set of images to test on",
        "nowhere": "No such file",
        "whole": f"is a whole data set: name the images to test on, {tmp_path / 'whole' / 'test'}",
    }
    for name, reason in places.items():
        with pytest.raises(RunnerError, match=reason):
            others.find(tmp_path / name, CLASSES)


def test_arrays_that_are_no_pair_are_refused(tmp_path):
    images = make_images(30)
    folder = write_pair(tmp_path / "mine", images, "x_test", "y_test")
    np.save(folder / "y_test.npy", images.labels.numpy() + 90)
    with pytest.raises(RunnerError, match="labels from 90 to 99, there are 0 to 9"):
        read(folder)
    (folder / "y_test.npy").unlink()
    with pytest.raises(RunnerError, match="beside it there is no file of its labels"):
        read(folder)
    (folder / "x_test.npy").write_bytes(b"\x93NUMPY")
    np.save(folder / "y_test.npy", images.labels.numpy())
    with pytest.raises(RunnerError, match="can't be read"):
        read(folder)
    np.savez(tmp_path / "odd.npz", a=images.pixels.numpy())
    with pytest.raises(RunnerError, match="no array is named as the labels and images to test on"):
        read(tmp_path / "odd.npz")


def test_classes_here_are_those_of_cifar10():
    assert CLASSES == cifar10.CLASSES
