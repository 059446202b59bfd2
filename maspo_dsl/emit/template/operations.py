"""Operations that generated code calls; a generated file carries the ones it uses, as text."""

import torch


def masked(value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The value where a token is trained, 0 elsewhere: nothing that stands there is seen, NaN included."""
    return torch.where(mask, value, 0.0)


def tokens(value: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """One value a sequence [N], for each of its tokens: a column [N, 1], or [M] in packed form."""
    return value[x["sequence"]] if "sequence" in x else value.unsqueeze(-1)


def total(value: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """Sum over all members, 0-d."""
    return torch.where(member, value, 0.0).sum()


def window_total(value: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """Sum over all members in float64: what this micro-batch adds to a statistic of the window."""
    return torch.where(member, value, 0.0).sum(dtype=torch.float64)


def sequence_sum(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the member tokens of each sequence, [N]."""
    chosen = torch.where(member, value, 0.0)
    if "sequence" not in x:
        return chosen.sum(-1)
    return chosen.new_zeros(x["present"].shape).index_add(0, x["sequence"], chosen)


def group_sum(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over the member sequences of each group, given to every row of the group, [N]."""
    chosen = torch.where(member, value, 0.0)
    return torch.zeros_like(chosen).index_add(0, x["group"], chosen)[x["group"]]


def total_max(value: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """The largest member, 0-d; 0 where there is none."""
    largest = torch.where(member, value, -torch.inf).max()
    return torch.where(member.any(), largest, 0.0)


def sequence_max(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The largest member token of each sequence, [N]; 0 where there is none."""
    chosen = torch.where(member, value, -torch.inf)
    if "sequence" not in x:
        largest = chosen.amax(-1)
    else:
        empty = chosen.new_full(x["present"].shape, -torch.inf)
        largest = empty.scatter_reduce(0, x["sequence"], chosen, "amax")
    return torch.where(sequence_sum(torch.ones_like(chosen), member, x) > 0, largest, 0.0)


def group_max(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The largest member sequence of each group, given to every row of the group, [N]; 0 where there is none."""
    chosen = torch.where(member, value, -torch.inf)
    empty = torch.full_like(chosen, -torch.inf)
    largest = empty.scatter_reduce(0, x["group"], chosen, "amax")[x["group"]]
    return torch.where(group_sum(torch.ones_like(chosen), member, x) > 0, largest, 0.0)


def group_rank(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """Place of each member in its group, 1 for the largest, ties to the earlier row, [N]; 0 for the others."""
    same = (x["group"].unsqueeze(0) == x["group"].unsqueeze(1)) & member.unsqueeze(0)
    row = torch.arange(value.shape[0], device=value.device)
    earlier = row.unsqueeze(0) < row.unsqueeze(1)
    ahead = (value.unsqueeze(0) > value.unsqueeze(1)) | ((value.unsqueeze(0) == value.unsqueeze(1)) & earlier)
    return torch.where(member, 1.0 + (same & ahead).sum(1).to(value.dtype), 0.0)


def group_kth(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor], k: int) -> torch.Tensor:
    """The k-th largest member of each group, given to every row of the group, [N]; 0 where there are fewer."""
    chosen = member & (group_rank(value, member, x) == k)
    return group_sum(value, chosen, x)


def at(value: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The element at a 0-d place: plain indexing would ask the device where that is."""
    return value.gather(0, place.reshape(1)).squeeze(0)


def total_quantile(
    value: torch.Tensor,
    member: torch.Tensor,
    q: torch.Tensor | float,
    of: torch.Tensor,
    empty: torch.Tensor | float,
) -> torch.Tensor:
    """The q-quantile (linear interpolation) of the members that satisfy `of`, 0-d; `empty` where there are none."""
    chosen = member & of
    ordered = torch.where(chosen, value, torch.inf).flatten().sort().values
    count = chosen.sum()
    place = q * (count - 1).clamp(min=0).to(value.dtype)
    low = place.floor().long()
    high = torch.minimum(low + 1, (count - 1).clamp(min=0))
    below, above = at(ordered, low), at(ordered, high)
    between = below + (above - below) * (place - low)
    return torch.where(count > 0, between, empty)


def members(value: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """The values of all members, 1-d: for a statistic that needs those of every micro-batch."""
    return torch.broadcast_to(value, member.shape)[member]


def pooled_max(values: torch.Tensor) -> torch.Tensor:
    """The largest of all values, 0-d; 0 where there is none."""
    return values.max() if values.numel() else values.sum()


def pooled_quantile(
    values: torch.Tensor, q: torch.Tensor | float, empty: torch.Tensor | float
) -> torch.Tensor:
    """The q-quantile (linear interpolation) of all values, 0-d; `empty` where there are none."""
    everything = torch.ones_like(values, dtype=torch.bool)
    if not values.numel():
        return values.sum() + empty
    return total_quantile(values, everything, q, everything, empty)


def total_pick(
    condition: torch.Tensor, member: torch.Tensor, share: torch.Tensor | float, key: torch.Tensor, seed: int
) -> torch.Tensor:
    """A share of the members, at least one, drawn from those that satisfy a condition.

    The order of the draw is a hash of the bits of `key`, a float32 for each token, and the seed.
    """
    bits = key.detach().to(torch.float32).view(torch.int32).to(torch.int64)
    mixed = (bits + 0x9E3779B9 * (seed + 1)) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = mixed ^ (mixed >> 16)
    chosen = condition & member
    ordered = torch.where(chosen, mixed, 1 << 40).flatten().sort().values
    count = (member.sum().double() * share).long().clamp(min=1)
    limit = at(ordered, torch.clamp(count - 1, max=ordered.shape[0] - 1))
    return chosen & (mixed <= limit)
