"""What moves in a run of `fit` and what stays: adapters alone, all but what is frozen, what an objective names."""

import jax
import numpy as np
import pytest
from flax import nnx

from fitting import RECORDS, SETTINGS, leaves, same
from glmkit.errors import ConfigError
from glmkit.model import Buffer
from glmkit.train.data import TokenDataset
from glmkit.train.loop import fit
from glmkit.train.lora import LoRAParam, add_lora
from glmkit.train.step import Objective
from tiny import small_model as model, tokenizer


@pytest.fixture(scope="module")
def data() -> TokenDataset:
    return TokenDataset.encode(RECORDS, tokenizer(), 32)


def test_only_adapters_are_trained_where_there_are_any(data):
    adapted = add_lora(model(), 2, rngs=nnx.Rngs(0))
    after = fit(adapted, data, steps=2, **SETTINGS).run().model
    for before, now in zip(leaves(nnx.state(adapted, nnx.Param)), leaves(nnx.state(after, nnx.Param)), strict=True):
        np.testing.assert_array_equal(before, now)
    assert not same(nnx.state(adapted, LoRAParam), nnx.state(after, LoRAParam))


def test_adapters_learn_with_the_biases_as_they_are_and_those_of_the_prediction_layer_too(data):
    adapted = add_lora(model(True), 2, mtp=True, rngs=nnx.Rngs(0))
    run = fit(adapted, data, objective=Objective(bias_rate=0.1), steps=2, **SETTINGS).run()
    assert same(nnx.state(adapted, Buffer), nnx.state(run.model, Buffer))
    for before, now in zip(*(jax.tree.leaves(nnx.state(m.mtp, LoRAParam)) for m in (adapted, run.model)), strict=True):
        assert (np.asarray(before) != np.asarray(now)).any()
    assert run.objective.mtp_weight == Objective().mtp_weight
    assert not fit(add_lora(model(True), 2, rngs=nnx.Rngs(0)), data, steps=2, **SETTINGS).objective.mtp_weight


def test_frozen_parameters_stay(data):
    after = fit(model(), data, steps=2, freeze=("embed", "blocks.0.*"), **SETTINGS).run().model
    assert same(after.embed, model().embed)
    assert same(after.blocks[0], model().blocks[0])
    assert not same(after.blocks[1], model().blocks[1])
    with pytest.raises(ConfigError, match="freeze: 'attention' names nothing that training moves"):
        fit(model(), data, freeze=("attention",), **SETTINGS)
    with pytest.raises(ConfigError, match="there is nothing to train"):
        fit(model(), data, freeze="*", **SETTINGS)


@pytest.mark.parametrize("freeze", ["blocks", "blocks.*.router.bias"])
def test_correction_biases_of_what_is_frozen_stay(data, freeze):
    before, objective = model(mtp=True), Objective(bias_rate=0.1, balance_weight=0.0)
    after = fit(before, data, steps=1, objective=objective, freeze=freeze, **SETTINGS).run().model
    assert same(nnx.state(after.blocks, Buffer), nnx.state(before.blocks, Buffer))
    assert not same(nnx.state(after.mtp, Buffer), nnx.state(before.mtp, Buffer))


def test_an_objective_may_say_itself_what_moves(data):
    objective = Objective(trainable=nnx.PathContains("embed"))
    after = fit(model(), data, steps=1, objective=objective, freeze="head", **SETTINGS).run().model
    assert not same(after.embed, model().embed)
    assert same(nnx.state(after.blocks, nnx.Param), nnx.state(model().blocks, nnx.Param))
