"""The page that a routing probe exports: whole, or as much of it as there is room for, and nothing from outside."""

import base64
import json
import re
import zlib

import glmkit as gk
from glmkit.widgets.base import assets
from glmkit.widgets.export import LIMIT, routing_page
from glmkit.widgets.packing import Message
from glmkit.widgets.routing_probe import ESM
from made import big_run
from widgets.test_routing_probe import SETTINGS


def data_of(page: str):
    """What it shows, as its script reads it."""
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


def test_the_page_needs_nothing_from_outside(lm, tmp_path):
    probe = gk.widgets.RoutingProbe(lm, "hi", **SETTINGS)
    probe.change("ablate", 2, int(probe.run.routing.load()[1].argmax()))
    probe.regenerate()
    probe.wait()
    page = probe.export(tmp_path / "probe.html").read_text()
    assert len(page.encode()) <= LIMIT
    assert set(re.findall(r"https?://[^\s\"'<)]*", page)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(import|export)\b\s*[\w{*(]", page.split('<script type="module">')[1])
    data = data_of(page)
    said = {message["kind"]: message for message in data["messages"]}
    ids = zlib.decompress(base64.b64decode(said["run"]["buffers"][0]))
    assert ids == probe.run.routing.ids.tobytes()
    assert said["effect"]["changed_routes"] == probe.effect.changed_routes


def test_no_text_of_a_run_ends_or_hides_what_comes_after_it_in_the_page(lm):
    text = "<!-- <script> </script> ]]>"
    probe = gk.widgets.RoutingProbe(lm, text, max_tokens=1, thinking="disabled")
    data = probe._page().split('id="data">')[1].split("</script>")[0]
    assert "<" not in data  # of which "<!--" and "<script" are made
    (run,) = (message for message in json.loads(data)["messages"] if message["kind"] == "run")
    assert text in "".join(run["text"])


def test_the_page_of_a_long_run_says_what_was_left_out():
    page = routing_page(assets(*ESM), assets("style.css"), {}, big_run(4096, 92, 160, 8), None, None)
    assert LIMIT / 2 < len(page.encode()) <= LIMIT
    assert re.search(r"weights and all but the first \d+ of 4096 tokens were left out", page)


def test_a_page_that_is_cut_says_that_it_compares_nothing_and_brushes_what_it_has():
    run, effect = big_run(4096, 92, 160, 8), Message({"changed": "ablate"}, [])

    def page(brush, run=run):
        return routing_page(
            assets(*ESM), assets("style.css"), {"_selection": {"brush": brush, "layer": 3}}, run, effect, None
        )

    cut = data_of(page([5, 4000]))
    kinds = {message["kind"]: message for message in cut["messages"]}
    length = len(kinds["run"]["text"])
    assert length < 4000
    assert "effect" not in kinds
    told = f"weights, the comparison with the changed run and all but the first {length} of 4096 tokens were left out"
    assert told in kinds["about"]["note"]
    assert cut["traits"]["_selection"] == {"brush": [5, length], "layer": 3}
    assert data_of(page([length, 4000]))["traits"]["_selection"]["brush"] is None
    whole = data_of(page([5, 9], big_run(20, 3, 8, 2)))
    assert whole["traits"]["_selection"]["brush"] == [5, 9]
    assert [message["kind"] for message in whole["messages"]] == ["about", "run", "effect"]
    assert whole["messages"][0]["note"] == ""
