"""The batches of the proof: whole optimizer windows, each with what it is to catch."""

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from ..batches import Arrays, given_advantage, inputs, others, padded, ragged, rows_of
from ..running import tiny

POLICIES = {"policy": ("logp", "logp_ref"), "reference": ("logp_ref",), "rollout": ("logp_rollout",)}
"""What is far from the old policy: the reference stays with the policy, lest the KL drown it."""


SEARCHES: dict[str, dict[int, tuple[float, ...]]] = {
    "bapo": {
        6: (0.4088, 0.4095, 0.4127, 0.4134, 0.4464, 0.4472, 0.4724, 0.4733),
        9: (0.3551, 0.3558, 0.3582, 0.3589, 0.3958, 0.3966, 0.4293, 0.4302),
    },
    "bapo_paper": {
        1: (0.5877, 0.5889, 0.6227, 0.6239, 0.6462, 0.6475, 0.6667, 0.6681, 0.6698, 0.6711),
        9: (0.6160, 0.6173, 0.6711, 0.6725, 0.7144, 0.7158, 0.7514, 0.7528, 0.7553, 0.7567),
    },
}
"""Seeds, and factors of the bad completions' advantages with which the search of a bound barely ends at each step."""


def windows_of(name: str) -> dict[str, Arrays]:
    """All windows for an objective: those of all, and its own."""
    factors = [(seed, factor) for seed, found in SEARCHES.get(name, {}).items() for factor in found]
    own = {f"search {seed}, {factor}": searched(seed, factor) for seed, factor in factors}
    if name == "clip_cov":  # the covariances of two tokens are equal: `top` would have a tie, `pick` has none
        own["two tokens, close"] = complete(few_tokens([0.1, -0.05], [1.5, -0.7]), 0)
    if name == "bapo":  # good completions outweigh bad ones by the target, but not with 1e-8 more of the bad
        own["hardly any advantage"] = complete(
            few_tokens([0.0, 0.0, 0.47, -0.36], [2.1e-8, -1e-8, 1e-9, -1e-9]), 0
        )
    if name == "grpo_lead":
        own["groups of short and long completions"] = short_and_long()
    if name == "flash_reinforce":
        own["coins at the threshold"] = coins_at_the_threshold()
    if name.startswith("dppo_kl"):
        own["divergences at the bound"] = divergences_at_the_bound()
    return {**windows(), **own}


def divergences_at_the_bound() -> Arrays:
    """Tokens whose divergence is on one side of the threshold of bad completions only with the bound of 20;
    tokens of which a policy is entirely sure, and whose logarithm is finite by 1e-8 alone."""
    old = np.log([[0.02 / 18.5], [0.02 / 21], [0.9943], [1.0], [1.0]])
    logp = old + np.array([[-22.0], [-25.0], [0.0], [-0.5], [0.0]])
    logp[2] = 0.0
    batch = {"logp": logp, "logp_old": old, "logp_rollout": old}
    batch |= {"logp_ref": old - 0.3, "mask": np.ones(old.shape, dtype=bool)}
    return complete({**batch, "advantage": np.array([-1.0, -0.7, 1.1, -1.3, 0.9])}, 0)


def short_and_long() -> Arrays:
    """Groups whose three shortest completions have 8, 8, 9, 9, 10 and 12 tokens, and one of two completions.

    In some of them two are right and not of one length, in some of them one or none.
    """
    groups = {
        8: ([2, 2, 4, 6], [1.0, -0.4, 0.7, 1.3]),
        1: ([2, 2, 4], [-0.6, 0.8, 1.1]),
        5: ([1, 3, 5, 7], [0.9, 1.2, -0.3, 0.6]),
        2: ([2, 3, 4, 6], [1.4, 0.5, 0.8, -0.2]),
        6: ([2, 4, 4, 9], [0.6, -0.8, -0.5, 1.2]),
        3: ([3, 4, 5, 8, 6], [0.7, 1.5, -0.9, 1.0, -0.1]),
        4: ([2, 5], [0.8, 1.6]),
        7: ([5, 4, 7], [0.9, -0.7, -1.2]),
    }
    lengths = np.array([length for found, _ in groups.values() for length in found])
    reward = np.array([value for _, found in groups.values() for value in found])
    group = np.repeat(list(groups), [len(found) for found, _ in groups.values()])
    mask = np.arange(lengths.max()) < lengths[:, None]
    random = np.random.default_rng(0)
    old = -random.exponential(size=mask.shape) - 1.0
    batch = {"logp": old + 0.1 * random.standard_normal(mask.shape), "logp_old": old, "logp_ref": old - 0.3}
    return complete({**batch, "mask": mask, "reward": reward, "group": group}, 0)


def coins_at_the_threshold() -> Arrays:
    """Completions of a token whose divergence is just below 0.004 with the bounds of 1e-6 on both probabilities.

    The sampler is sure of the token, or nearly excludes it, and then the old policy is.
    """
    near = {"sampler": 0.0040003, "old": 6.8e-4}
    sampler = np.array([1 - 1e-12, 1e-12, 1 - near["old"], near["old"]])
    old = np.array([1 - near["sampler"], near["sampler"], 1 - 1e-12, 1e-12])
    batch = {"logp": np.log(old)[:, None] - 0.05, "logp_old": np.log(old)[:, None]}
    batch |= {"logp_rollout": np.log(sampler)[:, None], "logp_ref": np.log(old)[:, None] - 0.3}
    return complete(
        {**batch, "mask": np.ones((4, 1), dtype=bool), "advantage": np.array([1.0, 0.7, -1.1, 1.3])}, 0
    )


def searched(seed: int, factor: float) -> Arrays:
    """A window in which bad completions weigh so much more, or less, than good ones."""
    batch = given_advantage(seed, extreme=False, spread=1.0)
    advantage = batch["advantage"]
    return complete({**batch, "advantage": np.where(advantage < 0, factor * advantage, advantage)}, seed)


@cache
def windows() -> dict[str, Arrays]:
    """Windows by name. All have every tensor that an objective may read, beside what `tests.batches` gives."""
    return {name: complete(batch, seed) for seed, (name, batch) in enumerate(_windows())}


def _windows() -> Iterator[tuple[str, Arrays]]:
    yield "plain", given_advantage(0, extreme=False)
    yield "extreme", given_advantage(1)
    yield "estimated", ragged(4, spread=1.0)
    yield "close", given_advantage(12, extreme=False, spread=0.1)
    yield "token advantage", given_advantage(2, token=True, extreme=False)
    nowhere = given_advantage(2, token=True, garbage=False)
    nowhere["advantage"] = np.where(nowhere["mask"], nowhere["advantage"], np.nan)
    yield "garbage in the advantage alone", nowhere
    yield "large advantage", given_advantage(3, scale=300.0, spread=1.0)
    yield "padded", padded(ragged(5), 3)
    for policy, tensors in POLICIES.items():
        for side, sign in (("above", 1.0), ("below", -1.0)):
            for completions, advantage in (("good", 1.0), ("bad", -1.0)):
                yield f"{policy} far {side}, {completions} completions", far(tensors, sign, advantage)
    yield "far on both sides", far_on_both_sides()
    yield "one token", few_tokens([0.3], [1.5])
    yield "two tokens", few_tokens([0.9, -0.4], [1.5, -0.7])
    yield "three tokens", few_tokens([0.2, 1.1, -0.6], [-0.3, 1.2, 0.4])
    yield "on policy", tiny([0.0, 0.0], [1.0, -2.0])
    yield "certain", certain()
    yield "ties", ties()
    missing = ragged(6)
    missing["reward"][3], missing["mask"][3] = np.nan, False
    missing["reward"][0] = np.nan
    for name in inputs():  # what is brought for a completion that does not count may be anything
        if missing[name].ndim == 1 and missing[name].dtype == float:
            missing[name][[0, 3]] = np.nan
    yield "missing rewards", missing
    yield "alone", {**rows_of(ragged(9), range(5)), "group": np.arange(5)}


def far(tensors: Iterable[str], sign: float, advantage: float) -> Arrays:
    """Some policies just inside and just outside of 20 nats from the others: at tokens, and as sums of completions.

    All on one side and all completions good or all bad, so that none is lost beside another.
    """
    apart = np.zeros((6, 3))
    apart[:4, 0] = 19.5, 20.5, 19.6, 20.4
    apart[4], apart[5] = 19.5 / 3, 20.5 / 3
    mask = np.ones(apart.shape, dtype=bool)
    mask[:4, 1:] = False
    batch = {name: np.full(apart.shape, -25.0) for name in ("logp", "logp_old", "logp_ref", "logp_rollout")}
    for name in tensors:
        batch[name] += sign * apart
    return {**batch, "mask": mask, "advantage": advantage * np.array([1.0, 1.5, 1.0, 0.5, 1.0, 1.0])}


def far_on_both_sides() -> Arrays:
    """Completions whose sum of log-ratios is on one side of 0 with the bound of 20, and on the other without."""
    apart = np.array([[25.0, -21.0, 0.0], [19.9, -19.3, 0.0], [-25.0, 21.0, 0.0], [-19.9, 19.3, 0.0]] * 2)
    apart = np.insert(apart, 4, [30.0, -15.5, -14.0], axis=0)
    old = -32.0 - np.random.default_rng(0).random(apart.shape)
    batch = {"logp": old + apart, "logp_old": old, "logp_ref": old - 0.5}
    return {
        **batch,
        "logp_rollout": old - apart[::-1],
        "mask": apart != 0,
        "advantage": np.array([-1.0, -0.7, -1.3, -0.6, -0.9, 1.1, 0.8, 0.9, 1.2]),
    }


def stale(sums: Iterable[float]) -> Arrays:
    """Completions of three tokens, with these sums of log-ratios between the old policy and the rollout's."""
    apart = np.repeat(np.array([sums]).T / 3, 3, axis=1)
    old = np.full(apart.shape, -25.0)
    batch = {"logp": old + 0.1, "logp_old": old, "logp_ref": old, "logp_rollout": old - apart}
    return complete({**batch, "mask": np.ones(old.shape, dtype=bool), "advantage": np.ones(len(apart))}, 0)


def few_tokens(log_ratio: list[float], advantage: list[float]) -> Arrays:
    """The smallest windows: counts that no bound below may change. The sampler is nearly the old policy."""
    batch = tiny(log_ratio, advantage)
    steps = np.arange(len(advantage))[:, None]
    batch["logp"], batch["logp_old"] = batch["logp"] - 1 - steps, batch["logp_old"] - 1 - steps
    return {**batch, "logp_ref": batch["logp"] - 0.4, "logp_rollout": batch["logp_old"] + 0.02}


def certain() -> Arrays:
    """Tokens that a policy is sure of, and log-probs of 0 and -1e-9 that no clip of a probability may touch."""
    batch = given_advantage(13, extreme=False, spread=0.3)
    batch["logp_old"][::2] *= 1e-3
    batch["logp"][::2] *= 1e-3
    batch["logp_rollout"][::2] *= 1e-3
    batch["logp"][6, :3], batch["logp_old"][6, 2:5] = -1e-9, -1e-9
    return batch


def ties() -> Arrays:
    """Few different values: entropies, rewards, log-probs and advantages meet their own quantiles and bounds."""
    batch = given_advantage(14, extreme=False)
    for name in ("logp", "logp_old", "logp_ref", "logp_rollout"):
        batch[name] = np.round(np.nan_to_num(batch[name], nan=-1.0, posinf=-1.0, neginf=-1.0) * 4) / 4
    batch["entropy"] = np.round(np.nan_to_num(batch["entropy"], nan=1.0, posinf=1.0, neginf=1.0) * 2) / 2
    batch["advantage"] = np.round(batch["advantage"])
    return batch


def complete(batch: Arrays, seed: int) -> Arrays:
    """With an entropy, a reward and whatever else there is where there are none; the sampler is near."""
    shape, random = batch["mask"].shape, np.random.default_rng(100 + seed)
    near = batch["logp_old"] + 0.2 * random.standard_normal(shape)
    known = {"logp_rollout": np.minimum(near, 0.0), "reward": random.standard_normal(shape[0])}
    return {**others(100 + seed, shape), **known, **batch}
