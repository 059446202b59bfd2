"""The syntax tree of one `.obj` file: frozen nodes, each with the span it was read from.

Two trees are equal when they say the same, wherever they stand: spans and comments do not take part in `==`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from maspo_dsl.language.source import Span

Comparison: TypeAlias = Literal["<", "<=", ">", ">=", "==", "!="]
Side: TypeAlias = Literal["before", "after"]


@dataclass(frozen=True)
class Comments:
    """Comments of a statement or a stage, each without its `#`, stripped.

    `above` stand on lines of their own, `None` in it is a blank line; `beside` ends the node's last line.
    """

    above: tuple[str | None, ...] = ()
    beside: str | None = None


NO_COMMENTS = Comments()


# ---- expressions


@dataclass(frozen=True)
class Number:
    """A literal; `text` is how it was written (`3e-4` stays `3e-4`). `inf` is a Name."""

    value: float
    text: str = field(compare=False)
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Text:
    """A quoted string used as a value."""

    value: str
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Name:
    """A name, dotted in edits (`ratio.clip`); `it` and `inf` are names too."""

    path: tuple[str, ...]
    span: Span = field(compare=False)

    @property
    def text(self) -> str:
        """The name as written."""
        return ".".join(self.path)


@dataclass(frozen=True)
class Argument:
    """One argument of a call; `keyword` is None for a positional one."""

    keyword: str | None
    value: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Call:
    """`function(arguments)`."""

    function: Name
    arguments: tuple[Argument, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Negate:
    """`-operand`."""

    operand: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Arithmetic:
    """`left operator right` with `+ - * / ^`; `^` binds to the right."""

    operator: Literal["+", "-", "*", "/", "^"]
    left: Expression
    right: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Compare:
    """A chain `a < b <= c`: one more operand than operators."""

    operands: tuple[Expression, ...]
    operators: tuple[Comparison, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Not:
    """`not operand`."""

    operand: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Logical:
    """`a and b and c`, or the same with `or`."""

    operator: Literal["and", "or"]
    operands: tuple[Expression, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Choose:
    """`then if condition else otherwise`."""

    condition: Expression
    then: Expression
    otherwise: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Least:
    """`least name in low .. high by step where condition else otherwise`."""

    name: str
    low: Expression
    high: Expression
    step: Expression
    condition: Expression
    otherwise: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Stage:
    """One `|> function(arguments) as alias when guard` of a pipe."""

    function: Name
    arguments: tuple[Argument, ...]
    alias: str | None
    guard: Expression | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)

    @property
    def name(self) -> str:
        """What edits call the stage: its alias, else its function."""
        return self.alias or self.function.text


@dataclass(frozen=True)
class Pipe:
    """`head |> stage |> stage`, at least one stage; the head is not itself a pipe."""

    head: Expression
    stages: tuple[Stage, ...]
    span: Span = field(compare=False)


Expression: TypeAlias = (
    Number | Text | Name | Call | Negate | Arithmetic | Compare | Not | Logical | Choose | Least | Pipe
)


# ---- statements


@dataclass(frozen=True)
class Identifier:
    """A name being declared, with its place."""

    text: str
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Interval:
    """`[low, high)` and its three relatives."""

    low: Expression
    high: Expression
    low_closed: bool
    high_closed: bool
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Choices:
    """`{a, b, c}`: the only values allowed."""

    values: tuple[Expression, ...]
    span: Span = field(compare=False)


Domain: TypeAlias = Interval | Choices


@dataclass(frozen=True)
class Binding:
    """`name = value` of a `param` line."""

    name: Identifier
    value: Expression
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Param:
    """`param a = 1, b = 2 in [0, inf) bind generation_limit "text"`: all but the bindings holds for each."""

    bindings: tuple[Binding, ...]
    domain: Domain | None
    bind: Identifier | None
    doc: str | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Let:
    """`let name = value neutral neutral`."""

    name: Identifier
    value: Expression
    neutral: Expression | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class DefParameter:
    """A parameter of a `def`, with its default if it has one."""

    name: Identifier
    default: Expression | None


@dataclass(frozen=True)
class Def:
    """`def name(parameters) = body "text" notation "LaTeX"`; `doc` is the text, for `list`."""

    name: Identifier
    parameters: tuple[DefParameter, ...]
    body: Expression
    doc: str | None
    notation: Text | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Input:
    """`input name : token integer in [0, 8]`: a tensor that the batch must bring; `kind` is its second word, if any."""

    name: Identifier
    axis: Identifier
    kind: Identifier | None
    domain: Domain | None
    doc: str | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Teacher:
    """`teacher name "text"`: a frozen policy beside those of the language."""

    name: Identifier
    doc: str | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class KeyedScope:
    """`scope name by key, key "text"`: cells of the values that agree in all keys."""

    name: Identifier
    keys: tuple[Identifier, ...]
    doc: str | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Slot:
    """`advantage = …`; which words are slots is for the semantics to say."""

    slot: Identifier
    value: Expression
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Kept:
    """`start value per prompt "text"` behind a part: from rollout to rollout its value is kept, one for each."""

    start: Expression
    per: Identifier
    doc: str | None
    span: Span = field(compare=False)


@dataclass(frozen=True)
class Part:
    """`penalty kl = …`; `kept` is what a memory has behind its value."""

    slot: Identifier
    name: Identifier
    value: Expression
    kept: Kept | None
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Rule:
    """`exclude spurious where …`."""

    slot: Identifier
    name: Identifier
    condition: Expression
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Drop:
    """`drop a, b`."""

    targets: tuple[Name, ...]
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Insert:
    """`before target |> stage` or `after target |> stage`, one stage or more."""

    side: Side
    target: Name
    stages: tuple[Stage, ...]
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Swap:
    """`swap target |> stage`, one stage or more in its place."""

    target: Name
    stages: tuple[Stage, ...]
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


Edit: TypeAlias = Param | Let | Def | Input | Teacher | KeyedScope | Slot | Part | Rule | Drop | Insert | Swap


@dataclass(frozen=True)
class Variant:
    """`variant name { edits }`; `closing` holds comments before the brace."""

    name: Identifier
    edits: tuple[Edit, ...]
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)
    closing: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Sweep:
    """`sweep alpha = 0, 0.3`."""

    name: Identifier
    values: tuple[Expression, ...]
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class Allow:
    """`allow code "why"`: a warning acknowledged."""

    code: Identifier
    why: str
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


Statement: TypeAlias = Edit | Variant | Sweep | Allow


@dataclass(frozen=True)
class Header:
    """`objective name extends base`, then the doc string, the sources, and what others do otherwise."""

    name: Identifier
    extends: Identifier | None
    doc: str | None
    sources: tuple[str, ...]
    differs: tuple[str, ...]
    span: Span = field(compare=False)
    comments: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class ObjectiveTree:
    """One objective file; `closing` holds comments after the last statement."""

    header: Header
    statements: tuple[Statement, ...]
    closing: Comments = field(compare=False, default=NO_COMMENTS)


@dataclass(frozen=True)
class LibraryTree:
    """One library file: `def` lines, and the text that says what the file holds."""

    doc: str | None
    definitions: tuple[Def, ...]
    closing: Comments = field(compare=False, default=NO_COMMENTS)
