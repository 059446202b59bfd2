"""`of = CONDITION`: statistics of some values, by loops over cells that are written from what the words mean."""

from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.graph.build import build
from maspo_dsl.graph.interpret import Interpretation

from .batches import Arrays, as_torch, ragged, rows_of
from .running import run_loss, same

BASE = """\
objective example extends group_ppo
input expert : token
input guided : sequence
reduce = loss |> mean(window)
"""


def loaded(*lines: str) -> maspo_dsl.Objective:
    words = {line.split(" ", 1)[0] for line in lines}
    kept = [line for line in BASE.splitlines() if line.split(" ", 1)[0] not in words - {"input"}]
    read = [line for line in kept if not line.startswith("input") or line.split()[1] in " ".join(lines)]
    return maspo_dsl.load(StringIO("\n".join([*read, *lines]) + "\n"))


def batch(seed: int = 5) -> Arrays:
    """Groups of sizes 1 to 4, one of them without a member, one of equal members; a row in five is guided or more."""
    random = np.random.default_rng(seed)
    found = ragged(seed, extreme=False)
    found["guided"] = (random.random(len(found["group"])) < 0.4).astype(float)
    found["guided"][found["group"] == -2] = 1.0
    found["guided"][found["group"] == 7] = [0.0, 0.0, 1.0]
    found["guided"][found["group"] == 3] = [0.0, 1.0, 0.0, 0.0]
    found["reward"] = random.standard_normal(len(found["group"]))
    found["reward"][found["group"] == 7] = [0.3, 0.3, 2.0]
    found["reward"][found["group"] == 2] = [0.7, 0.7, 0.7]
    found["expert"] = (random.random(found["mask"].shape) < 0.4).astype(float)
    return found


Statistic = Callable[[float, np.ndarray, bool], float]
"""What a value x of a group gets, from the members' values and whether it is one of them."""


def std(values: np.ndarray) -> float:
    equal = len(values) < 2 or (values == values[0]).all()
    return 0.0 if equal else values.std(ddof=1)


def loo(x: float, values: np.ndarray, inside: bool) -> float:
    if not len(values) or (inside and len(values) == 1):
        return 0.0
    others = values.sum() - x if inside else values.sum()
    return x - others / (len(values) - inside)


OF_A_GROUP: dict[str, Statistic] = {
    "sum(reward, group, of = guided < 1)": lambda x, v, inside: v.sum(),
    "count(reward, group, of = guided < 1)": lambda x, v, inside: len(v),
    "mean(reward, group, of = guided < 1)": lambda x, v, inside: v.mean() if len(v) else 0.0,
    "max(reward, group, of = guided < 1)": lambda x, v, inside: v.max() if len(v) else 0.0,
    "min(reward, group, of = guided < 1)": lambda x, v, inside: v.min() if len(v) else 0.0,
    "std(reward, group, of = guided < 1)": lambda x, v, inside: std(v),
    "kth(reward, group, 2, of = guided < 1)": lambda x, v, inside: np.sort(v)[-2] if len(v) > 1 else 0.0,
    "quantile(reward, 0.3, group, of = guided < 1, empty = 9)": lambda x, v, inside: (
        np.quantile(v, 0.3) if len(v) else 9.0
    ),
    "reward |> center(group, of = guided < 1)": lambda x, v, inside: x - v.mean() if len(v) else 0.0,
    "reward |> whiten(group, of = guided < 1, eps = 0.1)": lambda x, v, inside: (
        (x - v.mean()) / (std(v) + 0.1) if std(v) else 0.0
    ),
    "reward |> leave_one_out(group, of = guided < 1)": loo,
    "shift(reward, group, of = guided < 1)": lambda x, v, inside: x - v.min() + inside if len(v) else 0.0,
}


@pytest.mark.parametrize("value", OF_A_GROUP)
def test_statistics_are_of_the_members_and_for_all(value):
    given = batch()
    lines = [f"advantage = {value}"]
    if "shift" in value:
        lines.append("def shift(x, scope) = x - min(x, scope) + (1 if is_member(scope) else 0)")
    objective = loaded(*lines)
    got = maspo_dsl.compile(objective, backend="eager").advantage(as_torch(given)).numpy()
    present = given["mask"].any(axis=1)
    inside = present & (given["guided"] < 1)
    expected = np.zeros(len(got))
    for row in np.flatnonzero(present):
        members = given["reward"][inside & (given["group"] == given["group"][row])]
        expected[row] = OF_A_GROUP[value](given["reward"][row], members, bool(inside[row]))
    same(got, expected)
    equal = inside & np.isin(given["group"], [2, 7])
    if "|>" in value:
        assert (got[equal] == 0).all() and equal.any(), "equal members are exactly 0"
    raw = Interpretation(build(objective.resolved.parts), given).output("advantage")
    same(np.broadcast_to(raw, got.shape), expected)


def test_the_rank_of_a_value_outside_is_0():
    given = batch()
    objective = loaded("advantage = rank(reward, group, of = guided < 1)")
    got = maspo_dsl.compile(objective, backend="eager").advantage(as_torch(given)).numpy()
    present = given["mask"].any(axis=1)
    inside = present & (given["guided"] < 1)
    for row, rank in enumerate(got):
        others = inside & (given["group"] == given["group"][row])
        before = (given["reward"] > given["reward"][row]) | (
            (given["reward"] == given["reward"][row]) & (np.arange(len(got)) < row)
        )
        assert rank == ((others & before).sum() + 1 if inside[row] else 0)


def test_tokens_of_a_group_are_those_that_are_members():
    """The largest of negative numbers: a sequence without a member must not bring its 0."""
    given = batch()
    objective = loaded("advantage = max(log(old), group, of = expert > 0 and guided < 1)")
    got = maspo_dsl.compile(objective, backend="eager").advantage(as_torch(given)).numpy()
    member = given["mask"] & (given["expert"] > 0) & (given["guided"][:, None] < 1)
    expected = [
        given["logp_old"][(given["group"] == group)[:, None] & member].max(initial=-np.inf)
        for group in given["group"]
    ]
    present = given["mask"].any(axis=1)
    same(got, np.where(present & np.isfinite(expected), expected, 0.0))


def reduced(given: Arrays, of_token: np.ndarray, of_row: np.ndarray) -> tuple[float, np.ndarray]:
    """-A r of the members among a sequence's tokens, their mean; then the mean of the members among sequences."""
    mask = given["mask"]
    member = mask & of_token
    logp, old = (np.where(mask, given[name], 0.0) for name in ("logp", "logp_old"))
    ratio = np.where(mask, np.exp(logp - old), 0.0)
    rows = mask.any(axis=1) & of_row
    weight = member / np.maximum(member.sum(axis=1), 1)[:, None] * rows[:, None] / max(rows.sum(), 1)
    slope = -given["advantage"][:, None] * ratio * weight
    return slope.sum(), slope


@pytest.mark.parametrize(
    "reduce",
    [
        "loss |> mean(sequence, of = expert > 0) |> mean(window, of = guided < 1)",
        "(loss |> mean(sequence, of = expert > 0) |> sum(window, of = guided < 1))"
        " / max(count(length, window, of = guided < 1), 1)",
    ],
)
def test_reduce_over_members_and_over_parts_of_a_window(reduce):
    given = batch()
    given["advantage"] = np.random.default_rng(1).standard_normal(len(given["group"]))
    loss = maspo_dsl.compile(loaded("ratio = policy / old", f"reduce = {reduce}"), backend="eager")
    value, slope = reduced(given, given["expert"] > 0, given["guided"] < 1)
    got = run_loss(loss, given)
    same(got[0], value)
    same(np.where(given["mask"], got[1], 0.0), slope)
    parts = [rows_of(given, rows) for rows in ([3, 0, 9], [*range(4, 9), 1, 2], range(10, 16))]
    window = loss.window([as_torch(part) for part in parts])
    same(sum(run_loss(loss, part, window)[0] for part in parts), value)


def test_a_penalty_over_its_own_tokens():
    """prime-rl: a likelihood over the tokens that an expert wrote, divided by their number in the window."""
    given = batch()
    given["advantage"] = np.zeros(len(given["group"]))
    penalty = "penalty likelihood = mean(-log(policy), window, of = expert > 0)"
    loss = maspo_dsl.compile(loaded("ratio = policy / old", penalty), backend="eager")
    member = given["mask"] & (given["expert"] > 0)
    value, slope = run_loss(loss, given)
    same(value, -given["logp"][member].mean())
    same(np.where(given["mask"], slope, 0.0), -1.0 * member / member.sum())


def test_a_moving_share_of_tokens_may_be_summed():
    """How many there are divides nothing, so a condition may read the policy."""
    given = batch()
    given["advantage"] = np.zeros(len(given["group"]))
    penalty = "penalty far = sum(-log(policy), window, of = policy > old)"
    loss = maspo_dsl.compile(loaded("ratio = policy / old", penalty), backend="eager")
    member = given["mask"] & (given["logp"] > given["logp_old"])
    value, slope = run_loss(loss, given)
    same(value, -given["logp"][member].sum())
    same(np.where(given["mask"], slope, 0.0), -1.0 * member)
