"""The code that widgets copy: it runs, and asks what they asked, with the same tools, formats and interventions."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

import glmkit as gk
from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.widgets.code import Source
from tiny import CONFIG, randomised, tokenizer

JSON = {"type": "json_object"}
SETTINGS = {"max_tokens": 12, "temperature": 1.0}


def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


@pytest.fixture(scope="module")
def roomy():
    """With room for what is said about tools, byte by byte."""
    config = dataclasses.replace(CONFIG, num_hidden_layers=2, max_position_embeddings=1400)
    with LM(randomised(GLM(config, rngs=nnx.Rngs(0))), tokenizer(), name="roomy", loaded={"name": "roomy"}) as opened:
        yield opened


def ran(code, lm, monkeypatch):
    """The names that are there once it has run, for an LM of this name."""
    monkeypatch.setattr(gk, "load", lambda name: {lm.name: lm}[name])
    names = {}
    exec(code, names)
    return names


def test_thoughts_of_a_model_with_tools_go_on_in_code_too(roomy, monkeypatch):
    tools, settings = [double], {**SETTINGS, "stop_ids": np.array([5]), "top_p": np.float32(0.9)}
    asked = {"modes": ["forced"], "seeds": [14], "tools": tools, "tool_choice": "auto"}
    explorer = gk.widgets.ThinkingExplorer(roomy, "hi", **asked, **settings)
    explorer.edit("so", attempt=0)
    explorer.wait()
    explorer.cut(explorer.attempts[1].turn.first, attempt=1, close=True)
    explorer.wait()
    assert explorer.attempts[0].run.asked["tools"] == [gk.text.function_schema(double)]
    for number, attempt in enumerate(explorer.attempts):
        explorer.select(number)
        names = ran(explorer._code, roomy, monkeypatch)
        assert names["run"].tokens.id.tolist() == attempt.run.tokens.id.tolist()


def test_thoughts_of_a_json_answer_go_on_in_code_too(lm, monkeypatch):
    explorer = gk.widgets.ThinkingExplorer(lm, "hi", modes=["forced"], seeds=[14], response_format=JSON, **SETTINGS)
    explorer.cut(explorer.attempts[0].turn.first, attempt=0)
    explorer.wait()
    assert ran(explorer._code, lm, monkeypatch)["run"].tokens.id.tolist() == explorer.run.tokens.id.tolist()


def test_interventions_are_those_that_each_thought_was_written_with(lm, monkeypatch, capsys):
    explorer = gk.widgets.ThinkingExplorer(
        lm, "hi", modes=["forced"], seeds=[14], interventions=gk.scale_shared(-1.0), **SETTINGS
    )
    first = explorer.attempts[0].turn.first
    explorer.interventions = gk.scale_shared(0.25, layer=2)
    with lm.using(gk.ablate(layer=1, expert=[0, 1], how="drop")):
        explorer.cut(first, attempt=0)
        explorer.wait()
    explorer.interventions = None
    explorer.cut(first + 1, attempt=1)
    explorer.wait()
    for number, attempt in enumerate(explorer.attempts):
        explorer.select(number)
        run = ran(explorer._code, lm, monkeypatch)["run"]
        assert run.interventions == attempt.run.interventions == str(attempt.plan)
        assert run.tokens.id.tolist() == attempt.run.tokens.id.tolist()
    explorer.interventions = gk.replay(lm.run("hi", thinking="forced"))
    explorer.ask("hi")
    explorer.wait()
    capsys.readouterr()
    ran(explorer._code, lm, monkeypatch)
    assert f"plan is without {explorer.interventions}" in capsys.readouterr().out


def test_a_probe_is_run_with_its_tools_and_what_was_in_use(roomy, lm, monkeypatch, capsys):
    probe = gk.widgets.RoutingProbe(roomy, "hi", tools=[double], max_tokens=4, seed=1)
    assert ran(probe._code, roomy, monkeypatch)["run"].tokens.id.tolist() == probe.run.tokens.id.tolist()
    plan = gk.scale_shared(-1.0)
    with lm.using(plan):
        probe = gk.widgets.RoutingProbe(lm, np.array([5, 6, 7]), max_tokens=4, seed=1)
        probe.change("bias", 1, int(probe.run.routing.load()[0].argmax()), by=-1 / 3)
        probe.regenerate()
        probe.wait()
    names = ran(probe._code, lm, monkeypatch)
    for name, run in (("run", probe.run), ("alt", probe.alternative)):
        assert names[name].interventions == run.interventions
        assert names[name].tokens.id.tolist() == run.tokens.id.tolist()
    given = gk.widgets.RoutingProbe(lm, run=lm.run("hi", interventions=plan))
    ran(given._code, lm, monkeypatch)
    assert "this is without scale_shared(-1, layer=all)" in capsys.readouterr().out


def test_weights_that_no_checkpoint_gives_are_not_loaded_in_their_place(tmp_path):
    """Trained ones keep the name of what they began as."""
    folder = str(tmp_path / "model")
    with LM(randomised(GLM(CONFIG, rngs=nnx.Rngs(0))), tokenizer()) as made:
        assert made.loaded is None
        made.save(folder)
    with gk.load(folder, max_len=300, layers=slice(0, 2)) as lm:
        assert Source.of(lm).line == f"lm = gk.load({folder!r}, max_len=300, layers=slice(0, 2, None))"
        trained = lm.with_model(randomised(GLM(lm.config, rngs=nnx.Rngs(1), layer_numbers=(0, 1), mtp=None)))
        run = trained.run("hi", max_tokens=3, temperature=0.0)
        codes = [
            gk.widgets.RoutingProbe(trained, run=run)._code,
            gk.widgets.ThinkingExplorer(trained)._code,
            gk.widgets.CacheExplorer(trained)._code,
            gk.widgets.Chat(trained).code("glmkit"),
        ]
        for code in codes:
            assert f"# lm is the model that this was made with, {folder}, whose weights are its own" in code
            assert "gk.load" not in code
        names = {"lm": trained}
        exec(codes[0], names)
        assert names["run"].tokens.id.tolist() == run.tokens.id.tolist()
        lm.model.embed[...] = lm.model.embed[...] * 2
        assert lm.loaded is None


def test_the_film_is_of_the_bundled_weights_alone():
    with gk.load("nano", max_len=64) as nano, nano.with_model(nano.model) as other:
        assert gk.widgets.RoutingProbe(nano)._history is not None
        assert gk.widgets.RoutingProbe(nano)._code.splitlines()[2] == "lm = gk.load('nano', max_len=64)"
        assert gk.widgets.RoutingProbe(other)._history is None


def test_a_request_is_asked_with_what_was_in_use(lm, monkeypatch):
    explorer = gk.widgets.CacheExplorer(lm, max_tokens=4)
    with lm.using(gk.scale_shared(-1.0)):
        explorer.ask("hi", stop_ids=np.array([5]))
        explorer.wait()
    explorer.fork(" and", context=explorer.requests[0].ids)
    explorer.wait()
    names = ran(explorer._code, lm, monkeypatch)
    for number, request in enumerate(explorer.requests):
        assert names[f"done{number}"].tokens == request.completion.tokens
