"""What a widget tells its views, heard without a browser."""

import base64
import re
from typing import Any

from glmkit.widgets import base

__all__ = ["heard", "kept", "told"]


def heard(widget: Any) -> Any:
    """The widget, which from now on puts what it sends in `widget.sent`, in order, with the "buffers" of a message."""
    widget.sent = []
    widget.send = lambda content, buffers=None: widget.sent.append(content | {"buffers": buffers or []})
    return widget


def told(widget: Any, kind: str) -> list[dict[str, Any]]:
    """The messages of a kind."""
    return [content for content in widget.sent if content["kind"] == kind]


def kept(widget: Any, monkeypatch: Any) -> list[str]:
    """Shows the widget in a notebook: the pictures that it keeps from then on, one in the other's place, or words."""
    drawn = []

    class Handle:
        def update(self, data, raw):
            found = re.search(r"svg\+xml;base64,([^\"]+)", data["text/html"])
            drawn.append(base64.b64decode(found[1]).decode() if found else data["text/plain"])

    def display(data, display_id=None, **_):
        if display_id:
            handle = Handle()
            handle.update(data, raw=True)
            return handle

    monkeypatch.setattr(base, "display", display)
    widget.draw_seconds = 0.05
    widget._ipython_display_()
    return drawn
