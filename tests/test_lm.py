"""What one does with an LM: chat, batches, completion, scoring, saving, closing. Streams are in `test_stream`."""

import dataclasses
import functools
import gc
import sys

import numpy as np
import pytest

import glmkit as gk
from glmkit.errors import CheckpointError, ConfigError, RequestError, TokenizerError
from glmkit.generation_config import GenerationConfig
from glmkit.lm import LM
from glmkit.loading import resolve_source
from glmkit.resources import data_path
from tiny import CONFIG, model, small_model, tokenizer


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM(model(), tokenizer(), max_len=600)


def test_a_string_is_one_user_turn_and_the_result_says_what_the_model_saw(lm):
    done = lm.chat("hi", max_tokens=5, seed=1)
    assert done.prompt == "[gMASK]<sop><|user|>\nhi<|assistant|>"
    assert done.usage.prompt_tokens == len(tokenizer().encode(done.prompt))
    assert done.usage.completion_tokens == len(done.tokens) <= 5
    assert lm.chat([{"role": "user", "content": "hi"}], max_tokens=5, seed=1).tokens == done.tokens


def test_an_lm_of_another_model_is_served_as_this_one():
    lm = LM(model(), tokenizer(), max_len=60, reproducible=True, kv_memory=10**7, name="it")
    other = lm.with_model(model())
    assert (other._served, other.name, other.engine.max_len) == (lm._served, "it", 60)
    assert lm.with_model(model(), reproducible=False)._served != lm._served
    drafting = LM(small_model(mtp=True), tokenizer(), max_len=60, speculative_tokens=1)
    assert drafting.with_model(drafting.model, reproducible=True)._served["speculative_tokens"] == 0


def test_a_drawn_seed_is_in_the_result_and_reproduces_it(lm):
    one = lm.chat("hi", max_tokens=8, temperature=1.0)
    assert lm.chat("hi", max_tokens=8, temperature=1.0, seed=one.seed).tokens == one.tokens


def test_sampling_defaults_come_from_the_generation_config(lm):
    assert (lm.generation.temperature, lm.generation.top_p) == (0.6, 0.95)
    greedy = LM(model(), tokenizer(), max_len=600, generation=GenerationConfig(do_sample=False))
    assert greedy.chat("hi", max_tokens=6).tokens == lm.chat("hi", max_tokens=6, temperature=0).tokens


@pytest.mark.parametrize(
    ("thinking", "ending"),
    [
        ("enabled", ""),
        ("disabled", "\n<think></think>"),
        ("forced", "\n<think>"),
    ],
)
def test_thinking_modes_shape_the_prompt(lm, thinking, ending):
    assert lm.prompt("hi", thinking=thinking).endswith("<|assistant|>" + ending)
    assert lm.chat("hi", thinking=thinking, max_tokens=1, seed=0).prompt.endswith("<|assistant|>" + ending)


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_a_budget_is_exact(lm, budget):
    done = lm.chat("hi", thinking="forced", budget=budget, max_tokens=12, temperature=0)
    closing = lm.tokenizer.encode("\n</think>")
    assert list(done.tokens[budget : budget + 2]) == closing


def test_a_budget_closes_a_forced_thought(lm):
    done = lm.chat("hi", thinking="forced", budget=4, max_tokens=12, temperature=0)
    closing = [*tokenizer().encode("\n"), tokenizer().token_id("</think>")]
    assert list(done.tokens[4:6]) == closing
    assert [at for at, forced in enumerate(done.forced) if forced] == [4, 5]
    assert done.usage.reasoning_tokens == 6
    assert done.content
    with pytest.raises(RequestError, match="thinking is"):
        lm.chat("hi", thinking="disabled", budget=4)


def test_a_model_without_room_is_refused_and_has_no_more_to_say(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    with pytest.raises(ConfigError, match="max_len"):
        LM(model(), tokenizer(), max_len=0)
    gc.collect()
    assert not said


def test_a_link_to_nothing_among_the_files_of_a_checkpoint_is_named(lm, tmp_path):
    lm.save(tmp_path / "model")
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "model.safetensors", "config.json"):
        whole = (tmp_path / "model" / name).rename(tmp_path / "kept")
        (tmp_path / "model" / name).symlink_to("/nowhere/blob")
        with pytest.raises(CheckpointError, match=f"{name} is a link to /nowhere/blob, which is not there"):
            gk.load(tmp_path / "model")
        whole.replace(tmp_path / "model" / name)
    gk.load(tmp_path / "model")


def test_a_batch_keeps_order_and_one_failure_does_not_lose_the_rest(lm):
    conversations = ["one", [{"role": "nobody", "content": "x"}], "three", "x" * 700]
    results = lm.chat_batch(conversations, max_tokens=4, temperature=0, progress=False)
    assert [r.finish_reason == "error" for r in results] == [False, True, False, True]
    assert "nobody" in str(results[1].error)
    assert results[2].tokens == lm.chat("three", max_tokens=4, temperature=0).tokens


def test_a_conversation_that_what_is_in_use_does_not_fit_loses_no_other(lm):
    run = lm.run("one", max_tokens=2, thinking="disabled")
    with lm.using(gk.replay(run)):
        asked = {"max_tokens": 2, "temperature": 0, "thinking": "disabled", "progress": False}
        fits, other = lm.chat_batch(["one", "two"], **asked)
    assert fits.finish_reason != "error"
    assert isinstance(other.error, RequestError)


def test_a_conversation_whose_tools_cannot_be_followed_loses_no_other(lm):
    deep = functools.reduce(lambda schema, _: {"type": "array", "items": schema}, range(400), {})
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": deep}}}
    fits, other = lm.chat_batch(["one", {"messages": "two", "tools": [tool]}], max_tokens=2, progress=False)
    assert fits.finish_reason != "error"
    assert "tool 'f', parameter 'x'" in str(other.error)


def test_samples_take_a_seed_of_numpy(lm):
    asked = {"n": 2, "max_tokens": 3}
    ours, theirs = (lm.chat("hi", seed=seed, **asked) for seed in (np.int32(7), 7))
    assert [each.tokens for each in ours] == [each.tokens for each in theirs]


@pytest.mark.parametrize("setting", [{"budget": -1}, {"seed": -1}, {"top_p": 2.0}, {"thinking": "loud"}])
def test_what_is_wrong_for_a_whole_batch_is_told_at_once(lm, setting):
    (name,) = setting
    with pytest.raises(RequestError, match=name):
        lm.chat_batch(["one", "two"], progress=False, **setting)


def test_a_batch_takes_the_settings_of_chat(lm):
    tools = [{"type": "function", "function": {"name": "f"}}]
    (without,) = lm.chat_batch(["hi"], tools=tools, tool_choice="none", max_tokens=2, temperature=0, progress=False)
    assert without.prompt == lm.prompt("hi")
    (refused,) = lm.chat_batch(["hi"], tool_choice="required", progress=False)
    assert "tool_choice" in str(refused.error)


def test_a_conversation_of_a_batch_may_bring_its_own_tools_and_mode(lm):
    tools = [{"name": "add", "parameters": {"type": "object", "properties": {}}}]
    records = [{"messages": "hi", "tools": tools}, {"messages": "hi", "thinking": "forced"}, "hi", {"tools": tools}]
    one, two, three, wrong = lm.chat_batch(records, max_tokens=2, temperature=0, progress=False)
    assert one.prompt == lm.prompt("hi", tools=tools)
    assert two.prompt == lm.prompt("hi", thinking="forced")
    assert three.prompt == lm.prompt("hi")
    assert "expected messages" in str(wrong.error)


def test_logprobs_are_those_of_the_whole_forward_pass(lm):
    tokens = np.random.default_rng(0).integers(0, 256, (2, 7))
    logits = np.asarray(model().logits(model()(tokens.astype(np.int32)).hidden), np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(expected[:, :-1], tokens[:, 1:, None], -1)[..., 0]
    # float32 log-softmax against float64, over 320 logits of order 1.
    np.testing.assert_allclose(lm.logprobs(tokens), expected, atol=1e-5)


def test_saving_gives_a_folder_that_loads_to_the_same_answers(lm, tmp_path):
    lm.save(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert {"generation_config.json", "README.md"} <= names
    assert f"{model().num_parameters:,} parameters" in (tmp_path / "out" / "README.md").read_text()
    again = gk.load(tmp_path / "out", max_len=600)
    assert again.chat("hi", max_tokens=6, seed=3).tokens == lm.chat("hi", max_tokens=6, seed=3).tokens
    with pytest.raises(CheckpointError, match="exists"):
        lm.save(tmp_path / "out")


def test_what_says_what_a_model_is_goes_along_when_it_is_saved(lm, tmp_path):
    lm.save(tmp_path / "in", card=b"# A card\n")
    (tmp_path / "in/LICENSE").write_text("MIT")
    gk.load(tmp_path / "in", max_len=600).save(tmp_path / "out")
    for name in ("README.md", "LICENSE"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()


def test_a_card_is_text_or_its_bytes(lm, tmp_path):
    for name, card in {"text": "# Größe", "bytes": "# Größe".encode()}.items():
        lm.save(tmp_path / name, card=card)
        assert (tmp_path / name / "README.md").read_text(encoding="utf-8") == "# Größe"
    with pytest.raises(CheckpointError, match=r"README\.md is of type int; expected its bytes"):
        lm.save(tmp_path / "number", card=3)
    assert not (tmp_path / "number").exists()


def test_stop_tokens_beyond_the_vocabulary_are_told():
    with pytest.warns(UserWarning, match=rf"eos_token_id names \[9999\], but the vocabulary has {CONFIG.vocab_size}"):
        LM(model(), tokenizer(), generation=GenerationConfig(eos_token_id=(1, 9999)), max_len=600)


def test_a_folder_without_a_tokenizer_still_scores(tmp_path):
    gk.save_hf(model(), tmp_path / "bare")
    bare = gk.load(tmp_path / "bare", max_len=600)
    assert bare.logprobs([[1, 2, 3]]).shape == (1, 2)
    with pytest.raises(RequestError, match=r"no tokenizer"):
        bare.chat("hi")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: lm.chat("hi", max_tokens=0), "max_tokens is 0"),
        (lambda lm: lm.chat("hi", max_tokens=100_000), "exceed the context of 600 tokens by"),
        (lambda lm: lm.chat("x" * 1000), "exceed the context"),
        (lambda lm: lm.chat("hi", temperature=-1), "temperature is -1"),
        (lambda lm: lm.chat("hi", thinking="maybe"), "thinking"),
        (lambda lm: lm.chat([{"role": "wizard", "content": "x"}]), "wizard"),
        (lambda lm: lm.chat("hi", tools=[{"type": "function", "function": {}}]), "name"),
        (lambda lm: lm.chat("hi", tool_choice="required"), "tool_choice"),
        (lambda lm: lm.chat("hi", stop=[""]), "stop"),
        (lambda lm: lm.chat("hi", stop=[str(n) for n in range(17)]), "stop"),
        (lambda lm: lm.chat("hi", n=2, seed=-1), "seed is -1"),
        (lambda lm: lm.chat("hi", n=2, seed="x"), "seed is 'x'"),
        (lambda lm: lm.complete([1, 10**6]), "holds 1000000; expected token ids"),
        (lambda lm: lm.logprobs([[1]]), "length >= 2"),
        (lambda lm: lm.logprobs(np.zeros((0, 5), int)), "batch, length >= 2"),
    ],
)
def test_a_wrong_request_is_named_before_anything_is_computed(lm, call, message):
    with pytest.raises(RequestError, match=message):
        call(lm)


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("max_tokens", [0, -1, 1.5, "8", True, float("nan")]),
        ("temperature", [-1, float("nan"), float("inf"), "hot", [1]]),
        ("top_p", [0, 1.1, "x", float("nan")]),
        ("top_k", [-1, 1.5, "x", 2**40]),
        ("min_p", [-1, 2, "x"]),
        ("repetition_penalty", [0, -1, "x", float("inf"), float("nan")]),
        ("seed", [-1, 2**32, 1.5, "x"]),
        ("stop", [3, [1], [""], {"a": 1}]),
        ("stop_ids", [3, ["a"], [-1], [10**6], [1.5], "ab"]),
        ("budget", [-1, 1.5, "x"]),
        ("thinking", ["maybe", 3, np.array([1, 2]), {"type": None}]),
        ("tool_choice", ["required", 3]),
        ("tools", ["x", 3, [{}], [3]]),
    ],
)
def test_a_setting_of_any_other_kind_is_refused_by_name(lm, setting, values):
    for value in values:
        with pytest.raises(RequestError, match=rf"{setting}\b"):
            lm.chat("hi", **{setting: value})


@pytest.mark.parametrize("tokens", [[1, 2], [[1]], [[1, 2], [3]], [[1, 10**6]], [[1, -1]], [[1.0, 2.0]], "abc"])
def test_scoring_refuses_what_are_no_rows_of_its_tokens(lm, tokens):
    with pytest.raises(RequestError, match="tokens"):
        lm.logprobs(tokens)


def test_a_setting_that_does_not_exist_is_told_with_the_one_meant(lm):
    for ask in (lm.chat, lm.complete, lambda prompt, **settings: lm.chat_batch([prompt], **settings)):
        with pytest.raises(RequestError, match="no setting temprature; did you mean temperature"):
            ask("hi", temprature=1)
    with pytest.raises(RequestError, match="no setting call_ids"):
        lm.chat("hi", call_ids="x")
    with pytest.raises(RequestError, match="no setting thinking"):
        lm.complete("hi", thinking="forced")


def test_token_ids_may_come_from_any_iterable_but_bytes(lm):
    asked = {"max_tokens": 3, "temperature": 0}
    given, drawn = lm.complete([97, 98], **asked), lm.complete(iter([97, 98]), **asked)
    assert (drawn.prompt, drawn.tokens) == (given.prompt, given.tokens)
    with pytest.raises(RequestError, match="the prompt is b'ab'"):
        lm.complete(b"ab")


@pytest.mark.parametrize(("prompt", "suffix"), [("a", 5), ([97], "b")])
def test_what_is_to_be_filled_is_between_two_texts(lm, prompt, suffix):
    with pytest.raises(RequestError, match="suffix"):
        lm.complete(prompt, suffix)


@pytest.mark.parametrize("prompt", [None, 3, [], [1.5], [10**6], ["a"]])
def test_completion_refuses_what_is_no_prompt(lm, prompt):
    with pytest.raises(RequestError, match="prompt"):
        lm.complete(prompt)


@pytest.mark.parametrize("text", ["\ud800", "caf\udce9"])
def test_text_that_is_no_unicode_is_refused(lm, text):
    with pytest.raises(RequestError, match="not valid Unicode at character"):
        lm.chat(text)


def test_a_batch_is_a_list_of_conversations(lm):
    with pytest.raises(RequestError, match="expected a list of conversations, got str"):
        lm.chat_batch("hi")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_len", 0),
        ("max_len", 1.5),
        ("max_len", "x"),
        ("dtype", "float7"),
        ("dtype", "int8"),
        ("dtype", "float8_e4m3fn"),
        ("dtype", "float64"),
        ("layers", 3),
        ("layers", slice(9, 9)),
        ("layers", slice("a")),
        ("layers", slice(None, None, 0)),
        ("layers", slice(None, None, -1)),
        ("mesh", 3),
    ],
)
def test_loading_refuses_an_option_by_name(option, value):
    with pytest.raises(gk.errors.GLMKitError, match=option):
        gk.load("nano", **{option: value})


@pytest.mark.parametrize("name", [None, 3])
def test_what_names_no_model_is_refused(name):
    with pytest.raises(CheckpointError, match="names no model"):
        gk.load(name)


def test_a_tokenizer_larger_than_the_embedding_is_refused():
    small = gk.GLM(dataclasses.replace(CONFIG, vocab_size=256), rngs=None)
    with pytest.raises(TokenizerError, match="256"):
        LM(small, tokenizer())


def test_a_bundled_name_is_not_taken_for_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_source("nano") == data_path("checkpoints/glm-nano")
    assert resolve_source("./nano").resolve() == tmp_path / "nano"
