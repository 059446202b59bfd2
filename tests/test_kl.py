"""What the gradient of a KL term is, in numbers from paper; and a loss that no gradient reaches is no objective."""

import io

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.semantics.part_words import Role

from .running import SHIPPED, compiled, objective, plain, run_loss, same


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("ratio = detach(policy / old)", (2, 9)),
        ("ratio = old / rollout", (2, 9)),
        ("ratio = policy / old |> detach", (2, 9)),
        ("penalty near = k3(old, reference)", (2, 16)),
        ("bonus bold = detach(entropy(policy))", (2, 14)),
        ("reduce = mean(detach(loss), window)", (2, 10)),
    ],
)
def test_without_a_gradient_path(lines, place):
    """A surrogate that no gradient reaches is no objective: an error, where it is."""
    with pytest.raises(maspo_dsl.SpecError) as error:
        maspo_dsl.parse(f"objective mine extends group_ppo\n{lines}\n")
    (found,) = error.value.diagnostics
    assert (found.code, found.line, found.column) == ("no-gradient", *place)


# One token of log-prob -1 under the policy and -1.5 under the reference: log-ratio d = 0.5.
# k1 = d has derivative 1, k2 = d^2 / 2 has d, k3 = exp(-d) + d - 1 has 1 - exp(-d).
SLOPES = {"k1": 1.0, "k2": 0.5, "k3": 0.3935}


@pytest.mark.parametrize("estimator", SLOPES)
def test_kl_gradient(estimator):
    """Three estimators of one divergence have three gradients; the rankings may turn round (NeMo RL #2506)."""
    text = f"objective mine extends group_ppo\npenalty kl = {estimator}(policy, reference)\n"
    text += 'allow k1-in-loss "to see its derivative"\n' if estimator == "k1" else ""
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    batch = plain([0.0], [0.0], old=-1.0, logp_ref=np.full((1, 1), -1.5))
    assert run_loss(loss, batch)[1].item() == pytest.approx(SLOPES[estimator], rel=1e-4)


SHIPPED_PENALTIES = {
    # the policy that it is measured from, 0.5 below, and the derivative at the default weight
    "grpo": ("logp_ref", 0.04 * 0.3935),
    "goldilocks": ("logp_ref", 0.04 * 0.3935),
    "dro": ("logp_old", 0.1 * 0.5),
    "deepseek_v32": ("logp_ref", 1e-3 * 0.5),  # k3 and its derivative, at a ratio of 1
    "molt": ("logp_ref", 1e-3 * 0.5),
    "kl_cov": ("logp_old", 0.1),  # of its size alone, at the one token there is
}


# Penalties that a token without advantage does not have, or that are no divergence; tests/reference has them.
NOT_AT_ZERO = ("chord", "mopd", "prime_default", "vapo")


@pytest.mark.parametrize("name", SHIPPED_PENALTIES)
def test_kl_gradient_of_shipped_penalties(name):
    """At A = 0 nothing is left but the penalty, at its default weight."""
    tensor, slope = SHIPPED_PENALTIES[name]
    batch = plain([0.0], [0.0], old=-1.0) | {tensor: np.full((1, 1), -1.5)}
    assert run_loss(compiled(name), batch)[1].item() == pytest.approx(slope, rel=1e-4)


def test_kl_gradient_of_every_shipped_penalty():
    """No penalty is shipped whose derivative is not above, nor any k1 in a loss."""
    for name in SHIPPED:
        parts = objective(name).resolved.parts
        if not parts.has_policy_term:  # the penalty is the method; tests/reference has its gradient
            continue
        assert not parts.of(Role.ADDED, Role.SUBTRACTED) or name in {*SHIPPED_PENALTIES, *NOT_AT_ZERO}
        assert "k1-in-loss" not in objective(name).resolved.flat.allows


@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo", "maspo", "gpg", "bnpo"])
def test_k1_in_the_loss_is_warned_of(name):
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
def test_kl_gradient_corrected_for_its_sampler(estimator):
    """Weighed by the live ratio to the sampler, k1 and k3 have the gradient of KL(policy, reference) off policy."""
    same(enumerated(f"(policy / old) * {estimator}(policy, reference)", OLD), KL_SLOPE)


def test_kl_gradient_on_policy():
    """Sampled from the policy itself and not corrected: k1 is nothing, k2 is KL(policy, reference), k3 the reverse."""
    assert np.abs(enumerated("k1(policy, reference)", POLICY)).max() < 1e-15
    same(enumerated("k2(policy, reference)", POLICY), KL_SLOPE)
    same(enumerated("k3(policy, reference)", POLICY), REVERSE_SLOPE)


def test_kl_gradient_off_policy_is_wrong_without_the_ratio():
    """What the correction is for: sampled from the old policy, k2 alone is off by far more than rounding."""
    assert np.abs(enumerated("k2(policy, reference)", OLD) - KL_SLOPE).max() > 0.05
