"""A real JupyterLab, and a page of Chromium that looks at it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from browser.lab_page import LabPage
from browser.lab_server import blank_page, serving


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory) -> Path:
    """A folder with the notebooks, as `glmkit lab --copy-only` makes it."""
    folder = tmp_path_factory.mktemp("notebooks")
    subprocess.run([sys.executable, "-m", "glmkit", "lab", "--copy-only", str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def lab_address(notebooks, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The address and token of a JupyterLab over `notebooks`."""
    with serving(notebooks, tmp_path_factory.mktemp("jupyter")) as address:
        yield address


@pytest.fixture
def page() -> Iterator[Page]:
    with blank_page() as page:
        yield page


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Where pictures of the widgets go: the folder SCREENSHOTS, or one of the tests' own."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def lab(page, lab_address) -> LabPage:
    return LabPage(page, *lab_address)
