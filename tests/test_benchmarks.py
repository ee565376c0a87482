"""The benchmark's contenders train what they say they do."""

import pytest
import torch
import torch.nn.functional as F

import data
from benchmarks import contenders, sections
from benchmarks.contenders import Limit, Ours, Textbook


@pytest.fixture
def dataset():
    draws = torch.Generator().manual_seed(0)
    images = [
        data.Images(
            torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draws),
            torch.randint(0, 10, (n,), generator=draws),
        )
        for n in (400, 40)
    ]
    return data.Dataset("X", "x", "made", tuple("0123456789"), *images, "")


@pytest.fixture
def batches(dataset, tmp_path):
    contenders.write_batches(dataset, tmp_path)
    return tmp_path


def test_the_textbook_loop_and_ours_train_alike_on_the_same_images(dataset, batches):
    ours = Ours("Q1_1", dataset, threads=1)
    textbook = Textbook("Q1_1", batches, 0)
    shown = [textbook.trainset[int(index)] for index in data.epoch_order(400, 0, 1)]
    images, labels = torch.stack([image for image, _ in shown]), torch.tensor([label for _, label in shown])
    theirs = list(textbook.losses(zip(images.split(4), labels.split(4))))
    logits = []
    ours.network.register_forward_hook(lambda module, inputs, output: logits.append(output.detach()))
    ours(100)
    losses = [F.cross_entropy(output, label).item() for output, label in zip(logits, labels.split(4), strict=True)]
    assert losses == pytest.approx(theirs, abs=1e-5)


def test_every_contender_takes_the_steps_it_is_asked_for(dataset, batches):
    ours = Ours("Q1_1", dataset, threads=1, batch_size=4, shuffle="per-image")
    entries = {ours.network: ours, (limit := Limit(ours)).network: limit}
    textbook = Textbook("Q1_1", batches, 0)
    entries[textbook.net] = textbook
    for network, entry in entries.items():
        seen = []
        network.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(inputs[0].shape))
        assert entry(30) > 0
        untimed = contenders.UNTIMED if entry is textbook else 0
        assert seen == [(4, 3, 32, 32)] * (30 + untimed)


def test_contenders_take_turns_and_the_first_turn_does_not_count():
    turns = []

    def contender(name):
        return lambda steps: (turns.append((name, steps)), float(len(turns)))[1]

    times = sections.alternate([contender("a"), contender("b")], 100, 2)
    assert turns == [("a", 20), ("b", 20), ("a", 100), ("b", 100), ("a", 100), ("b", 100)]
    assert times == [[3, 5], [4, 6]]
    assert sections.ratios([2.0, 3.0, 8.0], [1.0, 2.0, 2.0]) == "2.000 (1.500 … 4.000)"
