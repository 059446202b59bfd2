"""Expressions as mathematics in plain text: π / π_old, mean_group(R), sg[…] for what carries no gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import Binds
from maspo_dsl.language.source import Span
from maspo_dsl.semantics.scopes import SCOPES

TOKEN_LOSS = "\N{SCRIPT SMALL L}"

SYMBOLS = {
    "policy": "π",
    "old": "π_old",
    "rollout": "π_rollout",
    "reference": "π_ref",
    "reward": "R",
    "loss": TOKEN_LOSS,
    "inf": "∞",
    "it": "·",
}
# What each symbol stands for, for the legend of a formula.
LEGEND = {
    "π": "probability of the sampled token under the policy being trained",
    "π_old": "under the policy at rollout time",
    "π_rollout": "under the sampler",
    "π_ref": "under the frozen reference",
    "sg[": "the value inside, without gradient",
    TOKEN_LOSS: "loss of one token",
    "H(": "entropy of the policy's distribution",
    "position": "1 for the first trained token of a completion, up to length",
    "next(": "the value at the completion's next trained token, 0 after its last",
    "discounted_sum(": "y = x + factor · (y at the completion's next trained token)",
    "top_": "the share of the tokens that have the largest values",
}
_COMPARISONS = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "="}
_SUPERSCRIPTS = {"2": "²", "3": "³"}
_OPERATORS = {
    "+": (Binds.SUM, " + ", Binds.SUM),
    "-": (Binds.SUM, " − ", Binds.PRODUCT),
    "*": (Binds.PRODUCT, " · ", Binds.PRODUCT),
    "/": (Binds.PRODUCT, " / ", Binds.POWER),
}

Node = TypeVar("Node")


def math_text(node: tree.Expression, binds: Binds = Binds.PIPE) -> str:
    """One line of mathematics; in brackets if it binds less tightly than its place needs."""
    text, own = _text(node)
    return text if own >= binds else f"({text})"


def _text(node: tree.Expression) -> tuple[str, Binds]:
    match node:
        case tree.Number(text=text):
            return text.replace("-", "−"), Binds.ATOM
        case tree.Text(value=value):
            return value, Binds.ATOM
        case tree.Name():
            return SYMBOLS.get(node.text, node.text), Binds.ATOM
        case tree.Call():
            return _call(node), Binds.ATOM
        case tree.Negate(operand=operand):
            return f"−{math_text(operand, Binds.NEGATE)}", Binds.NEGATE
        case tree.Arithmetic(operator="^"):
            return _power(node), Binds.POWER
        case tree.Arithmetic(operator=operator, left=left, right=right):
            own, sign, right_binds = _OPERATORS[operator]
            return f"{math_text(left, own)}{sign}{math_text(right, right_binds)}", own
        case tree.Compare(operands=operands, operators=operators):
            head, *rest = (math_text(operand, Binds.SUM) for operand in operands)
            pairs = zip(operators, rest, strict=True)
            return head + "".join(f" {_COMPARISONS.get(o, o)} {text}" for o, text in pairs), Binds.COMPARE
        case tree.Not(operand=operand):
            return f"not {math_text(operand, Binds.NOT)}", Binds.NOT
        case tree.Logical(operator=word, operands=operands):
            own = Binds.AND if word == "and" else Binds.OR
            return f" {word} ".join(math_text(operand, Binds.NOT) for operand in operands), own
        case tree.Choose(condition=condition, then=then, otherwise=otherwise):
            first, last = math_text(then, Binds.OR), math_text(otherwise, Binds.CHOICE)
            return f"{first} if {math_text(condition, Binds.OR)} else {last}", Binds.CHOICE
        case tree.Least():
            return _least(node), Binds.CHOICE
        case tree.Pipe():
            return pipe_text(node)


def _power(node: tree.Arithmetic) -> str:
    base = math_text(node.left, Binds.ATOM)
    if isinstance(node.right, tree.Number) and node.right.text in _SUPERSCRIPTS:
        return base + _SUPERSCRIPTS[node.right.text]
    return f"{base}^{math_text(node.right, Binds.ATOM)}"


def _least(node: tree.Least) -> str:
    low, high, step = (math_text(part, Binds.SUM) for part in (node.low, node.high, node.step))
    condition, otherwise = math_text(node.condition, Binds.OR), math_text(node.otherwise, Binds.CHOICE)
    return f"the least {node.name} in {low}, {low} + {step}, …, {high} with {condition}, else {otherwise}"


def _call(node: tree.Call) -> str:
    name = node.function.text
    scopes = [a for a in node.arguments if _is_scope(a.value)]
    values = [
        math_text(a.value) if a.keyword is None else f"{a.keyword} = {math_text(a.value)}"
        for a in node.arguments
        if a not in scopes
    ]
    if scopes:
        return f"{name}_{math_text(scopes[0].value)}({', '.join(values)})"
    match name, values:
        case "detach", [x]:
            return f"sg[{x}]"
        case "abs", [x]:
            return f"|{x}|"
        case "sqrt", [x]:
            return f"√({x})"
        case "entropy", [x]:
            return f"H({x})"
    return f"{name}({', '.join(values)})"


def _is_scope(node: tree.Expression) -> bool:
    """A scope, or the parameter of a library `def` that stands for one."""
    return isinstance(node, tree.Name) and (node.text in SCOPES or node.text == "scope")


# ---- pipes


def pipe_text(pipe: tree.Pipe) -> tuple[str, Binds]:
    """A pipe as nested calls; with guards, as cases: `min(r, 1.2) where A > 0; max(r, 0.8) where A < 0`."""
    if all(stage.guard is None for stage in pipe.stages):
        value = pipe.head
        for stage in pipe.stages:
            value = applied(stage, value)
        return _text(value)
    first = pipe.stages[0]
    if _opposite_signs(pipe.stages):
        return "; ".join(_case(stage, pipe.head) for stage in pipe.stages), Binds.PIPE
    later = [_case(stage, tree.Name(("it",), stage.span)) for stage in pipe.stages[1:]]
    return ", then ".join([_case(first, pipe.head), *later]), Binds.PIPE


def applied(stage: tree.Stage, value: tree.Expression) -> tree.Call:
    """The call that a stage makes of a value; `it` in its arguments is the value."""
    arguments = (
        tree.Argument(None, value, stage.span),
        *(substitute(a, {"it": value}) for a in stage.arguments),
    )
    return tree.Call(stage.function, arguments, stage.span)


def _case(stage: tree.Stage, value: tree.Expression) -> str:
    text = math_text(applied(stage, value), Binds.OR)
    if stage.guard is None:
        return text
    return f"{text} where {math_text(substitute(stage.guard, {'it': value}), Binds.OR)}"


def _opposite_signs(stages: Iterable[tree.Stage]) -> bool:
    """Whether the stages are for A > 0 and for A < 0, so that at most one of them acts on a token."""
    signs = [math_text(stage.guard) if stage.guard is not None else "" for stage in stages]
    return sorted(signs) == ["A < 0", "A > 0"]


# ---- library calls, one level


def substitute(node: Node, values: Mapping[str, tree.Expression]) -> Node:
    """A tree with names replaced by expressions."""
    return _mapped(node, lambda name: values.get(name.text))


def _mapped(node: Node, rule: Callable[[tree.Name], tree.Expression | None]) -> Node:
    if isinstance(node, tree.Name):
        return cast(Node, rule(node) or node)
    if isinstance(node, tuple):
        return cast(Node, tuple(_mapped(item, rule) for item in node))
    if is_dataclass(node) and not isinstance(node, (type, Span)):
        kept = {"span", "function"}
        changes = {f.name: _mapped(getattr(node, f.name), rule) for f in fields(node) if f.name not in kept}
        return cast(Node, replace(node, **changes))
    return node


def expanded(node: tree.Expression, defs: Mapping[str, tree.Def]) -> tree.Expression:
    """The expression with every outermost call of a `def` replaced by its body; those within a scope stay."""
    if isinstance(node, tree.Pipe):
        return replace(node, head=expanded(node.head, defs))
    if isinstance(node, tree.Call) and (body := body_of(node, defs)) is not None:
        return body
    changes = {
        f.name: _expanded_value(getattr(node, f.name), defs)
        for f in fields(node)
        if f.name not in ("span", "function")
    }
    return replace(node, **changes) if changes else node  # type: ignore[arg-type]


def _expanded_value(value: object, defs: Mapping[str, tree.Def]) -> object:
    if isinstance(value, tuple):
        return tuple(_expanded_value(item, defs) for item in value)
    if isinstance(value, tree.Argument):
        return replace(value, value=expanded(value.value, defs))
    return expanded(value, defs) if is_expression(value) else value  # type: ignore[arg-type]


def is_expression(value: object) -> bool:
    """Whether a value is a node of an expression, other than a name."""
    return isinstance(
        value,
        tree.Call
        | tree.Negate
        | tree.Arithmetic
        | tree.Compare
        | tree.Not
        | tree.Logical
        | tree.Choose
        | tree.Least
        | tree.Pipe,
    )


def body_of(call: tree.Call, defs: Mapping[str, tree.Def]) -> tree.Expression | None:
    """The body of the `def` that a call means, with its arguments in place; None for a primitive or within a scope."""
    definition = defs.get(call.function.text)
    if definition is None or any(_is_scope(argument.value) for argument in call.arguments):
        return None
    return substitute(definition.body, arguments_of(call, definition))


def arguments_of(call: tree.Call, definition: tree.Def) -> dict[str, tree.Expression]:
    """Each parameter of a `def` with what a call gives it, defaults included."""
    given = {p.name.text: p.default for p in definition.parameters if p.default is not None}
    names = [p.name.text for p in definition.parameters]
    positional = [a.value for a in call.arguments if a.keyword is None]
    given.update(zip(names, positional, strict=False))
    given.update({a.keyword: a.value for a in call.arguments if a.keyword is not None})
    return given


def calls_in(node: object) -> list[tree.Call]:
    """Every call in a tree, outermost first; a stage is the call that it makes of `it`."""
    found: list[tree.Call] = []
    if isinstance(node, tree.Call):
        found.append(node)
    if isinstance(node, tree.Stage):
        found.append(applied(node, tree.Name(("it",), node.span)))
    if isinstance(node, tuple):
        children: list[object] = list(node)
    elif is_dataclass(node) and not isinstance(node, (type, Span)):
        children = [getattr(node, f.name) for f in fields(node) if f.name != "span"]
    else:
        children = []
    for child in children:
        found += calls_in(child)
    return found


def call_form(definition: tree.Def) -> str:
    """How a `def` is called: `scale(x, scope, ddof = 1, eps = 0)`."""
    parameters = (
        p.name.text if p.default is None else f"{p.name.text} = {math_text(p.default)}"
        for p in definition.parameters
    )
    return f"{definition.name.text}({', '.join(parameters)})"
