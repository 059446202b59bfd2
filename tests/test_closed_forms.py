"""Objectives by hand: numbers worked out on paper, at the places that matter in each.

Where a formula is compared, it is with a number or a few operations, never with the code of a reference.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import maspo_dsl

from .batches import Arrays, as_torch
from .reference import dapo
from .reference.catalogue import REFERENCES
from .running import SHIPPED, compiled, known, run, slot, tiny

E12 = math.exp(-12)
SIGMOID = 1 / (1 + math.exp(-1))
LOG_15 = math.log(1.5)
TWICE = math.log(0.2) + 1.5
"""0.5 * 2 * log(0.2 / exp(-1.5))."""


class Form(NamedTuple):
    """A window of one token: d loss / d logp is -A times `weight`, and the loss -A times `factor`."""

    name: str
    params: dict[str, float]
    old: float
    policy: float
    a: float
    weight: float
    factor: float | None = None

    def __str__(self) -> str:
        return f"{self.name}{self.params or ''} {self.old:.2g} to {self.policy:.2g}, A {self.a}"

    @property
    def value(self) -> float:
        return -self.a * (self.weight if self.factor is None else self.factor)


def score(weight: float, policy: float) -> tuple[float, float]:
    """Weight and factor of -w A log(policy)."""
    return weight, weight * math.log(policy)


FORMS = [
    Form("group_ppo", {}, 0.1, 0.13, 1, 0, 1.2),
    Form("group_ppo", {}, 0.1, 0.13, -1, 1.3),
    Form("group_ppo", {}, 0.1, 0.07, 1, 0.7),
    Form("group_ppo", {}, 0.1, 0.07, -1, 0, 0.8),
    Form("group_ppo", {}, math.exp(-26), math.exp(-1), -1, 0, math.exp(20)),
    Form("group_ppo", {}, math.exp(-1), math.exp(-26), 1, 0, math.exp(-20)),
    Form("ppo_dual_clip", {}, 0.1, 0.4, -1, 0, 3),
    Form("ppo_dual_clip", {}, 0.1, 0.29, -1, 2.9),
    Form("ppo_dual_clip", {}, 0.1, 0.4, 1, 0, 1.28),
    Form("two_sided_clip", {}, 0.1, 0.2, -1, 0, 1.5),
    Form("two_sided_clip", {}, 0.1, 0.14, -1, 1.4),
    Form("two_sided_clip", {}, 0.1, 0.2, 1, 0, 1.2),
    Form("dr_grpo", {"max_length": 50}, 0.1, 0.11, 1, 1.1 / 50),
    # DCPO: bounds 1/2 + 1/2 sqrt(1 -+ 4 eps / old), the upper one at most 10
    Form("dcpo", {}, 1.0, 0.79, -1, 0, 0.8),
    Form("dcpo", {}, 0.8, 0.5, -1, 0, 0.5 + 0.5 * math.sqrt(0.2)),
    Form("dcpo", {}, 0.5, 0.2, -1, 0, 0.5),
    Form("dcpo", {}, E12, 9.9 * E12, 1, 9.9),
    Form("dcpo", {}, E12, 10.1 * E12, 1, 0, 10),
    Form("dcpo", {}, E12, 10.1 * E12, -1, 0, 10),
    Form("dcpo", {"cap": 2}, E12, 9.9 * E12, 1, 9.9),
    Form("dcpo", {"cap": 2}, E12, 9.9 * E12, -1, 0, 2),
    Form("dcpo", {"cap": 20}, E12, 19.9 * E12, 1, 19.9),
    Form("dcpo_paper", {}, E12, 100 * E12, 1, 100),
    Form("dcpo_paper", {}, E12, 200 * E12, 1, 0, 0.5 + 0.5 * math.sqrt(1 + 0.8 / E12)),
    Form("dcpo_paper", {}, E12, 100 * E12, -1, 100),
    # DGPO: the ratio is weighed by a power of how far beyond its bound it is
    Form("dgpo", {}, 0.1, 0.2, 1, 2 * math.sqrt(0.6)),
    Form("dgpo", {}, 0.1, 0.04, -1, 0.4 * 0.5),
    Form("dgpo", {"n": 3}, 0.1, 0.04, -1, 0.4 * 0.125),
    Form("dgpo", {}, 0.1, 0.04, 1, 0.4),
    Form("dgpo", {}, 0.1, 0.2, -1, 2),
    # scores: the weight does not see the bound, nor whether it is tied with its cap
    Form("cispo", {"cap": 1.4}, 0.2, 0.4, 1, *score(1.4, 0.4)),
    Form("cispo", {"cap": 1.0}, 0.2, 0.2, -1, *score(1, 0.2)),
    Form("cispo", {}, 0.2, 0.1, 1, *score(0.5, 0.1)),
    Form("cispo", {}, math.exp(-26), math.exp(-1), 1, *score(5, math.exp(-1))),
    Form("cispo_two_sided", {}, 0.2, 0.1, 1, *score(0.8, 0.1)),
    Form("cispo_two_sided", {}, 0.2, 0.4, -1, *score(1.28, 0.4)),
    Form("gpg", {}, 0.2, 0.4, -1, *score(1, 0.4)),
    Form("gpg_paper", {}, 0.2, 0.4, 2, *score(1, 0.4)),
    Form("dro", {}, 0.2, 0.4, 1, 1 - 0.1 * math.log(2), math.log(0.4) - 0.05 * math.log(2) ** 2),
    Form("topr", {}, 0.2, 0.1, -1, *score(0.5, 0.1)),
    Form("topr", {}, 0.2, 0.4, -1, *score(1, 0.4)),
    Form("topr", {}, 0.2, 0.1, 1, *score(1, 0.1)),
    # DPPO: 0 once the probability has moved too far the way A pushes, else the ratio up to a cap
    Form("dppo_tv", {}, 0.5, 0.66, 1, 0),
    Form("dppo_tv", {}, 0.5, 0.64, 1, *score(1.28, 0.64)),
    Form("dppo_tv", {}, 0.5, 0.34, -1, 0),
    Form("dppo_tv", {}, 0.5, 0.66, -1, *score(1.32, 0.66)),
    Form("dppo_tv", {}, 0.01, 0.5, -1, *score(20, 0.5)),
    Form("dppo_tv", {"d_high": 0.1}, 0.5, 0.61, 1, 0),
    Form("dppo_tv", {"d_low": 0.1}, 0.5, 0.39, -1, 0),
    Form("dppo_kl", {}, 0.5, 0.8, 1, 0),  # KL 1/2 log(5/8) + 1/2 log(5/2) = 0.22
    Form("dppo_kl", {}, 0.5, 0.6, 1, *score(1.2, 0.6)),  # 0.02
    Form("dppo_kl", {}, 0.5, 0.2, -1, 0),
    Form("dppo_kl", {}, 0.5, 0.2, 1, *score(0.4, 0.2)),
    Form("dppo_kl", {}, 1.0, 1.0, 1, 1, 0),  # a token that is certain, before and after
    Form("dppo_kl", {}, 0.9, 1.0, -1, 1 / 0.9, 0),
    # ASPO: 1/r for A > 0; beyond 3 it is 3 log(policy)
    Form("aspo", {}, 0.2, 0.1, 1, 2),
    Form("aspo", {}, 0.2, 0.26, 1, 0, 1 / 1.2),
    Form("aspo", {}, 0.8, 0.2, 1, *score(3, 0.2)),
    Form("aspo", {}, 0.2, 0.4, -1, 2),
    Form("aspo", {}, 0.2, 0.1, -1, 0, 0.8),
    Form("aspo", {}, 0.2, 0.8, -1, *score(3, 0.8)),
    # gates
    Form("sapo", {}, 0.2, 0.4, 1, 2 * 4 * SIGMOID * (1 - SIGMOID), 4 * SIGMOID),
    Form("sapo", {"tau_neg": 2.0}, 0.2, 0.1, -1, 2 * SIGMOID * (1 - SIGMOID), 2 * (1 - SIGMOID)),
    Form("soft_exponential", {}, 0.2, 0.4, 1, 2 * math.exp(-0.8)),
    Form("soft_exponential", {}, 0.2, 0.4, -1, 2 * math.exp(-0.8)),
    Form("soft_exponential", {}, 0.2, 0.1, 1, 0.5 * math.exp(-0.3)),
    Form("soft_exponential", {"rate": 3.0}, 0.2, 0.22, 1, 1.1),
    # VESPO: W^k exp(lambda (1 - W)), with log W in [log 1e-8, 20]
    Form("vespo", {}, 0.2, 0.4, 1, *score(4 * math.exp(-3), 0.4)),
    Form("vespo", {}, 0.2, 0.1, -1, *score(0.125 * math.e, 0.1)),
    Form("vespo", {}, math.exp(-26), math.exp(-1), 1, 0),
    Form(
        "vespo", {"k_pos": 0.1}, 0.5, math.exp(-30), 1, *score(10**-0.8 * math.exp(3 - 3e-8), math.exp(-30))
    ),
    # MASPO's risk without clamps: sigma is 401 or 1/401 where the code's is 10 or 0.1
    Form(
        "maspo_paper",
        RISK := {"alpha": 0.0, "beta_pos": 1.0, "beta_neg": 1.0},
        0.2,
        0.4,
        400,
        2 * math.exp(-0.5 / 401**2),
    ),
    Form("maspo_paper", RISK, 0.2, 0.199, -400, 0.995 * math.exp(-((0.005 * 401) ** 2) / 2)),
    Form("maspo_paper", {"alpha": 0.5}, 1e-8, 1e-6, 1, 100 * math.exp(-(99**2) / (2 * (1e4 * 1.03) ** 2))),
    # CE-GPPO keeps 3/4 of the lower bound and the whole upper one; the dual clip has no gradient
    Form("ce_gppo", {}, 0.2, 0.3, 1, 1.2),
    Form("ce_gppo", {}, 0.2, 0.1, -1, 0.6),
    Form("ce_gppo", {}, 0.2, 0.1, 1, 0.5),
    Form("ce_gppo", {}, 0.05, 0.6, -1, 0, 10),
    # FIPO, of a token alone: the ratio is its own influence, within [1, 1.2]; from 10 on it is no move
    Form("fipo", {}, 0.2, 0.22, 1, 1.1**2),
    Form("fipo", {}, 0.2, 0.18, 1, 0.9),
    Form("fipo", {}, 0.2, 0.4, -1, 2 * 1.2),
    Form("fipo", {"safe": 1.5}, 0.2, 0.4, -1, 2),
    Form("fipo", {}, 0.05, 0.75, -1, 0, 10),
    # prime-rl: the sampler is the old policy here; the squared log-ratio pulls back whatever the mask does
    Form("prime_default", {}, 0.2, 0.3, 1, 1.5 - 2e-3 * LOG_15, 1.5 - 1e-3 * LOG_15**2),
    Form("prime_default", {}, 0.2, 0.41, 1, -2e-3 * math.log(2.05), -1e-3 * math.log(2.05) ** 2),
    Form("prime_default", {}, 0.5, 0.29, -1, 2e-3 * math.log(0.58), 1e-3 * math.log(0.58) ** 2),
    # DeepSeek-V3.2: the gradient of r k3 is r log(policy / reference); the reference has exp(-1.5)
    Form("deepseek_v32", {"kl": 0.5}, 0.1, 0.2, -1, 2 + TWICE, 2 + TWICE + math.exp(-1.5) / 0.2 - 1),
    Form(
        "deepseek_v32",
        {"kl": 0.5},
        0.2,
        0.1,
        -1,
        0.25 * (math.log(0.1) + 1.5),
        0.25 * (math.log(0.1) + 1.5 + math.exp(-1.5) / 0.1 - 1),
    ),
    # RIPO: the offset is sqrt(0.05 / 0.2) = 0.5 at a probability of 0.2, sqrt(5) at 0.01
    Form("ripo", {}, 0.2, 0.35, 1, 0, 1.5),
    Form("ripo", {}, 0.2, 0.08, -1, 0, 0.5),
    Form("ripo", {}, 0.01, 0.03, 1, 3),
    Form("ripo", {}, 0.01, 0.0001, -1, 0.01),
    Form("pspo", {}, 0.2, 0.4, 1, 1.8, 1.9),
    Form("pspo", {}, 0.2, 0.1, -1, 0.45, 0.55),
    Form("olmo3", {}, 0.1, 0.13, 1, 0, 1.272),
    Form("magistral", {}, 0.1, 0.13, 1, 0, 1.28),
    Form("scale_rl", {}, 0.2, 0.4, 1, *score(2, 0.4)),
    Form("scale_rl", {}, 0.05, 0.4, 1, *score(5, 0.4)),
    Form("molt", {"kl": 0.0}, 0.1, 0.13, 1, 0, 1.27),
    Form("molt", {"kl": 0.0}, 0.05, 0.6, -1, 0, 10),
    Form("molt", {"kl": 2.0}, 0.2, 0.2, 1, 1 - 2 * (math.log(0.2) + 1.5), 1 - (math.log(0.2) + 1.5) ** 2),
    # completions of one token: the completion's ratio is the token's
    Form("gspo", {}, 0.2, 0.2001, 1, 0, 1.0004),
    Form("gspo", {}, 0.2, 0.20006, 1, 1.0003),
    Form("gspo_token", {}, 0.2, 0.1999, -1, 0, 0.9997),
    Form("luspo", {}, 0.2, 0.1999, -1, 0.9995),
    Form("gmpo", {}, 0.2, 0.28, 1, 1.4),
    Form("gmpo", {}, 0.2, 0.31, 1, 0, math.exp(0.4)),
    Form("gmpo", {}, 0.2, 0.13, -1, 0, math.exp(-0.4)),
]


def evaluated_by_hand(form: Form, evaluate: Callable[..., tuple[float, np.ndarray]]) -> None:
    batch = tiny(0, form.a, group=np.zeros(1, dtype=int), entropy=np.ones((1, 1)))
    batch["logp"], batch["logp_old"] = np.log([[form.policy]]), np.log([[form.old]])
    batch["logp_rollout"] = batch["logp_old"]
    loss, gradient = evaluate(form.name, batch, form.params)
    assert loss == pytest.approx(form.value, rel=1e-9, abs=1e-12)
    assert gradient[0, 0] == pytest.approx(-form.a * form.weight, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("form", [form for form in FORMS if form.name in SHIPPED], ids=str)
def test_one_token(form):
    evaluated_by_hand(form, run)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_one_token_of_a_reference(form):
    def evaluate(name: str, batch: Arrays, params: dict[str, float]) -> tuple[float, np.ndarray]:
        return REFERENCES[name].loss(batch, params), REFERENCES[name].dloss_dlogp(batch, params)

    evaluated_by_hand(form, evaluate)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("gspo", 0.5, 0), ("gspo_token", 0.5, 0.5), ("luspo", 1, 0), ("gmpo", 0.5, 0)],
)
def test_completion_with_a_token_beyond_the_bound(name, first, second):
    """Log-ratios 0.2 and 30, held at 20: the geometric mean is exp(10.1), and the second token cannot move it.

    GSPO-token's gradient is not of the mean: it reaches both.
    """
    logp, old = np.array([[-1.0, -2.0]]), np.array([[-1.2, -32.0]])
    batch = {
        "logp": logp,
        "logp_old": old,
        "mask": np.ones((1, 2), dtype=bool),
        "advantage": np.array([-1.0]),
    }
    loss, gradient = run(name, batch)
    assert loss == pytest.approx(math.exp(10.1) * (2 if name == "luspo" else 1))
    np.testing.assert_allclose(gradient[0], np.array([first, second]) * math.exp(10.1), rtol=1e-9)


GOOD, BAD = (math.log(2.9), 1.0), (math.log(0.5), -1.0)


@pytest.mark.parametrize(
    ("name", "params", "tokens", "low", "high"),
    [
        # 1.2 / 0.6 is enough from the start; for 2.05 the lower bound rises to its end, then 1.85 / 0.9
        ("bapo", {}, [GOOD, BAD], 0.6, 1.2),
        ("bapo", {"target": 2.05}, [GOOD, BAD], 0.9, 1.85),
        ("bapo", {"target": 50}, [GOOD, BAD], 0.9, 3.0),
        ("bapo", {"target": 50, "high_step": 0.7}, [GOOD, BAD], 0.9, 3.0),
        ("bapo", {}, [BAD, BAD], 0.9, 3.0),
        ("bapo", {}, [GOOD, GOOD], 0.6, 1.2),
        # 1.2 of 1.2 + 0.6 is two thirds, 1.5 of 2.1 more than 0.71; 2.9 of 3.5 is not 0.9, nor is less later
        ("bapo_paper", {}, [GOOD, BAD], 0.6, 1.2),
        ("bapo_paper", {"share": 0.71}, [GOOD, BAD], 0.6, 1.5),
        ("bapo_paper", {"share": 0.9}, [GOOD, BAD], 0.9, 3.0),
        ("bapo_paper", {}, [BAD, BAD], 0.9, 3.0),
        ("bapo_paper", {}, [GOOD, GOOD], 0.6, 1.2),
    ],
)
def test_searched_bounds(name, params, tokens, low, high):
    """Two tokens of ratio 2.9 or 0.5, each at its bound or, inside of it, at its ratio."""
    batch = tiny([log_ratio for log_ratio, _ in tokens], [a for _, a in tokens])
    batch["logp"], batch["logp_old"] = batch["logp"] - 1, batch["logp_old"] - 1
    loss, gradient = run(name, batch, params)
    good, bad = min(2.9, high), max(0.5, low)
    assert loss == pytest.approx(sum(-good if a > 0 else bad for _, a in tokens) / 2)
    inside = [high >= 2.9 if a > 0 else low <= 0.5 for _, a in tokens]
    assert (gradient[:, 0] != 0).tolist() == inside


def from_sampler(sampler: float, old: float, policy: float, a: float) -> Arrays:
    """A window of one token, of these probabilities."""
    batch = tiny(0, a, group=np.zeros(1, dtype=int))
    for name, value in (("logp", policy), ("logp_old", old), ("logp_rollout", sampler)):
        batch[name] = np.log([[value]])
    return batch


@pytest.mark.parametrize(
    ("name", "sampler", "weight"),
    [
        # the clip is around the old policy, 0.3; the weight from the sampler, up to 5 and not beyond
        ("decoupled_ppo", 0.2, 1.5),
        ("decoupled_ppo", 0.0601, 0.3 / 0.0601),
        ("decoupled_ppo", 0.0599, 0),
        # KL of coins of 0.31, 0.27 and 0.33 from one of 0.3: 2.4e-4, 2.2e-3 and 2.1e-3; of 0.34: 3.7e-3
        ("flash_reinforce", 0.31, 0.3 / 0.31),
        ("flash_reinforce", 0.27, 0.3 / 0.27),
        ("flash_reinforce", 0.34, 0),
        ("olmo3", 0.2, 1.5),
        ("olmo3", 0.1, 2),
        # within a percent of the sampler, and not
        ("molt", 0.299, 0.3 / 0.299),
        ("molt", 0.29, 0),
        ("molt", 0.31, 0),
    ],
)
def test_weight_from_the_sampler(name, sampler, weight):
    """Of a bad token of ratio 1.1, and of one that the clip holds at 0.8."""
    params = known(name, kl=0.0)
    loss, gradient = run(name, from_sampler(sampler, 0.3, 0.33, -1.0), params)
    assert (loss, gradient[0, 0]) == (pytest.approx(1.1 * weight), pytest.approx(1.1 * weight))
    loss, gradient = run(name, from_sampler(sampler, 0.3, 0.15, -1.0), params)
    assert (loss, gradient[0, 0]) == (pytest.approx(0.8 * weight), 0)


def test_vapo_adds_the_likelihood_of_right_completions():
    """Of two right tokens of three: -0.1 (log 0.5 + log 0.25) / 2, whatever their advantage."""
    batch = tiny([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], reward=np.array([1.0, 1.0, 0.0]))
    batch["logp"] = batch["logp_old"] = np.log([[0.5], [0.25], [0.125]])
    loss, gradient = run("vapo", batch)
    assert loss == pytest.approx(0.1 * math.log(8) / 2)
    np.testing.assert_allclose(gradient[:, 0], [-0.05, -0.05, 0])


@pytest.mark.parametrize("name", ["magistral", "scale_rl"])
def test_prompts_count_the_same(name):
    """Three tokens of one prompt and one of another: a sixth each, and a half."""
    batch = tiny([0.0] * 4, [1.0] * 4, group=np.array([0, 0, 0, 1]))
    batch["logp_rollout"] = batch["logp_old"]
    _, gradient = run(name, batch)
    np.testing.assert_allclose(gradient[:, 0], [-1 / 6, -1 / 6, -1 / 6, -1 / 2])


def test_prime_default_forgets_tokens_without_an_advantage():
    """Neither pulled back nor counted: the token beside it weighs as much as alone."""
    both = tiny([-0.01, 0.7], [1.0, 0.0])
    both["logp_rollout"] = both["logp_old"]
    one = {key: value[:1] for key, value in both.items()}
    alone, beside = run("prime_default", one), run("prime_default", both)
    assert beside[0] == pytest.approx(alone[0]) and beside[1][1, 0] == 0
    assert beside[1][0, 0] == pytest.approx(alone[1][0, 0]) and alone[1][0, 0] != 0


@pytest.mark.parametrize(("ratio", "left_out"), [((12, 11, 2), True), ((12, 2, 1), False)])
def test_fipo_leaves_out_what_has_gone_astray(ratio, left_out):
    """A bad completion with two tokens above 10 does not count; one such token alone stays, at 10 without gradient."""
    logp = np.array([np.log(ratio), [0.0, 0.0, 0.0]]) - 5
    old = np.full((2, 3), -5.0)
    mask = np.array([[True] * 3, [True, False, False]])
    batch = {"logp": logp, "logp_old": old, "mask": mask, "advantage": np.array([-1.0, 1.0])}
    loss, gradient = run("fipo", batch)
    assert gradient[1, 0] == pytest.approx(-1 if left_out else -1 / 4)
    # 12 is above `safe`, so it has no extra weight; 2 is all that is to come at the second token
    assert loss == pytest.approx(-1 if left_out else (10 + 2 * 1.2 + 1 - 1) / 4)


def test_fipo_looks_at_the_tokens_to_come():
    """Log-ratios 0, 0.1 and 0.06 with a half-life of one token: 0.065, 0.13 and 0.06 are to come, in that order."""
    log_ratio, coming = np.array([[0.0, 0.1, 0.06]]), np.array([0.065, 0.13, 0.06])
    batch = {"logp": log_ratio - 1, "logp_old": np.full((1, 3), -1.0), "mask": np.ones((1, 3), dtype=bool)}
    _, gradient = run("fipo", {**batch, "advantage": np.array([1.0])}, {"half": 1})
    np.testing.assert_allclose(gradient[0], -np.exp(log_ratio[0] + coming) / 3, rtol=1e-12)


PENALIZED = {"grpo", "goldilocks", "dro", "kl_cov", "deepseek_v32", "molt", "mopd", "vapo"}
"""With a penalty that A = 0 does not switch off."""
IDLE_LEFT_OUT = {"prime_default"}
"""Where a token without an advantage does not count."""
FITTED = {name for name in SHIPPED if slot(name, "ratio") == "none"}
"""Where the log-ratio is drawn to the advantage, be it 0."""


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - PENALIZED - IDLE_LEFT_OUT - FITTED))
def test_no_advantage_counts_but_does_not_push(name):
    """Such a token stays in the denominator: a completion at A = 0 halves the gradient of the one beside it."""
    more = {"group": np.zeros(2, dtype=int), "entropy": np.ones((2, 1)), "expert": np.zeros(2, bool)}
    both = tiny([-0.01, 0.7], [1.0, 0.0], **more)
    both["logp_rollout"] = both["logp_old"]
    one = {key: value[:1] for key, value in both.items()}
    alone, beside = run(name, one)[1], run(name, both)[1]
    assert beside[1, 0] == 0
    assert alone[0, 0] != 0
    assert beside[0, 0] == pytest.approx(alone[0, 0] / 2)


def test_overlong_punishment_of_dapo():
    """A limit of 6 and a cache of 3 punish from the fourth token on, and never below -1."""
    lengths = np.array([1, 3, 4, 5, 6, 9])
    mask = np.arange(9) < lengths[:, None]
    batch = {"reward": np.zeros(6), "group": np.zeros(6, dtype=int), "mask": mask}
    punished = [dapo.overlong(length, 6, 3) for length in lengths]
    assert punished == [0, 0, -1 / 3, -2 / 3, -1, -1]
    expected = REFERENCES["grpo"].advantage({**batch, "reward": np.array(punished)})
    advantage = compiled("dapo", {"max_length": 6, "cache": 3}).advantage(as_torch(batch))
    np.testing.assert_allclose(advantage, expected, rtol=1e-9)


def test_lengths_of_dapo_follow_the_run():
    assert maspo_dsl.load("dapo", run={"generation_limit": 10}).params["max_length"] == 10
    assert (
        maspo_dsl.load("dapo", params={"max_length": 7}, run={"generation_limit": 10}).params["max_length"]
        == 7
    )


@pytest.mark.parametrize(("name", "high"), [("grpo", 1.2), ("dapo", 1.28)])
def test_clip_branches(name, high):
    """Only (1.5, +) and (0.5, -) have no gradient, and the metrics count exactly those."""
    ratio = np.array([0.5, 1.0, 1.5, 0.5, 1.0, 1.5])
    sign = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    batch = as_torch(tiny(np.log(ratio), sign))
    out = compiled(name, {"kl": 0.0} if name == "grpo" else {})(batch)
    out.loss.backward()
    expected = -sign * ratio / 6
    expected[[2, 3]] = 0
    np.testing.assert_allclose(batch["logp"].grad[:, 0], expected, rtol=1e-12)
    assert out.loss.item() == pytest.approx((-0.5 - 1 - high + 0.8 + 1 + 1.5) / 6)
    assert out.metrics["gated_pos"].item() == pytest.approx(1 / 3)
    assert out.metrics["gated_neg"].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("name", "capped"), [("grpo", -1.2), ("dapo", -1.28)])
def test_no_dual_clip(name, capped):
    """A ratio of 100: a good completion is capped, a bad one is not in these three."""
    params = {"kl": 0.0} if name == "grpo" else {}
    loss, gradient = run(name, tiny(np.log(100), -1.0), params)
    assert (loss, gradient[0, 0]) == (pytest.approx(100), pytest.approx(100))
    loss, gradient = run(name, tiny(np.log(100), 1.0), params)
    assert (loss, gradient[0, 0]) == (pytest.approx(capped), 0)


def test_gate_of_maspo_by_hand():
    """With sigma = 1, (2, +) weighs 2 exp(-1/2), in the gradient too since the gate is detached.

    On the other side, (2, -), the ratio stands alone; (0.5, -) weighs exp(-1/8) / 2.
    """
    ratio, sign = np.array([2.0, 2.0, 0.5, 0.5]), np.array([1.0, -1.0, 1.0, -1.0])
    params = {"alpha": 0.0, "beta_pos": 0.0, "beta_neg": 0.0}
    batch = as_torch(tiny(np.log(ratio), sign))
    out = compiled("maspo", params)(batch)
    out.loss.backward()
    weight = np.array([2 * np.exp(-0.5), 2, 0.5, 0.5 * np.exp(-0.125)])
    np.testing.assert_allclose(batch["logp"].grad[:, 0], -sign * weight / 4, rtol=1e-12)
    assert out.loss.item() == pytest.approx((-sign * weight).sum() / 4)
    assert out.metrics["gated_pos"].item() == out.metrics["gated_neg"].item() == pytest.approx(0.5)


def test_clamps_of_maspo_by_hand():
    """The width is at most 10 × risk, the risk within [0.1, 10]: ratio 2, A = ±400, old = exp(-1.5)."""
    wide = np.exp(-1 / (2 * (10 * 10) ** 2))
    params = {"alpha": 1.0, "sigma_base": 5.0, "beta_pos": 1.0, "beta_neg": 1.0}
    loss, _ = run("maspo", tiny(np.log(2), 400.0), params)
    assert loss == pytest.approx(-400 * 2 * wide, rel=1e-12)
    narrow = np.exp(-(0.5**2) / (2 * (10 * 0.1) ** 2))
    loss, _ = run("maspo", tiny(np.log(0.5), -400.0), params)
    assert loss == pytest.approx(400 * 0.5 * narrow, rel=1e-12)
