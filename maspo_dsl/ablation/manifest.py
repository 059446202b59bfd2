"""What `manifest.json` of a grid must hold to be one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Refused(_Record):
    name: str
    reason: str


class _Point(_Record):
    name: Annotated[str, Field(pattern=r"^\w+$")]
    file: Annotated[str, Field(pattern=r"^\w+\.obj$")]
    hash: str
    edits: list[str]
    kind: str
    doc: str
    axes: dict[str, str]
    same_as: list[str]


class _Manifest(_Record):
    spec: str
    base: str
    seeds: Annotated[int, Field(ge=1)]
    points: Annotated[list[_Point], Field(min_length=2)]
    impossible: list[_Refused]
    idle: list[_Refused]
    runs: list[str] = []
    ran: str = ""
    command: str = ""


def read_manifest(file: Path) -> dict[str, Any] | None:
    """The document of a manifest's file; None if there is none, or one that no grid has."""
    try:
        document = _Manifest.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    return document.model_dump(exclude_unset=True)
