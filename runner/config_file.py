"""Options in a file: TOML, JSON, or the config.json that a run has left."""

import argparse
import json
import logging
import sys
from collections.abc import Container
from typing import Any

from runner.config import DEFAULTS, PLACES, Config, flag_of, recipe_values
from runner.errors import UsageError, cause_of

log = logging.getLogger("ex1")

MAX_BYTES = 2**20


def read(path: str, given: Container[str] = ()) -> dict[str, Any]:
    """Read the options in a file, by name; ``given`` has those of the command line. Raises UsageError if it can't."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES).decode()
        if not path.endswith(".toml"):
            content = json.loads(text)
        elif sys.version_info < (3, 11):
            raise UsageError("TOML needs Python 3.11 or newer: write it as JSON, in a file that ends in .json")
        else:
            import tomllib

            content = tomllib.loads(text)
    except (OSError, ValueError, RecursionError, UsageError) as error:
        is_told = isinstance(error, OSError) or path.endswith((".toml", ".json"))
        how = "" if is_told else "; a name that ends in .toml is read as TOML, others as JSON"
        raise UsageError(f"--config {path}: {cause_of(error)}{how}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: it holds no options by name")
    return _settings_of_run(path, content["settings"], given) if isinstance(content.get("settings"), dict) else content


def _settings_of_run(path: str, settings: dict, given: Container[str]) -> dict[str, Any]:
    """List the settings of a run by which it is repeated: those that are not the recipe's or the defaults.

    A file that somebody else made may not say what to open or run, where to download from, or where to write.
    """
    try:
        saved = vars(Config.from_saved(settings))
    except (TypeError, UsageError) as error:
        raise UsageError(f"--config {path}: not the settings of a run of this version: {error}") from error
    usual = DEFAULTS | recipe_values(saved)
    unusual = {name: value for name, value in saved.items() if value != usual[name]}
    places = {name: unusual.pop(name) for name in (*PLACES, "results_dir") if name in unusual}
    if missing := [f"{flag_of(name)} {value}" for name, value in places.items() if flag_of(name) not in given]:
        log.warning(f"--config {path}: give {' '.join(missing)} again, as a run's file is not asked for places")
    return unusual


def words(option: argparse.Action, value: Any) -> list[str]:
    """Write an option of a file as words of a command line. Raises UsageError if it takes no such value."""
    flag, values = option.option_strings[0], value if isinstance(value, list) else [value]
    are_switches = [isinstance(each, bool) for each in values]
    takes_values = option.nargs != 0  # and no switch such as --quiet
    if not values or not all(isinstance(each, (bool, int, float, str)) for each in values):
        raise UsageError(f"{flag} takes a number, a text, true or false, or a list of them")
    if isinstance(value, list) and option.nargs not in ("+", "*"):
        raise UsageError(f"{flag} takes one value")
    if all(are_switches) and (option.nargs == "*" or not takes_values):
        return [flag, *("on" if each else "off" for each in values)] if takes_values else [flag] * value
    if any(are_switches) or option.nargs == "*" or not takes_values:
        raise UsageError(f"{flag} {value!r}: " + ("give no switch" if any(are_switches) else "say true or false"))
    return [f"{flag}={','.join(map(str, values))}"]
