"""What the benchmarks compare computes the same thing, and their pages can be written; no time is looked at.

What compiles or trains is among the slow tests; the others import every module of the benchmarks.
"""

from functools import partial

import pytest
import torch
from maspo_dsl.trainers.config import RunConfig

import maspo_dsl
from benchmarks import __main__ as command
from benchmarks import accelerator, growth, law, limits, objectives, pictures, profiling
from benchmarks.clock import REST, Clock
from benchmarks.from_log_probs import Problem as LogProbs
from benchmarks.from_log_probs import pairs_of
from benchmarks.head import ENTROPY, Problem, Size, rows
from benchmarks.measure import peak_bytes
from benchmarks.peers import SCORINGS, plain, torch_chunks
from benchmarks.table import Row, markdown

SMALL = Size(sequences=4, length=32, hidden=8, vocabulary=64)


@pytest.mark.parametrize(("clipped", "inactive"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5)])
def test_the_head_and_plain_logits_give_the_same_gradients(clipped, inactive):
    problem, loss = (
        Problem(SMALL, clipped=clipped, inactive=inactive),
        maspo_dsl.compile("dapo", backend="eager"),
    )
    for found, wanted in zip(
        problem.by_head(loss)(), problem.by_scoring(loss, plain(entropy=False))(), strict=True
    ):
        assert wanted.abs().max() > 1e-4
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    used = (problem.by_head(loss)()[0].abs().sum(-1) > 0).float().mean()
    assert used == pytest.approx((1 - clipped) * (1 - inactive), abs=0.1)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("name", SCORINGS)
def test_peers_score_as_plain_torch_does(name, entropy):
    if (score := SCORINGS[name](entropy=entropy)) is None:
        pytest.skip(f"{name} is not installed, does not run here, or has no entropy")
    problem = Problem(SMALL)
    loss = maspo_dsl.compile(maspo_dsl.parse(ENTROPY) if entropy else "dapo", backend="eager")
    wanted = problem.by_scoring(loss, plain(entropy=entropy))()
    for found in (problem.by_scoring(loss, score)(), problem.by_head(loss)()):
        for one, other in zip(found, wanted, strict=True):
            assert other.abs().max() > 1e-4
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_visit_to_a_gpu_runs_where_there_is_none(monkeypatch):
    monkeypatch.setattr(maspo_dsl, "compile", partial(maspo_dsl.compile, backend="eager"))
    sizes = ((accelerator.SMALL, False), (accelerator.SMALL, True))
    lines = list(accelerator.report(sizes, minutes=1))
    assert all(line.count("|") == 6 for line in lines)
    for name in ("the three products alone", "ours", "logits formed by plain torch"):
        assert sum(f"| {name} | " in line and " ms | " in line for line in lines) == 2
    late = list(accelerator.report(sizes, minutes=-1))
    assert [("no time was left" in line) for line in late] == [False, False, True, True]


def test_the_chunks_of_torch_sum_the_cross_entropy_of_all_tokens():
    problem = Problem(Size(sequences=4, length=512, hidden=64, vocabulary=512))
    states, tokens = problem.hidden.flatten(0, 1), problem.tokens.flatten()
    wanted = torch.nn.functional.cross_entropy(states @ problem.weight.t(), tokens, reduction="sum")
    torch.testing.assert_close(torch_chunks(states, problem.weight, tokens), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dapo", "maspo", "grpo"])
def test_the_compiled_loss_and_the_eager_formula_have_one_gradient(name):
    compiled, eager, _ = pairs_of(LogProbs(8, 64))[name]
    assert eager().abs().max() > 1e-5
    torch.testing.assert_close(compiled(), eager(), rtol=1e-3, atol=1e-8)


@pytest.mark.slow
def test_the_steps_to_the_whole_call_compute_what_they_say():
    problem = LogProbs(4, 32)
    steps = limits.candidates(problem)
    old, new, exp, one, three, hand, hand_gate, mask, graph, gate, whole, whole_gate, eager, eager_gate = (
        step() for step in steps.values()
    )
    assert torch.equal(old, new) and not torch.equal(new, one) and not torch.allclose(one, three)
    torch.testing.assert_close(exp, one)
    assert torch.equal(mask, problem.batch["mask"].float())
    for (value, gradient), (wanted, derived) in ((hand, graph), (hand_gate, gate)):
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(gradient, derived["logp"])
    for (value, gradients), called, formula in ((graph, whole, eager), (gate, whole_gate, eager_gate)):
        assert value.dim() == 0 and formula.abs().max() > 1e-5
        for gradient in (gradients["logp"], called):
            torch.testing.assert_close(gradient, formula, rtol=1e-3, atol=1e-8)
    assert not torch.allclose(whole, whole_gate)
    assert limits.report(turns=1, problem=problem).count("ms |") == len(steps)


@pytest.mark.slow
def test_the_tables_are_made_of_ratios(tmp_path, monkeypatch):
    found = rows(SMALL, turns=1)
    assert len(found) >= 5 and all(row.ratio > 0 for row in found)
    text = markdown([*found, Row("a", "b", 3e6, 1e6, 2.0, unit="MB")])
    assert text.splitlines()[-1] == "| a | b | 3 MB | 1 MB | 3.000 | 2 | **not met** |"
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- end of table -->\nafter\n")
    monkeypatch.setattr(command, "PAGE", page)
    command.write("table", text)
    assert page.read_text() == f"before\n<!-- table -->\n\n{text}\n<!-- end of table -->\nafter\n"


def test_the_exponent_of_a_power_is_found_from_the_larger_half():
    sizes = [2**power for power in range(6)]
    assert law.exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    fixed = [100.0, 100.0, 100.0, *(7 * size for size in sizes[3:])]
    assert law.exponent(sizes, fixed) == pytest.approx(1)
    assert law.exponent(sizes[:2], [4.0, 1.0]) == pytest.approx(-2)


def test_the_model_of_the_cost_is_its_products_two_passes_and_room_for_a_chunk():
    size = Size(sequences=2, length=5, hidden=3, vocabulary=7)
    assert law.operations(size) == 6 * 10 * 3 * 7
    rates = law.Rates(operations=100.0, logits=10.0, fresh=5.0)
    assert rates.products(size) == pytest.approx(12.6)
    assert rates.head(size) == pytest.approx(12.6 + 2 * 10 * 7 / 10 + 10 * 7 / 5)
    assert law.room(Size(sequences=8, length=2**12, hidden=3, vocabulary=2**14)) == 96 * 2**20 / 4
    found = law.measured_rates(SMALL, turns=1)
    assert min(found.operations, found.logits, found.fresh) > 0
    assert law.largest_miss([10.0, 10.0], [9.0, 12.0]) == pytest.approx(-0.2)
    assert law.largest_miss([10.0, 10.0], [7.0, 12.0]) == pytest.approx(0.3)


def test_the_axes_reach_what_is_asked_for():
    axes = growth.axes(15)
    for name, last, of in (("tokens", 15, "tokens"), ("vocabulary", 18, "vocabulary")):
        assert [at for at, _ in axes[name]] == [2**power for power in range(last - 5, last + 1)]
        assert all(getattr(size, of) == at for at, size in axes[name])
    assert all(size.sequences == at and size.tokens == 1024 for at, size in axes["sequences"])


def test_growth_is_written_with_its_law_and_drawn(tmp_path, monkeypatch):
    points = [growth.Point(at, 0.002 * at, 0.003 * at, 0.001 * at**1.5, 0.0016 * at) for at in (4, 8)]
    assert growth.table("tokens", points).splitlines()[2] == (
        "| 4 | 8 ms | 6 ms | 1.25 | 8 ms | 1.00 | 12 ms | 0.67 |"
    )
    text = growth.law("tokens", points)
    assert "with tokens to the power 1.00; the products alone to 1.50, the model to 1.00" in text
    assert "Where the model misses most, it says 20 % too little." in text
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "images")
    growth.draw("tokens", points)
    assert (tmp_path / "images" / "tokens.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_a_size_is_measured_with_what_the_model_says():
    rates = law.Rates(operations=1e9, logits=1e9, fresh=1e9)
    point = growth.measured(SMALL, 128, rates, turns=1)
    assert point.at == 128 and min(point.head, point.logits, point.products) > 0
    assert point.predicted == rates.head(SMALL)


@pytest.mark.slow
def test_objectives_are_measured_on_their_schedules(tmp_path, monkeypatch):
    dapo, entropic = objectives.costs(SMALL, names=("dapo", "top_entropy"), turns=1)
    assert dapo.schedule.startswith("one pass") and entropic.schedule.startswith("two passes")
    assert (dapo.used, dapo.share) == (1.0, 1.0)
    assert entropic.used == pytest.approx(0.2, abs=0.02)
    assert entropic.share == pytest.approx((1 + 3 * entropic.used) / 3)
    cost = objectives.Cost("dapo", "one pass", False, 0.25, 0.06, 0.03)
    assert objectives.table([cost]).splitlines()[-1] == (
        "| `dapo` | one pass | 25 % | 60 ms | 30 ms | 2.00 | 0.50 |"
    )
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "images")
    objectives.draw([dapo, entropic])
    assert (tmp_path / "images" / "objectives.svg").read_text().startswith("<?xml")


def test_every_objective_of_the_benchmark_has_what_it_reads():
    for name in objectives.NAMES:
        gradient = Problem(SMALL).by_head(maspo_dsl.compile(name, backend="eager"))()[1]
        assert gradient.isfinite().all() and gradient.any()


def test_a_clock_charges_every_second_to_the_innermost_part():
    ticks = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0])
    clock = Clock(lambda: next(ticks))
    clock.mark()  # at 1
    with clock.part("outer"), clock.part("inner"):  # the one from 3 to 15, the other from 6 to 10
        pass
    clock.mark()  # at 21
    assert clock.step(0) == {REST: 2 + 6, "outer": 3 + 5, "inner": 4}
    clock.mark()  # at 28
    assert clock.step(0) == {REST: (8 + 7) / 2, "outer": 8 / 2, "inner": 4 / 2}
    assert clock.step(1) == {REST: 7, "outer": 0, "inner": 0}


@pytest.mark.slow
def test_a_profile_is_of_the_run_and_adds_up_to_a_step(tmp_path, monkeypatch):
    trainer = {"max_steps": 6, "updates_per_rollout": 2, "eval_every": 0, "checkpoint_every": 6}
    config = RunConfig(rollout={"prompts": 4, "samples": 2, "max_new_tokens": 3}, trainer=trainer)
    before = [getattr(*place) for place in profiling.PARTS.values()]
    found = profiling.profile(config)
    assert [getattr(*place) for place in profiling.PARTS.values()] == before
    never = {"old and reference log-probs"}
    assert {name for name, value in found.parts.items() if not value > 0} == never
    assert found.share(*found.parts) == pytest.approx(1)
    assert sum(found.parts.values()) == found.step
    rows = profiling.table(found).splitlines()[2:]
    shares = [float(row.split("|")[3].rstrip(" %")) for row in rows]
    assert shares[-1] == 100.0 and sum(shares[:-1]) == pytest.approx(100, abs=1)
    assert len(rows) == len(profiling.PARTS) + 2


def test_a_summary_sets_the_model_beside_itself_alone():
    own = {profiling.SAMPLING: 0.3, profiling.FORWARD: 0.2, profiling.BACKWARD: 0.4, REST: 0.1}
    text = profiling.summary(profiling.Profile(own, updates_alone=0.5, sampling_alone=0.2))
    assert "cover 90.0 % of a step, and the model's own passes 90 %" in text
    assert "takes 500.0 ms for forward and backward of the updates (the step's: 1.20 times that)" in text
    assert "200.0 ms for sampling (1.50 times)" in text


def test_the_model_alone_computes_what_the_first_step_needs():
    trainer = {"updates_per_rollout": 2}
    config = RunConfig(rollout={"prompts": 4, "samples": 2, "max_new_tokens": 4}, trainer=trainer)
    model, windows, rows = profiling.first_step(config)
    mask = rows.batch["mask"]
    logp = torch.stack(profiling.sampling_alone(model, rows), dim=1).log_softmax(-1)
    chosen = logp.gather(2, rows.tokens[:, -mask.shape[1] :, None])[..., 0]
    torch.testing.assert_close(chosen[mask], rows.batch["logp_old"][mask], rtol=1e-4, atol=1e-5)
    read = []
    model.base_model.register_forward_hook(lambda *call: read.append(call[2].last_hidden_state))
    profiling.updates_alone(model, windows)
    assert [len(states) for states in read] == [4, 4]
    assert all(states.requires_grad and states.shape[1] == rows.tokens.shape[1] for states in read)


@pytest.mark.slow
def test_memory_is_what_a_candidate_holds_at_its_peak():
    # Above 32 MiB, malloc gives memory back at once.
    assert 100e6 < peak_bytes(lambda: [torch.ones(16_000_000), torch.ones(16_000_000)][0]) < 160e6
