"""Low-rank adapters: what is trained, how they come out, and that a run with them goes on to the same weights."""

import pytest
import torch
from maspo_dsl.trainers.checkpoint import last_checkpoint, trained_weights
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.export import export
from maspo_dsl.trainers.policies import as_trained
from maspo_dsl.trainers.policies.pretrained import load_pretrained
from transformers import AutoModelForCausalLM, AutoTokenizer

peft = pytest.importorskip("peft")

LORA = ["lora.rank=2", "lora.alpha=8"]


def policy(*overrides):
    return as_trained(load_pretrained("base"), read_config(["model=base", "lora.rank=2", *overrides]))


def trained_names(model):
    return {name for name, each in model.named_parameters() if each.requires_grad}


@pytest.mark.parametrize(
    ("override", "layers"),
    [("lora.targets=all-linear", 7), ("lora.targets=q_proj,v_proj", 2), ("lora.targets=q_proj", 1)],
)
def test_adapters_alone_are_trained_in_the_layers_asked_for(here, override, layers):
    """A layer of a Llama has seven linear maps, each of which gets two matrices; they add nothing at first."""
    found = policy(override)
    assert len(trained_names(found.model)) == 2 * layers
    assert all("lora_" in name for name in trained_names(found.model))
    tokens = torch.arange(2, 12)[None]
    with torch.no_grad():
        assert torch.equal(found.model(tokens).logits, load_pretrained("base").model(tokens).logits)


def test_layers_that_are_not_there_are_refused(here):
    with pytest.raises(ConfigError, match=r"lora\.targets=nowhere: base cannot have these adapters"):
        policy("lora.targets=nowhere")


def test_a_run_trains_adapters_and_writes_them_merged_and_apart(here, tmp_path):
    here("run=run", *LORA)
    weights = trained_weights(last_checkpoint(tmp_path / "run"))
    assert weights and all("lora_" in name for name in weights)
    assert any(bool(each.any()) for name, each in weights.items() if "lora_B" in name)
    export(tmp_path / "run", tmp_path / "merged")
    export(tmp_path / "run", tmp_path / "adapter", merge=False)
    assert not list((tmp_path / "adapter").glob("model*"))
    tokens = AutoTokenizer.from_pretrained("merged")("say 7", return_tensors="pt")["input_ids"]
    adapted = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("base"), "adapter")
    logits = {
        "base": AutoModelForCausalLM.from_pretrained("base")(tokens).logits,
        "merged": AutoModelForCausalLM.from_pretrained("merged")(tokens).logits,
        "run": AutoModelForCausalLM.from_pretrained("run/model")(tokens).logits,
        "adapter": adapted(tokens).logits,
    }
    assert (logits["merged"] - logits["base"]).abs().max() > 1e-3
    torch.testing.assert_close(logits["adapter"], logits["merged"], rtol=0, atol=1e-5)
    assert torch.equal(logits["run"], logits["merged"])


def test_a_run_with_adapters_goes_on_to_the_same_weights(here, tmp_path):
    here("run=whole", *LORA, steps=3)
    here("run=parts", *LORA, steps=2)
    here("resume=parts", steps=3, spec=None)
    whole, parts = (trained_weights(last_checkpoint(tmp_path / name)) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(
        torch.equal(each, parts[name]) for name, each in whole.items()
    )


def test_an_adapter_is_of_a_run_with_one(here, tmp_path):
    here("run=run", steps=1)
    with pytest.raises(ConfigError, match="was trained without LoRA"):
        export(tmp_path / "run", tmp_path / "out", merge=False)
