"""A picture of a training run for a notebook without a kernel: an SVG of curves and loads, and a PNG of the loads."""

import base64
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from glmkit.widgets.picture import FAINT, drawn_text, levels, png
from glmkit.widgets.training_panels import Panel, panels
from glmkit.widgets.training_record import TrainingRecord

__all__ = ["training_picture"]

Curve = tuple[np.ndarray, np.ndarray]  # steps and values
WIDTH, HIGH, LEFT, GAP = 860, 130, 54, 18
WIDE = (WIDTH - 24 - GAP) // 2  # of a panel
STROKES = (("#0b5cad", ""), ("#b8500a", "5 3"), ("#008f68", "2 3"))  # of the curves of a panel, as in esm/line_chart.js
MOST = 160  # points of a line, each the mean of its steps


def training_picture(title: str, words: str, record: TrainingRecord, layers: Sequence[int]) -> tuple[str, bytes]:
    """The panels that are shown unasked, and the last loads; an SVG, and a PNG without words."""
    curves = record.curves()
    shown = [panel for panel in panels(name for name in record.told if name in curves) if not panel.quiet]
    drawn = [
        drawn_text(12, 22, "Training" + (f" of {title}" if title else ""), 15, "600"),
        drawn_text(12, 43, words if len(words) <= 130 else words[:129] + "…", 12, colour=FAINT),
    ]
    top = 58
    for number, panel in enumerate(shown):
        x, y = 12 + number % 2 * (WIDE + GAP), 58 + number // 2 * (HIGH + 36)
        drawn += _panel(panel, {name: curves[name] for name in panel.names}, x, y)
        top = y + HIGH + 36
    pixels = np.zeros((12, 12), np.uint8)
    if loads := record.loads:
        share = loads[-1].share
        cells = levels(share / max(float(share.max()), 1e-9))
        pixels = cells.repeat(12, axis=0).repeat(12, axis=1)
        drawn += _map(
            cells, layers, f"Experts' load at step {loads[-1].step:,}: 0 to {share.max():.0%} of a layer", top
        )
        top += min(24, max(4, 240 // len(cells))) * len(cells) + 52
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">'
        f'<rect width="100%" height="100%" rx="8" fill="#fff"/>{"".join(drawn)}</svg>'
    )
    return svg, png(pixels)


def _panel(panel: Panel, whole: Mapping[str, Curve], x: float, y: float) -> list[str]:
    """Lines over one axis, the last value of each in the heading."""
    curves = {name: _thinned(*curve) for name, curve in whole.items()}
    values = np.concatenate([curve[1] for curve in curves.values()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    first = min(curve[0][0] for curve in curves.values())
    last = max(curve[0][-1] for curve in curves.values())
    lasts = [_last(name, values[-1], alone=len(whole) == 1) for name, (_, values) in whole.items()]
    heading = f"{panel.title}: {', '.join(lasts)}"
    left, base, wide = x + LEFT, y + 14 + HIGH - 26, WIDE - LEFT
    drawn = [
        drawn_text(x, y + 10, heading, 12, "600"),
        f'<path d="M{left} {y + 20}V{base}H{left + wide}" fill="none" stroke="#d5dae1"/>',
        drawn_text(left - 6, y + 26, _short(high), 10, anchor="end", colour=FAINT),
        drawn_text(left - 6, base, _short(low), 10, anchor="end", colour=FAINT),
        drawn_text(left, base + 14, f"step {first:,}", 10, colour=FAINT),
        drawn_text(left + wide, base + 14, f"{last:,}", 10, anchor="end", colour=FAINT),
    ]
    for (colour, dashes), (steps, points) in zip(itertools.cycle(STROKES), curves.values(), strict=False):
        along = left + (steps - first) / max(1, last - first) * wide
        down = base - (points - low) / max(high - low, 1e-12) * (base - y - 22)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(along, down, strict=True) if np.isfinite(b))
        style = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dashes}"'
        drawn.append(f'<polyline points="{path}" {style}/>')
    return drawn


def _last(name: str, value: float, alone: bool) -> str:
    """The last value of a curve, by its name unless it is alone."""
    return _short(value) if alone else f"{name.rpartition('/')[2].replace('_', ' ')} {_short(value)}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _thinned(steps: np.ndarray, values: Float[np.ndarray, " n"]) -> tuple[np.ndarray, Float[np.ndarray, " m"]]:
    """Means of neighbours, so many that a line has few enough points."""
    size = -(-len(steps) // MOST)
    starts = np.arange(0, len(steps), size)
    ends = np.minimum(starts + size, len(steps))
    return steps[ends - 1], np.add.reduceat(values, starts) / (ends - starts)


def _map(cells: UInt8[np.ndarray, "row column"], layers: Sequence[int], heading: str, y: float) -> list[str]:
    rows, columns = cells.shape
    high, wide = min(24, max(4, 240 // rows)), WIDTH - 24 - LEFT
    image = base64.b64encode(png(cells)).decode()
    left, top = 12 + LEFT, y + 18
    drawn = [
        drawn_text(12, y + 8, heading, 12, "600"),
        f'<image x="{left}" y="{top}" width="{wide}" height="{high * rows}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{image}"/>',
    ]
    for row in range(0, rows, max(1, -(-14 // high))):
        drawn.append(drawn_text(left - 6, top + (row + 0.5) * high + 4, f"layer {layers[row]}", 10, anchor="end"))
    for column in range(0, columns, max(1, -(-columns * 26 // wide))):
        middle = left + (column + 0.5) * wide / columns
        drawn.append(drawn_text(middle, top + high * rows + 14, str(column), 10, anchor="middle", colour=FAINT))
    return drawn
