"""An estimator of advantages that is a function of Python, with verl's signature."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.comparison.functions import StandInConfig, first_line
from maspo_dsl.comparison.sides import NotComparableError
from maspo_dsl.verification.evaluation import Evaluation

_NEEDED = ("token_level_rewards", "response_mask")
_CONFIG = {"norm_adv_by_std_in_grpo": True, "gamma": 1.0, "lam": 1.0}


def is_estimator(function: Callable[..., Any]) -> bool:
    """Whether a function takes what verl gives an advantage estimator."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return all(name in parameters for name in _NEEDED)


class EstimatorSide:
    """An estimator of a user: a side without a loss. What it does wrong is a NotComparableError, in one line."""

    takes_windows = True
    has_loss = False

    def __init__(
        self, name: str, function: Callable[..., Any], options: Mapping[str, Any] | None = None
    ) -> None:
        """Take the function; `options` are arguments of it, or attributes of the configuration that it is given."""
        self.name = name
        self.function = function
        self.options = dict(options or {})

    @property
    def estimates(self) -> bool:
        """That is all it does."""
        return True

    @property
    def reads(self) -> frozenset[str]:
        """What estimators read."""
        return frozenset({"reward", "group", "mask"})

    def advantage(self, batch: Arrays) -> Array:
        """What it estimates, `[N, T]`: a completion's reward stands at its last token, as in verl."""
        given = self._given(batch)
        parameters = inspect.signature(self.function).parameters
        open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        chosen = {name: value for name, value in given.items() if open_ended or name in parameters}
        missing = [
            name
            for name, one in parameters.items()
            if name not in chosen
            and one.default is one.empty
            and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        ]
        if missing:
            raise NotComparableError(
                f"`{self.name}` needs {', '.join(missing)}; give it as python:…:{missing[0]}=VALUE if it is a number"
            )
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = self.function(**chosen)
        except Exception as error:  # whatever a function of the user raises
            raise NotComparableError(f"`{self.name}` raises {first_line(error)}") from None
        advantage = result[0] if isinstance(result, tuple) and result else result
        shape = tuple(batch["mask"].shape)
        if not isinstance(advantage, torch.Tensor) or tuple(advantage.shape) not in (shape, shape[:1]):
            raise NotComparableError(f"`{self.name}` returns no advantages of {list(shape)}")
        found = advantage.detach().double().numpy()
        trained = batch["mask"] if found.ndim == 2 else batch["mask"].any(axis=1)
        if not np.isfinite(found[trained]).all():
            raise NotComparableError(f"`{self.name}` gives an advantage that is NaN or infinite")
        return np.asarray(found)

    def evaluate(self, parts: Sequence[Arrays]) -> Evaluation:
        """An estimator has none."""
        raise NotComparableError(f"`{self.name}` estimates advantages, and is no loss")

    def _given(self, batch: Arrays) -> dict[str, Any]:
        mask = torch.from_numpy(np.asarray(batch["mask"])).double()
        rewards = torch.zeros_like(mask)
        rows = mask.any(1).nonzero()[:, 0]
        last = (mask * torch.arange(1, mask.shape[1] + 1)).argmax(1)
        rewards[rows, last[rows]] = torch.from_numpy(np.asarray(batch["reward"], dtype=float))[rows]
        known = {
            "token_level_rewards": rewards,
            "response_mask": mask,
            "index": np.asarray(batch["group"]).astype(str).astype(object),
            "config": StandInConfig({**_CONFIG, **self.options}),
            "gamma": 1.0,
            "lam": 1.0,
        }
        for theirs, ours in (
            ("values", "value"),
            ("reward_baselines", "reward_greedy"),
            ("old_log_probs", "logp_old"),
        ):
            if ours in batch:
                known[theirs] = torch.from_numpy(np.asarray(batch[ours], dtype=float))
        return {**known, **self.options}
