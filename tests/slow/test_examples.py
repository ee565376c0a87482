"""Every example of the README and the docs, to its report: as it stands there, on few images and for few epochs."""

import re
import shlex

import pytest

import models
from experiments import baselines
from report import __main__ as report_command
from runner import cli
from tests.helpers.cli import execute
from tests.helpers.images import write_image_folder
from tests.helpers.paths import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
# What installs or needs a cluster is not run here.
ELSEWHERE = ("make ", "pip ", "uv ", "python3 -m venv ")


def commands():
    """All lines of the shell's blocks, without comments, each once."""
    blocks = [re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL) for page in PAGES]
    lines = [line for block in sum(blocks, []) for line in block.splitlines()]
    return dict.fromkeys(command for line in lines if (command := re.split(r"  +#", line)[0].strip()))


def shorten(argv, images):
    """The arguments of a command of ex1.py, for one epoch, or two where a run is made longer, on few images."""
    argv = list(argv)
    epochs = "2" if "--epochs" in argv and "--resume" in argv and "auto" not in argv else "1"
    if "--epochs" in argv:
        argv[argv.index("--epochs") + 1] = epochs
    elif not {"--resume", "--evaluate", "--predict", "--transfer", "--collapse", "--conflict"} & set(argv):
        argv += ["--epochs", epochs]
    if "all" in argv:
        argv[argv.index("all")] = "Q1_4"
    if "--limit" in argv:
        argv[argv.index("--limit") + 1] = "20"
    if "--until-decided" in argv:
        argv[argv.index("--until-decided") + 1] = "100"
    return [*argv, "--data-dir", str(images)] if "--predict" not in argv else argv


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder like the project's, where the examples are run, with images and a finished run of an affine network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(PROJECT / "docs")
    images = write_image_folder(tmp_path / "images", 20, 5)
    (tmp_path / "study.toml").write_text('model-name = ["Q1_1", "Q1_4"]\nlr = [0.001, 0.01]\n', encoding="utf-8")
    for name in ("cat.jpg", "dog.png"):
        (tmp_path / name).write_bytes((images / "test" / "cat" / "0.png").read_bytes())
    assert execute(shorten(["--model-name", "Q2_1"], images)) == 0
    [run] = tmp_path.glob("results/*/Q2_1/*")
    return images, run.relative_to(tmp_path)


def test_every_example_works(workplace, tmp_path, registry, capsys):
    images, run = workplace
    tried = []
    for command in commands():
        if command.startswith(ELSEWHERE):
            continue
        command = re.sub(r"results/cifar10/\S+__\S+|\bRUN\b|\bQ1_19__\S+", str(run), command)
        command = re.sub(r"results/cifar10$", str(run.parent.parent), command)
        command = re.sub(r"(?<=--on )PATH\b", str(images / "test"), command)
        command = command.replace("0.03 0.06 0.12 0.24 --batch-size 16 64 256", "0.03 --batch-size 16 64")  # few images
        program, *argv = shlex.split(command.replace("./run_all.sh", "python ex1.py --model-name all"))
        assert program == "python", command
        capsys.readouterr()
        if "--baseline" in argv:  # for which runs that differ in this alone are needed
            made = ["--model-name", "Q1_4", "--lr", "0.001", "0.01", "--limit", "20", "--results-dir", "rates"]
            assert execute(shorten(made, images)) == 0
            argv[argv.index("results")] = "rates"
        if argv[:2] == ["-m", "report"]:
            done = report_command.main(argv[2:])
        elif argv[:2] == ["-m", "experiments.baselines"]:
            pytest.importorskip("sklearn")
            done = baselines.main(["--data-dir", str(images), "--limit", "100"])
        elif argv[0] == "ex1.py" and "ray" in argv:
            done = 0 if cli.parse(argv[1:]).engine.engine == "ray" else 1  # tests/slow/test_ray.py runs it
        else:
            assert argv[0] == "ex1.py"
            if "--conflict" in argv:  # for which a run on generated images is needed
                made = ["--model-name", "Q1_4", "--dataset", "synthetic", "--cues", "colour,position", "--limit", "20"]
                assert execute([*shorten(made, images), "--results-dir", "cues"]) == 0
                argv[-1] = str(next(tmp_path.glob("cues/*/*/*/config.json")).parent)
            done = execute(shorten(argv[1:], images))
        said = capsys.readouterr()
        assert done == 0, f"{command}: {said.err}"
        assert "no report" not in said.err
        tried.append(command)
    assert len(tried) > 20
    assert list(tmp_path.glob("results/*/report.html"))


def test_row_of_the_readme_is_trained_and_reported(workplace, monkeypatch, registry):
    images, _ = workplace
    [row] = {
        match
        for page in PAGES
        for match in re.findall(r"^ *(ModelSpec\(.*\)),$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    spec = eval(row, vars(models))
    monkeypatch.setattr(models, "TABLE", [*models.TABLE, spec])
    models._add(spec)
    assert execute(shorten(["--model-name", "Tiny"], images)) == 0
    assert report_command.main([]) == 0
