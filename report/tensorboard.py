"""The histories of a study as TensorBoard's event files."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from report.results import Study
from runner.errors import UsageError


def write_events(study: Study) -> Path:
    """Write the history of every run as event files, in place of those that are there, and return their folder.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    folder = study.folder / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    groups = [*study.groups.values(), *study.others]
    for run in [*(run for group in groups for run in group.runs.values()), *study.unfinished]:
        with SummaryWriter(folder / run.config.model_name / run.folder.name) as writer:
            for row in run.history:
                for column, value in row.items():
                    split, _, name = column.partition("_")
                    if split in ("train", "val") and not math.isnan(value):
                        writer.add_scalar(f"{name}/{split}", value, int(row["epoch"]))
    return folder
