"""Pictures for a notebook without a kernel: of a routing map, an SVG with words around a PNG, a pixel for a cell."""

import base64
import html
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8

from glmkit.runs import Run
from glmkit.runs.routing import expert_sums

__all__ = ["FAINT", "INK", "drawn_text", "levels", "png", "routing_picture"]

# Light to dark in one hue: told apart by lightness alone. The same as in esm/base.js.
RAMP = np.array([[247, 249, 252], [209, 226, 243], [133, 184, 221], [44, 123, 182], [8, 48, 107]], np.float32)
LEVELS = 16  # four bits of a pixel
WIDTH, LEFT, TOP, LINE = 860, 64, 92, 112
INK, FAINT = "#1f2937", "#5b6472"


def routing_picture(run: Run, steps: Integer[np.ndarray, " n"], notes: Sequence[str] = ()) -> tuple[str, bytes]:
    """The share of the tokens at `steps` that went to each expert, as an SVG, and as a PNG without words.

    `notes` stand below the map, each in a line.
    """
    routing = run.routing
    share = expert_sums(routing.ids[steps], routing.experts) / max(1, len(steps))
    most = max(float(share.max(initial=0)), 1e-9)
    cells = levels(share / most)
    rows, columns = share.shape
    height = min(34, max(4, 480 // rows)) * rows
    image = base64.b64encode(png(cells)).decode()
    scale = max(1, min(480 // columns, 16))
    svg = _svg(run, routing.layers, columns, len(steps), most, image, height, notes)
    return svg, png(cells.repeat(scale, axis=0).repeat(scale, axis=1))


def _svg(
    run: Run, layers: tuple[int, ...], experts: int, count: int, most: float, image: str, height: int,
    notes: Sequence[str],
) -> str:  # fmt: skip
    wide, bottom = WIDTH - LEFT - 12, TOP + height
    text = run.text.replace("\n", "↵")
    shown = [text[at : at + LINE] for at in range(0, min(len(text), 2 * LINE), LINE)]
    if len(text) > 2 * LINE:
        shown[-1] = shown[-1][:-1] + "…"
    words = [
        drawn_text(
            12, 22, f"Routing of {count} of {len(run)} tokens" + (f", {run.model}" if run.model else ""), 15, "600"
        ),
        *(drawn_text(12, 44 + 16 * number, line, 11, mono=True, colour=FAINT) for number, line in enumerate(shown)),
        drawn_text(12, TOP - 8, "layer", 11, colour=FAINT),
        drawn_text(LEFT, bottom + 34, "expert", 11, colour=FAINT),
        drawn_text(WIDTH - 12, bottom + 34, f"share of the tokens: 0 to {most:.0%}", 11, anchor="end", colour=FAINT),
    ]
    step = max(1, -(-len(layers) * 14 // height))
    for row in range(0, len(layers), step):
        middle = TOP + (row + 0.5) * height / len(layers) + 4
        words.append(drawn_text(LEFT - 8, middle, str(layers[row]), 11, anchor="end"))
    step = max(1, -(-experts * 26 // wide))
    for column in range(0, experts, step):
        words.append(drawn_text(LEFT + (column + 0.5) * wide / experts, bottom + 16, str(column), 11, anchor="middle"))
    for number, note in enumerate(notes):
        line = note.replace("\n", "↵")
        line = line if len(line) <= LINE else line[: LINE - 1] + "…"
        words.append(drawn_text(12, bottom + 56 + 17 * number, line, 11, mono=True))
    whole = bottom + 46 + 17 * len(notes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}">'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>{"".join(words)}'
        f'<rect x="{LEFT - 1}" y="{TOP - 1}" width="{wide + 2}" height="{height + 2}" fill="none" stroke="#d5dae1"/>'
        f'<image x="{LEFT}" y="{TOP}" width="{wide}" height="{height}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{image}"/></svg>'
    )


def drawn_text(
    x: float, y: float, words: str, size: int, weight: str = "400", *, anchor: str = "start", mono: bool = False,
    colour: str = INK,
) -> str:  # fmt: skip
    """A line of text of an SVG."""
    words = "".join(letter if letter.isprintable() else "�" for letter in words)  # of which XML forbids some
    family = "monospace" if mono else "system-ui,sans-serif"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-family="{family}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{colour}" xml:space="preserve">{html.escape(words)}</text>'
    )


def levels(values: Float[np.ndarray, "row column"]) -> UInt8[np.ndarray, "row column"]:
    """Of values between 0 and 1: as many as the picture has colours, few enough to pack well."""
    return np.round(np.clip(values, 0, 1) * (LEVELS - 1)).astype(np.uint8)


def png(pixels: UInt8[np.ndarray, "row column"]) -> bytes:
    """A PNG file of levels, in the colours of the ramp."""
    height, width = pixels.shape
    at = np.linspace(0, len(RAMP) - 1, LEVELS)
    palette = np.stack([np.interp(at, np.arange(len(RAMP)), RAMP[:, channel]) for channel in range(3)], axis=-1)
    even = np.pad(pixels, ((0, 0), (0, width % 2)))
    lines = np.concatenate([np.zeros((height, 1), np.uint8), even[:, ::2] << 4 | even[:, 1::2]], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    content = zlib.compress(lines.tobytes(), 9)
    parts = ((b"IHDR", header), (b"PLTE", palette.astype(np.uint8).tobytes()), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
