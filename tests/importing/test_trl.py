"""The spec that `import trl` writes against TRL's own numbers for the same options; `trl_numbers.py` made them."""

import json
from pathlib import Path

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.importing.options import About, SettingsError
from maspo_dsl.importing.trainers import imported
from maspo_dsl.importing.trl_options import OPTIONS, RUN_KEYS
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source

from ..batches import as_torch

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = json.loads((GOLDEN / "trl.json").read_text())["configs"]
with np.load(GOLDEN / "trl.npz") as data:
    NUMBERS = {name: data[name] for name in data.files}
INPUTS = {name: value for name, value in NUMBERS.items() if "." not in name}


def of_trl(*given: str):
    return imported("trl", given)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_spec_computes_what_trl_does(name):
    found = of_trl(*(f"{key}={json.dumps(value)}" for key, value in CONFIGS[name].items()))
    expected = {key.partition(".")[2]: value for key, value in NUMBERS.items() if key.startswith(f"{name}.")}
    loss = maspo_dsl.compile(found.objective, backend="eager")
    estimated = loss.advantage(as_torch({**INPUTS, "reward": expected["reward"]}))
    np.testing.assert_allclose(estimated, expected["advantage"], rtol=0, atol=1e-9)
    batch = as_torch({**INPUTS, "advantage": expected["advantage"]})
    batch["entropy"].requires_grad_()
    out = loss(batch)
    out.loss.backward()
    assert np.abs(expected["dloss_dlogp"]).max() > 1e-4
    assert out.loss.item() == pytest.approx(float(expected["loss"]), abs=1e-9)
    np.testing.assert_allclose(batch["logp"].grad, expected["dloss_dlogp"], rtol=0, atol=1e-9)
    entropy = batch["entropy"].grad
    if entropy is not None:
        np.testing.assert_allclose(entropy, expected["dloss_dentropy"], rtol=0, atol=1e-9)
    assert (entropy is not None) == bool(np.abs(expected["dloss_dentropy"]).max() > 0)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_text_is_formatted_and_means_the_same_objective(name):
    found = of_trl(*(f"{key}={json.dumps(value)}" for key, value in CONFIGS[name].items()))
    assert format_objective(parse_objective(Source("one", found.text))) == found.text
    assert maspo_dsl.parse(found.text).hash == found.objective.hash
    assert "TRL 1.16.0" in found.text


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("loss_type=cispo", "cispo"),
        ("loss_type=sapo", "sapo"),
        ("loss_type=grpo beta=0.04 use_bias_correction_kl=false", "grpo"),
        ("loss_type=dr_grpo scale_rewards=False", "dr_grpo"),
        ("loss_type=dr_grpo", "group_ppo"),
        ("loss_type=grpo importance_sampling_level=sequence", "gspo"),
        ("loss_type=grpo delta=4", "two_sided_clip"),
        ("loss_type=vespo", "vespo"),
        ("epsilon_high=0.28 mask_truncated_completions=true", "group_ppo"),
    ],
)
def test_it_extends_the_nearest_shipped_one_of_which_it_keeps_everything(given, base):
    assert of_trl(*given.split()).objective.resolved.lineage[-1] == base


def test_equal_settings_are_the_shipped_objective():
    shipped = maspo_dsl.load("grpo_opsm")
    found = of_trl("loss_type=grpo", "off_policy_mask_threshold=0.5").objective
    assert shipped.graph.outputs.keys() == found.graph.outputs.keys()
    assert of_trl("loss_type=sapo").objective.hash == maspo_dsl.load("sapo").hash


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ("loss_type=cispo", "epsilon_high is unset, so epsilon = 0.2 is the cap of the weight itself"),
        ("loss_type=sapo delta=2", "delta = 2 has no effect"),
        ("loss_type=cispo epsilon_high=5 epsilon=0.1", "epsilon = 0.1 has no effect"),
        ("vllm_importance_sampling_mode=token_mask", "use_vllm is false"),
        ("use_bias_correction_kl=false", "beta is 0"),
        ("top_p=0.9", "only the most probable tokens are drawn"),
        ("use_vllm=true", "corrects for the sampler unless told not to"),
        ("beta=0.1", "k3 is multiplied by the ratio"),
        ("multi_objective_aggregation=normalize_then_sum", "2 rewards of weight 1"),
    ],
)
def test_what_is_to_be_known_is_said(given, note):
    found = of_trl(*given.split())
    assert any(note in one for one in found.notes)
    assert "note:" in found.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("epsilom=0.1", "there is no option `epsilom`; did you mean `epsilon`?"),
        ("epsilon", "has no `=`"),
        ("epsilon=abc", "expected a number"),
        ("epsilon=-1", "expected a number from 0"),
        ("num_generations=1", "expected a number from 2"),
        ("num_iterations=1.5", "expected a whole number"),
        ("use_vllm=maybe", "expected true or false"),
        ("loss_type=grop", "did you mean grpo?"),
        ("loss_type=null", "cannot be null"),
        ("epsilon=0.1 epsilon=0.2", "is given twice"),
        ("reward_weights=a", "expected a list"),
        ("use_adaptive_entropy=true", "use_adaptive_entropy cannot be imported"),
        ("loss_type=vespo use_vllm=true", "TRL 1.16.0 refuses loss_type vespo with"),
        ("use_vllm=true vllm_importance_sampling_clip_min=4", "not below clip_max"),
        (
            "use_vllm=true vllm_importance_sampling_mode=token_truncate vllm_importance_sampling_clip_max=null",
            "without a bound",
        ),
        ("loss_type=dr_grpo max_completion_length=null", "give a number"),
        ("missing.yaml", "cannot be read"),
    ],
)
def test_mistakes_are_one_line_each(given, message):
    with pytest.raises(SettingsError) as caught:
        of_trl(*given.split())
    assert message in str(caught.value)


def test_every_mistake_is_reported_at_once():
    with pytest.raises(SettingsError) as caught:
        of_trl("epsilom=1", "beta=x", "delta")
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_of_settings(tmp_path):
    path = tmp_path / "grpo.yaml"
    path.write_text(
        "model_name_or_path: some/model\nlearning_rate: 1e-6\nloss_type: sapo\nscale_rewards: group\n"
    )
    assert of_trl(str(path)).objective.hash == maspo_dsl.load("sapo").hash
    path.write_text("- a list\n")
    with pytest.raises(SettingsError, match="no file of settings"):
        of_trl(str(path))


def test_options_are_those_of_trl():
    """Where trl is installed, no key of its configuration is missing and no default is another."""
    trl = pytest.importorskip("trl", minversion="1.16")
    from dataclasses import fields

    known = {field.name: field.default for field in fields(trl.GRPOConfig)}
    assert known.keys() <= OPTIONS.keys() | RUN_KEYS
    assert {name: option.default for name, option in OPTIONS.items()} == {
        name: known[name] for name in OPTIONS
    }


def test_the_line_that_says_an_option():
    assert OPTIONS["epsilon"].line(0.3) == "param eps_low = 0.3"
    assert all(option.says for option in OPTIONS.values())
    assert {option.about for option in OPTIONS.values()} == set(About)
