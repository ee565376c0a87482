"""Which form of CIFAR-10 lies where: the official ones, folders of images, and those that others hand it out in."""

import contextlib
import logging
import os
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from data import Dataset, Images
from datasets import arrays, cifar10, encoded
from datasets.arrays import MOST_IMAGES, Part
from datasets.cache import Splits, cached
from datasets.cifar10 import ARCHIVE, BATCH_FOLDER, CLASSES, TEST_BATCHES, TEST_IMAGES, TRAIN_BATCHES, TRAIN_IMAGES
from datasets.containers import members, open_files
from datasets.image_folder import LABELS
from runner.errors import DataError, raise_all

log = logging.getLogger("ex1")

FORMS = (
    f"{BATCH_FOLDER}/, {ARCHIVE}, image folders train/<class>/* and test/<class>/* (or a .tgz of them), Parquet, "
    "the binary or Matlab version, .npz or .npy of images and labels, or Kaggle's train/ and trainLabels.csv"
)
ENDINGS = {"parquet": (".parquet",), "arrays": (".npz", ".npy"), "binary": (".bin",), "matlab": (".mat",)}
# Endings of what holds images in another form, or in one of the above that is damaged or has names that say nothing.
UNREAD = "tar tar.bz2 tar.xz zip 7z rar tfrecord* arrow h5 hdf5 lmdb mdb pkl pt".split()
UNREAD += [*(ending[1:] for endings in ENDINGS.values() for ending in endings), "tgz", "tar.gz"]
MISPLACED = [encoded.KAGGLE_LABELS, "train", "test", *CLASSES, "*/train", "*/*/*.tfrecord*"]
MISPLACED += [f"*/*/{BATCH_FOLDER}", f"*/*/{ARCHIVE}"]
INNER = ("cifar-10-batches-bin", "cifar-10-batches-mat", "plain_text")  # folders in folders that archives unpack to

# ---- finding ---------------------------------------------------------------------------------------------------------


def find(data_dir: Path) -> tuple[str, Path] | None:
    """Find CIFAR-10 at, in, or one folder below ``data_dir``: its form and path.

    The form is ``batches`` or ``archive``, the official ones, ``folder``, of images, or one that ``load`` takes. A
    folder below may be another data set's, so files that could be of any have to lie in one that is named as CIFAR-10.
    """
    if data_dir.is_file():
        return ("archive", data_dir) if data_dir.name == ARCHIVE else _form_of(data_dir)
    for folder in (data_dir, *(path for path in list_visible(data_dir) if path.is_dir())):
        for place in (folder / BATCH_FOLDER, folder, *(folder / name for name in INNER)):
            is_meant = folder is data_dir or _is_named(folder) or _is_named(place)
            if found := _find_in(place, is_meant):
                return found
    return None


def _is_named(folder: Path) -> bool:
    return "cifar" in folder.name.lower() and "100" not in folder.name


def list_visible(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [Path(entry.path) for entry in sorted(os.scandir(folder), key=lambda e: e.name) if entry.name[0] != "."]
    return []


def _find_in(folder: Path, is_meant: bool) -> tuple[str, Path] | None:
    if any((folder / name).exists() for name in (*TRAIN_BATCHES, *TEST_BATCHES)):
        return "batches", folder
    if (folder / ARCHIVE).is_file():
        return "archive", folder / ARCHIVE
    train = folder / "train"
    classes = {label for name, label in LABELS.items() if (train / name).is_dir()}
    if is_meant and not classes and train.is_dir() and (folder / encoded.KAGGLE_LABELS).is_file():
        return "kaggle", folder
    if (len(classes) == len(CLASSES) or is_meant and _has_folders(train)) and (folder / "test").is_dir():
        return "folder", folder
    return next(filter(None, map(_form_of, list_visible(folder))), None) if is_meant else None


def _has_folders(folder: Path) -> bool:
    try:
        return any(entry.is_dir() for entry in os.scandir(folder) if entry.name[0] != ".")
    except OSError:  # the reader of folders says why
        return folder.is_dir()


def _form_of(path: Path) -> tuple[str, Path] | None:
    """Tell the form of a file by what it holds, with its folder where that form has several files."""
    ending = path.suffix.lower()
    if ending not in (".parquet", ".npz", ".npy", ".mat", ".bin", ".tgz", ".gz") or not path.is_file():
        return None
    with contextlib.suppress(Exception):  # what can't be looked into is named as something that is not read
        if ending in (".tgz", ".gz"):
            first = (_form_of_name(name) for name, _ in islice(members(path), 10))
            return next(((form, path) for form in first if form), None)
        if ending in (".npz", ".npy"):
            roles = arrays.find_roles(str(path))
            return ("arrays", path if len(roles) == 4 else path.parent) if roles else None
        with open(path, "rb") as file:
            start = file.read(10)
        if ending == ".parquet":
            return ("parquet", path.parent) if start[:4] == b"PAR1" else None
        is_batch = start == arrays.MATLAB if ending == ".mat" else path.stat().st_size % arrays.RECORD == 0
        form = _form_of_name(path.name)
        return (form, path.parent) if form and is_batch else None
    return None


def _form_of_name(name: str) -> str | None:
    """Tell the form that a file of this name has, in an archive or elsewhere."""
    *folders, last = name.split("/")
    if BATCH_FOLDER in folders:
        return "archive"
    if (encoded.class_of(name) or (None, None))[1] is not None:
        return "images"
    return {".bin": "binary", ".mat": "matlab"}.get(Path(last).suffix.lower()) if arrays.is_batch(last) else None


def warn_of_unread(data_dir: Path) -> None:
    """Warn of what ``data_dir`` holds in a form, or at a place, that ``find`` does not take."""
    patterns = [*(f"{place}*.{ending}" for ending in UNREAD for place in ("", "*/")), *MISPLACED]
    paths = {path.relative_to(data_dir) for pattern in patterns for path in data_dir.glob(pattern)}
    names = sorted(path.as_posix() for path in paths if not any(part[0] == "." for part in path.parts))
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        log.warning(tell_unread(", ".join(str(data_dir / name) for name in names[:3]) + more))


def tell_unread(found: object) -> str:
    """Say that what was found is not read, and what is."""
    return f"found {found}: not a form this program reads, or damaged, or out of place; it reads {FORMS}"


# ---- reading ---------------------------------------------------------------------------------------------------------


def load(form: str, path: Path, anew: bool = False) -> Dataset:
    """Load CIFAR-10 from ``path`` in a form that others hand it out in. Raises DataError, which names all problems."""
    # what is read, and how
    official = TRAIN_IMAGES, TEST_IMAGES
    if form == "kaggle":
        listed = encoded.list_kaggle(path)
        files = [str(path / encoded.KAGGLE_LABELS), *(file for file, _ in listed)]
        decode = partial(encoded.read_kaggle, path, listed)
        tests = encoded.count_kaggle_tests(len(listed))
        official = len(listed) - tests, tests  # the line below tells how many there are
        log.info(
            f"{path}: Kaggle's test images have no labels; {tests:,} of the {len(listed):,} training images take their "
            "place, the same ones in every run"
        )
    else:
        of_form = (file for file in list_visible(path) if file.suffix.lower() in ENDINGS[form])
        files = [str(path)] if path.is_file() else [str(file) for file in of_form]
        decode = partial(_read, form, path, files)

    # from the cache, if it can be
    train, test = cached(path.parent if path.is_file() else path, form, files, decode, anew)
    return cifar10.name_by_content(path, train, test, official)


def _read(form: str, path: Path, files: list[str]) -> Splits:
    log.info(f"reading {path}")
    problems, parts, images = list[str](), list[Part](), 0
    reading: Iterable[Part]
    if form == "parquet":
        reading = encoded.read_parquet(files, problems)
    elif form == "arrays":
        reading = arrays.read_arrays(files, problems)
    elif form == "images":
        reading = encoded.read_images(path.name, members(path), problems)
    else:
        reading = arrays.read_batches(open_files(files, path.is_file()), problems)
    try:
        for part in reading:
            parts.append(part)
            images += len(part.labels)
            if images > MOST_IMAGES:
                raise DataError(f"{path}: holds more than {MOST_IMAGES:,} images")
    except DataError as error:
        problems.append(str(error))
    if not problems:
        missing = {"train", "test"} - {part.split for part in parts}
        problems += [f"{path}: holds no {split} images" for split in sorted(missing)]
    raise_all(path, problems)
    parts.sort(key=lambda part: part.name)  # an archive has them in any order
    return _join(parts, "train"), _join(parts, "test")


def _join(parts: Iterable[Part], split: str) -> Images:
    some = [part for part in parts if part.split == split]
    pixels = np.empty((sum(len(part.labels) for part in some), 3, 32, 32), np.uint8)
    np.concatenate([part.pixels for part in some], out=pixels)
    labels = np.concatenate([part.labels for part in some], dtype=np.int64, casting="unsafe")
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels))
