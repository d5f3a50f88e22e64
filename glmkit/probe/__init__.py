"""Probing: what to keep of a run, what to change in it, and what can be told from runs, corpora and checkpoints."""

from glmkit.probe.capture import keep
from glmkit.probe.intervene import ablate, add, bias, force, patch, replay, scale_shared
from glmkit.probe.plan import Plan

__all__ = ["Plan", "ablate", "add", "bias", "force", "keep", "patch", "replay", "scale_shared"]
