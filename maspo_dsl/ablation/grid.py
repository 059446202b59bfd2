"""A grid: every point that exists and differs from the others, and for those that do not, why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from maspo_dsl.ablation.base import Base, Family, read_base, read_family
from maspo_dsl.ablation.changes import GridError
from maspo_dsl.ablation.point import Candidate
from maspo_dsl.ablation.request import Request, absent, candidates
from maspo_dsl.graph.build import build
from maspo_dsl.graph.nodes import Node
from maspo_dsl.graph.passes import simplify
from maspo_dsl.language.diagnostics import SpecError
from maspo_dsl.language.naming import unused_name
from maspo_dsl.language.source import Source
from maspo_dsl.objective import Objective
from maspo_dsl.semantics.objective import ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.resolve import find_source, resolve, split_variant
from maspo_dsl.semantics.shipped import shipped_names, shipped_source

# A candidate that is no point, and why.
Rejection: TypeAlias = tuple[str, str]
# Nodes that a run depends on, and the places of the outputs among them.
Fingerprint: TypeAlias = tuple[tuple[Node, ...], tuple[tuple[str, int], ...]]
# Outputs of a graph that a run depends on; the others are for its metrics.
_DECISIVE = ("loss", "advantage", "keep", "step", "prompt")


@dataclass(frozen=True)
class Point:
    """A point that exists, and the hash of its objective.

    `keeps` says whether it selects what a rollout trains on, `same_as` are names of other candidates that are the
    same objective.
    """

    candidate: Candidate
    hash: str
    keeps: bool
    same_as: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name."""
        return self.candidate.name

    @property
    def file(self) -> str:
        """Its file in the grid's folder."""
        return f"{self.name}.obj"


@dataclass(frozen=True)
class Grid:
    """Points in the order they were asked for, the base first.

    `impossible` are candidates that no objective can be, `idle` those that change nothing, each with the reason.
    """

    points: tuple[Point, ...]
    impossible: tuple[Rejection, ...]
    idle: tuple[Rejection, ...]

    @property
    def texts(self) -> dict[str, str]:
        """Texts of all points by file."""
        return {point.file: point.candidate.spec for point in self.points}

    @property
    def base(self) -> Point:
        """The point that all others are compared with."""
        return self.points[0]


def make_grid(spec: str, request: Request, params: Mapping[str, float], folder: Path) -> Grid:
    """The grid of a shipped name, a path or NAME@VARIANT; into an empty folder go the base and the files it extends.

    `params` hold for every point. Raises SpecError: the base, or an objective it is compared with, does not check.
    Raises GridError: an unknown part or parameter, a value outside its interval, a grid of the base alone.
    """
    base = read_base(spec, params)
    for name, text in base.beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / f"{base.candidate.name}.obj").write_text(base.candidate.spec, encoding="utf-8")
    family = read_family(base, folder)
    builder = _Builder(family, base, folder)
    builder.impossible += absent(family, request)
    builder.take(candidates(family, request))
    builder.compare(request.against)
    if len(builder.points) == 1:
        merged = [(name, "the same objective") for name in builder.points[family.base.hash].same_as]
        refused = "".join(f"\n  {name}: {why}" for name, why in (*merged, *builder.impossible, *builder.idle))
        raise GridError(f"this grid holds nothing but `{spec}` itself{refused}")
    return Grid(tuple(builder.points.values()), tuple(builder.impossible), tuple(builder.idle))


class _Builder:
    """Takes candidates one by one; the points so far, by hash."""

    def __init__(self, family: Family, base: Base, folder: Path) -> None:
        self.folder = folder
        self.points = {
            family.base.hash: Point(base.candidate, family.base.hash, bool(family.base.parts.of(Role.FILTER)))
        }
        self.names = {base.candidate.name, *(Path(file).stem for file in base.beside)}
        self.impossible: list[Rejection] = []
        self.idle: list[Rejection] = []
        self.idle_axes: set[tuple[str, str]] = set()
        self.fingerprints: dict[str, Fingerprint] = {}
        self.unchanged = self._fingerprint(family.base)
        self.live_params = {str(node.attribute("name")) for node in self.unchanged[0] if node.op == "param"}

    def take(self, found: Iterable[Candidate]) -> None:
        """Single changes first: what does nothing alone need not be combined with anything."""
        different: dict[tuple[str, tuple[str, ...]], Candidate] = {}
        for candidate in found:
            # Pairs and products name one combination in two ways; other points of the same edits are of two kinds.
            name = "" if candidate.kind == "combined" else candidate.name
            different.setdefault((name, candidate.edits), candidate)
        for candidate in sorted(different.values(), key=lambda one: len(one.axes)):
            # Of two points of one name, the later one gets a number.
            self._take(replace(candidate, name=unused_name(candidate.name, self._taken())))

    def compare(self, names: Iterable[str]) -> None:
        """Add other objectives, NAME@VARIANT too, as they are. Raises SpecError."""
        for spec in names:
            plain, variant = split_variant(spec)
            source, folder = find_source(plain)
            objective = resolve(source, folder, variant=variant)
            as_written = (
                folder is None and variant is None and all(map(self._means_shipped, objective.lineage))
            )
            if as_written and objective.name not in self.names:
                name, doc, text = objective.name, objective.doc, source.text
            else:
                name = unused_name(objective.name, self._taken())
                doc = f"{Path(plain).stem} with variant {variant}" if variant else objective.doc
                text = _flat_text(objective, name, doc)
            self._add(Candidate(name, "against", name, doc or f"{spec} as it is", text=text), objective)

    def _means_shipped(self, name: str) -> bool:
        """Whether a file of this folder that extends a shipped name gets what is shipped."""
        file = self.folder / f"{name}.obj"
        return not file.is_file() or file.read_text(encoding="utf-8") == shipped_source(name).text

    def _taken(self) -> set[str]:
        """What no point can be called: a file of that name is there, or what is shipped extends it."""
        return self.names.union(shipped_names())

    def _take(self, candidate: Candidate) -> None:
        try:
            objective = self._resolved(candidate)
        except SpecError as error:
            self._reject(candidate, error)
            return
        if objective.hash not in self.points and self._moves_nothing(candidate, objective):
            self._add_idle(candidate, "nothing that is computed changes")
        else:
            self._add(candidate, objective)

    def _moves_nothing(self, candidate: Candidate, objective: ResolvedObjective) -> bool:
        """Whether a single change computes what the base does; of several, with an idle one, what fewer do.

        Where the simplified base holds a parameter, another value is another graph, and none needs to be made.
        """
        if candidate.kind == "ladder":
            return False
        if len(candidate.axes) > 1:
            idle = self.idle_axes & set(candidate.axes)
            return bool(idle) and self._fingerprint(objective) in [
                self._fingerprint(self._resolved(point.candidate)) for point in self.points.values()
            ]
        if candidate.kind == "vary" and candidate.axes[0][0] in self.live_params:
            return False
        return self._fingerprint(objective) == self.unchanged

    def _resolved(self, candidate: Candidate) -> ResolvedObjective:
        return resolve(Source(f"{candidate.name}.obj", candidate.spec), self.folder)

    def _fingerprint(self, objective: ResolvedObjective) -> Fingerprint:
        if objective.hash not in self.fingerprints:
            self.fingerprints[objective.hash] = fingerprint(objective)
        return self.fingerprints[objective.hash]

    def _add_idle(self, candidate: Candidate, why: str) -> None:
        """Not run, and said so; alone, it is known to do nothing."""
        if len(candidate.axes) == 1:
            self.idle_axes.update(candidate.axes)
        self.idle.append((candidate.name, f"{candidate.doc}: {why}"))

    def _add(self, candidate: Candidate, objective: ResolvedObjective) -> None:
        known = self.points.get(objective.hash)
        if known is not None:
            self.points[objective.hash] = replace(known, same_as=(*known.same_as, candidate.name))
            return
        self.names.add(candidate.name)
        self.points[objective.hash] = Point(candidate, objective.hash, bool(objective.parts.of(Role.FILTER)))

    def _reject(self, candidate: Candidate, error: SpecError) -> None:
        """What was asked for by value must be possible, if anything reads it; what was derived is listed."""
        why = "; ".join(found.message for found in error.diagnostics)
        if candidate.kind not in ("vary", "swap"):
            edits = f"{'; '.join(candidate.edits)}: " if candidate.kind == "combined" else ""
            self.names.add(candidate.name)
            self.impossible.append((candidate.name, edits + why))
        elif all(found.code == "unread-name" for found in error.diagnostics):
            self._add_idle(candidate, why)
        else:
            hinted = [f"{found.message}; {found.hint}".rstrip("; ") for found in error.diagnostics]
            raise GridError(f"{candidate.doc}: {'; '.join(hinted)}")


def _flat_text(objective: ResolvedObjective, name: str, doc: str) -> str:
    """An objective as one file under a name, every value bound, with no `allow` of what is not given."""
    header = objective.flat.header
    named = replace(header, name=replace(header.name, text=name), doc=doc or None)
    return Objective(replace(objective, flat=replace(objective.flat, header=named))).text


def fingerprint(objective: ResolvedObjective) -> Fingerprint:
    """What an objective computes once simplified: two with the same fingerprint cannot be told apart by a run."""
    graph = simplify(build(objective.parts))
    decisive = [name for name in _DECISIVE if name in graph.outputs]
    order = {place: number for number, place in enumerate(graph.reachable(decisive))}
    nodes = tuple(
        replace(graph.nodes[place], args=tuple(order[argument] for argument in graph.nodes[place].args))
        for place in order
    )
    return nodes, tuple((name, order[graph.outputs[name]]) for name in decisive)
