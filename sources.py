"""Where images come from: the official archive or batches, a folder of images, a download, or a generator.

Reading an archive or a folder takes seconds, so the tensors are cached in the data folder, for as long as the
files they came from stay the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import pickletools
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from data import Dataset, Images, digest
from download import DownloadError, download
from runner.config import cue_strengths
from runner.errors import DataError, one_line

CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER_NAMES = {name: label for label, name in enumerate(CLASSES)} | {"airplane": 0, "automobile": 1}

TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000

# As in torchvision.datasets.CIFAR10, which takes a second to import.
ARCHIVE = "cifar-10-python.tar.gz"
BATCH_FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST_BATCHES = {"test_batch": "40351d587109b95175f43aff81a1287e"}

# What Pillow decodes by itself: for others, such as EPS, it starts programs that interpret the file.
SAFE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg"}


def load(
    dataset: str,
    data_dir: str | Path,
    url: str = "",
    seed: int = 0,
    cues: str = "",
    notice: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> Dataset:
    """The data set a run works on.

    Args:
        dataset: ``"cifar10"``, ``"synthetic"`` or ``"auto"`` (CIFAR-10 where it can be had, else synthetic).
        data_dir: where CIFAR-10 is or goes; see :func:`find`.
        url: a source of the official archive in place of the official one.
        seed: the seed of synthetic images.
        cues: what carries their class; see :func:`config.cue_strengths`.
        notice: is told what takes time.
        warn: is told why the synthetic set steps in, what a folder of images lacks, and what can't be cached.

    Raises:
        DataError: the images in ``data_dir`` are damaged.
        DownloadError: with ``"cifar10"``, there are no images and no way to download them.
    """
    if dataset != "synthetic":
        try:
            return _load_cifar10(Path(data_dir), url, notice, warn)
        except DownloadError as error:
            if dataset == "cifar10":
                raise
            warn(f"CIFAR-10 is not in {data_dir} and could not be downloaded: {error}")
    from synthetic import STRENGTHS, make_dataset

    return make_dataset(seed, cue_strengths(cues) or STRENGTHS)


def find(data_dir: Path) -> tuple[str, Path] | None:
    """What CIFAR-10 there is in ``data_dir``: its kind (``batches``, ``archive`` or ``folder``) and its path.

    ``data_dir`` may hold the thing or be it.
    """
    for path in (data_dir / BATCH_FOLDER, data_dir):
        if any((path / name).exists() for name in TRAIN_BATCHES):
            return "batches", path
    for path in (data_dir / ARCHIVE, data_dir):
        if path.is_file():
            return "archive", path
    if (data_dir / "train").is_dir() and (data_dir / "test").is_dir():
        return "folder", data_dir
    return None


def most_training_images(dataset: str, data_dir: str | Path) -> int:
    """An upper bound of the training images that :func:`load` will find, known without reading any.

    Raises:
        DataError: ``data_dir`` holds folders that are not CIFAR-10's.
    """
    if dataset != "synthetic":
        found = find(Path(data_dir))
        if found and found[0] == "folder":
            return len(_list_images(found[1] / "train"))
        return TRAIN_IMAGES
    import synthetic

    return synthetic.TRAIN_IMAGES


def _load_cifar10(data_dir: Path, url: str, notice: Callable[[str], None], warn: Callable[[str], None]) -> Dataset:
    if data_dir.is_file() and not data_dir.name.endswith(".tar.gz"):
        raise DataError(f"{data_dir} is neither a folder nor {ARCHIVE}")
    found = find(data_dir)
    if found and found[0] == "batches":
        return _official(*_read_batches(found[1].name, _files(found[1])), found[1])
    with _lock(data_dir.parent if data_dir.is_file() else data_dir, notice):
        found = find(data_dir)  # again: another run may have downloaded while this one waited
        if not found:
            download(data_dir / ARCHIVE, url, notice)
            found = "archive", data_dir / ARCHIVE
        kind, path = found
        if kind == "folder":
            return _load_folder(path, notice, warn)
        splits = _cached(path.parent, kind, _fingerprint([str(path)]), lambda: _read_archive(path, notice), warn)
        return _official(*splits, path)


def _official(train: Images, test: Images, source: Path) -> Dataset:
    return Dataset("CIFAR-10", "cifar10", str(source), CLASSES, train, test, digest(train, test))


@contextlib.contextmanager
def _lock(folder: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """Lets one run at a time download and decode; the next one finds the work done.

    Where the folder can't be written there is nothing to guard.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        notice(f"waiting for another run that is reading {folder}")
        lock.acquire()
    except OSError:
        pass
    try:
        yield
    finally:
        lock.release()


# ---- the official batches -------------------------------------------------------------------------------------------


class _ArraysOnly(pickle.Unpickler):
    """Admits what the official batches are made of, plain containers and uint8 arrays, and nothing that runs code."""

    @classmethod
    def load_bytes(cls, content: bytes) -> object:
        """The object that ``content`` is a pickle of.

        Raises:
            Exception: almost any, for what is damaged or asks for more than arrays.
        """
        for opcode, argument, _ in pickletools.genops(content):
            # Newer ones can claim memory beyond all bounds, as can a place in the memo of a number out of the blue.
            if opcode.proto > 2 or (opcode.name in ("PUT", "LONG_BINPUT") and argument > len(content)):
                raise pickle.UnpicklingError(f"it holds {opcode.name} {argument}")
        return cls(io.BytesIO(content), encoding="latin1").load()

    def find_class(self, module: str, name: str):
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return lambda kind, shape, dtype: np.empty(0, np.uint8)  # the array's content and shape follow
        if (module, name) == ("numpy", "ndarray"):
            return None  # only named as the kind above; called, it could be made to take all memory
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _check_regular(path: str | Path, status: os.stat_result) -> None:
    """Refuses what may have no end or block for ever, such as a pipe or a device. A link to a file is that file."""
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a regular file")


def _files(folder: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        try:
            _check_regular(folder / name, os.stat(folder / name))
            return (folder / name).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{folder / name} is missing; remove {folder} to have it downloaded again") from None

    return read


def _read_batches(where: str, read: Callable[[str], bytes]) -> tuple[Images, Images]:
    def split(names: dict[str, str]) -> Images:
        parts = [_read_batch(f"{where}/{name}", read(name), md5) for name, md5 in names.items()]
        return Images(torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts]))

    return split(TRAIN_BATCHES), split(TEST_BATCHES)


def _read_batch(name: str, content: bytes, md5: str) -> Images:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{name} is damaged: its MD5 is {found}, not {md5}")
    try:
        batch = _ArraysOnly.load_bytes(content)
        pixels = batch["data"].reshape(-1, 3, 32, 32).copy()  # the unpickled one can't be written
        return _as_images(pixels, np.asarray(batch["labels"], dtype=np.int64))
    except Exception as error:
        raise DataError(f"{name} is not a batch of CIFAR-10: {one_line(error)}") from error


def _as_images(pixels: np.ndarray, labels: np.ndarray) -> Images:
    """The arrays of one split as tensors that share their memory.

    Raises:
        ValueError: they are not pixels and labels of CIFAR-10.
    """
    if (pixels.dtype, labels.dtype) != (np.uint8, np.int64) or pixels.shape != (*labels.shape, 3, 32, 32):
        raise ValueError(f"pixels {pixels.dtype} {pixels.shape}, labels {labels.dtype} {labels.shape}")
    if not len(labels) or not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise ValueError("there are no labels, or other ones than 0 to 9")
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels))


def _read_archive(path: Path, notice: Callable[[str], None]) -> tuple[Images, Images]:
    """Reads the batches out of the official archive; nothing is extracted to disk."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import calculate_md5

    found = calculate_md5(path)
    if found != CIFAR10.tgz_md5:
        raise DataError(
            f"{path} is damaged: its MD5 is {found}, not {CIFAR10.tgz_md5}; remove it to have it downloaded again"
        )
    notice(f"reading {path}")
    content = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            # One pass: going back to an earlier member of a gzip stream would unpack it again.
            for member in archive:
                folder, _, name = member.name.partition("/")
                plain = folder == BATCH_FOLDER and "/" not in name and name != ".."
                if not plain or not (member.isfile() or member.isdir()):
                    raise DataError(f"{path} holds {member.name!r}, which the official archive does not")
                if name in TRAIN_BATCHES or name in TEST_BATCHES:
                    content[name] = archive.extractfile(member).read()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as an archive: {one_line(error)}") from error
    missing = [name for name in (*TRAIN_BATCHES, *TEST_BATCHES) if name not in content]
    if missing:
        raise DataError(f"{path} holds no {missing[0]}")
    return _read_batches(path.name, content.__getitem__)


# ---- folders of images ----------------------------------------------------------------------------------------------


def _load_folder(folder: Path, notice: Callable[[str], None], warn: Callable[[str], None]) -> Dataset:
    files = {split: _list_images(folder / split) for split in ("train", "test")}
    paths = [path for split in files.values() for path, _ in split]
    train, test = _cached(
        folder,
        "folder",
        _fingerprint(paths),
        lambda: tuple(_decode(files[split], f"reading {folder / split}", notice) for split in ("train", "test")),
        warn,
    )
    for split, images, official in (("train", train, TRAIN_IMAGES), ("test", test, TEST_IMAGES)):
        if len(images) != official:
            warn(f"{folder / split} holds {len(images):,} images, CIFAR-10 has {official:,}: is it whole?")
    content = digest(train, test)
    # The images may be any part or any encoding of CIFAR-10, so their content is in the name.
    name, slug = f"CIFAR-10 folder {content[:8]}", f"cifar10-folder-{content[:8]}"
    return Dataset(name, slug, str(folder), CLASSES, train, test, content)


def _list_images(folder: Path) -> list[tuple[str, int]]:
    """The image files of one split with their labels, in the order of classes and file names.

    Strings and not paths, whose making and comparing would take longer than all else that a cached folder needs.
    """
    images = []
    names = {entry.name: entry.path for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."}
    labels = {name: FOLDER_NAMES.get(name.lower()) for name in names}
    for name, label in labels.items():
        if label is None:
            raise DataError(f"{names[name]}: not a class of CIFAR-10; the classes are {', '.join(CLASSES)}")
    if len(labels) != 10 or len(set(labels.values())) != 10:
        raise DataError(f"{folder}: has {len(labels)} class folders, CIFAR-10 has 10: {', '.join(CLASSES)}")
    for name in sorted(labels, key=labels.get):
        found = [
            entry.path
            for entry in os.scandir(names[name])
            if os.path.splitext(entry.name)[1].lower() in IMAGE_ENDINGS and entry.name[0] != "."
        ]
        if not found:
            raise DataError(f"{names[name]}: no image in it (PNG or JPEG)")
        images += [(path, labels[name]) for path in sorted(found)]
    return images


def _decode(files: list[tuple[str, int]], what: str, notice: Callable[[str], None]) -> Images:
    pixels = np.empty((len(files), 3, 32, 32), dtype=np.uint8)

    def read(index: int) -> None:
        pixels[index] = _decode_image(files[index][0])

    notice(f"{what}: {len(files):,} images")
    with ThreadPoolExecutor() as pool:
        for _ in tqdm(pool.map(read, range(len(files))), total=len(files), unit="img", disable=None, leave=False):
            pass
    return Images(torch.from_numpy(pixels), torch.tensor([label for _, label in files]))


def _decode_image(path: str) -> np.ndarray:
    """The pixels of an image of CIFAR-10, uint8 (3, 32, 32).

    Raises:
        DataError: it is no such image.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.size != (32, 32) or image.mode != "RGB":
                raise DataError(f"{path}: is {image.mode} {image.width}×{image.height}, CIFAR-10 is RGB 32×32")
            return np.asarray(image).transpose(2, 0, 1)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise almost any
        raise DataError(f"{path}: can't be read as an image: {one_line(error)}") from error


# ---- single images --------------------------------------------------------------------------------------------------


def read_any_image(path: str | Path) -> torch.Tensor:
    """An image file of any size and mode as the networks take it, uint8 (3, 32, 32).

    The middle square is scaled to 32×32; transparency becomes white, 16 bits become 8, and a camera's rotation is
    undone.

    Raises:
        DataError: the file can't be read as an image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=SAFE_FORMATS) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise DataError(f"{path}: has floating-point pixels, whose range is unknown")
            if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
                image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
            image = ImageOps.fit(image, (32, 32), Image.Resampling.LANCZOS)
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise almost any
        raise DataError(f"{path}: can't be read as an image: {one_line(error)}") from error
    return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())


# ---- the cache ------------------------------------------------------------------------------------------------------


def _fingerprint(paths: list[str]) -> str:
    """Changes when a file is added, removed, renamed, or written to.

    Raises:
        DataError: one of the paths is no regular file, or leads nowhere.
    """
    total = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
        _check_regular(path, status)
        place = "/".join(path.replace(os.sep, "/").rsplit("/", 2)[-2:])
        total.update(f"{place} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _cached(
    folder: Path,
    kind: str,
    fingerprint: str,
    make: Callable[[], tuple[Images, Images]],
    warn: Callable[[str], None],
) -> tuple[Images, Images]:
    """The two splits that ``make`` gives, from the cache in ``folder`` where that has the same fingerprint."""
    path = folder / f".cache-{kind}.npz"
    names = ("train_pixels", "train_labels", "test_pixels", "test_labels")
    # A cache of any other content, or none, only means that the images are read again.
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as cache:
        if cache["fingerprint"].item() == fingerprint:
            splits = [_as_images(cache[f"{split}_pixels"], cache[f"{split}_labels"]) for split in ("train", "test")]
            return splits[0], splits[1]
    train, test = make()
    tensors = (train.pixels, train.labels, test.pixels, test.labels)
    temporary = path.with_name(f"{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, fingerprint=fingerprint, **{name: t.numpy() for name, t in zip(names, tensors)})
        temporary.replace(path)
    except OSError as error:
        warn(f"the decoded images are not cached, so the next start is slow: {error}")
        with contextlib.suppress(OSError):
            temporary.unlink()
    return train, test
