"""The sampling distribution against a plain NumPy reading of the definitions, and what may not change it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

from glmkit.engine.sampling import NEVER, Sampling, SamplingBatch, allowed, passed, sample, sampling_logits
from glmkit.errors import RequestError

filters = st.builds(
    Sampling,
    temperature=st.floats(0.1, 2.0),
    top_p=st.floats(0.05, 1.0),
    top_k=st.integers(0, 12),
    min_p=st.floats(0.0, 1.0),
)
compiled = jax.jit(sampling_logits)


def distribution(logits: np.ndarray, s: Sampling) -> np.ndarray:
    """Temperature, then top-k, top-p and min-p by their definitions, in float64."""
    p = np.exp(logits / s.temperature - (logits / s.temperature).max())
    order = np.argsort(-p, kind="stable")
    if s.top_k:
        p[order[s.top_k :]] = 0
    p /= p.sum()
    before = np.cumsum(p[order]) - p[order]
    if s.top_p < 1:
        p[order[1:][before[1:] >= s.top_p]] = 0
    p[p < s.min_p * p.max()] = 0
    return p / p.sum()


@given(filters, st.integers(0, 10_000))
def test_filters_equal_their_definitions(settings, seed):
    logits = np.random.default_rng(seed).normal(size=(1, 12)).astype(np.float32) * 3
    got = np.asarray(jax.nn.softmax(compiled(jnp.asarray(logits), SamplingBatch.of([settings])), axis=-1))[0]
    expected = distribution(logits[0].astype(np.float64), settings)
    # float32 against float64; a token whose cumulative mass is within a rounding of the threshold may go either way.
    near = np.abs(expected - got) > 1e-5
    p = np.sort(distribution(logits[0].astype(np.float64), Sampling(settings.temperature, top_k=settings.top_k)))[::-1]
    undecided = np.abs(np.cumsum(p) - settings.top_p).min() < 1e-5 or np.abs(p / p[0] - settings.min_p).min() < 1e-5
    assert not near.any() or undecided


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e6])
def test_what_is_left_is_told_as_a_mask_that_leaves_the_same(temperature):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(3, 70)), jnp.float32)
    mask = jnp.asarray([[-1, -1, -1], [0b110, -(2**31), 0], [-1, 0, 1]], jnp.int32)
    settings = SamplingBatch.of([Sampling(temperature, top_k=5)] * 3)
    left = allowed(passed(sampling_logits(logits, settings, None, mask)), 70)
    likeliest = np.argsort(-np.where(allowed(mask, 70), logits, NEVER), axis=1)[:, :5]
    expected = np.zeros((3, 70), bool)
    np.put_along_axis(expected, likeliest, True, axis=1)
    np.testing.assert_array_equal(left, expected & np.asarray(allowed(mask, 70)))


def test_temperature_zero_is_greedy_and_needs_no_randomness():
    logits = jax.random.normal(jax.random.key(0), (4, 50))
    rows = SamplingBatch.of([Sampling(temperature=0.0, seed=i) for i in range(4)])
    np.testing.assert_array_equal(sample(logits, rows, jnp.arange(4)), logits.argmax(-1))
    mixed = SamplingBatch.of([Sampling(temperature=0.0), Sampling(temperature=5.0)] * 2)
    np.testing.assert_array_equal(np.asarray(sample(logits, mixed, jnp.arange(4)))[::2], logits.argmax(-1)[::2])


def test_draws_follow_the_distribution():
    logits = jnp.tile(jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05])), (4000, 1))
    rows = SamplingBatch.of([Sampling(seed=i) for i in range(4000)])
    counts = np.bincount(np.asarray(jax.jit(sample)(logits, rows, jnp.zeros(4000, jnp.int32))), minlength=4)
    expected = 4000 * np.array([0.5, 0.3, 0.15, 0.05])
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 16.27  # the 99.9% point of three degrees of freedom; seeds are fixed


def test_a_row_draws_the_same_whatever_the_other_rows_hold():
    logits = jax.random.normal(jax.random.key(1), (3, 40))
    settings = [Sampling(seed=7), Sampling(seed=8, top_k=3), Sampling(seed=7, temperature=0.3)]
    together = np.asarray(sample(logits, SamplingBatch.of(settings), jnp.array([5, 6, 7])))
    for row in range(3):
        alone = sample(logits[row : row + 1], SamplingBatch.of(settings[row : row + 1]), jnp.array([5 + row]))
        assert int(alone[0]) == together[row]


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    logits = jnp.array([[2.0, -1.0, 1.0]])
    rows = SamplingBatch.of([Sampling(repetition_penalty=2.0)])
    got = sampling_logits(logits, rows, jnp.array([[True, True, False]]))
    np.testing.assert_allclose(got, [[1.0, -2.0, 1.0]])
    assert (np.asarray(sampling_logits(logits, SamplingBatch.of([Sampling(top_k=1)]))) > NEVER / 2).sum() == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", 1e-300),  # 0 in float32
        ("repetition_penalty", 1e-300),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("top_k", 2**31),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(RequestError, match=f"{name} is .*expected"):
        Sampling(**{name: value})
