"""How a user asks for a tool: the request in words, with the values of its arguments somewhere in it."""

from random import Random
from typing import NamedTuple

from glmkit.nano.skills.lexicon import capital, enumerated, with_article
from glmkit.nano.skills.tool_catalogue import Tool
from glmkit.nano.task import Split, pick

__all__ = ["Request", "draw_chain", "draw_request"]

REQUESTS = (
    "(Please |Now |Next, |Just |So, |Hi, |Hey, please |Hi! Please |OK, |Quick: |And now |){clause}"
    "(.|!|, please.| now.|)",
    "{Clause}(.|!|, please.| for me.| for me, please.| now.|, quick.|, if you can.| please|, thanks.|)",
    "{Clause}(, will you|, would you|, can you|, could you|, okay|. Can you do it|. Is that possible)?",
    "(Can|Could|Will|Would) you (please |now |kindly |quickly |)(help me |){clause}(?| for me?|, please?| now?)",
    "(Hi, can|Hello, can|Hey, could|So can|Now can|OK, will|Please, could) you {clause}(?| for me?|, please?)",
    "I( want|'d like| need| would like|'d love) (you |)to {clause}(.|!|, please.| now.|. Can you help?|)",
    "I (have|am trying|was asked|was told|still have|am here) to {clause}(.|. Please do it.|. Do it for me.|!)",
    "(We|Now we|So we) (want|need|have|would like) to {clause}(.|!| now.|, please.)",
    "(My boss|A friend|My team|A client|Someone|My wife) (wants|needs|asked|told|expects) (me|you|us) to {clause}(.|!)",
    "(It is|It's|Now it is|High|Now is the) time to {clause}(.|!|, please.)",
    "(Use|Call|Take|Pick|Choose|Find) (a|the right|the best|some) tool (to|and) {clause}(.|, please.|!|)",
    "(Your task|To do|Job|Task|Request|My request|Next step|Goal|Command|Next)(: |:\n| - ){clause}(.|, please.|)",
    "(Be so kind and|Go ahead and|Try to|Be sure to|Remember to|Let's|Let us|You should|Help me"
    "|You have to) {clause}(.|!|)",
    "(Is it possible|Are you able|Is there a way|Would it be possible|Are you ready) to {clause}?"
    "( Please do.| Thanks.|)",
    "(I hope you can|I wonder if you can|I was hoping you could|It would be nice if you could"
    "|It would help if you could)"
    " {clause}(.|, please.|. Thanks.)",
    "(What I (need|want)|My plan|The idea|The plan|All I want|My wish|Your job) is to {clause}(.|!|, please.)",
)  # fmt: skip
DETAILED = (
    "{Clause}(.|!|, please.) (Details|Data|Input|My input|Values|The data|Arguments|Settings)(: |:\n){details}(.|)",
    "{Clause}(.|!|, please.) (Use|Take|It has|It needs|I say|Here you are:|Note|Mind|You need|We have) {details}(.|!|)",
    "{Clause}(, and use|, and take|; use|; take|, but with|; it has|. I have|. I want) {details}(.|, please.|!|)",
    "(Can|Could|Will|Would) you (please |){clause}? (Use|Take|It has|Details:|Data:|Input:|Here you are:) {details}"
    "(.|)",
    "(With|Given|Using|Based on|Taking|From) {details}, (please |now |I want to |you should "
    "|let's |I have to |){clause}(.|!|)",
    "(Use|Take|Set|Note|Remember|Consider) {details}(. Then | and |, and |, then |; then |, and then ){clause}"
    "(.|, please.|)",
    "(Details|Data|Input|Values|Given|My data|Arguments)(: |:\n){details}(. |.\n|\n){Clause}(.|, please.|!|)",
    "I( want|'d like| need| would like) (you |)to {clause}(.|, please.) (Use|Take|Details:|Data:|It has) {details}(.|)",
    "(I have|We have|Here you have|You get|There is) {details}(. Please|. Now|. So|, so please|, so now) {clause}"
    "(.|!|)",
    "(Let's|Help me|Please|Now|Just) {clause}(.|!) (My input|Details|Data|Values|Take these)(: |:\n){details}(.|)",
)  # fmt: skip
LINKS = (
    "{clause}( with| using| given| where| by| having| and use| and take| for| and set| under| from) {details}",
    "{clause}(:|,|, with|, using|, given|, where|, namely|, taking|, by|, having|, but with|;|, as|: with) {details}",
    "{clause}(,|) (with|using|given|from) (these|the following|these values|this data|this input|the data)"
    ": {details}",
    "{clause}(, and|;| and|, but|:|, so) (use|take|set|note|apply|choose|give) {details}",
    "{clause}(, it has|, this time with|, now with|, only with|, details:|; details:|, data:"
    "|: I say|; I say) {details}",
    "{clause} ((with |use |using |details: |data: |it has |){details})",
)  # fmt: skip
FORMS = (
    "(the |a |its |){name}( | of | as | set to | being | equal to | = |: ){value}",
    "{name}( is |=|: |:| -> |->| = | := | == |, namely | => | at ){value}",
    "(the |its |my |){name} (being|set to|at|equal to|fixed at|kept at|put at) {value}",
    "{value} (as|for|being|used as|taken as|set as) (the |its |){name}",
    "{value} ((the |as |for |its |){name})", "(the |its |a |){name} ((now |here |){value})",
)  # fmt: skip
BARE = (
    "{clause}( |: | with | for | using | by | on | from |, | given | and use | and take | under |, namely ){value}",
    "{clause}(,|:|;) (with|use|take|using|namely|given|I say|that is|it is|for|from|by) {value}",
    "{clause} (with|using|for|from|given|by) (this|the value|the following|this value)(:|) {value}",
    "{clause} ((with |use |for |using |take |){value})",
)  # fmt: skip
CHAINS = (
    "(First |First, |First of all, |Please |To begin, |Now |Please first |Start: |Task: ){first}"
    "(, then |, and then | and then |. Then |. Next, |; then |. After that, |, and after that "
    "|. When done, ){second}(.|!|)",
    "{First}(, then | and then |. Then |; afterwards |. Next, |. After that |. When that is done, "
    "| and |. Finally, ){second}"
    "(.|, please.|!|)",
    "(Can|Could|Will|Would) you (please |first |){first}(, then | and then |, and then | and after that "
    "| and ){second}?",
    "(I want|I need|I'd like|I would like|I expect) you to {first}(, then | and then |, then to "
    "| and then to | and ){second}"
    "(.|, please.|!)",
    "(After|Once|As soon as|When) you {first}, (please |also |you should |you can |){second}(.|!|)",
    "(You have to|You should|Please|You must|Make sure to|Be sure to) {first} before you {second}(.|!|)",
    "Before you {second}, (please |you should |you have to |first |you must |){first}(.|!|, please.)",
    "(Do two things|Two steps|Two tasks|Plan|To do|In this order|Two jobs|My plan)(: |:\n|: first ){first}"
    "(, then |; then |, and then |, and |. Then ){second}(.|)",
    "(Two steps: |Steps:\n|To do:\n|Plan: |Please:\n|)1. {First}(.|;|)(\n| )2. {Second}(.|)",
    "Step (one|1)(: |, ){first}(. |.\n|; |\n)(S|s)tep (two|2)(: |, ){second}(.|)",
    "(Start|Begin|First|Task one)(: | - ){first}(. |.\n|\n)(Next|Then|End|After that|Finally|Last)(: | - ){second}(.|)",
)  # fmt: skip


class Request(NamedTuple):
    """What the user writes, and the wordings it is made of."""

    text: str
    wordings: tuple[str, ...]


def draw_request(rng: Random, split: Split, tool: Tool) -> Request:
    """A whole message that asks for `tool` and gives its arguments."""
    if tool.question and rng.random() < 0.5:
        return Request(tool.question, tool.wordings)
    if tool.given and not tool.complete and rng.random() < 0.25:
        details, form = _details(rng, split, tool)
        wording = pick(rng, DETAILED, split)
        text = wording.format(clause=tool.clause, Clause=capital(tool.clause), details=details)
        return Request(text, (*tool.wordings, form, wording))
    clause, wordings = _with_arguments(rng, split, tool)
    wording = pick(rng, REQUESTS, split)
    return Request(wording.format(clause=clause, Clause=capital(clause)), (*wordings, wording))


def draw_chain(rng: Random, split: Split, first: Tool, second: Tool) -> Request:
    """A message that asks for one and then for the other."""
    one, two = _with_arguments(rng, split, first), _with_arguments(rng, split, second)
    wording = pick(rng, CHAINS, split)
    text = wording.format(first=one.text, second=two.text, First=capital(one.text), Second=capital(two.text))
    return Request(text, (*one.wordings, *two.wordings, wording))


def _with_arguments(rng: Random, split: Split, tool: Tool) -> Request:
    """The tool's clause with its arguments in it: bare where there is but one, else each with its name."""
    if tool.complete or not tool.given:
        return Request(tool.clause, tool.wordings)
    if len(tool.arguments) == 1 and rng.random() < 0.4:
        wording = pick(rng, BARE, split)
        text = wording.format(clause=tool.clause, value=tool.arguments[0].value.said)
        return Request(text, (*tool.wordings, wording))
    details, form = _details(rng, split, tool)
    wording = pick(rng, LINKS, split)
    return Request(wording.format(clause=tool.clause, details=details), (*tool.wordings, form, wording))


def _details(rng: Random, split: Split, tool: Tool) -> tuple[str, str]:
    """The arguments with their names, in any order, and the form in which they are said."""
    form = pick(rng, FORMS, split)
    arguments = rng.sample(tool.given, len(tool.given))
    said = [with_article(form.format(name=argument.said, value=argument.value.said)) for argument in arguments]
    return enumerated(said, rng.choice((" and ", ", "))), form
