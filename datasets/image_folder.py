"""Image files: a folder train/<class>/* and test/<class>/* of CIFAR-10, or a single picture of any kind."""

import contextlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from data import Dataset, Images, digest
from datasets.cache import cached
from datasets.cifar10 import CLASSES, TEST_IMAGES, TRAIN_IMAGES
from runner.errors import DataError, one_line

log = logging.getLogger("ex1")

LABELS = {name: label for label, name in enumerate(CLASSES)} | {"airplane": 0, "automobile": 1}

# What Pillow decodes by itself: for others, such as EPS, it starts programs that interpret the file.
SAFE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


@contextlib.contextmanager
def _open(path: str | Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """Open an image file. Raises DataError that names it, whatever goes wrong with it."""
    try:
        with Image.open(path, formats=formats) as image:
            yield image
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise almost any
        raise DataError(f"{path}: can't be read as an image: {one_line(error)}") from error


def load(folder: Path) -> Dataset:
    """Load a folder of images, whole or in part. Raises DataError if a class or a file in it is not CIFAR-10's."""
    train_files, test_files = list_images(folder / "train"), list_images(folder / "test")
    paths = [path for path, _ in train_files + test_files]
    train, test = cached(
        folder, "folder", paths, lambda: (_decode(folder / "train", train_files), _decode(folder / "test", test_files))
    )
    for split, images, official in (("train", train, TRAIN_IMAGES), ("test", test, TEST_IMAGES)):
        if len(images) != official:
            log.warning(f"{folder / split} holds {len(images):,} images, CIFAR-10 has {official:,}: is it whole?")
    # The images may be any part or any encoding of CIFAR-10, so their content is in the name.
    content = digest(train, test)
    name, slug = f"CIFAR-10 folder {content[:8]}", f"cifar10-folder-{content[:8]}"
    return Dataset(name, slug, str(folder), CLASSES, train, test, content)


def list_images(folder: Path) -> list[tuple[str, int]]:
    """List the image files of one split with their labels, in the order of classes and file names.

    Strings and not paths, whose making and comparing would take longer than all else that a cached folder needs.
    Raises DataError if the folders are not the ten classes, or one of them holds no image.
    """
    # each class has one folder, under either of its names
    entries = [entry for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]
    folders = {}
    for entry in entries:
        if entry.name.lower() not in LABELS:
            raise DataError(f"{entry.path}: not a class of CIFAR-10; the classes are {', '.join(CLASSES)}")
        folders[LABELS[entry.name.lower()]] = entry.path
    if not len(entries) == len(folders) == 10:
        raise DataError(f"{folder}: has {len(entries)} class folders, CIFAR-10 has 10: {', '.join(CLASSES)}")

    # the images in each
    images: list[tuple[str, int]] = []
    for label, path in sorted(folders.items()):
        files = [entry for entry in os.scandir(path) if entry.name.lower().endswith(IMAGE_ENDINGS)]
        paths = sorted(entry.path for entry in files if entry.name[0] != ".")
        if not paths:
            raise DataError(f"{path}: no image in it (PNG or JPEG)")
        images += [(file, label) for file in paths]
    return images


def _decode(folder: Path, files: list[tuple[str, int]]) -> Images:
    log.info(f"reading {folder}: {len(files):,} images")
    pixels = np.empty((len(files), 3, 32, 32), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(_decode_file, [path for path, _ in files])
        for index, image in enumerate(tqdm(decoded, total=len(files), unit="img", disable=None, leave=False)):
            pixels[index] = image
    return Images(torch.from_numpy(pixels), torch.tensor([label for _, label in files]))


def _decode_file(path: str) -> np.ndarray:
    """Decode an image of CIFAR-10 into uint8 (3, 32, 32). Raises DataError if it is no such image."""
    with _open(path, ("PNG", "JPEG")) as image:
        if image.size != (32, 32) or image.mode != "RGB":
            raise DataError(f"{path}: is {image.mode} {image.width}×{image.height}, CIFAR-10 is RGB 32×32")
        return np.asarray(image).transpose(2, 0, 1)


def read_any_image(path: str | Path) -> torch.Tensor:
    """Read an image file of any size and mode as the models take it, uint8 (3, 32, 32).

    The middle square is scaled to 32×32; transparency becomes white, 16 bits become 8, and a camera's rotation is
    undone. Raises DataError if the file can't be read as an image.
    """
    with _open(path, SAFE_FORMATS) as file:
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode == "F":
            raise DataError(f"{path}: has floating-point pixels, whose range is unknown")
        if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
            image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        image = ImageOps.fit(image, (32, 32), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())
