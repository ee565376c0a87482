"""Train one of the named networks on CIFAR-10, validate it after each epoch, and write down what came out.

python ex1.py --model-name Q1_19 --epochs 15
"""

from runner import cli, records, signals, startup

if __name__ == "__main__":
    # Before the imports below, which take seconds: -h, a wrong option and Ctrl-C are answered at once.
    startup.prepare()
    signals.stop_at_once_on_signals()
    ARGUMENTS = cli.parse()
    startup.tell_errors_in_a_line("ex1.py", ARGUMENTS.debug)

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import data
import models
import native
import utils
from experiments import trial
from runner import checkpoint, console, files, machine, resume, rng
from runner.config import AUTO, Config, EngineConfig
from runner.errors import CheckpointError, Diverged, counted
from runner.run import Run, open_run
from runner.signals import Stopped, StopSignal
from runner.step import TrainStep, initialize, learning_rate
from utils import EvalMetrics, RunningMetrics

EVAL_IMAGES = 3  # images that are measured in the time in which one is trained on; for the time left alone

# ---- the state of training -------------------------------------------------------------------------------------------


@dataclass
class TrainState:
    """All that training changes; ``state_dict()`` is what a checkpoint holds of it."""

    step: TrainStep  # what trains its model on a batch with its optimizer
    device: torch.device
    history: list[dict] = field(default_factory=list)  # a row for each epoch that is done
    metrics: RunningMetrics = field(default_factory=RunningMetrics)  # what the epoch after those has added up to so far

    def state_dict(self) -> dict:
        """Copy the state, random generators included. Raises Diverged if an output or a weight is not finite."""
        metrics, lr = self.metrics, self.step.lr
        for step, logits in enumerate(metrics.logits, metrics.steps - len(metrics.logits) + 1):
            if not logits.isfinite().all():
                raise Diverged(
                    f"the network's output is not a finite number at step {step:,}; the learning rate is {lr:g}"
                )
        if not all(weight.isfinite().all() for weight in self.step.model.parameters()):
            raise Diverged(f"a weight is not a finite number after step {metrics.steps:,}; the learning rate is {lr:g}")
        return {
            "model": self.step.model.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "rng": rng.rng_state(self.device),
            "history": self.history,
            "metrics": asdict(metrics),
        }

    def load_state_dict(self, saved: dict, loader: data.Loader, classes: int = models.CLASSES) -> None:
        """Go back to a saved state, that of the random generators included. Raises an exception of any kind if odd."""
        checkpoint.check_metrics(saved["metrics"], len(loader), loader.batch_size, loader.chunk_size, classes)
        checkpoint.load_weights(self.step.model, saved)
        checkpoint.load_momentum(self.step.optimizer, saved)
        rng.set_rng_state(saved["rng"], self.device)
        self.history = list(saved["history"])
        self.metrics = RunningMetrics(**saved["metrics"])
        self.metrics.logits = [logits.to(self.device) for logits in self.metrics.logits]

    def end_epoch(self, val: EvalMetrics, classes: list[str]) -> None:
        """Add the row of the epoch that is done to the history, and begin the metrics of the next."""
        self.history.append(utils.history_row(len(self.history) + 1, self.metrics, val, classes))
        self.metrics = RunningMetrics()


# ---- one epoch -------------------------------------------------------------------------------------------------------


def train_epoch(state: TrainState, loader: data.Loader, epoch: int, config: Config) -> Iterator[int]:
    """Train on every batch of one epoch, or of what is left of it, and yield the images of each step after it.

    The loss and accuracy of ``state.metrics`` are those of the images as they were trained on, before their own step.
    Raises Diverged if the loss is above ``files.MAX_MEASURED``, or no number.
    """
    step, metrics = state.step, state.metrics
    step.model.train()
    began = time.perf_counter() - metrics.seconds
    steps_per_epoch = math.ceil(len(loader) / config.batch_size)
    skip = len(metrics.logits)  # the steps that were done in the first chunk
    waiting: list[Tensor] = []  # labels of the chunks whose losses are not added yet

    for pixels, labels in loader.epoch(epoch, done=metrics.images):  # (C, 3, 32, 32), (C,)
        batches = list(zip(pixels.split(config.batch_size), labels.split(config.batch_size)))
        for images, targets in batches[skip:]:
            if config.schedule != "constant":
                steps_before = (epoch - 1) * steps_per_epoch + metrics.steps
                step.lr = learning_rate(config, steps_before, config.epochs * steps_per_epoch)
            metrics.logits.append(step(images, targets))
            metrics.steps += 1
            metrics.seconds = time.perf_counter() - began
            yield len(targets)
        skip = max(0, skip - len(batches))

        # A chunk's losses at once; a GPU has to be waited for whenever a figure is read back, so there once an epoch.
        waiting.append(labels)
        # Logits that are left to skip are of further chunks: a run that was on a GPU goes on here.
        if labels.device.type == "cpu" and not skip:
            add_losses(state, waiting, config.batch_size)
    if waiting:
        add_losses(state, waiting, config.batch_size)
    metrics.seconds = time.perf_counter() - began


def add_losses(state: TrainState, waiting: list[Tensor], batch_size: int) -> None:
    """Add the losses of the chunks whose labels wait, and empty ``waiting``. Raises Diverged if they are too large."""
    metrics, lr = state.metrics, state.step.lr
    losses = metrics.accumulate(torch.cat(waiting))
    waiting.clear()
    if not metrics.loss <= files.MAX_MEASURED:  # nor NaN
        first = int((losses <= files.MAX_MEASURED).logical_not().int().argmax())
        number = (metrics.images - len(losses) + first) // batch_size + 1
        raise Diverged(
            f"the training loss is {losses[first].item():.4g} at step {number:,}; the learning rate is {lr:g}"
        )


@torch.no_grad()
def validate(
    model: nn.Module, chunks: Iterable[tuple[Tensor, Tensor]], classes: int, precision: str = "fp32"
) -> EvalMetrics:
    """Measure ``model``, computed in ``fp32`` or ``bf16``, on chunks of images: (C, 3, 32, 32) and labels (C,).

    Raises Diverged if the loss is above ``files.MAX_MEASURED``, or no number.
    """
    model.eval()
    loss_sum = confidence_sum = 0.0
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    seen: list[tuple[Tensor, Tensor]] = []
    for pixels, labels in chunks:
        with machine.autocast(pixels.device, precision):
            logits = torch.cat([model(batch) for batch in pixels.split(data.EVAL_BATCH)]).float()  # (C, classes)
        loss_sum += F.cross_entropy(logits, labels, reduction="sum").item()
        confidence_sum += logits.softmax(1).amax(1).sum().item()
        confusion += utils.count_confusion(logits.argmax(1), labels, classes)
        seen.append((logits.cpu(), labels.cpu()))
    images = int(confusion.sum())
    if not loss_sum / images <= files.MAX_MEASURED:  # nor NaN
        raise Diverged(f"the validation loss is {loss_sum / images:.4g}: the weights have grown beyond all bounds")
    all_logits, all_labels = (torch.cat(parts) for parts in zip(*seen))
    calibration = utils.measure_calibration(all_logits, all_labels)
    correct = all_logits.argmax(1) == all_labels
    return EvalMetrics(loss_sum / images, confusion, confidence_sum / images, calibration, correct)


# ---- one run ---------------------------------------------------------------------------------------------------------


def train(config: Config, resumed: str = "") -> Path:
    """Train one run, or what is left of it, and return its folder; ``resumed`` is empty, ``auto`` or a run's folder.

    Raises RunnerError if settings, data or files don't work out, or a loss is not a finite number; Stopped if a signal
    came, with the run saved.
    """
    # Data; without a hold-out the validation images are the test images, as published.
    device = machine.pick_device(config)
    dataset = trial.load_run(config, resumed)
    train_images, val_images, test_images = data.split(dataset, config)
    has_holdout = val_images is not test_images
    facts = dataset.facts | {"train_images": len(train_images), "test_images": len(test_images)}
    facts |= data.describe_shuffle(config.shuffle, config.shuffle_seed)
    del dataset  # of which the parts may be copies

    # Model; the seed fixes its initial weights, so nothing random may come between.
    rng.seed_everything(config.seed)
    spec, model = models.find(config.model_name), models.build(config.model_name, len(facts["classes"]))
    initialize(model, config)

    # The folder of the run is ours while we are in it, and an own network finds there what lies beside its file.
    with spec.beside, open_run(config, facts, resumed, spec.sha256) as run:
        if run.finished:
            return say_finished(run)
        macs = machine.count_macs(model)
        before = run.saved and run.saved["machine"]
        here = machine.set_up(config, macs, device, before)
        here, library = native.set_up(config, spec, here, len(facts["classes"]), before)
        run.machine = machine.describe(here, spec.sha256)
        header = write_header(run, model, macs, len(val_images) if has_holdout else 0)

        # Loaders, which hold copies of the images.
        placement = device, models.memory_format_of(model), here.loader_threads
        train_loader = data.make_loader(train_images, data.TRAIN, config, *placement)
        test_loader = data.make_loader(test_images, data.TEST, config, *placement)
        val_loader = data.make_loader(val_images, data.HOLDOUT, config, *placement) if has_holdout else test_loader
        write_samples(run, val_images, val_loader)
        del train_images, val_images, test_images

        # The state that training changes: new, or that of the checkpoint.
        state = TrainState(native.make_step(model, config, here, library), device)
        if run.saved:
            restore(state, run.saved, run, train_loader)

        watch = watch_run(run, state, header["validated_on"])
        with StopSignal() as stop, contextlib.closing(watch), run_bar(state, config, train_loader, val_loader) as bar:
            val = None
            while not config.is_over([row["val_accuracy"] for row in state.history]):
                run.stage = f"epoch {len(state.history) + 1}"
                train_and_save(state, train_loader, run, stop, bar)
                val = validate_and_save(state, val_loader, run, stop, bar)
                watch.show(state.history)

            # The result is the last epoch's. Where images were held out, this is the one look at the test set.
            run.stage = "at its end"
            if val is None or has_holdout:
                val = validate_run(state, test_loader, run, stop)
            finish(run, state, val, header, stop)
    return run.folder


def write_header(run: Run, model: nn.Module, macs: int, held_out: int) -> dict:
    """Write and say what is to be trained, before it is; return what ``metrics.json`` repeats of it.

    ``held_out`` counts the images that are validated on; 0: the test images are.
    """
    config, dataset = run.config, run.dataset
    header = {
        "dataset": dataset["name"],
        "model": config.model_name,
        "parameters": models.count_parameters(model),
        "macs": macs,
        "validated_on": f"{held_out:,} images held out" if held_out else f"{dataset['test_images']:,} test images",
    }
    run.write_config(header)
    summary = f"{config.title(dataset['name'])}\n\n{utils.parameter_summary(model)}"
    files.write_file(run.folder / files.SUMMARY, summary)

    console.say_start(run, header, models.find(config.model_name).change)
    return header


def write_samples(run: Run, images: data.Images, loader: data.Loader) -> None:
    """Plot the first image of each class, before and after the shuffle."""
    rows, labels = data.sample_rows(images, loader, run.config.eval_shuffle)
    names = [run.dataset["classes"][label] for label in labels]
    utils.plot_samples(run.folder / files.SAMPLES, run.config.title(run.dataset["name"]), rows, names)


def restore(state: TrainState, saved: dict, run: Run, loader: data.Loader) -> None:
    """Put ``state`` back to ``saved``, which ``run`` goes on from. Raises CheckpointError if it is of another model."""
    origin = run.continues or run.folder
    try:
        state.load_state_dict(saved, loader, len(run.dataset["classes"]))
    except Exception as error:
        why = f"{run.config.model_name} has changed since, or the checkpoint is not one of it"
        raise CheckpointError(f"{origin} can't be resumed: {why}") from error
    say = console.stdout_log(run.dataset["name"])
    say.info(f"going on from {origin}, {checkpoint.position(saved)}")
    resume.warn_of_other_machine(saved["machine"], run.machine)


def watch_run(run: Run, state: TrainState, validated_on: str) -> utils.Watch:
    """Have curves, and events where they are asked for, show the run while it trains."""
    events = state.history if run.config.tensorboard else None
    return utils.Watch(run.folder, run.config.title(run.dataset["name"]), validated_on, events)


def run_bar(state: TrainState, config: Config, train: data.Loader, val: data.Loader) -> console.Bar:
    """Make the bar of a whole run, which counts images: one of training like ``EVAL_IMAGES`` of validation."""
    epoch = len(train) + len(val) / EVAL_IMAGES
    done = min(state.metrics.steps * config.batch_size, len(train))
    return console.progress_bar("", config.epochs * epoch, len(state.history) * epoch + done)


def train_and_save(state: TrainState, loader: data.Loader, run: Run, stop: StopSignal, bar: console.Bar) -> None:
    """Train the epoch after those of the history, or what is left of it, with checkpoints."""
    config, metrics, epoch = run.config, state.metrics, len(state.history) + 1
    for images in train_epoch(state, loader, epoch, config):
        if bar.update(images) and metrics.images:
            rate = metrics.steps * config.batch_size / metrics.seconds
            figures = f"loss {metrics.loss:.3f}, {100 * metrics.accuracy:.1f} %, {rate:,.0f} images/s"
            bar.set_description_str(f"  {config.model_name} {epoch}/{config.epochs} {figures}", refresh=False)
        # After any step a checkpoint may be due, or a stop asked for.
        if stop.requested or (config.checkpoint_every and metrics.steps % config.checkpoint_every == 0):
            run.save(state.state_dict())
            run.raise_if_stopped(stop, epoch - 1, metrics.steps)
    run.save(state.state_dict())


def validate_and_save(
    state: TrainState, loader: data.Loader, run: Run, stop: StopSignal, bar: console.Bar
) -> EvalMetrics:
    """Validate after an epoch, add it to the history, and save; the best of a hold-out so far on its own, too."""
    began, seconds = time.perf_counter(), state.metrics.seconds
    val = validate_run(state, loader, run, stop)
    on_holdout = loader.split == data.HOLDOUT
    best = on_holdout and all(val.accuracy > row["val_accuracy"] for row in state.history)
    seconds += time.perf_counter() - began
    state.end_epoch(val, run.dataset["classes"])
    run.save(state.state_dict(), best)
    files.write_history(run.folder, run.dataset["name"], state.history)
    bar.update(len(loader) / EVAL_IMAGES)

    say, epochs = console.stdout_log(run.dataset["name"]), len(state.history)
    is_over = run.config.is_over([row["val_accuracy"] for row in state.history])
    left = 0 if is_over else seconds * (run.config.epochs - epochs)
    say.info(console.epoch_line(run.config, state.history[-1], left))
    if is_over and epochs < run.config.epochs:
        say.info(f"no better validation accuracy in {counted(run.config.patience, 'epoch')}: the run ends here")
    return val


def validate_run(state: TrainState, loader: data.Loader, run: Run, stop: StopSignal) -> EvalMetrics:
    """Validate with random numbers of its own; a signal ends that between chunks."""
    epoch = min(len(state.history) + 1, run.config.epochs)

    def chunks() -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in loader.epoch(epoch):
            run.raise_if_stopped(stop, len(state.history), state.metrics.steps)
            yield chunk

    with rng.isolated_rng(run.config.seed, epoch, state.device):
        return validate(state.step.model, chunks(), len(run.dataset["classes"]), state.step.precision)


def finish(run: Run, state: TrainState, test: EvalMetrics, header: dict, stop: StopSignal) -> None:
    """Write what a finished run leaves, ``metrics.json`` last, and say the result. Raises Stopped if a signal came."""
    folder, name, classes, history = run.folder, run.dataset["name"], run.dataset["classes"], state.history
    title = run.config.title(name)
    run.check_folder()
    files.write_history(folder, name, history)
    utils.plot_curves(folder / files.CURVES, title, history, header["validated_on"])
    utils.plot_per_class(folder / files.PER_CLASS, title, test, classes)
    utils.plot_confusion(folder / files.CONFUSION, title, test, classes)

    last = history[-1]
    results = {
        "epochs": last["epoch"],
        "train": {"loss": last["train_loss"], "accuracy": last["train_accuracy"]},
        "validation": {"loss": last["val_loss"], "accuracy": last["val_accuracy"]},
        "test": test.as_dict(classes),
    }
    if run.config.compile:
        results["compiled"] = state.step.compiled
    if run.config.val == "holdout":
        best = max(history, key=lambda row: row["val_accuracy"])
        results["best_epoch_by_holdout"] = {"epoch": best["epoch"], "validation_accuracy": best["val_accuracy"]}
    files.write_json(folder / files.METRICS, header | results)

    console.print_result(run.config, name, folder, test.accuracy, utils.result_lines(results["test"]))
    written = ", ".join(sorted(path.name for path in folder.iterdir() if path.name[0] != "."))
    console.stdout_log(name).info(f"in {folder}: {written}")
    if stop.requested:
        raise Stopped(stop.requested, f"stopped, but {folder} was finished already")


def say_finished(run: Run) -> Path:
    """Say the result in the files of a finished run, and return its folder. Raises RunnerError if it can't be read."""
    folder, name = run.folder, run.dataset["name"]
    test = records.read_result(folder, run.config)["test"]
    is_planned = run.config.schedule != "constant"  # for its number of epochs
    how = "--new trains it again" + ", --resume with more --epochs goes on with it" * (not is_planned)
    console.stdout_log(name).info(f"{folder} is finished; {how}")
    console.print_result(run.config, name, folder, test["accuracy"], utils.result_lines(test))
    return folder


# ---- the command line ------------------------------------------------------------------------------------------------


def act(arguments: cli.Arguments) -> None:
    """Do what the command line asks for. Raises what :func:`train` does."""
    given = arguments.given
    if "model_file" in given:
        models.load_file(str(given["model_file"]))
    if arguments.action == "list":
        console.print_text(models.listing())
    elif arguments.action == "train":
        names = [spec.name for spec in models.select(arguments.models)] if arguments.models else []
        runs = arguments.runs(names)
        if arguments.is_sweep(runs) or arguments.dry_run:
            from experiments import sweep, until_decided  # and their report, which take a second to import

            configs, engine_config = [Config.from_given(run) for run in runs], arguments.engine or EngineConfig()
            if arguments.goal:
                of_looks = until_decided.show if arguments.dry_run else until_decided.run
                of_looks(configs, arguments.goal, engine_config, train)
            else:
                (sweep.show if arguments.dry_run else sweep.run)(configs, engine_config, train)
        elif arguments.resume in ("", AUTO):
            train(Config.from_given(runs[0]), arguments.resume)
        else:
            folder = str(records.find_run(arguments.resume, arguments.results_dir))
            train(resume.resumed_config(folder, runs[0]), folder)
    else:
        from experiments import probes

        probes.act(arguments, validate)


def main(arguments: cli.Arguments) -> int:
    """Do what the command line asks for and return the exit code."""
    console.set_up_logging(arguments.quiet)
    return console.exit_code_of(lambda: act(arguments), debug=arguments.debug)


if __name__ == "__main__":
    sys.exit(main(ARGUMENTS))
