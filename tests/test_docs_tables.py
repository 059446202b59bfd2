"""The tables of docs/language.md are complete: they are what the vocabulary and the library say.

A table stands under `<!-- table: NAME -->`. `python -m tests.test_docs_tables` writes them anew.
"""

import re
from pathlib import Path

import pytest
from maspo_dsl.trainers.columns import COLUMNS

from maspo_dsl.language.tree import Def
from maspo_dsl.semantics.calls import signature
from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS
from maspo_dsl.semantics.operations import FUNCTIONS
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.quantities import INPUT_KINDS, QUANTITIES
from maspo_dsl.semantics.reductions import REDUCTION_WORDS
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.shipped import library_trees
from maspo_dsl.semantics.types import Axis
from maspo_dsl.semantics.vocabulary import RUN_CONSTANTS, SPECIAL, WARNINGS

PAGE = Path(__file__).parents[1] / "docs" / "language.md"
TABLE = re.compile(r"(<!-- table: ([\w ]+) -->\n)(?:\n(?:\|[^\n]*\n)+)?")


def table(head: str, rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown; `|` in a cell is written as its text."""
    cells = [head.split(", "), ["---"] * len(head.split(", ")), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def code(text: str) -> str:
    return f"`{text}`"


def slots() -> str:
    rows = []
    for kind in PART_WORDS.values():
        axes = ", ".join(axis.word for axis in sorted(kind.axes))
        value = f"{axes}; a condition" if kind.form == "rule" else axes
        neutral = kind.neutral or "must be given"
        rows.append((code(kind.written("NAME")), value, neutral, kind.doc))
    return table("statement, axis, neutral, meaning", rows)


def quantities() -> str:
    rows = []
    for name, quantity in QUANTITIES.items():
        axis = "sequence or token" if name == "A" else quantity.axis.word
        tensor = code(quantity.tensor) if quantity.tensor else ""
        rows.append((code(name), axis, quantity.kind.value, tensor, quantity.doc))
    return table("name, axis, kind, tensor of the batch, meaning", rows)


def scopes() -> str:
    words = {Axis.SCALAR: "everything", Axis.GROUP: "each group", Axis.SEQUENCE: "each sequence"}
    known = {(True, True): "everywhere", (True, False): "before the advantage", (False, True): "after it"}
    rows = [
        (code(scope.name), words[scope.axis], scope.meaning, known[scope.rollout, scope.update])
        for scope in SCOPES.values()
    ]
    return table("scope, one result for, values are, known", rows)


def scopes_of_reductions() -> str:
    narrow = {word: row for word, row in REDUCTION_WORDS.items() if row.scopes and not row.along}
    rows = [(code(word), ", ".join(code(scope.name) for scope in row.scopes)) for word, row in narrow.items()]
    return table("reduction, known within", rows)


def library() -> str:
    rows = []
    for file, tree in library_trees().items():
        rows += [(code(call(definition)), definition.doc or "", file) for definition in tree.definitions]
    return table("call, meaning, file", rows)


def call(definition: Def) -> str:
    return signature(definition).removeprefix("it is called ")


def meanings(words: dict[str, str]) -> str:
    return table("name, meaning", [(code(word), meaning) for word, meaning in words.items()])


TABLES = {
    "run constants": table(
        "name, meaning, of the run",
        [(code(name), constant.meaning, code(constant.key)) for name, constant in RUN_CONSTANTS.items()],
    ),
    "kinds of inputs": meanings({word: row.doc for word, row in INPUT_KINDS.items()}),
    "metrics": meanings({name: column.meaning for name, column in COLUMNS.items() if column.by == "loss"}),
    "slots": slots(),
    "warnings": meanings(WARNINGS),
    "quantities": quantities(),
    "elementwise": meanings({word: row.meaning for word, row in FUNCTIONS.items()}),
    "scopes": scopes(),
    "scopes of reductions": scopes_of_reductions(),
    "reductions": meanings({word: row.meaning for word, row in REDUCTION_WORDS.items() if not row.along}),
    "along completions": meanings({word: row.meaning for word, row in REDUCTION_WORDS.items() if row.along}),
    "special": meanings(SPECIAL),
    "distributions": meanings({word: row.meaning for word, row in DISTRIBUTION_WORDS.items()}),
    "library": library(),
}


@pytest.mark.parametrize("name", TABLES)
def test_table_is_complete(name):
    assert f"<!-- table: {name} -->\n\n{TABLES[name]}" in PAGE.read_text()


def test_every_axis_is_explained():
    text = PAGE.read_text()
    assert " < ".join(axis.word for axis in Axis) in text


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]}", PAGE.read_text()))
