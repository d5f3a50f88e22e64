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
        # 41%: thinking in steps. Most of it is arithmetic proper; what is as short as a number in words needs few
        # tokens to be seen ten thousand times.
        "one_step": 5.5,
        "hard": 9.0,
        "multi_step": 8.0,
        "follow_up": 2.0,
        "word_problem": 5.0,
        "number_words": 0.9,
        "chinese_numbers": 1.0,
        "sort_list": 1.5,
        "reverse_list": 1.0,
        "filter_list": 1.3,
        "count_list": 0.6,
        "extreme_of_list": 0.6,
        "sum_list": 1.6,
        "weekday": 0.5,
        "month": 0.4,
        "add_days": 0.8,
        "days_between": 0.7,
        "convert_units": 0.7,
        # 31%: tools. Nine tokens of ten are declarations, which are read and not learned.
        "tool_call": 11.0,
        "tool_result": 6.0,
        "tool_rounds": 3.0,
        "no_call": 5.5,
        "two_tools": 5.5,
        # 9%: JSON from text.
        "extraction": 9.0,
        # 12%: copying, looking up. A long context costs as much as forty sums, so several questions are asked of each.
        "copy": 2.0,
        "retrieval": 4.5,
        "long_retrieval": 5.0,
        "follow": 1.0,
        # 6%: conversation, most of it recited.
        "system_prompt": 1.7,
        "multi_turn": 2.0,
        "about_itself": 0.7,
        "courtesy": 0.5,
        "decline": 1.5,
    }
)
"""Each skill's share of the tokens, prompts included, in percent."""
