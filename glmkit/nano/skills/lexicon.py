"""What several skills draw from: names, places, things, words made of syllables that nobody has seen, the mode.

Each comes from one side of the held-out line only; what is said with them is the skills' own.
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal

from glmkit.nano.task import Split, Task, assistant, of_split, pick, user

__all__ = [
    "ANIMALS",
    "CITIES",
    "COLOURS",
    "FOODS",
    "HOBBIES",
    "JOBS",
    "NAMES",
    "THINGS",
    "answered_at_once",
    "capital",
    "code",
    "date",
    "drawn",
    "enumerated",
    "made_up_word",
    "name_or_word",
    "own",
    "pick_several",
    "syllables",
    "thinking_mode",
    "with_article",
    "words",
]


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = words(
    "Tom Mia Sam Ana Ben Lin Max Eva Ali Zoe Leo Ida Noah Emma Omar Lucy Paul Nina Hugo Vera Igor Rosa Finn Maya Jack "
    "Sofia Adam Clara David Elena Felix Grace Henry Irene James Julia Karl Laura Mark Nora Oscar Petra Ravi Sara Tina "
    "Uma Victor Wendy Yara Yuki Chen Wei Mei Jun Hana Kofi Amara Aisha Hassan Fatima Diego Lola Pablo Ines Bruno Carla "
    "Dana Erik Frida Greta Hans Inga Jonas Kira Lars Marta Nils Olga Piotr Quinn Rita Sven Tara Ugo Vito Willa Xenia "
    "Zara Anton Bella Cyrus Dora Edgar Fiona Gina Helen Ivan Jenny Kevin Linda Mona Nathan Opal Peter Ruth Simon Tess "
    "Alice Bob Carol Daniel Emily Frank"
)
CITIES = words(
    "Paris Rome Berlin London Madrid Vienna Lisbon Oslo Prague Athens Dublin Warsaw Cairo Lagos Nairobi Tokyo Osaka "
    "Seoul Beijing Shanghai Delhi Mumbai Hanoi Bangkok Sydney Perth Toronto Boston Chicago Dallas Denver Miami Seattle "
    "Lima Quito Bogota Havana Santiago Geneva Zurich Milan Naples Turin Venice Munich Hamburg Bremen Lyon Nice Bergen "
    "Porto Seville Valencia Tunis Accra Dakar Riga Tallinn Helsinki Stockholm Brussels Ghent Leeds Oxford York "
    "Austin Houston Phoenix Montreal Kyoto Busan Manila Jakarta Karachi Tehran Baghdad Amman Doha Dubai"
)
THINGS = words(
    "lamp chair table book pen bag cup plate knife clock phone camera bike drum guitar piano hat coat shirt shoe belt "
    "ring box key rope brush mirror carpet basket bottle candle ladder hammer tent blanket pillow umbrella wallet "
    "radio desk shelf vase towel scarf kettle bench fan rug helmet compass magnet pencil notebook backpack kite "
    "puzzle mug jacket sofa stool bucket shovel whistle lantern ticket stamp coin"
)
FOODS = words(
    "bread rice soup cheese salad pasta pizza apples pears plums grapes honey butter eggs milk tea coffee sugar salt "
    "onions carrots beans nuts cake cookies fish chicken potatoes lemons melons mushrooms tomatoes peaches yogurt "
    "noodles pepper olives garlic cherries oranges"
)
COLOURS = words("red blue green yellow black white brown orange purple pink grey gold silver beige violet turquoise")
JOBS = words(
    "teacher doctor nurse baker farmer lawyer painter singer pilot driver cook writer judge waiter tailor plumber "
    "dentist barber butcher gardener actor dancer sailor soldier chemist banker clerk librarian carpenter engineer "
    "mechanic photographer florist translator"
)
HOBBIES = words(
    "chess tennis music reading sailing dancing painting running hiking cooking fishing skiing golf yoga cycling "
    "swimming singing gardening football climbing rowing boxing surfing knitting skating archery pottery camping "
    "judo photography"
)
ANIMALS = words(
    "cat dog horse cow goat sheep pig duck hen rabbit parrot mouse hamster snake turtle pony donkey goose lizard canary"
)

_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")


def drawn(split: Split, draw: Callable[[], str]) -> str:
    """The first of the texts that `draw` gives to belong to `split`."""
    while not of_split(text := draw(), split):
        pass
    return text


def syllables(rng: Random) -> str:
    """Two or three syllables, of either side of the line: parts of something longer that is of one."""
    return "".join(rng.choices(_SYLLABLES, k=2 if rng.random() < 0.7 else 3))


def made_up_word(rng: Random, split: Split) -> str:
    """A word of two or three syllables: cheap to copy, and new."""
    return drawn(split, lambda: syllables(rng))


def code(rng: Random, split: Split, digits: int = 2) -> str:
    """One or two capital letters and `digits` digits, such as "K41"."""
    return drawn(
        split,
        lambda: "".join(rng.choices("ABCDEFGHKLMNPRSTVXZ", k=rng.randint(1, 2)) + rng.choices("123456789", k=digits)),
    )


def date(rng: Random) -> str:
    return f"20{rng.randint(10, 39)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def own(options: Sequence[str], split: Split) -> list[str]:
    """Those of the options that belong to `split`."""
    return [option for option in options if of_split(option, split)]


def pick_several(rng: Random, options: Sequence[str], split: Split, count: int) -> list[str]:
    """`count` different ones of the options that belong to `split`; fewer when it has fewer."""
    choices = own(options, split)
    return rng.sample(choices, min(count, len(choices)))


def enumerated(items: Sequence[str], last: str = " and ") -> str:
    """The items as a sentence names them: `a, b and c`."""
    return last.join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]


def capital(text: str) -> str:
    """The text with its first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def with_article(text: str) -> str:
    """The text with "a" before a vowel made "an"."""
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)


def name_or_word(rng: Random, split: Split) -> str:
    """Something short to be copied: a person, a city, a thing or a made-up word."""
    source = rng.choice((NAMES, CITIES, THINGS, ()))
    return pick(rng, source, split) if source else made_up_word(rng, split)


def answered_at_once(rng: Random, skill: str, template: str, question: str, answer: object, thought: str) -> Task:
    """A task of one question that needs no thought; `thought` is what a forced one says."""
    mode = thinking_mode(rng)
    return Task(skill, template, (user(question), assistant(answer, thought if mode == "forced" else "")), mode)


def thinking_mode(rng: Random) -> Literal["enabled", "disabled", "forced"]:
    """A mode for a task that is done as well without a thought."""
    return rng.choices(("enabled", "disabled", "forced"), weights=(60, 35, 5))[0]
