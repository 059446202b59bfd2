"""maspo-dsl: objectives of reinforcement learning for language models, written down, compiled, proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maspo_dsl.language.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from maspo_dsl.emit.template.metrics import LossOutput
    from maspo_dsl.emit.template.names import BatchError
    from maspo_dsl.objective import Objective, load, parse
    from maspo_dsl.runtime.log_probs import log_probs
    from maspo_dsl.runtime.loss import ObjectiveLoss, compile
    from maspo_dsl.runtime.pooling import pool
    from maspo_dsl.verification.report import Report
    from maspo_dsl.verification.verify import verify

__all__ = [
    "BatchError",
    "Diagnostic",
    "LossOutput",
    "Objective",
    "ObjectiveLoss",
    "Report",
    "SpecError",
    "compile",
    "load",
    "log_probs",
    "parse",
    "pool",
    "shipped",
    "verify",
]

# What needs torch or numpy is imported when it is asked for: formatting a spec takes no seconds.
_LAZY = {
    "BatchError": "maspo_dsl.emit.template.names",
    "LossOutput": "maspo_dsl.emit.template.metrics",
    "Objective": "maspo_dsl.objective",
    "ObjectiveLoss": "maspo_dsl.runtime.loss",
    "Report": "maspo_dsl.verification.report",
    "compile": "maspo_dsl.runtime.loss",
    "load": "maspo_dsl.objective",
    "log_probs": "maspo_dsl.runtime.log_probs",
    "parse": "maspo_dsl.objective",
    "pool": "maspo_dsl.runtime.pooling",
    "verify": "maspo_dsl.verification.verify",
}


def shipped() -> list[str]:
    """Names of the shipped objectives, sorted."""
    from maspo_dsl.semantics.shipped import shipped_names

    return list(shipped_names())


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'maspo_dsl' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
