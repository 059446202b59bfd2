"""`loss.params[name] = value` writes through, and refuses what cannot be."""

import copy
import importlib.util
import pickle

import pytest
import torch

import maspo_dsl

from ..batches import as_torch, given_advantage


def value(loss: torch.nn.Module) -> float:
    return loss(as_torch(given_advantage(0))).loss.item()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_set_value_is_the_value(backend: str) -> None:
    loss = maspo_dsl.compile("grpo", backend=backend)
    before = value(loss)
    loss.params["kl"] = 0.5
    loss.params["eps_high"] = torch.tensor(0.05)
    loss.params.update({"eps_low": 0.1})
    other = maspo_dsl.compile("grpo", params={"kl": 0.5, "eps_high": 0.05, "eps_low": 0.1}, backend="eager")
    assert value(loss) == pytest.approx(value(other), rel=1e-6)
    assert abs(value(loss) - before) > 1e-4
    assert "changed: eps_high=0.05, eps_low=0.1, kl=0.5" in repr(loss)


@pytest.mark.parametrize(
    ("name", "number", "kind", "message"),
    [
        ("eps_hgih", 0.3, KeyError, "did you mean `eps_high`"),
        ("kl", -1.0, ValueError, r"`kl` = -1 is outside \[0, inf\)"),
        ("eps_low", 1.0, ValueError, r"`eps_low` = 1 is outside \(0, 1\)"),
        ("kl", float("nan"), ValueError, "must be finite"),
        ("kl", True, ValueError, "is a number"),
        ("kl", "0.1", ValueError, "is a number"),
    ],
)
def test_what_cannot_be_is_refused(name: str, number: object, kind: type[Exception], message: str) -> None:
    loss = maspo_dsl.compile("grpo", backend="eager")
    with pytest.raises(kind, match=message):
        loss.params[name] = number
    assert loss.module.changed_params() == {}


def test_a_value_that_was_built_in_asks_for_another_compilation() -> None:
    loss = maspo_dsl.compile("grpo", params={"kl": 0}, backend="eager")
    with pytest.raises(ValueError, match=r"`kl` = 0 was built into the loss .* params=\{'kl': 0.1\}"):
        loss.params["kl"] = 0.1
    loss.params["kl"] = 0


def test_defaults_follow() -> None:
    loss = maspo_dsl.compile("dapo", backend="eager")
    for limit in (1000, 2000):
        loss.params["max_length"] = limit
        assert {name: loss.params[name].item() for name in ("max_length", "cache")} == {
            "max_length": limit,
            "cache": limit / 5,
        }
    loss.params["cache"] = 100
    loss.params["max_length"] = 500
    assert (loss.params["cache"].item(), loss.params["max_length"].item()) == (100, 500)


def test_changed_values_are_state() -> None:
    loss, other = (maspo_dsl.compile("grpo", backend="eager") for _ in range(2))
    assert loss.state_dict() == {}
    loss.params["kl"] = 0.5
    other.params["eps_low"] = 0.1
    assert set(loss.state_dict()) == {"module.params.kl"}
    other.load_state_dict(loss.state_dict())
    assert other.module.changed_params() == {"kl": 0.5}
    for copied in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert copied.module.changed_params() == {"kl": 0.5}
    with pytest.raises(RuntimeError, match=r"params\.kl"):
        maspo_dsl.compile("dapo", backend="eager").load_state_dict(loss.state_dict())


def test_a_generated_file_takes_values_too(tmp_path) -> None:
    path = tmp_path / "grpo.py"
    path.write_text(maspo_dsl.load("grpo").torch_source())
    spec = importlib.util.spec_from_file_location("one_file", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loss = module.Loss()
    loss.params["kl"] = 0.5
    assert value(loss) == pytest.approx(value(maspo_dsl.compile("grpo", params={"kl": 0.5}, backend="eager")))
    with pytest.raises(KeyError, match="no parameter `kk` can be set; there are: eps_high, eps_low, kl"):
        loss.params["kk"] = 1.0
    assert set(loss.state_dict()) == {"params.kl"}
