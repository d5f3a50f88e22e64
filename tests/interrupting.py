"""For tests of runs that are stopped: Ctrl-C, pressed at a place of the code."""

import os
import pkgutil
import signal


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_in(monkeypatch, path: str, *, times: int = 1) -> None:
    """Press Ctrl-C so often when the function at `path` is entered for the first time."""
    owner, _, name = path.rpartition(".")
    owner = pkgutil.resolve_name(owner)
    whole, pressed = getattr(owner, name), []

    def function(*args, **options):
        if not pressed:
            pressed.append(True)
            for _ in range(times):
                press()
        return whole(*args, **options)

    monkeypatch.setattr(owner, name, function)
