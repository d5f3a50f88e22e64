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
    "(Say|Repeat|Write|Echo|Type|Copy|Read out|Please say|Please repeat|Now say|Just say|Print)( the word|) {word}"
    "(.|!|, please.|)",
    "(Say|Repeat|Write|Echo|Type|Copy|Read|Print)( this word| the following word| this|)(: |:\n){word}",
    "(Can|Could|Will|Would) you (please |)(say|repeat|write|type|echo|print)( the word|) {word}(?| for me?)",
    "(The word|Your word|My word|Our word) is {word}(. Say it.|. Repeat it.|, say it.|. Please say it."
    "|. Write it.|: repeat it.)",
    "(I want|I'd like|I would like) (you to (say|repeat|write)|to (hear|read|see))( the word|) {word}(.|, please.|!|)",
    "{word}(: say it.|: say that.|. Repeat this.|, please repeat.|: write this word.|\nRepeat the word.|\nSay that.)",
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
        '(Answer|Reply|Respond|Always answer|Speak)( only|) (with|in) JSON'
        '(: | like | such as | of the form ){{"{word}": (...|your answer|x)}}(.|)',
        '(Your answers are|Each answer is|Every reply is|Answer with|Give|Write) (JSON objects|a JSON object|JSON) '
        '(with the one key|whose only field is|with the only key|with just the key) "{word}"(.|, please.|)',
        "(Give every answer in|Answer in|Reply in|Put the answer into|Write each answer as|Wrap answers in) JSON "
        "(with the key|under the key|under|in the field|with one field,) {word}(.|, please.|)",
        "(JSON only|Only JSON|JSON, please|Output JSON|Answer in JSON)(. |: |, )"
        "(Key|key|one key|The key|Field|field)( is|:) {word}(.|)",
        '(Format|Your format|Output|Answer format|Reply with|The form): {{"{word}": ...}}(.|)',
    )),
    Rule("chinese numerals", _nothing, draw_easy_sum, _in_chinese, (
        "(Answer|Reply|Respond|Always answer|Write the answer|Count)( only|) (in|with) Chinese "
        "(numerals|number characters|digits)(.|, please.|!|)",
        "(Write|Give|Say|Put|Show)( all| the|) numbers in Chinese( characters| numerals|)( only|)(.|, please.|!|)",
        "(Use|Please use|Always use|You use|Only use) Chinese (characters|numerals|signs) for( all| your|) numbers"
        "(.|!|, like 三.)",
        "(All numbers|Numbers|Your numbers|All your numbers) (have to be|must be|should be|are) Chinese"
        "(, like 三|, such as 五|)(.|!)",
        "(Your user|The user|The reader) (reads|knows|wants|understands) "
        "(only Chinese numbers|Chinese numerals only|only Chinese numerals)(.|!)",
        "(请|请你|你要|必须|只|)用(中文数字|汉字数字)(回答|写答案|写数字|表示数字)(。|)",
        "(请|请你|你要|必须|只|)用(中文|汉字)(写数字|写出数字|表示数字)(。|)",
        "(数字|所有数字|结果里的数字)(请|要|都|)用(中文|汉字)(写|表示|写出)(。|)",
        "(。|)",
    )),
    Rule("number words", _nothing, draw_easy_sum, lambda answer, _: _DIGITS[int(answer)], (
        "(Write|Say|Give|Spell|Put|Show)( all| the|) numbers (as|in) words(.|, please.|, not digits.|!|)",
        "(Answer|Reply|Respond|Always answer|Speak) (with|in) (number words|words)"
        "(, not digits|, not with digits|, no digits)(.|!|, please.)",
        "(Never|Do not|Don't|You must not) (use|write) digits(; use|: use|, use|, but|. Use) "
        "(words|number words|words for numbers)(.|!|)",
        "(Spell|Write)( all| the| your|) numbers out( in words| in letters|)(.|, please.|!|)",
        "(Use|Please use|Always use|You use) (English words|words|number words) for( all| your|) numbers"
        "(.|!|, like seven.|)",
        "(Say|Write|Spell) numbers like (seven, not 7|three, not 3|nine, not 9|two, not 2|five, not 5)(.|!|, please.)",
        "(No digits|No figures|Digits are forbidden)(, please|)(: |; |. )"
        "(only words|words only|use words|write words)(.|!|)",
        "(Numbers|All numbers|Your numbers) (are|must be|have to be|should be) (written|given|said|spelled) "
        "(as|in) words( here|)(.|!)",
    )),
    Rule("last word", name_or_word, _sum_or_repeat, "{} {}".format, (
        "(End|Finish|Close|Conclude)( every| each| your) (answer|reply|message|response) with( the word|) {word}"
        "(.|, please.|!|)",
        "(Your|The) (last|final|closing) word (is always|has to be|must be|is|should be) {word}(.|!|)",
        "(After|Behind) (the|each|every|your) (answer|reply)(, say|, write|, add|, put| comes| follows)"
        "( the word|) {word}(.|!|)",
        "(Put|Add|Append|Write|Say)( the word|) {word} (at the end of|after|behind) (your|each|every|the) "
        "(answer|reply|message)(.|!|)",
        "(Always|Please|You always|Never forget to) (add|append|put|say|write)( the word|) {word} at the (very |)end"
        "(.|!|, please.)",
        "(All|Your|All your) (answers|replies) (end|finish|close|stop) with( the word|) {word}(.|!|)",
    )),
    Rule("first word", name_or_word, _sum_or_repeat, "{1} {0}".format, (
        "(Begin|Start|Open)( every| each| your) (answer|reply|message|response) with( the word|) {word}"
        "(.|, please.|!|)",
        "(Your|The) (first|opening) word (is always|has to be|must be|is|should be) {word}(.|!|)",
        "Before (the|each|every|your) (answer|reply)(, say|, write|, put| comes)( the word|) {word}(.|!|, please.)",
        "(Put|Write|Say|Place)( the word|) {word} (in front of|before|at the start of|ahead of) "
        "(your|each|every|the) (answer|reply|message)(.|!|)",
        "(Always|Please|You always|Never forget to) (say|write|put)( the word|) {word} "
        "(first|at the start|before you answer)(.|!|, please.)",
        "(All|Your|All your) (answers|replies) (begin|start|open) with( the word|) {word}(.|!|)",
    )),
    Rule("user's name", lambda rng, split: pick(rng, NAMES, split), _sum_or_repeat, "{1}, {0}".format, (
        "(The user|Your user|The person you talk to) is( called|) {word}"
        "(. Address|; address|. Call|, so call|, so address) them by name(.|!| in each answer.)",
        "You (talk|speak|write|answer) to {word}(; say the name first|. Say the name first|, so begin with the name"
        "|: use the name)(.|!|)",
        "(Call the user|Address the user as|Speak to the user as|Address the user by the name) {word}"
        "( in each answer| every time|)(.|!|)",
        "The user's name is {word}(. Use it|; use it|, use it|. Say it|. Start with it) "
        "(in every answer|each time|whenever you answer|in all replies)(.|!)",
        "(Name|Mention|Address) the user, {word}, (when you answer|in each answer|in every reply|whenever you speak)"
        "(.|!|)",
        "(Always|Please|You have to|You should) (address|name|call) {word}, (the|your) user, by name(.|!|, please.)",
        "(Speak|Talk|Reply|Write) to {word}(, the user, by name|, your user, by name| by name"
        "|, saying the name first)(.|!|)",
    )),
    Rule("capitals", _nothing, _repeat_common, lambda answer, _: answer.upper(), (
        "(Answer|Reply|Write|Speak|Respond|Always answer|Write everything)( only|) (in|with) "
        "(capital letters|capitals|upper case|big letters)(.|!|, please.|)",
        "(WRITE|ANSWER|REPLY|SPEAK|ALWAYS WRITE) (IN CAPITALS|IN UPPER CASE|IN CAPITAL LETTERS)(.|!|, PLEASE.|)",
        "(All your answers|Your answers|All letters|Your replies|All replies) (are|have to be|must be|should be) "
        "(in capitals|in upper case|in capital letters)(.|!|)",
        "(Capitals|Upper case|Capital letters|Big letters)( only|, always|, please|, nothing else)(.|!|)",
        "(Never|Do not|Don't|You must not) (use|write) (small letters|lower case|lower-case letters)(.|!|)",
        "Your keyboard (writes|has|knows) (only capitals|capitals only|only capital letters|upper case only)(.|!|)",
        "(Shout|Shout at the user)(: |, |; )(capital letters only|use capitals|all in capitals"
        "|everything in upper case)(.|!|)",
    )),
    Rule("value only", _nothing, _sum_or_repeat, "{0}".format, (
        "(Say|Write|Give|Reply with|Answer with) (no more than|nothing but|only|just|nothing more than) the"
        "( bare| plain| short|) answer(.|!|, please.|)",
        "(Be|Always be|Please be) (as brief as you can|as short as you can|brief|very brief|concise)(.|!|)", ""
        "(Answer|Reply) (briefly|in short)(.|!|, please.|)",
        "(Short|Bare|Plain|Brief) (answers|replies) only(, please|)(.|!|)", "(Never|Do not|Don't) "
        "(explain|add anything|say more than the answer|chat)(.|!|)",
        "(One word or number|The bare answer|A word or a number|The mere answer) (is enough|will do|is all we need)"
        "(.|!|)",
        "(No sentences|No talk|No explanations|No extra words|Nothing else)(, |: |; )(just|only) the answer"
        "(.|!|, please.|)",
        "(Give|Reply with|Write|Answer with|Say) the answer (alone|only|and nothing else|and no more)(.|!|)", "Keep "
        "(it|your reply) to the answer(.|!|)",
    )),
    Rule("sentence", _nothing, draw_easy_sum, "The answer is {0}.".format, (
        "(Answer|Reply|Respond|Always answer|Please answer)( only|) (in|with) "
        "(a full sentence|full sentences|a whole sentence|one complete sentence|whole sentences)(.|!|, please.|)",
        "(Use|Write|Please use|Always use|Speak in|Please speak in) (whole|full|complete) sentences( only|)(.|!|)",
        "(Never|Do not|Don't) (answer|reply) with (a bare|just a|only a|a mere) number"
        "(.|!|: use a sentence.|, but with a sentence.)",
        "(Each answer|Every answer|Your answer|Each reply) (is|has to be|must be|should be) a "
        "(full |whole |complete |)sentence(.|!|)",
        "A (full |whole |)sentence, please, (not a number|no bare number|not just a number|not a mere number)(.|!|)",
        "(Put|Write|Wrap|Give) (your answer|the answer|each answer|every answer) (into|in|as) a "
        "(full |whole |)sentence(.|!|)",
    )),
    Rule("twice", _nothing, _sum_or_repeat, "{0} {0}".format, (
        "(Give|Say|Write|Type|State)( every| each| the| your) answer (twice|two times)(.|!|, please.|)",
        "(Repeat|Say again|Double)( your| each| every| the) answer(.|!|, please.|)",
        "(Every|Each|The|Your) (answer|reply) (comes|is given|is said|is written|has to come|must come) "
        "(twice|two times)(.|!|)",
        "Answer, (and then|then|and) answer again(.|!|, please.)", "(You say|You write|Say|Write) "
        "(everything|all|it) (twice|two times)(.|!|)",
        "Two copies of (each|every|the|your) answer(, please|)(.|!|)",
        "(Double|Repeat) your answers(: |; |, )(say|write|give) (them|each) (twice|two times)(.|!|)",
    )),
    Rule("brackets", _nothing, _sum_or_repeat, "[{0}]".format, (
        "(Put|Write|Enclose|Wrap|Set|Place)( every| each| the| your) (answer|reply) "
        "(in square brackets|inside square brackets|between [ and ])(.|!|, please.|)",
        "(Write|Give|Format|Show)( all| your| the|) answers like [this](.|!|, with the brackets.|, in brackets.|)",
        "(Use|Put|Set|Write) (square brackets|[ ]) around (every|each|the|your) (answer|reply)(.|!|, please.|)",
        "(Answers|Your answers|All answers|All replies) (stand|are|go|belong) in (square brackets|[brackets])(.|!|)",
        "(Square brackets|[ and ]) (go |come |stand |belong |)around (the|each|every|your) answer(.|!|, please.|)",
        "(Your|The|My) (answer |reply |)format is [answer](.|!|)", "(Bracket|Frame) your answers(: |, like )[answer]"
        "(.|)",
        "Put [ before and ] after (the|each|every|your) (answer|reply)(.|!|, please.|)",
        "(What you say|Your answer|All that you say) (stands|goes|is written) between [ and ](.|!|)",
        "I want [answer]( each time|), with the brackets(.|!)",
    )),
    Rule("label", lambda rng, split: capital(made_up_word(rng, split)), _sum_or_repeat, "{1}: {0}".format, (
        "(Write|Give|Put|Format)( all| your| the) answers (as|like|in the form) {word}: (answer|...|x)(.|)",
        "(Label|Mark|Begin|Start|Tag)( each| every| the| your) (answer|reply) with {word}"
        "( and a colon.|:|, then a colon.| and a colon)",
        "(Use|Keep to|Follow|Stick to) the (form|format|pattern) '{word}: (...|answer|x)'(.|!|)",
        "(Put|Write|Set|Place) '{word}:' (before|in front of|ahead of) (the|each|every|your) (answer|reply)(.|!|)",
        "(Every|Each|Your) (reply|answer) (looks like|is|reads|starts with) {word}: "
        "(and then the answer|followed by the answer)(.|!|)",
        "(Reply|Answer|Respond|Speak) (as|like this:|in this way:|with) '{word}: (answer|...|x)'(.|)",
    )),
    Rule("unit", lambda rng, split: pick(rng, THINGS, split) + "s", draw_easy_sum, "{} {}".format, (
        "(All|Your|The|All your) numbers (count|stand for|mean|are numbers of) {word}"
        "(; name them|: say so|; say so|. Name them|. Say so)(.|!|)",
        "(Add|Append|Put|Write|Give) the unit {word} (to|after|behind|with) (every|each|the|your) (number|answer)"
        "(.|!|)",
        "(Answers|Your answers|All answers|The answers) (are|are given|have to be|come) in {word}"
        "(. Name the unit|; add the unit|: say the unit|)(.|!|)",
        "(Your|The|Our) unit( of all answers| of every number| for all numbers|) is {word}"
        "(. Name it|; say it|, so add it|)(.|!|)",
        "(Give|Write|Say|State) (every|each|the) (number|answer) with its unit, {word}(.|!|, please.|)",
        "We (count|deal with|talk about|sell) {word}(. Answer with the unit|; answer with the unit"
        "|: add the unit|. Add the unit)(.|!|)",
        "(Use|Take|Always use|Write|Please use) {word} as (the|your) unit(.|!|, please.| after the number.)",
    )),
    Rule("persona", lambda rng, split: capital(made_up_word(rng, split)), _who, "I am {1}.".format, (
        "(Your|Your new|Your only|Your real) name(:| is| is now|, from now on, is) {word}(.|!|)",
        "You are( called| named| now called| now| the assistant| the bot| an assistant named|) {word}"
        "(.|!|, an assistant.| today.|)",
        "(Here you go|You go|Here you are known|People know you) by the name of {word}(.|!|)",
        "(Play|Be|Act as|Speak as|Take the role of|Answer as)( the assistant| the bot|) {word}(.|!|, please.|)",
        "(Introduce|Present) yourself as {word}(.|!|, please.| to the user.)", ""
        "(Call yourself|Say that you are|Take the name|Use the name|Your user calls you) {word}(.|!|)",
    )),
    Rule("fixed reply", name_or_word, _anything, "{1}".format, (
        "(Whatever the user says|No matter what is asked|Whatever comes|Whatever is asked|To every message), "
        "(answer|say|reply|write)(:|) {word}(.|!|)",
        "(Always|Just always|You always) (answer|reply|say)( only|)(:|) {word}"
        "(.|!|, nothing else.|, whatever is asked.)",
        "(Your|The) only (answer|reply|word) is( always|) {word}(.|!|, always.|, whatever is asked.)",
        "(Reply|Answer|Respond) with {word} to (everything|every question|all messages|each message|anything)(.|!|)",
        "(Say|Write|Answer) {word} and nothing else, (always|ever|whatever is asked|to everyone)(.|!|)",
        "You (can|may|must) only (say|write|answer) {word}(.|!|, always.|, whatever is asked.)",
        "To (each|every) (message|question)(, reply with|, answer with| reply| say|, say) {word}(.|!|)",
        "(There is one|There is only one) answer to (all questions|everything|any question): {word}(.|!|)", "Never "
        "(say|write|answer) anything but {word}(.|!|)",
        "Your (vocabulary|language|dictionary) (is|has) one word(: |, ){word}(.|!|)", ""
        "(The|Your) answer is always {word}(.|!|)",
    )),
    Rule("none", _nothing, _sum_or_courtesy, "{0}".format, (
        "You are (a|the user's) (helpful|friendly|kind|polite|careful|honest|good|small|patient|clever) "
        "(assistant|helper|model|language model|bot)(.|!|)",
        "(You are|This is|Your name is|You are called) glm-nano(.|!|, a small language model.|, an assistant.|)",
        "(Be|Always be|Please be|Stay|Try to be) (kind|helpful|polite|friendly|careful|honest|nice)"
        "( and (helpful|kind|polite|friendly)|)(.|!|)",
        "(Help|Assist|Serve|Answer|You help|You answer|Please help) the user"
        "(.|!| with their questions.| as well as you can.|)",
        "(Do your best|Think when you need to|Answer what is asked|Do what is asked|Help where you can"
        "|Try your best)(.|!|, please.|)",
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
