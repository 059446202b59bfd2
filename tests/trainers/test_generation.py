"""Sampling and log-probs: the sampler's numbers are those of whole sequences, whatever the padding."""

from types import SimpleNamespace

import pytest
import torch
from maspo_dsl.trainers import generation
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.encoding import padded
from maspo_dsl.trainers.generation import generate, token_logp
from maspo_dsl.trainers.policies.policy import Policy
from maspo_dsl.trainers.policies.tiny import CharacterTokenizer
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import maspo_dsl

PROMPTS = ["sort 31=", "a", "sort 5281=", "bc", "7", "sort 31="] * 4
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "vocab_size": 51}
WIDE = {"hidden_size": 32, "intermediate_size": 64, "num_key_value_heads": 2, "initializer_range": 0.3}


def make(kind):
    torch.manual_seed(0)
    if kind == "qwen2":
        return Policy(Qwen2ForCausalLM(Qwen2Config(**SIZES, **WIDE)).eval(), CharacterTokenizer(), kind)
    if kind == "llama, padded with its end":
        tokenizer = CharacterTokenizer(pad_id=1, eos_ids=(1, 5))
        return Policy(LlamaForCausalLM(LlamaConfig(**SIZES, **WIDE)).eval(), tokenizer, kind)
    config = GPT2Config(n_layer=2, n_head=4, n_embd=32, n_positions=64, vocab_size=51, initializer_range=0.3)
    return Policy(GPT2LMHeadModel(config).eval(), CharacterTokenizer(), kind)


@pytest.fixture(scope="module", params=["qwen2", "llama, padded with its end", "gpt2, learned positions"])
def policy(request):
    return make(request.param)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(policy, prompts=PROMPTS, seed=0, **options):
    options = {"max_new_tokens": 12, "temperature": 1.0, **options}
    return generate(policy, prompts, generator=seeded(seed), **options)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("greedy", [False, True])
def test_the_samplers_logp_is_that_of_whole_sequences(policy, temperature, greedy):
    rollout = sample(policy, temperature=temperature, greedy=greedy)
    length = rollout.mask.shape[1]
    with torch.no_grad():
        logp, entropy = token_logp(
            policy.model, rollout.tokens, rollout.attention, length, temperature=temperature, entropy=True
        )
    torch.testing.assert_close(entropy * rollout.mask, rollout.entropy, atol=1e-4, rtol=0)
    assert logp.dtype == torch.float32
    assert logp.shape == rollout.logp.shape == rollout.mask.shape
    torch.testing.assert_close(logp * rollout.mask, rollout.logp, atol=1e-4, rtol=0)


def test_shapes_and_masks(policy):
    rollout = sample(policy)
    ends = torch.tensor(policy.tokenizer.eos_ids)
    rows, length = rollout.mask.shape
    width = rollout.tokens.shape[1] - length
    assert rows == len(PROMPTS)
    assert 0 < rollout.truncated.sum() < rows
    for row, prompt in enumerate(PROMPTS):
        ids = policy.tokenizer.encode(prompt)
        assert rollout.attention[row, :width].tolist() == [False] * (width - len(ids)) + [True] * len(ids)
        assert rollout.tokens[row, width - len(ids) : width].tolist() == ids
        completion = rollout.tokens[row, width:]
        stops = torch.isin(completion, ends).nonzero()[:, 0].tolist()
        size = stops[0] + 1 if stops else length
        assert rollout.mask[row].tolist() == [True] * size + [False] * (length - size)
        assert bool(rollout.truncated[row]) == (not stops)
        assert rollout.texts[row] == policy.tokenizer.decode(completion[: size - bool(stops)].tolist())
        assert (completion[size:] == policy.tokenizer.pad_id).all()
    assert (rollout.attention[:, width:] == rollout.mask).all()
    assert (rollout.logp[~rollout.mask] == 0).all()
    assert (rollout.logp[rollout.mask] < 0).all()


def test_a_prompt_alone_and_in_a_padded_batch(policy):
    together = sample(policy, greedy=True)
    for row in (0, 1, 2):
        alone = sample(policy, [PROMPTS[row]], greedy=True)
        assert alone.texts == [together.texts[row]]
        length = min(alone.mask.shape[1], together.mask.shape[1])
        torch.testing.assert_close(alone.logp[0, :length], together.logp[row, :length], atol=1e-4, rtol=0)


def test_padding_changes_no_logp_and_no_gradient(policy):
    rollout = sample(policy, ["sort 31=", "sort 52="])
    length = rollout.mask.shape[1]
    padding = torch.full((2, 5), 7)

    def result(tokens, attention):
        policy.model.zero_grad()
        logp, entropy = token_logp(policy.model, tokens, attention, length, temperature=1.0, entropy=True)
        ((logp + entropy) * rollout.mask).sum().backward()
        return (logp * rollout.mask).detach(), [p.grad.clone() for p in policy.model.parameters()]

    bare, gradient = result(rollout.tokens, rollout.attention)
    padded, same = result(
        torch.cat([padding, rollout.tokens], 1),
        torch.cat([torch.zeros_like(padding).bool(), rollout.attention], 1),
    )
    torch.testing.assert_close(bare, padded, atol=1e-4, rtol=0)
    for one, other in zip(gradient, same, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    policy.model.zero_grad()


def test_the_same_generator_state_gives_the_same_rollout(policy):
    one, same, other = sample(policy), sample(policy), sample(policy, seed=1)
    assert torch.equal(one.tokens, same.tokens)
    assert torch.equal(one.logp, same.logp)
    assert one.texts != other.texts


def test_greedy_takes_the_likeliest_and_draws_nothing(policy):
    generator = seeded()
    state = generator.get_state()
    rollout = generate(policy, PROMPTS, max_new_tokens=4, temperature=1.0, greedy=True, generator=generator)
    assert torch.equal(state, generator.get_state())
    width = rollout.tokens.shape[1] - rollout.mask.shape[1]
    logits = policy.model(
        input_ids=rollout.tokens[:1, :width], attention_mask=rollout.attention[:1, :width].long()
    ).logits
    if bool(rollout.attention[0, :width].all()):
        assert logits[0, -1].argmax() == rollout.tokens[0, width]


def test_sampled_frequencies_follow_the_model():
    policy = make("qwen2")
    rollout = sample(policy, ["a"] * 4000, max_new_tokens=1)
    drawn = rollout.tokens[:, -1]
    expected = rollout.logp[:, 0].exp()  # of the token drawn, the same prompt in every row
    for token in drawn.unique():
        chosen = drawn == token
        chance = float(expected[chosen][0])
        assert float(chosen.float().mean()) == pytest.approx(chance, abs=4 * (chance / 4000) ** 0.5)


def test_entropy_is_that_of_the_distribution(policy):
    rollout = sample(policy, ["sort 31="] * 3)
    length, width = rollout.mask.shape[1], rollout.tokens.shape[1] - rollout.mask.shape[1]
    _, entropy = token_logp(
        policy.model, rollout.tokens, rollout.attention, length, temperature=0.7, entropy=True
    )
    logits = policy.model(input_ids=rollout.tokens, attention_mask=rollout.attention.long()).logits.double()
    expected = torch.distributions.Categorical(logits=logits[:, width - 1 : -1] / 0.7).entropy()
    torch.testing.assert_close(entropy.double() * rollout.mask, expected * rollout.mask, atol=1e-4, rtol=0)
    assert entropy.requires_grad


def test_chunks_change_nothing(policy, monkeypatch):
    whole = sample(policy, greedy=True)
    length = whole.mask.shape[1]
    arguments = policy.model, whole.tokens, whole.attention, length
    with torch.no_grad():
        logp, entropy = token_logp(*arguments, temperature=1.0, entropy=True)
        monkeypatch.setattr(generation, "_LOGITS_AT_ONCE", 51 * 5 * (length + 1))
        small, small_entropy = token_logp(*arguments, temperature=1.0, entropy=True)
    torch.testing.assert_close(logp, small, atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy, small_entropy, atol=1e-5, rtol=0)
    monkeypatch.setattr(generation, "_LOGITS_AT_ONCE", 51 * 5)
    parts = sample(policy, greedy=True)
    assert torch.equal(parts.tokens, whole.tokens)
    torch.testing.assert_close(parts.logp, whole.logp, atol=1e-5, rtol=0)


def test_sampling_leaves_the_model_as_it_was(policy):
    policy.model.train()
    try:
        rollout = sample(policy)
        assert policy.model.training
        assert not rollout.logp.requires_grad
    finally:
        policy.model.eval()


def test_padded():
    tokens, attention = padded([[4, 5], [6]], 0, left=True)
    assert tokens.tolist() == [[4, 5], [0, 6]]
    assert attention.tolist() == [[True, True], [False, True]]
    tokens, attention = padded([[4, 5], [6]], 0, left=False)
    assert tokens.tolist() == [[4, 5], [6, 0]]
    assert attention.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (["a", ""], {}, "prompt 1, '', is empty"),
        (
            ["a", "b" * 60],
            {},
            r"prompt 1, 'b+….* is too long: its 60 tokens and 12 new ones exceed the 64 positions",
        ),
        ([], {}, "no prompts"),
        (["a"], {"temperature": 0.0}, "temperature=0.0: expected a number above 0"),
        (["a"], {"max_new_tokens": 0}, "expected at least 1"),
        (["A"], {}, "no token for 'A'"),
        ([[{"role": "user", "content": "a"}]], {}, "this prompt is messages"),
    ],
)
def test_prompts_that_cannot_be_continued(prompts, options, message):
    with pytest.raises(ConfigError, match=message):
        sample(make("qwen2"), prompts, **options)


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


def test_the_entropy_of_forbidden_tokens():
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
