"""The exponential that a compiled loss has inside its loop is exp."""

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from maspo_dsl.runtime.exponential import decompositions, inlined_exp

ULP = 2.0**-23


def operations(x: torch.Tensor) -> list[str]:
    graph = make_fx(torch.exp, decomposition_table=decompositions())(x).graph
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("reach", [1e-3, 0.4, 20.0, 87.3])
def test_it_is_exp_to_two_units_in_the_last_place(reach):
    x = torch.linspace(-reach, reach, 1_000_001)
    true = x.double().exp()
    assert ((inlined_exp(x) - true).abs() <= 2 * ULP * true).all()


def test_at_its_ends():
    x = torch.tensor([0.0, -0.0, 88.4, 1e9, math.inf, -87.4, -1e9, -math.inf, math.nan])
    assert str(inlined_exp(x).tolist()) == str([1.0, 1.0, *[math.inf] * 3, *[0.0] * 3, math.nan])
    near = torch.tensor([88.37, -87.33])
    torch.testing.assert_close(inlined_exp(near), near.exp())


def test_it_stands_for_exp_in_float32_on_a_cpu_alone():
    assert "aten.exp.default" not in operations(torch.ones(3)) and len(operations(torch.ones(3))) > 10
    for other in (torch.ones(3, dtype=torch.float64), torch.ones(3, device="meta")):
        assert operations(other) == ["aten.exp.default"]
