"""What a run is made with, as hashes: a run that goes on with something else is another experiment."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from maspo_dsl.language.writing import write_whole

from .config_error import ConfigError
from .policies import Policy
from .rewards import Rewards
from .tasks import Task

_PACKAGES = ("maspo-dsl", "torch", "transformers", "lightning", "peft")
# Entries of a weight that are hashed: enough to tell two models apart, and as fast for a large one.
_ENTRIES = 1024


def origins(task: Task, rewards: Rewards, policy: Policy) -> dict[str, str]:
    """What a run is made with, by what it is called: a hash, or a version. `rewards` are those that the run names."""
    functions = {name: each.function for name, each in rewards.items()}
    names = {f"reward {name}".strip(): sources([function]) for name, function in functions.items()}
    return {
        f"data of {task.name}": _digest([task.fingerprint.encode()]),
        **names,
        f"model {policy.name}": _digest(_weights(policy.model)),
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name)) is not None},
    }


def check_origins(run: Path, now: dict[str, str], *, accepted: bool) -> str | None:
    """A sentence on what a run was made with that is another now, None if nothing is; remembers the new if `accepted`.

    Raises ConfigError where it is not accepted.
    """
    path = run / "run.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    before = about.get("made_with", {})
    changed = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if not changed:
        return None
    listed = ", ".join(f"{name} ({_short(before.get(name))} -> {_short(now.get(name))})" for name in changed)
    if not accepted:
        raise ConfigError(
            f"resume={run}: not what the run was made with: {listed}. It would be another experiment; "
            "`resume_changed=true` goes on all the same"
        )
    write_whole(path, json.dumps({**about, "made_with": now}, indent=2) + "\n")
    return f"goes on with what it was not made with: {listed}"


def sources(things: Iterable[object]) -> str:
    """A hash of the files that functions and classes are from, and of those beside them that these import."""
    modules: dict[str, ModuleType] = {}
    waiting = [module for thing in things if (module := inspect.getmodule(thing)) is not None]
    folders = {Path(file).parent for module in waiting if (file := getattr(module, "__file__", None))}
    while waiting:
        module = waiting.pop()
        if module.__name__ in modules:
            continue
        modules[module.__name__] = module
        waiting += [each for each in _imported(module) if _folder(each) in folders]
    files = {name: Path(file) for name, each in modules.items() if (file := getattr(each, "__file__", None))}
    return _digest(part for name in sorted(files) for part in (name.encode(), _content(files[name])))


def _imported(module: ModuleType) -> Iterator[ModuleType]:
    """The modules whose names, or whose functions and classes, a module has."""
    for value in list(vars(module).values()):
        found = (
            value
            if isinstance(value, ModuleType)
            else sys.modules.get(getattr(value, "__module__", None) or "")
        )
        if found is not None:
            yield found


def _folder(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _weights(model: nn.Module) -> Iterator[bytes]:
    """Names, shapes, and entries of the weights, evenly spread."""
    for name, each in model.named_parameters():
        flat = each.detach().reshape(-1)
        yield f"{name} {tuple(each.shape)}".encode()
        yield flat[:: max(1, flat.numel() // _ENTRIES)].to("cpu", torch.float32).numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def _short(value: str | None) -> str:
    return "none" if value is None else value[:12]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
