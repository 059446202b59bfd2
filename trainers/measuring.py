"""What a policy does on held-out prompts: greedy, and sampled several times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .config import RunConfig
from .generation import generate
from .policies import Policy
from .rewards import RewardFunction, Rewards, score_all
from .rollout_data import columns_of, named
from .tasks import Example


def measures(
    policy: Policy,
    examples: Sequence[Example],
    reward: RewardFunction | Rewards,
    metrics: Rewards,
    config: RunConfig,
    stage: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Means over held-out prompts, by column; what nothing was measured of is absent.

    `metrics` are scored on the greedy completions. With k = `trainer.eval_samples`, k completions are sampled to each
    prompt, the same at every measurement but for the policy: avg@k is their mean reward, pass@k the share of prompts
    with one whose reward is above 0, which is what objectives call `correct`.
    """
    if not examples:
        return {}
    stage("held-out prompts")
    greedy = _texts(policy, examples, config, greedy=True)
    found = {"eval/greedy": _scores(named(reward), examples, greedy, config)}
    for name, metric in metrics.items():
        found[f"eval/{name}"] = _scores({name: metric}, examples, greedy, config)
    if count := config.trainer.eval_samples:
        each = [example for example in examples for _ in range(count)]
        values = _scores(named(reward), each, _texts(policy, each, config, greedy=False), config)
        groups = [values[start : start + count] for start in range(0, len(values), count)]
        found["eval/avg@k"] = values
        found["eval/pass@k"] = [float(any(value > 0 for value in group)) for group in groups]
    means = {name: [value for value in values if not math.isnan(value)] for name, values in found.items()}
    return {name: sum(values) / len(values) for name, values in means.items() if values}


def _texts(policy: Policy, examples: Sequence[Example], config: RunConfig, *, greedy: bool) -> list[str]:
    """Completions to the prompts of some examples."""
    rollout = generate(
        policy,
        [example.prompt for example in examples],
        max_new_tokens=config.rollout.max_new_tokens,
        temperature=config.rollout.temperature,
        greedy=greedy,
        generator=torch.Generator().manual_seed(config.seed),
        precision=config.trainer.precision,
    )
    return rollout.texts


def _scores(
    rewards: Rewards, examples: Sequence[Example], texts: Sequence[str], config: RunConfig
) -> list[float]:
    """A number for each completion, NaN where there is none."""
    most = int(config.rollout.reward_failures * len(texts))
    prompts = [example.prompt for example in examples]
    seconds = config.rollout.reward_timeout
    return score_all(rewards, prompts, texts, columns_of(examples), seconds=seconds, most=most).values
