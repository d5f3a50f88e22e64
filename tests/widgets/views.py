"""What a widget tells its views, heard without a browser."""

from typing import Any

__all__ = ["heard", "told"]


def heard(widget: Any) -> Any:
    """The widget, which from now on puts what it sends in `widget.sent`, in order, with the "buffers" of a message."""
    widget.sent = []
    widget.send = lambda content, buffers=None: widget.sent.append(content | {"buffers": buffers or []})
    return widget


def told(widget: Any, kind: str) -> list[dict[str, Any]]:
    """The messages of a kind."""
    return [content for content in widget.sent if content["kind"] == kind]
