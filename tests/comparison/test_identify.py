"""Which objective a loss is: those of others by their numbers, and shipped ones with other parameters."""

import pytest

import maspo_dsl
from maspo_dsl.comparison.identify import identify
from maspo_dsl.comparison.named import side_of
from maspo_dsl.comparison.report import identity_lines
from maspo_dsl.comparison.sides import SpecSide

from . import losses


def identity(what, params=None):
    return identify(side_of(what, params))


def test_the_policy_loss_that_verl_calls_vanilla():
    found = identity(losses.vanilla)
    assert found.exact and found.fit.objective.name == "ppo_dual_clip"
    assert found.fit.changed == {"eps_high": 0.2}
    assert "vanilla is ppo_dual_clip with eps_high = 0.2" in list(identity_lines(found, "vanilla"))


@pytest.mark.parametrize(
    "what", [losses.cispo_capped_low, pytest.param("trl:loss_type=cispo", marks=pytest.mark.slow)]
)
def test_cispo_as_trl_has_it_by_default(what):
    found = identity(what)
    assert found.exact and found.fit.objective.name == "cispo"
    assert found.fit.changed == {"cap": 0.2}
    text = "\n".join(identity_lines(found, "it"))
    assert "it is cispo with cap = 0.2" in text and "below its domain [1, inf)" in text


@pytest.mark.slow
def test_values_that_nobody_ships():
    params = {"eps_low": 0.2137, "eps_high": 0.333, "cap": 4.2}
    found = identity("ppo_dual_clip", params)
    assert found.exact and found.fit.objective.name == "ppo_dual_clip"
    assert found.fit.changed == params


@pytest.mark.slow
def test_what_is_smooth_is_found_between_candidates():
    found = identity(losses.sapo)
    assert found.fit.objective.name == "sapo"
    assert found.fit.params["tau_pos"] == pytest.approx(1.7, abs=1e-5)
    assert found.fit.params["tau_neg"] == pytest.approx(0.6, abs=1e-5)


def test_what_is_shipped_is_itself_and_its_advantage_is_named():
    found = identity("rloo")
    assert found.exact and not found.fit.changed
    assert {found.fit.objective.name, *found.equals} >= {"group_ppo", "rloo", "opo"}
    assert found.advantage == "rloo"


@pytest.mark.slow
def test_nothing_like_it():
    found = identify(
        SpecSide(maspo_dsl.parse("objective own extends group_ppo\nratio = policy / old |> tanh\n"))
    )
    assert not found.exact and found.parting is not None and not found.parting.same
    text = "\n".join(identity_lines(found, "own"))
    assert "own is no shipped objective; the nearest is" in text and "the smallest batch" in text
