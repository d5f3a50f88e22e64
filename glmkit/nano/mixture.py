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
        # 33%: thinking in steps. Most of it is arithmetic proper; what is as short as a number in words needs few
        # tokens to be seen ten thousand times.
        "one_step": 3.5,
        "hard": 8.0,
        "multi_step": 8.0,
        "follow_up": 1.5,
        "word_problem": 3.5,
        "number_words": 0.6,
        "chinese_numbers": 0.5,
        "sort_list": 1.3,
        "reverse_list": 0.6,
        "filter_list": 1.2,
        "count_list": 0.5,
        "extreme_of_list": 0.5,
        "sum_list": 1.1,
        "weekday": 0.4,
        "month": 0.3,
        "add_days": 0.5,
        "days_between": 0.5,
        "convert_units": 0.5,
        # 41%: tools. Most tokens are declarations, which are read and not learned: in rounds they are read once.
        "tool_call": 12.0,
        "tool_result": 4.0,
        "tool_rounds": 9.5,
        "short_rounds": 3.0,
        "no_call": 5.5,
        "two_tools": 7.0,
        # 12%: JSON from text.
        "extraction": 12.0,
        # 10%: copying, looking up. A long context costs as much as forty sums, so many questions are asked of each.
        "copy": 2.0,
        "retrieval": 3.5,
        "long_retrieval": 3.5,
        "follow": 1.0,
        # 4%: conversation, most of it recited.
        "system_prompt": 0.9,
        "multi_turn": 1.0,
        "about_itself": 0.4,
        "courtesy": 0.4,
        "decline": 1.3,
    }
)
"""Each skill's share of the tokens, prompts included, in percent."""
