"""What glm-nano is taught: a file per family of skills, each drawing tasks from a random generator."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.skills import (
    arithmetic,
    copying,
    dates,
    extraction,
    lists,
    multi_turn,
    retrieval,
    stories,
    system_prompts,
    talk,
    tools,
    words,
)
from glmkit.nano.task import Split, Task

__all__ = ["FAMILIES", "SKILLS"]

_NUMBERS = (arithmetic, stories, words, lists, dates)
_MODULES = (*_NUMBERS, copying, tools, extraction, retrieval, system_prompts, multi_turn, talk)

FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {module.__name__.rpartition(".")[2]: tuple(module.SKILLS) for module in _MODULES}
)
"""The skills of each family, which is called as its file."""

SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {name: skill for module in _MODULES for name, skill in module.SKILLS.items()}
)
