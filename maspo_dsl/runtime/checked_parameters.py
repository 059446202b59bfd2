"""Parameters of a compiled loss that are held to their names and domains when they are set."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from maspo_dsl.emit.template.loss_module import LossModule, Parameters
from maspo_dsl.semantics.binding import BoundParameter, bind
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.objective import ResolvedObjective


class CheckedParameters(Parameters):
    """Values of parameters by name, 0-d each. Setting one sets what has it for its default, too."""

    def __init__(self, objective: ResolvedObjective, module: LossModule) -> None:
        super().__init__(module.params.tensors)
        self.objective, self.module = objective, module

    def __setitem__(self, name: str, value: float | Tensor) -> None:
        """Set a value. Raises KeyError: the spec has no such parameter, with the nearest name.

        Raises ValueError: it, or one that follows it, is outside of its domain, no finite number, not read, or built
        into what was compiled.
        """
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        found = self._bound({**self._set_so_far(), name: number})
        if name not in self.objective.read:
            raise ValueError(f"{self.objective.name} does not read its inherited parameter `{name}`")
        before = {**self.objective.params, **self.module.changed_params()}
        moved = {one: found[one].value for one in self.objective.params if found[one].value != before[one]}
        if built_in := [one for one in moved if one not in self.tensors and one in self.objective.used]:
            settings = ", ".join(f"{one!r}: {moved[one]:g}" for one in built_in)
            raise ValueError(
                f"{self.objective.name}: {' and '.join(f'`{one}` = {before[one]:g}' for one in built_in)} was built "
                f"into the loss when it was compiled; compile it again with params={{{settings}}}"
            )
        for one in moved.keys() & self.tensors.keys():
            self[one].fill_(moved[one])

    def _set_so_far(self) -> dict[str, object]:
        """Changed values but for those that only follow others."""
        changed = self.module.changed_params()
        others = {one: {key: number for key, number in changed.items() if key != one} for one in changed}
        return {one: changed[one] for one in changed if self._bound(others[one])[one].value != changed[one]}

    def _bound(self, changed: Mapping[str, object]) -> dict[str, BoundParameter]:
        """All parameters where some have other values."""
        report = DiagnosticCollector()
        settings = self.objective.settings
        found = bind(self.objective.flat, {**settings.params, **changed}, settings.run, report)
        for mistake in report.diagnostics:
            hint = f"; {mistake.hint}" if mistake.hint else ""
            kind = KeyError if mistake.code == "unknown-param" else ValueError
            raise kind(f"{mistake.message}{hint}")
        return found
