"""Encoded images that lie in no folder of their class: in Parquet, in an archive, or as Kaggle hands them out."""

import csv
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data import Images, balanced_subset
from datasets import image_folder
from datasets.arrays import MOST_IMAGES, Part, make_part, split_of
from datasets.cache import Splits, stat_regular
from datasets.cifar10 import TEST_IMAGES, TRAIN_IMAGES
from datasets.containers import MOST_BYTES, MOST_UNPACKED, Files
from runner.errors import DataError, one_line, raise_all

log = logging.getLogger("ex1")

BLOCK = 1024  # images that are in memory encoded
ROWS = 64  # of a table that are unpacked at once: a value that is in a file once can be in any number of rows
COLUMNS = (("img", "image"), ("label", "labels"))  # of Hugging Face, today and before
KAGGLE_LABELS = "trainLabels.csv"


def _decode(
    names: Sequence[str], contents: Sequence[bytes], problems: list[str], pool: ThreadPoolExecutor
) -> np.ndarray:
    """Decode images in parallel, uint8 (n, 3, 32, 32); what can't be decoded is noted."""
    pixels = np.zeros((len(names), 3, 32, 32), np.uint8)
    for index, image in enumerate(pool.map(image_folder.try_decode, names, contents)):
        if isinstance(image, DataError):
            problems.append(str(image))
        else:
            pixels[index] = image
    return pixels


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def read_parquet(paths: list[str], problems: list[str]) -> Iterator[Part]:
    """Read the Parquet files of Hugging Face: a column of encoded images, and one of labels."""
    try:
        import pyarrow.parquet  # noqa: F401  which is optional
    except ImportError as error:
        raise DataError(f"{paths[0]}: Parquet files need the package pyarrow: pip install pyarrow") from error
    with ThreadPoolExecutor() as pool, tqdm(unit="img", disable=None, leave=False) as bar:
        for path in paths:
            split = split_of(Path(path).name)
            if not split:
                log.warning(f"{path}: passed over, as its name says neither train nor test")
                continue
            try:
                stat_regular(path)
                for part in _read_table(path, split, problems, pool):
                    bar.update(len(part.labels))
                    yield part
            except DataError as error:
                problems.append(str(error))
            except Exception as error:  # a damaged file makes Arrow raise many
                problems.append(f"{path}: can't be read: {one_line(error)}")


def _read_table(path: str, split: str, problems: list[str], pool: ThreadPoolExecutor) -> Iterator[Part]:
    import pyarrow.parquet

    # what it claims to hold
    with pyarrow.parquet.ParquetFile(path) as file:
        facts, names = file.metadata, file.schema_arrow.names
        columns = [next((name for name in some if name in names), None) for some in COLUMNS]
        if None in columns:
            raise DataError(f"{path}: has the columns {', '.join(names)}; images are read from img and label")
        unpacked = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
        if facts.num_rows > MOST_IMAGES or unpacked > MOST_UNPACKED:
            raise DataError(f"{path}: unpacks to more than any file of CIFAR-10")

        # what it holds
        row = 0
        for batch in file.iter_batches(ROWS, columns=columns, use_threads=False):
            images, labels = (batch.column(column) for column in columns)
            if images.nbytes > MOST_BYTES:
                raise DataError(f"{path}: unpacks to more than any file of CIFAR-10")
            if pyarrow.types.is_struct(images.type):
                images = images.field("bytes")
            contents = images.to_pylist()
            if not all(isinstance(content, bytes) for content in contents):
                raise DataError(f"{path}: holds no images in itself, but perhaps the paths of some")
            pixels = _decode([f"{path}, row {row + i}" for i in range(len(contents))], contents, problems, pool)
            yield make_part(path, split, pixels, labels.to_numpy(zero_copy_only=False))
            row += len(contents)


# ---- archives of image folders ---------------------------------------------------------------------------------------


def class_of(name: str) -> tuple[str, int | None] | None:
    """Tell split and class of ``.../train/<class>/<any>.png``: None for another name, or as the class if unknown."""
    parts = name.split("/")
    if (
        len(parts) < 3
        or parts[-3] not in ("train", "test")
        or not parts[-1].lower().endswith(image_folder.IMAGE_ENDINGS)
    ):
        return None
    return parts[-3], image_folder.LABELS.get(parts[-2].lower())


def read_images(archive: str, files: Files, problems: list[str]) -> Iterator[Part]:
    """Read the images ``.../train/<class>/*`` and ``.../test/<class>/*`` of an archive, in the order of a folder's."""
    # one pass in the order of the archive
    keys, blocks = list[tuple[str, int, str]](), list[np.ndarray]()
    known = ((name, class_of(name), read) for name, read in files)
    images = ((name, found, read) for name, found, read in known if found)
    with ThreadPoolExecutor() as pool, tqdm(unit="img", disable=None, leave=False) as bar:
        while block := [(name, *found, read()) for name, found, read in islice(images, BLOCK)]:
            unknown = [name for name, _, label, _ in block if label is None]
            problems += [f"{archive}/{name}: not a class of CIFAR-10" for name in unknown]
            keys += [(split, -1 if label is None else label, name) for name, split, label, _ in block]
            names = [f"{archive}/{name}" for name, *_ in block]
            blocks.append(_decode(names, [content for *_, content in block], problems, pool))
            if len(keys) > MOST_IMAGES:
                raise DataError(f"{archive}: holds more than {MOST_IMAGES:,} images")
            bar.update(len(block))

    # in order
    if len(set(keys)) < len(keys):
        problems.append(f"{archive}: holds several images of one name")
    if problems or not keys:
        return
    labels = torch.tensor([label for _, label, _ in keys])
    everything = Images(torch.from_numpy(np.concatenate(blocks)), labels)
    blocks.clear()
    rows = [
        sorted((i for i, key in enumerate(keys) if key[0] == split), key=keys.__getitem__)
        for split in ("train", "test")
    ]
    train, test = (everything.take(torch.tensor(some, dtype=torch.int64)) for some in rows)
    of_rows = ([keys[i][2] for i in some] for some in rows)
    train, test = image_folder.official_by_number(of_rows, (train, test)) or (train, test)
    for split, part in (("train", train), ("test", test)):
        if len(part):
            yield make_part(archive, split, part.pixels.numpy(), part.labels.numpy())


# ---- Kaggle's --------------------------------------------------------------------------------------------------------


def list_kaggle(folder: Path) -> list[tuple[str, int]]:
    """List the images of Kaggle's ``train/`` with their labels, by number. Raises DataError that names all problems."""
    # the lines, of which CIFAR-10 has 50,001
    path, problems, labels = folder / KAGGLE_LABELS, list[str](), dict[int, int]()
    stat_regular(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(islice(csv.reader(file), MOST_IMAGES + 2))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {one_line(error)}") from error
    if rows[:1] != [["id", "label"]] or not 2 < len(rows) < MOST_IMAGES + 2:
        raise DataError(f"{path}: is not the line id,label and those of 2 images or more, at most {MOST_IMAGES:,}")

    # a label of each, and an image
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 2 or not (row[0].isascii() and row[0].isdigit() and len(row[0]) < 9):
            problems.append(f"{path}, line {line}: is no number and label")
        elif row[1].lower() not in image_folder.LABELS:
            problems.append(f"{path}, line {line}: {row[1]!r:.40} is not a class of CIFAR-10")
        elif int(row[0]) in labels:
            problems.append(f"{path}, line {line}: image {row[0]} has a label already")
        else:
            labels[int(row[0])] = image_folder.LABELS[row[1].lower()]
    there = {entry.name for entry in os.scandir(folder / "train")}
    missing = [number for number in labels if f"{number}.png" not in there]
    if missing:
        problems.append(f"{folder / 'train'}: lacks {len(missing):,} images that have labels, such as {missing[0]}.png")
    raise_all(path, problems)
    train = os.path.join(folder, "train", "")
    return [(f"{train}{number}.png", label) for number, label in sorted(labels.items())]


def count_kaggle_tests(images: int) -> int:
    """Say how many of Kaggle's labelled images are the test images, as those meant for testing have no labels."""
    return TEST_IMAGES if images >= TRAIN_IMAGES else max(1, images // 6)


def read_kaggle(folder: Path, listed: list[tuple[str, int]]) -> Splits:
    """Decode Kaggle's labelled images, and set aside those to test on: the same ones in every run."""
    problems: list[str] = []
    images = image_folder.decode(folder / "train", listed, problems)
    raise_all(folder, problems)
    for_test = balanced_subset(images.labels, count_kaggle_tests(len(images)), "kaggle test")
    kept = np.ones(len(images), dtype=bool)
    kept[for_test] = False
    train, test = (Images(images.pixels[rows], images.labels[rows]) for rows in (kept, for_test))
    return train, test
