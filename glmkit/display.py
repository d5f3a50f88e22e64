"""Showing an answer as it comes: the thought dimmed, in a terminal by plain writes, in a notebook redrawn in place."""

import sys
import time
from typing import TextIO

from glmkit.engine.answer import ChatStream
from glmkit.text import Delta

_REDRAWS_PER_SECOND = 30
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def show_live(stream: ChatStream) -> None:
    """Show the deltas of `stream` until it ends. Interrupted, whatever it is at, it ends with what came so far."""
    try:
        if _in_notebook():
            _redraw(stream)
        else:
            write_live(stream, sys.stdout)
    except KeyboardInterrupt:
        stream.stop()


def write_live(stream: ChatStream, out: TextIO) -> None:
    """Write deltas as they come; on a terminal the thought is dimmed, elsewhere it is set off by an empty line."""
    terminal = out.isatty()
    thinking = False
    try:
        for delta in stream:
            if bool(delta.reasoning) != thinking:
                thinking = bool(delta.reasoning)
                out.write((_DIM if thinking else f"{_PLAIN}\n\n") if terminal else ("" if thinking else "\n\n"))
            out.write(delta.reasoning or delta.content or _call_text(delta))
            out.flush()
    finally:
        out.write(f"{_PLAIN}\n" if terminal else "\n")
        out.flush()


def _call_text(delta: Delta) -> str:
    return "".join((f"\n[{part.name}] " if part.name else "") + part.arguments_fragment for part in delta.tool_calls)


def _redraw(stream: ChatStream) -> None:
    """Redraw one output cell, at most 30 times a second however fast tokens come."""
    from IPython.display import display

    handle, drawn = display(stream.partial, display_id=True), 0.0
    for _ in stream:
        if time.monotonic() - drawn >= 1 / _REDRAWS_PER_SECOND:
            handle.update(stream.partial)
            drawn = time.monotonic()
    handle.update(stream.completion)


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"
