"""Trains one of the named networks on CIFAR-10, validates it after each epoch, and writes down what came out.

python ex1.py --model-name Q1_19 --epochs 15
python ex1.py --evaluate results/cifar10/Q1_19/...
python ex1.py --predict cat.jpg --from results/cifar10/Q1_19/...
"""

from __future__ import annotations

from config import parse

if __name__ == "__main__":
    # Before the imports below, which take seconds, so that -h, --list-models and a typing mistake are answered at once.
    COMMAND = parse()

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

import data
import models
import sources
import utils
from config import Command, Config, RunnerError, UsageError
from net import count_parameters
from utils import Evaluation

VALIDATION_BATCH = 256


def train_epoch(
    network: nn.Module,
    chunks: Iterable[tuple[Tensor, Tensor]],
    batch_size: int,
    optimizer: torch.optim.Optimizer,
    progress: Callable[[int, float, float], None] = lambda images, loss, accuracy: None,
) -> tuple[float, float]:
    """Trains ``network`` on every batch of one epoch.

    Args:
        chunks: images float32 (C, 3, 32, 32) and labels int64 (C,), many batches at a time.
        progress: is told after each step the number of its images, and the running loss and accuracy up to its chunk.

    Returns:
        Mean loss in nats and accuracy in [0, 1] over the images as they were trained on, so before their own step.

    Raises:
        RunnerError: the loss is not a finite number.
    """
    network.train()
    images, loss_sum, right = 0, 0.0, 0
    loss, accuracy = float("nan"), float("nan")
    for pixels, labels in chunks:
        outputs = []
        for batch, target in zip(pixels.split(batch_size), labels.split(batch_size)):
            optimizer.zero_grad()
            logits = network(batch)
            F.cross_entropy(logits, target).backward()
            optimizer.step()
            outputs.append(logits.detach())
            progress(len(target), loss, accuracy)
        # Once a chunk, not once a batch: a GPU has to be waited for whenever a figure is read back.
        logits = torch.cat(outputs)
        images += len(labels)
        loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(1) == labels).sum().item()
        loss, accuracy = loss_sum / images, right / images
        if not math.isfinite(loss_sum):
            rate = optimizer.param_groups[0]["lr"]
            raise RunnerError(
                f"the training loss is {loss} after {images:,} images of the epoch, at learning rate {rate}"
            )
    return loss, accuracy


@torch.no_grad()
def validate(network: nn.Module, chunks: Iterable[tuple[Tensor, Tensor]], classes: int) -> Evaluation:
    """Measures ``network`` on the images of ``chunks``, as :func:`train_epoch` takes them.

    Raises:
        RunnerError: the loss is not a finite number.
    """
    network.eval()
    loss_sum = 0.0
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for pixels, labels in chunks:
        logits = torch.cat([network(batch) for batch in pixels.split(VALIDATION_BATCH)])
        loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
        confusion += utils.count_confusion(logits.argmax(1), labels, classes)
    if not math.isfinite(loss_sum):
        raise RunnerError(f"the validation loss is {loss_sum}: the weights have grown beyond all bounds")
    return Evaluation(loss_sum / int(confusion.sum()), confusion)


def train(config: Config, quiet: bool = False) -> Path:
    """One run from its settings to its folder of results.

    Raises:
        RunnerError: settings, data or files that don't work out.
    """
    device = set_up_machine(config)
    dataset = load_data(config, quiet)
    dataset, held_out = data.select(dataset, config)
    say = speaker(dataset.name, quiet)

    torch.manual_seed(config.seed)
    network = build_network(config.model_name)
    folder = utils.new_run_folder(config, dataset)
    title = utils.run_title(config, dataset)
    validated_on = f"{len(held_out):,} images held out" if held_out else f"{len(dataset.test):,} test images"
    facts = {
        "dataset": dataset.name,
        "model": config.model_name,
        "parameters": count_parameters(network),
        "validated_on": validated_on,
    }
    described = facts | {"settings": asdict(config), "data": utils.describe_dataset(dataset)}
    utils.write_json(folder / "config.json", described | {"machine": utils.describe_machine(device)})
    utils.write_file(folder / "summary.txt", f"{title}\n\n{utils.parameter_summary(network)}")
    change = models.find(config.model_name).change
    say(f"{config.model_name}: {facts['parameters']:,} parameters" + f"; {change}" * bool(change))
    say(f"{len(dataset.train):,} training images ({dataset.source}); validation on {validated_on}")
    if not held_out:
        say("validating on the test set, as published: choose nothing by these figures (--val holdout keeps it unseen)")
    threads = torch.get_num_threads()
    say(f"{device}, {threads} thread{'s' * (threads > 1)}; results go to {folder}")

    network.to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    loader = make_loader(dataset.train, data.TRAIN, config, device, config.batch_size)
    test_loader = make_loader(dataset.test, data.TEST, config, device)
    val_loader = make_loader(held_out, data.HOLDOUT, config, device) if held_out else test_loader
    rows, labels = sample_rows(held_out or dataset.test, val_loader, config.shuffle)
    utils.plot_samples(folder / "samples.png", title, rows, [dataset.classes[label] for label in labels])
    dataset = replace(dataset, train=loader.images, test=test_loader.images)  # lets go of unshuffled copies
    classes = len(dataset.classes)

    history: list[dict] = []
    for epoch in range(1, config.epochs + 1):
        began = time.perf_counter()
        what = f"[{dataset.name}] {config.model_name} {epoch}/{config.epochs}"
        with progress_bar(what, len(loader), quiet) as progress:
            loss, accuracy = train_epoch(network, loader.epoch(epoch), config.batch_size, optimizer, progress)
        seconds = time.perf_counter() - began
        val = validate(network, val_loader.epoch(epoch), classes)
        history.append(
            {
                "epoch": epoch,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "val_loss": val.loss,
                "val_accuracy": val.accuracy,
                "seconds": seconds,
                "images_per_second": len(loader) / seconds,
            }
        )
        checkpoint = {
            "config": described["settings"],
            "dataset": described["data"],
            "model": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch,
            "rng": torch.get_rng_state(),
            "history": history,
        }
        utils.save_checkpoint(folder / "last.pt", checkpoint)
        if held_out and all(val.accuracy > row["val_accuracy"] for row in history[:-1]):
            utils.save_checkpoint(folder / "best.pt", checkpoint)
        utils.write_history(folder / "history.csv", dataset.name, history)
        left = (time.perf_counter() - began) * (config.epochs - epoch)
        say(
            f"{config.model_name} epoch {epoch:>{len(str(config.epochs))}}/{config.epochs}"
            f"  training loss {loss:.3f}, {100 * accuracy:.1f} %"
            f"  validation loss {val.loss:.3f}, {100 * val.accuracy:.1f} %"
            f"  {seconds:.0f} s, {len(loader) / seconds:,.0f} images/s"
            + (f", {tqdm.format_interval(left)} left" if left else "")
        )

    # The result is the last epoch's. Where images were held out, this is the one look at the test set.
    test = validate(network, test_loader.epoch(config.epochs), classes) if held_out else val
    utils.write_json(folder / "metrics.json", facts | summarize(history, test, dataset.classes, bool(held_out)))
    utils.plot_curves(folder / "curves.png", title, history, validated_on)
    utils.plot_per_class(folder / "per_class.png", title, test, dataset.classes)
    utils.plot_confusion(folder / "confusion.png", title, test, dataset.classes)
    report(test, dataset, config, folder, quiet)
    say(f"in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return folder


def summarize(history: list[dict], test: Evaluation, classes: tuple[str, ...], held_out: bool) -> dict:
    """The figures of ``metrics.json``: the last epoch's, the test set's and, on a hold-out, the best epoch's."""
    last = history[-1]
    figures = {
        "epochs": last["epoch"],
        "train": {"loss": last["train_loss"], "accuracy": last["train_accuracy"]},
        "validation": {"loss": last["val_loss"], "accuracy": last["val_accuracy"]},
        "test": test.as_dict(classes),
    }
    if held_out:
        best = max(history, key=lambda row: row["val_accuracy"])
        figures["best_epoch_by_holdout"] = {"epoch": best["epoch"], "validation_accuracy": best["val_accuracy"]}
    return figures


def sample_rows(original: data.Images, loader: data.Loader, shuffle: str) -> tuple[dict[str, Tensor], Tensor]:
    """The first image of each class before and after the shuffle, by what each row shows, and their labels.

    The images of ``loader``, which keeps their order, are shown exactly as the network gets them.
    """
    labels = original.labels.tolist()
    chosen = torch.tensor([labels.index(label) for label in sorted(set(labels))])

    def seen(epoch: int) -> Tensor:
        network_input = torch.cat([pixels.cpu() for pixels, _ in loader.epoch(epoch)])[chosen]
        return network_input.mul(127.5).add(127.5).round().to(torch.uint8)

    if shuffle == "none":
        rows = {"no shuffle": seen(1)}
    elif shuffle == "fixed":
        rows = {"before": original.pixels[chosen], "every epoch": seen(1)}
    else:
        rows = {"before": original.pixels[chosen], "shown once": seen(1), "shown again": seen(2)}
    return rows, original.labels[chosen]


def evaluate(command: Command) -> Evaluation:
    """Reports a saved run again, on the test images of its data set.

    Raises:
        RunnerError: the run or its data can't be read, or the data is not what it was trained on.
    """
    config, network, saved, device = restore(command)
    about = saved["dataset"]
    generated = about["seed"] is not None
    if not generated and about["slug"] != "cifar10" and not sources.find(Path(config.data_dir)):
        raise RunnerError(f"the images of {about['name']} are not in {config.data_dir}: say with --data-dir where")
    wanted = replace(config, dataset="synthetic" if generated else "cifar10", data_seed=about["seed"] or 0)
    dataset = load_data(wanted, command.quiet)
    if dataset.digest != about["sha256"]:
        raise RunnerError(f"{command.run} was trained on {about['name']}, but {dataset.source} holds {dataset.name}")
    epoch = saved["epoch"]
    loader = make_loader(data.subset(dataset.test, limit=config.limit), data.TEST, config, device)
    test = validate(network, loader.epoch(epoch), len(dataset.classes))
    say = speaker(dataset.name, command.quiet)
    say(f"{command.run}: {command.weights} checkpoint, after epoch {epoch} of {config.epochs}")
    report(test, dataset, config, command.run, command.quiet)
    return test


def predict(command: Command) -> None:
    """Classifies the image files of ``command``, and prints the three likeliest classes of each.

    Raises:
        RunnerError: the run or an image can't be read.
    """
    config, network, saved, device = restore(command)
    about = saved["dataset"]
    pixels = torch.stack([sources.read_any_image(path) for path in command.images])
    images = data.Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    with torch.no_grad():
        chunks = make_loader(images, data.TEST, config, device).epoch(saved["epoch"])
        probabilities = torch.cat([network(chunk).softmax(1) for chunk, _ in chunks]).cpu()
    say = speaker(about["name"], quiet=False)
    for path, row in zip(command.images, probabilities):
        top = row.topk(min(3, len(row)))
        likeliest = ", ".join(f"{about['classes'][i]} {100 * p:.1f} %" for p, i in zip(top.values, top.indices))
        shuffled = "" if config.shuffle == "none" else f", its pixels shuffled ({config.shuffle})"
        say(f"{config.model_name} sees in {path}{shuffled}: {likeliest}")


def restore(command: Command) -> tuple[Config, nn.Module, dict, torch.device]:
    """The settings, the trained network in evaluation mode, the checkpoint and the device of a saved run."""
    saved = utils.load_checkpoint(command.run, command.weights)
    try:
        config = Config(**(saved["config"] | {"device": "auto"} | command.given))
        weights, own = saved["model"], saved["config"]["model_file"]
    except (KeyError, TypeError) as error:
        raise RunnerError(f"{command.run}: the checkpoint is not one of this program: {error}") from None
    try:
        models.find(config.model_name)
    except models.UnknownModel as error:
        hint = f"{config.model_name} is an own model: give --model-file {own} if you trust that file" if own else error
        raise UsageError(str(hint)) from None
    device = set_up_machine(config)
    network = build_network(config.model_name)
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        raise RunnerError(f"{command.run}: {config.model_name} has changed since this run was trained") from None
    return config, network.to(device).eval(), saved, device


def build_network(name: str) -> nn.Module:
    try:
        return models.build(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def make_loader(
    images: data.Images, split: int, config: Config, device: torch.device, batch_size: int | None = None
) -> data.Loader:
    """The loader of a split; only the training images, which have a ``batch_size``, change their order."""
    order_seed = None if batch_size is None else config.seed
    return data.Loader(
        images, split, batch_size or VALIDATION_BATCH, config.shuffle, config.shuffle_seed, order_seed, device
    )


def load_data(config: Config, quiet: bool) -> data.Dataset:
    """The data set of a run, with a notice that can't be missed where it is not CIFAR-10."""

    def warn(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def notice(text: str) -> None:
        if not quiet:
            warn(text)

    dataset = sources.load(config.dataset, config.data_dir, config.data_url, config.data_seed, notice, warn)
    if not dataset.is_cifar10:
        rule = "!" * 78
        text = [
            "THIS IS NOT CIFAR-10. The images and their ten classes are generated.",
            "No accuracy here says anything of CIFAR-10.",
        ]
        warn("\n".join([rule, *(f"!!  {line:<70}  !!" for line in text), rule]))
    return dataset


def set_up_machine(config: Config) -> torch.device:
    """Sets the number of threads and picks the device.

    Raises:
        UsageError: the device is not there.
    """
    torch.set_num_threads(config.threads)
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if config.device == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[config.device]:
        raise UsageError(f"--device {config.device}: there is none on this machine")
    return torch.device(config.device)


def speaker(dataset: str, quiet: bool) -> Callable[[str], None]:
    """A ``print`` whose every line begins with the name of the data set; silent with ``quiet``.

    Where nobody reads any more, as after ``| head``, the run goes on in silence.
    """

    def say(text: str) -> None:
        if not quiet:
            try:
                print("\n".join(f"[{dataset}] {line}" for line in text.splitlines()), flush=True)
            except BrokenPipeError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return say


def report(test: Evaluation, dataset: data.Dataset, config: Config, run: str | Path, quiet: bool) -> None:
    """Prints a run's result as published, with the accuracy of each class; with ``quiet``, on one line."""
    say = speaker(dataset.name, quiet=False)
    if quiet:
        say(f"{config.model_name}: test accuracy {100 * test.accuracy:.1f} %, {run}")
        return
    say(utils.run_title(config, dataset).replace("\n", ", "))
    say(f"Accuracy of the network on {test.images:,} test images: {100 * test.accuracy:.1f} % (loss {test.loss:.3f})")
    say("\n".join(utils.per_class_lines(test, dataset.classes)))


@contextlib.contextmanager
def progress_bar(what: str, images: int, quiet: bool) -> Iterator[Callable[[int, float, float], None]]:
    """Shows a bar of images, and gives :func:`train_epoch` its ``progress``; no bar if quiet or without a terminal."""
    layout = "{desc} {percentage:3.0f}% {remaining} left {rate_noinv_fmt} {bar}"
    disable = True if quiet else None
    with tqdm(
        desc=what, total=images, unit="img", leave=False, disable=disable, dynamic_ncols=True, bar_format=layout
    ) as bar:

        def progress(images: int, loss: float, accuracy: float) -> None:
            if bar.update(images) and not math.isnan(loss):
                bar.set_description_str(f"{what}  loss {loss:.3f}, {100 * accuracy:.1f} %", refresh=False)

        yield progress


def main(command: Command) -> int:
    """Does what the command line asks for and returns the exit code."""
    try:
        if command.action == "evaluate":
            evaluate(command)
        elif command.action == "predict":
            predict(command)
        else:
            train(command.config(), command.quiet)
    except RunnerError as error:
        print(f"ex1.py: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ex1.py: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(COMMAND))
