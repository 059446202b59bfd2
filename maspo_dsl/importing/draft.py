"""A spec in the making: its statements as data, and the shortest honest text of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.parser import parse_objective
from maspo_dsl.language.source import Source
from maspo_dsl.objective import Objective, load, parse
from maspo_dsl.semantics.canonical import statement_text
from maspo_dsl.semantics.domains import number_text
from maspo_dsl.semantics.flat import Flat
from maspo_dsl.semantics.part_words import NAMED
from maspo_dsl.semantics.shipped import shipped_names

_ROOT = "group_ppo"


@dataclass(frozen=True)
class DraftParameter:
    """A parameter to declare; `domain` is what the trainer takes, used where the base takes less."""

    value: float
    domain: str
    meaning: str = ""
    bind: str = ""


@dataclass(frozen=True)
class Draft:
    """Everything that a spec says. `parts` are by word and name, a condition where the word makes a rule.

    `comments` are lines above it.
    """

    name: str
    meaning: str
    source: str
    ratio: str
    reduce: str
    advantage: str
    params: Mapping[str, DraftParameter] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    lets: Mapping[str, str] = field(default_factory=dict)
    defs: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    allows: Mapping[str, str] = field(default_factory=dict)
    differs: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()


def objective_of(draft: Draft) -> tuple[str, Objective]:
    """The text of a draft, formatted, and the objective that it is.

    It extends the shipped objective that it shares most with, of those of which it keeps everything. Raises
    SpecError for statements that make no objective.
    """
    whole = parse(_text(draft, None, _statements(draft)), draft.name)
    for base in _bases(whole.resolved.flat):
        text = _text(draft, base, _difference(draft, whole.resolved.flat, base))
        try:
            found = parse(text, draft.name)
        except SpecError:
            continue
        # What a base has is inherited whatever it is called: the same hash shows that nothing else came with it.
        if found.hash == whole.hash:
            return text, found
    raise AssertionError(f"no base fits {draft.name}")


def _text(draft: Draft, base: str | None, lines: list[str]) -> str:
    """The formatted file with these statements."""
    extends = f" extends {base}" if base else ""
    comments = [f"# {line}" for line in draft.comments]
    header = [f"objective {draft.name}{extends}", f'"{draft.meaning}"', f'source "{draft.source}"']
    notes = [f'differs "{line}"' for line in draft.differs]
    allows = [f'allow {code} "{why}"' for code, why in draft.allows.items()]
    text = "\n".join([*comments, *header, *notes, "", *lines, *allows, ""])
    return format_objective(parse_objective(Source(draft.name, text)))


def _statements(draft: Draft, skip: frozenset[str] = frozenset()) -> list[str]:
    """The lines of every statement; a parameter of `skip` that the base declares keeps its domain and its meaning."""
    lines = [f"input {name} : {axis}" for name, axis in draft.inputs.items()]
    lines += [_param_line(name, parameter, name in skip) for name, parameter in draft.params.items()]
    lines += [f"def {call} = {body}" for call, body in draft.defs.items()]
    lines += [f"let {name} = {value}" for name, value in draft.lets.items()]
    lines += [f"advantage = {draft.advantage}", f"ratio = {draft.ratio}"]
    lines += [_part_line(word, name, value) for (word, name), value in draft.parts.items()]
    return [*lines, f"reduce = {draft.reduce}"]


def _param_line(name: str, parameter: DraftParameter, known: bool) -> str:
    line = f"param {name} = {number_text(parameter.value)}"
    line += "" if known else f" in {parameter.domain}"
    line += f" bind {parameter.bind}" if parameter.bind else ""
    return line + (f' "{parameter.meaning}"' if parameter.meaning and not known else "")


def _part_line(word: str, name: str, value: str) -> str:
    return f"{word} {name} {'where' if NAMED[word].form == 'rule' else '='} {value}"


# ---- laid over a base


def _bases(whole: Flat) -> list[str]:
    """The shipped objectives that the draft honestly extends, the nearest first: it keeps all that they say."""
    wanted = _by_key(whole)
    root = _by_key(_flat(_ROOT))
    own = {base: dict(_by_key(_flat(base)).items() - root.items()) for base in shipped_names()}
    kept = [base for base, said in own.items() if said.items() <= wanted.items()]
    # What says the same as another in fewer steps is the simpler one.
    return sorted(kept, key=lambda base: (-len(own[base]), len(_flat(base).bases)))


def _difference(draft: Draft, whole: Flat, base: str) -> list[str]:
    """The lines that make the draft of a base: what it lacks, and what it says otherwise."""
    flat = _flat(base)
    there = _by_key(flat)
    kept = frozenset(name for name, parameter in draft.params.items() if _takes(base, name, parameter))
    same = {key for key, text in _by_key(whole).items() if there.get(key) == text}
    same |= {("param", name) for name in kept if _is_default(flat, name, draft.params[name])}
    return [line for line in _statements(draft, kept) if _key_of(line) not in same]


@lru_cache(maxsize=128)
def _flat(base: str) -> Flat:
    return load(base).resolved.flat


def _by_key(flat: Flat) -> dict[tuple[str, str], str]:
    """The text of each statement but parameters, by its first word and its name."""
    found = {("let", name): statement_text(replace(let, neutral=None)) for name, let in flat.lets.items()}
    found |= {("input", name): statement_text(replace(line, doc=None)) for name, line in flat.inputs.items()}
    found |= {(word, ""): statement_text(slot) for word, slot in flat.slots.items()}
    return found | {key: statement_text(part) for key, part in flat.parts.items()}


def _key_of(line: str) -> tuple[str, str]:
    word, name, *_ = line.split()
    return (word, "") if name == "=" else (word, name)


@lru_cache(maxsize=512)
def _takes(base: str, name: str, parameter: DraftParameter) -> bool:
    """Whether a base has the parameter and lets it be this value."""
    if name not in _flat(base).params:
        return False
    try:
        load(base, {name: parameter.value})
    except SpecError:
        return False
    return True


def _is_default(flat: Flat, name: str, parameter: DraftParameter) -> bool:
    declared = flat.params[name]
    default = load(flat.header.name.text).resolved.parameters[name].value
    return default == parameter.value and (declared.bind.text if declared.bind else "") == parameter.bind
