"""GenerationConfig: what a checkpoint states, what is recommended instead, and the way back."""

import json
from dataclasses import replace

import pytest

from glmkit.config import GLMConfig
from glmkit.errors import ConfigError
from glmkit.generation_config import GenerationConfig

AIR = GLMConfig.preset("glm-4.5-air")


@pytest.mark.parametrize(("name", "temperature"), [("glm-4.5", 0.6), ("glm-4.5-air", 0.6), ("glm-4.6", 1.0)])
def test_without_a_file_the_recommended_settings_apply(name, temperature, tmp_path):
    generation = GenerationConfig.from_hf(tmp_path, GLMConfig.preset(name))
    assert generation.temperature == temperature
    assert generation.top_p == 0.95
    assert generation.do_sample
    assert generation.eos_token_id == (151_329, 151_336, 151_338)
    assert generation.to_hf() == {
        "do_sample": True,
        "eos_token_id": [151_329, 151_336, 151_338],
        "pad_token_id": 151_329,
        "temperature": temperature,
        "top_p": 0.95,
    }


def test_a_file_is_read_and_written_back_unchanged(tmp_path):
    hf = {"_from_model_config": True, "top_p": 0.8, "eos_token_id": 7, "pad_token_id": None, "top_k": 40}
    (tmp_path / "generation_config.json").write_text(json.dumps(hf))
    generation = GenerationConfig.from_hf(tmp_path, AIR)
    assert generation.top_p == 0.8
    assert generation.eos_token_id == (7,)
    assert generation.temperature == 0.6
    assert generation.pad_token_id == 151_329
    assert generation.extra == {"_from_model_config": True, "top_k": 40}
    assert json.dumps(generation.to_hf()) == json.dumps(hf)
    assert replace(generation, temperature=0.9).to_hf() == {**hf, "temperature": 0.9}


@pytest.mark.parametrize(
    ("hf", "message"),
    [
        ({"temperature": -1}, "temperature is -1; expected a number of at least 0"),
        ({"temperature": 10**400}, "temperature is 10+; expected a number of at least 0"),
        ({"repetition_penalty": 10**400}, "repetition_penalty is 10+; expected a positive number"),
        ({"top_p": 0}, "top_p is 0; expected a number above 0"),
        ({"do_sample": "yes"}, "do_sample is 'yes'; expected true or false"),
        ({"eos_token_id": [1, "x"]}, "eos_token_id is .*expected a token id"),
    ],
)
def test_impossible_settings_are_refused_by_name(hf, message, tmp_path):
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(hf))
    with pytest.raises(ConfigError, match=message) as refusal:
        GenerationConfig.from_hf(tmp_path, AIR)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    "wrong", [{"top_k": "x"}, {"top_k": -5}, {"repetition_penalty": 0}, {"repetition_penalty": []}]
)
def test_sampling_settings_of_another_kind_are_named_when_read(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GenerationConfig.from_hf(wrong, GLMConfig.preset("glm-4.5"))
    assert GenerationConfig.from_hf(dict.fromkeys(wrong), GLMConfig.preset("glm-4.5")).temperature == 0.6
