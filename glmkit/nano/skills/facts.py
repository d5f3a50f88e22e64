"""What there is to know of a person, an order, an event or a pet, and how it is said in a text. Data only."""

from typing import NamedTuple

from glmkit.nano.skills.lexicon import ANIMALS, CITIES, COLOURS, FOODS, HOBBIES, JOBS, NAMES, THINGS, words

__all__ = ["ATTRIBUTE_SAID", "RECORDS", "Fact", "Record"]


class Fact(NamedTuple):
    """`source` is a list to choose from, (low, high) of a number, or what makes the value: "date", "time"."""

    about: str
    names: str  # what a field for it may be called
    kind: str  # "string", "integer", "number", "boolean" or "array", which is of strings
    source: object
    said: tuple[str, ...]
    denied: tuple[str, ...] = ()  # of a boolean: said when it is false


class Record(NamedTuple):
    """What is named first, in a sentence of `leads`, and what else may be said of it."""

    about: str
    names: str
    subjects: tuple[str, ...]
    leads: tuple[str, ...]
    facts: tuple[Fact, ...]


_PERSON = Record(
    "name",
    "name person who full_name",
    NAMES,
    (
        "Meet {who}.", "This is {who}.", "{who} is new here.", "A note on {who}.", "{who} called today.",
        "We met {who}.",
        "I know {who}.", "{who} wrote to us.", "Here is what I know of {who}.", "{who} moved in next door.",
        "Say hello to {who}.",
    ),
    (
        Fact("age", "age years how_old", "integer", (4, 99),
             ("{who} is {v} years old.", "{who} is {v}.", "{who} turned {v} this year.", "At {v}, {who} feels well.",
              "{who} is aged {v}.", "{who} has just become {v} years old.", "{who} has lived {v} years.",
              "{who} had a birthday and is now {v}.", "We know that {who} is {v}.",
              "{v} years is the age of {who}.")),
        Fact("city", "city town home location", "string", CITIES,
             ("{who} lives in {v}.", "{who} has a flat in {v}.", "{who} settled in {v}.", "Write to {who} in {v}.",
              "{who} moved to {v}.", "{v} is home for {who}.",
              "You find {who} in {v}.", "{who} stays in {v}.")),
        Fact("job", "job work profession role", "string", JOBS,
             ("{who} works as a {v}.", "{who} is a {v}.", "{who} earns money as a {v}.", "{who} became a {v}.",
              "By profession, {who} is a {v}.")),
        Fact("hobbies", "hobbies likes interests", "array", (*HOBBIES, *FOODS),
             ("{who} likes {v}.", "{who} enjoys {v}.", "{who} loves {v}.", "{who} is fond of {v}.",
              "{who} cares for {v}.")),
        Fact("height", "height tall size", "number", (1.4, 2.1),
             ("{who} is {v} m tall.", "{who} measures {v} metres.", "{who} is {v} metres in height.",
              "{who} stands {v} m high.", "With {v} m, {who} is not small.", "{v} m is how tall {who} is.",
              "{who} grew to {v} m.")),
        Fact("membership", "member is_member joined", "boolean", None,
             ("{who} is a member.", "{who} has joined the club.", "{who} belongs to the club.",
              "{who} is in our club.", "{who} is one of our members.", "{who} signed up as a member.",
              "Yes, {who} is a member."),
             ("{who} is not a member.", "{who} has not joined the club.", "{who} does not belong to the club.",
              "{who} is not in our club.")),
        Fact("children", "children kids family", "array", NAMES,
             ("{who} has the children {v}.", "{v} are the children of {who}.", "{who} is a parent of {v}.",
              "The kids of {who} are {v}.")),
    ),
)  # fmt: skip
_ORDER = Record(
    "item",
    "item product article thing",
    THINGS,
    (
        "Someone bought a {who}.", "There is an order for a {who}.", "A {who} was ordered.", "We sold a {who}.",
        "The item is a {who}.",
        "A new order came in: a {who}.", "I ordered a {who}.", "Please pack a {who}.", "The shop sent a {who}.",
        "Item: {who}.",
    ),
    (
        Fact("price", "price cost amount", "number", (1.5, 99.5),
             ("It costs {v} euros.", "The price is {v} euros.", "It was {v} euros.",
              "You pay {v} euros for the {who}.",
              "The {who} costs {v} euros.")),
        Fact("quantity", "quantity count pieces number", "integer", (2, 60),
             ("{v} pieces were ordered.", "They want {v} of it.", "It is needed {v} times.",
              "The box holds {v} of them.",
              "The order is for {v} pieces.")),
        Fact("colour", "color colour paint", "string", COLOURS,
             ("The {who} is {v}.", "Its colour is {v}.", "It comes in {v}.", "They chose {v}.",
              "The colour {v} was taken.")),
        Fact("customer", "customer buyer client", "string", NAMES,
             ("{v} bought it.", "The customer is {v}.", "It goes to {v}.", "{v} ordered the {who}.",
              "Send it to {v}.", "{v} is waiting for it.", "We packed it for {v}.", "The buyer is called {v}.")),
        Fact("date", "date day ordered_on", "string", "date",
             ("It was ordered on {v}.", "The date is {v}.", "That was on {v}.", "The order is from {v}.",
              "It came in on {v}.")),
        Fact("payment", "paid is_paid payment_done", "boolean", None,
             ("It is paid.", "It has been paid.", "The {who} is paid for.", "The money has arrived.",
              "It was paid in full.", "Yes, it is paid.", "The bill is settled."),
             ("It is not paid.", "It has not been paid.", "The {who} is not paid for.",
              "The money has not arrived.")),
        Fact("extras", "extras parts accessories", "array", (*THINGS, *COLOURS),
             ("It comes with {v}.", "In the box are also {v}.", "The extras are {v}.", "They added {v}.",
              "{v} are included.")),
    ),
)  # fmt: skip
_EVENT = Record(
    "event",
    "event title name what",
    words(
        "concert party meeting lecture workshop exam dinner match wedding fair parade picnic contest lesson debate "
        "opening market play reading race trial tour festival gala auction seminar summit ball"
    ),
    (
        "There will be a {who}.", "We plan a {who}.", "You are invited to a {who}.", "A {who} is coming up.",
        "The {who} is near.",
        "Do not miss the {who}.", "News about the {who}.", "Join the {who}.", "Everyone talks about the {who}.",
        "Event: {who}.",
    ),
    (
        Fact("place", "place city location where", "string", CITIES,
             ("It takes place in {v}.", "The place is {v}.", "It is held in {v}.", "Come to {v} for the {who}.",
              "We meet in {v}.")),
        Fact("date", "date day when", "string", "date",
             ("It is on {v}.", "The date is {v}.", "Save the date: {v}.", "The {who} is set for {v}.",
              "{v} is the day.", "Come on {v}.", "Mark {v} in your calendar.", "It happens on {v}.")),
        Fact("time", "time start begins_at hour", "string", "time",
             ("It begins at {v}.", "The {who} starts at {v}.", "Doors open at {v}.", "Be there at {v}.",
              "The time is {v}.")),
        Fact("seats", "seats capacity places", "integer", (5, 900),
             ("There are {v} seats.", "{v} people can come.", "The room has {v} places.",
              "We have room for {v} guests.", "At most {v} can come.", "{v} chairs are ready.",
              "We can seat {v} people.", "The hall seats {v}.")),
        Fact("speaker", "speaker host guest", "string", NAMES,
             ("{v} will speak.", "The speaker is {v}.", "{v} is the host.", "{v} leads the {who}.",
              "You will hear {v}.", "{v} gives the talk.", "Our guest is {v}.", "{v} is on stage.")),
        Fact("fee", "fee price ticket", "number", (2.5, 60.5),
             ("A ticket costs {v} euros.", "The fee is {v} euros.", "You pay {v} euros.", "Tickets are {v} euros.")),
        Fact("free entry", "free free_entry open", "boolean", None,
             ("Entry is free.", "You can come for free.", "Nobody has to pay.", "It is free."),
             ("Entry is not free.", "You cannot come for free.", "Everybody has to pay.", "It is not free.")),
        Fact("guests", "guests people attendees", "array", NAMES,
             ("{v} will come.", "The guests are {v}.", "We expect {v}.", "{v} have said yes.",
              "On the list are {v}.")),
    ),
)  # fmt: skip
_PET = Record(
    "pet",
    "name pet pet_name called",
    NAMES,
    (
        "This pet is called {who}.", "Our pet is {who}.", "Look at {who}.", "{who} is a pet.",
        "{who} came to the vet.", "Vet's note: {who}.",
        "We found {who}.", "{who} is a good pet.", "Today we saw {who}.", "The pet {who} is here.",
        "{who} needs a home.",
    ),
    (
        Fact("animal", "animal species kind", "string", ANIMALS,
             ("{who} is a {v}.", "It is a {v}.", "The animal is a {v}.", "You see a {v}.",
              "{who} is the name of a {v}.")),
        Fact("age", "age years how_old", "integer", (2, 19),
             ("{who} is {v} years old.", "It is {v} years old.", "The age is {v}.",
              "{who} has lived for {v} years.", "{who} is {v} now.", "It turned {v} this spring.",
              "{v} years ago {who} was born.")),
        Fact("weight", "weight kg mass", "number", (0.5, 49.5),
             ("{who} weighs {v} kg.", "It weighs {v} kg.", "The scale says {v} kg.", "Its weight is {v} kg.",
              "It has {v} kg.", "{who} is {v} kg heavy.", "We measured {v} kg.", "{v} kg is what {who} weighs.")),
        Fact("owner", "owner human belongs_to", "string", NAMES,
             ("{v} is the owner.", "It belongs to {v}.", "{v} owns {who}.", "{v} brought {who} in.",
              "The owner is {v}.")),
        Fact("colour", "color colour fur", "string", COLOURS,
             ("{who} is {v}.", "It is {v}.", "The fur is {v}.", "Its colour is {v}.", "{who} looks {v}.")),
        Fact("vaccination", "vaccinated has_shots protected", "boolean", None,
             ("{who} is vaccinated.", "It has had its shots.", "It is vaccinated.", "The shots are done.",
              "It got its vaccine.", "{who} has been vaccinated."),
             ("{who} is not vaccinated.", "It has not had its shots.", "It is not vaccinated.",
              "The shots are not done.", "It got no vaccine.", "{who} has not been vaccinated.")),
        Fact("food", "food eats diet", "array", FOODS,
             ("{who} eats {v}.", "It eats {v}.", "Give it {v}.", "Its food is {v}.", "{who} gets {v}.")),
    ),
)  # fmt: skip

RECORDS = (_PERSON, _ORDER, _EVENT, _PET)

ATTRIBUTE_SAID = (
    "The {what} is {v}.", "The {what}: {v}.", "As for the {what}, it is {v}.", "We know the {what}: {v}.",
    "For {what} we have {v}.",
    "{v} is the {what}.", "They say the {what} is {v}.", "Note the {what}: {v}.", "Its {what} is {v}.",
    "The {what} was set to {v}.",
    "{what}: {v}.", "{what} = {v}.", "The {what} has become {v}.", "You can see that the {what} is {v}.",
    "({what}: {v})",
    "The value of {what} is {v}.", "{what} is {v}.", "It has the {what} {v}.", "Under {what} it says {v}.",
    "Its {what}, they say, is {v}.", "Here the {what} reads {v}.", "I read {v} for the {what}.",
    "{v} was noted as {what}.", "The {what} should be {v}.", "On {what}: {v}.", "My notes give {v} as the {what}.",
    "Set as {what}: {v}.", "{what} - {v}.",
)  # fmt: skip
"""Ways to say anything that has a word of its own."""
