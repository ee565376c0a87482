"""What runs leave, to be compared."""

import csv

import torch

TIMES = {"seconds", "images_per_second"}


def weights(folder, name="last"):
    return torch.load(folder / f"{name}.pt", weights_only=True)["model"]


def outcome(folder, name="last.pt"):
    """All that a run gives that is not a time."""
    saved = torch.load(folder / name, weights_only=True)
    with open(folder / "history.csv", encoding="utf-8") as lines:
        history = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(lines)]
    return {
        "weights": saved["model"],
        "momentum": saved["optimizer"]["state"],
        "random": saved["rng"],
        "epochs": [{key: value for key, value in row.items() if key not in TIMES} for row in saved["history"]],
        "history": history,
        "metrics": (folder / "metrics.json").read_text(encoding="utf-8"),
    }


def outcomes_in(results):
    """The outcomes of all finished runs in a folder of results, by the name of the run."""
    return {path.parent.name: outcome(path.parent) for path in results.glob("*/*/*/metrics.json")}


def same(a, b):
    """Whether two outcomes, or parts of such, are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same_outcome(folder, reference):
    ours, theirs = outcome(folder), outcome(reference)
    assert [key for key in ours if not same(ours[key], theirs[key])] == []
    files = lambda folder: {path.name for path in folder.iterdir()}
    assert files(folder) == files(reference)


def assert_holds(dataset, train, test):
    """Whether a data set has these training and test pixels and labels."""
    for images, (pixels, labels) in ((dataset.train, train), (dataset.test, test)):
        assert images.pixels.dtype == torch.uint8
        assert torch.equal(images.pixels, pixels)
        assert torch.equal(images.labels, labels)
