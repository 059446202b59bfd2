"""Updates: windows of any size and cut weigh the same, and entropy survives tokens that are forbidden."""

from functools import cache
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from maspo_dsl.trainers.config import TrainerConfig
from maspo_dsl.trainers.generation import token_logp
from maspo_dsl.trainers.module import PolicyTrainer
from maspo_dsl.trainers.rows import Part, Window, cut
from torch import nn

import maspo_dsl

from .subjects import SHIPPED, loss_of, objective, reads_micro, slot, undivided


class OneWeight(nn.Module):
    """Two tokens, whose logits are 2 w and 0: at w = 0 the log-prob of token 0 has derivative 1, of token 1 -1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.config = SimpleNamespace(vocab_size=2, max_position_embeddings=64)

    def forward(self, input_ids, attention_mask=None, **options):
        logits = torch.stack([2 * self.weight, torch.zeros(())]).expand(*input_ids.shape, 2)
        return SimpleNamespace(logits=logits)


class Windows:
    """Windows as a data loader; Lightning takes a list of lists for several loaders."""

    def __init__(self, windows: list[Window]) -> None:
        self.windows = windows

    def __iter__(self):
        return iter(self.windows)


def part(tokens: list[list[int]], lengths: list[int], advantage: list[float], group: list[int]) -> Part:
    """Completions after a prompt of one token; the old policy, sampler and reference are the policy of w = 0."""
    completions = torch.tensor(tokens)
    rows, columns = completions.shape
    flat = torch.full((rows, columns), -0.6931472)
    return {
        "tokens": torch.cat([torch.zeros(rows, 1, dtype=torch.long), completions], dim=1),
        "attention": torch.ones(rows, columns + 1, dtype=torch.bool),
        "mask": torch.arange(columns) < torch.tensor(lengths)[:, None],
        "advantage": torch.tensor(advantage),
        "group": torch.tensor(group),
        **{name: flat.clone() for name in ("logp_old", "logp_ref", "logp_rollout")},
        "entropy": torch.zeros(rows, columns),
    }


def gradients(name: str, windows: list[Window]) -> list[float]:
    """What the optimizer saw at each window's update, through Lightning."""
    seen: list[float] = []
    model = OneWeight()

    class Watched(torch.optim.SGD):
        def step(self, *args, **kwargs):
            seen.append(model.weight.grad.item())

    config = TrainerConfig(warmup_steps=0, gradient_clip=None)
    loss = loss_of(name, **undivided(name))
    step = objective(name).resolved.parts.get("step") is not None
    module = PolicyTrainer(model, loss, "hash", config, scales_steps=step, log=lambda line: None)
    module.configure_optimizers = lambda: Watched(model.parameters(), lr=1.0)
    off = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    Trainer(max_epochs=1, accelerator="cpu", **off).fit(module, train_dataloaders=Windows(windows))
    return seen


def rollout() -> Part:
    """Eight groups that are alike, of a good completion of three tokens and a bad one of one."""
    groups = range(8)
    tokens, lengths = [[0, 0, 1], [1, 0, 0]] * 8, [3, 1] * 8
    return part(tokens, lengths, [1.0, -0.5] * 8, [group for group in groups for _ in range(2)])


def windows_of(rows: Part, windows: int, micro_batches: int) -> list[Window]:
    """The rollout as the trainer cuts it."""
    cuts = cut(rows["group"], windows, micro_batches, torch.Generator().manual_seed(0))
    return [[{name: value[index] for name, value in rows.items()} for index in one] for one in cuts]


CONFIGURATIONS = ((4, 2), (2, 2), (2, 4), (1, 8))
"""Updates a rollout, and micro-batches an update."""


@cache
def seen(name: str) -> list[float]:
    """Gradients of two windows of equal micro-batches, four and two, and of every window of every cut."""
    unit = part([[0]], [1], [-1.0], [0])
    alike = [window for numbers in CONFIGURATIONS for window in windows_of(rollout(), *numbers)]
    return gradients(name, [[unit] * 4, [unit] * 2, *alike])


@pytest.mark.parametrize("name", SHIPPED)
def test_t02_tail_window(name):
    """Six micro-batches of gradient 1, accumulated by four: Lightning's optimizer sees 1.0 and 0.5 (Lightning #19987).

    Through the module that trains here, 1 and 1: the shorter last window divides by its own.
    """
    if reads_micro(name) and "mean(micro)" in slot(name, "reduce"):
        assert seen(name)[:2] == pytest.approx([4.0, 2.0], rel=1e-5)  # as it declares
    else:
        assert seen(name)[:2] == pytest.approx([1.0, 1.0], rel=1e-5)


# A good completion 0, 0, 1 of A = 1 has derivative -1 and a bad 1 of A = -0.5 has -0.5: over four tokens, -1.5 / 4;
# over three and one, and two completions, (-1 / 3 - 0.5) / 2; not over tokens, -1.5 / 2.
ALIKE = {
    "loss |> mean(window)": -0.375,
    "loss |> mean(sequence) |> mean(window)": -0.4166667,
    "loss |> sum(sequence) |> mean(window)": -0.75,
    "loss / max_length |> sum(sequence) |> mean(window)": -0.75,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_t04_window_is_not_the_generation_batch(name):
    """Windows that were another share of what was generated than thought got 0.5, 1 or 2 times theirs (TRL #6024).

    Of eight groups that are alike, each window of two groups, four or all, in two micro-batches, four or eight, has
    the same gradient, and it is the one by hand.
    """
    found = seen(name)[2:]
    assert len(found) == 4 + 2 + 2 + 1
    if not (reads_micro(name) and "mean(micro)" in slot(name, "reduce")):
        assert found == pytest.approx([ALIKE[slot(name, "reduce")]] * 9, rel=1e-5)
        return
    parts = [count for windows, count in CONFIGURATIONS for _ in range(windows)]
    assert found == pytest.approx(
        [-0.375 * count for count in parts], rel=1e-5
    )  # a mean each, as it declares


# ---- T13


class Forbidding(nn.Module):
    """Five tokens, of which token 3 always has the logit -inf, and token 4 after the prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor([[0.5, -1.0, 0.0, 0.0, 0.0], [1.0, 0.25, -0.5, 0.0, 2.0]]))
        self.config = SimpleNamespace(vocab_size=5, max_position_embeddings=64)

    def forward(self, input_ids, attention_mask=None, **options):
        logits = self.table[(torch.arange(input_ids.shape[1]) > 0).long()].expand(*input_ids.shape, 5).clone()
        logits[..., 3] = -torch.inf
        logits[:, 0, 4] = -torch.inf
        return SimpleNamespace(logits=logits)


def test_t13_entropy():
    """0 log 0 of a forbidden token made the entropy NaN, and mended forward, its gradient still (TRL #7252).

    Entropy and its gradient are those of the tokens that are allowed, by hand; so is the loss that has it as a bonus.
    """
    model = Forbidding()
    tokens, attention = torch.tensor([[0, 2, 1]]), torch.ones(1, 3, dtype=torch.bool)
    logp, entropy = token_logp(model, tokens, attention, 2, temperature=0.8, entropy=True)
    allowed = [model.table[0, :3], model.table[1, [0, 1, 2, 4]]]
    chances = [torch.softmax(logits.detach() / 0.8, -1) for logits in allowed]
    expected = [-(chance * chance.log()).sum() for chance in chances]
    torch.testing.assert_close(entropy[0].detach(), torch.stack(expected))

    text = "objective mine extends gpg\nbonus entropy = 0.5 * entropy(policy)\n"
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    batch = {"logp": logp, "entropy": entropy, "mask": torch.ones(1, 2, dtype=torch.bool)}
    loss({**batch, "advantage": torch.zeros(1)}).loss.backward()
    assert torch.isfinite(model.table.grad).all()
    # dH/dlogit = -p (log p + H) / temperature, of which the mean over two tokens has half, and the bonus half of that
    slope = -chances[0] * (chances[0].log() + expected[0]) / 0.8
    torch.testing.assert_close(model.table.grad[0, :3], -0.25 * slope)
    assert not model.table.grad[0, 3:].any() and model.table.grad[1, 3] == 0
