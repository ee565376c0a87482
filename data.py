"""Images as resident tensors: what a data set is, how it is split, shuffled, and handed to the model in batches.

A data set stays in memory as uint8. An epoch is a permutation of its images; a chunk of about a thousand at a time is
gathered, has its pixels shuffled, is normalised, and is cut into batches that are views.
"""

import hashlib
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import InitVar, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from runner.config import Config, parts_of_shuffle
from runner.errors import UsageError, some_of
from runner.rng import generator

log = logging.getLogger("ex1")

PIXELS = 32 * 32
MID_GREY = 128
CHUNK = 1024  # images prepared at once: so many that preparing costs next to nothing at batch 4
PART = 256  # images of a chunk that one thread prepares at once: few enough to stay in its cache
MOST_SAMPLES = 10  # classes that an image is shown of
EVAL_BATCH = 256  # images in a batch that is not trained on

TRAIN, TEST, HOLDOUT = 0, 1, 2  # numbers of the splits, for the draws that differ between them


# ---- data sets and splits --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """Images of one split: ``pixels`` uint8 (N, 3, 32, 32) in [0, 255], ``labels`` int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor | slice) -> "Images":
        return Images(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A training and a test split, and what they are."""

    name: str  # what plots, logs and files call it, e.g. ``CIFAR-10``
    slug: str  # the folder its results go to; data with other content has another slug
    source: str  # where it came from, for people
    classes: tuple[str, ...]  # their names, in the order of the labels
    train: Images
    test: Images
    digest: str  # SHA-256 of pixels and labels, hexadecimal
    seed: int | None = None  # the seed of generated data, None for images that were read

    @property
    def is_cifar10(self) -> bool:
        return self.slug.partition("-")[0] == "cifar10"

    @property
    def facts(self) -> dict:
        """What files of a run say about its data; together with the images it is the ``Dataset`` again."""
        counts = {"train_images": len(self.train), "test_images": len(self.test)}
        facts = {"name": self.name, "slug": self.slug, "source": self.source, "sha256": self.digest, "seed": self.seed}
        return facts | {"classes": list(self.classes)} | counts


def digest(train: Images, test: Images) -> str:
    """Hash the pixels and labels of both splits: SHA-256, hexadecimal."""
    total = hashlib.sha256()
    for tensor in (train.pixels, train.labels, test.pixels, test.labels):
        total.update(tensor.numpy().data)
    return total.hexdigest()


def balanced_subset(labels: Tensor, n: int, purpose: str) -> Tensor:
    """Draw ``n`` images, as many of each class to within one, and return their indices, sorted, int64 (n,).

    The draw depends on ``purpose`` and the labels alone, so that all runs share it. A smaller subset for the same
    purpose is a part of a larger one.
    """
    # A random order; then the first of each class, the second of each, and so on.
    order = generator(purpose).permutation(len(labels))
    drawn = labels.numpy()[order]
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(drawn):
        members = drawn == label
        rank[members] = np.arange(members.sum())
    return torch.from_numpy(np.sort(order[np.lexsort((drawn, rank))[:n]]))


def split_holdout(images: Images, n: int) -> tuple[Images, Images]:
    """Split ``images`` into those to train on and ``n`` held out, the same ones in every run."""
    held_out = balanced_subset(images.labels, n, "holdout")
    kept = torch.ones(len(images), dtype=torch.bool)
    kept[held_out] = False
    return images.take(kept), images.take(held_out)


def subset_size(images: int, fraction: float = 1.0, limit: int = 0) -> int:
    """Count the images that :func:`subset` takes of ``images``."""
    n = max(1, round(images * fraction))
    return min(n, limit) if limit else n


def subset(images: Images, fraction: float = 1.0, limit: int = 0) -> Images:
    """Take a class-balanced part of ``images``: ``fraction`` of them, at most ``limit`` (0: no limit)."""
    n = subset_size(len(images), fraction, limit)
    return images if n >= len(images) else images.take(balanced_subset(images.labels, n, "subset"))


def check_sizes(config: Config, labels: Tensor, classes: Sequence[str]) -> int:
    """Check ``config`` against the ``labels`` of the training images, int64 (N,), and count those left to train on.

    Raises UsageError if they are too few, or the hold-out takes all images of a class.
    """
    images = len(labels)
    if config.val == "holdout":
        if config.holdout >= images:
            raise UsageError(f"--holdout {config.holdout}: give fewer, as there are {images:,} training images in all")
        _check_holdout(config.holdout, labels, classes)
        images -= config.holdout
    left = subset_size(images, config.train_fraction, config.limit)
    if config.batch_size > left:
        raise UsageError(f"--batch-size {config.batch_size}: give less, as {left:,} images are left to train on")
    return left


def _check_holdout(n: int, labels: Tensor, classes: Sequence[str]) -> None:
    counts = labels.bincount(minlength=len(classes))
    held_out = labels[balanced_subset(labels, n, "holdout")].bincount(minlength=len(classes))
    taken = [f"{classes[i]} ({counts[i]})" for i in ((held_out == counts) & (counts > 0)).nonzero().flatten()]
    if taken:
        most = (int(counts[counts > 0].min()) - 1) * int((counts > 0).sum())  # each class keeps one at least
        fewer = f"hold out at most {most}, " if most else "validate on the test images (--val test), "
        raise UsageError(f"--holdout {n} takes all training images of {some_of(taken)}: {fewer}or add images of it")


def _warn_if_uneven(part: str, images: Images, classes: Sequence[str]) -> None:
    """Warn of a drawn ``part`` that has not as many images of each class, to within one, or none of a class."""
    counts = images.labels.bincount(minlength=len(classes)).tolist()
    if min(counts) == 0 or max(counts) - min(counts) > 1:
        by_class = some_of([f"{name} {count}" for name, count in zip(classes, counts)])
        log.warning(f"{part} are not the same number of each class: {by_class}")


def split(dataset: Dataset, config: Config) -> tuple[Images, Images, Images]:
    """Choose the training, validation and test images of a run; without a hold-out the last two are one object.

    The hold-out is split off first, so that it is the same for every ``train_fraction``. Raises as ``check_sizes``.
    """
    check_sizes(config, dataset.train.labels, dataset.classes)
    train, test = dataset.train, subset(dataset.test, limit=config.limit)
    val = test
    if config.val == "holdout":
        train, val = split_holdout(train, config.holdout)
        _warn_if_uneven("the images held out", val, dataset.classes)
        val = subset(val, limit=config.limit)
    part = subset(train, config.train_fraction, config.limit)
    if part is not train:
        _warn_if_uneven("the images to train on", part, dataset.classes)
    return part, val, test


# ---- pixel shuffles --------------------------------------------------------------------------------------------------


def shuffle_permutation(shuffle: str, seed: int) -> Tensor:
    """Draw the permutation of the 32·32 positions that ``shuffle`` applies to every image, int64 (1024,).

    ``block:K`` moves blocks of K×K pixels, ``within:K`` the pixels inside each, by a permutation of each block's own,
    ``within-shared:K`` by one for all. Of these no block, or pixel, keeps its place. It is the identity where nothing
    is moved, and for ``per-image``.
    """
    _, permutation = parts_of_shuffle(shuffle)
    if permutation == "fixed":
        return torch.from_numpy(generator("fixed permutation", seed).permutation(PIXELS))
    positions = torch.arange(PIXELS)
    kind, _, size = permutation.partition(":")
    if not size:
        return positions
    side, blocks = int(size), 32 // int(size)
    # (blocks², side²) the positions of each block, row by row
    tiles = positions.view(blocks, side, blocks, side).transpose(1, 2).reshape(blocks**2, side**2).numpy()
    draws = generator(f"{kind} permutation", seed, side)
    if kind == "block":
        tiles = tiles[_derangement(draws, len(tiles))]
    elif kind == "within":
        tiles = np.stack([tile[_derangement(draws, side**2)] for tile in tiles])
    else:
        tiles = tiles[:, _derangement(draws, side**2)]
    return torch.from_numpy(tiles).view(blocks, blocks, side, side).transpose(1, 2).flatten()


def _derangement(draws: np.random.Generator, n: int) -> np.ndarray:
    """Draw a permutation of ``n`` that leaves nothing in its place, each as likely as any other, int64 (n,)."""
    while True:
        order = draws.permutation(n)
        if (order != np.arange(n)).all():
            return order


def describe_shuffle(shuffle: str, seed: int) -> dict:
    """Say for files which permutation ``shuffle`` is, and the share of neighbouring pixels that it leaves neighbours.

    Neighbours are side by side or one above the other. The SHA-256 is that of the positions, little-endian int64; a
    permutation for each image has none, and the share that is expected of it.
    """
    if parts_of_shuffle(shuffle)[1] == "per-image":
        pairs = 2 * 31 * 32
        return {"permutation_sha256": None, "neighbours_kept": pairs / math.comb(PIXELS, 2)}
    positions = shuffle_permutation(shuffle, seed).numpy()
    rows, columns = (part.reshape(32, 32) for part in np.divmod(positions, 32))
    distances = [np.abs(np.diff(rows, axis=axis)) + np.abs(np.diff(columns, axis=axis)) for axis in (0, 1)]
    kept = float(np.mean([distance == 1 for distance in map(np.ravel, distances)]))
    return {
        "permutation_sha256": hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest(),
        "neighbours_kept": kept,
    }


def distinct_shuffle_seeds(shuffle: str, n: int) -> list[int]:
    """Find the first seeds that give ``n`` different permutations, at most nine: four blocks have no more."""
    found: dict[bytes, int] = {}
    seed = 0
    while len(found) < n:
        found.setdefault(shuffle_permutation(shuffle, seed).numpy().tobytes(), seed)
        seed += 1
    return [*found.values()]


def grey(pixels: Tensor) -> Tensor:
    """Put the lightness of each pixel (ITU-R BT.601), as Pillow rounds it, into all channels of uint8 (..., 3)."""
    red, green, blue = pixels.int().unbind(-1)
    lightness = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    return lightness.to(torch.uint8)[..., None].expand_as(pixels)


def blur(pixels: Tensor, size: int) -> Tensor:
    """Replace each pixel by the mean of the ``size``×``size`` around it that are there, uint8 (N, 32, 32, 3)."""
    planes = pixels.permute(0, 3, 1, 2).float()
    means = F.avg_pool2d(planes, size, stride=1, padding=size // 2, count_include_pad=False)
    return means.round_().to(torch.uint8).permute(0, 2, 3, 1)


def draw_edges(pixels: Tensor, size: int) -> Tensor:
    """Make pixels grey on both sides of each edge between blocks of ``size``×``size``, uint8 (N, 32, 32, 3)."""
    pixels = pixels.clone()
    for edge in range(size, 32, size):
        pixels[:, edge - 1 : edge + 1] = MID_GREY
        pixels[:, :, edge - 1 : edge + 1] = MID_GREY
    return pixels


def apply_filters(pixels: Tensor, shuffle: str) -> Tensor:
    """Change the values of pixels as the filters of ``shuffle`` say, uint8 (N, 32, 32, 3)."""
    for name in parts_of_shuffle(shuffle)[0]:
        kind, _, size = name.partition(":")
        pixels = grey(pixels) if kind == "grey" else {"blur": blur, "edges": draw_edges}[kind](pixels, int(size))
    return pixels


def per_image_keys(n: int, *draw: int) -> np.ndarray:
    """Draw a uniform permutation for each of ``n`` images, as the lowest 10 bits of sorted numbers, uint32 (n, 1024).

    Each position gets 22 random bits and is sorted by them; where two positions of an image get the same ones, all of
    the image's are drawn again, so that no order is likelier than another. Numbers of 32 bits sort more than twice as
    fast as the 64 that would make this rare. ``draw`` says which ones: shuffle seed, split, epoch, chunk, part of the
    chunk.
    """
    draws = generator("per-image permutations", *draw)

    def draw_some(images: int) -> tuple[np.ndarray, np.ndarray]:
        drawn = draws.integers(2**64, size=(images, PIXELS // 2), dtype=np.uint64).view(np.uint32)
        drawn &= np.uint32(2**32 - PIXELS)
        drawn |= np.arange(PIXELS, dtype=np.uint32)
        drawn.sort(axis=1)
        return drawn, np.flatnonzero((drawn[:, 1:] ^ drawn[:, :-1]).min(1) < PIXELS)

    keys, tied = draw_some(n)
    while len(tied):
        keys[tied], again = draw_some(len(tied))
        tied = tied[again]
    return keys


def normalize(pixels: Tensor, out: Tensor | None = None) -> Tensor:
    """Scale uint8 in [0, 255] to float32 in [-1, 1]: (x/255 − 0.5)/0.5, to the bit as the classic recipe does."""
    values = pixels.float() if out is None else out.copy_(pixels)
    return values.div_(127.5).sub_(1)  # doubling is exact, so that this is (x/255)·2 − 1 to the last bit


# ---- the loader ------------------------------------------------------------------------------------------------------


def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """Draw the order in which epoch ``epoch`` shows ``n`` images: a uniform permutation, int64 (n,)."""
    return torch.from_numpy(generator("order", seed, epoch).permutation(n))


@dataclass(eq=False)
class Loader:
    """The images of one split as the model sees them, a chunk at a time.

    On the CPU a thread prepares the next chunk while the model is at work on one; or, where the model has all cores,
    they prepare it between its steps. On any other device the images are there, and all is done there.

    Flipping mirrors half of the images in odd epochs and the other half in even ones, which is better than drawing anew
    in each; see Jordan, 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU".
    """

    images: InitVar[Images]  # of which it keeps copies
    split: int  # TRAIN, TEST or HOLDOUT, which per-image permutations differ by
    batch_size: int  # chunks hold whole batches
    shuffle: str = "none"  # a value of --shuffle
    shuffle_seed: int = 0  # of the permutations
    order_seed: int | None = None  # of the images' order; None keeps the order they have
    device: torch.device = torch.device("cpu")
    memory_format: torch.memory_format = torch.channels_last  # of a chunk
    flip: bool = False
    threads: int = 0  # 0: one thread prepares a chunk ahead; else so many do while the model waits

    def __post_init__(self, images: Images) -> None:
        device = self.device
        self.labels = images.labels.to(device)
        self.per_image = parts_of_shuffle(self.shuffle)[1] == "per-image"
        # Mirroring changes nothing where every permutation is as likely as any other.
        self.flip = self.flip and not self.per_image
        flipped = generator("flip", self.order_seed or 0).integers(2, size=len(images))
        self.flipped = torch.from_numpy(flipped).to(device)

        # What never changes is done once: here the shuffles that are the same for all images, and before the first
        # epoch mirrored copies behind the images themselves, as the memory of ``images`` may be free by then.
        positions = shuffle_permutation(self.shuffle, self.shuffle_seed)
        # (N, 1024, 3): a pixel's colour is one gather
        self.pixels = torch.empty((1 + self.flip) * len(images), PIXELS, 3, dtype=torch.uint8, device=device)
        moved = not torch.equal(positions, torch.arange(PIXELS))
        for some, out in zip(images.pixels.split(CHUNK), self.pixels.split(CHUNK)):
            pixels = apply_filters(some.permute(0, 2, 3, 1), self.shuffle).flatten(1, 2)
            out[: len(some)] = (pixels.contiguous().index_select(1, positions) if moved else pixels).to(device)
        self.mirror = None
        if self.flip:
            mirror = torch.arange(PIXELS).view(32, 32).flip(1).flatten()
            self.mirror = positions.argsort()[mirror[positions]].to(device)

        self.chunk_size = max(1, CHUNK // self.batch_size) * self.batch_size
        # One that the model is at work on, and one that is prepared ahead.
        count = 1 if self.threads or self.device.type != "cpu" else 2
        size = min(self.chunk_size, len(images))
        self.buffers = [torch.empty(size, 3 * PIXELS, device=device) for _ in range(count)]

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the chunks of one epoch: float32 (C, 3, 32, 32) in [-1, 1] and labels int64 (C,).

        The chunks of the first ``done`` images are left out. A chunk is there until the next one is asked for: its
        memory is used again, so only one epoch can be under way at a time.
        """
        # Mirrored copies, once, behind the images.
        if self.mirror is not None:
            plain, copies = self.pixels.split(len(self))
            torch.index_select(plain, 1, self.mirror, out=copies)
            self.mirror = None

        # The order of the epoch, cut into chunks; those that were done before are left out.
        order = torch.arange(len(self)) if self.order_seed is None else epoch_order(len(self), self.order_seed, epoch)
        chunks = list(enumerate(order.to(self.device).split(self.chunk_size)))[math.ceil(done / self.chunk_size) :]

        # One buffer: the pool prepares parts of a chunk, then waits. Two: it prepares the next chunk ahead.
        with ThreadPoolExecutor(self.threads or 1) as pool:
            if len(self.buffers) == 1:
                for number, rows in chunks:
                    yield self._prepare(rows, epoch, number, self.buffers[0], pool.map)
                return
            waiting: deque[Future] = deque()
            for number, rows in chunks:
                waiting.append(pool.submit(self._prepare, rows, epoch, number, self.buffers[number % 2]))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            for last in waiting:
                yield last.result()

    def _prepare(
        self, images: Tensor, epoch: int, chunk: int, buffer: Tensor, map_parts: Callable = map
    ) -> tuple[Tensor, Tensor]:
        """Gather, shuffle and normalise ``images`` into ``buffer`` as chunk ``chunk``.

        ``map_parts`` may do parts at the same time.
        """
        rows = images + len(self) * (self.flipped[images] == epoch % 2) if self.flip else images
        if self.per_image:
            permute = self._permute_on_cpu if self.device.type == "cpu" else self._permute_on_device
            pixels = permute(rows, (self.shuffle_seed, self.split, epoch, chunk), map_parts)
        else:
            pixels = self.pixels.index_select(0, rows)

        # (n, 1024, 3) to (n, 3, 32, 32) in the layout that the model takes.
        if self.memory_format is torch.contiguous_format:
            before = pixels.transpose(1, 2).view(-1, 3, 32, 32)
            values = buffer[: len(rows)].view(before.shape)
        else:
            before = pixels.view(-1, 32, 32, 3).permute(0, 3, 1, 2)
            values = buffer[: len(rows)].view(-1, 32, 32, 3).permute(0, 3, 1, 2)
        return normalize(before, values), self.labels[images]

    def _permute_on_cpu(self, images: Tensor, draw: tuple[int, ...], map_parts: Callable) -> Tensor:
        """Permute the pixels of each image on its own, (n, 1024, 3); ``map_parts`` may draw parts at the same time."""
        rows = np.empty((len(images), PIXELS), dtype=np.int32)  # of each pixel among those of all images
        starts = range(0, len(images), PART)

        def permute(part: int, start: int) -> None:
            out = rows[start : start + PART]
            np.bitwise_and(per_image_keys(len(out), *draw, part), PIXELS - 1, out=out, casting="unsafe")
            out += PIXELS * images[start : start + PART, None].numpy().astype(np.int32)

        list(map_parts(permute, range(len(starts)), starts))
        # In one go, by all threads of the model.
        return self.pixels.view(-1, 3).index_select(0, torch.from_numpy(rows).flatten()).view(-1, PIXELS, 3)

    def _permute_on_device(self, images: Tensor, draw: tuple[int, ...], map_parts: Callable) -> Tensor:
        """Permute the pixels of each image on its own, with the device's own generator."""
        pixels = self.pixels[images]
        seed = int(generator("per-image permutations", *draw).integers(2**63))
        draws = torch.Generator(self.device).manual_seed(seed)
        keys = torch.randint(2**62, pixels.shape[:2], generator=draws, device=self.device)
        return pixels.gather(1, keys.argsort(1)[:, :, None].expand_as(pixels))


def make_loader(
    images: Images, split: int, config: Config, device: torch.device, memory_format: torch.memory_format, threads: int
) -> Loader:
    """Make the loader of a split; only training images change their order and are mirrored."""
    where: dict = {"device": device, "memory_format": memory_format, "threads": threads}
    if split != TRAIN:
        return Loader(images, split, EVAL_BATCH, config.eval_shuffle, config.shuffle_seed, **where)
    flip, seeds = config.augment == "flip", (config.shuffle_seed, config.seed)
    return Loader(images, split, config.batch_size, config.shuffle, *seeds, flip=flip, **where)


def sample_rows(original: Images, loader: Loader, shuffle: str) -> tuple[dict[str, Tensor], list[int]]:
    """Pick the first image of each of up to 10 classes, before and after the shuffle, exactly as the model gets it.

    ``loader`` is that of ``original``, and keeps its order. Returns uint8 (classes, 3, 32, 32) by what a row shows, and
    the labels.
    """
    labels = original.labels.tolist()
    chosen = torch.tensor([labels.index(label) for label in sorted(set(labels))[:MOST_SAMPLES]])

    def seen(epoch: int) -> Tensor:
        inputs, start = torch.empty(len(chosen), 3, 32, 32), 0
        for pixels, _ in loader.epoch(epoch):
            here = (start <= chosen) & (chosen < start + len(pixels))
            inputs[here] = pixels[(chosen[here] - start).to(pixels.device)].cpu()
            start += len(pixels)
        return inputs.mul(127.5).add(127.5).round().to(torch.uint8)

    if shuffle == "none":
        rows = {"no shuffle": seen(1)}
    elif loader.per_image:
        rows = {"before": original.pixels[chosen], "shown once": seen(1), "shown again": seen(2)}
    else:
        rows = {"before": original.pixels[chosen], "every epoch": seen(1)}
    return rows, [labels[i] for i in chosen.tolist()]
