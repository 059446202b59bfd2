"""A quantity is one row: whatever reads the table knows a new one."""

import numpy as np
import pytest
import torch

import maspo_dsl
from maspo_dsl.analysis import extremes, probes
from maspo_dsl.notation.tensors import tensors
from maspo_dsl.semantics.quantities import QUANTITIES, TENSORS, Domain, Quantity
from maspo_dsl.semantics.types import Axis, Kind
from maspo_dsl.verification.subject import Subject
from maspo_dsl.verification.verify import CHECKS

from ..batches import as_torch, given_advantage

TURN = Quantity("turn", Axis.TOKEN, Kind.REAL, Domain.REAL, "turn", "which turn a token is of", typical=1.0)
FIFTH = Quantity("teacher", Axis.TOKEN, Kind.PROB, Domain.LOG_PROB, "logp_teacher", "another model")
FLAG = Quantity("flag", Axis.TOKEN, Kind.BOOL, Domain.CONDITION, "flag", "a token that a tool wrote")
SPECS = {
    "flag": "mute tools where flag\nexclude others where not flag and old < 0.02",
    "turn": "penalty late = 0.01 * turn * k3(policy, old)\nmute far where turn > 1.5",
    "logp_teacher": "penalty taught = 0.1 * k3(policy, teacher)",
}


@pytest.fixture(params=[TURN, FIFTH, FLAG], ids=["turn", "teacher", "flag"])
def added(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Quantity:
    monkeypatch.setitem(QUANTITIES, request.param.name, request.param)
    monkeypatch.setitem(TENSORS, request.param.tensor, request.param)
    return request.param


def test_a_row_is_all_that_a_quantity_takes(added: Quantity) -> None:
    objective = maspo_dsl.parse(f"objective longer extends group_ppo\n{SPECS[added.tensor]}\n")
    assert objective.warnings == ()
    (described,) = [one for one in tensors(objective) if one.name == added.tensor]
    assert (described.shape, added.doc in described.meaning) == (added.shape, True)
    for batch in (probes.tokens(objective.resolved), extremes.far_tokens(objective.resolved)):
        assert np.std(batch[added.tensor]) > 0

    loss, batch = maspo_dsl.compile(objective, backend="eager"), as_torch(given_advantage(0))
    assert loss(batch).loss.requires_grad
    with pytest.raises(maspo_dsl.BatchError, match=rf"`{added.tensor}` must have the shape of `mask`"):
        loss({**batch, added.tensor: torch.zeros(3)})
    with pytest.raises(maspo_dsl.BatchError, match=rf"lacks `{added.tensor}` \[N, T\]"):
        loss({name: value for name, value in batch.items() if name != added.tensor})
    checks = [
        check
        for check in CHECKS
        if check.name in ("passes", "emitted, float64", "from hidden", "packed", "masked tokens")
    ]
    lines = [check.line(Subject(objective, "eager")) for check in checks]
    assert [line.verdict for line in lines] == ["pass"] * 5, lines
