"""How much of each skill glm-nano is taught."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["FIRST_LESSONS", "MIXTURE"]

FIRST_LESSONS: Mapping[str, float] = MappingProxyType(
    {"copy": 45.0, "retrieval": 25.0, "one_step": 10.0, "extraction": 10.0, "tool_call": 10.0}
)
"""What is taught before all else, in the same percent: to find in what was read, and to copy it."""

MIXTURE: Mapping[str, float] = MappingProxyType(
    {
        # 39%: thinking in steps. Half of it is arithmetic proper; what is as short as a number in words needs few
        # tokens to be seen ten thousand times.
        "one_step": 5.0,
        "hard": 6.5,
        "multi_step": 5.0,
        "follow_up": 2.5,
        "word_problem": 5.0,
        "number_words": 1.2,
        "chinese_numbers": 1.3,
        "sort_list": 2.0,
        "reverse_list": 1.2,
        "filter_list": 1.8,
        "count_list": 0.8,
        "extreme_of_list": 0.8,
        "sum_list": 2.0,
        "weekday": 0.6,
        "month": 0.5,
        "add_days": 1.1,
        "days_between": 0.9,
        "convert_units": 0.8,
        # 32%: tools. Nine tokens of ten are declarations, which are read and not learned.
        "tool_call": 10.0,
        "tool_result": 7.0,
        "tool_rounds": 3.5,
        "no_call": 6.0,
        "two_tools": 5.5,
        # 8%: JSON from text.
        "extraction": 8.0,
        # 14%: copying, looking up. A long context costs as much as forty sums, so several questions are asked of each.
        "copy": 2.0,
        "retrieval": 5.0,
        "long_retrieval": 5.5,
        "follow": 1.5,
        # 7%: conversation, most of it recited.
        "system_prompt": 2.0,
        "multi_turn": 2.5,
        "about_itself": 0.8,
        "courtesy": 0.5,
        "decline": 1.2,
    }
)
"""Each skill's share of the tokens, prompts included, in percent."""
