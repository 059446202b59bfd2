"""Whether a mutant is noticed: the questions of `checks`, the most lethal first, until one is answered wrongly."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import CodeType

import torch

import maspo_dsl
from maspo_dsl.language import tree
from maspo_dsl.language.formatter import format_objective
from maspo_dsl.language.source import Source
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.resolve import resolve
from maspo_dsl.semantics.shipped import library_definitions

from ..reference.catalogue import REFERENCES
from .asking import Check
from .checks import checks, shipped
from .probes import PROBES, probe, probe_checks
from .same import same_graph
from .settings import SECOND, SETTINGS
from .source_mutants import Mutant

Params = Mapping[str, float]
Load = Callable[[Params], Objective]

REFUSED, DEFAULTS, UNMADE = "refused by the checker", "its defaults", "it cannot be made"
"""Killers that need no batch."""
UNCHANGED = "the same program"
"""The outcome of a change that leaves the simplified graph as it was, or turns round what is squared."""

_lethal: Counter[str] = Counter()


@dataclass(frozen=True)
class Program:
    """An objective with its parameters set: its graph, its emitted text, compiled."""

    objective: Objective
    code: CodeType

    def module(self, mutant: Mutant | None = None) -> torch.nn.Module:
        """A fresh `Loss`, with one function replaced by a mutant."""
        namespace: dict[str, object] = {"__name__": "emitted"}
        exec(self.code, namespace)
        if mutant is not None:
            mutant.put_into(namespace)
        return namespace["Loss"]()


def program_of(objective: Objective) -> Program:
    return Program(objective, compile(objective.torch_source(), f"{objective.name}.py", "exec"))


@cache
def _shipped(name: str, params: tuple[tuple[str, float], ...]) -> Program:
    return program_of(maspo_dsl.load(name, params=dict(params)))


def frozen(params: Params) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(params.items()))


def shipped_program(name: str, params: Params) -> Program:
    """The shipped objective with these parameters."""
    return _shipped(name, frozen(params))


@cache
def program_by_name(name: str) -> Program:
    """A probe, or the shipped objective with the parameters that it is proven with."""
    return program_of(probe(name)) if name in PROBES else shipped_program(name, SETTINGS[name])


def own_settings(name: str) -> list[Params]:
    """The proof's own settings of an objective: one, or two where one cannot show everything."""
    return [SETTINGS[name], *([SECOND[name]] if name in SECOND else [])]


def settings_of(name: str) -> list[Params]:
    """The settings an objective is proven with: the proof's own, the defaults, and those its reference names."""
    return [*own_settings(name), {}, *REFERENCES[name].tries]


def failing(module: torch.nn.Module, questions: Iterable[Check]) -> str | None:
    """The first question that a module completions wrongly, or cannot completion."""
    for check in sorted(questions, key=lambda check: -_lethal[check.name]):
        try:
            right = check.holds(module)
        except Exception:
            right = False
        if not right:
            _lethal[check.name] += 1
            return check.name
    return None


def killer_of_source(name: str, mutant: Mutant) -> str | None:
    """What notices a change of the emitted source of an objective, or of a probe; None if nothing does."""
    if name in PROBES:
        return _changed(program_by_name(name), mutant, probe_checks(name))
    attempts = (
        _changed(shipped_program(name, params), mutant, checks(name, frozen(params)))
        for params in own_settings(name)[
            : 1 if mutant.function == "__init__" else None
        ]  # it says their values
    )
    return next((killer for killer in attempts if killer is not None), None)


def _changed(program: Program, mutant: Mutant, questions: Iterable[Check]) -> str | None:
    try:
        module = program.module(mutant)
    except Exception:
        return UNMADE
    return failing(module, questions)


def killer_of_spec(name: str, mutant: tree.ObjectiveTree) -> str | None:
    """What notices a change of the text of a spec."""
    source = Source(f"{name}.obj", format_objective(mutant))
    return _killer(name, lambda params: Objective(resolve(source, params=params)))


def killer_of_def(name: str, definition: tree.Def) -> str | None:
    """What notices, in one objective, a change of a `def` of the library."""
    for params in settings_of(name):
        shipped_program(name, params)  # as it is shipped, kept from before the change
    with replaced(definition):
        return _killer(name, lambda params: maspo_dsl.load(name, params=dict(params)))


@contextmanager
def replaced(definition: tree.Def) -> Iterator[None]:
    """The library with another `def` of the same name."""
    library, name = library_definitions(), definition.name.text
    original = library[name]
    library[name] = definition
    try:
        yield
    finally:
        library[name] = original


def _killer(name: str, load: Load) -> str | None:
    """What notices a change under the first setting in which it is one."""
    unchanged = True
    try:
        for params in settings_of(name):
            found = load(params)
            if not params and defaults_differ(name, found):
                return DEFAULTS
            if same_graph(found.graph, shipped_program(name, params).objective.graph):
                continue
            unchanged = False
            killer = _answered_wrongly(name, found, params)
            if killer is not None:
                return killer
    except maspo_dsl.SpecError:
        return REFUSED
    return UNCHANGED if unchanged else None


def _answered_wrongly(name: str, objective: Objective, params: Params) -> str | None:
    try:
        module = program_of(objective).module()
    except Exception:
        return UNMADE
    return failing(module, checks(name, frozen(params)))


def defaults_differ(name: str, objective: Objective) -> bool:
    """Whether a parameter has another default, or a memory another start, than the reference says."""
    reference = REFERENCES[name]
    starts = {memory.name: memory.start for memory in objective.memories.values()}
    others = any(objective.params.get(key, value) != value for key, value in reference.defaults.items())
    return others or starts != reference.starts


def itself_fails(name: str) -> list[str]:
    """What an unchanged objective gets wrong: before anything can be proven, this must be empty."""
    if name in PROBES:
        module = program_by_name(name).module()
        return [check.name for check in probe_checks(name) if not check.holds(module)]
    found = []
    for params in settings_of(name):
        module = shipped_program(name, params).module()
        for check in checks(name, frozen(params)):
            try:
                right = check.holds(module)
            except Exception as error:
                found.append(f"{check.name} with {dict(params)}: {error!r}")
                continue
            if not right:
                found.append(f"{check.name} with {dict(params)}")
    if defaults_differ(name, shipped()[name]):
        found.append(f"{DEFAULTS}: {shipped()[name].params}, expected {dict(REFERENCES[name].defaults)}")
    return found
