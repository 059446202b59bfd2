"""Log-probs of tokens from final hidden states, without gradient and without `[N, T, V]`."""

from __future__ import annotations

import torch
from torch import Tensor

from maspo_dsl.emit.template.head import as_autocast, room_for_logits
from maspo_dsl.runtime.compiled import can_compile
from maspo_dsl.runtime.linear_head import FUSED_FROM, LinearHead
from maspo_dsl.runtime.logits import ENTROPY_OF_POLICY


def fuses(weight: Tensor) -> bool:
    """Whether passes over logits are compiled: not where they fit into the cache of a core."""
    return len(weight) >= FUSED_FROM and can_compile("inductor", weight.device)


@torch.no_grad()
def log_probs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log softmax((hidden weight^T + bias) / temperature) at `tokens`, and the entropy if asked for, in nats.

    `hidden` [..., H], `weight` [V, H], `tokens` [...] int64, `bias` [V]; both results are [...], in float32 or the
    wider dtype of the weight, 0 where `mask` [...] is false. Under autocast they are those of `from_hidden` there.
    """
    hidden, weight, bias = as_autocast(hidden, weight, bias)
    with torch.autocast(hidden.device.type, enabled=False):
        return _log_probs(hidden, weight, tokens, mask, bias, temperature, entropy)


def _log_probs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    temperature: float,
    entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """`log_probs` as the dtypes are."""
    head = LinearHead(weight, bias, temperature, fuses(weight)).whole()
    states, chosen = hidden.reshape(-1, hidden.shape[-1]), tokens.reshape(-1)
    rows = (
        torch.arange(len(chosen), device=tokens.device) if mask is None else mask.reshape(-1).nonzero()[:, 0]
    )
    buffer = head.buffer(room_for_logits(hidden.device), len(rows))
    logp = torch.zeros(tokens.shape, dtype=head.dtype, device=tokens.device)
    entropies = torch.zeros_like(logp) if entropy else None
    for chunk in torch.split(rows, len(buffer)):
        asked = (ENTROPY_OF_POLICY,) if entropy else ()
        head_pass = head.run(states[chunk], chosen[chunk], buffer, asked=asked)
        logp.view(-1)[chunk] = head_pass.logp
        if entropies is not None:
            entropies.view(-1)[chunk] = head_pass.values[0]
    return logp, entropies
