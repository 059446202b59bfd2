"""The numbers that numpy's default generator draws: PCG64 (O'Neill 2014, XSL RR 128/64), seeded by SeedSequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

_MASK32, _MASK64, _MASK128 = 2**32 - 1, 2**64 - 1, 2**128 - 1
_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_POOL = 4


def _words(entropy: Sequence[int]) -> list[int]:
    """Whole numbers as words of 32 bits, the lowest first."""
    found = []
    for number in entropy:
        found.append(number & _MASK32)
        while number := number >> 32:
            found.append(number & _MASK32)
    return found


def _hashes(constant: int, multiplier: int) -> Iterator[tuple[int, int]]:
    while True:
        following = constant * multiplier & _MASK32
        yield constant, following
        constant = following


def _mixed(entropy: Sequence[int]) -> list[int]:
    constants = _hashes(0x43B0D7E5, 0x931E8875)

    def hashed(value: int) -> int:
        before, after = next(constants)
        value = (value ^ before) * after & _MASK32
        return value ^ value >> 16

    def mix(one: int, other: int) -> int:
        value = (0xCA01F9DD * one - 0x4973F715 * other) & _MASK32
        return value ^ value >> 16

    words = _words(entropy)
    pool = [hashed(words[place] if place < len(words) else 0) for place in range(_POOL)]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                pool[target] = mix(pool[target], hashed(pool[source]))
    for word in words[_POOL:]:
        for target in range(_POOL):
            pool[target] = mix(pool[target], hashed(word))
    return pool


def _state(entropy: Sequence[int], count: int) -> list[int]:
    """So many words of 64 bits."""
    pool, constants, words = _mixed(entropy), _hashes(0x8B51F9DD, 0x58F38DED), []
    for place in range(2 * count):
        before, after = next(constants)
        value = (pool[place % _POOL] ^ before) * after & _MASK32
        words.append(value ^ value >> 16)
    return [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]


class default_rng:
    """Numbers of [0, 1) from a list of whole numbers."""

    def __init__(self, seed: Sequence[int]) -> None:
        one, two, three, four = _state(seed, 4)
        self.increment = ((three << 64 | four) << 1 | 1) & _MASK128
        self.state = ((self.increment + (one << 64 | two)) * _MULTIPLIER + self.increment) & _MASK128

    def random(self, shape: int | tuple[int, ...]) -> Any:
        """An array of them."""
        from numpy.arrays import ndarray
        from numpy.dtypes import float64

        shape = (shape,) if isinstance(shape, int) else tuple(int(size) for size in shape)
        return ndarray([self._next() for _ in range(prod(shape))], shape, float64)

    def _next(self) -> float:
        self.state = (self.state * _MULTIPLIER + self.increment) & _MASK128
        turn, folded = self.state >> 122, (self.state >> 64 ^ self.state) & _MASK64
        drawn = (folded >> turn | folded << (-turn & 63)) & _MASK64
        return (drawn >> 11) * 2.0**-53
