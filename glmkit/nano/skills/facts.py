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
        "(Meet|This is|Say hello to|Let me introduce|Here comes|We met|I know|I saw|Do you know|About) {who}(.|!)",
        "{who} (is new here|called today|wrote to us|moved in next door|came by|is a friend|joined us|was here)"
        "(.|!| today.)",
        "(A note on|Here is what I know of|News of|Some facts about|Now to|A word about|All about) {who}(.|:)",
        "(Today|Last week|Yesterday|Recently) (I|we) (met|saw|called|visited|spoke to) {who}.",
    ),
    (
        Fact("age", "age years how_old", "integer", (4, 99),
             ("{who} is( now| just| already| almost exactly|) {v}( years old| years of age|).",
              "(At|Aged) {v}( years|), {who} (feels well|is happy|still runs|is fine).",
              "{who} (turned|became|got to be|has turned) {v}( this year| today| in spring| last week|).",
              "(The age of {who}|How old {who} is:|{who}'s age)( is|) {v}( years|).",
              "(We know that|They say|I think|You see that) {who} is {v}( years old|).", "{who} has lived {v} years"
              "( now| so far|).")),
        Fact("city", "city town home location", "string", CITIES,
             ("{who} (lives|stays|settled|is at home|has a flat|has a house|rents a room) in {v}"
              "( now| today|).",
              "{who} (moved to|went to live in|came home to) {v}( this year| last year| for good|).",
              "(You find|Write to|Visit|You can meet|Look for) {who} in {v}.",
              "{v} is (home for|home to|where you find|the city of|where you meet|the place of) {who}.")),
        Fact("job", "job work profession role", "string", JOBS,
             ("{who} (works as|is|became|earns money as|was hired as|is known as|makes a living as) a {v}"
              "( now| these days|).",
              "(By profession|For a living|As a job|At work), {who} is a {v}.",
              "(The job|The work|The profession|The role) of {who} is {v}.", "(They|We) "
              "(hired|need|know) {who} as a {v}.",
              "{who}, a {v}, (is at work|works hard|likes the job|has much to do).")),
        Fact("hobbies", "hobbies likes interests", "array", (*HOBBIES, *FOODS),
             ("{who} (likes|enjoys|loves|is fond of|cares for|is keen on|adores|is into|is happy with) {v}"
              "( a lot| very much|).",
              "(The interests of {who} are|What {who} likes:|What {who} likes is|{who}'s likes:|Dear to {who}:) {v}.",
              "(In free time|On Sundays|At home), {who} (likes|enjoys|loves) {v}.")),
        Fact("height", "height tall size", "number", (1.4, 2.1),
             ("{who} (is|stands|measures|grew to|has reached|is about) {v} (m|metres)( tall| in height|).",
              "(With|At) {v} (m|metres), {who} is (not small|tall enough|easy to see|no giant).",
              "{v} (m|metres) is (the height of|what we measured for) {who}.",
              "(The height of {who}|{who}'s height) (is|was measured as|comes to) {v} (m|metres).")),
        Fact("membership", "member is_member joined", "boolean", None,
             ("(Yes, |Note: |)(our club has {who} as a member|{who} is (a member|in our club|one of our members)).",
              "{who} (has joined|belongs to|signed up for|is part of|joined|entered) (the|our) club( now| this year|).",
              "(The club|Our club) (took in|accepted|welcomed|counts on|has) {who}( as a member|)( this year|)."),
             ("(No, |Sadly, |Note: |)(our club does not have {who} as a member|{who} is not (a member|in our club)).",
              "{who} (has not joined|does not belong to|is not part of|never joined|did not sign up for|left) "
              "(the|our) club( yet|).",
              "(The club|Our club) (did not take in|has not accepted|does not have) {who}( as a member|)"
              "( yet|).")),
        Fact("children", "children kids family", "array", NAMES,
             ("{who} (has|is raising|brought up|lives with) the (children|kids) {v}.",
              "{v} (are|would be|make up) (the (children|kids)|all the (children|kids)) of {who}.",
              "{who} is (a|the|a proud|the proud) parent of {v}.",
              "(The|All the) (children|kids) of {who}( are|:| are called| are named) {v}.")),
    ),
)  # fmt: skip
_ORDER = Record(
    "item",
    "item product article thing",
    THINGS,
    (
        "(Someone|Somebody|A client|A friend|I|We|They) (bought|ordered|asked for|got) a {who}.",
        "(There is an order for|A new order came in:|Please pack|The shop sent|The item is|New order:"
        "|On the list:) a {who}.",
        "A {who} (was ordered|was sold|was bought|is on order|has been sold|left the shop)( today| here| by mail|).",
        "(Item|Order|Article|Sold|Product|Bought)(: | - )(a |one |){who}.",
    ),
    (
        Fact("price", "price cost amount", "number", (1.5, 99.5),
             ("(It|The {who}) (costs|cost|was|is|sells for|goes for|came to|went for) {v} euros( in all| now| today|).",
              "(Its (price|cost)|The (price|cost)( of the {who}|)) (is|was|comes to) {v} euros.",
              "(You|They|We) (pay|paid|gave) {v} euros( for it| for the {who}|).", "(Price|Cost)(: | - ){v} euros.")),
        Fact("quantity", "quantity count pieces number", "integer", (2, 60),
             ("{v}( pieces| of them| of it|) (were|have been) (ordered|bought|asked for|sold).",
              "(They|We) (want|need|take|ordered|asked for) {v}( pieces|) of (it|this).",
              "(The box|The parcel|The order) (holds|has|contains|is for) {v} (pieces|of them|of it).",
              "It is (needed|wanted|ordered) {v} times.", "(Quantity|Number|Pieces|Count)(: | - ){v}.")),
        Fact("colour", "color colour paint", "string", COLOURS,
             ("(It|The {who}) (is|comes in|should be|was made in|has to be|must be) {v}( this time| as before|).",
              "(Its (colour|paint)|The (colour|paint)( of the {who}|)) (is|has to be|will be|was) {v}.",
              "(They|We) (chose|picked|took|want) {v}( as the colour|)( this time|).",
              "The colour {v} was (taken|chosen|picked|ordered).", "(Colour|Paint)(: | - ){v}.")),
        Fact("customer", "customer buyer client", "string", NAMES,
             ("{v} (bought|ordered|paid for|asked for|wanted|will get|is waiting for) (it|the {who}).",
              "(The|Our) (customer|buyer|client) (is|is called|was|is named) {v}.",
              "(Send it|It goes|Bring it|Ship it|It is sent|Mail it) to {v}( please| soon|).",
              "(We|They) (packed|made|kept|wrapped) (it|the {who}) for {v}.", "(Customer|Buyer|Client)(: | - ){v}.")),
        Fact("date", "date day ordered_on", "string", "date",
             ("(It|The {who}) (was ordered|came in|was bought|was sold|was asked for) on {v}.",
              "(That was on|The order is from|We noted it on|It is dated|The order came in on) {v}.",
              "(The|Its) (date|day|order date) (is|was) {v}.", "(Date|Day|Ordered on|Ordered)(: | - ){v}.")),
        Fact("payment", "paid is_paid payment_done", "boolean", None,
             ("(Yes, |Note: |)(it|the {who}) (is|has been|was) (paid|paid for|paid in full).",
              "(The money|The payment|All the money) (has arrived|is here|came in|was received)( today| at last|).",
              "The bill (is|has been|was) (settled|paid)( in full| today|)."),
             ("(No, |Note: |Sadly, |)(it|the {who}) (is not|has not been|was not|is not yet) (paid|paid for).",
              "(The money|The payment) (has not arrived|is not here|did not come|was not sent)( yet| so far|).",
              "The bill (is not|has not been|was not) (settled|paid)( yet| so far|).")),
        Fact("extras", "extras parts accessories", "array", (*THINGS, *COLOURS),
             ("(It|The {who}|The box|The parcel) (comes with|includes|also has|has as extras) {v}.",
              "(In the box|With it|Beside it) (are also|come|you find|you get) {v}.",
              "(The|Its) (extras|parts|accessories) are {v}.", "{v} (are included|were added"
              "|come with it|are in the box).",
              "(They|We) (added|put in|included|packed) {v}( too| as extras|).")),
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
        "(There will be|We plan|You are invited to|Soon we have|We look forward to|Come to|I plan) a {who}(.|!)",
        "A {who} (is coming up|is planned|will be held|takes place)( soon| this year| again|)(.|!)",
        "(Do not miss|News about|Join|Everyone talks about|Read about|All about|Welcome to) the {who}(.|!)",
        "(Event|Invitation|Next event|Coming up)(: | - )(a |the |){who}.",
    ),
    (
        Fact("place", "place city location where", "string", CITIES,
             ("(It|The {who}) (takes place|is held|is|happens|will be|is planned) in {v}( this time| again|).",
              "(The|Its) (place|city|location) is {v}.", "(We|They|All) meet in {v}( for it|)( this time|).",
              "(Come|Travel|Go) to {v} for (it|the {who}).", "(Place|City|Where)(: | - ){v}.")),
        Fact("date", "date day when", "string", "date",
             ("(It|The {who}) (is set for|happens on|is on|takes place on|will be on) {v}.",
              "(The|Its) (date|day) is {v}.", "(Save|Mark|Note|Remember|Keep) (the date|the day): {v}.",
              "(Come|Be there|We meet) on {v}.", "{v} is the (day|date)( of the {who}|).", "(Date|Day|When)"
              "(: | - ){v}.")),
        Fact("time", "time start begins_at hour", "string", "time",
             ("(It|The {who}) (begins|starts|opens|is|kicks off) at {v}( sharp| on the dot|).",
              "(Doors open|Be there|Come|We start|We begin|Arrive) at {v}( sharp| please|).",
              "(The|Its) (time|start|starting time) is {v}.", "(Time|Start|Begins)(: | at ){v}.")),
        Fact("seats", "seats capacity places", "integer", (5, 900),
             ("(There are|We have|The room has|The hall has|You find|It has) {v} (seats|places|chairs)( in all|).",
              "(At most |Up to |){v} (people|guests|visitors) can (come|sit|take part|be there).",
              "(We|The hall|The room) (can seat|could seat|has room for) {v}( people| guests|).",
              "{v} (chairs|seats|places) are (ready|there|set up|free).", "(Seats|Places)(: | - ){v}.")),
        Fact("speaker", "speaker host guest", "string", NAMES,
             ("{v} (will speak|is the host|leads the {who}|gives the talk|is on stage|is the speaker"
              "|will be the speaker).",
              "(The|Our) (speaker|host)( of the {who}|) (is|will be|is called) {v}.",
              "(You will|We will|You can) (hear|listen to) {v}( speak|)( there|).", "(Speaker|Host)(: | - ){v}.")),
        Fact("fee", "fee price ticket", "number", (2.5, 60.5),
             ("(A ticket|A seat|One ticket|A place) (costs|is|sells for) {v} euros( this time| now|).",
              "(Its (fee|price)|The (fee|price)( of the {who}|)) is {v} euros.", "(You|We|All) pay {v} euros"
              "( for a ticket| to get in|).",
              "Tickets (are|cost|sell for) {v} euros( each|).", "(Fee|Price|Ticket)(: | - ){v} euros.")),
        Fact("free entry", "free free_entry open", "boolean", None,
             ("(Entry|Admission|The {who}|It) is free( of charge| for all| this time|).",
              "(You|All|Everybody) can (come|enter|join|get in) for free( this time|).",
              "(Nobody|No one) (has to|needs to|must) (pay|buy a ticket)( this time|)."),
             ("(Entry|Admission|The {who}|It) is not free( of charge| this time|).",
              "You cannot (come|enter|join|get in) for free( this time|).",
              "(Everybody|Everyone) (has to|needs to|must) (pay|buy a ticket)( this time|).")),
        Fact("guests", "guests people attendees", "array", NAMES,
             ("{v} (will come|have said yes|are on the list|will be there|are invited|want to come|signed up).",
              "(The|Our) guests( of the {who}|)( are|:| will be) {v}.", "(We|They) "
              "(expect|invited|await|hope for) {v}( there|).",
              "(On the list|Among the guests|On the guest list) are {v}.", "Guests(: | - ){v}.")),
    ),
)  # fmt: skip
_PET = Record(
    "pet",
    "name pet pet_name called",
    NAMES,
    (
        "(This|Our|My|The|That) pet is (called|named) {who}(.|!)", "(We found|Today we saw|I saw|Look at|Meet) {who}"
        "(.|!)",
        "{who} (is a pet|came to the vet|is a good pet|needs a home|was here|was at the vet|is our pet)"
        "( today| now|)(.|!)",
        "(Vet's note|Our pet|Pet|A pet|The pet|Note)(: | - ){who}.",
    ),
    (
        Fact("animal", "animal species kind", "string", ANIMALS,
             ("({who}|It|The pet|This pet|The animal) is a( nice| good| small| sweet|) {v}( as you see|).",
              "(You|We) (see|saw|have) a( nice| good| small|) {v}( here|).", "{who} is the name of a {v}.",
              "{who}, a {v}, (is here|is well|came along|looks fine).", "(Animal|Species|Kind)(: | - ){v}.")),
        Fact("age", "age years how_old", "integer", (2, 19),
             ("({who}|It|The pet) is( now| about| just| already|) {v} years (old|of age).",
              "(Its age|The age( of {who}|)) is {v}( years|).", "({who}|It) (has lived for|is past|has seen) {v} years"
              "( now|).",
              "({who}|It) turned {v}( this spring| this year| today| last week|).", "{v} years ago {who} was born.",
              "(Age|Years)(: | - ){v}.")),
        Fact("weight", "weight kg mass", "number", (0.5, 49.5),
             ("({who}|It|The pet) (weighs|weighed|has|is at|comes to) {v} kg( now| today|).",
              "(Its (weight|mass)|The (weight|mass)( of {who}|)) is {v} kg.", "(The scale|The scales) "
              "(showed|said) {v} kg"
              "( for {who}|).", "(We|The vet|They) (measured|noted|read) {v} kg( for {who}|)( today|).",
              "{v} kg is (what {who} weighs|the weight)( today|).", "(Weight|Mass)(: | - ){v} kg.")),
        Fact("owner", "owner human belongs_to", "string", NAMES,
             ("(Its (owner|human)|The (owner|human)( of {who}|)) is( called| named|) {v}.", ""
              "({who}|It|The pet) belongs to {v}"
              "( now|).",
              "{v} (owns|brought|keeps|came with|is the owner of|is the human of) {who}.",
              "{v} is (the|its) (owner|human).", "(Owner|Human)(: | - ){v}.")),
        Fact("colour", "color colour fur", "string", COLOURS,
             ("({who}|It|The pet) (is|looks|is all|is mostly|seems) {v}( all over| in colour|).",
              "(Its (fur|colour|coat)|The (fur|colour|coat)( of {who}|)) is {v}.", "(You see|We saw|It has) {v} fur.",
              "(Colour|Fur)"
              "(: | - ){v}.")),
        Fact("vaccination", "vaccinated has_shots protected", "boolean", None,
             ("({who}|It|The pet) (is|has been|was) vaccinated( this year| by the vet| in time|).",
              "({who}|It|The pet) (has had|got|has got) (its|all|the) shots( now| this year|).",
              "(The|All|Its) shots (are|were) (done|given)( now| this year|).", "({who}|It) got (its|the) vaccine"
              "( today|)."),
             ("({who}|It|The pet) (is not|has not been|was not|was never) vaccinated( yet| this year|).",
              "({who}|It|The pet) (has not had|did not get|has not got) (its|any|the) shots( yet| this year|).",
              "(The|Its) shots (are|were) not (done|given)( yet| this year|).", "({who}|It) got no vaccine"
              "( yet| today|).")),
        Fact("food", "food eats diet", "array", FOODS,
             ("({who}|It|The pet) (eats|gets|is fed|lives on|likes to eat|needs|takes) {v}( each day| at home|).",
              "(Give|Feed) (it|{who}) {v}( please| each day|).", ""
              "(Its (food|diet)|The (food|diet)( of {who}|)) is {v}.",
              "(Food|Diet)(: | - ){v}.")),
    ),
)  # fmt: skip

RECORDS = (_PERSON, _ORDER, _EVENT, _PET)

ATTRIBUTE_SAID = (
    "(The|Its|Their|Our|This|That|Here the|Now the) {what} (is|was set to|has become|should be"
    "|reads|was|stays|equals) {v}.",
    "(The |Its |){what}(: | = | - | -> |=|:){v}(.|;|)",
    "(As for|About|On|Now to|For) (the|its) {what}(: it is|, it is|:|, we have|, I read|, it says) {v}.",
    "(We know|They say|You can see|I read|Note|I heard|It is clear) that (the|its) {what} is {v}.",
    "(Note|Write down|Set|Remember|Put down|Take) (the|as|as its) {what}: {v}.",
    "{v} (is|was noted as|was given as|will be|was set as|was written as) (the|its) {what}.",
    "(It|This one|The thing|That) has (the |a |as |as its |){what} {v}.", "({what}: {v})", "({what} = {v})",
    "The (value|entry) (of|for|under) {what} is {v}.",
    "(Under|At|For|Beside|Next to) {what} (it says|I read|we have|stands|they wrote|you find) {v}.",
    "(I read|I see|We noted|We have|They wrote|My notes give|You find) {v} (for|as|under) (the |its |){what}.",
)  # fmt: skip
"""Ways to say anything that has a word of its own."""
