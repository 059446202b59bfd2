"""Adapters of hosts whose loss is one function: signatures, what they do with a loss, and what is refused.

Each host is a few lines here: how it cuts a step into micro-batches, calls the loss, scales what it returns and
averages gradients over ranks, as its code at the commit of the adapter does. The gradient is that of the objective.
`python -m tests.hosts.test_others` writes the table of docs/hosts.md anew.
"""

import ast
import inspect
import json
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

import maspo_dsl
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.hosts import areal, nemo_rl, openrlhf, prime_rl, shared, skyrl, slime, tinker
from maspo_dsl.hosts.shared import HostError, refusals
from maspo_dsl.runtime.loss import ObjectiveLoss

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
ROWS, TOKENS, RANKS = 8, 6, 2


@pytest.fixture(autouse=True)
def eagerly(monkeypatch):
    prime_rl._carried.cache_clear()
    monkeypatch.setattr(shared, "ObjectiveLoss", lambda objective: ObjectiveLoss(objective, "eager"))


def module(monkeypatch, name: str, **members: object) -> None:
    """A module of a host that is not installed."""
    found = ModuleType(name)
    found.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, found)


@cache
def step() -> dict[str, Tensor]:
    """A step of 8 completions of 1 to 6 tokens, in float64."""
    random = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    lengths = torch.tensor([6, 1, 4, 2, 6, 3, 5, 2])
    old = -normal(ROWS, TOKENS).abs() - 0.1
    advantage = normal(ROWS)
    # Two completions are of a sampler that agrees, so that narrow bands let something pass.
    mismatch = torch.tensor([0.0004, 0.2, 0.2, 0.2, 0.0004, 0.2, 0.2, 0.2], dtype=torch.float64)[:, None]
    return {
        "mask": torch.arange(TOKENS) < lengths[:, None],
        "logp": old + 0.4 * normal(ROWS, TOKENS),
        "logp_old": old,
        "logp_rollout": old + mismatch * normal(ROWS, TOKENS),
        "logp_ref": old + 0.3 * normal(ROWS, TOKENS),
        "entropy": normal(ROWS, TOKENS).abs(),
        "advantage": advantage[:, None].expand(ROWS, TOKENS).clone(),
    }


def parts(rows: int = 2) -> list[list[int]]:
    """Rows of the micro-batches, those of one rank after those of the other."""
    return [list(range(start, start + rows)) for start in range(0, ROWS, rows)]


def averaged(losses: list[list[Tensor]], logp: Tensor) -> Tensor:
    """The gradient by log-probs, where that of each rank is averaged over ranks."""
    total = sum(sum(of_rank) for of_rank in losses) / len(losses)
    return torch.autograd.grad(total, logp)[0]


def ranks() -> list[list[list[int]]]:
    """Micro-batches of two rows, by rank."""
    every = parts()
    return [every[: len(every) // RANKS], every[len(every) // RANKS :]]


def packed(name: str, rows: list[int], tensors: dict[str, Tensor]) -> Tensor:
    """A tensor of some rows, one behind the other; what is no token of a completion is left out."""
    return torch.cat([tensors[name][row][step()["mask"][row]] for row in rows])


# ---- what hosts do


def by_prime_rl(objective, x, monkeypatch):
    inputs = ("trainer_logprobs", "inference_logprobs", "ref_logprobs", "advantages", "loss_mask")
    module(monkeypatch, "prime_rl.trainer.rl.loss", LossOutputs=SimpleNamespace)
    total = 0
    for row in range(ROWS):
        values = (x["logp"], x["logp_rollout"], x["logp_ref"], x["advantage"], x["mask"])
        given = SimpleNamespace(
            **{name: value[row] for name, value in zip(inputs, values, strict=True)}, loss_weights=None
        )
        total = total + prime_rl.loss(given, objective=objective).loss
    return torch.autograd.grad(total / int(x["mask"].sum()), x["logp"])[0]


def by_nemo_rl(objective, x, monkeypatch):
    kinds = Enum("LossType", "TOKEN_LEVEL SEQUENCE_LEVEL"), Enum("LossInputType", "LOGPROB LOGIT")
    module(monkeypatch, "nemo_rl.algorithms.loss.interfaces", LossType=kinds[0], LossInputType=kinds[1])
    loss = nemo_rl.ObjectiveLossFn(objective)
    names = {
        "logp_old": "prev_logprobs",
        "logp_rollout": "generation_logprobs",
        "logp_ref": "reference_policy_logprobs",
        "advantage": "advantages",
        "mask": "token_mask",
    }
    counts = x["mask"].any(1).sum(), x["mask"].sum()

    def called(rows, counts):
        data = {
            theirs: torch.nn.functional.pad(x[ours][rows], (1, 0), value=9) for ours, theirs in names.items()
        }
        data["sample_mask"] = torch.ones(len(rows))
        return loss(
            next_token_logprobs=x["logp"][rows],
            data=data,
            global_valid_seqs=counts[0],
            global_valid_toks=counts[1],
        )[0]

    found = averaged([[called(rows, counts) * RANKS for rows in of_rank] for of_rank in ranks()], x["logp"])
    # A split trainer gives 1 for both counts, and divides by that of the type itself.
    one = torch.ones(())
    own = counts[1] if loss.loss_type is kinds[0].TOKEN_LEVEL else counts[0]
    split = torch.autograd.grad(sum(called(rows, (one, one)) for rows in parts()) / own, x["logp"])[0]
    torch.testing.assert_close(split, found, rtol=1e-9, atol=1e-12)
    return found


def by_openrlhf(objective, x, monkeypatch):
    loss = openrlhf.ObjectivePolicyLoss(objective)
    micro = len(ranks()[0])
    counts = {
        "batch_num_tokens": x["mask"].sum().float() / micro,
        "global_batch_size": x["mask"].any(1).sum().float() / micro,
    }

    def called(rows):
        given = [x[name][rows] for name in ("logp", "logp_old", "advantage", "mask", "logp_rollout")]
        found, gated, apart, _ = loss(
            *given[:3], action_mask=given[3], rollout_log_probs=given[4], dp_size=RANKS, **counts
        )
        assert 0 <= gated.detach() <= 1 and apart.isfinite()
        return found

    # DeepSpeed divides what each micro-batch gives by their number.
    return averaged([[called(rows) / micro for rows in of_rank] for of_rank in ranks()], x["logp"])


def by_slime(objective, x, monkeypatch):
    def log_probs(logits, *, args, with_entropy, unconcat_tokens, **lengths):
        rows = unconcat_tokens
        return None, {
            key: [packed(key_, [row], x) for row in rows]
            for key, key_ in (("log_probs", "logp"), ("entropy", "entropy"))
        }

    module(
        monkeypatch,
        "slime.backends.megatron_utils.loss",
        get_log_probs_and_entropy=log_probs,
        get_rollout_top_p_logprob_kwargs=lambda args, batch: {},
    )
    graph = maspo_dsl.load(objective).graph
    by_tokens = shared.divisors(graph) == {"tokens"}
    args = SimpleNamespace(
        context_parallel_size=1, calculate_per_token_loss=by_tokens, use_rollout_logprobs=False
    )
    loss = slime.custom_loss(objective)

    def called(rows):
        each = {
            theirs: [packed(ours, [row], x) for row in rows]
            for ours, theirs in (
                ("advantage", "advantages"),
                ("logp_old", "log_probs"),
                ("logp_ref", "ref_log_probs"),
            )
        }
        each["rollout_log_probs"] = [packed("logp_rollout", [row], x) for row in rows]
        lengths = [int(x["mask"][row].sum()) for row in rows]
        each["loss_masks"] = [torch.ones(length) for length in lengths]
        return loss(
            args,
            {**each, "unconcat_tokens": rows, "total_lengths": lengths, "response_lengths": lengths},
            torch.zeros(()),
            None,
        )[0]

    micro = len(ranks()[0])
    if by_tokens:  # Megatron divides by the tokens that every call has given
        total = sum(called(rows) for rows in parts())
        return torch.autograd.grad(total / int(x["mask"].sum()), x["logp"])[0]
    scaled = [[called(rows) * micro / ROWS * RANKS / micro for rows in of_rank] for of_rank in ranks()]
    return averaged(scaled, x["logp"])


def by_skyrl(objective, x, monkeypatch):
    registry: dict[str, Callable] = {}
    methods = SimpleNamespace(register=registry.__setitem__)
    module(monkeypatch, "skyrl.backends.skyrl_train.utils.ppo_utils", PolicyLossRegistry=methods)
    name = skyrl.register(objective)[maspo_dsl.load(objective).name]
    loss = pickle.loads(pickle.dumps(registry[name]))
    scaled = x["advantage"] / x["mask"].sum()
    config = SimpleNamespace(loss_reduction="token_mean")

    def called(rows):
        given = [x["logp"][rows], x["logp_old"][rows], scaled[rows]]
        return loss(
            *given, config=config, loss_mask=x["mask"][rows].float(), rollout_logprobs=x["logp_rollout"][rows]
        )[0]

    return averaged([[called(rows) * RANKS for rows in of_rank] for of_rank in ranks()], x["logp"])


def by_areal(objective, x, monkeypatch):
    loss = areal.loss_fn(objective)

    def called(rows):
        lengths = torch.tensor([0, *(int(x["mask"][row].sum()) for row in rows)])
        theirs = {
            "prox_logp": "logp_old",
            "logprobs": "logp_rollout",
            "advantages": "advantage",
            "loss_mask": "mask",
        }
        data = {key: packed(ours, rows, x) for key, ours in theirs.items()} | {
            "cu_seqlens": lengths.cumsum(0)
        }
        value = loss(packed("logp", rows, x), packed("entropy", rows, x), data, vocab_min_logits=None)
        return value * data["loss_mask"].count_nonzero() / x["mask"].sum() * RANKS

    return averaged([[called(rows) for rows in of_rank] for of_rank in ranks()], x["logp"])


def by_tinker(objective, x, monkeypatch):
    def datum(row):
        theirs = {"logprobs": "logp_rollout", "advantages": "advantage", "mask": "mask"}
        held = {
            key: SimpleNamespace(to_torch=lambda ours=ours: packed(ours, [row], x))
            for key, ours in theirs.items()
        }
        return SimpleNamespace(loss_fn_inputs=held)

    logprobs = [packed("logp", [row], x) for row in range(ROWS)]
    loss, metrics = tinker.custom_loss(objective)([datum(row) for row in range(ROWS)], logprobs)
    assert metrics["loss"] == pytest.approx(loss.item())
    return torch.autograd.grad(loss, x["logp"])[0]


@dataclass(frozen=True)
class Case:
    """An adapter, what its host does with a loss, which tensor stands for `old`, and rows of a micro-batch there."""

    host: shared.Host
    gradient: Callable
    old: str = "logp_old"
    rows: int = 2


CASES = {
    case.host.name: case
    for case in (
        Case(prime_rl.PRIME_RL, by_prime_rl, "logp_rollout", rows=1),
        Case(nemo_rl.NEMO_RL, by_nemo_rl),
        Case(openrlhf.OPENRLHF, by_openrlhf),
        Case(slime.SLIME, by_slime),
        Case(skyrl.SKYRL, by_skyrl),
        Case(areal.AREAL, by_areal),
        Case(tinker.TINKER, by_tinker, "logp_rollout", rows=ROWS),
    )
}
CARRIED = [
    pytest.param(
        host,
        name,
        marks=() if name in ("maspo", "dapo", "gspo", "cispo", "grpo", "tis") else pytest.mark.slow,
    )
    for host, case in CASES.items()
    for name in maspo_dsl.shipped()
    if not refusals(case.host, maspo_dsl.load(name))
]


@pytest.mark.parametrize("host, name", CARRIED)
def test_the_gradient_of_a_step_is_the_objective_s(host, name, monkeypatch):
    case = CASES[host]
    x = {**step(), "logp": step()["logp"].clone().requires_grad_()}
    x = {**x, "entropy": x["entropy"].requires_grad_()}
    found = case.gradient(name, x, monkeypatch)
    whole = {**x, "logp": x["logp"].detach().requires_grad_(), "logp_old": x[case.old]}
    loss = maspo_dsl.compile(name, backend="eager")
    cut = [{key: value[rows] for key, value in whole.items()} for rows in parts(case.rows)]
    window = loss.window(cut)
    for part in cut:
        loss(part, denominators=window).loss.backward()
    wanted = whole["logp"].grad
    assert wanted.abs().max() > 1e-5  # dr_grpo divides by the longest completion that there may be
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_how_many_a_host_carries():
    """Not none by mistake, and more where more is brought."""
    count = {host: sum(each.values[0] == host for each in CARRIED) for host in CASES}
    assert count["NeMo-RL"] > count["prime-rl"] > 20 and count["OpenRLHF"] > count["SkyRL"] > 20
    assert min(count.values()) > 20


@pytest.mark.parametrize(
    "host, name, reason",
    [
        ("OpenRLHF", "grpo", "does not bring `logp_ref`, needed by `kl`"),
        (
            "prime-rl",
            "grpo",
            "divides a loss by tokens of the whole step, and this one is no plain mean of that kind: grpo",
        ),
        (
            "prime-rl",
            "decoupled_ppo",
            "has one tensor for `logp_old` and `logp_rollout`, which the loss tells apart",
        ),
        ("prime-rl", "top_entropy", "does not bring `entropy`"),
        ("Tinker", "vapo", "does not bring `correct`, needed by `likelihood`"),
        ("SkyRL", "maspo", "scales advantages before a loss sees them, and this one depends on their size"),
        ("AReaL", "gspo", "divides a loss by tokens"),
        ("OpenRLHF", "rejection", "tokens that `exclude` takes out"),
        ("OpenRLHF", "bapo", "no "),
        ("NeMo-RL", "bnpo", "no plain mean"),
    ],
)
def test_a_refusal_names_what_is_missing(host, name, reason):
    found = refusals(CASES[host].host, maspo_dsl.load(name))
    assert any(reason in sentence for sentence in found.values()), found
    with pytest.raises(HostError, match=f"^{name} in {host}: "):
        shared.carried(CASES[host].host, name)


@pytest.mark.parametrize(
    "spec, hosts",
    [
        ("input seen : token\nweight own = seen", CASES),
        ("penalty far = 0.1 * mean(k1(policy, old), group)", set(CASES) - {"Tinker"}),
        ("step = 0.5", CASES),
    ],
)
def test_what_no_host_has_is_refused_by_each(spec, hosts):
    objective = maspo_dsl.parse(f"objective own extends dapo\n{spec}\n")
    for host in hosts:
        assert refusals(CASES[host].host, objective), host


def page(text: str) -> str:
    """docs/hosts.md with the table of which shipped objective each carries, and else what is in the way."""
    hosts = [case.host for case in CASES.values()]
    rows = [["objective", *CASES], ["---"] * (1 + len(hosts))]
    for name in maspo_dsl.shipped():
        found = [", ".join(refusals(host, maspo_dsl.load(name))) or "✓" for host in hosts]
        rows.append([f"`{name}`", *found])
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return re.sub(r"(?s)(<!-- objectives in other trainers -->\n).*?(?=\n</details>)", rf"\1\n{table}", text)


def test_the_table_is_complete():
    assert page(PAGE.read_text()) == PAGE.read_text()


# ---- what a call refuses


def test_settings_that_would_make_another_number_are_refused(monkeypatch):
    x = step()
    loss = openrlhf.ObjectivePolicyLoss("dapo")
    with pytest.raises(HostError, match="one of them is missing"):
        loss(x["logp"], x["logp_old"], x["advantage"], x["mask"], dp_size=2)
    args = SimpleNamespace(context_parallel_size=2, calculate_per_token_loss=True, use_rollout_logprobs=False)
    with pytest.raises(HostError, match="context-parallel"):
        slime.custom_loss("dapo")(args, {}, x["logp"], None)
    args.context_parallel_size, args.calculate_per_token_loss = 1, False
    with pytest.raises(HostError, match="needs --calculate-per-token-loss"):
        slime.custom_loss("dapo")(args, {}, x["logp"], None)
    module(
        monkeypatch,
        "skyrl.backends.skyrl_train.utils.ppo_utils",
        PolicyLossRegistry=SimpleNamespace(register=print),
    )
    ours = shared.carried(skyrl.SKYRL, "dapo")
    with pytest.raises(HostError, match="loss_reduction=token_mean, not sequence_mean"):
        skyrl.policy_loss(
            ours, x["logp"], x["logp_old"], x["advantage"], SimpleNamespace(loss_reduction="sequence_mean")
        )
    with pytest.raises(HostError, match="prox_logp"):
        areal.loss_fn("decoupled_ppo")(x["logp"], x["entropy"], {"logprobs": x["logp_rollout"]})
    with pytest.raises(HostError, match="datum 0 lack `logprobs`"):
        tinker.custom_loss("dapo")([SimpleNamespace(loss_fn_inputs={})], [x["logp"][0]])
    with pytest.raises(HostError, match="denominators lack sequences"):
        tinker.custom_loss("dapo", denominators={"tokens": 3})
    with pytest.raises(HostError, match="loss_weights"):
        prime_rl.loss(SimpleNamespace(loss_weights=x["logp"][0]), objective="dapo")


def test_a_line_says_what_the_host_does_itself(capsys, monkeypatch):
    monkeypatch.setattr("maspo_dsl.runtime.compiled._warned", set())
    shared.carried(tinker.TINKER, "max_rl")
    said = capsys.readouterr().err
    assert "max_rl in Tinker: the loss alone is the objective's" in said and "advantage = " in said


# ---- signatures

SIGNATURES = {
    "prime-rl": (
        "prime_rl/trainer/rl/loss.py",
        "default_loss_fn",
        "def default_loss_fn(inputs, loss_config): ...",
    ),
    "NeMo-RL": (
        "nemo_rl/algorithms/loss/loss_functions.py",
        "ClippedPGLossFn.__call__",
        "def __call__(self, next_token_logprobs, data, global_valid_seqs, global_valid_toks): ...",
    ),
    "OpenRLHF": (
        "openrlhf/models/loss.py",
        "PolicyLoss.forward",
        "def forward(self, log_probs, old_log_probs, advantages, action_mask=None, rollout_log_probs=None, "
        "dp_size=1, batch_num_tokens=None, global_batch_size=None): ...",
    ),
    "slime": (
        "slime/backends/megatron_utils/loss.py",
        "policy_loss_function",
        "def policy_loss_function(args, batch, logits, sum_of_sample_mean): ...",
    ),
    "SkyRL": (
        "skyrl/backends/skyrl_train/utils/ppo_utils.py",
        "ppo_policy_loss",
        "def ppo_policy_loss(log_probs, old_log_probs, advantages, config, loss_mask=None, rollout_logprobs=None): ...",
    ),
    "AReaL": (
        "areal/trainer/ppo/actor.py",
        "grpo_loss_fn",
        "def grpo_loss_fn(logprobs, entropy, input_data): ...",
    ),
    "Tinker": (
        "tinker/lib/public_interfaces/training_client.py",
        "CustomLossFnV1",
        "def loss(data, logprobs): ...",
    ),
}
"""File and name in the package of a host, at the commit that its adapter names, and what a loss is called with."""

OURS = {
    "prime-rl": prime_rl.loss,
    "NeMo-RL": nemo_rl.ObjectiveLossFn.__call__,
    "OpenRLHF": openrlhf.ObjectivePolicyLoss.forward,
    "slime": lambda: slime.custom_loss("dapo"),
    "SkyRL": lambda: __import__("functools").partial(skyrl.policy_loss, None),
    "AReaL": lambda: areal.loss_fn("dapo"),
    "Tinker": lambda: tinker.custom_loss("dapo"),
}


def parameters(text: str) -> list[tuple[str, object]]:
    """Names of a definition, each with its default."""
    (function,) = ast.parse(text).body
    arguments = [*function.args.posonlyargs, *function.args.args]
    defaults = [None] * (len(arguments) - len(function.args.defaults)) + function.args.defaults
    return [
        (a.arg, inspect.Parameter.empty if d is None else ast.literal_eval(d))
        for a, d in zip(arguments, defaults, strict=True)
    ]


@pytest.mark.parametrize("host", SIGNATURES)
def test_a_loss_takes_what_the_host_gives(host):
    ours = OURS[host]() if ours_is_made(host) else OURS[host]
    own = [(one.name, one.default) for one in inspect.signature(ours).parameters.values()]
    wanted = parameters(SIGNATURES[host][2])
    if host == "prime-rl":  # a configured loss gets `trainer.loss.kwargs` in the place of the configuration
        wanted = wanted[:1]
    assert own[: len(wanted)] == wanted
    assert len(CASES[host].host.seen) == 40


def ours_is_made(host: str) -> bool:
    return host in ("slime", "SkyRL", "AReaL", "Tinker")


@pytest.mark.parametrize("host", SIGNATURES)
def test_the_installed_host_has_the_signature(host):
    path, name, text = SIGNATURES[host]
    try:
        found = [each for each in files(CASES[host].host.package) or () if str(each).endswith(path)]
    except PackageNotFoundError:
        pytest.skip(f"{host} is not installed")
    assert found, f"{host} has no {path} any more"
    source = found[0].read_text(encoding="utf-8")
    if host == "Tinker":
        assert f"{name} = Callable[[List[types.Datum], List[Any]]" in source
        return
    definitions = {
        f"{outer.name}.{node.name}" if isinstance(outer, ast.ClassDef) else node.name: node
        for outer in ast.walk(ast.parse(source))
        for node in getattr(outer, "body", [])
        if isinstance(node, ast.FunctionDef)
    }
    theirs = [a.arg for a in definitions[name].args.args]
    assert theirs[: len(parameters(text))] == [name for name, _ in parameters(text)]


# ---- a graph as plain data


@pytest.mark.parametrize("name", maspo_dsl.shipped())
def test_plain_data_computes_the_same(name):
    objective = maspo_dsl.load(name)
    if objective.reads("loss", given=["advantage"]) - set(
        step()
    ) or "advantage_rows" in objective.graph.inputs(["loss"]):
        return
    data = json.loads(json.dumps(tinker.graph_data(name)))
    batch = {key: value.detach().numpy() for key, value in step().items()}
    loss, gradient = tinker.evaluated(data, batch)
    wanted = Interpretation(objective.graph, batch)
    assert loss == float(wanted.output("loss"))
    assert np.array_equal(gradient, wanted.gradient("loss")) and np.abs(gradient).max() > 0


def test_scopes_of_a_spec_come_along():
    spec = maspo_dsl.parse(
        "objective turns extends dapo\ninput turn_id : token integer\nscope turn by sequence, turn_id\n"
        "ratio = geomean(policy / old, turn) |> clip(0.8, 1.2)\n"
    )
    batch = {key: value.detach().numpy() for key, value in step().items()}
    batch["turn_id"] = np.arange(TOKENS)[None].repeat(ROWS, 0) // 2
    loss, gradient = tinker.evaluated(json.loads(json.dumps(tinker.graph_data(spec))), batch)
    assert loss == float(Interpretation(spec.graph, batch).output("loss")) and np.abs(gradient).max() > 0


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: data["nodes"][3].update(op="system"), "operation 'system' is not one of those"),
        (lambda data: data["nodes"][3].update(args=[900]), "node 3 reads what does not come before it"),
        (lambda data: data["outputs"].update(loss=-1), "an output is no node"),
        (lambda data: data.update(format=7), "format 7 is not known"),
    ],
)
def test_other_data_are_refused(change, message):
    data = tinker.graph_data("dapo")
    change(data)
    with pytest.raises(ValueError, match=message):
        tinker.evaluated(data, {})


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
