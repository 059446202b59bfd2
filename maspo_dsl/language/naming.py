"""Names that must differ from each other."""

from __future__ import annotations

from collections.abc import Container
from itertools import chain, count


def unused_name(name: str, taken: Container[str]) -> str:
    """A name that nothing else has: itself, or the first free one of NAME_2, NAME_3, …"""
    numbered = (f"{name}_{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)
