"""Two losses held against each other: where they part is where a change was made, and nowhere else."""

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.comparison.compare import compare
from maspo_dsl.comparison.named import side_of
from maspo_dsl.comparison.sides import NotComparableError
from maspo_dsl.testing import assert_same

from . import losses

HERE = "tests.comparison.losses"


def parting(first, second) -> set[str]:
    """The regimes in which two losses part."""
    return {one.name for one in compare(side_of(first), side_of(second)).regimes if not one.same}


def spec(*lines: str, base: str = "ppo_dual_clip"):
    return maspo_dsl.parse("\n".join([f"objective own extends {base}", *lines]))


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["param eps_high = 0.4"], {"A > 0, ratio above 1"}),
        (["param eps_low = 0.1"], {"A < 0, ratio below 1"}),
        (["param cap = 2"], {"A < 0, ratio above 1"}),
    ],
)
def test_a_changed_bound_shows_on_its_side_alone(lines, where):
    sides = {name for name in parting("ppo_dual_clip", spec(*lines)) if name.startswith("A ")}
    assert sides == where


def test_only_lengths_tell_two_means_apart():
    found = compare(side_of("group_ppo"), side_of(spec("reduce = loss |> mean(window)", base="group_ppo")))
    same = {one.probe: one.same for one in found.differences}
    assert same["completions of equal length"] and same["completions of one token"]
    assert not same["completions of unequal length"]
    assert found.smallest is not None and len(found.smallest.batch["mask"]) == 2


def test_only_later_tokens_know_their_position():
    later = spec("weight late = 2 if position > 1 else 1", base="group_ppo")
    names = parting("group_ppo", later)
    assert "later tokens" in names and "first tokens" not in names


def test_a_mean_of_micro_batches_shows_in_a_cut_window_alone():
    found = compare(side_of("bnpo"), side_of(spec("reduce = loss |> mean(window)", base="group_ppo")))
    assert [one.probe for one in found.differences if not one.same] == ["a window cut in two"]


def test_advantages_are_compared_where_both_estimate():
    found = compare(side_of("group_ppo"), side_of("rloo"))
    assert found.same_loss and not found.same and found.advantage > 0.1
    assert compare(side_of("dapo"), side_of(spec("drop overlong", base="dapo"))).advantage > 0.1


def test_a_filter_of_groups_is_a_difference():
    found = compare(side_of("dapo"), side_of(spec("drop mixed", base="dapo")))
    assert found.same_loss and not found.kept and not found.same


def test_the_smallest_batch_shows_it_by_itself():
    found = compare(side_of("ppo_dual_clip"), side_of(spec("param eps_high = 0.4")))
    small = found.smallest
    assert small.batch["mask"].shape == (1, 1)
    ratio = float(np.exp(small.batch["logp"] - small.batch["logp_old"])[0, 0])
    assert small.batch["advantage"][0] > 0 and ratio > 1.28
    assert small.loss[0] == pytest.approx(-1.28 * small.batch["advantage"][0])
    assert small.gradient[0][0, 0] == 0 and set(small.batch) == {"advantage", "logp", "logp_old", "mask"}


def test_a_function_with_the_signature_of_verl():
    assert_same(losses.vanilla, "ppo_dual_clip", params={"eps_high": 0.2})
    with pytest.raises(AssertionError, match="A > 0, ratio above 1"):
        assert_same(losses.vanilla, "ppo_dual_clip")
    assert_same(f"python:{HERE}.vanilla:clip_ratio_high=0.28,clip_ratio_c=3", "ppo_dual_clip")


def test_a_function_of_a_batch():
    assert_same(losses.sapo, "sapo", params={"tau_pos": 1.7, "tau_neg": 0.6})
    assert_same("trl:loss_type=cispo", losses.prints)
    assert_same(losses.cispo_capped_low, "trl:loss_type=cispo")


def test_a_function_that_makes_its_own_advantage():
    assert_same(losses.from_rewards, "gpg")
    with pytest.raises(AssertionError):
        assert_same(losses.from_rewards, "gpg_paper")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", "raises ValueError: no such thing"),
        ("a_row_each", "returns a tensor [20], not one number"),
        ("a_float", "returns float, not a tensor"),
        ("not_a_number", "returns nan"),
        ("detached", "without gradient to logp"),
        ("changes_the_mask", "changes what it is given: mask"),
        ("changes_a_leaf", "raises RuntimeError"),
        ("misspells", "did you mean `advantage`?"),
        ("two_batches", "takes batch, other"),
        ("NOT_A_FUNCTION", "is no function"),
        ("vanila", "did you mean `vanilla`?"),
    ],
)
def test_what_cannot_be_compared_is_one_line(name, message):
    with pytest.raises(NotComparableError) as caught:
        compare(side_of(f"python:{HERE}.{name}"), side_of("sapo"))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_module_that_is_not_there():
    for path in ("no_such_module.loss", "loss"):
        with pytest.raises(NotComparableError):
            side_of(f"python:{path}")
