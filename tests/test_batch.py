"""What a batch must bring, and what is said when it does not."""

import numpy as np
import pytest
import torch

import maspo_dsl

from .batches import as_torch, given_advantage, only, ragged
from .running import NAMES, compiled, run, tiny


def test_no_kl_needs_no_reference():
    assert "logp_ref" in maspo_dsl.load("grpo").inputs
    assert "logp_ref" not in maspo_dsl.load("grpo", params={"kl": 0}).inputs
    for name in ("dapo", "maspo"):
        assert "logp_ref" not in maspo_dsl.load(name).inputs
    batch = given_advantage(0)
    del batch["logp_ref"]
    assert np.isfinite(run("grpo", batch, {"kl": 0})[0])


@pytest.mark.parametrize(
    ("name", "tensor", "term"),
    [
        ("grpo", "logp_old", "ratio"),
        ("dapo", "logp_old", "ratio"),
        ("maspo", "logp_old", "ratio"),
        ("grpo", "logp_ref", "kl"),
        ("grpo", "logp", "ratio"),
        ("grpo", "mask", ""),
    ],
)
def test_missing_tensor_is_an_error_that_names_the_term(name, tensor, term):
    batch = as_torch(given_advantage(0))
    del batch[tensor]
    with pytest.raises(maspo_dsl.BatchError, match=tensor) as caught:
        compiled(name)(batch)
    assert term in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tensor", ["reward", "group"])
def test_without_advantage_the_estimator_needs_its_tensors(name, tensor):
    batch = as_torch(ragged(0))
    del batch[tensor]
    with pytest.raises(maspo_dsl.BatchError, match=tensor):
        compiled(name)(batch)


@pytest.mark.parametrize("name", NAMES)
def test_estimating_reads_no_log_probs(name):
    batch = as_torch(only(ragged(0), ["reward", "group", "mask"]))
    assert compiled(name).advantage(batch).shape == (16,)


@pytest.mark.parametrize("tensor", ["logp_old", "mask", "advantage"])
def test_wrong_shape_names_the_axes(tensor):
    batch = as_torch(given_advantage(0))
    batch[tensor] = batch[tensor][:-1]
    with pytest.raises(maspo_dsl.BatchError, match=r"15.*16|16.*15"):
        compiled("maspo")(batch)


def test_unknown_names_get_the_nearest():
    with pytest.raises(maspo_dsl.SpecError, match="grpo"):
        maspo_dsl.load("gpro")
    with pytest.raises(maspo_dsl.SpecError, match="alpha"):
        maspo_dsl.load("maspo", params={"alpah": 0.5})
    with pytest.raises(maspo_dsl.SpecError, match="alpha"):
        maspo_dsl.load("maspo", params={"alpha": 1.5})


@pytest.mark.parametrize("sequence", [[0, 0, 9], [0, 0, -1]])
def test_packed_tokens_name_rows_that_exist(sequence):
    batch = {
        "logp": np.full(3, -1.0),
        "logp_old": np.full(3, -1.1),
        "mask": np.ones(3, dtype=bool),
        "sequence": np.array(sequence),
        "advantage": np.ones(2),
    }
    with pytest.raises(maspo_dsl.BatchError, match="`sequence`"):
        compiled("maspo")(as_torch(batch))


TOKEN_REWARDS = np.array([[0.5, 0.25, np.nan], [1.0, -2.0, 0.5], [0.25, 1e30, np.inf]])
TOKEN_MASK = np.array([[True, True, False], [True, True, True], [True, False, False]])


@pytest.mark.parametrize("name", NAMES)
def test_a_reward_for_each_token_is_no_reward(name):
    batch = {"reward": TOKEN_REWARDS, "mask": TOKEN_MASK, "group": np.zeros(3, dtype=int)}
    with pytest.raises(
        maspo_dsl.BatchError, match=r"`reward` must be \[N\]; one value a token is `token_reward`"
    ):
        compiled(name).advantage(as_torch(batch))


@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        ("sum(token_reward, sequence)", [0.75, -0.5, 0.25]),
        ("sum(token_reward, sequence) |> center(group)", [7 / 12, -2 / 3, 1 / 12]),
        ("discounted_sum(token_reward, 1)", [[0.75, 0.25, 0], [-0.5, -1.5, 0.5], [0.25, 0, 0]]),
        ("at_end(reward) + token_reward", [[0.5, 1.25, 0], [1, -2, 2.5], [3.25, 0, 0]]),
    ],
)
def test_rewards_of_tokens(advantage, expected):
    """Where the mask is false there is no reward, whatever stands there."""
    text = f"objective process extends group_ppo\nadvantage = {advantage}\n"
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    batch = {"token_reward": TOKEN_REWARDS, "mask": TOKEN_MASK, "group": np.zeros(3, dtype=int)}
    if "at_end" in advantage:
        batch["reward"] = np.array([1.0, 2.0, 3.0])
    found = loss.advantage(as_torch(batch)).numpy()
    np.testing.assert_allclose(
        np.where(TOKEN_MASK, found, 0) if found.ndim == 2 else found, expected, atol=1e-12
    )
    flat = {**batch, "sequence": np.array([0, 0, 1, 1, 1, 2])}
    flat |= {name: batch[name][TOKEN_MASK] for name in ("token_reward", "mask")}
    packed_advantage = loss.advantage(as_torch(flat)).numpy()
    wanted = np.array(expected)[TOKEN_MASK] if found.ndim == 2 else expected
    np.testing.assert_allclose(packed_advantage, wanted, atol=1e-12)
    with pytest.raises(maspo_dsl.BatchError, match=r"lacks `token_reward` \[N, T\], needed by `advantage`"):
        loss.advantage(as_torch({name: value for name, value in batch.items() if name != "token_reward"}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [False, True])
def test_as_many_packed_tokens_as_rows(name, given):
    """Completion 0 has two tokens, completion 2 none, and one comes first that is not the first completion's."""
    old = np.array([-1.0, -0.5, -2.0, -0.7])
    batch = {
        "logp": old + np.array([0.1, -0.3, 0.4, -0.1]),
        "logp_old": old,
        "logp_ref": old,
        "mask": np.ones(4, dtype=bool),
        "sequence": np.array([3, 0, 1, 0]),
        "reward": np.array([1.0, 0.0, 1.0, 0.3]),
        "group": np.array([5, 5, 5, 5]),
    }
    places = ([3, 0, 1, 0], [0, 0, 0, 1])
    padded = {"reward": batch["reward"], "group": batch["group"]}
    for tensor in ("logp", "logp_old", "logp_ref", "mask"):
        padded[tensor] = np.zeros((4, 2), dtype=batch[tensor].dtype)
        padded[tensor][places] = batch[tensor]
    if given:
        batch["advantage"] = compiled(name).advantage(as_torch(batch)).numpy()
    loss, gradient = run(name, batch)
    expected, table = run(name, padded)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, table[places], rtol=1e-12)


def test_rewards_in_float64_leave_the_loss_in_float32():
    batch = as_torch(ragged(2), torch.float32)
    batch["reward"] = batch["reward"].double()
    out = compiled("maspo")(batch)
    assert out.loss.dtype == torch.float32


@pytest.mark.parametrize("shape", [(3, 0), (0, 4)])
def test_an_empty_batch_has_metrics_of_nothing(shape):
    tensors = {name: torch.zeros(shape, requires_grad=name == "logp") for name in ("logp", "logp_old")}
    batch = {**tensors, "mask": torch.zeros(shape, dtype=torch.bool), "advantage": torch.zeros(shape[0])}
    out = compiled("maspo")(batch)
    out.loss.backward()
    assert {name: float(value) for name, value in out.metrics.items()} == {
        "loss": 0.0,
        "policy_loss": 0.0,
        "nonfinite": 0.0,
    }


def test_what_only_a_step_reads_is_asked_for_by_name():
    """By a loss without denominators, which counts the window, and by a training loop; the loss does without."""
    objective = maspo_dsl.parse('objective mine extends vcpo\n"As it is"\ndrop correction\n')
    assert "logp_rollout" not in objective.inputs
    assert "logp_rollout" in objective.training_inputs
    loss = maspo_dsl.compile(objective, backend="eager")
    batch = as_torch(given_advantage(0, extreme=False))
    denominators = loss.window([batch])
    del batch["logp_rollout"]
    with pytest.raises(maspo_dsl.BatchError, match="lacks `logp_rollout`"):
        loss(batch)
    assert loss(batch, denominators=denominators).loss.item() != 0


def test_a_rule_that_keeps_completions_is_part_of_training():
    text = 'objective mine extends grpo\n"Near"\nkeep near where mean(log(old / rollout), sequence) > 0-1\n'
    objective = maspo_dsl.parse(text)
    assert "logp_rollout" in objective.training_inputs - objective.inputs


def test_metrics_of_a_ratio_without_gradient():
    text = (
        'objective mine extends group_ppo\n"A power"\nparam q = 0 in [0, 2]\nratio = (policy / old) ^ q\n'
        "penalty far = 0.1 * log(policy) ^ 2\n"
    )
    loss = maspo_dsl.compile(maspo_dsl.parse(text), backend="eager")
    batch = as_torch(given_advantage(0, extreme=False))
    batch["logp"].requires_grad_()
    output = loss(batch)
    output.loss.backward()
    assert batch["logp"].grad.abs().max() > 0
    assert output.metrics["gated_pos"] == 1


FOREIGN = [
    ("logp_old", "old_log_probs"),
    ("logp_old", "old_per_token_logps"),
    ("logp_old", "logp_olds"),
    ("logp_old", "logp_odl"),
    ("logp", "log_probs"),
    ("logp_ref", "ref_log_prob"),
    ("mask", "response_mask"),
    ("reward", "rewards"),
    ("group", "group_ids"),
    ("advantage", "advantages"),
    ("advantage", "advantge"),
]


@pytest.mark.parametrize(("name", "foreign"), FOREIGN)
@pytest.mark.parametrize("purpose", ["call", "window", "hidden"])
def test_a_name_like_one_that_is_looked_for(name, foreign, purpose):
    """An advantage under another name would not replace the estimator, and nothing would say so."""
    loss = maspo_dsl.compile("grpo", backend="eager")
    batch = as_torch(given_advantage(3))
    batch.pop("advantage", None)
    shape = batch["mask"].shape
    batch[foreign] = batch.pop(name, batch["reward"])
    calls = {
        "call": lambda: loss(batch),
        "window": lambda: loss.window([batch]),
        "hidden": lambda: loss.from_hidden(
            torch.zeros(*shape, 2),
            torch.zeros(3, 2),
            torch.zeros(shape, dtype=torch.long),
            {key: value for key, value in batch.items() if key != "logp"},
        ),
    }
    if purpose == "window" and name not in ("reward", "group", "mask"):
        pytest.skip("not read there")
    if purpose == "hidden" and name in ("logp", "mask"):
        pytest.skip("looked for in another place")
    with pytest.raises(
        maspo_dsl.BatchError, match=f"`{foreign}`, which nothing reads; did you mean `{name}`"
    ):
        calls[purpose]()


def test_other_names_are_left_alone():
    """A batch may hold more than the loss reads: what is like a name that is there, or that nothing reads, too."""
    loss = maspo_dsl.compile("maspo", backend="eager")
    batch = as_torch(given_advantage(3))
    more = dict.fromkeys(("rewards", "attention_mask", "ref_log_probs", "tokens", "labels"), batch["reward"])
    assert torch.equal(loss({**batch, **more}).loss, loss(batch).loss)


def cut_rows(batch, *sizes):
    parts = [torch.split(value, sizes) for value in batch.values()]
    return [dict(zip(batch, values, strict=True)) for values in zip(*parts, strict=True)]


@pytest.mark.parametrize(
    ("name", "sizes", "refused"),
    [
        ("grpo", (2, 2), None),
        ("grpo", (1, 3), "group, and these micro-batches have a group in two of them"),
        ("rloo", (3, 1), "group, and these"),
        (
            "reinforce_plus_plus_baseline",
            (2, 2),
            "rollout_batch, and these micro-batches have more than one part",
        ),
        ("reinforce_plus_plus_baseline", (4,), None),
    ],
)
def test_what_the_estimator_needs_whole_is_not_cut(name, sizes, refused):
    """Without an advantage each micro-batch would be compared with itself: a wrong number, and no word of it."""
    loss = maspo_dsl.compile(name, backend="eager")
    batch = as_torch(
        tiny(
            [0.1, 0.2, 0.3, 0.4],
            [0, 0, 0, 0],
            reward=np.array([1.0, 0.0, 0.5, 0.0]),
            group=np.array([4, 4, 9, 9]),
        )
    )
    del batch["advantage"]
    if refused is None:
        loss.window(cut_rows(batch, *sizes))
    else:
        with pytest.raises(maspo_dsl.BatchError, match=refused):
            loss.window(cut_rows(batch, *sizes))
    batch["advantage"] = loss.advantage(batch)
    loss.window(cut_rows(batch, *sizes))


def test_rows_that_are_not_trained_belong_to_no_group():
    loss = maspo_dsl.compile("grpo", backend="eager")
    batch = as_torch(
        tiny([0.1, 0.2, 0.3], [0, 0, 0], reward=np.array([1.0, 0.0, 0.5]), group=np.array([4, 4, 4]))
    )
    batch["mask"][2] = False
    del batch["advantage"]
    loss.window(cut_rows(batch, 2, 1))
