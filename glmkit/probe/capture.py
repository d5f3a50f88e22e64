"""`keep`: what a run is to keep, by name."""

from typing import Any

from glmkit.runs import Selection

__all__ = ["keep"]


def keep(*names: str, **layers: Any) -> Selection:
    """What to keep of a run: `keep("router", "resid_post:-1", "attention:3,7")` or `keep(resid_post=[3, 7])`.

    Sites: "router" (experts, weights and margins of every MoE layer; one of them alone: "router_ids",
    "router_weights", "router_margins"); "resid_pre", "resid_mid" and "resid_post" (the residual stream before
    attention, before the MLP and after it); "attention" (patterns); "router_logits" and "router_scores" (of all
    experts); "expert_out" (what each chosen expert puts out); "logits". After a colon come layers by the checkpoint's
    numbers, from the end if negative; without one it is all that have the site. TransformerLens's names work, such as
    "blocks.3.hook_resid_post". `+` adds selections. Raises RequestError for a name that there is not; a layer that
    there is not is refused when a model is known, by `lm.run`.
    """
    return Selection.of(*names, **layers)
