"""Folders of runs with the files that a report reads, made without training."""

import math
import random
from dataclasses import asdict

import models
from runner import config, files
from tests.helpers.images import CLASSES

# What a per-image shuffle left of each class as it was published, in percent.
COLOURS = dict(plane=48, car=28, bird=13, cat=5, deer=46, dog=29, frog=36, horse=9, ship=31, truck=16)

CALIBRATION = "val_confidence_when_wrong", "val_calibration_error", "val_scaled_loss"


def neighbours_kept(shuffle):
    """About the share of neighbouring pixels that a shuffle leaves neighbours."""
    kind, _, size = config.parts_of_shuffle(shuffle)[1].partition(":")
    pairs = {"block": 1 - 1 / int(size or 1), "within": 1 / int(size or 1), "within-shared": 2 / (int(size or 1) + 1)}
    return 1.0 if kind == "none" else pairs.get(kind, 0.004)


def fake_run(
    root,
    model="Q1_1",
    seed=0,
    shuffle="none",
    accuracy=60.0,
    turn=None,
    ended=None,
    finished=True,
    data="CIFAR-10",
    slug="cifar10",
    classes=CLASSES,
    name=None,
    per_class=None,
    losses=None,
    calibration=None,
    confusion=None,
    **settings,
):
    """Writes a run whose validation accuracy ends near ``accuracy`` percent.

    Args:
        turn: the epoch where the validation loss turns, if it does.
        ended: the epoch after which the run was out of patience, if it was.
        per_class: accuracies of classes after every epoch, in percent, by name.
        losses: (training, validation) losses after each epoch, in place of smooth ones.
        calibration: (confidence of wrong answers, calibration error, scaled loss) after each epoch, if there are any.
        confusion: images by class and answer after the last epoch, which the accuracy is then taken from.
    """
    run = config.Config(model_name=model, seed=seed, shuffle=shuffle, **settings)
    folder = root / slug / model / (name or run.run_name)
    folder.mkdir(parents=True)
    draws = random.Random(f"{model} {seed} {shuffle}")
    row = models.find(model)
    history = []
    for epoch in range(1, (ended or run.epochs) + 1):
        share = 1 - 0.5**epoch
        val = (10 + (accuracy - 10) * share + draws.gauss(0, 0.3)) / 100
        train_loss = 2.3 - 1.2 * share
        val_loss = train_loss + 0.05 + draws.gauss(0, 0.005)
        if turn and epoch > turn:
            val_loss += 0.2 * (epoch - turn) ** 1.5
            train_loss -= 0.05 * (epoch - turn)
        if losses:
            train_loss, val_loss = (loss + draws.gauss(0, 0.002) for loss in losses[epoch - 1])
        history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "train_accuracy": min(0.99, val + 0.02 + (0.03 * max(0, epoch - turn) if turn else 0)),
                "val_loss": val_loss,
                "val_accuracy": val,
                "val_confidence": val + (0.04 * max(0, epoch - turn) if turn else 0),
                **dict(zip(CALIBRATION, calibration[epoch - 1] if calibration else ())),
                "seconds": 10 + math.log(row.parameters),
                "images_per_second": 2000.0,
                **{
                    f"val_accuracy_of_{name}": (per_class or {}).get(name, 100 * val) / 100 + draws.gauss(0, 0.002)
                    for name in classes
                },
            }
        )
    if confusion:
        history[-1]["val_accuracy"] = sum(confusion[i][i] for i in range(len(confusion))) / sum(map(sum, confusion))
        for i, name in enumerate(classes):
            history[-1][f"val_accuracy_of_{name}"] = confusion[i][i] / sum(confusion[i])
    description = {
        "dataset": data,
        "model": model,
        "parameters": row.parameters,
        "macs": sum(layer.macs for layer in row.layers()),
        "settings": asdict(run),
        "data": {"name": data, "slug": slug, "sha256": slug * 3, "classes": list(classes), "seed": None}
        | {
            "permutation_sha256": f"{shuffle} {run.shuffle_seed}" if "per-image" not in shuffle else None,
            "neighbours_kept": neighbours_kept(shuffle),
        },
        "machine": {"device_name": "a CPU", "threads": 1, "git_commit": "0" * 40, "versions": {"torch": "2.0"}},
    }
    files.write_json(folder / "config.json", description)
    files.write_history(folder, data, history if finished else history[:-1])
    if finished:
        files.write_json(folder / "metrics.json", fake_metrics(history, confusion))
    return folder


def fake_metrics(history, confusion=None):
    """What ``metrics.json`` says of a run with this history."""
    last = history[-1]
    per_class = {name.removeprefix("val_accuracy_of_"): value for name, value in last.items() if "_of_" in name}
    test = {"images": 10_000, "loss": last["val_loss"], "accuracy": last["val_accuracy"]}
    answers = {"confusion": confusion} if confusion else {}
    return {"epochs": len(history), "test": test | {"per_class_accuracy": per_class} | answers}


def fake_seeds(root, model, shuffle="none", **options):
    """Writes three runs that differ in their seed."""
    return [fake_run(root, model, seed, shuffle, **options) for seed in range(3)]


def fake_study(root):
    """All models, three seeds of those that the claims are about, and each shuffle of Q1_1, as the study found it."""
    for place, model in enumerate(models.TABLE):
        several = model.name in ("Q1_1", "Q1_4", "Q1_11", "Q1_17", "Q1_18", "Q1_19", "Q2_1", "Q2_2")
        accuracy = {"Q1_19": 75, "Q2_1": 38, "Q2_2": 38.2}.get(model.name, 72 if place > 18 else 55 + place / 2)
        losses = None
        if model.name in ("Q1_4", "Q1_17", "Q1_18"):
            losses = [(1.9 - 0.02 * epoch, 1.88 - 0.02 * epoch) for epoch in range(10)]
        for seed in range(3 if several else 1):
            fake_run(root, model.name, seed, accuracy=accuracy, turn=5 if place in (10, 18) else None, losses=losses)
    for seed in range(3):
        fake_run(root, "Q1_1", seed, "fixed", accuracy=44)
        fake_run(root, "Q1_1", seed, "per-image", accuracy=27, per_class=COLOURS)


def fake_baselines(folder, histogram=35.0, per_class=None, pixels=39.0):
    """Writes ``baselines.json`` for the data set of ``folder``, with these accuracies in percent."""
    slug = folder.name
    accuracies = {"chance": 10.0, "colour histogram": histogram, "logistic regression": pixels}
    found = {
        name: {
            "about": f"what {name} is",
            "accuracy": accuracy / 100,
            "per_class_accuracy": {one: (per_class or {}).get(one, accuracy) / 100 for one in CLASSES},
            "images": 10_000,
        }
        for name, accuracy in accuracies.items()
    }
    files.write_json(folder / "baselines.json", {"data": {"slug": slug, "sha256": slug * 3}, "baselines": found})
