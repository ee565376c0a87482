"""The command line, made from the settings in ``config.py``, and what it asks for.

It imports nothing slow, so that ``-h`` and a mistyped option are answered at once.
"""

import argparse
import dataclasses
import difflib
import itertools
import os
import re
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import config
from runner.config import AUTO, FIELDS, PLACE_SETTINGS, RECIPES, Config, EngineConfig, flag_of, in_words
from runner.errors import UsageError, one_line
from runner.startup import expand_home

PROBES = ("evaluate", "transfer", "collapse", "conflict", "predict")  # the actions on a saved run
MAX_FILE_NAME = 255  # bytes, of all file systems in use
ENGINE_OPTIONS = tuple(option.name for option in dataclasses.fields(EngineConfig))


@dataclass(frozen=True)
class Arguments:
    """What a command line asks for."""

    action: str  # ``train``, ``list`` or one of ``PROBES``
    given: dict[str, Any]  # the settings that were given, by name, but those of which several may be given
    models: str = ""  # of these, names and patterns
    several: dict[str, tuple] = dataclasses.field(default_factory=dict)  # the values of those, by name
    run: str = ""  # the saved run of a probe
    images: tuple[str, ...] = ()  # the files of --predict
    on: str = ""  # the other images of --evaluate; empty: those of its own data set
    weights: str = "last"  # which weights of a saved run, ``last`` or ``best``
    resume: str = ""  # empty, ``auto`` or the folder of a run
    engine: EngineConfig | None = None  # where a sweep trains its runs; None: nothing was said of it
    quiet: bool = False
    debug: bool = False

    def runs(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """List the given settings of every run, by seed, shuffle and model; ``names`` are those of ``models``.

        Where no pixel is moved, the seeds of permutations make no further runs.
        """
        several = {name: values for name, values in (self.several | {"model_name": tuple(names)}).items() if values}
        made = [self.given | dict(zip(several, values)) for values in itertools.product(*several.values())]
        for run in made if "shuffle_seed" in several else ():
            if config.parts_of_shuffle(run.get("shuffle", "none"))[1] == "none":
                del run["shuffle_seed"]
        return [*{tuple(run.items()): run for run in made}.values()]

    def is_sweep(self, runs: Sequence[dict[str, Any]]) -> bool:
        """Tell whether ``runs`` are a sweep. Raises UsageError if something else given does not go with one."""
        listed = self.several.get("seed") or self.several.get("shuffle_seed")  # --seeds 0 is a sweep, of one run
        if len(runs) == 1 and not listed and self.engine is None:
            return False
        if self.resume not in ("", AUTO):
            raise UsageError("a sweep goes on with its runs by itself: leave out --resume, or say --resume auto")
        if not self.models:
            raise UsageError("--model-name is needed, e.g. --model-name all (--list-models shows all)")
        return True


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Parse and check the command line; a mistake ends the program with exit code 2 and its reason."""
    parser = build_parser()
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        near = [match for text in unknown for match in difflib.get_close_matches(text.partition("=")[0], flags, n=1)]
        nearest = f"; nearest: {', '.join(near)}" if near else " (-h shows all options)"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{nearest}")
    options = vars(known)
    try:
        return _arguments(options)
    except UsageError as error:
        if options["debug"]:
            traceback.print_exc()
        parser.error(str(error))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser. Settings that are not given are absent from the parsed namespace."""
    parser = argparse.ArgumentParser(
        prog="ex1.py",
        usage="ex1.py --model-name NAME [options]\n       ex1.py --model-name all [--seeds 0-4] [options]\n"
        "       ex1.py --resume RUN [--epochs N]\n"
        "       ex1.py --list-models\n       ex1.py --evaluate RUN [--on PATH]\n"
        "       ex1.py --predict IMAGE... --from RUN\n"
        "       ex1.py --transfer RUN\n       ex1.py --collapse RUN\n       ex1.py --conflict RUN\n       ex1.py -h",
        description="Train a small network on CIFAR-10, validate it after each epoch, and write down what came out.",
        epilog="example: python ex1.py --model-name Q1_19 --epochs 15",
        allow_abbrev=False,
    )
    _add_actions(parser)
    _add_settings(parser)
    _add_sweep_options(parser)
    return parser


def _add_actions(parser: argparse.ArgumentParser) -> None:
    """Add what to do, one thing at a time, and what goes with it."""
    # What to do: argparse refuses two of these at once.
    group = parser.add_argument_group("what to do (default: train a network)")
    actions = group.add_mutually_exclusive_group()
    actions.add_argument(
        "--resume",
        metavar="RUN",
        type=_run,
        help="go on with a stopped run, given its folder, or with more --epochs with a finished one; "
        "auto: with the run of these very settings if there is one, else begin it",
    )
    actions.add_argument("--list-models", action="store_true", help="show the models and exit")
    actions.add_argument("--evaluate", metavar="RUN", type=_run, help="report a saved run again, given its folder")
    actions.add_argument(
        "--transfer",
        metavar="RUN",
        type=_run,
        help="measure a saved run with each shuffle, one whose pixels stay in place with 5 permutations of each, and "
        "write that into the run's folder",
    )
    actions.add_argument(
        "--collapse",
        metavar="RUN",
        type=_run,
        help="make one matrix of a saved run's affine network, check that it computes the same, and write it and its "
        "class templates, as pictures, into the run's folder",
    )
    actions.add_argument(
        "--conflict",
        metavar="RUN",
        type=_run,
        help="measure which cue a run that was trained on generated images follows where two cues contradict each "
        "other, and write that into the run's folder",
    )
    actions.add_argument(
        "--predict",
        metavar="IMAGE",
        nargs="+",
        type=expand_home,
        help="classify image files, or all in a folder, see --from",
    )

    # What goes with it.
    group.add_argument(
        "--on",
        metavar="PATH",
        type=_path,
        help="the images to evaluate on, in place of the run's own: CIFAR-10.1, a folder of CIFAR-10-C, a folder of "
        "images for each class, or arrays (.npz, .npy); the result goes into the run's folder",
    )
    group.add_argument("--from", dest="from_run", metavar="RUN", type=_run, help="the folder of the run that predicts")
    group.add_argument(
        "--weights",
        choices=("last", "best"),
        help="which weights of a saved run (default: last; best: with --val holdout)",
    )
    group.add_argument("--quiet", action="store_true", help="print only the final result, warnings and errors")
    group.add_argument("--debug", action="store_true", help="show where in the code an error came from")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for every field of ``Config``, by group."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in FIELDS.values():
        metadata = setting.metadata
        if metadata["group"] not in groups:
            groups[metadata["group"]] = parser.add_argument_group(metadata["group"])
        options: dict = {"default": argparse.SUPPRESS, "help": metadata["help"].replace("%", "%%") + _default(setting)}
        if setting.type is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            kind = _path if metadata["metavar"] in ("DIR", "FILE") else setting.type
            options |= {"type": kind, "metavar": metadata["metavar"]}
            options |= {"nargs": "+"} if metadata["several"] else {}
            options |= {} if metadata["metavar"] else {"choices": metadata["choices"]}
        groups[metadata["group"]].add_argument(flag_of(setting.name), **options)


def _add_sweep_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "sweep (several models, shuffles, permutations or seeds)",
        "Finished runs are skipped, stopped ones go on; the same command again goes on with a stopped sweep.",
    )
    group.add_argument("--seeds", type=_seeds, metavar="LIST", help="seeds, e.g. 0-4 or 0,2,7; each makes a run")
    group.add_argument(
        "--shuffle-seeds",
        type=_seeds,
        metavar="LIST",
        help="seeds of the permutations, e.g. 0-4; each makes a run with each of --seeds, where pixels are moved",
    )
    group.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: the cores divided by --threads)")
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        help="local: processes on this machine; ray: tasks of a Ray cluster (default: local)",
    )
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="the Ray cluster (default: $RAY_ADDRESS, else a new one)"
    )
    group.add_argument("--gpus-per-run", type=float, metavar="X", help="GPUs that Ray gives to each run (default: 0)")


def _default(setting: dataclasses.Field) -> str:
    """Format an option's default for its help, e.g. ``(default: 10; fast: 3)``."""
    default, recipes = setting.default, {}
    if setting.name in config.RECIPE_TABLE:
        recipes = {
            recipe: values[setting.name] for recipe, values in RECIPES.items() if values[setting.name] != default
        }
    if default == "":
        return ""
    parts = [f"default: {in_words(default)}", *(f"{recipe}: {in_words(value)}" for recipe, value in recipes.items())]
    return f" ({'; '.join(parts)})"


def _path(text: str) -> str:
    """Check that a file or folder could have this path, whether it is there or not."""
    path = expand_home(text)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(one_line(error)) from error
    if any(len(os.fsencode(part)) > MAX_FILE_NAME for part in path.split(os.sep)):
        raise argparse.ArgumentTypeError(f"{path}: File name too long")
    return path


def _run(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("names no run")
    return _path(text)


def check_results_dir(folder: str) -> None:
    """Raise UsageError if no run could make its folder in ``folder``, which need not be there yet."""
    path = Path(folder).absolute()
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise UsageError(f"--results-dir {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--results-dir {folder}: {there} can't be written; name another folder")


def _seeds(text: str) -> list[int]:
    """Parse a list of numbers and ranges, such as ``0-4`` or ``0,2,7``."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,19})\s*(?:-\s*(\d{1,19})\s*)?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise argparse.ArgumentTypeError(f"{part!r} is no seed or range of seeds, such as 3 or 0-4")
        if last - first >= 10_000:
            raise argparse.ArgumentTypeError(f"{part!r} are more than 10,000 seeds")
        seeds += range(first, last + 1)
    return seeds


def _arguments(options: dict) -> Arguments:
    """Check parsed options. Raises UsageError if a value is out of its limits, or options don't go together."""
    # argparse makes an empty list of an option such as "--lr=--".
    for name, value in options.items():
        if value == []:
            raise UsageError(f"{'--from' if name == 'from_run' else flag_of(name)}: its value is missing")

    # Each setting by itself.
    given = {name: options[name] for name in FIELDS if name in options}
    if os.environ.get(config.DATA_URL_VARIABLE):
        given.setdefault("data_url", os.environ[config.DATA_URL_VARIABLE])
    shuffles = [part for value in given.pop("shuffle", []) for part in value.split(",")]
    listed = {"shuffle_seed": options["shuffle_seeds"], "seed": options["seeds"], "shuffle": shuffles}
    several = {name: tuple(dict.fromkeys(values or ())) for name, values in listed.items()}
    values = [*given.items(), *((name, value) for name, values in several.items() for value in values)]
    if mistakes := [str(mistake) for name, value in values if (mistake := config.mistake_in(name, value))]:
        raise UsageError("; ".join(mistakes))
    for name in ("seed", "shuffle_seed"):
        if several[name] and name in given:
            raise UsageError(f"{flag_of(name)} and {flag_of(name)}s: give one of them")

    # What belongs to a sweep, if anything was said of it.
    engine_options = {name: options[name] for name in ENGINE_OPTIONS if options[name] is not None}
    engine = EngineConfig(**engine_options) if engine_options else None

    # The action, and what goes with it.
    action = next((probe for probe in PROBES if options[probe] is not None), "train")
    if options["list_models"]:
        action = "list"
    if (action == "predict") != (options["from_run"] is not None):
        raise UsageError("--predict IMAGE... and --from RUN go together")
    if options["on"] == "":
        raise UsageError("--on: names no images")
    if options["on"] is not None and action != "evaluate":
        raise UsageError("--on PATH goes with --evaluate RUN")
    if action in PROBES:
        is_free = action == "predict" or (action == "evaluate" and options["on"] is None)
        allowed = PLACE_SETTINGS | ({"val_shuffle"} if is_free else set())
        extra = [name for name in given if name not in allowed]
        extra += [name for name, value in {"shuffle": shuffles, **engine_options}.items() if value]
        extra += [name for name in ("seeds", "shuffle_seeds") if options[name]]
        if extra:
            raise UsageError(f"a saved run brings its own settings: leave out {', '.join(map(flag_of, extra))}")
    elif options["weights"]:
        raise UsageError("--weights goes with --evaluate, --transfer, --collapse, --conflict or --predict")
    if options["resume"] not in (None, AUTO) and "results_dir" in given:
        raise UsageError("--results-dir: a run that is resumed stays where it is")
    if action == "train" and options["resume"] in (None, AUTO):
        # What can't work is said before the slow imports.
        check_results_dir(Config.from_given(given).results_dir)

    return Arguments(
        action=action,
        given=given,
        models=str(given.pop("model_name", "")),
        several=several,
        run=options["from_run"] or (options[action] if action in PROBES else ""),
        images=tuple(options["predict"] or ()),
        on=options["on"] or "",
        weights=options["weights"] or "last",
        resume=options["resume"] or "",
        engine=engine,
        quiet=options["quiet"],
        debug=options["debug"],
    )
