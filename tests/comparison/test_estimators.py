"""Estimators of advantages in Python, with verl's signature: whose they are, and where two of them part."""

import pytest
import torch
from typer.testing import CliRunner

from maspo_dsl.cli.app import app
from maspo_dsl.comparison.compare import compare
from maspo_dsl.comparison.identify import identify_estimator
from maspo_dsl.comparison.named import side_of
from maspo_dsl.comparison.report import comparison_lines, estimator_lines
from maspo_dsl.comparison.sides import NotComparableError
from maspo_dsl.testing import assert_same

from . import losses


def test_an_estimator_is_a_shipped_one():
    found = identify_estimator(side_of(losses.leave_one_out))
    assert "rloo" in found.names and found.parting is None
    assert "leave_one_out estimates the advantage of" in next(estimator_lines(found, "leave_one_out"))


def test_an_estimator_beside_a_spec():
    assert_same(losses.leave_one_out, "rloo")
    found = compare(side_of("group_ppo"), side_of(losses.leave_one_out))
    assert not found.same and found.advantage > 1e-2
    text = "\n".join(comparison_lines(found))
    assert "the smallest batch that shows it: 2 completions" in text
    assert "advantage of group_ppo" in text and "advantage of leave_one_out" in text
    assert found.group.advantage[0].shape == found.group.advantage[1].shape


def test_one_that_nobody_ships_is_near_to_one():
    side = side_of("python:tests.comparison.losses.half_normalised:epsilon=0.1")
    found = identify_estimator(side)
    assert found.parting is not None and found.parting.advantage > 1e-2
    text = "\n".join(estimator_lines(found, "half_normalised"))
    assert "no shipped objective's advantage; the nearest is that of" in text


def test_options_reach_an_estimator():
    one, other = (
        side_of(f"python:tests.comparison.losses.half_normalised:epsilon=0.1,scale={scale}")
        for scale in (1, 2)
    )
    assert compare(one, other).advantage == pytest.approx(0.5)


def test_two_estimators():
    found = compare(side_of(losses.leave_one_out), side_of(losses.leave_one_out))
    assert found.same and "are the same: advantage" in next(comparison_lines(found))


@pytest.mark.parametrize(
    "function, message",
    [
        (losses.half_normalised, "needs epsilon; give it as python:…:epsilon=VALUE"),
        (lambda token_level_rewards, response_mask: 1 / 0, "raises ZeroDivisionError"),
        (lambda token_level_rewards, response_mask: 3.0, "returns no advantages of"),
        (lambda token_level_rewards, response_mask: response_mask * torch.nan, "NaN or infinite"),
    ],
)
def test_what_an_estimator_does_wrong_is_said(function, message):
    with pytest.raises(NotComparableError, match=message):
        compare(side_of(function), side_of("grpo"))


def test_an_estimator_and_a_loss_that_is_given_advantages():
    with pytest.raises(NotComparableError, match="estimates advantages, and `vanilla` is a loss"):
        compare(side_of(losses.leave_one_out), side_of(losses.vanilla))


def test_the_command_line():
    result = CliRunner().invoke(app, ["identify", "python:tests.comparison.losses.leave_one_out"])
    assert result.exit_code == 0 and "rloo" in result.stdout, result.output
