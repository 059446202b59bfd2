"""Losses of other people's repositories and papers that do not ship, once more: float64 loops over completions.

Their gradients are autograd's, so that what is transcribed is the loss alone. A batch has only what takes part: the
mask is empty in rows whose reward is missing, unless nothing reads rewards. Each file of examples/published names its
source.
"""

import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

Batch = Mapping[str, Tensor]
Params = Mapping[str, float]
Loss = Callable[[Batch, Params], Tensor]
Tokens = list[int]

ZERO = torch.zeros((), dtype=torch.float64)


def completions(b: Batch) -> list[tuple[int, Tokens]]:
    """Row and trained columns of each completion that takes part."""
    return [(row, torch.nonzero(mask)[:, 0].tolist()) for row, mask in enumerate(b["mask"]) if mask.any()]


def groups(b: Batch) -> Iterator[list[tuple[int, Tokens]]]:
    whole = completions(b)
    for name in sorted({int(b["group"][row]) for row, _ in whole}):
        yield [(row, at) for row, at in whole if int(b["group"][row]) == name]


def average(values: list[Tensor]) -> Tensor:
    """Their mean; 0 of nothing."""
    return torch.stack(values).mean() if values else ZERO


def apart(b: Batch, p: str, q: str, row: int, column: int) -> Tensor:
    """log(p / q), inside ±20."""
    return (b[p][row, column] - b[q][row, column]).clamp(-20, 20)


def moved(b: Batch, row: int, column: int) -> Tensor:
    return apart(b, "logp", "logp_old", row, column)


def spread(values: list[float], ddof: int = 1) -> float:
    if len(values) <= ddof or all(value == values[0] for value in values):
        return 0.0
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - ddof))


def group_relative(b: Batch) -> dict[int, float]:
    """(R - mean) / (std + 1e-4) of each row's group."""
    found = {}
    for rows in groups(b):
        rewards = [float(b["reward"][row]) for row, _ in rows]
        size = spread(rewards)
        for row, _ in rows:
            found[row] = (
                (float(b["reward"][row]) - sum(rewards) / len(rewards)) / (size + 1e-4) if size else 0.0
            )
    return found


def clipped(ratio: Tensor, a: float, low: float = 0.2, high: float | Tensor = 0.2) -> Tensor:
    """min(r A, clamp(r) A) over A, and r where A is 0."""
    if a == 0:
        return ratio
    return torch.clamp(ratio, max=1 + high) if a > 0 else torch.clamp(ratio, min=1 - low)


def of_tokens(b: Batch, term: Callable[[int, int, Tokens], Tensor]) -> Tensor:
    return average([term(row, column, at) for row, at in completions(b) for column in at])


def of_completions(b: Batch, term: Callable[[int, int, Tokens], Tensor]) -> Tensor:
    return average([average([term(row, column, at) for column in at]) for row, at in completions(b)])


def opd_full(b: Batch, _: Params) -> Tensor:
    return of_tokens(b, lambda row, column, _at: b["kl_policy_teacher"][row, column])


def self_distilled(term: Callable[[Batch, int, int], Tensor]) -> Loss:
    """SDPO: the mean over taught completions' tokens of a term, weighed by the ratio up to a cap."""

    def loss(b: Batch, p: Params) -> Tensor:
        return average(
            [
                moved(b, row, column).exp().clamp(max=p["cap"]).detach() * term(b, row, column)
                for row, at in completions(b)
                for column in at
                if b["taught"][row]
            ]
        )

    return loss


def bounded_teachers(b: Batch, p: Params) -> Tensor:
    terms = []
    for row, at in completions(b):
        weights = {"logp_first": float(b["w_first"][row]), "logp_second": float(b["w_second"][row])}
        total = sum(weights.values())
        for c in at:
            score = sum((w * apart(b, name, "logp", row, c) for name, w in weights.items()), ZERO)
            score = (score / total if total else ZERO).clamp(p["low"], p["high"])
            weight = apart(b, "logp", "logp_rollout", row, c).exp().clamp(max=p["cap"])
            terms.append(-(weight * score).detach() * b["logp"][row, c])
    return average(terms)


def sampled(b: Batch, row: int, column: int) -> Tensor:
    return apart(b, "logp", "logp_teacher", row, column).detach() * b["logp"][row, column]


def mixture(b: Batch, row: int, column: int) -> Tensor:
    return b["jsd_teacher_policy"][row, column]


def skywork_or1(b: Batch, p: Params) -> Tensor:
    a = group_relative(b)
    policy = of_tokens(b, lambda row, c, _: -a[row] * clipped(moved(b, row, c).exp(), a[row]))
    return policy - b["coef"] * b["on"] * of_tokens(b, lambda row, c, _: b["entropy"][row, c])


def turn_ratio(b: Batch, _: Params) -> Tensor:
    a = group_relative(b)

    def term(row: int, column: int, at: Tokens) -> Tensor:
        if b["turn_id"][row, column] < 0:
            return -a[row] * clipped(torch.ones((), dtype=torch.float64), a[row])
        turn = [c for c in at if b["turn_id"][row, c] == b["turn_id"][row, column]]
        return -a[row] * clipped(average([moved(b, row, c) for c in turn]).clamp(-20, 20).exp(), a[row])

    return of_tokens(b, term)


def turn_return(b: Batch, p: Params) -> Tensor:
    terms = []
    for row, at in completions(b):
        total = 0.0
        for column in reversed(at):
            if b["last"][row, column]:
                total = float(b["token_reward"][row, column]) + p["gamma"] * total
            terms.append(-total * clipped(moved(b, row, column).exp(), total))
    return average(terms)


def spo_segments(b: Batch, p: Params) -> Tensor:
    terms = []
    for row, at in completions(b):
        level, change = float(b["start"][row]), {}
        for column in at:
            if column == at[-1] or b["cut"][row, column]:
                value = float(b["reward"][row] if column == at[-1] else b["mc"][row, column])
                change[column], level = value - level, value
        own = 0.0
        for column in reversed(at):
            own = change.get(column, own)
            sure = math.exp(b["logp_rollout"][row, column]) > p["sure"]
            terms.append(ZERO if sure else -own * clipped(moved(b, row, column).exp(), own))
    return average(terms)


def adpo_pl(b: Batch, p: Params) -> Tensor:
    a, of_groups = group_relative(b), []
    for rows in groups(b):
        ranked = sorted(rows, key=lambda entry: -a[entry[0]])
        u = [
            (average([moved(b, row, c) for c in at]).clamp(-5, 5) / p["tau"]).clamp(-10, 10)
            for row, at in ranked
        ]
        places = []
        for k in range(min(3, len(u) - 1)):
            rest = torch.stack(u[k:])
            total = torch.logsumexp(rest, 0)
            nll = (1 - p["smooth"]) * (total - u[k]) + p["smooth"] * (total - rest.mean())
            places.append(nll + p["poly"] * (1 - torch.exp(-nll.clamp(max=20))))
        of_groups.append(average(places))
    return average(of_groups)


def dpo_mix(b: Batch, p: Params) -> Tensor:
    a, pairs = group_relative(b), []
    for rows in groups(b):
        sides = {side: [entry for entry in rows if b["side"][entry[0]] == side] for side in (1, -1)}
        if len(sides[1]) == len(sides[-1]) == 1:
            implicit = [
                torch.stack([apart(b, "logp", "logp_ref", row, c) for c in at]).sum()
                for row, at in (sides[1][0], sides[-1][0])
            ]
            pairs.append(-torch.nn.functional.logsigmoid(p["beta"] * (implicit[0] - implicit[1])))
    policy = of_tokens(b, lambda row, c, _: -a[row] * clipped(moved(b, row, c).exp(), a[row]))
    return policy + p["mix"] * average(pairs)


def logo(b: Batch, p: Params) -> Tensor:
    hybrid = {}
    for rows in groups(b):
        rewards = [float(b["reward"][row]) for row, _ in rows]
        for (row, _), reward in zip(rows, rewards, strict=True):
            centred = reward - math.fsum(rewards) / len(rewards) if spread(rewards) else 0.0
            share = math.exp(-(spread(rewards) ** 2) / p["tau"])
            hybrid[row] = centred + share * (reward - float(b["stored"][row]))
    size = max(spread(list(hybrid.values())), 1e-6)
    return of_completions(
        b, lambda row, c, _: -hybrid[row] / size * clipped(moved(b, row, c).exp(), hybrid[row] / size)
    )


def three_losses(b: Batch, p: Params) -> Tensor:
    a, terms = group_relative(b), {"w_rl": [], "w_ce": [], "w_ref": []}
    for row, at in completions(b):
        for c in at:
            log_ratio = apart(b, "logp", "logp_rollout", row, c)
            ratio = log_ratio.exp()
            change = float(b["logp"][row, c].exp() - b["logp_rollout"][row, c].exp())
            drift = p["tau"] * log_ratio**2
            beyond = change > p["d_high"] if a[row] > 0 else change < -p["d_low"]
            pull = ZERO if change < -p["d_low"] else apart(b, "logp_ref", "logp", row, c).detach() * ratio
            loss = {
                "w_rl": drift - (0.0 if beyond else a[row]) * ratio,
                "w_ce": -b["logp"][row, c],
                "w_ref": drift - pull,
            }
            for name in terms:
                if b[name][row, c] != 0:
                    terms[name].append(b[name][row, c] * loss[name])
    return sum((average(each) for each in terms.values()), ZERO)


def whitened(values: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    size = spread(list(values.values()))
    centre = math.fsum(values.values()) / max(len(values), 1)
    return {at: (value - centre) / (size + 1e-8) if size else 0.0 for at, value in values.items()}


def vapo_critic(b: Batch, p: Params) -> Tensor:
    advantage, returns = {}, {}
    for row, at in completions(b):
        reach = 1 - 1 / max(p["alpha"] * len(at), 1.0)
        following = total = 0.0
        back, reward = 0.0, float(b["reward"][row])
        for column in reversed(at):
            value = float(b["value"][row, column])
            total = reward + p["gamma"] * following - value + p["gamma"] * reach * total
            back = reward + p["gamma"] * back
            advantage[row, column], returns[row, column] = total, back
            following, reward = value, 0.0
    a = whitened(advantage)

    def term(row: int, column: int, _: Tokens) -> Tensor:
        critic, old = b["critic"][row, column], b["value"][row, column]
        near = torch.minimum(torch.maximum(critic, old - p["clip_value"]), old + p["clip_value"])
        errors = [(estimate - returns[row, column]) ** 2 / 2 for estimate in (critic, near)]
        own = a[row, column]
        return -own * clipped(moved(b, row, column).exp(), own, 0.2, 0.28) + p["weight"] * torch.maximum(
            *errors
        )

    right = [-b["logp"][row, c] for row, at in completions(b) for c in at if b["reward"][row] > 0]
    return of_tokens(b, term) + p["mu"] * average(right)


def dhpo(b: Batch, p: Params) -> Tensor:
    a = group_relative(b)

    def term(row: int, column: int, at: Tokens) -> Tensor:
        mean = average([moved(b, row, c) for c in at]).clamp(-20, 20).exp().detach()
        whole = mean * (b["logp"][row, column] - b["logp"][row, column].detach()).exp()
        answer = clipped(whole, a[row], p["s_low"], p["s_high"])
        return -a[row] * (p["mix"] * clipped(moved(b, row, column).exp(), a[row]) + (1 - p["mix"]) * answer)

    return of_completions(b, term)


def etr(b: Batch, p: Params) -> Tensor:
    a = group_relative(b)
    high = {}
    for rows in groups(b):
        size = spread([float(b["reward"][row]) for row, _ in rows])
        high |= {row: 0.2 * (1 + p["lam"] * abs(a[row])) * (1 + size) for row, _ in rows}
    return of_completions(
        b, lambda row, c, _: -a[row] * clipped(moved(b, row, c).exp(), a[row], 0.2, high[row])
    )


def a3po(b: Batch, p: Params) -> Tensor:
    a = group_relative(b)

    def term(row: int, column: int, at: Tokens) -> Tensor:
        old = b["logp_old"][row, at].exp()
        own = b["logp_old"][row, column].exp()
        rare, likely = own < torch.quantile(old, p["q"]), own > torch.quantile(old, 1 - p["q"])
        weight = p["boost"] if (a[row] > 0 and rare) or (a[row] < 0 and likely) else 1.0
        return -a[row] * weight * clipped(moved(b, row, column).exp(), a[row])

    return of_tokens(b, term)


def lambda_grpo(b: Batch, p: Params) -> Tensor:
    a, weight = group_relative(b), {}
    for rows in groups(b):
        lengths = [float(len(at)) for _, at in rows]
        size, centre = spread(lengths, ddof=0), math.fsum(lengths) / len(lengths)
        lifted = [
            max(1 + p["r"] * ((n - centre) / (size + 1e-6) if size else 0.0), 1e-6) ** p["lam"]
            for n in lengths
        ]
        total = math.fsum(math.exp(h) for h in lifted)
        weight |= {row: len(rows) * math.exp(h) / total for (row, _), h in zip(rows, lifted, strict=True)}
    return of_tokens(b, lambda row, c, _: -a[row] * weight[row] * clipped(moved(b, row, c).exp(), a[row]))


def batch_adaptive(b: Batch, _: Params) -> Tensor:
    a = group_relative(b)
    ratios = [float(moved(b, row, c).exp()) for row, at in completions(b) for c in at]
    fresh = math.fsum(ratios) ** 2 / (len(ratios) * math.fsum(ratio**2 for ratio in ratios))

    def term(row: int, column: int, _: Tokens) -> Tensor:
        back = -moved(b, row, column)
        weight = min(float((-back).exp()), fresh)
        return -a[row] * weight * b["logp"][row, column] + (1 - fresh) * (back.exp() - back - 1)

    return of_tokens(b, term)


def so_far(follow: Callable[[float, float, Params], float], first: float) -> Loss:
    """A token weighs by what its log-ratios so far make of each other, within [floor, top]."""

    def loss(b: Batch, p: Params) -> Tensor:
        a, means = group_relative(b), []
        for row, at in completions(b):
            state, terms = first, []
            for column in at:
                state = follow(state, float(moved(b, row, column)), p)
                weight = math.exp(min(max(state, -20.0), 20.0))
                weight = min(max(weight, p.get("floor", 0.0)), p.get("top", math.inf))
                terms.append(-a[row] * weight * b["logp"][row, column])
            means.append(average(terms))
        return average(means)

    return loss


PUBLISHED: dict[str, Loss] = {
    "a3po": a3po,
    "adpo_pl": adpo_pl,
    "batch_adaptive": batch_adaptive,
    "bounded_teachers": bounded_teachers,
    "dhpo": dhpo,
    "dpo_mix": dpo_mix,
    "etr": etr,
    "lambda_grpo": lambda_grpo,
    "logo": logo,
    "opd_full": opd_full,
    "sdpo": self_distilled(sampled),
    "sdpo_full": self_distilled(mixture),
    "skywork_or1": skywork_or1,
    "spo_segments": spo_segments,
    "three_losses": three_losses,
    "turn_ratio": turn_ratio,
    "turn_return": turn_return,
    "vapo_critic": vapo_critic,
}
"""By the names of examples/published."""

SO_FAR: dict[str, Loss] = {
    "capped_prefix": so_far(lambda state, own, p: state + min(own, math.log(p["cap"])), 0.0),
    "moving_prefix": so_far(lambda state, own, p: p["decay"] * state + (1 - p["decay"]) * own, 0.0),
    "min_prefix": so_far(lambda state, own, _: min(state, own), math.inf),
}
"""By the names of tests/specs: the three weights of a loss called state_corrected_grpo."""
