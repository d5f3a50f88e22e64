"""What goes on inside while the model answers: whether its drafts are taken, and how its experts share the work.

Both are read from one forward pass over each conversation with the answer that the model gave, greedily, in place.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from glmkit.lm import LM
from glmkit.model import GLM
from glmkit.nano.evaluation.asking import Asked
from glmkit.nano.evaluation.figures import Result

__all__ = ["expert_figures", "inside_figures", "mutual_information"]

PER_SKILL = 12  # answers of each skill that are read
SHUFFLES = 20


class Pass(NamedTuple):
    """Of one conversation: drafts made in the answer, those that were right, and the experts' loads, float32."""

    drafted: int
    taken: int
    load: Float[np.ndarray, "moe_layer E"]  # the prediction layer's last, if there is one


def inside_figures(lm: LM, answers: Sequence[Asked]) -> dict[str, Result]:
    """Drafts taken, the least load, and how much experts tell of the family of skills, over a few answers of each."""
    mix = list(_mix(answers))
    if not mix:
        return {}
    passes = [_read(lm, asked) for asked in mix]
    loads = np.stack([one.load for one in passes])
    layers = lm.config.num_moe_layers
    figures = {}
    drafted = sum(one.drafted for one in passes)
    if drafted:
        figures["drafts_taken"] = Result(sum(one.taken for one in passes) / drafted, drafted, 0.7)
    figures |= expert_figures(loads[:, :layers], [asked.question.family for asked in mix])
    if loads.shape[1] > layers:
        figures["least_expert_load_of_drafts"] = _least_load(loads[:, layers:])
    return figures


def expert_figures(loads: Float[np.ndarray, "N L E"], families: Sequence[str]) -> dict[str, Result]:
    """The least load of an expert, and, of several families, what experts tell of them: of `N` conversations' loads."""
    figures = {"least_expert_load": _least_load(loads, 0.2)}
    return figures | (_information(loads, families) if len(set(families)) > 1 else {})


def mutual_information(loads: Float[np.ndarray, "N L E"], labels: Sequence[str]) -> float:
    """Bits that the chosen expert of a token tells of its conversation's label, the mean over layers."""
    kinds = sorted(set(labels))
    counts = np.stack([loads[np.asarray(labels) == kind].sum(0) for kind in kinds])  # [kind, layer, expert]
    joint = counts / counts.sum((0, 2), keepdims=True)
    apart = joint.sum(0, keepdims=True) * joint.sum(2, keepdims=True)
    ratio = np.divide(joint, apart, out=np.ones_like(joint), where=joint > 0)
    return float((joint * np.log2(ratio)).sum((0, 2)).mean())


def _information(loads: Float[np.ndarray, "N L E"], families: Sequence[str]) -> dict[str, Result]:
    """Beside the same with shuffled labels, which is what few conversations give by chance."""
    rng, tokens = np.random.default_rng(0), int(loads[:, 0].sum())
    shuffled = np.mean(
        [mutual_information(loads, list(rng.permutation(np.asarray(families)))) for _ in range(SHUFFLES)]
    )
    own = Result(mutual_information(loads, families), tokens, unit="bits")
    return {
        "task_expert_information": own,
        "task_expert_information_shuffled": Result(float(shuffled), tokens, unit="bits"),
    }


def _least_load(loads: Float[np.ndarray, "N L E"], goal: float | None = None) -> Result:
    """Of any expert in any of the layers, as a multiple of an even share."""
    total = loads.sum(0)
    shares = total / total.mean(1, keepdims=True)
    return Result(float(shares.min()), int(total[0].sum()), goal, unit="fair share")


def _mix(answers: Sequence[Asked]) -> Iterator[Asked]:
    taken: dict[str, int] = defaultdict(int)
    for asked in answers:
        if asked.reply.tokens and taken[asked.question.skill] < PER_SKILL:
            taken[asked.question.skill] += 1
            yield asked


def _read(lm: LM, asked: Asked) -> Pass:
    """One conversation, padded to a length of few: each is compiled for."""
    prompt = lm.tokenizer.encode(asked.reply.prompt)
    ids = [*prompt, *asked.reply.tokens]
    length = max(64, 1 << (len(ids) - 1).bit_length())
    tokens, segments = np.zeros((1, length), np.int32), np.full((1, length), -1, np.int32)
    tokens[0, : len(ids)], segments[0, : len(ids)] = ids, 0
    greedy, drafts, load = jax.device_get(_compiled(lm.model, tokens, segments))
    if drafts is None:
        return Pass(0, 0, load)
    # From the prompt's last token on: with it, the first token of the answer is known and the second is drafted.
    answer = slice(len(prompt) - 1, len(ids) - 2)
    after = slice(answer.start + 1, answer.stop + 1)
    taken = drafts[0, answer] == greedy[0, after]
    return Pass(taken.size, int(taken.sum()), load)


@jax.jit
def _compiled(
    model: GLM, tokens: Int[Array, "1 T"], segments: Int[Array, "1 T"]
) -> tuple[Int[Array, "1 T"], Int[Array, "1 T"] | None, Float[Array, "moe_layer E"]]:
    """The greedy next token of every place, the draft of the one after it, and the loads."""
    out = model(tokens, segment_ids=segments)
    greedy = model.logits(out.hidden).argmax(-1)
    if model.mtp is None:
        return greedy, None, out.load
    ahead = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
    valid = jnp.pad(segments[:, 1:], ((0, 0), (0, 1)), constant_values=-1)  # the last token has none after it
    second = model.predict_second(out.hidden, ahead, segment_ids=valid)
    return greedy, model.mtp_logits(second.hidden).argmax(-1), jnp.concatenate([out.load, second.load])
