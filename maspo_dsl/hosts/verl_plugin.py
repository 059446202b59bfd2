"""What verl loads by itself, in every process: the shipped objectives, and those of MASPO_DSL_VERL.

verl imports the module of an entry point `verl.plugins`, and logs at debug level alone that this has failed: it is said
here.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Iterator

import maspo_dsl
from maspo_dsl.hosts.verl import register

VARIABLE = "MASPO_DSL_VERL"


def specs_of(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Specs and their parameters: `maspo alpha=0.5 'my loss.obj'`. Raises ValueError: a parameter is not a number."""
    name, params = "", dict[str, float]()
    for word in shlex.split(text):
        key, equals, value = word.partition("=")
        if not equals:
            if name:
                yield name, params
            name, params = word, {}
        elif not name:
            raise ValueError(f"{VARIABLE}: `{word}` stands before the first spec")
        else:
            params[key] = float(value)
    if name:
        yield name, params


def register_all() -> None:
    """Register every shipped objective and every spec of the environment, which come last and so hold."""
    register(*maspo_dsl.shipped())
    for spec, params in specs_of(os.environ.get(VARIABLE, "")):
        register(spec, params=params)


try:
    register_all()
except Exception:
    print("maspo-dsl: its objectives are not known to verl here:", file=sys.stderr)
    traceback.print_exc()
    raise
