"""The example prompts: in every category that is promised, for any model and for the small one."""

import pytest

import glmkit as gk
from glmkit.errors import RequestError


def test_every_category_has_prompts_and_glm_nano_has_some():
    assert gk.examples.CATEGORIES == (
        "simple thinking", "moderate thinking", "difficult thinking", "web development", "assistant", "slides",
        "question answering", "translation", "content", "characters",
    )  # fmt: skip
    for category in gk.examples.CATEGORIES:
        assert len(gk.examples.of(category)) >= 2
    assert sum(example.nano for example in gk.examples.PROMPTS) >= 8
    assert len({example.title for example in gk.examples.PROMPTS}) == len(gk.examples.PROMPTS)


def test_an_example_is_a_conversation():
    for example in gk.examples.PROMPTS:
        prompt = gk.text.render(example.messages)
        assert prompt.endswith(f"<|user|>\n{example.prompt}<|assistant|>")
        assert bool(example.system) == ("<|system|>" in prompt)


def test_a_category_that_there_is_not_is_refused():
    with pytest.raises(RequestError, match="no examples of 'poetry'; expected one of simple thinking"):
        gk.examples.of("poetry")
