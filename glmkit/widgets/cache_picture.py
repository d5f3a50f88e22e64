"""A picture of the tree of cached pages for a notebook without a kernel: an SVG with words, and a PNG of its cells."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from glmkit.engine.snapshot import CacheTree
from glmkit.widgets.branches import Words, branches, tree_message
from glmkit.widgets.picture import FAINT, INK, RAMP, drawn_text, levels, png

__all__ = ["cache_picture"]

WIDTH, MOST, CELL, GAP = 860, 24, 22, 3
WORDS = 300  # pixels of a row that its text has


def cache_picture(tree: CacheTree, spoken: Words, name: str) -> tuple[str, bytes]:
    """Up to 24 branches with their pages, darker the more often they were found; as an SVG, and a PNG without words."""
    message = tree_message(tree, spoken)
    rows = message["branches"][:MOST]
    left_out = len(message["branches"]) - len(rows)
    most = max((hits for row in rows for hits in row["hits"]), default=0) or 1
    known = f"{len(tree.pages)} pages known, {len(tree.pages) * tree.page_size:,} tokens, {tree.nbytes / 1e6:.1f} MB"
    words = [
        drawn_text(12, 22, f"Cache of {name}", 15, "600"),
        drawn_text(12, 44, f"{known}; found {tree.hits} times by requests", 12, colour=FAINT),
    ]
    height = 60
    for row in rows:
        left = 12 + 16 * row["depth"]
        text = row["text"].replace("\n", "↵")
        room = max(8, (WORDS - left) // 7)
        words.append(
            drawn_text(left, height + 15, text if len(text) <= room else text[: room - 1] + "…", 11, mono=True)
        )
        words += _cells(row["hits"], most, height)
        height += CELL + 6
    if left_out:
        words.append(drawn_text(12, height + 14, f"and {left_out} more branches", 11, colour=FAINT))
        height += 20
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 8}" width="{WIDTH}" '
        f'height="{height + 8}"><rect width="100%" height="100%" rx="8" fill="#fff"/>{"".join(words)}</svg>'
    )
    return svg, png(_pixels(tree))


def _cells(hits: Sequence[int], most: int, y: int) -> list[str]:
    """As many as there is room for."""
    room = (WIDTH - WORDS - 60) // (CELL + GAP)
    drawn = []
    for number, count in enumerate(hits[:room]):
        x, value = WORDS + number * (CELL + GAP), count / most
        place = value * (len(RAMP) - 1)
        channels = [np.interp(place, range(len(RAMP)), RAMP[:, channel]) for channel in range(3)]
        fill = f"rgb({','.join(str(round(channel)) for channel in channels)})"
        box = f'x="{x}" y="{y}" width="{CELL}" height="{CELL}" rx="3" fill="{fill}" stroke="#9aa4b2"'
        drawn.append(f"<rect {box}/>")
        if count:
            ink = INK if value < 0.45 else "#fff"
            drawn.append(drawn_text(x + CELL / 2, y + 15, str(count), 10, anchor="middle", colour=ink))
    if len(hits) > room:
        drawn.append(drawn_text(WORDS + room * (CELL + GAP) + 4, y + 15, f"+{len(hits) - room}", 11, colour=FAINT))
    return drawn


def _pixels(tree: CacheTree) -> UInt8[np.ndarray, "row column"]:
    rows = branches(tree)[:MOST]
    wide = min(64, max((len(row.pages) for row in rows), default=1))
    pages = np.zeros((max(1, len(rows)), wide), np.float32)
    for number, row in enumerate(rows):
        for column, place in enumerate(row.pages[:wide]):
            pages[number, column] = 0.25 + 0.75 * tree.pages[place].hits / max(1, tree.hits)
    return levels(pages).repeat(12, axis=0).repeat(12, axis=1)
