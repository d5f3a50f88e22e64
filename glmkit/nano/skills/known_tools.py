"""The tools that people try first, each with several ways to describe it and to ask for it. Data only."""

from typing import NamedTuple

__all__ = ["KNOWN", "Known"]


class Known(NamedTuple):
    """`{0}` in what is said stands for the first of the arguments, and so on."""

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
        ("Get the weather in a city", "The current weather of a place", "Weather report for a town", "Weather today"),
        (_CITY,),
        ("get the weather in {0}", "check the weather for {0}", "tell me the weather of {0}", "look up {0}'s weather"),
        (
            "What is the weather in {0}?",
            "What's the weather like in {0}?",
            "How is the weather in {0} today?",
            "Is the weather in {0} good?",
            "{0}: what weather do they have?",
        ),
    ),
    Known(
        "clock",
        "get_time time_in local_time clock current_time",
        ("Get the current time in a city", "Local time of a place", "Tells the time somewhere", "Time in a town"),
        (_CITY,),
        ("get the time in {0}", "tell me the current time in {0}", "check the local time of {0}"),
        ("What time is it in {0}?", "What is the local time in {0}?", "What's the time now in {0}?", "Time in {0}?"),
    ),
    Known(
        "money",
        "convert convert_currency exchange fx_convert change_money",
        ("Convert an amount of money", "Convert money between currencies", "Currency exchange", "Exchange money"),
        (("number", "amount value sum"), ("currency", "from source base"), ("currency", "to target into")),
        ("convert {0} {1} to {2}", "exchange {0} {1} for {2}", "change {0} {1} into {2}"),
        ("How much is {0} {1} in {2}?", "What are {0} {1} worth in {2}?", "{0} {1} in {2}?"),
    ),
    Known(
        "translation",
        "translate translate_text translator translation",
        ("Translate text to a language", "Translate words", "Translation of a text", "Put text into a language"),
        (("phrase", "text words input"), ("language", "language target lang to")),
        ("translate {0} to {1}", "translate {0} into {1}", "put {0} into {1}"),
        ("How do you say {0} in {1}?", "What is {0} in {1}?", "What does {0} mean in {1}?"),
    ),
    Known(
        "alarm",
        "set_alarm alarm wake_up new_alarm",
        ("Set an alarm", "Wake the user up", "Set an alarm clock", "Alarm at a time"),
        (("time", "time at hour"),),
        ("set an alarm for {0}", "wake me up at {0}", "set the alarm clock to {0}"),
        ("I need an alarm at {0}.", "Alarm at {0}, please.", "I have to get up at {0}."),
    ),
    Known(
        "timer",
        "set_timer timer start_timer countdown",
        ("Start a timer", "Set a timer in minutes", "A countdown timer", "Timer for some minutes"),
        (("few", "minutes duration length"),),
        ("set a timer for {0} minutes", "start a timer of {0} minutes", "start a countdown timer of {0} minutes"),
        ("Timer: {0} minutes.", "I need a timer for {0} minutes.", "{0} minutes on the timer, please."),
    ),
    Known(
        "message",
        "send_message message text send_text sms",
        ("Send a message to a person", "Message someone", "Send someone a text message", "Text message"),
        (("name", "to person recipient who"), ("phrase", "text message body")),
        ("send {0} the message {1}", "message {0} {1}", "send a text message to {0}: {1}"),
        ("Can {0} get the message {1}?", "I want {0} to read {1}, so send a message.", "Message for {0}: {1}"),
    ),
    Known(
        "stock",
        "get_stock stock_price quote ticker share_price",
        ("Get the price of a stock", "Stock price by symbol", "Look up a share price", "Price of shares"),
        (("code", "symbol ticker stock"),),
        ("get the stock price of {0}", "look up the share price of {0}", "check the stock {0}"),
        ("What is the stock price of {0}?", "How is the stock {0} doing?", "What does a share of {0} cost?"),
    ),
    Known(
        "distance",
        "distance get_distance how_far travel_distance",
        ("Distance between two cities", "How far two places are apart", "Get the distance of two towns"),
        (("city", "start from origin a"), ("city", "end to destination b")),
        (
            "get the distance from {0} to {1}",
            "find the distance between {0} and {1}",
            "measure how far {0} is from {1}",
        ),
        ("How far is it from {0} to {1}?", "What is the distance between {0} and {1}?", "How far is {1} from {0}?"),
    ),
    Known(
        "song",
        "play play_song music player play_music",
        ("Play a song", "Play music", "Plays a piece of music", "Music player"),
        (("phrase", "song title name"),),
        ("play the song {0}", "play {0}", "put on the music {0}"),
        ("I want to hear the song {0}.", "Music: {0}, please.", "I would like some music: {0}."),
    ),
    Known(
        "light",
        "set_light light switch_light lights",
        ("Switch the light of a room", "Turn a light on or off", "Light control", "Room light"),
        (("room", "room place where"), ("boolean", "on state light")),
        ("set the light in the {0} to {1}", "switch the {0} light: {1}", "turn the light of the {0}: {1}"),
        ("Light in the {0}: {1}.", "The {0} light should be set: {1}.", "{0} light {1}, please."),
    ),
    Known(
        "heating",
        "set_temperature heating heat thermostat",
        ("Set the temperature of a room", "Control the heating of a room", "Room heating in degrees", "Heat a room"),
        (("room", "room place where"), ("number", "degrees temperature value")),
        ("set the {0} to {1} degrees", "heat the {0} to {1} degrees", "make it {1} degrees in the {0}"),
        ("I want {1} degrees in the {0}.", "The {0} should have {1} degrees.", "Temperature in the {0}: {1} degrees."),
    ),
    Known(
        "search",
        "search web_search search_web search_internet",
        ("Search the web", "Search the internet for something", "Web search", "Internet search engine"),
        (("phrase", "query text q"),),
        ("search the web for {0}", "search for {0}", "look for {0} on the internet"),
        ("What does the web say about {0}?", "What is on the internet about {0}?", "Web search: {0}."),
    ),
    Known(
        "restaurant",
        "book_table reserve_table restaurant dinner",
        ("Book a table in a restaurant", "Reserve a restaurant table", "Restaurant booking", "Table for dinner"),
        (_CITY, ("few", "people guests seats"), ("time", "time at hour")),
        ("book a restaurant table in {0} for {1} people at {2}", "reserve a table in {0} for {1} at {2}"),
        ("A table in {0} for {1} people at {2}, please.", "We are {1} people and want to eat in {0} at {2}."),
    ),
    Known(
        "flight",
        "find_flight flights search_flights fly",
        ("Find a flight", "Search flights between cities", "Look for a flight on a day", "Flight search"),
        (("city", "from origin start"), ("city", "to destination goal"), ("date", "date day when")),
        ("find a flight from {0} to {1} on {2}", "look for flights from {0} to {1} on {2}"),
        ("Which flight goes from {0} to {1} on {2}?", "I want to fly from {0} to {1} on {2}."),
    ),
    Known(
        "shopping",
        "add_items shopping_list to_buy groceries",
        ("Add items to the shopping list", "Put things on the shopping list", "Shopping list", "List of things to buy"),
        (("array", "items things products"),),
        ("add {0} to the shopping list", "put {0} on my shopping list"),
        ("My shopping list needs {0}.", "Shopping list: {0}.", "I have to go shopping for {0}."),
    ),
)
