"""Policy: a model that is sampled from and updated in turn, in one process and by one network."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import optax
from flax import nnx
from jaxtyping import Float

from glmkit.checks import check_integer
from glmkit.engine.sampling import Sampling
from glmkit.errors import ConfigError, DataError, TrainingError
from glmkit.lm import LM
from glmkit.model import GLM, Buffer
from glmkit.model.adapter import adapted_places
from glmkit.model.transformer import Remat
from glmkit.rl import measures
from glmkit.rl.batches import by_row, micro_batches
from glmkit.rl.conversation import Sampler
from glmkit.rl.drift import Drift
from glmkit.rl.episodes import ask_once
from glmkit.rl.loss import LossFunction
from glmkit.rl.normalise import per_token
from glmkit.rl.rollout import Rollout
from glmkit.rl.task import Episode, Problem
from glmkit.rl.update import Found, Plan, compiled_score, compiled_update
from glmkit.runs import Layers
from glmkit.train.freezing import but, copied, names, trainable
from glmkit.train.step import started
from glmkit.turns import Turns

__all__ = ["Policy", "Scores", "Update"]

RouterMode = Literal["train", "freeze", "bias"]
_ROUTER, _MTP = "*.mlp.router", "mtp"  # the prediction layer has a router, too
Weighing = Callable[..., Float[np.ndarray, "N T"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """What a model gives the tokens of a rollout, in nats, 0 where nothing is learned; `measures` by name."""

    logprobs: Float[np.ndarray, "N T"]
    entropy: Float[np.ndarray, "N T"]
    flips: np.ndarray | None  # [N, T]: in how many layers a token's experts are not the rollout's
    measures: dict[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """What came of one update: numbers by name, and token by token what the loss saw. `load` is `[moe_layer, E]`."""

    metrics: dict[str, float]
    logprobs: Float[np.ndarray, "N T"]  # before the update
    entropy: Float[np.ndarray, "N T"]
    measured: dict[str, np.ndarray]  # [N, T], such as which tokens were clipped
    load: np.ndarray
    advantage_mass: np.ndarray | None  # [moe_layer, E]


class Policy:
    """A copy of an LM's trained weights, to sample from and to update; the LM given stays what it is: the reference.

    `policy.lm` answers with the weights as they are now. `router` says what of the routers learns: "train" their
    weights, "freeze" nothing, "bias" the correction biases alone, by `bias_rate` towards even load; in the other modes
    the biases stay. The multi-token-prediction layer stays, unless `mtp_weight` weighs its loss on learned tokens,
    whose gradient reaches nothing but the layer: its drafts then follow the policy. A model with adapters
    (`glmkit.train.add_lora`) trains those. `freeze` names further parameters that stay, as for `glmkit.train.fit`. With
    `reproducible`, what is sampled has the same bits whatever else is, as a run that is to go on to the same bits
    needs; it takes several times as long. An update takes micro-batches of `micro_rows` rows. While it is updated in
    one thread others may read `snapshot`, `save` and `score`, which wait for the update; `model` and `lm` are what it
    changes.
    """

    def __init__(
        self,
        lm: LM,
        *,
        router: RouterMode = "train",
        bias_rate: float = 1e-3,
        mtp_weight: float = 0.0,
        freeze: str | Sequence[str] = (),
        reproducible: bool = False,
        micro_rows: int = 32,
        remat: Remat = "none",
    ):
        if router not in ("train", "freeze", "bias"):
            raise ConfigError(f"router is {router!r}; expected 'train', 'freeze' or 'bias'")
        if router == "bias" and adapted_places(lm.model):
            raise ConfigError("router is 'bias', but adapters learn beside biases that stay: their files have none")
        if lm.interventions is not None:
            raise ConfigError(f"a policy is sampled and scored as it is, but {lm.interventions} is in use")
        if not mtp_weight >= 0 or (mtp_weight and not names(lm.model, _MTP)):
            raise ConfigError(
                f"mtp_weight is {mtp_weight!r}; expected a number of at least 0, and 0 for a model without a "
                "prediction layer, or one that trains adapters alone"
            )
        self.reference, self.router = lm, router
        self.micro_rows = check_integer("micro_rows", micro_rows, 1)
        freeze = (freeze,) if isinstance(freeze, str) else tuple(freeze)
        filter_ = trainable(lm.model, (*freeze, *_kept(lm.model, router, mtp_weight)))
        bias_rate = bias_rate if router == "bias" else 0.0
        self.plan = Plan(
            filter_, remat=remat, bias_rate=bias_rate, biases=but(freeze, Buffer), mtp_weight=float(mtp_weight)
        )
        self._moving = nnx.Any(filter_, Buffer)
        self.lm = lm.with_model(copied(lm.model, self._moving), reproducible=reproducible)
        self.version = 0
        self.last_bad: Rollout | None = None  # what the last update was refused on
        self._lock = threading.RLock()  # held while the weights are consumed, copied or read as a whole
        self._turns = Turns(lm.tokenizer, lm.generation, lm.config.vocab_size, lm.engine.max_len)
        self._optimizer: optax.GradientTransformation | None = None
        self._opt_state: optax.OptState | None = None
        self._drift = Drift(lm.model)

    @property
    def model(self) -> GLM:
        """The network as it is now; the next update changes it in place."""
        return self.lm.model

    def sample(
        self,
        problems: Sequence[Problem | str],
        n: int = 8,
        *,
        thinking: str | Sequence[str] = "enabled",
        budget: int | None = None,
        max_tokens: int = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        tool_choice: Any = "auto",
        episode: Episode | None = None,
        seed: int = 0,
        routes: bool = True,
    ) -> Rollout:
        """`n` samples of each problem, a string being one without an answer.

        `thinking` is a mode, or several that the samples of a group take in turn; `budget` closes a thought after so
        many tokens, by tokens that carry no loss. `max_tokens` is of each turn. Tokens are the seed's and the place's
        of a sample alone. `routes=False` keeps no routes, for evaluation. Raises what `LM.chat` does for what cannot
        be asked, and `DataError` for an episode that raises.
        """
        problems = [Problem(problem) if isinstance(problem, str) else problem for problem in problems]
        if not problems:
            raise DataError("there are no problems to sample: the batch is empty")
        sampling = Sampling(temperature, top_p, top_k, min_p, seed=seed)
        sampler = Sampler(
            self.lm.engine,
            self._turns,
            self.lm.tokenizer,
            sampling,
            thinking=thinking,
            budget=budget,
            max_tokens=check_integer("max_tokens", max_tokens, 1),
            tool_choice=tool_choice,
            routes=routes,
        )
        return sampler.sample(problems, check_integer("n", n, 1), episode or ask_once, self.version)

    def score(self, rollout: Rollout, *, model: LM | GLM | None = None, replay: bool | None = None) -> Scores:
        """What the policy, or another model, gives the tokens of a rollout in one parallel pass.

        With `replay` every token goes to the experts that it went to in the rollout: by default in the policy and in
        the LM that it began as, whose experts these are, and not in other models. Raises `DataError` where a model has
        no such experts.
        """
        model = self.model if model is None else model.model if isinstance(model, LM) else model
        if replay is None:
            replay = model is self.model or model is self.reference._model  # which may be closed
        if replay:
            _check_routes(rollout, model)
        with self._lock:
            batch = micro_batches(rollout, self.micro_rows, model.embed[...].sharding.mesh, dtype=_dtype(model))
            scored, seen = compiled_score(model, batch, replay=replay)
        logprobs, entropy = (by_row(x, len(rollout.tokens)) for x in scored)
        flips = None if seen.flips is None else by_row(seen.flips, len(rollout.tokens))
        found = measures.mismatch(rollout, logprobs, flips) | measures.of_tokens(rollout, entropy, {})
        return Scores(logprobs, entropy, flips, found)

    def snapshot(self) -> LM:
        """An LM of a copy of the weights as they are now, which no update changes."""
        with self._lock:
            return self.lm.with_model(copied(self.model, self._moving))

    def with_reference(self, rollout: Rollout, *, replay: bool = True) -> Rollout:
        """The rollout with the log-probabilities that the policy's LM as it was given gives its tokens."""
        return rollout.with_reference(self.score(rollout, model=self.reference, replay=replay).logprobs)

    def update(
        self,
        rollout: Rollout,
        loss: LossFunction,
        optimizer: optax.GradientTransformation,
        *,
        norm: Weighing = per_token,
        replay: bool = True,
    ) -> Update:
        """One step of the optimiser down the loss of a rollout with advantages.

        `norm` says how tokens are weighed, see `glmkit.rl.normalise`; the split into micro-batches changes nothing.
        For several updates on one rollout give it `old` before the first, which `with_old` does. The optimiser's state
        begins with the first update by it, and anew with another. Raises `DataError` for a rollout of other weights
        without `old`, if the loss takes the ratio to them, and `TrainingError`, and changes nothing, where the loss or
        the gradient is not finite: the rollout is then `policy.last_bad`.
        """
        began, self.last_bad = time.monotonic(), None
        if getattr(loss, "needs_ratio", False) and rollout.old is None and rollout.version != self.version:
            raise DataError(
                f"version {rollout.version} of the policy sampled this rollout, and it is at version {self.version}: "
                f"{loss!r} takes the ratio of the two. Give the rollout `old`: policy.with_old(rollout)"
            )
        if getattr(loss, "needs_reference", False) and rollout.reference is None:
            raise ConfigError(f"{loss!r} needs the reference's log-probabilities: policy.with_reference(rollout)")
        plan = dataclasses.replace(self.plan, replay=replay)
        with self._lock:
            self._begin(optimizer)
            model = self.model
            batch = micro_batches(rollout, self.micro_rows, model.embed[...].sharding.mesh, norm, _dtype(model))
            moved, self._opt_state, found = compiled_update(loss, optimizer, plan)(model, self._opt_state, batch)
            nnx.update(model, moved)
            self.version += 1  # at once, so that an interrupt leaves no new weights under the old version
            result = self._told(rollout, found)
            if not found.finite:
                self.version -= 1
                self.last_bad = rollout
                raise TrainingError(
                    f"the update of version {self.version} was not applied: loss {result.metrics['loss']}, gradient "
                    f"norm {result.metrics['gradient_norm']}; the rollout is policy.last_bad, the weights are what "
                    "they were"
                )
        result.metrics["update_seconds"] = time.monotonic() - began
        return result

    def with_old(self, rollout: Rollout, *, replay: bool = True) -> Rollout:
        """The rollout with the log-probabilities that a loss takes the ratio to, for several updates on it.

        They are the scorer's, before its first update; of a rollout of other weights, those that it was drawn with.
        """
        drawn = rollout.drawn_rows[:, None]
        if rollout.version != self.version and drawn.all():
            return dataclasses.replace(rollout, old=np.where(rollout.mask, rollout.logprobs, 0))
        old = self.score(rollout, replay=replay).logprobs
        if rollout.version != self.version:  # demonstrations were not drawn
            old = np.where(drawn, rollout.logprobs, old)
        return dataclasses.replace(rollout, old=np.where(rollout.mask, old, 0))

    def save(self, path: str | Path, **options: Any) -> None:
        """Write the weights as they are now as `LM.save` does."""
        with self._lock:
            self.lm.save(path, **options)

    def close(self) -> None:
        """Give the memory of the engine back; the LM that was given goes on."""
        self.lm.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Policy({self.lm.name!r}, version {self.version}, router={self.router!r})"

    def restart(self, optimizer: optax.GradientTransformation) -> None:
        """Begin the optimiser's state anew, which otherwise goes on for as long as it is the same optimiser's."""
        with self._lock:
            self._optimizer = None
            self._begin(optimizer)

    def state(self, optimizer: optax.GradientTransformation) -> tuple[nnx.State, Any]:
        """What training moves: parameters and biases, and the optimiser's state."""
        with self._lock:
            self._begin(optimizer)
            return nnx.state(self.model, self._moving), self._opt_state

    def restore(self, state: tuple[nnx.State, Any], optimizer: optax.GradientTransformation, version: int) -> None:
        """Go on from what `state` gave."""
        with self._lock:
            self._begin(optimizer)
            moved, self._opt_state = state
            nnx.update(self.model, moved)
            self.version = version

    def _begin(self, optimizer: optax.GradientTransformation) -> None:
        if self._optimizer is not optimizer:
            params = nnx.state(self.model, self.plan.trainable)
            self._optimizer, self._opt_state = optimizer, started(optimizer, params)

    def _told(self, rollout: Rollout, found: Found) -> Update:
        rows = len(rollout.tokens)
        logprobs, entropy = (by_row(x, rows) for x in found.scored)
        measured = {name: by_row(x, rows) for name, x in found.measured.items()}
        flips = None if found.flips is None else by_row(found.flips, rows)
        load = np.asarray(found.load)
        metrics = {"loss": float(found.loss), "gradient_norm": float(found.gradient_norm)}
        if self.plan.mtp_weight:
            metrics["mtp_loss"] = float(found.mtp_loss)
        metrics |= measures.of_rollout(rollout) | measures.divergence(rollout, logprobs)
        metrics |= measures.mismatch(rollout, logprobs, flips) | measures.of_tokens(rollout, entropy, measured)
        metrics |= measures.of_load(load) | self._drift.measured(self.model)
        mass = None
        if rollout.routes is not None and load.size:
            mass = measures.advantage_mass(rollout, load.shape[1])
            if found.unforced is not None:  # an expert came and another went
                metrics["routes_held"] = float(np.asarray(found.unforced).sum() / 2 / max(1.0, load.sum()))
        return Update(metrics, logprobs, entropy, measured, load, mass)


def _kept(model: GLM, router: RouterMode, mtp_weight: float) -> list[str]:
    """What stays by default, as far as it would be trained."""
    wanted = ([] if mtp_weight else [_MTP]) + ([] if router == "train" else [_ROUTER])
    return [pattern for pattern in wanted if names(model, pattern)]


def _check_routes(rollout: Rollout, model: GLM) -> None:
    if rollout.routes is None:
        return
    config, layers = model.config, len(Layers.of(model).moe)
    (depth, top_k), most = rollout.routes.shape[2:], int(rollout.routes.max(initial=-1))
    if (depth, top_k) != (layers, config.num_experts_per_tok) or most >= config.n_routed_experts:
        raise DataError(
            f"the rollout has routes through {depth} MoE layers, {top_k} experts each, up to number {most}; this model "
            f"has {layers}, {config.num_experts_per_tok} of {config.n_routed_experts}: score it with replay=False"
        )


def _dtype(model: GLM) -> type[np.floating]:
    """Of numbers by token."""
    return np.float64 if model.embed[...].dtype == np.float64 else np.float32
