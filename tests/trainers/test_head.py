"""The loss in the place of a model's head: which models allow it, and that it changes no gradient, sharded or not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from maspo_dsl.trainers import module as trainer_module
from maspo_dsl.trainers.config import TrainerConfig
from maspo_dsl.trainers.generation import token_logp
from maspo_dsl.trainers.module import PolicyTrainer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import maspo_dsl
from maspo_dsl.runtime.model_head import linear_head

VOCABULARY = 37
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def qwen(**options):
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**SIZES, **options)).eval()


def gemma():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5)).eval()


def part(dtype=torch.float32):
    """A micro-batch of completions after prompts of different lengths."""
    random = torch.Generator().manual_seed(1)
    attention = torch.ones(6, 9, dtype=torch.bool)
    attention[1, :2] = attention[4, :3] = False
    mask = torch.arange(5) < torch.tensor([5, 3, 4, 5, 1, 2])[:, None]
    attention[:, 4:] &= mask
    return {
        "tokens": torch.randint(0, VOCABULARY, (6, 9), generator=random),
        "attention": attention,
        "mask": mask,
        "advantage": torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -0.5], dtype=dtype),
        "logp_old": -3.6 + 0.2 * torch.randn(6, 5, generator=random, dtype=dtype),
        "entropy": torch.ones(6, 5, dtype=dtype),
    }


def gradients(name, model, batch):
    """The gradient of every weight of a model from one part of a window."""
    loss = maspo_dsl.compile(name, backend="eager")
    trainer = PolicyTrainer(
        model,
        loss,
        "hash",
        TrainerConfig(),
        temperature=0.7,
        live_entropy="entropy" in loss.objective.inputs,
        log=print,
    )
    model.zero_grad()
    output = trainer.loss_of(batch, trainer.denominators([batch]))
    output.loss.backward()
    return output, {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("name", ["maspo", "gspo", "stapo", "top_entropy"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_model_gets_the_same_gradient_either_way(name, tied, monkeypatch):
    model, batch = qwen(tie_word_embeddings=tied), part()
    assert linear_head(model) is model.lm_head
    by_head, found = gradients(name, model, batch)
    monkeypatch.setattr(trainer_module, "linear_head", lambda model: None)
    by_logits, wanted = gradients(name, model, batch)
    assert by_logits.loss.item() != 0
    torch.testing.assert_close(by_head.loss, by_logits.loss)
    for weight, gradient in wanted.items():
        assert gradient.abs().max() > 1e-6
        torch.testing.assert_close(found[weight], gradient, rtol=1e-4, atol=1e-7)
    for metric, value in by_logits.metrics.items():
        torch.testing.assert_close(by_head.metrics[metric], value, rtol=1e-4, atol=1e-6)


DISTILLED = """\
objective distilled
teacher larger
ratio        = none
penalty near = jsd(larger, policy, 0.3) + 0.5 * kl(policy, reference)
reduce       = loss |> mean(window)
"""


def test_whole_distributions_of_teachers_are_those_of_their_logits():
    """Through the heads of three models, one of another width, as by their logits [N, T, V]."""
    model, batch, temperature = qwen(), part(), 0.7
    torch.manual_seed(5)
    larger = Qwen2ForCausalLM(Qwen2Config(**{**SIZES, "hidden_size": 24})).eval().requires_grad_(False)
    reference = Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval().requires_grad_(False)
    objective = maspo_dsl.parse(DISTILLED)
    trainer = PolicyTrainer(
        model,
        maspo_dsl.compile(objective, backend="eager"),
        "hash",
        TrainerConfig(),
        temperature=temperature,
        teachers={"larger": larger, "reference": reference},
    )
    assert not any("larger" in name for name, _ in trainer.named_parameters())
    output = trainer.loss_of(batch, trainer.denominators([batch]))
    output.loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()

    def log_probs(each):
        positions = (batch["attention"].long().cumsum(1) - 1).clamp(min=0)
        logits = each(
            batch["tokens"], attention_mask=batch["attention"].long(), position_ids=positions
        ).logits
        return (logits[:, -6:-1] / temperature).log_softmax(-1)

    def kl(p, q):
        return (p.exp() * (p - q)).sum(-1)

    own, teacher, start = (log_probs(each) for each in (model, larger, reference))
    middle = (0.3 * teacher.exp() + 0.7 * own.exp()).log()
    near = 0.3 * kl(teacher, middle) + 0.7 * kl(own, middle) + 0.5 * kl(own, start)
    wanted = near[batch["mask"]].mean()
    wanted.backward()
    assert wanted.item() > 1e-3
    torch.testing.assert_close(output.loss, wanted, rtol=1e-4, atol=1e-6)
    for name, weight in model.named_parameters():
        assert weight.grad.abs().max() > 1e-7
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-7)


def test_models_with_more_than_a_linear_map_after_their_states_are_told():
    assert linear_head(gemma()) is None
    small = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2)).eval()
    assert linear_head(small) is small.lm_head
    adapted = qwen()

    class Adapted(torch.nn.Linear):
        def forward(self, states):
            return super().forward(states) + 1

    adapted.lm_head.__class__ = Adapted
    assert linear_head(adapted) is None
    assert linear_head(torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize("model", [qwen(), gemma()], ids=["head", "logits"])
def test_log_probs_without_gradient_are_those_with_one(model):
    batch = part()
    arguments = (model, batch["tokens"], batch["attention"], 5)
    with torch.no_grad():
        logp, entropy = token_logp(*arguments, temperature=0.7, entropy=True)
    wanted, wanted_entropy = token_logp(*arguments, temperature=0.7, entropy=True)
    mask = batch["mask"]
    torch.testing.assert_close(logp[mask], wanted[mask], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy[mask], wanted_entropy[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_two_processes_with_sharded_weights_give_the_gradient_of_one():
    """FSDP2 (fully_shard), whose weights are whole only within its forward pass."""
    script = Path(__file__).parent / "sharded.py"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "gradients agree on rank 0" in done.stdout and "gradients agree on rank 1" in done.stdout
