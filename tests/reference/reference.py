"""What a reference is: an objective once more, as plain float64 loops and gradients derived by hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .tokens import Batch, Params

Estimate = Callable[[Batch, Params], np.ndarray]
Evaluate = Callable[[Batch, Params, np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Reference:
    """An objective of the catalogue, computed independently of its spec.

    `estimate` gives the advantages `[N]` or `[N, T]` of a batch without an `advantage`; `evaluate` the loss
    of a whole optimizer window, minimised, and d loss / d logp `[N, T]` given the advantages. What they get
    is prepared: rows without a reward have an empty mask, and beside `logp` stands `held`, the same numbers.
    Whatever carries no gradient (detached factors, weights, conditions) is computed from `held`, and
    everything else from `logp`: the gradient is then the slope of the loss in `logp` with `held` fixed,
    which finite differences can check.
    """

    defaults: Params
    estimate: Estimate
    evaluate: Evaluate
    tries: tuple[Params, ...] = ()
    """Parameter settings that the tests try beside the defaults."""
    keep: Callable[[Batch, Params], np.ndarray] | None = None
    """Which rows `[N]` of a rollout are trained on; None if all are."""
    step: Callable[[Batch, Params], float] | None = None
    """Scale of the optimizer step of a window; None if it is always 1."""
    prompt: Callable[[Batch, Params], np.ndarray] | None = None
    """Scores `[N]` by which prompts are chosen; None if all are alike."""
    memory: Callable[[Batch, Params], dict[str, np.ndarray]] | None = None
    """What is kept for each row's prompt after a rollout, `[N]` each; None if nothing is."""
    starts: Mapping[str, float] = field(default_factory=dict)
    """What is kept for a prompt that has not been seen."""
    left_out: Callable[[Batch, Params], np.ndarray] | None = None
    """Which trained tokens `[N, T]` do not count, where that is another matter in each micro-batch."""
    reads_reward: bool = True
    """Whether it depends on rewards: rows without one are left out then."""

    def advantage(self, batch: Batch, params: Params | None = None) -> np.ndarray:
        """The batch's own `advantage` if it brings one, else the estimate: `[N]` or `[N, T]`."""
        if "advantage" in batch:
            return batch["advantage"]
        return self.estimate(self._prepared(batch), self.setting(params))

    def loss(self, batch: Batch, params: Params | None = None) -> float:
        """The window's loss, minimised. The batch may bring its own `held` log-probs."""
        return self._evaluated(batch, params)[0]

    def dloss_dlogp(self, batch: Batch, params: Params | None = None) -> np.ndarray:
        """d loss / d logp `[N, T]`; 0 at tokens that are not trained."""
        return self._evaluated(batch, params)[1]

    def kept(self, batch: Batch, params: Params | None = None) -> np.ndarray:
        """The rows `[N]` of a rollout that are trained on."""
        if self.keep is None:
            return np.ones(len(batch["mask"]), dtype=bool)
        return self.keep(self._prepared(batch), self.setting(params))

    def remembered(self, batch: Batch, params: Params | None = None) -> dict[str, np.ndarray]:
        """What is kept for each row's prompt after a rollout."""
        return {} if self.memory is None else self.memory(self._prepared(batch), self.setting(params))

    def counted(self, batch: Batch, params: Params | None = None) -> int:
        """How many tokens the window's mean is over."""
        prepared = self._prepared(batch)
        if self.left_out is None:
            return int(batch["mask"].sum())
        return int((prepared["mask"] & ~self.left_out(prepared, self.setting(params))).sum())

    def setting(self, params: Params | None) -> Params:
        """All parameters: these over the defaults. A name that is not among them is an error."""
        unknown = set(params or {}) - set(self.defaults)
        if unknown:
            raise KeyError(f"no such parameter: {', '.join(sorted(unknown))}")
        return {**self.defaults, **(params or {})}

    def _evaluated(self, batch: Batch, params: Params | None) -> tuple[float, np.ndarray]:
        return self.evaluate(self._prepared(batch), self.setting(params), self.advantage(batch, params))

    def _prepared(self, batch: Batch) -> Batch:
        """The batch with `held`, and with the mask empty in rows whose reward is missing (NaN)."""
        prepared = dict(batch)
        if "logp" in batch:
            prepared.setdefault("held", batch["logp"])
        if self.reads_reward and "reward" in batch:
            prepared["mask"] = batch["mask"] & ~np.isnan(batch["reward"])[:, None]
        return prepared
