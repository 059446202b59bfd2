"""The sampler is the model, for every family of causal language models, or the family is refused."""

import pytest
import torch
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.policies.policy import Policy
from maspo_dsl.trainers.policies.tiny import CharacterTokenizer
from maspo_dsl.trainers.sampler_check import check_reading, checked_policy
from torch import nn
from transformers import DynamicCache

from .families import FAMILIES, PAGE, SOME, kind_of, policy_of, prompts_of, table, verdict, written


def checked(policy, **options):
    said = []
    options = {"temperature": 1.0, "precision": "32-true", **options}
    found, read = checked_policy(policy, prompts_of((5, 11)), log=said.append, **options)
    return found, read, said


@pytest.mark.parametrize("family", SOME)
def test_a_family_is_what_the_page_says(family):
    assert kind_of(verdict(family)) == table(PAGE.read_text())[family]


@pytest.mark.slow
def test_every_family_is_what_the_page_says():
    assert PAGE.read_text() == written(PAGE.read_text())


def test_every_family_stands_on_the_page():
    assert set(table(PAGE.read_text())) == set(FAMILIES)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_compared_is_not_trivial(precision):
    found, read, said = checked(policy_of("llama"), precision=precision)
    assert found.cached
    assert not said
    assert read.logp.shape == (3, 8)
    assert read.logp.std() > 0.5
    assert (~read.attention).sum(dim=1).tolist() == [6, 0, 6]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_cache_that_forgets_is_not_used(precision, monkeypatch):
    """The fault that hid for Mamba: each token is drawn from the last one alone."""
    plain = DynamicCache.update

    def update(self, keys, values, layer, *args, **options):
        found = plain(self, keys, values, layer, *args, **options)
        return (keys, values) if keys.shape[2] == 1 else found

    monkeypatch.setattr(DynamicCache, "update", update)
    policy = policy_of("llama", attn_implementation="eager")
    found, _, said = checked(policy, precision=precision)
    assert not found.cached
    assert len(said) == 1
    assert "is sampled without a cache, which is slower" in said[0]


class Shifted(nn.Module):
    """A model whose answer is off by a number that something of its input decides."""

    def __init__(self, of):
        super().__init__()
        self.model, self.of = policy_of("llama").model, of
        self.config = self.model.config

    def forward(
        self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None
    ):
        found = self.model(
            input_ids, attention_mask, position_ids, past_key_values=past_key_values, use_cache=use_cache
        )
        shift = self.of(input_ids, attention_mask).float()
        found.logits = found.logits * (1 + 0.05 * shift.reshape(-1, 1, 1))
        return found


def test_a_model_that_reads_padding_is_refused():
    model = Shifted(lambda ids, attention: (attention == 0).any(dim=1))
    with pytest.raises(ConfigError, match="does not leave out the padding before a prompt"):
        checked(Policy(model, CharacterTokenizer(), "shifted"))


def test_a_model_that_reads_ahead_is_refused():
    model = Shifted(lambda ids, attention: ids[:, -1] % 2)
    with pytest.raises(ConfigError, match="is no causal language model"):
        checked(Policy(model, CharacterTokenizer(), "shifted"))


def test_a_teacher_that_reads_padding_is_refused():
    policy = policy_of("llama")
    _, read, _ = checked(policy)
    check_reading("a teacher", policy.model, read, temperature=1.0, precision="32-true")
    model = Shifted(lambda ids, attention: (attention == 0).any(dim=1))
    with pytest.raises(ConfigError, match="`a teacher` does not leave out the padding"):
        check_reading("a teacher", model, read, temperature=1.0, precision="32-true")


def test_a_model_that_answers_with_nothing_is_refused():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask=None, **options):
            raise ValueError("an image is missing")

    with pytest.raises(ConfigError, match=r"cannot be sampled: .*an image is missing"):
        checked(Policy(Broken(), CharacterTokenizer(), "broken"))
