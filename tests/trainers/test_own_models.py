"""Runs with models, tokenizers, rewards and prompts of people's own, as they are: right, or refused in a sentence."""

import io
import json
import string
import sys
from types import SimpleNamespace

import pytest
import torch
from maspo_dsl.trainers.checkpoint import last_checkpoint
from maspo_dsl.trainers.config import TokenizerConfig, read_config
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.module import PolicyTrainer
from maspo_dsl.trainers.policies import Policy, with_tokenizer
from maspo_dsl.trainers.policies.pretrained import load_pretrained
from maspo_dsl.trainers.policies.tiny import CharacterTokenizer
from maspo_dsl.trainers.rollout_data import RolloutData
from maspo_dsl.trainers.run import train
from rich.console import Console
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.15,
}
SYMBOLS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    *string.ascii_letters,
    *string.digits,
    *" .,:;=+-*/?!<>|_\n'\"()[]{}",
]
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PLAIN = [{"prompt": f"sort {i}{i * 7}=", "answer": str(i)} for i in range(20)]
TALK = [{"prompt": [{"role": "user", "content": f"sort {i}"}]} for i in range(20)]


def characters(chat=None, *, special=(), template=None):
    """A tokenizer of one token a character."""
    made = Tokenizer(models.WordLevel({symbol: i for i, symbol in enumerate(SYMBOLS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    if template is not None:
        made.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    found = PreTrainedTokenizerFast(tokenizer_object=made, **names)
    if special:
        found.add_special_tokens({"additional_special_tokens": list(special)})
    if chat:
        found.chat_template = chat
    return found


def uniform():
    """A model to which every token is as likely as any other."""
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    with torch.no_grad():
        model.lm_head.weight.zero_()
    return model


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Makes a run of a folder with a model, prompts and rewards in it, and gives what it came to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def save(model=None, tokenizer=None):
        torch.manual_seed(0)
        (model or LlamaForCausalLM(LlamaConfig(**SIZES))).save_pretrained("model")
        (tokenizer or characters()).save_pretrained("model")

    def run(objective, *overrides, rows=PLAIN, reward="", name="run"):
        module = f"judge_{tmp_path.name}_{len(list(tmp_path.glob('judge*.py')))}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(reward or LETTERS)
        (tmp_path / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = {
            "run": name,
            "task": "task.jsonl",
            "model": "model",
            "reward": f"{module}.judge",
            "compile": "off",
            "rollout.prompts": 4,
            "rollout.samples": 4,
            "rollout.max_new_tokens": 8,
            "trainer.max_steps": 1,
            "trainer.updates_per_rollout": 1,
            "trainer.micro_batches": 2,
            "trainer.eval_every": 0,
            **dict(override.split("=", 1) for override in overrides),
        }
        if "resume" in given:
            given = dict(override.split("=", 1) for override in overrides)
        said = io.StringIO()
        try:
            config = read_config([f"{key}={value}" for key, value in given.items()])
            train(config, objective, console=Console(file=said, width=400))
            error = None
        except ConfigError as stopped:
            error = str(stopped)
        file = tmp_path / name / "metrics.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return SimpleNamespace(rows=rows, said=said.getvalue(), error=error, folder=tmp_path / name)

    return SimpleNamespace(save=save, run=run, path=tmp_path)


LETTERS = """
def judge(completions, **columns):
    texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
    return [float(sum(each.isalpha() for each in text)) for text in texts]
"""


@pytest.mark.parametrize("objective", ["grpo", "gspo"])
def test_the_first_update_is_on_policy_in_every_precision(here, objective):
    """One context for sampling, old, reference and update, and a batch that is not cast: 0.71 for 1.13 else."""
    here.save()
    found = {
        precision: here.run(objective, f"trainer.precision={precision}", name=precision)
        for precision in ("32-true", "bf16-mixed")
    }
    for run in found.values():
        assert run.error is None
        row = run.rows[1]
        assert row["ratio_max"] == pytest.approx(1, abs=1e-4)
        assert (row["gated_pos"], row["gated_neg"]) == (0, 0)
        assert row["grad_norm"] > 0.1
        assert "should be 1" not in run.said
    full, half = (run.rows[1] for run in found.values())
    if full["reward"] == half["reward"]:  # the same completions
        assert half["grad_norm"] == pytest.approx(full["grad_norm"], rel=0.05)


def test_everything_that_reads_a_model_reads_it_in_one_precision(here, monkeypatch):
    here.save()
    seen = set()
    plain = LlamaForCausalLM.forward

    def forward(self, *args, **options):
        seen.add(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32)
        return plain(self, *args, **options)

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    loss_of, batches = PolicyTrainer.loss_of, []

    def spy(self, part, denominators):
        batches.append({name: value.dtype for name, value in part.items() if value.is_floating_point()})
        return loss_of(self, part, denominators)

    monkeypatch.setattr(PolicyTrainer, "loss_of", spy)
    run = here.run("grpo", "trainer.precision=bf16-mixed", "trainer.eval_every=1", "params.kl=0.1")
    assert run.error is None
    # The model's head is tried once without a context, with numbers in the place of its logits.
    assert seen - {torch.float32} == {torch.bfloat16}
    assert batches
    assert all(dtype == torch.float32 for batch in batches for dtype in batch.values())
    state = torch.load(last_checkpoint(run.folder), weights_only=True)["state_dict"]
    assert all(value.dtype == torch.float32 for value in state.values())


def test_weights_in_bfloat16_are_refused(here):
    assert (
        "`trainer.precision=bf16-true`: expected '32-true' or 'bf16-mixed'"
        in here.run("grpo", "trainer.precision=bf16-true").error
    )


@pytest.mark.parametrize("objective", ["tis", "mis", "rejection"])
def test_old_is_computed_again_beside_rollout(here, objective, monkeypatch):
    """A sampler that is wrong by a known factor is corrected by it, and `old` is not the sampler's."""
    here.save()
    run = here.run(objective)
    assert run.error is None
    assert f"objective {objective} reads `rollout`" in run.said
    from maspo_dsl.trainers import rollout_data

    plain, seen = rollout_data.generate, []

    def generate(*args, **options):
        rollout = plain(*args, **options)
        rollout.logp.sub_(0.3 * rollout.mask)
        return rollout

    windows = RolloutData._make_windows

    def spy(self):
        found = windows(self)
        seen.extend(part for window in found for part in window)
        return found

    monkeypatch.setattr(rollout_data, "generate", generate)
    monkeypatch.setattr(RolloutData, "_make_windows", spy)
    run = here.run(objective, name="second")
    assert run.rows[1]["ratio_max"] == pytest.approx(1, abs=1e-4)
    assert seen
    for part in seen:
        apart = (part["logp_old"] - part["logp_rollout"])[part["mask"]]
        torch.testing.assert_close(apart, torch.full_like(apart, 0.3), atol=1e-4, rtol=0)


def test_special_tokens_reach_rewards(here):
    here.save(tokenizer=characters(special=["<think>", "</think>"]))
    tokenizer = load_pretrained("model").tokenizer
    ids = tokenizer.encode("<think>ab</think>7")
    assert tokenizer.decode([*ids, 2, 0]) == "<think>ab</think>7"
    reward = "def judge(completions, **c):\n    return [float('<think>' in text) for text in completions]\n"
    assert here.run("grpo", reward=reward).error is None


def test_tokens_without_text_never_reach_a_reward(here):
    """A model of 128 tokens, all as likely as any other, whose tokenizer has less: a line says so once."""
    here.save(uniform())
    size = max(characters().get_vocab().values()) + 1
    assert size < 110
    reward = """
def judge(completions, **columns):
    assert all(len(c) <= 8 and "None" not in c and chr(0xFFFD) not in c for c in completions), completions
    assert any(len(c) < 7 for c in completions)
    return [float(len(c)) for c in completions]
"""
    run = here.run("grpo", "trainer.max_steps=2", reward=reward)
    assert run.error is None
    assert (
        f"sampled tokens have no text: model model has more tokens than the {size} of its tokenizer"
        in run.said
    )
    assert run.said.count("have no text") == 1


def test_special_tokens_are_stripped_on_demand(here):
    here.save(uniform(), characters(special=["<think>", "</think>"]))
    tokens = "def judge(completions, **c):\n    return [float('think' in text) for text in completions]\n"
    longer = "rollout.max_new_tokens=40"
    kept = here.run("grpo", longer, reward=tokens)
    stripped = here.run("grpo", longer, "tokenizer.strip_special=true", reward=tokens, name="b")
    assert kept.rows[0]["reward"] > 0
    assert stripped.rows[0]["reward"] == 0


def test_one_more_token_ends_a_completion(here):
    here.save(uniform())
    plain = here.run("grpo", "rollout.max_new_tokens=40")
    run = here.run("grpo", "rollout.max_new_tokens=40", "tokenizer.end=a", name="b")
    assert run.rows[1]["length"] < plain.rows[1]["length"]
    assert (
        "`tokenizer.end=<eot>`: the model has no such token"
        in here.run("grpo", "tokenizer.end=<eot>", name="c").error
    )
    policy = Policy(uniform(), CharacterTokenizer(), "tiny")
    with pytest.raises(ConfigError, match="options of `tokenizer` are for other models"):
        with_tokenizer(policy, TokenizerConfig(end="a"))
    assert with_tokenizer(policy, TokenizerConfig()) is policy


def test_a_turn_that_nothing_ends_is_said(here):
    template = CHAT.replace("\\n", "<eot>").replace("\n", "<eot>")
    here.save(tokenizer=characters(template, special=["<eot>"]))
    run = here.run("grpo", rows=TALK)
    assert (
        "puts <eot> behind the assistant's words, and it ends no completion: `tokenizer.end=<eot>`"
        in run.said
    )
    assert "ends no completion" not in here.run("grpo", "tokenizer.end=<eot>", rows=TALK, name="b").said


@pytest.mark.parametrize("template", ["<s> $A </s>", "$A </s>", "<s> $A", "$A"])
def test_no_token_stands_behind_a_prompt(here, template):
    here.save(tokenizer=characters(template=template))
    tokenizer = load_pretrained("model").tokenizer
    begin = [1] if template.startswith("<s>") else []
    assert tokenizer.encode("ab") == [*begin, 4, 5]


def test_a_prompt_that_the_assistant_has_begun_goes_on(here):
    here.save(tokenizer=characters(CHAT))
    tokenizer = load_pretrained("model").tokenizer
    begun = [{"role": "user", "content": "sort 21"}, {"role": "assistant", "content": "Sorted: "}]
    assert tokenizer.decode(tokenizer.encode(begun)) == "<user>sort 21\n<assistant>Sorted: "
    assert tokenizer.decode(tokenizer.encode(begun[:1])) == "<user>sort 21\n<assistant>"
    reward = """
def judge(prompts, completions, **columns):
    assert all(len(prompt) == 1 and prompt[0]["role"] == "user" for prompt in prompts)
    assert all(len(each) == 1 and each[0]["content"].startswith("Sorted: ") for each in completions)
    return [float(len(each[0]["content"])) for each in completions]
"""
    assert here.run("grpo", rows=[{"prompt": begun}] * 12, reward=reward).error is not None
    rows = [{"prompt": [{"role": "user", "content": f"sort {i}"}, begun[1]]} for i in range(12)]
    assert here.run("grpo", rows=rows, reward=reward, name="b").error is None


def test_a_pad_token_that_the_model_does_not_embed_is_not_used(here):
    tokenizer = characters()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    size = tokenizer.convert_tokens_to_ids("[PAD]")
    here.save(LlamaForCausalLM(LlamaConfig(**{**SIZES, "vocab_size": size})), tokenizer)
    run = here.run("grpo", rows=[{"prompt": "a" * (1 + n % 5) + str(n)} for n in range(20)])
    assert run.error is None


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(here):
    tokenizer = characters(special=["<think>"])
    size = tokenizer.convert_tokens_to_ids("<think>")
    here.save(LlamaForCausalLM(LlamaConfig(**{**SIZES, "vocab_size": size})), tokenizer)
    error = here.run("grpo").error
    assert f"its tokenizer has {size + 1} tokens and the model embeds {size}" in error
    assert "cannot read `<think>`" in error


def test_weights_that_are_nan_are_named(here):
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    here.save(model)
    run = here.run("grpo")
    assert "weights that are NaN or infinite: model.layers.1.mlp.up_proj.weight" in run.error
    assert not run.folder.exists()


def test_a_mixture_of_experts_that_reports_its_routers(here):
    settings = {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "output_router_logits": True}
    here.save(MixtralForCausalLM(MixtralConfig(**settings)))
    run = here.run("grpo")
    assert run.error is None
    assert run.rows[1]["ratio_max"] == pytest.approx(1, abs=1e-4)


def test_a_reward_that_writes_to_messages_changes_no_prompt(here):
    here.save(tokenizer=characters(CHAT))
    reward = """
def judge(prompts, completions, **columns):
    for prompt, completion in zip(prompts, completions):
        prompt.extend(completion)
    return [float(len(prompt)) + len(prompt[-1]["content"]) % 3 for prompt in prompts]
"""
    run = here.run("grpo", "trainer.max_steps=3", rows=TALK, reward=reward)
    assert run.error is None
    samples = [json.loads(line) for line in (run.folder / "samples.jsonl").read_text().splitlines()]
    assert all(len(sample["prompt"]) == 1 for sample in samples)
    assert all(row["reward"] < 5 for row in run.rows)


FLAKY = """
import random
done = 0
def judge(completions, **columns):
    global done
    done += 1
    if done > {after}:
        raise TimeoutError("the judge did not answer")
    return [float(len(text)) + random.random() for text in completions]
"""


def test_a_reward_that_fails_for_good_ends_the_run_where_it_can_go_on(here):
    here.save()
    steps = ["trainer.max_steps=4", "trainer.checkpoint_every=20"]
    whole = here.run("grpo", *steps, reward=FLAKY.format(after=99), name="whole")
    run = here.run("grpo", *steps, reward=FLAKY.format(after=2))
    assert "failed: TimeoutError: the judge did not answer" in run.error
    assert [row["step"] for row in run.rows] == [0, 1, 2]
    assert last_checkpoint(run.folder).name == "step-000002.ckpt"
    [module] = here.path.glob("judge*_1.py")
    module.write_text(FLAKY.format(after=99))
    sys.modules.pop(module.stem)
    again = here.run("grpo", "resume=run", "resume_changed=true")  # its source is another now
    assert again.error is None
    assert [row["reward"] for row in again.rows] == [row["reward"] for row in whole.rows]
    states = [
        torch.load(last_checkpoint(each.folder), weights_only=True)["state_dict"] for each in (whole, again)
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_reward_that_fails_at_first_leaves_nothing(here):
    here.save()
    run = here.run("grpo", reward=FLAKY.format(after=0))
    assert "the judge did not answer" in run.error
    assert not run.folder.exists()


def test_a_reward_that_fails_for_some_is_counted_and_shown(here):
    here.save()
    reward = """
def judge(completions, **columns):
    return [float("nan") if "e" in text else 1 / len(text.replace("a", "").replace("b", "")) for text in completions]
"""
    short = ["trainer.max_steps=3", "rollout.reward_failures=1", "rollout.max_new_tokens=3"]
    run = here.run("grpo", *short, reward=reward)
    assert run.error is None
    failures = [row["reward_failures"] for row in run.rows[1:]]
    assert all(0 <= share < 1 for share in failures)
    assert any(failures)
    assert "of 16 completions have no reward and are left out: reward function" in run.said
    assert all(row["grad_norm"] > 0 for row in run.rows[1:])


def test_every_prompt_is_looked_at_before_the_first_step(here):
    here.save()
    rows = [*PLAIN, {"prompt": "x" * 70 + "="}, *PLAIN]
    run = here.run("grpo", rows=rows)
    assert "is too long: its 71 tokens and 8 new ones exceed the 64 positions" in run.error
    assert not run.folder.exists()


@pytest.mark.parametrize("key", ["rollout.top_p", "top_k", "rollout.repetition_penalty"])
def test_sampling_from_a_part_of_the_distribution_is_an_error(here, key):
    assert (
        f"there is no key `{key}`: completions are drawn from the whole distribution"
        in here.run("grpo", f"{key}=0.9").error
    )
