"""Probing: what to keep of a run, what to change in it, and what can be told from runs, corpora and checkpoints."""

from glmkit.probe.answers import AnswerScores, answer_scores
from glmkit.probe.capture import keep
from glmkit.probe.checkpoints import CheckpointDiff, diff
from glmkit.probe.comparison import Comparison, compare
from glmkit.probe.effects import ExpertEffects, expert_effects
from glmkit.probe.expert_pages import ExpertPage, expert_page
from glmkit.probe.intervene import ablate, add, bias, force, patch, replay, scale_shared
from glmkit.probe.knockouts import Knockout, knockout, without
from glmkit.probe.lens import LogitLens, logit_lens
from glmkit.probe.plan import Plan
from glmkit.probe.routing_stats import RoutingStats
from glmkit.probe.statistics import collect
from glmkit.probe.sweeping import AblationSweep, sweep
from glmkit.probe.truncation import TruncationSweep, truncate

__all__ = [
    "AblationSweep",
    "AnswerScores",
    "CheckpointDiff",
    "Comparison",
    "ExpertEffects",
    "ExpertPage",
    "Knockout",
    "LogitLens",
    "Plan",
    "RoutingStats",
    "TruncationSweep",
    "ablate",
    "add",
    "answer_scores",
    "bias",
    "collect",
    "compare",
    "diff",
    "expert_effects",
    "expert_page",
    "force",
    "keep",
    "knockout",
    "logit_lens",
    "patch",
    "replay",
    "scale_shared",
    "sweep",
    "truncate",
    "without",
]
