"""Many random values at once, where one search or one statement can look at all of them.

The names are those of `hypothesis.strategies`. Hypothesis draws an event in a millisecond and calls the test
for each example; where the test is a search, that is most of what it costs. Here an event takes some
20 microseconds, and a failing test says itself which event it is about. What depends on several
values at once, as a journal does, is for Hypothesis, which finds the smallest example.

pytest-randomly sets the seed, and shows it.
"""

import random
import struct

_EDGES = (0, 1, -1, 2**31, 2**53, 2**63, 2**64)
_ODD_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-5, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308)


class Samples:
    """Random values. `draw` takes the source of chance, and returns one."""

    def __init__(self, draw, parts=()):
        self.draw = draw
        self._parts = parts or (self,)

    def __or__(self, other):
        parts = (*self._parts, *other._parts)
        return Samples(lambda chance: chance.choice(parts).draw(chance), parts)

    def map(self, function):
        return Samples(lambda chance: function(self.draw(chance)))

    def flatmap(self, function):
        return Samples(lambda chance: function(self.draw(chance)).draw(chance))

    def many(self, count):
        """Return `count` values."""
        chance = random.Random(random.getrandbits(64))
        return [self.draw(chance) for _ in range(count)]


def just(value):
    return Samples(lambda _: value)


def none():
    return just(None)


def booleans():
    return sampled_from([False, True])


def sampled_from(values):
    values = list(values)
    return Samples(lambda chance: chance.choice(values))


def integers(least, most):
    """Integers of all sizes: evenly distributed, small ones, and the edges."""
    edges = [edge for edge in (*_EDGES, least, most) if least <= edge <= most]

    def draw(chance):
        match chance.randrange(4):
            case 0:
                return chance.choice(edges)
            case 1:
                small = chance.getrandbits(
                    chance.randrange(1, max(abs(least), abs(most), 1).bit_length() + 1)
                )
                return min(max(chance.choice([small, -small]), least), most)
        return chance.randint(least, most)

    return Samples(draw)


def floats(least, most):
    """Floats of all sizes, none of them infinite."""
    odd = [one for one in (*_ODD_FLOATS, *map(float, _EDGES), least, most) if least <= one <= most]

    def draw(chance):
        match chance.randrange(3):
            case 0:
                return chance.choice(odd)
            case 1:
                [value] = struct.unpack("d", chance.randbytes(8))
                if least <= value <= most:
                    return value
        return chance.uniform(least, most)

    return Samples(draw)


def lists(values, min_size=0, max_size=8):
    return Samples(lambda chance: [values.draw(chance) for _ in range(chance.randint(min_size, max_size))])


def permutations(values):
    return Samples(lambda chance: chance.sample(values, len(values)))


def tuples(*parts):
    return Samples(lambda chance: tuple(part.draw(chance) for part in parts))


def builds(function, *arguments):
    return Samples(lambda chance: function(*(one.draw(chance) for one in arguments)))


def dictionaries(keys, values, max_size):
    return lists(tuples(keys, values), max_size=max_size).map(dict)


def fixed_dictionaries(members, *, optional):
    """Dictionaries with all of `members`, and with some of the `optional` ones: few, many or all."""

    def draw(chance):
        share = chance.choice([0.1, 0.3, 0.6, 1.0])
        drawn = {name: value.draw(chance) for name, value in members.items()}
        some = [name for name in optional if chance.random() < share]
        return drawn | {name: optional[name].draw(chance) for name in some}

    return Samples(draw)


def composite(function):
    """Make samples of a function whose first argument draws from other samples."""
    return lambda *values, **named: Samples(
        lambda chance: function(lambda samples: samples.draw(chance), *values, **named)
    )
