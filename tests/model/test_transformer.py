"""The forward pass agrees with itself: chunked and whole, stacked and listed, packed or padded and alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from glmkit.errors import MeshError
from glmkit.model import GLM
from glmkit.parallel import mesh
from tiny import CONFIG, model

# Sums in another order: of the largest logit, about a hundred roundings of float32.
TOLERANCE = 1e-5


def assert_close(got, expected) -> None:
    expected = np.asarray(expected)
    np.testing.assert_allclose(got, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)


@jax.jit
def logits_of(model: GLM, tokens, segment_ids=None):
    return model.logits(model(tokens, segment_ids=segment_ids).hidden)


@jax.jit
def append(model: GLM, cache, tokens, segment_ids):
    out = model(tokens, segment_ids=segment_ids, cache=cache)
    return model.logits(out.hidden), out.cache


def random_tokens(rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CONFIG.vocab_size, (rows, length), np.int32)


@pytest.mark.parametrize("form", ["list", "stacked"])
@pytest.mark.parametrize("chunk", [1, 5, 12])
def test_any_chunking_with_a_cache_equals_one_forward_pass_for_unequal_lengths(form, chunk):
    network = model() if form == "list" else model().stacked()
    tokens, lengths = random_tokens(3, 12), np.array([12, 3, 7])
    whole = np.asarray(logits_of(model(), tokens))
    cache, together = network.empty_cache(3, 20), np.empty_like(whole)
    for start in range(0, 12, chunk):
        piece = tokens[:, start : start + chunk]
        steps = start + np.arange(piece.shape[1])
        segments = np.where(steps < lengths[:, None], 0, -1).astype(np.int32)
        got, cache = append(network, cache, piece, segments)
        together[:, start : start + chunk] = got
    for row, length in enumerate(lengths):
        assert_close(together[row, :length], whole[row, :length])
    np.testing.assert_array_equal(cache.length, lengths)


def test_a_cache_reads_beyond_its_first_block_of_keys():
    tokens = random_tokens(1, 300)
    got, _ = append(model(), model().empty_cache(1, 300), tokens, np.zeros((1, 300), np.int32))
    assert_close(got, logits_of(model(), tokens))


def test_stacked_and_listed_blocks_agree():
    tokens = random_tokens(2, 9)
    expected = np.asarray(logits_of(model(), tokens))
    stacked = model().stacked()
    assert stacked.layer_counts == (1, 2)
    assert stacked.blocks[1].attention.q.axes[0] == "layers"
    assert_close(logits_of(stacked, tokens), expected)
    for one, other in zip(jax.tree.leaves(stacked.unstacked()), jax.tree.leaves(model()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_packed_segments_do_not_see_each_other():
    one, two = random_tokens(1, 5, seed=1), random_tokens(1, 4, seed=2)
    packed = np.concatenate([one, two, np.zeros((1, 2), np.int32)], axis=1)
    got = np.asarray(logits_of(model(), packed, np.array([[0] * 5 + [1] * 4 + [-1] * 2], np.int32)))
    assert_close(got[:, :5], logits_of(model(), one))
    assert_close(got[:, 5:9], logits_of(model(), two))


def test_left_padding_changes_nothing_and_is_not_counted_as_load():
    tokens = random_tokens(1, 6)
    padded = np.concatenate([np.full((1, 3), 7, np.int32), tokens], axis=1)
    segments = np.array([[-1] * 3 + [0] * 6], np.int32)
    got = np.asarray(logits_of(model(), padded, segments))
    assert_close(got[:, 3:], logits_of(model(), tokens))
    load = np.asarray(model()(padded, segment_ids=segments).load)
    assert load.shape == (2, CONFIG.n_routed_experts)
    np.testing.assert_array_equal(load.sum(axis=1), 6 * CONFIG.num_experts_per_tok)


def test_every_parameter_but_the_correction_bias_gets_a_gradient():
    tokens = random_tokens(2, 8)

    def loss(network):
        out = network(tokens)
        second = network.predict_second(out.hidden, tokens)
        return (network.logits(out.hidden) ** 2).mean() + (network.mtp_logits(second.hidden) ** 2).mean()

    gradient = jax.jit(jax.grad(loss))(model())
    silent = {path for path, v in nnx.to_flat_state(nnx.state(gradient)) if not np.any(np.asarray(v[...]))}
    assert {path[-1] for path in silent} == {"bias"}, silent
    assert len(silent) == 3  # two routed layers and the prediction layer


def test_a_gradient_taken_outside_jit_has_zeros_for_what_the_loss_leaves_out():
    """The head, multi-token prediction and correction biases of a loss over hidden states; JAX itself would raise."""
    tokens = random_tokens(2, 8)

    def loss(network):
        return (network(tokens).hidden ** 2).mean()

    gradient, compiled = jax.grad(loss)(model()), jax.jit(jax.grad(loss))(model())
    assert not np.any(np.asarray(gradient.head[...]))
    assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(gradient.mtp))
    # Float32 sums of two programs, in another order.
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(compiled), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6 * max(1.0, float(np.abs(other).max())))


def test_truncated_model_keeps_the_checkpoints_layer_numbers():
    part = GLM(CONFIG, rngs=None, layer_numbers=(0, 1), mtp=None)
    assert part.truncated
    assert len(part.blocks) == 2
    assert not model().truncated


def test_an_abstract_model_has_the_shapes_of_a_real_one_and_no_memory():
    abstract = GLM(CONFIG, rngs=None, stacked=True)
    real = model().stacked()
    for one, other in zip(jax.tree.leaves(abstract), jax.tree.leaves(real), strict=True):
        assert isinstance(one, jax.ShapeDtypeStruct)
        assert (one.shape, one.dtype, one.sharding) == (other.shape, other.dtype, other.sharding)


def test_a_mesh_that_does_not_divide_the_model_is_named():
    with pytest.raises(MeshError, match="needs 3 devices"):
        mesh(expert=3)
    three = jax.sharding.AbstractMesh((1, 3, 1, 1), ("data", "expert", "tensor", "seq"))
    with pytest.raises(MeshError, match=r"experts.* of size 8 does not split over mesh axis 'expert' of size 3"):
        GLM(CONFIG, rngs=None, mesh=three)


def test_predicting_without_the_layer_says_so():
    with pytest.raises(ValueError, match="no multi-token-prediction layer"):
        GLM(CONFIG, rngs=None, mtp=None).predict_second(jnp.zeros((1, 1, 32)), jnp.zeros((1, 1), jnp.int32))
