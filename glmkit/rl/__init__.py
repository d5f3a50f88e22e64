"""Reinforcement learning on a policy that samples and learns in one process, exact and step by step in hand.

`Policy` samples, scores and updates; `Rollout` is what it said; `train` is the loop; rewards, advantages, losses and
normalisations are plain functions that anything with their signature may replace.
"""

from glmkit.rl import advantage, hooks, loss, normalise, rewards, tasks
from glmkit.rl.batch import Batch, Scored
from glmkit.rl.correction import Corrected
from glmkit.rl.critic import Critic, WithCritic, gae
from glmkit.rl.distil import distilled
from glmkit.rl.dpo import DPO, preferred
from glmkit.rl.episodes import ask_once, with_tools
from glmkit.rl.evaluation import Accuracy, accuracy
from glmkit.rl.kl import KL
from glmkit.rl.loss import CISPO, GSPO, PPO, Entropy, Loss, PerToken, Reinforce
from glmkit.rl.mixing import demonstrations, mixed
from glmkit.rl.normalise import Constant, per_sequence, per_token, sequence_sums
from glmkit.rl.policy import Policy, Scores, Update
from glmkit.rl.rollout import Rollout
from glmkit.rl.sample import Call, Sample, Turn
from glmkit.rl.settings import Settings
from glmkit.rl.steps import Run, Step, train
from glmkit.rl.task import Problem, Task

__all__ = [
    "CISPO",
    "DPO",
    "GSPO",
    "KL",
    "PPO",
    "Accuracy",
    "Batch",
    "Call",
    "Constant",
    "Corrected",
    "Critic",
    "Entropy",
    "Loss",
    "PerToken",
    "Policy",
    "Problem",
    "Reinforce",
    "Rollout",
    "Run",
    "Sample",
    "Scored",
    "Scores",
    "Settings",
    "Step",
    "Task",
    "Turn",
    "Update",
    "WithCritic",
    "accuracy",
    "advantage",
    "ask_once",
    "demonstrations",
    "distilled",
    "gae",
    "hooks",
    "loss",
    "mixed",
    "normalise",
    "per_sequence",
    "per_token",
    "preferred",
    "rewards",
    "sequence_sums",
    "tasks",
    "train",
    "with_tools",
]
