"""The command line, made from the settings in ``config.py``, and what it asks for.

Nothing heavy is imported here, so that ``-h`` and a mistyped option are answered at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import traceback
from dataclasses import dataclass

from runner.config import (
    AUTO,
    DATA_URL_VARIABLE,
    FIELDS,
    PLACE_SETTINGS,
    RECIPE_TABLE,
    RECIPES,
    TYPES,
    Config,
    check,
    flag_of,
)
from runner.errors import RunnerError, UsageError, one_line

ON_A_RUN = ("evaluate", "transfer", "collapse", "predict")
"""The options, and actions, that take a saved run."""


def build_parser() -> argparse.ArgumentParser:
    """The command line. Settings that are not given are absent from the parsed namespace."""
    parser = argparse.ArgumentParser(
        prog="ex1.py",
        usage="ex1.py --model-name NAME [options]\n       ex1.py --model-name all [--seeds 0-4] [options]\n"
        "       ex1.py --resume RUN [--epochs N]\n"
        "       ex1.py --list-models\n       ex1.py --evaluate RUN\n"
        "       ex1.py --predict IMAGE... --from RUN\n"
        "       ex1.py --transfer RUN\n       ex1.py --collapse RUN\n       ex1.py -h",
        description="Train a small network on CIFAR-10, validate it after each epoch, and write down what came out.",
        epilog="example: python ex1.py --model-name Q1_19 --epochs 15",
        allow_abbrev=False,
    )
    actions = parser.add_argument_group("what to do (default: train a network)")
    actions.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a stopped run, given its folder, or with more --epochs with a finished one; "
        "auto: with the run of these very settings if there is one, else begin it",
    )
    actions.add_argument("--list-models", action="store_true", help="show the models and exit")
    actions.add_argument("--evaluate", metavar="RUN", help="report a saved run again, given its folder")
    actions.add_argument(
        "--transfer", metavar="RUN", help="measure a saved run with each shuffle, and write that into the run's folder"
    )
    actions.add_argument(
        "--collapse",
        metavar="RUN",
        help="make one matrix of a saved run's affine network, check that it computes the same, and write it and its "
        "class templates, as pictures, into the run's folder",
    )
    actions.add_argument("--predict", metavar="IMAGE", nargs="+", help="classify image files of any size, see --from")
    actions.add_argument("--from", dest="from_run", metavar="RUN", help="the folder of the run that predicts")
    actions.add_argument(
        "--weights",
        choices=("last", "best"),
        help="which weights of a saved run (default: last; best: with --val holdout)",
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in FIELDS.values():
        about = field.metadata
        if about["group"] not in groups:
            groups[about["group"]] = parser.add_argument_group(about["group"])
        help = about["help"].replace("%", "%%") + _default(field)
        if field.type == "bool":
            groups[about["group"]].add_argument(
                flag_of(field.name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=help
            )
            continue
        groups[about["group"]].add_argument(
            flag_of(field.name),
            type=TYPES[field.type],
            nargs="+" if about["several"] else None,
            choices=None if about["several"] else about["choices"],
            metavar=about["metavar"],
            default=argparse.SUPPRESS,
            help=help,
        )
    batch = parser.add_argument_group(
        "batch of runs (several models, shuffles or seeds)",
        "Finished runs are skipped, stopped ones go on; the same command again goes on with a stopped batch.",
    )
    batch.add_argument("--seeds", type=_seeds, metavar="LIST", help="seeds, e.g. 0-4 or 0,2,7; each makes a run")
    batch.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: the cores divided by --threads)")
    batch.add_argument(
        "--engine",
        choices=("local", "ray"),
        help="local: processes on this machine; ray: tasks of a Ray cluster (default: local)",
    )
    batch.add_argument(
        "--ray-address", metavar="ADDRESS", help="the Ray cluster (default: $RAY_ADDRESS, else a new one)"
    )
    batch.add_argument("--gpus-per-run", type=float, metavar="X", help="GPUs that Ray gives to each run (default: 0)")
    groups["output"].add_argument(
        "--quiet", action="store_true", help="print only the final result, warnings and errors"
    )
    groups["output"].add_argument("--debug", action="store_true", help="show where in the code an error came from")
    return parser


def _default(field: dataclasses.Field) -> str:
    """What the help of an option says of its default."""
    default, recipes = field.default, {}
    if field.name in RECIPE_TABLE:
        recipes = {recipe: values[field.name] for recipe, values in RECIPES.items() if values[field.name] != default}
    if default == "":
        return ""
    words = [f"default: {_in_words(default)}", *(f"{recipe}: {_in_words(value)}" for recipe, value in recipes.items())]
    return f" ({'; '.join(words)})"


def _in_words(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Batch:
    """Which runs a batch is of, and where they are trained.

    Attributes:
        models: names of the registry.
        shuffles: values of ``--shuffle``.
        seeds: values of ``--seed``.
        jobs: processes at a time; 0: one per core.
        engine: ``local`` or ``ray``.
        ray_address: of the Ray cluster; empty: what ``$RAY_ADDRESS`` says, else one that is started on this machine.
        gpus_per_run: GPUs that Ray gives to a run.
    """

    models: tuple[str, ...]
    shuffles: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: int = 0
    engine: str = "local"
    ray_address: str = ""
    gpus_per_run: float = 0.0


@dataclass(frozen=True)
class Command:
    """A parsed command line: what to do, and the settings that were given for it."""

    action: str  # "train", "batch", "evaluate", "predict", "transfer", "collapse" or "list"
    given: dict
    run: str = ""
    images: tuple[str, ...] = ()
    weights: str = "last"
    resume: str = ""  # "auto" or the folder of a run
    batch: Batch | None = None
    quiet: bool = False
    debug: bool = False

    def config(self, saved: dict | None = None) -> Config:
        """The settings of a run: those given, and for the others ``saved`` ones or the recipe's and the defaults.

        Raises:
            UsageError: a value out of its limits.
        """
        usual = RECIPES.get(self.given.get("recipe"), {}) if saved is None else saved
        return Config(**(usual | self.given))

    def runs(self) -> list[Command]:
        """The commands that train the runs of a batch, by seed, shuffle and model; each has a core of its own."""
        common = self.given | {"threads": self.given.get("threads") or 1}
        return [
            Command("train", common | {"model_name": model, "shuffle": shuffle, "seed": seed}, resume=AUTO)
            for seed in self.batch.seeds
            for shuffle in self.batch.shuffles
            for model in self.batch.models
        ]


def parse(argv: list[str] | None = None) -> Command:
    """Parses and checks the command line; a mistake ends the program with exit code 2 and its reason."""
    import models

    parser = build_parser()
    options = vars(parser.parse_args(argv))
    given = {name: options[name] for name in FIELDS if name in options}
    if os.environ.get(DATA_URL_VARIABLE):
        given.setdefault("data_url", os.environ[DATA_URL_VARIABLE])
    try:
        shuffles = [part for value in given.pop("shuffle", []) for part in value.split(",")]
        for name, value in [*given.items(), *(("shuffle", value) for value in shuffles)]:
            check(name, value)  # first: argparse makes an empty list of "--lr=--"
        if "model_file" in given:
            models.load_file(given["model_file"])
        names = [model.name for model in models.select(given.pop("model_name"))] if "model_name" in given else []
        several = {"model_name": names, "shuffle": shuffles, "seed": options["seeds"]}
        command = _command(
            options, given, {name: tuple(dict.fromkeys(values or ())) for name, values in several.items()}
        )
        if command.action == "batch":
            for run in command.runs():
                run.config()
        elif command.action == "train" and command.resume in ("", AUTO):
            command.config()
    except (ValueError, OSError, RunnerError) as error:
        if options["debug"]:
            traceback.print_exc()
        parser.error(one_line(error) if isinstance(error, OSError) else str(error))
    if command.action == "list":
        try:
            print(models.listing(), flush=True)
        except BrokenPipeError:
            os._exit(0)  # the reader has seen enough, e.g. "| head"; an ordinary exit would flush, and complain
        parser.exit()
    return command


def _seeds(text: str) -> list[int]:
    """The numbers of a list such as ``0-4`` or ``0,2,7``."""
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


def _command(options: dict, given: dict, several: dict[str, tuple]) -> Command:
    """The command of ``options``; ``several`` holds the values of the settings of which a batch takes several."""
    asks_for_batch = {name: options[name] for name in ("jobs", "engine", "ray_address", "gpus_per_run")}
    asks_for_batch = {name: value for name, value in asks_for_batch.items() if value is not None}
    is_batch = asks_for_batch or several["seed"] or any(len(values) > 1 for values in several.values())
    if not is_batch:
        given |= {name: values[0] for name, values in several.items() if values}
    if bool(options["predict"]) != bool(options["from_run"]):
        raise UsageError("--predict IMAGE... and --from RUN go together")
    empty = [flag for flag in (*ON_A_RUN, "from_run", "resume") if options[flag] in ("", [])]
    if empty:
        raise UsageError(f"--{empty[0].removesuffix('_run')} names no run")
    asked = [flag_of(name) for name in ("list_models", *ON_A_RUN, "resume") if options[name]]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} are different things: give one of them")
    if options["list_models"]:
        return Command("list", given)
    talk = {"quiet": options["quiet"], "debug": options["debug"]}
    action = next((action for action in ON_A_RUN if options[action]), None)
    if not action:
        if options["weights"]:
            raise UsageError("--weights goes with --evaluate, --transfer, --collapse or --predict")
        if options["resume"] not in (None, AUTO):
            if is_batch:
                raise UsageError("a batch goes on with its runs by itself: leave out --resume, or say --resume auto")
            if "results_dir" in given:
                raise UsageError("--results-dir: a run that is resumed stays where it is")
        if is_batch:
            return Command("batch", given, resume=AUTO, batch=_batch(given, several, asks_for_batch), **talk)
        return Command("train", given, resume=options["resume"] or "", **talk)
    asked = [name for name in FIELDS if name in given or len(several.get(name, ())) > 1]
    asked += ["seeds"] * bool(several["seed"]) + list(asks_for_batch)
    allowed = PLACE_SETTINGS | ({"val_shuffle"} if action in ("evaluate", "predict") else set())
    extra = [flag_of(name) for name in asked if name not in allowed]
    if extra:
        raise UsageError(f"a saved run brings its own settings: leave out {', '.join(extra)}")
    return Command(
        action=action,
        given=given,
        run=options["from_run"] or options[action],
        images=tuple(options["predict"] or ()),
        weights=options["weights"] or "last",
        **talk,
    )


def _batch(given: dict, several: dict[str, tuple], options: dict) -> Batch:
    """Which runs a batch is of; what is said of all of them stays in ``given``."""
    if not several["model_name"]:
        raise UsageError("--model-name is needed, e.g. --model-name all (--list-models shows all)")
    if several["seed"] and "seed" in given:
        raise UsageError("--seed and --seeds: give one of them")
    batch = Batch(
        models=several["model_name"],
        shuffles=several["shuffle"] or (FIELDS["shuffle"].default,),
        seeds=several["seed"] or (given.get("seed", FIELDS["seed"].default),),
        **options,
    )
    on_ray = batch.engine == "ray"
    if batch.jobs < 0 or (batch.jobs and on_ray):
        raise UsageError(
            f"--jobs {batch.jobs}: " + ("Ray starts what its nodes have room for" if on_ray else "at least 1")
        )
    if not on_ray and (batch.ray_address or "gpus_per_run" in options):
        raise UsageError("--ray-address and --gpus-per-run go with --engine ray")
    if not 0 <= batch.gpus_per_run < math.inf:
        raise UsageError(f"--gpus-per-run {batch.gpus_per_run}: must be at least 0")
    return batch
