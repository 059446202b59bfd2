"""The spec that `import verl` writes against verl's own numbers for the same settings; `verl_numbers.py` made them."""

import json
from pathlib import Path

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.importing.options import SettingsError
from maspo_dsl.importing.trainers import TRAINERS, imported
from maspo_dsl.importing.verl_options import OPTIONS
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source

from ..batches import as_torch

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = json.loads((GOLDEN / "verl.json").read_text())["configs"]
with np.load(GOLDEN / "verl.npz") as data:
    NUMBERS = {name: data[name] for name in data.files}
INPUTS = {name: value for name, value in NUMBERS.items() if "." not in name}


def of_verl(*given: str):
    return imported("verl", given)


def settings(name: str) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in CONFIGS[name].items()]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_spec_computes_what_verl_does(name):
    """To 1e-7: verl adds 1e-8 to lengths and counts."""
    found = of_verl(*settings(name))
    expected = {key.partition(".")[2]: value for key, value in NUMBERS.items() if key.startswith(f"{name}.")}
    loss = maspo_dsl.compile(found.objective, backend="eager")
    mask = INPUTS["mask"]
    estimated = loss.advantage(as_torch(INPUTS)).numpy()
    estimated = np.where(mask, estimated if estimated.ndim == 2 else estimated[:, None], 0)
    wanted = np.where(mask, expected["advantage"], 0)
    if "reject" not in name and "bypass" not in name:
        np.testing.assert_allclose(estimated, wanted, rtol=1e-7, atol=1e-7)
    of_rows = estimated.ndim == 2 and loss.advantage(as_torch(INPUTS)).ndim == 1
    advantage = estimated[np.arange(len(mask)), mask.argmax(1)] if of_rows else wanted
    batch = as_torch({**INPUTS, "advantage": advantage})
    batch["entropy"].requires_grad_()
    out = loss(batch)
    out.loss.backward()
    assert np.abs(expected["dloss_dlogp"]).max() > 1e-4
    assert out.loss.item() == pytest.approx(float(expected["loss"]), rel=1e-7, abs=1e-7)
    np.testing.assert_allclose(batch["logp"].grad, expected["dloss_dlogp"], rtol=1e-6, atol=1e-8)
    if batch["entropy"].grad is not None:
        np.testing.assert_allclose(batch["entropy"].grad, expected["dloss_dentropy"], rtol=1e-6, atol=1e-8)
    assert (batch["entropy"].grad is not None) == bool(np.abs(expected["dloss_dentropy"]).max() > 0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_text_is_formatted_and_means_the_same_objective(name):
    found = of_verl(*settings(name))
    assert format_objective(parse_objective(Source("one", found.text))) == found.text
    assert maspo_dsl.parse(found.text).hash == found.objective.hash
    assert "verl 0.9.1" in found.text


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ("", "clip_ratio_c is 3 unless set: a dual clip is always on"),
        ("clip_ratio=0.1", "clip_ratio = 0.1 has no effect: clip_ratio_low and clip_ratio_high are set"),
        ("loss_mode=sapo loss_agg_mode=token-mean", "loss_agg_mode has no effect on the policy term of sapo"),
        ("loss_mode=sapo clip_ratio_c=5", "clip_ratio_c = 5 has no effect"),
        ("kl_loss_coef=0.1", "use_kl_loss is false"),
        ("use_kl_loss=True", "the KL of a token ends at 10"),
        ("bypass_mode=true loss_mode=gspo", "loss_mode = gspo has no effect"),
        (
            "rollout_is=token calculate_log_probs=false",
            "rollout_is has no effect: calculate_log_probs is false",
        ),
        ("lam=0.9 adv_estimator=grpo", "lam = 0.9 has no effect"),
    ],
)
def test_what_is_to_be_known_is_said(given, note):
    assert any(note in one for one in of_verl(*given.split()).notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("clip_ratio_hi=0.1", "did you mean `actor_rollout_ref.actor.clip_ratio_high`?"),
        ("enable=true", "`enable` may be"),
        ("loss_mode=vanila", "did you mean vanilla?"),
        ("adv_estimator=grppo", "did you mean grpo"),
        ("adv_estimator=optimal_token_baseline", "sum of squared probabilities"),
        ("adv_estimator=gdpo", "needs gdpo_reward_keys"),
        ("use_kl_in_reward=true kl_ctrl.type=adaptive", "kl_ctrl.type=adaptive cannot be imported"),
        ("use_pf_ppo=true", "use_pf_ppo cannot be imported"),
        ("loss_mode=dro", "without dro_beta"),
        ("loss_mode=bypass_mode", "set that"),
        ("clip_ratio_c=1", "not above 1"),
        ("use_kl_loss=true kl_loss_type=full", "NotImplementedError"),
        ("rollout_is=token rollout_is_batch_normalize=true", "cannot be imported"),
        ("rollout_is=token rollout_is_threshold=a", "expected a number, or two"),
        ("rollout_rs=token_k4 rollout_rs_threshold=2 adv_estimator=grpo", "rollout_rs=token_k4"),
        ("rollout_rs=token_k1 adv_estimator=grpo", "needs rollout_rs_threshold"),
        ("rollout_rs=token_k1 rollout_rs_threshold=2", "over what is left"),
        (
            "rollout_rs=token_k1 rollout_rs_threshold=2 adv_estimator=grpo loss_mode=gspo",
            "tokens that are left",
        ),
    ],
)
def test_mistakes_are_one_line_each(given, message):
    with pytest.raises(SettingsError) as caught:
        of_verl(*given.split())
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_keys_of_hydra_are_taken_whole_in_blocks_and_from_files(tmp_path):
    whole = of_verl("algorithm.adv_estimator=grpo", "actor_rollout_ref.actor.clip_ratio_high=0.28")
    path = tmp_path / "run.yaml"
    path.write_text(
        "algorithm: {adv_estimator: grpo}\nactor_rollout_ref:\n  actor: {clip_ratio_high: 0.28}\n"
        "trainer: {total_epochs: 3}\n"
    )
    assert of_verl(str(path)).objective.hash == whole.objective.hash
    assert of_verl("adv_estimator=grpo", "+actor.clip_ratio_high=0.28").objective.hash == whole.objective.hash


def test_a_constant_that_nothing_reads_is_left_out():
    found = of_verl("loss_mode=sapo", "loss_agg_mode=seq-mean-token-sum-norm", "adv_estimator=grpo")
    assert "max_length" not in found.objective.params
    assert (
        "max_length"
        in of_verl("loss_mode=sapo", "loss_agg_mode=seq-mean-token-sum-norm", "use_kl_loss=true").text
    )


def test_groups_are_filtered_and_rewards_keep_their_names():
    found = of_verl("adv_estimator=gdpo", "gdpo_reward_keys=[acc,format]", "filter_groups.enable=true")
    assert found.objective.keeps
    assert {"acc", "format"} <= found.objective.inputs
    metric = of_verl("adv_estimator=grpo", "filter_groups.enable=true", "filter_groups.metric=acc")
    assert "acc" in metric.objective.training_inputs


def test_options_are_those_of_verl():
    """All are keys of its yaml files, but two that only the class of the configuration has."""
    missing = OPTIONS.keys() - TRAINERS["verl"].known.others
    assert missing == {"algorithm.gdpo_reward_keys", "algorithm.gdpo_reward_weights"}
