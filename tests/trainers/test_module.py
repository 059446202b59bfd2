"""Updates: a window's gradient does not depend on its cut, and an update goes where the objective says."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from maspo_dsl.trainers.config import TrainerConfig
from maspo_dsl.trainers.module import PolicyTrainer, clip_gradient, learning_rate


def parts_of(rows, sizes):
    """A window of random rows of different lengths, cut into micro-batches of the given sizes."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(1, 9, (rows,), generator=generator)
    mask = torch.arange(8) < lengths[:, None]
    whole = {
        "tokens": torch.randint(0, 6, (rows, 10), generator=generator),
        "attention": torch.ones(rows, 10, dtype=torch.bool),
        "mask": mask,
        "advantage": torch.randn(rows, generator=generator, dtype=torch.float64),
        "logp_old": -1.8 + 0.2 * torch.randn(rows, 8, generator=generator, dtype=torch.float64),
        "entropy": torch.ones(rows, 8, dtype=torch.float64),
    }
    return [{name: value.split(sizes)[i] for name, value in whole.items()} for i in range(len(sizes))]


def fit(parts, windows, *, config=None, loss=None, model=None, epochs=1, **options):
    """Run windows through the module in a real Trainer; returns it and the gradient that each update saw."""
    model = model or parts.model().double()
    config = config or TrainerConfig(warmup_steps=0, gradient_clip=None, max_steps=epochs)
    module = PolicyTrainer(model, loss or parts.loss(), "hash", config, log=lambda line: None, **options)
    gradients = []
    step = torch.optim.AdamW.step

    class Spy(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            gradients.append(model.table.grad.clone())
            return step(self, *args, **kwargs)

    module.configure_optimizers = lambda: Spy(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    run(module, windows, epochs)
    return module, gradients


class Windows:
    """Windows as a data loader; Lightning takes a list of lists for several loaders."""

    def __init__(self, windows):
        self.windows = windows

    def __iter__(self):
        return iter(self.windows)


def run(module, windows, epochs=1):
    """Fit with a silent Trainer."""
    options = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", **options)
    trainer.fit(module, train_dataloaders=Windows(windows))


@pytest.mark.parametrize("sizes", [[4, 4], [1, 7], [1, 2, 5], [1] * 8])
def test_the_gradient_does_not_depend_on_the_cut(parts, sizes):
    _, [whole] = fit(parts, [parts_of(8, [8])])
    _, [cut] = fit(parts, [parts_of(8, sizes)])
    assert whole.norm() > 0.01
    torch.testing.assert_close(cut, whole, rtol=2e-5, atol=1e-7)


def test_the_optimizer_sees_the_gradient_of_the_loss(parts):
    """No mean over micro-batches is taken of it (TRL #6024)."""
    _, [seen] = fit(parts, [parts_of(8, [2, 6])])
    loss, model, [whole] = parts.loss(), parts.model().double(), parts_of(8, [8])
    module = PolicyTrainer(model, loss, "hash", TrainerConfig())
    loss(module.with_policy(whole), module.denominators([whole])).loss.backward()
    torch.testing.assert_close(seen, model.table.grad, rtol=2e-5, atol=1e-7)


def test_a_shorter_last_window_weighs_the_same(parts):
    """Six equal micro-batches in windows of four: Lightning's accumulation gives gradients 1 and 1/2."""
    [row] = parts_of(1, [1])
    model = parts.model().double()
    config = TrainerConfig(warmup_steps=0, gradient_clip=None, learning_rate=1e-12)
    row["logp_old"] = row["logp_old"] * 0 - 1.8
    _, [first, last] = fit(parts, [[row] * 4, [row] * 2], config=config, model=model)
    assert first.norm() > 0.01
    torch.testing.assert_close(last, first, rtol=1e-6, atol=1e-9)


def test_a_part_without_trained_tokens_adds_nothing(parts):
    _, [whole] = fit(parts, [parts_of(8, [8])])
    empty = parts_of(8, [3, 5])[0]
    empty["mask"] = torch.zeros_like(empty["mask"])
    _, [padded] = fit(parts, [[empty, *parts_of(8, [8])]])
    torch.testing.assert_close(padded, whole, rtol=2e-5, atol=1e-7)


def test_an_empty_window_is_no_update(parts):
    module, gradients = fit(parts, [[]])
    assert not gradients
    assert module.sums.updates == 0


def test_metrics_do_not_depend_on_the_cut(parts):
    whole, _ = fit(parts, [parts_of(8, [8])])
    cut, _ = fit(parts, [parts_of(8, [1, 2, 5])])
    expected, means = whole.sums.means(), cut.sums.means()
    assert (
        means.keys() == expected.keys() >= {"loss", "ratio_mean", "ratio_max", "grad_norm", "learning_rate"}
    )
    assert means == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("sign", "rises"), [(1.0, True), (-1.0, False)])
def test_updates_raise_the_rewarded_completions_and_the_flipped_objective_lowers_them(parts, sign, rises):
    model = parts.model().double()
    window = parts_of(8, [8])
    module, _ = fit(
        parts, [window], epochs=1, model=model, config=TrainerConfig(learning_rate=1e-12, warmup_steps=0)
    )

    def weighed():
        with torch.no_grad():
            batch = module.with_policy(window[0])
        return float((batch["logp"] * batch["mask"] * batch["advantage"][:, None]).sum())

    window[0]["logp_old"] = module.with_policy(window[0])["logp"].detach()
    before = weighed()
    loss = parts.loss(parts.objective(sign=sign))
    config = TrainerConfig(learning_rate=0.01, warmup_steps=0, max_steps=5)
    fit(parts, [window], epochs=5, model=model, loss=loss, config=config)
    assert (weighed() > before + 0.1) if rises else (weighed() < before - 0.1)


def test_on_policy_the_loss_is_zero_and_the_weights_move(parts):
    model = parts.model().double()
    window = parts_of(8, [8])
    start = model.table.detach().clone()
    module = PolicyTrainer(model, parts.loss(), "hash", TrainerConfig())
    window[0]["logp_old"] = module.with_policy(window[0])["logp"].detach()
    tokens = window[0]["mask"].sum(dim=1)
    advantage = window[0]["advantage"]
    window[0]["advantage"] = advantage - (advantage * tokens).sum() / tokens.sum()
    module, [gradient] = fit(parts, [window], model=model)
    assert module.sums.means()["loss"] == pytest.approx(0.0, abs=1e-9)
    assert gradient.norm() > 0.01
    assert not torch.equal(model.table, start)


def test_a_gradient_that_is_not_finite_is_left_out_and_said(parts):
    model, lines = parts.model().double(), []
    window = parts_of(8, [8])
    window[0]["advantage"][0] = float("nan")
    start = model.table.detach().clone()
    module = PolicyTrainer(model, parts.loss(), "hash", TrainerConfig(), log=lines.append)
    run(module, [window])
    assert torch.equal(model.table, start)
    assert module.sums.updates == 0
    [said] = [line for line in lines if "gradient" in line]
    assert "step 1: the gradient's norm is nan" in said
    assert "Not finite: advantage" in said


@pytest.mark.parametrize(
    ("shift", "precision", "said"), [(0, "32-true", 0), (2e-3, "32-true", 1), (2e-3, "bf16-mixed", 0)]
)
def test_a_first_update_that_is_not_on_policy_is_said_once(parts, shift, precision, said):
    model, lines = parts.model(), []
    config = TrainerConfig(precision=precision, learning_rate=1e-12, warmup_steps=0, max_steps=2)
    module = PolicyTrainer(model, parts.loss(), "hash", config, log=lines.append)
    window = parts_of(8, [2, 6])
    for part in window:
        part["advantage"] = part["advantage"].float()
        part["logp_old"] = module.with_policy(part)["logp"].detach() + shift
    run(module, [window, window], epochs=2)
    assert len(lines) == said
    assert all("`policy / old` is up to 0.998 and should be 1" in line for line in lines)


def test_a_loss_whose_denominators_read_the_policy_gets_its_log_probs(parts, monkeypatch):
    loss = parts.loss()
    loss.objective = replace(loss.objective, window_reads_policy=True)
    plain, seen = loss.window, []

    def window(batches):
        seen.extend("logp" in batch for batch in batches)
        return plain(batches)

    monkeypatch.setattr(loss, "window", window)
    _, [whole] = fit(parts, [parts_of(8, [8])])
    assert not seen
    _, [same] = fit(parts, [parts_of(8, [3, 5])], loss=loss)
    assert seen == [True, True]
    torch.testing.assert_close(same, whole, rtol=2e-5, atol=1e-7)


def test_the_entropy_is_live_only_where_the_objective_reads_it(parts):
    window = parts_of(8, [8])
    for live in (False, True):
        module = PolicyTrainer(
            parts.model().double(), parts.loss(), "hash", TrainerConfig(), live_entropy=live
        )
        assert module.with_policy(window[0])["entropy"].requires_grad is live


def test_the_learning_rate_rises_over_the_warm_up_steps():
    config = TrainerConfig(learning_rate=1.0, warmup_steps=2, updates_per_rollout=4)
    rates = [learning_rate(config, step, update) for step in range(3) for update in range(4)]
    assert rates == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1, 1, 1, 1, 1]
    assert learning_rate(TrainerConfig(learning_rate=0.5, warmup_steps=0), 0, 0) == 0.5


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("constant", [1.0] * 4),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),  # (1 + cos(k pi / 4)) / 2
    ],
)
def test_the_learning_rate_falls_as_scheduled(schedule, shares):
    """One step of warm-up and two more, of two updates each: the last would be followed by 0."""
    config = TrainerConfig(
        learning_rate=2.0, warmup_steps=1, updates_per_rollout=2, max_steps=3, schedule=schedule
    )
    rates = [learning_rate(config, step, update) for step in range(3) for update in range(2)]
    assert rates == pytest.approx([1.0, 2.0, *(2 * share for share in shares)])


def test_a_schedule_without_warm_up_falls_from_the_first_update():
    config = TrainerConfig(
        learning_rate=1.0, warmup_steps=0, updates_per_rollout=1, max_steps=2, schedule="linear"
    )
    assert [learning_rate(config, step, 0) for step in range(2)] == [1.0, 0.5]


@pytest.mark.parametrize("decay", [0, 0.5])
def test_weight_decay_is_of_matrices_alone(parts, decay):
    """With a gradient of 0 AdamW does nothing but decay: a matrix is multiplied by 1 - rate * decay."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).double()
    model[1].weight.requires_grad_(False)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    config = TrainerConfig(learning_rate=0.25, weight_decay=decay)
    optimizer = PolicyTrainer(model, parts.loss(), "hash", config).configure_optimizers()
    for each in model.parameters():
        each.grad = torch.zeros_like(each)
    optimizer.step()
    assert before["0.weight"].abs().max() > 0.01 and before["0.bias"].abs().max() > 0.01
    for name, each in model.named_parameters():
        kept = 1 - 0.25 * decay if name == "0.weight" else 1.0
        torch.testing.assert_close(each.detach(), before[name] * kept, rtol=1e-12, atol=0)


def test_clipping_returns_the_norm_before_it():
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert clip_gradient(layer, None) == 5.0
    assert clip_gradient(layer, 1.0) == 5.0
    assert layer.weight.grad.norm() == pytest.approx(1.0, rel=1e-4)


def _two_ranks(rank, folder, build):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    from maspo_dsl.runtime.ranks import least_over_ranks, of_all_ranks, rows_of_all_ranks, sum_over_ranks

    loss, model = build.loss(), build.model().double()
    module = PolicyTrainer(model, loss, "hash", TrainerConfig())
    own = parts_of(8, [2, 6])[rank]
    denominators = module.denominators([own])
    loss(module.with_policy(own), denominators).loss.backward()
    torch.distributed.all_reduce(model.table.grad)
    everything, mine = rows_of_all_ranks(
        {
            name: own[name][:, :4] if rank == 0 and own[name].ndim == 2 else own[name]
            for name in ("mask", "advantage")
        }
    )
    facts = [
        least_over_ranks(rank + 3, torch.device("cpu")) == 3,
        of_all_ranks(rank) == [0, 1],
        sum_over_ranks({"a": torch.tensor(rank + 1.0)})["a"] == 3,
        everything["mask"].shape == (8, 8),
        torch.equal(everything["advantage"][mine], own["advantage"]),
    ]
    torch.save((model.table.grad, all(facts)), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


# Processes of their own: one that is forked after autograd has run in threads can wait for ever.
_ONE_RANK = """
import importlib.util, sys
from pathlib import Path
from types import SimpleNamespace

def module(name):
    spec = importlib.util.spec_from_file_location(name, Path(sys.argv[1]) / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded

stand_ins = module("conftest")
build = SimpleNamespace(loss=stand_ins.ClipLoss, model=stand_ins.TableModel)
module("test_module")._two_ranks(int(sys.argv[3]), sys.argv[2], build)
"""


def test_two_ranks_give_the_gradient_of_one(parts, tmp_path):
    _, [whole] = fit(parts, [parts_of(8, [8])])
    command = [sys.executable, "-c", _ONE_RANK, str(Path(__file__).parent), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    try:
        assert [each.wait(timeout=120) for each in ranks] == [0, 0]
    finally:
        for each in ranks:
            each.kill()
    for rank in range(2):
        gradient, agreed = torch.load(tmp_path / f"{rank}.pt")
        assert agreed
        torch.testing.assert_close(gradient, whole, rtol=2e-5, atol=1e-7)
