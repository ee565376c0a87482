"""CIFAR-100, MNIST, Fashion-MNIST and SVHN, from the files that torchvision's data sets of these names leave.

Networks take 32×32 RGB: grey becomes three equal channels, and 28×28 gets 2 black pixels on each side.
"""

import gzip
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data import Dataset, Images, digest
from datasets.cache import as_images, stat_regular
from datasets.cifar10 import ArrayUnpickler, md5_of
from runner.errors import DataError, one_line, raise_all

MOST_BYTES = 256 * 2**20  # of a file: CIFAR-100's train and SVHN's train_32x32.mat have 155 and 182 million
FASHION = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot"


class Published(NamedTuple):
    """A data set and its files, with the MD5s that torchvision has of them, and public code of those it unpacks."""

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

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(name.removesuffix(".gz") for name in self.md5))


IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
PACKED = tuple(f"{name}.gz" for name in IDX)  # torchvision leaves both
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
        dict(zip(PACKED, ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
                          "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c")))
        | dict(zip(IDX, ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
                         "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"))),
        (60_000, 10_000), DIGITS,
    ),
    "fashion-mnist": Published(
        "Fashion-MNIST", "FashionMNIST", "FashionMNIST/raw", IDX[:2], IDX[2:],
        dict(zip(PACKED, ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                          "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310")))
        | dict(zip(IDX, ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
                         "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"))),
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
    """Load the data set ``kind`` from files below ``data_dir``. Raises DataError that names all missing or damaged."""
    source = SETS[kind]
    places = (data_dir / source.folder, data_dir)
    folder = next((place for place in places if any(_find(place, name, source) for name in source.files)), None)
    if not folder:
        how = "torchvision downloads it, or unpacks the archive that is there"
        raise DataError(f"{source.name} is not in {data_dir}; {how}: {_command(source, data_dir)}")
    _check(folder, source)
    classes = source.classes
    try:
        if kind == "cifar100":
            names = ArrayUnpickler.load_bytes(_read(folder, "meta", source))["fine_label_names"]
            classes = tuple(map(str, names))
            if len(classes) != len(source.classes):
                raise ValueError(f"it has {len(classes)} names of classes")
        train, test = (_read_split(folder, files, source) for files in (source.train, source.test))
    except Exception as error:
        raise DataError(f"{folder} can't be read as {source.name}: {one_line(error)}") from error
    return Dataset(source.name, kind, str(folder), classes, train, test, digest(train, test))


def _find(folder: Path, name: str, source: Published) -> Path | None:
    """Find a file, unpacked or packed."""
    known = (folder / each for each in (name, f"{name}.gz") if each in source.md5)
    return next((path for path in known if path.exists()), None)


def _command(source: Published, data_dir: Path) -> str:
    """Make the command that has torchvision download a data set."""
    name, where = source.torchvision, str(data_dir)
    call = f"{name}({where!r}, download=True)"
    if name == "SVHN":
        call = f"[SVHN({where!r}, split, download=True) for split in ('train', 'test')]"
    return f'python -c "from torchvision.datasets import {name}; {call}"'


def _check(folder: Path, source: Published) -> None:
    """Raise DataError if files are missing, or others than they should be."""
    problems = []
    for name in source.files:
        path = _find(folder, name, source)
        try:
            if not path:
                raise DataError(f"{folder / name} is missing")
            if stat_regular(path).st_size > MOST_BYTES:
                raise DataError(f"{path} is damaged: it is larger than any file of {source.name}")
            actual, right = md5_of(path), source.md5[path.name]
            if actual != right:
                raise DataError(f"{path} is damaged, or another: its MD5 is {actual}, {source.name} has {right}")
        except DataError as error:
            problems.append(str(error))
    raise_all(folder, problems)


def _read(folder: Path, name: str, source: Published) -> bytes:
    """Read a file, unpacked where it is packed. Raises almost any Exception."""
    path = _find(folder, name, source) or folder / name
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


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
    return as_images(np.array(pixels, order="C"), labels.astype(np.int64), len(source.classes))
