"""Hypothesis strategies of trees: everything the grammar can say, in small sizes."""

from hypothesis import strategies as st

from maspo_dsl.language import tree
from maspo_dsl.language.hints import joined_statement, misspelt_statement
from maspo_dsl.language.keywords import RESERVED_WORDS
from maspo_dsl.language.source import Source, Span

NOWHERE = Span(Source("<generated>", ""), 0, 0)
DEPTH = 3

words = st.one_of(
    st.sampled_from(["policy", "old", "reward", "A", "clip", "kl", "eps_low", "_x1", "notation"]),
    st.from_regex(r"[A-Za-z_][A-Za-z_0-9]{0,8}", fullmatch=True),
).filter(lambda word: word not in RESERVED_WORDS)
codes = st.from_regex(r"[a-z][a-z0-9]{0,4}(-[a-z0-9]{1,4}){0,2}", fullmatch=True)
printable = st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters='"')
texts = st.text(printable, max_size=20)
comment_texts = st.text(printable | st.just('"'), max_size=20).map(str.strip)
literals = st.one_of(
    st.sampled_from(["0", "1", "0.2", "3e-4", "20480", "1.50", "1E+3"]),
    st.floats(0, 1e300, allow_nan=False).map(repr),
)


def several(draw, build, smallest, largest):
    """A tuple of nodes."""
    return tuple(build(draw) for _ in range(draw(st.integers(smallest, largest))))


def perhaps(draw, build):
    """A node, or None."""
    return build(draw) if draw(st.booleans()) else None


def word(draw):
    return draw(words)


def text(draw):
    return draw(texts)


def identifier(draw):
    return tree.Identifier(draw(words), NOWHERE)


def slot(draw):
    """A first word that is not taken for a misspelt statement."""
    return tree.Identifier(
        draw(words.filter(lambda w: not (joined_statement(w) or misspelt_statement(w)))), NOWHERE
    )


def path(draw):
    return tree.Name(several(draw, word, 1, 2), NOWHERE)


def comments(draw, beside=True, blank=True):
    """Comments, mostly none."""
    if draw(st.integers(0, 3)):
        return tree.NO_COMMENTS
    above = draw(st.lists(comment_texts | st.none() if blank else comment_texts, max_size=3))
    return tree.Comments(tuple(above), draw(st.none() | comment_texts) if beside else None)


def leaf(draw):
    kind = draw(st.sampled_from(["number", "name", "it", "text"]))
    if kind == "number":
        literal = draw(literals)
        return tree.Number(float(literal), literal, NOWHERE)
    if kind == "text":
        return tree.Text(draw(texts), NOWHERE)
    return tree.Name(("it",), NOWHERE) if kind == "it" else path(draw)


def expression(draw, depth=DEPTH):
    """Any expression, brackets needed or not."""

    def inner(draw):
        return expression(draw, depth - 1)

    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return leaf(draw)
    match draw(
        st.sampled_from(
            ["call", "negate", "arithmetic", "compare", "not", "logical", "choose", "least", "pipe"]
        )
    ):
        case "call":
            return tree.Call(path(draw), arguments(draw, depth), NOWHERE)
        case "negate":
            return tree.Negate(inner(draw), NOWHERE)
        case "arithmetic":
            return tree.Arithmetic(draw(st.sampled_from("+-*/^")), inner(draw), inner(draw), NOWHERE)
        case "compare":
            operators = draw(
                st.lists(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), min_size=1, max_size=2)
            )
            operands = several(draw, inner, len(operators) + 1, len(operators) + 1)
            return tree.Compare(operands, tuple(operators), NOWHERE)
        case "not":
            return tree.Not(inner(draw), NOWHERE)
        case "logical":
            return tree.Logical(draw(st.sampled_from(["and", "or"])), several(draw, inner, 2, 3), NOWHERE)
        case "choose":
            return tree.Choose(inner(draw), inner(draw), inner(draw), NOWHERE)
        case "least":
            return tree.Least(draw(words), *several(draw, inner, 5, 5), NOWHERE)
    head = inner(draw)
    return head if isinstance(head, tree.Pipe) else tree.Pipe(head, stages(draw, depth), NOWHERE)


def arguments(draw, depth):
    def argument(draw):
        return tree.Argument(perhaps(draw, word), expression(draw, depth - 1), NOWHERE)

    return several(draw, argument, 0, 3)


def stages(draw, depth=DEPTH, commented=False):
    """Stages of a pipe. The last one has no comment beside it: there it belongs to the statement."""

    def stage(draw, last):
        note = comments(draw, beside=not last, blank=False) if commented else tree.NO_COMMENTS
        guard = expression(draw, depth - 1) if draw(st.booleans()) else None
        return tree.Stage(path(draw), arguments(draw, depth), perhaps(draw, word), guard, NOWHERE, note)

    count = draw(st.integers(1, 3))
    return tuple(stage(draw, last=index + 1 == count) for index in range(count))


def value(draw):
    """What stands after `=`: an expression, or a pipe with comments between its stages."""
    if draw(st.booleans()):
        return expression(draw)
    return tree.Pipe(leaf(draw), stages(draw, 2, commented=True), NOWHERE)


def binding(draw):
    return tree.Binding(identifier(draw), expression(draw, 2), NOWHERE)


def domain(draw):
    if draw(st.booleans()):
        return tree.Choices(several(draw, lambda d: expression(d, 1), 1, 3), NOWHERE)
    low, high = several(draw, lambda d: expression(d, 1), 2, 2)
    return tree.Interval(low, high, draw(st.booleans()), draw(st.booleans()), NOWHERE)


def definition(draw):
    def parameter(draw):
        return tree.DefParameter(identifier(draw), perhaps(draw, lambda d: expression(d, 1)))

    name, parameters = identifier(draw), several(draw, parameter, 0, 3)
    written = perhaps(draw, lambda d: notation(d, parameters))
    return tree.Def(name, parameters, value(draw), perhaps(draw, text), written, NOWHERE, comments(draw))


def notation(draw, parameters):
    """How a `def` with these parameters is written, as LaTeX can read it."""
    forms = [r"\mathrm{f}", "a - b", r"\text{of }"]
    for parameter in parameters:
        place = f"${{{parameter.name.text}}}"
        forms += [place, rf"\left({place}\right)", f"{place}^{{2}}", f"{{{place}}}_{place}"]
        forms += [f"$[ + {place}]"] if parameter.default is not None else []
    return tree.Text(" ".join(draw(st.lists(st.sampled_from(forms), min_size=1, max_size=4))), NOWHERE)


def kept(draw):
    return tree.Kept(expression(draw, 1), identifier(draw), perhaps(draw, text), NOWHERE)


def edit(draw):
    """A statement that may stand in a variant."""
    match draw(
        st.sampled_from(
            [
                "param",
                "let",
                "def",
                "input",
                "teacher",
                "scope",
                "slot",
                "part",
                "rule",
                "drop",
                "insert",
                "swap",
            ]
        )
    ):
        case "param":
            optional = perhaps(draw, domain), perhaps(draw, identifier), perhaps(draw, text)
            return tree.Param(several(draw, binding, 1, 3), *optional, NOWHERE, comments(draw))
        case "let":
            return tree.Let(identifier(draw), value(draw), perhaps(draw, expression), NOWHERE, comments(draw))
        case "def":
            return definition(draw)
        case "input":
            optional = perhaps(draw, identifier), perhaps(draw, domain), perhaps(draw, text)
            return tree.Input(identifier(draw), identifier(draw), *optional, NOWHERE, comments(draw))
        case "teacher":
            return tree.Teacher(identifier(draw), perhaps(draw, text), NOWHERE, comments(draw))
        case "scope":
            keys = several(draw, identifier, 1, 3)
            return tree.KeyedScope(identifier(draw), keys, perhaps(draw, text), NOWHERE, comments(draw))
        case "slot":
            return tree.Slot(slot(draw), value(draw), NOWHERE, comments(draw))
        case "part":
            named = slot(draw), identifier(draw), value(draw), perhaps(draw, kept)
            return tree.Part(*named, NOWHERE, comments(draw))
        case "rule":
            return tree.Rule(slot(draw), identifier(draw), expression(draw), NOWHERE, comments(draw))
        case "drop":
            return tree.Drop(several(draw, path, 1, 3), NOWHERE, comments(draw))
        case "insert":
            side = draw(st.sampled_from(["before", "after"]))
            return tree.Insert(side, path(draw), stages(draw, 2, commented=True), NOWHERE, comments(draw))
    return tree.Swap(path(draw), stages(draw, 2, commented=True), NOWHERE, comments(draw))


def statement(draw):
    match draw(st.sampled_from(["edit", "edit", "edit", "variant", "sweep", "allow"])):
        case "variant":
            parts = identifier(draw), several(draw, edit, 0, 3), NOWHERE
            return tree.Variant(*parts, comments(draw), comments(draw, beside=False))
        case "sweep":
            values = several(draw, lambda d: expression(d, 1), 2, 4)
            return tree.Sweep(identifier(draw), values, NOWHERE, comments(draw))
        case "allow":
            return tree.Allow(tree.Identifier(draw(codes), NOWHERE), text(draw), NOWHERE, comments(draw))
    return edit(draw)


@st.composite
def expressions(draw):
    """Expressions of every kind."""
    return expression(draw)


@st.composite
def objectives(draw):
    """Objective files."""
    parts = identifier(draw), perhaps(draw, identifier), perhaps(draw, text)
    notes = several(draw, text, 0, 2), several(draw, text, 0, 2)
    header = tree.Header(*parts, *notes, NOWHERE, comments(draw))
    return tree.ObjectiveTree(header, several(draw, statement, 0, 5), comments(draw, beside=False))


@st.composite
def libraries(draw):
    """Library files."""
    return tree.LibraryTree(
        perhaps(draw, text), several(draw, definition, 0, 5), comments(draw, beside=False)
    )
