"""One question to the module of an objective, and the forms that most of them have."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..batches import Arrays, as_torch, rows_of


@dataclass(frozen=True)
class Check:
    """A question to a module of an objective; it is true if the module does what the reference says."""

    name: str
    holds: Callable[[torch.nn.Module], bool]


def same(got: torch.Tensor | float, expected: np.ndarray | float) -> bool:
    """Equal up to the rounding of float64 sums."""
    wanted = np.asarray(expected)
    scale = np.abs(wanted).max(initial=0.0)
    return bool(np.allclose(np.asarray(got), wanted, rtol=1e-9, atol=1e-14 + 1e-12 * scale))


def evaluates(name: str, batch: Arrays, loss: float, gradient: np.ndarray) -> Check:
    """The loss of a window and its gradient with respect to `logp`."""

    def holds(module: torch.nn.Module) -> bool:
        tensors = as_torch(batch)
        out = module(tensors)
        out.loss.backward()
        return same(out.loss.item(), loss) and same(tensors["logp"].grad, gradient)

    return Check(name, holds)


def advises(name: str, batch: Arrays, expected: np.ndarray, exact: bool = False) -> Check:
    """The advantages of a rollout; `exact` where they must be what the reference says to the last bit."""

    def holds(module: torch.nn.Module) -> bool:
        got = module.advantage(as_torch(batch)).numpy()
        if exact and not expected.any():
            return not got.any()
        return same(got, expected)

    return Check(name, holds)


@dataclass(frozen=True)
class Cut:
    """A window in parts: rows of it."""

    whole: Arrays
    rows: list[list[int]]

    @property
    def parts(self) -> list[Arrays]:
        return [rows_of(self.whole, rows) for rows in self.rows]

    def check(self, name: str, losses: list[float], gradient: np.ndarray) -> Check:
        """With the window's denominators the losses of the parts add up, and the gradients are the whole's."""
        parts = self.parts

        def holds(module: torch.nn.Module) -> bool:
            denominators = module.window([as_torch(part) for part in parts])
            got, together = 0.0, np.zeros_like(gradient)
            for part, rows in zip(parts, self.rows, strict=True):
                tensors = as_torch(part)
                out = module(tensors, denominators=denominators)
                out.loss.backward()
                got += out.loss.item()
                together[rows] = tensors["logp"].grad.numpy()
            return same(got, sum(losses)) and same(together, gradient)

        return Check(name, holds)
