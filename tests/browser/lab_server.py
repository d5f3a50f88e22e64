"""A JupyterLab over a folder, with settings and kernels of its own, and a Chromium to look at it."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

__all__ = ["blank_page", "serving"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60

# No GPU, no sandbox (which needs privileges containers lack), and no traffic of the browser's own.
BROWSER_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def serving(notebooks: Path, home: Path, python: str | Path = sys.executable) -> Iterator[tuple[str, str]]:
    """The address and the token of a JupyterLab of `python` that keeps what is its own in `home`."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    token = secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    folders = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "root_dir": notebooks, "allow_root": True}
    flags = [f"--ServerApp.{name}={value}" for name, value in options.items()]
    flags.append("--LabApp.expose_app_in_browser=True")  # for what its menus have, by the name of the command
    news = home / "config/lab/user-settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')  # it would ask, in front of what is looked at
    log = home / "jupyter.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [python, "-m", "jupyterlab", "--no-browser", f"--IdentityProvider.token={token}", *flags],
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


@contextmanager
def blank_page() -> Iterator[Page]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"none of {', '.join(BROWSERS)} is installed; `make test-browser` installs Chromium where it can"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 1000})
        browser.close()


def _wait_until_answering(server: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"JupyterLab did not start within {START_SECONDS} s:\n{log.read_text()}")
