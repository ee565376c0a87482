"""The shuffles, the loader, and parts of a data set."""

import dataclasses
import gc
import math
import threading

import numpy as np
import pytest
import torch
from torchvision import transforms

import data
from data import TEST, TRAIN, Images, Loader
from runner.config import BLOCK_SIZES, Config
from runner.errors import UsageError
from tests.helpers import reference
from tests.helpers.images import listening, make_dataset, make_images


def joined(loader, epoch):
    pixels, labels = zip(*chunks_of(loader, epoch))
    return torch.cat(pixels), torch.cat(labels)


def chunks_of(loader, *which):
    """The chunks of an epoch, copied, as their memory is used again."""
    return [(pixels.clone(), labels) for pixels, labels in loader.epoch(*which)]


def assert_uniform(counts):
    """A chi-square test of equal frequencies, at five standard deviations."""
    counts = np.asarray(counts, dtype=float)
    expected = counts.sum() / counts.size
    chi2, degrees = ((counts - expected) ** 2 / expected).sum(), counts.size - 1
    assert abs(chi2 - degrees) < 5 * math.sqrt(2 * degrees)


# ---- the shuffles ----


@pytest.mark.parametrize("shuffle", ["fixed", "per-image"])
def test_pixel_keeps_its_colour(shuffle):
    sample = make_images(6)
    pixels, _ = joined(Loader(sample, TEST, 2, shuffle), 1)
    before, after = data.normalize(sample.pixels).flatten(2), pixels.flatten(2)
    for i in range(6):
        colours = sorted(map(tuple, before[i].T.tolist()))
        assert sorted(map(tuple, after[i].T.tolist())) == colours


def test_fixed_is_one_permutation_for_everything():
    sample = make_images(20)
    train = Loader(sample, TRAIN, 4, "fixed", shuffle_seed=5)
    test = Loader(sample, TEST, 7, "fixed", shuffle_seed=5)
    expected = data.normalize(reference.permute_pixels(sample.pixels, reference.fixed_permutation(5)))
    for loader in (train, test):
        for epoch in (1, 2):
            assert torch.equal(joined(loader, epoch)[0], expected)
    assert not torch.equal(reference.fixed_permutation(5), reference.fixed_permutation(6))
    assert sorted(reference.fixed_permutation(5).tolist()) == list(range(1024))


def tiles(permutation, side):
    """The blocks of a permutation of 32·32 positions, row by row, each as a row of its own."""
    blocks = 32 // side
    return permutation.view(blocks, side, blocks, side).transpose(1, 2).reshape(blocks**2, side**2)


@pytest.mark.parametrize("side", BLOCK_SIZES)
def test_block_moves_blocks_and_within_pixels_in_them(side):
    places = tiles(torch.arange(1024), side)
    moved = tiles(data.shuffle_permutation(f"block:{side}", 0), side)
    order = [places.tolist().index(block) for block in moved.tolist()]  # the inside of each is as it was
    assert sorted(order) == list(range(len(places))) != order
    stirred = tiles(data.shuffle_permutation(f"within:{side}", 0), side)
    assert torch.equal(stirred.sort(1).values, places)
    assert len(orders_in(stirred)) > 1  # each block has a permutation of its own
    shared = tiles(data.shuffle_permutation(f"within-shared:{side}", 0), side)
    assert torch.equal(shared.sort(1).values, places)
    assert len(orders_in(shared)) == 1


def orders_in(stirred):
    """The different permutations inside blocks, each a row of places."""
    return {tuple(block.argsort().tolist()) for block in stirred}


@pytest.mark.parametrize("kind", ["block", "within", "within-shared"])
def test_no_permutation_leaves_a_block_or_a_pixel_in_its_place(kind):
    """1,000 seeds; of four blocks every 24th order moves none, and 15 of 24 leave one."""
    sides = {"block": 16, "within": 2, "within-shared": 2}
    for seed in range(1000):
        assert (data.shuffle_permutation(f"{kind}:{sides[kind]}", seed) != torch.arange(1024)).all()


def test_fixed_leaves_hardly_a_pixel_in_its_place():
    """One of 1,024 is expected, whatever their number."""
    kept = [int((data.shuffle_permutation("fixed", seed) == torch.arange(1024)).sum()) for seed in range(1000)]
    assert max(kept) < 10
    assert abs(sum(kept) / 1000 - 1) < 0.2


def test_seeds_of_different_permutations_skip_those_that_draw_one_again():
    assert data.distinct_shuffle_seeds("block:16", 5) == [0, 1, 3, 5, 6]
    assert data.distinct_shuffle_seeds("fixed", 5) == [*range(5)]
    drawn = [data.shuffle_permutation("block:16", seed) for seed in data.distinct_shuffle_seeds("block:16", 9)]
    assert len({tuple(each.tolist()) for each in drawn}) == 9


def test_share_of_neighbours_is_told():
    share = lambda shuffle, seed=0: data.describe_shuffle(shuffle, seed)["neighbours_kept"]
    assert [share(shuffle) for shuffle in ("none", "grey", "edges:4")] == [1, 1, 1]
    assert share("within:16") < share("within:4") < share("block:2") < share("block:4") < share("block:8") < 1
    # 2·31·32 pairs; 16 blocks of 8×8 keep 2·7·8 each, and a few that were drawn to be side by side again keep 8 more.
    inside = 16 * 2 * 7 * 8
    assert (1984 * share("block:8") - inside) % 8 == pytest.approx(0)
    assert share("grey+block:8", 3) == share("block:8", 3) != share("block:8", 4)
    rows, columns = np.divmod(np.stack([reference.fixed_permutation(seed).numpy() for seed in range(200)]), 32)
    near = lambda a, b: np.abs(rows[:, a] - rows[:, b]) + np.abs(columns[:, a] - columns[:, b]) == 1
    assert near(0, 1).mean() < 0.05
    assert share("per-image") == pytest.approx(np.mean([share("fixed", seed) for seed in range(200)]), rel=0.1)


def test_description_of_a_shuffle_names_its_permutation():
    hashes = [data.describe_shuffle("block:8", seed)["permutation_sha256"] for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert data.describe_shuffle("per-image", 0)["permutation_sha256"] is None


def seen(shuffle, images):
    """What the model sees of ``images``, as the bytes that they were."""
    return joined(Loader(images, TEST, 4, shuffle), 1)[0].mul(127.5).add(127.5).round()


def test_blur_is_the_mean_of_the_pixels_around():
    sample = make_images(3)
    raw, blurred = sample.pixels.double(), seen("blur:5", sample)
    for row, column in ((0, 0), (1, 30), (15, 16), (31, 31), (3, 0)):
        around = raw[:, :, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        assert (blurred[:, :, row, column] - around.mean((2, 3))).abs().max() <= 0.5001


def test_edges_are_grey_on_both_sides_where_blocks_meet_and_nothing_else_changes():
    sample = make_images(3)
    drawn = seen("edges:16", sample)
    grey = torch.zeros(32, 32, dtype=torch.bool)
    grey[15:17] = grey[:, 15:17] = True
    assert (drawn[:, :, grey] == 128).all()
    assert torch.equal(drawn[:, :, ~grey], sample.pixels[:, :, ~grey].float())
    assert (seen("edges:4", sample) == 128).sum() > 3 * (drawn == 128).sum()


def test_filters_come_before_the_permutation():
    sample = make_images(4)
    permutation = data.shuffle_permutation("block:8", 0)
    for filters in ("grey", "blur:5", "edges:8", "grey+blur:5+edges:4"):
        filtered = seen(filters, sample)
        assert torch.equal(seen(f"{filters}+block:8", sample), reference.permute_pixels(filtered, permutation))
    once = joined(Loader(sample, TEST, 4, "grey+per-image"), 1)[0]
    assert torch.equal(
        once.flatten(2).sort(2).values, data.normalize(seen("grey", sample).byte()).flatten(2).sort(2).values
    )


@pytest.mark.parametrize("shuffle", ["block:4", "within:4"])
def test_dials_are_one_permutation_for_both_splits(shuffle):
    sample = make_images(20)
    expected = data.normalize(reference.permute_pixels(sample.pixels, data.shuffle_permutation(shuffle, 5)))
    for split in (TRAIN, TEST):
        assert torch.equal(joined(Loader(sample, split, 4, shuffle, shuffle_seed=5), 1)[0], expected)
    assert not torch.equal(data.shuffle_permutation(shuffle, 5), data.shuffle_permutation(shuffle, 6))


def test_block_and_within_are_uniform():
    draws = torch.stack([tiles(data.shuffle_permutation("block:8", seed), 8)[:, 0] for seed in range(1600)])
    for place in (0, 9):
        assert_uniform(torch.bincount(draws[:, place])[np.delete(tiles(torch.arange(1024), 8)[:, 0].numpy(), place)])
    draws = torch.stack([tiles(data.shuffle_permutation("within:4", seed), 4)[5] for seed in range(1600)])
    assert_uniform(torch.bincount(draws[:, 0])[tiles(torch.arange(1024), 4)[5][1:]])


def test_shuffle_permutation_is_identity_where_none_is_shared():
    for shuffle in ("none", "per-image", "grey", "blur:5", "grey+per-image"):
        assert torch.equal(data.shuffle_permutation(shuffle, 0), torch.arange(1024))


def test_grey_leaves_the_lightness_that_pillow_gives():
    sample = make_images(1100)
    pixels, _ = joined(Loader(sample, TEST, 4, "grey"), 1)
    for raw, seen in zip(sample.pixels[::100], pixels[::100]):
        lightness = torch.from_numpy(np.array(transforms.ToPILImage()(raw).convert("L")))
        assert torch.equal(seen, data.normalize(lightness).expand(3, -1, -1))


def test_flip_mirrors_the_image_and_not_its_shuffle():
    sample = make_images(40)
    mirrored = Images(sample.pixels.flip(3), sample.labels)
    for shuffle in ("none", "fixed", "block:8", "within:4", "grey+blur:5+edges:8+block:4"):
        plain, other = (joined(Loader(images, TRAIN, 4, shuffle), 1)[0] for images in (sample, mirrored))
        flipped = [joined(Loader(sample, TRAIN, 4, shuffle, flip=True), epoch)[0] for epoch in (1, 2)]
        first = (flipped[0] == plain).flatten(1).all(1)
        assert 5 < first.sum() < 35
        assert torch.equal(flipped[0], torch.where(first[:, None, None, None], plain, other))
        assert torch.equal(flipped[1], torch.where(first[:, None, None, None], other, plain))


def test_per_image_permutations_differ_in_every_key():
    draw = lambda *key: reference.per_image_permutations(50, *key)
    first = draw(0, TRAIN, 1, 0, 0)
    assert torch.equal(first, draw(0, TRAIN, 1, 0, 0))
    assert torch.equal(first.sort(1).values, torch.arange(1024).expand(50, -1))
    assert len({tuple(row) for row in first.tolist()}) == 50
    for other in (
        (1, TRAIN, 1, 0, 0),
        (0, TEST, 1, 0, 0),
        (0, TRAIN, 2, 0, 0),
        (0, TRAIN, 1, 1, 0),
        (0, TRAIN, 1, 0, 1),
    ):
        assert not (first == draw(*other)).all(1).any()


def test_loader_draws_per_image_permutations_anew():
    sample = make_images(40)
    same = Images(sample.pixels[:1].expand(40, -1, -1, -1), sample.labels)
    seen = [joined(Loader(same, split, 4, "per-image"), epoch)[0] for split in (TRAIN, TEST) for epoch in (1, 2)]
    assert len({tuple(row) for row in torch.cat(seen).flatten(1).tolist()}) == 4 * 40


def test_chunks_of_one_epoch_have_their_own_permutations():
    one = make_images(1)
    same = Images(one.pixels.expand(2100, -1, -1, -1), torch.zeros(2100, dtype=torch.int64))
    chunks = [pixels for pixels, _ in chunks_of(Loader(same, TRAIN, 100, "per-image"), 1)]
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 100]
    assert not (chunks[0][:100] == chunks[1][:100]).flatten(1).all(1).any()


def test_permutations_are_uniform():
    draws = torch.cat([reference.per_image_permutations(2000, 0, TRAIN, epoch, 0, 0) for epoch in range(1, 11)])
    for position in (0, 500, 1023):
        assert_uniform(torch.bincount(draws[:, position], minlength=1024))
    # Neighbours stay independent: the difference of two positions, modulo 1024, takes every value but 0 alike.
    assert_uniform(torch.bincount((draws[:, 1] - draws[:, 0]) % 1024, minlength=1024)[1:])
    fixed = torch.stack([reference.fixed_permutation(seed) for seed in range(3000)])
    assert_uniform(torch.bincount(fixed[:, 7], minlength=1024))


def test_per_image_keys_have_no_ties():
    # One image in eight has a tie when first drawn, which its position would decide.
    keys = data.per_image_keys(4000, 0, TRAIN, 1, 0, 0) >> 10
    assert (keys[:, 1:] > keys[:, :-1]).all()


def test_loader_permutes_as_the_reference():
    sample = make_images(700)
    loader = Loader(sample, TEST, 100, "per-image", shuffle_seed=3)
    own = torch.cat(
        [reference.per_image_permutations(n, 3, TEST, 2, 0, part) for part, n in enumerate((256, 256, 188))]
    )
    assert torch.equal(joined(loader, 2)[0], data.normalize(reference.permute_pixels(sample.pixels, own)))


# ---- the loader ----


def test_pixels_are_normalised_exactly_as_torchvision_does_it():
    sample = make_images(3)
    classic = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    for raw, x in zip(sample.pixels, data.normalize(sample.pixels)):
        assert torch.equal(x, classic(transforms.ToPILImage()(raw)))


@pytest.mark.parametrize("shuffle", ["none", "fixed", "per-image"])
def test_loader_chunks_equal_for_any_threads_and_layout(shuffle):
    sample = make_images(2500)
    settings = dict(shuffle=shuffle, shuffle_seed=1, order_seed=0, flip=True)
    expected = chunks_of(Loader(sample, TRAIN, 7, **settings), 1)
    for layout in (torch.channels_last, torch.contiguous_format):
        for threads in (0, 1, 3):
            loader = Loader(sample, TRAIN, 7, **settings, memory_format=layout, threads=threads)
            for (pixels, labels), (same_pixels, same_labels) in zip(expected, loader.epoch(1), strict=True):
                assert torch.equal(pixels, same_pixels)
                assert torch.equal(labels, same_labels)
                assert same_pixels.is_contiguous(memory_format=layout)


def test_loader_leaves_out_chunks_that_are_done():
    loader = Loader(make_images(2500), TRAIN, 100, "per-image", order_seed=0)
    whole = [pixels for pixels, _ in chunks_of(loader, 1)]
    for done, chunks in ((0, 3), (1, 2), (1000, 2), (2000, 1), (2500, 0)):
        left = [pixels for pixels, _ in chunks_of(loader, 1, done)]
        assert len(left) == chunks
        assert all(torch.equal(pixels, same) for pixels, same in zip(left, whole[3 - chunks :]))


def test_loader_broken_off_leaves_no_thread():
    before = threading.active_count()
    for threads in (0, 2):
        for _ in Loader(make_images(2500), TRAIN, 100, threads=threads).epoch(1):
            break
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.parametrize("batch_size", [1, 3, 4, 128, 2000])
def test_loader_shows_each_image_once_in_whole_batches(batch_size):
    sample = Images(make_images(2500).pixels, torch.arange(2500))
    loader = Loader(sample, TRAIN, batch_size, order_seed=0)
    pixels, labels = joined(loader, 1)
    assert sorted(labels.tolist()) == list(range(2500))
    assert torch.equal(pixels, data.normalize(sample.pixels[labels]))
    *whole, _ = [len(chunk) for chunk, _ in loader.epoch(1)]
    assert all(size % batch_size == 0 for size in whole)


def test_epoch_order_depends_on_seed_and_epoch_alone():
    first = data.epoch_order(1000, 0, 1)
    torch.manual_seed(99)
    torch.randn(10)
    assert torch.equal(first, data.epoch_order(1000, 0, 1))
    assert not torch.equal(first, data.epoch_order(1000, 0, 2))
    assert not torch.equal(first, data.epoch_order(1000, 1, 1))
    assert sorted(first.tolist()) == list(range(1000))


def test_loader_without_order_seed_keeps_order():
    sample = make_images(30)
    assert torch.equal(joined(Loader(sample, TEST, 8), 4)[1], sample.labels)


# ---- parts of a data set ----


def as_set(part):
    return {bytes(pixels.numpy()) for pixels in part.pixels}


def test_holdout_is_balanced_apart_and_same_for_fractions():
    whole, held_out, test = data.split(make_dataset(), Config("Q1_1", val="holdout", holdout=100))
    part, again, _ = data.split(make_dataset(), Config("Q1_1", val="holdout", holdout=100, train_fraction=0.3, seed=4))
    assert held_out.labels.bincount().tolist() == [10] * 10
    assert torch.equal(held_out.pixels, again.pixels)
    assert not as_set(held_out) & as_set(whole)
    assert len(as_set(held_out) | as_set(whole)) == 1000
    assert as_set(part) < as_set(whole)
    assert len(test) == 200


def test_fraction_and_limit_keep_the_classes_balanced():
    train, val, test = data.split(make_dataset(), Config("Q1_1", train_fraction=0.25))
    assert train.labels.bincount().tolist() == [25] * 10
    assert len(test) == 200
    assert val is test
    train, _, test = data.split(make_dataset(), Config("Q1_1", limit=33))
    assert set(train.labels.bincount().tolist()) == {3, 4}
    assert len(train) == len(test) == 33


def uneven_dataset(cats):
    """A data set of 100 training images of each class, and ``cats`` of class 3."""
    dataset = make_dataset()
    kept = (dataset.train.labels != 3) | (dataset.train.labels.cumsum(0) < dataset.train.labels.cumsum(0)[10 * cats])
    return dataclasses.replace(dataset, train=dataset.train.take(kept))


def split_with_warnings(dataset, **settings):
    told = []
    with listening(warning=told.append):
        parts = data.split(dataset, Config("Q1_1", **settings))
    return parts, told


@pytest.mark.parametrize(("cats", "remedy"), [(3, "hold out at most 20, or add"), (1, r"\(--val test\), or add")])
def test_holdout_that_takes_a_whole_class_is_refused(cats, remedy):
    dataset = uneven_dataset(cats)
    for holdout in (100, 34):
        with pytest.raises(
            UsageError, match=rf"--holdout {holdout} takes all training images of 3 \({cats}\): .*{remedy}"
        ):
            data.split(dataset, Config("Q1_1", val="holdout", holdout=holdout))


def test_largest_holdout_that_is_advised_leaves_each_class_an_image():
    (train, held_out, _), told = split_with_warnings(uneven_dataset(3), val="holdout", holdout=20)
    assert held_out.labels.bincount().tolist() == [2] * 10
    assert train.labels.bincount()[3] == 1
    assert not told


def test_drawn_part_that_is_uneven_is_told_with_its_counts():
    assert split_with_warnings(uneven_dataset(3), train_fraction=0.5)[1] == [
        "the images to train on are not the same number of each class: "
        "0 50, 1 50, 2 50, 3 3, 4 50, 5 50, 6 50, 7 50, 8 50, 9 49"
    ]
    assert split_with_warnings(make_dataset(), limit=8, val="holdout", holdout=9)[1] == [
        "the images held out are not the same number of each class: 0 1, 1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 1, 9 0",
        "the images to train on are not the same number of each class: "
        "0 1, 1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 0, 9 0",
    ]
    assert not split_with_warnings(uneven_dataset(3))[1]
    assert not split_with_warnings(uneven_dataset(3), limit=30)[1]


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 1001}, {"val": "holdout", "holdout": 1000}, {"val": "holdout", "holdout": 998}, {"limit": 3}],
)
def test_too_few_training_images_are_refused(settings):
    with pytest.raises(UsageError, match="give less|give fewer|training images"):
        data.split(make_dataset(), Config("Q1_1", **settings))
