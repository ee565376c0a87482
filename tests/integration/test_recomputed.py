"""Statements of the committed report, computed from its tables by another way: csv, NumPy and SciPy alone."""

import csv
import re
from functools import cache

import numpy as np
import pytest
from scipy import stats

from tests.helpers.paths import PROJECT

STUDY = next((PROJECT / "results/reproduction").glob("cifar10*"))
ORDER = "plane car bird cat deer dog frog horse ship truck".split()
PUBLISHED = [48, 28, 13, 5, 46, 29, 36, 9, 31, 16]


@cache
def table(study, name):
    """The rows of a table of a study on CIFAR-10 by the name of the run."""
    rows = {}
    with open(PROJECT / "results" / study / name, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["run"].startswith("cifar10"):
                rows.setdefault(row["run"].rpartition("/")[2], []).append(row)
    return rows


def runs_of(study, pattern):
    return sorted(run for run in table(study, "runs.csv") if re.fullmatch(pattern, run))


@cache
def raw(model, shuffle="none", longer=""):
    """The histories of a network's runs of the classic recipe, 10 epochs or longer: a row an epoch, as text."""
    return [table("reproduction", "history.csv")[run] for run in classic_runs(model, shuffle + longer)]


def classic_runs(model, what):
    return runs_of("reproduction", f"{model}__shuffle-{what}__(shuffle-)?seed-.*")


def column(name, model, shuffle="none", epoch=10):
    """A column after an epoch: of each run, or where there are several permutations the mean over the runs of each."""
    values = [float(history[epoch - 1][name]) for history in raw(model, shuffle)]
    if shuffle != "fixed":
        return np.array(values)
    by_permutation = {}
    for run, value in zip(classic_runs(model, shuffle), values):
        seed = re.search("shuffle-seed-([0-9]+)", run)  # without one it is 0
        by_permutation.setdefault(seed and seed[1], []).append(value)
    return np.array([np.mean(each) for each in by_permutation.values()])


def accuracy(model, shuffle="none", epoch=10):
    return 100 * column("val_accuracy", model, shuffle, epoch)


def confusions(model, shuffle):
    """The confusions of a network's runs of one permutation: images by true class, then by the class answered."""
    runs = runs_of("reproduction", f"{model}__shuffle-{shuffle}__seed-.*")
    rows = [table("reproduction", "confusions.csv")[run] for run in runs]
    return [np.array([[int(row[f"answered_{i}"]) for i in range(10)] for row in each]) for each in rows]


def shown(mean, low, high, form):
    return f"{mean:{form}} ({low:{form}} … {high:{form}})"


def last_losses(name, model):
    """The losses after the most epochs that three seeds of a network and of Q1_1 were trained for."""
    longer = "__epochs-50" if len(raw(model, longer="__epochs-50")) >= 3 else ""
    return [np.array([float(run[-1][name]) for run in raw(one, longer=longer)]) for one in (model, "Q1_1")]


def mean_text(values, form=".1f"):
    interval = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return shown(np.mean(values), *interval, form)


def welch_text(a, b, form="+.1f"):
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    return shown(np.mean(a) - np.mean(b), interval.low, interval.high, form)


def climb(model):
    """How far the validation loss climbs from its lowest point, which is found in the other seeds' curves."""
    curves = np.array([[float(row["val_loss"]) for row in history] for history in raw(model)])
    others = [np.delete(curves, i, 0) if len(curves) > 1 else curves for i in range(len(curves))]
    return np.array([curve[-1] - curve[other.mean(0).argmin()] for curve, other in zip(curves, others)])


def has_turned(model):
    losses = np.array([[float(row["val_loss"]) for row in history] for history in raw(model)]).mean(0)
    return losses.argmin() < len(losses) - 1 and climb(model).mean() > 0.02


def f1(confusion):
    return 2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1))


def by_class(epoch):
    return [column(f"val_accuracy_of_{name}", "Q1_1", "per-image", epoch).mean() for name in ORDER]


def paired_text():
    differences = accuracy("Q2_2") - accuracy("Q2_1")
    interval = stats.t.interval(0.95, len(differences) - 1, differences.mean(), stats.sem(differences))
    return shown(differences.mean(), *interval, "+.1f")


MODELS = sorted({run.partition("__")[0] for run in table("reproduction", "runs.csv")})
GROUPS = [(model, shuffle) for model in MODELS for shuffle in ("none", "fixed", "per-image") if raw(model, shuffle)]
STATEMENTS = {
    "C1, after each epoch": lambda: [f"{mean_text(accuracy('Q1_1', epoch=epoch))} % after {epoch}" for epoch in (1, 2)],
    "C2, after each epoch": lambda: [f"{mean_text(accuracy('Q1_1', 'fixed', epoch))} % after" for epoch in (1, 2, 10)],
    "C3, after each epoch": lambda: [f"{mean_text(accuracy('Q1_1', 'per-image', e))} % after" for e in (1, 2, 10)],
    "C2, lost after 2 epochs": lambda: [welch_text(accuracy("Q1_1", "none", 2), accuracy("Q1_1", "fixed", 2))],
    "C2, lost after 10 epochs": lambda: [welch_text(accuracy("Q1_1"), accuracy("Q1_1", "fixed"))],
    "C3, above chance": lambda: [mean_text(accuracy("Q1_1", "per-image") - 10, "+.1f")],
    "C4, ranks after epoch 1": lambda: [f"figures: {stats.spearmanr(PUBLISHED, by_class(1)).statistic:+.2f}"],
    "C4, deer less truck": lambda: [f"is {100 * (by_class(1)[4] - by_class(1)[9]):+.1f} (-100.0 … +100.0)"],
    "C4, ranks by F1": lambda: [
        "rank correlation {:+.2f}".format(
            stats.spearmanr(PUBLISHED, np.mean([f1(each) for each in confusions("Q1_1", "per-image")], 0)).statistic
        )
    ],
    "C4, answers": lambda: [
        "truck {:.0f}, ship".format(np.mean([each[:, 9].sum() for each in confusions("Q1_1", "per-image")]))
    ],
    "C5, training losses": lambda: [
        welch_text(*last_losses("train_loss", model), "+.2f") + " nats against Q1_1"
        for model in ("Q1_4", "Q1_17", "Q1_18")
    ],
    "C5, gaps": lambda: [
        mean_text(last_losses("val_loss", model)[0] - last_losses("train_loss", model)[0], "+.2f")
        for model in ("Q1_4", "Q1_17", "Q1_18")
    ],
    "C6, climb": lambda: [f"Until epoch 10 it changes by {mean_text(climb('Q1_11'), '+.2f')} nats"],
    "C6, training loss": lambda: [
        mean_text(column("train_loss", "Q1_11") - column("train_loss", "Q1_11", epoch=5), "+.2f")
    ],
    "C6, confidence": lambda: [
        "confidence goes from {:+.1f} to {:+.1f} points beyond its accuracy".format(
            *(
                100 * (column("val_confidence", "Q1_11", epoch=e) - column("val_accuracy", "Q1_11", epoch=e)).mean()
                for e in (5, 10)
            )
        )
    ],
    "C7, lead": lambda: [f"{welch_text(accuracy('Q1_19'), accuracy('Q1_11'))} points against Q1_11, the next"],
    "C9a, lost": lambda: [f"{welch_text(accuracy('Q2_1'), accuracy('Q1_1'))} points against Q1_1"],
    "C10, gain": lambda: [
        f"{paired_text()} points for",
        "correlate with r = {:.2f}".format(
            np.corrcoef(
                *(
                    np.ravel([(values := accuracy(model, epoch=epoch)) - values.mean() for epoch in range(1, 11)])
                    for model in ("Q2_1", "Q2_2")
                )
            )[0, 1]
        ),
    ],
    "models that climb": lambda: [f"in {sum(map(has_turned, MODELS))} of {len(MODELS)} networks"],
    "spread between seeds": lambda: [
        "standard deviations of {:.1f} points".format(
            np.sqrt(
                sum(np.var(accuracy(*g), ddof=1) * (len(accuracy(*g)) - 1) for g in GROUPS if len(raw(*g)) > 1)
                / sum(len(accuracy(*g)) - 1 for g in GROUPS)
            )
        )
    ],
}


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statement_of_the_report_is_that_of_the_raw_files(statement):
    report = (STUDY / "report.md").read_text(encoding="utf-8")
    for text in STATEMENTS[statement]():
        assert text in report


# ---- the gallery -----------------------------------------------------------------------------------------------------

LOOK = next((PROJECT / "results/look").glob("cifar10*"))


@cache
def looked(shuffle, epochs=2, model="Q1_1"):
    """Accuracy in percent, and the images classified correctly, of a network's fast runs by shuffle seed."""
    found = {}
    for run in runs_of("look", f"{model}__shuffle-{re.escape(shuffle.replace(':', '-'))}__recipe-fast__.*"):
        [row], [bits] = table("look", "runs.csv")[run], table("look", "correct.csv")[run]
        if row["epochs"] == str(epochs):
            accuracy = 100 * float(row["test_accuracy"])
            found.setdefault(row["shuffle_seed"], []).append((accuracy, bits["correct_images"]))
    return found


def by_permutation(shuffle, epochs=2, model="Q1_1"):
    """Accuracies in percent: means over the runs of each permutation, or of the runs where there is one."""
    groups = [[accuracy for accuracy, _ in runs] for runs in looked(shuffle, epochs, model).values()]
    return np.array([np.mean(group) for group in groups] if len(groups) > 1 else groups[0])


def unpacked(runs):
    """Whether each test image was classified correctly, a row for each run."""
    packed = np.array([np.frombuffer(bytes.fromhex(correct), np.uint8) for _, correct in runs])
    return np.unpackbits(packed, axis=1)[:, :10_000]


def images_error(weighted, epochs=2, model="Q1_1"):
    """The standard error of a weighted sum of accuracies, in percent, over the choice of test images."""
    total = np.zeros(10_000)
    for weight, shuffle in weighted:
        runs = [run for each in looked(shuffle, epochs, model).values() for run in each]
        total += weight * np.mean(unpacked(runs), 0)
    return 100 * np.std(total, ddof=1) / 100


def combined_text(weighted, form="+.1f", of_images=0.0):
    """A weighted sum of the means of groups, with the interval by Welch and Satterthwaite, and over test images."""
    errors = np.array([weight**2 * np.var(values, ddof=1) / len(values) for weight, values in weighted])
    degrees = errors.sum() ** 2 / sum(error**2 / (len(values) - 1) for error, (_, values) in zip(errors, weighted))
    middle = sum(weight * values.mean() for weight, values in weighted)
    reach = np.hypot(stats.t.ppf(0.975, degrees) * errors.sum() ** 0.5, stats.norm.ppf(0.975) * of_images)
    return shown(middle, middle - reach, middle + reach, form)


def share_text(grey, colour):
    """How much of what is found above chance in colour is found in grey values, by the delta method."""
    a, b = by_permutation(grey) - 10, by_permutation(colour) - 10
    share = a.mean() / b.mean()
    of_images = images_error([(1 / b.mean(), grey), (-share / b.mean(), colour)])
    text = combined_text([(1 / b.mean(), a), (-share / b.mean(), b)], ".9f", of_images)
    low, high = re.search(r"\((\S+) … (\S+)\)", text).groups()
    return shown(100 * share, 100 * (share + float(low)), 100 * (share + float(high)), ".1f")


def used(shuffle):
    """What networks that were trained without a shuffle lose when they are tested with one, in points."""
    runs = runs_of("look", "Q1_1__shuffle-none__recipe-fast__epochs-2__seed-.")
    found = [row for run in runs for row in table("look", "transfers.csv").get(run, ())]
    return 100 * np.array([float(row[f"test_accuracy.{shuffle}"]) - float(row["test_accuracy.none"]) for row in found])


def spread_text():
    """The standard deviation over the seeds without a shuffle, and the one of images that are independent."""
    runs = looked("none")["0"]
    values = [accuracy for accuracy, _ in runs]
    squares = np.var(values, ddof=1) * (len(values) - 1)
    low, high = np.sqrt(squares / stats.chi2.ppf([0.975, 0.025], len(values) - 1))
    independent = 100 * np.sqrt(unpacked(runs).var(0, ddof=1).sum()) / 10_000
    return (
        f"deviation of {np.std(values, ddof=1):.2f} ({low:.2f} … {high:.2f}) points",
        f"it would be {independent:.2f};",
    )


def f_test_row(shuffle):
    """The spread over seeds, and the p of permutations in a two-way analysis: all have the same seeds."""
    values = np.array([[accuracy for accuracy, _ in runs] for runs in looked(shuffle).values()])
    k, n = values.shape
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    ratio = n * values.mean(1).var(ddof=1) / ((rest**2).sum() / ((k - 1) * (n - 1)))
    p = stats.f.sf(ratio, k - 1, (k - 1) * (n - 1))
    return f"{np.sqrt(values.var(1, ddof=1).mean()):.2f} |", f"| {p:.4f} |"


HALVES = (1, "block:8"), (-0.5, "none"), (-0.5, "fixed")
GALLERY = {
    "cost of a fixed shuffle": lambda: [
        welch_text(by_permutation("fixed"), by_permutation("none")).replace(" (", "<br>(")
    ],
    "blocks that keep half": lambda: [
        f"{model}, {epochs} epochs: blocks of 8×8 pixels, kept whole wherever they are moved, leave more than half of "
        "what a fixed shuffle takes: "
        + combined_text(
            [(weight, by_permutation(shuffle, epochs, model)) for weight, shuffle in HALVES],
            of_images=is_small * images_error(HALVES, epochs, model),
        )
        for model, epochs, is_small in (("Q1_1", 2, False), ("Q1_1", 8, True), ("Q1_19", 2, False))
    ],
    "growth of the cost": lambda: [
        combined_text(
            [
                (sign * late, by_permutation(name, 8 if late > 0 else 2))
                for late in (1, -1)
                for sign, name in ((1, "none"), (-1, "fixed"))
            ]
        )
    ],
    "share that is found without colour": lambda: [
        f"{share_text(grey, shuffle)} % of what it reaches above chance in colour, both with shuffle “{shuffle}”"
        for grey, shuffle in (("grey", "none"), ("grey+fixed", "fixed"), ("grey+per-image", "per-image"))
    ],
    "what grey values cost in use": lambda: [f"{mean_text(used('grey'), '+.1f')} points against"],
    "spread over seeds": lambda: spread_text(),
    "permutations": lambda: [*f_test_row("block:8"), *f_test_row("within:4")],
}


@pytest.mark.parametrize("statement", GALLERY)
def test_statement_of_the_gallery_is_that_of_the_raw_files(statement):
    gallery = (LOOK / "gallery.md").read_text(encoding="utf-8")
    for text in GALLERY[statement]():
        assert text in gallery
