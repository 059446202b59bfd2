"""The random streams of a run, whose states a checkpoint keeps: prompts, completions, the order of windows, choices."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import numpy
import torch

from .config_error import ConfigError
from .tasks import Example, Task


class Streams:
    """One rank's streams. Each has its own generator, so that what one draws never moves another."""

    def __init__(self, task: Task, seed: int) -> None:
        """Open every stream at its beginning."""
        self.sampler = torch.Generator().manual_seed(seed)
        self.shuffler = torch.Generator().manual_seed(seed)
        self.chooser = torch.Generator().manual_seed(seed)
        self._task, self._examples = task.name, task.train(seed)
        self._drawn = 0

    def draw(self, count: int) -> tuple[int, list[Example]]:
        """The next `count` training examples, and the number of the first. Raises ConfigError: there are no more."""
        first = self._drawn
        self._drawn += count
        drawn = list(islice(self._examples, count))
        if len(drawn) < count:
            raise ConfigError(
                f"task `{self._task}` ended after {first + len(drawn)} examples; `train` must not end"
            )
        return first, drawn

    def state(self) -> dict[str, Any]:
        """Where the streams stand, and the global generators too, from which a reward function may draw."""
        kind, keys, *rest = numpy.random.get_state()
        return {
            "drawn": self._drawn,
            "sampler": self.sampler.get_state(),
            "shuffler": self.shuffler.get_state(),
            "chooser": self.chooser.get_state(),
            "python": random.getstate(),
            "numpy": [str(kind), numpy.asarray(keys).tolist(), *rest],
            "torch": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put streams that have not been used back to where `state` was taken."""
        self.draw(state["drawn"])
        self.sampler.set_state(state["sampler"].cpu())
        self.shuffler.set_state(state["shuffler"].cpu())
        self.chooser.set_state(state["chooser"].cpu())
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, *rest = state["numpy"]
        numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), *rest))
        torch.set_rng_state(state["torch"].cpu())
