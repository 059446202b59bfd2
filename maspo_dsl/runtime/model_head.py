"""The head of a causal language model: what turns its last states into logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

Result = TypeVar("Result")
AtHead = Callable[[Tensor, Tensor, "Tensor | None"], Result]

_heads: WeakKeyDictionary[nn.Module, nn.Linear | None] = WeakKeyDictionary()


def linear_head(model: nn.Module) -> nn.Linear | None:
    """The head of a model whose logits are states times its weight; None if there is more to them.

    Tried once a model, with large numbers in the place of logits: some models scale or bound them after the head.
    """
    if model not in _heads:
        _heads[model] = _tried(model)
    return _heads[model]


def at_head(
    model: nn.Module,
    head: nn.Linear,
    tokens: Tensor,
    attention: Tensor,
    length: int,
    compute: AtHead[Result],
) -> Result:
    """`compute(states, weight, bias)` of the states [N, T, H] from which the last `length` tokens are predicted.

    Called within the model's own forward pass, where strategies that shard weights have them whole.
    """
    results: list[Result] = []

    def instead(states: Tensor) -> Tensor:
        results.append(compute(states[:, -length - 1 : -1], head.weight, head.bias))
        return states

    with in_the_place_of(head, instead):
        model_logits(model, tokens, attention, keep=length + 1, use_cache=False)
    return results[0]


def model_logits(model: nn.Module, ids: Tensor, attention: Tensor, *, keep: int, **options: Any) -> Tensor:
    """Logits of at least the last `keep` of the positions `ids`; `attention` covers the cached ones too."""
    accepted = inspect.signature(model.forward).parameters
    if "logits_to_keep" in accepted:  # else the model computes all, and the caller takes the last ones
        options["logits_to_keep"] = keep
    if "position_ids" in accepted:  # counted without the padding, so that padding never changes a result
        positions = (attention.long().cumsum(dim=1) - 1).clamp(min=0)
        options["position_ids"] = positions[:, -ids.shape[1] :]
    found: Tensor = model(input_ids=ids, attention_mask=attention.long(), **options).logits
    return found


@torch.no_grad()
def _tried(model: nn.Module) -> nn.Linear | None:
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    if type(head) is not nn.Linear:  # a subclass may do more than its weight says
        return None
    ids = torch.zeros((1, 2), dtype=torch.long, device=head.weight.device)
    probe = torch.linspace(
        -1e4, 1e4, 2 * head.out_features, device=head.weight.device, dtype=head.weight.dtype
    )
    probe = probe.reshape(1, 2, -1)
    with in_the_place_of(head, lambda states: probe):
        after = model_logits(model, ids, torch.ones_like(ids), keep=2, use_cache=False)
    return head if torch.equal(after, probe) else None


@contextmanager
def in_the_place_of(head: nn.Linear, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Another function instead of a head's forward for a while."""
    before = vars(head).get("forward")
    vars(head)["forward"] = forward
    try:
        yield
    finally:
        del vars(head)["forward"]
        vars(head).update({} if before is None else {"forward": before})
