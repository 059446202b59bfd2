"""The command line in this process, in an empty folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from maspo_dsl.cli.app import app

Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path, monkeypatch) -> Cli:
    """Runs a command; anything but an orderly exit fails the test."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, prog_name="maspo-dsl")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def write(tmp_path) -> Callable[[str, str | bytes], Path]:
    """Writes a file of the present folder."""

    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return to


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory) -> Path:
    """Where the warm-started tiny model is kept for all tests of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def brief(model_cache) -> list[str]:
    """Overrides that make a step take a moment."""
    return [
        f"cache={model_cache}",
        "trainer.eval_prompts=16",
        "rollout.prompts=8",
        "rollout.samples=4",
    ]
