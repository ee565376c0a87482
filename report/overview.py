"""The report on many runs: ``report.html`` and ``report.md``, which say the same, and their figures."""

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import utils
from report import chapter, claims, gallery, live, sections
from report.compare import Section, make_sections
from report.live import NO_BATCH, Batch
from report.others import other_blocks
from report.page import Block, Code, Contents, Figure, Folded, Heading, Link, Text, list_of, prose, write_page
from report.provenance import commit_text, count_values, machine_text
from report.results import RunSet, SeedGroup, Study, make_study, read_run_sets
from report.sequential import look_blocks
from report.text import join_names
from runner import files
from runner.errors import UsageError, counted, quote, some_of

FIGURES = "report"  # their folder
COMPARED = "compared_"  # how the names of a section's figures begin
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
IN_FULL = 3  # sections that are shown with curves and classes


@dataclass(frozen=True)
class Options:
    """What a report is asked for."""

    compare: Sequence[str] = ()  # models to show side by side, by name or pattern
    baseline: str = ""  # the group that the others are compared with; empty: the best
    study: bool = False  # whether the chapter on the published study and the gallery are wanted
    style: utils.Style = field(default_factory=utils.Style)


DEFAULTS = Options()


def data_blocks(run_set: RunSet, command: str) -> list[Block]:
    """Describe the data, the recipe, the machine and the code, and show the command that writes the report."""
    runs = run_set.finished
    config = runs[0].config
    rates = [f"{rate:g}" for rate in sorted({run.config.lr for run in runs})]
    recipe = f"{OPTIMIZERS[config.optimizer]}, batches of {config.batch_size}, "
    recipe += f"learning rate{'s' * (len(rates) > 1)} {join_names(rates)}"
    recipe += f", momentum {config.momentum:g}" if config.optimizer == "sgd" else f", first beta {config.momentum:g}"
    in_recipe = {"recipe", "epochs", "batch-size", "lr", "optimizer", "momentum", "val"}
    others = "".join(f", {name} {value}" for name, value in runs[0].settings if name not in in_recipe)
    recipe = f"{config.recipe}: {recipe}, {counted(config.epochs, 'epoch')}{others}"
    if len({group.settings for group in run_set.groups}) > 1:
        recipe = f"{count_values([run.config.recipe for run in runs])}; the tables have the settings that vary"
    validated_on = count_values(
        ["the test images" if run.config.val == "test" else "images held out from training" for run in runs]
    )
    names, shuffled = {run.config.model_name for run in runs}, sum(run.config.shuffle != "none" for run in runs)
    facts = (
        f"Data: {run_set.data['name']}" + ("" if is_cifar10(run_set.data) else " (this is not CIFAR-10)"),
        f"Recipe {recipe}; validation on {validated_on}",
        f"{counted(len(runs), 'run')} of {counted(len(names), 'model')}"
        + f"; {counted(shuffled, 'run')} with shuffled pixels" * (shuffled > 0),
        machine_text(runs),
        f"Code: commit {commit_text(runs)}",
    )
    return [
        Heading("How it was measured"),
        Text(items=facts),
        prose("figures", chosen="fast" in {run.config.recipe for run in runs}),
        Folded("How runs are grouped", [prose("sections")]),
        Code(command),
    ]


# ---- what was asked for ----------------------------------------------------------------------------------------------


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace("=", " ")


def pick_models(asked: Sequence[str], there: Sequence[str]) -> list[str]:
    """Pick the models that names or patterns stand for, among those of the runs. Raises UsageError if none is."""
    picked: dict[str, None] = {}
    for pattern in ",".join(asked).split(",") if asked else ():
        found = [name for name in there if fnmatch.fnmatchcase(_key(name), _key(pattern))]
        if not found:
            raise UsageError(f"--compare {pattern}: there is no run of it, but of {some_of(there)}")
        picked |= dict.fromkeys(found)
    return [*picked]


def find_baseline(section: Section, wanted: str) -> SeedGroup | None:
    """Find the one group of a section that a name stands for: a part of its label, or of a run's name."""

    def names_of(group: SeedGroup) -> list[str]:
        return [section.label(group), group.model, group.shuffle, *(run.folder.name for run in group.runs.values())]

    key = _key(wanted.removeprefix("--"))
    exact = [group for group in section.groups if key in map(_key, names_of(group))]
    partly = [group for group in section.groups if any(key in _key(name) for name in names_of(group))]
    found = exact or partly
    return found[0] if len(found) == 1 else None


def set_baselines(found: Sequence[Section], wanted: str) -> None:
    """Have sections compare with the baseline that is asked for. Raises UsageError if no section has just one such."""
    for section in found if wanted else ():
        section.baseline = find_baseline(section, wanted)
    if wanted and found and not any(section.baseline for section in found):
        labels = dict.fromkeys(section.label(group) for section in found for group in section.groups)
        raise UsageError(f"--baseline {wanted}: names none, or several, of: {some_of([*labels], '; ')}")


# ---- the page -------------------------------------------------------------------------------------------------------


def is_cifar10(data: dict) -> bool:
    return data["slug"].partition("-")[0] == "cifar10"


def stem_of(number: int) -> str:
    return f"{COMPARED}{number}"


def section_blocks(found: Sequence[Section], folder: Path, compare: Sequence[str]) -> list[Block]:
    """Give each section its answer, but the first, which opens the page; the first ones are shown in full."""
    blocks: list[Block] = []
    for number, section in enumerate(found, 1):
        opening = sections.opening_blocks(section, folder, stem_of(number)) if number > 1 else []
        blocks += [Heading(section.heading if number > 1 else "Details"), *opening]
        if number <= IN_FULL:
            blocks += sections.detail_blocks(section, folder, stem_of(number), compare)
        elif len(section.groups) > 1:
            blocks.append(Folded("All settings", [sections.section_table(section)]))
    return blocks


def brief_blocks(found: Sequence[Section]) -> list[Block]:
    """Give each section its answer in words and its table, beside the chapter on the study."""
    blocks: list[Block] = [Heading("All runs, compared", 1)]
    for section in found:
        blocks += [Heading(section.heading), *map(Text, sections.answer_texts(section))]
        blocks.append(Folded("All settings", [sections.section_table(section)]))
    return blocks


def compose(run_set: RunSet, options: Options, batch: Batch, links: Sequence[Block]) -> tuple[list[Block], bool]:
    """Make the page on one data set, with its figures and its gallery; tell too whether something runs."""
    folder = run_set.folder / FIGURES
    files.require_inside(folder, run_set.folder)
    files.make_folder(folder)
    unfinished = live.find_unfinished(run_set, batch)
    is_live = bool(batch.running or batch.waiting) or any(each.state == live.RUNNING for each in unfinished)
    command = ["python", "-m", "report", str(run_set.folder)]
    state = live.state_text(run_set, unfinished, batch)
    states = list_of([state and f"{state}."])
    if not run_set.finished:
        blocks: list[Block] = [Heading(f"Runs on {run_set.data['name']}", 1), *states, *links]
        return [*blocks, *live.unfinished_blocks(unfinished), *note_blocks(run_set), Code(quote(command))], is_live

    # What is compared.
    names = [*dict.fromkeys(group.model for group in run_set.groups)]
    compared = [name for name in options.compare if name in names]
    own = [
        group for group in run_set.groups
        if any(run.config.run_name in batch.names for run in group.runs.values())
    ]  # fmt: skip
    found = make_sections(run_set.groups, own)
    set_baselines(found, options.baseline)
    command += ["--compare", *compared] if compared else []
    command += ["--baseline", options.baseline] if options.baseline else []
    command += ["--study"] if options.study else []

    # The chapter on the study, where it is asked for or has all its runs; its gallery is a page of its own.
    study = make_study(run_set)
    checked = claims.check_claims(study)
    of_study: list[Block] = []
    if options.study or claims.is_complete(checked):
        gallery_blocks = gallery.compose(study, folder) if study.is_cifar10 else []
        if gallery_blocks:
            write_page(gallery_blocks, study.folder, "gallery")
            links = [Link("What the networks look at: the gallery", "gallery"), *links]
        of_study = chapter.compose(study, folder, checked, compared, [Contents(), *links] if options.study else [])

    # The page opens with what was asked for: the study, or what the runs say themselves.
    what = f"Compared: {found[0].title}" if found[0].settings else f"One setting: {found[0].common}"
    title = Heading(f"{what}, on {run_set.data['name']}", 1)
    if options.study:
        blocks = [of_study[0], *states, *of_study[1:], *brief_blocks(found)]
    else:
        opening = sections.opening_blocks(found[0], folder, stem_of(1))
        of_runs = section_blocks(found, folder, compared)
        blocks = [title, *states, *opening, Contents(), *links, *look_blocks(run_set), *of_runs]
        blocks += [*more_blocks(run_set, found[0], folder), *of_study]
    blocks += [
        *live.unfinished_blocks(unfinished),
        *other_blocks(run_set.groups, folder, run_set.notes),
        *data_blocks(run_set, quote(command)),
        *note_blocks(run_set),
    ]
    remove_former_figures(folder, blocks)
    return blocks, is_live


def more_blocks(run_set: RunSet, section: Section, folder: Path) -> list[Block]:
    """Show what explains the first section: confidence where each model is there once, and shuffled images."""
    blocks: list[Block] = []
    if len({group.model for group in section.groups}) == len(section.groups):
        blocks += sections.calibration_blocks(section.groups, folder)
    if "shuffle" in section.settings:
        blocks += sections.sample_blocks(run_set.finished, folder / "samples.png", run_set.notes)
    return blocks


def note_blocks(run_set: RunSet) -> list[Block]:
    return [Heading("Left out"), Text(items=tuple(run_set.notes))] if run_set.notes else []


def remove_former_figures(folder: Path, blocks: Sequence[Block]) -> None:
    """Remove figures of comparisons that the page no longer has."""
    shown = {path.stem for path in figures_in(blocks)}
    for path in folder.glob(f"{COMPARED}*"):
        if path.stem not in shown:
            path.unlink(missing_ok=True)


def figures_in(blocks: Sequence[Block]) -> Iterator[Path]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block.path
        elif isinstance(block, Folded):
            yield from figures_in(block.blocks)


@dataclass(frozen=True)
class Written:
    """Reports that were written."""

    paths: list[Path]  # of report.html of each data set, the one with the most runs first
    run_sets: list[RunSet]

    @property
    def path(self) -> Path:
        return self.paths[0]

    @property
    def notes(self) -> list[str]:
        return [note for run_set in self.run_sets for note in run_set.notes]

    @property
    def summaries(self) -> list[str]:
        """A line for each page."""
        return [
            f"report on {counted(len(run_set.finished), 'run') if run_set.finished else 'unfinished runs alone'}: "
            f"{path}, {path.with_suffix('.md')}"
            for path, run_set in zip(self.paths, self.run_sets)
        ]

    @property
    def study(self) -> Study:
        return make_study(self.run_sets[0])


def write(results: Path, options: Options = DEFAULTS, batch: Batch = NO_BATCH) -> Written:
    """Write the report on ``results``, a page for each data set. Raises RunnerError without runs, or what is asked."""
    run_sets = read_run_sets(results)
    there = [*dict.fromkeys(group.model for run_set in run_sets for group in run_set.groups)]
    options = replace(options, compare=pick_models(options.compare, there))
    written = []
    with utils.drawn_in(options.style):
        for run_set in run_sets:
            links = [link_to(other, run_set) for other in run_sets if other is not run_set]
            blocks, is_live = compose(run_set, options, batch, links)
            written.append(write_page(blocks, run_set.folder, "report", is_live))
    return Written(written, run_sets)


def link_to(other: RunSet, run_set: RunSet) -> Link:
    runs = counted(len(other.finished), "run")
    place = Path(os.path.relpath(other.folder, run_set.folder))
    text = f"Another data set, whose runs are not compared with these: {other.data['name']}, {runs}"
    return Link(text, (place / "report").as_posix())
