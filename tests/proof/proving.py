"""The whole proof: every mutant of every shipped objective, of the library and of the template, and its end."""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import torch

from maspo_dsl.language.parser import parse_objective
from maspo_dsl.semantics.shipped import library_definitions, shipped_source

from ..rows.specs import ROWS
from . import killing
from .checks import shipped
from .equivalents import reason_for
from .probes import PROBES
from .same import same_function
from .settings import SETTINGS
from .source_mutants import Mutant, Piece, mutants_of, pieces
from .spec_mutants import def_mutants, spec_mutants
from .table_mutants import table_mutants

Origin = Literal["source", "spec", "library", "template", "table"]
End = Literal["killed", "equivalent", "unchanged", "survived"]

OBJECTIVE_FUNCTIONS = ("once", "loss", "advantage", "keep", "prompt", "step", "memory", "statistics_")
"""Functions of an emitted file that its objective is written into; the others are the same in every file."""
TEMPLATE = "the template"
TABLES = "the tables"
JUDGES = ("grpo", "dapo", "bnpo", "vcpo", "stapo", "ppo", "gspo", "clip_cov", *PROBES)
"""Objectives that together use all of the template: a mutant of it must be noticed in one of them."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant. `by` is what noticed it, or why nothing can."""

    origin: Origin
    spec: str
    mutant: str
    end: End
    by: str

    def __str__(self) -> str:
        return f"{self.spec}: {self.mutant}"


@dataclass(frozen=True)
class Task:
    """Mutants that one process works through: of a spec, of it under a `def`, of a template function, of a row."""

    origin: Origin
    subject: str
    detail: str = ""


def tasks(names: Iterable[str], origins: Iterable[Origin]) -> list[Task]:
    """Everything there is to do for these objectives, the longest first."""
    chosen, wanted = sorted(names), set(origins)
    found: list[Task] = []
    if "template" in wanted:
        found += [Task("template", TEMPLATE, text) for text in template_pieces(tuple(chosen))]
    if "library" in wanted:
        found += [Task("library", name, used) for name in chosen for used in library_used(name)]
    if "table" in wanted:
        found += [Task("table", TABLES, row) for row in ROWS]
    found += [Task(origin, name) for origin in ("spec", "source") if origin in wanted for name in chosen]
    return found


def library_used(name: str) -> list[str]:
    """The `def`s of the library that an objective reads."""
    return sorted(shipped()[name].resolved.used & set(library_definitions()))


@cache
def template_pieces(names: tuple[str, ...]) -> dict[str, tuple[Piece, list[str]]]:
    """The functions that several files have, by text, each with the objectives that carry it."""
    found: dict[str, tuple[Piece, list[str]]] = {}
    for name in (*names, *PROBES):
        for piece in pieces(killing.program_by_name(name).objective.torch_source()):
            if not of_objective(piece):
                found.setdefault(piece.text, (piece, []))[1].append(name)
    return {
        text: (piece, [name for name in JUDGES if name in carriers] or carriers[:5])
        for text, (piece, carriers) in found.items()
    }


def of_objective(piece: Piece) -> bool:
    """Whether a piece is the objective's own."""
    if piece.owner is not None:
        return piece.owner == "Loss"
    return piece.node.name.startswith(OBJECTIVE_FUNCTIONS)


def outcomes(task: Task, names: tuple[str, ...], *, known: bool = True) -> list[Outcome]:
    """The end of every mutant of a task; `names` are the objectives that may kill one of the template.

    Without `known`, a change with a known reason is not tried.
    """
    return [_outcome(task, mutant, kill, known) for mutant, kill in _mutants(task, names)]


Attempt = tuple[str, Callable[[], str | None]]
"""A mutant in words, and what tries to kill it."""


def _mutants(task: Task, names: tuple[str, ...]) -> Iterator[Attempt]:
    match task.origin:
        case "source":
            return _of_source(task.subject)
        case "spec":
            return _of_spec(task.subject)
        case "library":
            return _of_library(task.subject, task.detail)
        case "template":
            return _of_template(*template_pieces(names)[task.detail])
        case "table":
            return ((str(one), one.killer) for one in table_mutants() if one.used_by == task.detail)


def _of_source(name: str) -> Iterator[Attempt]:
    for piece in pieces(killing.shipped_program(name, SETTINGS[name]).objective.torch_source()):
        if of_objective(piece):
            for mutant in mutants_of(piece):
                yield (
                    str(mutant),
                    _unless_same(piece, mutant, partial(killing.killer_of_source, name, mutant)),
                )


def _of_spec(name: str) -> Iterator[Attempt]:
    objective = shipped()[name]
    names = [*objective.params, *objective.resolved.flat.lets]
    for mutant in spec_mutants(parse_objective(shipped_source(name)), names):
        yield mutant.change, partial(killing.killer_of_spec, name, mutant.tree)


def _of_library(name: str, used: str) -> Iterator[Attempt]:
    for mutant in def_mutants(library_definitions()[used]):
        yield mutant.change, partial(killing.killer_of_def, name, mutant.definition)


def _of_template(piece: Piece, names: list[str]) -> Iterator[Attempt]:
    for mutant in mutants_of(piece):
        yield str(mutant), _unless_same(piece, mutant, partial(_killer_among, list(names), mutant))


def _unless_same(piece: Piece, mutant: Mutant, kill: Callable[[], str | None]) -> Callable[[], str | None]:
    """What tries to kill a mutant, if it is another function at all."""
    changed = ast.parse(mutant.source).body[0]
    assert isinstance(changed, ast.FunctionDef)
    return (lambda: killing.UNCHANGED) if same_function(piece.node, changed) else kill


def _killer_among(names: list[str], mutant: Mutant) -> str | None:
    """A mutant of the template needs to be noticed in one objective; the last that did is tried first."""
    for name in sorted(names, key=lambda name: -_deadly[name]):
        killer = killing.killer_of_source(name, mutant)
        if killer is not None:
            _deadly[name] += 1
            return f"{name}: {killer}"
    return None


_deadly: Counter[str] = Counter()


def _outcome(task: Task, mutant: str, kill: Callable[[], str | None], known: bool) -> Outcome:
    why = reason_for(f"{task.subject}: {mutant}")
    killer = None if why is not None and not known else kill()
    if killer == killing.UNCHANGED:
        return Outcome(task.origin, task.subject, mutant, "unchanged", killer)
    if killer is not None:
        return Outcome(task.origin, task.subject, mutant, "killed", killer)
    return Outcome(task.origin, task.subject, mutant, "survived" if why is None else "equivalent", why or "")


def prove(names: Iterable[str], origins: Iterable[Origin], processes: int) -> Iterator[list[Outcome]]:
    """The ends of the mutants of these objectives, task by task as they are done."""
    chosen = tuple(sorted(names))
    todo = tasks(chosen, origins)
    if processes <= 1:
        yield from (outcomes(task, chosen) for task in todo)
        return
    with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done in as_completed([pool.submit(outcomes, task, chosen) for task in todo]):
            yield done.result()
