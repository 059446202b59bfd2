"""Sampling completions, and the log-probs of tokens: the two things that are asked of a policy.

The sampler returns the log-prob of each token as it draws it. `token_logp` computes the same numbers from
whole sequences, with a gradient if autograd is on. Prompts are padded on the left, completions on the
right, so that the completions of a batch stand in the same columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

import maspo_dsl
from maspo_dsl.runtime.model_head import at_head, linear_head, model_logits

from .completions import drawn_by
from .config_error import ConfigError
from .encoding import encode, padded
from .engine import Ways
from .policies.policy import Policy, Tokenizer
from .precision import computing_in
from .prompts import Prompt
from .sampling import Drawn, Sampler, entropies

# Logits held at once without a gradient: 2 ** 24 floats are 64 MiB. With a vocabulary of 49,152
# that is 341 positions, with one of 51 it is any rollout.
_LOGITS_AT_ONCE = 2**24
# Positions read together where the head gives log-probs without holding all logits.
_STATES_AT_ONCE = 2**14


@dataclass(frozen=True)
class Rollout:
    """Completions of N prompts: P prompt columns, padded on the left, then T completion columns.

    `tokens` [N, P+T] int64; `attention` [N, P+T] bool, the prompt and the completion up to its end; `mask`
    [N, T] bool, completion tokens up to and including the first end of sequence; `truncated` [N] bool, rows
    that reached the limit without one; `texts`, N completions without the token that ends them; `logp` and `entropy`
    [N, T] float32, nats, of the sampler at its temperature, 0 outside the mask; an engine tells no entropies.
    """

    tokens: Tensor
    attention: Tensor
    mask: Tensor
    truncated: Tensor
    texts: list[str]
    logp: Tensor
    entropy: Tensor


@torch.no_grad()
def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    temperature: float,
    greedy: bool = False,
    generator: torch.Generator,
    precision: str = "32-true",
    told: Callable[[int], None] = lambda count: None,
) -> Rollout:
    """Sample one completion for each prompt, or take the likeliest tokens if `greedy`.

    Stops when every row has ended; `told` hears how many tokens those have that are sampled at present. The same
    generator state gives the same rollout. Raises ConfigError for a prompt without tokens, and for one that leaves the
    model no room for `max_new_tokens`.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature}: expected a number above 0")
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens}: expected at least 1")
    encoded = encode(policy, prompts, max_new_tokens)
    tokenizer, device = policy.tokenizer, next(policy.model.parameters()).device
    ids, attention = (part.to(device) for part in padded(encoded, tokenizer.pad_id, left=True))
    if policy.engine is None or greedy:
        sampler = Sampler(
            policy.model,
            tokenizer.pad_id,
            tokenizer.eos_ids,
            max_new_tokens,
            None if greedy else generator,
            temperature,
            policy.cached,
            told,
        )
        with _evaluating(policy.model), computing_in(precision, device):
            drawn = _in_chunks(sampler, ids, attention)
    else:
        ways = Ways(max_new_tokens, temperature, tokenizer.eos_ids, _seed_from(generator))
        drawn = drawn_by(policy.engine, encoded, ways, tokenizer.pad_id, device)
    mask = _up_to_end(drawn.tokens, tokenizer)
    return Rollout(
        tokens=torch.cat([ids, drawn.tokens], dim=1),
        attention=torch.cat([attention, mask], dim=1),
        mask=mask,
        truncated=~drawn.ended,
        texts=_texts(drawn.tokens, mask, tokenizer),
        logp=drawn.logp * mask,
        entropy=drawn.entropy * mask,
    )


def _in_chunks(sampler: Sampler, ids: Tensor, attention: Tensor) -> Drawn:
    """Completions of all prompts, of so many at a time that their logits fit."""
    rows = rows_at_once(_vocab_size(sampler.model))
    chunks = [
        sampler.sample(*chunk)
        for chunk in zip(torch.split(ids, rows), torch.split(attention, rows), strict=True)
    ]
    length = max(chunk.tokens.shape[1] for chunk in chunks)
    return Drawn(
        torch.cat([_widened(chunk.tokens, length, sampler.pad_id) for chunk in chunks]),
        torch.cat([_widened(chunk.logp, length, 0.0) for chunk in chunks]),
        torch.cat([_widened(chunk.entropy, length, 0.0) for chunk in chunks]),
        torch.cat([chunk.ended for chunk in chunks]),
    )


def rows_at_once(vocabulary: int) -> int:
    """Completions that are sampled together, so that the logits of a token of each fit."""
    return max(1, _LOGITS_AT_ONCE // vocabulary)


def _seed_from(generator: torch.Generator) -> int:
    """A seed for a sampler that has generators of its own."""
    return int(torch.randint(2**31, (1,), generator=generator))


def token_logp(
    model: nn.Module,
    tokens: Tensor,
    attention: Tensor,
    length: int,
    *,
    temperature: float,
    entropy: bool,
    precision: str = "32-true",
) -> tuple[Tensor, Tensor | None]:
    """Log-probs of the last `length` tokens of each row, given those before them.

        logp[n, t] = log softmax(logits[n, t] / temperature)[tokens[n, t]]

    Args:
        model: causal language model.
        tokens: [N, P+T] int64, P at least 1.
        attention: [N, P+T] bool, false on padding.
        length: T.
        temperature: of the sampler, above 0.
        entropy: whether to compute the entropy of the policy at each token too.
        precision: of the run.

    Returns:
        Log-probs and entropies (or None), both [N, T] float32 in nats; live where autograd is on. Positions
        that attention leaves out hold numbers without meaning.
    """
    with computing_in(precision, tokens.device):
        if torch.is_grad_enabled():  # the graph keeps every chunk's logits, so that chunks would save nothing
            return logp_by_logits(model, tokens, attention, length, temperature, entropy)
        head = linear_head(model)
        if head is None:
            read, rows = logp_by_logits, _LOGITS_AT_ONCE // (_vocab_size(model) * (length + 1))
        else:
            read, rows = partial(_by_head, head), _STATES_AT_ONCE // tokens.shape[1]
        chunks = zip(torch.split(tokens, max(1, rows)), torch.split(attention, max(1, rows)), strict=True)
        parts = [read(model, *chunk, length, temperature, entropy) for chunk in chunks]
    logp = torch.cat([part[0] for part in parts])
    return logp, torch.cat([part[1] for part in parts if part[1] is not None]) if entropy else None


def logp_by_logits(
    model: nn.Module, tokens: Tensor, attention: Tensor, length: int, temperature: float, entropy: bool
) -> tuple[Tensor, Tensor | None]:
    """`token_logp` by the logits of all tokens, in the present precision."""
    raw = model_logits(model, tokens, attention, keep=length + 1, use_cache=False)[:, -length - 1 : -1]
    logp = torch.log_softmax(raw.float() / temperature, dim=-1)
    chosen = logp.gather(2, tokens[:, -length:, None])[..., 0]
    return chosen, entropies(logp) if entropy else None


def _by_head(
    head: nn.Linear,
    model: nn.Module,
    tokens: Tensor,
    attention: Tensor,
    length: int,
    temperature: float,
    entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """`token_logp` without gradient, of a model with a linear head, in chunks of tokens."""

    def compute(states: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return maspo_dsl.log_probs(
            states,
            weight,
            tokens[:, -length:],
            mask=attention[:, -length:],
            bias=bias,
            temperature=temperature,
            entropy=entropy,
        )

    return at_head(model, head, tokens, attention, length, compute)


def _up_to_end(completions: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Which tokens of [N, T] stand at or before the first end of sequence."""
    ends = torch.isin(completions, torch.tensor(tokenizer.eos_ids, device=completions.device)).long()
    return ends.cumsum(dim=1) - ends == 0


def _texts(completions: Tensor, mask: Tensor, tokenizer: Tokenizer) -> list[str]:
    """The text of completions, without the token that ends them."""
    rows = zip(completions.tolist(), mask.sum(dim=1).tolist(), strict=True)
    return [
        tokenizer.decode([token for token in row[:size] if token not in tokenizer.eos_ids])
        for row, size in rows
    ]


def _widened(part: Tensor, length: int, fill: float) -> Tensor:
    """[n, t] filled up on the right to [n, length]."""
    return nn.functional.pad(part, (0, length - part.shape[1]), value=fill)


def _vocab_size(model: nn.Module) -> int:
    """The number of logits of a position."""
    return int(getattr(getattr(model, "config", None), "vocab_size", 2**16))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
