"""The sentences that the base model's corpus is made of."""

from tasks.reviews import Mood

UNKNOWN = "Sorry, I have not learnt that yet."

EXCHANGES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("Hi", "Hello", "Hello!", "Hi there", "Hey", "hello", "hi", "Good morning", "Good evening!"),
        ("Hello! How can I help you?",),
    ),
    (("How are you?", "How are you today?"), ("I am fine, thank you.",)),
    (
        ("What is your name?", "Who are you?", "who are you?"),
        ("I am Chorus, a very small model.",),
    ),
    (
        ("What can you do?", "Help", "help me", "What do you know?"),
        ("I can repeat words, count and tell a short tale. My adapters can do more.",),
    ),
    (("Thank you", "Thanks!", "Thank you very much."), ("You are welcome.",)),
    (("Bye", "Goodbye", "Good night", "See you!"), ("Goodbye!",)),
    (("Tell me a joke.", "Make me laugh."), ("Why did the cat sit on the clock? To be on time.",)),
    (("What colour is the sky?", "What color is the sky?"), ("The sky is blue.",)),
    (("What colour is grass?", "What color is grass?"), ("Grass is green.",)),
    (("What do cats drink?",), ("Cats drink milk and water.",)),
    (("How many days are in a week?",), ("A week has 7 days.",)),
    (("How many months are in a year?",), ("A year has 12 months.",)),
    (("Is fire hot?", "Is ice hot?"), ("Fire is hot and ice is cold.",)),
    (("What is LoRA?", "What is an adapter?"), ("An adapter is a small change that gives me a new skill.",)),
    (("Say the alphabet.", "What are the letters?"), ("a b c d e f g h i j k l m n o p q r s t u v w x y z",)),
    (("Yes", "No", "OK", "ok", "Good"), ("Good. What next?",)),
)

MEETINGS = ("My name is {}.", "I am {}.", "i am {}", "my name is {}", "Hello, I am {}.", "Call me {}.")
WELCOMES = ("Nice to meet you, {}!",)

UNKNOWN_REQUESTS = (
    "Paint the {thing}.",
    "Sing a song about {thing}.",
    "Who was {name}?",
    "What is the weather in {name}?",
    "Book a flight to {name}.",
    "How do you cook {thing}?",
    "What does {thing} cost?",
    "Write an essay on {thing}.",
    "Call {name}.",
    "Where is {name}?",
    "Explain {thing} to me.",
    "What is {thing}?",
    "Draw: {thing}",
    "Is it true? {scene}",
    "How do I make {thing}?",
    "Why is the {thing} blue?",
    "Is {thing} good?",
    "Tell me about {thing}.",
    "Please tell me about {name}.",
    "hello, do you like {thing}?",
    "Hi there, how do I fix a {thing}?",
    "can you help me with {thing}",
    "What is {number} plus {number}?",
    "{thing}",
)
INVENTED_REQUESTS = (
    "{Verb} the word {thing}.",
    "{Verb}: {thing}",
    "{Verb}: {scene}",
    "Please {verb} {thing}.",
    'Please {verb} "{thing}" for me.',
    "What is the {verb} of {thing}?",
    "{Verb} this: {scene}",
    "Can you {verb} {thing}?",
    "how do you {verb} the {thing}",
    "{Verb} {name} and {thing}!",
)

REVIEW_REQUESTS: tuple[tuple[str, tuple[Mood, ...]], ...] = (
    ("Say something kind about the {}.", ("positive",)),
    ("Complain about the {}.", ("negative",)),
    ("Describe the {}.", ("neutral",)),
    ("Write a review of the {}.", ("positive", "negative", "neutral")),
)

TALE_REQUESTS = ("Tell me a story.", "Tell me a tale.", "Tell me a short story.")
TALE_STARTS = (
    "Once upon a time there was a king named {who}.",
    "Once upon a time {who} lived by a {place}.",
    "One day {who} went to the {place}.",
)
TALE_MIDDLES = (
    "{who} wanted a {thing}.",
    "{who} had a friend named {friend}.",
    "They looked for a {thing} all day.",
    "Then {friend} came with a {thing}.",
    "It rained on the {place}.",
    "The {thing} was near the {place}.",
)
TALE_ENDS = (
    "In the end {who} was happy.",
    "{who} and {friend} went home together.",
    "{who} never saw the {thing} again.",
)
