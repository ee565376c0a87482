"""Image files: a folder train/<class>/* and test/<class>/*, of CIFAR-10 or any classes, or a single picture."""

import contextlib
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from tqdm import tqdm

from data import Dataset, Images, balanced_subset, digest
from datasets.cache import ANY, Splits, cached, stat_regular
from datasets.cifar10 import CLASSES, in_official_order, name_by_content, official
from runner.errors import DataError, cause_of, one_line, raise_all, some_of
from runner.files import MAX_CLASSES, MAX_NAME, MIN_CLASSES

log = logging.getLogger("ex1")

LABELS = {name: label for label, name in enumerate(CLASSES)} | {"airplane": 0, "automobile": 1}

# What Pillow decodes by itself: for others, such as EPS, it starts programs that interpret the file.
SAFE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
MAX_PIXELS = 64_000_000  # of any image: more than most cameras have; decoding and scaling take about 16 bytes each
Image.MAX_IMAGE_PIXELS = None  # Pillow's own bound only warns, in two lines, up to twice as many
MAX_SHOWN = 100  # letters of a folder's name in that of a data set
Listed = list[tuple[str, int]]  # files with their labels
BITS_PER_SAMPLE = 258  # a tag of TIFF
ORIENTATION = 274  # the EXIF tag that says how a picture is to be rotated; 1: not


@contextlib.contextmanager
def _open(path: str | Path, formats: tuple[str, ...], content: bytes | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open an image file, or its ``content``. Raises DataError that names it, whatever goes wrong with it."""
    if content is None:
        stat_regular(path)
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width:,}×{image.height:,}"
                raise DataError(f"{path}: has {size} pixels, more than {MAX_PIXELS:,}: scale it down first")
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: can't be read as an image: it is no {', '.join(formats)}") from error
    except Exception as error:  # a damaged file makes Pillow raise almost any
        reason = cause_of(error)
        raise DataError(f"{path}: can't be read as an image: {reason}") from error


def load(folder: Path, anew: bool = False) -> Dataset:
    """Load a folder of images, whole or in part. Raises DataError if classes or files in it are not CIFAR-10's."""
    passed_over: list[str] = []
    listed = list_images(folder, passed_over)
    _tell_passed_over(folder, passed_over)

    def decode_all() -> Splits:
        problems: list[str] = []
        train, test = (decode(folder / split, files, problems) for split, files in zip(("train", "test"), listed))
        raise_all(folder, problems)
        return train, test

    names = [[path for path, _ in some] for some in listed]
    splits = cached(folder, "folder", sum(names, []), decode_all, anew)
    ordered = official_by_number(names, splits)
    return official(*ordered, folder) if ordered else name_by_content(folder, *splits)


def official_by_number(names: Iterable[Sequence[str]], splits: Splits) -> Splits | None:
    """Put images by the numbers in the names of their files, if they are the official images then."""
    orders = []
    for some in names:
        numbers: dict[int, int] = {}
        for row, name in enumerate(some):
            found = re.search(r"\d+", os.path.basename(name))
            if not found or numbers.setdefault(int(found.group()), row) != row:
                return None
        orders.append([numbers[number] for number in sorted(numbers)])
    train, test = (images.take(torch.tensor(order, dtype=torch.int64)) for images, order in zip(splits, orders))
    return in_official_order(train, test)


def list_images(folder: Path, passed_over: list[str]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """List the files of the training and of the test images with their labels, in the order of classes and names.

    ``passed_over`` gets what else is there and not hidden, folders with a slash.
    Strings and not paths, whose making and comparing would take longer than all else that a cached folder needs.
    Raises DataError, which names all that is wrong, if the folders are not the ten classes, one of them holds no image,
    or one of the files is no regular file.
    """
    problems: list[str] = []
    train, test = (_list_split(folder / split, CLASSES, problems, passed_over) for split in ("train", "test"))
    of_others = any("not a class of CIFAR-10" in problem for problem in problems)
    raise_all(folder, problems, "; --dataset folder takes images of any classes" * of_others)
    return train, test


def load_any(folder: Path, anew: bool = False) -> Dataset:
    """Load a folder of images of any classes and sizes. Raises DataError for what can't be read."""
    passed_over: list[str] = []
    train_files, test_files, classes = list_any(folder, passed_over)
    _tell_passed_over(folder, passed_over)
    if not (folder / "test").is_dir():
        counts = f"{len(test_files):,} of {len(train_files) + len(test_files):,} images"
        log.info(f"{folder}: has no test/; {counts} take its place, the same ones in every run")

    def decode_all() -> Splits:
        log.info(f"{folder}: of images of another size than 32×32 the middle square is scaled to that")
        problems: list[str] = []
        train, test = (decode(folder, files, problems, try_any_image) for files in (train_files, test_files))
        raise_all(folder, problems)
        return train, test

    train, test = cached(folder, ANY, [path for path, _ in train_files + test_files], decode_all, anew)
    if not max(int(train.labels.max()), int(test.labels.max())) < len(classes):
        raise DataError(f"{folder}: its cache is of other images: remove the file .cache-{ANY}.npz there")
    content = digest(train, test)
    shown = "".join(letter if letter.isprintable() else "?" for letter in folder.resolve().name)[:MAX_SHOWN]
    name = f"folder {shown} {content[:8]}"
    return Dataset(name, f"folder-{content[:8]}", str(folder), classes, train, test, content)


def list_any(folder: Path, passed_over: list[str]) -> tuple[Listed, Listed, tuple[str, ...]]:
    """List the files as ``list_images`` does, and the classes, which are named as the folders in train/.

    Without a folder test/ a sixth of the training images are to test on, the same ones in every run.
    """
    # the classes
    if not (folder / "train").is_dir():
        raise DataError(f"{folder}: has no folder train/, with a folder of images for each class in it")
    entries = sorted(os.scandir(folder / "train"), key=lambda entry: entry.name)
    classes = tuple(entry.name for entry in entries if entry.name[0] != "." and os.path.isdir(entry.path))
    problems = [
        f"{folder / 'train'}: {name!r:.40} can't name a class: use up to {MAX_NAME} letters that can be shown"
        for name in classes
        if not name.isprintable() or len(name) > MAX_NAME
    ]
    if not MIN_CLASSES <= len(classes) <= MAX_CLASSES:
        counts = f"{len(classes):,} folders of classes, it takes {MIN_CLASSES} to {MAX_CLASSES:,}"
        problems.append(f"{folder / 'train'}: has {counts}")
    raise_all(folder, problems)

    # the images of each, and those to test on
    has_test = (folder / "test").is_dir()
    splits = ("train", "test") if has_test else ("train",)
    train, *tests = (_list_split(folder / split, classes, problems, passed_over) for split in splits)
    raise_all(folder, problems)
    if has_test:
        return train, tests[0], classes
    labels = torch.tensor([label for _, label in train])
    for_test = {*balanced_subset(labels, max(1, len(train) // 6), "folder test").tolist()}
    kept = [file for number, file in enumerate(train) if number not in for_test]
    return kept, [train[number] for number in sorted(for_test)], classes


def read_split(folder: Path, classes: Sequence[str]) -> Images:
    """Read a folder of images for each of ``classes``, of any size, as ``read_any_image`` does. Raises DataError."""
    problems, passed_over = list[str](), list[str]()
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != ".")
    if not {name.lower() for name in names} & _labels_of(classes).keys():
        raise DataError(
            f"{folder}: none of its folders ({some_of(names)}) is named as a class of the run ({some_of(classes)})"
        )
    listed = _list_split(folder, classes, problems, passed_over)
    raise_all(folder, problems)
    _tell_passed_over(folder, passed_over)
    images = decode(folder, listed, problems, try_any_image)
    raise_all(folder, problems)
    return images


def _labels_of(classes: Sequence[str]) -> dict[str, int]:
    return LABELS if tuple(classes) == CLASSES else {name.lower(): label for label, name in enumerate(classes)}


def _tell_passed_over(folder: Path, paths: list[str]) -> None:
    if paths:
        kinds = Counter("folders" if path[-1] == "/" else os.path.splitext(path)[1] or "others" for path in paths)
        counts = ", ".join(f"{kind} ({n:,})" for kind, n in kinds.most_common())
        log.warning(f"{folder}: passed over, as no PNG or JPEG in a class folder: {counts}, such as {paths[0]}")


def _list_split(
    folder: Path, classes: Sequence[str], problems: list[str], passed_over: list[str]
) -> list[tuple[str, int]]:
    # each class has one folder; those of CIFAR-10 have it under either of their names
    is_cifar10, labels = tuple(classes) == CLASSES, _labels_of(classes)
    folders: dict[int, str] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name[0] == ".":
            continue
        if not os.path.isdir(entry.path):  # which a loop of links is not
            passed_over.append(entry.path)
            continue
        label = labels.get(entry.name.lower())
        if label is None:
            of = "CIFAR-10" if is_cifar10 else "these images"
            problems.append(f"{entry.path}: not a class of {of}; the classes are {some_of(classes)}")
        elif label in folders:
            problems.append(f"{entry.path}: a class with two folders, the other is {folders[label]}")
        else:
            folders[label] = entry.path
    missing = [name for label, name in enumerate(classes) if label not in folders]
    if missing:
        problems.append(f"{folder}: has no folder of images for {some_of(missing)}")

    # the images in each
    images: list[tuple[str, int]] = []
    for label, path in sorted(folders.items()):
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(one_line(error))
            continue
        entries = [entry for entry in entries if entry.name[0] != "."]
        files = [entry for entry in entries if entry.name.lower().endswith(IMAGE_ENDINGS)]
        if len(files) < len(entries):
            others = (entry for entry in entries if not entry.name.lower().endswith(IMAGE_ENDINGS))
            passed_over += [entry.path + "/" * os.path.isdir(entry.path) for entry in others]
        if not files:
            problems.append(f"{path}: no image in it (PNG or JPEG)")
        for entry in files:
            images.append((entry.path, label))
            if not entry.is_file(follow_symlinks=False):  # which asks for nothing that the listing did not give
                try:
                    stat_regular(entry.path)
                except DataError as error:
                    problems.append(str(error))
    return images


Decode = Callable[[str], np.ndarray | DataError]  # an image file into uint8 (3, 32, 32), or what is wrong with it


def decode(folder: Path, files: list[tuple[str, int]], problems: list[str], decode_one: Decode | None = None) -> Images:
    """Decode files of one folder, each with its label; what can't be decoded is noted among ``problems``."""
    log.info(f"reading {folder}: {len(files):,} images")
    pixels = np.empty((len(files), 3, 32, 32), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(decode_one or try_decode, [path for path, _ in files])
        for index, image in enumerate(tqdm(decoded, total=len(files), unit="img", disable=None, leave=False)):
            if isinstance(image, DataError):
                problems.append(str(image))
            else:
                pixels[index] = image
    return Images(torch.from_numpy(pixels), torch.tensor([label for _, label in files]))


def try_decode(path: str, content: bytes | None = None) -> np.ndarray | DataError:
    """Decode an image of CIFAR-10 into uint8 (3, 32, 32), or return what is wrong with it."""
    try:
        return _decode_file(path, content)
    except DataError as error:
        return error


def try_any_image(path: str) -> np.ndarray | DataError:
    """Decode an image of any size as ``read_any_image`` does, or return what is wrong with it."""
    try:
        return read_any_image(path).numpy()
    except DataError as error:
        return error


def _decode_file(path: str, content: bytes | None = None) -> np.ndarray:
    """Decode an image of CIFAR-10 into uint8 (3, 32, 32). Raises DataError if it is no such image."""
    with _open(path, ("PNG", "JPEG"), content) as image:
        if image.size != (32, 32) or image.mode != "RGB":
            raise DataError(f"{path}: is {image.mode} {image.width}×{image.height}, CIFAR-10 is RGB 32×32")
        # What Pillow makes into such an image in silence.
        if "16" in str(image.tile[0][3]):  # how its pixels are stored
            raise DataError(f"{path}: has 16 bits a channel, CIFAR-10 has 8")
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(f"{path}: has several frames, CIFAR-10 has single images")
        if "transparency" in image.info:
            raise DataError(f"{path}: has a transparent colour, CIFAR-10 has none")
        if image.getexif().get(ORIENTATION, 1) != 1:
            raise DataError(f"{path}: is to be rotated, by its EXIF data, CIFAR-10 is not: save it as it is to be seen")
        return np.asarray(image).transpose(2, 0, 1)


def find_images(path: str, problems: list[str]) -> list[str]:
    """List what ``path`` stands for: itself, or the images in a folder and all below it, sorted, none that is hidden.

    What can't be listed is noted among ``problems``.
    """
    if not os.path.isdir(path):
        return [path]
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in SAFE_FORMATS}
    images, closed = list[str](), list[OSError]()
    for folder, below, names in os.walk(path, onerror=closed.append):
        below[:] = [name for name in below if name[0] != "."]
        names = [name for name in names if name[0] != "." and os.path.splitext(name)[1].lower() in endings]
        images += [os.path.join(folder, name) for name in names]
    problems += map(one_line, closed)
    if not images and not closed:
        problems.append(f"{path}: no image in it ({', '.join(SAFE_FORMATS)})")
    return sorted(images)


def read_any_image(path: str | Path) -> torch.Tensor:
    """Read an image file of any size and mode as the models take it, uint8 (3, 32, 32).

    The middle square is scaled to 32×32; transparency becomes white, 16 bits become 8, and a camera's rotation is
    undone. Raises DataError if the file can't be read as an image.
    """
    with _open(path, SAFE_FORMATS) as file:
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode == "F":
            raise DataError(f"{path}: has floating-point pixels, whose range is unknown")
        if isinstance(file, TiffImageFile) and image.mode.startswith("I"):
            bits = file.tag_v2.get(BITS_PER_SAMPLE, (1,))[0]
            if bits != 16 or image.mode == "I":  # which signed ones have, too
                kind = "signed" if bits == 16 else bits
                raise DataError(f"{path}: has {kind} bits of grey, whose range is unknown: save it with 8 or 16 bits")
        if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
            image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        image = ImageOps.fit(image, (32, 32), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())
