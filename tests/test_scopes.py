"""`scope NAME by KEY, KEY`: cells of tokens and of sequences, by loops over them in float64."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from io import StringIO

import numpy as np
import pytest

import maspo_dsl

from .batches import Arrays, as_torch, ragged, rows_of
from .running import run_loss, same

BASE = "objective example extends group_ppo\nreduce = loss |> mean(window)\n"
TURN = "input turn_id : token\nscope turn by sequence, turn_id\n"


def loss_of(text: str) -> maspo_dsl.ObjectiveLoss:
    own = [
        line
        for line in BASE.splitlines()
        if line.split()[0] not in {one.split()[0] for one in text.splitlines() if one}
    ]
    return maspo_dsl.compile(maspo_dsl.load(StringIO("\n".join([*own, text]) + "\n")), backend="eager")


def batch(seed: int = 3) -> Arrays:
    """Completions with turns that come back after others, tokens of none, states over groups, roles."""
    random = np.random.default_rng(seed)
    found = ragged(seed, extreme=False)
    shape, rows = found["mask"].shape, len(found["group"])
    found["turn_id"] = random.integers(-1, 3, shape)
    found["role"] = random.integers(0, 3, shape)
    found["anchor"] = random.integers(-1, 3, rows)
    found["step_return"] = random.standard_normal(rows)
    found["energy"] = random.uniform(0.1, 2.0, shape)
    found["token_return"] = random.standard_normal(shape)
    found["reward"] = random.standard_normal(rows)
    return found


def cells(given: Arrays, keys: Iterable[str]) -> dict[Hashable, list[tuple[int, int]]]:
    """Trained tokens that agree in all keys; a token with a negative id of its own is in no cell."""
    mask = given["mask"]
    position = np.cumsum(mask, axis=1)
    found = defaultdict(list)
    for n, t in zip(*np.nonzero(mask), strict=True):
        known = {"sequence": n, "group": given["group"][n], "position": position[n, t]}
        own = {
            key: (given[key][n, t] if given[key].ndim == 2 else given[key][n])
            for key in keys
            if key not in known
        }
        if all(one >= 0 for one in own.values()):
            found[tuple(int({**known, **own}[key]) for key in keys)].append((n, t))
    return found


def log_ratio(given: Arrays) -> np.ndarray:
    mask = given["mask"]
    return np.where(mask, given["logp"], 0.0) - np.where(mask, given["logp_old"], 0.0)


def trained(given: Arrays, slope: np.ndarray) -> np.ndarray:
    return np.where(given["mask"], slope, 0.0)


def test_the_ratio_of_a_turn():
    """GSPO within a turn (ROLL, ratio_type segment): the geometric mean of its tokens' ratios, clipped."""
    given = batch() | {"advantage": np.random.default_rng(1).standard_normal(16)}
    low, high = 0.8, 1.2
    logs, mask = log_ratio(given), given["mask"]
    value, slope = 0.0, np.zeros(mask.shape)
    inside = cells(given, ("sequence", "turn_id"))
    free = {place for places in inside.values() for place in places}
    for n, t in zip(*np.nonzero(mask), strict=True):
        value -= given["advantage"][n] / mask.sum() * ((n, t) not in free)
    for places in inside.values():
        mean = np.mean([logs[place] for place in places])
        for n, _ in places:
            a, r = given["advantage"][n], np.exp(mean)
            clipped = (a > 0 and r > high) or (a < 0 and r < low)
            bounded = np.clip(r, low, high) if clipped else r
            value -= a * bounded / mask.sum()
            for place in places:
                slope[place] -= 0.0 if clipped else a * r / len(places) / mask.sum()
    for ratio in ("exp(mean(log(policy / old), turn))", "geomean(policy / old, turn)"):
        got = run_loss(loss_of(f"{TURN}ratio = {ratio} |> clip(0.8, 1.2)"), given)
        same(got[0], value)
        same(trained(given, got[1]), slope)


REDUCE = {
    "loss |> mean(turn) |> mean(window)": ("turn",),
    "loss |> mean(turn) |> mean(sequence) |> mean(window)": ("turn", "sequence"),
    "loss |> sum(turn, of = old < 0.6) |> mean(group) |> mean(window)": ("some", "group"),
}


@pytest.mark.parametrize("reduce", REDUCE)
def test_each_turn_counts_once(reduce):
    """A turn of many tokens weighs as one of few; turns are counted over a window, however it is cut."""
    given = batch() | {"advantage": np.random.default_rng(1).standard_normal(16)}
    loss = loss_of(f"{TURN}ratio = policy / old\nreduce = {reduce}")
    ratio = np.exp(log_ratio(given))
    term = -given["advantage"][:, None] * ratio
    turns = cells(given, ("sequence", "turn_id"))
    kind = REDUCE[reduce]
    weight = np.zeros(term.shape)
    of_sequence, of_group = defaultdict(set), defaultdict(set)
    for n, turn in turns:
        of_sequence[n].add(turn)
        of_group[given["group"][n]].add((n, turn))
    rows = given["mask"].any(axis=1)
    for (n, _), places in turns.items():
        for place in places:
            match kind:
                case ("turn",):
                    weight[place] = 1 / len(places) / len(turns)
                case ("turn", "sequence"):
                    weight[place] = 1 / len(places) / len(of_sequence[n]) / rows.sum()
                case _:
                    group = given["group"][n]
                    groups = len(np.unique(given["group"][rows]))
                    counted = given["logp_old"][place] < np.log(0.6)
                    weight[place] = counted / len(of_group[group]) / groups
    value, slope = run_loss(loss, given)
    same(value, (weight * np.where(given["mask"], term, 0.0)).sum())
    same(trained(given, slope), weight * np.where(given["mask"], term, 0.0))
    parts = [
        rows_of(given, np.flatnonzero(np.isin(given["group"], ids))) for ids in ([7, 11], [3], [5, -2, 2])
    ]
    window = loss.window([as_torch(part) for part in parts])
    assert "turn_cells" not in window or window["turn_cells"] == len(turns)
    together = [run_loss(loss, part, window) for part in parts]
    same(sum(one for one, _ in together), value)
    assert kind != ("turn",) or str(window["turn_cells"].dtype) == "torch.float64"


def advantage(text: str, given: Arrays) -> np.ndarray:
    return loss_of(text).advantage(as_torch(given)).double().numpy()


def test_returns_of_turns_against_those_of_a_role():
    """The rewards of a turn's tokens are its own; they are compared with those of one role in the group."""
    given = batch()
    expected = np.zeros(given["mask"].shape)
    for places in cells(given, ("sequence", "turn_id")).values():
        for place in places:
            expected[place] = sum(given["token_return"][one] for one in places)
    sums = expected.copy()
    for places in cells(given, ("group", "role")).values():
        for place in places:
            expected[place] -= np.mean([sums[one] for one in places])
    text = "advantage = sum(token_return, turn) |> per_token |> center(part)"
    declared = (
        f"{TURN}input token_return : token\ninput role : token in {{0, 1, 2}}\nscope part by group, role\n"
    )
    same(advantage(declared + text, given), expected)


@pytest.mark.parametrize("keys", [("group", "anchor"), ("anchor",)])
def test_gigpo_compares_an_episode_with_its_group_and_a_step_with_its_state(keys):
    """A state that no other step began in gives nothing, nor does a step without a state (a negative id)."""
    given = batch()
    present = given["mask"].any(axis=1)

    def whitened(values: np.ndarray, ids: np.ndarray, inside: np.ndarray) -> np.ndarray:
        found = np.zeros(len(values))
        for one in np.unique(ids[inside], axis=0):
            rows = inside & (ids == one).all(axis=1)
            if rows.sum() > 1 and np.ptp(values[rows]) > 0:
                found[rows] = (values[rows] - values[rows].mean()) / values[rows].std(ddof=1)
        return found

    state = np.stack([given[key] for key in keys], axis=1)
    episode = whitened(given["reward"], given["group"][:, None], present)
    step = whitened(given["step_return"], state, present & (given["anchor"] >= 0))
    declared = f"input step_return : sequence\ninput anchor : sequence\nscope state by {', '.join(keys)}\n"
    text = "advantage = (reward |> center(group) |> scale(group)) + (step_return |> center(state) |> scale(state))"
    assert np.abs(step).max() > 0 and (step == 0).any()
    same(advantage(declared + text, given), episode + step)


def test_the_optimal_baseline_of_a_column():
    """verl's optimal token baseline: of the completions of a group at the same token, weighed by energy so far."""
    given = batch()
    expected = np.zeros(given["mask"].shape)
    for places in cells(given, ("group", "position")).values():
        energy = np.array([given["energy"][place] for place in places])
        reward = np.array([given["reward"][n] for n, _ in places])
        for place in places:
            expected[place] = given["reward"][place[0]] - (reward * energy).sum() / energy.sum()
    declared = "input energy : token in (0, inf)\nscope column by group, position\n"
    text = "advantage = reward - sum(reward * energy, column) / max(sum(energy, column), 1e-30)"
    got = advantage(declared + text, given)
    alone = [p[0] for p in cells(given, ("group", "position")).values() if len(p) == 1]
    assert alone
    same(got, expected)


ORDERED = {
    "max(old, turn)": lambda x, others, at: max(others),
    "min(old, turn)": lambda x, others, at: min(others),
    "count(old, turn)": lambda x, others, at: len(others),
    "quantile(old, 0.3, turn)": lambda x, others, at: np.quantile(others, 0.3),
    "kth(old, turn, 2)": lambda x, others, at: sorted(others)[-2] if len(others) > 1 else 0.0,
    "rank(old, turn)": lambda x, others, at: 1 + sum(one > x for one in others),
    "1 if top(old, 0.5, turn) else 0": lambda x, others, at: float(
        sum(one > x for one in others) < max(len(others) // 2, 1)
    ),
    "mean(old, turn, of = old < 0.5)": lambda x, others, at: np.mean(
        [one for one in others if one < 0.5] or [0.0]
    ),
}


@pytest.mark.parametrize("value", ORDERED)
def test_every_reduction_is_known_within_cells(value):
    given = batch()
    expected = np.zeros(given["mask"].shape)
    old = np.exp(np.where(given["mask"], given["logp_old"], 0.0))
    for places in cells(given, ("sequence", "turn_id")).values():
        for place in places:
            expected[place] = ORDERED[value](old[place], [old[one] for one in places], place)
    same(advantage(f"{TURN}advantage = {value} + 0 * reward", given), expected)
    turned = {**given, "turn_id": np.where(given["turn_id"] >= 0, given["turn_id"] + 2**40, -7)}
    same(advantage(f"{TURN}advantage = {value} + 0 * reward", turned), expected)


def test_a_turn_is_the_same_with_and_without_padding():
    given = batch()
    text = f"{TURN}advantage = mean(old, turn) + 0 * reward"
    got = advantage(text, given)
    places = np.random.default_rng(0).permutation(given["mask"].size)
    packed = {k: v.ravel()[places] if v.ndim == 2 else v for k, v in given.items()}
    packed["sequence"] = places // given["mask"].shape[1]
    same(advantage(text, packed), got.ravel()[places])


def test_a_state_that_two_micro_batches_have_is_refused():
    """A cell is whole where the advantage is computed; a step without a state may be anywhere."""
    given = batch()
    declared = "input anchor : sequence\nscope state by anchor\nratio = policy / old\n"
    loss = loss_of(f"{declared}advantage = reward |> center(state)")
    halves = [as_torch(rows_of(given, rows)) for rows in (range(8), range(8, 16))]
    with pytest.raises(maspo_dsl.BatchError, match="a state in two of them"):
        loss.window(halves)
    apart = [
        {**half, "anchor": half["anchor"].clamp(max=-1) if n else half["anchor"]}
        for n, half in enumerate(halves)
    ]
    assert loss.window(apart)["tokens"] == given["mask"].sum()
    with pytest.raises(maspo_dsl.BatchError, match="`anchor` must be whole numbers"):
        loss.advantage({**halves[0], "anchor": halves[0]["anchor"] + 0.5})


def test_the_hash_covers_the_scopes_that_are_read():
    text = f"objective example extends group_ppo\n{TURN}ratio = geomean(policy / old, turn)\n"
    first = maspo_dsl.parse(text)
    assert "scope turn by sequence, turn_id" in first.text
    assert maspo_dsl.parse(first.text).hash == first.hash
    assert maspo_dsl.parse(text.replace("turn_id\n", 'turn_id "one call"\n')).hash == first.hash
    other = text.replace("by sequence, turn_id", "by group, turn_id")
    assert maspo_dsl.parse(other).hash != first.hash
    inherited = StringIO(f"objective other extends group_ppo\n{TURN}ratio = geomean(policy / old, turn)\n")
    assert maspo_dsl.load(inherited).hash == first.hash


def test_scope_names_anything_elsewhere():
    text = "param scope = 0.5\nlet turn = scope * 2\nratio = policy / old |> min(turn)\n"
    assert loss_of(f"{text}penalty scope = 0.1 * k2(policy, old)") is not None
