"""Every row of every table goes the whole way from text to gradient, and is missed by its name once it is gone."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import maspo_dsl
from maspo_dsl.emit.standalone import standalone
from maspo_dsl.graph.build import build
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.passes import PASSES
from maspo_dsl.notation.explanation import explanation
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines
from maspo_dsl.semantics.operations import OPERATIONS
from maspo_dsl.semantics.part_words import NAMED
from maspo_dsl.verification.evaluation import check_equal, computed, interpreted
from maspo_dsl.verification.hidden import from_hidden
from maspo_dsl.verification.subject import Subject

from .numbers import difference, found, kept
from .partials import wrong_partials
from .specs import ROWS, spec


def objective(line: str) -> maspo_dsl.Objective:
    return maspo_dsl.load(io.StringIO(spec(line)))


@pytest.mark.parametrize("row", ROWS)
def test_from_text_to_gradient(row):
    """Interpreted, through every pass, emitted, from hidden states, explained and in LaTeX: one loss."""
    subject = Subject(objective(ROWS[row]), "eager")
    graph = subject.raw
    for name, batch in subject.batches(0):
        expected = interpreted(graph, batch)
        assert expected.largest > 1e-9, name
        simplified = graph
        for transform in PASSES:
            simplified = transform(simplified)
            check_equal(interpreted(simplified, batch), expected, f"{transform.__name__}, {name}")
        check_equal(computed(subject.eager, batch), expected, f"emitted, {name}")
    assert from_hidden(subject)[0] == "pass"
    shown = explanation(subject.objective)
    assert shown.formula.lines and shown.tensors
    assert "\n".join(latex_lines(latex_formula(subject.objective.resolved))).startswith(r"\begin{aligned}")


@pytest.mark.parametrize("name", [name for name, row in OPERATIONS.items() if row.partials is not None])
def test_partial_derivatives(name):
    assert not wrong_partials(OPERATIONS[name])


@pytest.mark.parametrize("word", NAMED)
def test_a_named_part_is_in_the_formula(word):
    """Whatever a part does to the loss, `explain` shows it."""
    lines = explanation(objective(ROWS[f"part word {word}"])).formula.lines
    assert any("part" in (*line.symbol.split(), *line.note.split()) for line in lines)


@contextmanager
def without(name: str) -> Iterator[None]:
    """A name taken out of every table that has it, and put back at its place: the order of rows is seen, too."""
    modules = [
        module for path, module in list(sys.modules.items()) if path.startswith("maspo_dsl.semantics.")
    ]
    named = [entry for module in modules for entry in vars(module).items() if not entry[0].startswith("__")]
    tables = [
        table for table in {id(t): t for _, t in named if isinstance(t, dict)}.values() if name in table
    ]
    kept = [dict(table) for table in tables]
    for table in tables:
        del table[name]
    try:
        yield
    finally:
        for table, whole in zip(tables, kept, strict=True):
            table.clear()
            table.update(whole)


@pytest.mark.parametrize("row", ROWS)
def test_a_missing_row_is_named(row):
    """Forgetting is loud: somewhere on the way there is an error that says what is not known."""
    name, text = row.split(" ")[-1], spec(ROWS[row])
    batch = Subject(objective(ROWS[row]), "eager").batches(0)[0][1]
    with without(name), pytest.raises((maspo_dsl.SpecError, KeyError)) as caught:
        found = maspo_dsl.load(io.StringIO(text))
        standalone(found.resolved, found.graph)
        Interpretation(build(found.resolved.parts), batch).output("loss")
    assert name in str(caught.value)


@pytest.mark.parametrize("row", ROWS)
def test_numbers_are_those_kept(row):
    """The same losses and gradients, by the oracle and in torch, whole, packed and in parts, as are kept."""
    assert not difference(found(row), kept()[row])


def test_a_number_is_kept_for_each_row():
    assert set(kept()) == set(ROWS)
