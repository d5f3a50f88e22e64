"""How unevenly sequences spread over experts: the balance loss of each sequence, packed or alone."""

import jax.numpy as jnp
import numpy as np

from glmkit.model.moe import Routes, sequence_loss
from tiny import small_model

EXPERTS, TOP_K = 8, 2


def loss(ids, scores, segments):
    routes = Routes(jnp.asarray(ids), jnp.ones(ids.shape), jnp.asarray(scores))
    return sequence_loss(routes, jnp.asarray(segments >= 0, jnp.float32), jnp.asarray(starts(segments)))


def starts(segments):
    """Where each token's segment begins; any place for padding."""
    change = np.diff(segments, axis=1, prepend=-2) != 0
    return np.maximum.accumulate(np.where(change, np.arange(segments.shape[1]), 0), axis=1)


def expected(scores, ids, segments) -> float:
    """Equations 17 to 20 of arXiv 2412.19437 for every segment by itself, added up."""
    total = 0.0
    for row in range(len(segments)):
        for segment in set(segments[row]) - {-1}:
            (at,) = np.nonzero(segments[row] == segment)
            f = np.bincount(ids[row, at].ravel(), minlength=EXPERTS) * EXPERTS / (TOP_K * len(at))
            p = (scores[row, at] / scores[row, at].sum(-1, keepdims=True)).mean(0)
            total += float((f * p).sum())
    return total


def test_it_is_that_of_each_sequence_by_itself():
    rng = np.random.default_rng(0)
    segments = np.array([[0] * 5 + [1] * 9 + [-1] * 2, [0] + [1] * 15])
    scores = rng.random((2, 16, EXPERTS), np.float32)
    ids = np.argsort(-scores, axis=-1)[..., :TOP_K]
    ours = loss(ids.reshape(-1, TOP_K), scores.reshape(-1, EXPERTS), segments)
    np.testing.assert_allclose(ours, expected(scores, ids, segments), rtol=1e-6)  # float32 sums of 16 terms


def test_even_choices_and_scores_give_one():
    ids = np.arange(16 * TOP_K).reshape(16, TOP_K) % EXPERTS
    ours = loss(ids, np.full((16, EXPERTS), 0.5, np.float32), np.zeros((1, 16), int))
    np.testing.assert_allclose(ours, 1.0, rtol=1e-6)


def test_packing_sequences_adds_their_losses():
    model = small_model()
    tokens = np.random.default_rng(0).integers(0, 256, (2, 12), np.int32)
    packed = model(tokens.reshape(1, -1), segment_ids=np.repeat([[0, 1]], 12, axis=1), sequence_loss=True)
    apart = model(tokens, sequence_loss=True)
    # The same sums of float32 in another order.
    np.testing.assert_allclose(packed.sequence_loss, apart.sequence_loss, rtol=1e-5)
    assert apart.sequence_loss.shape == apart.load.shape[:1]
    assert (np.asarray(apart.sequence_loss) > 1.5).all()  # two sequences, each of about 1
    assert model(tokens).sequence_loss is None
