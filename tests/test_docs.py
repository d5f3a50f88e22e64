"""What the documentation tells readers to type works as it stands; on a model that compiles sooner than glm-nano."""

import re
from pathlib import Path

import pytest

import glmkit as gk
from glmkit import loading
from glmkit.resources import data_path
from tiny import tokenizer, two_layers

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [page for part in ("how-to", "explanation") for page in sorted((DOCS / part).glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]*)\)")
CODE = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


@pytest.fixture
def nano(tmp_path, monkeypatch):
    gk.LM(two_layers(), tokenizer()).save(tmp_path / "nano")
    monkeypatch.setattr(loading, "data_path", lambda _: tmp_path / "nano")


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, nano, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.parametrize("notebook", sorted(data_path("notebooks").glob("*.py")), ids=lambda path: path.stem)
def test_every_notebook_is_a_tutorial(notebook):
    assert f"tutorials/{notebook.stem}.md" in (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_picture_is_there_and_the_widgets_have_some():
    shown = [(page, place) for page in DOCS.rglob("*.md") for place in PICTURE.findall(page.read_text("utf-8"))]
    assert {place for page, place in shown if not (page.parent / place).is_file()} == set()
    assert sum(page.name == "widgets.md" for page, _ in shown) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_is_in_the_navigation(page):
    assert str(page.relative_to(DOCS)) in (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
