"""A picture of answers side by side for a notebook without a kernel: an SVG with words, and a PNG of their lengths."""

import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from glmkit.runs import PHASES
from glmkit.widgets.attempts import Attempt
from glmkit.widgets.picture import FAINT, INK, drawn_text, levels, png

__all__ = ["thinking_picture"]

WIDTH, LEFT, LINE, MOST = 860, 190, 88, 24
BAR = 560  # the width of the longest
COLOURS = {"prompt": "#8a93a0", "think": "#008f68", "answer": "#0072b2", "forced": "#b0407f"}  # as in esm/style.css
LEVELS = {"prompt": 0.2, "think": 0.5, "forced": 0.75, "answer": 1.0}


def thinking_picture(model: str, asked: str, attempts: Sequence[Attempt]) -> tuple[str, bytes]:
    """A row for each of up to 24 attempts: how long it thought, how the thought ends, and the answer.

    An SVG, and a PNG without words, in which thoughts are paler than answers.
    """
    shown = attempts[:MOST]
    lengths = [_lengths(attempt) for attempt in shown]
    longest = max(sum(row.values()) for row in lengths) or 1
    words, height = [], 74
    left_out = "" if len(shown) == len(attempts) else f", {len(shown)} of them shown"
    words.append(drawn_text(12, 22, f"{len(attempts)} answers of {model}{left_out}", 15, "600"))
    words.append(drawn_text(12, 44, _short(asked), 11, mono=True, colour=FAINT))
    for attempt, row in zip(shown, lengths, strict=True):
        lines = _lines(attempt)
        words.append(drawn_text(12, height + 2, f"{attempt.mode}, seed {attempt.seed}", 12, "600"))
        words.append(drawn_text(12, height + 18, _about(attempt), 11, colour=FAINT))
        x = float(LEFT)
        for kind, count in row.items():
            wide = count * BAR / longest
            words.append(f'<rect x="{x:.1f}" y="{height - 8}" width="{wide:.1f}" height="9" fill="{COLOURS[kind]}"/>')
            x += wide
        counted = ", ".join(f"{kind} {count}" for kind, count in row.items() if count)
        words.append(drawn_text(x + 6, height + 1, counted, 10, colour=FAINT))
        for number, (line, colour) in enumerate(lines):
            words.append(drawn_text(LEFT, height + 18 + 15 * number, line, 11, mono=True, colour=colour))
        height += max(44, 32 + 15 * len(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>{"".join(words)}</svg>'
    ), png(_bars(lengths, longest))


def _lengths(attempt: Attempt) -> dict[str, int]:
    """Tokens of the thought by phase, in their order, and of what follows."""
    phases = [PHASES[code] for code in attempt.phases()]
    counts = {phase: phases.count(phase) for phase in ("prompt", "think", "forced")}
    return counts | {"answer": len(attempt.turn.rest)}


def _lines(attempt: Attempt) -> list[tuple[str, str]]:
    """The end of the thought, and the answer."""
    thought = attempt.reasoning.replace("\n", " ↵ ")
    lines = []
    if thought:
        lines.append(("…" + thought[-LINE:] if len(thought) > LINE else thought, FAINT))
    answer = textwrap.wrap(attempt.content or attempt.error or f"({attempt.finish_reason})", LINE)
    return lines + [(line, INK) for line in (answer[:2] if len(answer) < 3 else [answer[0], answer[1][:-1] + "…"])]


def _about(attempt: Attempt) -> str:
    parts = [f"{attempt.origin} from {attempt.source}"] if attempt.origin else []
    return ", ".join([*parts, f"thought {attempt.thought_seconds:.1f} s" if attempt.thought_tokens else "no thought"])


def _short(text: str) -> str:
    line = text.replace("\n", "↵")
    return line if len(line) <= 112 else line[:111] + "…"


def _bars(lengths: Sequence[dict[str, int]], longest: int) -> UInt8[np.ndarray, "row column"]:
    rows = np.zeros((len(lengths) * 12, 480), np.float32)
    for number, row in enumerate(lengths):
        ends = np.cumsum([0, *row.values()]) * 480 // longest
        for kind, start, end in zip(row, ends, ends[1:], strict=False):
            rows[number * 12 + 2 : number * 12 + 10, start:end] = LEVELS[kind]
    return levels(rows)
