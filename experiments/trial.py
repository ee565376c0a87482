"""Own networks are tried before any image is read: in all ways that a run uses them, so that none fails hours later."""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

import data
import datasets
import models
import utils
from runner import checkpoint, machine, resume, rng
from runner.config import AUTO, Config
from runner.errors import RunnerError, UsageError, is_of_environment, one_line
from runner.step import TrainStep, make_optimizer

# Settings that say how many images a run has, and how a network is used.
SIZES = ("batch_size", "val", "holdout", "train_fraction", "limit")
HOW = (*SIZES, "precision", "optimizer", "momentum", "label_smoothing")


def unlike(configs: Sequence[Config], names: Sequence[str]) -> list[Config]:
    """Pick one of all ``configs`` that are alike in the settings ``names``."""
    return [*{tuple(getattr(config, name) for name in names): config for config in configs}.values()]


def load(configs: Sequence[Config]) -> data.Dataset:
    """Load the images of new runs, which share them, after a trial of each own network. Raises RunnerError."""
    config = configs[0]
    if config.tensorboard:
        utils.import_event_writer()  # raises now what every run would
    own = unlike([other for other in configs if models.find(other.model_name).module], ("model_name", *HOW))
    labels, classes = datasets.expected_labels(config)
    for other in unlike(configs, SIZES):
        data.check_sizes(other, labels, classes)
    for other in own:
        run(other, data.check_sizes(other, labels, classes), len(classes))
    dataset = datasets.load(config)
    for other in own if len(dataset.train) != len(labels) else ():  # the generated set in place of CIFAR-10
        run(other, data.check_sizes(other, dataset.train.labels, dataset.classes), len(dataset.classes))
    return dataset


def load_run(config: Config, resumed: str) -> data.Dataset:
    """Load the images of a new run, or of the one in the folder ``resumed``; before, an own network is tried."""
    if resumed in ("", AUTO):
        return load([config])
    if config.tensorboard:
        utils.import_event_writer()
    saved = resume.describe(resumed)
    spec = models.find(config.model_name, saved["config"].get("model_file"))
    resume.refuse_changed_model(resumed, saved, spec.sha256)
    images = saved["dataset"].get("train_images")
    run(config, images if isinstance(images, int) else 0, len(saved["dataset"]["classes"]))
    return datasets.reload(saved["dataset"], config, resumed)


def run(config: Config, images: int, classes: int = models.CLASSES) -> None:
    """Try an own network as a run on so many images and classes uses it: evaluation, training, what a checkpoint holds.

    No random number of the run changes. Raises UsageError if it can't be used so, RunnerError if memory is short.
    """
    name = config.model_name
    spec = models.find(name)
    if not spec.module:
        return
    device = machine.pick_device(config)
    with rng.isolated_rng(config.seed, 0, device), spec.beside:
        model = models.build(name, classes)
        evaluate(name, model, classes)

        # Steps of each size, with an evaluation between them: what a network keeps from one must not spoil another.
        model.to(device).train()
        with _explained(f"{name} can't be trained"):
            optimizer = make_optimizer(model, config)
        step = TrainStep(model, optimizer, "bf16" if config.precision == "bf16" else "fp32", config.label_smoothing)
        for number, size in enumerate((config.batch_size, config.batch_size, images % config.batch_size)):
            if number == 2:
                with _explained(f"{name} does not work on 1 image after training"), torch.no_grad():
                    models.check_logits(name, model.eval()(noise(model, 1, device)), 1, classes)
                model.train()
            if size:
                larger = _larger_batch(images, config.batch_size, size)
                how = f"; --batch-size {larger} leaves no batch of that size" if larger else ""
                with _explained(f"{name} can't be trained on {_batches(config.batch_size, images, size)}", how):
                    _take_step(step, name, noise(model, size, device), classes)

        with _explained(name):
            checkpoint.serialize({"model": model.state_dict(), "optimizer": optimizer.state_dict()})


def evaluate(name: str, model: nn.Module, classes: int = models.CLASSES) -> None:
    """Try ``model``, on the CPU, on one image. Raises UsageError if that does not give its logits."""
    spec = models.find(name)
    if spec.module:
        how = "; it does on 2: squeeze() takes the first dimension of one image too, flatten(1) keeps it"
        with spec.beside, _explained(f"{name} does not work on 1 image", how):
            models.check_logits(name, models.try_evaluation(model, 1), 1, classes)


def _take_step(step: TrainStep, name: str, noise: torch.Tensor, classes: int) -> None:
    """Take a training step on noise. Raises UsageError if the outputs are not logits, and what the network raises."""

    def forward(images: torch.Tensor) -> torch.Tensor:
        outputs = step.model(images)
        models.check_logits(f"{name} in training", outputs, len(noise), classes)
        return outputs

    step.forward = forward
    step.forward_backward(noise, torch.arange(len(noise), device=noise.device) % classes)


def noise(model: nn.Module, images: int, device: torch.device) -> torch.Tensor:
    """Draw images for ``model``, float32 (images, 3, 32, 32) in [-1, 1]."""
    noise = torch.rand(images, *models.IMAGE_SHAPE, device=device) * 2 - 1
    return noise.contiguous(memory_format=models.memory_format_of(model))


def _batches(batch_size: int, images: int, size: int) -> str:
    """Name the batches that hold ``size`` images, in words."""
    if size == batch_size:
        return f"a batch of {size}"
    return f"the last {size} of {images:,} images in batches of {batch_size}"


def _larger_batch(images: int, batch_size: int, size: int) -> int:
    """Find the next batch size that leaves no batch of ``size`` images or fewer; 0 if a larger one is no remedy."""
    if 1 < size == batch_size:
        return 0
    larger = (larger for larger in range(batch_size + 1, images + 1) if not 0 < images % larger <= size)
    return next(larger, 0)


@contextlib.contextmanager
def _explained(what: str, how: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, UsageError):
            raise
        if is_of_environment(error):
            raise RunnerError(f"{what}: {one_line(error)}") from error
        raise UsageError(f"{what}: {one_line(error)}{how}") from error
