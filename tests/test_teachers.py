"""Teachers: on-policy distillation from sampled tokens, in plain float64 loops, and from whole distributions.

Whole distributions are held against the formulas of their sources, over plainly formed logits in float64.
"""

import math

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.notation.explanation import explanation
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines

OPD = """\
objective opd extends group_ppo
"On-policy distillation, Thinking Machines 2025; prime-rl's ref_kl"
teacher larger
advantage = log(larger / rollout)
ratio = policy / rollout
reduce = loss |> mean(window)
allow unbounded-side "as the source"
"""
MOPD = """\
objective mopd extends group_ppo
"Several teachers and a group's advantage, slime 2051"
param alpha = 0.5, cap = 1.1
teacher proofs
teacher code
advantage = (log(proofs / rollout) + log(code / rollout)) / 2 + alpha * (reward - mean(reward, group))
ratio = policy / rollout |> min(cap) |> score
reduce = loss |> mean(sequence) |> mean(window)
"""


def batch(seed=0):
    random = np.random.default_rng(seed)
    names = ("logp", "logp_rollout", "logp_larger", "logp_proofs", "logp_code")
    found = {name: -0.1 - random.exponential(1.0, (4, 5)) for name in names}
    found["logp"] = np.minimum(found["logp_rollout"] + 0.3 * random.standard_normal((4, 5)), -1e-3)
    mask = np.arange(5) < np.array([5, 3, 1, 4])[:, None]
    mask[0, 2] = False
    return {**found, "mask": mask, "reward": np.array([1.0, 0.0, 0.5, -1.0]), "group": np.array([3, 3, 8, 8])}


def opd(x):
    """Loss and slopes: -A r over all tokens, A the log-ratio of teacher and sampler."""
    trained, loss, slopes = x["mask"].sum(), 0.0, np.zeros((4, 5))
    for n, t in np.argwhere(x["mask"]):
        ratio = math.exp(x["logp"][n, t] - x["logp_rollout"][n, t])
        gain = x["logp_larger"][n, t] - x["logp_rollout"][n, t]
        loss -= gain * ratio / trained
        slopes[n, t] = -gain * ratio / trained
    return loss, slopes


def mopd(x):
    """Loss and slopes: -A sg(min(r, 1.1)) log pi, the mean over tokens, then over completions."""
    loss, slopes = 0.0, np.zeros((4, 5))
    means = {group: x["reward"][x["group"] == group].mean() for group in (3, 8)}
    for n, t in np.argwhere(x["mask"]):
        weight = min(math.exp(x["logp"][n, t] - x["logp_rollout"][n, t]), 1.1) / x["mask"][n].sum() / 4
        gap = (x["logp_proofs"][n, t] + x["logp_code"][n, t]) / 2 - x["logp_rollout"][n, t]
        gain = gap + 0.5 * (x["reward"][n] - means[x["group"][n]])
        loss -= gain * weight * x["logp"][n, t]
        slopes[n, t] = -gain * weight
    return loss, slopes


@pytest.mark.parametrize(("text", "by_hand"), [(OPD, opd), (MOPD, mopd)])
def test_distillation_from_sampled_tokens(text, by_hand):
    arrays = batch()
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    tensors["logp"].requires_grad_()
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")(tensors).loss
    loss.backward()
    value, slopes = by_hand(arrays)
    assert abs(value) > 0.01 and np.abs(slopes).max() > 0.01
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(tensors["logp"].grad.numpy(), slopes, rtol=1e-12, atol=1e-15)


def test_a_batch_without_a_teacher_is_told_its_name():
    tensors = {name: torch.tensor(value) for name, value in batch().items() if name != "logp_proofs"}
    with pytest.raises(maspo_dsl.BatchError, match=r"lacks `logp_proofs` \[N, T\], needed by `advantage`"):
        maspo_dsl.compile(maspo_dsl.parse(MOPD), backend="eager")(tensors)


# ---- whole distributions

VOCABULARY, WIDTH, TEMPERATURE = 19, 6, 0.7


def spec(penalty):
    """A spec with a penalty of a token, and what that reads."""
    lines = ["objective distilled extends group_ppo"]
    lines += ["param beta = 0.3 in (0, 1)"] * ("beta" in penalty) + ["teacher larger"] * ("larger" in penalty)
    return "\n".join([*lines, f"penalty distil = {penalty}", "reduce = loss |> mean(window)\n"])


class Problem:
    """A policy and two other models, each by states, weight and bias; 4 completions of 5 tokens, ragged."""

    def __init__(self, seed=0, dtype=torch.float64):
        random = np.random.default_rng(seed)

        def model(width):
            shapes = (4, 5, width), (VOCABULARY, width), (VOCABULARY,)
            return tuple(torch.tensor(random.standard_normal(shape), dtype=dtype) for shape in shapes)

        self.policy, self.larger, self.reference = model(WIDTH), model(9), model(WIDTH)
        self.mask = torch.tensor(batch()["mask"])
        self.tokens = torch.tensor(random.integers(0, VOCABULARY, (4, 5))).where(self.mask, -100)
        self.policy[0][~self.mask] = self.larger[0][~self.mask] = torch.nan
        self.batch = {
            "mask": self.mask,
            "logp_old": torch.full((4, 5), -2.0, dtype=dtype),
            "advantage": torch.tensor([0.3, -1.0, 0.0, 2.0], dtype=dtype),
        }
        self.teachers = {"larger": self.larger, "reference": self.reference}

    def leaves(self):
        return [each.clone().requires_grad_() for each in self.policy]

    def logs(self, model):
        """Log-probs [N, T, V]."""
        hidden, weight, bias = model
        known = hidden.where(self.mask[..., None], 0.0)
        return torch.log_softmax((known @ weight.T + bias) / TEMPERATURE, -1)

    def by_hand(self, penalty):
        """Loss and gradients of PPO and a penalty [N, T] of the log-probs of policy, teacher and reference."""
        leaves = self.leaves()
        own, larger, reference = (self.logs(model) for model in (leaves, self.larger, self.reference))
        logp = own.gather(2, self.tokens.clamp(min=0)[..., None])[..., 0]
        ratio, advantage = (logp + 2.0).exp(), self.batch["advantage"][:, None]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        loss = (penalty(own, larger, reference) - surrogate)[self.mask].mean()
        return loss, torch.autograd.grad(loss, leaves)

    def by_head(self, penalty, memory=3 * 4 * VOCABULARY * 8, **options):
        loss = maspo_dsl.compile(maspo_dsl.parse(spec(penalty)), backend="eager")
        loss.head_memory = memory
        hidden, weight, bias = leaves = self.leaves()
        given = {"teachers": self.teachers, "temperature": TEMPERATURE, **options}
        output = loss.from_hidden(hidden, weight, self.tokens, self.batch, bias=bias, **given)
        return output, torch.autograd.grad(output.loss, leaves)


def reverse_kl(own, larger, _):
    """Thinking Machines 2025 and arXiv:2601.19897, over the whole vocabulary: sum pi (log pi - log pi_T)."""
    return (own.exp() * (own - larger)).sum(-1)


def forward_kl(own, larger, _):
    return (larger.exp() * (larger - own)).sum(-1)


def generalized_jsd(own, larger, _, beta=0.3):
    """TRL 0.19 GKDTrainer.generalized_jsd_loss: beta KL(teacher || m) + (1 - beta) KL(student || m)."""
    mixture = torch.logsumexp(torch.stack([own + math.log(1 - beta), larger + math.log(beta)]), dim=0)
    teacher = torch.nn.functional.kl_div(mixture, larger, reduction="none", log_target=True)
    student = torch.nn.functional.kl_div(mixture, own, reduction="none", log_target=True)
    return (beta * teacher + (1 - beta) * student).sum(-1)


def energy(own, *_):
    """verl's optimal token baseline: 1 - 2 pi + sum pi^2 of a token drawn anew, its mean 1 - sum pi^2."""
    return 1 - (own.exp() ** 2).sum(-1)


FORMULAS = {
    "kl(policy, larger)": reverse_kl,
    "kl(larger, policy)": forward_kl,
    "max(kl(policy, larger), 1)": lambda *logs: reverse_kl(*logs).clamp(min=1),
    "jsd(larger, policy, beta)": generalized_jsd,
    "jsd(policy, larger, weight = 0.7)": generalized_jsd,
    "1 - collision(policy)": energy,
    "kl(policy, reference)": lambda own, _, reference: reverse_kl(own, reference, None),
    "2 * kl(larger, policy) * kl(larger, reference)": lambda own, larger, reference: (
        2 * forward_kl(own, larger, None) * forward_kl(reference, larger, None)
    ),
    "(1 + collision(larger)) * entropy(policy)": lambda own, larger, _: (
        -(1 + (larger.exp() ** 2).sum(-1)) * (own.exp() * own).sum(-1)
    ),
}


@pytest.mark.parametrize("memory", [1, 3 * 4 * VOCABULARY * 8, 10**6])
@pytest.mark.parametrize("penalty", FORMULAS)
def test_through_the_heads_it_is_the_formula(penalty, memory):
    problem = Problem()
    problem.teachers = {name: each for name, each in problem.teachers.items() if name in penalty}
    output, gradients = problem.by_head(penalty, memory)
    loss, expected = problem.by_hand(FORMULAS[penalty])
    assert abs(loss.item()) > 0.01
    torch.testing.assert_close(output.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-13)


def test_no_head_makes_more_than_a_chunk_of_logits():
    """Of everything that is made, nothing with a row over the vocabulary for a token has more rows than a chunk."""
    rows = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            for each in found if isinstance(found, tuple | list) else (found,):
                if isinstance(each, torch.Tensor) and each.dim() and each.shape[-1] == VOCABULARY:
                    rows.append(each.numel() // VOCABULARY)
            return found

    problem = Problem()
    problem.batch["logp_ref"] = problem.batch["logp_old"]
    with Watch():
        problem.by_head("kl(policy, larger) + kl(policy, reference)", 3 * 2 * VOCABULARY * 8)
    weights = {WIDTH, 9, 1}  # transposed weights, and biases
    assert max(set(rows) - weights) == 2


def test_a_sampled_log_prob_comes_with_the_visit():
    """`logp_larger` is computed where the batch has it not, and late, since the advantage reads it."""
    problem = Problem()
    del problem.batch["advantage"]
    problem.batch["reward"] = torch.zeros(4, dtype=torch.float64)
    text = OPD.replace("rollout", "old") + "penalty near = 0.1 * kl(policy, larger)\n"
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    chosen = problem.tokens.clamp(min=0)[..., None]
    larger = problem.logs(problem.larger).gather(2, chosen)[..., 0]
    hidden, weight, bias = leaves = problem.leaves()
    options = {"bias": bias, "temperature": TEMPERATURE}
    found = []
    for given in ({}, {"logp_larger": larger}):
        teachers = {"larger": problem.larger}
        output = loss.from_hidden(
            hidden, weight, problem.tokens, {**problem.batch, **given}, teachers=teachers, **options
        )
        found.append((output.loss, *torch.autograd.grad(output.loss, leaves)))
    assert found[0][1].abs().max() > 1e-3
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_value_a_token_carries_the_graph_behind_it():
    problem = Problem()
    loss = maspo_dsl.compile(maspo_dsl.parse(spec("beta * kl(policy, larger)")), backend="eager")
    leaves = problem.leaves()
    own, larger = problem.logs(leaves), problem.logs(problem.larger)
    logp = own.gather(2, problem.tokens.clamp(min=0)[..., None])[..., 0]
    output = loss({**problem.batch, "logp": logp, "kl_policy_larger": reverse_kl(own, larger, None)})
    expected, wanted = problem.by_hand(lambda *logs: 0.3 * reverse_kl(*logs))
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(torch.autograd.grad(output.loss, leaves), wanted)
    mean = reverse_kl(own, larger, None)[problem.mask].mean()
    torch.testing.assert_close(output.metrics["kl_policy_larger"], mean.detach())
    with pytest.raises(maspo_dsl.BatchError, match=r"lacks `kl_policy_larger` \[N, T\], needed by `distil`"):
        loss({**problem.batch, "logp": logp})


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        (
            {},
            r"`kl_policy_larger`, needed by `distil`, is of the whole distribution of `larger`: pass teachers=",
        ),
        ({"largr": ()}, "no teacher is named `largr`: did you mean `larger`"),
        ({"policy": ()}, "no teacher is named `policy`"),
        (
            {"larger": (torch.zeros(4, 5, 9), torch.zeros(18, 9), None)},
            "has 18 tokens, that of the policy 19",
        ),
        (
            {"larger": (torch.zeros(4, 4, 9), torch.zeros(19, 9), None)},
            "`hidden` is .4, 4, 9., and `mask` .4, 5",
        ),
        ({"larger": (torch.zeros(4, 5, 9), torch.zeros(19, 8), None)}, r"`weight` must be \[V, 9\]"),
        ({"larger": (torch.zeros(4, 5, 9), torch.zeros(19, 9))}, "bias may be None"),
    ],
)
def test_a_teacher_that_does_not_fit_is_named(teachers, message):
    with pytest.raises(maspo_dsl.BatchError, match=message):
        Problem().by_head("kl(policy, larger)", teachers=teachers)


def test_a_live_value_must_not_be_given_beside_states():
    problem = Problem()
    problem.batch["kl_policy_larger"] = torch.zeros(4, 5)
    with pytest.raises(maspo_dsl.BatchError, match="`kl_policy_larger` must not be in the batch"):
        problem.by_head("kl(policy, larger)")


def test_nothing_flows_to_a_teacher():
    """Not to a weight that is the policy's own either."""
    problem = Problem()
    hidden, weight, bias = leaves = problem.leaves()
    states = problem.policy[0].roll(1, 2).requires_grad_()
    loss = maspo_dsl.compile(maspo_dsl.parse(spec("beta * kl(policy, larger)")), backend="eager")
    found = []
    for head in ((weight, bias), (weight.detach(), bias.detach())):
        teachers = {"larger": (states, *head)}
        output = loss.from_hidden(hidden, weight, problem.tokens, problem.batch, bias=bias, teachers=teachers)
        found.append(torch.autograd.grad(output.loss, [*leaves, states], allow_unused=True))
    assert found[0][3] is None and found[0][1].abs().max() > 1e-3
    torch.testing.assert_close(found[0][:3], found[1][:3])


# ---- a teacher's top tokens


def lumped(logs, index):
    """Log-probs of some tokens, and of all others as one: `add_tail` of lasgroup/SDPO 0e6d510."""
    known = logs.gather(-1, index)
    tail = torch.log(-torch.expm1(torch.logsumexp(known, -1, keepdim=True)))
    return torch.cat([known, tail], -1)


def with_top(problem, count):
    """The batch with the teacher's likeliest tokens."""
    logs = problem.logs(problem.larger)
    index = logs.topk(count, -1).indices
    known = logs.gather(-1, index).where(problem.mask[..., None], torch.nan)
    problem.batch |= {
        "topk_logp_larger": known,
        "topk_index_larger": index.where(problem.mask[..., None], -100),
    }
    problem.teachers = {}
    return index


OF_TOP = [
    name for name in FORMULAS if "larger" in name and "collision" not in name and "reference" not in name
]


@pytest.mark.parametrize("memory", [1, 10**6])
@pytest.mark.parametrize("penalty", OF_TOP)
def test_all_other_tokens_are_one(penalty, memory):
    problem = Problem()
    index = with_top(problem, 4)
    output, gradients = problem.by_head(penalty, memory)
    formula = FORMULAS[penalty]
    loss, expected = problem.by_hand(
        lambda own, larger, _: formula(lumped(own, index), lumped(larger, index), None)
    )
    torch.testing.assert_close(output.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)
    own = problem.logs(problem.policy)
    left = (1 - own.gather(-1, index).exp().sum(-1))[problem.mask].mean()
    torch.testing.assert_close(output.metrics["tail_larger"], left)


@pytest.mark.parametrize("penalty", OF_TOP)
def test_lumping_loses_and_the_whole_vocabulary_does_not(penalty):
    whole = Problem().by_head(penalty)
    for count, exact in ((3, False), (VOCABULARY, True)):
        problem = Problem()
        with_top(problem, count)
        output, gradients = problem.by_head(penalty)
        if exact:
            torch.testing.assert_close(output.loss, whole[0].loss, rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(gradients, whole[1], rtol=1e-9, atol=1e-9)
        elif "max" not in penalty:
            assert output.loss < whole[0].loss - 1e-3


def test_both_ways_for_two_teachers_and_packed():
    """One teacher whole and one by its top tokens; the tokens in packed form."""
    problem = Problem()
    index = with_top(problem, 4)
    problem.teachers = {"reference": problem.reference}
    penalty = "kl(policy, larger) + 0.5 * jsd(policy, reference) + kl(larger, policy) * entropy(policy)"
    output, gradients = problem.by_head(penalty)

    def by_hand(own, larger, reference):
        some = lumped(own, index), lumped(larger, index), None
        spread = -(own.exp() * own).sum(-1)
        mixed = 0.5 * generalized_jsd(own, reference, None, beta=0.5)
        return reverse_kl(*some) + mixed + forward_kl(*some) * spread

    loss, expected = problem.by_hand(by_hand)
    torch.testing.assert_close(output.loss, loss.detach())
    torch.testing.assert_close(gradients, expected)
    rows = problem.mask.nonzero()[:, 0]
    problem.policy = (problem.policy[0][problem.mask], *problem.policy[1:])
    problem.teachers = {"reference": (problem.reference[0][problem.mask], *problem.reference[1:])}
    problem.tokens = problem.tokens[problem.mask]
    problem.batch = {
        name: value[problem.mask] if value.dim() > 1 else value for name, value in problem.batch.items()
    }
    problem.batch["sequence"] = rows
    packed, gradients = problem.by_head(penalty)
    torch.testing.assert_close(packed.loss, loss.detach())
    torch.testing.assert_close(gradients[1:], expected[1:])
    torch.testing.assert_close(packed.metrics["tail_larger"], output.metrics["tail_larger"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topk_index_larger": None}, "`topk_logp_larger` needs `topk_index_larger` beside it"),
        ({"topk_index_larger": torch.zeros(4, 5, 4)}, "indices must be whole numbers"),
        ({"topk_index_larger": torch.zeros(4, 5, 4, dtype=torch.long)}, "named twice at one place"),
        ({"topk_index_larger": torch.full((4, 5, 4), VOCABULARY)}, "indices must be 0 to 18"),
        ({"topk_index_larger": torch.zeros(4, 5, 3, dtype=torch.long)}, r"must be \[\*\[4, 5\], K\]"),
        ({"topk_logp_larger": torch.zeros(4, 5, 4)}, "probabilities add up to 4"),
        ({"topk_logp_smaller": torch.zeros(4, 5, 4)}, "`topk_logp_smaller` is of no teacher"),
    ],
)
def test_top_tokens_that_cannot_be_are_named(change, message):
    problem = Problem()
    with_top(problem, 4)
    problem.batch = {name: value for name, value in {**problem.batch, **change}.items() if value is not None}
    with pytest.raises(maspo_dsl.BatchError, match=message):
        problem.by_head("kl(policy, larger)")


def test_what_a_few_tokens_do_not_say_needs_the_whole():
    for penalty in ("kl(policy, larger) * collision(larger)", "kl(policy, larger) * kl(larger, old)"):
        problem = Problem()
        with_top(problem, 4)
        with pytest.raises(maspo_dsl.BatchError, match=r"is of the whole distribution of .*: pass teachers="):
            problem.by_head(penalty)
    problem = Problem()
    with_top(problem, 4)
    with pytest.raises(maspo_dsl.BatchError, match="`larger` is given twice"):
        problem.by_head("kl(policy, larger)", teachers={"larger": problem.larger})


# ---- names


def test_names_that_are_functions_too():
    """A parameter, a penalty and an input may be called as a function of distributions is."""
    text = "param kl = 0.1, jsd = 2\ninput collision : token\npenalty kl = kl * k3(policy, reference)"
    text += " + jsd * kl(policy, reference) * collision\n"
    objective = maspo_dsl.parse(f"objective o extends group_ppo\n{text}")
    assert {"kl_policy_reference", "collision"} <= objective.inputs
    assert maspo_dsl.parse(objective.text).hash == objective.hash
    other = maspo_dsl.load(objective, params={"kl": 0})
    assert "kl_policy_reference" in other.inputs and "logp_ref" not in other.inputs


def test_a_weight_makes_a_tensor_of_its_own():
    text = spec("jsd(larger, policy, beta) + jsd(larger, policy)")
    objective = maspo_dsl.parse(text)
    assert set(objective.resolved.distributions) == {"jsd_larger_policy_0.3", "jsd_larger_policy"}
    other = maspo_dsl.load(objective, params={"beta": 0.5})
    assert set(other.resolved.distributions) == {"jsd_larger_policy"} and other.hash != objective.hash
    assert not [found for found in objective.warnings if found.code == "dead-parameter"]
    with pytest.raises(maspo_dsl.SpecError, match="is an `input` of this spec"):
        maspo_dsl.parse(
            text.replace("teacher", "input jsd_larger_policy : token\nteacher")
            + "weight w = jsd_larger_policy"
        )


@pytest.mark.slow
def test_compiled_with_a_wide_vocabulary():
    """float32, fused passes over the logits of two heads, chunks of several sizes."""
    random = torch.Generator().manual_seed(0)
    words = 8200
    tokens = torch.randint(0, words, (3, 4), generator=random)
    states = torch.randn(3, 4, 8, generator=random)
    heads = [torch.randn(words, 8, generator=random) for _ in range(2)]
    given = {"mask": torch.ones(3, 4, dtype=torch.bool), "logp_old": torch.full((3, 4), -9.0)}
    given["advantage"] = torch.tensor([1.0, -0.5, 0.3])
    penalty = "kl(policy, larger) + jsd(larger, policy, beta) - 0.1 * entropy(policy) + collision(policy)"
    loss = maspo_dsl.compile(maspo_dsl.parse(spec(penalty)))
    found = []
    for memory, fused in ((10 * words * 4, True), (10**9, False)):
        loss.head_memory = memory
        loss.backend = "inductor" if fused else "eager"
        hidden, weight = states.clone().requires_grad_(), heads[0].clone().requires_grad_()
        teachers = {"larger": (states.flip(2), heads[1], None)}
        output = loss.from_hidden(hidden, weight, tokens, given, teachers=teachers)
        found.append((output.loss.detach(), *torch.autograd.grad(output.loss, [hidden, weight])))
    assert found[0][1].abs().max() > 1e-3
    for one, other in zip(*found, strict=True):
        # Sums over 8200 words in float32, taken in another order.
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_a_reader_is_told_of_teachers_and_distributions():
    text = spec(
        "beta * kl(policy, larger) + jsd(larger, policy, beta) + jsd(policy, reference) + k3(policy, larger)"
    )
    text = text.replace("teacher larger", 'teacher larger "seven billion"')
    objective = maspo_dsl.parse(text)
    latex = "\n".join(latex_lines(latex_formula(objective.resolved)))
    teacher = r"\pi_{\mathrm{larger}}"
    assert rf"\mathrm{{KL}}\left(\pi \,\middle\|\, {{{teacher}}}\right)" in latex
    assert rf"\mathrm{{JSD}}_{{\beta}}\left({teacher}" in latex
    assert r"\mathrm{JSD}\left(\pi" in latex and rf"\frac{{{teacher}}}{{\pi}}" in latex
    shown = explanation(objective)
    assert ("π_larger", "under the teacher larger: seven billion") in shown.formula.legend
    assert any("KL(π ‖ π_larger)" in line.text for line in shown.formula.lines)
    tensors = {tensor.name: tensor for tensor in shown.tensors}
    assert tensors["logp_larger"].meaning == "log-prob of the sampled token: seven billion"
    assert "all others are one" in tensors["kl_policy_larger"].meaning
    assert tensors["jsd_larger_policy_0.3"].needed_by == ("distil",)
    assert "teacher larger" in {origin.part for origin in shown.origins}
