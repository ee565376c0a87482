"""Questions to a saved run: measured again, on other shuffles, on single images, or collapsed into one matrix."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

import data
import datasets
import models
import utils
from datasets.image_folder import find_images, read_any_image
from experiments import affine, trial
from runner import checkpoint, console, files, machine, resume, rng
from runner.config import SHUFFLES, Config
from runner.errors import DataError, RunnerError, raise_all
from utils import EvalMetrics

log = logging.getLogger("ex1")

Validate = Callable[..., EvalMetrics]  # ex1.validate


@dataclass
class LoadedRun:
    """A saved run."""

    folder: Path
    config: Config
    model: nn.Module  # with the saved weights, in evaluation mode, on the device
    saved: dict  # the checkpoint
    weights: str  # which it is, ``last`` or ``best``
    validate: Validate
    machine: machine.Machine

    @property
    def epoch(self) -> int:
        """The epochs that are done."""
        return len(self.saved["history"])

    def loader(self, images: data.Images, shuffle: str = "") -> data.Loader:
        """Make a loader of images that are not trained on; ``shuffle`` is one in place of the run's."""
        config = replace(self.config, val_shuffle=shuffle or self.config.val_shuffle)
        memory_format, threads = models.memory_format_of(self.model), self.machine.loader_threads
        return data.make_loader(images, data.TEST, config, self.machine.device, memory_format, threads)

    def test_images(self) -> tuple[data.Dataset, data.Images]:
        """Load the data set that the run was trained on, and the test images that the run uses."""
        dataset = datasets.reload(self.saved["dataset"], self.config, str(self.folder))
        return dataset, data.subset(dataset.test, limit=self.config.limit)

    def measure(self, images: data.Images, shuffle: str = "") -> EvalMetrics:
        """Measure the model on ``images``, with the random numbers of its last epoch."""
        with rng.isolated_rng(self.config.seed, self.epoch, self.machine.device):
            chunks = self.loader(images, shuffle).epoch(self.epoch)
            return self.validate(self.model, chunks, len(self.saved["dataset"]["classes"]), self.machine.precision)


def load_run(folder: str, weights: str, given: dict[str, object], validate: Validate) -> LoadedRun:
    """Load ``last`` or ``best`` weights of a saved run. Raises RunnerError if it can't, or the model has changed."""
    saved = checkpoint.load(folder, weights)
    resume.check_owner(folder, saved)
    config = resume.saved_config(folder, saved, given, device="auto")
    spec = models.find(config.model_name, saved["config"].get("model_file"))
    if changed := resume.changed_model(saved, spec.sha256):
        log.warning(f"{folder}: {changed}: what follows need not be what the run came to")
    device = machine.pick_device(config)
    with spec.beside:
        model = models.build(spec.name)
        trial.evaluate(spec.name, model)
        here = machine.set_up(config, machine.count_macs(model), device, saved["machine"])
    try:
        checkpoint.load_weights(model, saved)
    except Exception as error:
        raise RunnerError(f"{folder}: {config.model_name} has changed since this run was trained") from error
    return LoadedRun(Path(folder), config, model.to(device).eval(), saved, weights, validate, here)


def evaluate(run: LoadedRun) -> EvalMetrics:
    """Say a saved run's result again, measured anew. Raises RunnerError if its data is not there, or another."""
    dataset, images = run.test_images()
    test = run.measure(images)
    where = f"{run.weights} checkpoint, {checkpoint.position(run.saved)}, of {run.config.epochs}"
    console.stdout_log(dataset.name).info(f"{run.folder}: {where}")
    lines = utils.result_lines(test.as_dict(dataset.classes))
    console.print_result(run.config, dataset.name, run.folder, test.accuracy, lines)
    return test


def transfer(run: LoadedRun) -> None:
    """Measure a saved run with each shuffle, and write its accuracies into the run's folder. Raises as ``evaluate``."""
    dataset, images = run.test_images()
    name, trained_with = run.config.model_name, run.config.shuffle
    say, accuracies = console.stdout_log(dataset.name), {}
    for shuffle in dict.fromkeys((*SHUFFLES, trained_with)):
        accuracies[shuffle] = accuracy = run.measure(images, shuffle).accuracy
        text = f"{name}, trained with shuffle {trained_with}, tested with {shuffle}: {100 * accuracy:.1f} %"
        say.info(text)
    facts = {"trained_with": trained_with, "epoch": run.epoch, "weights": run.weights}
    files.write_json(run.folder / files.TRANSFER, facts | {"images": len(images), "test_accuracy": accuracies})
    say.info(f"in {run.folder}: {files.TRANSFER}")


def collapse(run: LoadedRun) -> None:
    """Write the matrix that an affine model comes to, and its templates. Raises NotAffine if it is none."""
    dataset, images = run.test_images()
    name, folder = run.config.model_name, run.folder

    # The matrix, checked on every test image.
    matrix = affine.collapse(run.model)
    difference, logits, labels = 0.0, [], []
    for pixels, targets in run.loader(images).epoch(run.epoch):
        difference = max(difference, affine.check(name, run.model, matrix, pixels))
        logits.append(matrix.logits(pixels.cpu()))
        labels.append(targets.cpu())

    facts = affine.describe(matrix, run.model) | {"images": len(images), "largest_difference": difference}
    facts["scores"] = affine.score(torch.cat(logits), torch.cat(labels))
    affine.save(folder / files.MATRIX, matrix)
    affine.plot_templates(folder / files.TEMPLATES, run.config.title(dataset.name), matrix, dataset.classes)
    files.write_json(folder / files.MATRIX_FACTS, facts)
    say = console.stdout_log(dataset.name)
    say.info(f"{name}'s {facts['network_parameters']:,} parameters come to {facts['parameters']:,} numbers")
    say.info(f"their logits differ by {difference:.1g} at most, on {len(images):,} test images")
    say.info(f"in {folder}: {files.MATRIX}, {files.TEMPLATES}, {files.MATRIX_FACTS}")


def predict(run: LoadedRun, paths: Sequence[str]) -> None:
    """Classify image files, and those in folders. Raises DataError for what can't be read, after all other answers."""
    problems: list[str] = []
    named, pixels = [], []
    for file in [file for path in paths for file in find_images(path, problems)]:
        try:
            pixels.append(read_any_image(file))
            named.append(file)
        except DataError as error:
            problems.append(str(error))
    if named:
        _classify(run, named, torch.stack(pixels))
    raise_all("--predict", problems, most=len(problems))


@torch.no_grad()
def _classify(run: LoadedRun, paths: Sequence[str], pixels: torch.Tensor) -> None:
    """Print the three likeliest classes of the images ``pixels``, uint8 (n, 3, 32, 32), of the files ``paths``."""
    images = data.Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    with machine.autocast(run.machine.device, run.machine.precision):
        chunks = run.loader(images).epoch(run.epoch)
        probabilities = torch.cat([run.model(chunk).float().softmax(1) for chunk, _ in chunks]).cpu()

    dataset, shuffle = run.saved["dataset"], run.config.eval_shuffle
    shuffled = "" if shuffle == "none" else f", its pixels shuffled ({shuffle})"
    for path, row in zip(paths, probabilities):
        top = row.topk(min(3, len(row)))
        likeliest = ", ".join(f"{dataset['classes'][i]} {100 * p:.1f} %" for p, i in zip(top.values, top.indices))
        text = f"{run.config.model_name} sees in {path}{shuffled}: {likeliest}"
        console.stdout_log(dataset["name"]).log(console.RESULT, text)
