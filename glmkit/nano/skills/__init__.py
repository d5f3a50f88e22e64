"""What glm-nano is taught: a file per family of skills, each drawing tasks from a random generator."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

from glmkit.nano.skills import (
    arithmetic,
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

__all__ = ["SKILLS"]

_NUMBERS = (arithmetic, stories, words, lists, dates)
_FAMILIES = (*_NUMBERS, tools, extraction, retrieval, system_prompts, multi_turn, talk)

SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {name: skill for family in _FAMILIES for name, skill in family.SKILLS.items()}
)
