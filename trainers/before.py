"""What is looked at before a run begins: every prompt that there is, and that the models are what their sampler is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

from torch import nn

from .config import RunConfig
from .encoding import encode
from .policies import Policy
from .prompts import Prompt
from .sampler_check import check_engine, check_reading, checked_policy
from .tasks import Example, Task


def checked(
    policy: Policy,
    task: Task,
    others: Mapping[str, nn.Module],
    config: RunConfig,
    log: Callable[[str], None],
) -> Policy:
    """The policy as it can be sampled. Raises ConfigError for a prompt or a model that cannot be used.

    `others` are models that read what the policy writes, by what they are called.
    """
    prompts = _prompts(task, config)
    if any(not isinstance(prompt, str) for prompt in prompts) and (end := policy.tokenizer.unended_turn()):
        log(
            f"the chat template of {policy.name} puts {end} behind the assistant's words, and it ends no completion: "
            f"`tokenizer.end={end}` makes it"
        )
    encoded = _two_lengths(encode(policy, prompts, config.rollout.max_new_tokens))
    temperature, precision = config.rollout.temperature, config.trainer.precision
    policy, read = checked_policy(policy, encoded, temperature=temperature, precision=precision, log=log)
    if policy.engine is not None:
        check_engine(policy, encoded, temperature=temperature, precision=precision, log=log)
    for name, model in others.items():
        model.to(read.tokens.device)
        check_reading(name, model, read, temperature=temperature, precision=precision)
    return policy


def _prompts(task: Task, config: RunConfig) -> list[Prompt]:
    """Every prompt of a task that has finitely many, else those of a rollout, and those held out."""
    drawn = islice(task.train(config.seed), config.rollout.prompts)
    training: list[Example] = list(getattr(task, "examples", drawn))
    held_out = task.held_out(config.trainer.eval_prompts) if config.trainer.eval_every else []
    return [example.prompt for example in [*training, *held_out]]


def _two_lengths(prompts: list[list[int]]) -> list[list[int]]:
    """The two shortest prompts of different lengths, of which one is padded; one twice where all have one length."""
    shortest = {len(each): each for each in sorted(prompts, key=len, reverse=True)}
    first, *others = sorted(shortest.values(), key=len)
    return [others[0] if others else first, first]
