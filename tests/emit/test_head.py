"""The head that a file carries: the package's `from_hidden`, in torch alone and in chunks of tokens."""

import ast
import builtins
from types import ModuleType

import pytest
import torch

import maspo_dsl
from maspo_dsl.emit.standalone import NotInAFileError

from ..graph.family import NAMED, objective
from ..runtime.test_from_hidden import TEMPERATURE, VOCABULARY, Problem

BONUS = maspo_dsl.parse("objective bonus extends dapo\nbonus entropy = 0.01 * entropy(policy)\n")
SPECS = {**{name: objective(name) for name in NAMED}, "a bonus for entropy": BONUS}
FAST = ("grpo", "dapo", "maspo", "gspo", "stapo", "bapo", "reinforce_plus_plus", "top_entropy", BONUS.name)
SOME = [pytest.param(name, marks=() if SPECS[name].name in FAST else pytest.mark.slow) for name in SPECS]


def module_of(spec: maspo_dsl.Objective) -> ModuleType:
    module = ModuleType("generated")
    exec(builtins.compile(spec.torch_source(head=True), f"{spec.name}.py", "exec"), module.__dict__)
    return module


def called(loss, problem: Problem, batch, **options):
    """Loss, gradients of states, weight and bias, and metrics."""
    leaves = problem.leaves()
    output = loss.from_hidden(
        *leaves[:2], problem.tokens, batch, bias=leaves[2], temperature=TEMPERATURE, **options
    )
    output.loss.backward()
    return [output.loss.detach(), *(each.grad for each in leaves)], output.metrics


@pytest.mark.parametrize("name", SOME)
def test_it_is_the_package_s(name):
    problem, spec = Problem(3), SPECS[name]
    mine, theirs = module_of(spec).Loss(), maspo_dsl.compile(spec, backend="eager")
    batch = {key: value for key, value in problem.batch.items() if key not in theirs.schedule.distributions}
    mine.head_memory = 5 * VOCABULARY * 8
    ours, metrics = called(mine, problem, batch)
    wanted, others = called(theirs, problem, batch)
    for one, other in zip(ours, wanted, strict=True):
        assert other.abs().max() > 1e-6 and other.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert metrics.keys() == others.keys()
    for key, value in metrics.items():
        torch.testing.assert_close(value, others[key], rtol=1e-12, atol=1e-12, equal_nan=True, msg=key)


@pytest.mark.parametrize("name", ["maspo", "gspo", "a bonus for entropy"])
def test_packed_on_policy_in_parts_and_without_a_bias(name):
    problem, spec = Problem(4), SPECS[name]
    losses = module_of(spec).Loss(), maspo_dsl.compile(spec, backend="eager")
    mask = problem.batch["mask"]
    rows = torch.arange(len(mask))[:, None].expand_as(mask).reshape(-1)
    batch = {
        "mask": mask.reshape(-1),
        "sequence": rows,
        "advantage": torch.linspace(-1, 1, len(mask)).double(),
    }
    denominators = {key: torch.tensor(31.0) for key in losses[0].window_keys()}
    found = []
    for loss in losses:
        hidden = problem.hidden.reshape(-1, problem.hidden.shape[-1]).clone().requires_grad_()
        weight = problem.weight.clone().requires_grad_()
        output = loss.from_hidden(
            hidden,
            weight,
            problem.tokens.reshape(-1),
            batch,
            denominators=denominators,
            on_policy=True,
            entropy=True,
        )
        (3 * output.loss).backward()
        found.append([output.loss.detach(), hidden.grad, weight.grad, output.metrics["entropy"]])
    for one, other in zip(*found, strict=True):
        assert other.abs().max() > 1e-6
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_nothing_as_wide_as_the_vocabulary_is_kept():
    """What stays for the backward pass are states, weight, bias and tokens."""
    problem, kept = Problem(5), []
    loss = module_of(SPECS["maspo"]).Loss()
    hidden, weight, bias = problem.leaves()
    batch = {key: value for key, value in problem.batch.items() if key != "entropy"}
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each) or each, lambda each: each):
        loss.from_hidden(hidden, weight, problem.tokens, batch, bias=bias)
    assert kept and all(
        VOCABULARY not in each.shape or each.shape in (weight.shape, bias.shape) for each in kept
    )


def test_forbidden_tokens_and_half_precision():
    problem = Problem(6)
    loss = module_of(BONUS).Loss()
    batch = {key: value for key, value in problem.batch.items() if key != "entropy"}
    hidden, weight, bias = problem.leaves()
    with torch.no_grad():
        problem.tokens[problem.tokens == 3] = 4
        bias[3] = -torch.inf
    loss.from_hidden(hidden, weight, problem.tokens, batch, bias=bias).loss.backward()
    assert all(each.grad.isfinite().all() for each in (hidden, weight, bias))
    small = [each.detach().bfloat16().requires_grad_() for each in (problem.hidden, problem.weight)]
    loss.from_hidden(*small, problem.tokens, batch).loss.backward()
    assert all(each.grad.dtype == torch.bfloat16 and each.grad.abs().max() > 0 for each in small)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"logp": torch.zeros(2, 3)}, "`logp` must not be in the batch"),
        ({"entropy": torch.zeros(2, 3)}, "the objective has gradient to it"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, "`tokens` must have the shape of `mask`"),
        ({"mask": torch.ones(2, 3, dtype=torch.bool), "tokens": torch.full((2, 3), 9)}, "must be 0 to 3"),
        ({"weight": torch.zeros(4, 9)}, r"`weight` must be \[V, 5\], and is \[4, 9\]"),
    ],
)
def test_messages_are_the_package_s(change, message):
    given = {"weight": torch.zeros(4, 5), "tokens": torch.zeros(2, 3, dtype=torch.long)}
    batch = {
        "mask": torch.ones(2, 3, dtype=torch.bool),
        "logp_old": torch.zeros(2, 3),
        "advantage": torch.ones(2),
    }
    given, batch = (
        {**part, **{k: v for k, v in change.items() if (k in given) == (part is given)}}
        for part in (given, batch)
    )
    module = module_of(BONUS)
    for loss, error in (
        (module.Loss(), module.BatchError),
        (maspo_dsl.compile(BONUS, backend="eager"), maspo_dsl.BatchError),
    ):
        with pytest.raises(error, match=message):
            loss.from_hidden(torch.zeros(2, 3, 5), given["weight"], given["tokens"], batch)


def test_torch_is_the_only_import_and_the_rest_of_the_file_is_the_same():
    text = SPECS["maspo"].torch_source(head=True)
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import torch"]
    plain = SPECS["maspo"].torch_source()
    assert text.replace("class Loss(HeadLoss)", "class Loss(LossModule)").startswith(
        plain[: plain.index("class Loss(")]
    )
    assert "class Loss(HeadLoss)" in text and "HeadLoss" not in plain


def test_whole_distributions_of_others_are_refused():
    spec = maspo_dsl.parse(
        "objective distilled extends group_ppo\nteacher expert\npenalty near = 0.1 * kl(policy, expert)\n"
    )
    with pytest.raises(
        NotInAFileError, match=r"reads `kl_policy_expert`, of whole distributions of two policies"
    ):
        spec.torch_source(head=True)
    assert "HeadLoss" not in spec.torch_source()
