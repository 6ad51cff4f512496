"""The one table of what a scene may hold, and of the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of object: its English name, its plural, and the emoji it is drawn with, if any."""

    name: str
    plural: str
    emoji: str = ""


_EMOJI: Final = """
cat 1f408, dog 1f415, rabbit 1f407, horse 1f40e, cow 1f404, pig 1f416, elephant 1f418, lion 1f981,
bear 1f43b, panda 1f43c, monkey 1f412, frog 1f438, turtle 1f422, fish/fish 1f41f, whale 1f433,
octopus/octopuses 1f419, crab 1f980, bee 1f41d, butterfly/butterflies 1f98b, snail 1f40c,
duck 1f986, owl 1f989, penguin 1f427, apple 1f34e, banana 1f34c, pear 1f350, lemon 1f34b,
strawberry/strawberries 1f353, watermelon 1f349, pineapple 1f34d, carrot 1f955, mushroom 1f344,
cake 1f382, pizza 1f355, car 1f697, bus/buses 1f68c, train 1f682, bicycle 1f6b2, boat 26f5,
plane 2708, rocket 1f680, tractor 1f69c, balloon 1f388, ball 26bd, guitar 1f3b8, umbrella 2602,
clock 23f0, key 1f511, bell 1f514, crown 1f451, gift 1f381, tree 1f333, sunflower 1f33b,
cactus/cactuses 1f335, house 1f3e0, camera 1f4f7, snowman/snowmen 26c4
"""


def _read(row: str) -> Thing:
    words, emoji = row.split()
    name, _, plural = words.partition("/")
    return Thing(name, plural or f"{name}s", emoji)


EMOJI_THINGS: Final = tuple(_read(row) for row in _EMOJI.split(","))
SHAPES: Final = tuple(Thing(name, f"{name}s") for name in ("circle", "square", "triangle", "star", "heart"))
CARD: Final = Thing("card", "cards")
THINGS: Final = (*EMOJI_THINGS, *SHAPES, CARD)
NAMES: Final = tuple(thing.name for thing in THINGS)
PLURAL: Final = {thing.name: thing.plural for thing in THINGS}

COLOURS: Final = {
    "red": (222, 41, 48),
    "orange": (245, 133, 24),
    "yellow": (250, 208, 30),
    "green": (44, 160, 68),
    "blue": (38, 98, 214),
    "purple": (134, 58, 184),
    "black": (32, 32, 38),
    "white": (250, 250, 250),
}
BACKGROUNDS: Final = {
    "white": (247, 246, 243),
    "grey": (178, 181, 188),
    "pink": (250, 196, 214),
    "orange": (252, 202, 146),
    "yellow": (250, 238, 160),
    "green": (178, 226, 170),
    "blue": (168, 212, 246),
    "purple": (208, 188, 240),
}
PLACES: Final = (
    "top left",
    "top middle",
    "top right",
    "middle left",
    "middle",
    "middle right",
    "bottom left",
    "bottom middle",
    "bottom right",
)
COUNTS: Final = ("zero", "one", "two", "three", "four")
