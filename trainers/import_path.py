"""The user's own code, found by import path: `module.name`, with the current folder searched first."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType

from maspo_dsl.language.diagnostics import did_you_mean

from .config_error import ConfigError


def load_by_path(key: str, path: str, kind: str) -> object:
    """What the key `key=path` of a configuration names, a `kind` such as function or class.

    Raises ConfigError where there is no such module, or nothing of that name in it, naming the nearest one.
    """
    module_name, dot, name = path.rpartition(".")
    if not dot or "/" in path or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigError(
            f"`{key}={path}` is not an import path: write `module.{kind}`; "
            f"a {kind} `mine` in {key}s.py of the current folder is `{key}s.mine`"
        )
    module = _import(f"`{key}={path}`", module_name)
    found = getattr(module, name, None)
    if found is None:
        hint = did_you_mean(name, _own_names(module, kind)) or f"the module defines no {kind}"
        raise ConfigError(f"`{key}={path}`: module `{module_name}` has no {kind} `{name}`; {hint}")
    return found


def describe(error: BaseException, ours: str) -> str:
    """An exception of the user's code in one line, with the place it came from: not in the file `ours`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != ours and "importlib" not in frame.filename]
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        place = f"{own[-1].filename}:{own[-1].lineno}" if own else "unknown place"
    return f"{type(error).__name__}: {error} ({place})"


def _import(setting: str, module_name: str) -> ModuleType:
    """Import a module with the current folder in front, as `python -m` does."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise ConfigError(
                f"{setting}: module `{module_name}` imports `{missing}`, which is not installed"
            ) from error
        neighbours = [file.stem for file in Path.cwd().glob("*.py")]
        hint = did_you_mean(module_name, neighbours) or "there is no Python file in the current folder"
        raise ConfigError(
            f"{setting}: there is no module `{missing}` in {folder} or installed; {hint}"
        ) from error
    except (Exception, SystemExit) as error:  # a script that exits is not a Ctrl-C
        raise ConfigError(
            f"{setting}: importing `{module_name}` failed: {describe(error, __file__)}"
        ) from error


def _own_names(module: ModuleType, kind: str) -> list[str]:
    """Names of the functions or classes that a module defines itself."""
    is_kind = inspect.isclass if kind == "class" else inspect.isfunction
    return [
        name
        for name, value in vars(module).items()
        if is_kind(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
