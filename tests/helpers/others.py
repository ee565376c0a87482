"""Images to test a trained network on, in files of the layout of CIFAR-10.1 and CIFAR-10-C; nobody has those here."""

import numpy as np


def write_cifar10_1(folder, images, version="v6"):
    """Writes ``images`` as CIFAR-10.1 is handed out, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = images.pixels.numpy().transpose(0, 2, 3, 1)
    np.save(folder / f"cifar10.1_{version}_data.npy", np.ascontiguousarray(pixels))
    np.save(folder / f"cifar10.1_{version}_labels.npy", images.labels.numpy().astype(np.int32))
    return folder


def write_cifar10_c(folder, images, corruptions=("brightness", "gaussian_noise")):
    """Writes ``images`` as CIFAR-10-C is handed out, each severity paler than the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = images.pixels.numpy().transpose(0, 2, 3, 1)
    for number, name in enumerate(corruptions):
        paler = [pixels // (1 + number + severity) for severity in range(5)]
        np.save(folder / f"{name}.npy", np.concatenate(paler))
    np.save(folder / "labels.npy", np.tile(images.labels.numpy().astype(np.uint8), 5))
    return folder
