"""What became of the patterns that wordings are drawn from."""

import re
from collections.abc import Iterable

from glmkit.nano.task import Task


def patterns_of(tasks: Iterable[Task], patterns: Iterable[str]) -> set[str]:
    """Those of the patterns that wordings of the tasks come of; each wording has to come of one.

    Every parenthesis in the patterns is around alternatives.
    """
    templates = {task.template for task in tasks}
    found, known = set(), set()
    for pattern in patterns:
        expression = re.escape(pattern).replace(r"\(", "(?:").replace(r"\)", ")").replace(r"\|", "|")
        own = {template for template in templates if re.fullmatch(expression, template)}
        known |= own
        found |= {pattern} if own else set()
    assert known == templates
    return found
