"""Decoded images kept in the data folder, for as long as the files they came from stay the same."""

import contextlib
import hashlib
import logging
import os
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data import Images
from runner.errors import DataError
from runner.files import MAX_CLASSES, check_regular
from runner.lock import FolderLock

log = logging.getLogger("ex1")

MAX_CACHE = 1 << 33  # bytes; that of CIFAR-10 has 184 million, of 1.3 million images 4 billion
POLL_SECONDS = 0.2
ANY = "any"  # the kind of images that are of any classes; those of all other kinds are CIFAR-10's

Splits = tuple[Images, Images]  # training and test images


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Let one run at a time download and decode; a folder that can't be written needs no guard."""
    folder_lock = FolderLock(folder)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if not folder_lock.acquire():
            log.warning(f"waiting for another run that is reading {folder}: {folder_lock.holder}")
            while not folder_lock.acquire():
                time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        folder_lock.release()


def cached(folder: Path, kind: str, files: list[str], decode: Callable[[], Splits], anew: bool = False) -> Splits:
    """Take both splits from the cache in ``folder``, or decode them from ``files`` and cache them.

    ``anew``: decode them in any case, and say whether the cache holds the same.
    """
    # A cache of any other content, or none, only means that the images are decoded again.
    path, fingerprint = folder / f".cache-{kind}.npz", _fingerprint(files)
    kept = None
    with contextlib.suppress(Exception):
        _check_stored(path)
        with np.load(path, allow_pickle=False) as cache:
            if cache["fingerprint"].item() == fingerprint:
                train, test = (
                    as_images(cache[f"{part}_pixels"], cache[f"{part}_labels"], MAX_CLASSES if kind == ANY else 10)
                    for part in ("train", "test")
                )
                kept = train, test
    if kept and not anew:
        return kept
    splits = decode()
    if anew and _is_right(path, kept, splits):
        return splits

    # Under a temporary name first, so that no half of it is ever read.
    arrays: dict[str, Any] = {"fingerprint": np.array(fingerprint)}
    for split, images in zip(("train", "test"), splits):
        arrays |= {f"{split}_pixels": images.pixels.numpy(), f"{split}_labels": images.labels.numpy()}
    temporary = path.with_name(f"{path.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as file:  # no link of somebody's is written through
            np.savez(file, **arrays)
        temporary.replace(path)
    except OSError as error:
        log.warning(f"the decoded images are not cached, so the next start is slow: {error}")
        with contextlib.suppress(OSError):
            temporary.unlink()
    return splits


def _check_stored(path: Path) -> None:
    """Raise an exception if a cache is not a regular file, or would unpack to more than it is."""
    check_regular(path, MAX_CACHE)
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError(f"{path} is compressed")


def _is_right(path: Path, kept: Splits | None, splits: Splits) -> bool:
    """Compare what the cache kept with what was decoded anew, and say what was found."""
    count = sum(map(len, splits))
    if kept is None:
        log.info(f"all {count:,} images were decoded anew: {path} did not hold them")
        return False
    wrong = 0
    for was, now in zip(kept, splits):
        if len(was) == len(now):
            wrong += int(((was.pixels != now.pixels).flatten(1).any(1) | (was.labels != now.labels)).sum())
        else:
            wrong += len(now)
    if wrong:
        log.warning(f"{path} held other pixels or labels for {wrong:,} of {count:,} images than their files: made anew")
    else:
        log.info(f"all {count:,} images were decoded anew: {path} holds the same")
    return not wrong


def _fingerprint(files: list[str]) -> str:
    """Hash names, sizes, times and inodes. Raises DataError if one of ``files`` is no regular file, or is not there.

    Tools that keep the time of a file's content can keep neither that of its last change of any kind nor its inode. So
    a copy of the folder is decoded anew, once.
    """
    lines = []
    for path in files:
        status = stat_regular(path)
        name = "/".join(path.replace(os.sep, "/").rsplit("/", 2)[-2:])  # with its folder, as in cat/0001.png
        lines.append(f"{name} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}\n")
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def stat_regular(path: str | Path) -> os.stat_result:
    """Stat a file or what it links to.

    Raises DataError if it is not there, and for pipes, devices and all that may block or have no end.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a regular file")
    return status


def as_images(pixels: np.ndarray, labels: np.ndarray, classes: int = 10) -> Images:
    """Make tensors that share the arrays' memory. Raises ValueError if they are no pixels and labels of so many."""
    if (pixels.dtype, labels.dtype) != (np.uint8, np.int64) or pixels.shape != (*labels.shape, 3, 32, 32):
        raise ValueError(f"pixels {pixels.dtype} {pixels.shape}, labels {labels.dtype} {labels.shape}")
    if not len(labels) or not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"there are no labels, or other ones than 0 to {classes - 1}")
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels))
