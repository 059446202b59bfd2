"""What a dry run says, against what is really made."""

import re

import pytest
import torch
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.estimate import estimate
from maspo_dsl.trainers.policies.tiny import tiny_config
from transformers import Qwen2ForCausalLM

import maspo_dsl


def lines(spec, *overrides):
    config = read_config(list(overrides))
    objective = maspo_dsl.load(spec, params=config.params, run=config.constants)
    return "\n".join(estimate(config, objective))


def test_memory_is_that_of_what_is_made():
    """Of 512 completions of 10 tokens: keys and values of 2 layers, 64 wide, in 4 bytes are 1024 bytes a token."""
    model = Qwen2ForCausalLM(tiny_config())
    weights = sum(each.numel() for each in model.parameters())
    text = lines("maspo")
    assert f"the model: {weights:,} weights; {weights:,} are trained" in text
    size = f"{4 * weights / 1024:.3g} KiB"
    assert f"weights {size}, gradients {size}, AdamW {8 * weights / 2**20:.3g} MiB" in text
    assert "cache of new tokens 5 MiB" in text and "grows by 512 KiB for each token of a prompt" in text
    kept = model(torch.zeros(1, 7, dtype=torch.long)).past_key_values
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in kept.layers)
    assert stored == 7 * 1024
    # Logits of a part, 51 to a token: 128 completions of 10 tokens.
    assert f"logits {4 * 51 * 1280 / 1024:.3g} KiB" in text


def test_tokens_of_a_step_and_of_the_run():
    text = lines(
        "grpo", "rollout.prompts=4", "rollout.samples=3", "trainer.updates_per_rollout=2", "params.kl=0"
    )
    assert (
        "4 prompts x 3 completions of at most 10 tokens, up to 120 new tokens; 2 updates of about 6 compl"
        in text
    )
    assert "160 steps, up to 19,200 new tokens" in text


@pytest.mark.parametrize(
    ("spec", "overrides", "said", "unsaid"),
    [
        ("grpo", ["params.kl=0.1"], "reads `reference`: a frozen copy", "computed again"),
        ("grpo", ["params.kl=0"], "", "reference"),
        ("dapo", ["rollout.max_resamples=2"], "a step samples 512 to 1,536 completions", "computed again"),
        ("tis", [], "log-probs of the old policy are computed again", "reads `reference`"),
        (
            "maspo",
            ["trainer.precision=bf16-mixed"],
            "log-probs of the old policy are computed again",
            "`keep`",
        ),
        ("vcpo", [], "has a `step` rule", "teacher `"),
        ("opd", ["teacher.teacher=tiny"], "reads teacher `", "reads `reference`"),
        ("maspo", ["model=nowhere/atall"], "memory: not known", "KiB"),
    ],
)
def test_what_an_objective_needs(spec, overrides, said, unsaid, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = lines(spec, *overrides)
    assert said in text and unsaid not in text


def test_adapters_are_counted_as_peft_makes_them(here):
    peft = pytest.importorskip("peft")
    from maspo_dsl.trainers.policies import as_trained
    from maspo_dsl.trainers.policies.pretrained import load_pretrained

    assert peft
    for targets in ("all-linear", "q_proj,down_proj"):
        overrides = ["model=base", "lora.rank=3", f"lora.targets={targets}"]
        model = as_trained(load_pretrained("base"), read_config(overrides)).model
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        found = re.search(r"; ([\d,]+) are trained, of adapters", lines("maspo", *overrides))
        assert int(found[1].replace(",", "")) == trained
