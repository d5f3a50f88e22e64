"""The loss: that of all logits at once, whatever the chunks, the packing and the split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from glmkit.train import loss as loss_module
from glmkit.train.data import Batch
from glmkit.train.loss import cross_entropy_sum, loss_sums, targets_ahead
from tiny import model


def batch(rows: int = 3, length: int = 25) -> Batch:
    rng = np.random.default_rng(0)
    segments = np.sort(rng.integers(-1, 3, (rows, length)), axis=1)[:, ::-1]
    return Batch(
        jnp.asarray(rng.integers(0, 256, (rows, length)), jnp.int32),
        jnp.asarray(rng.random((rows, length)) < 0.7),
        jnp.asarray(segments, jnp.int32),
    )


def all_at_once(hidden, table, targets, tied):
    logits = hidden @ (table.T if tied else table)
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets.tokens[..., None], -1)[..., 0]
    return jnp.where(targets.counted, nats, 0).sum()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("chunk", [1, 12, 1000])
def test_chunks_change_neither_the_loss_nor_its_gradients(tied, chunk, monkeypatch):
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", chunk)
    rng = np.random.default_rng(1)
    targets = targets_ahead(batch(), 1)
    hidden = jnp.asarray(rng.standard_normal((3, 25, 8)), jnp.float32)
    table = jnp.asarray(rng.standard_normal((300, 8) if tied else (8, 300)), jnp.float32)

    def chunked(hidden, table):
        return cross_entropy_sum(hidden, table, targets, tied=tied)

    expected, gradients = jax.value_and_grad(lambda h, t: 3 * all_at_once(h, t, targets, tied), (0, 1))(hidden, table)
    got, got_gradients = jax.value_and_grad(lambda h, t: 3 * chunked(h, t), (0, 1))(hidden, table)
    # float32 sums of 50 terms in another order
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    for ours, theirs in zip(got_gradients, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    np.testing.assert_allclose(jax.grad(chunked)(hidden, table), gradients[0] / 3, atol=1e-5)  # a frozen table


def test_memory_does_not_grow_with_length_times_vocabulary():
    """The logits of 16 times as many tokens are never held: what a step needs beside its arguments grows by less."""

    def temporary(length: int) -> int:
        hidden, table = jax.ShapeDtypeStruct((2, length, 8), jnp.float32), jax.ShapeDtypeStruct((8, 5000), jnp.float32)
        targets = jax.eval_shape(lambda b: targets_ahead(b, 1), batch(2, length))
        compiled = jax.jit(jax.grad(cross_entropy_sum, (0, 1)), static_argnames="tied").lower(
            hidden, table, targets, tied=False
        )
        return compiled.compile().memory_analysis().temp_size_in_bytes

    assert temporary(8192) < 1.5 * temporary(512)


def test_no_target_comes_from_another_example():
    targets = targets_ahead(
        Batch(jnp.array([[1, 2, 3, 4, 5, 0]]), jnp.array([[True] * 5 + [False]]), jnp.array([[0, 0, 1, 1, 1, -1]])),
        2,
    )
    assert targets.tokens.tolist()[0][:4] == [0, 0, 5, 0]
    assert targets.counted.tolist() == [[False, False, True, False, False, False]]


def test_packed_examples_have_the_loss_they_have_alone():
    rng = np.random.default_rng(2)
    parts = [rng.integers(0, 256, n) for n in (9, 5, 7)]

    def rows(examples) -> Batch:
        width = max(sum(map(len, row)) for row in examples)
        made = Batch(
            np.zeros((len(examples), width), np.int32),
            np.zeros((len(examples), width), bool),
            np.full((len(examples), width), -1, np.int32),
        )
        for row, parts_of_row in enumerate(examples):
            at = 0
            for segment, tokens in enumerate(parts_of_row):
                here = slice(at, at + len(tokens))
                made.tokens[row, here], made.learned[row, here], made.segment_ids[row, here] = tokens, True, segment
                at += len(tokens)
        return Batch(*map(jnp.asarray, made))

    packed = loss_sums(model(), rows([parts]), second=True)
    alone = loss_sums(model(), rows([[part] for part in parts]), second=True)
    for ours, theirs in zip(packed[:2], alone[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)  # float32, sums in another order
    np.testing.assert_array_equal(packed.load, alone.load)


def test_the_loss_is_that_of_the_models_own_logits():
    b, network = batch(), model()
    out = network(b.tokens, segment_ids=b.segment_ids)
    one, two = targets_ahead(b, 1), targets_ahead(b, 2)

    def nats(logits, targets):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets.tokens[..., None], -1)[..., 0]
        return -jnp.where(targets.counted, chosen, 0).sum()

    sums = loss_sums(network, b, second=True)
    ahead = network.predict_second(out.hidden, one.tokens, segment_ids=b.segment_ids)
    np.testing.assert_allclose(sums.next_token, nats(network.logits(out.hidden), one), rtol=1e-5)
    np.testing.assert_allclose(sums.second_token, nats(network.mtp_logits(ahead.hidden), two), rtol=1e-5)
    assert sums.load.shape == (3, 8)  # two layers of the model, then the multi-token-prediction layer's


@pytest.mark.parametrize("length", [1, 25])
def test_a_single_row_trains(length):
    lone = batch(1, length)

    def loss(params, graph, rest):
        sums = loss_sums(nnx.merge(graph, params, rest), lone, second=True)
        return sums.next_token + sums.second_token

    graph, params, rest = nnx.split(model(), nnx.Param, ...)
    gradients = jax.jit(jax.grad(loss), static_argnums=1)(params, graph, rest)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_gradients_reach_all_that_is_trained():
    graph, params, rest = nnx.split(model(), nnx.Param, ...)

    def total(params):
        sums = loss_sums(nnx.merge(graph, params, rest), batch(), second=True)
        return sums.next_token + sums.second_token

    gradients = jax.jit(jax.grad(total))(params)
    untouched = [path for path, g in nnx.to_flat_state(gradients) if not jnp.abs(g[...]).max() > 0]
    assert untouched == []
