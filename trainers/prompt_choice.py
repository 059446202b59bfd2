"""Which prompts a rollout samples: of some candidates for each, the best by the objective's `prompt`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maspo_dsl.runtime.ranks import of_all_ranks

from .config import RolloutConfig, RunConfig
from .config_error import ConfigError
from .memory import MemoryStore, prompt_ids
from .policies.policy import Policy
from .tasks import Example
from .utility import UTILITY, UtilityTeacher

if TYPE_CHECKING:
    from maspo_dsl import Objective, ObjectiveLoss

KNOWN = frozenset({"mask", "prompt_id", "group", UTILITY})
"""What is known of a prompt before anything is sampled, besides memories."""


def check_prompt(objective: Objective, rollout: RolloutConfig) -> None:
    """Raise ConfigError for a score by what is not known beforehand, and for settings of a choice that is not made."""
    if unknown := sorted(objective.reads("prompt") - KNOWN - set(objective.memories)):
        names = ", ".join(f"`{name}`" for name in unknown)
        raise ConfigError(
            f"the `prompt` of objective `{objective.name}` reads {names}, which nobody knows before completions are "
            "sampled; `drop prompt` in a spec that extends it trains without"
        )
    for name in ("candidates", "explore"):
        value, usual = getattr(rollout, name), RolloutConfig.model_fields[name].default
        if "prompt" not in objective.graph.outputs and value != usual:
            raise ConfigError(
                f"rollout.{name}={value} has no effect: objective `{objective.name}` has no `prompt`"
            )


class PromptChoice:
    """Chooses prompts epsilon-greedily among candidates (Goldilocks RL, arXiv:2602.14868, has the rule)."""

    def __init__(self, objective: Objective, loss: ObjectiveLoss, config: RunConfig) -> None:
        """Without a `prompt` in the objective there is one candidate for each prompt."""
        self._loss, self._config = loss, config
        self.chooses = "prompt" in objective.graph.outputs
        self.candidates = config.rollout.candidates if self.chooses else 1
        self.teacher = UtilityTeacher(config.seed) if UTILITY in objective.reads("prompt") else None
        self._tried: list[tuple[Tensor, Tensor]] = []
        self._features = torch.zeros(0)

    def choose(
        self, policy: Policy, examples: Sequence[Example], memory: MemoryStore, generator: torch.Generator
    ) -> list[Example]:
        """One of each `candidates` examples that follow each other."""
        if not self.chooses:
            return list(examples)
        scores = self._scores(policy, examples, memory).reshape(-1, self.candidates)
        best = scores.argmax(dim=1)
        anyone = torch.randint(self.candidates, (len(best),), generator=generator)
        explores = torch.rand(len(best), generator=generator) < self._config.rollout.explore
        chosen = torch.where(explores, anyone, best) + self.candidates * torch.arange(len(best))
        if self.teacher is not None:
            self._features = self._features[chosen]
        return [examples[place] for place in chosen.tolist()]

    def see(self, reward: Tensor, samples: int) -> None:
        """The rewards [N] of the prompts that were chosen last, `samples` of each; NaN for none."""
        if self.teacher is None:
            return
        groups = reward.float().cpu().reshape(-1, samples)
        known = groups.isfinite().sum(dim=1) > 1
        mean = groups.nanmean(dim=1, keepdim=True)
        spread = (groups - mean).square().nanmean(dim=1).sqrt()
        self._tried.append((self._features[known], spread[known]))

    def learn(self) -> None:
        """Let the teacher learn from what all ranks saw since the last time."""
        if self.teacher is None:
            return
        seen = [pair for tried in of_all_ranks(self._tried) for pair in _pairs(tried)]
        self._tried = []
        features, spread = (torch.cat(parts) for parts in zip(*seen, strict=True))
        if len(spread):
            self.teacher.learn(features, spread)

    def state(self) -> dict[str, Any]:
        """What the teacher has learned."""
        return {} if self.teacher is None else self.teacher.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        if self.teacher is not None:
            self.teacher.restore(state)

    def _scores(self, policy: Policy, examples: Sequence[Example], memory: MemoryStore) -> Tensor:
        prompts = [example.prompt for example in examples]
        ids = prompt_ids(prompts)
        batch = {"mask": torch.ones(len(prompts), 1, dtype=torch.bool), "prompt_id": ids}
        batch |= memory.tensors(ids) | {"group": torch.arange(len(prompts))}
        if self.teacher is not None:
            rollout, precision = self._config.rollout, self._config.trainer.precision
            self._features = self.teacher.features(policy, prompts, rollout.max_new_tokens, precision)
            batch[UTILITY] = self.teacher.predict(self._features)
        scores: Tensor = self._loss.prompt(batch).cpu()
        return scores


def _pairs(tried: object) -> list[tuple[Tensor, Tensor]]:
    assert isinstance(tried, list)
    return tried
