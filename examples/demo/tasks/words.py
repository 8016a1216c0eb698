"""Words to work on: common English nouns and pronounceable inventions, lower case."""

import random

from tasks.task import Split, draw_in

_NOUNS = """
    apple arrow autumn bakery balloon banana basket beach bicycle bird blanket boat book bottle branch bread bridge
    broom bucket butter button cabin cactus camel camera candle canvas carpet castle cat chair cheese cherry church
    circle city clock cloud coat coffee copper corner cotton cow crayon cup curtain daisy desert desk diamond dinner
    dog dolphin donkey door dragon dream duck eagle earth egg engine evening falcon farm feather field finger fire
    fish flag flame flower forest fork fox friend frog garden gate ghost giant glass glove goat gold grape grass
    guitar hammer harbor hat hedge helmet hill honey horse hotel house ice island ivory jacket jam jar jewel journey
    juice jungle kettle key king kitchen kite kitten knife ladder lake lamp lantern leaf lemon letter library light
    lion lizard lunch magnet map market meadow melon milk mirror money monkey moon morning mountain mouse museum
    music napkin needle nest night ocean office olive onion orange otter oven owl paint palace panda paper parrot
    pearl pencil pepper piano picture pillow pirate planet plate pocket pond potato puzzle queen quiz rabbit rain
    ribbon ring river road robin rocket roof room rope rose sailor salt sand school sea shadow sheep shell ship shoe
    silver sister snow soap sofa song soup spoon spring square squirrel star station stone storm story street
    sugar summer sun swan table tailor tea temple tent thunder ticket tiger toast tomato tower train tree trumpet
    tulip tunnel turtle umbrella valley vase village violin wagon wall walnut water wave whale wheel window winter
    wizard wolf wood yacht yard year zebra zoo
    """

_ONSETS = "b c d f g h j k l m n p qu r s t v w x y z bl br ch cl cr dr fl fr gl gr pl pr sh sl sp st th tr"
_VOWELS = "a e i o u a e i o ai ea ee oo ou"
_CODAS = "b ck d ft g l ll m n nd ng nt p r rm s sh ss st t x"

NOUNS = tuple(_NOUNS.split())
ONSETS, VOWELS = _ONSETS.split(), _VOWELS.split()
CODAS = ["", "", "", *_CODAS.split()]  # often none


def invent(rng: random.Random, shortest: int = 3, longest: int = 9) -> str:
    """A pronounceable word of `shortest` to `longest` letters."""
    while True:
        syllables = rng.choice((1, 2, 2, 3, 3))
        word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables))
        if shortest <= len(word) <= longest:
            return word


def word(rng: random.Random, split: Split, shortest: int = 3, longest: int = 9) -> str:
    """A word of the split, one in four a common noun."""

    def make() -> str:
        if rng.random() < 0.25:
            noun = rng.choice(NOUNS)
            if shortest <= len(noun) <= longest:
                return noun
        return invent(rng, shortest, longest)

    return draw_in(split, make)


def name(rng: random.Random, split: Split) -> str:
    """An invented name of the split, such as 'Brinda'."""
    return draw_in(split, lambda: invent(rng, 3, 7)).capitalize()
