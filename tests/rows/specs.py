"""For each row of each table a small objective that uses it, written from what the row itself says."""

from collections.abc import Iterator

from maspo_dsl.semantics.operations import ARITHMETIC, COMPARISONS, FUNCTIONS, Operation
from maspo_dsl.semantics.part_words import PART_WORDS, PartWord, When
from maspo_dsl.semantics.quantities import QUANTITIES, Quantity
from maspo_dsl.semantics.reductions import REDUCTION_WORDS, Argument, Reduction
from maspo_dsl.semantics.scopes import SCOPES, Scope
from maspo_dsl.semantics.types import Axis, Kind

BASE = """\
objective example
advantage = reward |> center(group)
ratio     = policy / old
reduce    = loss |> mean(window)
"""
SPECIAL = {
    "detach": "weight w = detach(0.5 + policy)",
    "entropy": "weight w = 0.5 + sigmoid(entropy(policy))",
    "per_token": "weight w = 0.5 + sigmoid(per_token(length))",
    "and": "mute m where old > 0.1 and old < 0.3",
    "or": "mute m where old < 0.1 or old > 0.6",
    "not": "mute m where not old > 0.1",
}


def weighted(value: str) -> str:
    return f"weight w = 0.5 + sigmoid({value})"


def of_function(row: Operation) -> str:
    others = ", 0.9" * (row.arity - 1)
    return f"ratio = (policy / old) * (1.5 + 0.1 * {row.name}(policy / old{others}))"


def of_reduction(row: Reduction) -> str:
    """The reduction of tokens where it can be, else of sequences, within the first scope that it is known in."""
    tokens = not row.axes or Axis.TOKEN in row.axes
    x = (
        ("old > 0.2" if tokens else "reward > 0")
        if row.values == "condition"
        else "old"
        if tokens
        else "length"
    )
    positional = [argument for argument in row.given if argument.default is None]
    before = [given(argument) for argument in positional if argument.sort != "whole"]
    after = [given(argument) for argument in positional if argument.sort == "whole"]
    named = [f"{argument.name} = {given(argument)}" for argument in row.given if argument.default is not None]
    scope = [] if row.along else [row.scopes[0].name if row.scopes else "sequence"]
    call = f"{row.word}({', '.join([x, *before, *scope, *after, *named])})"
    return f"mute m where {call}" if row.condition else weighted(call)


def given(argument: Argument) -> str:
    return {"share": "0.5", "whole": str(max(argument.lowest, 1)), "condition": "old > 0.1", "number": "0.5"}[
        argument.sort
    ]


def of_quantity(row: Quantity) -> str:
    if row.name == "loss":
        return ""
    return f"weight w = 1 if {row.name} else 0.5" if row.kind is Kind.BOOL else weighted(row.name)


def of_scope(row: Scope) -> str:
    return (
        weighted(f"mean(old, {row.name})") if row.update else f"advantage = reward - mean(reward, {row.name})"
    )


def of_part_word(row: PartWord) -> str:
    """A statement with this word; values that the loss cannot do without are those of the base."""
    if row.form == "slot" and row.neutral is None:
        return ""
    if row.form == "rule":
        value = "old > 0.2" if Axis.TOKEN in row.axes else "length > 3"
    elif row.when is When.PER_STEP:
        value = "1 / (1 + mean(old, window))"
    elif row.gradient == "required":
        value = "0.1 * k2(policy, old)"
    else:
        value = "0.5 + sigmoid(old)" if Axis.TOKEN in row.axes else "0.5 + sigmoid(length / 4)"
    return row.written("part").replace("…", value)


def rows() -> Iterator[tuple[str, str, str]]:
    """Table, name and line of every row."""
    yield from (("function", name, of_function(row)) for name, row in FUNCTIONS.items())
    for symbol in ARITHMETIC:
        yield (
            "operator",
            symbol,
            f"ratio = (policy / old) {symbol} 1.5" if symbol != "-" else weighted("1 - old"),
        )
    yield from (
        ("comparison", symbol, f"weight w = 1 if position {symbol} 2 else 0.5") for symbol in COMPARISONS
    )
    yield from (("special", name, line) for name, line in SPECIAL.items())
    yield from (("reduction", word, of_reduction(row)) for word, row in REDUCTION_WORDS.items())
    yield from (("quantity", name, of_quantity(row)) for name, row in QUANTITIES.items())
    yield from (("scope", name, of_scope(row)) for name, row in SCOPES.items())
    yield from (("part word", word, of_part_word(row)) for word, row in PART_WORDS.items())


ROWS = {f"{table} {name}": line for table, name, line in rows()}


def spec(line: str) -> str:
    """The base with a line of it replaced, or with one more."""
    word = line.split(" ", 1)[0]
    kept = [one for one in BASE.splitlines() if not line or one.split(" ", 1)[0] != word]
    return "\n".join([*kept, line]) + "\n"
