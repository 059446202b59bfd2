"""For each row of each table a small objective that uses it, written from what the row itself says."""

from collections.abc import Iterator

from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS, DistributionWord
from maspo_dsl.semantics.operations import COMPARISONS, FUNCTIONS, OPERATORS, Operation
from maspo_dsl.semantics.part_words import PART_WORDS, PartWord, When
from maspo_dsl.semantics.quantities import QUANTITIES, Quantity
from maspo_dsl.semantics.reductions import OF, REDUCTION_WORDS, Reduction, ReductionArgument
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
    "is_member": "weight w = sigmoid(old) * (0.5 if is_member(sequence) else 1)",
    "per_token": "weight w = 0.5 + sigmoid(per_token(length))",
    "and": "mute m where old > 0.1 and old < 0.3",
    "or": "mute m where old < 0.1 or old > 0.6",
    "not": "mute m where not old > 0.1",
}


def weighted(value: str) -> str:
    return f"weight w = 0.5 + sigmoid({value})"


def of_function(row: Operation) -> str:
    others = ", 0.9" * (row.arity - 1)
    if row.partials is None:
        return weighted(f"{row.name}(length{', 2' * (row.arity - 1)})")
    return f"ratio = policy / old * (1.5 + 0.1 * {row.name}(0.9 * policy / old + 0.2{others}))"


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
    of = "old > 0.1" if tokens else "length > 2"
    named = [
        f"{one.name} = {of if one is OF else given(one)}" for one in row.given if one.default is not None
    ]
    scope = [] if row.along else [row.scopes[0].name if row.scopes else "sequence"]
    call = f"{row.word}({', '.join([x, *before, *scope, *after, *named])})"
    return f"mute m where {call}" if row.condition else weighted(call)


def given(argument: ReductionArgument) -> str:
    return {"share": "0.5", "whole": str(max(argument.lowest, 1)), "condition": "old > 0.1", "number": "0.5"}[
        argument.sort
    ]


def of_distribution(row: DistributionWord) -> str:
    weight = ", 0.3" if row.weighted else ""
    return f"penalty p = 0.1 * {row.word}({', '.join(('reference', 'policy')[-row.policies :])}{weight})"


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
    if row.kept:
        return kept(row, "0.7 * part + 0.3 * mean(reward, group)")
    if row.form == "rule":
        value = "old > 0.2" if Axis.TOKEN in row.axes else "length > 3"
    elif row.when is When.PER_STEP:
        value = "1 / (1 + mean(old, window))"
    elif row.gradient == "required":
        value = "0.1 * k2(policy, old)"
    else:
        value = "0.5 + sigmoid(old)" if Axis.TOKEN in row.axes else "0.5 + sigmoid(length / 4)"
    return row.written("part").replace("…", value)


def kept(row: PartWord, value: str) -> str:
    """A statement whose value is kept, and one that reads it."""
    return f"{row.written('part').replace('…', value).replace('VALUE', '0.5')}\n{weighted('part')}"


def rows() -> Iterator[tuple[str, str, str]]:
    """Table, name and line of every row."""
    yield from (("function", name, of_function(row)) for name, row in FUNCTIONS.items())
    for symbol in OPERATORS:
        yield (
            "operator",
            symbol,
            f"ratio = (policy / old) {symbol} 1.5" if symbol != "-" else weighted("1 - old"),
        )
    yield from (
        ("comparison", symbol, f"weight w = 1 if position {symbol} 2 else 0.5") for symbol in COMPARISONS
    )
    yield from (("special", name, line) for name, line in SPECIAL.items())
    yield from (("distribution", word, of_distribution(row)) for word, row in DISTRIBUTION_WORDS.items())
    yield from (("reduction", word, of_reduction(row)) for word, row in REDUCTION_WORDS.items())
    yield from (("quantity", name, of_quantity(row)) for name, row in QUANTITIES.items())
    yield from (("scope", name, of_scope(row)) for name, row in SCOPES.items())
    yield from (("part word", word, of_part_word(row)) for word, row in PART_WORDS.items())


ROWS = {f"{table} {name}": line for table, name, line in rows()}
R = "(0.9 * policy / old + 0.2)"
"""Live, positive, and no power of a probability."""


def more_of_value(value: str) -> list[str]:
    """A value inside of every other operation, in a branch that is not chosen, and of numbers alone."""
    around = ["{} * 2 - 1", "3 - {}", "2 / {}", "-({})", "({}) ^ 2", "2 ^ ({})", "({}) * {}", "abs({})"]
    lines = [f"ratio = policy / old * ({one.replace('{}', f'({value})')})" for one in around]
    return [
        *lines,
        f"ratio = policy / old * ({value} if A > 0 else 1)",
        f"weight w = {value.replace(R, '0.7')}",
    ]


def more_of_function(row: Operation) -> list[str]:
    call = f"{row.name}({R}{', 0.9' * (row.arity - 1)})"
    live = [f"ratio = {row.name}(policy / old, {R})"] if row.arity == 2 else []
    return [
        *more_of_value(call),
        *live,
        weighted(f"{row.name}({R}{', 0.9' * row.arity})"),
        weighted(f"{row.name}(A > 0)"),
    ]


def more_of_reduction(row: Reduction) -> list[str]:
    """Of tokens and of sequences, within each scope, before the advantage and after it; and with wrong arguments."""
    values = (
        ("old > 0.2", "reward > 0")
        if row.values == "condition"
        else ("old", "length", "log(old)", "policy", "A > 0")
    )
    rest = [given(argument) for argument in row.given if argument.default is None]
    scopes = [""] if row.along else [*SCOPES, *({"sequence": "group"} if row.members else {})]
    lines = []
    for x in values:
        for scope in scopes:
            call = f"{row.word}({', '.join([x, *rest, *([scope] if scope else [])])})"
            used = f"(0.5 if {call} else 1)" if row.condition else f"sigmoid({call})"
            lines += [
                f"weight w = {used} * 0.5",
                weighted(f"exp({call})"),
                f"advantage = reward * {used}",
                f"ratio = policy / old * {used}",
            ]
    wrong = {"share": "1.5", "whole": "0.5", "condition": "0.5", "number": "A > 0"}
    for argument in row.given:
        others = [
            wrong[one.sort] if one is argument else given(one) for one in row.given if one.default is None
        ]
        named = [f"{argument.name} = {wrong[argument.sort]}"] if argument.default is not None else []
        scope = [] if row.along else [(row.scopes or (*SCOPES.values(),))[0].name]
        lines.append(weighted(f"{row.word}({', '.join([values[0], *others, *scope, *named])})"))
    return lines


def more_of_distribution(row: DistributionWord) -> list[str]:
    """Of live and frozen policies, detached, of what is no policy, and with weights of every kind."""
    policies = [
        "policy",
        "old",
        "policy, reference",
        "old, rollout",
        "policy, policy",
        "policy, old, rollout",
    ]
    wrong = ["length", "A > 0", "policy / old", "log(policy)", "policy, 0.5", "policy, reference, x = 1"]
    weights = ["0.3", "0.5", "1", "length", "weight = 0.3"]
    calls = [*policies, *wrong, *(f"policy, reference, {weight}" for weight in weights)]
    return [
        *(f"penalty p = 0.1 * {row.word}({one})" for one in calls),
        *(weighted(f"{row.word}({one})") for one in policies),
        f"advantage = reward * mean({row.word}({policies[1 if row.policies == 1 else 3]}), sequence)",
    ]


def more_of_scope(row: Scope) -> list[str]:
    calls = [
        f"{word}({x}, {row.name})" for word in ("sum", "max", "count") for x in ("old", "length", "policy")
    ]
    calls += [f"quantile({x}, 0.5, {row.name}, of = A > 0, empty = inf)" for x in ("old", "length")]
    lines = [
        line for call in calls for line in (weighted(call), f"penalty p = 0.1 * k2(policy, old) * {call}")
    ]
    return [*lines, *(f"advantage = reward * {call.replace('A > 0', 'reward > 0')}" for call in calls)]


def more_of_part_word(row: PartWord) -> list[str]:
    """With a value of each axis, with and without gradient, and a condition."""
    values = [
        "0.5",
        "mean(length, group)",
        "length",
        "old",
        "policy",
        "mean(policy, sequence)",
        "mean(policy, window)",
    ]
    values += [
        "old > 0.2",
        "length > 3",
        "policy > 0.3",
        "mean(old, micro)",
        "mean(old, micro) > 0.2",
        "0.1 * k2(policy, old) * mean(old, micro)",
        "0",
        "loss |> mean(window)",
        "loss |> mean(micro)",
    ]
    if row.kept:
        values += [
            "part",
            "mean(reward, rollout_batch)",
            "detach(mean(policy, group))",
            "mean(length, window)",
        ]
        texts = [kept(row, value) for value in values]
        return [*texts, *(text.replace("per prompt", "per run") for text in texts)]
    return [row.written("part").replace("…", value) for value in values]


def more_of_quantity(row: Quantity) -> list[str]:
    words = ("weight w", "penalty p", "advantage", "reward r")
    return [f"{word} = {row.name}" for word in words] + [
        f"mute m where {row.name} > 0.3",
        f"keep k where {row.name}",
    ]


def more(row: str) -> list[str]:
    """Further objectives with a row, right and wrong ones."""
    table, name = row.rsplit(" ", 1)
    match table:
        case "function":
            return more_of_function(FUNCTIONS[name])
        case "operator":
            return more_of_value(f"{R} {name} (1.5 * {R})")
        case "comparison":
            chosen = more_of_value(f"(0.5 if {R} {name} 2 * {R} else 0.9)")
            return [
                *chosen,
                weighted(f"0.1 {name} 2"),
                f"mute m where 1 {name} A",
                f"mute m where old {name} 0.3 or A > 0",
            ]
        case "special" if name in ("and", "or", "not"):
            condition = "not old > 0.1" if name == "not" else f"old > 0.1 {name} A > 0"
            return [
                f"mute m where {one.format(condition)}"
                for one in ("({}) and old > 0.2", "old > 0.2 or {}", "not ({})", "{}")
            ]
        case "special":
            return [weighted(f"{name}({x})") for x in ("policy", "old", "length", "A > 0", "0.5")]
        case "distribution":
            return more_of_distribution(DISTRIBUTION_WORDS[name])
        case "reduction":
            return more_of_reduction(REDUCTION_WORDS[name])
        case "quantity":
            return more_of_quantity(QUANTITIES[name])
        case "scope":
            return more_of_scope(SCOPES[name])
    return more_of_part_word(PART_WORDS[name])


def spec(line: str) -> str:
    """The base with a line of it replaced, or with one more."""
    word = line.split(" ", 1)[0]
    kept = [one for one in BASE.splitlines() if not line or one.split(" ", 1)[0] != word]
    return "\n".join([*kept, line]) + "\n"
