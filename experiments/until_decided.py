"""A sweep that adds seeds until its comparisons are decided, or known well enough; see ``report/sequential.py``."""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

from experiments import sweep
from experiments.engines import Job, Train
from report import sequential
from report.sequential import Look
from runner import console
from runner.config import FIELDS, IDENTITY, Config, EngineConfig, Goal, flag_of, in_words
from runner.errors import RunnerError, UsageError, counted


def run(configs: Sequence[Config], goal: Goal, engine_config: EngineConfig, train: Train) -> None:
    """Train ``configs``, and then more seeds of each setting, until ``goal`` is reached. Raises as ``sweep.run``."""
    settings, seeds, looks = plan(configs, goal)
    names = names_of(settings)
    asked = [*(each.run_name for each in settings), *map(str, astuple(goal)), str(looks)]
    study = hashlib.sha256("\n".join(asked).encode()).hexdigest()[:8]

    for number, (n, error) in enumerate(zip(looks, sequential.spend(looks)), 1):
        # Train the seeds of this look, and compare.
        jobs = [[Job(replace(each, seed=seed)) for seed in seeds[:n]] for each in settings]
        planned = [job.config for of_one in jobs for job in of_one]
        facts = sweep.run(planned, engine_config, train)
        say = console.stdout_log(facts["name"])
        values = {name: [accuracy_of(job, facts) for job in of_one] for name, of_one in zip(names, jobs)}
        best, compared = sequential.compare_with_best(values, error)
        runs = [config.run_name for config in planned]
        look = Look(number, len(looks), n, goal.points, best, compared, runs)
        say.log(console.RESULT, look.text)
        for name, each in compared.items():
            difference = f"{each.difference:+.2f} ± {each.half_width:.2f} points"
            say.log(console.RESULT, f"  {best} − {name}: {difference}, {each.verdict(goal.points)}")

        # Have the report say so, whose own intervals don't count the looks.
        folder = Path(planned[0].results_dir) / facts["slug"]
        sequential.write_look(folder, study, look)
        if look.is_reached or number == len(looks):
            sweep.report_on(sweep.LiveReport(folder, sweep.plan(planned)), say)
        if look.is_reached:
            say.log(console.RESULT, f"reached with {counted(len(runs), 'run')}")
            return
    say.log(console.RESULT, f"not reached with {goal.max_seeds} seeds of each; --max-seeds allows more")


def show(configs: Sequence[Config], goal: Goal, engine_config: EngineConfig, train: Train) -> None:
    """Show the runs of the first look as ``sweep.show``, and how many there may be. Raises UsageError as ``run``."""
    settings, seeds, looks = plan(configs, goal)
    first = [replace(each, seed=seed) for each in settings for seed in seeds[: looks[0]]]
    say = console.stdout_log(sweep.show(first, engine_config, train))
    most = f"until it is decided, {counted(len(settings) * looks[-1], 'run')} at most, {looks[-1]} of each setting"
    say.log(console.RESULT, f"these are of look 1 of {len(looks)}, {looks[0]} of each setting; {most}")


def plan(configs: Sequence[Config], goal: Goal) -> tuple[list[Config], list[int], list[int]]:
    """Plan a study: its settings, all seeds there may be, and how many of them each look has. Raises UsageError.

    The looks are planned by the seeds that are given and the most there may be, so that the same command, begun again
    after a stop, looks at the same times and ends with the same words.
    """
    settings = [*dict.fromkeys(replace(config, seed=0) for config in configs)]
    seeds = [*dict.fromkeys(config.seed for config in configs)]
    if len(settings) < 2:
        raise UsageError("--until-decided compares settings: give two models, or two values of an option, or more")
    if len(seeds) > goal.max_seeds:
        raise UsageError(f"--max-seeds {goal.max_seeds}: --seeds gives {len(seeds)} already")
    looks = sequential.plan_looks(len(seeds), goal.max_seeds)
    more = (seed for seed in range(max(seeds) + 1, max(seeds) + 1 + goal.max_seeds))
    seeds += [next(more) for _ in range(looks[-1] - len(seeds))]
    return settings, seeds, looks


def names_of(settings: Sequence[Config]) -> list[str]:
    """Name each of several settings by what it differs in, e.g. ``Q1_1, lr 0.01``."""
    varying = [name for name in FIELDS if name in IDENTITY and len({getattr(each, name) for each in settings}) > 1]
    prefixes = {name: "" if name in ("model_name", "shuffle") else f"{flag_of(name)[2:]} " for name in varying}
    return [", ".join(f"{prefixes[name]}{in_words(getattr(each, name))}" for name in varying) for each in settings]


def accuracy_of(job: Job, facts: dict) -> float:
    """Read the validation accuracy of a finished run after its last epoch, in percent."""
    result = sweep.result_of(job, facts)
    if result is None:
        raise RunnerError(f"{job.name} left no result")
    return 100 * result["validation"]["accuracy"]
