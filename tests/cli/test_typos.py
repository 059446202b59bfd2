"""What is written is never silently ignored: a typo is an error with a place and the name that was meant."""

import re

import pytest
from typer.testing import CliRunner

import maspo_dsl
from maspo_dsl.cli.app import app

from ..running import SHIPPED, objective


def invoked(*arguments: str) -> tuple[int, str]:
    """Exit code and everything that a command prints."""
    result = CliRunner().invoke(app, list(arguments), prog_name="maspo-dsl")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout + result.stderr


WRITTEN = """\
objective mine extends grpo
param kll = 0.1
source "a line too late"
penalty kl = kll * k3(polcy, reference)
reduse = loss |> mean(window)
bonus bold = 0.01 * entropy(policy)
weight slow = clmp(old / rollout, 0, 2)
reward wrong_place = A
"""
PLACES = {
    (4, 23): "policy",
    (5, 1): "reduce",
    (7, 15): "clamp",
    (8, 22): "`A` is not known yet",
}


def test_unknown_key_or_typo_in_a_spec(tmp_path):
    """A key that nobody knew was dropped, and the loss curve said so hours later (unsloth #10452).

    All mistakes at once, each with its line, column and what was meant.
    """
    path = tmp_path / "mine.obj"
    path.write_text(WRITTEN.replace('source "a line too late"\n', "\n"))
    code, text = invoked("check", str(path))
    assert code == 1
    for (line, column), meant in PLACES.items():
        message = re.search(rf"(error.*)\n --> .*mine\.obj:{line}:{column}\n((?:.+\n)*)", text)
        assert message and meant in message[0]
    assert f"{path}: 4 errors" in text


def test_a_statement_in_the_wrong_place(tmp_path):
    """And a right word where it does not belong says where it does."""
    path = tmp_path / "mine.obj"
    path.write_text(WRITTEN)
    code, text = invoked("check", str(path))
    assert code == 1
    assert "mine.obj:3:" in text and "directly under the name" in text


@pytest.mark.parametrize(
    ("line", "column", "meant"),
    [
        ("param eps_hihg = 0.3", 7, "eps_high"),
        ("param epslow = 0.1", 7, "eps_low"),
        ("ratio = polcy / old", 9, "policy"),
        ("reduce = loss |> mean(widnow)", 23, "window"),
        ("reward r = overlng(length, 5, 1)", 12, "overlong"),
        ("drop clpi", 6, "clip"),
        ('allow micro-scoop "why"', 7, "micro-scope"),
        ("exlcude far where policy > old", 1, "exclude"),
    ],
)
def test_what_was_meant(tmp_path, line, column, meant):
    """A misspelt name of any kind: the nearest of that kind."""
    path = tmp_path / "mine.obj"
    path.write_text(f"objective mine extends group_ppo\n{line}\n")
    code, text = invoked("check", str(path))
    assert code == 1
    assert f"mine.obj:2:{column}\n" in text and f"did you mean `{meant}`?" in text


@pytest.mark.parametrize(
    ("command", "more"), [("show", []), ("explain", []), ("compile", []), ("train", ["seed=1"])]
)
def test_loss_gpro(command, more):
    """`loss: gpro`: nothing is run, and the exit code says that it was not."""
    code, text = invoked(command, "gpro", *more)
    assert code == 2
    assert "<command line>:1:1" in text and "did you mean `grpo`?" in text


def test_right_key_in_the_wrong_block():
    """Keys of a run: those that are elsewhere, and those that are nowhere, all at once."""
    code, text = invoked(
        "train", "maspo", "trainer.samples=4", "rollout.learning_rate=3", "trainer.max_stpes=2"
    )
    assert code == 2
    assert "3 mistakes" in text
    assert "write `rollout.samples=4`" in text and "write `trainer.learning_rate=3`" in text
    assert "did you mean `trainer.max_steps`?" in text


@pytest.mark.parametrize("name", SHIPPED)
def test_parameters(name):
    """Two letters the wrong way round in each parameter of each objective: an error that names the right one."""
    for key in objective(name).params:
        typo = key[:-2] + key[-1] + key[-2] if len(set(key[-2:])) == 2 else key[0] + key
        with pytest.raises(maspo_dsl.SpecError) as error:
            maspo_dsl.load(name, {typo: 0.5})
        (found,) = error.value.diagnostics
        assert found.code == "unknown-param" and key in re.findall(r"\w+", found.hint)
        assert found.hint == f"did you mean `{key}`?" or len(key) < 3


def test_parameters_on_the_command_line():
    """Over the command line too, with the place in what was typed."""
    code, text = invoked("train", "maspo", "params.alhpa=0.5")
    assert code == 2
    assert "<parameters>:1:1" in text and "did you mean `alpha`?" in text


ELSEWHERE = [
    "coef_1",
    "coef_2",
    "epsilon_high",
    "completion_mask",
    "log_importance_weights",
    "num_items_in_batch",
    "importance_sampling_level",
    "sampling_per_token_logps",
    "old_log_prob",
    "response_mask",
    "cliprange",
    "clip_ratio_c",
    "rollout_is_weights",
    "kl_loss_coef",
    "ref_log_prob",
    "token_level_rewards",
    "pi_theta",
    "pi_ref",
    "A_hat",
    "hat_A",
    "r_t",
    "rho_t",
    "lambda",
    "eta",
    "D_KL",
    "H",
    "kl_ctl",
    "kl_penalty",
    "vf_coef",
    "group_mean",
    "group_std",
    "scale_rewards",
    "num_generations",
    "G",
    "T",
    "L_max",
    "o_i",
    "completion_ids",
    "uid",
    "bsz",
    "temperature",
    "is_weight",
    "tis_threshold",
    "behavior_logprobs",
    "proximal_logprobs",
    "top_entropy_quantile",
    "mask_truncated_completions",
    "loss_agg_mode",
    "overlong_buffer",
    "filter_groups",
    "max_tokens",
]
STATEMENTS = [
    "loss",
    "kl_loss",
    "entropy_loss",
    "aux_loss",
    "is_weights",
    "rejection",
    "baseline",
    "adv_estimator",
    "length_penalty",
    "import",
    "fn",
    "var",
]


@pytest.mark.parametrize("word", ELSEWHERE)
def test_words_of_trl_verl_and_papers_are_known_in_expressions(word):
    with pytest.raises(maspo_dsl.SpecError) as caught:
        maspo_dsl.parse(f"objective t extends grpo\nweight q = exp(-{word})\n")
    assert caught.value.diagnostics[0].hint.split(":")[0] not in ("", "known")


@pytest.mark.parametrize("word", STATEMENTS)
def test_words_of_trl_verl_and_papers_are_known_as_statements(word):
    with pytest.raises(maspo_dsl.SpecError) as caught:
        maspo_dsl.parse(f"objective t extends grpo\n{word} = 1\n")
    hint = caught.value.diagnostics[0].hint
    assert hint and "to name a value" not in hint


@pytest.mark.parametrize(
    "line",
    [
        "param cap = 2\nweight tis = min(old / rollout, cap)",
        "mute low where entropy(policy) < quantile(entropy(policy), 0.8, window)",
        "keep mixed where std(reward, group) > 0",
        "exclude cut where truncated",
        "reward overlong = overlong(length, 100, 10)",
        "ratio = geomean(policy / old, sequence) |> clip(1 - eps_low, 1 + eps_high)",
        "reduce = loss |> mean(sequence) |> mean(window)",
    ],
)
def test_what_hints_say_to_write_is_right(line):
    maspo_dsl.parse(f"objective t extends grpo\n{line}\n")
