"""Whether these cases can fail: each mistake of others is made here on purpose, and its case must notice.

A parity test in which a shared factor cancels, or that compares 0 with 0, passes whatever is done (TRL #6814).
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from maspo_dsl.trainers import generation
from maspo_dsl.trainers.module import PolicyTrainer
from torch._subclasses.fake_tensor import DataDependentOutputException

from maspo_dsl.semantics import binding

from . import (
    test_branches,
    test_compiled,
    test_cut,
    test_denominators,
    test_estimators,
    test_gradient,
    test_numbers,
    test_parameters,
    test_trainer,
    test_typos,
)
from .subjects import mutated, same

NOTICED = (AssertionError, pytest.fail.Exception, DataDependentOutputException)


@dataclass(frozen=True)
class Mutant:
    """A mistake in the emitted file of an objective, by pattern, and the cases that must notice it."""

    name: str
    pattern: str
    replacement: str
    cases: tuple[Callable[[str], None], ...]

    def __call__(self, source: str) -> str:
        changed = re.sub(self.pattern, self.replacement, source)
        assert changed != source, f"nothing to change in {self.name}: {self.pattern}"
        return changed


def clip_case(name: str) -> None:
    test_branches.test_t23_clip_branches(name, 0.1, 0.4, (0.85, 1, 1.3))


def missing_case(name: str) -> None:
    test_estimators.test_t19_missing_reward(name, [3])


def overflow_case(name: str) -> None:
    test_numbers.test_t09_overflow_unmasked(name, ("logp", "logp_old"))


def masked_case(name: str) -> None:
    test_cut.test_t14_all_masked(name, dict)


RETURNED = r'return \{"loss": loss\b'
TOTAL = r"(def total\(.*\n.*\n    return) torch\.where\(member, value, 0\.0\)\.sum\(\)"
LOG_RATIO = r"min=-20, max=20"
TOKENS = r'd\["inverse_tokens"\]'
SEQUENCES = r'd\["inverse_sequences"\]'
LENGTHS = r'torch\.clamp\(sum_within\(one, mask, tokens_by\(x, "sequence"\)\), min=1\)'
MUTANTS = {
    "sign": Mutant(
        "grpo",
        RETURNED,
        'return {"loss": -loss',
        (test_gradient.test_t29_on_policy, clip_case, test_branches.test_t25_defaults_never_cap_below_1),
    ),
    "over 99": Mutant(
        "maspo",
        RETURNED,
        'return {"loss": loss / 99',
        (test_denominators.test_t07_reduction_identity, test_cut.test_t01_partition_of_four_tokens_and_one),
    ),
    "the micro-batch's own tokens": Mutant(
        "dapo",
        TOKENS,
        "1 / mask.sum()",
        (test_cut.test_t01_partition, test_cut.test_t01_partition_of_four_tokens_and_one),
    ),
    "the micro-batch's own sequences": Mutant(
        "grpo",
        SEQUENCES,
        '1 / x["present"].sum()',
        (test_cut.test_t01_partition, test_cut.test_t05_auxiliary_terms),
    ),
    "rows, trained or not": Mutant(
        "grpo",
        SEQUENCES,
        "1 / mask.shape[0]",
        (test_cut.test_t15_one_row_masked, test_cut.test_t01_partition),
    ),
    "the width of the tensor": Mutant(
        "grpo",
        LENGTHS,
        "mask.shape[-1]",
        (test_cut.test_t06_pad_width, test_cut.test_t06_pad_width_bit_for_bit),
    ),
    "packed rows are one": Mutant(
        "gspo",
        r'index_add\(0, x\["sequence"\],',
        'index_add(0, 0 * x["sequence"],',
        (test_cut.test_t08_packing,),
    ),
    "divided by nothing": Mutant(
        "dapo", RETURNED, 'return {"loss": loss * mask.sum() / mask.sum()', (masked_case,)
    ),
    "a mask by product": Mutant(
        "grpo",
        r"torch\.where\((mask|member), value, 0\.0\)",
        r"(value * \1)",
        (test_numbers.test_t10_overflow_masked, test_cut.test_t06_pad_width),
    ),
    "no mask": Mutant(
        "grpo", TOTAL, r"\1 value.sum()", (test_numbers.test_t10_overflow_masked, test_cut.test_t06_pad_width)
    ),
    "no bound of log-ratios": Mutant("grpo", LOG_RATIO, "min=-2000, max=2000", (overflow_case,)),
    "no bound of the KL term": Mutant(
        "grpo", LOG_RATIO, "min=-2000, max=2000", (test_numbers.test_t12_kl_overflow,)
    ),
    "NaN laundered": Mutant(
        "sapo",
        RETURNED,
        'return {"loss": torch.nan_to_num(loss)',
        (test_numbers.test_t11_nan_inside_the_mask,),
    ),
    "bfloat16 throughout": Mutant(
        "maspo", r"dtype = torch\.float32", "dtype = torch.bfloat16", (test_numbers.test_t36_dtype,)
    ),
    "no exact zero": Mutant(
        "dr_grpo",
        r'reward - max_within\(reward, present, rows_by\(x, "group"\)\)',
        "reward",
        (test_estimators.test_t16_equal_rewards,),
    ),
    "a singleton's own reward": Mutant(
        "rloo",
        r"difference - mean\b",
        "torch.where(count > 1, difference - mean, reward)",
        (test_estimators.test_t18_singleton,),
    ),
    "all completions for the others": Mutant(
        "rloo",
        r"count - 1\b",
        "count",
        (test_estimators.test_t17_leave_one_out_residue, test_estimators.test_t22_estimator_values),
    ),
    "another spread": Mutant("grpo", r"count - 1\b", "count", (test_estimators.test_t22_estimator_values,)),
    "a missing reward of 0": Mutant(
        "rloo", r'present & ~torch\.isnan\(x\["reward"\]\)', "present", (missing_case,)
    ),
    "a rejected sibling": Mutant(
        "rloo",
        r"present = mask\.any\(-1\)",
        "present = mask.any(-1) | True",
        (test_estimators.test_t20_rejected_sibling,),
    ),
    "groups by place": Mutant(
        "grpo",
        r'dense\(x\["group"\]\)',
        'torch.arange(len(x["group"])) // 4',
        (test_estimators.test_t21_group_ids,),
    ),
    "swapped bounds": Mutant("dapo", r'p\["eps_high"\]', 'p["eps_low"]', (clip_case,)),
    "a dual clip of good tokens": Mutant(
        "ppo_dual_clip",
        r"dual = torch\.where\(.*\)",
        'dual = torch.sign(advantage) * torch.clamp(clip, max=p["cap"])',
        (test_branches.test_t24_dual_clip,),
    ),
    "an offset for a cap": Mutant(
        "cispo", r'max=p\["cap"\]', 'max=p["cap"] - 1', (lambda name: test_branches.test_t25_cispo(),)
    ),
    "masked tokens in the mean": Mutant(
        "gspo",
        r"sum_within\((.*), mask, tokens_by",
        r"sum_within(\1, mask | True, tokens_by",
        (test_branches.test_t26_gspo,),
    ),
    "a gate that is not normalised": Mutant(
        "sapo",
        r"4 / chosen",
        "4",
        (lambda name: test_branches.test_t27_soft_gate(name, {"tau_pos": 2, "tau_neg": 2}, 1.0),),
    ),
    "a live gate": Mutant("maspo", r"\.detach\(\)", "", (test_gradient.test_t28_stop_gradient_of_gates,)),
    "a live weight": Mutant(
        "group_ppo",
        r"(mine = .*)\.detach\(\)",
        r"\1",
        (test_gradient.test_t28_stop_gradient_of_declared_weights,),
    ),
    "a term that is dropped": Mutant(
        "grpo",
        r'kl = p\["kl"\] \* k3',
        "kl = 0 * k3",
        (test_gradient.test_t30_kl_gradient_of_shipped_penalties,),
    ),
    "rejected tokens excluded, not muted": Mutant(
        "dppo_tv",
        TOKENS,
        "1 / (mask & ~diverged).sum()",
        (test_denominators.test_t35_rejection_denominator_of_shipped_rules,),
    ),
    "a look at the device": Mutant(
        "maspo",
        RETURNED,
        'return {"loss": loss * (2.0 if loss > 1e9 else 1.0)',
        (test_compiled.test_t38_graph_breaks, test_compiled.test_t38_host_sync),
    ),
    "an option that is not read": Mutant(
        "maspo", r'p\["alpha"\]', "0.3", (lambda name: test_parameters.test_t40_dead_option(name, "alpha"),)
    ),
    "a gradient of nothing": Mutant(
        "grpo",
        RETURNED,
        'return {"loss": loss - (loss - loss.detach())',
        (test_gradient.test_t29_on_policy, test_gradient.test_t28_stop_gradient_by_finite_differences),
    ),
}
PAIRS = [(what, place) for what, mutant in MUTANTS.items() for place in range(len(mutant.cases))]


@pytest.fixture
def fresh():
    """What cases remember of an objective is of the unspoilt one."""
    test_parameters.ordinary.cache_clear()
    test_trainer.seen.cache_clear()
    yield
    test_parameters.ordinary.cache_clear()
    test_trainer.seen.cache_clear()


@pytest.mark.parametrize(("what", "place"), PAIRS, ids=[f"{what}-{place}" for what, place in PAIRS])
def test_t45_vacuity(fresh, what, place):
    """The suite noticed none of some planted mistakes (TRL #6814): here each is noticed by the case that is named."""
    mutant = MUTANTS[what]
    with mutated(mutant), pytest.raises(NOTICED):
        mutant.cases[place](mutant.name)


def test_t45_vacuity_of_the_trainer(fresh, monkeypatch):
    """Mistakes outside the loss: Lightning's mean of micro-batches, a window's, and a naive entropy."""
    backward = PolicyTrainer._backward
    monkeypatch.setattr(PolicyTrainer, "_backward", lambda self, output: backward(self, half(output)))
    for case in (test_trainer.test_t02_tail_window, test_trainer.test_t04_window_is_not_the_generation_batch):
        with pytest.raises(NOTICED):
            case("grpo")
    monkeypatch.setattr(generation, "_entropy", lambda logp: -(logp.exp() * logp).sum(dim=-1))
    with pytest.raises(NOTICED):
        test_trainer.test_t13_entropy()


def half(output):
    output.loss = output.loss / 2
    return output


def test_t45_vacuity_of_suggestions(monkeypatch):
    """A message without the name that was meant."""
    monkeypatch.setattr(binding, "did_you_mean", lambda name, known: "")
    with pytest.raises(NOTICED):
        test_typos.test_t39_parameters("grpo")


def test_t45_vacuity_of_comparisons():
    """Nothing is compared with nothing."""
    zeros = np.zeros((2, 3))
    with pytest.raises(AssertionError):
        same(zeros, zeros)
    with pytest.raises(AssertionError):
        same(zeros + 1, zeros + np.nan)
    same(zeros + 1, zeros + 1)


SPARED = {37}
"""Cases whose mistake is not one of a loss: what compiles too often is counted."""


def test_t45_every_case_is_in_one_of_the_mistakes():
    """Each case has a mutant that it kills."""
    text = Path(__file__).read_text()
    named = {int(number) for number in re.findall(r"test_t(\d\d)_", text)}
    here = Path(__file__).parent
    functions = [
        node.name
        for path in sorted(here.glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    cases = {int(found[1]) for name in functions if (found := re.match(r"test_t(\d\d)_", name))}
    assert cases >= {1, 2, *range(4, 31), *range(35, 41), 45}
    assert cases - named == SPARED


def test_t45_what_is_not_spoilt_passes(fresh):
    """The same cases, of the objectives as they are."""
    for mutant in MUTANTS.values():
        for case in mutant.cases:
            case(mutant.name)
