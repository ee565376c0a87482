"""Writes the images in --data-dir in every form, has the program read each, and trains an epoch on each.

python tests/measure_forms.py                    # all forms, many minutes; --no-training: only reads them
python tests/measure_forms.py parquet kaggle

Each line is of processes of their own: of the first start, which decodes, and the next, which takes the cache. It tells
seconds by the clock, seconds of processor time, MB over Python with torch imported, and the result of one epoch. Ends
with an error if a digest or a result is not that of the others. The official batches have other MD5s here, which are
told to the program.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from hashlib import md5
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import datasets
from data import Images, balanced_subset, digest
from datasets import cifar10, encoded
from experiments.benchmarks.sections import PEAK
from runner.config import Config
from tests.helpers import forms
from tests.helpers.paths import PROJECT

CHILD = f"""{PEAK}
import json, sys, time
import torch
bare = peak()
import datasets
from datasets import cifar10
from runner.config import Config
known = json.loads(sys.argv.pop(1))
cifar10.ARCHIVE_MD5 = known.get(cifar10.ARCHIVE)
for batches in (cifar10.TRAIN_BATCHES, cifar10.TEST_BATCHES):
    batches.update((name, md5) for name, md5 in known.items() if name in batches)
if len(sys.argv) > 2:
    import ex1
    from runner import cli
    sys.exit(ex1.main(cli.parse()))
began, used = time.perf_counter(), time.process_time()
dataset = datasets.load(Config("Q1_1", dataset="cifar10", data_dir=sys.argv[1]))
print(json.dumps([dataset.digest, time.perf_counter() - began, time.process_time() - used, peak() - bare]))
"""


OFFICIAL = [cifar10.ARCHIVE, *cifar10.TRAIN_BATCHES, *cifar10.TEST_BATCHES]
TRAIN = "--model-name Q1_1 --dataset cifar10 --recipe fast --precision fp32 --epochs 1 --threads 1 --quiet".split()


def link_jpegs(folder, data_dir):
    """The folder of images as it is, without its cache."""
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / split).symlink_to((data_dir / split).resolve())
    return folder


def kaggle_split(train: Images) -> tuple[Images, Images]:
    held_out = balanced_subset(train.labels, encoded.count_kaggle_tests(len(train)), "kaggle test")
    kept = torch.ones(len(train), dtype=torch.bool)
    kept[held_out] = False
    return train.take(kept), train.take(held_out)


def run(known: dict, *arguments: str) -> str:
    """Runs the program with these arguments, or has it read the one folder that is named."""
    command = [sys.executable, "-c", CHILD, json.dumps(known), *arguments]
    return subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("forms", nargs="*", help="of those that are written (default: all)")
    parser.add_argument("--data-dir", default="data", type=Path)
    parser.add_argument("--no-training", action="store_true")
    options = parser.parse_args()
    dataset = datasets.load(Config("Q1_1", dataset="cifar10", data_dir=str(options.data_dir)))
    whole, split = (dataset.train, dataset.test), kaggle_split(dataset.train)
    write = {"images as they are": lambda folder, *_: link_jpegs(folder, options.data_dir)}
    write |= {"python": forms.write_python, "python archive": forms.write_python_archive, **forms.LOSSLESS}
    write |= {"kaggle": lambda folder, *_: forms.write_kaggle(folder, *whole), "kaggle's split, npz": forms.write_npz}

    results: dict[bool, set] = {True: set(), False: set()}
    for form in options.forms or write:
        is_kaggle = form.startswith("kaggle")
        images = split if is_kaggle else whole
        with tempfile.TemporaryDirectory() as folder:
            data_dir = write[form](Path(folder) / "data", *images)
            files = [path for name in OFFICIAL for path in Path(folder).rglob(name)] if "python" in form else []
            known = {path.name: md5(path.read_bytes()).hexdigest() for path in files}
            measured = []
            for _ in ("decoded", "from the cache"):
                found, *numbers = json.loads(run(known, str(data_dir)).splitlines()[-1])
                measured.append("{:5.2f} s, {:5.2f} s of processor, {:3.0f} MB".format(*numbers))
            result = [found]
            if not options.no_training:
                run(known, *TRAIN, "--data-dir", str(data_dir), "--results-dir", f"{folder}/results")
                (metrics,) = Path(folder).glob("results/*/*/*/metrics.json")
                test = json.loads(metrics.read_text(encoding="utf-8"))["test"]
                row = dict(zip(*(line.split(",") for line in metrics.with_name("history.csv").open(encoding="utf-8"))))
                result += [row["train_loss"], test["loss"], test["accuracy"]]
        results[is_kaggle].add((*result,))
        print(f"{form}: {'; '.join(measured)}; load {os.getloadavg()[0]:.1f}; {result}", flush=True)
        assert found == digest(*images), f"{form} has other pixels or labels, or another order"
        assert len(results[is_kaggle]) == 1, f"{form} has another result"


if __name__ == "__main__":
    main()
