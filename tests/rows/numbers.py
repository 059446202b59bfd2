"""What the objective of each row gives, kept in numbers.json: `python -m tests.rows.numbers` writes it anew."""

import ast
import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import maspo_dsl
from maspo_dsl.analysis.spec_lints import spec_findings
from maspo_dsl.emit.standalone import standalone
from maspo_dsl.graph.build import build
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.verification.batches import cut, packed, places, rows_of
from maspo_dsl.verification.evaluation import as_torch, computed, interpreted
from maspo_dsl.verification.subject import Subject

from ..batches import given_advantage
from .specs import ROWS, more, spec

FILE = Path(__file__).with_name("numbers.json")
SHARED = "# From here on every generated file is the same"
FUNCTIONS = ("once", "loss", "advantage", "keep", "prompt", "step", "memory", "terms", "statistics_")
SEED = 3


def kept() -> dict[str, dict[str, Any]]:
    return json.loads(FILE.read_text())


def found(row: str) -> dict[str, Any]:
    """Losses and gradients by the oracle and by emitted code, whole, packed and in parts; and what is written of it."""
    objective = maspo_dsl.load(io.StringIO(spec(ROWS[row])))
    subject = Subject(objective, "eager")
    batches = dict(subject.batches(SEED))
    numbers: dict[str, list[float]] = {}
    for name in ("batch with rewards", "batch with advantages"):
        numbers[f"oracle, {name}"] = _shown(interpreted(subject.raw, batches[name]))
        numbers[f"emitted, {name}"] = _shown(computed(subject.eager, batches[name]))
    batch = batches["batch with advantages"]
    line = packed(batch, places(batch, SEED, in_order=True))
    numbers["packed"] = [computed(subject.eager, line).loss]
    parts = [as_torch(rows_of(batch, piece)) for piece in cut(batch, 2, SEED, together=("group",))]
    window = subject.eager.window(parts)
    numbers["in parts"] = [sum(subject.eager(part, denominators=window).loss.item() for part in parts)]
    return {
        "numbers": numbers,
        "reads": {name: objective.resolved.tensors[name].declaration for name in _tensors(row, objective)},
        "warnings": sorted({warning.code for warning in objective.warnings}),
        "text": objective.text,
        "latex": list(latex_lines(latex_formula(objective.resolved))),
        "source": _functions(standalone(objective.resolved, objective.graph)),
        "more": [in_short(line) for line in more(row)],
    }


def _tensors(row: str, objective: maspo_dsl.Objective) -> list[str]:
    """What an objective reads, and the tensor that the row itself is of."""
    quantity = QUANTITIES.get(row.split(" ")[-1])
    own = set() if quantity is None or quantity.tensor is None else {quantity.tensor}
    return sorted((objective.inputs | objective.training_inputs | own) & set(objective.resolved.tensors))


def in_short(line: str) -> str:
    """The mistakes of a further objective, or a digest of its functions, and its loss."""
    try:
        objective = maspo_dsl.load(io.StringIO(spec(line)))
    except maspo_dsl.SpecError as error:
        return "; ".join(f"{one.code}: {one.message} {one.hint}".strip() for one in error.diagnostics)
    source = _functions(standalone(objective.resolved, objective.graph))
    with np.errstate(all="ignore"):
        loss = interpreted(build(objective.resolved.parts), _batch_of(objective)).loss
    codes = sorted({finding.code for finding in spec_findings(objective.resolved)})
    return " ".join([hashlib.sha256(source.encode()).hexdigest()[:12], f"{loss:.6g}", *codes])


def _batch_of(objective: maspo_dsl.Objective) -> dict[str, np.ndarray]:
    """The batch with what an objective keeps, and with what it reads of whole distributions."""
    mask = _batch()["mask"]
    rows = {"prompt": (len(mask),), "run": ()}
    kept = {name: np.full(rows[memory.per], memory.start) for name, memory in objective.memories.items()}
    values, read = np.resize(np.linspace(0.1, 0.9, 7), mask.shape), objective.resolved.distributions
    return {**{name: np.roll(values, place) for place, name in enumerate(read)}, **_batch(), **kept}


@cache
def _batch() -> dict[str, np.ndarray]:
    return given_advantage(SEED)


def _shown(evaluation: Any) -> list[float]:
    """The loss, and two sums of the gradients that tell their elements apart."""
    values = [np.ravel(gradient) for _, gradient in sorted(evaluation.derived.items())]
    line = np.concatenate(values)
    return [evaluation.loss, float(np.abs(line).sum()), float(line @ np.cos(np.arange(line.size)))]


def _functions(source: str) -> str:
    """The objective's own functions of a generated file; they come first."""
    tree = ast.parse(source.split(SHARED)[0])
    own = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith(FUNCTIONS)
    ]
    return "\n".join(ast.unparse(node) for node in own)


def difference(got: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The first thing in which two findings differ; empty if none does."""
    for key in ("reads", "warnings", "text", "latex", "source", "more"):
        if got[key] != expected[key]:
            return f"{key}: {got[key]} is not {expected[key]}"
    for key, numbers in expected["numbers"].items():
        if not np.allclose(got["numbers"][key], numbers, rtol=1e-9, atol=1e-12):
            return f"{key}: {got['numbers'][key]} is not {numbers}"
    return ""


if __name__ == "__main__":
    FILE.write_text(json.dumps({row: found(row) for row in ROWS}, indent=1) + "\n")
