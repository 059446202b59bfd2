"""Objectives that many tests read: each is loaded once a process."""

from collections.abc import Mapping
from functools import cache

import maspo_dsl


@cache
def objective(source: str) -> maspo_dsl.Objective:
    """What a shipped name or a path means."""
    return maspo_dsl.load(source)


def with_variants(sources: Mapping[str, str]) -> dict[str, str]:
    """Name -> what to load: of objectives and of every variant that they have."""
    found = {}
    for name, source in sources.items():
        found[name] = source
        found |= {f"{name}@{one}": f"{source}@{one}" for one in objective(source).resolved.flat.variants}
    return found
