"""Writers of CIFAR-100, MNIST and SVHN as torchvision leaves them in a folder; nobody has the published files here."""

import gzip

import numpy as np

from tests.helpers.official import python2_pickle


def write_idx(folder, name, array):
    """Writes an array as MNIST's files are, of which the first numbers are not looked at."""
    header = bytes(4 * (1 + array.ndim))
    (folder / name).write_bytes(header + array.tobytes())
    (folder / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes()))


def write_mnist(folder, train, test):
    for prefix, images in (("train", train), ("t10k", test)):
        write_idx(folder, f"{prefix}-images-idx3-ubyte", images.pixels.numpy()[:, 0, 2:30, 2:30])
        write_idx(folder, f"{prefix}-labels-idx1-ubyte", images.labels.numpy().astype(np.uint8))


def write_cifar100(folder, train, test):
    for name, images in (("train", train), ("test", test)):
        content = {"data": images.pixels.numpy().reshape(-1, 3072), "fine_labels": images.labels.tolist()}
        (folder / name).write_bytes(python2_pickle(content | {"coarse_labels": [0] * len(images)}))
    (folder / "meta").write_bytes(python2_pickle({"fine_label_names": [f"fine {i}" for i in range(100)]}))


def write_svhn(folder, train, test):
    from scipy.io import savemat

    for name, images in (("train", train), ("test", test)):
        labels = np.where(images.labels == 0, 10, images.labels).astype(np.uint8)[:, None]
        arrays = {"X": images.pixels.numpy().transpose(2, 3, 1, 0), "y": labels}
        savemat(folder / f"{name}_32x32.mat", arrays, do_compression=True)


WRITE = {"cifar100": write_cifar100, "mnist": write_mnist, "fashion-mnist": write_mnist, "svhn": write_svhn}
