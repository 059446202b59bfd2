"""Under `torch.compile`: one graph for every shape, none that is cut in two, none that asks the device."""

import numpy as np
import pytest
import torch
import torch._dynamo
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import maspo_dsl

from ..batches import Arrays, as_torch, ragged
from ..running import SHIPPED, compiled, run_loss

SHAPES = [(rows, columns) for rows in (8, 4, 2, 1) for columns in (100, 101, 1, 57, 0, 33)]


def shaped(name: str, rows: int, columns: int) -> Arrays:
    """A window of this shape, with its advantages."""
    if not columns:
        full = shaped(name, rows, 1)
        return {key: value[:, :0] if value.ndim == 2 else value for key, value in full.items()}
    batch = {
        key: value[:rows]
        for key, value in ragged(columns, columns=columns + 1, extreme=False, spread=0.3).items()
    }
    batch = {key: value[:, :columns] if value.ndim == 2 else value for key, value in batch.items()}
    batch["group"] = np.zeros(rows, dtype=int)
    return {**batch, "advantage": compiled(name).advantage(as_torch(batch)).numpy()}


def trained_and_evaluated(name: str, loss, shapes) -> None:
    """Each shape once with gradient and once without, against eager."""
    for shape in shapes:
        batch = shaped(name, *shape)
        found, expected = (run_loss(each, batch, dtype=torch.float32) for each in (loss, compiled(name)))
        assert found[0] == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
        if shape[1]:
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-3, atol=1e-5)
        with torch.no_grad():
            value = loss({key: each.detach() for key, each in as_torch(batch, torch.float32).items()}).loss
        assert value.item() == pytest.approx(expected[0], rel=1e-4, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo", "maspo", "gspo", "reinforce_plus_plus_baseline"])
def test_recompiles(name):
    """A loss compiled with fullgraph died at its limit after 12 of these 48 calls, or ran eagerly from then on.

    Rows of 8, 4, 2, 1 and columns of 100, 101, 1, 57, 0, 33, each trained and evaluated: two graphs at most
    (pytorch #167504).
    """
    loss = maspo_dsl.compile(name, backend="inductor")
    trained_and_evaluated(name, loss, SHAPES)
    assert 1 <= loss.compilations <= 2


@pytest.mark.slow
def test_recompiles_of_many_objectives_in_one_process():
    """Functions made by exec shared one budget of graphs (pytorch #124269): the last of twenty is compiled, too."""
    losses = {name: maspo_dsl.compile(name, backend="aot_eager") for name in SHIPPED[::3]}
    for shapes in ([(4, 6), (2, 9)], [(1, 1), (3, 0), (5, 4)]):
        for name, loss in losses.items():
            trained_and_evaluated(name, loss, shapes)
            assert 1 <= loss.compilations <= 2, name


def test_recompiles_of_an_annealed_parameter():
    """A number that changes each step is a new graph each step, if it is built in: 50 steps, one graph."""
    loss, eager = (maspo_dsl.compile("dapo", backend=backend) for backend in ("aot_eager", "eager"))
    batch = shaped("dapo", 4, 9)
    found = []
    for eps in np.linspace(0.5, 0.01, 50):
        for each in (loss, eager):
            each.params["eps_high"].fill_(eps)
        found.append(run_loss(loss, batch, dtype=torch.float32)[0])
        assert found[-1] == pytest.approx(run_loss(eager, batch, dtype=torch.float32)[0], rel=1e-5, abs=1e-6)
    assert loss.compilations == 1
    assert len(set(found)) > 10


def prepared(name: str):
    """The emitted function of a loss and its three arguments."""
    module = compiled(name).module
    x = module.prepare(as_torch(shaped(name, 4, 7)), "loss")
    p = module.parameters_in(x)
    d = module.with_invariants(x, p, module.statistics([x]))
    return module.functions["loss"], ({key: value.detach() for key, value in x.items()}, p, d)


def unbroken(name: str) -> None:
    function, arguments = prepared(name)
    torch._dynamo.reset()
    found = torch._dynamo.explain(function)(*arguments)
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.parametrize("name", ["grpo", "maspo", "gspo"])
def test_graph_breaks(name):
    """A call of `.item()` for a metric cut the graph of a loss in two (lerobot #2159, physical-ai-studio #877)."""
    unbroken(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_graph_breaks_of_every_objective(name):
    """The same, of all that ship."""
    unbroken(name)


@pytest.mark.parametrize("name", SHIPPED)
def test_host_sync(name):
    """The batch is checked and the loss computed, forward and backward, without a value that a host would wait for.

    Tensors without values stand in for the device: what asks for one raises.
    """
    batch = as_torch(shaped(name, 4, 7))
    denominators = compiled(name).window([batch])
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = {key: mode.from_tensor(value) for key, value in batch.items()}
        (slope,) = torch.autograd.grad(compiled(name)(fake, denominators=denominators).loss, fake["logp"])
        assert slope.shape == batch["logp"].shape
        with pytest.raises(DataDependentOutputException):
            slope.sum().item()


def test_host_sync_would_be_seen():
    """An objective that looked at its data would be caught by the test above, and named by a graph break."""

    def looks(x, p, d):
        return {"loss": (x["logp"] * (2.0 if x["logp"].sum() > 0 else 1.0)).sum()}

    _, arguments = prepared("grpo")
    torch._dynamo.reset()
    assert torch._dynamo.explain(looks)(*arguments).graph_break_count > 0
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, pytest.raises(DataDependentOutputException):
        looks({key: mode.from_tensor(value) for key, value in arguments[0].items()}, *arguments[1:])
