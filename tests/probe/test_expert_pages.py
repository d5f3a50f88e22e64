"""The page of an expert against runs of the same records, counted by hand."""

from collections import Counter

import numpy as np
import pytest

import glmkit as gk
from glmkit.errors import DataError, RequestError

TEXTS = {"sums": ("2 + 3 = 5", "7 + 1 = 8 and 9"), "tales": ("a tale of old", "once upon a time <b>")}
RECORDS = [{"text": text, "kind": kind} for kind, texts in TEXTS.items() for text in texts]
LAYER = 2


@pytest.fixture(scope="module")
def runs(lm):
    keep = gk.keep("router", f"expert_out:{LAYER}")
    return [lm.run(lm.tokenizer.encode(record["text"]), keep=keep) for record in RECORDS]


@pytest.fixture(scope="module")
def expert(runs):
    """The busiest."""
    return int(sum(run.routing.load()[run.routing.row(LAYER)] for run in runs).argmax())


@pytest.fixture(scope="module")
def page(lm, expert):
    return gk.expert_page(lm, RECORDS, LAYER, expert, by="kind", count=3, batch_size=2, progress=False)


def test_it_counts_what_runs_show(page, runs, expert, lm):
    routes = [run.routing.at(layer=LAYER) for run in runs]
    has = [(own.ids == expert).any(-1) for own in routes]
    assert (page.tokens, page.chosen) == (sum(map(len, runs)), sum(own.sum() for own in has))
    weights = np.concatenate([own.weights[own.ids == expert] for own in routes])
    assert page.weight == pytest.approx(weights.mean(), rel=1e-5)  # rows side by side: sums in another order
    for kind, (one, other) in {"sums": (0, 1), "tales": (2, 3)}.items():
        assert page.share[kind] == pytest.approx(np.concatenate([has[one], has[other]]).mean())
    times = Counter(t for run, own in zip(runs, has, strict=True) for t in run.tokens.id[own].tolist())
    there = Counter(t for run in runs for t in run.tokens.id.tolist())
    assert [count for _, count, _ in page.top_tokens] == [count for _, count in times.most_common(3)]
    text, count, lift = page.top_tokens[0]
    (token,) = lm.tokenizer.encode(text)
    assert lift == pytest.approx(count / there[token] / (page.chosen / page.tokens))
    beside = np.bincount(np.concatenate([own.ids[h].ravel() for own, h in zip(routes, has, strict=True)]), minlength=8)
    load = np.bincount(np.concatenate([own.ids.ravel() for own in routes]), minlength=8)
    for partner, lift in page.partners:
        assert lift == pytest.approx(beside[partner] / max(1, load[partner] * page.chosen / page.tokens))
    assert expert not in dict(page.partners)


def test_contexts_are_the_highest_weights_one_of_a_record(page, runs, expert, lm):
    best = []
    for run in runs:
        own = run.routing.at(layer=LAYER)
        weights = np.where(own.ids == expert, own.weights, 0).max(-1)
        best.append((float(weights.max()), run.tokens.text[int(weights.argmax())], run.text))
    expected = sorted(best, reverse=True)[:3]
    assert [context.weight for context in page.contexts] == pytest.approx([weight for weight, *_ in expected], rel=1e-5)
    for context, (_, token, text) in zip(page.contexts, expected, strict=True):
        assert context.token == token
        assert context.before + context.token + context.after in text


def test_what_it_makes_likelier_is_its_mean_output_through_the_head(page, runs, expert, lm):
    outputs = [run["expert_out", LAYER][run.routing.at(layer=LAYER).ids == expert] for run in runs]
    scaled = np.concatenate(outputs).mean(0) * np.asarray(lm.model.norm.scale[...])
    logits = scaled @ np.asarray(lm.model.head[...])
    logits = logits - logits.mean()
    assert [logit for _, logit in page.promoted] == pytest.approx(np.sort(logits)[::-1][:3], rel=1e-3)
    assert [logit for _, logit in page.suppressed] == pytest.approx(np.sort(logits)[:3], rel=1e-3)


def test_it_is_shown_with_its_texts_escaped(page):
    shown = page._repr_html_()
    assert f"Layer {LAYER}, expert {page.expert} of tiny" in shown
    assert "&lt;" in shown
    assert " <b>" not in shown


def test_interventions_in_use_hold_and_what_there_is_not_is_told(lm, expert):
    with lm.using(gk.ablate(layer=LAYER, expert=expert)):
        assert gk.expert_page(lm, RECORDS, LAYER, expert, progress=False).chosen == 0
    with pytest.raises(RequestError, match="layer 0 is dense"):
        gk.expert_page(lm, RECORDS, 0, expert)
    with pytest.raises(RequestError, match="no expert 8"):
        gk.expert_page(lm, RECORDS, LAYER, 8)
    with pytest.raises(DataError, match="no records"):
        gk.expert_page(lm, [], LAYER, expert)
