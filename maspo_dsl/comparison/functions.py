"""A loss that is a function of Python: with verl's signature, or of a batch by name."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maspo_dsl.analysis.drawing import Array, Arrays
from maspo_dsl.comparison.sides import NotComparableError, joined
from maspo_dsl.language.diagnostics import nearest
from maspo_dsl.verification.evaluation import Evaluation, as_torch, gradients_of

_VERL = ("old_log_prob", "log_prob", "advantages", "response_mask")
_READ_BY_VERL = frozenset({"logp", "logp_old", "advantage", "mask"})


def imported_function(path: str) -> Callable[..., Any]:
    """The function of `module.function`, from where the command runs. Raises NotComparableError."""
    module, _, name = path.rpartition(".")
    if not module:
        raise NotComparableError(f"`python:{path}` names no function; write python:module.function")
    with _found_from_here():
        try:
            loaded = importlib.import_module(module)
        except Exception as error:  # whatever a module of the user raises
            raise NotComparableError(f"`{module}` cannot be imported: {first_line(error)}") from None
    function = getattr(loaded, name, None)
    if function is None:
        match = nearest(name, (each for each in vars(loaded) if callable(getattr(loaded, each))))
        hint = f"; did you mean `{match}`?" if match else ""
        raise NotComparableError(f"`{module}` has no `{name}`{hint}")
    if not callable(function):
        raise NotComparableError(f"`{path}` is no function")
    found: Callable[..., Any] = function
    return found


@contextlib.contextmanager
def _found_from_here() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def first_line(error: Exception) -> str:
    """What went wrong, in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class FunctionSide:
    """A function of a user. What it does wrong is a NotComparableError, in one line."""

    has_loss = True

    def __init__(
        self, name: str, function: Callable[..., Any], config: Mapping[str, Any] | None = None
    ) -> None:
        """Take the function; `config` sets attributes of the configuration that one of verl is given."""
        self._name = name
        self.function = function
        self.config = dict(config or {})
        self.seen: set[str] = set()
        self.like_verl = self._has_verl_signature()

    def _has_verl_signature(self) -> bool:
        try:
            parameters = inspect.signature(self.function).parameters
        except (TypeError, ValueError):
            return False
        if all(name in parameters for name in _VERL):
            return True
        needed = [
            one for one in parameters.values() if one.default is one.empty and one.kind is not one.VAR_KEYWORD
        ]
        if len(needed) != 1:
            raise NotComparableError(
                f"`{self.name}` takes {', '.join(parameters) or 'nothing'}: expected one batch, or verl's "
                f"{', '.join(_VERL)}, or those of an estimator, token_level_rewards and response_mask"
            )
        return False

    @property
    def name(self) -> str:
        """What it was called."""
        return self._name

    @property
    def estimates(self) -> bool:
        """None does that shows it."""
        return False

    @property
    def takes_windows(self) -> bool:
        """verl's configuration holds the counts of a window; a batch says nothing of them."""
        return self.like_verl

    @property
    def reads(self) -> frozenset[str]:
        """What it has been seen to read."""
        return _READ_BY_VERL if self.like_verl else frozenset(self.seen)

    def advantage(self, batch: Arrays) -> Array | None:
        """None: a loss is given one."""
        return None

    def evaluate(self, parts: Sequence[Arrays]) -> Evaluation:
        """Loss and gradients of a window in parts."""
        tokens = sum(int(part["mask"].sum()) for part in parts)
        rows = sum(int(part["mask"].any(axis=1).sum()) for part in parts)
        counts = {"batch_num_tokens": tokens, "global_batch_size": rows} if len(parts) > 1 else {}
        total, gradients = 0.0, []
        for part in parts:
            tensors = as_torch(part)
            loss = self._called(tensors, counts)
            self._backward(loss, part)
            total += loss.item()
            gradients.append(gradients_of(tensors))
        found = joined(total, gradients)
        if not all(np.isfinite(value).all() for value in found.gradients.values()):
            raise NotComparableError(f"`{self.name}` has a gradient that is NaN or infinite")
        return found

    def _backward(self, loss: Tensor, part: Arrays) -> None:
        if not loss.requires_grad:
            raise NotComparableError(f"`{self.name}` gives a loss without gradient to logp; is it detached?")
        try:
            torch.autograd.backward(loss)
        except Exception as error:  # an in-place change of a leaf, say
            raise NotComparableError(f"`{self.name}` cannot be differentiated: {first_line(error)}") from None

    def _called(self, tensors: dict[str, Tensor], counts: Mapping[str, int]) -> Tensor:
        """The loss, of inputs that are left as they were."""
        before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = (
                    self._of_verl(tensors, counts)
                    if self.like_verl
                    else self.function(_Seen(tensors, self.seen))
                )
        except NotComparableError:
            raise
        except Exception as error:  # whatever a function of the user raises
            raise NotComparableError(f"`{self.name}` raises {first_line(error)}") from None
        changed = [name for name, tensor in tensors.items() if not _same(tensor.detach(), before[name])]
        if changed:
            raise NotComparableError(f"`{self.name}` changes what it is given: {', '.join(changed)}")
        return self._as_loss(result)

    def _as_loss(self, result: Any) -> Tensor:
        loss = result[0] if isinstance(result, tuple) and result else getattr(result, "loss", result)
        if not isinstance(loss, Tensor):
            raise NotComparableError(f"`{self.name}` returns {type(loss).__name__}, not a tensor")
        if loss.numel() != 1:
            shape = ", ".join(map(str, loss.shape))
            raise NotComparableError(f"`{self.name}` returns a tensor [{shape}], not one number")
        if not torch.isfinite(loss).all():
            raise NotComparableError(f"`{self.name}` returns {loss.item()} on a batch without any such value")
        return loss.reshape(())

    def _of_verl(self, tensors: Mapping[str, Tensor], counts: Mapping[str, int]) -> Any:
        mask = tensors["mask"].double()
        advantage = tensors["advantage"]
        advantage = advantage[:, None] * mask if advantage.ndim == 1 else advantage * mask
        config = verl_config(self.config, counts)
        given = {
            "old_log_prob": tensors["logp_old"],
            "log_prob": tensors["logp"],
            "advantages": advantage,
            "response_mask": mask,
            "loss_agg_mode": config.loss_agg_mode,
            "config": config,
        }
        parameters = inspect.signature(self.function).parameters
        return self.function(**{name: value for name, value in given.items() if name in parameters})


class _Seen(dict[str, Tensor]):
    """A batch that notes which tensors are read."""

    def __init__(self, tensors: Mapping[str, Tensor], seen: set[str]) -> None:
        super().__init__(tensors)
        self.seen = seen

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            match = nearest(name, self)
            raise NotComparableError(
                f"the function reads `{name}`, which no batch has"
                + (f"; did you mean `{match}`?" if match else "")
            )
        self.seen.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The tensor, noted as read."""
        return self.get(name, default)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


class StandInConfig:
    """What verl 0.9.1 gives a loss as its configuration, at its defaults."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take the values that are not at their defaults."""
        self.__dict__.update(values)

    def get(self, name: str, default: Any = None) -> Any:
        """A value by name, as a mapping has it."""
        return getattr(self, name, default)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


_POLICY_LOSS = {
    "loss_mode": "vanilla",
    "clip_cov_ratio": 0.0002,
    "clip_cov_lb": 1.0,
    "clip_cov_ub": 5.0,
    "kl_cov_ratio": 0.0002,
    "ppo_kl_coef": 0.1,
    "dro_beta": 0.1,
    "rollout_correction": None,
}
_ACTOR = {
    "clip_ratio": 0.2,
    "clip_ratio_low": 0.2,
    "clip_ratio_high": 0.2,
    "clip_ratio_c": 3.0,
    "tau_pos": 1.0,
    "tau_neg": 1.05,
    "loss_agg_mode": "token-mean",
    "loss_scale_factor": None,
    "entropy_coeff": 0,
    "use_kl_loss": False,
    "kl_loss_coef": 0.001,
    "kl_loss_type": "low_var_kl",
}


def verl_config(given: Mapping[str, Any], counts: Mapping[str, int]) -> Any:
    """verl's ActorConfig where verl is installed, else what has the same attributes."""
    of_policy_loss = {name: value for name, value in given.items() if name in _POLICY_LOSS}
    of_actor = {name: value for name, value in given.items() if name not in of_policy_loss}
    actor_config, policy_loss_config = _verl_classes()
    if actor_config is None:
        policy_loss = StandInConfig({**_POLICY_LOSS, **of_policy_loss})
        return StandInConfig(
            {**_ACTOR, "policy_loss": policy_loss, "global_batch_info": dict(counts), **of_actor}
        )
    policy_loss = policy_loss_config(**{"dro_beta": 0.1, **of_policy_loss})
    needed = {"strategy": "fsdp", "rollout_n": 1, "ppo_micro_batch_size_per_gpu": 1}
    return actor_config(**needed, policy_loss=policy_loss, global_batch_info=dict(counts), **of_actor)


def _verl_classes() -> tuple[Any, Any]:
    """verl's classes, if the function's own process has loaded verl: this package never does."""
    config = sys.modules.get("verl.workers.config")
    return getattr(config, "ActorConfig", None), getattr(config, "PolicyLossConfig", None)
