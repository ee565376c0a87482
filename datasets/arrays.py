"""Images as plain numbers: NumPy's .npz and .npy, and the binary and the Matlab version of CIFAR-10.

Each reader appends to ``problems`` what is wrong with a file, and goes on with the next.
"""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.cache import stat_regular
from datasets.containers import MOST_BYTES, BrokenArchive, Files
from runner.errors import DataError, one_line

MOST_IMAGES = 120_000  # in all: twice as many as CIFAR-10 has
PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS  # bytes of an image in the binary version: its label, then red, green and blue
SHAPES = {(32, 32, 3), (3, 32, 32), (PIXELS,)}
MATLAB, COMPRESSED, MATRIX, UINT8 = b"MATLAB 5.0", 15, 14, 9  # how such a file begins; numbers of its format
SPLITS = {"train": {"train", "training"}, "test": {"test"}}
ROLES = {
    "labels": {"y", "label", "labels", "target", "targets"},
    "images": {"x", "image", "images", "img", "imgs", "pixels", "data"},
}


Role = tuple[str, str]  # of an array: its split, and whether it holds images or labels


class Part(NamedTuple):
    """Images of a split in a file: ``pixels`` uint8 (n, 3, 32, 32), ``labels`` of any integer type (n,)."""

    name: str
    split: str
    pixels: np.ndarray
    labels: np.ndarray


def make_part(name: str, split: str, pixels: np.ndarray, labels: np.ndarray, classes: int = 10) -> Part:
    """Bring arrays in any of the usual shapes into that of a part. Raises DataError if they are not CIFAR-10's."""
    if pixels.dtype != np.uint8 or pixels.shape[1:] not in SHAPES:
        raise DataError(f"{name}: has images {pixels.dtype} {pixels.shape}, CIFAR-10 has uint8 (N, 32, 32, 3)")
    if labels.ndim == 2 and labels.shape[1] == classes:
        raise DataError(f"{name}: has one-hot labels: save the number of each class, as of .argmax(1)")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(labels),), (len(labels), 1)):
        raise DataError(f"{name}: has labels {labels.dtype} {labels.shape}, CIFAR-10 has integers (N,)")
    labels = labels.reshape(-1)
    if not 0 < len(labels) == len(pixels):
        raise DataError(f"{name}: has {len(pixels):,} images and {len(labels):,} labels")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"{name}: has labels from {labels.min()} to {labels.max()}, there are 0 to {classes - 1}")
    if pixels.shape[1:] == (PIXELS,) and _is_interleaved(pixels[:1000]):
        raise DataError(f"{name}: has the three colours of a pixel side by side: save the images as (N, 32, 32, 3)")
    if pixels.shape[1:] == (32, 32, 3):
        pixels = pixels.transpose(0, 3, 1, 2)
    return Part(name, split, pixels.reshape(-1, 3, 32, 32), labels)


def _is_interleaved(rows: np.ndarray) -> bool:
    """Tell whether the rows hold pixel after pixel, and not plane after plane: pixels are like those below them."""
    planes, pixels = (rows.reshape(-1, *shape).astype(np.int16) for shape in ((3, 32, 32), (32, 32, 3)))
    return np.abs(np.diff(pixels, axis=1)).mean() < 0.8 * np.abs(np.diff(planes, axis=2)).mean()


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}


def split_of(name: str) -> str | None:
    """Tell from a name such as ``data_batch_1.bin`` or ``test-00000.parquet`` which split it is of."""
    words = _words(name)
    found = [split for split, some in SPLITS.items() if words & some]
    if not found and {"data", "batch"} <= words:
        return "train"
    return found[0] if len(found) == 1 else None


def is_batch(name: str) -> bool:
    """Tell whether a file has a name as the batches of the binary and the Matlab version."""
    return "batch" in _words(name) and split_of(name) is not None


# ---- .npz and .npy ---------------------------------------------------------------------------------------------------


def kind_of(name: str) -> str | None:
    """Tell from a name such as ``x_train`` whether an array holds labels or images."""
    words = _words(name)
    return (
        None if words & {"names", "filenames"} else next((kind for kind, some in ROLES.items() if words & some), None)
    )


def _role_of(name: str) -> Role | None:
    """Tell from a name such as ``x_train`` which array it is."""
    split, kind = split_of(name), kind_of(name)
    return (split, kind) if split and kind else None


def _open_arrays(path: str) -> Iterator[tuple[Role, str, Callable[[], Any]]]:
    """Go through the arrays in a .npz, or the one in a .npy, with their names and what opens them."""
    for name, shown, opened in _open_all(path):
        if role := _role_of(name) or _role_of(f"{Path(path).stem} {name}"):
            yield role, shown, opened


def open_to_test(path: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Go through those that are not meant for training, whether they hold labels or images in place of a role."""
    for name, shown, opened in _open_all(path):
        name = name or Path(path).stem
        if (kind := kind_of(name)) and split_of(name) != "train":
            yield kind, shown, opened


def _open_all(path: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Go through all arrays in a file: their names, empty in a .npy, with the file's, and what opens them.

    Raises almost any Exception if the file is damaged.
    """
    with zipfile.ZipFile(path) if path.lower().endswith(".npz") else nullcontext() as archive:
        for member in archive.infolist() if archive else [None]:
            if member and member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                continue  # NumPy compresses in no other way
            if archive and member:
                name = member.filename.removesuffix(".npy")
                yield name, f"{path}/{member.filename}", partial(archive.open, member)
            else:
                yield "", path, partial(open, path, "rb")


def find_roles(path: str) -> set[Role]:
    """Tell which arrays a file holds, none if its images have other shapes. Raises almost any Exception."""
    shapes = {role: read_header(opened)[0][1:] for role, _, opened in _open_arrays(path)}
    of_images = {shape for (_, role), shape in shapes.items() if role == "images"}
    return set(shapes) if of_images & SHAPES or not of_images else set()


def read_arrays(paths: list[str], problems: list[str]) -> Iterator[Part]:
    """Read the arrays of both splits from .npz or .npy files."""
    # all of them
    arrays: dict[Role, tuple[str, np.ndarray]] = {}
    for path in paths:
        try:
            stat_regular(path)
            for role, name, opened in _open_arrays(path):
                if role in arrays:
                    raise DataError(f"{name}: holds the {role[0]} {role[1]}, as {arrays[role][0]} does")
                arrays[role] = name, read_array(opened, name)
        except DataError as error:
            problems.append(str(error))
        except Exception as error:  # a damaged file makes NumPy and zipfile raise almost any
            problems.append(f"{path}: can't be read: {one_line(error)}")

    # images and labels together
    for split in SPLITS if not problems else ():
        missing = [role for role in ROLES if (split, role) not in arrays]
        if missing:
            problems.append(f"{Path(paths[0]).parent}: no array is named as the {' and '.join(missing)} of {split}")
            continue
        (name, pixels), (of_labels, labels) = arrays[split, "images"], arrays[split, "labels"]
        try:
            yield make_part(f"{name}, {Path(of_labels).name}", split, pixels, labels)
        except DataError as error:
            problems.append(str(error))


def read_array(opened: Callable[[], Any], name: str) -> np.ndarray:
    """Read an array, after a look at its header, which may claim any size. Raises almost any Exception if damaged."""
    shape, dtype = read_header(opened)
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    if not shape or not 0 <= shape[0] <= MOST_IMAGES or row_bytes > PIXELS:
        raise DataError(f"{name}: is {dtype} {shape}, CIFAR-10 has images uint8 (N, 32, 32, 3) and labels (N,)")
    with opened() as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_header(opened: Callable[[], Any]) -> tuple[tuple[int, ...], np.dtype]:
    """Read the shape and type that an array claims to have. Raises almost any Exception if it is damaged."""
    with opened() as file:
        is_first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return shape, dtype


# ---- the binary and the Matlab version -------------------------------------------------------------------------------


def read_batches(files: Files, problems: list[str]) -> Iterator[Part]:
    """Read batches in their binary or Matlab form; what else is among the files is passed over."""
    seen = set[str]()
    for name, read in files:
        kind, split = Path(name).suffix.lower(), split_of(Path(name).name)
        if not split or not is_batch(Path(name).name) or kind not in (".bin", ".mat"):
            continue
        try:
            if name in seen:
                raise DataError(f"{name}: is there twice")
            seen.add(name)
            pixels, labels = (_unpack_records if kind == ".bin" else _unpack_matlab)(name, read())
            yield make_part(name, split, pixels, labels)
        except BrokenArchive:
            raise
        except DataError as error:
            problems.append(str(error))


def _unpack_records(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    if len(content) % RECORD:
        raise DataError(f"{name}: has {len(content):,} bytes, no multiple of the {RECORD:,} that an image has")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return records[:, 1:], records[:, 0]


def _unpack_matlab(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        arrays = {key: array for key, array in _matlab_arrays(content) if key in ("data", "labels")}
        return arrays["data"], arrays["labels"]
    except Exception as error:
        reason = "it lacks uint8 " if isinstance(error, KeyError) else ""
        raise DataError(f"{name}: is no batch of CIFAR-10 in Matlab's format 5: {reason}{one_line(error)}") from error


def _matlab_arrays(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Go through the uint8 arrays in a file, as MathWorks' "MAT-File Format" describes it."""
    order = "<" if content[126:128] == b"IM" else ">"

    def elements(block: memoryview) -> Iterator[tuple[int, memoryview]]:
        at = 0
        while at + 8 <= len(block):
            kind, size = struct.unpack_from(f"{order}II", block, at)
            if kind >> 16:  # up to 4 bytes, in the place of the size
                yield kind & 0xFFFF, block[at + 4 : at + 4 + min(kind >> 16, 4)]
                at += 8
            else:
                yield kind, block[at + 8 : at + 8 + size]
                at += 8 + size + (-size % 8 if kind != COMPRESSED else 0)

    left = MOST_BYTES  # to be unpacked
    for kind, body in elements(memoryview(content)[128:]):
        if kind == COMPRESSED:
            unpacked = zlib.decompressobj().decompress(body, left)
            left = max(1, left - len(unpacked))
            kind, body = next(elements(memoryview(unpacked)))
        if kind == MATRIX:
            (_, flags), (_, shape), (_, name), *values = elements(body)
            if values and struct.unpack_from(f"{order}I", flags)[0] & 0xFF == UINT8:
                array = np.frombuffer(values[0][1], np.uint8)
                yield str(name, "ascii"), array.reshape(struct.unpack(f"{order}{len(shape) // 4}i", shape), order="F")
