"""An objective as users see it: what it is called, what it computes, what it reads; and how it becomes a loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from maspo_dsl.language.source import Source
from maspo_dsl.semantics.objective import Memory, ResolvedObjective
from maspo_dsl.semantics.part_words import Role
from maspo_dsl.semantics.quantities import DERIVED_TENSORS
from maspo_dsl.semantics.resolve import find_source, resolve, split_variant

if TYPE_CHECKING:
    from maspo_dsl.analysis.lints import LintResult
    from maspo_dsl.graph.nodes import Graph
    from maspo_dsl.language.diagnostics import Diagnostic

SpecLike: TypeAlias = "str | Path | TextIO | Objective"


class Objective:
    """A checked objective with its parameters bound. Does not need torch."""

    def __init__(self, resolved: ResolvedObjective, folder: Path | None = None) -> None:
        self.resolved = resolved
        self.folder = folder

    @property
    def name(self) -> str:
        """Its name."""
        return self.resolved.name

    @property
    def hash(self) -> str:
        """Hash of what is computed, values included; name, doc and source do not count."""
        return self.resolved.hash

    @property
    def params(self) -> dict[str, float]:
        """Values of its parameters."""
        return self.resolved.params

    @property
    def source_text(self) -> str:
        """The text it was read from."""
        return self.resolved.source.text

    @property
    def text(self) -> str:
        """The objective as one flat file, every value bound, and no `allow` of what is not given: for a run folder."""
        return self.resolved.text_allowing(self.acknowledged)

    @property
    def keeps(self) -> bool:
        """Whether it selects what a rollout trains on (`keep`)."""
        return bool(self.resolved.parts.of(Role.FILTER))

    @property
    def memories(self) -> dict[str, Memory]:
        """What a training loop must keep from rollout to rollout; one that cannot must refuse the objective."""
        return self.resolved.memories

    @property
    def estimates(self) -> bool:
        """Whether it has an advantage; without a policy term it may have none."""
        return bool(self.resolved.parts.of(Role.ADVANTAGE))

    @property
    def inputs(self) -> frozenset[str]:
        """Tensors that the batch must bring, given no advantage: only what the simplified objective reads."""
        return self.reads("loss")

    @property
    def training_inputs(self) -> frozenset[str]:
        """What a training loop must bring: for the loss, and for `keep`, `step` and memories if there are any."""
        return self.reads("loss", "keep", "step", "memory")

    def reads(self, *purposes: str, given: Collection[str] = ()) -> frozenset[str]:
        """Tensors that the batch must bring for `loss`, `advantage`, `keep`, `prompt`, `step`, `memory` or `window`.

        `window` are the statistics of an optimizer step. A purpose that the spec does not define reads the mask alone.
        What the advantage reads counts, unless `advantage` is among what is `given`, whose names are not repeated.
        """
        from maspo_dsl.graph.needs import outputs_of

        here = outputs_of(self.graph, purposes)
        read = set(here.inputs(here.outputs))
        if read & {"advantage", "advantage_rows"} and "advantage" not in given:
            read |= set(self.graph.inputs(["advantage"]))
        return frozenset(read | {"mask"}) - {"advantage", *DERIVED_TENSORS, *given}

    def scopes(self, *purposes: str) -> frozenset[str]:
        """Names of the scopes that `loss`, `advantage`, `keep`, `prompt` or `step` reduces within.

        Those of the loss are not those of the advantage that it reads: `group` is among them only if micro-batches must
        have whole groups, and `micro` if how an optimizer step is cut changes its gradient.
        """
        parts = self.resolved.parts
        return frozenset(scope.name for purpose in purposes for scope in parts.scopes(purpose))

    @property
    def window_reads_policy(self) -> bool:
        """Whether a statistic of the window, the advantage given, reads the policy that is trained.

        Then `loss.window` needs its log-probs (or entropies) of all micro-batches before the first of them is computed.
        """
        return not self.reads("window", given=["advantage"]).isdisjoint(self.resolved.live_tensors)

    @cached_property
    def graph(self) -> Graph:
        """The simplified graph."""
        from maspo_dsl.graph.build import build
        from maspo_dsl.graph.passes import simplify

        return simplify(build(self.resolved.parts))

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What a reader would ask about and the spec does not acknowledge; found when first asked for."""
        return self._lint_result.warnings

    @property
    def acknowledged(self) -> frozenset[str]:
        """Codes of the warnings that would be given but for an `allow`."""
        return self._lint_result.acknowledged

    @cached_property
    def _lint_result(self) -> LintResult:
        from maspo_dsl.analysis.lints import lint

        return lint(self.resolved, self.graph)

    def torch_source(self, *, head: bool = False) -> str:
        """One file that computes it with torch alone; with `head` also from hidden states and a linear head's weight.

        Raises NotInAFileError: what the loss reads cannot be computed from one head.
        """
        from maspo_dsl.emit.standalone import standalone

        return standalone(self.resolved, self.graph, head=head)

    def _repr_latex_(self) -> str:
        """The formula, for a notebook."""
        from maspo_dsl.notation.latex_lines import latex_formula, latex_lines

        return "$$\n" + "\n".join(latex_lines(latex_formula(self.resolved))) + "\n$$"

    def _repr_html_(self) -> str:
        """Formula, parameters and picture, for a notebook; without matplotlib, no picture."""
        from maspo_dsl.pictures.notebook import objective_html

        return objective_html(self, self._repr_latex_())

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:g}" for name, value in self.params.items())
        return f"<Objective {self.name}@{self.hash} {values}>"


def load(
    source: SpecLike, params: Mapping[str, float] | None = None, *, run: Mapping[str, float] | None = None
) -> Objective:
    """The objective of a shipped name, a path, or an open file; `NAME@VARIANT` takes one of its variants.

    `params` sets parameters. `run` gives constants of a run, such as `generation_limit`, to parameters that are
    bound to one and not set. Of an Objective that is loaded again, what was set before stays. Raises SpecError
    with every mistake.
    """
    if isinstance(source, Objective):
        if not params and not run:
            return source
        before = source.resolved.settings
        resolved = resolve(
            source.resolved.source,
            source.folder,
            params={**before.params, **(params or {})},
            run={**before.run, **(run or {})},
            variant=before.variant,
        )
        return Objective(resolved, source.folder)
    if hasattr(source, "read"):
        text = source.read()
        name = str(getattr(source, "name", "<file>"))
        folder = Path(name).parent if Path(name).is_file() else None
        return Objective(resolve(Source(name, text), folder, params=params, run=run), folder)
    spec, variant = split_variant(source)
    found, folder = find_source(spec)
    return Objective(resolve(found, folder, params=params, run=run, variant=variant), folder)


def parse(text: str, name: str = "<string>") -> Objective:
    """The objective that a text defines; `name` is what messages call it."""
    return Objective(resolve(Source(name, text)))
