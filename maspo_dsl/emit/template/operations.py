"""Operations that generated code calls; a generated file carries the ones it uses, as text."""

import torch

from maspo_dsl.emit.template.names import Condition


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


def window_count(member: torch.Tensor) -> torch.Tensor:
    """How many members there are in float64: what this micro-batch adds to a count of the window."""
    return counted(member).double()


def counted(member: torch.Tensor) -> torch.Tensor:
    """How many members there are, 0-d; the bytes of many are added eight at a time, as one word."""
    flags = member.flatten().view(torch.uint8)
    whole = flags.numel() // 512 * 512
    if whole == 0 or flags.storage_offset() % 8:
        return member.sum()
    # Sixty-four words a sum, so that no byte of it overflows.
    count = flags[:whole].view(torch.int64).view(-1, 64).sum(1).view(torch.uint8).sum()
    return count if whole == flags.numel() else count + flags[whole:].sum()


def candidates(low: float, step: float, count: int, one: torch.Tensor) -> torch.Tensor:
    """What a search tries: low, low + step, … [count]."""
    return (low + step * torch.arange(count, dtype=torch.float64, device=one.device)).to(one.dtype)


def least(holds: Condition, tried: torch.Tensor) -> torch.Tensor:
    """The first of the values tried, in rising order, for which a condition of it holds; infinity where none does."""
    with torch.no_grad():
        held = torch.vmap(holds)(tried)
        return torch.where(held, tried.reshape(-1, *[1] * (held.dim() - 1)), torch.inf).amin(0)


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
    chosen = torch.where(member, value, -torch.inf).flatten()
    largest = torch.cat([chosen, chosen.new_full((1,), -torch.inf)]).max()
    return torch.where(member.any(), largest, 0.0)


def sequence_max(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The largest member token of each sequence, [N]; 0 where there is none."""
    chosen = torch.where(member, value, -torch.inf)
    if "sequence" not in x:
        largest = torch.cat([chosen, chosen.new_full((chosen.shape[0], 1), -torch.inf)], -1).amax(-1)
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
    value = value.expand_as(member)
    same = (x["group"].unsqueeze(0) == x["group"].unsqueeze(1)) & member.unsqueeze(0)
    row = torch.arange(value.shape[0], device=value.device)
    earlier = row.unsqueeze(0) < row.unsqueeze(1)
    ahead = (value.unsqueeze(0) > value.unsqueeze(1)) | ((value.unsqueeze(0) == value.unsqueeze(1)) & earlier)
    return torch.where(member, 1.0 + (same & ahead).sum(1).to(value.dtype), 0.0)


def group_kth(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor], k: int) -> torch.Tensor:
    """The k-th largest member of each group, given to every row of the group, [N]; 0 where there are fewer."""
    chosen = member & (group_rank(value, member, x) == k)
    return group_sum(value, chosen, x)


def with_one_more(values: torch.Tensor) -> torch.Tensor:
    """The values [M] and a 0, so that even where there are none there is a place to look at."""
    return torch.cat([values, values.new_zeros(1)])


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
    ordered = with_one_more(torch.where(chosen, value, torch.inf).flatten().sort().values)
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


def rows_of(member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The row in the [N] tensors of each token."""
    rows = torch.arange(x["present"].shape[0], device=member.device)
    return tokens(rows, x).expand_as(member)


def quantile_by(
    value: torch.Tensor,
    chosen: torch.Tensor,
    owner: torch.Tensor,
    asked: torch.Tensor,
    q: torch.Tensor | float,
    empty: torch.Tensor | float,
) -> torch.Tensor:
    """The q-quantile (linear interpolation) of the chosen values of each owner that is asked for, [N].

    `owner` names the owner of each value, and `asked` [N] those of the result, by whole numbers below N.
    """
    value, chosen = value.expand_as(chosen).flatten(), chosen.flatten()
    count = torch.zeros_like(asked).index_add(0, owner.flatten(), chosen.to(asked.dtype))
    # By value, then by owner, what is not chosen at the end.
    order = torch.where(chosen, value, torch.inf).argsort()
    owners = torch.where(chosen, owner.flatten(), asked.shape[0])
    order = order[owners[order].argsort(stable=True)]
    ordered = with_one_more(torch.where(chosen, value, 0.0)[order])
    start, last = count.cumsum(0) - count, (count - 1).clamp(min=0)
    place = q * last.to(value.dtype)
    low = place.floor().to(asked.dtype)
    below, above = ordered[start + low], ordered[start + torch.minimum(low + 1, last)]
    between = below + (above - below) * (place - low)
    return torch.where(count[asked] > 0, between[asked], empty)


def sequence_quantile(
    value: torch.Tensor,
    member: torch.Tensor,
    x: dict[str, torch.Tensor],
    q: torch.Tensor | float,
    of: torch.Tensor,
    empty: torch.Tensor | float,
) -> torch.Tensor:
    """The q-quantile of each sequence's member tokens that satisfy `of`, [N]; `empty` where there are none."""
    rows = torch.arange(x["present"].shape[0], device=member.device)
    return quantile_by(value, member & of, rows_of(member, x), rows, q, empty)


def group_quantile(
    value: torch.Tensor,
    member: torch.Tensor,
    x: dict[str, torch.Tensor],
    q: torch.Tensor | float,
    of: torch.Tensor,
    empty: torch.Tensor | float,
) -> torch.Tensor:
    """The q-quantile of each group's member sequences that satisfy `of`, given to every row of the group, [N]."""
    return quantile_by(value, member & of, x["group"], x["group"], q, empty)


def group_token_quantile(
    value: torch.Tensor,
    member: torch.Tensor,
    x: dict[str, torch.Tensor],
    q: torch.Tensor | float,
    of: torch.Tensor,
    empty: torch.Tensor | float,
) -> torch.Tensor:
    """The q-quantile of the member tokens of each group's sequences, given to every row of the group, [N]."""
    owner = tokens(x["group"], x).expand_as(member)
    return quantile_by(value, member & of, owner, x["group"], q, empty)


def lined_up(member: torch.Tensor, x: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """All tokens in one line, the members of one sequence after those of another, the others last.

    Returns the places that they come from, and their rows; N for the others.
    """
    rows = torch.where(member, rows_of(member, x), x["present"].shape[0]).flatten()
    order = rows.argsort(stable=True)
    return order, rows[order]


def from_line(line: torch.Tensor, order: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """What `lined_up` put in a line, back at its places."""
    return torch.zeros_like(line).scatter(0, order, line).view(member.shape)


def positions(one: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """1 for the first member token of a sequence, 2 for the second, …; 0 for the others."""
    order, rows = lined_up(member, x)
    place = torch.arange(rows.shape[0], device=rows.device)
    first = torch.searchsorted(rows, rows)
    return masked(from_line(place - first + 1, order, member).to(one.dtype), member)


def ahead_in_line(
    rows: torch.Tensor, steps: torch.Tensor, line: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What stands so many steps [S] further in a line [M], [M, S], and whether it is of the same sequence."""
    place = torch.arange(rows.shape[0], device=rows.device).unsqueeze(-1) + steps
    there = place.clamp(max=rows.shape[0] - 1)
    return line[there], (rows[there] == rows.unsqueeze(-1)) & (place < rows.shape[0])


def next_token(value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """The value at the next member token of the same sequence, 0 after the last and for the others."""
    order, rows = lined_up(member, x)
    line = masked(value, member).flatten()[order]
    following, same = ahead_in_line(rows, torch.ones(1, dtype=torch.long, device=rows.device), line)
    return from_line(masked(following, same).squeeze(-1), order, member)


def discounted_sum(
    value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor], factor: torch.Tensor
) -> torch.Tensor:
    """y = value + factor * (y at the next member token of the same sequence); 0 for the others.

    Each round sums eight sums of the round before, so that eight rounds reach over 16 million tokens: a compiled
    graph knows no lengths. The factor, of the sequence, is taken to whole positive powers: nothing overflows.
    """
    order, rows = lined_up(member, x)
    line = masked(value, member).flatten()[order]
    factor = factor.expand_as(member).flatten()[order] if factor.dim() else factor
    for reach in (1, 8, 8**2, 8**3, 8**4, 8**5, 8**6, 8**7):
        steps = torch.arange(8, device=rows.device) * reach
        further, same = ahead_in_line(rows, steps, line)
        power = factor.unsqueeze(-1) ** steps
        line = torch.where(same & (power != 0), power * further, 0.0).sum(-1)
    return from_line(line, order, member)


def share_of(member: torch.Tensor, share: torch.Tensor | float, dtype: torch.dtype) -> torch.Tensor:
    """How many tokens a share of the members is, rounded down and at least one."""
    return (member.sum().to(dtype) * share).long().clamp(min=1)


def total_top(
    value: torch.Tensor, member: torch.Tensor, x: dict[str, torch.Tensor], share: torch.Tensor | float
) -> torch.Tensor:
    """The share of the members, at least one, with the largest values; of equal ones the earlier."""
    order, _ = lined_up(member, x)
    line = torch.where(member, value, -torch.inf).flatten()[order]
    ranked = order[line.argsort(descending=True, stable=True)]
    chosen = torch.arange(ranked.shape[0], device=ranked.device) < share_of(member, share, value.dtype)
    return member & from_line(chosen, ranked, member)


def total_pick(
    condition: torch.Tensor,
    member: torch.Tensor,
    x: dict[str, torch.Tensor],
    share: torch.Tensor | float,
    key: torch.Tensor,
    seed: int,
) -> torch.Tensor:
    """A share of the members, at least one, drawn from those that satisfy a condition.

    The order of the draw is a hash of the bits of `key`, a float32 for each token, and the seed; of equal ones the
    earlier token is first.
    """
    bits = key.detach().to(torch.float32).view(torch.int32).to(torch.int64)
    mixed = (bits + 0x9E3779B9 * (seed + 1)) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = mixed ^ (mixed >> 16)
    chosen = condition & member
    order, _ = lined_up(member, x)
    line = torch.where(chosen, mixed, 1 << 40).flatten()[order]
    ranked = order[line.argsort(stable=True)]
    first = torch.arange(ranked.shape[0], device=ranked.device) < share_of(member, share, key.dtype)
    return chosen & from_line(first, ranked, member)
