"""Questions to a saved run: measured again, on other shuffles, on single images, or collapsed into one matrix."""

import hashlib
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

import data
import datasets
import models
import utils
from datasets import others, synthetic
from datasets.image_folder import find_images, read_any_image
from experiments import affine, trial
from runner import checkpoint, console, files, machine, records, resume, rng
from runner.cli import Arguments
from runner.config import SHUFFLES, Config, cue_strengths, parts_of_shuffle
from runner.errors import DataError, RunnerError, UsageError, raise_all
from runner.step import initialize
from utils import EvalMetrics

log = logging.getLogger("ex1")

# Beside those by themselves: what the colours and a permutation take together.
COMPOSED = ("grey+fixed", "grey+per-image", "grey+block:8")
PERMUTATIONS = 5  # of each shuffle, for a run whose pixels stay in place

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

    def loader(self, images: data.Images, shuffle: str = "", shuffle_seed: int | None = None) -> data.Loader:
        """Make a loader of images that are not trained on; ``shuffle`` and its seed are in place of the run's."""
        config = replace(self.config, val_shuffle=shuffle or self.config.val_shuffle)
        config = config if shuffle_seed is None else replace(config, shuffle_seed=shuffle_seed)
        memory_format, threads = models.memory_format_of(self.model), self.machine.loader_threads
        return data.make_loader(images, data.TEST, config, self.machine.device, memory_format, threads)

    def test_images(self) -> tuple[data.Dataset, data.Images]:
        """Load the data set that the run was trained on, and the test images that the run uses."""
        dataset = datasets.reload(self.saved["dataset"], self.config, str(self.folder))
        return dataset, data.subset(dataset.test, limit=self.config.limit)

    def measure(self, images: data.Images, shuffle: str = "", shuffle_seed: int | None = None) -> EvalMetrics:
        """Measure the model on ``images``, with the random numbers of its last epoch; see :meth:`loader`."""
        with rng.isolated_rng(self.config.seed, self.epoch, self.machine.device):
            chunks = self.loader(images, shuffle, shuffle_seed).epoch(self.epoch)
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
        classes = len(saved["dataset"]["classes"])
        model = models.build(spec.name, classes)
        trial.evaluate(spec.name, model, classes)
        here = machine.set_up(config, machine.count_macs(model), device, saved["machine"])
        here = machine.settle(config, here, "torch")
    try:
        checkpoint.load_weights(model, saved)
    except Exception as error:
        raise RunnerError(f"{folder}: {config.model_name} has changed since this run was trained") from error
    return LoadedRun(Path(folder), config, model.to(device).eval(), saved, weights, validate, here)


def require_writable(folder: Path) -> None:
    """Raise RunnerError if nothing can be written into the folder of a run, before minutes are spent."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RunnerError(f"{folder} can't be written, and what is measured goes there")


def evaluate(run: LoadedRun) -> EvalMetrics:
    """Say a saved run's result again, measured anew. Raises RunnerError if its data is not there, or another."""
    dataset, images = run.test_images()
    test = run.measure(images)
    where = f"{run.weights} checkpoint, {checkpoint.position(run.saved)}, of {run.config.epochs}"
    console.stdout_log(dataset.name).info(f"{run.folder}: {where}")
    lines = utils.result_lines(test.as_dict(dataset.classes))
    console.print_result(run.config, dataset.name, run.folder, test.accuracy, lines)
    return test


def evaluate_on(run: LoadedRun, path: str) -> None:
    """Measure a saved run on other images than its data set's, and write the result into the run's folder.

    Raises UsageError if they are CIFAR-10's and the run is not on CIFAR-10, DataError if they can't be read.
    """
    require_writable(run.folder)
    dataset = run.saved["dataset"]
    found = others.find(Path(path), dataset["classes"])
    if found.is_cifar10 and files.dataset_kind(dataset) != "cifar10":
        raise UsageError(f"{path} is {found.name}, but {run.folder} was trained on {dataset['name']}: on other classes")

    # One part after the other, so that no more than one is in memory.
    tested = f"{dataset['name']}, tested on {found.name}"
    say, total, measured = console.stdout_log(tested), hashlib.sha256(), dict[str, list[EvalMetrics]]()
    for corruption, images in found.parts:
        total.update(corruption.encode())
        for tensor in (images.pixels, images.labels):
            total.update(tensor.numpy().data)
        results = measured.setdefault(corruption, [])
        results.append(run.measure(images))
        if corruption and len(results) == others.SEVERITIES:
            say.info(f"{corruption}: " + ", ".join(f"{100 * result.accuracy:.1f} %" for result in results))

    # The result, in a file that is named after what was measured.
    digest = total.hexdigest()
    accuracies = {name: [result.accuracy for result in results] for name, results in measured.items()}
    accuracy = fmean(itertools.chain.from_iterable(accuracies.values()))
    facts: dict[str, Any] = {"epoch": run.epoch, "weights": run.weights, "name": found.name, "source": path}
    facts |= {"sha256": digest, "images": sum(each.images for results in measured.values() for each in results)}
    facts["accuracy"] = accuracy
    name, endings = f"{files.ON}{found.kind}-{digest[:8]}", [".json"]
    if "" in measured:
        facts["test"] = measured[""][0].as_dict(dataset["classes"])
        lines = utils.result_lines(facts["test"])
    else:
        facts["corruptions"] = accuracies
        count = f"{len(accuracies)} corruption{'s' * (len(accuracies) > 1)}"
        lines = [f"Accuracy of the network, mean over {count} at severities 1 to 5: {100 * accuracy:.1f} %"]
        utils.plot_corruptions(run.folder / f"{name}.png", run.config.title(tested), accuracies)
        endings.append(".png")
    files.write_json(run.folder / f"{name}.json", facts)
    console.print_result(run.config, tested, run.folder, accuracy, lines)
    say.info(f"in {run.folder}: {', '.join(name + ending for ending in endings)}")


def transfer(run: LoadedRun) -> None:
    """Measure a saved run with each shuffle, and write its accuracies into the run's folder. Raises as ``evaluate``.

    A run whose pixels stay in place is measured with several permutations of each, a run that knows one with that.
    """
    require_writable(run.folder)
    dataset, images = run.test_images()
    name, trained_with = run.config.model_name, run.config.shuffle
    knows_none = parts_of_shuffle(trained_with)[1] == "none"
    say, accuracies = console.stdout_log(dataset.name), {}
    for shuffle in dict.fromkeys((*SHUFFLES, *COMPOSED, trained_with)):
        seeds = [run.config.shuffle_seed]
        if knows_none and parts_of_shuffle(shuffle)[1] not in ("none", "per-image"):
            seeds = data.distinct_shuffle_seeds(shuffle, PERMUTATIONS)
        accuracies[shuffle] = accuracy = fmean(run.measure(images, shuffle, seed).accuracy for seed in seeds)
        text = f"{name}, trained with shuffle {trained_with}, tested with {shuffle}: {100 * accuracy:.1f} %"
        say.info(text + f", mean of {len(seeds)} permutations" * (len(seeds) > 1))
    permutations = PERMUTATIONS if knows_none else 1
    facts = {"trained_with": trained_with, "epoch": run.epoch, "weights": run.weights, "permutations": permutations}
    files.write_json(run.folder / files.TRANSFER, facts | {"images": len(images), "test_accuracy": accuracies})
    say.info(f"in {run.folder}: {files.TRANSFER}")


def conflict(run: LoadedRun) -> None:
    """Measure which cue a run follows where two contradict each other, and write that into the run's folder.

    It is the test of Geirhos et al., 2019, "ImageNet-trained CNNs are biased towards texture", on generated images.
    Raises UsageError if the run was not trained on two cues.
    """
    require_writable(run.folder)
    config, name = run.config, run.saved["dataset"]["name"]
    generated = files.dataset_kind(run.saved["dataset"]) == "synthetic"
    cues = [*(cue_strengths(config.cues) or synthetic.STRENGTHS)] if generated else []
    if len(cues) < 2:
        raise UsageError(f"{run.folder} was not trained on images whose class two cues or more tell (--cues)")
    say, pairs, n = console.stdout_log(name), [], synthetic.TEST_IMAGES
    for pair in itertools.combinations(cues, 2):
        images, second = synthetic.make_conflict(pair, n, config.data_seed)
        answers = [run.measure(each).accuracy for each in (images, replace(images, labels=second))]
        shares = dict(zip((*pair, "neither"), (*answers, 1 - sum(answers))))
        pairs.append({"cues": [*pair], "images": n, "answers": shares})
        text = ", ".join(f"{cue} {100 * share:.1f} %" for cue, share in shares.items())
        say.info(f"{config.model_name} follows, where {' and '.join(pair)} show different classes: {text}")
    files.write_json(run.folder / files.CONFLICT, {"epoch": run.epoch, "weights": run.weights, "pairs": pairs})
    say.info(f"in {run.folder}: {files.CONFLICT}")


def collapse(run: LoadedRun) -> None:
    """Write the matrix that an affine model comes to, and its templates. Raises NotAffine if it is none."""
    require_writable(run.folder)
    dataset, images = run.test_images()
    name, folder = run.config.model_name, run.folder

    # The matrix, checked on every test image; and that of the network before its training, for comparison.
    matrix, untrained = affine.collapse(run.model), affine.collapse(build_untrained(run.config, len(dataset.classes)))
    difference, logits, untrained_logits, labels = 0.0, [], [], []
    for pixels, targets in run.loader(images).epoch(run.epoch):
        difference = max(difference, affine.check(name, run.model, matrix, pixels))
        logits.append(matrix.logits(pixels.cpu()))
        untrained_logits.append(untrained.logits(pixels.cpu()))
        labels.append(targets.cpu())

    facts = {"epoch": run.epoch, "weights": run.weights} | affine.describe(matrix, run.model)
    facts |= {"images": len(images), "largest_difference": difference}
    facts["scores"] = affine.score(torch.cat(logits), torch.cat(labels))
    facts["untrained"] = {"uniform_share": untrained.uniform_share}
    facts["untrained"] |= affine.score(torch.cat(untrained_logits), torch.cat(labels))
    affine.save(folder / files.MATRIX, matrix)
    affine.plot_templates(folder / files.TEMPLATES, run.config.title(dataset.name), matrix, dataset.classes)
    files.write_json(folder / files.MATRIX_FACTS, facts)
    say = console.stdout_log(dataset.name)
    say.info(f"{name}'s {facts['network_parameters']:,} parameters come to {facts['parameters']:,} numbers")
    say.info(f"their logits differ by {difference:.1g} at most, on {len(images):,} test images")
    say.info(f"in {folder}: {files.MATRIX}, {files.TEMPLATES}, {files.MATRIX_FACTS}")


def build_untrained(config: Config, classes: int = models.CLASSES) -> nn.Module:
    """Build a run's network with the weights that its training began with."""
    with rng.isolated_rng(config.seed, 0, torch.device("cpu")):
        rng.seed_everything(config.seed)
        model = models.build(config.model_name, classes)
        initialize(model, config)
    return model


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


def act(arguments: Arguments, validate: Validate) -> None:
    """Do what a command line asks for with a saved run."""
    folder = records.find_run(arguments.run, arguments.results_dir)
    run = load_run(str(folder), arguments.weights, arguments.given, validate)
    with models.find(run.config.model_name).beside:
        if arguments.action == "predict":
            predict(run, arguments.images)
        elif arguments.on:
            evaluate_on(run, arguments.on)
        else:
            MEASURE[arguments.action](run)


MEASURE: dict[str, Callable[[LoadedRun], object]] = {
    "evaluate": evaluate,
    "transfer": transfer,
    "collapse": collapse,
    "conflict": conflict,
}
