"""One compiled graph for every shape; parameters change in place; without a compiler it runs eagerly and says so.

`aot_eager` traces exactly as `inductor` does and generates no C++, so that these tests are fast.
"""

import shutil
import warnings

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.runtime import compiled as runtime

from ..batches import Arrays, as_torch, given_advantage, packed, ragged, rows_of
from ..running import tiny


def traced(name: str, **params: float) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(name, params=params, backend="aot_eager")


def eager(name: str, **params: float) -> maspo_dsl.ObjectiveLoss:
    return maspo_dsl.compile(name, params=params, backend="eager")


def evaluated(loss, arrays: Arrays, dtype=torch.float32, **options) -> tuple[float, np.ndarray]:
    tensors = as_torch(arrays, dtype)
    out = loss(tensors, **options)
    out.loss.backward()
    return out.loss.item(), tensors["logp"].grad.double().numpy()


def shaped(rows: int, columns: int) -> Arrays:
    random = np.random.default_rng(rows * 100 + columns)
    old = -random.exponential(1.0, size=(rows, columns)) - 1e-3
    return {
        "logp": old + 0.4 * random.standard_normal(old.shape),
        "logp_old": old,
        "logp_ref": old + 0.3 * random.standard_normal(old.shape),
        "mask": random.random(old.shape) < 0.8,
        "advantage": random.standard_normal(rows),
    }


SHAPES = [(4, 7), (1, 1), (1, 6), (5, 1), (3, 0), (0, 3), (8, 8), (2, 7), (7, 2), (4, 7)]


@pytest.mark.parametrize("name", ["gspo"])
def test_one_graph_for_every_shape(name):
    loss, plain = traced(name), eager(name)
    for rows, columns in SHAPES:
        arrays = shaped(rows, columns)
        value, gradient = evaluated(loss, arrays)
        expected = evaluated(plain, arrays)
        assert value == pytest.approx(expected[0], rel=1e-5, abs=1e-7)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-7)
    assert loss.compilations == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("form", ["padded", "packed"])
def test_a_mask_is_read_as_bytes_or_as_floats(monkeypatch, dtype, form):
    """Which of them is a matter of the processor, and so of speed alone."""
    monkeypatch.setattr(runtime, "mask_dtype", lambda device: dtype)
    arrays = shaped(5, 9)
    arrays["logp"][~arrays["mask"]] = np.nan
    if form == "packed":
        arrays = packed(arrays)
    value, gradient = evaluated(traced("maspo"), arrays)
    expected = evaluated(eager("maspo"), arrays)
    assert abs(value) > 1e-3 and np.abs(gradient).max() > 1e-3
    assert value == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("first", [(1, 1), (5, 1)])
def test_the_first_shape_does_not_bind_the_graph(first):
    """Sizes of 1 are what torch.compile likes to build in."""
    loss = traced("maspo")
    for shape in (first, (4, 6), (1, 1), (2, 1)):
        arrays = shaped(*shape)
        assert evaluated(loss, arrays)[0] == pytest.approx(
            evaluated(eager("maspo"), arrays)[0], rel=1e-5, abs=1e-7
        )
    assert loss.compilations == 1


@pytest.mark.parametrize("token", [False, True])
def test_one_graph_for_every_shape_of_a_second_kind(token):
    """Of another dtype, or with an advantage a token: the first of a kind binds no sizes either."""
    loss = traced("group_ppo")
    evaluated(loss, given_advantage(0))
    dtype = torch.float32 if token else torch.float64
    counts = []
    for columns in (9, 11, 8):
        evaluated(loss, given_advantage(1, token=token, columns=columns), dtype)
        counts.append(loss.compilations)
    assert counts[0] > 1 and counts == counts[:1] * 3


def test_unread_tensors_make_no_other_graph():
    loss = traced("maspo")
    arrays = given_advantage(0, extreme=False)
    evaluated(loss, arrays)
    for name in ("group", "reward", "entropy", "logp_ref", "logp_rollout"):
        evaluated(loss, {key: value for key, value in arrays.items() if key != name})
    assert loss.compilations == 1


def test_without_gradient():
    """Evaluation takes the same graph as training."""
    loss = traced("maspo")
    arrays = given_advantage(1, extreme=False)
    value, _ = evaluated(loss, arrays)
    for context, graphs in ((torch.no_grad(), 1), (torch.inference_mode(), 2)):
        with context:
            out = loss({key: tensor.detach() for key, tensor in as_torch(arrays, torch.float32).items()})
            assert out.loss.item() == pytest.approx(value, rel=1e-6)
            assert not out.loss.requires_grad
        assert evaluated(loss, arrays)[0] == value
        assert loss.compilations <= graphs


def test_a_parameter_that_removed_a_term_is_built_in():
    assert set(traced("grpo").params) == {"eps_low", "eps_high", "kl"}
    assert set(traced("grpo", kl=0).params) == {"eps_low", "eps_high"}


@pytest.mark.slow
def test_the_same_objective_ten_times():
    """A sweep compiles one loss a point."""
    arrays = given_advantage(4, extreme=False, columns=4)
    for eps in np.linspace(0.1, 0.5, 10):
        assert evaluated(traced("dapo", eps_high=eps), arrays)[0] == pytest.approx(
            evaluated(eager("dapo", eps_high=eps), arrays)[0], rel=1e-5
        )


def test_compiled_loss_scales_and_adds_like_any_other():
    """The gradient is computed forward and handed out backward: it must still follow what comes from above."""
    loss = traced("maspo")
    tensors = as_torch(given_advantage(5, extreme=False), torch.float32)
    (loss(tensors).loss * 3 + loss(tensors).loss).backward()
    expected = evaluated(eager("maspo"), given_advantage(5, extreme=False))[1]
    np.testing.assert_allclose(tensors["logp"].grad, 4 * expected, rtol=1e-4, atol=1e-7)


def test_gradient_reaches_the_model_through_logp():
    weight = torch.zeros((), requires_grad=True)
    tensors = as_torch(given_advantage(5, extreme=False, garbage=False), torch.float32)
    tensors["logp"] = tensors["logp"].detach() + weight
    traced("maspo")(tensors).loss.backward()
    expected = evaluated(eager("maspo"), given_advantage(5, extreme=False, garbage=False))[1].sum()
    assert weight.grad.item() == pytest.approx(expected, rel=1e-4)


def test_no_compiler(monkeypatch, capfd):
    """One line for the process, and the loss is right."""
    monkeypatch.setattr(shutil, "which", lambda name, *_, **__: None)
    monkeypatch.setattr(runtime, "_warned", set())
    arrays = given_advantage(6, extreme=False)
    for _ in range(2):
        loss = maspo_dsl.compile("maspo", backend="inductor")
        for _ in range(2):
            assert evaluated(loss, arrays)[0] == pytest.approx(evaluated(eager("maspo"), arrays)[0], rel=1e-6)
        assert loss.compilations == 0
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if "C++" in line] == [
        "maspo-dsl: no C++ compiler was found, so the loss runs eagerly (install g++ or clang++ for the fused one)"
    ]


def test_a_disabled_compiler_is_said_and_not_asked(capfd, monkeypatch):
    """What TORCH_COMPILE_DISABLE=1 and torch.compiler.set_stance leave of a backend: eager, and one line."""
    monkeypatch.setattr(runtime, "_warned", set())
    loss = maspo_dsl.compile("maspo", backend="aot_eager")
    arrays = given_advantage(4, extreme=False)
    with torch._dynamo.config.patch(disable=True):
        assert evaluated(loss, arrays)[0] == pytest.approx(evaluated(eager("maspo"), arrays)[0], rel=1e-6)
    assert loss.compilations == 0
    assert capfd.readouterr().err.splitlines() == [
        "maspo-dsl: torch.compile is disabled (TORCH_COMPILE_DISABLE), so the loss runs eagerly"
    ]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_inside_a_compiled_function(backend):
    """Somebody's own torch.compile sees plain functions, with value and gradient as outside of it."""
    loss = maspo_dsl.compile("maspo", backend=backend)
    arrays = given_advantage(5, extreme=False)
    value, gradient = evaluated(eager("maspo"), arrays)

    @torch.compile(backend="aot_eager")
    def step(batch):
        return loss(batch).loss * 2

    batch = as_torch(arrays, torch.float32)
    doubled = step(batch)
    doubled.backward()
    assert doubled.item() == pytest.approx(2 * value, rel=1e-6)
    np.testing.assert_allclose(batch["logp"].grad, 2 * gradient, rtol=1e-5, atol=1e-8)


def test_parameters_go_along_and_stay_exact():
    """As buffers they move with a model; its half precision is not theirs, and no checkpoint holds them."""
    loss = maspo_dsl.compile("maspo", params={"alpha": 0.3}, backend="eager")
    model = torch.nn.ModuleList([loss, torch.nn.Linear(2, 2)]).to(torch.bfloat16)
    assert loss.module.values.dtype == torch.float64 and loss.params["alpha"] == 0.3
    assert not [name for name in model.state_dict() if "values" in name]
    assert model.to("meta")[0].module.values.device.type == "meta"


def test_unknown_backend():
    with pytest.raises(ValueError, match="inductor, eager or aot_eager"):
        maspo_dsl.compile("maspo", backend="fast")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_nan_at_a_trained_token_is_named(backend):
    batch = as_torch(given_advantage(7, extreme=False), torch.float32)
    with torch.no_grad():
        batch["logp_ref"][6, 0] = np.nan
    out = maspo_dsl.compile("grpo", backend=backend)(batch)
    assert torch.isnan(out.loss)
    with pytest.warns(UserWarning, match=r"grpo: not finite at trained tokens: .*`kl` at 1.*`logp_ref` at 1"):
        assert out.metrics["nonfinite"].item() == pytest.approx(1 / batch["mask"].sum().item())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert out.metric_parts["nonfinite"][0].item() == 1


def test_nan_under_the_mask_is_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = traced("grpo")(as_torch(given_advantage(7), torch.float32))
        assert out.metrics["nonfinite"].item() == 0


@pytest.mark.parametrize("name", ["gspo"])
def test_packed_is_padded(name):
    arrays = given_advantage(8, extreme=False)
    flat = packed(arrays)
    loss = traced(name)
    value, gradient = evaluated(loss, arrays)
    flat_value, flat_gradient = evaluated(loss, flat)
    assert flat_value == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(flat_gradient[flat["mask"]], gradient[arrays["mask"]], rtol=1e-4, atol=1e-7)
    for length in (3, 11):
        evaluated(loss, packed(given_advantage(9, extreme=False, columns=length)))
    assert loss.compilations == 2


def test_parts_of_a_window():
    arrays = ragged(10, extreme=False)
    loss = traced("maspo")
    arrays["advantage"] = loss.advantage(as_torch(arrays)).numpy()
    whole, gradient = evaluated(loss, arrays)
    parts = [rows_of(arrays, rows) for rows in (range(3), range(3, 11), range(11, 16))]
    denominators = loss.window([as_torch(part, torch.float32) for part in parts])
    found = [evaluated(loss, part, denominators=denominators) for part in parts]
    assert sum(value for value, _ in found) == pytest.approx(whole, rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(np.concatenate([g for _, g in found]), gradient, rtol=1e-4, atol=1e-8)
    assert loss.compilations == 1


def test_module_has_no_weights_and_prints_its_objective():
    loss = traced("maspo")
    assert list(loss.parameters()) == [] and not loss.state_dict()
    assert "maspo@" in repr(loss)
    assert evaluated(loss, tiny([0.1], [1.0]))[0] == pytest.approx(-np.exp(0.1) * gate(0.1), rel=1e-5)


def gate(log_ratio: float) -> float:
    width = np.exp(0.3 * 1.5) * 1.03
    return float(np.exp(-((np.exp(log_ratio) - 1) ** 2) / (2 * width**2)))
