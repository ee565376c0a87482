"""What is installed for what: the requirement files, pyproject.toml and the Makefile say the same."""

import re
import subprocess

import pytest

from tests.helpers.paths import PROJECT

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 or newer")


def requirements(name):
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_extras_are_those_of_the_requirement_files():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(extras.pop("dev")) == requirements("requirements-dev.txt")
    assert {line for extra in extras.values() for line in extra} == requirements("requirements-optional.txt")


def test_withdrawn_versions_are_excluded():
    assert "lightning>=2.6.4" in requirements("requirements-optional.txt")


@pytest.mark.parametrize(
    ("target", "installed"),
    [
        ("run", {"requirements.txt"}),
        ("reproduce", {"requirements.txt"}),
        ("bench", {"requirements.txt", "requirements-optional.txt"}),
        ("test", {"requirements.txt", "requirements-optional.txt", "requirements-dev.txt"}),
        ("lint", {"requirements.txt", "requirements-optional.txt", "requirements-dev.txt"}),
    ],
)
def test_make_installs_what_a_target_needs_and_no_more(target, installed, tmp_path):
    command = ["make", "--dry-run", target, f"VENV={tmp_path / 'venv'}"]
    said = subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=True).stdout
    assert set(re.findall(r"-r (\S+?\.txt)", said)) == installed
