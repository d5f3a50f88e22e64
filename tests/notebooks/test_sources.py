"""The two forms of each notebook say the same. That they run is tested by nbmake, and in a browser."""

import jupytext
import pytest

from glmkit.resources import data_path

SOURCES = sorted(data_path("notebooks").glob("*.py"))


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
