"""A picture of a conversation for a notebook without a kernel: an SVG with words, and a PNG of the turns' lengths."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from glmkit.widgets.chat_turns import ChatTurn
from glmkit.widgets.picture import FAINT, INK, drawn_text, levels, png

__all__ = ["chat_picture"]

WIDTH, LEFT, LINE, MOST = 860, 110, 100, 16
THINK, ANSWER, TOOL = "#008f68", "#0072b2", "#b97700"  # as in esm/style.css


def chat_picture(name: str, items: Sequence[Mapping[str, Any]], turns: Sequence[ChatTurn]) -> tuple[str, bytes]:
    """The last 16 parts of the conversation, each as a few lines; as an SVG, and a PNG of thoughts and answers."""
    words, height = [drawn_text(12, 22, f"Chat with {name}", 15, "600")], 48
    if len(items) > MOST:
        words.append(drawn_text(12, height, f"after {len(items) - MOST} parts that are not shown", 11, colour=FAINT))
        height += 20
    for item in items[-MOST:]:
        who = "model" if "turn" in item else item["role"]
        words.append(drawn_text(12, height, who, 12, "600"))
        for line, colour in _lines(item, turns):
            words.append(drawn_text(LEFT, height, line, 12, colour=colour))
            height += 17
        height += 9
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>{"".join(words)}</svg>'
    ), png(_bars(turns))


def _lines(item: Mapping[str, Any], turns: Sequence[ChatTurn]) -> list[tuple[str, str]]:
    if "turn" not in item:
        return _wrapped(item["text"], INK)
    turn = turns[item["turn"]]
    lines = []
    if turn.reasoning:
        end = " ".join(turn.reasoning.split())
        lines.append((f"thought {turn.seconds:.1f} s: {'…' if len(end) > 80 else ''}{end[-80:]}", THINK))
    lines += _wrapped(turn.content, INK) if turn.content else []
    for card in turn.cards:
        given = ", ".join(f"{name}={value!r}" for name, value in (card.given or card.arguments).items())
        edited = ", edited" if card.edited else ""
        lines.append((_short(f"{card.name}({given}): {card.state}{edited} {card.result}"), TOOL))
    return lines or [(turn.error or "…", FAINT)]


def _wrapped(text: str, colour: str) -> list[tuple[str, str]]:
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, LINE)] or [""]
    return [(line, colour) for line in (lines if len(lines) <= 6 else [*lines[:5], _short(lines[5] + " …")])]


def _short(line: str) -> str:
    line = line.replace("\n", " ")
    return line if len(line) <= LINE else line[: LINE - 1] + "…"


def _bars(turns: Sequence[ChatTurn]) -> UInt8[np.ndarray, "row column"]:
    """For each turn a bar of its thought, and in a darker colour its answer."""
    shown = turns[-MOST:]
    longest = max((len(turn.reasoning) + len(turn.content) for turn in shown), default=0) or 1
    rows = np.zeros((max(1, len(shown)) * 12, 480), np.float32)
    for number, turn in enumerate(shown):
        thought, end = (n * 480 // longest for n in (len(turn.reasoning), len(turn.reasoning) + len(turn.content)))
        rows[number * 12 + 2 : number * 12 + 10, :thought] = 0.4
        rows[number * 12 + 2 : number * 12 + 10, thought:end] = 0.9
    return levels(rows)
