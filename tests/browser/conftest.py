"""A real JupyterLab, and a page of Chromium that looks at it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from browser.lab_page import LabPage

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60

# No GPU, no sandbox (which needs privileges containers lack), and no traffic of the browser's own.
BROWSER_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory) -> Path:
    """A folder with the notebooks, as `glmkit lab --copy-only` makes it."""
    folder = tmp_path_factory.mktemp("notebooks")
    subprocess.run([sys.executable, "-m", "glmkit", "lab", "--copy-only", str(folder)], check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def lab_address(notebooks, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The address and token of a JupyterLab over `notebooks`, with settings and kernels of its own."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    token = secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    home = tmp_path_factory.mktemp("jupyter")
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "root_dir": notebooks, "allow_root": True}
    flags = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    flags.append("--LabApp.expose_app_in_browser=True")  # for what its menus have, by the name of the command
    log = home / "jupyter.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", f"--IdentityProvider.token={token}", *flags],
            env=os.environ | folders,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_answering(server, f"{address}/api?token={token}", log)
        yield address, token
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_until_answering(server: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"JupyterLab did not start within {START_SECONDS} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser_path() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"none of {', '.join(BROWSERS)} is installed; `make test-browser` installs Chromium where it can"
    return found


@pytest.fixture
def page(browser_path) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=BROWSER_FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 1000})
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Where pictures of the widgets go: the folder SCREENSHOTS, or one of the tests' own."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def lab(page, lab_address) -> LabPage:
    return LabPage(page, *lab_address)
