"""The trainer beside TRL's own losses, with TRL itself; where TRL is not installed, nothing here runs."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.cli.app import app

trl = pytest.importorskip("trl", reason="TRL is an extra: pip install 'maspo-dsl[trl]'")

from maspo_dsl.hosts.shared import HostError  # noqa: E402
from maspo_dsl.hosts.trl import TRL, ObjectiveGRPOTrainer  # noqa: E402
from maspo_dsl.importing.options import About  # noqa: E402
from maspo_dsl.importing.trl_options import OPTIONS  # noqa: E402

from .tiny_trl import arguments, brevity, folder, letters, prompts, trained  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

K3 = "param beta = 0.04 in [0, inf)\npenalty kl = beta * k3(policy, reference)"
# A spec, and the settings of TRL that mean the same.
LOSSES = {
    "dapo": ("reduce = loss |> mean(window)", {}),
    "grpo": ("", {"loss_type": "grpo"}),
    "clip higher": ("param eps_high = 0.28", {"loss_type": "grpo", "epsilon_high": 0.28}),
    "k3": (K3, {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False}),
    "k3 times the ratio": (f"{K3} * (policy / old)", {"loss_type": "grpo", "beta": 0.04}),
    "dr_grpo": (
        "param L = 512 in [1, inf) bind generation_limit\nadvantage = reward |> center(group)\n"
        "reduce = loss / L |> sum(sequence) |> mean(window)",
        {"loss_type": "dr_grpo", "scale_rewards": False},
    ),
    "gspo": (
        "param eps_low = 3e-4, eps_high = 4e-4\n"
        "ratio = policy / old |> geomean(sequence) |> clip(1 - eps_low, 1 + eps_high)",
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    ),
    "cispo": (
        "param cap = 5 in (0, inf)\nratio = policy / old |> min(cap) |> score\nreduce = loss |> mean(window)",
        {"loss_type": "cispo", "epsilon_high": 5.0},
    ),
    "sapo": (
        "param tau_pos = 1.0, tau_neg = 1.05 in (0, inf)\n"
        "ratio = policy / old |> sigmoid_gate(tau_pos if A > 0 else tau_neg)",
        {"loss_type": "sapo"},
    ),
    "delta": (
        "param delta = 4 in (1, inf)\nbefore clip |> min(delta) as upper",
        {"loss_type": "grpo", "delta": 4.0},
    ),
    "opsm": (
        "mute stale where A < 0 and mean(k1(old, policy), sequence) > 0.01",
        {"loss_type": "grpo", "off_policy_mask_threshold": 0.01},
    ),
    "bonus": (
        "param coef = 0.1 in [0, inf)\nbonus entropy = coef * mean(entropy(policy), window)",
        {"loss_type": "grpo", "entropy_coef": 0.1, "max_completion_length": 1},
    ),
    "bnpo": ('reduce = loss |> mean(micro)\nallow micro-scope "as TRL"', {"loss_type": "bnpo"}),
    "luspo": (
        "ratio = policy / old |> geomean(sequence) |> clip(1 - eps_low, 1 + eps_high)\n"
        "reduce = loss |> sum(sequence) |> mean(window)",
        {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    ),
    "top entropy": (
        "mute sure where entropy(policy) < quantile(entropy(policy), 0.77, micro)\n"
        'reduce = loss |> mean(window)\nallow micro-scope "as TRL"',
        {"top_entropy_quantile": 0.23},
    ),
    "batch scale": (
        "advantage = center(reward, group) / (std(reward, rollout_batch) + 1e-4)",
        {"loss_type": "grpo", "scale_rewards": "batch"},
    ),
}
SCHEDULES = {
    "one part": {},
    "two parts": {"gradient_accumulation_steps": 2},
    "twice": {"num_iterations": 2},
    "two parts, twice": {"gradient_accumulation_steps": 2, "num_iterations": 2},
}
TRLS_OWN = {name for _, settings in LOSSES.values() for name in settings} - {"max_completion_length"}


def spec(lines: str) -> maspo_dsl.Objective:
    return maspo_dsl.parse(f"objective one extends group_ppo\n{lines}\n")


def losses(trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def agree(mine, theirs, *, tolerance: float = 1e-4) -> None:
    """Losses, gradients and weights of a run are those of another, and something was trained."""
    assert len(losses(mine)) == len(losses(theirs)) > 0
    assert losses(mine) == pytest.approx(losses(theirs), rel=1e-4, abs=2e-5)
    assert sum(float(gradient.norm()) > 1e-3 for gradient in theirs.gradients) > 1
    for found, wanted in zip(mine.gradients, theirs.gradients, strict=True):
        assert not wanted.any() or apart(found, wanted) < tolerance
    assert apart(weights(mine), weights(theirs)) < tolerance


def weights(trainer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()])


@pytest.mark.parametrize(
    ("name", "schedule"), [("dapo", "two parts, twice"), ("k3 times the ratio", "twice")]
)
def test_short(name, schedule, tmp_path):
    """What every submission runs: the rest is slow."""
    check_parity(name, schedule, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", LOSSES)
def test_parity(name, schedule, tmp_path, monkeypatch):
    if name == "top entropy":
        # The first tokens of a group have one entropy but for rounding, and a quantile falls among them: here both
        # trainers take the same numbers, of weights that stay.
        monkeypatch.setattr(ObjectiveGRPOTrainer, "_finds_linear_head", lambda self: False)
        check_parity(name, schedule, tmp_path, learning_rate=0.0)
    else:
        check_parity(name, schedule, tmp_path)


def check_parity(name, schedule, tmp_path, **options):
    lines, settings = LOSSES[name]
    options |= SCHEDULES[schedule]
    ours = {key: value for key, value in settings.items() if key not in TRLS_OWN}
    theirs = trained(tmp_path / "theirs", **settings, **options)
    mine = trained(tmp_path / "mine", spec(lines), **ours, **options)
    agree(mine, theirs)


def test_evaluation_and_several_rewards(tmp_path):
    options = {"rewards": (letters, brevity), "reward_weights": [1.0, 3.0], "num_generations_eval": 2}
    theirs = trained(tmp_path / "theirs", evaluate=True, loss_type="grpo", **options)
    mine = trained(tmp_path / "mine", spec(""), evaluate=True, **options)
    agree(mine, theirs)
    assert mine.evaluated["eval_loss"] == pytest.approx(theirs.evaluated["eval_loss"], rel=1e-4, abs=1e-5)
    assert mine.evaluated["eval_reward"] == theirs.evaluated["eval_reward"]
    assert mine.evaluated["eval_objective/loss"] == pytest.approx(
        mine.evaluated["eval_loss"], rel=1e-4, abs=1e-5
    )


def test_each_reward_is_an_input(tmp_path):
    """TRL's normalize_then_sum, of the rewards themselves and not of their sum."""
    lines = (
        "input reward_1 : sequence\ninput reward_2 : sequence\n"
        "def own(x) = center(x, group) / (std(x, group) + 1e-4)\n"
        "advantage = own(reward_1) + 3 * own(reward_2) |> whiten(rollout_batch, 1, 1e-4)"
    )
    options = {"rewards": (letters, brevity), "reward_weights": [1.0, 3.0], "per_device_train_batch_size": 8}
    theirs = trained(
        tmp_path / "theirs", loss_type="grpo", multi_objective_aggregation="normalize_then_sum", **options
    )
    agree(trained(tmp_path / "mine", spec(lines), **options), theirs)


def test_adapters(tmp_path):
    """LoRA, with the model below it as the reference."""
    from peft import LoraConfig

    lora = LoraConfig(target_modules=["q_proj", "v_proj"], r=2, init_lora_weights=False)
    lines, settings = LOSSES["k3"]
    theirs = trained(tmp_path / "theirs", lora=lora, **settings)
    agree(trained(tmp_path / "mine", spec(lines), lora=lora), theirs)


PRECISIONS = {
    "head in float32": ({"cast_lm_head_to_fp32": True}, 1e-4),
    "checkpoints of activations": ({"gradient_checkpointing": True}, 1e-4),
    "bfloat16": ({"bf16": True, "max_steps": 1}, 0.03),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRECISIONS)
def test_precision(name, tmp_path):
    options, tolerance = PRECISIONS[name]
    theirs = trained(tmp_path / "theirs", loss_type="grpo", **options)
    mine = trained(tmp_path / "mine", spec(""), **options)
    for found, wanted in zip(mine.gradients, theirs.gradients, strict=True):
        assert apart(found, wanted) < tolerance


def test_entropies_are_logged_as_ever(tmp_path):
    theirs = trained(tmp_path / "theirs", max_steps=2)
    mine = trained(tmp_path / "mine", spec(LOSSES["dapo"][0]), max_steps=2)
    for found, wanted in zip(mine.state.log_history[:2], theirs.state.log_history[:2], strict=True):
        assert found["entropy"] == pytest.approx(wanted["entropy"], rel=1e-4)


def sampled(prompts, trainer):
    """Completions of another sampler: with its log-probs, one of them unknown, and tokens of an environment."""
    generator = torch.Generator().manual_seed(trainer.state.global_step)
    lengths = [3 + number % 4 for number in range(len(prompts))]
    tokens = [torch.randint(2, 10, (length,), generator=generator).tolist() for length in lengths]
    unknown = [[math.nan, *[-2.0 - 0.1 * place for place in range(1, length)]] for length in lengths]
    return {
        "prompt_ids": [[2 + number % 8] for number in range(len(prompts))],
        "completion_ids": tokens,
        "logprobs": unknown,
        "env_mask": [[1] * (length - 1) + [number % 2] for number, length in enumerate(lengths)],
    }


def test_tokens_of_an_environment(tmp_path):
    theirs = trained(tmp_path / "theirs", rollout_func=sampled)
    agree(trained(tmp_path / "mine", spec(LOSSES["dapo"][0]), rollout_func=sampled), theirs)


def test_a_log_prob_that_the_sampler_lacks(tmp_path):
    """It stands at old's, where the correction is 1; as NaN it would be the loss."""
    trainer = trained(tmp_path, "tis", rollout_func=sampled, max_steps=2)
    assert all(gradient.isfinite().all() and gradient.any() for gradient in trainer.gradients)
    assert all(math.isfinite(loss) for loss in losses(trainer))


@pytest.mark.slow
def test_experts(tmp_path):
    """The load balance is the model's, and stays in the loss."""
    options = {"experts": True, "router_aux_loss_coef": 0.5, "gradient_accumulation_steps": 2, "max_steps": 2}
    theirs = trained(tmp_path / "theirs", loss_type="grpo", **options)
    mine = trained(tmp_path / "mine", spec(""), **options)
    agree(mine, theirs)
    assert mine.state.log_history[0]["aux_loss"] == pytest.approx(
        theirs.state.log_history[0]["aux_loss"], rel=1e-4
    )


def test_a_head_that_is_not_linear(tmp_path, monkeypatch):
    """Then through TRL's log-probs, to the same."""
    through_head = trained(tmp_path / "head", spec(LOSSES["bonus"][0]))
    assert through_head._linear_head
    monkeypatch.setattr(ObjectiveGRPOTrainer, "_finds_linear_head", lambda self: False)
    agree(trained(tmp_path / "plain", spec(LOSSES["bonus"][0])), through_head)


@pytest.mark.parametrize(
    "name", ["stapo", "top_entropy", "vespo", "reinforce_plus_plus", "maspo", "entropy_advantage"]
)
def test_shipped_objectives_run(name, tmp_path):
    """Statistics that read the policy first, early log-probs, and a window in two parts."""
    options = {"gradient_accumulation_steps": 2, "num_iterations": 2, "max_steps": 3}
    trainer = trained(tmp_path, name, **options)
    assert any(float(gradient.norm()) > 1e-4 for gradient in trainer.gradients)
    assert all(math.isfinite(loss) for loss in losses(trainer))


def test_what_is_logged(tmp_path):
    trainer = trained(
        tmp_path, "maspo", gradient_accumulation_steps=2, num_iterations=2, logging_steps=2, max_steps=4
    )
    first, second, *_ = trainer.state.log_history
    assert (first["objective/name"], first["objective/hash"]) == ("maspo", maspo_dsl.load("maspo").hash)
    assert "objective/name" not in second
    assert {
        "objective/ratio_max",
        "objective/ess",
        "objective/gated_pos",
        "reward",
        "completions/mean_length",
    } <= set(second)
    assert second["objective/loss"] == pytest.approx(second["loss"], rel=1e-4, abs=1e-5)
    assert json.loads(json.dumps(trainer.state.log_history))
    assert maspo_dsl.load(str(tmp_path / "maspo.obj")).hash == maspo_dsl.load("maspo").hash


def test_groups_that_are_not_kept(tmp_path, caplog):
    """TRL samples nothing in their place: they are not trained, do not count, and a line says so."""

    def same(completions, **_):
        return [1.0] * len(completions)

    with caplog.at_level("WARNING"):
        trainer = trained(tmp_path, "dapo", rewards=(same,), max_steps=2)
    assert "TRL samples nothing in the place of what is not kept: dapo.obj:" in caplog.text
    assert "dapo: no group of this generation batch is kept" in caplog.text
    assert trainer.state.log_history[0]["objective/kept_groups"] == 0
    assert not any(gradient.any() for gradient in trainer.gradients)


def test_a_missing_reward_is_not_trained(tmp_path):
    """TRL counts such a row in its means, with advantage 0; here it is as if it had not been sampled."""

    def some(completions, **_):
        values = letters(completions)
        return [None, *values[1:]]

    theirs = trained(tmp_path / "theirs", loss_type="grpo", rewards=(some,), max_steps=1)
    mine = trained(tmp_path / "mine", spec(""), rewards=(some,), max_steps=1)
    # A mean over three completions and not over four.
    assert apart(mine.gradients[0], theirs.gradients[0] * 4 / 3) < 1e-4


def test_a_window_is_not_a_generation(tmp_path):
    """With two steps a generation TRL divides by the average of both; DAPO's mean is over the tokens of each."""
    options = {"steps_per_generation": 2, "gradient_accumulation_steps": 1, "max_steps": 2}
    theirs = trained(tmp_path / "theirs", learning_rate=0.0, **options)
    mine = trained(tmp_path / "mine", spec("reduce = loss |> mean(window)"), learning_rate=0.0, **options)
    factors = [float(a.norm() / b.norm()) for a, b in zip(mine.gradients, theirs.gradients, strict=True)]
    assert abs(factors[0] - 1) > 1e-3
    for factor, found, wanted in zip(factors, mine.gradients, theirs.gradients, strict=True):
        assert apart(found, wanted * factor) < 1e-4
    # The halves' tokens are 1 / factor of their average.
    assert sum(1 / factor for factor in factors) == pytest.approx(2, rel=1e-4)


REFUSED = [
    (
        "maspo",
        {"loss_type": "grpo"},
        r"`loss_type='grpo'` would do nothing: .*maspo.obj:\d+: ratio +=.*reduce +=",
    ),
    (
        "maspo",
        {"epsilon": 0.1},
        r"`epsilon=0.1` would do nothing: .*maspo.obj:\d+: ratio .*; as a line it would be: param eps_low = 0.1",
    ),
    (
        "maspo",
        {"use_adaptive_entropy": True},
        r"no `bonus` that says so; no spec can say it: the coefficient follows the entropy of past steps",
    ),
    ("grpo", {"beta": 0.1}, r"`beta=0.1` would do nothing: the objective says it: grpo.obj:\d+: penalty kl"),
    ("maspo", {"beta": 0.1}, r"`beta=0.1` would do nothing: the objective has no `penalty` that says so"),
    (
        "maspo",
        {"scale_rewards": "none"},
        r"`scale_rewards='none'` would do nothing: .*group_ppo.obj:\d+: advantage =",
    ),
    ("maspo", {"mask_truncated_completions": True}, r"the objective has no `mute` or `exclude` that says so"),
    ("maspo", {"gradient_accumulation_steps": 2, "steps_per_generation": 1}, "would go over two generations"),
    ("ppo", {}, r"TRL does not bring `value`, needed by `advantage`"),
    ("tis", {}, r"TRL does not bring `logp_rollout`, needed by"),
    ("vcpo", {}, r"TRL has no place for it: vcpo.obj:\d+: step +="),
    ("remax", {}, r"TRL does not bring `reward_greedy`"),
    ("input reward_2 : sequence\nadvantage = center(reward_2, group)", {}, r"TRL does not bring `reward_2`"),
    ("mute crowd where rank(A, group) > 2", {}, "TRL shuffles completions over micro-batches, .*group"),
]


@pytest.mark.parametrize(("source", "settings", "message"), REFUSED)
def test_what_contradicts_or_is_lacking(source, settings, message, tmp_path):
    """Said before a model is loaded."""
    with pytest.raises(HostError, match=message):
        ObjectiveGRPOTrainer(
            model="no/such-model",
            reward_funcs=letters,
            args=arguments(tmp_path, **settings),
            objective=source if " " not in source else spec(source),
        )


def test_the_spec_s_options_are_those_of_an_import():
    """What an import turns into lines is refused beside a spec, but for what TRL still does: weigh the rewards."""
    decided = {About.OBJECTIVE, About.ADVANTAGE, About.REFUSED}
    assert {name for name, option in OPTIONS.items() if option.about in decided and not option.parts} == {
        "vllm_importance_sampling_correction",
        "reward_weights",
    }
    assert all(option.about in decided for option in OPTIONS.values() if option.parts)


def test_everything_wrong_is_said_at_once(tmp_path):
    with pytest.raises(HostError) as caught:
        ObjectiveGRPOTrainer("no/such", letters, arguments(tmp_path, epsilon=0.1, delta=3.0), objective="ppo")
    assert all(word in str(caught.value) for word in ("epsilon", "delta", "value"))


@pytest.mark.parametrize("installed", ["1.15.2", "1.17.0", "2.0"])
def test_another_version(installed, monkeypatch):
    monkeypatch.setattr("maspo_dsl.hosts.shared.metadata.version", lambda name: installed)
    with pytest.raises(ImportError, match=rf"tried with trl>=1.16,<1.17, and {installed} is installed"):
        TRL.check_version()


@torch._dynamo.config.patch(disable=True)
def test_the_page_s_script(tmp_path, monkeypatch):
    """docs/hosts.md, with a model and prompts that are here."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text()
    script = next(block for block in page.split("```python\n")[1:] if "ObjectiveGRPOTrainer" in block).split(
        "```"
    )[0]
    small = "max_steps=1, use_cpu=True, bf16=False, report_to=[], max_completion_length=8, "
    for theirs, ours in (
        ('load_dataset("trl-lib/tldr", split="train")', "prompts()"),
        ('"Qwen/Qwen2.5-0.5B"', "folder()"),
        ('GRPOConfig("run", ', f'GRPOConfig("run", {small}'),
    ):
        assert theirs in script
        script = script.replace(theirs, ours)
    names = {"prompts": prompts, "folder": folder}
    exec(script, names)
    assert names["trainer"].state.global_step == 1
    assert names["trainer"].state.log_history[0]["objective/name"] == "maspo"


def test_the_user_s_arguments_are_not_changed(tmp_path):
    given = arguments(tmp_path)
    trainer = trained(tmp_path, "grpo", train=False)
    assert trainer.args.beta == 1.0 and trainer.ref_model is not None
    assert given.beta == 0.0 and given.vllm_importance_sampling_correction


@pytest.mark.slow
def test_a_whole_grid_of_the_examples(tmp_path):
    """Two points, each by the script of the examples, and a report of them."""
    script = Path(__file__).parents[2] / "examples" / "trl" / "grid.py"
    program = (
        f"{sys.executable} {script} --objective {{file}} --seed {{seed}} --output_dir {{run}} --max_steps 2"
    )
    grid = str(tmp_path / "grid")
    started = [
        "ablate",
        "maspo",
        "--vary",
        "alpha=0.1",
        "--workers",
        "1",
        "--run",
        "-o",
        grid,
        "--command",
        program,
    ]
    for command in (started, ["report", grid]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    states = list((tmp_path / "grid").rglob("trainer_state.json"))
    assert len(states) == 2
    for state in states:
        logs = json.loads(state.read_text())["log_history"]
        assert logs[0]["objective/name"].startswith("maspo") and logs[-2]["step"] == 2


@pytest.mark.slow
def test_two_ranks(tmp_path):
    """Two processes, by gloo: what each computes adds up to TRL's own loss of both."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = str(Path(__file__).with_name("trl_ranks.py"))
    done = subprocess.run([*command, script, str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("agree on rank") == 2


RUN = ["engine=trl", "rollout.prompts=8", "rollout.samples=4", "rollout.max_new_tokens=8", "trainer.max_steps=2",
       "trainer.updates_per_rollout=2", "trainer.accelerator=cpu"]  # fmt: skip


def test_train_hands_a_run_to_trl(tmp_path):
    """`train engine=trl`: the same task, reward, model and objective; TRL's own folder of it can be read again."""
    from maspo_dsl.trainers.config import read_config
    from maspo_dsl.trainers.trl_run import plan
    from transformers import AutoModelForCausalLM

    planned = plan(read_config([*RUN, f"run={tmp_path / 'run'}", "params.kl=0.1"]), "grpo")
    assert planned.arguments.max_completion_length == 8 and "  num_generations = 4" in planned.lines()
    assert planned.start().startswith("done after 4 optimizer steps of TRL")
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    (first, second) = [row for row in state["log_history"] if "objective/loss" in row]
    assert first["objective/hash"] == maspo_dsl.load(str(tmp_path / "run" / "spec.obj")).hash
    assert 0 < first["reward"] < 1 and second["grad_norm"] > 0 and second["objective/kl"] > 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run").config.vocab_size > 2


def test_what_trl_cannot_do_with_a_run_is_said(tmp_path):
    from maspo_dsl.trainers.config import ConfigError, read_config
    from maspo_dsl.trainers.trl_run import plan

    with pytest.raises(ConfigError, match=r"TRL does not bring `value`"):
        plan(read_config(RUN), "ppo")
    with pytest.raises(ConfigError, match=r"devices=2, and 1 process runs: start it by `torchrun"):
        plan(read_config([*RUN, "trainer.devices=2", f"run={tmp_path / 'run'}"]), "maspo")


@pytest.mark.slow
def test_train_by_two_processes(tmp_path):
    """TRL takes the processes that torchrun starts; on a CPU the launcher of accelerate starts one."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = tmp_path / "maspo-dsl"
    script.write_text("from maspo_dsl.cli import main\n\nmain()\n")
    run = ["train", "maspo", *RUN, "trainer.devices=2", f"run={tmp_path / 'run'}"]
    done = subprocess.run(
        [*command, str(script), *run], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["global_step"] == 4 and any("objective/loss" in row for row in state["log_history"])
