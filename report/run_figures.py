"""The figures of a single run, drawn anew from its files: for a paper or a slide."""

from pathlib import Path

import utils
from report.results import check_history
from runner import files, records
from runner.config import Config
from runner.errors import RunnerError


def draw(run: Path, style: utils.Style) -> list[Path]:
    """Draw the curves of a run, and when it is finished its accuracy by class and its confusion; return all paths.

    Raises RunnerError where its files are not those of one run, or its folder is not there.
    """
    if not (run / files.CONFIG).exists():
        raise RunnerError(f"{run} is kept in the tables of its study: draw the figures of a run that has its folder")
    saved = records.read_run(run)
    config, classes = Config.from_saved(saved.config["settings"]), saved.config["data"]["classes"]
    check_history(saved.history, config, classes)
    title = config.title(saved.config["data"]["name"])
    drawn = []
    with utils.drawn_in(style):
        if saved.history:
            utils.plot_curves(run / files.CURVES, title, saved.history, str(saved.config.get("validated_on", "")))
            drawn.append(run / files.CURVES)
        if saved.metrics:
            found = utils.EvalMetrics.from_dict(saved.metrics["test"])
            for name, plot in ((files.PER_CLASS, utils.plot_per_class), (files.CONFUSION, utils.plot_confusion)):
                plot(run / name, title, found, classes)
                drawn.append(run / name)
    return [path.with_suffix(suffix) for path in drawn for suffix in dict.fromkeys((".png", f".{style.format}"))]
