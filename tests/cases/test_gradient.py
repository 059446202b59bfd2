"""What carries gradient and what does not; a loss of 0 that learns, and a loss that learns nothing."""

import io

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import maspo_dsl
from maspo_dsl.semantics.part_words import Role

from ..batches import as_torch
from .subjects import (
    SHIPPED,
    completions,
    estimated,
    extended,
    known,
    loss_of,
    objective,
    plain,
    run,
    same,
    undivided,
)

UNREGULARISED = {"kl": 0.0, "beta": 0.0}


# ---- T28: stop-gradient


class Detached(TorchFunctionMode):
    """Remembers what is detached, or puts back what was: then a finite difference does not see it move."""

    def __init__(self, remembered: list[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.replaying = remembered is not None
        self.values = list(remembered or [])

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.Tensor.detach:
            if self.replaying:
                return self.values.pop(0)
            self.values.append(result.clone())
        return result


@pytest.mark.parametrize("name", SHIPPED)
def test_t28_stop_gradient_by_finite_differences(name):
    """The gradient is that of the surrogate, in which what is detached stays as it is.

    Central differences of the loss along a random direction, with every detached value held, against autograd.
    """
    batch = estimated(name, completions(31, [3, 6, 1, 4]))
    loss = loss_of(name)
    x = loss.module.prepare(as_torch(batch), "loss")
    p = loss.module.parameters_in(x)
    d = loss.module.with_numbers(x, p, loss.module.statistics([x]))
    evaluate = loss.module.functions["loss"]
    direction = torch.as_tensor(np.random.default_rng(32).standard_normal(batch["logp"].shape))
    with Detached() as first:
        value = evaluate(x, p, d)["loss"]
    (slope,) = torch.autograd.grad(value, x["logp"])

    def moved(step: float) -> float:
        with Detached(first.values), torch.no_grad():
            return float(evaluate({**x, "logp": x["logp"] + step * direction}, p, d)["loss"])

    by_autograd = float((slope * direction)[x["mask"]].sum())
    assert abs(by_autograd) > 1e-4
    assert (moved(1e-6) - moved(-1e-6)) / 2e-6 == pytest.approx(by_autograd, rel=1e-5)


LIVE_GATES = {"sapo"}
"""Whose gate is not a weight: its own slope is the gradient."""


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - LIVE_GATES))
def test_t28_stop_gradient_of_gates(name):
    """Without `detach` a gate bends the gradient, and from some ratio on turns it round.

    A detached weight w times a ratio r has loss -A w r and the same derivative; times a log-prob, -A w log(policy)
    and -A w. So of lone tokens the derivative is the loss, or the loss over the log-prob, or 0 beyond a bound.
    """
    loss = loss_of(name, **known(name, **UNREGULARISED))
    live = 0
    for ratio in (0.1, 0.5, 0.9, 1.1, 1.4, 3.0):
        for sign in (1.0, -1.0):
            batch = plain([np.log(ratio)], [sign], old=-3.0, entropy=np.full((1, 1), 0.3))
            found = run(loss, batch)
            slope = found.gradient.item()
            live += slope != 0
            forms = (found.loss, found.loss / batch["logp"].item(), 0.0)
            assert any(slope == pytest.approx(form, rel=1e-9, abs=1e-15) for form in forms), (ratio, sign)
    assert live >= 6


def test_t28_stop_gradient_of_a_live_gate():
    """SAPO's: A 4 s(x) (1 - s(x)) r by hand, with x = tau (r - 1) and s the sigmoid; not its value."""
    for ratio, sign, tau in ((0.5, 1.0, 1.0), (1.4, 1.0, 1.0), (3.0, -1.0, 1.05), (0.3, -1.0, 1.05)):
        found = run(loss_of("sapo"), plain([np.log(ratio)], [sign]))
        s = 1 / (1 + np.exp(-tau * (ratio - 1)))
        assert found.gradient.item() == pytest.approx(-sign * 4 * s * (1 - s) * ratio, rel=1e-12)
        assert found.loss == pytest.approx(-sign * 4 / tau * s, rel=1e-12)


@pytest.mark.parametrize("name", SHIPPED)
def test_t28_stop_gradient_of_declared_weights(name):
    """Importance weights that were not detached trained the weight and not the completion (verl #4105).

    A weight made of the policy itself, one a completion, scales the gradient of its tokens and adds nothing.
    """
    batch = estimated(name, completions(33, [3, 6, 1, 4]))
    params = known(name, **UNREGULARISED)
    alone = run(loss_of(name, **params), batch).gradient
    weighed = run(extended(name, "weight mine = exp(mean(log(policy), sequence))", **params), batch).gradient
    mean = np.nansum(np.where(batch["mask"], batch["logp"], 0), axis=1) / batch["mask"].sum(axis=1)
    same(weighed, alone * np.exp(mean)[:, None])


# ---- T29: on policy


def on_policy(name: str, theta: torch.Tensor, old: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two completions of three tokens, 0 0 0 and 1 1 1, with advantages 1 and -1, under softmax(theta)."""
    tokens = torch.tensor([[0, 0, 0], [1, 1, 1]])
    now, then = (torch.log_softmax(logits, -1)[tokens] for logits in (theta, old))
    return {
        "logp": now,
        **dict.fromkeys(("logp_old", "logp_ref", "logp_rollout"), then.detach()),
        "entropy": torch.zeros(2, 3, dtype=torch.float64),
        "value": torch.zeros(2, 3, dtype=torch.float64),
        "mask": torch.ones(2, 3, dtype=torch.bool),
        "group": torch.zeros(2, dtype=torch.long),
        "advantage": torch.tensor([1.0, -1.0], dtype=torch.float64),
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_t29_on_policy(name):
    """ "Why is my loss 0?" It is, and learns all the same (TRL #3452); a loss of 0 that learned nothing was the other.

    Centred advantages at a ratio of 1: loss 0, but the gradient is not, and a step of SGD makes the good completion
    likelier and the bad one less so. (mlx-lm-lora #55: the loss was plausible and the weights never moved.)
    """
    theta = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=0.1)
    out = loss_of(name, **undivided(name))(on_policy(name, theta, torch.zeros(4).double()))
    expected = -(2 / 1.0 - 2 / 1.05) / 2 if name == "sapo" else 0  # its gate is worth 2 / tau at a ratio of 1
    assert out.loss.item() == pytest.approx(expected, abs=1e-9)
    out.loss.backward()
    assert theta.grad.norm() > 0.1
    optimizer.step()
    after = torch.log_softmax(theta.detach(), -1)
    assert after[0] > np.log(1 / 4) + 0.01 and after[1] < np.log(1 / 4) - 0.01


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("ratio = detach(policy / old)", (2, 9)),
        ("ratio = old / rollout", (2, 9)),
        ("ratio = policy / old |> detach", (2, 9)),
        ("ratio = policy / old |> max(sequence)", (2, 9)),
        ("penalty near = k3(old, reference)", (2, 16)),
        ("bonus bold = detach(entropy(policy))", (2, 14)),
        ("reduce = mean(detach(loss), window)", (2, 10)),
    ],
)
def test_t29_without_a_gradient_path(lines, place):
    """A surrogate that no gradient reaches is no objective: an error, where it is."""
    with pytest.raises(maspo_dsl.SpecError) as error:
        maspo_dsl.parse(f"objective mine extends group_ppo\n{lines}\n")
    (found,) = error.value.diagnostics
    assert (found.code, found.line, found.column) == ("no-gradient", *place)


# ---- T30: the gradient of KL terms

# One token of log-prob -1 under the policy and -1.5 under the reference: log-ratio d = 0.5.
# k1 = d has derivative 1, k2 = d^2 / 2 has d, k3 = exp(-d) + d - 1 has 1 - exp(-d).
SLOPES = {"k1": 1.0, "k2": 0.5, "k3": 0.3935}


@pytest.mark.parametrize("estimator", SLOPES)
def test_t30_kl_gradient(estimator):
    """Three estimators of one divergence have three gradients; the rankings may turn round (NeMo RL #2506)."""
    text = f"objective mine extends group_ppo\npenalty kl = {estimator}(policy, reference)\n"
    text += 'allow k1-in-loss "to see its derivative"\n' if estimator == "k1" else ""
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    batch = plain([0.0], [0.0], old=-1.0, logp_ref=np.full((1, 1), -1.5))
    assert run(loss, batch).gradient.item() == pytest.approx(SLOPES[estimator], rel=1e-4)


SHIPPED_PENALTIES = {
    # the policy that it is measured from, 0.5 below, and the derivative at the default weight
    "grpo": ("logp_ref", 0.04 * 0.3935),
    "dro": ("logp_old", 0.1 * 0.5),
    "kl_cov": ("logp_old", 0.1),  # of its size alone, at the one token there is
}


@pytest.mark.parametrize("name", SHIPPED_PENALTIES)
def test_t30_kl_gradient_of_shipped_penalties(name):
    """At A = 0 nothing is left but the penalty, at its default weight."""
    tensor, slope = SHIPPED_PENALTIES[name]
    batch = plain([0.0], [0.0], old=-1.0) | {tensor: np.full((1, 1), -1.5)}
    assert run(loss_of(name), batch).gradient.item() == pytest.approx(slope, rel=1e-4)


def test_t30_kl_gradient_of_every_shipped_penalty():
    """No penalty is shipped whose derivative is not above, nor any k1 in a loss."""
    for name in SHIPPED:
        parts = objective(name).resolved.parts
        assert not parts.of(Role.ADDED, Role.SUBTRACTED) or name in SHIPPED_PENALTIES
        assert "k1-in-loss" not in objective(name).resolved.flat.allows


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo", "maspo", "gpg", "bnpo"])
def test_t30_k1_in_the_loss_is_warned_of(name):
    """The gradient of k1 is zero on average, so as a loss it is noise (TRL #4967): a warning, in any objective."""
    text = f"objective mine extends {name}\npenalty near = 0.1 * k1(policy, reference)\n"
    (warning,) = maspo_dsl.load(io.StringIO(text)).warnings
    assert (warning.code, warning.line, warning.column) == ("k1-in-loss", 2, 16)
    corrected = text.replace("0.1 *", "0.1 * (policy / old) *")
    assert not maspo_dsl.load(io.StringIO(corrected)).warnings


OLD = np.log([0.4, 0.3, 0.15, 0.1, 0.05])
REFERENCE = np.log([0.1, 0.2, 0.3, 0.25, 0.15])
LOGITS = np.array([0.3, -0.5, 1.1, 0.0, -1.2])


def enumerated(penalty: str, sampler: np.ndarray) -> np.ndarray:
    """The expected gradient by the logits of a policy over five tokens, of a penalty, under what samples them.

    Each token is a completion that counts as often as the sampler draws it, so a mean is the expectation.
    """
    text = "input chance : token\nreduce = loss |> mean(window)\n"
    text += f"penalty kl = 5 * chance * ({penalty})\n"
    loss = maspo_dsl.compile(maspo_dsl.parse(f"objective mine extends group_ppo\n{text}"), backend="eager")
    logits = torch.tensor(LOGITS, requires_grad=True)
    batch = {
        "logp": torch.log_softmax(logits, -1)[:, None],
        "logp_old": torch.tensor(OLD)[:, None],
        "logp_ref": torch.tensor(REFERENCE)[:, None],
        "chance": torch.tensor(np.exp(sampler))[:, None],
        "mask": torch.ones(5, 1, dtype=torch.bool),
        "advantage": torch.zeros(5, dtype=torch.float64),
    }
    (gradient,) = torch.autograd.grad(loss(batch).loss, logits)
    return gradient.numpy()


POLICY = LOGITS - np.log(np.exp(LOGITS).sum())
APART = POLICY - REFERENCE
# By the logits: of KL(policy, reference) it is pi (d - KL), of KL(reference, policy) it is pi - reference.
KL_SLOPE = np.exp(POLICY) * (APART - (np.exp(POLICY) * APART).sum())
REVERSE_SLOPE = np.exp(POLICY) - np.exp(REFERENCE)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_t30_kl_gradient_corrected_for_its_sampler(estimator):
    """Weighed by the live ratio to the sampler, k1 and k3 have the gradient of KL(policy, reference) off policy."""
    same(enumerated(f"(policy / old) * {estimator}(policy, reference)", OLD), KL_SLOPE)


def test_t30_kl_gradient_on_policy():
    """Sampled from the policy itself and not corrected: k1 is nothing, k2 is KL(policy, reference), k3 the reverse."""
    assert np.abs(enumerated("k1(policy, reference)", POLICY)).max() < 1e-15
    same(enumerated("k2(policy, reference)", POLICY), KL_SLOPE)
    same(enumerated("k3(policy, reference)", POLICY), REVERSE_SLOPE)


def test_t30_kl_gradient_off_policy_is_wrong_without_the_ratio():
    """What the correction is for: sampled from the old policy, k2 alone is off by far more than rounding."""
    assert np.abs(enumerated("k2(policy, reference)", OLD) - KL_SLOPE).max() > 0.05
