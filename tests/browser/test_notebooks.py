"""The notebooks as a person meets them: opened in JupyterLab and run from top to bottom."""

import json
from pathlib import Path

import pytest

import glmkit.resources

NOTEBOOKS = sorted(path.name for path in glmkit.resources.data_path("notebooks").glob("*.ipynb"))
RUN_SECONDS = 900  # the longest takes seven minutes on two cores


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_from_top_to_bottom(name, lab):
    lab.open(name)
    lab.run_all(RUN_SECONDS)
    assert lab.complaints == []
    assert lab.prompts == [f"[{count}]:" for count in range(1, len(lab.prompts) + 1)]
    assert lab.console_errors == []


def test_a_failing_cell_is_seen(lab, notebooks: Path):
    """The test above would pass for any notebook if failures did not show where it looks for them."""
    write_notebook(notebooks / "fails.ipynb", "import sys; print('so far', file=sys.stderr)", "1 / 0", "3")
    lab.open("fails.ipynb")
    lab.run_all(RUN_SECONDS)
    printed, traceback = lab.complaints
    assert printed.strip() == "so far"
    assert "ZeroDivisionError" in traceback
    assert lab.prompts == ["[1]:", "[2]:", "[ ]:"]


def write_notebook(path: Path, *sources: str) -> None:
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
        for n, source in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(notebook))
