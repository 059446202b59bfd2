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


class Segments:
    """Cells in which values are reduced: `index` says which of `count` cells each value is in, broadcast over them.

    `owner` says whose value each element of a result is, where that is not one for each cell. From axis `start` on the
    values of a cell stand together, where they do. `order` are the sequences of packed tokens, for their order.
    """

    def __init__(
        self,
        index: torch.Tensor,
        count: int,
        owner: torch.Tensor | None = None,
        start: int | None = None,
        order: torch.Tensor | None = None,
    ) -> None:
        """The parts as they are."""
        self.index = index
        self.count = count
        self.owner = owner
        self.start = start
        self.order = order


def everything(x: dict[str, torch.Tensor]) -> Segments:
    """All there is as one cell."""
    return Segments(x["mask"].new_zeros((), dtype=torch.long), 1, None, 0, x.get("sequence"))


def rows_by(x: dict[str, torch.Tensor], key: str) -> Segments:
    """Sequences with the same `key` [N] as cells."""
    return Segments(x[key], x["present"].shape[0], x[key])


def tokens_by(x: dict[str, torch.Tensor], key: str) -> Segments:
    """Tokens of sequences with the same `key` [N], or of one sequence, as cells."""
    rows = torch.arange(x["present"].shape[0], device=x["mask"].device)
    if key != "sequence":
        return Segments(tokens(x[key], x), rows.shape[0], x[key], None, x.get("sequence"))
    start = None if "sequence" in x else -1
    return Segments(tokens(rows, x), rows.shape[0], None, start, x.get("sequence"))


def given_back(cells: torch.Tensor, by: Segments) -> torch.Tensor:
    """A value of each cell [C], for each element of the result."""
    if by.start == 0:
        return cells.squeeze(0)
    return cells if by.owner is None else cells[by.owner]


def sum_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """Sum over the members of each cell."""
    chosen = torch.where(member, value, 0.0)
    if by.start is not None:
        return chosen.flatten(by.start).sum(-1)
    index = by.index.expand_as(chosen).flatten()
    return given_back(chosen.new_zeros(by.count).index_add(0, index, chosen.flatten()), by)


def max_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The largest member of each cell; 0 where there is none."""
    chosen = torch.where(member, value, -torch.inf)
    if by.start is not None:
        line = chosen.flatten(by.start)
        largest = torch.cat([line, line.new_full((*line.shape[:-1], 1), -torch.inf)], -1).amax(-1)
    else:
        index = by.index.expand_as(chosen).flatten()
        empty = chosen.new_full((by.count,), -torch.inf)
        largest = given_back(empty.scatter_reduce(0, index, chosen.flatten(), "amax"), by)
    return torch.where(sum_within(torch.ones_like(chosen), member, by) > 0, largest, 0.0)


def min_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The smallest member of each cell; 0 where there is none."""
    return -max_within(-value, member, by)


def in_line(
    member: torch.Tensor, by: Segments, value: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """All values in one line, the members of one cell after those of another, the others last.

    Those of a cell stand by falling `value`, else as tokens follow each other. Returns the places that they come from,
    and their cells; `count` for the others.
    """
    cells = torch.where(member, by.index, by.count).flatten()
    order = torch.arange(cells.shape[0], device=cells.device)
    if by.order is not None:
        order = by.order.argsort(stable=True)
    if value is not None:
        order = order[value.expand_as(member).flatten()[order].argsort(descending=True, stable=True)]
    order = order[cells[order].argsort(stable=True)]
    return order, cells[order]


def from_line(line: torch.Tensor, order: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """What `in_line` put in a line, back at its places."""
    return torch.zeros_like(line).scatter(0, order, line).view(member.shape)


def placed(member: torch.Tensor, by: Segments, value: torch.Tensor | None = None) -> torch.Tensor:
    """Place of each member in its cell, from 1, by falling value, ties to the earlier; 0 for the others."""
    order, cells = in_line(member, by, value)
    place = torch.arange(cells.shape[0], device=cells.device) - torch.searchsorted(cells, cells) + 1
    return torch.where(member, from_line(place, order, member), 0)


def rank_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """1 for the largest member of each cell, 2 for the next, …, ties to the earlier; 0 for the others."""
    return placed(member, by, value).to(value.dtype)


def position_within(one: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """1 for the first member token of a sequence, 2 for the second, …; 0 for the others."""
    return placed(member, by).to(one.dtype)


def first_within(member: torch.Tensor, by: Segments) -> torch.Tensor:
    """True for the first member of each cell, which stands for all of it."""
    return member & (placed(member, by) == 1)


def kth_within(value: torch.Tensor, member: torch.Tensor, by: Segments, k: int) -> torch.Tensor:
    """The k-th largest member of each cell; 0 where there are fewer."""
    return sum_within(value, member & (placed(member, by, value) == k), by)


def share_of(member: torch.Tensor, share: torch.Tensor | float, dtype: torch.dtype) -> torch.Tensor:
    """How many tokens a share of the members is, rounded down and at least one."""
    return (member.sum().to(dtype) * share + 1e-4).long().clamp(min=1)


def top_within(
    value: torch.Tensor, member: torch.Tensor, by: Segments, share: torch.Tensor | float
) -> torch.Tensor:
    """The share of the members, at least one, with the largest values; of equal ones the earlier."""
    return member & (placed(member, by, value) <= share_of(member, share, value.dtype))


def pick_within(
    condition: torch.Tensor,
    member: torch.Tensor,
    by: Segments,
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
    return chosen & (placed(chosen, by, -mixed) <= share_of(member, share, key.dtype))


def quantile_within(
    value: torch.Tensor,
    member: torch.Tensor,
    by: Segments,
    q: torch.Tensor | float,
    empty: torch.Tensor | float,
) -> torch.Tensor:
    """The q-quantile (linear interpolation) of each cell's members; `empty` where there are none."""
    cells = torch.where(member, by.index, by.count).flatten()
    line = torch.where(member, value, torch.inf).flatten()
    order = line.argsort()
    if by.start != 0:
        order = order[cells[order].argsort(stable=True)]
    # One more, so that even where there is no value there is a place to look at.
    ordered = torch.cat([torch.where(member, value, 0.0).flatten()[order], line.new_zeros(1)])
    count = cells.new_zeros(by.count + 1).index_add(0, cells, torch.ones_like(cells))[:-1]
    start, last = count.cumsum(0) - count, (count - 1).clamp(min=0)
    place = q * last.to(value.dtype)
    low = place.floor().long()
    below, above = ordered[start + low], ordered[start + torch.minimum(low + 1, last)]
    between = below + (above - below) * (place - low)
    return torch.where(given_back(count, by) > 0, given_back(between, by), empty)


def members(value: torch.Tensor, member: torch.Tensor) -> torch.Tensor:
    """The values of all members, 1-d: for a statistic that needs those of every micro-batch."""
    return torch.broadcast_to(value, member.shape)[member]


def pooled_max(values: torch.Tensor) -> torch.Tensor:
    """The largest of all values, 0-d; 0 where there is none."""
    return values.max() if values.numel() else values.sum()


def pooled_min(values: torch.Tensor) -> torch.Tensor:
    """The smallest of all values, 0-d; 0 where there is none."""
    return values.min() if values.numel() else values.sum()


def pooled_quantile(
    values: torch.Tensor, q: torch.Tensor | float, empty: torch.Tensor | float
) -> torch.Tensor:
    """The q-quantile (linear interpolation) of all values, 0-d; `empty` where there are none."""
    everyone = torch.ones_like(values, dtype=torch.bool)
    return quantile_within(values, everyone, everything({"mask": everyone}), q, empty)


def ahead_in_line(
    cells: torch.Tensor, steps: torch.Tensor, line: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What stands so many steps [S] further in a line [M], [M, S], and whether it is of the same cell."""
    place = torch.arange(cells.shape[0], device=cells.device).unsqueeze(-1) + steps
    there = place.clamp(max=cells.shape[0] - 1)
    return line[there], (cells[there] == cells.unsqueeze(-1)) & (place < cells.shape[0])


def next_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The value at the next member token of the same sequence, 0 after the last and for the others."""
    order, cells = in_line(member, by)
    line = masked(value, member).flatten()[order]
    following, same = ahead_in_line(cells, torch.ones(1, dtype=torch.long, device=cells.device), line)
    return from_line(masked(following, same).squeeze(-1), order, member)


def discounted_sum_within(
    value: torch.Tensor, member: torch.Tensor, by: Segments, factor: torch.Tensor
) -> torch.Tensor:
    """y = value + factor * (y at the next member token of the same sequence); 0 for the others.

    Each round sums eight sums of the round before, so that eight rounds reach over 16 million tokens: a compiled
    graph knows no lengths. The factor, of the sequence, is taken to whole positive powers: nothing overflows.
    """
    order, cells = in_line(member, by)
    line = masked(value, member).flatten()[order]
    factor = factor.expand_as(member).flatten()[order] if factor.dim() else factor
    for reach in (1, 8, 8**2, 8**3, 8**4, 8**5, 8**6, 8**7):
        steps = torch.arange(8, device=cells.device) * reach
        further, same = ahead_in_line(cells, steps, line)
        power = factor.unsqueeze(-1) ** steps
        line = torch.where(same & (power != 0), power * further, 0.0).sum(-1)
    return from_line(line, order, member)
