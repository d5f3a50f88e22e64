"""What can be kept of a run, by name: the sites, TransformerLens's names for them, and a selection of them."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from glmkit.errors import RequestError
from glmkit.model import Keep
from glmkit.model.capture import LAYER_SITES, ROUTE_SITES, ROUTER_SITES
from glmkit.runs.layers import Layers

__all__ = ["SITES", "Selected", "Selection", "canonical"]

SITES = (*LAYER_SITES, "router", *(f"router_{name}" for name in ROUTE_SITES), "logits")
_ROUTES = MappingProxyType({f"router_{name}": name for name in ROUTE_SITES})
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        **{f"hook_{site}": site for site in ("resid_pre", "resid_mid", "resid_post")},
        **{"attn.hook_pattern": "attention", "attn": "attention", "pattern": "attention"},
        **{"mlp.hook_router_scores": "router_scores", "mlp.hook_router_logits": "router_logits"},
        **{"mlp.hook_expert_indices": "router_ids", "mlp.hook_expert_weights": "router_weights"},
        **{"mlp.hook_expert_out": "expert_out", "experts": "expert_out", "router_margin": "router_margins"},
        **dict(zip(ROUTE_SITES, _ROUTES, strict=True)),
        "margin": "router_margins",
    }
)
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


def canonical(name: Any) -> tuple[str, int | None]:
    """The site and, in a name such as "blocks.3.hook_resid_post", its layer.

    Raises RequestError for a name that there is not, saying which may be meant.
    """
    if not isinstance(name, str):
        raise RequestError(f"{name!r} names no site; expected one of {', '.join(SITES)}")
    found = _BLOCK.fullmatch(name)
    plain, layer = (found[2], int(found[1])) if found else (name, None)
    site = _ALIASES.get(plain, plain.replace(".", "_"))
    if site not in SITES or (layer is not None and site in ("router", "logits")):
        near = difflib.get_close_matches(site, SITES, n=1)
        meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(SITES)}"
        raise RequestError(f"there is no site {name!r}; {meant}")
    return site, layer


class Selected(NamedTuple):
    """A selection for one model: what its forward pass takes, and of each site by layer the layers in its slots."""

    keep: Keep
    layers: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Selection:
    """Sites to keep, each with layers as they were named; None is all that have it. `+` keeps both."""

    sites: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, *names: str, **layers: Any) -> Self:
        """From names such as "router", "resid_post:-1", "resid_post:3,7", "resid_post:2-5", or `resid_post=[3, 7]`.

        Raises RequestError for a name that there is not.
        """
        named = [named for name in names for named in _parsed(name)]
        return cls((*named, *((_by_layer(site), which) for site, which in layers.items())))

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, Selection):
            return NotImplemented
        return type(self)(self.sites + other.sites)

    def select(self, layers: Layers, *, effects: bool = False) -> Selected:
        """For a model of these layers. Raises RequestError naming a layer that does not exist, or is dense."""
        by_site: dict[str, tuple[int, ...]] = {}
        routes, logits = set(), False
        for site, which in self.sites:
            if site in LAYER_SITES:
                picked = layers.several(which, moe=site in ROUTER_SITES)
                by_site[site] = tuple(sorted({*by_site.get(site, ()), *picked}))
            elif site == "logits":
                logits = True
            else:
                layers.several(which, moe=True)  # of all layers, whichever is named, but none that is not there
                routes |= {_ROUTES[site]} if site in _ROUTES else set(ROUTE_SITES)
        slots = {site: np.asarray([layers.block(n) for n in which], np.int32) for site, which in by_site.items()}
        kept = tuple(name for name in ROUTE_SITES if name in routes) if layers.moe else ()
        return Selected(Keep(**slots, routes=kept, logits=logits, effects=effects), by_site)


def _parsed(name: Any) -> Iterator[tuple[str, Any]]:
    text, colon, which = name.partition(":") if isinstance(name, str) else (name, "", "")
    site, layer = canonical(text)
    if not colon:
        yield site, layer
    elif layer is not None or site not in LAYER_SITES:
        raise RequestError(f"{name!r}: {text} takes no layers after a colon")
    else:
        yield site, [number for part in which.split(",") for number in _numbers(name, part.strip())]


def _numbers(name: str, part: str) -> list[int]:
    if re.fullmatch(r"-?\d+", part):
        return [int(part)]
    if found := re.fullmatch(r"(\d+)-(\d+)", part):
        if int(found[1]) > int(found[2]):
            raise RequestError(f"{name!r}: {part!r} names no layer; expected the lower number first")
        return list(range(int(found[1]), int(found[2]) + 1))
    raise RequestError(f"{name!r}: {part!r} is no layer; expected numbers such as 3,7 or 2-5, or -1 for the last")


def _by_layer(name: str) -> str:
    site, layer = canonical(name)
    if layer is not None or site not in LAYER_SITES:
        raise RequestError(f"{name} is not kept by layer; expected one of {', '.join(LAYER_SITES)}")
    return site
