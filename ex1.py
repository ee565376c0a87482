"""Trains one of the named networks on CIFAR-10, validates it after each epoch, and writes down what came out.

python ex1.py --model-name Q1_19 --epochs 15
python ex1.py --evaluate results/cifar10/Q1_19/...
python ex1.py --predict cat.jpg --from results/cifar10/Q1_19/...
python ex1.py --collapse results/cifar10/Q2_1/...
"""

from __future__ import annotations

from commands import parse
from runner import files, rng, signals

if __name__ == "__main__":
    # Before the imports below, which take seconds, so that -h, --list-models, a typing mistake and Ctrl-C are answered
    # at once.
    signals.open_standard_streams()
    signals.stop_at_once_on_signals()
    COMMAND = parse()

import math
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import checkpoints
import console
import data
import models
import runs
import sources
import steps
import utils
from commands import Command
from net import count_macs, count_parameters, initialize_kaiming
from runner.config import AUTO, SHUFFLES, Config
from runner.errors import Diverged, RunnerError, UsageError, one_line
from runner.signals import Stopped, StopSignal
from steps import Step
from utils import Evaluation, Tally

VALIDATION_BATCH = 256


def train_epoch(
    step: Step,
    chunks: Iterable[tuple[Tensor, Tensor]],
    batch_size: int,
    tally: Tally | None = None,
    after_step: Callable[[int], None] = lambda images: None,
    learning_rate: Callable[[int], float] | None = None,
) -> Tally:
    """Trains a network on every batch of one epoch, or of what is left of it.

    Args:
        step: what trains it on a batch.
        chunks: images float32 (C, 3, 32, 32) and labels int64 (C,), many batches at a time; those that ``tally`` counts
            as done are left out.
        tally: what the epoch has added up to so far; it is kept up to date, and goes on from the step it stands at.
        after_step: is called after each step with the number of its images.
        learning_rate: that of each step of the epoch, counted from 0; None leaves it as it is.

    Returns:
        The tally. Its loss and accuracy are means over the images as they were trained on, so before their own step.

    Raises:
        Diverged: the loss is not a finite number.
    """
    step.network.train()
    tally = tally or Tally()
    began = time.perf_counter() - tally.seconds
    skip, waiting = len(tally.logits), []
    for pixels, labels in chunks:
        batches = list(zip(pixels.split(batch_size), labels.split(batch_size)))
        for batch, target in batches[skip:]:
            if learning_rate:
                step.set_learning_rate(learning_rate(tally.steps))
            tally.logits.append(step(batch, target))
            tally.steps += 1
            tally.seconds = time.perf_counter() - began
            after_step(len(target))
        skip = max(0, skip - len(batches))
        waiting.append(labels)
        if labels.device.type == "cpu":
            add_up(tally, waiting, batch_size, step)
    # A GPU has to be waited for whenever a figure is read back: once an epoch.
    add_up(tally, waiting, batch_size, step)
    tally.seconds = time.perf_counter() - began
    return tally


def add_up(tally: Tally, waiting: list[Tensor], batch_size: int, step: Step) -> None:
    """Adds the losses of the steps whose logits wait in ``tally``, and empties ``waiting``, the labels of their chunks.

    Raises:
        Diverged: one of them is not a finite number.
    """
    if not waiting:
        return
    logits, labels = torch.cat(tally.logits), torch.cat(waiting)
    losses = F.cross_entropy(logits, labels, reduction="none")
    loss_sum = losses.sum().item()
    if not math.isfinite(loss_sum):
        first = int(losses.isfinite().logical_not().int().argmax())
        number = (tally.images + first) // batch_size + 1
        raise Diverged(f"the training loss is {losses[first].item()} at step {number:,}; {rate_of(step.optimizer)}")
    tally.images += len(labels)
    tally.loss_sum += loss_sum
    tally.right += int((logits.argmax(1) == labels).sum())
    tally.logits.clear()
    waiting.clear()


def check_finite(network: nn.Module, optimizer: torch.optim.Optimizer, tally: Tally) -> None:
    """Checks that ``network`` is worth saving in the middle of a chunk, whose losses are not known yet.

    Raises:
        Diverged: an output of the chunk's steps, or a weight, is not a finite number.
    """
    for step, logits in enumerate(tally.logits, tally.steps - len(tally.logits) + 1):
        if not logits.isfinite().all():
            raise Diverged(f"the network's output is not a finite number at step {step:,}; {rate_of(optimizer)}")
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise Diverged(f"a weight is not a finite number after step {tally.steps:,}; {rate_of(optimizer)}")


def rate_of(optimizer: torch.optim.Optimizer) -> str:
    """The learning rate, for a message."""
    return f"the learning rate is {float(optimizer.param_groups[0]['lr']):g}"


@torch.no_grad()
def validate(
    network: nn.Module, chunks: Iterable[tuple[Tensor, Tensor]], classes: int, precision: str = "fp32"
) -> Evaluation:
    """Measures ``network`` on the images of ``chunks``, as :func:`train_epoch` takes them.

    Args:
        precision: of its convolutions and matrix products, ``fp32`` or ``bf16``.

    Raises:
        Diverged: the loss is not a finite number.
    """
    network.eval()
    loss_sum = confidence_sum = 0.0
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for pixels, labels in chunks:
        with steps.autocast(pixels.device, precision):
            logits = torch.cat([network(batch) for batch in pixels.split(VALIDATION_BATCH)]).float()
        loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
        confidence_sum += logits.softmax(1).amax(1).sum().item()
        confusion += utils.count_confusion(logits.argmax(1), labels, classes)
    if not math.isfinite(loss_sum):
        raise Diverged(f"the validation loss is {loss_sum}: the weights have grown beyond all bounds")
    images = int(confusion.sum())
    return Evaluation(loss_sum / images, confusion, confidence_sum / images)


def train(command: Command) -> Path:
    """One run from its settings, or from where it was stopped, to its folder of results.

    Raises:
        RunnerError: settings, data or files that don't work out, or a loss that is not a finite number.
        Stopped: a signal came; the run is saved.
    """
    quiet, notice = command.quiet, console.notices(command.quiet)
    config = runs.config_to_train(command)
    device = pick_device(config)
    find_model(config, runs.saved_model_file(command.resume))
    if command.resume in ("", AUTO):
        data.check_sizes(config, sources.most_training_images(config.dataset, config.data_dir))
        dataset = load_data(config, quiet)
    else:
        dataset = load_data_again(command.resume, runs.describe(command.resume)["dataset"], config, quiet)
    dataset, held_out = data.select(dataset, config)
    say = console.speaker(dataset.name, quiet)

    rng.seed_everything(config.seed)
    network = build_network(config.model_name)
    if config.init == "kaiming":
        initialize_kaiming(network)
    described = utils.describe_dataset(dataset)
    with runs.open_run(config, described, command.resume, notice, console.warn) as run:
        folder = run.folder
        if run.finished:
            say(f"{folder} is finished; more --epochs would go on with it")
            console.report(saved_result(folder, len(dataset.classes)), dataset, config, folder, quiet)
            return folder
        precision = set_up_machine(config, network, device, run.saved)
        run.machine = utils.describe_machine(device, precision, config.model_file)
        title = utils.run_title(config, dataset)
        facts = introduce(run, network, dataset, held_out, title, say)

        network.to(device)
        optimizer = steps.make_optimizer(network, config)
        layout = layout_of(network)
        loader = make_loader(dataset.train, data.TRAIN, config, device, layout, config.batch_size)
        test_loader = make_loader(dataset.test, data.TEST, config, device, layout)
        val_loader = make_loader(held_out, data.HOLDOUT, config, device, layout) if held_out else test_loader
        rows, labels = sample_rows(held_out or dataset.test, val_loader, config.eval_shuffle)
        utils.plot_samples(folder / "samples.png", title, rows, [dataset.classes[label] for label in labels])
        dataset = replace(dataset, train=data.NO_IMAGES, test=data.NO_IMAGES)  # the loaders have them

        stop = StopSignal()
        history, tally, test = run.history, run.tally, None
        if run.saved:
            run.restore(network, optimizer, device)
            tally.logits = [logits.to(device) for logits in tally.logits]
            say(f"going on from {run.continues or folder}, {checkpoints.position(run.saved)}")
            runs.warn_of_other_machine(run, console.warn)
        step = steps.make_step(network, optimizer, config, precision, device, console.warn)
        steps_an_epoch = math.ceil(len(loader) / config.batch_size)

        def save(best: bool = False) -> None:
            check_finite(network, optimizer, tally)
            run.save(network, optimizer, device, history, tally, best)

        def stop_if_asked() -> None:
            """Ends the run, which is saved, if a signal asked for it."""
            if stop.requested:
                where = f"in epoch {len(history) + 1} of {config.epochs}, after {tally.steps:,} steps"
                if len(history) == config.epochs:
                    where = "after its last epoch"
                raise Stopped(stop.requested, f"stopped {where}; to go on: {run.resume_command}")

        def measure(loader: data.Loader, epoch: int) -> Evaluation:
            def until_stopped() -> Iterator[tuple[Tensor, Tensor]]:
                for chunk in loader.epoch(epoch):
                    stop_if_asked()
                    yield chunk

            with rng.isolated_rng(config.seed, epoch, device):
                return validate(network, until_stopped(), len(dataset.classes), precision)

        with stop:
            for epoch in range(len(history) + 1, config.epochs + 1):
                run.stage = f"epoch {epoch}"
                what = f"[{dataset.name}] {config.model_name} {epoch}/{config.epochs}"
                done = min(tally.steps * config.batch_size, len(loader))
                with console.progress_bar(what, len(loader), done, quiet) as progress:

                    def after_step(images: int, tally: Tally = tally, progress: Callable = progress) -> None:
                        progress(images, tally)
                        if stop.requested or (config.checkpoint_every and tally.steps % config.checkpoint_every == 0):
                            save()
                            stop_if_asked()

                    def learning_rate(done: int, before: int = (epoch - 1) * steps_an_epoch) -> float:
                        return steps.learning_rate(config, before + done, config.epochs * steps_an_epoch)

                    schedule = None if config.schedule == "constant" else learning_rate
                    chunks = loader.epoch(epoch, tally.images)
                    train_epoch(step, chunks, config.batch_size, tally, after_step, schedule)
                save()
                began = time.perf_counter()
                val = measure(val_loader, epoch)
                row = utils.history_row(epoch, tally, val, dataset.classes)
                best = held_out is not None and all(val.accuracy > earlier["val_accuracy"] for earlier in history)
                left = (tally.seconds + time.perf_counter() - began) * (config.epochs - epoch)
                history.append(row)
                tally, test = Tally(), None if held_out else val
                save(best)
                utils.write_history(folder / "history.csv", dataset.name, history)
                say(console.epoch_line(config, row, left))

            run.stage = "at its end"
            # The result is the last epoch's. Where images were held out, this is the one look at the test set.
            if test is None:
                test = measure(test_loader, config.epochs)
            utils.write_history(folder / "history.csv", dataset.name, history)
            utils.plot_curves(folder / "curves.png", title, history, facts["validated_on"])
            utils.plot_per_class(folder / "per_class.png", title, test, dataset.classes)
            utils.plot_confusion(folder / "confusion.png", title, test, dataset.classes)
            figures = summarize(history, test, dataset.classes, bool(held_out))
            files.write_json(folder / runs.METRICS, facts | figures)
            console.report(test, dataset, config, folder, quiet)
            say(f"in {folder}: {', '.join(sorted(path.name for path in folder.iterdir() if path.name[0] != '.'))}")
            if stop.requested:
                raise Stopped(stop.requested, f"stopped, but {folder} was finished already")
        return folder


def introduce(
    run: runs.Run,
    network: nn.Module,
    dataset: data.Dataset,
    held_out: data.Images | None,
    title: str,
    say: Callable[[str], None],
) -> dict:
    """Writes and says what is to be trained, before it is; returns what ``metrics.json`` repeats of it."""
    name, folder = run.config.model_name, run.folder
    validated_on = f"{len(held_out):,} images held out" if held_out else f"{len(dataset.test):,} test images"
    facts = {
        "dataset": dataset.name,
        "model": name,
        "parameters": count_parameters(network),
        "macs": count_macs(network),
        "validated_on": validated_on,
    }
    runs.record(run, facts)
    files.write_file(folder / "summary.txt", f"{title}\n\n{utils.parameter_summary(network)}")
    change = models.find(name).change
    say(f"{name}: {facts['parameters']:,} parameters" + f"; {change}" * bool(change))
    say(f"{len(dataset.train):,} training images ({dataset.source}); validation on {validated_on}")
    if not held_out:
        say("validating on the test set, as published: choose nothing by these figures (--val holdout keeps it unseen)")
    threads = run.machine["threads"]
    say(f"{run.machine['device']}, {threads} thread{'s' * (threads > 1)}; results go to {folder}")
    return facts


def saved_result(folder: Path, classes: int) -> Evaluation:
    """The result in the files of a finished run.

    Raises:
        RunnerError: they can't be read.
    """
    path = folder / runs.METRICS
    content = files.read_json(path)
    try:
        saved = content["test"]
        test = Evaluation(float(saved["loss"]), torch.tensor(saved["confusion"]), float(saved["confidence"]))
        if (
            test.confusion.shape != (classes, classes)
            or test.confusion.dtype != torch.int64
            or test.confusion.min() < 0
            or not test.images
        ):
            raise ValueError("no confusion matrix of its classes")
    except Exception as error:
        raise RunnerError(f"{path} is not the result of a run: {one_line(error)}") from error
    return test


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
        network_input, start = torch.empty(len(chosen), 3, 32, 32), 0
        for pixels, _ in loader.epoch(epoch):
            here = (start <= chosen) & (chosen < start + len(pixels))
            network_input[here] = pixels[(chosen[here] - start).to(pixels.device)].cpu()
            start += len(pixels)
        return network_input.mul(127.5).add(127.5).round().to(torch.uint8)

    if shuffle == "none":
        rows = {"no shuffle": seen(1)}
    elif shuffle == "per-image":
        rows = {"before": original.pixels[chosen], "shown once": seen(1), "shown again": seen(2)}
    else:
        rows = {"before": original.pixels[chosen], "every epoch": seen(1)}
    return rows, original.labels[chosen]


def evaluate(command: Command) -> Evaluation:
    """Reports a saved run again, on the test images of its data set.

    Raises:
        RunnerError: the run or its data can't be read, or the data is not what it was trained on.
    """
    config, network, saved, device, precision = restore(command)
    dataset = load_data_again(command.run, saved["dataset"], config, command.quiet)
    images = data.subset(dataset.test, limit=config.limit)
    test = measure_again(config, network, images, saved, device, precision)
    say = console.speaker(dataset.name, command.quiet)
    say(f"{command.run}: {command.weights} checkpoint, {checkpoints.position(saved)}, of {config.epochs} epochs")
    console.report(test, dataset, config, command.run, command.quiet)
    return test


def transfer(command: Command) -> None:
    """Measures a saved run on the test images with each shuffle, and writes its accuracies into the run's folder.

    Raises:
        RunnerError: the run or its data can't be read, or the data is not what it was trained on.
    """
    config, network, saved, device, precision = restore(command)
    dataset = load_data_again(command.run, saved["dataset"], config, command.quiet)
    images = data.subset(dataset.test, limit=config.limit)
    say = console.speaker(dataset.name, command.quiet)
    found = {}
    for shuffle in SHUFFLES:
        test = measure_again(replace(config, val_shuffle=shuffle), network, images, saved, device, precision)
        found[shuffle] = test.accuracy
        say(f"{config.model_name}, trained with shuffle {config.shuffle}, tested with {shuffle}: {test.accuracy:.1%}")
    about = {"trained_with": config.shuffle, "epoch": len(saved["history"]), "weights": command.weights}
    files.write_json(Path(command.run) / runs.TRANSFER, about | {"images": len(images), "test_accuracy": found})


def measure_again(
    config: Config, network: nn.Module, images: data.Images, saved: dict, device: torch.device, precision: str
) -> Evaluation:
    """A saved run on ``images``, with the random numbers of its last epoch."""
    epoch = len(saved["history"])
    loader = make_loader(images, data.TEST, config, device, layout_of(network))
    with rng.isolated_rng(config.seed, epoch, device):
        return validate(network, loader.epoch(epoch), len(saved["dataset"]["classes"]), precision)


def collapse(command: Command) -> None:
    """Writes the matrix that the affine network of a saved run comes to, and its templates, into the run's folder.

    Raises:
        affine.NotAffine: the network has other logits than the matrix, on the test images.
        RunnerError: the run or its data can't be read, or the data is not what it was trained on.
    """
    import affine

    config, network, saved, device, _ = restore(command)
    dataset = load_data_again(command.run, saved["dataset"], config, command.quiet)
    images = data.subset(dataset.test, limit=config.limit)
    chunks = make_loader(images, data.TEST, config, device, layout_of(network)).epoch(len(saved["history"]))
    matrix = affine.collapse(network)
    difference, logits, labels = 0.0, [], []
    for pixels, classes in chunks:
        difference = max(difference, affine.check(config.model_name, network, matrix, pixels))
        logits.append(matrix.logits(pixels.cpu()))
        labels.append(classes.cpu())
    facts = affine.facts(matrix, network) | {"images": len(images), "largest_difference": difference}
    facts["scores"] = affine.scores(torch.cat(logits), torch.cat(labels))
    folder = Path(command.run)
    affine.save(folder / affine.MATRIX, matrix)
    affine.plot_templates(folder / affine.TEMPLATES, utils.run_title(config, dataset), matrix, dataset.classes)
    files.write_json(folder / affine.FACTS, facts)
    say = console.speaker(dataset.name, command.quiet)
    say(f"{config.model_name}'s {facts['network_parameters']:,} parameters come to {facts['parameters']:,} numbers")
    say(f"their logits differ by {difference:.1g} at most, on {len(images):,} test images")
    say(f"in {folder}: {affine.MATRIX}, {affine.TEMPLATES}, {affine.FACTS}")


def predict(command: Command) -> None:
    """Classifies the image files of ``command``, and prints the three likeliest classes of each.

    Raises:
        RunnerError: the run or an image can't be read.
    """
    config, network, saved, device, precision = restore(command)
    about = saved["dataset"]
    pixels = torch.stack([sources.read_any_image(path) for path in command.images])
    images = data.Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    loader = make_loader(images, data.TEST, config, device, layout_of(network))
    with torch.no_grad(), steps.autocast(device, precision):
        chunks = loader.epoch(len(saved["history"]))
        probabilities = torch.cat([network(chunk).float().softmax(1) for chunk, _ in chunks]).cpu()
    say = console.speaker(about["name"])
    for path, row in zip(command.images, probabilities):
        top = row.topk(min(3, len(row)))
        likeliest = ", ".join(f"{about['classes'][i]} {100 * p:.1f} %" for p, i in zip(top.values, top.indices))
        shuffle = config.eval_shuffle
        shuffled = "" if shuffle == "none" else f", its pixels shuffled ({shuffle})"
        say(f"{config.model_name} sees in {path}{shuffled}: {likeliest}")


def restore(command: Command) -> tuple[Config, nn.Module, dict, torch.device, str]:
    """The settings, the trained network in evaluation mode, the checkpoint, device and precision of a saved run."""
    saved = checkpoints.load(command.run, command.weights, console.warn)
    config = runs.saved_config(command.run, saved, command, device="auto")
    find_model(config, saved["config"].get("model_file"))
    device = pick_device(config)
    network = build_network(config.model_name)
    precision = set_up_machine(config, network, device, saved)
    try:
        network.load_state_dict(saved["model"])
    except Exception as error:
        raise RunnerError(f"{command.run}: {config.model_name} has changed since this run was trained") from error
    return config, network.to(device).eval(), saved, device, precision


def find_model(config: Config, own: object = None) -> models.Model:
    """The row of the registry; ``own`` is the file of own models that a saved run names, which is not run for that."""
    try:
        return models.find(config.model_name)
    except models.UnknownModel as error:
        hint = f"{config.model_name} is an own model: give --model-file {own} if you trust that file" if own else error
        raise UsageError(str(hint)) from None


def build_network(name: str) -> nn.Module:
    try:
        return models.build(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def layout_of(network: nn.Module) -> torch.memory_format:
    """How images for ``network`` lie in memory; an own model may count on the usual layout."""
    return getattr(network, "memory_format", torch.contiguous_format)


def make_loader(
    images: data.Images,
    split: int,
    config: Config,
    device: torch.device,
    layout: torch.memory_format,
    batch_size: int | None = None,
) -> data.Loader:
    """The loader of a split; only the training images, which have a ``batch_size``, change their order."""
    training = batch_size is not None
    return data.Loader(
        images,
        split,
        batch_size or VALIDATION_BATCH,
        config.shuffle if training else config.eval_shuffle,
        config.shuffle_seed,
        config.seed if training else None,
        device,
        layout,
        flip=training and config.augment == "flip",
        threads=0 if steps.cores() > torch.get_num_threads() else torch.get_num_threads(),
    )


def load_data(config: Config, quiet: bool) -> data.Dataset:
    """The data set of a run, with a notice that can't be missed where it is not CIFAR-10."""
    notice = console.notices(quiet)
    about = config.dataset, config.data_dir, config.data_url, config.data_seed, config.cues
    dataset = sources.load(*about, notice, console.warn)
    if not dataset.is_cifar10:
        console.announce_generated_data()
    return dataset


def load_data_again(run: str, about: dict, config: Config, quiet: bool) -> data.Dataset:
    """The data set that the saved run ``run`` was trained on, which its files describe as ``about``.

    Raises:
        RunnerError: it is not there, or something else is in its place.
    """
    kind = runs.kind_of_data(about)
    if kind == "cifar10" and about["slug"] != "cifar10" and not sources.find(Path(config.data_dir)):
        raise RunnerError(f"the images of {about['name']} are not in {config.data_dir}: say with --data-dir where")
    config = replace(config, dataset=kind, data_seed=about.get("seed") or 0)
    data.check_sizes(config, sources.most_training_images(kind, config.data_dir))
    dataset = load_data(config, quiet)
    if dataset.digest != about["sha256"]:
        raise RunnerError(f"{run} was trained on {about['name']}, but {dataset.source} holds {dataset.name}")
    return dataset


def pick_device(config: Config) -> torch.device:
    """The device to compute on.

    Raises:
        UsageError: it is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if config.device == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[config.device]:
        raise UsageError(f"--device {config.device}: there is none on this machine")
    return torch.device(config.device)


def set_up_machine(config: Config, network: nn.Module, device: torch.device, saved: dict | None) -> str:
    """Sets the number of threads and returns the precision, ``fp32`` or ``bf16``.

    What ``config`` leaves open is as in ``saved``, the checkpoint that the run goes on from, or is found out.
    """
    before = saved["machine"] if saved else {}
    threads, precision = config.threads, config.precision
    if not threads and isinstance(before.get("threads"), int):
        threads = min(max(0, before["threads"]), steps.cores())
    torch.set_num_threads(threads or steps.threads_that_pay(count_macs(network), config.batch_size))
    if precision == "auto":
        precision = before.get("precision")
    return precision if precision in ("fp32", "bf16") else steps.fastest_precision(device)


def main(command: Command) -> int:
    """Does what the command line asks for and returns the exit code."""
    try:
        if command.action == "batch":
            import batch

            batch.run(command)
        else:
            what = dict(train=train, evaluate=evaluate, transfer=transfer, collapse=collapse, predict=predict)
            what[command.action](command)
    except Stopped as stopped:
        console.warn(f"ex1.py: {stopped}")
        return stopped.exit_code
    except KeyboardInterrupt:
        console.warn("ex1.py: stopped")
        return 130
    except Exception as error:
        if command.debug:
            console.warn(traceback.format_exc())
        known = isinstance(error, (RunnerError, OSError))
        hint = "" if known or command.debug else "; --debug shows where in the code it came from"
        console.warn(f"ex1.py: error: {one_line(error)}{hint}")
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(COMMAND))
