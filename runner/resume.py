"""Going on with a saved run: its settings, which of them may change, and what is then no longer bit for bit."""

import contextlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from runner import checkpoint, files, records
from runner.config import FIELDS, IDENTITY, PLACES, Config, flag_of, in_words, short_model_name
from runner.errors import CheckpointError, RunnerError, UsageError, counted

log = logging.getLogger("ex1")


def describe(run: str | Path) -> dict:
    """Read ``config``, ``dataset`` and ``machine`` of a saved run: of its checkpoint, before the first of config.json.

    A checkpoint brings what else it holds.
    """
    run = Path(run)
    if checkpoint.has_checkpoint(run) or not records.exists(run):
        return checkpoint.load(run)
    return describe_by_config(run)


def describe_by_config(run: Path) -> dict:
    """Read ``config``, ``dataset`` and ``machine`` of a run from its config.json. Raises RunnerError if it can't."""
    content = records.read_config(run)
    return {"config": content["settings"], "dataset": content["data"], "machine": content["machine"]}


def changed_step(saved: dict, config: Config) -> str:
    """Say how the step of a saved run is another than that of ``config``; empty if it is not."""
    # The name does not say the first, nor the rate that a recipe had for a network in another version.
    names = {"compile"} | {name for name in ("lr",) if isinstance(saved["config"].get(name), (int, float))}
    return "; ".join(differences({"compile": False} | saved["config"], config, names))


def changed_model(saved: dict, model_sha256: str | None) -> str:
    """Say how the own model of a saved run is another than that of ``model_sha256``; empty if it is not."""
    before = saved["machine"].get("model_sha256")
    if model_sha256 in (None, before):
        return ""
    then, now = (f"{sha256}"[:8] for sha256 in (before, model_sha256))
    return f"its {saved['config'].get('model_name')} is another network of that name (SHA-256 {then}, not {now})"


def refuse_changed_model(run: str, saved: dict, model_sha256: str | None) -> None:
    """Raise UsageError if the run to go on with is of another own model than that of ``model_sha256``."""
    if changed := changed_model(saved, model_sha256):
        raise UsageError(f"{run} can't go on, {changed}: put its source back, or train it anew without --resume")


def check_owner(run: str | Path, saved: dict) -> None:
    """Compare a checkpoint with ``config.json`` beside it, and with the folder's name where that is one of ours.

    Raises CheckpointError if they are of different runs.
    """
    folder, settings, content = Path(run).resolve(), saved["config"], None
    with contextlib.suppress(RunnerError):  # a file that is missing or damaged says nothing
        content = records.read_config(folder)
    if content:
        others = content["settings"]
        both = [name for name in FIELDS if name in IDENTITY and name in settings and name in others]
        names = [name for name in both if settings[name] != others[name]]
        different = [f"{flag_of(name)} {settings[name]}, not {others[name]}" for name in names]
        if content["data"]["sha256"] != saved["dataset"]["sha256"]:
            different.append(f"{saved['dataset']['name']}, not {content['data']['name']}")
        if different:
            what = f"than its {files.CONFIG}: {'; '.join(different)}"
            raise CheckpointError(f"{run} holds the checkpoint of another run {what}")

    # A model's name may hold anything that a folder's does, so it is looked for and not parsed.
    model, shuffle, seed = (str(settings.get(name)) for name in ("model_name", "shuffle", "seed"))
    prefixes = "|".join(map(re.escape, (model, short_model_name(model))))
    start = rf"(?:{prefixes})__shuffle-{re.escape(shuffle.replace(':', '-'))}"
    is_of_any = re.fullmatch(r".+__shuffle-.+__seed-\d+(?:__run-\d+)?", folder.name)
    is_ours = re.fullmatch(rf"{start}(?:__.+)?__seed-{re.escape(seed)}(?:__run-\d+)?", folder.name)
    if is_of_any and not is_ours:
        what = f"than its name says: {model}, {shuffle}, seed {seed}"
        raise CheckpointError(f"{run} holds the checkpoint of another run {what}")


def saved_config(run: str | Path, saved: dict, given: Mapping[str, object], **overrides: object) -> Config:
    """Make the settings of a saved run; ``given`` ones come before ``overrides``, and those before saved ones.

    No saved place is used: a run that somebody else made may not say what to open, where to download from or to. Nor is
    the check of the data, which was asked for once. Raises RunnerError if the saved settings are not those of this
    program.
    """
    if outdated := files.outdated_shuffle(saved["config"], saved["dataset"]):
        raise RunnerError(f"{run}: {outdated}: train it anew")
    defaults = {name: FIELDS[name].default for name in (*PLACES, "data_check")}
    settings = saved["config"] | defaults | overrides
    try:
        Config.from_saved(settings)
    except (TypeError, UsageError) as error:
        raise RunnerError(f"{run} is not a run of this version of the program: {error}") from error
    return Config.from_saved({**settings, **given})


def resumed_config(run: str, given: Mapping[str, object]) -> Config:
    """Make the settings of a run that goes on. Raises UsageError if ``given`` ones contradict the saved ones."""
    saved = describe(run)
    check_owner(run, saved)
    config = saved_config(run, saved, given)

    # The number of epochs may grow; what else makes it another run may not change, nor may its data.
    different = differences(saved["config"], config, IDENTITY - {"epochs"})
    if given.get("dataset") != "auto":
        trained_on = {"dataset": files.dataset_kind(saved["dataset"]), "data_seed": saved["dataset"].get("seed") or 0}
        different += differences(trained_on, config, trained_on.keys() & given.keys())
    if different:
        raise UsageError(f"{run} is another run than the one asked for: {'; '.join(different)}")
    _check_epochs(saved, config, run)
    return config


def _check_epochs(saved: dict, config: Config, run: str) -> None:
    """Check that the epochs asked for are not behind the run already, and that its schedule allows their number."""
    done, begun = len(saved.get("history", [])), bool(saved.get("metrics", {}).get("steps"))
    if done + begun > config.epochs:
        more = f", and has begun epoch {done + 1}" * begun
        raise UsageError(f"--epochs {config.epochs}: {run} has {done} epoch{'s' * (done != 1)} behind it{more}")
    planned = saved["config"].get("epochs")
    if config.schedule != "constant" and config.epochs != planned:
        raise UsageError(
            f"the {config.schedule} schedule of {run} was planned for {counted(planned, 'epoch')} and can't be changed"
            f"; begin a new run with --epochs {config.epochs}"
        )


def differences(saved: Mapping[str, object], config: Config, names: Iterable[str]) -> list[str]:
    """List the settings ``names`` that differ between a saved run and ``config``, as phrases for an error message."""
    return [
        f"it has {flag_of(name)} {in_words(saved[name])}, not {in_words(getattr(config, name))}"
        for name in FIELDS
        if name in names and name in saved and saved[name] != getattr(config, name)
    ]


def warn_of_other_machine(before: dict, now: dict) -> None:
    """Warn of what keeps a run that goes on from being bit for bit as without a stop: another machine."""
    compared = {"threads": "threads", "device": "device", "device_name": "processor", "precision": "precision",
                "step": "step"}  # fmt: skip
    before = {"precision": "fp32", "step": "torch"} | before
    changes = [
        f"{word} {before.get(key)}, now {now[key]}" for key, word in compared.items() if before.get(key) != now[key]
    ]
    torch_before, torch_now = before.get("versions", {}).get("torch"), now["versions"]["torch"]
    if torch_before != torch_now:
        changes.append(f"torch {torch_before}, now {torch_now}")
    if changes:
        log.warning(
            f"it began with {'; '.join(changes)}: the result will not be bit for bit that of a run without a stop"
        )
