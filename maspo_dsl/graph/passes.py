"""Graph to graph: separate passes, each keeping value and gradient."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node, rewrite
from maspo_dsl.semantics.types import Axis, Scope

_EXACT: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": lambda a, b: a / b if b else a * math.inf,
    "pow": lambda a, b: a**b,
    "neg": operator.neg,
    "exp": math.exp,
    "log": lambda a: math.log(a) if a else -math.inf,
    "sqrt": math.sqrt,
    "abs": abs,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "tanh": math.tanh,
    "erf": math.erf,
    "atan": math.atan,
    "min": min,
    "max": max,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
}


def fold_constants(graph: Graph) -> Graph:
    """Compute what is made of numbers alone, and choose where the condition is known.

    Parameters stay, so that they can be changed without compiling again.
    """

    def rule(b: GraphBuilder, node: Node) -> int | None:
        arguments = [b.nodes[argument] for argument in node.args]
        if node.op in ("and", "or", "not", "select"):
            return _known_condition(b, node, [_truth(argument) for argument in arguments])
        if not arguments or any(argument.op != "const" for argument in arguments):
            return None
        values = [argument.value for argument in arguments]
        if node.op in _COMPARISONS:
            return b.truth(_COMPARISONS[node.op](*values))
        return b.const(_exact(node.op, values)) if node.op in _EXACT else None

    return rewrite(graph, rule)


def _exact(op: str, values: list[float]) -> float:
    """The value by the rules of floating point: what is not defined is NaN."""
    try:
        value = _EXACT[op](*values)
    except OverflowError:
        return math.inf
    except (ArithmeticError, ValueError):
        return math.nan
    return value if isinstance(value, (int, float)) else math.nan


def _truth(node: Node) -> bool | None:
    return bool(node.value) if node.op == "const" and node.is_bool else None


def _known_condition(b: GraphBuilder, node: Node, known: list[bool | None]) -> int | None:
    """What is left of a connective or a choice of which a condition is known; what it is made of stays a tensor."""
    if node.op == "select":
        return None if known[0] is None else node.args[1 if known[0] else 2]
    if node.op == "not":
        return None if known[0] is None else b.truth(not known[0])
    neutral = node.op == "and"
    for place, truth in zip(node.args[::-1], known, strict=True):
        if truth is neutral:
            return place
    return node.args[0] if None not in known else None


def bind_neutral(graph: Graph) -> Graph:
    """Make parameters whose value is 0 or 1 numbers: they may remove a term, so they cannot change afterwards."""

    def rule(b: GraphBuilder, node: Node) -> int | None:
        return b.const(node.value) if node.op == "param" and node.value in (0.0, 1.0) else None

    return rewrite(graph, rule)


def remove_neutral(graph: Graph) -> Graph:
    """Remove what changes nothing: x + 0, x * 1, x ^ 1, x / 1, 0 * x and 0 / x (a term of weight 0 is no term).

    Also `detach` of what has no gradient, and `expand` of one number.
    """
    return rewrite(graph, _neutral_rule)


def _neutral_rule(b: GraphBuilder, node: Node) -> int | None:
    if node.op == "detach" and not b.nodes[node.args[0]].live:
        return node.args[0]
    if node.op == "expand" and b.nodes[node.args[0]].axis is Axis.SCALAR:
        return node.args[0]
    if node.op == "select":
        condition, then, otherwise = node.args
        return then if then == otherwise and b.nodes[then].axis >= b.nodes[condition].axis else None
    if len(node.args) != 2 or node.op not in ("add", "sub", "mul", "div", "pow"):
        return None
    left, right = node.args
    a, c = _number(b.nodes[left]), _number(b.nodes[right])
    match node.op:
        case "add" if a == 0:
            return right
        case "add" | "sub" if c == 0:
            return left
        case "sub" if a == 0:
            return b.op("neg", right)
        case "mul" if 0 in (a, c):
            return b.const(0.0)
        case "mul" if a == 1:
            return right
        case "mul" | "div" | "pow" if c == 1:
            return left
        case "div" if a == 0:
            return b.const(0.0)
        case "pow" if c == 0:
            return b.const(1.0)
    return None


def _number(node: Node) -> float | None:
    return node.value if node.op == "const" and not node.is_bool else None


def rewrite_logs(graph: Graph) -> Graph:
    """Work in logs: log(exp x) is x; exp(x) ^ k is exp(k x); y / exp(x) is y exp(-x); exp(a) exp(b) is exp(a + b).

    So `sigma / old ^ alpha` becomes `sigma * exp(-alpha * logp_old)`, which no small probability can overflow
    half-way.
    """
    return rewrite(graph, _log_rule)


def _log_rule(b: GraphBuilder, node: Node) -> int | None:
    arguments = [b.nodes[argument] for argument in node.args]
    match node.op:
        case "log" if arguments[0].op == "exp":
            return arguments[0].args[0]
        case "pow" if (
            arguments[0].op == "exp"
            and arguments[1].axis is Axis.SCALAR
            and arguments[1].op in ("const", "param")
        ):
            return b.op("exp", b.op("mul", node.args[1], arguments[0].args[0]))
        case "div" if arguments[1].op == "exp" and not arguments[1].live and arguments[0].op != "exp":
            inverse = b.op("exp", b.op("neg", arguments[1].args[0]))
            return b.op("mul", node.args[0], inverse)
    return None


def share_common(graph: Graph) -> Graph:
    """Compute equal expressions once."""
    return rewrite(graph, lambda b, node: None, share=True)


def merge_selects(graph: Graph) -> Graph:
    """A choice inside a branch of the same choice is already made."""

    def rule(b: GraphBuilder, node: Node) -> int | None:
        if node.op != "select":
            return None
        condition, then, otherwise = node.args
        inner, other = b.nodes[then], b.nodes[otherwise]
        if inner.op == "select" and inner.args[0] == condition:
            return b.op("select", condition, inner.args[1], otherwise)
        if other.op == "select" and other.args[0] == condition:
            return b.op("select", condition, then, other.args[2])
        return None

    return rewrite(graph, rule)


_HAZARDS = frozenset({"log", "sqrt", "div", "pow"})


def guard_hazards(graph: Graph) -> Graph:
    """Keep the branch that was not chosen from spoiling the gradient.

    Where a live branch of a `select` divides, or takes a logarithm, root or power, the operand is replaced by 1 on
    the elements that chose the other branch: 0 * inf in the backward pass would be NaN.
    """

    hazards: dict[int, bool] = {}

    def rule(b: GraphBuilder, node: Node) -> int | None:
        if node.op != "select" or node.is_bool or not node.live:
            return None
        condition, then, otherwise = node.args
        branches = [(then, condition), (otherwise, -1)]
        if not any(_hazardous(b, branch, hazards) for branch, _ in branches):
            return None
        if _hazardous(b, otherwise, hazards):
            branches[1] = (otherwise, b.op("not", condition))
        then, otherwise = (_Guard(b, chosen, hazards).place(branch) for branch, chosen in branches)
        return b.op("select", condition, then, otherwise)

    return rewrite(graph, rule)


def _hazardous(b: GraphBuilder, place: int, memo: dict[int, bool]) -> bool:
    if place not in memo:
        node = b.nodes[place]
        inside = node.live and node.scope is None
        memo[place] = inside and (node.op in _HAZARDS or any(_hazardous(b, a, memo) for a in node.args))
    return memo[place]


class _Guard:
    """Copies a branch with the operands of its hazards made 1 where the branch was not chosen."""

    def __init__(self, b: GraphBuilder, chosen: int, hazards: dict[int, bool]) -> None:
        self.b = b
        self.chosen = chosen
        self.hazards = hazards
        self.memo: dict[int, int] = {}

    def place(self, place: int) -> int:
        if place in self.memo or not _hazardous(self.b, place, self.hazards):
            return self.memo.get(place, place)
        node = self.b.nodes[place]
        args = [self.place(argument) for argument in node.args]
        if node.op in _HAZARDS and node.axis is self.b.nodes[self.chosen].axis:
            position = 1 if node.op == "div" else 0
            args[position] = self.b.op("select", self.chosen, args[position], self.b.const(1.0))
        self.memo[place] = self.b.add(replace(node, args=tuple(args)))
        return self.memo[place]


def fold_reduction(graph: Graph) -> Graph:
    """Turn a linear `reduce` into one weight a token: the loss is the sum of weight * token loss over trained tokens.

    Mean of sequences of means of tokens then is one pass, and the denominators are part of the weight.
    """
    loss = _weigh(graph, "loss", "token_loss")
    return _weigh(loss, "policy_loss", "policy_term")


def _weigh(graph: Graph, output: str, leaf: str) -> Graph:
    target, trained = graph.outputs[leaf], graph.outputs["trained"]
    builder = GraphBuilder()
    for node in graph.nodes:
        builder.add(node)
    place = graph.outputs[output]
    offsets: list[tuple[str, int]] = []
    while graph.nodes[place].op in ("add", "sub") and place != target:
        left, right = graph.nodes[place].args
        if graph.nodes[right].axis is not Axis.SCALAR or not _contains(graph, left, target):
            return graph
        offsets.append((graph.nodes[place].op, right))
        place = left
    weight = builder.const(1.0)
    while place != target:
        step = _linear_step(graph, builder, place, target, weight)
        if step is None:
            return graph
        place, weight = step
    product = builder.op("mul", target, _to_tokens(builder, weight))
    node = Node(
        "sum", (product, trained), Axis.SCALAR, live=True, attributes=(("scope", Scope.MICRO),), name=output
    )
    result = builder.add(node)
    for op, offset in reversed(offsets):
        result = builder.op(op, result, offset)
    return builder.graph({**graph.outputs, output: result})


def _linear_step(
    graph: Graph, b: GraphBuilder, place: int, target: int, weight: int
) -> tuple[int, int] | None:
    """One step from the result towards the loss of a token, the factor taken into the weight."""
    node = graph.nodes[place]
    match node.op:
        case "sum" if node.live and node.scope is Scope.GROUP:
            return node.args[0], _group_total(b, weight, node.args[1])
        case "sum" if node.live:
            return node.args[0], weight
        case "expand" if node.live:
            return node.args[0], weight
        case "mul" if graph.nodes[node.args[0]].live is not graph.nodes[node.args[1]].live:
            live, factor = node.args if graph.nodes[node.args[0]].live else node.args[::-1]
            return live, _combine(b, "mul", weight, factor)
        case "div" if not graph.nodes[node.args[1]].live:
            return node.args[0], _combine(b, "div", weight, node.args[1])
        case "neg":
            return node.args[0], b.op("neg", weight)
    return None


def _group_total(b: GraphBuilder, weight: int, rows: int) -> int:
    """Every row of a group carries the group's total, so a row's weight counts once for each of them."""
    row = b.op("select", rows, weight, b.const(0.0))
    return b.add(Node("sum", (row, rows), Axis.SEQUENCE, attributes=(("scope", Scope.GROUP),)))


def _combine(b: GraphBuilder, op: str, weight: int, factor: int) -> int:
    if b.nodes[weight].axis is Axis.TOKEN or b.nodes[factor].axis is Axis.TOKEN:
        return b.op(op, _to_tokens(b, weight), _to_tokens(b, factor))
    return b.op(op, weight, factor)


def _to_tokens(b: GraphBuilder, place: int) -> int:
    node = b.nodes[place]
    if node.axis in (Axis.SEQUENCE, Axis.GROUP):
        return b.add(Node("expand", (place,), Axis.TOKEN, node.is_bool, node.live, name=node.name))
    return place


def _contains(graph: Graph, place: int, target: int) -> bool:
    stack, seen = [place], set()
    while stack:
        current = stack.pop()
        if current == target:
            return True
        if current not in seen:
            seen.add(current)
            stack.extend(graph.nodes[current].args)
    return False


def remove_dead(graph: Graph) -> Graph:
    """Keep what the outputs depend on."""
    kept = graph.reachable(graph.outputs)
    moved = {old: new for new, old in enumerate(kept)}
    builder = GraphBuilder()
    for place in kept:
        node = graph.nodes[place]
        builder.add(replace(node, args=tuple(moved[argument] for argument in node.args)))
    return builder.graph({name: moved[place] for name, place in graph.outputs.items()})


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    bind_neutral,
    fold_constants,
    remove_neutral,
    fold_constants,
    rewrite_logs,
    share_common,
    merge_selects,
    guard_hazards,
    fold_reduction,
    remove_neutral,
    fold_constants,
    share_common,
    remove_dead,
)


def simplify(graph: Graph) -> Graph:
    """The graph after every pass."""
    for transform in PASSES:
        graph = transform(graph)
    return graph
