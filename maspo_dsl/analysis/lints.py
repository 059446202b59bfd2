"""Warnings: what a spec may say, but a reader would ask about. Each has a code that `allow` acknowledges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from maspo_dsl.analysis.baseline import Baseline
from maspo_dsl.analysis.dead_parameters import dead_parameter_findings, dead_parameters
from maspo_dsl.analysis.dead_parts import dead_part_findings
from maspo_dsl.analysis.drawing import on_policy
from maspo_dsl.analysis.finding import Finding
from maspo_dsl.analysis.neutrals import neutral_findings
from maspo_dsl.analysis.policy_lints import policy_findings
from maspo_dsl.analysis.reinforce import reinforced, weighs_otherwise
from maspo_dsl.analysis.spec_lints import spec_findings
from maspo_dsl.analysis.trial import graph_of
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.graph.nodes import Graph
from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import Diagnostic, SpecError
from maspo_dsl.language.source import Source, Span
from maspo_dsl.semantics.collector import in_source_order
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.reductions import REDUCTIONS
from maspo_dsl.semantics.resolve import resolve
from maspo_dsl.semantics.terms import walk

_FORESTALLED = {"cap-below-one": frozenset({"on-policy-weight"})}
"""Warnings that say no more than another one, which is given."""
_DRAWN = frozenset({"A", "entropy", *(name for name, row in QUANTITIES.items() if row.policy)})
"""What is drawn for tokens that are alone; all else is 1 for each of them."""


_SHOWN = 4
"""On how many batches of a kind an objective is tried of which single tokens say nothing."""


@dataclass(frozen=True)
class LintResult:
    """The warnings of an objective, in source order, and the codes of those that an `allow` keeps quiet."""

    warnings: tuple[Diagnostic, ...]
    acknowledged: frozenset[str]


def lint(objective: ResolvedObjective, graph: Graph) -> LintResult:
    """What a reader would ask about an objective; an acknowledgement of nothing is a warning, too.

    `graph` is the objective's own, simplified.
    """
    found = list(_findings(objective, graph))
    quiet = [finding for finding in found if _acknowledged(objective, finding)]
    given = [finding.diagnostic() for finding in found if finding not in quiet]
    unused = _unused(objective, {finding.code for finding in found}, Baseline(objective))
    return LintResult(tuple(in_source_order([*given, *unused])), frozenset(finding.code for finding in quiet))


def _findings(objective: ResolvedObjective, graph: Graph) -> Iterator[Finding]:
    given = set()
    known: list[Span] = []
    for finding in spec_findings(objective):
        given.add(finding.code)
        if finding.code in ("dead-part", "k1-in-loss") and isinstance(finding.place, Span):
            known.append(finding.place)
        yield finding
    forestalled = frozenset().union(*(_FORESTALLED.get(code, frozenset()) for code in given))
    for finding in policy_findings(objective, graph):
        given.add(finding.code)
        if finding.code not in forestalled:
            yield finding
    baseline = Baseline(objective)
    yield from neutral_findings(objective, baseline, on_policy="on-policy-weight" not in given)
    dead = dict(dead_parameters(objective, graph, baseline))
    yield from dead_parameter_findings(objective, dead)
    yield from dead_part_findings(objective, baseline, known, dead)


def _unused(objective: ResolvedObjective, given: set[str], baseline: Baseline) -> Iterator[Diagnostic]:
    """What the spec itself allows, though nothing gives it.

    A variant, or other values of parameters, may well do without what the file says of itself.
    """
    settings = objective.settings
    if settings.variant is not None or settings.params or settings.run:
        return
    for code, allow in objective.flat.allows.items():
        if code in given or _inherited(objective, allow):
            continue
        if code != "on-policy-weight" or not _batches_show_weights(objective, baseline):
            message = f"`{code}` is not given here, so there is nothing to allow"
            yield Finding("unused-allow", message, allow.span).diagnostic()


def _batches_show_weights(objective: ResolvedObjective, baseline: Baseline) -> bool:
    """Whether `verify`, which sees batches, may ask for an acknowledgement of what single tokens do not show."""
    if not _tokens_show_weights(objective):
        return True
    if not objective.parts.has_policy_term:
        return False
    tested = False
    for batch in (one for stage in ("batches", "far") for one in islice(baseline.batches(stage), _SHOWN)):
        same = on_policy(batch, objective.tensors)
        _, free, expected = reinforced(baseline.graph, same)
        gradient = Interpretation(baseline.graph, same).gradient("policy_loss")
        tested |= bool(expected.any())
        if weighs_otherwise(gradient, expected, free).any():
            return True
    return not tested


def _tokens_show_weights(objective: ResolvedObjective) -> bool:
    """Whether single tokens show what the policy term weighs: not where it depends on other tokens, lengths or inputs.

    `verify`, which sees batches, may then ask for an acknowledgement of what is not seen here.
    """
    parts = objective.parts.of(Role.RATIO, Role.FACTOR, Role.REMOVES_POLICY_TERM, Role.REMOVES_TOKEN)
    terms = list(walk(*parts.values()))
    read = {str(term.attribute("name")) for term in terms if term.op == "input"}
    return read <= _DRAWN and not any(term.op in REDUCTIONS for term in terms)


# ---- acknowledgement


def _inherited(objective: ResolvedObjective, allow: tree.Allow) -> bool:
    return allow.span.source is not objective.flat.header.span.source


def _acknowledged(objective: ResolvedObjective, finding: Finding) -> bool:
    """Whether an `allow` covers a warning: one of this file any of its code, an inherited one what its own file has."""
    allow = objective.flat.allows.get(finding.code)
    if allow is None:
        return False
    if not finding.about or not _inherited(objective, allow):
        return True
    return finding.about <= _about(allow.span.source, finding.code)


@lru_cache(maxsize=64)
def _about(source: Source, code: str) -> frozenset[str]:
    """What the warnings of a code are about in another file."""
    folder = Path(source.name).parent if Path(source.name).is_file() else None
    try:
        base = resolve(source, folder)
    except SpecError:
        return frozenset()
    found = policy_findings(base, graph_of(base.parts))
    return frozenset().union(*(finding.about for finding in found if finding.code == code))
