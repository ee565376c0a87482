"""Who imports whom, for the four files at the root; lint-imports checks the packages, see pyproject.toml."""

import ast

import pytest

from models import PROGRAM
from tests.helpers.paths import PROJECT

PACKAGES = ("runner", "datasets", "experiments", "native", "report")
ROOT = ("ex1", "models", "data", "utils")
ALLOWED = {
    "models": {"runner.errors"},
    "data": {"runner.config", "runner.errors", "runner.rng"},
    "utils": {"models", "runner.errors", "runner.files"},
}


def imports(path):
    """The modules of the project that a file imports, e.g. ``data`` or ``runner.config``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {f"{module}.{name.name}" for name in node.names} if module in PACKAGES else {module}
    return {module for module in found if module.partition(".")[0] in (*ROOT, *PACKAGES)}


@pytest.mark.parametrize("name", ALLOWED)
def test_root_file_imports_what_is_below_it(name):
    assert imports(PROJECT / f"{name}.py") <= ALLOWED[name]


def test_names_that_an_own_file_may_take_are_all_of_the_program():
    assert set(PROGRAM) == {*ROOT, *PACKAGES}


def test_nothing_imports_the_entry_script():
    code = [path for package in PACKAGES for path in (PROJECT / package).rglob("*.py")]
    code += [PROJECT / f"{name}.py" for name in ROOT]
    assert [path.name for path in code if "ex1" in imports(path)] == []


def test_root_holds_four_files_and_five_packages():
    assert {path.stem for path in PROJECT.glob("*.py")} == set(ROOT)
    assert {path.parent.name for path in PROJECT.glob("*/__init__.py")} == {*PACKAGES, "tests"}
