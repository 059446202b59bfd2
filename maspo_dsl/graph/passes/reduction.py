"""A linear reduction as one weight a token."""

from __future__ import annotations

from maspo_dsl.graph.nodes import Graph, GraphBuilder, Node
from maspo_dsl.semantics.scopes import MICRO, Scope
from maspo_dsl.semantics.types import Axis


def fold_reduction(graph: Graph) -> Graph:
    """Turn a linear `reduce` into one weight a token: the loss is the sum of weight * token loss over trained tokens.

    Mean of sequences of means of tokens then is one pass, and the denominators are part of the weight.
    """
    loss = _weigh(graph, "loss", "token_loss")
    return _weigh(loss, "policy_loss", "policy_term") if "policy_term" in graph.outputs else loss


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
        "sum", (product, trained), Axis.SCALAR, live=True, attributes=(("scope", MICRO),), name=output
    )
    result = builder.add(node)
    for op, offset in reversed(offsets):
        result = builder.op(op, result, offset)
    return builder.graph({**graph.outputs, output: result})


def _linear_step(
    graph: Graph, b: GraphBuilder, place: int, target: int, weight: int
) -> tuple[int, int] | None:
    """One step from the result towards the loss of a token, the factor taken into the weight.

    None where a value would be repeated on the way, for each of the tokens of a sequence, say: it counts once for each
    of them, which a weight for one token cannot say.
    """
    node = graph.nodes[place]
    if node.op != "neg" and any(
        graph.nodes[place].axis < _axis_of_terms(graph, node) for place in _live(graph, node)
    ):
        return None
    match node.op:
        case "sum" if node.live and node.within.axis in (Axis.GROUP, Axis.CELL):
            total = _cell_total(graph, b, weight, node.within)
            return node.args[0], _of_members(graph, b, total, node.args[1])
        case "sum" if node.live:
            return node.args[0], _of_members(graph, b, weight, node.args[1])
        case "mul" if graph.nodes[node.args[0]].live is not graph.nodes[node.args[1]].live:
            live, factor = node.args if graph.nodes[node.args[0]].live else node.args[::-1]
            return live, _combine(b, "mul", weight, factor)
        case "div" if not graph.nodes[node.args[1]].live:
            return node.args[0], _combine(b, "div", weight, node.args[1])
        case "neg":
            return node.args[0], b.op("neg", weight)
    return None


def _live(graph: Graph, node: Node) -> list[int]:
    return [place for place in node.args if graph.nodes[place].live]


def _axis_of_terms(graph: Graph, node: Node) -> Axis:
    """The axis on which a product, a quotient or a sum has its terms: the finest of all that goes into it."""
    return max((graph.nodes[place].axis for place in node.args), default=Axis.SCALAR)


def _of_members(graph: Graph, b: GraphBuilder, weight: int, member: int) -> int:
    """The weight of what takes part, 0 for the others; all that is trained does, unless the spec says who."""
    if member in (_trained(graph, "tokens"), _trained(graph, "sequences")):
        return weight
    weight = _to_tokens(b, weight) if b.nodes[member].axis is Axis.TOKEN else weight
    return b.op("select", member, weight, b.const(0.0))


def _trained(graph: Graph, what: str) -> int:
    """Which tokens are trained, or which sequences have one that is."""
    return graph.nodes[graph.outputs[f"window:{what}"]].args[0]


def _cell_total(graph: Graph, b: GraphBuilder, weight: int, scope: Scope) -> int:
    """Every row of a group, say, carries the group's total, so a row's weight counts once for each of them."""
    of_tokens = scope.axis is Axis.CELL
    trained = _trained(graph, "tokens" if of_tokens else "sequences")
    own = b.op("select", trained, _to_tokens(b, weight) if of_tokens else weight, b.const(0.0))
    axis = Axis.TOKEN if of_tokens else Axis.SEQUENCE
    return b.add(Node("sum", (own, trained), axis, attributes=(("scope", scope),)))


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
