"""A short supervised start: without it a policy of random weights never earns a reward to learn from."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from maspo_dsl.language.writing import write_whole

from .config_error import ConfigError
from .encoding import padded
from .generation import generate, token_logp
from .policies.policy import Policy, Tokenizer
from .prompts import shown
from .tasks.task import Example, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WarmStart:
    """How long to imitate answers: until `accuracy` of sampled completions are right, or for `max_steps`.

    The target leaves room above it: reinforcement needs some completions right and most of them wrong.
    """

    accuracy: float = 0.15
    max_steps: int = 400
    check_every: int = 2
    check_prompts: int = 256
    batch: int = 128
    learning_rate: float = 2e-3


DEFAULT = WarmStart()


def warm_start(policy: Policy, task: Task, *, seed: int, settings: WarmStart = DEFAULT) -> tuple[int, float]:
    """Train a policy on the task's answers, in place; returns steps and sampled accuracy.

    Reads training examples only, whose prompt is text and whose `answer` column is the completion to imitate. The same
    seed gives the same weights on one CPU thread. Raises ConfigError for an example that cannot be
    imitated.
    """
    model, examples = policy.model, task.train(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    steps, accuracy = 0, 0.0
    log.info("warm start of policy `%s` on task `%s`, once; it takes some seconds", policy.name, task.name)
    model.train()
    while accuracy < settings.accuracy and steps < settings.max_steps:
        for _ in range(settings.check_every):
            loss = imitation_loss(policy, list(islice(examples, settings.batch)))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        steps += settings.check_every
        accuracy = sampled_accuracy(policy, list(islice(examples, settings.check_prompts)), seed)
        log.debug("warm start: step %d, sampled accuracy %.3f", steps, accuracy)
    model.eval()
    log.info("warm start: %.3f of sampled completions right after %d steps", accuracy, steps)
    if accuracy < settings.accuracy:
        log.warning(
            "the warm start of task `%s` got only %.3f of its completions right in %d steps",
            task.name,
            accuracy,
            steps,
        )
    return steps, accuracy


def imitation_loss(policy: Policy, examples: list[Example]) -> Tensor:
    """Mean negative log-prob of the answers and the end after them, in nats a token; a live scalar."""
    tokenizer = policy.tokenizer
    prompts, attention = padded([tokenizer.encode(e.prompt) for e in examples], tokenizer.pad_id, left=True)
    answers, mask = padded([_answer(tokenizer, each) for each in examples], tokenizer.pad_id, left=False)
    tokens, seen = torch.cat([prompts, answers], dim=1), torch.cat([attention, mask], dim=1)
    logp, _ = token_logp(policy.model, tokens, seen, answers.shape[1], temperature=1.0, entropy=False)
    return -(logp * mask).sum() / mask.sum()


def sampled_accuracy(policy: Policy, examples: list[Example], seed: int) -> float:
    """The share of examples whose sampled completion is exactly the answer."""
    longest = max(len(_answer(policy.tokenizer, example)) for example in examples)
    generator = torch.Generator().manual_seed(seed)
    prompts = [example.prompt for example in examples]
    rollout = generate(policy, prompts, max_new_tokens=longest, temperature=1.0, generator=generator)
    right = (
        text == str(example.columns["answer"]) for text, example in zip(rollout.texts, examples, strict=True)
    )
    return sum(right) / len(examples)


def save_weights(model: torch.nn.Module, path: Path) -> None:
    """Write weights with their digest; the file appears under its name only when it is whole."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    payload = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, hashlib.sha256(payload).digest() + payload)


def load_weights(model: torch.nn.Module, path: Path) -> bool:
    """Read weights into a model; false, with one line of warning, if the file is damaged."""
    content = path.read_bytes()
    digest, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != digest:
        log.warning("%s is damaged; making it anew", path)
        return False
    model.load_state_dict(torch.load(io.BytesIO(payload), weights_only=True))
    return True


def _answer(tokenizer: Tokenizer, example: Example) -> list[int]:
    """Tokens of an example's answer, with the end of sequence."""
    answer = example.columns.get("answer")
    if answer is None or not isinstance(example.prompt, str):
        raise ConfigError(
            f"the example {shown(example.prompt)} has no text prompt with an `answer`, from which a "
            "policy of random weights is started; name a pretrained one with `model=…`"
        )
    return [*tokenizer.encode(str(answer)), tokenizer.eos_ids[0]]
