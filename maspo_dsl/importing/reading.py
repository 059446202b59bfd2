"""`key=value` settings of another trainer, and its files: every mistake at once, with the nearest key."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maspo_dsl.importing.options import Option, SettingsError, text
from maspo_dsl.language.diagnostics import nearest

_COMMON = 3
_WORDS = {"True": True, "False": False, "None": None, "~": None, "": None}


@dataclass(frozen=True)
class Known:
    """The keys of a trainer: those that concern the objective, and all others.

    With `dotted` a key may be given by the last parts of its path, if they mean it alone.
    """

    options: Mapping[str, Option]
    others: frozenset[str]
    dotted: bool = False
    open_blocks: tuple[str, ...] = field(default=())

    def path(self, key: str) -> str | None:
        """The whole path of a key; None if it is unknown. Raises SettingsError where it means several."""
        if key in self.options or key in self.others:
            return key
        if not self.dotted:
            return None
        found = [name for name in self.options if name.endswith(f".{key}")]
        others = sorted(name for name in self.others - self.options.keys() if name.endswith(f".{key}"))
        # What a critic has as well is still the objective's; what everything has, such as `enable`, is not.
        if not found or len(others) > _COMMON:
            found += others
        if len(found) > 1:
            more = ", …" if len(found) > _COMMON else ""
            raise SettingsError(f"`{key}` may be {', '.join(found[:_COMMON])}{more}: write which")
        if not found and any(key.startswith(block) or f".{block}" in key for block in self.open_blocks):
            return key
        return found[0] if found else None


def settings_of(given: Sequence[str], known: Known) -> tuple[dict[str, Any], frozenset[str]]:
    """Every option with its value, the trainer's default where none is given, and the names of those given.

    `given` are `key=value`, or the path of one file of settings, .yaml or .json. Raises SettingsError with a line for
    each mistake.
    """
    values, mistakes = _by_key(given, known)
    for name, value in values.items():
        if name in known.options:
            values[name], wrong = _checked(known.options[name], value)
            mistakes += wrong
    if mistakes:
        raise SettingsError("\n       ".join(mistakes))
    settings = {name: values.get(name, option.default) for name, option in known.options.items()}
    return settings, frozenset(values)


def _by_key(given: Sequence[str], known: Known) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for entry in given:
        for key, value in _pairs(entry, mistakes):
            try:
                path = known.path(key)
            except SettingsError as error:
                mistakes.append(str(error))
                continue
            if path is None:
                mistakes.append(_unknown(key, known))
            elif path in values:
                mistakes.append(f"`{path}` is given twice; keep one of the two")
            else:
                values[path] = value
    return values, mistakes


def _pairs(entry: str, mistakes: list[str]) -> Iterable[tuple[str, Any]]:
    """The settings of one argument: `key=value`, or all those of a file."""
    key, equals, written = entry.partition("=")
    if equals:
        key = key.strip().lstrip("+").removeprefix("--")
        if not key:
            mistakes.append(f"`{entry}`: a key is missing before `=`")
            return []
        return [(key, value_of(written))]
    if entry.endswith((".yaml", ".yml", ".json")):
        try:
            return list(_of_file(Path(entry)))
        except SettingsError as error:
            mistakes.append(str(error))
            return []
    mistakes.append(f"`{entry}` has no `=`; write `key=value`, or name a file that ends with .yaml or .json")
    return []


def value_of(written: str) -> Any:
    """A value as JSON, as Python writes it, or a bare word."""
    written = written.strip()
    if written in _WORDS:
        return _WORDS[written]
    try:
        return json.loads(written)
    except ValueError:
        pass
    try:
        return float(written) if not written[0].isalpha() and "_" not in written else written
    except ValueError:
        quoted = len(written) > 1 and written[0] == written[-1] == "'"
        return written[1:-1] if quoted else written


def _of_file(path: Path) -> Iterable[tuple[str, Any]]:
    """The settings of a file, blocks as dotted keys."""
    from omegaconf import OmegaConf

    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except OSError as error:
        raise SettingsError(f"`{path}` cannot be read: {(error.strerror or str(error)).lower()}") from None
    except Exception as error:  # a file fails in as many ways as YAML has
        reason = (str(error).splitlines() or ["no YAML"])[0]
        raise SettingsError(f"`{path}` is no file of settings: {reason}") from None
    if not isinstance(tree, Mapping):
        raise SettingsError(f"`{path}` is no file of settings: it has no keys")
    return _flat(tree)


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _unknown(key: str, known: Known) -> str:
    leaf = key.rsplit(".", 1)[-1]
    names = {name.rsplit(".", 1)[-1]: name for name in [*sorted(known.others), *known.options]}
    match = nearest(key, [*known.options, *known.others]) or nearest(leaf, names)
    hint = f"; did you mean `{names.get(match, match)}`?" if match else ""
    return f"there is no option `{key}`{hint}"


# ---- one value


def _checked(option: Option, value: Any) -> tuple[Any, list[str]]:
    """The value as the option takes it, and what is wrong with it."""
    if value is None:
        return None, [] if option.optional else [f"`{option.name}` cannot be null"]
    found, wanted = _CHECKS[option.kind](option, value)
    shown = value if isinstance(value, str) else text(value)
    return found, [f"`{option.name}={shown}`: expected {wanted}"] if wanted else []


def _number(option: Option, value: Any) -> tuple[Any, str]:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value, "a number"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return value, "a number"
    if not option.low <= value <= option.high:
        return value, f"a number {_interval(option)}"
    return float(value), ""


def _interval(option: Option) -> str:
    if option.high == math.inf:
        return f"from {option.low:g}"
    return f"from {option.low:g} to {option.high:g}"


def _count(option: Option, value: Any) -> tuple[Any, str]:
    number, wrong = _number(option, value)
    if not wrong and number != int(number):
        wrong = "a whole number"
    return (value, wrong) if wrong else (int(number), "")


def _switch(option: Option, value: Any) -> tuple[Any, str]:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if value in (0, 1) and not isinstance(value, str):
        return bool(value), ""
    return value, "true or false"


def _word(option: Option, value: Any) -> tuple[Any, str]:
    value = option.synonyms.get(value, value) if isinstance(value, str | bool) else value
    if not option.words or value in option.words:
        return value, ""
    match = nearest(str(value), option.words)
    return value, f"one of {', '.join(option.words)}" + (f"; did you mean {match}?" if match else "")


def _list(option: Option, value: Any) -> tuple[Any, str]:
    wanted = (
        "a list, such as [1,0.5]" if option.kind == "numbers" else "a list of names, such as [acc,format]"
    )
    if isinstance(value, str):
        value = [value_of(part) for part in value.strip("[]").split(",")]
    value = [value] if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(value, Collection) or not value:
        return value, wanted
    if option.kind == "words":
        return [str(part) for part in value], ""
    numbers = [_number(option, part) for part in value]
    if any(wrong for _, wrong in numbers):
        return value, wanted
    return [number for number, _ in numbers], ""


_CHECKS: dict[str, Callable[[Option, Any], tuple[Any, str]]] = {
    "number": _number,
    "count": _count,
    "switch": _switch,
    "word": _word,
    "numbers": _list,
    "words": _list,
    "anything": lambda option, value: (value, ""),
}
