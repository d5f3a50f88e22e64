"""A rollout as a notebook shows it: its best and worst samples, their tokens coloured by span, no scripts."""

import html

import numpy as np

from glmkit.rl.rollout import Rollout
from glmkit.runs import PHASES

__all__ = ["page"]

_SHOWN = 8
_COLUMNS = ("sample", "group", "reward", "advantage", "tokens", "what was said")
_COLOURS = {"prompt": "128,128,128", "think": "220,150,0", "answer": "0,120,220", "tool": "150,80,200"}
_FORCED = "outline:1px dotted"


def page(rollout: Rollout) -> str:
    """A summary, and a table of the samples with the highest and the lowest rewards."""
    order = np.arange(len(rollout)) if rollout.rewards is None else np.argsort(-rollout.rewards, kind="stable")
    if len(order) > _SHOWN:
        order = np.concatenate([order[: _SHOWN // 2], order[-_SHOWN // 2 :]])
    head = f"<tr>{''.join(f'<th>{name}</th>' for name in _COLUMNS)}</tr>"
    rows = "".join(_row(rollout, int(index)) for index in order)
    keys = " ".join(f"<span style='{_style(name)}'>{name}</span>" for name in PHASES)
    cells = "text-align:left;vertical-align:top"
    return f"<div>{html.escape(repr(rollout))}<div>{keys}</div><table style='{cells}'>{head}{rows}</table></div>"


def _row(rollout: Rollout, index: int) -> str:
    def number(values: np.ndarray | None) -> str:
        return "" if values is None else f"{values[index]:.3f}"

    drawn = int(rollout.lengths()[index])
    said = "<hr>".join(_turn(turn) for turn in rollout.samples[index].turns) if rollout.samples else ""
    cells = (index, rollout.group[index], number(rollout.rewards), number(rollout.advantages), drawn, said)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _turn(turn) -> str:
    parts = [("think", turn.reasoning), ("answer", turn.content)]
    parts += [("tool", f"{call.name}({dict(call.arguments)})") for call in turn.tool_calls]
    pieces = [f"<span style='{_style(name)}'>{html.escape(text)}</span>" for name, text in parts if text]
    note = "" if turn.finish_reason in ("stop", "tool_calls") else f" <i>({html.escape(turn.finish_reason)})</i>"
    return f"<div style='white-space:pre-wrap'>{' '.join(pieces)}{note}</div>"


def _style(name: str) -> str:
    colour = _COLOURS.get(name)
    return _FORCED if colour is None else f"background:rgba({colour},.18)"
