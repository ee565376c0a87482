"""Where images come from: CIFAR-10 in any of its forms, a generated set in its place, or another data set."""

import logging
from dataclasses import replace
from pathlib import Path

import torch

from data import Dataset, check_sizes
from datasets import cifar10, download, forms, image_folder, published, synthetic
from datasets.cache import lock
from runner.config import FIELDS, OTHER_DATASETS, Config, cue_strengths
from runner.errors import DataError, UsageError
from runner.files import dataset_kind

log = logging.getLogger("ex1")


def load(config: Config) -> Dataset:
    """Load the images of ``--dataset``; ``auto`` is CIFAR-10 where it can be had, else the generated set.

    Raises UsageError if there are too few, or a given ``--data-dir`` is not there, before any is read; DataError if
    those in it are damaged; DownloadError if ``cifar10`` is not there and can't be downloaded.
    """
    given = config.data_dir != FIELDS["data_dir"].default
    if config.dataset != "synthetic" and given and not Path(config.data_dir).exists():
        make = "" if config.dataset in OTHER_DATASETS else "make it (mkdir) to have CIFAR-10 downloaded into it, or "
        raise UsageError(f"--data-dir {config.data_dir} does not exist: {make}name the folder that holds the images")
    check_sizes(config, *expected_labels(config))
    if config.dataset in published.SETS:
        return published.load(config.dataset, Path(config.data_dir))
    if config.dataset == "folder":
        with lock(Path(config.data_dir)):
            return image_folder.load_any(Path(config.data_dir), config.data_check == "full")
    if config.dataset != "synthetic":
        try:
            return _load_cifar10(Path(config.data_dir), config.data_url, config.data_check == "full")
        except download.DownloadError as error:
            if config.dataset == "cifar10":
                raise
            log.warning(f"CIFAR-10 is not in {config.data_dir} and could not be downloaded: {error}")
    dataset = synthetic.make_dataset(config.data_seed, cue_strengths(config.cues) or synthetic.STRENGTHS)
    for line in synthetic.NOTICE.splitlines():
        log.warning(line)
    return dataset


def _load_cifar10(data_dir: Path, url: str, anew: bool) -> Dataset:
    found = forms.find(data_dir)
    if data_dir.is_file() and not found:
        raise DataError(forms.tell_unread(data_dir))
    if found and found[0] == "batches":
        if anew:
            log.info(f"{found[1]} is not cached: its files are read each time, and have the official MD5s")
        return cifar10.load_batches(found[1])
    with lock(data_dir.parent if data_dir.is_file() else data_dir):
        found = forms.find(data_dir)  # again: another run may have got it
        if not found:
            found = "archive", data_dir / cifar10.ARCHIVE
            forms.warn_of_unread(data_dir)
            download.download(found[1], url)
        form, path = found
        if form == "folder":
            return image_folder.load(path, anew)
        return cifar10.load_archive(path, anew) if form == "archive" else forms.load(form, path, anew)


def expected_labels(config: Config) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Tell the training images' labels, in any order, and the classes, without reading an image. Raises DataError."""
    if config.dataset in published.SETS:
        return published.expected_labels(config.dataset)
    if config.dataset == "folder":
        train, _, classes = image_folder.list_any(Path(config.data_dir), [])
        return torch.tensor([label for _, label in train]), classes
    if config.dataset == "synthetic":
        return torch.arange(synthetic.TRAIN_IMAGES) % 10, synthetic.CLASSES
    form, path = forms.find(Path(config.data_dir)) or ("", Path())
    if form == "folder":
        return torch.tensor([label for _, label in image_folder.list_images(path, [])[0]]), cifar10.CLASSES
    return torch.arange(cifar10.TRAIN_IMAGES) % 10, cifar10.CLASSES


def reload(facts: dict, config: Config, run: str) -> Dataset:
    """Load the data that the files of ``run`` describe as ``facts``. Raises DataError if it is not what is there."""
    kind, name = dataset_kind(facts), facts["name"]
    # Only the official images can be downloaded.
    is_there = (Path(config.data_dir) / "train").is_dir() if kind == "folder" else forms.find(Path(config.data_dir))
    if (kind == "folder" or (kind == "cifar10" and facts["slug"] != "cifar10")) and not is_there:
        raise DataError(f"the images of {name} are not in {config.data_dir}: say with --data-dir where")
    dataset = load(replace(config, dataset=kind, data_seed=facts.get("seed") or 0))
    if dataset.digest != facts["sha256"]:
        raise DataError(
            f"{run} was trained on {name}, but {dataset.source} holds {dataset.name}: say with --data-dir where"
        )
    return dataset
