"""The tools that people try first, each with several ways to describe it and to ask for it. Data only."""

from typing import NamedTuple

__all__ = ["KNOWN", "Known"]


class Known(NamedTuple):
    """What is said are patterns, as `pick` reads them; `{0}` stands for the first argument, and so on."""

    topic: str
    names: str
    descriptions: tuple[str, ...]
    arguments: tuple[tuple[str, str], ...]  # (kind, names for it)
    clauses: tuple[str, ...]  # may follow "please"
    questions: tuple[str, ...]  # stand alone


_CITY = ("city", "city place town location")

KNOWN = (
    Known(
        "weather",
        "weather get_weather weather_in forecast get_forecast current_weather",
        (
            "(Get|Show|Find|Tell|Look up|Check) (the|the current|today's) (weather|forecast) (in a|of a|for a) "
            "(city|place|town)",
            "(The |)(current |local |)(weather|forecast)( report| data| now| today|)"
            "( of a city| for a place| in a town|)",
        ),
        (_CITY,),
        (
            "(get|check|look up|find|show|fetch) the (current |)(weather|forecast)( report|) (in|for|of) {0}",
            "(get|check|look up|find|show) {0}'s (current |)(weather|forecast)( now| today|)",
        ),
        (
            "(What is|What's|How is|How's) the weather (like |)in {0}( today| now| right now|)?",
            "(Is the weather in {0} (good|bad|nice|fine|warm)|Is it (cold|warm|raining|sunny|windy) in {0})"
            "( today| now|)?",
            "(In |){0}(: what|, what|: how|, how) is the weather( there| today| now|)?",
            "(Weather|Forecast)( for| in|:) {0}(?|, please.|.)",
            "(Do|Will) I need (a coat|an umbrella|a hat|sunglasses) in {0}( today| now|)?",
            "(Tell me|I want to know|Say|I wonder about) the (weather|forecast) (in|for) {0}(.|, please.|!)",
        ),
    ),
    Known(
        "clock",
        "get_time time_in local_time clock current_time",
        (
            "(Get|Tell|Show|Find|Look up) the (current|local|exact) time (in|of) a (city|place|town)",
            "(The |)(current|local|exact|right) time( of a city| in a place| in a town| somewhere| now|)",
        ),
        (_CITY,),
        ("(get|check|find|look up|show|fetch) the (local |current |exact |right |)time (in|of|for) {0}( now|)",),
        (
            "What('s| is) the (local |current |exact |)time in {0}( now| please|)?",
            "What time (is it|do they have|do people have) in {0}( now| at the moment|)?",
            "(Local t|Current t|T)ime in {0}( now|)(?|, please.|.)",
            "(Tell me|I want to know|I need|Say) the (local |current |exact |)time in {0}(.|, please.|!)",
        ),
    ),
    Known(
        "money",
        "convert convert_currency exchange fx_convert change_money",
        (
            "(Convert|Exchange|Change|Turn) (an amount of |a sum of |)money (between currencies|into a currency|)",
            "(Currency|Money) (exchange|converter|conversion|calculator)( tool| service|)",
            "(Convert|Exchange|Change) (one currency|currencies|an amount) (to|into) another( one|)",
        ),
        (("number", "amount value sum"), ("currency", "from source base"), ("currency", "to target into")),
        (
            "(convert|exchange|change|turn) {0} {1} (to|into) {2}( for me| today| now|)",
            "(find|calculate|work out|check|get) (what {0} {1} (are|is) in {2}|the value of {0} {1} in {2})",
        ),
        (
            "(How much|What) (is|are|would be) {0} {1} in {2}( today| now|)?",
            "(How many|How much) {2} (do I get|can I get|will I get|are there|is that) for {0} {1}?",
            "{0} {1} (in|to|into) {2}(?|, please.|.)", "What (is|are) {0} {1} worth in {2}( now| today|)?",
            "I (have|own|got) {0} {1}(. How|, how|; how) much (is that|does that make|are they) in {2}?",
        ),
    ),
    Known(
        "translation",
        "translate translate_text translator translation",
        (
            "(Translate|Put|Turn) (text|words|a text|a phrase|some words) (to|into) (a|another) language",
            "(Translator for|Translation of|Translates|Translate) (text|texts|words|phrases)"
            "( to any language| to a language|)",
        ),
        (("phrase", "text words input"), ("language", "language target lang to")),
        (
            "(translate|put|turn) (the words |the text |the phrase |){0} (to|into) {1}( for me|)",
            "(say|write|express) (the words |the text |){0} in {1}( for me|)",
        ),
        (
            "How (do|can|would) (you|I|we) (say|write|put) {0} in {1}?",
            "What (is|does one say for|would be|is the word for) {0} in {1}?",
            "(What is the|What's the|I need the|Give me the) {1} (for|translation of|word for|version of) {0}(?|)",
            "{0} in {1}(?|, please.|.)", "(To|Into|In) {1}(, please|)(: | - ){0}",
        ),
    ),
    Known(
        "alarm",
        "set_alarm alarm wake_up new_alarm",
        (
            "(Set|Make|Create|Add|Start) an alarm( clock|)( at a time| for a time| for the user|)",
            "(Alarm|Alarm clock|Wake-up alarm)( at a time| for a time| setter| service|)",
            "(Wake|Wakes) (the user|you|someone) up( at a time| on time|)",
        ),
        (("time", "time at hour"),),
        (
            "(set|make|create|add|put) (an|the|my|a new) alarm( clock|) (for|at|to) {0}",
            "(have|let) (an|the|my) alarm (ring|go off|sound) at {0}",
        ),
        (
            "(I need|I want|I'd like|Give me) (an|the) alarm (at|for) {0}(.|, please.|!)",
            "(An a|A|The a)larm( clock|)( at| for|:) {0}(, please|)(.|!|)",
            "I (have|need|want|must not forget) to (get up|wake up|be up|be awake) at {0}(.|!|. Wake me.)",
            "(Please w|W|Can you w|Could you w)ake me( up|) at {0}(, please|)(.|!|)",
        ),
    ),
    Known(
        "timer",
        "set_timer timer start_timer countdown",
        (
            "(Start|Set|Run|Begin|Make|Create) a (countdown |new |)timer( in minutes| of some minutes| for the user|)",
            "(A |)(countdown|timer|kitchen timer)( in minutes| for some minutes| of minutes|)",
        ),
        (("few", "minutes duration length"),),
        (
            "(set|start|run|make|begin) (a|the|my) (countdown |new |kitchen |)timer (for|of|with) {0} minutes",
            "count down {0} minutes( for me|)",
        ),
        (
            "(Timer|Countdown|Set)(: | for |, ){0} minutes(.|, please.|!|)",
            "I (need|want|would like) (a|the) (countdown |)timer (for|of) {0} minutes(.|, please.|!)",
            "{0} minutes on the (timer|clock)(.|, please.|!|)",
            "(Tell me|Ring|Call me|Let me know) (in|after) {0} minutes(.|, please.|!)",
        ),
    ),
    Known(
        "message",
        "send_message message text send_text sms",
        (
            "(Send|Write|Deliver) (someone|a person|a friend) a (text |short |)message",
            "(Send|Write|Deliver) a (text |short |)message( to a person| to someone|)",
            "(Text|Message) (someone|a person|a friend|people)",
        ),
        (("name", "to person recipient who"), ("phrase", "text message body")),
        (
            "(send|write|deliver to|give) {0} (the|a|my) (text |)(message|note)(:|) {1}",
            "(send|write|deliver) (the|this) (text |)message {1} to {0}", "(message|text) {0}(:|,|) {1}",
            "(send|write) a (text |)message to {0}(: | saying | that says | with the text ){1}",
        ),
        (
            "(Can|Could|Will) {0} get (the|this|my) message(:|) {1}?",
            "(Message|Text|Note) (for|to) {0}(: | - |, ){1}(.|)",
            "I (want|need) {0} to (read|get|receive|see) {1}, so (please |)(send|write) a message.",
            "(I want to|I'd like to|Let me|I have to) (tell|write to|text|message) {0}(: | this: ){1}(.|)",
        ),
    ),
    Known(
        "stock",
        "get_stock stock_price quote ticker share_price",
        (
            "(Get|Look up|Find|Show|Check) (the price of a (stock|share)|a (stock|share) price)",
            "(Stock|Share) (price|quote|value)( by symbol| of a company| now|)",
        ),
        (("code", "symbol ticker stock"),),
        (
            "(get|look up|check|find|show|fetch) the (current |)(stock|share) price (of|for) {0}",
            "(get|look up|check|find|show) (the price of |)the (stock|share) {0}",
        ),
        (
            "(What is|What's|How high is) the (current |)(stock|share) price of {0}( now| today|)?",
            "(How is|How's) (the stock|the share|the price of) {0} doing( now| today|)?",
            "(What does|How much does) (a|one) (share|stock) of {0} cost( now| today|)?",
            "(Stock|Share)( price|) (of |){0}(?|, please.|.)", "What are {0} (shares|stocks) worth( now|)?",
        ),
    ),
    Known(
        "distance",
        "distance get_distance how_far travel_distance",
        (
            "(Get|Find|Measure|Tell|Calculate) the distance (of|between) two (cities|towns|places)",
            "(Distance|Way|Kilometres|Miles) between (two |)(cities|towns|places)",
            "How far (two (cities|towns|places) are apart|it is between (cities|towns))",
        ),
        (("city", "start from origin a"), ("city", "end to destination b")),
        (
            "(get|find|measure|calculate|check|look up) "
            "(the distance|how far it is|how many miles it is) from {0} to {1}",
            "(get|find|measure|calculate|look up) the (distance|way) (between {0} and {1}|from {0} to {1})",
            "(find|measure|check|look up) how far {0} is (away |)from {1}",
        ),
        (
            "How (far|many miles|many kilometres) is it from {0} to {1}?",
            "What('s| is) the distance (between {0} and {1}|from {0} to {1})?",
            "(Distance|How far|Miles)(:|) (from |){0} to {1}(?|)", "How far is {1} (away |)from {0}(?| by road?)",
            "I (go|drive|travel|walk) from {0} to {1}(. How|; how|, how) far is (it|that)?",
        ),
    ),
    Known(
        "song",
        "play play_song music player play_music",
        (
            "(Play|Plays|Start|Put on) (a song|music|a piece of music|some music|songs)( for you| now|)",
            "(Music|Song) (player|machine|box|service)( for the user|)",
        ),
        (("phrase", "song title name"),),
        ("(play|start|put on) (the song |the music |the title |the piece |the track ||){0}( for me|)",),
        (
            "I( want| need| would like|'d like| wish) to hear (the song |the music |the title |){0}(.|, please.|!|)",
            "(Music|Song|Play|Next song)(: |, please: ){0}(.|, please.|!|)",
            "(I would like|I want|Let's have|Give me) some music(: |, namely |, say ){0}(.|!|)",
        ),
    ),
    Known(
        "light",
        "set_light light switch_light lights",
        (
            "(Switch|Turn|Set|Control) the (light|lights|lamp) (of a room|in a room|on or off)",
            "(Light|Lamp|Room light)( control| switch| switcher| on or off|)",
        ),
        (("room", "room place where"), ("boolean", "on state light")),
        (
            "(set|switch|turn) (the (light|lamp|lights) (in|of) the {0}|the {0} (light|lamp|lights))( to|:) {1}",
            "(make|put) the (light|lamp|lights) in the {0}(:|) {1}",
        ),
        (
            "(The l|L)(ight|amp) (in|of) the {0}(: | - | to ){1}(.|, please.|!|)",
            "(The |){0} (light|lamp|lights)(: | ){1}(.|, please.|!|)",
            "(The {0} (light|lamp)|The (light|lamp) in the {0}) (should|must|has to) be (set|switched|turned)"
            "(:| to) {1}(.|)",
        ),
    ),
    Known(
        "heating",
        "set_temperature heating heat thermostat",
        (
            "(Set|Control|Change|Adjust) the (temperature|heating|heat) (of|in) a room( in degrees|)",
            "(Room |Home |)(heating|thermostat|temperature)( control| in degrees|)", "Heat (a|the|one) room"
            "( to some degrees|)",
        ),
        (("room", "room place where"), ("number", "degrees temperature value")),
        (
            "(set|heat|warm|bring) the {0} to {1} degrees( for me|)", "make it {1} degrees in the {0}",
            "(set|change|adjust|turn) the (temperature|heating) (in|of) the {0} to {1} degrees",
        ),
        (
            "(I want|I need|I would like|We need) (it to be |){1} degrees in the {0}(.|, please.|!)",
            "The {0} (should have|should be at|must have|needs) {1} degrees(.|, please.|!)",
            "(Temperature|Heating) (in|of|for) the {0}(: | - ){1} degrees(.|, please.|)",
            "{1} degrees (in|for) the {0}(.|, please.|!|)",
        ),
    ),
    Known(
        "search",
        "search web_search search_web search_internet",
        (
            "(Search|Look through|Ask|Browse) (the web|the internet|web pages)( for something| for words|)",
            "(Web|Internet|Online) (search|search engine|look-up)( for something|)",
        ),
        (("phrase", "query text q"),),
        (
            "(search|look through|scan|browse|comb) (the web|the internet) for {0}",
            "(search|look) for {0} (on the web|on the internet|online)", "(web |)search for {0}",
        ),
        (
            "(What does|What did) (the web|the internet) (say|tell us|know) about {0}?",
            "What (is there|is|can you find|do you find) (on the internet|on the web|online) about {0}?",
            "(Web|Internet|Online) search(: | for ){0}(.|, please.|)",
            "I (want|need) (web pages|news|pages|facts) from the (web|internet) about {0}(.|, please.|)",
        ),
    ),
    Known(
        "restaurant",
        "book_table reserve_table restaurant dinner",
        (
            "(Book|Reserve|Get|Order) a (restaurant table|table in a restaurant|table for dinner|table to eat)",
            "(Restaurant|Table|Dinner) (booking|reservation)( service| in a city|)",
        ),
        (_CITY, ("few", "people guests seats"), ("time", "time at hour")),
        (
            "(book|reserve|get|find) a (restaurant |dinner |)table in {0} for {1}( people| guests| persons|) at {2}",
            "(book|reserve|get|find) a (restaurant |dinner |)table for {1}( people| guests|) "
            "(in {0} at {2}|at {2} in {0})",
        ),
        (
            "(A table|Dinner|A restaurant table) in {0} for {1} (people|guests|persons) at {2}(, please|)(.|!)",
            "We are {1} (people|guests|persons) and (want|would like|need|plan) to "
            "(eat|dine|have dinner) in {0} at {2}.",
            "At {2} we (want|would like) to (eat|dine) in {0}(. We are {1} people|: {1} people)"
            "(.|, please.)",
        ),
    ),
    Known(
        "flight",
        "find_flight flights search_flights fly",
        (
            "(Find|Search|Look for|Get) (a flight|flights)( between cities| on a day| to a city|)",
            "(Flight|Plane|Flights) (search|finder|look-up)( by day|)",
        ),
        (("city", "from origin start"), ("city", "to destination goal"), ("date", "date day when")),
        (
            "(find|look for|search for|get|look up) (a flight|flights|a plane) "
            "(from {0} to {1} on {2}|on {2} from {0} to {1})",
            "(find|look for|search for|get) (a flight|flights) to {1} from {0} on {2}",
        ),
        (
            "Which (flight|plane) (goes|can I take|is there|flies) from {0} to {1} on {2}?",
            "I (want|need|would like|have) to fly (from {0} to {1} on {2}|on {2} from {0} to {1})(.|, please.|!)",
            "(Flights|Flight|A flight|Planes)(: | ){0} to {1}(, | on ){2}(.|, please.|?)",
            "Is there (a flight|a plane|any flight) from {0} to {1} on {2}?",
        ),
    ),
    Known(
        "shopping",
        "add_items shopping_list to_buy groceries",
        (
            "(Add (items|things|products) to|(Put|Write) (items|things|groceries) on) (the|a|my|our|some) "
            "(shopping|grocery) list",
            "(The |A |)(shopping list|grocery list|list of groceries|list of things to buy)( for you| now|)",
        ),
        (("array", "items things products"),),
        ("(add {0} to|put {0} on|write {0} on|note {0} on) (the|my|our) "
         "(shopping list|list of groceries|grocery list)",),
        (
            "(My|The|Our) (shopping|grocery) list (needs|should have|lacks|must have) {0}(.|!|, please.)",
            "(Shopping|Groceries|Shopping list|Grocery list)(: | - ){0}(.|, please.|)",
            "(I|We) (have|need|want) to (go shopping for|buy) {0}(.|. Put it on the list.|: note that.|!)",
        ),
    ),
)  # fmt: skip
