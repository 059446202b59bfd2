r"""Expressions in LaTeX, with commands that every renderer on the web knows (no `\operatorname`, no macros)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from maspo_dsl.cli.mathematics import applied, substitute
from maspo_dsl.language import tree
from maspo_dsl.language.expression_text import Binds
from maspo_dsl.semantics.scopes import SCOPES

_GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi chi psi omega".split()  # noqa: SIM905
)
_WORDS = {
    "policy": r"\pi",
    "old": r"\pi_{\mathrm{old}}",
    "rollout": r"\pi_{\mathrm{rollout}}",
    "reference": r"\pi_{\mathrm{ref}}",
    "reward": "R",
    "loss": r"\ell",
    "token loss": r"\ell",
    "inf": r"\infty",
    "it": r"\,\cdot\,",
    "eps": r"\varepsilon",
}
_FUNCTIONS = {
    "exp": r"\exp",
    "log": r"\log",
    "tanh": r"\tanh",
    "atan": r"\arctan",
    "min": r"\min",
    "max": r"\max",
}
_REDUCTIONS = {"sum": r"\sum", "prod": r"\prod", "min": r"\min", "max": r"\max", "ess": r"\mathrm{ESS}"}
_COMPARISONS = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", "==": "="}
_OPERATORS = {
    "+": (Binds.SUM, " + ", Binds.SUM),
    "-": (Binds.SUM, " - ", Binds.PRODUCT),
    "*": (Binds.PRODUCT, r" \cdot ", Binds.PRODUCT),
}
_POWER_OF_TEN = re.compile(r"([\d.]+)[eE]([+-]?\d+)")


# ---- names and numbers


def latex_name(word: str) -> str:
    r"""`beta_pos` as \beta_{\mathrm{pos}}; what is LaTeX already stays."""
    if word in _WORDS:
        return _WORDS[word]
    if "{" in word or "\\" in word:
        return word
    head, _, below = word.partition("_")
    if head in _GREEK or head == "eps":
        head = rf"\{head}" if head != "eps" else r"\varepsilon"
    elif len(head) > 1:
        return rf"\mathit{{{_escaped(word)}}}"
    return rf"{head}_{{\mathrm{{{_escaped(below)}}}}}" if below else head


def _escaped(word: str) -> str:
    return word.replace("_", r"\_")


def _number(text: str) -> str:
    if (match := _POWER_OF_TEN.fullmatch(text)) is None:
        return text
    factor, power = match.groups()
    ten = f"10^{{{int(power)}}}"
    return ten if factor == "1" else rf"{factor} \cdot {ten}"


# ---- expressions


def latex_text(node: tree.Expression, binds: Binds = Binds.PIPE) -> str:
    """One line of LaTeX; in brackets if it binds less tightly than its place needs."""
    text, own = _text(node)
    return text if own >= binds else bracketed("", text)


def bracketed(before: str, text: str, left: str = "(", right: str = ")") -> str:
    """What stands in brackets, which grow with it, and what stands before them."""
    return rf"{before}\left{left}{text}\right{right}"


def _text(node: tree.Expression) -> tuple[str, Binds]:
    match node:
        case tree.Number(text=text):
            return _number(text), Binds.ATOM if "e" not in text.lower() else Binds.PRODUCT
        case tree.Text(value=value):
            return rf"\text{{{value}}}", Binds.ATOM
        case tree.Name():
            return latex_name(node.text), Binds.ATOM
        case tree.Call():
            return _call(node)
        case tree.Negate(operand=operand):
            return f"-{latex_text(operand, Binds.NEGATE)}", Binds.NEGATE
        case tree.Arithmetic(operator="^"):
            return f"{latex_text(node.left, Binds.ATOM)}^{{{latex_text(node.right)}}}", Binds.POWER
        case tree.Arithmetic(operator="/"):
            return rf"\frac{{{latex_text(node.left)}}}{{{latex_text(node.right)}}}", Binds.PRODUCT
        case tree.Arithmetic(operator=operator, left=left, right=right):
            own, sign, right_binds = _OPERATORS[operator]
            return f"{latex_text(left, own)}{sign}{latex_text(right, right_binds)}", own
        case tree.Compare(operands=operands, operators=operators):
            head, *rest = (latex_text(operand, Binds.SUM) for operand in operands)
            pairs = zip(operators, rest, strict=True)
            return head + "".join(f" {_COMPARISONS.get(o, o)} {text}" for o, text in pairs), Binds.COMPARE
        case tree.Not(operand=operand):
            return rf"\text{{not }} {latex_text(operand, Binds.NOT)}", Binds.NOT
        case tree.Logical(operator=word, operands=operands):
            own = Binds.AND if word == "and" else Binds.OR
            return rf" \text{{ {word} }} ".join(latex_text(operand, Binds.NOT) for operand in operands), own
        case tree.Choose():
            return cases(_choices(node)), Binds.CHOICE
        case tree.Least():
            return _least(node), Binds.CHOICE
        case tree.Pipe():
            return _pipe(node)


def cases(rows: Iterable[tuple[str, str | None]]) -> str:
    """Values with their conditions; the one without a condition is for everything else."""
    conditions = (
        (value, r"\text{else}" if guard is None else rf"\text{{if }} {guard}") for value, guard in rows
    )
    lines = r" \\ ".join(f"{value} & {condition}" for value, condition in conditions)
    return rf"\begin{{cases}} {lines} \end{{cases}}"


def _choices(node: tree.Choose) -> Iterator[tuple[str, str | None]]:
    yield latex_text(node.then, Binds.OR), latex_text(node.condition)
    if isinstance(node.otherwise, tree.Choose):
        yield from _choices(node.otherwise)
    else:
        yield latex_text(node.otherwise, Binds.OR), None


def _least(node: tree.Least) -> str:
    low, high, step = (latex_text(part, Binds.SUM) for part in (node.low, node.high, node.step))
    name, otherwise = latex_name(node.name), latex_text(node.otherwise, Binds.CHOICE)
    grid = rf"\left\{{{low}, {low} + {step}, \ldots, {high}\right\}}"
    condition = latex_text(node.condition, Binds.OR)
    return rf"\text{{the least }} {name} \in {grid} \text{{ with }} {condition} \text{{, else }} {otherwise}"


def _pipe(pipe: tree.Pipe) -> tuple[str, Binds]:
    """A pipe as nested calls; guarded stages as cases, those for A > 0 and A < 0 in one."""
    value, stages = pipe.head, list(pipe.stages)
    while stages and stages[0].guard is None:
        value = applied(stages.pop(0), value)
    if not stages:
        return _text(value)
    alone = len(stages) == 1 or sorted(latex_text(s.guard) for s in stages if s.guard) == ["A < 0", "A > 0"]
    if alone:
        rows = [(latex_text(applied(s, value)), _guard(s, value)) for s in stages]
        return cases([*rows, (latex_text(value), None)]), Binds.PIPE
    first, *later = stages
    steps = [cases([(latex_text(applied(first, value)), _guard(first, value)), (latex_text(value), None)])]
    it = tree.Name(("it",), first.span)
    steps += [cases([(latex_text(applied(s, it)), _guard(s, it)), (latex_text(it), None)]) for s in later]
    return r" \text{, then } ".join(steps), Binds.PIPE


def _guard(stage: tree.Stage, value: tree.Expression) -> str | None:
    return None if stage.guard is None else latex_text(substitute(stage.guard, {"it": value}))


# ---- calls


def _call(node: tree.Call) -> tuple[str, Binds]:
    name = node.function.text
    scopes = [a.value.text for a in node.arguments if isinstance(a.value, tree.Name) and _is_scope(a.value)]
    values = [a for a in node.arguments if not (isinstance(a.value, tree.Name) and _is_scope(a.value))]
    given = [a.value for a in values if a.keyword is None]
    named = {a.keyword: a.value for a in values if a.keyword is not None}
    if scopes and name in _ESTIMATORS:
        return _ESTIMATORS[name](given, named, scopes[0])
    if scopes:
        return _reduction(name, values, scopes[0]), Binds.ATOM
    match name, given:
        case "detach", [x]:
            return bracketed(r"\mathrm{sg}", latex_text(x), "[", "]"), Binds.ATOM
        case "abs", [x]:
            return bracketed("", latex_text(x), "|", "|"), Binds.ATOM
        case "sqrt", [x]:
            return rf"\sqrt{{{latex_text(x)}}}", Binds.ATOM
        case "entropy", [x]:
            return bracketed("H", latex_text(x)), Binds.ATOM
        case "k1", [p, q]:
            return bracketed(r"\log", rf"\frac{{{latex_text(p)}}}{{{latex_text(q)}}}"), Binds.ATOM
        case "discounted_sum", [x, factor]:
            later = rf"\sum_{{k \ge t}} {latex_text(factor, Binds.ATOM)}^{{k - t}} {bracketed('', latex_text(x))}_{{k}}"
            return later, Binds.PRODUCT
        case "gae", [x, gamma, lam]:
            return bracketed(
                rf"\mathrm{{GAE}}_{{{latex_text(gamma)}, {latex_text(lam)}}}", latex_text(x)
            ), Binds.ATOM
    function = _FUNCTIONS.get(name, rf"\mathrm{{{_escaped(name)}}}")
    return bracketed(function, _arguments(values)), Binds.ATOM


def _is_scope(node: tree.Name) -> bool:
    """A scope, or the parameter of a library `def` that stands for one."""
    return node.text in SCOPES or node.text == "scope"


def _arguments(values: Iterable[tree.Argument]) -> str:
    return ", ".join(
        latex_text(a.value) if a.keyword is None else f"{latex_name(a.keyword)} = {latex_text(a.value)}"
        for a in values
    )


def _reduction(name: str, values: Sequence[tree.Argument], scope: str) -> str:
    function = _REDUCTIONS.get(name, rf"\mathrm{{{_escaped(name)}}}")
    return bracketed(_within(function, scope), _arguments(values))


def _within(function: str, scope: str) -> str:
    return rf"\underset{{\mathrm{{{_escaped(scope)}}}}}{{{function}}}"


# ---- the estimators of the library, as papers write them

_Given = Sequence[tree.Expression]
_Named = dict[str, tree.Expression]


def _mean(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    return bracketed(_within(r"\mathrm{mean}", scope), latex_text(given[0])), Binds.ATOM


def _centered(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    return f"{latex_text(given[0], Binds.SUM)} - {_mean(given, named, scope)[0]}", Binds.SUM


def _leave_one_out(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    return f"{latex_text(given[0], Binds.SUM)} - {_of_others('mean', given[0], scope)}", Binds.SUM


def _leave_one_out_scaled(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    spread = _of_others("std", _before(given[0], "leave_one_out"), scope)
    return rf"\frac{{{latex_text(given[0])}}}{{{spread}}}", Binds.PRODUCT


def _of_others(function: str, value: tree.Expression, scope: str) -> str:
    return bracketed(rf"\underset{{\text{{others in {scope}}}}}{{\mathrm{{{function}}}}}", latex_text(value))


def _before(value: tree.Expression, function: str) -> tree.Expression:
    """What a function was called on; the value itself if it is no such call."""
    called = isinstance(value, tree.Call) and value.function.text == function
    return value.arguments[0].value if isinstance(value, tree.Call) and called else value


def _spread(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    r"""\mathrm{std}, or \mathrm{std}_0 for the one that divides by the number of values."""
    ddof = named.get("ddof", given[1] if len(given) > 1 else None)
    mark = "_{0}" if isinstance(ddof, tree.Number) and ddof.value == 0 else ""
    return bracketed(_within(rf"\mathrm{{std}}{mark}", scope), latex_text(given[0])), Binds.ATOM


def _scaled(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    """Over its spread, which is that of what was centred."""
    spread = _under([_before(given[0], "center"), *given[1:]], named, scope)
    return rf"\frac{{{latex_text(given[0])}}}{{{spread}}}", Binds.PRODUCT


def _whitened(given: _Given, named: _Named, scope: str) -> tuple[str, Binds]:
    """As a fraction if what is whitened is short enough to stand in it three times."""
    if not isinstance(given[0], tree.Name):
        return bracketed(_within(r"\mathrm{whiten}", scope), latex_text(given[0])), Binds.ATOM
    eps = named.get("eps", given[2] if len(given) > 2 else tree.Number(1e-8, "1e-8", given[0].span))
    top = _centered(given, named, scope)[0]
    return rf"\frac{{{top}}}{{{_under(given[:2], {**named, 'eps': eps}, scope)}}}", Binds.PRODUCT


def _under(given: _Given, named: _Named, scope: str) -> str:
    eps = named.get("eps", given[2] if len(given) > 2 else None)
    spread = _spread(given, named, scope)[0]
    return spread if eps is None else f"{spread} + {latex_text(eps, Binds.SUM)}"


_ESTIMATORS: dict[str, Callable[[_Given, _Named, str], tuple[str, Binds]]] = {
    "mean": _mean,
    "center": _centered,
    "leave_one_out": _leave_one_out,
    "leave_one_out_scale": _leave_one_out_scaled,
    "std": _spread,
    "scale": _scaled,
    "whiten": _whitened,
}
