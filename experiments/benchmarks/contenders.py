"""The contenders: each trains the same network on the same images, written as its users write it.

Each is made for a model and a batch size, and called with a number of steps; it takes them and returns the seconds that
one step took. Workers and the like are started before the clock is.
"""

import pickle
import runpy
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import data
import models
import native
from runner import console, machine
from runner.config import Config
from runner.errors import RunnerError
from runner.machine import PROJECT
from runner.step import initialize_kaiming, make_optimizer

# The program is a script that nothing imports: its functions are taken from the script as it is.
EX1 = runpy.run_path(str(PROJECT / "ex1.py"), run_name="ex1")

UNTIMED = 20  # steps before the clock starts, in which workers start and libraries pick their kernels


def build(model: str) -> nn.Module:
    """Build the model with the same weights for every contender."""
    torch.manual_seed(0)
    return models.build(model)


class Contender(Protocol):
    """Takes so many steps when called, and returns the seconds that one of them took."""

    name: str
    threads: int

    def __call__(self, count: int) -> float: ...


class ThisRepo:
    """``ex1.py``: its loader, step and loop, with the threads and the precision that it picks."""

    def __init__(self, model_name: str, dataset: data.Dataset, **settings: object):
        self.config = Config.from_given({"model_name": model_name, **settings})
        self.model = build(model_name)
        here = machine.set_up(self.config, machine.count_macs(self.model), torch.device("cpu"))
        if self.config.init == "kaiming":
            initialize_kaiming(self.model)
        self.machine, library = native.set_up(self.config, models.find(model_name), here, models.CLASSES)
        if self.config.step == "native" and not library:  # else PyTorch's would be timed under its name
            raise RunnerError(f"the native step of {model_name} can't be timed here, as the line above says")
        step = native.make_step(self.model, self.config, self.machine, library)
        self.name = f"ours, {'native' if library else 'PyTorch'}"
        self.threads = self.machine.threads
        self.state = EX1["TrainState"](step, self.machine.device)
        self.images = dataset.train
        self.epoch = 0

    def loader(self, images: int) -> data.Loader:
        some = self.images.take(slice(images))
        placement = self.machine.device, models.memory_format_of(self.model), self.machine.loader_threads
        return data.make_loader(some, data.TRAIN, self.config, *placement)

    def __call__(self, count: int) -> float:
        loader = self.loader(count * self.config.batch_size)
        torch.set_num_threads(self.threads)
        self.epoch += 1
        self.state.metrics = metrics = EX1["RunningMetrics"]()
        with console.progress_bar("", len(loader)) as bar:
            began = time.perf_counter()
            for images in EX1["train_epoch"](self.state, loader, self.epoch, self.config):
                if bar.update(images) and metrics.images:
                    bar.set_description_str(f"loss {metrics.loss:.3f}", refresh=False)
            return (time.perf_counter() - began) / metrics.steps


class NoDataLoop:
    """The same network, batch size and optimiser on one batch that is there already: the time without any data."""

    name = "bare limit"

    def __init__(self, ours: ThisRepo, clock: Callable[[], float] = time.perf_counter):
        self.threads, self.clock = ours.threads, clock
        self.model = build(ours.config.model_name)
        self.optimizer = make_optimizer(self.model, ours.config)
        self.precision = ours.machine.precision
        self.batch, self.labels = next(iter(ours.loader(ours.config.batch_size).epoch(1)))

    def __call__(self, count: int) -> float:
        torch.set_num_threads(self.threads)
        self.model.train()
        began = self.clock()
        for _ in range(count):
            self.optimizer.zero_grad()
            if self.precision == "fp32":
                logits = self.model(self.batch)
            else:
                with torch.autocast("cpu", torch.bfloat16):
                    logits = self.model(self.batch)
            F.cross_entropy(logits.float(), self.labels).backward()
            self.optimizer.step()
        return (self.clock() - began) / count


class BareStep:
    """Our step on one batch that is there already, in processor time unless the ``clock`` is another."""

    def __init__(self, ours: ThisRepo, clock: Callable[[], float] = time.process_time):
        self.name, self.threads, self.step = f"the step of {ours.name}", ours.threads, ours.state.step
        self.clock = clock
        self.batch, self.labels = next(iter(ours.loader(ours.config.batch_size).epoch(1)))

    def __call__(self, count: int) -> float:
        torch.set_num_threads(self.threads)
        self.step.model.train()
        began = self.clock()
        for _ in range(count):
            self.step(self.batch, self.labels)
        return (self.clock() - began) / count


class MatrixProduct:
    """PyTorch's product of two large matrices in fp32: what a core can do at its best, in processor time.

    A step of it is one operation; the seconds are those of the fastest of a few products.
    """

    name = "matrix product"
    threads = 1
    size = 1024

    def __init__(self) -> None:
        self.factors = torch.ones(2, self.size, self.size)

    def __call__(self, count: int) -> float:
        torch.set_num_threads(self.threads)
        times = []
        for _ in range(5):
            began = time.process_time()
            torch.mm(*self.factors)
            times.append(time.process_time() - began)
        return min(times) / (2 * self.size**3)


def write_batches(dataset: data.Dataset, root: Path) -> None:
    """Write the images as the pickled files that torchvision's CIFAR10 reads."""
    folder = root / torchvision.datasets.CIFAR10.base_folder
    folder.mkdir(parents=True)
    fifth = -(-len(dataset.train) // 5)
    parts = {f"data_batch_{i + 1}": dataset.train.take(slice(i * fifth, (i + 1) * fifth)) for i in range(5)}
    for name, images in (parts | {"test_batch": dataset.test}).items():
        content = {"data": images.pixels.reshape(-1, 3072).numpy(), "labels": images.labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(content))


class Cifar10(torchvision.datasets.CIFAR10):
    """torchvision's, for files of the same images that are not byte for byte the official ones."""

    def _check_integrity(self) -> bool:
        return True

    def _load_meta(self) -> None:
        self.classes: list[str] = []


class Textbook:
    """The loop of PyTorch's tutorial "Training a Classifier", with the default number of threads."""

    def __init__(self, model: str, root: Path, num_workers: int, batch_size: int = 4):
        self.name = f"textbook loop, num_workers={num_workers}"
        self.threads = machine.cores()
        classic = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])
        trainset: Dataset = Cifar10(root, transform=classic)
        self.trainloader = DataLoader(trainset, batch_size=batch_size, shuffle=True, num_workers=num_workers)
        self.net = build(model).to(memory_format=torch.contiguous_format)
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.001, momentum=0.9)

    def losses(self, batches: Iterator[list[Tensor]]) -> Iterator[float]:
        for inputs, labels in batches:
            self.optimizer.zero_grad()
            outputs = self.net(inputs)
            loss = self.criterion(outputs, labels)
            loss.backward()
            self.optimizer.step()
            yield loss.item()

    def __call__(self, count: int) -> float:
        torch.set_num_threads(self.threads)
        losses = self.losses(iter(self.trainloader))
        running_loss = sum(islice(losses, UNTIMED))
        began = time.perf_counter()
        for loss in islice(losses, count):
            running_loss += loss
        return (time.perf_counter() - began) / count


class Lightning:
    """Lightning's Trainer on the same data loader, with what it logs and saves by default switched off."""

    def __init__(self, model: str, root: Path, num_workers: int):
        import lightning

        self.name = f"Lightning, num_workers={num_workers}"
        # The same network and loader as the textbook's, in the shape that the Trainer takes.
        textbook = Textbook(model, root, num_workers)
        self.threads, self.loader = textbook.threads, textbook.trainloader

        class Classifier(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = textbook.net

            def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
                inputs, labels = batch
                return F.cross_entropy(self.net(inputs), labels)

            def configure_optimizers(self) -> optim.Optimizer:
                return optim.SGD(self.parameters(), lr=0.001, momentum=0.9)

        class Clock(lightning.Callback):
            began = 0.0

            def on_train_batch_end(self, *args: object) -> None:
                if args[4] == UNTIMED - 1:
                    self.began = time.perf_counter()

        self.module, self.clock, self.trainer = Classifier(), Clock, lightning.Trainer

    def __call__(self, count: int) -> float:
        torch.set_num_threads(self.threads)
        clock = self.clock()
        trainer = self.trainer(
            accelerator="cpu",
            max_steps=UNTIMED + count,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self.module, self.loader)
        return (time.perf_counter() - clock.began) / count
