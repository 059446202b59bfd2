"""The loss from hidden states against the loss from log-probs of plainly formed logits: values, gradients, metrics."""

import gc
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import maspo_dsl
from maspo_dsl import BatchError, ObjectiveLoss
from maspo_dsl.runtime import logits
from maspo_dsl.runtime.linear_head import HeadGradients, LinearHead
from tests import batches

VOCABULARY, WIDTH, TEMPERATURE = 23, 7, 0.8


class Problem:
    """A `ragged` batch whose policy is a linear head: states [N, T, H], weight [V, H], bias [V], tokens [N, T]."""

    def __init__(self, seed: int, *, dtype: torch.dtype = torch.float64, spread: float = 0.3) -> None:
        arrays = batches.ragged(seed, extreme=False)
        random = np.random.default_rng(seed + 100)
        shape = arrays["mask"].shape
        self.hidden = torch.tensor(random.standard_normal((*shape, WIDTH)), dtype=dtype)
        self.weight = torch.tensor(0.6 * random.standard_normal((VOCABULARY, WIDTH)), dtype=dtype)
        self.bias = torch.tensor(random.standard_normal(VOCABULARY), dtype=dtype)
        self.tokens = torch.tensor(random.integers(0, VOCABULARY, size=shape))
        logp, entropy = (part.detach() for part in self.policy())
        for name, of, scale in (
            ("logp_old", logp.numpy(), spread),
            ("logp_ref", logp.numpy(), spread),
            ("logp_rollout", None, batches.MISMATCH[np.arange(shape[0]) % 3, None]),
        ):
            noise = random.standard_normal(shape) * scale * (random.random(shape) < 0.8)
            near = arrays["logp_old"] if of is None else of
            arrays[name] = np.where(arrays["mask"], np.minimum(near + noise, -1e-3), np.nan)
        arrays["entropy"] = np.where(arrays["mask"], entropy.numpy(), np.nan)
        self.batch = {
            name: value for name, value in batches.as_torch(arrays, dtype).items() if name != "logp"
        }
        self.tokens[~self.batch["mask"]] = -100

    def policy(self) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies [N, T], by logits."""
        logits = (self.hidden @ self.weight.T + self.bias) / TEMPERATURE
        logp = torch.log_softmax(logits, -1)
        return logp.gather(2, self.tokens.clamp(min=0)[..., None])[..., 0], -(logp.exp() * logp).sum(-1)

    def leaves(self) -> list[Tensor]:
        """States, weight and bias, asking for a gradient."""
        return [each.detach().requires_grad_() for each in (self.hidden, self.weight, self.bias)]


def plainly(loss: ObjectiveLoss, problem: Problem, **options: Mapping[str, Tensor] | None):
    """Loss and gradients through logits."""
    problem.hidden, problem.weight, problem.bias = leaves = problem.leaves()
    logp, entropy = problem.policy()
    live = {"entropy": entropy} if "entropy" in loss.objective.inputs else {}
    output = loss({**problem.batch, "logp": logp, **live}, **options)
    output.loss.backward()
    return output, [each.grad for each in leaves]


def by_head(loss: ObjectiveLoss, problem: Problem, **options: Mapping[str, Tensor] | None):
    """Loss and gradients through the head."""
    hidden, weight, bias = leaves = problem.leaves()
    batch = dict(problem.batch)
    if "entropy" in loss.objective.inputs:
        del batch["entropy"]
    output = loss.from_hidden(
        hidden, weight, problem.tokens, batch, bias=bias, temperature=TEMPERATURE, **options
    )
    output.loss.backward()
    return output, [each.grad for each in leaves]


def agree(found, wanted, *, tolerance: float = 1e-9) -> None:
    """Value, gradients and metrics are the same, and there is something to compare."""
    assert wanted[0].loss.item() != 0
    torch.testing.assert_close(found[0].loss, wanted[0].loss, rtol=tolerance, atol=tolerance)
    for gradient, expected in zip(found[1], wanted[1], strict=True):
        assert float(expected.abs().max()) > 1e-6
        torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)
    metrics, expected_metrics = found[0].metrics, wanted[0].metrics
    for name in metrics:
        torch.testing.assert_close(metrics[name], expected_metrics[name], rtol=tolerance, atol=tolerance)


# One of each way to visit the tokens, with and without entropies.
KINDS = (
    "gspo_token",
    "topr",
    "grpo_opsm",
    "kl_cov",
    "bapo",
    "stapo_maspo",
    "top_entropy",
    "aspo",
    "bnpo",
    "ppo",
)


@pytest.mark.parametrize("tokens_at_once", [3, 1000])
@pytest.mark.parametrize("name", KINDS)
def test_the_head_changes_nothing(name: str, tokens_at_once: int) -> None:
    loss = maspo_dsl.compile(name, backend="eager")
    loss.head_memory = tokens_at_once * VOCABULARY * 8
    agree(by_head(loss, Problem(3)), plainly(loss, Problem(3)))


@pytest.mark.parametrize("given", ["advantage", "nothing", "denominators"])
@pytest.mark.parametrize(
    "name", ["maspo", "grpo", "gspo", "tis_product", "vespo", "bapo", "reinforce_plus_plus"]
)
def test_on_policy_the_old_log_probs_are_those_computed(name: str, given: str) -> None:
    """As if they had been computed in a pass of their own: `tis_product` gathers them over a completion."""
    loss = maspo_dsl.compile(name, backend="eager")
    loss.head_memory = 3 * VOCABULARY * 8
    problem, other, options = Problem(3), Problem(3), {}
    other.batch["logp_old"] = other.policy()[0].detach()
    if given != "nothing":
        advantage = loss.advantage({**other.batch, "logp": other.policy()[0].detach()})
        for each in (problem, other):
            each.batch["advantage"] = advantage
    if given == "denominators":
        window = loss.window([{**other.batch, "logp": other.policy()[0].detach()}])
        options["denominators"] = {key: 2 * value for key, value in window.items()}
    del problem.batch["logp_old"]
    agree(by_head(loss, problem, on_policy=True, **options), plainly(loss, other, **options))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_under_inference_mode(backend: str) -> None:
    """Value and metrics without any gradient, of tensors made there or before."""
    loss = maspo_dsl.compile("maspo", backend=backend)
    problem = Problem(3)
    expected = by_head(loss, problem)[0]
    with torch.inference_mode():
        for batch in (problem.batch, {name: value.clone() for name, value in problem.batch.items()}):
            hidden = problem.hidden.clone()
            found = loss.from_hidden(
                hidden, problem.weight, problem.tokens, batch, bias=problem.bias, temperature=TEMPERATURE
            )
            torch.testing.assert_close(found.loss, expected.loss)
            torch.testing.assert_close(found.metrics["ess"], expected.metrics["ess"])


@pytest.mark.parametrize("name", ["grpo", "top_entropy"])
def test_entropies_may_be_asked_for(name: str) -> None:
    """For the metric, whether or not the loss reads them: the loss and its gradient stay what they are."""
    loss = maspo_dsl.compile(name, backend="eager")
    problem, other = Problem(3), Problem(3)
    del problem.batch["entropy"]
    found, wanted = by_head_without(loss, problem, entropy=True), plainly(loss, other)
    agree(found, wanted)
    assert found[0].metrics["entropy"] > 0.1


def by_head_without(loss: ObjectiveLoss, problem: Problem, **options: bool):
    """`by_head` of a batch that has no entropies."""
    hidden, weight, bias = leaves = problem.leaves()
    output = loss.from_hidden(
        hidden, weight, problem.tokens, problem.batch, bias=bias, temperature=TEMPERATURE, **options
    )
    output.loss.backward()
    return output, [each.grad for each in leaves]


def test_on_policy_there_are_no_other_old_log_probs() -> None:
    with pytest.raises(BatchError, match="`logp_old` must not be in the batch: with on_policy"):
        by_head(maspo_dsl.compile("grpo", backend="eager"), Problem(3), on_policy=True)


BONUS = 'objective mine extends grpo\n"With a bonus"\nbonus exploration = 0.1 * entropy(policy)\ndrop penalty.kl\n'


@pytest.mark.parametrize("source", ["dapo", "top_entropy", BONUS])
def test_rows_are_moved_and_looked_at_a_few_at_a_time(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logits, "_ROWS_AT_ONCE", 3)
    monkeypatch.setattr(logits, "_NUMBERS_AT_ONCE", 0)
    objective = maspo_dsl.parse(source) if source == BONUS else maspo_dsl.load(source)
    loss = maspo_dsl.compile(objective, backend="eager")
    agree(by_head(loss, Problem(17)), plainly(loss, Problem(17)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maspo", "gspo", "top_entropy"])
def test_compiled_with_a_wide_vocabulary(name: str) -> None:
    """float32, fused passes over logits, chunks of several sizes: one of a single token among them."""
    random = torch.Generator().manual_seed(0)
    words, tokens = 8200, torch.randint(0, 8200, (5, 6), generator=random)
    hidden, weight = torch.randn(5, 6, 16, generator=random), torch.randn(words, 16, generator=random)
    logp = torch.log_softmax(hidden @ weight.T, -1)
    batch = {
        "mask": torch.arange(6) < torch.tensor([6, 3, 6, 4, 6])[:, None],
        "advantage": torch.tensor([1.0, -0.5, 0.3, 2.0, -1.0]),
        "logp_old": logp.gather(2, tokens[..., None])[..., 0] + 0.1 * torch.randn(5, 6, generator=random),
    }
    loss = maspo_dsl.compile(name)
    loss.head_memory = 8 * words * 4
    found = []
    for by_logits in (True, False):
        states, head = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if by_logits:
            logp = torch.log_softmax(states @ head.T, -1)
            live = {
                "logp": logp.gather(2, tokens[..., None])[..., 0],
                "entropy": -(logp.exp() * logp).sum(-1),
            }
            output = loss({**batch, **live})
        else:
            output = loss.from_hidden(states, head, tokens, batch)
        output.loss.backward()
        found.append((output, [states.grad, head.grad]))
    agree(found[1], found[0], tolerance=2e-5)
    assert loss.compilations == 1


def test_gradient_to_an_entropy_bonus() -> None:
    """The entropy has a gradient of its own, alone too where the coefficient of the log-prob is 0."""
    loss = maspo_dsl.compile(maspo_dsl.parse(BONUS), backend="eager")
    assert "entropy" in loss.schedule.distributions
    for memory in (4 * VOCABULARY * 8, 10**6):
        loss.head_memory = memory
        first, second = Problem(6), Problem(6)
        first.batch["advantage"] = second.batch["advantage"] = torch.zeros(16, dtype=torch.float64)
        first.batch["advantage"][::2] = second.batch["advantage"][::2] = 1.0
        agree(by_head(loss, first), plainly(loss, second))


@pytest.mark.parametrize(
    "weight", ["sqrt(entropy(policy))", "1 / (1 + log(policy))", "log(entropy(policy) + 0.01)"]
)
@pytest.mark.parametrize("silent", [2, 1])
def test_terms_that_are_not_defined_everywhere(weight: str, silent: int) -> None:
    """What stands for the log-prob of a token without advantage does not show in the loss."""
    text = (
        f'objective mine extends group_ppo\n"A weight"\nweight w = {weight}\nreduce = loss |> mean(window)\n'
    )
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    first, second = Problem(14), Problem(14)
    for problem in (first, second):
        problem.batch["advantage"] = torch.ones(16, dtype=torch.float64)
        problem.batch["advantage"][::silent] = 0.0
    found, wanted = by_head(loss, first), plainly(loss, second)
    if silent == 1:
        assert found[0].loss.item() == wanted[0].loss.item() == 0
    else:
        agree(found, wanted)


def test_under_hooks_on_saved_tensors_and_without_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = maspo_dsl.compile("maspo", backend="eager")
    with torch.autograd.graph.save_on_cpu():
        found = by_head(loss, Problem(15))
    agree(found, plainly(loss, Problem(15)))
    monkeypatch.setattr(HeadGradients, "add", lambda *_: pytest.fail("a gradient that nobody asked for"))
    problem = Problem(15)
    with torch.no_grad():
        leaves = problem.leaves()
        output = loss.from_hidden(
            *leaves[:2], problem.tokens, problem.batch, bias=leaves[2], temperature=TEMPERATURE
        )
    assert not output.loss.requires_grad
    torch.testing.assert_close(output.loss, found[0].loss)


def test_what_needs_no_gradient_gets_none() -> None:
    loss, problem = maspo_dsl.compile("maspo", backend="eager"), Problem(7)
    wanted, (states, weight_gradient, _) = plainly(loss, Problem(7))
    for wants_hidden, wants_weight in ((True, False), (False, True), (False, False)):
        hidden, weight = problem.hidden.clone(), problem.weight.clone()
        hidden.requires_grad_(wants_hidden)
        weight.requires_grad_(wants_weight)
        output = loss.from_hidden(
            hidden, weight, problem.tokens, problem.batch, bias=problem.bias, temperature=TEMPERATURE
        )
        torch.testing.assert_close(output.loss, wanted.loss)
        if wants_hidden or wants_weight:
            (2.5 * output.loss).backward()
        for wants, leaf, gradient in (
            (wants_hidden, hidden, states),
            (wants_weight, weight, weight_gradient),
        ):
            assert (leaf.grad is not None) == wants
            if wants:
                torch.testing.assert_close(leaf.grad, 2.5 * gradient)


def test_tokens_without_a_part_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding and tokens without advantage never; those that are clipped are left out of the products back."""
    read: list[int] = []
    multiplied: list[int] = []
    run, states = LinearHead.run, HeadGradients._add_products

    def counted(self, hidden, tokens, *rest, **options):
        read.append(len(tokens))
        return run(self, hidden, tokens, *rest, **options)

    def counted_back(self, exponentials, *rest):
        multiplied.append(len(exponentials))
        return states(self, exponentials, *rest)

    monkeypatch.setattr(LinearHead, "run", counted)
    monkeypatch.setattr(HeadGradients, "_add_products", counted_back)
    problem = Problem(8, spread=0.5)
    problem.batch["advantage"] = torch.ones(16, dtype=torch.float64)
    problem.batch["advantage"][::2] = 0.0
    loss = maspo_dsl.compile("dapo", backend="eager")
    output, (hidden, _, _) = by_head(loss, problem)
    trained = int(problem.batch["mask"].sum())
    with_part = int(problem.batch["mask"][1::2].sum())
    used = int((hidden.abs().sum(-1) > 0).sum())
    assert sum(read) == with_part < trained
    assert 0 < sum(multiplied) == used < with_part
    read.clear()
    torch.testing.assert_close(output.metrics["entropy"], plainly(loss, problem)[0].metrics["entropy"])
    assert sum(read) == trained - with_part
    with_penalty = maspo_dsl.compile("grpo", params={"kl": 0.1}, backend="eager")
    read.clear()
    by_head(with_penalty, problem)
    assert sum(read) == trained


def test_metrics_of_what_was_skipped_need_the_same_weight() -> None:
    problem = Problem(9)
    loss = maspo_dsl.compile("dapo", backend="eager")
    for stepped in ("weight", "bias"):
        head = {name: getattr(problem, name).clone().requires_grad_() for name in ("weight", "bias")}
        output = loss.from_hidden(problem.hidden, tokens=problem.tokens, batch=problem.batch, **head)
        with torch.no_grad():
            head[stepped].mul_(1.01)
        with pytest.raises(BatchError, match=r"dapo: the metrics take in \d+ tokens without advantage"):
            output.metrics  # noqa: B018


def test_bfloat16_and_autocast() -> None:
    """Logits and sums are float32, of numbers rounded to bfloat16; a gradient has the dtype of what it is of."""
    loss, problem = maspo_dsl.compile("maspo", backend="eager"), Problem(10, dtype=torch.float32)
    rounded = Problem(10, dtype=torch.float32)
    for name in ("hidden", "weight", "bias"):
        setattr(rounded, name, getattr(rounded, name).bfloat16().float())
    wanted = plainly(loss, rounded)
    for autocast in (False, True):
        leaves = [
            (each if autocast else each.bfloat16()).detach().clone().requires_grad_()
            for each in (problem.hidden, problem.weight, problem.bias)
        ]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            output = loss.from_hidden(
                leaves[0], leaves[1], problem.tokens, problem.batch, bias=leaves[2], temperature=TEMPERATURE
            )
        output.loss.backward()
        assert [leaf.grad.dtype for leaf in leaves] == [leaf.dtype for leaf in leaves]
        torch.testing.assert_close(output.loss, wanted[0].loss)
        for leaf, gradient in zip(leaves, wanted[1], strict=True):
            torch.testing.assert_close(leaf.grad.float(), gradient, rtol=1e-2, atol=1e-4)


def test_under_autocast_log_probs_are_those_of_the_loss() -> None:
    """Else the ratio of a policy with itself is not 1 where old is computed by the one and the policy by the other."""
    problem = Problem(10, dtype=torch.float32)
    given = problem.hidden, problem.weight, problem.tokens.clamp(min=0)
    options = {"mask": problem.batch["mask"], "bias": problem.bias, "temperature": TEMPERATURE}
    plain, _ = maspo_dsl.log_probs(*given, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = maspo_dsl.log_probs(*given, **options)
        batch = {**problem.batch, "logp_old": rounded}
        output = maspo_dsl.compile("maspo", backend="eager").from_hidden(
            *given, batch, bias=problem.bias, temperature=TEMPERATURE
        )
    assert rounded.dtype == torch.float32
    assert (rounded - plain).abs().max() > 1e-4
    assert output.metrics["ratio_max"] == pytest.approx(1, abs=1e-5)


def test_nothing_to_train() -> None:
    loss, problem = maspo_dsl.compile("grpo", backend="eager"), Problem(11)
    problem.batch["mask"] = torch.zeros_like(problem.batch["mask"])
    output, gradients = by_head(loss, problem)
    assert output.loss == 0
    assert all(not gradient.any() for gradient in gradients)
    empty = {name: value[:, :0] if value.ndim == 2 else value for name, value in problem.batch.items()}
    hidden = problem.hidden[:, :0].clone().requires_grad_()
    loss.from_hidden(hidden, problem.weight, problem.tokens[:, :0], empty).loss.backward()
    assert hidden.grad.shape == (16, 0, WIDTH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(16, 9, WIDTH + 1)}, r"`weight` must be \[V, 8\], and is \[23, 7\]"),
        ({"hidden": torch.zeros(16, 8, WIDTH)}, r"`hidden` must be \[N, T, H\]"),
        (
            {"tokens": torch.zeros(16, 8, dtype=torch.long)},
            r"`tokens` must have the shape of `mask`, \[N, T\]",
        ),
        ({"tokens": torch.zeros(16, 9)}, r"`tokens` must be whole numbers \(int64\)"),
        ({"tokens": torch.full((16, 9), VOCABULARY)}, "trained `tokens` must be 0 to 22"),
        ({"bias": torch.zeros(VOCABULARY + 1)}, r"`bias` must be \[23\], and is \[24\]"),
        ({"temperature": 0.0}, "`temperature` must be above 0, not 0.0"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    problem, loss = Problem(12), maspo_dsl.compile("grpo", backend="eager")
    given = {"hidden": problem.hidden, "weight": problem.weight, "tokens": problem.tokens, **change}
    with pytest.raises(BatchError, match=message):
        loss.from_hidden(batch=problem.batch, **given)


@pytest.mark.parametrize("memory", [0, -5, 1e6, "1GB"])
def test_memory_is_a_number_of_bytes(memory: object) -> None:
    problem, loss = Problem(16), maspo_dsl.compile("grpo", backend="eager")
    loss.head_memory = memory  # type: ignore[assignment]
    with pytest.raises(ValueError, match="head_memory is bytes, a whole number above 0"):
        loss.from_hidden(problem.hidden, problem.weight, problem.tokens, problem.batch)


@pytest.mark.parametrize("name", ["top_entropy", "stapo", "aspo", "entropy_advantage"])
def test_an_entropy_without_gradient_may_be_given(name: str) -> None:
    problem, loss = Problem(16), maspo_dsl.compile(name, backend="eager")
    assert "entropy" not in loss.schedule.distributions
    _, entropy = (part.detach() for part in problem.policy())
    computed = {key: value for key, value in problem.batch.items() if key != "entropy"}

    def value(batch: Mapping[str, Tensor]) -> Tensor:
        states = (problem.hidden, problem.weight, problem.tokens, batch)
        return loss.from_hidden(*states, bias=problem.bias, temperature=TEMPERATURE).loss

    torch.testing.assert_close(value({**computed, "entropy": entropy}), value(computed))
    assert value({**computed, "entropy": -entropy}) != value(computed)


def test_what_is_computed_must_not_be_given() -> None:
    problem, loss = Problem(13), maspo_dsl.compile("top_entropy", backend="eager")
    given = (problem.hidden, problem.weight, problem.tokens)
    with pytest.raises(BatchError, match="`logp` must not be in the batch"):
        loss.from_hidden(*given, {**problem.batch, "logp": problem.batch["logp_old"]})
    with pytest.raises(BatchError, match="lacks `mask`"):
        loss.from_hidden(*given, {})
    with pytest.raises(
        BatchError, match="`entropy` must not be in the batch: the objective has gradient to it"
    ):
        maspo_dsl.compile(maspo_dsl.parse(BONUS), backend="eager").from_hidden(*given, problem.batch)


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("way", [plainly, by_head])
def test_a_step_is_freed_without_the_garbage_collector(way: Callable[..., Any], read: bool) -> None:
    """A cycle would hold the activations of a step until Python looks for cycles, hundreds of steps later."""
    loss = maspo_dsl.compile("dapo", backend="eager")
    gc.collect()
    gc.disable()
    try:
        output, gradients = way(loss, Problem(0))
        if read:
            assert output.metrics
        kept = [weakref.ref(each) for each in (output, output.loss)]
        del output, gradients
        assert [each() for each in kept] == [None, None]
    finally:
        gc.enable()
