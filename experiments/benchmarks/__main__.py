"""Time contenders side by side and write a page of tables and figures: ``python -m experiments.benchmarks``."""

from runner import startup

if __name__ == "__main__":
    startup.prepare()
    startup.tell_errors_in_a_line("python -m experiments.benchmarks")

import logging
import os
import platform
import tempfile
import warnings
from pathlib import Path

import torch

import datasets
from experiments.benchmarks import contenders
from experiments.benchmarks.sections import SECTIONS, Bench
from report.page import Block, Heading, Text, to_markdown
from runner import console, files, machine
from runner.config import Config
from runner.machine import Machine

log = logging.getLogger("ex1")


def main() -> None:
    parser = startup.Parser(prog="python -m experiments.benchmarks", description=__doc__)
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    add("--rounds", type=int, default=5, metavar="N", help="turns of each contender (default: 5)")
    add("--data-dir", default="data", type=startup.expand_home, metavar="DIR", help="where CIFAR-10 is (default: data)")
    classic = "results/reproduction"
    add(
        "--classic",
        default=classic,
        type=startup.expand_home,
        metavar="DIR",
        help="results of classic runs (default: %(default)s)",
    )
    add(
        "--out",
        default="results/benchmarks/README.md",
        type=startup.expand_home,
        metavar="FILE",
        help="(default: %(default)s)",
    )
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    console.set_up_logging()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    # The head of the page says with what, where and how it was measured.
    dataset = datasets.load(Config("Q1_1", dataset="cifar10", data_dir=options.data_dir))
    here = machine.describe(Machine(torch.device("cpu"), "fp32", torch.get_num_threads()))
    command = " ".join(["python -m experiments.benchmarks", *options.sections, f"--rounds {options.rounds}"])
    processor = f"{here['device_name']}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, "
    processor += f"{platform.system()}, PyTorch {torch.__version__}"
    commit = f"commit {(here['git_commit'] or 'unknown')[:9]}"
    method = "Every contender takes its turn in each round. A ratio is the median of the rounds' ratios; in brackets, "
    method += "their lowest and highest."
    facts = (f"Command: {command}", f"{processor}, {dataset.name}, {commit}", method)
    blocks: list[Block] = [Heading("Benchmarks", 1), Text(items=facts)]

    # The page is written after each section, as the next may be stopped.
    out = Path(options.out)
    files.make_folder(out.parent)
    with tempfile.TemporaryDirectory() as folder:
        contenders.write_batches(dataset, Path(folder))
        bench = Bench(dataset, Path(options.data_dir), Path(folder), options.rounds, out.parent, Path(options.classic))
        for name in options.sections or SECTIONS:
            log.info(f"{name} …")
            blocks += SECTIONS[name](bench)
            files.write_file(out, to_markdown(blocks, out.parent))
    print(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
