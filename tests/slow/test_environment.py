"""The program where names, locales, and settings of matplotlib are a user's own, in processes of its own."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.cli import run_folder
from tests.helpers.images import write_image_folder
from tests.helpers.paths import PROJECT

UTF8 = {"PYTHONIOENCODING": "utf-8:strict"}
# A locale that knows ASCII alone, as old servers have it; Python would else take UTF-8 in its place.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def start(*arguments, cwd=PROJECT, **environment):
    """Runs ``ex1.py`` or ``-m report`` to its end; what it says stays bytes."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)} | environment
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True)


def pictures(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}


def test_figures_are_the_same_whatever_settings_of_matplotlib_there_are(command_line, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "matplotlibrc").write_bytes(b"text.usetex: True\n# caf\xe9\n")
    hostile = {"MPLBACKEND": "module://not_installed.here", "MPLCONFIGDIR": str(own), "MATPLOTLIBRC": str(own)}
    sweep = (PROJECT / "ex1.py", "--model-name", "Q1_1,Q1_4", "--epochs", "1")
    for name, cwd, environment in (("clean", tmp_path, {}), ("hostile", own, hostile)):
        done = start(*command_line(*sweep, results=name), cwd=cwd, **environment)
        assert done.returncode == 0, done.stderr
        assert b"matplotlib" not in done.stderr
    assert pictures(tmp_path / "hostile") == pictures(tmp_path / "clean")
    done = start("-m", "report", tmp_path / "clean", cwd=own, **hostile)
    assert (done.returncode, done.stderr) == (0, b"")
    assert pictures(tmp_path / "hostile") == pictures(tmp_path / "clean")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file names that are not UTF-8")
@pytest.mark.parametrize(("first", "then"), [(UTF8, ASCII), (ASCII, UTF8)], ids=["utf8-ascii", "ascii-utf8"])
def test_results_made_under_one_locale_are_read_under_another(tmp_path, first, then):
    images = tmp_path / os.fsdecode("Jürgen → ".encode() + b"\xff")
    write_image_folder(images, 20, 5)
    results = tmp_path / "Ergebnisse für \udcff"
    options = ("--model-name", "Q1_4", "--seeds", "0", "--epochs", "1", "--data-dir", images, "--results-dir", results)
    done = start("ex1.py", *options, **first)
    assert done.returncode == 0, done.stderr
    assert b"1 of 1 run finished" in done.stdout
    [log] = results.glob("*/*/*.log")
    assert " · seed 0" in log.read_bytes().decode()

    done = start("-m", "report", results, **then)
    assert (done.returncode, done.stderr) == (0, b"")
    for page in results.glob("*/report.*"):
        assert "Ergebnisse f" in page.read_bytes().decode()
    run = next(results.glob("*/Q1_4/*/metrics.json")).parent
    for command in (("--evaluate", run), ("--resume", run, "--epochs", "2")):
        done = start("ex1.py", *command, "--data-dir", images, **then)
        assert done.returncode == 0, done.stderr
    settings = json.loads((run / "config.json").read_bytes())["settings"]
    assert os.fsencode(settings["data_dir"]) == os.fsencode(images)


@pytest.mark.parametrize(("encoding", "shown"), [("cp1252", "6\\u21928"), ("ascii", "6\\u21928"), ("utf-8", "6→8")])
def test_list_of_models_is_shown_in_any_encoding(encoding, shown):
    done = start("ex1.py", "--list-models", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert shown in done.stdout.decode(encoding)


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux alone")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os\nif 'multiprocessing.forkserver' in str(sys.orig_argv):\n    os._exit(9)", b"was it killed"),
        (
            "class Finder:\n    def find_spec(self, name, *other):\n        if name == 'torchsummary':\n"
            "            raise ValueError('this package is broken')\nsys.meta_path.insert(0, Finder())",
            b"Q1_1, at its start: ValueError: this package is broken",
        ),
    ],
    ids=["killed", "package is broken"],
)
def test_fork_server_that_can_not_start_is_told_in_one_line(command_line, tmp_path, code, reason):
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{code}\n", encoding="utf-8")
    sweep = command_line("ex1.py", "--model-name", "Q1_1,Q1_4", "--epochs", "1")
    done = start(*sweep, PYTHONPATH=str(tmp_path))
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert reason in said
    assert b"Traceback" not in said
    assert b"EOFError" not in said


def test_notebook_keeps_its_settings(command_line, tmp_path):
    """It calls the program in its own process, where figures go to a backend of its own."""
    (tmp_path / "inline.py").write_text(
        "from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas\n", encoding="utf-8"
    )
    code = (
        "import matplotlib, matplotlib.pyplot as plt, sys\nplt.figure()\nmatplotlib.rcParams['text.usetex'] = True\n"
        "before = dict(matplotlib.rcParams)\nimport ex1\nfrom runner import cli\ncode = ex1.main(cli.parse())\n"
        "assert dict(matplotlib.rcParams) == before and len(plt.get_fignums()) == 1\nsys.exit(code)"
    )
    run = command_line("--model-name", "Q1_1", "--epochs", "1")
    notebook = {"PYTHONPATH": f"{PROJECT}{os.pathsep}{tmp_path}", "MPLBACKEND": "module://inline"}
    done = start("-c", code, *run, **notebook)
    assert done.returncode == 0, done.stderr
    assert run_folder(tmp_path)
