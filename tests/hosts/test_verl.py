"""Objectives inside verl: the numbers of its own losses and estimators, and what it cannot carry.

Needs verl 0.9 (`pip install verl`), so these run in `make full`, in an environment of their own.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import maspo_dsl

core = pytest.importorskip("verl.trainer.ppo.core_algos")
import verl.workers.utils.losses as verl_losses  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from verl.utils.tensordict_utils import assign_non_tensor  # noqa: E402
from verl.workers.config import ActorConfig, PolicyLossConfig  # noqa: E402

from maspo_dsl.hosts import verl as host  # noqa: E402
from maspo_dsl.hosts.shared import HostError  # noqa: E402

SHIPPED = host.register(*maspo_dsl.shipped())

# An objective and its parameters; verl's loss, and the settings at which it is the same.
LOSSES = {
    "dual clip": ("ppo_dual_clip", {"eps_low": 0.1, "eps_high": 0.3, "cap": 1.5}, "vanilla", "token-mean",
                  {"clip_ratio_low": 0.1, "clip_ratio_high": 0.3, "clip_ratio_c": 1.5}, {}),
    "gspo": ("gspo", {"eps_low": 0.1, "eps_high": 0.2}, "gspo", "seq-mean-token-mean",
             {"clip_ratio_low": 0.1, "clip_ratio_high": 0.2}, {}),
    "sapo": ("sapo", {"tau_pos": 1, "tau_neg": 1.3}, "sapo", "seq-mean-token-mean",
             {"tau_pos": 1.0, "tau_neg": 1.3}, {}),
    "gpg": ("gpg", {}, "gpg", "token-mean", {}, {}),
    "cispo": ("cispo", {"cap": 1.2}, "cispo", "token-mean", {"clip_ratio_low": 1, "clip_ratio_high": 0.2}, {}),
    "dppo_tv": ("dppo_tv", {"d_low": 0.05, "d_high": 0.03}, "dppo_tv", "token-mean",
                {"clip_ratio_low": 0.05, "clip_ratio_high": 0.03, "clip_ratio_c": 20.0}, {}),
    "dppo_kl": ("dppo_kl", {"d_low": 0.01, "d_high": 0.02}, "dppo_kl", "token-mean",
                {"clip_ratio_low": 0.01, "clip_ratio_high": 0.02, "clip_ratio_c": 20.0}, {}),
    "dro": ("dro", {"beta": 0.3}, "dro", "token-mean", {}, {"dro_beta": 0.3}),
    "gmpo": ("gmpo", {"eps_low": 0.2, "eps_high": 0.3}, "geo_mean", "token-mean",
             {"clip_ratio_low": 0.2, "clip_ratio_high": 0.3}, {}),
}  # fmt: skip


def config(loss_mode, loss_agg_mode="token-mean", policy_loss=None, **settings):
    return ActorConfig(
        strategy="fsdp",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=2,
        loss_agg_mode=loss_agg_mode,
        policy_loss=PolicyLossConfig(loss_mode=loss_mode, **(policy_loss or {})),
        **settings,
    )


@pytest.fixture
def batch():
    """Eight completions of unequal lengths, rewards of two groups; a third of the ratios far from 1."""
    random = torch.Generator().manual_seed(3)
    old = -2 * torch.rand(8, 5, generator=random)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 4, 5, 2, 5, 4])[:, None]
    return {
        "old_log_prob": old,
        "log_prob": (old + 0.4 * torch.randn(8, 5, generator=random)).clamp(max=-0.01),
        "advantages": torch.randn(8, 1, generator=random).expand(8, 5) * mask,
        "response_mask": mask,
    }


def gradient(function, batch, settings, counts, rows=slice(None), weights=None):
    """The loss of some rows, and its gradient."""
    part = {name: tensor[rows].clone() for name, tensor in batch.items()}
    part["log_prob"].requires_grad_()
    settings.global_batch_info.clear()
    settings.global_batch_info.update(counts)
    loss, metrics = function(
        **part,
        loss_agg_mode=settings.loss_agg_mode,
        config=settings,
        rollout_is_weights=None if weights is None else weights[rows],
    )
    loss.backward()
    assert loss.abs() > 1e-4 and part["log_prob"].grad.abs().sum() > 1e-4
    return loss.detach(), part["log_prob"].grad, metrics


def whole(mask):
    return {"dp_size": 1, "batch_num_tokens": int(mask.sum()), "global_batch_size": len(mask)}


@pytest.mark.parametrize("case", LOSSES)
def test_policy_losses_of_verl(case, batch):
    name, params, mode, aggregation, settings, extra = LOSSES[case]
    ours = host.Hosted(f"maspo/{name}", maspo_dsl.load(name, params))
    theirs = config(mode, aggregation, extra, **settings)
    counts = whole(batch["response_mask"])
    parts = [(1, slice(None)), (1, slice(0, 3)), (2, slice(3, 8))]
    # verl's geo_mean divides by the rows of the micro-batch, whatever the counts: a sum of its parts is not the whole.
    for ranks, rows in parts[:1] if mode == "geo_mean" else parts:
        counts["dp_size"] = ranks
        expected = gradient(core.POLICY_LOSS_REGISTRY[mode], batch, theirs, counts, rows)
        found = gradient(lambda **given: host.policy_loss(ours, **given), batch, theirs, counts, rows)
        torch.testing.assert_close(found[0], expected[0], rtol=2e-6, atol=1e-7)
        torch.testing.assert_close(found[1], expected[1], rtol=2e-5, atol=1e-7)


def test_weights_of_rollout_correction_multiply_the_policy_term(batch):
    weights = torch.rand(8, 5, generator=torch.Generator().manual_seed(1)) + 0.5
    settings = config("vanilla", clip_ratio_c=3.0)
    counts = whole(batch["response_mask"])
    ours = host.Hosted(
        "maspo/ppo_dual_clip", maspo_dsl.load("ppo_dual_clip", {"eps_low": 0.2, "eps_high": 0.2})
    )
    expected = gradient(core.POLICY_LOSS_REGISTRY["vanilla"], batch, settings, counts, weights=weights)
    found = gradient(
        lambda **given: host.policy_loss(ours, **given), batch, settings, counts, weights=weights
    )
    unweighted = gradient(lambda **given: host.policy_loss(ours, **given), batch, settings, counts)
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found[0], unweighted[0])


@pytest.mark.parametrize(
    ("name", "estimator", "settings"),
    [
        ("grpo", "grpo", {}),
        ("dr_grpo", "grpo", {"norm_adv_by_std_in_grpo": False}),
        ("rloo", "rloo", {}),
        ("grpo_passk", "grpo_passk", {}),
        ("opo", "opo", {}),
    ],
)
def test_estimators_of_verl(name, estimator, settings):
    random = torch.Generator().manual_seed(4)
    mask = (torch.arange(6) < torch.tensor([6, 3, 5, 2, 6, 6, 1, 4])[:, None]).float()
    rewards = torch.zeros(8, 6)
    rewards[range(8), mask.sum(1).long() - 1] = torch.rand(8, generator=random)
    index = np.array(["b", "a", "b", "a", "b", "a", "b", "a"], dtype=object)
    given = {"token_level_rewards": rewards, "response_mask": mask, "index": index}
    expected, _ = core.ADV_ESTIMATOR_REGISTRY[estimator](
        **given, **(settings or {"config": {"norm_adv_by_std_in_grpo": True}})
    )
    found, _ = core.ADV_ESTIMATOR_REGISTRY[SHIPPED[name]](**given, config={})
    assert expected.abs().max() > 0.1
    # verl adds 1e-6 to the standard deviation of grpo, and the spec 1e-4.
    torch.testing.assert_close(found, expected, rtol=1e-3 if name == "grpo" else 2e-5, atol=2e-6)


def nested(tensor, lengths):
    rows = [row[: int(length)] for row, length in zip(tensor, lengths, strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def worker_batch(batch, **others):
    """A micro-batch as verl's workers hold it: prompts of two tokens, everything without padding."""
    lengths = batch["response_mask"].sum(1)
    fields = {
        "old_log_probs": batch["old_log_prob"],
        "advantages": batch["advantages"],
        "response_mask": batch["response_mask"].float(),
        **others,
    }
    data = TensorDict(
        {name: nested(tensor, lengths) for name, tensor in fields.items()}, batch_size=len(lengths)
    )
    data["prompts"] = nested(torch.ones(len(lengths), 2), torch.full_like(lengths, 2))
    data["responses"] = nested(batch["old_log_prob"], lengths)
    assign_non_tensor(data, **whole(batch["response_mask"]))
    return data


def model_output(batch, **others):
    """Of every token of the sequence, as the engine returns them: row t is of the token after it."""
    lengths = batch["response_mask"].sum(1) + 2
    shifted = {name: torch.nn.functional.pad(tensor, (1, 1)) for name, tensor in others.items()}
    return {name: nested(tensor, lengths) for name, tensor in shifted.items()}


def test_the_workers_loss_is_verls_own_for_its_own_losses(batch):
    settings = config("vanilla")
    data = worker_batch(batch)
    expected, _ = host._ORIGINAL[-1](settings, model_output(batch, log_probs=batch["log_prob"]), data)
    found, _ = verl_losses.ppo_loss(settings, model_output(batch, log_probs=batch["log_prob"]), data)
    assert found == expected != 0


def test_reference_sampler_and_entropies_reach_the_loss(batch):
    reference = batch["old_log_prob"] - 0.3 * torch.rand(8, 5, generator=torch.Generator().manual_seed(9))
    data = worker_batch(batch, ref_log_prob=reference)
    theirs = config("vanilla", "seq-mean-token-mean", clip_ratio_c=1e9, use_kl_loss=True, kl_loss_coef=0.05)
    expected, _ = host._ORIGINAL[-1](theirs, model_output(batch, log_probs=batch["log_prob"]), data)
    host.register("grpo", params={"kl": 0.05, "eps_low": 0.2, "eps_high": 0.2})
    found, metrics = verl_losses.ppo_loss(
        config("maspo/grpo", use_kl_loss=True), model_output(batch, log_probs=batch["log_prob"]), data
    )
    host.register("grpo")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert metrics["objective/ratio_mean"].aggregate() > 0
    tis = worker_batch(batch, rollout_log_probs=batch["old_log_prob"] + 0.1)
    weighted, _ = verl_losses.ppo_loss(
        config("maspo/tis"), model_output(batch, log_probs=batch["log_prob"]), tis
    )
    assert weighted.isfinite() and weighted != 0
    live = {"log_probs": batch["log_prob"], "entropy": -batch["old_log_prob"]}
    with pytest.raises(HostError, match=r"maspo/top_entropy: verl gives the tokens and sequences .* and no "):
        verl_losses.ppo_loss(
            config("maspo/top_entropy", calculate_entropy=True), model_output(batch, **live), data
        )
    with pytest.raises(
        HostError, match=r"maspo/stapo: tokens that `exclude` takes out .* exclude spurious where"
    ):
        verl_losses.ppo_loss(config("maspo/stapo", calculate_entropy=True), model_output(batch, **live), data)
    found, _ = verl_losses.ppo_loss(
        config("maspo/entropy_advantage", calculate_entropy=True), model_output(batch, **live), data
    )
    assert found.isfinite() and found != 0


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "grpo",
            {},
            "verl does not bring `logp_ref`, needed by `kl` .actor_rollout_ref.actor.use_kl_loss=True",
        ),
        ("tis", {}, "`logp_rollout`, needed by `ratio` .actor_rollout_ref.rollout.calculate_log_probs=True"),
        ("top_entropy", {}, "`entropy`, needed by .* .actor_rollout_ref.actor.calculate_entropy=True"),
        ("bnpo", {}, "and no micro_batches"),
        (
            "dapo",
            {"use_kl_loss": True, "kl_loss_coef": 0.5},
            r"write it: penalty kl = 0.5 \* k3\(policy, reference\)",
        ),
        ("dapo", {"entropy_coeff": 0.1}, r"write it: bonus entropy = 0.1 \* entropy\(policy\)"),
    ],
)
def test_refusals_name_what_is_missing(name, settings, message, batch):
    output, data = model_output(batch, log_probs=batch["log_prob"]), worker_batch(batch)
    with pytest.raises(HostError, match=message):
        verl_losses.ppo_loss(config(f"maspo/{name}", **settings), output, data)


def test_what_the_spec_decides_is_said_once(batch):
    output, data = model_output(batch, log_probs=batch["log_prob"]), worker_batch(batch)
    settings = config("maspo/gspo", "seq-mean-token-sum", clip_ratio_low=0.3)
    with pytest.warns(
        UserWarning,
        match=r"clip_ratio_low=0.3 is the spec's .* line it would be: param eps_low = 0.3",
    ):
        verl_losses.ppo_loss(settings, output, data)


def test_estimators_refuse_what_verl_does_not_bring():
    given = {
        "token_level_rewards": torch.rand(2, 3),
        "response_mask": torch.ones(2, 3),
        "index": np.array([0, 0]),
    }
    estimator = core.ADV_ESTIMATOR_REGISTRY["maspo/ppo"]
    with pytest.raises(HostError, match=r"verl does not bring `value`, needed by `advantage`"):
        estimator(**given, config={})
    filtering = core.ADV_ESTIMATOR_REGISTRY["maspo/dapo"]
    with pytest.raises(HostError, match=r"filter_groups.enable=True .* keep mixed where"):
        filtering(**given, config={})
    filtering(**given, config={"filter_groups": {"enable": True}})
    with pytest.raises(HostError, match=r"bypass_mode=True replaces the loss"):
        core.ADV_ESTIMATOR_REGISTRY["maspo/maspo"](
            **given, config={"rollout_correction": {"bypass_mode": True}}
        )


def test_settings_are_verls_own_keys():
    from hydra import compose, initialize_config_module

    said = {name: host.settings(name) for name in ("maspo", "dapo", "grpo", "tis", "entropy_advantage")}
    with initialize_config_module("verl.trainer.config", version_base=None):
        for name, found in said.items():
            composed = compose("ppo_trainer", [f"{key}={value}" for key, value in found.items()])
            assert composed.actor_rollout_ref.actor.policy_loss.loss_mode == f"maspo/{name}"
            assert bool(composed.algorithm.filter_groups.enable) is maspo_dsl.load(name).keeps
    bring = {"grpo": "actor.use_kl_loss", "tis": "rollout.calculate_log_probs"}
    bring |= {"entropy_advantage": "actor.calculate_entropy"}
    for name, key in bring.items():
        assert {each: found[f"actor_rollout_ref.{key}"] for each, found in said.items()} == {
            each: str(each == name) for each in said
        }
    with pytest.raises(HostError, match=r"bnpo: verl gives the tokens and sequences"):
        host.settings("bnpo")


def test_the_plugin_registers_everything_and_says_when_it_cannot(tmp_path):
    spec = tmp_path / "my.obj"
    spec.write_text("objective mine extends dapo\nparam eps_high = 0.3\n")
    program = "import verl.trainer.ppo.core_algos as c; print(*c.POLICY_LOSS_REGISTRY)"
    environment = {**os.environ, "VERL_USE_EXTERNAL_MODULES": "maspo_dsl.hosts.verl_plugin"}

    def run(specs):
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, env={**environment, "MASPO_DSL_VERL": specs}, capture_output=True, text=True, check=False
        )

    done = run(f"maspo alpha=0.5 {spec}")
    assert {"maspo/maspo", "maspo/mine", "vanilla"} <= {*done.stdout.split()}, done.stderr
    broken = run("maspo alpha=7")
    assert "its objectives are not known to verl here" in broken.stderr and "alpha" in broken.stderr


def test_specs_of_the_environment():
    from maspo_dsl.hosts.verl_plugin import specs_of

    assert list(specs_of("maspo alpha=0.5 'my loss.obj' dapo kl=1 x=2")) == [
        ("maspo", {"alpha": 0.5}),
        ("my loss.obj", {}),
        ("dapo", {"kl": 1.0, "x": 2.0}),
    ]
    with pytest.raises(ValueError, match=r"stands before the first spec"):
        list(specs_of("alpha=0.5"))


def test_versions_that_were_not_tried(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.10.0")
    with pytest.raises(HostError, match=r"tried with verl>=0.9,<0.10, and 0.10.0 is installed"):
        host.register("maspo")


def test_the_launch_of_the_examples_is_of_the_spec_and_of_verl():
    from hydra import compose, initialize_config_module

    from examples.verl.launch import RUN, SCRIPT, script

    assert SCRIPT.read_text() == script()
    with initialize_config_module("verl.trainer.config", version_base=None):
        compose("ppo_trainer", [f"{key}={value.replace('$DATA', 'data')}" for key, value in RUN.items()])


@pytest.mark.parametrize("task", ["text", "messages"])
def test_a_launch_folder_is_what_verl_reads(task, tmp_path, monkeypatch):
    """`train engine=verl`: the command's settings make verl's configuration, and its readers find prompt and reward."""
    from hydra import compose, initialize_config_module
    from maspo_dsl.trainers.config import read_config
    from maspo_dsl.trainers.verl_run import plan
    from transformers import AutoTokenizer
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.utils.config import omega_conf_to_dataclass, validate_config
    from verl.utils.dataset.rl_dataset import RLHFDataset

    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"1+{n}", "answer": str(1 + n)} for n in range(9)]
    if task == "messages":
        rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
    prompts = tmp_path / "messages.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = str(prompts)
    sizes = ["rollout.prompts=4", "rollout.samples=2", "trainer.updates_per_rollout=2", "trainer.max_steps=2"]
    model, more = f"model={chat_model(tmp_path / 'chat')}", ["trainer.eval_prompts=1"]
    folder = tmp_path / "a run"
    planned = plan(
        read_config(["engine=verl", f"task={source}", model, f"run={folder}", *sizes, *more]), "grpo"
    )
    with planned.parts.claimed():
        planned.write()
    (line,) = [
        each for each in (folder / "run.sh").read_text().replace("\\\n", "").splitlines() if "verl." in each
    ]
    told = [each for each in shlex.split(line)[3:] if each != "$@"]
    with initialize_config_module("verl.trainer.config", version_base=None):
        composed = compose("ppo_trainer", told)
    validate_config(composed, use_reference_policy=True, use_critic=False)
    actor = omega_conf_to_dataclass(composed.actor_rollout_ref.actor)
    assert (actor.ppo_mini_batch_size, actor.use_kl_loss, actor.optim.lr) == (
        2,
        True,
        planned.parts.config.trainer.learning_rate,
    )
    assert omega_conf_to_dataclass(composed.actor_rollout_ref.rollout).n == 2
    tokenizer = AutoTokenizer.from_pretrained(composed.actor_rollout_ref.model.path)
    if template := composed.actor_rollout_ref.model.custom_chat_template:
        tokenizer.chat_template = template
    data = RLHFDataset([composed.data.train_files], tokenizer, composed.data)
    assert len(data) == 8
    example, row = planned.parts.examples[3], data[3]
    text = tokenizer.apply_chat_template(row["raw_prompt"], tokenize=False, add_generation_prompt=True)
    assert text == (example.prompt if task == "text" else f"{example.prompt[0]['content']}:")
    assert len(tokenizer(text)["input_ids"]) <= composed.data.max_prompt_length
    score = get_custom_reward_fn(composed)
    truth = row["reward_model"]["ground_truth"]
    given = {"data_source": row["data_source"], "ground_truth": truth, "extra_info": row["extra_info"]}
    assert truth == str(example.columns["answer"])
    assert score(solution_str=truth, **given) == 1.0 and score(solution_str="no", **given) == 0.0
    environment = dict(each.split("=", 1) for each in shlex.split((folder / "environment").read_text()))
    assert environment["MASPO_DSL_VERL"] == shlex.quote(str(folder / "spec.obj"))
    assert maspo_dsl.load(str(folder / "spec.obj")).hash == planned.parts.objective.hash


def chat_model(where):
    """A saved model of a few weights whose chat template writes each message and a colon."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    words = {word: number for number, word in enumerate(["<pad>", "<eos>", *"0123456789+:"])}
    made = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}:{% endfor %}"
    tokenizer.save_pretrained(where)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    Qwen2ForCausalLM(
        Qwen2Config(vocab_size=len(words), num_key_value_heads=1, eos_token_id=1, **sizes)
    ).save_pretrained(where)
    return where


def test_a_launch_starts_where_verl_and_a_gpu_are(tmp_path, monkeypatch):
    from maspo_dsl.trainers import verl_run
    from maspo_dsl.trainers.config import ConfigError, read_config
    from maspo_dsl.trainers.policies.tiny import CharacterTokenizer

    started = []

    def ran(command, check):
        started.append(command)
        return subprocess.CompletedProcess(command, len(started) - 1)

    sizes = ["rollout.prompts=4", "rollout.samples=2", "trainer.max_steps=1", "trainer.updates_per_rollout=1"]
    planned = verl_run.plan(read_config(["engine=verl", f"run={tmp_path / 'run'}", *sizes]), "maspo")
    with pytest.raises(ConfigError, match="reads the saved tokenizer of `tiny` otherwise"):
        planned.start()
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setattr(verl_run, "_tokenizer", lambda parts, place: CharacterTokenizer())
    monkeypatch.setattr(verl_run.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(verl_run.subprocess, "run", ran)
    assert "not started here (verl samples on a GPU" in planned.start() and not started
    shutil.rmtree(tmp_path / "run")
    monkeypatch.setattr(verl_run.torch.cuda, "is_available", lambda: True)
    assert planned.start() == f"done by verl; see {tmp_path / 'run'}"
    assert started == [["bash", str(tmp_path / "run" / "run.sh")]]
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(ConfigError, match="verl ended with status 1"):
        planned.start()
