"""Mistakes in specs: the tree of an objective, or of a `def` of the library, with one thing wrong.

Every mutant is one change of one node. What is not computed is left alone: texts, sources, domains, neutrals,
variants, sweeps and acknowledgements.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maspo_dsl.language import tree
from maspo_dsl.language.formatter import format_statement
from maspo_dsl.language.source import Source, Span

from .source_mutants import marked

NOWHERE = Span(Source("<mutant>", ""), 0, 0)

POLICIES = ("policy", "old", "rollout", "reference")
SCOPES = {
    "sequence": ("window", "group"),
    "group": ("sequence", "rollout_batch"),
    "window": ("sequence", "micro"),
    "micro": ("window", "sequence"),
    "rollout_batch": ("group",),
}
FUNCTIONS = {"min": "max", "max": "min", "mean": "sum", "sum": "mean", "k2": "k3", "k3": "k2"}
QUANTITIES = {
    "reward": "reward_greedy",
    "reward_greedy": "reward",
    "correct": "truncated",
    "length": "position",
}
DROPPED_CALLS = {
    "abs",
    "atan",
    "clamp",
    "clip",
    "detach",
    "erf",
    "exp",
    "log",
    "max",
    "min",
    "next",
    "per_token",
    "sigmoid",
    "sqrt",
    "tanh",
}
"""Functions whose first argument may stand in their place."""

COMMUTATIVE = ("min", "max")

FLIPPED = {"+": "-", "-": "+", "*": "/", "/": "*", "^": "*"}
REVERSED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "!=", "!=": "=="}
STRICT = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}

Arguments = tuple[tree.Argument, ...]
Stages = tuple[tree.Stage, ...]


@dataclass(frozen=True)
class SpecMutant:
    """A changed objective, and what was changed in it."""

    change: str
    tree: tree.ObjectiveTree


@dataclass(frozen=True)
class DefMutant:
    """A changed `def` of the library, and what was changed in it."""

    change: str
    definition: tree.Def


def spec_mutants(objective: tree.ObjectiveTree, names: Sequence[str]) -> Iterator[SpecMutant]:
    """Every mutant of what a spec itself says; `names` are the parameters and lets that it can read."""
    spared = (tree.Variant, tree.Sweep, tree.Allow)
    statements = tuple(s for s in objective.statements if not isinstance(s, spared))
    allows = tuple(s for s in objective.statements if isinstance(s, tree.Allow))
    for place, statement in enumerate(statements):
        before, after = statements[:place], (*statements[place + 1 :], *allows)
        for changed in _distinct(_statement(statement, names)):
            whole = replace(objective, statements=(*before, changed, *after))
            yield SpecMutant(marked(_text(statement), _text(changed)), whole)
        yield SpecMutant(f"⟨{_text(statement)} → ⟩", replace(objective, statements=(*before, *after)))


def def_mutants(definition: tree.Def) -> Iterator[DefMutant]:
    """Every mutant of a `def` of the library."""
    names = [parameter.name.text for parameter in definition.parameters]
    for changed in _distinct(_statement(definition, names)):
        yield DefMutant(marked(_text(definition), _text(changed)), changed)


def _distinct(changed: Iterator[Any]) -> Iterator[Any]:
    seen = set()
    for node in changed:
        if node not in seen:
            seen.add(node)
            yield node


def _text(statement: tree.Statement) -> str:
    """A statement on one line, without comments, domain, meaning and notation."""
    bare = replace(statement, comments=tree.NO_COMMENTS)
    if isinstance(bare, tree.Param):
        bare = replace(bare, domain=None, doc=None, bind=None)
    if isinstance(bare, tree.Def):
        bare = replace(bare, doc=None, notation=None)
    return " ".join(format_statement(bare).split())


# ---- statements


def _statement(statement: tree.Statement, names: Sequence[str]) -> Iterator[tree.Statement]:
    match statement:
        case tree.Param():
            yield from _bindings(statement, names)
        case tree.Let() | tree.Slot() | tree.Part():
            yield from (replace(statement, value=value) for value in changes(statement.value, names))
            if isinstance(statement, tree.Part) and statement.kept is not None:
                for start in changes(statement.kept.start, names):
                    yield replace(statement, kept=replace(statement.kept, start=start))
        case tree.Rule():
            for condition in changes(statement.condition, names):
                yield replace(statement, condition=condition)
        case tree.Def():
            yield from _definition(statement, names)
        case tree.Insert():
            yield replace(statement, side="after" if statement.side == "before" else "before")
            yield from (
                replace(statement, stages=stages) for stages in _stages(statement.stages, names) if stages
            )
        case tree.Swap():
            yield from (
                replace(statement, stages=stages) for stages in _stages(statement.stages, names) if stages
            )
        case tree.Drop(targets=targets) if len(targets) > 1:
            yield from (replace(statement, targets=rest) for rest in _without_one(targets))


def _bindings(statement: tree.Param, names: Sequence[str]) -> Iterator[tree.Statement]:
    for place, binding in enumerate(statement.bindings):
        for value in changes(binding.value, names):
            changed = replace(binding, value=value)
            yield replace(statement, bindings=_with(statement.bindings, place, changed))


def _definition(statement: tree.Def, names: Sequence[str]) -> Iterator[tree.Statement]:
    own = [parameter.name.text for parameter in statement.parameters]
    yield from (replace(statement, body=body) for body in changes(statement.body, own or names))
    for place, parameter in enumerate(statement.parameters):
        if parameter.default is not None:
            for default in changes(parameter.default, ()):
                changed = replace(parameter, default=default)
                yield replace(statement, parameters=_with(statement.parameters, place, changed))


def _with(items: tuple[Any, ...], place: int, *new: Any) -> tuple[Any, ...]:
    """The items with others in a place."""
    return (*items[:place], *new, *items[place + 1 :])


def _without_one(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    return (_with(items, place) for place in range(len(items)))


# ---- expressions


def changes(node: tree.Expression, names: Sequence[str]) -> Iterator[tree.Expression]:
    """An expression with one of its nodes changed."""
    yield from _here(node, names)
    match node:
        case tree.Pipe():
            for head in changes(node.head, names):
                if not isinstance(head, tree.Pipe):
                    yield replace(node, head=head)
            for stages in _stages(node.stages, names):
                yield replace(node, stages=stages) if stages else node.head
        case tree.Call():
            yield from (replace(node, arguments=changed) for changed in _inside(node.arguments, names))
        case tree.Compare() | tree.Logical():
            for place, operand in enumerate(node.operands):
                for changed in changes(operand, names):
                    yield replace(node, operands=_with(node.operands, place, changed))
        case _:
            for field in _FIELDS.get(type(node), ()):
                for changed in changes(getattr(node, field), names):
                    yield replace(node, **{field: changed})


_FIELDS: dict[type, tuple[str, ...]] = {
    tree.Negate: ("operand",),
    tree.Not: ("operand",),
    tree.Arithmetic: ("left", "right"),
    tree.Choose: ("condition", "then", "otherwise"),
    tree.Least: ("low", "high", "step", "condition", "otherwise"),
}
"""Where an expression holds others."""


def _inside(arguments: Arguments, names: Sequence[str]) -> Iterator[Arguments]:
    for place, argument in enumerate(arguments):
        for value in changes(argument.value, names):
            yield _with(arguments, place, replace(argument, value=value))


def _here(node: tree.Expression, names: Sequence[str]) -> Iterator[tree.Expression]:
    """The changes of this very node."""
    match node:
        case tree.Number():
            yield from _numbers(node.value)
        case tree.Name(path=(name,)):
            yield from _names(name, names)
        case tree.Call():
            yield from _calls(node)
        case tree.Negate() | tree.Not():
            yield node.operand
        case tree.Arithmetic():
            yield replace(node, operator=FLIPPED[node.operator])
            if node.operator in "-/^":
                yield replace(node, left=node.right, right=node.left)
            yield node.left
            yield node.right
        case tree.Compare():
            for table in (REVERSED, STRICT):
                for place, operator in enumerate(node.operators):
                    if operator in table:
                        yield replace(node, operators=_with(node.operators, place, table[operator]))
        case tree.Logical():
            yield replace(node, operator="or" if node.operator == "and" else "and")
            yield from node.operands
        case tree.Choose():
            yield node.then
            yield node.otherwise
            yield replace(node, then=node.otherwise, otherwise=node.then)


def _numbers(value: float) -> Iterator[tree.Expression]:
    """Off by one on either side, and half."""
    for changed in sorted({value + 1, value - 1, value / 2} - {value}):
        number = tree.Number(abs(changed), repr(abs(changed)), NOWHERE)
        yield tree.Negate(number, NOWHERE) if changed < 0 else number


def _names(name: str, names: Sequence[str]) -> Iterator[tree.Expression]:
    """Another policy, scope or quantity; another parameter or let of the spec."""
    others: list[str] = [*SCOPES.get(name, ())]
    if name in POLICIES:
        others += POLICIES
    if name in QUANTITIES:
        others.append(QUANTITIES[name])
    if name in names:
        others += names
    yield from (tree.Name((other,), NOWHERE) for other in others if other != name)
    if name == "A":
        yield tree.Negate(tree.Name(("A",), NOWHERE), NOWHERE)


def _calls(node: tree.Call) -> Iterator[tree.Expression]:
    function, arguments = node.function.text, node.arguments
    if function in DROPPED_CALLS and arguments:
        yield arguments[0].value
    if function in FUNCTIONS:
        yield replace(node, function=tree.Name((FUNCTIONS[function],), NOWHERE))
    if function not in COMMUTATIVE:
        yield from (replace(node, arguments=changed) for changed in _rearranged(arguments))


def _rearranged(arguments: Arguments) -> Iterator[Arguments]:
    """Neighbours in each other's place, and one with a default forgotten."""
    for place in range(len(arguments) - 1):
        one, other = arguments[place : place + 2]
        if one.keyword is None and other.keyword is None and one.value != other.value:
            yield (*arguments[:place], other, one, *arguments[place + 2 :])
    for place, argument in enumerate(arguments):
        if argument.keyword is not None:
            yield _with(arguments, place)


# ---- stages


def _stages(stages: Stages, names: Sequence[str]) -> Iterator[Stages]:
    """A stage left out, two in the other order, or one changed."""
    yield from _without_one(stages)
    for place in range(len(stages) - 1):
        yield (*stages[:place], stages[place + 1], stages[place], *stages[place + 2 :])
    for place, stage in enumerate(stages):
        yield from (_with(stages, place, changed) for changed in _stage(stage, names))


def _stage(stage: tree.Stage, names: Sequence[str]) -> Iterator[tree.Stage]:
    if stage.guard is not None:
        yield replace(stage, guard=None)
        yield replace(stage, guard=tree.Not(stage.guard, NOWHERE))
        yield from (replace(stage, guard=guard) for guard in changes(stage.guard, names))
    if stage.function.text in FUNCTIONS:
        yield replace(stage, function=tree.Name((FUNCTIONS[stage.function.text],), NOWHERE))
    for arguments in (*_rearranged(stage.arguments), *_inside(stage.arguments, names)):
        yield replace(stage, arguments=arguments)
