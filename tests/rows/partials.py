"""Partial derivatives of operations, held to central differences."""

import numpy as np

from maspo_dsl.semantics.operations import Operation


def wrong_partials(row: Operation) -> str:
    """What is wrong with the derivatives of an operation; empty if nothing is, or if it has none."""
    if row.partials is None:
        return ""
    random = np.random.default_rng(0)
    arguments = [random.uniform(0.2, 3.0, 20) for _ in range(row.arity)]
    if row.name == "select":
        arguments[0] = arguments[0] > 1
    partials = row.partials(row.value(*arguments), *arguments)
    if len(partials) != row.arity:
        return f"{len(partials)} derivatives for {row.arity} arguments"
    for position in range(row.name == "select", row.arity):
        above, below = list(arguments), list(arguments)
        above[position], below[position] = above[position] + 1e-6, below[position] - 1e-6
        quotient = (row.value(*above) - row.value(*below)) / 2e-6
        if not np.allclose(
            np.broadcast_to(partials[position], quotient.shape), quotient, rtol=1e-6, atol=1e-8
        ):
            return f"the derivative with respect to argument {position}"
    return ""
