"""The card (README.md) that goes with weights someone made with glmkit: what they are, and where they come from."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def derived_card(
    title: str, about: str, *, base_model: str | None, licence: str | None, library: str, facts: Mapping[str, Any]
) -> bytes:
    """A card in the Hub's form for weights made from those of `base_model`, with a table of `facts`.

    `licence` is an identifier of the Hub's, such as "mit"; None leaves it, or the base model, unsaid.
    """
    head = {"base_model": base_model, "license": licence, "library_name": library}
    stated = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items() if value]
    told = {"base model": base_model or "not stated", "licence": licence or "not stated", **facts}
    rows = [f"| {name} | {value} |".replace("\n", " ") for name, value in told.items()]
    lines = ["---", *stated, "---", "", f"# {title}", "", about, "", "| | |", "|---|---|", *rows]
    return ("\n".join(lines) + "\n").encode()


def facts_of(folder: Path) -> dict[str, str]:
    """What `derived_card` told in a folder's card, beside base model and licence; nothing of another card."""
    table = (_card(folder) or "").partition("\n| | |\n|---|---|\n")[2]
    told = dict(re.findall(r"^\| (.+?) \| (.*) \|$", table, re.MULTILINE))
    return {name: value for name, value in told.items() if name not in ("base model", "licence")}


def licence_of(folder: Path) -> str | None:
    """The licence that the card in a checkpoint folder states, if there is one and it does."""
    return stated_licence(_card(folder))


def stated_licence(card: str | bytes | None) -> str | None:
    """The licence that a card states, if it does."""
    text = card.decode(errors="replace") if isinstance(card, bytes) else card or ""
    head = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    stated = re.search(r"^license:[ \t]*[\"']?([\w.+-]+)", head[1], re.MULTILINE) if head else None
    return stated[1] if stated else None


def _card(folder: Path) -> str | None:
    try:
        return (folder / "README.md").read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None
