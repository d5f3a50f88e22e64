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
# # Tools, agents and answers by a schema
#
# A model calls a function when the conversation needs one, and whoever runs the function decides what the model hears.
# This notebook declares a typed Python function as a tool, runs the loop of calls and results, takes the calls into
# one's own hands in a chat (approved, edited, made up), and asks for JSON that a schema validates. The model is glm-
# nano; set `MODEL` to a folder with GLM-4.5's weights, or to a Hub id, and every line works the same way.
#
# It takes two CPU cores less than a minute, most of which is compiling. Expect a call with arguments of the declared
# types, an answer that follows from the result that it was given, be it made up, and, at a temperature at which words
# fall apart, JSON that is right in form every time. It needs the `notebook` extra: `pip install "glmkit[notebook]"`.

# %% tags=["parameters"]
MODEL = "nano"

# %%
import json

import glmkit as gk

lm = gk.load(MODEL, max_len=1024)

# %% [markdown]
# ## A function is a tool
#
# Its signature and docstring become the schema that the model is shown. What the model calls is read by the same
# schema: names and types are those that were declared.


# %%
def get_weather(city: str) -> str:
    "Get the weather in a city"
    return json.dumps({"temperature": {"Oslo": 12, "Rome": 28}.get(city, 20)})


print(json.dumps(gk.text.function_schema(get_weather), indent=1))
done = lm.chat("What is the weather in Oslo?", tools=[get_weather], temperature=0, max_tokens=100)
done.tool_calls

# %% [markdown]
# ## The loop
#
# `lm.agent` calls the function, tells the model what came, and goes on until the model needs no tool.

# %%
for step in lm.agent("What is the weather in Oslo?", tools=[get_weather], temperature=0, max_tokens=100):
    print(step.number, step.completion.content or [(call.name, call.arguments) for call in step.completion.tool_calls])
    for result in step.results:
        print("  ", result.content)

# %% [markdown]
# ## In one's own hands
#
# In a chat every call waits on a card. Approve it, put other arguments in, make a result up, or decline; or do it from
# the next cell, as here: the city is another one when the function is called, and the model is none the wiser.

# %%
chat = gk.widgets.Chat(lm, tools=[get_weather], temperature=0, max_tokens=100)
chat

# %%
chat.ask("What is the weather in Oslo?")
chat.wait()
print(chat.pending.name, chat.pending.arguments)
chat.approve({"city": "Rome"})
chat.wait()
print(chat.messages[-1]["content"])

# %% [markdown]
# And here nothing is called at all: what the model is told is made up, and it says so to the user.

# %%
chat.ask("What is the weather in Oslo?")
chat.wait()
chat.mock('{"temperature": 31}')
chat.wait()
print(chat.messages[-1]["content"])
print([(card.state, card.given, card.result) for turn in chat.turns for card in turn.cards])

# %% [markdown]
# The first headline: the answer follows the result that the model was given, not what the function would have said.

# %%
assert "31" in chat.messages[-1]["content"], "an answer was expected to tell the result"

# %% [markdown]
# The same conversation for a client of another library:

# %%
print(chat.code("openai"))

# %% [markdown]
# ## Answers by a schema
#
# With `response_format` the model can only write what the schema allows: at each place the tokens that would leave it
# are ruled out. Which values it writes is still up to the model. At temperature 2 hardly a word is right, and the form
# is.

# %%
schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
form = {"type": "json_schema", "json_schema": {"schema": schema}}
asked = ["Text: Meet Olga. Olga is 31 years old.\nFields: name (string), age (integer)\nJSON:"] * 12
settings = {"thinking": "disabled", "temperature": 2.0, "max_tokens": 60, "seed": 0, "progress": False}


def follows(text):
    try:
        value = json.loads(text)
    except ValueError:
        return False
    if not isinstance(value, dict) or value.keys() != {"name", "age"}:
        return False
    return isinstance(value["name"], str) and type(value["age"]) is int and 0 <= value["age"] <= 120


conversations = [f"{text}{' ' * number}" for number, text in enumerate(asked)]  # so that each is drawn anew
with_form = lm.chat_batch(conversations, response_format=form, **settings)
without = lm.chat_batch(conversations, **settings)
finished = [answer.content for answer in with_form if answer.finish_reason == "stop"]
kept, free = sum(map(follows, finished)), sum(follows(answer.content) for answer in without)
print(f"with the schema {kept} of {len(finished)} answers follow it, without {free} of {len(without)}")
print(finished[:3])

# %% [markdown]
# The second headline: every answer that came to its end follows the schema.

# %%
assert finished, "some answer was expected to come to its end"
assert kept == len(finished)

# %% [markdown]
# ## Yours
#
# Give the model two tools, and ask for something that needs one after the other. When does it stop calling, and what
# does it do when you decline the first call? Open a turn with a call in the routing probe (*Open in probe*): do the
# tokens of the call go to other experts than those of the answer? `chat.run.routing.contrast("tool", "answer")` is a
# start.

# %%
lm.close()
