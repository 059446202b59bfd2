"""Sampling engines: what is asked of one, of vLLM through a stand-in with its interface, and what is refused."""

import importlib
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch
from maspo_dsl.trainers.completions import drawn_by
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.engine import Completion, Ways
from maspo_dsl.trainers.generation import generate, token_logp
from maspo_dsl.trainers.policies import with_engine
from maspo_dsl.trainers.policies.tiny import CharacterTokenizer
from maspo_dsl.trainers.rollout_data import RolloutData
from maspo_dsl.trainers.sampler_check import check_engine
from maspo_dsl.trainers.sampling import Sampler
from maspo_dsl.trainers.tasks import Example
from transformers import AutoModelForCausalLM

import maspo_dsl

from .families import policy_of, prompts_of

WAYS = Ways(limit=12, temperature=0.7, ends=(2, 5), seed=3)


class Reference:
    """An engine made of the sampler of the package, with its own copy of the weights; `error` is added to log-probs."""

    def __init__(self, model, error=0.0):
        self.model, self.error, self.loads = model, error, 0

    def load(self, model):
        self.model.load_state_dict(model.state_dict())
        self.loads += 1

    @torch.no_grad()
    def sample(self, prompts, ways):
        found = []
        for number, prompt in enumerate(prompts):
            generator = torch.Generator().manual_seed(ways.seed + number)
            sampler = Sampler(self.model, 0, ways.ends, ways.limit, generator, ways.temperature)
            ids = torch.tensor([prompt])
            drawn = sampler.sample(ids, torch.ones_like(ids, dtype=torch.bool))
            found.append(Completion(drawn.tokens[0].tolist(), (drawn.logp[0] + self.error).tolist()))
        return found


class Params:
    """vLLM's SamplingParams: what it is not told has the defaults of vLLM."""

    def __init__(self, **options):
        defaults = {
            "n": 1,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
        more = {"max_tokens": 16, "stop_token_ids": [], "logprobs": None, "detokenize": True, "seed": None}
        self.__dict__.update(defaults | more | options)
        assert options.keys() <= self.__dict__.keys()


class Llm:
    """vLLM's LLM, as much of it as a run asks for."""

    made: list = []  # noqa: RUF012

    def __init__(self, *, model, gpu_memory_utilization, seed, logprobs_mode):
        assert 0 < gpu_memory_utilization < 1
        self.model = AutoModelForCausalLM.from_pretrained(model).eval()
        self.temperate, self.resets = logprobs_mode == "processed_logprobs", 0
        Llm.made.append(self)

    def apply_model(self, function):
        own = self.model

        class Network:
            def load_weights(self, weights):
                known = dict(own.named_parameters())
                with torch.no_grad():
                    return {known[name].copy_(weight) is None or name for name, weight in weights}

        return [function(Network())]

    def reset_prefix_cache(self):
        self.resets += 1

    @torch.no_grad()
    def generate(self, prompts, params, use_tqdm=True):
        found = []
        for given, each in zip(prompts, params, strict=True):
            generator = torch.Generator().manual_seed(each.seed)
            ids, steps = torch.tensor([given["prompt_token_ids"]]), []
            assert (each.top_p, each.top_k, each.min_p, each.repetition_penalty) == (1, 0, 0, 1)
            while len(steps) < each.max_tokens:
                logits = self.model(ids).logits[0, -1]
                logp = (logits / each.temperature).log_softmax(-1)
                token = int(torch.multinomial(logp.exp(), 1, generator=generator))
                told = logp if self.temperate else logits.log_softmax(-1)
                steps.append((token, {token: SimpleNamespace(logprob=float(told[token]))}))
                ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
                if token in each.stop_token_ids:
                    break
            assert each.logprobs == 0
            output = SimpleNamespace(
                token_ids=[token for token, _ in steps], logprobs=[step for _, step in steps]
            )
            found.append(SimpleNamespace(outputs=[output]))
        return found


@pytest.fixture
def vllm(monkeypatch):
    """A stand-in for the package."""
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = Llm, Params
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


@pytest.fixture(params=["reference", "vllm"])
def engine(request, vllm, tmp_path):
    """Each engine, with weights of its own."""
    model = policy_of("llama", initializer_range=0.2).model
    if request.param == "reference":
        return Reference(model)
    model.save_pretrained(tmp_path / "model")
    engines = importlib.import_module("maspo_dsl.trainers.vllm_engine")
    return engines.VllmEngine(str(tmp_path / "model"), 0.4, 0)


def drawn(engine, prompts, ways=WAYS):
    return drawn_by(engine, prompts, ways, 0, torch.device("cpu"))


def moved(policy, by=0.05):
    """The policy after training has moved it."""
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight += by * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return policy


def test_an_engine_draws_what_the_model_says(engine):
    policy = moved(policy_of("llama"))
    engine.load(policy.model)
    prompts = prompts_of((5,)) * 24
    found = drawn(engine, prompts)
    length = found.tokens.shape[1]
    mask = found.logp != 0
    tokens = torch.cat([torch.tensor(prompts), found.tokens], dim=1)
    seen = torch.cat([torch.ones(24, 5, dtype=torch.bool), mask], dim=1)
    with torch.no_grad():
        logp, _ = token_logp(policy.model, tokens, seen, length, temperature=0.7, entropy=False)
    torch.testing.assert_close(found.logp, logp * mask, atol=1e-4, rtol=0)
    assert found.logp[mask].std() > 0.3


def test_an_engine_stops_at_ends_and_gives_equal_prompts_completions_of_their_own(engine):
    prompts = prompts_of((5, 9)) * 20
    found = drawn(engine, prompts)
    lengths = (found.logp != 0).sum(dim=1)
    last = found.tokens.gather(1, lengths[:, None] - 1)[:, 0]
    assert torch.equal(found.ended, torch.isin(last, torch.tensor(WAYS.ends)))
    assert found.ended.any() and not found.ended.all()
    assert len({tuple(row) for row in found.tokens.tolist()}) > 30
    assert torch.equal(found.tokens, drawn(engine, prompts).tokens)
    assert not torch.equal(found.tokens[:, 0], drawn(engine, prompts, replace(WAYS, seed=77)).tokens[:, 0])


@pytest.mark.parametrize(
    ("completion", "why"),
    [
        (Completion([], []), "0 tokens, of 1 to 12 asked for"),
        (Completion([9] * 13, [-1.0] * 13), "13 tokens, of 1 to 12"),
        (Completion([9, 2], [-1.0]), "1 log-probs for 2 tokens"),
        (Completion([2, 9, 2], [-1.0] * 3), "tokens behind its end"),
        (Completion([9, 8], [-1.0] * 2), "neither an end nor as many tokens"),
        (Completion([9, 2], [-1.0, float("nan")]), "log-probs that are none, such as nan"),
        (Completion([9, 2], [-1.0, 0.5]), "log-probs that are none, such as 0.5"),
    ],
)
def test_what_is_no_completion_is_refused(completion, why):
    with pytest.raises(ConfigError, match=why):
        drawn(SimpleNamespace(sample=lambda prompts, ways: [completion]), [[3]])
    with pytest.raises(ConfigError, match="gave 2 completions to 1 prompts"):
        drawn(SimpleNamespace(sample=lambda prompts, ways: [completion] * 2), [[3]])


def test_an_engine_of_another_model_is_refused():
    policy, said = policy_of("llama"), []
    ways = {"temperature": 0.7, "precision": "32-true", "log": said.append}
    check_engine(replace(policy, engine=Reference(policy_of("llama").model)), prompts_of((5, 9)), **ways)
    assert "by an engine, whose log-probs are" in said[0]
    stubborn = Reference(moved(policy_of("llama"), 0.3).model)
    stubborn.load = lambda model: None
    with pytest.raises(
        ConfigError, match="it has other weights, or its log-probs are not at the temperature"
    ):
        check_engine(replace(policy, engine=stubborn), prompts_of((5, 9)), **ways)


def test_log_probs_before_the_temperature_are_refused(vllm, monkeypatch, tmp_path):
    monkeypatch.setattr(
        Llm, "temperate", property(lambda self: False, lambda self, value: None), raising=False
    )
    policy = policy_of("llama")
    policy.model.save_pretrained(tmp_path / "model")
    engines = importlib.import_module("maspo_dsl.trainers.vllm_engine")
    engine = engines.VllmEngine(str(tmp_path / "model"), 0.4, 0)
    with pytest.raises(ConfigError, match="not at the temperature"):
        check_engine(
            replace(policy, engine=engine),
            prompts_of((5, 9)),
            temperature=0.3,
            precision="32-true",
            log=print,
        )


class Prompts:
    name = fingerprint = "prompts"

    @staticmethod
    def reward(completions, **columns):
        return [float(len(text)) for text in completions]

    def train(self, seed):
        while True:
            yield from (Example(prompt) for prompt in ("ab", "cde", "fg", "h"))

    def held_out(self, count):
        return []


def test_the_engines_log_probs_are_kept_as_rollout_and_old_is_the_models():
    """An engine that is 0.1 off: the policy is on policy, and `old / rollout` says how far the engine is from it."""
    model = policy_of("llama", vocab_size=51).model
    engine = Reference(policy_of("llama", vocab_size=51).model, error=-0.1)
    policy = replace(
        policy_of("llama", vocab_size=51), model=model, tokenizer=CharacterTokenizer(), engine=engine
    )
    objective = maspo_dsl.load("tis")
    said = []
    config = read_config(["rollout.prompts=4", "rollout.samples=2", "trainer.updates_per_rollout=1"])
    loss = maspo_dsl.compile(objective, backend="eager")
    data = RolloutData(policy, Prompts(), Prompts.reward, objective, loss, config, said.append)
    [window] = list(data)
    assert engine.loads >= 2
    for part in window:
        logp, entropy = token_logp(
            model, part["tokens"], part["attention"], part["mask"].shape[1], temperature=1.0, entropy=True
        )
        mask = part["mask"]
        torch.testing.assert_close(part["logp_old"][mask], logp[mask], atol=1e-4, rtol=0)
        torch.testing.assert_close(part["entropy"][mask], entropy[mask], atol=1e-4, rtol=0)
        torch.testing.assert_close(part["logp_rollout"][mask], logp[mask] - 0.1, atol=1e-4, rtol=0)
    assert not any("corrects nothing" in line for line in said)


def test_greedy_completions_are_the_models(monkeypatch):
    policy = replace(
        policy_of("llama", vocab_size=51), tokenizer=CharacterTokenizer(), engine=SimpleNamespace()
    )
    rollout = generate(
        policy, ["ab"], max_new_tokens=3, temperature=1.0, greedy=True, generator=torch.Generator()
    )
    assert rollout.entropy.any()


def test_vllm_is_named_where_it_is_missing_or_of_no_use(monkeypatch, tmp_path):
    policy = policy_of("llama")
    monkeypatch.setitem(sys.modules, "vllm", None)
    config = read_config(["rollout.engine=vllm", "model=some/where"])
    with pytest.raises(ConfigError, match=r'vLLM is not installed; run\n    pip install "maspo-dsl\[vllm\]"'):
        with_engine(policy, config)
    with pytest.raises(ConfigError, match="loads a model from a folder or the hub, not tiny"):
        with_engine(policy, read_config(["rollout.engine=vllm"]))
    with pytest.raises(ConfigError, match=r"samples with trainer\.devices=1 only"):
        with_engine(policy, read_config(["rollout.engine=vllm", "model=some/where", "trainer.devices=2"]))
    assert with_engine(policy, read_config([])) is policy
