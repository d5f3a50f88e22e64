"""The two forms of each notebook say the same. That they run is tested by nbmake, and in a browser."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import jupytext
import pytest

from glmkit.resources import data_path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(data_path("notebooks").glob("*.py"))


def imported(source: Path) -> set[str]:
    """The packages that a notebook names, of whatever origin."""
    statements = ast.parse(source.read_text()).body
    names = {alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in statements if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_ipynb_is_the_py_without_outputs(source):
    written, built = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
    assert [(cell.cell_type, cell.source, cell.metadata) for cell in built.cells] == [
        (cell.cell_type, cell.source, cell.metadata) for cell in written.cells
    ], "run `make notebooks`"
    assert all(not cell.outputs for cell in built.cells if cell.cell_type == "code"), "commit notebooks without outputs"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_model_is_a_parameter(source):
    tagged = [cell.source for cell in jupytext.read(source).cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == ['MODEL = "nano"']


def test_the_demo_runs_the_first_and_the_package_alone_brings_what_it_imports():
    told = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"bin/python notebooks/{SOURCES[0].name}" in told
    assert "[notebook]" not in told.split("Next:")[0]
    assert imported(SOURCES[0]) <= {"glmkit", *sys.stdlib_module_names}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_notebook_extra_brings_all_that_is_imported(source):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["notebook"]
    declared = {re.split(r"[^\w-]", name)[0].replace("_", "-").lower() for name in wanted}
    uses = imported(source) - {"glmkit", *sys.stdlib_module_names}
    if ".to_pandas()" in source.read_text():
        uses.add("pandas")
    brought = packages_distributions()
    for name in uses:
        packages = {package.replace("_", "-").lower() for package in brought[name]}
        assert packages & declared, f"{name}: add one of {packages} to the notebook extra"
