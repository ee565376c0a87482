"""What runs were computed with: processor, threads, precision, PyTorch, step and commit."""

from collections import Counter
from collections.abc import Mapping, Sequence

from report.page import Block, Folded, Heading, Row, Table, prose
from report.results import RunResult, Study, settings_text
from report.text import count_cell
from runner.errors import counted

COLUMNS = ("images", "settings", "runs", "processor", "threads", "precision", "PyTorch", "computed by")
FACTS = ("device_name", "threads", "precision", "torch", "computed_by")  # of RunResult.machine


def count_values(values: Sequence[str]) -> str:
    """List different values with how often each comes, the most frequent first."""
    counts = Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} ({counted(n, 'run')})" for value, n in counts)


def machine_facts(runs: Sequence[RunResult]) -> list[str]:
    """Count the values of each of ``FACTS``."""
    return [count_values([run.machine[key] for run in runs]) for key in FACTS]


def machine_text(runs: Sequence[RunResult]) -> str:
    """Say what runs were computed with, PyTorch's own step going without saying."""
    device, threads, precision, torch, step = machine_facts(runs)
    text = f"Processor: {device}; threads: {threads}; precision: {precision}; PyTorch {torch}"
    return text + f"; computed by {step}" * (step != "PyTorch's step")


def commit_text(runs: Sequence[RunResult]) -> str:
    """Say which commits runs were computed by; one is 40 digits, and "-dirty" where the code was changed since."""
    return count_values([run.machine["git_commit"][:9] + run.machine["git_commit"][40:] for run in runs])


def provenance_section(studies: Mapping[str, Study]) -> list[Block]:
    """Say what the runs of several studies, by the name of their images, were computed with: a row for each budget."""
    rows: list[Row] = []
    chosen = False
    for images, study in studies.items():
        for each in study.budgets.values():
            settings = next(iter(each.groups.values())).settings
            chosen |= ("recipe", "fast") in settings
            rows.append([images, settings_text(settings), count_cell(len(each.runs)), *machine_facts(each.runs)])
    return [
        Heading("How it was measured"),
        prose("figures", chosen=chosen),
        prose("provenance"),
        Folded("Processor, precision and PyTorch of the runs", [Table(COLUMNS, rows)]),
    ]
