"""CIFAR-100, MNIST, Fashion-MNIST and SVHN, from the files that torchvision's data sets of these names leave.

Networks take 32×32 RGB: grey becomes three equal channels, and 28×28 gets 2 black pixels on each side.
"""

import gzip
import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data import Dataset, Images, digest
from datasets.cache import stat_regular
from datasets.cifar10 import ArrayUnpickler
from runner.errors import DataError, one_line

MOST_BYTES = 256 * 2**20  # of a file: CIFAR-100's train and SVHN's train_32x32.mat have 155 and 182 million
FASHION = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot"


class Published(NamedTuple):
    """A data set and its files, with the MD5s that torchvision has of them."""

    name: str
    torchvision: str  # its class there
    folder: str  # of the files, below the one that torchvision is given
    train: tuple[str, ...]  # the file, or those of images and labels
    test: tuple[str, ...]
    md5: dict[str, str]
    counts: tuple[int, int]  # training and test images
    classes: tuple[str, ...]  # CIFAR-100's come from its file

    @property
    def is_grey(self) -> bool:
        return len(self.train) == 2


IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
DIGITS = tuple("0123456789")
SETS = {
    "cifar100": Published(
        "CIFAR-100", "CIFAR100", "cifar-100-python", ("train",), ("test",),
        {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
         "meta": "7973b15100ade9c7d40fb424638fde48"},
        (50_000, 10_000), tuple(f"class {number}" for number in range(100)),
    ),
    "mnist": Published(
        "MNIST", "MNIST", "MNIST/raw", IDX[:2], IDX[2:],
        dict(zip(IDX, ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                       "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"))),
        (60_000, 10_000), DIGITS,
    ),
    "fashion-mnist": Published(
        "Fashion-MNIST", "FashionMNIST", "FashionMNIST/raw", IDX[:2], IDX[2:],
        dict(zip(IDX, ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                       "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"))),
        (60_000, 10_000), tuple(name.replace("-b", " b") for name in FASHION.split()),
    ),
    "svhn": Published(
        "SVHN", "SVHN", ".", ("train_32x32.mat",), ("test_32x32.mat",),
        {"train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373", "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"},
        (73_257, 26_032), DIGITS,
    ),
}  # fmt: skip


def expected_labels(kind: str) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Tell about which labels the training images have, without reading one: as many of each class."""
    source = SETS[kind]
    return torch.arange(source.counts[0]) % len(source.classes), source.classes


def load(kind: str, data_dir: Path) -> Dataset:
    """Load the data set ``kind`` from files below ``data_dir``. Raises DataError if they are missing or damaged."""
    source = SETS[kind]
    folder = next((place for place in (data_dir / source.folder, data_dir) if _has_files(place, source)), None)
    if not folder:
        raise DataError(f"{source.name} is not in {data_dir}; torchvision downloads it: {_command(source, data_dir)}")
    classes = source.classes
    try:
        if kind == "cifar100":
            names = ArrayUnpickler.load_bytes(_read(folder, "meta", source))["fine_label_names"]
            classes = tuple(map(str, names))
        train, test = (_read_split(folder, files, source) for files in (source.train, source.test))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{folder} can't be read as {source.name}: {one_line(error)}") from error
    return Dataset(source.name, kind, str(folder), classes, train, test, digest(train, test))


def _has_files(folder: Path, source: Published) -> bool:
    return any((folder / (name + ".gz" * source.is_grey)).exists() for name in (*source.train, *source.test))


def _command(source: Published, data_dir: Path) -> str:
    """Make the command that has torchvision download a data set."""
    name, where = source.torchvision, str(data_dir)
    call = f"{name}({where!r}, download=True)"
    if name == "SVHN":
        call = f"[SVHN({where!r}, split, download=True) for split in ('train', 'test')]"
    return f'python -c "from torchvision.datasets import {name}; {call}"'


def _read(folder: Path, name: str, source: Published) -> bytes:
    """Read a file, unpacked where it is packed. Raises DataError if it is missing, or another than it should be."""
    path = folder / (name + ".gz" * source.is_grey)
    if not path.exists():
        raise DataError(f"{path} is missing")
    if stat_regular(path).st_size > MOST_BYTES:
        raise DataError(f"{path} is damaged: it is larger than any file of {source.name}")
    content = path.read_bytes()
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != source.md5[name]:
        raise DataError(f"{path} is damaged, or another: its MD5 is {actual}, {source.name} has {source.md5[name]}")
    return gzip.decompress(content) if source.is_grey else content


def _read_split(folder: Path, files: tuple[str, ...], source: Published) -> Images:
    """Read the images and labels of a split. Raises almost any Exception if its files hold anything else."""
    contents = [_read(folder, name, source) for name in files]
    if source.is_grey:
        grey = np.frombuffer(contents[0], np.uint8, offset=16).reshape(-1, 1, 28, 28)  # behind four numbers of 32 bits
        labels = np.frombuffer(contents[1], np.uint8, offset=8)
        pixels = np.pad(np.broadcast_to(grey, (len(grey), 3, 28, 28)), ((0, 0), (0, 0), (2, 2), (2, 2)))
    elif source.name == "SVHN":
        from scipy.io import loadmat

        arrays = loadmat(io.BytesIO(contents[0]), variable_names=["X", "y"])
        pixels = arrays["X"].transpose(3, 2, 0, 1)  # from (32, 32, 3, N)
        labels = arrays["y"].reshape(-1) % 10  # the digit 0 is 10 there
    else:
        batch = ArrayUnpickler.load_bytes(contents[0])
        pixels, labels = batch["data"].reshape(-1, 3, 32, 32), np.asarray(batch["fine_labels"])
    if pixels.dtype != np.uint8 or pixels.shape != (*labels.shape, 3, 32, 32):
        raise ValueError(f"it has images {pixels.dtype} {pixels.shape} and labels {labels.dtype} {labels.shape}")
    return Images(torch.from_numpy(np.array(pixels, order="C")), torch.from_numpy(labels.astype(np.int64)))
