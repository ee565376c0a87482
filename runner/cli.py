"""The command line, made from the settings in ``config.py``, and what it asks for.

It imports nothing slow, so that ``-h`` and a mistyped option are answered at once.
"""

import argparse
import dataclasses
import functools
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import config, config_file, startup
from runner.config import (
    AUTO,
    CLASSIC,
    FIELDS,
    IDENTITY,
    PLACE_SETTINGS,
    RECIPES,
    Config,
    EngineConfig,
    Goal,
    flag_of,
    in_words,
    nearest,
)
from runner.errors import UsageError, one_line
from runner.startup import expand_home

PROBES = ("evaluate", "transfer", "collapse", "conflict", "predict")  # the actions on a saved run
MAX_FILE_NAME = 255  # bytes, of all file systems in use
ENGINE_OPTIONS = tuple(option.name for option in dataclasses.fields(EngineConfig))
LISTS = {"seeds": "seed", "shuffle_seeds": "shuffle_seed"}  # options that list values of a setting

# What options are called elsewhere.
SYNONYMS = {"--model": "--model-name", "--network": "--model-name", "--learning-rate": "--lr", "--bs": "--batch-size"}
SYNONYMS |= {"--wd": "--weight-decay", "--data": "--data-dir", "--output": "--results-dir", "--gpu": "--device"}
SYNONYMS |= {"--workers": "--jobs"}

# Options that say what to do with saved runs, and those that are no settings: for the command line alone.
ON_COMMAND_LINE = {*PROBES, "help", "help_all", "list_models", "resume", "new", "on", "from_run", "weights", "config"}

SHORT_HELP = f"""\
usage: python ex1.py --model-name NAME... [options]

Train small networks on CIFAR-10, and write down what came out. The same command
again goes on with what was stopped, and shows what is finished.

what to train (several values, with spaces or commas, make several runs):
  --model-name NAME   e.g. Q1_19, Q1_1 Q1_4, 'Q1_2?', all (see --list-models)
  --recipe NAME       classic: as published (default); fast: in large steps
  --epochs N          passes over the images (default: {CLASSIC["epochs"]}; fast: {RECIPES["fast"]["epochs"]})
  --batch-size N      images in a step (default: {CLASSIC["batch_size"]}; fast: {RECIPES["fast"]["batch_size"]})
  --lr X              learning rate (default: {CLASSIC["lr"]}; fast: {RECIPES["fast"]["lr"]})
  --optimizer NAME    sgd (default), adam, adamw
  --schedule NAME     of the rate: constant (default), one-cycle, cosine, step
  --shuffle NAME      move pixels: none (default), fixed, per-image, block:8 ..
  --seeds LIST        e.g. 0-4 or 0,2,7: a run with each seed (default: 0)

on what:
  --data-dir DIR      where CIFAR-10 is, or is downloaded to (default: data)
  --val holdout       validate on images held out, and not on the test images
  --patience N        with that: end after N epochs that were not better
  --limit N           a quick trial on N images

how:
  --config FILE       these options in a file: TOML, JSON or a run's config.json
  --dry-run           show these runs and how long they take, and train none
  --jobs N            runs at a time (default: one for each core)
  --step native       small networks several times as fast; needs a C compiler
  --results-dir DIR   where results go (default: results)

afterwards (RUN: a run's folder, a unique part of its name, or last):
  --resume RUN        go on with it; a finished one takes more --epochs
  --evaluate RUN      measure it again; --on PATH: on other images
  --predict IMAGE... --from RUN    classify image files

--help-all shows every option. To compare runs: python -m report
"""


@dataclass(frozen=True)
class Arguments:
    """What a command line asks for."""

    action: str  # ``train``, ``list`` or one of ``PROBES``
    given: dict[str, Any]  # the settings that were given, by name, but those of which several may be given
    models: str = ""  # of these, names and patterns
    several: dict[str, tuple] = dataclasses.field(default_factory=dict)  # the values of those, by name
    run: str = ""  # the saved run of a probe: its folder, a part of its name, or ``last``
    results_dir: str = ""  # where such a run is looked for
    images: tuple[str, ...] = ()  # the files of --predict
    on: str = ""  # the other images of --evaluate; empty: those of its own data set
    weights: str = "last"  # which weights of a saved run, ``last`` or ``best``
    resume: str = AUTO  # that, empty for a new run, or a run, as above
    dry_run: bool = False  # whether to show the runs, and to train none
    goal: Goal | None = None  # when a sweep that adds seeds has enough of them
    engine: EngineConfig | None = None  # where several runs are trained; None: nothing was said of it
    quiet: bool = False
    debug: bool = False

    def runs(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """List the given settings of every run, each combination once; ``names`` are those of ``models``."""
        several = {name: values for name, values in (self.several | {"model_name": tuple(names)}).items() if values}
        made = [self.given | dict(zip(several, values)) for values in itertools.product(*several.values())]
        made = [config.drop_idle(run, several) for run in made]
        return [*{tuple(run.items()): run for run in made}.values()]

    def is_sweep(self, runs: Sequence[dict[str, Any]]) -> bool:
        """Tell whether ``runs`` are a sweep. Raises UsageError if something else given does not go with one."""
        listed = self.several.get("seed") or self.several.get("shuffle_seed")  # --seeds 0 is a sweep, of one run
        if len(runs) == 1 and not listed and self.engine is None and self.goal is None:
            return False
        if not self.models:
            raise UsageError("--model-name is needed, e.g. --model-name all (--list-models shows all)")
        if self.resume != AUTO:
            why = "leave out --resume" if self.resume else "in place of --new give another --results-dir"
            raise UsageError(f"these are several runs, which go on where they were stopped: {why}")
        return True


def parse(argv: Sequence[str] | None = None) -> Arguments:
    """Parse and check the command line; a mistake ends the program with exit code 2 and its reason."""
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        known, unknown = parser.parse_known_args([*_options_of_file(parser, argv), *argv])
        if unknown:
            raise UsageError(_tell_unknown(parser, unknown, argv))
        return _arguments(vars(known))
    except UsageError as error:
        if "--debug" in argv:
            traceback.print_exc()
        parser.error(str(error))


class Parser(startup.Parser):
    """The parser of the command line, whose -h shows the usual options."""

    def print_help(self, file: Any = None) -> None:
        self._print_message(SHORT_HELP, file or sys.stdout)


class _AllHelp(argparse.Action):
    """Show every option, as argparse does."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        parser._print_message(parser.format_help(), sys.stdout)
        parser.exit()


class _Switch(argparse.Action):
    """A setting that is on or off: ``--nesterov``, ``--no-nesterov``, or for both ``--nesterov on off``."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:  # fmt: skip
        words = [word for value in values for word in value.split(",")]
        is_no = str(option_string).startswith("--no-")
        if (is_no and words) or not set(words) <= {"on", "off"}:
            raise argparse.ArgumentError(self, f"{' '.join(words)}: say on or off, or nothing")
        setattr(namespace, self.dest, [[not is_no]] if not words else [[word == "on" for word in words]])


def build_parser() -> Parser:
    """Make the parser. Settings that are not given are absent from the parsed namespace."""
    parser = Parser(
        prog="ex1.py",
        usage="ex1.py --model-name NAME... [options]\n       ex1.py --resume RUN [--epochs N]\n"
        "       ex1.py --list-models\n       ex1.py --evaluate RUN [--on PATH]\n"
        "       ex1.py --predict IMAGE... --from RUN\n"
        "       ex1.py --transfer RUN\n       ex1.py --collapse RUN\n       ex1.py --conflict RUN\n"
        "       ex1.py -h | --help-all",
        description="Train small networks on CIFAR-10, validate them after each epoch, and write down what came out. "
        "An option of which several values make several runs takes them with spaces or commas. RUN is the folder of "
        "a run, a unique part of its name, or last: the one that was written last.",
        epilog="example: python ex1.py --model-name Q1_19 --epochs 15",
        allow_abbrev=False,
    )
    _add_actions(parser)
    _add_settings(parser)
    _add_sweep_options(parser)
    return parser


def _options_of_file(parser: Parser, argv: Sequence[str]) -> list[str]:
    """Write the options of a --config in ``argv`` as a command line. Raises UsageError if it has others."""
    finder = Parser(prog=parser.prog, add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(argv)[0].config
    if path is None:
        return []
    words: list[str] = []
    options = {action.dest: action for action in parser._actions if action.dest not in ON_COMMAND_LINE}
    given = {word.partition("=")[0] for word in argv}
    for key, value in config_file.read(expand_home(path), given).items():
        name = key.replace("-", "_")
        if name not in options:
            flag = flag_of(name)
            near = nearest(SYNONYMS.get(flag, flag)[2:], [flag_of(option)[2:] for option in options])
            raise UsageError(f"--config {path}: no option is named {key}{near}")
        # A list of seeds gives way to one seed of the command line, and the other way round.
        partner = LISTS.get(name) or next((of for of, setting in LISTS.items() if setting == name), name)
        if flag_of(partner) in given:
            continue
        try:
            words += config_file.words(options[name], value)
        except UsageError as error:
            raise UsageError(f"--config {path}: {error}") from error
    return words


def _tell_unknown(parser: Parser, unknown: Sequence[str], argv: Sequence[str]) -> str:
    """Say which words of a command line are no options of ours, and which options are nearest."""
    options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
    if not options:
        before = [word for word in argv[: argv.index(unknown[0])] if word.startswith("--")]
        why = f"write an option before it, such as --model-name {unknown[0]}"
        return f"{' '.join(unknown)}: " + (f"{before[-1]} takes no more values" if before else why)
    return parser.tell_unknown(options, SYNONYMS)


def _add_actions(parser: Parser) -> None:
    """Add what to do, one thing at a time, and what goes with it."""
    parser.add_argument("--help-all", action=_AllHelp, nargs=0, help="show every option and exit")
    # What to do: argparse refuses two of these at once.
    group = parser.add_argument_group("what to do (default: train a network)")
    actions = group.add_mutually_exclusive_group()
    actions.add_argument(
        "--resume",
        metavar="RUN",
        type=_run,
        help="go on with a stopped run, or with more --epochs with a finished one; auto, the default: with the run of "
        "these very settings if there is one, else begin it",
    )
    actions.add_argument(
        "--new", action="store_true", help="begin a new run, also where there is one of these settings"
    )
    actions.add_argument("--list-models", action="store_true", help="show the models and exit")
    actions.add_argument("--evaluate", metavar="RUN", type=_run, help="report a saved run again")
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

    _add_companions(group)


def _add_companions(group: argparse._ArgumentGroup) -> None:
    """Add what goes with an action."""
    group.add_argument(
        "--on",
        metavar="PATH",
        type=_path,
        help="the images to evaluate on, in place of the run's own: CIFAR-10.1, a folder of CIFAR-10-C, a folder of "
        "images for each class, or arrays (.npz, .npy); the result goes into the run's folder",
    )
    group.add_argument("--from", dest="from_run", metavar="RUN", type=_run, help="the run that predicts")
    group.add_argument(
        "--weights",
        type=_one_of("last", "best"),
        metavar="{last,best}",
        help="which weights of a saved run (default: last; best: with --val holdout)",
    )
    group.add_argument(
        "--config",
        metavar="FILE",
        help="options in a TOML or JSON file, such as a run's config.json; those of the command line win over it",
    )
    group.add_argument(
        "--dry-run", action="store_true", help="show which runs these are and about how long they take; train none"
    )
    group.add_argument("--quiet", action="store_true", help="print only the final result, warnings and errors")
    group.add_argument("--debug", action="store_true", help="show where in the code an error came from")


def _add_settings(parser: Parser) -> None:
    """Add an option for every field of ``Config``, by group."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in FIELDS.values():
        metadata = setting.metadata
        if metadata["group"] not in groups:
            groups[metadata["group"]] = parser.add_argument_group(metadata["group"])
        options: dict = {"default": argparse.SUPPRESS, "help": metadata["help"].replace("%", "%%") + _default(setting)}
        flags = [flag_of(setting.name)]
        if setting.type is bool:
            options |= {"action": _Switch, "nargs": "*", "metavar": "on"}
            flags.append("--no-" + flags[0][2:])
        elif metadata["metavar"] in ("DIR", "FILE"):
            options |= {"type": _path, "metavar": metadata["metavar"]}
        else:
            options["type"] = functools.partial(_values, setting)
            options["metavar"] = metadata["metavar"] or "{" + ",".join(metadata["choices"]) + "}"
            options |= {"nargs": "+"} if setting.name in IDENTITY else {}
        groups[metadata["group"]].add_argument(*flags, **options)


def _add_sweep_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        "several runs",
        "Every option that makes another run takes several values. Finished runs are skipped, stopped ones go on.",
    )
    group.add_argument(
        "--seeds", type=_seeds, nargs="+", metavar="LIST", help="seeds, e.g. 0-4 or 0,2,7; each makes a run"
    )
    group.add_argument(
        "--shuffle-seeds",
        type=_seeds,
        nargs="+",
        metavar="LIST",
        help="seeds of the permutations, e.g. 0-4; each makes a run with each of --seeds, where pixels are moved",
    )
    group.add_argument(
        "--until-decided",
        type=float,
        metavar="POINTS",
        help="add seeds until each difference from the best setting is decided, or known to within POINTS of accuracy; "
        "corrected for looking more than once",
    )
    group.add_argument(
        "--max-seeds", type=int, metavar="N", help=f"with that: of each setting at most N (default: {config.MAX_SEEDS})"
    )
    group.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: the cores divided by --threads)")
    group.add_argument(
        "--engine",
        type=_one_of("local", "ray"),
        metavar="{local,ray}",
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


def _values(setting: dataclasses.Field, text: str) -> list:
    """Convert the values of a setting, with commas between them where it takes several."""
    words = text.split(",") if setting.name in IDENTITY else [text]
    try:
        kind: Any = setting.type
        return [kind(word) for word in words]
    except ValueError:
        number = "a whole number" if setting.type is int else "a number"
        is_list = setting.name in LISTS.values() and re.fullmatch(r"[\d, -]+", text)
        hint = f"; for several: --{setting.name.replace('_', '-')}s {text}" if is_list else ""
        raise argparse.ArgumentTypeError(f"{text} is not {number}{hint}") from None


def _one_of(*words: str) -> Callable[[str], str]:
    """Make the type of an option that takes one of some words."""

    def check(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text}{nearest(text, words)}: choose from {', '.join(words)}")
        return text

    return check


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


def _given_settings(options: dict) -> tuple[str, dict[str, Any], dict[str, tuple]]:
    """Check the settings in parsed options: the models, what has one value, and what has more. Raises UsageError."""
    # Each setting by itself; what has one value is given, what has more makes several runs.
    values = {name: options[name] for name in FIELDS if name in options}
    for name, value in values.items():
        is_converted = FIELDS[name].type is bool or FIELDS[name].metadata["metavar"] not in ("DIR", "FILE")
        parts = value if name in IDENTITY or FIELDS[name].type is bool else [value]
        values[name] = [*dict.fromkeys(itertools.chain(*parts))] if is_converted else [value]
    if os.environ.get(config.DATA_URL_VARIABLE):
        values.setdefault("data_url", [os.environ[config.DATA_URL_VARIABLE]])
    names = ",".join(values.pop("model_name", []))
    given = {name: value[0] for name, value in values.items() if len(value) == 1}
    several = {}
    for listed, name in LISTS.items():
        if options[listed]:
            several[name] = tuple(dict.fromkeys(itertools.chain(*options[listed])))
            if name in values:
                raise UsageError(f"{flag_of(name)} and {flag_of(listed)}: give one of them")
    several |= {name: tuple(value) for name, value in values.items() if len(value) > 1}
    checked = [*values.items(), *several.items()]
    mistakes = [config.mistake_in(name, value) for name, all_values in checked for value in all_values]
    if any(mistakes):
        raise UsageError("; ".join(dict.fromkeys(filter(None, mistakes))))
    for name in several.keys() - IDENTITY:
        raise UsageError(f"{flag_of(name)}: give one value, as it makes no other run")
    return names, given, several


def _goal_of(options: dict) -> Goal | None:
    """Return when seeds are enough; None where that was not said. Raises UsageError as ``_arguments`` does."""
    points, max_seeds = options["until_decided"], options["max_seeds"]
    if points is None:
        if max_seeds is not None:
            raise UsageError("--max-seeds goes with --until-decided POINTS")
        return None
    return Goal(points, config.MAX_SEEDS if max_seeds is None else max_seeds)


def _action_of(options: dict) -> str:
    """Name what is to be done. Raises UsageError where what belongs to it is missing, or to another action."""
    default = "list" if options["list_models"] else "train"
    action = next((probe for probe in PROBES if options[probe] is not None), default)
    if (action == "predict") != (options["from_run"] is not None):
        raise UsageError("--predict IMAGE... and --from RUN go together")
    if options["on"] == "":
        raise UsageError("--on: names no images")
    if options["on"] is not None and action != "evaluate":
        raise UsageError("--on PATH goes with --evaluate RUN")
    return action


def _arguments(options: dict) -> Arguments:
    """Check parsed options. Raises UsageError if a value is out of its limits, or options don't go together."""
    # argparse makes an empty list of an option such as "--lr=--".
    for name, value in options.items():
        if value == []:
            raise UsageError(f"{'--from' if name == 'from_run' else flag_of(name)}: its value is missing")

    names, given, several = _given_settings(options)

    # What belongs to a sweep, if anything was said of it.
    engine_options = {name: options[name] for name in ENGINE_OPTIONS if options[name] is not None}
    engine, goal = EngineConfig(**engine_options) if engine_options else None, _goal_of(options)

    # The action, and what goes with it.
    action = _action_of(options)
    run = options["from_run"] or (options[action] if action in PROBES else "")
    is_path = os.path.lexists(run or options["resume"] or "")
    if action in PROBES:
        is_free = action == "predict" or (action == "evaluate" and options["on"] is None)
        allowed = PLACE_SETTINGS | ({"val_shuffle"} if is_free else set()) | (set() if is_path else {"results_dir"})
        extra = ["model_name"] * bool(names) + [name for name in given if name not in allowed]
        extra += [name for name in FIELDS if name in several and name not in LISTS.values()]
        others = ("seeds", "shuffle_seeds", "dry_run", "until_decided")
        extra += [*engine_options, *(name for name in others if options[name])]
        if extra:
            raise UsageError(f"a saved run brings its own settings: leave out {', '.join(map(flag_of, extra))}")
    elif options["weights"]:
        raise UsageError("--weights goes with --evaluate, --transfer, --collapse, --conflict or --predict")
    is_saved = action in PROBES or options["resume"] not in (None, AUTO)
    if is_saved and is_path and "results_dir" in given:
        raise UsageError("--results-dir: a run that is resumed stays where it is")
    if is_saved and options["dry_run"]:
        raise UsageError("--dry-run shows new runs: leave it out")
    if action == "train" and not is_saved:
        # What can't work is said before the slow imports.
        first = given | {name: value[0] for name, value in several.items()}
        check_results_dir(Config.from_given({"model_name": names} | config.drop_idle(first, several)).results_dir)

    return Arguments(
        action=action,
        given=given,
        models=names,
        several=several,
        run=run,
        results_dir=str(given.pop("results_dir", FIELDS["results_dir"].default)) if is_saved else "",
        images=tuple(options["predict"] or ()),
        on=options["on"] or "",
        weights=options["weights"] or "last",
        resume="" if options["new"] else options["resume"] or AUTO,
        dry_run=options["dry_run"],
        goal=goal,
        engine=engine,
        quiet=options["quiet"],
        debug=options["debug"],
    )
