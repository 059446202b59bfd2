"""`key=value` overrides read as data: every mistake of a command line, each with the nearest key that exists."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from maspo_dsl.language.diagnostics import nearest


@dataclass(frozen=True)
class Keys:
    """The keys that exist: full paths, blocks that take any key, and paths whose values stay text."""

    paths: frozenset[str]
    open_blocks: frozenset[str]
    text: frozenset[str]

    def blocks(self) -> frozenset[str]:
        """Every name that holds keys and takes no value itself."""
        return self.open_blocks | {path.rsplit(".", 1)[0] for path in self.paths if "." in path}

    def __contains__(self, path: object) -> bool:
        """Whether a value may be given for this path."""
        return isinstance(path, str) and (path in self.paths or self.opened(path))

    def opened(self, path: str) -> bool:
        """Whether the path is a key of a block that takes any key."""
        return any(path.startswith(f"{block}.") and len(path) > len(block) + 1 for block in self.open_blocks)


def read_overrides(overrides: Sequence[str], keys: Keys) -> tuple[dict[str, Any], list[str]]:
    """The values by full path, and one sentence for each mistake; the two together account for every override."""
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for override in overrides:
        found, mistake = _read_one(override, keys)
        if mistake:
            mistakes.append(mistake)
        for path, value in found.items():
            if path in values:
                mistakes.append(f"`{path}` is given twice; keep one of them")
            values[path] = value
    return values, mistakes


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted path as nested dictionaries."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *blocks, leaf = path.split(".")
        block = tree
        for name in blocks:
            block = block.setdefault(name, {})
        block[leaf] = value
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as values by dotted path; the inverse of `nested`."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            values.update(flat(value, f"{prefix}{name}."))
        else:
            values[f"{prefix}{name}"] = value
    return values


def unknown_key(path: str, keys: Collection[str] | Keys, value: str = "…") -> str:
    """The sentence for a key that does not exist: where it belongs, or what it resembles."""
    paths = keys.paths if isinstance(keys, Keys) else frozenset(keys)
    leaf = path.rsplit(".", 1)[-1]
    homes = sorted(known for known in paths if known.rsplit(".", 1)[-1] == leaf)
    if homes:
        return f"there is no key `{path}`: `{leaf}` belongs at `{homes[0]}`; write `{homes[0]}={value}`"
    match = nearest(path, paths) or _nearest_leaf(leaf, paths)
    meant = f"; did you mean `{match}`?" if match else ""
    own = "" if "." in path else f" A parameter of the objective is written `params.{path}={value}`."
    return f"there is no key `{path}`{meant or ';'}{own}" if meant or own else f"there is no key `{path}`{_listed(paths, path)}"


def _read_one(override: str, keys: Keys) -> tuple[dict[str, Any], str]:
    """The values that one override gives by path, or the sentence that says what is wrong with it."""
    if override.startswith("~"):
        return {}, f"`{override}`: a key cannot be removed; leave it out, or set it to null where null is allowed"
    if override.startswith(("-", "+")):
        return {}, f"`{override}`: overrides are written `key=value`, without `{override[0]}` in front"
    path, equals, text = override.partition("=")
    if not equals:
        known = f"{path}=…" if path in keys else "trainer.max_steps=100"
        return {}, f"`{override}` has no `=`; write `key=value`, as in `{known}`"
    if path != path.strip() or not path:
        return {}, f"`{override}`: the key before `=` is {'empty' if not path.strip() else 'padded with spaces'}"
    try:
        value = _value(text, as_text=path in keys.text)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        return {}, f"`{override}`: the value cannot be read ({str(error).splitlines()[0]})"
    if isinstance(value, Mapping):
        found = flat(value, f"{path}.")
        unknown = [unknown_key(inner, keys) for inner in found if inner not in keys]
        return {inner: v for inner, v in found.items() if inner in keys}, "; ".join(unknown)
    if path in keys.blocks():
        return {}, f"`{path}` is a block of keys, not a value; write `{path}.KEY={text}`{_listed(keys.paths, path + '.')}"
    if path not in keys:
        return {}, unknown_key(path, keys, text)
    return {path: value}, ""


def _value(text: str, as_text: bool) -> Any:
    """A value as omegaconf reads it; interpolations are resolved, and a text key's value stays text."""
    if as_text and text != "null":
        return OmegaConf.to_container(OmegaConf.create({"value": text}), resolve=True)["value"]  # type: ignore[call-overload,index]
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]), resolve=True)["value"]  # type: ignore[call-overload,index]


def _nearest_leaf(leaf: str, paths: Collection[str]) -> str | None:
    """The path whose last name resembles `leaf`."""
    leaves = {path.rsplit(".", 1)[-1]: path for path in sorted(paths, reverse=True)}
    match = nearest(leaf, leaves)
    return leaves[match] if match else None


def _listed(paths: Collection[str], prefix: str) -> str:
    """The keys of the block that a path starts with, as the end of a sentence."""
    block = prefix.rsplit(".", 1)[0] + "."
    names = sorted(path for path in paths if path.startswith(block))
    return f". Its keys: {', '.join(names)}" if names else ""
