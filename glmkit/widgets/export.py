"""A probe as one HTML file: the widget's own code beside its data, and nothing fetched from anywhere."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

from glmkit.errors import RequestError
from glmkit.runs import Run
from glmkit.widgets.packing import Message, pack_run

__all__ = ["LIMIT", "routing_page"]

LIMIT = 1_000_000  # bytes

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data:; connect-src data:">
<title>Routing probe</title>
<style>body{{margin:0;padding:24px;background:#fff}}main{{max-width:1100px;margin:auto}}\
@media(prefers-color-scheme:dark){{body{{background:#111418}}}}
{css}</style></head>
<body><main id="probe"></main>
<script type="application/json" id="data">{data}</script>
<script type="module">
{esm}
showSaved(JSON.parse(document.getElementById("data").textContent), document.getElementById("probe"));
</script></body></html>
"""


def routing_page(
    esm: str,
    css: str,
    traits: Mapping[str, Any],
    run: Run,
    effect: Message | None,
    film: Message | None,
    knockout: Message | None = None,
) -> str:
    """At most `LIMIT` bytes: of a run that is too long weights are left out, then the last tokens, and it says so.

    Without its last tokens it is not compared with the changed run either, and nothing beyond is brushed.
    Raises RequestError if even a short run does not fit.
    """
    length = len(run)
    about = Message({"model": run.model, "live": False, "saved": True, "film": film is not None, "asked": ""}, [])
    if film is not None:
        film = _saved("film", film)
    while True:
        for weights in (True, False) if length == len(run) else (False,):
            whole = weights and length == len(run)
            note = "" if whole else _left_out(length, len(run), effect is not None)
            told = Message({**about.content, "note": note}, [])
            said = [_saved("about", told), _saved("run", pack_run(run, weights=weights, tokens=length))]
            if effect is not None and length == len(run):
                said.append(_saved("effect", effect))
            if knockout is not None:
                said.append(_saved("knockout", knockout))
            data = {"traits": _within(traits, length), "messages": said, "film": film}
            page = _PAGE.format(css=css, esm=_module(esm), data=_in_a_page(data))
            if len(page.encode()) <= LIMIT:
                return page
        if length <= 1:
            raise RequestError(f"a page of one token takes {len(page.encode())} bytes; expected at most {LIMIT}")
        length = length * 3 // 4


def _left_out(length: int, of: int, compared: bool) -> str:
    tokens = "" if length == of else f" and all but the first {length} of {of} tokens"
    comparison = ", the comparison with the changed run" if tokens and compared else ""
    return f"To stay below 1 MB, weights{comparison}{tokens} were left out."


def _within(traits: Mapping[str, Any], length: int) -> dict[str, Any]:
    """With only the first `length` tokens brushed, or none, which shows all, where those that were lie beyond."""
    selection = dict(traits.get("_selection") or {})
    if selection.get("brush") is not None:
        start, stop = (min(place, length) for place in selection["brush"])
        selection["brush"] = [start, stop] if start < stop else None
    return {**traits, "_selection": selection}


def _saved(kind: str, message: Message) -> dict[str, Any]:
    buffers = [base64.b64encode(zlib.compress(buffer, 9)).decode() for buffer in message.buffers]
    return {"kind": kind, **message.content, "buffers": buffers}


def _in_a_page(data: Mapping[str, Any]) -> str:
    """As JSON without "<": after "<!--" and "<script" a browser looks for the end of another script."""
    return json.dumps(data).replace("<", "\\u003c")


def _module(esm: str) -> str:
    """As part of a page, in which nothing is exported."""
    return esm.replace("export default", "void").replace("</script", "<\\/script")
