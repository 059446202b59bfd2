"""The mistake of a configuration, which every module of the trainer may find."""

from __future__ import annotations

from collections.abc import Mapping


class ConfigError(ValueError):
    """A run cannot start as configured; the message is a paragraph in the user's terms.

    `values` are those that could be read nevertheless, by path.
    """

    def __init__(self, message: str, values: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.values = dict(values or {})
