"""Every setting of a run, written down once: name, default, unit, group, help and limits.

The argparse options, the run folder's name and ``config.json`` follow from ``Config``. ``RECIPE_TABLE`` holds what a
recipe sets.
"""

import dataclasses
import difflib
import hashlib
import math
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.errors import UsageError

DATA_URL_VARIABLE = "CIFAR10_URL"
MAX_SEED = 2**63 - 1
AUTO = "auto"
# Bytes of a run's name, which leave room for "__run-99" and ".log" in the 143 that encrypted home folders allow.
MAX_NAME = 130
MAX_MODEL_IN_NAME = 40  # bytes of the model's name in a name that is too long

# The recipes, number beside number; any option of these names overrides one of them.
# fmt: off
RECIPE_TABLE = {
    #                   classic     fast
    "epochs":          (10,         3),
    "batch_size":      (4,          64),
    "lr":              (0.001,      0.06),
    "optimizer":       ("sgd",      "sgd"),
    "schedule":        ("constant", "one-cycle"),
    "warmup":          (0.0,        0.2),
    "momentum":        (0.9,        0.9),
    "nesterov":        (False,      True),
    "weight_decay":    (0.0,        0.002),
    "init":            ("torch",    "kaiming"),
    "label_smoothing": (0.0,        0.1),
    "augment":         ("none",     "flip"),
    "precision":       ("fp32",     "auto"),
}
# fmt: on
RECIPES = {
    recipe: {name: row[column] for name, row in RECIPE_TABLE.items()}
    for column, recipe in enumerate(("classic", "fast"))
}
CLASSIC = RECIPES["classic"]
# In place of the recipe's rate, where that is too high: of networks, where it diverges, and of Adam. Adam's with the
# classic recipe is PyTorch's default. With the fast one Q1_1 reaches 56.5, 60.4 and 61.4 % with 0.001, 0.003 and 0.01
# (3 seeds), and Q1_19 75.3, 75.7 and 67.9 % (1 seed; bf16, an AMD EPYC).
NETWORK_LR = {("fast", "Q2_1"): 0.01, ("fast", "Q2_2"): 0.01}
ADAM_LR = {"classic": 0.001, "fast": 0.003}

PUBLISHED_SHUFFLES = ("none", "fixed", "per-image")
BLOCK_SIZES = (2, 4, 8, 16)  # height and width in pixels of the blocks of block:K, within:K and edges:K
IN_BLOCKS = ("block", "within", "within-shared")  # what moves blocks, or pixels inside them
# What is done to the values of pixels, before they are moved.
FILTERS = ("grey", "blur:5", "edges:4", "edges:8", "edges:16")
# Each takes away a part of what ``fixed`` or ``per-image`` does.
PARTIAL_SHUFFLES = (*(f"{kind}:{size}" for kind in IN_BLOCKS for size in BLOCK_SIZES), *FILTERS)
SHUFFLES = (*PUBLISHED_SHUFFLES, *PARTIAL_SHUFFLES)  # and filters before a permutation, such as grey+block:8
OLD_NAMES = {"colour": "grey"}  # of shuffles, in the files of earlier versions
SAME = "same"  # --val-shuffle: as --shuffle

OTHER_DATASETS = ("folder", "cifar100", "mnist", "fashion-mnist", "svhn")  # than CIFAR-10 and the generated set
CUES = ("colour", "position", "texture")  # what carries the class in the synthetic images


def _option(default, group, text, *, choices=None, metavar=None, low=None, high=None, low_open=False,
            names_run=False):  # fmt: skip
    """Make a field of ``Config``, in [low, high] or, with ``low_open``, above ``low``.

    ``names_run``: the run folder's name says it.
    """
    limits = dict(choices=choices, low=low, high=high, low_open=low_open)
    metadata = dict(group=group, help=text, metavar=metavar, names_run=names_run, **limits)
    return dataclasses.field(default=default, metadata=metadata)


def _recipe_option(name, text, **metadata):
    """Make a field of ``Config`` that is in the table of recipes."""
    return _option(CLASSIC[name], "recipe", text, names_run=True, **metadata)


@dataclass(frozen=True)
class Config:
    """The settings of one run; the defaults are the classic recipe. Raises UsageError for a value out of its limits."""

    # fmt: off
    model_name: str = _option("", "model",
        "which network to train, e.g. Q1_19; case does not matter, nor - for _ (--list-models shows all). Several: "
        "all, Q1_19 Q2_1 or 'Q1_1?'",
        metavar="NAME")
    model_file: str = _option("", "model",
        "a Python file with own models, each marked @register(...)", metavar="FILE")

    recipe: str = _option("classic", "recipe",
        "the settings below that are not given. classic: as published; fast: its accuracy in a fraction of the time",
        choices=tuple(RECIPES), names_run=True)
    epochs: int = _recipe_option("epochs", "passes over the training images", low=1, metavar="N")
    batch_size: int = _recipe_option("batch_size", "images in a training step", low=1, metavar="N")
    lr: float = _recipe_option("lr", "learning rate; of a schedule the highest. fast: less for Adam, Q2_1 and Q2_2",
        low=0, low_open=True, metavar="X")
    optimizer: str = _recipe_option("optimizer", "what changes the weights", choices=("sgd", "adam", "adamw"))
    schedule: str = _recipe_option("schedule",
        "of the learning rate. one-cycle: it rises in a straight line, then falls in one to 0; cosine: it falls as "
        "half a cosine to 0; step: a tenth after half of the steps, a hundredth after three quarters",
        choices=("constant", "one-cycle", "cosine", "step"))
    warmup: float = _recipe_option("warmup", "the share of all steps in which the rate of a schedule rises first",
        low=0, high=1, metavar="X")
    momentum: float = _recipe_option("momentum", "momentum of SGD; of Adam the first beta", low=0, high=1, metavar="X")
    nesterov: bool = _recipe_option("nesterov", "Nesterov's momentum, of SGD")
    weight_decay: float = _recipe_option("weight_decay",
        "weight decay: of SGD and Adam L2, of AdamW apart from the gradient", low=0, metavar="X")
    init: str = _recipe_option("init",
        "initial weights. torch: PyTorch's default; kaiming: He's normal distribution, which keeps the variance "
        "through layers with ReLU, and biases of 0",
        choices=("torch", "kaiming"))
    label_smoothing: float = _recipe_option("label_smoothing",
        "share of each label that is spread over all classes, for the gradient only: losses are shown without it",
        low=0, high=1, metavar="X")
    augment: str = _recipe_option("augment",
        "flip: mirrors half of the training images in odd epochs and the other half in even ones",
        choices=("none", "flip"))
    precision: str = _recipe_option("precision",
        "of convolutions and matrix products; weights, loss and optimiser stay fp32. "
        "auto: bf16 if a measurement at the start finds it clearly faster on this machine",
        choices=("fp32", "bf16", "auto"))
    patience: int = _option(0, "recipe",
        "with --val holdout: end a run after N epochs without a better validation accuracy (0: never)",
        low=0, names_run=True, metavar="N")
    seed: int = _option(0, "recipe",
        "seed of the initial weights and of the order of the images", low=0, high=MAX_SEED, metavar="N")

    shuffle: str = _option("none", "pixel shuffle",
        "none; fixed: one permutation of the 32x32 positions for every image of both splits; "
        "per-image: a new permutation each time an image is shown; block:K: one permutation of the blocks of KxK "
        "pixels, whose inside stays; within:K: one of the pixels inside each such block, which stays; "
        f"within-shared:K: the same one in all blocks; K is {', '.join(map(str, BLOCK_SIZES))}. Filters change the "
        "values and move nothing; grey: no colours; blur:5: means over 5x5 pixels; edges:K: grey pixels where "
        "blocks meet; a permutation may follow behind a +, such as grey+block:8",
        choices=SHUFFLES, metavar="SHUFFLE")
    val_shuffle: str = _option(SAME, "pixel shuffle",
        "another --shuffle for the images that are not trained on; may be given with --evaluate and --predict too",
        choices=(SAME, *SHUFFLES), names_run=True, metavar="SHUFFLE")
    shuffle_seed: int = _option(0, "pixel shuffle", "seed of the permutations", low=0, high=MAX_SEED, names_run=True,
        metavar="N")

    dataset: str = _option("auto", "data",
        "cifar10: fail where it can't be had; synthetic: a generated 10-class set; "
        "auto: CIFAR-10 if present or downloadable, else synthetic; folder: a folder train/<class>/* of any 2 to 1000 "
        "classes; the others: from the files that torchvision leaves",
        choices=("auto", "cifar10", "synthetic", *OTHER_DATASETS))
    data_dir: str = _option("data", "data",
        "where CIFAR-10 is, or is downloaded to: cifar-10-batches-py/, cifar-10-python.tar.gz, "
        "image folders train/<class>/* and test/<class>/*, or another form that docs/usage.md lists", metavar="DIR")
    data_url: str = _option("", "data",
        f"another source for cifar-10-python.tar.gz, checked against the official MD5 (or set ${DATA_URL_VARIABLE})",
        metavar="URL")
    data_seed: int = _option(0, "data", "seed of the synthetic images", low=0, high=MAX_SEED, metavar="N")
    cues: str = _option("", "data",
        f"what carries the class of the synthetic images: any of {', '.join(CUES)}, each with how often it tells the "
        "truth if not always, e.g. colour,texture:0.5 (default: all three, 0.7 each)", metavar="LIST")
    data_check: str = _option("fast", "data",
        "whether decoded images are taken from the cache. fast: if names, sizes, times and inodes of all files are as "
        "they were; full: never, all files are decoded anew and compared with it, and what is found is said",
        choices=("fast", "full"))
    val: str = _option("test", "data",
        "what is measured after each epoch. test: the test images, as published; "
        "holdout: images held out from training, the test images only once, at the end",
        choices=("test", "holdout"), names_run=True)
    holdout: int = _option(5000, "data",
        "training images held out by --val holdout, as many of each class", low=1, names_run=True, metavar="N")
    train_fraction: float = _option(1.0, "data",
        "train on this fraction of the training images, as many of each class",
        low=0, high=1, low_open=True, names_run=True, metavar="X")
    limit: int = _option(0, "data",
        "for a quick trial: use at most N images of each split, as many of each class (0: all)",
        low=0, names_run=True, metavar="N")

    device: str = _option("auto", "machine",
        "where to compute; auto: cuda, else mps, else cpu", choices=("auto", "cpu", "cuda", "mps"))
    threads: int = _option(0, "machine",
        "CPU threads; 0: as many as pay for the model and the batch size, one for each run of a sweep. Results repeat "
        "bit for bit at the same number",
        low=0, high=1024, metavar="N")
    compile: bool = _option(False, "machine",
        "compile the network with torch.compile; where that fails, it is said and the run goes on without")
    step: str = _option(AUTO, "machine",
        "what computes a training step. native: a function that the machine's C compiler makes for this network, in "
        "fp32 on one core, or where that fails torch; auto: native where one thread does all, else torch",
        choices=("torch", "native", "auto"))
    results_dir: str = _option("results", "output", "folder that gets a folder for each run", metavar="DIR")
    checkpoint_every: int = _option(0, "output",
        "save a checkpoint every N steps too, for long epochs (0: after each epoch only)", low=0, metavar="N")
    tensorboard: bool = _option(False, "output",
        "write event files for TensorBoard into the run's folder while it trains; needs: pip install tensorboard")
    # fmt: on

    def __post_init__(self):
        if mistakes := [mistake for name in FIELDS if (mistake := mistake_in(name, getattr(self, name)))]:
            raise UsageError("; ".join(mistakes))
        if not self.model_name:
            raise UsageError("--model-name is needed, e.g. --model-name Q1_19 (--list-models shows all)")
        if self.limit and self.batch_size > self.limit:
            raise UsageError(f"--batch-size {self.batch_size}: --limit leaves only {self.limit:,} training images")
        if self.holdout != FIELDS["holdout"].default and self.val != "holdout":
            raise UsageError("--holdout sets the size of the hold-out: give --val holdout too")
        if self.warmup and self.schedule == "constant":
            raise UsageError("--warmup is a share of a schedule: give --schedule one-cycle, cosine or step too")
        if self.nesterov and not (self.momentum and self.optimizer == "sgd"):
            raise UsageError("--nesterov needs --optimizer sgd and a --momentum above 0")
        if self.momentum == 1 and self.optimizer != "sgd":
            raise UsageError(f"--momentum 1: must be below 1 for --optimizer {self.optimizer}")
        if self.patience and self.val != "holdout":
            raise UsageError("--patience ends a run by images held out: give --val holdout too")
        if self.data_seed and self.dataset not in ("auto", "synthetic"):
            raise UsageError("--data-seed is for generated images: leave it out, or give --dataset synthetic")
        if self.cues and self.dataset != "synthetic":
            raise UsageError("--cues is for generated images: leave it out, or give --dataset synthetic")
        cue_strengths(self.cues)

    @classmethod
    def from_given(cls, given: Mapping[str, Any]) -> "Config":
        """Make the settings of a new run from the given ones; the others are the recipe's and the defaults."""
        return cls(**{**recipe_values(given), **given})

    @classmethod
    def from_saved(cls, settings: Mapping[str, Any]) -> "Config":
        """Make the settings of a saved run from those in its files. Raises TypeError for one that is not known."""
        settings = {name: value for name, value in settings.items() if name not in RETIRED_SETTINGS}
        for name in SHUFFLE_SETTINGS & settings.keys():
            settings[name] = OLD_NAMES.get(settings[name], settings[name])
        return cls(**settings)

    def is_over(self, accuracies: Sequence[float]) -> bool:
        """Tell whether a run of these validation accuracies, one an epoch, has ended: all done, or out of patience."""
        epochs = len(accuracies)
        is_impatient = (
            bool(self.patience and epochs) and epochs - 1 - accuracies.index(max(accuracies)) >= self.patience
        )
        return epochs >= self.epochs or is_impatient

    @property
    def eval_shuffle(self) -> str:
        """The shuffle of the images that are not trained on."""
        return self.shuffle if self.val_shuffle == SAME else self.val_shuffle

    @property
    def differing(self) -> dict[str, object]:
        """The settings that make it another run and differ from the recipe's, by option, e.g. ``{"lr": 0.01}``."""
        usual = DEFAULTS | recipe_values(vars(self))
        values = {name: getattr(self, name) for name in FIELDS if FIELDS[name].metadata["names_run"]}
        return {flag_of(name)[2:]: in_words(value) for name, value in values.items() if value != usual[name]}

    @property
    def full_name(self) -> str:
        """Name the run by model, shuffle, every setting that differs from the recipe's, and seed."""
        return self._join_name(self.model_name, self._differing_words())

    @property
    def run_name(self) -> str:
        """Name the run's folder: in full, or where that is too long for a file system, by what fits and a hash."""
        name, words = self.full_name, self._differing_words()
        model = short_model_name(self.model_name)
        tag, kept = hashlib.sha256(name.encode()).hexdigest()[:8], len(words)
        while len(name.encode()) > MAX_NAME:
            name = self._join_name(model, [*words[:kept], f"and-{len(words) - kept}-more-{tag}"])
            kept -= 1
        return name

    def _differing_words(self) -> list[str]:
        return [f"{option}-{value}" for option, value in self.differing.items()]

    def _join_name(self, model: str, words: list[str]) -> str:
        name = "__".join([model, f"shuffle-{self.shuffle}", *words, f"seed-{self.seed}"])
        return name.replace(":", "-")  # no file's name may hold ":" on Windows

    def title(self, data_name: str) -> str:
        """Make the title of every plot of a run: model and data, then epochs, shuffle and what differs."""
        settings = [f"{self.epochs} epoch{'s' * (self.epochs != 1)}", f"pixel shuffle: {self.shuffle}"]
        settings += [f"{name} {value}" for name, value in self.differing.items() if name != "epochs"]
        return f"{self.model_name} on {data_name}\n" + " · ".join([*settings, f"seed {self.seed}"])


FIELDS = {field.name: field for field in dataclasses.fields(Config)}
DEFAULTS = {name: field.default for name, field in FIELDS.items()}


def recipe_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """List the recipe's values for a run of the ``given`` settings: its rate suits them, and what says nothing is off.

    So --recipe fast --schedule constant needs no --warmup 0.
    """
    recipe, model = str(given.get("recipe", "classic")), given.get("model_name")
    values = RECIPES.get(recipe, CLASSIC).copy()
    chosen = {**values, **given}
    values["lr"] = NETWORK_LR.get((recipe, str(model)), values["lr"])
    if chosen["optimizer"] != "sgd":
        values["lr"] = ADAM_LR.get(recipe, values["lr"])
    if chosen["schedule"] == "constant":
        values["warmup"] = 0.0
    if chosen["optimizer"] != "sgd" or not chosen["momentum"]:
        values["nesterov"] = False
    return values


def drop_idle(given: Mapping[str, Any], varied: Container[str]) -> dict[str, Any]:
    """Leave out of one run of several what says nothing in it, as the setting that it belongs to is ``varied``."""
    run = {**DEFAULTS, **recipe_values(given), **given}
    is_moved = any(parts_of_shuffle(str(run[name]))[1] not in ("none", SAME) for name in SHUFFLE_SETTINGS)
    belongs = {
        "warmup": ("schedule", run["schedule"] != "constant"),
        "nesterov": ("optimizer", run["optimizer"] == "sgd"),
        "holdout": ("val", run["val"] == "holdout"),
        "patience": ("val", run["val"] == "holdout"),
        "shuffle_seed": ("shuffle_seed", is_moved),
    }
    idle = [name for name, (of, says_something) in belongs.items() if of in varied and not says_something]
    return {name: value for name, value in given.items() if name not in idle}


def short_model_name(name: str) -> str:
    """Cut the name of a model to what a name that is too long has room for."""
    return name.encode()[:MAX_MODEL_IN_NAME].decode(errors="ignore")


def parts_of_shuffle(shuffle: str) -> tuple[tuple[str, ...], str]:
    """Split a shuffle into its filters and the permutation that comes after them, which may be ``none``."""
    *filters, last = shuffle.split("+")
    return ((*filters, last), "none") if last in FILTERS else (tuple(filters), last)


def is_shuffle(shuffle: object) -> bool:
    """Tell whether this is a shuffle: filters, each kind once and in the order above, and at most one permutation."""
    filters, permutation = parts_of_shuffle(str(shuffle))
    kinds = [name.partition(":")[0] for name in filters]
    in_order = kinds == [kind for kind in ("grey", "blur", "edges") if kind in kinds]
    is_one = permutation in SHUFFLES and not (filters and str(shuffle).endswith("none"))
    return in_order and set(filters) <= set(FILTERS) and is_one


def mistake_in(name: str, value: object) -> str:
    """Say what is wrong with one setting by itself, its type or its limits; empty if nothing is."""
    flag, limits = flag_of(name), FIELDS[name].metadata
    kind: Any = FIELDS[name].type
    low, high = limits["low"], limits["high"]
    number: Any = value
    if type(value) is not kind and not (kind is float and type(value) is int):
        return f"{flag} {value!r}: must be of type {kind.__name__}"
    if limits["choices"] and value not in limits["choices"] and not (name in SHUFFLE_SETTINGS and is_shuffle(value)):
        filters = ", or filters and a permutation with + between" * (name in SHUFFLE_SETTINGS)
        near = nearest(SYNONYMS.get(str(value).lower(), str(value)), limits["choices"])
        return f"{flag} {value}{near}: choose from {', '.join(limits['choices'])}{filters}"
    if kind is float and not abs(number) <= sys.float_info.max:
        return f"{flag} {value!s:.40}: must be a finite number"
    if low is not None and (number < low or (number == low and limits["low_open"])):
        return f"{flag} {value}: must be {'above' if limits['low_open'] else 'at least'} {low}"
    high = MAX_SEED if kind is int and high is None else high
    if high is not None and number > high:
        return f"{flag} {value!s:.40}: must be at most {high}"
    return ""


def cue_strengths(cues: str) -> dict[str, float]:
    """Parse ``--cues`` into how reliably each cue shows the class, in (0, 1]. Raises UsageError if it can't."""
    strengths: dict[str, float] = {}
    for part in cues.split(",") if cues else ():
        name, _, strength = part.partition(":")
        try:
            value = float(strength or 1)
        except ValueError:
            value = math.nan
        if name not in CUES or not 0 < value <= 1 or name in strengths:
            raise UsageError(f"--cues {cues}: {part!r} is not one of {', '.join(CUES)}, with a strength up to 1")
        strengths[name] = value
    return {name: strengths[name] for name in CUES if name in strengths}


SHUFFLE_SETTINGS = ("shuffle", "val_shuffle")
SYNONYMS = {"gpu": "cuda"}  # of values: what they are called elsewhere

# What may be given together with --evaluate and --predict: where to find and how to check things, not what the run is.
PLACE_SETTINGS = {"data_dir", "data_url", "data_check", "device", "threads", "model_file"}

# Where things are: a saved run's are not used again.
PLACES = ("data_dir", "data_url", "model_file")

# What makes it another run: what its folder is named by, and the step, whose rounding is another when compiled.
IDENTITY = {name for name in FIELDS if FIELDS[name].metadata["names_run"]}
IDENTITY |= {"model_name", "shuffle", "seed", "compile"}

# Settings of earlier versions that changed no result; files of runs may still hold them.
RETIRED_SETTINGS = {"cuda_graph"}


def in_words(value: object) -> object:
    """Show a switch as on or off, and any other value as it is."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def nearest(word: str, words: Iterable[str]) -> str:
    """Ask whether the nearest of ``words`` was meant, in brackets; empty if none is near."""
    near = difflib.get_close_matches(word.lower(), words, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def flag_of(name: str) -> str:
    """Name the option that sets a setting, e.g. ``--batch-size``."""
    return "--" + name.replace("_", "-")


MIN_SEEDS = 3  # of each setting, before any are compared
MAX_SEEDS = 20  # where nothing else is asked for


@dataclass(frozen=True)
class Goal:
    """When a sweep that adds seeds has enough of them. Raises UsageError for what can't be reached."""

    points: float  # of accuracy: a difference from the best that is known to within these needs no more
    max_seeds: int  # of each setting

    def __post_init__(self):
        if not 0 < self.points <= 100:
            raise UsageError(f"--until-decided {self.points:g}: points of accuracy, above 0 and at most 100")
        if not MIN_SEEDS <= self.max_seeds <= 10_000:
            raise UsageError(f"--max-seeds {self.max_seeds}: from {MIN_SEEDS} to 10,000")


@dataclass(frozen=True)
class EngineConfig:
    """Where the runs of a sweep are trained. Raises UsageError for options that don't go together."""

    engine: str = "local"  # ``local``, processes of this machine, or ``ray``, tasks of a Ray cluster
    jobs: int | None = None  # local processes at a time; None: the cores divided by the threads of a run
    # Of the Ray cluster; empty: what ``$RAY_ADDRESS`` says, else one that is started on this machine.
    ray_address: str = ""
    gpus_per_run: float | None = None  # GPUs that Ray gives to a run; None: none

    def __post_init__(self):
        on_ray = self.engine == "ray"
        if self.jobs is not None and (self.jobs < 1 or on_ray):
            why = "Ray starts what its nodes have room for" if on_ray else "at least 1"
            raise UsageError(f"--jobs {self.jobs}: {why}")
        if not on_ray and (self.ray_address or self.gpus_per_run is not None):
            raise UsageError("--ray-address and --gpus-per-run go with --engine ray")
        if not 0 <= (self.gpus_per_run or 0) < math.inf:
            raise UsageError(f"--gpus-per-run {self.gpus_per_run}: must be at least 0")
