"""Where a spec says something that could be left out: stages, added terms, bounds, conditions, whole parts.

Each place gets a stage of its own around it, which does nothing but leave its number on the term. So what is written
is found again among the terms, wherever a `let` is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from maspo_dsl.analysis.trial import assembled, copied, terms_of
from maspo_dsl.language import tree
from maspo_dsl.language.source import Source, Span
from maspo_dsl.semantics.assemble import Parts
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.terms import Term, walk

_SOURCE = Source("<marks>", "")
_NAME = "·"
_PLAIN = frozenset(
    {"exp", "abs", "sigmoid", "tanh", "erf", "atan", "detach", "per_token", "center", "sum", "mean"}
)
"""Functions whose argument may hold what could be left out. In a root or a logarithm a bound is a precaution."""
_BOUNDS = frozenset({"min", "max", "clamp", "clip"})


@dataclass(frozen=True)
class Place:
    """Something written that may have no effect.

    `kind` is `part`, `stage`, `term` (of a sum), `bound` (a call such as `min(x, 3)`) or `condition`. `whole` is the
    mark of the value with it, `rest` that of the value without it, which is subtracted from nothing if `negated`.
    """

    kind: str
    owner: tuple[str, str]
    span: Span
    whole: int = -1
    rest: int = -1
    negated: bool = False


@dataclass(frozen=True)
class Marked:
    """The parts of an objective with its marks, and the places that they mark, in the order of the text."""

    parts: Parts
    places: tuple[Place, ...]


def marked(objective: ResolvedObjective) -> Marked | None:
    """An objective with everything marked that could be left out; None where marks are too much for it."""
    flat, places, numbers = copied(objective), list[Place](), count(1)
    for key, statement in flat.parts.items():
        places.append(Place("part", key, statement.span))
        marker = _Marker(key, places, numbers)
        if isinstance(statement, tree.Rule):
            flat.parts[key] = replace(statement, condition=marker.condition(statement.condition))
        else:
            flat.parts[key] = replace(statement, value=marker.value(statement.value))
    for word, slot in flat.slots.items():
        flat.slots[word] = replace(slot, value=_Marker(("slot", word), places, numbers).value(slot.value))
    for name, let in flat.lets.items():
        if name in objective.used:
            flat.lets[name] = replace(let, value=_Marker(("let", name), places, numbers).value(let.value))
    flat.defs[_NAME] = _IDENTITY
    parts = assembled(objective, flat)
    return None if parts is None else Marked(parts, tuple(places))


def number_of(term: Term) -> int | None:
    """The mark of a term, if it has one."""
    if term.label.startswith(_NAME) and term.label != _NAME:
        return int(term.label[len(_NAME) :])
    # A `let` and a part put their own name over the mark of their whole value.
    return term.span.start or None if term.span.source is _SOURCE else None


_NOWHERE = Span(_SOURCE, 0, 0)
_ARGUMENT = "x"
_IDENTITY = tree.Def(
    tree.Identifier(_NAME, _NOWHERE),
    (tree.DefParameter(tree.Identifier(_ARGUMENT, _NOWHERE), None),),
    tree.Name((_ARGUMENT,), _NOWHERE),
    None,
    None,
    _NOWHERE,
)


@dataclass
class _Marker:
    """Marks the expressions of one statement."""

    owner: tuple[str, str]
    places: list[Place]
    numbers: Iterator[int]

    def value(self, node: tree.Expression) -> tree.Expression:
        """A number with everything in it marked."""
        match node:
            case tree.Pipe():
                return self._pipe(node)
            case tree.Arithmetic(operator="+" | "-"):
                return self._sum(node)
            case tree.Arithmetic(operator="*"):
                return replace(node, left=self.value(node.left), right=self.value(node.right))
            case tree.Arithmetic():
                # What stands in a divisor or an exponent is there against zeros, more often than not.
                return replace(node, left=self.value(node.left))
            case tree.Negate():
                return replace(node, operand=self.value(node.operand))
            case tree.Choose():
                then, otherwise = self.value(node.then), self.value(node.otherwise)
                return replace(node, condition=self.condition(node.condition), then=then, otherwise=otherwise)
            case tree.Call():
                return self._call(node)
            case tree.Compare() | tree.Not() | tree.Logical():
                return self.condition(node)
        return node

    def condition(self, node: tree.Expression) -> tree.Expression:
        """A condition with itself and those it is made of marked."""
        match node:
            case tree.Compare():
                self.places.append(Place("condition", self.owner, node.span, whole := self._next()))
                inner = replace(node, operands=tuple(map(self.value, node.operands)))
                return _mark(inner, whole)
            case tree.Not():
                return replace(node, operand=self.condition(node.operand))
            case tree.Logical():
                return replace(node, operands=tuple(map(self.condition, node.operands)))
            case tree.Choose() | tree.Pipe() | tree.Call():
                return self.value(node)
        return node

    def _pipe(self, node: tree.Pipe) -> tree.Expression:
        head, rest = self._marked(self.value(node.head))
        stages: list[tree.Stage] = []
        for stage in node.stages:
            whole = self._next()
            self.places.append(Place("stage", self.owner, stage.span, whole, rest))
            guard = None if stage.guard is None else self.condition(stage.guard)
            stages += [replace(stage, guard=guard), _stage(whole)]
            rest = whole
        return replace(node, head=head, stages=tuple(stages))

    def _sum(self, node: tree.Arithmetic) -> tree.Expression:
        (left, without_right), (right, without_left) = (
            self._marked(self.value(side)) for side in (node.left, node.right)
        )
        whole = self._next()
        if not _sums(node.left):
            minus = node.operator == "-"
            self.places.append(Place("term", self.owner, node.left.span, whole, without_left, minus))
        self.places.append(Place("term", self.owner, node.right.span, whole, without_right))
        return _mark(replace(node, left=left, right=right), whole)

    def _call(self, node: tree.Call) -> tree.Expression:
        name = node.function.text
        values = [argument.value for argument in node.arguments]
        if any(argument.keyword for argument in node.arguments) or not values:
            return node
        if name in _BOUNDS and not any(_scope(value) for value in values):
            first, rest = self._marked(self.value(values[0]))
            whole = self._next()
            self.places.append(Place("bound", self.owner, node.span, whole, rest))
            return _mark(_with_first(node, first), whole)
        return _with_first(node, self.value(values[0])) if name in _PLAIN else node

    def _marked(self, node: tree.Expression) -> tuple[tree.Expression, int]:
        """A value with a mark, and which; a second mark would hide the first."""
        if isinstance(node, tree.Pipe) and node.stages[-1].span.source is _SOURCE:
            return node, node.stages[-1].span.start
        number = self._next()
        return _mark(node, number), number

    def _next(self) -> int:
        return next(self.numbers)


def _mark(node: tree.Expression, number: int) -> tree.Expression:
    return tree.Pipe(node, (_stage(number),), node.span)


def _stage(number: int) -> tree.Stage:
    return tree.Stage(
        tree.Name((_NAME,), _NOWHERE), (), f"{_NAME}{number}", None, Span(_SOURCE, number, number)
    )


def _with_first(node: tree.Call, first: tree.Expression) -> tree.Call:
    argument, *others = node.arguments
    return replace(node, arguments=(replace(argument, value=first), *others))


def _sums(node: tree.Expression) -> bool:
    return isinstance(node, tree.Arithmetic) and node.operator in ("+", "-")


def _scope(node: tree.Expression) -> bool:
    return isinstance(node, tree.Name) and node.text in SCOPES


def numbered(parts: Parts) -> dict[int, list[Term]]:
    """The terms of every mark; a `let` that is read before the advantage, too, has two."""
    found: dict[int, list[Term]] = {}
    for term in walk(*terms_of(parts)):
        number = number_of(term)
        if number is not None:
            found.setdefault(number, []).append(term)
    return found
