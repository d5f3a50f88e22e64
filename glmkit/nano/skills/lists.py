"""Short lists of numbers or words: sorted, reversed, counted, filtered, added up, their largest and smallest.

Answered at once, but for sums: these are worked out as any expression is. A fifth of the lists is held out, and of
sums what `arithmetic` holds out.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from random import Random
from types import MappingProxyType

from glmkit.nano.skills.arithmetic import drawn_until, of_expression_split
from glmkit.nano.skills.lexicon import answered_at_once
from glmkit.nano.skills.working import Expression
from glmkit.nano.task import Split, Task, assistant, of_split, pick, user

__all__ = ["SKILLS"]

WORDS = (
    "apple", "bread", "chair", "door", "egg", "fish", "grape", "house", "ice", "juice", "king", "lamp", "milk", "nest",
    "orange", "pear", "queen", "rice", "sun", "tree", "van", "wolf", "yard", "zebra", "ant", "bear", "cat", "dog",
    "eagle", "fox", "goat", "hat", "ink", "jar", "kite", "lion", "moon", "nut", "owl", "pig", "rose", "ship", "tiger",
    "wind", "bell", "cup", "desk", "fork", "glass", "hill", "island", "jam", "key", "leaf", "map", "note", "oven",
)  # fmt: skip

# In Chinese, marks are as often of full width, such as \uff1f for a question mark.
RISING = (
    "(Please s|S|s|Now s)ort {l}(.|)",
    "(Please s|S|s)ort (these numbers|this list|the list|these)(: {l}(.|)| for me: {l})",
    "(Please |Now |)(sort|order|arrange) {l} in ascending order(.|)",
    "(Please |Now |)(sort|order|arrange) {l} from (small to large|smallest to largest|low to high)(.|)",
    "(Sort|Order|Arrange) (these numbers|this list|these) (in ascending order|from smallest to largest): {l}(.|)",
    "(Can|Could|Will) you (please |)(sort|order) {l}( from low to high| from smallest to largest| for me|)?",
    "(Can|Could) you (put|bring) (these|these numbers) (in|into) (ascending order|order): {l}?",
    "(Please p|P|p)ut {l} (in ascending order|in order, smallest first|in order from low to high)(.|)",
    "(I have|Here are) (the numbers |){l}. (Sort them|Put them in order|Order them by size)(.|, please.)",
    "(Here is a list: |My list is |A list: ){l}. (Sort it|Please sort it|Put it in ascending order).",
    "{l}(: |. |, )(please sort|sort) (them|these|it)(, smallest first| in ascending order| from low to high|)(.|)",
    "(Rank|Rank the numbers|List) {l} from (lowest to highest|smallest to largest|low to high)(.|)",
    "What is {l} in (ascending|sorted) order(?|)",
    "{l}(,|) (in ascending order|sorted from low to high)(, please.|.|?|)",
    "How (do|would) {l} look (when sorted|sorted from low to high)?",
    "(I need|I want|Give me|Show me) {l} (sorted|in ascending order|sorted from small to large)(, please.|.|)",
    "(请|帮我|请帮我|)(把|将)( |){l}( |)(从小到大|按从小到大|按升序)(排列|排序|排好|排一下)(。|)",
    "{l}(, |,|\uff0c)(请|)(从小到大|按升序)(排列|排序|排一下)(。|)",
    "{l}( |)从小到大(是什么|怎么排|排列|排序)(?|\uff1f|)",
)  # fmt: skip
FALLING = (
    "(Please |Now |)(sort|order|arrange) {l} in descending order(.|)",
    "(Please |Now |)(sort|order|arrange) {l} from (large to small|largest to smallest|high to low)(.|)",
    "(Sort|Order|Arrange) (these numbers|this list|these) (in descending order|from largest to smallest): {l}(.|)",
    "(Can|Could|Will) you (please |)(sort|order) {l} (from high to low|from largest to smallest|in descending order)?",
    "(Can|Could) you (put|bring) (these|these numbers) (in|into) descending order: {l}?",
    "(Please p|P|p)ut {l} (in descending order|in order, largest first|in order from high to low)(.|)",
    "(I have|Here are) (the numbers |){l}. (Sort|Put|Order) them in descending order(.|, please.)",
    "(Here is a list: |My list is |A list: ){l}. (Sort it|Please sort it|Put it in order), largest first.",
    "{l}(: |. |, )(please sort|sort) (them|these|it)(, largest first| in descending order| from high to low)(.|)",
    "(Rank|Rank the numbers|List) {l} from (highest to lowest|largest to smallest|high to low)(.|)",
    "What is {l} in descending order(?|)", "{l}(,|) (in descending order|sorted from high to low)(, please.|.|?|)",
    "(I need|I want|Give me|Show me) {l} (sorted from high to low|in descending order)(, please.|.|)",
    "(请|帮我|请帮我|)(把|将)( |){l}( |)(从大到小|按从大到小|按降序)(排列|排序|排好|排一下)(。|)",
    "{l}(, |,|\uff0c)(请|)(从大到小|按降序)(排列|排序|排一下)(。|)",
    "{l}( |)从大到小(是什么|怎么排|排列|排序)(?|\uff1f|)",
)  # fmt: skip
ALPHABETICAL = (
    "(Please s|S|s|Now s)ort {l}(.|)",
    "(Please s|S|s)ort (these words|this list|the list|these)(: {l}(.|)| for me: {l})",
    "(Please |Now |)(sort|order|arrange) {l} (alphabetically|in alphabetical order|from A to Z|by the alphabet)(.|)",
    "(Sort|Order|Arrange) (these words|this list|these) (alphabetically|in alphabetical order|from A to Z): {l}(.|)",
    "(Can|Could|Will) you (please |)(sort|order) {l}( from A to Z| alphabetically| for me|)?",
    "(Can|Could) you (put|bring) (these|these words) (in|into) alphabetical order: {l}?",
    "(Please p|P|p)ut {l} (in alphabetical order|in the order of a dictionary|in order from A to Z)(.|)",
    "(I have|Here are) (the words |){l}. (Sort them|Put them in alphabetical order)(.|, please.)",
    "(Here is a list: |My list is |A list: ){l}. (Sort it|Please sort it|Put it in alphabetical order).",
    "{l}(: |. |, )(please sort|sort) (them|these|it)( by the alphabet| alphabetically| from A to Z|)(.|)",
    "(List|Write) {l} (in alphabetical order|from A to Z|alphabetically)(.|)", "What is {l} in alphabetical order(?|)",
    "{l}(,|) (in alphabetical order|sorted from A to Z)(, please.|.|?|)",
    "In which order (do {l} come|are {l}) in a dictionary?",
    "(I need|I want|Give me|Show me) {l} (sorted|in alphabetical order|sorted from A to Z)(, please.|.|)",
    "(请|帮我|请帮我|)(把|将)( |){l}( |)(按字母顺序|按字母表顺序)(排列|排序|排好|排一下)(。|)",
)  # fmt: skip
BACKWARDS = (
    "(Please |Now |)(sort|order|arrange) {l} (from Z to A|in reverse alphabetical order)(.|)",
    "(Sort|Order|Arrange) (these words|this list|these) (in reverse alphabetical order|from Z to A): {l}(.|)",
    "(Can|Could|Will) you (please |)(sort|order) {l} (from Z to A|in reverse alphabetical order)?",
    "(Can|Could) you (put|bring) (these|these words) (in|into) reverse alphabetical order: {l}?",
    "(Please p|P|p)ut {l} (in reverse alphabetical order|in order from Z to A)(.|)",
    "(I have|Here are) (the words |){l}. Sort them (from Z to A|in reverse alphabetical order)(.|, please.)",
    "(Here is a list: |My list is |A list: ){l}. (Sort it|Please sort it|Put it in order) from Z to A.",
    "{l}(: |. |, )(please sort|sort) (them|these|it) (from Z to A|in reverse alphabetical order)(.|)",
    "(List|Write) {l} from Z to A(.|)", "What is {l} in reverse alphabetical order(?|)",
    "{l}(,|) (in reverse alphabetical order|sorted from Z to A)(, please.|.|?|)",
    "(I need|I want|Give me|Show me) {l} (in reverse alphabetical order|sorted from Z to A)(, please.|.|)",
)  # fmt: skip
REVERSED = (
    "(Please r|R|r|Now r)everse {l}(.|)", "(Please r|R|r)everse (this list|the list|the order|these|this): {l}(.|)",
    "(Please r|R|r|Now r)everse the (order|sequence) of {l}(.|)", "(Turn|Turn the order of|Please turn) {l} around(.|)",
    "(Please t|T|t)urn (this list|the list|this order) around: {l}(.|)", "(Can|Could|Will) you (please |)reverse {l}?",
    "(Can|Could) you (turn this list around|reverse this list|reverse the order)( for me|): {l}(?|)",
    "(Give me|Show me|Write|List|Say|Repeat) {l} in (reverse|reversed|the opposite|the reverse) order(.|)",
    "(Write|Say|Give me) (these|this list) (from last to first|from back to front|in reverse order): {l}(.|)",
    "(List|Read|Write|Go through) {l} from (last to first|back to front|the end to the start)(.|)",
    "(I have|Here are) {l}. (Turn the order around|Reverse them|Reverse the order|Put the last one first and so on).",
    "(Here is a list: |My list is |A list: ){l}. (Reverse it|Turn it around|Give it in reverse order).",
    "{l}(: |. |, )(please |)(reverse it|reverse this|reverse the order|turn it around)(.|)",
    "What is {l} (reversed|in reverse order)?",
    "{l}(,|) (in reverse order|from last to first|reversed)(, please.|.|?|)",
    "How (does|would) {l} (go|read) in reverse order?",
    "(请|帮我|请帮我|)(把|将)( |){l}( |)的顺序(反过来|颠倒过来|倒过来|反转)(。|)",
    "(请|)(反转|颠倒)( |){l}( |)的顺序(。|)", "(请|帮我|请帮我|)(把|将)( |){l}( |)从后往前(写|列|说)(出来|一遍)(。|)",
    "{l}( |)(反过来|从后往前)(是什么|怎么写|是怎样的)(?|\uff1f|)",
)  # fmt: skip
FILTERED = (
    "(Which|Which ones|What numbers) of {l} are {c}(?|)", "(Which|What) (numbers|ones) in {l} are {c}(?|)",
    "(Please k|K|k|Now k)eep only (those of {l}|the numbers in {l}|the ones in {l}) that are {c}(.|)",
    "(From|Out of|Of) {l}, (keep|take|pick|list|give me) (those|the ones|all|the numbers) that are {c}(.|)",
    "Which of (these|these numbers|the following) are {c}: {l}(?|)",
    "{l}(: |. )(which|which ones|which of these) are {c}(?|)",
    "(Please g|G|g)ive me (the numbers|all|those|the ones) in {l} that are {c}(.|)",
    "{l}. (Keep|List|Take|Find) those that are {c}.",
    "(List|Find|Show|Give me|Name) (all|those|the ones|the numbers) that are {c}: {l}(.|)",
    "(Please f|F|f)ilter {l} for (numbers that are|those that are|what is) {c}(.|)",
    "(Which are|What is) {c} in {l}(?|)",
    "(Select|Pick|Choose|Take) (from|out of) {l} (those|the numbers|all) that are {c}(.|)",
    "(Take|In) {l}(,| and) drop (all|the numbers|everything) that (are|is) not {c}(.|)",
   
    "(Find|Pick|Tell me|Show me) (the ones|those|all numbers) that are {c} in {l}(.|)",
    "(I have|Here are) (the numbers |){l}. (Which|Which ones|Which of them) are {c}?",
    "(Can|Could) you (please |)(find|list|pick|tell me) (all|those|the numbers) in {l} that are {c}?",
    "(My list|The list|A list) is {l}. (What in it is|Which numbers in it are) {c}?",
    "{l}: (only |)(those|the ones) that are {c}(, please|)(.|)",
    "(Remove|Delete|Drop) (all|everything|the numbers) (from|in) {l} (but|except) (those|the ones) that are {c}(.|)",
)  # fmt: skip
FILTERED_IN_CHINESE = (
    "{l}( |)(里|中|里面|当中)(哪些数|有哪些数|哪些|哪些数字)( |){c}(?|\uff1f|)",
    "(找出|选出|列出|写出)( |){l}( |)(里|中|里面)( |){c}( |)的(数|数字)(。|)",
    "(请|帮我|请帮我|)从( |){l}( |)(里|中|里面)(找出|选出|挑出)( |){c}( |)的(数|数字)(。|)",
    "{l}( |)(里|中)( |){c}( |)的数(有哪些|是哪些)(?|\uff1f|)",
    "(下面的数|这些数|这些数字|下列数)(中|里)(哪些|有哪些)( |){c}(: |\uff1a){l}",
)  # fmt: skip
LENGTH = (
    "(How many|how many) (items|entries|elements|things) (are|are there) in {l}(?|)", "(How|how) long is {l}?",
    "(Please c|C|c|Now c)ount (the (items|entries|elements)|how many (items|entries) there are)( in|:) {l}(.|)",
    "(Please c|C|c)ount {l}(.|)", "(How|how) long is (the|this) list(: | ){l}(?|)",
    "{l}(: |. )(how many|how many items)( are there| is that|)?",
    "How many (are|items are) (these|there|here)(?|:) {l}",
    "What('s| is) the (length|size) of (this list: |the list |){l}(?|)",
    "How many (entries|items|elements) does (the list |){l} have?",
    "{l}(: |. )(Please c|C|c)ount (them|the items|these)(.|)",
    "(Tell me|Say|Find out) how many (items|entries|elements) (this list has|there are here|are listed here): {l}(.|)",
    "(Here is a list: |My list is |A list: ){l}. (How long is it|How many items does it have|What is its length)?",
    "(Can|Could) you (please |)(count the items|tell me how many items are) in {l}?",
    "I (have|see|wrote) {l}. How many (items |)are (they|there)?",
    "(Give me the|The) (number|count) of (items|entries|elements) in {l}(.|, please.|)",
    "{l}( |)(一共|总共|)有(几个|多少个|几项|多少项)(?|\uff1f|)",
    "(数一数|请数一数|数一下|请数一下)( |){l}( |)(有|一共有|共有)(几个|多少个|几项)(。|?|\uff1f|)",
    "(列表|这个列表|下面的列表)(: |\uff1a){l}(。|, |\uff0c)(一共|)有(几项|多少项|几个)(?|\uff1f|)",
)  # fmt: skip
OCCURRENCES = (
    "(How often|how often|How many times) (does {i} (occur|appear|come up)|do you see {i}) in {l}(?|)",
    "(How often|How many times) is {i} in {l}(?|)", "(Please c|C|c|Now c)ount {i} in {l}(.|)",
    "(Count|Tell me|Say) how (often|many times) {i} (appears|occurs|comes) in {l}(.|)",
    "In {l}, how (often|many times) (is|do you find|do you see|is there) {i}(?|)", "How many of {l} are {i}?",
    "{l}(: |. )(How|how) (often|many times) (is {i} (in it|there|in there|listed)|does {i} (occur|appear))(?|)",
    "(Count|Tell me|Find out) how (often|many times) {i} (appears|occurs) (here|in this list): {l}(.|)",
    "How (often|many times) does this list (have|contain|name) {i}(?|:) {l}",
    "How many times (do you see|is) {i} here: {l}(?|)",
    "(Can|Could) you (please |)count (how often {i} is|{i}) in {l}?",
    "(Give me the|The|What is the) number of {i} in {l}(, please.|?|)",
    "(I have|Here is|My list is|Look at) {l}. How (often|many times) is {i} in (it|there)?",
    "(What is|Find) the count of {i} in {l}(?|)", "Of {l}, how many are {i}(?|)",
    "{i}( |)在( |){l}( |)(里|中|里面)(出现|出现了|一共出现|一共出现了)(几次|多少次)(?|\uff1f|)",
    "{l}( |)(里|中|里面)(有|一共有)(几个|多少个)( |){i}(?|\uff1f|)",
    "(数一数|请数一下|数一下)( |){l}( |)(里|中)(有几个|有多少个)( |){i}(。|?|\uff1f|)",
)  # fmt: skip
EXTREME = (
    "(What is|What's|Which is|what is|which is) the {w} (number|one|value|of the numbers) in {l}(?|)",
    "the {w} of {l}(?|)", "(What is|What's|Which is|which is) the {w} of (these: |the numbers |){l}(?|)",
    "{w} of {l}(?|)", "{w}(:| one:| number:) {l}",
    "(Please f|F|f|Now f)ind the {w} (number|one|value|of these)(: | in ){l}(.|)",
    "(Please t|T|t)ell me the {w} of {l}(.|)",
    "(Give me|Show me|Name|Say|Return|Pick) the {w} (number of|one of|of|of these:|number in) {l}(.|)",
    "(Please t|T|t)ell me (the|which is the) {w} (number|one) in (the list |this list: |){l}(.|)",
    "(In|Of|From|Among) {l}, (which number|which one|which|what) is the {w}(?| one?)",
    "The {w} (one|number|value) of {l}(, please.|?|)", "(Which|What) number is the {w}( one| here|): {l}(?|)",
    "(Here is a list: |My list is |A list: |Take the list ){l}. (What is|Which is|And) its {w} number?",
    "(I have|Here are|Look at) {l}. (Which is|Which one is|What is) the {w}( one|)?",
    "{l}(: |. |, )(what is |which is |)the {w} (one|number)(?|)", "{l}. (Find|Name|Tell me|Give me) the {w}( one|).",
    "(Can|Could) you (please |)(find|tell me|name|give me) the {w} (number |one |)(in|of) {l}?",
    "(Do you know|Can you see|Do you see) which (number|one) is the {w} (in|of) {l}?",
    "(I need|I want|I'm looking for) the {w} of {l}(.|)",
)  # fmt: skip
EXTREME_IN_CHINESE = (
    "{l}( |)(里|中|里面|当中){w}(的是|的数是|的数字是|的一个是)(多少|几|哪个|哪一个)(?|\uff1f|)",
    "{l}( |)(里|中)(哪个|哪个数|哪一个数){w}(?|\uff1f|)",
    "(请|帮我|请帮我|)(找出|写出|说出|选出)( |){l}( |)(里|中|里面){w}的(数|数字|一个)(。|)",
    "(哪个|哪个数|哪个数字){w}(: |\uff1a|?|\uff1f|, |\uff0c){l}",
)  # fmt: skip
SUMMED = (
    "(What is|What's|what is|Find|Give me|Tell me) the (sum|total) of {l}(?|)", "(Please a|A|a|Now a)dd up {l}(.|)",
    "(Please a|A|a)dd( up|) (these numbers|this list|these|the following)(: {l}(.|)| for me: {l})",
    "(sum|Sum|total|Total) of {l}(?|)", "(Please s|S|s)um up (these numbers: |this list: |){l}(.|)",
    "{l}(: |. |, )(what is|what's) (the|their) (total|sum)?",
    "How much (are|is) {l} (together|in all|altogether|in total)?",
    "What do {l} (add up to|make together|come to|sum to)?",
    "(I have|Here are|Look at) {l}. (What is the (sum|total)|What do they add up to|How much is that together)?",
    "(Here is a list: |My list is |A list: |The numbers are ){l}. (Add it up|Add them up|Please add all of them).",
    "{l}(: |. |, )(please |)(add them up|add these up|sum them up|add them all)(.|)",
    "(Can|Could|Will) you (please |)(add up|sum up|add) {l}?",
    "(Compute|Calculate|Work out|Find|I need|I want) the (sum|total) of (these: |the numbers |this list: |){l}(.|)",
    "(Add all|Add together|Add) (the numbers |){l}(.|)", "What (total|sum) (do|does) {l} (give|make)?",
    "(If|When) (you|I|we) add up {l}, what (is the total|comes out|is the result)?",
    "{l}( |)(的和|的总和|加起来|加在一起)(是|等于)(多少|几)(?|\uff1f|)",
    "(请|帮我|请帮我|)(把|将)( |){l}( |)(加起来|加在一起|相加)(。|)",
    "(请|)(求|计算|算出|算一下)( |){l}( |)的(和|总和)(。|)",
    "(这些数|下面的数|这些数字)的(和|总和)(是多少|是几|等于多少)(: |\uff1a|?|\uff1f){l}",
)  # fmt: skip

_CONDITIONS: Mapping[str, Callable[[int, int], bool]] = {
    **dict.fromkeys(("above {x}", "greater than {x}", "larger than {x}", "over {x}"), lambda n, x: n > x),
    **dict.fromkeys(("below {x}", "less than {x}", "smaller than {x}", "under {x}"), lambda n, x: n < x),
    **dict.fromkeys(("even", "是偶数"), lambda n, _: n % 2 == 0),
    **dict.fromkeys(("odd", "是奇数"), lambda n, _: n % 2 == 1),
    "大于 {x}": lambda n, x: n > x,
    "小于 {x}": lambda n, x: n < x,
}
_WAYS: Mapping[str, Callable[[Sequence[int]], int]] = {
    "largest": max, "biggest": max, "highest": max, "smallest": min, "lowest": min,
    "first": lambda items: items[0], "last": lambda items: items[-1], "最大": max, "最小": min,
}  # fmt: skip


def sort_list(rng: Random, split: Split) -> Task:
    numbers, falling = rng.random() < 0.6, rng.random() < 0.3
    wordings = (FALLING if numbers else BACKWARDS) if falling else RISING if numbers else ALPHABETICAL
    items = (_numbers if numbers else _words)(rng, split)
    answer = sorted(items, reverse=falling)
    return _task(rng, split, "sort_list", wordings, {"l": items}, answer, _ends(answer))


def reverse_list(rng: Random, split: Split) -> Task:
    items = rng.choice((_numbers, _words))(rng, split)
    return _task(rng, split, "reverse_list", REVERSED, {"l": items}, items[::-1], _ends(items[::-1]))


def filter_list(rng: Random, split: Split) -> Task:
    """Those above or below a number, or even, or odd; "none" if there is none."""
    items, limit = _numbers(rng, split), rng.randrange(10, 90)
    condition = rng.choice((*_CONDITIONS, "even", "odd"))
    verdicts = [_CONDITIONS[condition](item, limit) for item in items]
    kept = [item for item, keeps in zip(items, verdicts, strict=True) if keeps]
    said = {"l": items, "c": condition.format(x=limit)}
    wordings = FILTERED if condition.isascii() else FILTERED_IN_CHINESE
    return _task(rng, split, "filter_list", wordings, said, kept or "none", _judged(items, verdicts))


def count_list(rng: Random, split: Split) -> Task:
    """How many items there are, or how often one occurs."""
    draw = rng.choice((_numbers, _words))
    if rng.random() < 0.5:
        items = draw(rng, split)
        counted = [f"{number} {item}" for number, item in enumerate(items, start=1)]
        return _task(rng, split, "count_list", LENGTH, {"l": items}, len(items), _joined(counted))
    items, item = _repeating(rng, draw, split)
    verdicts = [other == item for other in items]
    said = {"l": items, "i": item}
    return _task(rng, split, "count_list", OCCURRENCES, said, sum(verdicts), _judged(items, verdicts))


def extreme_of_list(rng: Random, split: Split) -> Task:
    """The largest, smallest, first or last."""
    items, way = _numbers(rng, split), rng.choice(tuple(_WAYS))
    thought = _ends(items) if way in ("first", "last") else _joined(sorted(items))
    wordings = EXTREME if way.isascii() else EXTREME_IN_CHINESE
    return _task(rng, split, "extreme_of_list", wordings, {"l": items, "w": way}, _WAYS[way](items), thought)


def sum_list(rng: Random, split: Split) -> Task:
    """Numbers of one digit or a few of two, thought about unless that is disabled."""
    most, lengths = rng.choice(((10, (3, 4, 5)), (100, (3, 3, 4))))

    def draw() -> list[int]:
        return [rng.randrange(1, most) for _ in range(rng.choice(lengths))]

    items = drawn_until(draw, lambda drawn: of_expression_split(_added(drawn), split))
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(70, 25, 5))[0]
    template, total = pick(rng, SUMMED, split), _added(items)
    thought = "" if mode == "disabled" else total.worked_out
    return Task("sum_list", template, (user(template.format(l=_joined(items))), assistant(total.value, thought)), mode)


def _added(items: Sequence[int]) -> Expression:
    return reduce(lambda total, item: Expression.of(total, "+", item), map(Expression, items))


def _numbers(rng: Random, split: Split) -> list[int]:
    """Different numbers; lists that begin alike are on the same side of the line."""

    def draw() -> list[int]:
        return rng.sample(range(100 if rng.random() < 0.8 else 1000), rng.randint(3, 7))

    return drawn_until(draw, lambda numbers: of_split(_joined(numbers[:3]), split))


def _words(rng: Random, split: Split) -> list[str]:
    return drawn_until(lambda: rng.sample(WORDS, rng.randint(3, 6)), lambda words: of_split(_joined(words[:2]), split))


def _repeating(rng: Random, draw: Callable[[Random, Split], list], split: Split) -> tuple[list, object]:
    """A list and one of its items, which may be in it several times."""

    def repeat() -> tuple[list, object]:
        items = draw(rng, split)
        item = rng.choice(items)
        repeated = [item if rng.random() < 0.3 else other for other in items]
        return (repeated if item in repeated else items), item

    return drawn_until(repeat, lambda drawn: of_split(_joined(drawn[0]), split))


def _ends(items: Sequence) -> str:
    return f"{len(items)} items, from {items[0]} to {items[-1]}"


def _judged(items: Sequence, verdicts: Sequence[bool]) -> str:
    return _joined([f"{item} {'yes' if verdict else 'no'}" for item, verdict in zip(items, verdicts, strict=True)])


def _joined(items: object) -> str:
    return ", ".join(map(str, items)) if isinstance(items, list) else str(items)


def _task(
    rng: Random,
    split: Split,
    skill: str,
    wordings: Sequence[str],
    said: Mapping[str, object],
    answer: object,
    thought: str,
) -> Task:
    """A task that is answered at once; `thought` is what a forced one says."""
    template = pick(rng, wordings, split)
    question = template.format_map({slot: _joined(value) for slot, value in said.items()})
    return answered_at_once(rng, skill, template, question, _joined(answer), thought)


SKILLS: Mapping[str, Callable[[Random, Split], Task]] = MappingProxyType(
    {
        "sort_list": sort_list,
        "reverse_list": reverse_list,
        "filter_list": filter_list,
        "count_list": count_list,
        "extreme_of_list": extreme_of_list,
        "sum_list": sum_list,
    }
)
