"""A generated 10-class set, for machines without CIFAR-10 and for questions whose answer must be known.

Three cues carry the class, and by construction nothing else does:

* **colour**: the hue of the whole image. It survives any shuffling of pixels.
* **position**: where a bright blob sits. A fixed shuffle keeps it (always the same pixels), a per-image shuffle
  destroys it.
* **texture**: orientation and scale of a random pattern, whose phase is random, so that no pixel tells anything
  by itself. It needs neighbouring pixels.

A cue of strength s shows the image's own class with probability s and otherwise any of the ten at random, on its
own. So each cue alone allows an accuracy of less than s + (1 − s)/10, as hue and place are drawn with a jitter that
mixes up neighbouring classes, and together they allow more.

The lightness values of every image are the same 1024 numbers, only in another arrangement. Once the pixels of each
image are shuffled on their own, colour is therefore all that is left.
"""

from collections.abc import Mapping

import numpy as np
import torch

from data import Dataset, Images, digest
from runner.config import CUES
from runner.rng import generator

CLASSES = tuple(f"syn{i}" for i in range(10))
TRAIN_IMAGES, TEST_IMAGES = 10_000, 2_000
STRENGTHS = dict.fromkeys(CUES, 0.7)

NOTICE = f"""{"!" * 78}
!!  {"THIS IS NOT CIFAR-10. The images and their ten classes are generated.":<70}  !!
!!  {"No accuracy here says anything of CIFAR-10.":<70}  !!
{"!" * 78}"""

SIZE = 32
BLOB_RADIUS = 3.0  # pixels, standard deviation
BLOB_HEIGHT = 3.0  # in standard deviations of the pattern it sits on
CENTRE_JITTER = 1.5  # pixels, standard deviation
HUE_JITTER = 0.02  # turns of the colour circle, standard deviation; neighbouring classes are 0.1 apart
SATURATION = 0.22
PIXEL_NOISE = 12.0  # grey levels, standard deviation, independent in each channel


def make_dataset(seed: int = 0, strengths: dict[str, float] = STRENGTHS) -> Dataset:
    """Make the synthetic set, as many images of each class: a pure function of ``seed`` and ``strengths``.

    The strengths say how reliably each cue shows the class, in [0, 1]; a cue left out has strength 0.
    """
    traits = "" if strengths == STRENGTHS else "".join(f" {cue} {value:g}" for cue, value in strengths.items())
    traits += f" seed {seed}" if seed else ""
    train = make_images(TRAIN_IMAGES, generator("synthetic", seed, 0), strengths)
    test = make_images(TEST_IMAGES, generator("synthetic", seed, 1), strengths)
    name, slug = f"SYNTHETIC (not CIFAR-10){traits}", f"synthetic{traits}".replace(" ", "-")
    return Dataset(name, slug, f"generated, data seed {seed}", CLASSES, train, test, digest(train, test), seed)


def make_conflict(cues: tuple[str, str], n: int, seed: int) -> tuple[Images, torch.Tensor]:
    """Make ``n`` images of which two cues show different classes, and any other cue a class at random.

    The images have the class of the first cue; returns beside them that of the second, int64 (n,).
    """
    rng = generator("cue conflict", seed, *(CUES.index(cue) for cue in cues))
    first = np.arange(n) % len(CLASSES)
    second = (first + rng.integers(1, len(CLASSES), n)) % len(CLASSES)
    return make_images(n, rng, {}, dict(zip(cues, (first, second)))), torch.from_numpy(second)


def make_images(
    n: int, rng: np.random.Generator, strengths: dict[str, float], shown: Mapping[str, np.ndarray] | None = None
) -> Images:
    """Make ``n`` images, classes in turn, whose cues show the class with the given ``strengths``.

    ``shown`` has the classes, int64 (n,), that cues show in place of these.
    """
    labels = np.arange(n) % len(CLASSES)

    def draw_shown(cue: str) -> np.ndarray:  # (n,) the class that a cue shows
        if shown and cue in shown:
            return shown[cue]
        truthful = rng.random(n) < strengths.get(cue, 0.0)
        return np.where(truthful, labels, rng.integers(0, len(CLASSES), n))

    hues = _draw_hues(draw_shown("colour"), rng)
    lightness = _equalize(_draw_texture(draw_shown("texture"), rng) + _draw_blob(draw_shown("position"), rng))
    pixels = lightness[:, None] * (1 + SATURATION * hues[:, :, None, None])
    pixels += rng.normal(0, PIXEL_NOISE, pixels.shape).astype(np.float32)
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels))


def _draw_hues(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw factors (n, 3) in [-1, 1] that tint red, green and blue: three cosines 120 degrees apart."""
    turns = classes / len(CLASSES) + rng.normal(0, HUE_JITTER, len(classes))
    return np.cos(2 * np.pi * (turns[:, None] - np.arange(3) / 3)).astype(np.float32)


def _draw_texture(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw noise (n, 32, 32) of unit variance, band-limited around one of 5 orientations and 2 wavelengths."""
    fy, fx = np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE), indexing="ij")
    bands = []
    for label in range(len(CLASSES)):
        angle, frequency = np.pi * (label % 5) / 5, (0.16, 0.30)[label // 5]
        ky, kx = frequency * np.sin(angle), frequency * np.cos(angle)
        bands.append(sum(np.exp(-((fy - s * ky) ** 2 + (fx - s * kx) ** 2) / (2 * 0.04**2)) for s in (1, -1)))
    spectrum = np.fft.fft2(rng.standard_normal((len(classes), SIZE, SIZE))) * np.array(bands)[classes]
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std(axis=(1, 2), keepdims=True)


def _draw_blob(classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a Gaussian blob (n, 32, 32) near one of ten centres on a circle around the middle."""
    angle = 2 * np.pi * classes / len(CLASSES)
    middle = (SIZE - 1) / 2
    y, x = (middle + 9 * wave(angle) + rng.normal(0, CENTRE_JITTER, len(classes)) for wave in (np.sin, np.cos))
    line = np.arange(SIZE)
    distance = (line[None, :, None] - y[:, None, None]) ** 2 + (line[None, None, :] - x[:, None, None]) ** 2
    return BLOB_HEIGHT * np.exp(-distance / (2 * BLOB_RADIUS**2))


def _equalize(images: np.ndarray) -> np.ndarray:
    """Replace each image's values (n, 32, 32), in their order, by the same 1024 grey levels from 60 to 190."""
    flat = images.reshape(len(images), -1)
    ranks = np.argsort(np.argsort(flat, axis=1, kind="stable"), axis=1, kind="stable")
    levels = np.linspace(60, 190, flat.shape[1], dtype=np.float32)
    return levels[ranks].reshape(images.shape)
