"""Stand-ins around the trainer: a PPO-clip loss, a model of one table, a task of one character; and a model to own."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from maspo_dsl.trainers.config import read_config
from maspo_dsl.trainers.policies import Policy
from maspo_dsl.trainers.policies.tiny import ALPHABET, CharacterTokenizer
from maspo_dsl.trainers.run import train
from maspo_dsl.trainers.tasks import Example
from rich.console import Console
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import maspo_dsl

GRAPH = maspo_dsl.load("group_ppo").graph


@dataclass(frozen=True)
class ClipObjective:
    """What the trainer reads of an objective."""

    name: str = "clip"
    hash: str = "a" * 64
    text: str = "objective clip\n"
    inputs: frozenset[str] = frozenset({"logp", "logp_old", "mask", "reward", "group"})
    keeps: bool = False
    window_reads_policy: bool = False
    memories: dict = field(default_factory=dict)
    estimates: bool = True
    params: dict = field(default_factory=dict)
    teachers: tuple = ()
    sign: float = 1.0

    @property
    def training_inputs(self):
        return self.inputs

    @property
    def resolved(self):
        log_probs = {f"logp_{name}": SimpleNamespace(policy=True, name=name) for name in self.teachers}
        flat = SimpleNamespace(teachers=dict.fromkeys(self.teachers))
        return SimpleNamespace(parts={}, flat=flat, tensors=log_probs, distributions={})

    def reads(self, *purposes):
        return frozenset({"mask"}) if purposes == ("prompt",) else self.inputs

    @property
    def graph(self):
        return GRAPH


class ClipLoss(nn.Module):
    """PPO's clip, mean over the window's tokens; advantages centred in a group."""

    def __init__(self, objective=None):
        super().__init__()
        self.objective = objective or ClipObjective()
        self.advantage_calls = 0

    def forward(self, batch, denominators=None):
        denominators = denominators or self.window([batch])
        advantage = batch["advantage"][:, None]
        ratio = (batch["logp"] - batch["logp_old"]).exp()
        gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        mask = batch["mask"]
        loss = -self.objective.sign * torch.where(mask, gain, 0.0).sum() / denominators["tokens"].clamp(min=1)
        count = mask.sum()
        sums = {
            "loss": (loss * denominators["tokens"], count),
            "ratio_mean": (torch.where(mask, ratio, 0.0).sum(), count),
        }
        sums["entropy"] = (torch.where(mask, batch["entropy"], 0.0).sum(), count)
        parts = {name: torch.stack([total, count]).detach().double() for name, (total, count) in sums.items()}
        parts["ratio_max"] = torch.where(mask, ratio, 0.0).max().detach().double()[None]
        bad = {"advantage": (~advantage.isfinite()).sum()}
        return SimpleNamespace(loss=loss, metric_parts=parts, nonfinite=bad)

    def window(self, micro_batches):
        return {"tokens": sum(batch["mask"].sum() for batch in micro_batches).float()}

    def advantage(self, batch):
        self.advantage_calls += 1
        mean = torch.zeros_like(batch["reward"])
        for group in batch["group"].unique():
            rows = batch["group"] == group
            mean[rows] = batch["reward"][rows].mean()
        return batch["reward"] - mean

    def keep(self, batch):
        kept = torch.zeros_like(batch["truncated"])
        for group in batch["group"].unique():
            rows = batch["group"] == group
            kept[rows] = batch["reward"][rows].unique().numel() > 1
        return kept


class TableModel(nn.Module):
    """A bigram model: the next token's logits are a row of a table."""

    def __init__(self, vocabulary=6, seed=0):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocabulary, max_position_embeddings=64)
        self.table = nn.Parameter(
            torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed))
        )

    def forward(self, input_ids, attention_mask=None, **options):
        return SimpleNamespace(logits=self.table[input_ids])


class Digits:
    """Tokens 2 to 5 are the characters 2 to 5."""

    pad_id, eos_ids, size = 0, (1,), 6

    def encode(self, prompt):
        return [int(character) for character in prompt]

    def decode(self, ids):
        return "".join(str(token) for token in ids)


class RepeatTask:
    """Say the prompt's character: the reward is the share of it in the completion."""

    name, fingerprint = "repeat", "repeat"

    @staticmethod
    def reward(prompts, completions, **columns):
        return [completion.count(prompt) / 4 for prompt, completion in zip(prompts, completions, strict=True)]

    def train(self, seed) -> Iterator[Example]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield Example(str(int(torch.randint(2, 6, (1,), generator=generator))), {"answer": "x"})

    def held_out(self, count):
        return [Example(str(digit), {"answer": "x"}) for digit in range(2, 6)][:count]


@pytest.fixture
def parts():
    """Constructors of the stand-ins."""
    return SimpleNamespace(
        objective=ClipObjective,
        loss=ClipLoss,
        model=TableModel,
        task=RepeatTask,
        policy=lambda seed=0: Policy(TableModel(seed=seed), Digits(), "table"),
    )


@pytest.fixture
def stand_in_policy(monkeypatch):
    """`train` with stand-ins for the policy and the task; returns those a test may exchange."""
    chosen = SimpleNamespace(objective=ClipObjective(), task=RepeatTask())
    monkeypatch.setattr("maspo_dsl.trainers.run.build_task", lambda name, **options: chosen.task)
    monkeypatch.setattr(
        "maspo_dsl.trainers.run.build_policy",
        lambda model, task, seed, cache: Policy(TableModel(), Digits(), "table"),
    )
    return chosen


@pytest.fixture
def stand_in(stand_in_policy, monkeypatch):
    """The same with a stand-in for the compiler too."""
    chosen = stand_in_policy

    def load(source, params=None, run=None):
        return replace(chosen.objective, params=dict(params or {}))

    monkeypatch.setattr(maspo_dsl, "load", load, raising=False)
    monkeypatch.setattr(maspo_dsl, "compile", lambda objective, backend: ClipLoss(objective), raising=False)
    return chosen


SETTINGS = [
    "model=base",
    "task=task.jsonl",
    "compile=off",
    "rollout.prompts=4",
    "rollout.samples=4",
    "rollout.max_new_tokens=3",
    "trainer.updates_per_rollout=2",
    "trainer.learning_rate=0.01",
    "trainer.warmup_steps=0",
    "trainer.eval_every=1",
    "trainer.eval_prompts=4",
    "reward=judges.letters",
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model, prompts and a reward, and `settings`; runs there, and gives what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("judges", None)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(ALPHABET) + 2, max_position_embeddings=64, **sizes, **ends)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    CharacterTokenizer().hugging_face().save_pretrained(tmp_path / "base")
    rows = [{"prompt": f"say {i}", "answer": str(i)} for i in range(20)]
    (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "judges.py").write_text(
        "def letters(completions, **columns):\n    return [float(sum(map(str.isalpha, c))) for c in completions]\n"
    )

    def go(*overrides, steps=3, spec="dapo"):
        text = io.StringIO()
        keys = {each.partition("=")[0] for each in overrides}
        base = [] if "resume" in keys else [e for e in SETTINGS if e.partition("=")[0] not in keys]
        config = read_config([*base, f"trainer.max_steps={steps}", *overrides])
        train(config, spec, console=Console(file=text, width=300))
        return text.getvalue()

    go.settings = SETTINGS
    return go
