"""Images that a trained network is tested on beside its own test images: CIFAR-10.1, CIFAR-10-C, or one's own.

Their labels are numbers of the classes of the run, or the names of folders. They are read as they are asked for, of
CIFAR-10-C a severity at a time: in all it has 950,000 images.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data import Images
from datasets import arrays, image_folder
from datasets.cache import stat_regular
from datasets.forms import list_visible
from runner.errors import DataError, UsageError, one_line, raise_all

log = logging.getLogger("ex1")

# Hendrycks and Dietterich, 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
SEVERITIES, CORRUPTION_IMAGES, LABELS = 5, 50_000, "labels.npy"
# Recht et al., 2018, "Do CIFAR-10 Classifiers Generalize to CIFAR-10?": how many images its versions have
CIFAR10_1 = {"cifar10.1_v4_data": 2_021, "cifar10.1_v6_data": 2_000}

TAKEN = (
    "CIFAR-10.1 (cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy), CIFAR-10-C (a .npy for each corruption, and "
    "labels.npy), a .npz or two .npy of images and labels, or a folder of images for each class"
)


class Part(NamedTuple):
    """Images that are measured together: all of a set, or those of one corruption and severity."""

    corruption: str  # empty where there is none
    images: Images


class Others(NamedTuple):
    """A set of images, whose parts are read one after the other as they are asked for."""

    kind: str  # a part of the names of files, such as ``cifar10-c``
    name: str  # for people
    is_cifar10: bool  # whether its classes are those of CIFAR-10, whatever they are called
    parts: Iterator[Part]  # of each corruption, those of severity 1 to 5


def find(path: Path, classes: Sequence[str]) -> Others:
    """Find out which images are at ``path``, of which those in folders or arrays are of ``classes``.

    Raises DataError if they are none of those above, some of it before the parts are asked for, and some when.
    """
    if path.is_dir():
        of_arrays = [file for file in list_visible(path) if file.suffix.lower() in (".npy", ".npz")]
        images = [file for file in of_arrays if _holds_images(file)]
        if len(images) > 1:
            names = ", ".join(file.name for file in images[:5])
            raise UsageError(f"--on {path}: holds several sets of images: name one of them, {names}")
        if images:
            return _find_pair(images[0], classes)
        if (path / LABELS).is_file():
            return _find_corruptions(path, [file for file in of_arrays if file.suffix.lower() == ".npy"])
        if (path / "test").is_dir() and "test" not in classes:
            raise UsageError(f"--on {path}: is a whole data set: name the images to test on, {path / 'test'}")
        if any(entry.is_dir() for entry in list_visible(path)):
            return Others("folder", f"folder {_shown(path)}", False, _read_folder(path, classes))
        raise DataError(f"{path}: holds no images to test on; --on takes {TAKEN}")
    stat_regular(path)
    if path.suffix.lower() == ".npz" or _holds_images(path):
        return _find_pair(path, classes)
    if path.suffix.lower() == ".npy" and (path.parent / LABELS).is_file() and path.name != LABELS:
        return _find_corruptions(path.parent, [path])
    raise DataError(f"{path}: is not a set of images to test on; --on takes {TAKEN}")


def _shown(path: Path) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in path.resolve().name)[:100]


def _holds_images(path: Path) -> bool:
    """Tell by the name of a file whether it holds images that are not meant for training; a .npz always may."""
    is_array = path.suffix.lower() == ".npy" and arrays.kind_of(path.stem) == "images"
    return (is_array or path.suffix.lower() == ".npz") and arrays.split_of(path.stem) != "train"


# ---- a folder for each class -----------------------------------------------------------------------------------------


def _read_folder(path: Path, classes: Sequence[str]) -> Iterator[Part]:
    yield Part("", image_folder.read_split(path, classes))


# ---- arrays of images and labels -------------------------------------------------------------------------------------


def _find_pair(path: Path, classes: Sequence[str]) -> Others:
    if path.stem not in CIFAR10_1 or path.suffix.lower() != ".npy":
        return Others("arrays", f"arrays {_shown(path)}", False, _read_pair(path, len(classes)))
    version = path.stem.removeprefix("cifar10.1_").removesuffix("_data")
    return Others(f"cifar10.1-{version}", f"CIFAR-10.1 {version}", True, _read_pair(path, 10, CIFAR10_1[path.stem]))


def _read_pair(path: Path, classes: int, official: int = 0) -> Iterator[Part]:
    """Read the images in a file, and their labels there or in the file beside it that is named alike."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    try:
        for file in (path,) if path.suffix.lower() == ".npz" else (path, _labels_beside(path)):
            for kind, name, opened in arrays.open_to_test(str(file)):
                if kind in found:
                    raise DataError(f"{name}: holds {kind}, as {found[kind][0]} does: which are meant?")
                found[kind] = name, arrays.read_array(opened, name)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes NumPy and zipfile raise almost any
        raise DataError(f"{path}: can't be read: {one_line(error)}") from error
    if missing := [kind for kind in arrays.ROLES if kind not in found]:
        raise DataError(f"{path}: no array is named as the {' and '.join(missing)} to test on, such as x_test, y_test")
    name, pixels = found["images"]
    part = arrays.make_part(name, "test", pixels, found["labels"][1], classes)
    if official and len(part.labels) != official:
        log.warning(f"{path}: holds {len(part.labels):,} images, CIFAR-10.1 has {official:,}: is it whole?")
    yield Part("", _make_images(part.pixels, part.labels))


def _labels_beside(path: Path) -> Path:
    """Find the labels of the images in a .npy: ``y_test.npy`` beside ``x_test.npy``, and the like."""
    words = {word for some in arrays.ROLES.values() for word in some}

    def rest(name: str) -> str:
        return re.sub("[A-Za-z]+", lambda word: "" if word[0].lower() in words else word[0], name)

    beside = [file for file in list_visible(path.parent) if file.suffix.lower() == ".npy"]
    labels = [file for file in beside if arrays.kind_of(file.stem) == "labels" and rest(file.stem) == rest(path.stem)]
    if len(labels) != 1:
        raise DataError(f"{path}: beside it there {'are several files' if labels else 'is no file'} of its labels")
    stat_regular(labels[0])
    return labels[0]


def _make_images(pixels: np.ndarray, labels: np.ndarray) -> Images:
    return Images(torch.from_numpy(np.array(pixels, order="C")), torch.from_numpy(labels.astype(np.int64)))


# ---- CIFAR-10-C ------------------------------------------------------------------------------------------------------


def _find_corruptions(folder: Path, files: list[Path]) -> Others:
    """Check the headers and sizes of all files of CIFAR-10-C, before one of them is read."""
    labels, problems = _read_labels(folder / LABELS), list[str]()
    files = [file for file in files if file.name != LABELS]
    if not files:
        problems.append(f"{folder}: holds {LABELS}, but no .npy of a corruption")
    for file in files:
        try:
            _open_corruption(file, len(labels))
        except DataError as error:
            problems.append(str(error))
    raise_all(folder, problems)
    if len(labels) != CORRUPTION_IMAGES:
        counts = f"a corruption has {len(labels):,} images, CIFAR-10-C has {CORRUPTION_IMAGES:,}"
        log.warning(f"{folder}: {counts}: is it whole?")
    return Others("cifar10-c", "CIFAR-10-C", True, _read_corruptions(files, labels))


def _read_labels(path: Path) -> np.ndarray:
    """Read the labels of each corruption, the same ones at each severity: int64 (n,)."""
    stat_regular(path)
    try:
        labels = arrays.read_array(partial(open, path, "rb"), str(path))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: can't be read: {one_line(error)}") from error
    is_whole = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) and len(labels) % SEVERITIES == 0
    by_severity = labels.reshape(SEVERITIES, -1) if is_whole else labels
    if not is_whole or (by_severity != by_severity[0]).any():
        raise DataError(
            f"{path}: has labels {labels.dtype} {labels.shape}, CIFAR-10-C has integers (50000,): those of the same "
            f"10,000 images, {SEVERITIES} times"
        )
    if not 0 <= labels.min() <= labels.max() <= 9:
        raise DataError(f"{path}: has labels from {labels.min()} to {labels.max()}, CIFAR-10-C has 0 to 9")
    return labels.astype(np.int64)


def _open_corruption(path: Path, images: int) -> np.ndarray:
    """Open the images of a corruption without reading them: uint8 (images, 32, 32, 3)."""
    stat_regular(path)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{,60}", path.stem, re.ASCII):
        raise DataError(f"{path}: is not named as a corruption, such as gaussian_noise.npy")
    try:
        shape, dtype = arrays.read_header(partial(open, path, "rb"))
        if dtype != np.uint8 or shape != (images, 32, 32, 3):
            raise DataError(f"{path}: has {dtype} {shape}, its {LABELS} tell of uint8 ({images}, 32, 32, 3)")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: can't be read: {one_line(error)}") from error


def _read_corruptions(files: Sequence[Path], labels: np.ndarray) -> Iterator[Part]:
    for file in files:
        pixels = _open_corruption(file, len(labels))
        for some, of_some in zip(np.split(pixels, SEVERITIES), np.split(labels, SEVERITIES)):
            yield Part(file.stem, _make_images(some.transpose(0, 3, 1, 2), of_some))
