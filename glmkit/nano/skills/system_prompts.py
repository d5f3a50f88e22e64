"""System prompts that set a rule, and easy questions whose answers have to follow it."""

import json
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from glmkit.nano.skills.lexicon import ANIMALS, COLOURS, NAMES, THINGS, capital, made_up_word, name_or_word, words
from glmkit.nano.skills.talk import Exchange, draw_courtesy, draw_declined, draw_easy_sum
from glmkit.nano.skills.topics import ABOUT
from glmkit.nano.task import Message, Split, Task, assistant, of_split, pick, user

__all__ = ["RULES", "SKILLS", "Rule"]

Questions = Callable[[Random, Split], Exchange]

REPEAT = (
    "Say {word}.", "Repeat the word {word}.", "Repeat: {word}", "Write {word}.", "Echo {word}.", "Please say {word}.",
    "Say the word {word}.", "Can you say {word}?", "Type {word}.", "Copy this word: {word}", "Read out {word}.",
    "The word is {word}. Say it.", "Please repeat {word}.", "Spell out nothing, just say {word}.",
)  # fmt: skip
"""Questions whose answer is the word."""


def _repeat(rng: Random, split: Split) -> Exchange:
    word, wording = name_or_word(rng, split), pick(rng, REPEAT, split)
    return Exchange(wording.format(word=word), word, f"The word is {word}.", wording)


def _repeat_common(rng: Random, split: Split) -> Exchange:
    """A common word: to write it in capitals one has to know its letters."""
    word, wording = rng.choice((*COLOURS, *ANIMALS)), pick(rng, REPEAT, split)
    return Exchange(wording.format(word=word), word, f"The word is {word}.", wording)


def _sum_or_repeat(rng: Random, split: Split) -> Exchange:
    return rng.choice((draw_easy_sum, _repeat))(rng, split)


def _who(rng: Random, split: Split) -> Exchange:
    wording = pick(rng, [prompt for prompt in ABOUT["identity"].prompts if "glm-nano" not in prompt], split)
    return Exchange(wording, "", "The user asks who I am.", wording)


def _anything(rng: Random, split: Split) -> Exchange:
    return rng.choice((draw_easy_sum, draw_courtesy, draw_declined))(rng, split)


def _sum_or_courtesy(rng: Random, split: Split) -> Exchange:
    return rng.choice((draw_easy_sum, draw_courtesy))(rng, split)


class Rule(NamedTuple):
    """`argument` draws the word that the rule is about, `{word}` in its wordings; `apply` gives the answer by it."""

    name: str
    argument: Callable[[Random, Split], str]
    questions: Questions
    apply: Callable[[str, str], str]  # (plain answer, word) -> answer by the rule
    wordings: tuple[str, ...]


def _nothing(rng: Random, split: Split) -> str:
    return ""


def _from(options: tuple[str, ...]) -> Callable[[Random, Split], str]:
    return lambda rng, split: rng.choice(options)


def _key(rng: Random, split: Split) -> str:
    return rng.choice(("answer", "result", "value", "reply", "output", made_up_word(rng, split)))


def _as_json(answer: str, key: str) -> str:
    return json.dumps({key: int(answer) if answer.isdigit() else answer})


_DIGITS = words("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
                "seventeen eighteen")  # fmt: skip
_CHINESE_DIGITS = "零一二三四五六七八九"


def _in_chinese(answer: str, _: str) -> str:
    tens, ones = divmod(int(answer), 10)
    return ("十" if tens else "") + (_CHINESE_DIGITS[ones] if ones or not tens else "")


RULES = (
    Rule("json", _key, _sum_or_repeat, _as_json, (
        'Answer only with JSON like {{"{word}": ...}}.', 'Reply in JSON: {{"{word}": your answer}}',
        'Your answers are JSON objects with the one key "{word}".', 'Give every answer as JSON with the key {word}.',
        "Respond with a JSON object whose only field is {word}.", "Put the answer into JSON under {word}.",
        "JSON only. Key: {word}", 'Format: {{"{word}": ...}}', "Always use JSON with one field, {word}.",
    )),
    Rule("chinese numerals", _nothing, draw_easy_sum, _in_chinese, (
        "Answer in Chinese numerals.", "Write numbers in Chinese.", "用中文数字回答。",
        "Use Chinese characters for numbers.",
        "All numbers have to be Chinese, like 三.", "请用汉字写数字。", "Give the number in Chinese.",
        "Reply with Chinese numerals only.",
        "Your user reads Chinese numbers only.", "数字用中文写。",
    )),
    Rule("number words", _nothing, draw_easy_sum, lambda answer, _: _DIGITS[int(answer)], (
        "Write numbers as words.", "Answer with number words, not digits.", "Never use digits; use words.",
        "Spell all numbers out.", "Give the answer in words.", "Use English words for numbers.",
        "No digits, please: words.",
        "Say numbers like 'seven', not '7'.", "Numbers are written as words here.",
    )),
    Rule("last word", name_or_word, _sum_or_repeat, "{} {}".format, (
        "End every answer with the word {word}.", "Finish each reply with {word}.",
        "Your last word is always {word}.",
        "After the answer, say {word}.", "Close every message with {word}.", "Put {word} at the end of your answer.",
        "Always add {word} at the end.", "The final word has to be {word}.", "Append {word} to what you say.",
    )),
    Rule("first word", name_or_word, _sum_or_repeat, "{1} {0}".format, (
        "Begin every answer with the word {word}.", "Start each reply with {word}.",
        "Your first word is always {word}.",
        "Before the answer, say {word}.", "Open every message with {word}.", "Put {word} in front of your answer.",
        "Always say {word} first.", "The first word has to be {word}.", "Answers begin with {word}.",
    )),
    Rule("user's name", lambda rng, split: pick(rng, NAMES, split), _sum_or_repeat, "{1}, {0}".format, (
        "The user is called {word}. Address them by name.", "You talk to {word}; say the name first.",
        "Call the user {word}.",
        "The user's name is {word}. Use it in every answer.", "Your user is {word}. Speak to {word} by name.",
        "Address the user as {word}.", "Name the user, {word}, when you answer.",
        "Always address {word}, the user, by name.",
        "Speak to the user by the name of {word}.",
    )),
    Rule("capitals", _nothing, _repeat_common, lambda answer, _: answer.upper(), (
        "Answer in capital letters.", "Write everything in upper case.", "USE CAPITAL LETTERS.",
        "All your answers are in capitals.",
        "Shout: capital letters only.", "Reply in upper case only.", "Please use capitals only.",
        "Upper case, always.",
        "Never use small letters.", "Your keyboard writes capitals only.",
    )),
    Rule("value only", _nothing, _sum_or_repeat, "{0}".format, (
        "Say no more than the answer.", "Answer with the bare answer only.", "Be as brief as you can.",
        "Short answers only.", "Nothing but the answer.", "Never explain.",
        "One word or number per answer.",
        "No sentences, just the answer.", "Reply with the answer alone.", "Keep it to the answer.", "Answer briefly.",
        "Give only the answer, nothing else.",
    )),
    Rule("sentence", _nothing, draw_easy_sum, "The answer is {0}.".format, (
        "Answer in a full sentence.", "Use whole sentences.", "Reply with one complete sentence.",
        "Never answer with a bare number.",
        "Please speak in sentences.", "Each answer is a sentence.", "Write full sentences only.",
        "A sentence, please, not a number.",
        "Put your answer into a sentence.", "Answers have to be sentences.",
    )),
    Rule("twice", _nothing, _sum_or_repeat, "{0} {0}".format, (
        "Give every answer twice.", "Say the answer two times.", "Repeat your answer once.",
        "Write each answer twice.",
        "Double your answers: say them twice.", "Every answer comes two times.", "Answer, and then answer again.",
        "Say it twice.", "Two copies of each answer, please.", "You say everything two times.",
    )),
    Rule("brackets", _nothing, _sum_or_repeat, "[{0}]".format, (
        "Put the answer in square brackets.", "Write answers like [this].", "Use [ ] around every answer.",
        "Answers stand in [brackets].",
        "Wrap your reply in square brackets.", "Enclose the answer in [ and ].",
        "Square brackets around the answer, please.",
        "Your format is [answer].", "Each answer in square brackets.", "Bracket your answers: [answer]",
        "Put [ before and ] after the answer.",
        "What you say stands between [ and ].", "Answer inside square brackets.",
        "I want [answer], with the brackets.",
    )),
    Rule("label", lambda rng, split: capital(made_up_word(rng, split)), _sum_or_repeat, "{1}: {0}".format, (
        "Write your answers as {word}: answer.", "Label each answer with {word} and a colon.",
        "Use the form '{word}: ...'.",
        "Put '{word}:' before the answer.", "Every reply looks like {word}: and then the answer.",
        "Format your answer as {word}: x.",
        "Answers are written {word}: answer", "Mark the answer with {word}:", "Reply as '{word}: answer'.",
    )),
    Rule("unit", lambda rng, split: pick(rng, THINGS, split) + "s", draw_easy_sum, "{} {}".format, (
        "All numbers count {word}; name them.", "Add the unit {word} to every number.", "Answers are in {word}.",
        "Your unit is {word}.", "Numbers stand for {word}: say so.", "Give every number with its unit, {word}.",
        "We count {word}. Answer with the unit.", "Use {word} as the unit.", "The unit of all answers is {word}.",
    )),
    Rule("persona", lambda rng, split: capital(made_up_word(rng, split)), _who, "I am {1}.".format, (
        "Your name is {word}.", "You are {word}.", "You are called {word}.", "Here you go by the name of {word}.",
        "Play {word}.",
        "You are the assistant {word}.", "Introduce yourself as {word}.", "Your new name: {word}.",
        "Call yourself {word}.",
    )),
    Rule("fixed reply", name_or_word, _anything, "{1}".format, (
        "Whatever the user says, answer {word}.", "Always answer: {word}", "Your only answer is {word}.",
        "Reply {word} to everything.",
        "Say {word} and nothing else, always.", "No matter what is asked, say {word}.", "You can only say {word}.",
        "To each message reply with {word}.", "Answer every question with {word}.",
        "There is one answer to all questions: {word}.", "The answer is always {word}.",
        "Never say anything but {word}.",
        "Your vocabulary is one word: {word}.",
    )),
    Rule("none", _nothing, _sum_or_courtesy, "{0}".format, (
        "You are a helpful assistant.", "You are glm-nano.", "Be kind and helpful.", "You help the user.",
        "You are a friendly assistant.",
        "Do your best.", "Help the user with their questions.", "You are an honest assistant.", "Answer the user.",
        "Be polite.",
        "You are a small language model.", "Think when you need to.",
    )),
)  # fmt: skip


def system_prompt(rng: Random, split: Split) -> Task:
    """A rule, and one to three questions to which it applies."""
    rule = rng.choice(RULES)
    word, wording = rule.argument(rng, split), pick(rng, rule.wordings, split)
    messages: list[Message] = [{"role": "system", "content": wording.format(word=word)}]
    count = rng.choice((1, 1, 2, 3))
    mode = rng.choices(("enabled", "disabled", "forced"), weights=(60, 34, 6 if count == 1 else 0))[0]
    wordings = [wording]
    for _ in range(count):
        exchange = _question(rng, split, rule)
        thought = exchange.thought if mode == "forced" else ""
        messages += [user(exchange.prompt), assistant(rule.apply(exchange.reply, word), thought)]
        wordings.append(exchange.wording)
    return Task("system_prompt", " | ".join(wordings), tuple(messages), mode)


SKILLS: dict[str, Callable[[Random, Split], Task]] = {"system_prompt": system_prompt}


def _question(rng: Random, split: Split, rule: Rule) -> Exchange:
    """A question for the rule; which sums are asked under which rule is part of the split."""
    while True:
        exchange = rule.questions(rng, split)
        if not exchange.reply.isdigit() or of_split(f"{rule.name}: {exchange.thought}", split):
            return exchange
