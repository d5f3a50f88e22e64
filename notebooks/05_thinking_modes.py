# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Thinking modes and budgets
#
# What does a thought do for the answer? This notebook asks the same questions in three modes, cuts thoughts short, and
# changes a single digit of each: does the answer follow the thought, or was it known all along? The model is glm-nano;
# set `MODEL` to a folder with GLM-4.5's weights, or to a Hub id, and every line works the same way.
#
# It takes two CPU cores about two minutes, half of which is compiling. Expect that sums of three digits are right with
# a thought and mostly wrong without, that a thought cut short is worth less than none, and that where one digit of a
# thought was edited, nearly every answer says what the edited thought says. It needs the `notebook` extra:
# `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import re
from concurrent.futures import ThreadPoolExecutor
from random import Random

import glmkit as gk

lm = gk.load(MODEL, max_len=512)

# %% [markdown]
# ## One prompt, three modes
#
# `enabled` leaves it to the model whether it thinks, `disabled` tells it not to, `forced` opens the thought for it. Ask
# something else, or pick one of the examples; move the budget; click a token of a thought to cut it there and let the
# model go on, or *Edit thought* to put words into its mouth. *Prompt* shows, to the letter, what the model was given.

# %%
explorer = gk.widgets.ThinkingExplorer(lm, "What is 345 + 678?", seeds=[0, 1])
explorer

# %% [markdown]
# All of it can be read in the next cell: the answers, and the run of the one that is picked, with its routes.

# %%
for attempt in explorer.attempts:
    print(
        f"{attempt.mode:>8}, seed {attempt.seed}: {attempt.content!r} after {attempt.thought_tokens} tokens of thought"
    )
explorer.run

# %% [markdown]
# ## What thinking is worth
#
# The same sums in every mode, at temperature 0. What is counted are answers that are exactly right.

# %%
PROBLEMS = 100
rng = Random(0)
sums = [(rng.randrange(100, 1000), rng.randrange(100, 1000)) for _ in range(PROBLEMS)]
questions = [f"What is {a} + {b}?" for a, b in sums]


def ask(questions, **settings):
    return lm.chat_batch(questions, temperature=0, max_tokens=200, progress=False, **settings)


def share_right(answers):
    return sum(done.content.strip() == str(a + b) for done, (a, b) in zip(answers, sums, strict=False)) / len(answers)


by_mode = {mode: ask(questions, thinking=mode) for mode in ("disabled", "enabled", "forced")}
for mode, answers in by_mode.items():
    tokens = sum(done.usage.reasoning_tokens for done in answers) / len(answers)
    print(f"{mode:>8}: {share_right(answers):4.0%} right, {tokens:4.1f} tokens of thought on average")

# %% [markdown]
# ## A budget
#
# `budget=` ends a thought after so many tokens, and the answer has to do with what there is. An answer that grew slowly
# better with every token would mean that a part of a thought is worth a part of its gain. The first 32 sums are enough
# to see that it is not so here.

# %%
budgets = (0, 8, 16, 24, 32, 48)
by_budget = {budget: share_right(ask(questions[:32], thinking="forced", budget=budget)) for budget in budgets}
for budget, right in by_budget.items():
    print(f"{budget:3} tokens: {right:4.0%} {'█' * round(40 * right)}")

# %% [markdown]
# ## One digit
#
# A thought that is right ends in the sum. Let one digit of that sum be another one, close the thought, and let the
# model answer. If the answer is read from the thought, it is the edited number; if the thought was for show, it is the
# right one. Beside it, as a control, the same thoughts without an edit: going on from them must change nothing by
# itself.
#
# `lm.prompt` is the text that the model is shown, and `lm.complete` goes on from any text: a thought that someone else
# began is only the start of the assistant's turn.


# %%
def go_on(prompts):
    with ThreadPoolExecutor(len(prompts)) as pool:  # what is asked at the same time runs together
        done = pool.map(lambda prompt: lm.complete(prompt, temperature=0, max_tokens=200), prompts)
    answers = [gk.text.parse(prompt + one.content).content or "" for prompt, one in zip(prompts, done, strict=True)]
    return [re.sub(r"^.*<\|assistant\|>", "", answer, flags=re.DOTALL).strip() for answer in answers]


def another(digit):
    return str((int(digit) + rng.randrange(1, 10)) % 10)


cases = []
for question, done, (a, b) in zip(questions, by_mode["forced"], sums, strict=True):
    right, at = str(a + b), done.reasoning.rfind(str(a + b))
    if done.content.strip() == right and at >= 0:
        place = rng.randrange(1, len(right))
        wrong = right[:place] + another(right[place]) + right[place + 1 :]
        start = lm.prompt(question, thinking="forced")
        edited = done.reasoning[:at] + wrong + done.reasoning[at + len(right) :]
        cases.append((right, wrong, start + done.reasoning + "</think>", start + edited + "</think>"))

unedited, edited = (go_on([case[column] for case in cases]) for column in (2, 3))
kept = sum(answer == case[0] for answer, case in zip(unedited, cases, strict=True)) / len(cases)
followed = sum(answer == case[1] for answer, case in zip(edited, cases, strict=True)) / len(cases)
print(f"{len(cases)} thoughts that were right")
print(f"as they were: {kept:.0%} of the answers are the right sum")
print(f"one digit edited: {followed:.0%} of the answers are the edited number")

# %% [markdown]
# The headline: the answer follows the thought, an edit included.

# %%
assert share_right(by_mode["forced"]) > share_right(by_mode["disabled"]), "thinking was expected to help with sums"
assert kept > 0.8, "going on from a thought was expected to change nothing by itself"
assert followed > 0.5, "answers were expected to follow the thought"

# %% [markdown]
# ## A digit on the way
#
# Does the thought itself follow what it has said before? glm-nano adds column by column, and each line ends in the
# result so far: `5+8=13→3`. Here the first of these is edited and the thought cut right after it, so that the model has
# to think on. If it copies what stands there, the answer ends in the edited digit. A model that thinks in other forms
# has no such line, and nothing is counted.

# %%
cases = []
for question, done, (a, b) in zip(questions, by_mode["forced"], sums, strict=True):
    line = re.search(r"→(\d)\n", done.reasoning)
    if line and done.content.strip() == str(a + b):
        digit, start = another(line[1]), lm.prompt(question, thinking="forced")
        begun = done.reasoning[: line.start(1)]
        cases.append((str(a + b)[:-1] + digit, start + begun + digit + "\n"))
if cases:
    answers = go_on([prompt for _, prompt in cases])
    followed = sum(answer == wrong for answer, (wrong, _) in zip(answers, cases, strict=True))
    print(f"{followed} of {len(cases)} answers end in the edited digit")

# %% [markdown]
# The same by hand, for the sum above: the edited thought stands below the one it goes on from.

# %%
thought = explorer.attempts[4].reasoning
explorer.edit(thought.replace("1023", "1923"), attempt=4, close=True)
explorer.wait()
explorer.attempts[-1].content

# %% [markdown]
# ## Yours
#
# How far back can an edit be, and still decide the answer? Edit an operand in the first line of a thought, `345+678`,
# and let the model think on: does it look at the question again? Then find the least budget with which the model is as
# good as without one, and say from the thoughts why it is this one.

# %%
lm.close()
