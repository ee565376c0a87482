"""Steps of training, in whole runs."""

import pytest

from data import TEST, TRAIN, Loader
from native.step import NativeStep
from runner.config import Config
from runner.step import TrainStep, learning_rate


@pytest.mark.parametrize(("kind", "cls"), [("torch", TrainStep), ("native", NativeStep)])
def test_each_step_is_taken_at_its_own_learning_rate(kind, cls, ex1_main, monkeypatch):
    seen = []
    original = cls.forward_backward

    def watched(self, *args):
        seen.append(self.optimizer.param_groups[0]["lr"])
        return original(self, *args)

    monkeypatch.setattr(cls, "forward_backward", watched)
    assert ex1_main("--model-name", "Q1_1", "--recipe", "fast", "--epochs", "2", "--step", kind) == 0
    config = Config("Q1_1", schedule="one-cycle", lr=0.06, warmup=0.2)
    assert seen == [learning_rate(config, step, 8) for step in range(8)]  # 4 batches of 200 images, twice


def test_only_training_images_are_flipped(ex1_main, monkeypatch):
    made = []
    original = Loader.__init__
    monkeypatch.setattr(
        Loader, "__init__", lambda self, *args, **kwargs: (made.append(self), original(self, *args, **kwargs))[1]
    )
    assert ex1_main("--model-name", "Q1_1", "--recipe", "fast", "--epochs", "1") == 0
    assert {loader.split: loader.flip for loader in made} == {TRAIN: True, TEST: False}
