"""Writers of CIFAR-10 in the forms that others hand it out in; each returns what --data-dir is to name."""

import csv
import io
import itertools
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.helpers.images import CLASSES
from tests.helpers.official import python2_pickle

NAMES = ("airplane", "automobile", *CLASSES[2:])


def png(pixels) -> bytes:
    """Encodes one image, uint8 (3, 32, 32)."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels).transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def batches(train, test):
    """The images as the official files have them: five batches to train on, one to test on."""
    bounds = np.linspace(0, len(train), 6).astype(int)
    for number, (start, end) in enumerate(itertools.pairwise(bounds), 1):
        yield f"data_batch_{number}", train.take(slice(start, end))
    yield "test_batch", test


def pack(path, folder):
    """Makes an archive of a folder, whose files are in it in the opposite order of their names."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.add(file, file.relative_to(folder.parent), recursive=False)
    return path


def write_python(folder, train, test):
    (folder / "cifar-10-batches-py").mkdir(parents=True)
    for name, images in batches(train, test):
        content = {"batch_label": name, "labels": images.labels.tolist(), "data": images.pixels.flatten(1).numpy()}
        (folder / "cifar-10-batches-py" / name).write_bytes(python2_pickle(content))
    return folder


def write_python_archive(folder, train, test):
    written = write_python(folder / "unpacked", train, test) / "cifar-10-batches-py"
    return pack(folder / "cifar-10-python.tar.gz", written)


def write_binary(folder, train, test):
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    for name, images in batches(train, test):
        records = np.concatenate([images.labels.numpy()[:, None].astype(np.uint8), images.pixels.flatten(1)], 1)
        (folder / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "cifar-10-batches-bin" / "batches.meta.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return folder


def write_matlab(folder, train, test, compressed=True):
    from scipy.io import savemat

    (folder / "cifar-10-batches-mat").mkdir(parents=True)
    for name, images in batches(train, test):
        content = {"data": images.pixels.flatten(1).numpy(), "labels": images.labels.numpy()[:, None].astype(np.uint8)}
        content |= {"batch_label": name}
        savemat(folder / "cifar-10-batches-mat" / f"{name}.mat", content, do_compression=compressed)
    savemat(folder / "cifar-10-batches-mat" / "batches.meta.mat", {"label_names": np.array(NAMES, object)})
    return folder


def write_binary_archive(folder, train, test):
    return pack(
        folder / "cifar-10-binary.tar.gz", write_binary(folder / "unpacked", train, test) / "cifar-10-batches-bin"
    )


def write_matlab_archive(folder, train, test):
    return pack(
        folder / "cifar-10-matlab.tar.gz", write_matlab(folder / "unpacked", train, test) / "cifar-10-batches-mat"
    )


def arrays_of(train, test, layout="last", as_labels=lambda labels: labels.numpy().astype(np.uint8)[:, None]):
    """The arrays of Keras, or with the colours first, or flat."""
    shapes = {
        "last": lambda pixels: pixels.permute(0, 2, 3, 1).contiguous(),
        "first": lambda pixels: pixels,
        "flat": lambda pixels: pixels.flatten(1),
    }
    arrays = {
        f"x_{split}": shapes[layout](images.pixels).numpy() for split, images in (("train", train), ("test", test))
    }
    return arrays | {f"y_{split}": as_labels(images.labels) for split, images in (("train", train), ("test", test))}


def write_npz(folder, train, test, **how):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "cifar10.npz", **arrays_of(train, test, **how))
    return folder / "cifar10.npz"


def write_compressed_npz(folder, train, test):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "cifar10.npz", **arrays_of(train, test, "first"))
    return folder


def write_npz_pair(folder, train, test):
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in (("train", train), ("test", test)):
        np.savez(folder / f"{split}.npz", images=images.pixels.numpy(), labels=images.labels.numpy())
    return folder


def write_npy(folder, train, test):
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in (("train", train), ("test", test)):
        np.save(folder / f"{split}_images.npy", np.asfortranarray(images.pixels.flatten(1).numpy()))
        np.save(folder / f"{split}_labels.npy", images.labels.numpy().astype(np.int32))
    return folder


def write_parquet(folder, train, test, column="img", rows=100):
    """Files as ``datasets`` writes them; ``column`` is ``image`` in older ones."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (folder / "plain_text").mkdir(parents=True)
    for split, images in (("train", train), ("test", test)):
        encoded = [{"bytes": png(pixels), "path": f"{i}.png"} for i, pixels in enumerate(images.pixels)]
        table = pa.table({column: encoded, "label": pa.array(images.labels.tolist(), pa.int64())})
        parquet.write_table(table, folder / "plain_text" / f"{split}-00000-of-00001.parquet", row_group_size=rows)
    return folder


def write_folder(folder, train, test):
    """Image folders as fast.ai has them; names in the order of the images."""
    for split, images in (("train", train), ("test", test)):
        for name in NAMES:
            (folder / "cifar10" / split / name).mkdir(parents=True)
        for i, (pixels, label) in enumerate(zip(images.pixels, images.labels.tolist())):
            (folder / "cifar10" / split / NAMES[label] / f"{i:05}_{NAMES[label]}.png").write_bytes(png(pixels))
    (folder / "cifar10" / "labels.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return folder


def write_folder_archive(folder, train, test):
    return pack(folder / "cifar10.tgz", write_folder(folder / "unpacked", train, test) / "cifar10")


def write_kaggle(folder, train, test):
    """Kaggle's files: numbered images of one folder, and the labels of those to train on."""
    for split, images in (("train", train), ("test", test)):
        (folder / split).mkdir(parents=True)
        for i, pixels in enumerate(images.pixels, 1):
            (folder / split / f"{i}.png").write_bytes(png(pixels))
    with open(folder / "trainLabels.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "label"), *((i, NAMES[n]) for i, n in enumerate(train.labels.tolist(), 1))])
    return folder


LOSSLESS = {
    "parquet": write_parquet,
    "binary": write_binary,
    "binary archive": write_binary_archive,
    "matlab": write_matlab,
    "matlab archive": write_matlab_archive,
    "npz": write_npz,
    "compressed npz": write_compressed_npz,
    "npz pair": write_npz_pair,
    "npy": write_npy,
    "folder": write_folder,
    "folder archive": write_folder_archive,
}
