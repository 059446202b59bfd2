"""Whether a model says of each token what its sampler says: compared once a run, before anything is spent.

Sampling reads padded prompts, and then token after token; an update reads whole sequences. A policy gradient takes the
two for one. Four ways of reading a few tokens are compared: a sequence alone, its first half alone, padded sequences,
and the sampler's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .completions import drawn_by
from .config_error import ConfigError
from .encoding import padded
from .engine import Ways
from .generation import logp_by_logits
from .policies.policy import Policy
from .precision import PRECISIONS, computing_in
from .sampling import Sampler

# What models raise that do not take what they are given.
_FAILURES = (
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
FARTHEST = 0.3
"""Nats a token between an engine and the model; other kernels in bfloat16 are a tenth of that apart."""
TOKENS = 8
"""Sampled to each prompt, more than the convolutions of hybrid models reach back."""


@dataclass(frozen=True)
class Sequences:
    """Some prompts with tokens behind them: `tokens` and `attention` [N, P+T], and `logp` [N, T] of the sampler."""

    tokens: Tensor
    attention: Tensor
    logp: Tensor


def checked_policy(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float,
    precision: str,
    log: Callable[[str], None],
) -> tuple[Policy, Sequences]:
    """The policy as it can be sampled: with a cache if that gives what whole sequences give, else without.

    Also what was compared, for models that read the same. `prompts` are tokens, of two lengths where the run has two.
    Raises ConfigError for a model whose log-probs depend on later tokens or on padding, or that cannot be read.
    """
    faults: list[str] = []
    for cached in dict.fromkeys((policy.cached, False)):
        candidate = replace(policy, cached=cached)
        try:
            drawn = _drawn(candidate, prompts, temperature, precision)
            whole = _logp(policy.model, drawn.tokens, drawn.attention, drawn.logp, temperature, precision)
        except _FAILURES as error:
            faults.append(
                f"fails ({type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]})"
            )
            continue
        check_reading(policy.name, policy.model, drawn, temperature=temperature, precision=precision)
        apart = _apart(drawn.logp, whole)
        if apart > PRECISIONS[precision].rounding:
            faults.append(f"says of a token what it does not say in a whole sequence, by {apart:.2g} nats")
            continue
        if faults:
            log(
                f"model {policy.name} is sampled without a cache, which is slower: with one it {faults[0]}. "
                "Whole sequences are read for each token"
            )
        return candidate, drawn
    raise ConfigError(
        f"model `{policy.name}` cannot be sampled: with a cache it {faults[0]}; without one it {faults[-1]}"
    )


def check_engine(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float,
    precision: str,
    log: Callable[[str], None],
) -> None:
    """Say how far an engine's log-probs are from those of the model. Raises ConfigError: it samples another model."""
    assert policy.engine is not None
    policy.engine.load(policy.model)
    pad, device = policy.tokenizer.pad_id, next(policy.model.parameters()).device
    ids, attention = (part.to(device) for part in padded(prompts, pad, left=True))
    drawn = drawn_by(
        policy.engine, prompts, Ways(TOKENS, temperature, policy.tokenizer.eos_ids, 0), pad, device
    )
    there = drawn.logp != 0
    tokens, seen = torch.cat([ids, drawn.tokens], dim=1), torch.cat([attention, there], dim=1)
    whole = _logp(policy.model, tokens, seen, drawn.logp, temperature, precision)
    apart = _apart(drawn.logp[there], whole[there])
    if apart > FARTHEST:
        raise ConfigError(
            f"the sampling engine says of the tokens it draws what model `{policy.name}` does not say, by {apart:.2g} "
            "nats a token: it has other weights, or its log-probs are not at the temperature"
        )
    log(
        f"completions are sampled by an engine, whose log-probs are {apart:.2g} nats a token from the model's; "
        "objectives that read `rollout` correct for that"
    )


def check_reading(
    name: str, model: nn.Module, sequences: Sequences, *, temperature: float, precision: str
) -> None:
    """Raise ConfigError for a model whose log-probs depend on later tokens, or on the padding before a prompt."""
    rounding = PRECISIONS[precision].rounding
    ahead, padding = [], []
    together = _logp(model, sequences.tokens, sequences.attention, sequences.logp, temperature, precision)
    for tokens, attention, logp, among in zip(
        sequences.tokens, sequences.attention, sequences.logp, together, strict=True
    ):
        alone = tokens[attention][None]
        whole = _logp(model, alone, torch.ones_like(alone), logp[None], temperature, precision)
        half = logp.shape[0] // 2
        cut = alone[:, : alone.shape[1] - half]
        first = _logp(model, cut, torch.ones_like(cut), logp[None, half:], temperature, precision)
        ahead.append(_apart(first, whole[:, : first.shape[1]]))
        padding.append(_apart(among[None], whole))
    if max(ahead) > rounding:
        raise ConfigError(
            f"model `{name}` is no causal language model, or is not loaded as one: what it says of a token changes "
            f"by {max(ahead):.2g} nats with the tokens behind it"
        )
    if max(padding) > rounding:
        raise ConfigError(
            f"model `{name}` does not leave out the padding before a prompt: what it says of a token changes by "
            f"{max(padding):.2g} nats with it. It can be trained on prompts that all have one length"
        )


def _drawn(policy: Policy, prompts: Sequence[Sequence[int]], temperature: float, precision: str) -> Sequences:
    """What the sampler draws, ends or not; the first prompt stands there twice, for it is read once."""
    device = next(policy.model.parameters()).device
    ids, attention = (
        part.to(device) for part in padded([*prompts, prompts[0]], policy.tokenizer.pad_id, left=True)
    )
    generator = torch.Generator().manual_seed(0)
    sampler = Sampler(
        policy.model, policy.tokenizer.pad_id, (), TOKENS, generator, temperature, policy.cached
    )
    with torch.no_grad(), computing_in(precision, device):
        drawn = sampler.sample(ids, attention)
    return Sequences(
        torch.cat([ids, drawn.tokens], dim=1),
        torch.cat([attention, torch.ones_like(drawn.tokens, dtype=torch.bool)], dim=1),
        drawn.logp,
    )


@torch.no_grad()
def _logp(
    model: nn.Module, tokens: Tensor, attention: Tensor, like: Tensor, temperature: float, precision: str
) -> Tensor:
    """Log-probs of the last tokens, in the shape of `like` [N, T]."""
    with computing_in(precision, tokens.device):
        return logp_by_logits(model, tokens, attention.bool(), like.shape[1], temperature, False)[0]


def _apart(one: Tensor, other: Tensor) -> float:
    """Mean |difference| in nats; infinite where either is no number."""
    found = float((one - other).abs().mean())
    return found if found == found else float("inf")
