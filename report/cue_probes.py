"""What is asked of synthetic images beside training on them: histograms, cues that disagree, and templates."""

from collections.abc import Mapping
from statistics import fmean

from report import stats
from report.claims import CHANCE_PERCENT
from report.cues import CEILINGS, MARGIN, Cues
from report.page import Block, Folded, Heading, Row, Table, Text, list_of, prose
from report.results import COLOUR, Study, read_baselines, read_run_json
from report.text import HOLDS, UNDECIDED, accuracy_cell, decide, number_cell, percent_text
from runner import files
from runner.errors import RunnerError
from runner.files import checked_number

EQUAL_BIAS = 50.0  # percent: neither of two cues is preferred

TEMPLATE_COLUMNS = (
    "cues", "model", "shuffle", "weights", "runs", "the same in all places (%)", "own score: mean",
    "standard deviation", "others' standard deviation", "own is highest (%)", "own is lowest (%)",
)  # fmt: skip


def probe_section(studies: Mapping[Cues, Study], notes: list[str]) -> list[Block]:
    return [*histogram_blocks(studies, notes), *conflict_blocks(studies, notes), *template_blocks(studies, notes)]


def histogram_blocks(studies: Mapping[Cues, Study], notes: list[str]) -> list[Block]:
    """Say which cues a classifier finds that sees the histogram of pixel values alone."""
    items = []
    for cues, study in studies.items():
        baselines = baselines_of(study, notes)
        if baselines and len(cues) == 1 and cues[0] in CEILINGS:
            found = stats.proportion(100 * baselines[COLOUR]["accuracy"], baselines[COLOUR]["images"])
            above = stats.difference_independent(found, stats.Estimate(CHANCE_PERCENT, found.n, half_width=0.0))
            is_colour = cues[0] == "colour"
            statement = f"The {COLOUR} finds {'' if is_colour else 'nothing of '}{cues[0]}"
            items.append(f"{statement}: {decide(above, MARGIN, is_colour)}, {percent_text(found)}.")
    return [Text("A classifier that sees pixel values alone:"), *list_of(items)] if items else []


def baselines_of(study: Study, notes: list[str]) -> dict | None:
    """Read what classifiers without a network come to on a study's images; what can't be read is noted."""
    try:
        content = read_baselines(study.folder)
    except RunnerError as error:
        notes.append(str(error))
        return None
    return content["baselines"] if content and content["data"]["sha256"] == study.data["sha256"] else None


def conflict_blocks(studies: Mapping[Cues, Study], notes: list[str]) -> list[Block]:
    """Show which of two cues networks answer by where they show different classes."""
    rows: list[Row] = []
    verdicts = []
    for cues, study in studies.items():
        for group in study.groups.values():
            answers: dict[tuple[str, str], list[list[float]]] = {}
            for run in group.runs.values():
                found = read_run_json(run, files.CONFLICT, conflict_shares, notes)
                for pair, shares in (found or {}).items():
                    answers.setdefault(pair, []).append(shares)
            for (a, b), measured in answers.items():
                biases = [100 * by_a / (by_a + by_b) for by_a, by_b, _ in measured if by_a + by_b]
                row: Row = [" + ".join(cues), group.model, group.shuffle, f"{a} / {b}", number_cell(len(measured), 0)]
                row += [accuracy_cell(values) for values in zip(*measured)]
                rows.append([*row, accuracy_cell(biases) if biases else ""])
                if biases:
                    verdicts.append(bias_verdict(f"{group.model}, {group.shuffle}", (a, b), stats.mean(biases)))
    if not rows:
        return []
    columns = ("cues", "model", "shuffle", "conflict", "runs", "first (%)", "second (%)", "neither (%)", "bias (%)")
    return [
        Heading("Where two cues disagree", 3),
        prose("conflict"),
        *list_of(verdicts),
        Folded("All answers", [Table(columns, rows)]),
    ]


def conflict_shares(content: dict) -> dict[tuple[str, str], list[float]]:
    """Return the shares of answers in percent by pair of cues: by the first, by the second, by neither."""
    found = {}
    for pair in content["pairs"]:
        a, b = pair["cues"]
        by_a, by_b = (100 * checked_number(pair["answers"][cue], 0, 1) for cue in (a, b))
        found[str(a), str(b)] = [by_a, by_b, max(0.0, 100 - by_a - by_b)]
    return found


def bias_verdict(who: str, cues: tuple[str, str], bias: stats.Estimate) -> str:
    """Say which of two cues a network prefers, in a sentence; the bias is the first's share of both, in percent."""
    verdict = decide(bias, EQUAL_BIAS)
    preferred = UNDECIDED if verdict == UNDECIDED else cues[verdict != HOLDS]
    shown = percent_text(bias, bounds=(0, 100))
    return f"{who}: of {cues[0]} and {cues[1]} it answers by {preferred}, bias to {cues[0]} {shown}."


def template_blocks(studies: Mapping[Cues, Study], notes: list[str]) -> list[Block]:
    """Show what the templates of affine networks have learnt of cues, beside untrained ones: means over the runs."""
    rows: list[Row] = []
    for cues, study in studies.items():
        for group in study.groups.values():
            facts = [read_run_json(run, files.MATRIX_FACTS, template_facts, notes) for run in group.runs.values()]
            for weights in ("trained", "untrained"):
                if readable := [each[weights] for each in facts if each and weights in each]:
                    cells = [number_cell(fmean(values), 1) for values in zip(*readable)]
                    who = [" + ".join(cues), group.model, group.shuffle, weights]
                    rows.append([*who, number_cell(len(readable), 0), *cells])
    if not rows:
        return []
    return [Heading("Templates", 3), prose("templates"), Folded("All templates", [Table(TEMPLATE_COLUMNS, rows)])]


def template_facts(facts: dict) -> dict[str, list[float]]:
    """Return the numbers of ``TEMPLATE_COLUMNS`` from a ``matrix.json``, by whether the network was trained."""
    of_weights = {"trained": facts["scores"] | {"uniform_share": facts["uniform_share"]}}
    if untrained := facts.get("untrained"):
        of_weights["untrained"] = untrained
    return {
        weights: [
            100 * checked_number(scores["uniform_share"], 0, 1),
            *(checked_number(scores[key]) for key in ("own_mean", "own_sd", "others_sd")),
            *(100 * checked_number(scores[key], 0, 1) for key in ("own_highest", "own_lowest")),
        ]
        for weights, scores in of_weights.items()
    }
