"""What is checked on the real images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import data
import ex1
import models
from data import TEST
from runner import cli
from tests.helpers import reference
from tests.helpers.cli import run_folder
from tests.helpers.paths import PROJECT
from tests.helpers.textbook import our_losses, textbook_losses


def test_jpegs_are_decoded_as_pillow_does(real):
    path = sorted(Path(real.source).glob("test/*plane/*"))
    if not path:
        pytest.skip("needs the real images as a folder of images")
    assert np.array_equal(real.test.pixels[0].numpy(), np.asarray(Image.open(path[0])).transpose(2, 0, 1))
    assert (len(real.train), len(real.test)) == (50_000, 10_000)


def test_losses_equal_the_textbook_loop_on_real_images(real):
    images = real.train.take(torch.arange(0, 50_000, 50))
    order = lambda epoch: data.epoch_order(1000, 0, epoch)
    torch.manual_seed(1)
    network, twin = models.build("Q1_1"), models.build("Q1_1")
    twin.load_state_dict(network.state_dict())
    ours, _ = our_losses(network, images, order, 4, epochs=2)
    theirs = textbook_losses(twin, images, order, 4, epochs=2)
    assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-5


def test_shuffles_follow_the_reference_on_real_images(real):
    sample = real.test.take(torch.arange(0, 10_000, 500))
    fixed = reference.fixed_permutation(3)
    shuffled = reference.permute_pixels(sample.pixels, fixed)
    own = reference.per_image_permutations(len(sample), 3, TEST, 1, 0, 0)
    shuffled_each = reference.permute_pixels(sample.pixels, own)
    for i, x in enumerate(sample.pixels):
        assert torch.equal(shuffled[i], x.view(3, 1024)[:, fixed].view(3, 32, 32))
        assert torch.equal(shuffled_each[i], x.view(3, 1024)[:, own[i]].view(3, 32, 32))
        assert not torch.equal(shuffled[i], x)


def test_real_and_synthetic_runs_never_share_a_folder(real, tmp_path, capsys):
    place = ["--data-dir", str(PROJECT / "data"), "--results-dir", str(tmp_path / "results"), "--threads", "1"]
    command = ["--model-name", "Q1_1", "--epochs", "1", "--limit", "100", "--dataset", "cifar10", *place]
    assert ex1.main(cli.parse(command)) == 0
    assert "synthetic" not in real.slug
    folder = run_folder(tmp_path)
    assert folder.parent.parent.name == real.slug
    out, err = capsys.readouterr()
    assert "Accuracy of plane : " in out
    assert "NOT CIFAR-10" not in out + err
    assert "CIFAR-10" in json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["dataset"]
