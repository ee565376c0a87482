"""The official CIFAR-10: its pickled batches in a folder, or in the archive that they are published in."""

import hashlib
import io
import logging
import pickle
import pickletools
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from data import Dataset, Images, digest
from datasets.cache import Splits, as_images, cached, stat_regular
from runner.errors import DataError, one_line

log = logging.getLogger("ex1")

CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000

# As in torchvision.datasets.CIFAR10, which takes a second to import.
ARCHIVE = "cifar-10-python.tar.gz"
BATCH_FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",  # MD5
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST_BATCHES = {"test_batch": "40351d587109b95175f43aff81a1287e"}


def find(data_dir: Path) -> tuple[str, Path] | None:
    """Find CIFAR-10 in or at ``data_dir``: its kind (``batches``, ``archive`` or ``folder``, of images) and path."""
    for path in (data_dir / BATCH_FOLDER, data_dir):
        if any((path / name).exists() for name in TRAIN_BATCHES):
            return "batches", path
    for path in (data_dir / ARCHIVE, data_dir):
        if path.is_file():
            return "archive", path
    if (data_dir / "train").is_dir() and (data_dir / "test").is_dir():
        return "folder", data_dir
    return None


def load_batches(folder: Path) -> Dataset:
    """Load the official batches from a folder. Raises DataError if one of them is missing or damaged."""

    def read(name: str) -> bytes:
        try:
            stat_regular(folder / name)
            return (folder / name).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{folder / name} is missing; remove {folder} to have it downloaded again") from None

    return _official(*_unpack(folder.name, read), folder)


def load_archive(path: Path) -> Dataset:
    """Load the official archive: not extracted, but cached beside it. Raises DataError if it is damaged or another."""
    return _official(*cached(path.parent, "archive", [str(path)], lambda: _read_archive(path)), path)


def _official(train: Images, test: Images, source: Path) -> Dataset:
    return Dataset("CIFAR-10", "cifar10", str(source), CLASSES, train, test, digest(train, test))


def _read_archive(path: Path) -> Splits:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import calculate_md5

    # the archive as a whole is known
    md5 = calculate_md5(str(path))
    if md5 != CIFAR10.tgz_md5:
        reason = f"is damaged: its MD5 is {md5}, not {CIFAR10.tgz_md5}"
        raise DataError(f"{path} {reason}; remove it to have it downloaded again")

    # one pass: going back to an earlier member of a gzip stream would unpack it again
    log.info(f"reading {path}")
    content = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                folder, _, name = member.name.partition("/")
                plain = folder == BATCH_FOLDER and "/" not in name and name != ".."
                if not plain or not (member.isfile() or member.isdir()):
                    raise DataError(f"{path} holds {member.name!r}, which the official archive does not")
                file = archive.extractfile(member)
                if file and (name in TRAIN_BATCHES or name in TEST_BATCHES):
                    content[name] = file.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as an archive: {one_line(error)}") from error

    missing = [name for name in (*TRAIN_BATCHES, *TEST_BATCHES) if name not in content]
    if missing:
        raise DataError(f"{path} holds no {missing[0]}")
    return _unpack(path.name, content.__getitem__)


def _unpack(source: str, read: Callable[[str], bytes]) -> Splits:
    """Unpickle both splits; ``read`` gives the content of a batch by its name."""

    def split(batches: dict[str, str]) -> Images:
        parts = [_unpickle(f"{source}/{name}", read(name), md5) for name, md5 in batches.items()]
        return Images(torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts]))

    return split(TRAIN_BATCHES), split(TEST_BATCHES)


def _unpickle(name: str, content: bytes, md5: str) -> Images:
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise DataError(f"{name} is damaged: its MD5 is {actual}, not {md5}")
    try:
        batch = ArrayUnpickler.load_bytes(content)
        pixels = batch["data"].reshape(-1, 3, 32, 32).copy()  # the unpickled one can't be written
        return as_images(pixels, np.asarray(batch["labels"], dtype=np.int64))
    except Exception as error:
        raise DataError(f"{name} is not a batch of CIFAR-10: {one_line(error)}") from error


class ArrayUnpickler(pickle.Unpickler):
    """Admits what the official batches are made of, plain containers and uint8 arrays, and nothing that runs code."""

    @classmethod
    def load_bytes(cls, content: bytes) -> dict:
        """Unpickle a batch. Raises almost any Exception for what is damaged or asks for more than arrays."""
        for opcode, argument, _ in pickletools.genops(content):
            # Newer ones can claim memory beyond all bounds, as can a place in the memo of a number out of the blue.
            is_far = opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(content)
            if opcode.proto > 2 or is_far:
                raise pickle.UnpicklingError(f"it holds {opcode.name} {argument}")
        return cls(io.BytesIO(content), encoding="latin1").load()

    def find_class(self, module: str, name: str) -> object:
        """Admit the three names that arrays are pickled by. Raises UnpicklingError for any other."""
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return lambda kind, shape, dtype: np.empty(0, np.uint8)  # the array's content and shape follow
        if (module, name) == ("numpy", "ndarray"):
            return None  # only named as the kind above; called, it could be made to take all memory
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
