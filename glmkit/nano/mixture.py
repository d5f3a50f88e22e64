"""How much of each skill glm-nano is taught."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["FIRST_LESSONS", "MIXTURE"]

FIRST_LESSONS: Mapping[str, float] = MappingProxyType(
    {"copy": 35.0, "retrieval": 25.0, "one_step": 10.0, "extraction": 15.0, "short_rounds": 15.0}
)
"""What is taught before all else, in the same percent: to find in what was read, and to copy it."""

MIXTURE: Mapping[str, float] = MappingProxyType(
    {
        # 29%: thinking in steps. Most of it is arithmetic proper; what is as short as a number in words needs few
        # tokens to be seen ten thousand times.
        "one_step": 3.0,
        "hard": 6.5,
        "multi_step": 7.5,
        "follow_up": 1.2,
        "word_problem": 3.3,
        "number_words": 0.5,
        "chinese_numbers": 0.4,
        "sort_list": 1.2,
        "reverse_list": 0.6,
        "filter_list": 1.1,
        "count_list": 0.5,
        "extreme_of_list": 0.4,
        "sum_list": 1.0,
        "weekday": 0.4,
        "month": 0.3,
        "add_days": 0.4,
        "days_between": 0.4,
        "convert_units": 0.4,
        # 38%: tools. Most tokens are declarations, which are read and not learned.
        "tool_call": 15.0,
        "tool_result": 4.5,
        "tool_rounds": 3.0,
        "short_rounds": 3.0,
        "no_call": 6.0,
        "two_tools": 6.5,
        # 13%: JSON from text.
        "extraction": 13.0,
        # 16%: copying, looking up. A long context costs as much as forty sums, so many keys are asked for of each.
        "copy": 2.0,
        "retrieval": 5.0,
        "long_retrieval": 8.0,
        "follow": 0.9,
        # 4%: conversation, most of it recited.
        "system_prompt": 0.9,
        "multi_turn": 1.0,
        "about_itself": 0.4,
        "courtesy": 0.4,
        "decline": 1.3,
    }
)
"""Each skill's share of the tokens, prompts included, in percent."""
