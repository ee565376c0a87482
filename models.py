"""The registry: every network that can be trained, as a table of data, and the module that is built from a row.

One row is one network, written in this notation (all take a 3×32×32 image and give a logit for each class):

    6k5    convolution with 6 output channels and a 5×5 kernel, no padding
    6k3p   the same with the padding that keeps height and width
    P      2×2 max pooling with stride 2
    120    a hidden fully connected layer of 120 neurons (in the head)
    D      dropout with probability 0.5 (in the head)

ReLU follows every convolution and every hidden fully connected layer, except in question 2. The layer that gives the
logits ends every head and is not written out. Parameters are counted for the ten classes of CIFAR-10.
"""

import ast
import contextlib
import copy
import difflib
import fnmatch
import hashlib
import inspect
import re
import shutil
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runner.errors import UsageError, one_line

IMAGE_SHAPE = (3, 32, 32)
CLASSES = 10  # of CIFAR-10, which the published counts are for
DROPOUT = 0.5

MODULE_SUFFIXES = {".py", *(Path(f"x{suffix}").suffix for suffix in EXTENSION_SUFFIXES)}  # of modules' files

STATED = "stated"  # the source states the structure
REBUILT = "rebuilt"  # the source states only the idea and the count; the simplest structure that meets both
OWN = "own"  # added by a user

# What a file of own models imports this module as: beside it there may be a package of networks called "models".
ALIAS = "cifar10_runner"
sys.modules[ALIAS] = sys.modules[__name__]
PROGRAM = ("data", "datasets", "ex1", "experiments", "models", "native", "report", "runner", "utils")  # our names


# ---- a row -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """One layer of a network, with the sizes it needs and the trainable parameters it has."""

    kind: str  # "conv", "pool", "dropout" or "linear"
    inputs: int = 0  # channels of a convolution, neurons of a linear layer
    outputs: int = 0
    kernel: int = 0  # pixels
    padding: int = 0  # pixels
    size: int = 1  # height and width of what a convolution puts out, in pixels

    @property
    def parameters(self) -> int:
        if self.kind == "conv":
            return (self.inputs * self.kernel**2 + 1) * self.outputs
        if self.kind == "linear":
            return (self.inputs + 1) * self.outputs
        return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        if self.kind == "conv":
            return self.inputs * self.kernel**2 * self.outputs * self.size**2
        return self.inputs * self.outputs

    def build(self) -> nn.Module:
        if self.kind == "conv":
            return nn.Conv2d(self.inputs, self.outputs, self.kernel, padding=self.padding)
        if self.kind == "pool":
            return nn.MaxPool2d(self.kernel)
        if self.kind == "dropout":
            return nn.Dropout(DROPOUT)
        return nn.Linear(self.inputs, self.outputs)


@dataclass(frozen=True)
class ModelSpec:
    """A row of the registry."""

    name: str  # e.g. ``Q1_19``; ``Q1`` and ``Q2`` are the question the network was made for
    features: str  # convolutions and pools, in the notation above
    head: str  # hidden fully connected layers and dropout, in the notation above
    # The exact count of trainable parameters, checked whenever the model is built; None where it is not known
    # beforehand.
    parameters: int | None
    known_from: str = OWN  # ``STATED``, ``REBUILT`` or ``OWN``
    change: str = ""  # what it changes, and why
    # The class of an own ``nn.Module``, in place of ``features`` and ``head``.
    module: Callable[..., nn.Module] | None = None
    # What it has to be built and used in: where its file finds what it imports.
    beside: contextlib.AbstractContextManager = contextlib.nullcontext()
    source: str | None = None  # the SHA-256 of that file and what it imports beside it, hexadecimal

    @property
    def question(self) -> str:
        """``Q1`` or ``Q2``; an own model has none and is ``own``."""
        prefix = re.match(r"Q\d+(?=_)", self.name)
        return prefix[0] if prefix else "own"

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of what makes an own network what it is; None for those of the study, whose name says it."""
        if self.known_from == OWN and not self.module:
            return hashlib.sha256(f"{self.features} | {self.head}".encode()).hexdigest()
        return self.source

    @property
    def relu(self) -> bool:
        """Whether ReLU follows the convolutions and hidden layers (question 2 removes it)."""
        return self.question != "Q2"

    def layers(self, classes: int = CLASSES) -> list[Layer]:
        """List the layers from the image to the logits. Raises ValueError for a word that is not in the notation."""
        # Features: channels and size follow from layer to layer.
        channels, size, _ = IMAGE_SHAPE
        layers = []
        for word in self.features.split():
            conv = re.fullmatch(r"(\d+)k(\d+)(p?)", word)
            if word == "P":
                layers.append(Layer("pool", kernel=2))
                size //= 2
            elif conv:
                outputs, kernel = int(conv[1]), int(conv[2])
                if kernel == 0 or (conv[3] and kernel % 2 == 0):
                    raise ValueError(f"{self.name}: {word!r}: a kernel is 1 or more, and odd to be padded")
                padding = kernel // 2 if conv[3] else 0
                size += 2 * padding - kernel + 1
                layers.append(Layer("conv", channels, outputs, kernel, padding, size))
                channels = outputs
            else:
                raise ValueError(f"{self.name}: {word!r} is not a layer; write e.g. 6k5, 6k3p or P")
            if size < 1:
                raise ValueError(f"{self.name}: nothing is left of the image after {word!r}")

        # Head: the flattened features, then neurons from layer to layer, and the logits.
        neurons = channels * size**2
        for word in [*self.head.split(), str(classes)]:
            if word == "D":
                layers.append(Layer("dropout"))
            elif word.isdecimal():
                layers.append(Layer("linear", neurons, int(word)))
                neurons = int(word)
            else:
                raise ValueError(f"{self.name}: {word!r} is not in a head; write e.g. 120 or D")
        return layers


# ---- the table -------------------------------------------------------------------------------------------------------

# fmt: off
TABLE = [
    #         name     features                                       head          parameters  known     what it changes, and why
    ModelSpec("Q1_1",  "6k5 P 16k5 P",                                "120 84",         62_006, STATED,  "the original net"),
    ModelSpec("Q1_2",  "6k5 P 16k5 P",                                "84",             37_406, STATED,  "one fully connected layer removed"),
    ModelSpec("Q1_3",  "6k3 P 16k3 P",                                "120 84",         81_302, STATED,  "kernels of 3 instead of 5"),
    ModelSpec("Q1_4",  "6k3 8k3 P 8k3 P 8k3 16k3 P",                  "120",             6_194, REBUILT, "3 more convolutions, one FC layer removed: so few weights that it underfits"),
    ModelSpec("Q1_5",  "8k3 8k3 P 8k3 16k3 P",                        "120 84",         61_694, REBUILT, "four 3×3 convolutions, a pool after every two"),
    ModelSpec("Q1_6",  "6k3p P 10k3p P 16k3p P",                      "120 84",         44_028, REBUILT, "3×3 with padding, a pool after each"),
    ModelSpec("Q1_7",  "6k5 P 16k5 P",                                "120",            52_202, STATED,  "Q1_2 with more neurons in the FC layer"),
    ModelSpec("Q1_8",  "8k5 P 20k5 P",                                "120 84",         75_762, STATED,  "more channels (6→8, 16→20)"),
    ModelSpec("Q1_9",  "10k5 P 24k5 P",                               "120 84",         89_918, STATED,  "more channels (6→10, 16→24)"),
    ModelSpec("Q1_10", "10k5 P 28k5 P",                               "120 84",        102_922, STATED,  "more channels (6→10, 16→28)"),
    ModelSpec("Q1_11", "10k5 P 36k5 P",                               "400 120 84",    429_330, STATED,  "meant to overfit: 36 channels and one more FC layer"),
    ModelSpec("Q1_12", "3k3p 5k3p P 7k3p P 12k3p 16k3p P",            "120 84",         44_912, REBUILT, "Q1_4's five convolutions, padded, fewer channels, so more neurons remain"),
    ModelSpec("Q1_13", "6k5 P 8k5 P",                                 "120 84",         36_798, STATED,  "last convolution down to 8 channels, against overfitting"),
    ModelSpec("Q1_14", "6k5 P 10k5 P",                                "120 84",         43_100, STATED,  "last convolution down to 10 channels, against overfitting"),
    ModelSpec("Q1_15", "6k5 P 12k5 P",                                "120 84",         49_402, STATED,  "last convolution down to 12 channels, against overfitting"),
    ModelSpec("Q1_16", "6k5 P 14k5 P",                                "120 84",         55_704, STATED,  "last convolution down to 14 channels, against overfitting"),
    ModelSpec("Q1_17", "4k5 P 6k5 P",                                 "120 84",         30_044, REBUILT, "at most 6 channels: underfits"),
    ModelSpec("Q1_18", "4k5 P 5k5 P",                                 "120 84",         26_943, REBUILT, "at most 5 channels: underfits"),
    ModelSpec("Q1_19", "32k3p 32k3p P 64k3p 64k3p P 128k3p 128k3p P", "128",           550_570, STATED,  "the change of approach: weights into convolutions; the best result"),
    ModelSpec("Q1_20", "32k3p P 64k3p P 128k3p P",                    "128",           356_810, REBUILT, "Q1_19's idea, fewer parameters"),
    ModelSpec("Q1_21", "32k3 32k3 P 64k3 64k5 P",                     "32",            164_234, REBUILT, "Q1_19's idea, fewer still"),
    ModelSpec("Q1_22", "32k5 P 64k5 P",                               "32",            105_258, REBUILT, "Q1_19's idea, fewer still"),
    ModelSpec("Q1_23", "32k3p 32k3p P 64k3p 64k3p P 128k3p 256k3p P", "128",           960_298, REBUILT, "Q1_19's idea, more parameters"),
    ModelSpec("Q1_24", "32k3p 32k3p P 64k3p 64k3p P 128k3p 256k3p P", "D 128",         960_298, REBUILT, "Q1_23 with dropout before the head: the change that keeps Q1_23's count"),
    ModelSpec("Q1_25", "32k3 32k3 P 64k3 64k3 P 128k3p 256k3p",       "256 256",     2_141_610, REBUILT, "Q1_19's idea, more parameters again"),
    ModelSpec("Q2_1",  "6k5 16k5",                                    "120 84",      1_119_926, STATED,  "Q1_1 without ReLU and pools: only affine functions of the image remain"),
    ModelSpec("Q2_2",  "6k5 16k5",                                    "280 120",     2_618_562, REBUILT, "Q2_1 with wider FC layers: does width help an affine network?"),
]
# fmt: on


# ---- the registry ----------------------------------------------------------------------------------------------------

REGISTRY: dict[str, ModelSpec] = {}  # by key, see _key
MAX_NAME = 140  # bytes of a name, which is a folder's; encrypted home folders allow 143


LISTED = " (--list-models shows all; one of your own needs its --model-file)"


class UnknownModel(UsageError):
    """A name that is not in the registry; the message holds the nearest names."""


def _key(name: str) -> str:
    return name.strip().casefold().replace("-", "_")


def _add(spec: ModelSpec) -> None:
    """Add a row to the registry; its name must be free, and fit for a folder's name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", spec.name):
        raise ValueError(
            f"{spec.name!r} can't name a model: begin with a to z or a digit, then use letters, digits, '_', '-' and '.'"
        )
    if len(spec.name.encode()) > MAX_NAME:
        raise ValueError(f"{spec.name!r} can't name a model, as it names a folder: use at most {MAX_NAME} letters")
    if _key(spec.name) in REGISTRY:
        raise ValueError(f"a model named {REGISTRY[_key(spec.name)].name} exists already")
    REGISTRY[_key(spec.name)] = spec


for _spec in TABLE:
    _add(_spec)


def register(name: str, change: str = "", parameters: int | None = None):
    """Decorate an own ``nn.Module`` class so that it is in the registry under ``name``.

    The class is called without arguments, or with ``classes`` where it takes that, and must map a float32 batch
    (N, 3, 32, 32) to logits (N, classes), of which CIFAR-10 has 10. Raises ValueError if the name is missing, taken, or
    not made of letters, digits, ``_``, ``-`` and ``.``.
    """
    if not isinstance(name, str):
        raise ValueError('give the model a name: @register("Name")')

    def decorate(module):
        _add(ModelSpec(name, "own module", "", parameters, OWN, change, module))
        return module

    return decorate


class Fresh(SourceFileLoader):
    """Compiles a source as it is: a cache of its bytecode that looks as new may be that of another text."""

    def path_stats(self, path: str) -> NoReturn:
        raise OSError  # by which the importer knows of no cache, and writes none


class Neighbours:
    """What lies beside a file of own models: inside this context its imports find that first, as those of a script do.

    A module or package there that bears the name of one of ours is in its place, so that ``from models.lenet import
    LeNet`` works. Our own code has imported what it needs before, and does not see it.
    """

    def __init__(self, path: Path):
        self.folder, self.entered = path.parent, 0
        self.names: set[str] = set()  # those that are theirs and ours
        self.aside: dict[str, types.ModuleType] = {}  # their modules outside the context, ours inside
        there = {entry.name for entry in self.folder.iterdir()} - {path.name}
        for name in PROGRAM if self.folder != Path(__file__).resolve().parent else ():
            folder, is_file = self.folder / name, f"{name}.py" in there
            # A folder called "data" may well hold images alone.
            if is_file or (name in there and (any(folder.glob("*.py")) or any(folder.glob("*/*.py")))):
                self.names.add(name)
                if not is_file and not (folder / "__init__.py").exists():
                    # Python itself would take a module of ours before such a package.
                    self.aside[name] = types.ModuleType(name)
                    self.aside[name].__path__ = [str(folder)]

    def __enter__(self) -> None:
        self.entered += 1
        if self.entered == 1:
            sys.path.insert(0, str(self.folder))
            sys.path_hooks.insert(0, self._find)
            self._forget_finders()
            self._exchange()

    def __exit__(self, *error: object) -> None:
        self.entered -= 1
        if not self.entered:
            self._exchange()
            with contextlib.suppress(ValueError):  # the file may have changed the path itself
                sys.path_hooks.remove(self._find)
                sys.path.remove(str(self.folder))
            self._forget_finders()

    def _find(self, place: str) -> FileFinder:
        """Make the finder of the modules in a folder here, which takes them from what was hashed: their sources."""
        entries = [entry for entry in sys.path if Path(place).is_relative_to(entry)]
        if max(entries, key=len, default="") != str(self.folder):  # of a library, such as one in .venv here
            raise ImportError
        return FileFinder(place, (ExtensionFileLoader, EXTENSION_SUFFIXES), (Fresh, [".py"]))

    def _forget_finders(self) -> None:
        for place in [*sys.path_importer_cache]:
            if Path(place).is_relative_to(self.folder):
                del sys.path_importer_cache[place]

    def _exchange(self) -> None:
        """Put the modules that were set aside in the place of those of the same names."""
        before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in self.names}
        sys.modules.update(self.aside)
        self.aside = before

    def sources(self, path: Path) -> dict[str, bytes]:
        """Read ``path`` and all files here that it imports, in turn or only when it is used, by their names from here.

        What is found in other ways than by an import statement, such as a file of data, is not among them.
        """
        ours = () if self.folder != Path(__file__).resolve().parent else PROGRAM
        found, waiting = dict[str, bytes](), [path]
        while waiting:
            file = waiting.pop()
            name = file.relative_to(self.folder)
            if name.as_posix() in found or (file != path and name.parts[0].removesuffix(".py") in ours):
                continue
            found[name.as_posix()] = content = file.read_bytes()
            for parts in _imports(content, name.parent.parts) if file.suffix == ".py" else ():
                # A package's own file is imported before what is in it; a star may stand for anything there.
                for place in (self.folder.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)):
                    if place.name == "*":
                        waiting += [file for file in place.parent.glob("*") if file.suffix in MODULE_SUFFIXES]
                    else:
                        files = [place.with_name(place.name + suffix) for suffix in (".py", *EXTENSION_SUFFIXES)]
                        waiting += [file for file in (*files, place / "__init__.py") if file.is_file()]
        return found


def _imports(content: bytes, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield what a source file in ``package`` imports anywhere, as the parts of names that may be modules."""
    try:
        nodes = [*ast.walk(ast.parse(content))]
    except (SyntaxError, ValueError):  # what can't be imported, such as one for another Python
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            base = (*above, *(node.module.split(".") if node.module else ()))
            yield from ((*base, alias.name) for alias in node.names)


def _hash_sources(path: Path, sources: dict[str, bytes]) -> str:
    """Hash a file of own models, and what it imports beside it by name; alone, it has its own SHA-256."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sources.items()}
    own = digests.pop(path.name)
    lines = [own, *(f"{digest}  {name}" for name, digest in sorted(digests.items()))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if digests else own


def load_file(path: str | Path) -> None:
    """Run a Python file, so that its ``@register`` decorators add their models. Raises UsageError if it can't."""
    try:
        path = Path(path).resolve()
        is_python_file = path.is_file() and path.suffix == ".py"
    except OSError as error:  # such as a name that is too long
        raise UsageError(one_line(error)) from error
    if not is_python_file:
        raise UsageError(f"no such file of models (one that ends in .py): {path}")
    name = f"own_models_{path.stem}"
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(path)
    before = set(REGISTRY)
    try:
        with (neighbours := Neighbours(path)):
            source = _hash_sources(path, neighbours.sources(path))
            Fresh(name, str(path)).exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(_explain(error, path)) from error
    for key in REGISTRY.keys() - before:
        REGISTRY[key] = replace(REGISTRY[key], beside=neighbours, source=source)


def _explain(error: BaseException, path: Path) -> str:
    """Say in which line of the file of models an error came up, and how to mend an import."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where, hint = f"{path}, line {lines[-1]}" if lines else str(path), ""
    if isinstance(error, ImportError) and "relative import" in str(error):
        hint = f"; {path.name} is in no package, as a script is in none: "
        if frames[-1].filename == str(path):
            hint += "write " + re.sub(r"from \.+ ?(import)?", lambda dots: dots[1] or "from ", frames[-1].line or "")
        else:
            package = path.parent.name
            hint += f"have it beside the folder {package}, and import from {package}.NAME"
    elif isinstance(error, ImportError) and "'register' from" in str(error):
        hint = f"; to register a model, write from {ALIAS} import register"
    return f"{where}: {one_line(error)}{hint}"


def find(name: str, own_file: object = None) -> ModelSpec:
    """Find the row called ``name``; case does not matter, nor ``-`` for ``_``. Raises UnknownModel if there is none."""
    try:
        return REGISTRY[_key(name)]
    except KeyError:
        if own_file:  # that a saved run names; it is not run for that
            raise UnknownModel(f"{name} is an own model: give --model-file {own_file} if you trust that file") from None
        near = difflib.get_close_matches(_key(name), REGISTRY, n=4, cutoff=0.5)
        hint = f"; nearest: {', '.join(REGISTRY[key].name for key in near)}" if near else ""
        raise UnknownModel(f"no model is named {name!r}{hint}{LISTED}") from None


def select(names: str) -> list[ModelSpec]:
    """Find the rows that names stand for, e.g. ``Q1_19``, ``Q1_19,Q2_1``, ``Q1_1?`` or ``all``, each once."""
    chosen: dict[str, ModelSpec] = {}
    unknown = []
    for name in names.split(","):
        pattern = "*" if _key(name) == "all" else _key(name)
        try:
            keys = fnmatch.filter(REGISTRY, pattern) if set(pattern) & set("*?[") else [_key(find(name).name)]
        except UnknownModel as error:
            unknown.append(str(error).removesuffix(LISTED))
            continue
        if not keys:
            unknown.append(f"no model is named like {name!r}")
        chosen |= {key: REGISTRY[key] for key in keys}
    if unknown:
        raise UnknownModel("; ".join(unknown) + LISTED)
    return list(chosen.values())


def listing(width: int | None = None) -> str:
    """Show the registry as a table for people, in lines of ``width`` characters, by default the terminal's.

    Where a model needs more, what it changes gets a line of its own.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6
    rows: list[tuple[str, ...]] = [("model", "parameters", "known", "features | head", "what it changes, and why")]
    for spec in REGISTRY.values():
        count = "" if spec.parameters is None else f"{spec.parameters:,}"
        structure = f"{spec.features} | {spec.head}" if spec.head else spec.features
        rows.append((spec.name, count, spec.known_from, structure, spec.change))
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, tuple("-" * width for width in widths))
    alignment = "<><<<"
    lines = []
    for row in rows:
        *cells, change = (f"{cell:{align}{w}}" for cell, align, w in zip(row, alignment, widths))
        line = "  ".join(cells).rstrip()
        if sum(widths) + 2 * 4 <= width:
            line = f"{'  '.join(cells)}  {change}".rstrip()
        elif change.strip("- "):
            line += f"\n{'':{widths[0] + 2}}{change.rstrip()}"
        lines.append(line)
    return "\n".join([*lines, "", LEGEND])


LEGEND = """\
6k5: convolution with 6 channels and a 5×5 kernel (p: padded, keeps the size).
P: 2×2 max pool. After the bar: hidden fully connected layers, D: dropout 0.5;
A logit for each class follows; parameters are those for ten classes.
ReLU after each layer but the last, none in Q2.
stated: the published study states the structure. rebuilt: it states only the
idea and the count, and this is the simplest structure that meets both, not
necessarily the original."""


# ---- the module ------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """Convolutions and pools, then fully connected layers.

    ReLU and the flattening are functional, so that a layer-by-layer summary has no rows for them.
    """

    memory_format = torch.channels_last  # of its weights and images, for speed; it computes the same in any

    def __init__(self, spec: ModelSpec, classes: int = CLASSES):
        super().__init__()
        self.relu = spec.relu
        layers = spec.layers(classes)
        self.layers = nn.ModuleList(layer.build() for layer in layers)
        # ReLU and a maximum can change places, and after a pool ReLU has a quarter to do.
        kinds = [layer.kind for layer in layers]
        self.rectified = [
            spec.relu and ((kind in ("conv", "linear") and after != "pool") or (before, kind) == ("conv", "pool"))
            for before, kind, after in zip(["", *kinds], kinds, kinds[1:])
        ]
        self.to(memory_format=self.memory_format)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, classes) of images ``x`` (N, 3, 32, 32), float32."""
        *hidden, last = self.layers
        for layer, rectified in zip(hidden, self.rectified):
            if isinstance(layer, (nn.Linear, nn.Dropout)):
                x = x.flatten(1)
            x = layer(x)
            if rectified:
                x = F.relu(x)
        return last(x.flatten(1))


def build(name: str, classes: int = CLASSES) -> nn.Module:
    """Build a new model, with PyTorch's default initialisation drawn from torch's global generator.

    Raises UsageError if there is no such row, it can't be built, has not a logit for each of ``classes``, or for those
    of CIFAR-10 another count than it promises.
    """
    spec = find(name)
    try:
        with spec.beside:
            model = _build_own(spec.module, classes) if spec.module else Net(spec, classes)
            outputs = try_evaluation(model, 2) if spec.module else None
        count = count_parameters(model)
    except Exception as error:
        raise UsageError(f"{spec.name} does not work: {type(error).__name__}: {error}") from error
    if spec.module:
        check_logits(spec.name, outputs, 2, classes)
    if classes == CLASSES and spec.parameters not in (None, count):
        raise UsageError(f"{spec.name} has {count:,} parameters, its row says {spec.parameters:,}")
    return model


def _build_own(module: Callable[..., nn.Module], classes: int) -> nn.Module:
    try:
        takes_classes = "classes" in inspect.signature(module).parameters
    except (TypeError, ValueError):  # what has no signature, such as a class of an extension
        takes_classes = False
    return module(classes=classes) if takes_classes else module()


def memory_format_of(model: nn.Module) -> torch.memory_format:
    """Tell how images for ``model`` lie in memory; an own model may count on the usual layout."""
    return getattr(model, "memory_format", torch.contiguous_format)


@torch.no_grad()
def try_evaluation(model: nn.Module, images: int) -> object:
    """Try what ``model`` makes of so many images; neither it nor the random numbers change."""
    with torch.random.fork_rng(devices=[]):
        return copy.deepcopy(model).eval()(torch.zeros(images, *IMAGE_SHAPE))


def check_logits(name: str, outputs: object, images: int, classes: int = CLASSES) -> None:
    """Check that ``outputs`` of so many images are logits (images, classes). Raises UsageError if not."""
    many = f"{images} image{'s' * (images > 1)}"
    if not isinstance(outputs, Tensor):
        why = "return the logits alone, without auxiliary outputs (of torchvision's networks: aux_logits=False)"
        raise UsageError(f"{name} makes a {type(outputs).__name__} of {many}, not a tensor: {why}")
    if outputs.shape != (images, classes):
        shape = tuple(outputs.shape)
        how = "; squeeze() takes the first dimension of one image too: flatten(1) keeps it" * (shape == (classes,))
        if shape == (images, CLASSES):
            how = f"; these images have {classes} classes: let its class take their number, as __init__(self, classes)"
        raise UsageError(f"{name} makes {shape} of {many}, not logits of shape ({images}, {classes}){how}")


def count_parameters(model: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
