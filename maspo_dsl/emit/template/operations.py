"""Operations that generated code calls; a generated file carries the ones it uses, as text."""

import torch

from maspo_dsl.emit.template.names import Condition


def masked(value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The value where a token is trained, 0 elsewhere: nothing that stands there is seen, NaN included."""
    return torch.where(mask, value, 0.0)


def tokens(value: torch.Tensor, x: dict[str, torch.Tensor]) -> torch.Tensor:
    """One value a sequence [N], for each of its tokens: a column [N, 1], or [M] in packed form."""
    owner = owners(x)
    return value.unsqueeze(-1) if owner is None else value[owner]


def owners(x: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """Which sequence each packed token is of; None of a padded batch, and of one that torch.fx only stands in for."""
    return x.get("sequence") if isinstance(x, dict) else None


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
    if torch.compiler.is_compiling():  # one graph for every length
        return member.sum()
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
    return Segments(x["mask"].new_zeros((), dtype=torch.long), 1, None, 0, owners(x))


def rows_by(x: dict[str, torch.Tensor], key: str) -> Segments:
    """Sequences with the same `key` [N] as cells."""
    return Segments(x[key], x["present"].shape[0], x[key])


def tokens_by(x: dict[str, torch.Tensor], key: str) -> Segments:
    """Tokens of sequences with the same `key` [N], or of one sequence, as cells."""
    rows = torch.arange(x["present"].shape[0], device=x["mask"].device)
    if key != "sequence":
        return Segments(tokens(x[key], x), rows.shape[0], x[key], None, owners(x))
    owner = owners(x)
    return Segments(tokens(rows, x), rows.shape[0], None, -1 if owner is None else None, owner)


def ids(x: dict[str, torch.Tensor], key: str) -> torch.Tensor:
    """What tells cells apart by a key, of sequences [N] or of tokens."""
    if key == "sequence":
        return torch.arange(x["present"].shape[0], device=x["mask"].device)
    return placed(x["mask"], tokens_by(x, "sequence")) if key == "position" else x[key]


def agreeing(keys: list[torch.Tensor]) -> torch.Tensor:
    """Numbers from 0 [M], the same where all keys [M] agree."""
    order = torch.arange(keys[0].shape[0], device=keys[0].device)
    for key in reversed(keys):
        order = order[key[order].argsort(stable=True)]
    new = torch.zeros_like(order)
    for key in keys:
        new[1:] |= (key[order][1:] != key[order][:-1]).to(new.dtype)
    return torch.zeros_like(order).scatter(0, order, new.cumsum(0))


def row_cells(x: dict[str, torch.Tensor], of_rows: list[str]) -> Segments:
    """Sequences that agree in all keys as cells."""
    index = agreeing([ids(x, key) for key in of_rows])
    return Segments(index, index.shape[0], index)


def token_cells(x: dict[str, torch.Tensor], of_rows: list[str], of_tokens: list[str]) -> Segments:
    """Tokens that agree in all keys, those of their sequences and their own, as cells."""
    if not of_tokens:
        rows = row_cells(x, of_rows)
        return Segments(tokens(rows.index, x), rows.count, rows.owner, None, owners(x))
    mask = x["mask"]
    keys = [tokens(ids(x, key), x).expand_as(mask) for key in of_rows] + [ids(x, key) for key in of_tokens]
    index = agreeing([torch.where(mask, key.long(), -1).flatten() for key in keys]).view(mask.shape)
    return Segments(index, mask.numel(), index, None, owners(x))


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


def logsumexp_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """log of the sum of exp over the members of each cell; 0 where there is none."""
    line = torch.where(member, value, -torch.inf)
    index = by.index.expand_as(line).flatten()
    line = line.flatten()
    largest = line.detach().new_full((by.count,), -torch.inf).scatter_reduce(0, index, line.detach(), "amax")
    largest = torch.where(largest.isfinite(), largest, 0.0)
    total = line.new_zeros(by.count).index_add(0, index, (line - largest[index]).exp())
    found = torch.where(total == 0, 1.0, total).log() + largest
    return given_back(torch.where(total == 0, 0.0, found), by)


def max_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The largest member of each cell; 0 where there is none."""
    chosen = torch.where(member, value, -torch.inf)
    if by.start is not None:
        line = chosen.flatten(by.start)
        largest = torch.nn.functional.pad(line, (0, 1), value=-torch.inf).amax(-1)  # of nothing, too
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


def share_of(
    member: torch.Tensor, by: Segments, share: torch.Tensor | float, dtype: torch.dtype
) -> torch.Tensor:
    """How many tokens a share of the members of each token's cell is, rounded down and at least one."""
    count = member.sum()
    if by.start != 0:
        index = by.index.expand_as(member).flatten()
        count = index.new_zeros(by.count).index_add(0, index, member.flatten().long())[by.index]
    return (count.to(dtype) * share + 1e-4).long().clamp(min=1)


def top_within(
    value: torch.Tensor, member: torch.Tensor, by: Segments, share: torch.Tensor | float
) -> torch.Tensor:
    """The share of the members, at least one, with the largest values; of equal ones the earlier."""
    return member & (placed(member, by, value) <= share_of(member, by, share, value.dtype))


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
    return chosen & (placed(chosen, by, -mixed) <= share_of(member, by, share, key.dtype))


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
    start, count = given_back(count.cumsum(0) - count, by), given_back(count, by)
    last = (count - 1).clamp(min=0)
    place = q * last.to(value.dtype)
    low = place.floor().long()
    below, above = ordered[start + low], ordered[start + torch.minimum(low + 1, last)]
    return torch.where(count > 0, below + (above - below) * (place - low), empty)


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


def pooled_logsumexp(values: torch.Tensor) -> torch.Tensor:
    """log of the sum of exp of all values, 0-d; 0 where there is none."""
    return values.logsumexp(0) if values.numel() else values.sum()


def softplus(value: torch.Tensor) -> torch.Tensor:
    """log(1 + exp(value)), exact at every value; `torch.nn.functional.softplus` is the value itself above 20."""
    return -torch.nn.functional.logsigmoid(-value)


def binom(n: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """How many ways there are to choose k of n, numbers that are whole; 0 where k is below 0 or above n."""
    there = (k >= 0) & (n >= k)
    whole, some = (torch.where(there, each, 0.0).double() for each in (n, k))
    ways = torch.lgamma(whole + 1) - torch.lgamma(some + 1) - torch.lgamma(whole - some + 1)
    return torch.where(there, ways.exp().round(), 0.0).to(torch.result_type(n, k))


def along(member: torch.Tensor, by: Segments, *, back: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The line of `in_line` with each completion from its first token on, or `back` from its last one."""
    order, cells = in_line(member, by)
    return (order.flip(0), cells.flip(0)) if back else (order, cells)


def in_order(value: torch.Tensor, member: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Values in a line, 0 for those of no member."""
    return masked(value, member).flatten().index_select(0, order)


def before(cells: torch.Tensor, steps: int) -> torch.Tensor:
    """Whether what stands so many steps before in a line is of the same cell."""
    place = torch.arange(cells.shape[0], device=cells.device)
    return (place >= steps) & (cells.roll(steps) == cells)


def reaches(cells: torch.Tensor) -> list[int]:
    """1, 2, 4, … up to a line's length; up to 8 million in a compiled graph, which knows no lengths."""
    known = isinstance(cells.shape[0], int) and not torch.compiler.is_compiling()
    rounds = max(cells.shape[0] - 1, 0).bit_length() if known else 24
    return [2**power for power in range(rounds)]


def summed_in_line(line: torch.Tensor, factor: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """y = value + factor * (y one before in its cell), in float64: products of thousands of factors are exact.

    Each round adds sums that reach as far as all rounds before together. A factor of 0 takes nothing from before it,
    and what is no number stays before it.
    """
    result, weight = line.double(), factor.double()
    for steps in reaches(cells):
        same, earlier = before(cells, steps), result.roll(steps)
        earlier = torch.where(same & ((weight != 0) | earlier.isfinite()), earlier, 0.0)
        result, weight = result + weight * earlier, torch.where(same, weight * weight.roll(steps), 0.0)
    return result


def previous_within(
    value: torch.Tensor, member: torch.Tensor, by: Segments, *, back: bool = False
) -> torch.Tensor:
    """The value at the member token before of the same sequence, 0 at the first and for the others."""
    order, cells = along(member, by, back=back)
    line = torch.where(before(cells, 1), in_order(value, member, order).roll(1), 0.0)
    return masked(from_line(line, order, member), member)


def next_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The value at the next member token of the same sequence, 0 after the last and for the others."""
    return previous_within(value, member, by, back=True)


def running_sum_within(
    value: torch.Tensor, member: torch.Tensor, by: Segments, factor: torch.Tensor, *, back: bool = False
) -> torch.Tensor:
    """y = value + factor * (y at the member token before of the same sequence); 0 for the others."""
    order, cells = along(member, by, back=back)
    line, factors = (in_order(each, member, order) for each in (value, factor))
    summed = summed_in_line(line, factors, cells).to(line.dtype)
    return masked(from_line(summed, order, member), member)


def discounted_sum_within(
    value: torch.Tensor, member: torch.Tensor, by: Segments, factor: torch.Tensor
) -> torch.Tensor:
    """y = value + factor * (y at the next member token of the same sequence); 0 for the others."""
    return running_sum_within(value, member, by, factor, back=True)


def running_max_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The largest value up to each member token of its sequence; 0 for the others. Of equal ones it is the first."""
    order, cells = along(member, by)
    line = in_order(value, member, order)
    highest, place = line.detach(), torch.arange(cells.shape[0], device=cells.device)
    for steps in reaches(cells):
        earlier = before(cells, steps) & (highest.roll(steps) >= highest)
        highest = torch.where(earlier, highest.roll(steps), highest)
        place = torch.where(earlier, place.roll(steps), place)
    return masked(from_line(line.index_select(0, place), order, member), member)


def running_min_within(value: torch.Tensor, member: torch.Tensor, by: Segments) -> torch.Tensor:
    """The smallest value up to each member token of its sequence; 0 for the others. Of equal ones it is the first."""
    return -running_max_within(-value, member, by)


def tail_within(value: torch.Tensor, member: torch.Tensor, by: Segments, limit: torch.Tensor) -> torch.Tensor:
    """The largest members of each cell, of equal ones the earlier first, until the mean of the rest is below a limit.

    One member is always left.
    """
    order, cells = (line.flip(0) for line in in_line(member, by, value))
    line, limits = (in_order(each, member, order) for each in (value, limit))
    one = torch.ones_like(line)
    rest, count = (summed_in_line(each, one, cells) for each in (line, one))
    return member & from_line((count > 1) & (rest >= limits * count), order, member)
