"""Puts the notebooks into the docs as tutorials, so that their sources stay the only copy: a hook of mkdocs."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOKS = Path(__file__).parent / "notebooks"
CELL = re.compile(r"^# %%(.*)\n", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """A page for each notebook, as `tutorials/NAME.md`."""
    for source in sorted(NOTEBOOKS.glob("*.py")):
        page = tutorial(source.read_text(encoding="utf-8"), source.stem)
        files.append(File.generated(config, f"tutorials/{source.stem}.md", content=page))
    return files


def tutorial(source: str, name: str) -> str:
    """The Markdown of a notebook in percent format: its text as it stands, its code as blocks."""
    _, *cells = CELL.split(source)
    parts = []
    for kind, body in zip(cells[::2], cells[1::2], strict=True):
        if "[markdown]" in kind:
            parts.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        else:
            parts.append(f"```python\n{body.strip()}\n```")
    title, *rest = parts[0].split("\n", 1)
    about = f"*The notebook `{name}.ipynb`: `glmkit lab` opens it with the others.*"
    return "\n\n".join([title, about, *(part.strip() for part in rest), *parts[1:]]) + "\n"
