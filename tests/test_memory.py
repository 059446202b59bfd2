"""What is kept from rollout to rollout, over several of them, against loops in float64 that keep it themselves.

Rollouts have prompts again and anew, two groups of one prompt, missing rewards, rows without a trained token.
Sources: SPO arXiv:2509.13232 and verl-recipe 48ea0a7 `spo_ray_trainer.py`, with rho constant; RAE arXiv:2506.24119,
eq. 4; DCPO arXiv:2509.02333 and lime-RL/DCPO 01787b0 `compute_dcpo_outcome_advantage`; Skywork-OR1 64e96af
`EntController`; the adaptive KL of arXiv:1909.08593 as verl 0.9.1 `AdaptiveKLController` has it.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import Arrays, as_torch

ROLLOUTS = 5
SPO = """
param rho = 0.9 in [0, 1]
memory good = rho * good + sum(reward, group)     start 0.5 / (1 - rho) per prompt "successes, the older the less"
memory bad  = rho * bad + sum(1 - reward, group)  start 0.5 / (1 - rho) per prompt "failures, the older the less"
advantage = reward - good / (good + bad) |> whiten(rollout_batch)
"""
RAE = """
param decay = 0.95 in [0, 1]
let first  = decay * base + (1 - decay) * mean(reward, group)
memory base = first start 0 per prompt "an agent's reward so far; whose it is, prompt_id says"
advantage = reward - first
"""
DCPO = """
let seen   = times + 1
let mean_  = (centre * times + mean(reward, group)) / seen
let square = (times * spread ^ 2 + std(reward, group) ^ 2 + times / seen * (mean(reward, group) - centre) ^ 2) / seen
let whole  = std(reward, group) if times == 0 else sqrt(square)
memory times  = seen  start 0 per prompt
memory centre = mean_ start 0 per prompt
memory spread = whole start 0 per prompt
let now  = (reward - mean(reward, group)) / std(reward, group) if std(reward, group) > 0 else 0
let ever = (reward - mean_) / whole if whole > 0 else 0
let one   = ever / seen + (1 - 1 / seen) * now
let other = now / seen + (1 - 1 / seen) * ever
advantage = one if abs(one) < abs(other) else other
"""
SKYWORK = """
param target = 0.9, delta = 0.005, most = 0.02
let below = mean(detach(entropy(policy)), rollout_batch) < target
memory coef = clamp(coef + (delta if below else -delta), 0, most) start 0.01 per run
memory on   = 1 if below else 0                                   start 1    per run
bonus entropy = coef * on * entropy(policy)
reduce = loss |> mean(window)
"""
KL = """
param target = 6, horizon = 100 in (0, inf)
let apart = mean(sum(log(old / reference), sequence), rollout_batch)
memory kl = kl * (1 + clamp(apart / target - 1, -0.2, 0.2) * count(reward, rollout_batch) / horizon) start 0.2 per run
reward kl = -kl * sum(log(old / reference), sequence)
advantage = reward |> center(group)
"""
PASSES = """
memory tried  = tried + count(reward, group)  start 0 per prompt
memory passed = passed + sum(correct, group)  start 0 per prompt
let rate = passed / max(tried, 1)
keep unsolved where rate < 0.3
prompt = sqrt(rate * (1 - rate))
advantage = (reward - rate) / max(sqrt(rate * (1 - rate)), 0.1)
"""


def rollouts(seed: int) -> Iterator[Arrays]:
    """Rewards 0 or 1 of groups of three; of seven prompts some in a rollout, one of them twice."""
    for number in range(ROLLOUTS):
        random = np.random.default_rng([seed, number])
        prompts = random.permutation(7)[:4]
        prompt = np.repeat([*prompts, prompts[0]], 3)
        old = -random.exponential(1.0, (15, 4))
        batch = {
            "prompt_id": 10**12 * prompt - 5,
            "group": np.repeat(random.permutation(5), 3),
            "reward": (random.random(15) < 0.2 + 0.1 * prompt).astype(float),
            "mask": np.arange(4) < random.integers(1, 5, 15)[:, None],
            "logp": old,
            "logp_old": old,
            "logp_ref": old - random.exponential(0.6, old.shape),
            "entropy": random.exponential(0.7 + 0.1 * number, old.shape),
        }
        batch["reward"][[1, 3, 4, 5]] = np.nan  # one of a group, and a whole group
        batch["mask"][7] = False
        yield {name: value[order] for order in [random.permutation(15)] for name, value in batch.items()}


def there(batch: Arrays) -> np.ndarray:
    return ~np.isnan(batch["reward"]) & batch["mask"].any(1)


def by_prompt(batch: Arrays) -> dict[int, np.ndarray]:
    """The rows of each prompt that count, of those that have any."""
    ids = set(batch["prompt_id"].tolist())
    rows = {key: np.flatnonzero(there(batch) & (batch["prompt_id"] == key)) for key in ids}
    return {key: found for key, found in rows.items() if len(found)}


def compiled(text: str) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(maspo_dsl.parse(f"objective mine extends group_ppo\n{text}\n"), backend="eager")


class Loop:
    """What a training loop keeps."""

    def __init__(self, loss: maspo_dsl.ObjectiveLoss) -> None:
        self.loss, self.memories = loss, loss.objective.memories
        self.kept: dict[str, dict[int, float]] = {name: {} for name in self.memories}

    def remembering(self, batch: Arrays) -> dict[str, torch.Tensor]:
        values = {}
        for name, memory in self.memories.items():
            keys = batch["prompt_id"].tolist() if memory.per == "prompt" else [0]
            found = torch.tensor(
                [self.kept[name].get(key, memory.start) for key in keys], dtype=torch.float64
            )
            values[name] = found if memory.per == "prompt" else found[0]
        return {**as_torch(batch), **values}

    def update(self, batch: Arrays) -> None:
        for name, value in self.loss.memory(self.remembering(batch)).items():
            keys = batch["prompt_id"].tolist() if self.memories[name].per == "prompt" else [0]
            self.kept[name].update(zip(keys, value.reshape(-1).tolist(), strict=True))


def spo(batch: Arrays, kept: dict[str, dict[int, float]]) -> np.ndarray:
    before = 0.5 / (1 - 0.9)
    good, bad = kept.setdefault("good", {}), kept.setdefault("bad", {})
    rate = [
        good.get(k, before) / (good.get(k, before) + bad.get(k, before)) for k in batch["prompt_id"].tolist()
    ]
    apart = batch["reward"] - np.array(rate)
    inside = apart[there(batch)]
    for key, rows in by_prompt(batch).items():
        good[key] = 0.9 * good.get(key, before) + batch["reward"][rows].sum()
        bad[key] = 0.9 * bad.get(key, before) + (1 - batch["reward"][rows]).sum()
    return (apart - inside.mean()) / (inside.std(ddof=1) + 1e-8)


def rae(batch: Arrays, kept: dict[str, dict[int, float]]) -> np.ndarray:
    base, advantage = kept.setdefault("base", {}), np.zeros(15)
    for key in set(batch["prompt_id"].tolist()):
        for group in set(batch["group"][batch["prompt_id"] == key].tolist()):
            rows = np.flatnonzero(there(batch) & (batch["group"] == group))
            if len(rows):
                now = 0.95 * base.get(key, 0.0) + 0.05 * batch["reward"][rows].mean()
                advantage[rows] = batch["reward"][rows] - now
    for key, rows in by_prompt(batch).items():
        base[key] = 0.95 * base.get(key, 0.0) + 0.05 * batch["reward"][rows].mean()
    return advantage


def joined(times: float, centre: float, spread: float, rewards: np.ndarray) -> tuple[float, float]:
    """DCPO's mean and spread of all rewards so far."""
    new, deviation = rewards.mean(), rewards.std(ddof=1) if len(rewards) > 1 else 0.0
    if times == 0:
        return new, deviation
    seen = times + 1
    square = times * spread**2 + deviation**2 + times / seen * (new - centre) ** 2
    return (centre * times + new) / seen, np.sqrt(square / seen)


def dcpo(batch: Arrays, kept: dict[str, dict[int, float]]) -> np.ndarray:
    stored = [kept.setdefault(name, {}) for name in ("times", "centre", "spread")]
    advantage = np.zeros(15)
    for group in set(batch["group"].tolist()):
        rows = np.flatnonzero(there(batch) & (batch["group"] == group))
        if not len(rows):
            continue
        rewards, key = batch["reward"][rows], int(batch["prompt_id"][rows[0]])
        times, centre, spread = (one.get(key, 0.0) for one in stored)
        mean, whole = joined(times, centre, spread, rewards)
        own = rewards.std(ddof=1) if len(rows) > 1 else 0.0
        now = (rewards - rewards.mean()) / own if own > 1e-12 else np.zeros(len(rows))
        ever = (rewards - mean) / whole if whole > 1e-12 else np.zeros(len(rows))
        share = 1 / (times + 1)
        one, other = share * ever + (1 - share) * now, share * now + (1 - share) * ever
        advantage[rows] = np.where(np.abs(one) < np.abs(other), one, other)
    for key, rows in by_prompt(batch).items():
        before = [one.get(key, 0.0) for one in stored]
        after = before[0] + 1, *joined(*before, batch["reward"][rows])
        for one, value in zip(stored, after, strict=True):
            one[key] = value
    return advantage


def skywork(batch: Arrays, kept: dict[str, dict[int, float]]) -> None:
    coef, on = kept.setdefault("coef", {}), kept.setdefault("on", {})
    entropy = batch["entropy"][batch["mask"] & there(batch)[:, None]].mean()
    moved = coef.get(0, 0.01) + (0.005 if entropy < 0.9 else -0.005)
    coef[0], on[0] = float(np.clip(moved, 0.0, 0.02)), float(entropy < 0.9)


def adaptive_kl(batch: Arrays, kept: dict[str, dict[int, float]]) -> np.ndarray:
    kl = kept.setdefault("kl", {})
    value = kl.get(0, 0.2)
    apart = np.where(batch["mask"], batch["logp_old"] - batch["logp_ref"], 0).sum(1)
    inside = there(batch)
    shaped, advantage = batch["reward"] - value * apart, np.zeros(15)
    for group in set(batch["group"].tolist()):
        rows = inside & (batch["group"] == group)
        advantage[rows] = shaped[rows] - shaped[rows].mean() if rows.any() else 0
    error = np.clip(apart[inside].mean() / 6 - 1, -0.2, 0.2)
    kl[0] = value * (1 + error * inside.sum() / 100)
    return advantage


def passes(batch: Arrays, kept: dict[str, dict[int, float]]) -> np.ndarray:
    tried, passed = kept.setdefault("tried", {}), kept.setdefault("passed", {})
    keys = batch["prompt_id"].tolist()
    rate = np.array([passed.get(key, 0) / max(tried.get(key, 0), 1) for key in keys])
    for key, rows in by_prompt(batch).items():
        tried[key] = tried.get(key, 0) + len(rows)
        passed[key] = passed.get(key, 0) + (batch["reward"][rows] > 0).sum()
    return (batch["reward"] - rate) / np.maximum(np.sqrt(rate * (1 - rate)), 0.1)


METHODS: dict[str, tuple[str, Callable[..., np.ndarray | None]]] = {
    "SPO, single stream": (SPO, spo),
    "RAE": (RAE, rae),
    "DCPO's smoothing": (DCPO, dcpo),
    "Skywork's entropy": (SKYWORK, skywork),
    "adaptive KL": (KL, adaptive_kl),
    "pass rates": (PASSES, passes),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_over_rollouts(method, seed):
    """The advantages of each rollout are from what was kept before it, and what is kept is what the loop keeps."""
    text, transcribed = METHODS[method]
    loop, kept, moved = Loop(compiled(text)), {}, set()
    for batch in rollouts(seed):
        got = loop.loss.advantage(loop.remembering(batch)).numpy()
        expected = transcribed(batch, kept)
        if expected is not None:
            inside = there(batch)
            np.testing.assert_allclose(got[inside], expected[inside], rtol=1e-9, atol=1e-12)
            assert np.abs(expected[inside]).max() > 0.1 and not got[~inside].any()
        loop.update(batch)
        for name, values in kept.items():
            found = {key: loop.kept[name][key] for key in values}
            assert found == pytest.approx(values, rel=1e-9, abs=1e-12)
            untold = set(loop.kept[name]) - set(values)
            assert all(loop.kept[name][key] == loop.memories[name].start for key in untold)
            moved.add(tuple(values.values()))
    assert len(moved) > 2


def test_the_loss_reads_what_is_kept():
    """Skywork's coefficient is frozen for a rollout: a number of the batch, the same in each micro-batch."""
    loss = compiled(SKYWORK)
    batch = as_torch(next(rollouts(0)))
    batch |= {"advantage": torch.zeros(15, dtype=torch.float64), "on": torch.tensor(1.0)}
    parts = [{k: v[rows] if v.dim() else v for k, v in batch.items()} for rows in (slice(0, 6), slice(6, 15))]
    for coef in (0.0, 0.02):
        parts = [{**part, "coef": torch.tensor(coef)} for part in parts]
        denominators = loss.window(parts)
        total = sum(loss(part, denominators=denominators).loss for part in parts)
        inside = batch["mask"] & ~batch["reward"].isnan()[:, None]
        torch.testing.assert_close(total, -coef * batch["entropy"][inside].mean())
    with pytest.raises(maspo_dsl.BatchError, match=r"`coef` 0-d, needed by `entropy`"):
        loss({name: value for name, value in batch.items() if name != "coef"})


def test_packed_or_padded_in_any_order():
    loop = Loop(compiled(DCPO + SKYWORK.replace("reduce = loss |> mean(window)", "")))
    for batch in rollouts(2):
        whole = loop.remembering(batch)
        expected = loop.loss.memory(whole)
        order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
        moved = loop.loss.memory({k: v[order] if v.dim() else v for k, v in whole.items()})
        kept = whole["mask"].flatten()
        line = {k: v.flatten()[kept] if v.dim() == 2 else v for k, v in whole.items()}
        line["sequence"] = torch.arange(15).repeat_interleave(4)[kept]
        packed = loop.loss.memory(line)
        for name, value in expected.items():
            torch.testing.assert_close(moved[name], value[order] if value.dim() else value)
            torch.testing.assert_close(packed[name], value)
        loop.update(batch)


def test_a_rollout_without_a_reward_updates_nothing():
    loop = Loop(compiled(SPO + SKYWORK))
    batch = next(rollouts(0))
    batch["reward"][:] = np.nan
    given = loop.remembering(batch)
    assert all(torch.equal(value, given[name]) for name, value in loop.loss.memory(given).items())


def test_rules_read_what_is_kept():
    loop = Loop(compiled(PASSES))
    for batch in rollouts(0):
        given = loop.remembering(batch)
        rate = given["passed"] / given["tried"].clamp(min=1)
        assert torch.equal(loop.loss.keep(given), rate < 0.3)
        torch.testing.assert_close(loop.loss.prompt(given), torch.sqrt(rate * (1 - rate)))
        loop.update(batch)
    assert not loop.loss.keep(loop.remembering(batch)).all()


def test_dropped_it_stays_at_its_start(tmp_path):
    path = tmp_path / "spo.obj"
    path.write_text(f"objective spo extends group_ppo\n{SPO}\nvariant plain {{ drop good, bad }}\n")
    kept, plain = (maspo_dsl.compile(f"{path}{variant}", backend="eager") for variant in ("", "@plain"))
    assert [memory.start for memory in kept.objective.memories.values()] == pytest.approx([5.0, 5.0])
    assert not plain.objective.memories and "prompt_id" not in plain.objective.training_inputs
    batch = as_torch(next(rollouts(0)))
    assert plain.memory(batch) == {}
    starts = dict.fromkeys(("good", "bad"), torch.full((15,), 5.0, dtype=torch.float64))
    torch.testing.assert_close(plain.advantage(batch), kept.advantage({**batch, **starts}))


def test_an_inherited_one_that_nothing_reads_is_left_out(tmp_path):
    (tmp_path / "spo.obj").write_text(f"objective spo extends group_ppo\n{SPO}\n")
    path = tmp_path / "other.obj"
    path.write_text("objective other extends spo\nadvantage = reward |> center(group)\n")
    other = maspo_dsl.load(path)
    assert not other.memories and "memory" not in other.text
    assert (
        other.hash
        == maspo_dsl.parse("objective o extends group_ppo\nadvantage = reward |> center(group)\n").hash
    )


def test_start_and_formula_are_in_the_hash_and_the_meaning_is_not():
    def hash_of(memory: str) -> str:
        return maspo_dsl.parse(f"objective o extends group_ppo\n{memory}\nadvantage = reward - b\n").hash

    base = hash_of("memory b = 0.9 * b + 0.1 * mean(reward, group) start 0 per prompt")
    assert hash_of('memory b = 0.9 * b + 0.1 * mean(reward, group) start 0 per prompt "what it is"') == base
    others = (
        "0.8 * b + 0.1 * mean(reward, group) start 0 per prompt",
        "0.9 * b + 0.1 * mean(reward, group) start 0.5 per prompt",
        "0.9 * b + 0.1 * mean(reward, rollout_batch) start 0 per run",
    )
    assert len({base, *(hash_of(f"memory b = {other}") for other in others)}) == 4


NAMES = """
let start = 0.5
let per = 2
param memory = 1
input kept : sequence
input prompt_id : sequence
advantage = (reward - start) * per + memory * kept + prompt_id
"""


def test_its_words_are_names_elsewhere():
    found = maspo_dsl.parse(f"objective o extends group_ppo\n{NAMES}\n")
    assert {"kept", "prompt_id"} <= found.inputs


def test_two_files_of_one_objective_have_one_text():
    objective = maspo_dsl.parse(f"objective mine extends group_ppo\n{DCPO}\n")
    again = maspo_dsl.parse(objective.text)
    assert again.hash == objective.hash and again.text == objective.text
