"""One file laid over the flat spec of its base: declarations replace, edits edit, from top to bottom."""

from __future__ import annotations

from dataclasses import replace

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.language.hints import joined_statement
from maspo_dsl.language.keywords import CLOSING_WORDS, EDIT_WORDS, SCOPE, TEACHER
from maspo_dsl.language.source import Span
from maspo_dsl.language.template import read_template
from maspo_dsl.semantics import edits
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.elsewhere import meant_statement
from maspo_dsl.semantics.flat import Flat, Parameter
from maspo_dsl.semantics.part_words import NAMED, PART_WORDS, SLOTS
from maspo_dsl.semantics.quantities import (
    DERIVED_TENSORS,
    INPUT_AXES,
    INPUT_KINDS,
    PROMPT_ID,
    QUANTITIES,
    TENSORS,
    teacher,
)
from maspo_dsl.semantics.scopes import KEPT_PER, SCOPES
from maspo_dsl.semantics.types import Axis
from maspo_dsl.semantics.vocabulary import (
    PRIMITIVES,
    RUN_CONSTANTS,
    WARNINGS,
)

# What others call the kinds of inputs.
_KINDS_ELSEWHERE = {
    "int": "integer",
    "whole": "integer",
    "index": "integer",
    "id": "integer",
    "bool": "condition",
}


class Layer:
    """Applies the statements of one file, or of one variant, to a flat spec."""

    def __init__(self, flat: Flat, definitions: dict[str, tree.Def], report: DiagnosticCollector) -> None:
        self.flat = flat
        self.definitions = definitions
        self.report = report
        self.seen: dict[tuple[str, str], Span] = {}

    def apply(self, statements: tuple[tree.Statement, ...]) -> Flat:
        """The flat spec with all statements applied."""
        for statement in statements:
            self._apply(statement)
        self._check_two_meanings()
        self._check_prompt_ids()
        self._check_notations()
        return self.flat

    def _apply(self, statement: tree.Statement) -> None:
        match statement:
            case tree.Param():
                self._param(statement)
            case tree.Let(name=name):
                if self._declare("let", name):
                    self.flat.lets[name.text] = statement
            case tree.Def(name=name):
                if self._declare("def", name) and self._sound(statement):
                    self.flat.defs[name.text] = statement
            case tree.Input():
                self._input(statement)
            case tree.Teacher():
                self._teacher(statement)
            case tree.KeyedScope(name=name):
                if self._declare("scope", name):
                    self.flat.scopes[name.text] = statement
            case tree.Slot():
                self._slot(statement)
            case tree.Part() | tree.Rule():
                self._part(statement)
            case tree.Drop(targets=targets):
                for target in targets:
                    edits.drop(self.flat, target, self.report)
            case tree.Insert():
                edits.insert(self.flat, statement, self.report)
            case tree.Swap():
                edits.swap(self.flat, statement, self.report)
            case tree.Variant(name=name):
                if self._once(("variant", name.text), name.span, f"variant `{name.text}`"):
                    self.flat.variants[name.text] = statement
            case tree.Sweep(name=name):
                if self._once(("sweep", name.text), name.span, f"sweep of `{name.text}`"):
                    self.flat.sweeps[name.text] = statement
            case tree.Allow(code=code):
                self._allow(statement, code)

    # ---- declarations

    def _declare(self, family: str, name: tree.Identifier) -> bool:
        """Whether a name may be declared: once a file, and not a word of the language."""
        if not self._once((family, name.text), name.span, f"`{name.text}`"):
            return False
        if taken := self._reserved(name.text, family):
            self.report.error(
                "shadowed-name", f"`{name.text}` is already {taken}", name.span, "choose another name"
            )
            return False
        self.flat = replace(self.flat, inherited=self.flat.inherited - {(family, name.text)})
        return True

    def _reserved(self, name: str, family: str) -> str:
        """What a word means in every spec, empty if nothing."""
        if name in QUANTITIES:
            return f"a quantity: {QUANTITIES[name].doc}"
        if name in SCOPES:
            return "a scope"
        if name in ("inf", "nan"):
            return "how such a number is written"
        if name in SLOTS and family != "param":
            return "a slot"
        if name in PRIMITIVES and family == "def":
            return f"a primitive: {PRIMITIVES[name]}"
        if name in self.definitions and family == "def":
            return f"a `def` of the library ({self.definitions[name].span.source.name})"
        return ""

    def _check_two_meanings(self) -> None:
        """A name declared here may not mean two of a parameter, a `let`, an input, a teacher and a scope."""
        values = {
            "let": set(self.flat.lets),
            "param": set(self.flat.params),
            "input": set(self.flat.inputs),
            "teacher": set(self.flat.teachers),
            "memory": set(self.flat.memories),
            "scope": set(self.flat.scopes),
        }
        for (family, name), span in self.seen.items():
            if family not in values:
                continue
            for other in values:
                if (
                    other != family
                    and name in values[other]
                    and self.seen.get((other, name), span).start <= span.start
                ):
                    hint = "choose another name"
                    self.report.error(
                        "shadowed-name", f"`{name}` is already the name of a `{other}`", span, hint
                    )

    def _check_prompt_ids(self) -> None:
        """The tensor that tells prompts apart is an input of nobody's own where something is kept for each."""
        declared = self.flat.inputs.get(PROMPT_ID.name)
        ids = {
            tensor for _, kept in self.flat.memories.values() for tensor in KEPT_PER[kept.per.text].tensors
        }
        if declared is not None and PROMPT_ID.name in ids:
            message = f"`{PROMPT_ID.name}` is already a tensor of the batch: {PROMPT_ID.doc}"
            self.report.error("shadowed-name", message, declared.name.span, "choose another name")

    def _once(self, key: tuple[str, str], span: Span, what: str) -> bool:
        if key in self.seen:
            first = ((self.seen[key], "first here"),)
            self.report.error("defined-twice", f"{what} is defined twice in one file", span, related=first)
            return False
        self.seen[key] = span
        return True

    def _param(self, statement: tree.Param) -> None:
        if statement.bind is not None and statement.bind.text not in RUN_CONSTANTS:
            hint = did_you_mean(statement.bind.text, RUN_CONSTANTS)
            self.report.error(
                "unknown-run-constant", f"a run has no `{statement.bind.text}`", statement.bind.span, hint
            )
        for binding in statement.bindings:
            name = binding.name
            if not self._declare("param", name):
                continue
            before = self.flat.params.get(name.text)
            self.flat.params[name.text] = Parameter(
                name,
                binding.value,
                statement.domain or (before.domain if before else None),
                statement.bind,
                statement.doc or (before.doc if before else None),
            )

    def _input(self, statement: tree.Input) -> None:
        axis, kind = statement.axis, statement.kind
        if axis.text not in INPUT_AXES:
            message = f"an input is of axis {' or '.join(INPUT_AXES)}, not `{axis.text}`"
            self.report.error("unknown-axis", message, axis.span, did_you_mean(axis.text, INPUT_AXES))
        elif kind is not None and kind.text not in INPUT_KINDS:
            message = f"an input is {' or '.join(INPUT_KINDS)}, not `{kind.text}`; without such a word a real number"
            hint = did_you_mean(_KINDS_ELSEWHERE.get(kind.text, kind.text), INPUT_KINDS)
            self.report.error("unknown-kind", message, kind.span, hint)
        elif kind is not None and INPUT_KINDS[kind.text].live and INPUT_AXES[axis.text] is Axis.SCALAR:
            message = "a number with gradient would be added once for each micro-batch"
            self.report.error("axis", message, axis.span, "a live input is of axis token or sequence")
        elif self._tensor_is_free(statement.name, statement.name.text) and self._declare(
            "input", statement.name
        ):
            self.flat.inputs[statement.name.text] = statement

    def _teacher(self, statement: tree.Teacher) -> None:
        name = statement.name
        if self._declare("teacher", name) and self._tensor_is_free(name, str(teacher(name.text).tensor)):
            self.flat.teachers[name.text] = statement

    def _tensor_is_free(self, name: tree.Identifier, tensor: str) -> bool:
        """Whether the batch has no other tensor that a declaration would read."""
        own = {str(teacher(other).tensor) for other in self.flat.teachers if other != name.text}
        own |= {other for other in self.flat.inputs if other != name.text}
        if tensor not in {*TENSORS, *DERIVED_TENSORS, *own}:
            return True
        message = f"`{tensor}` is already a tensor of the batch"
        if tensor != name.text:
            message += f", and that of a teacher `{name.text}`"
        self.report.error("shadowed-name", message, name.span, "choose another name")
        return False

    def _sound(self, definition: tree.Def) -> bool:
        """Whether the parameters of a def are distinct and hide no word of the language."""
        seen: set[str] = set()
        for parameter in definition.parameters:
            name = parameter.name
            meaning = "given twice" if name.text in seen else self._reserved(name.text, "parameter")
            if meaning:
                self.report.error(
                    "shadowed-name", f"parameter `{name.text}` is {meaning}", name.span, "choose another name"
                )
                return False
            seen.add(name.text)
        return True

    def _check_notations(self) -> None:
        """What a notation means by `${x before f}` is a `def`."""
        known = {**self.definitions, **self.flat.defs}
        for name, definition in self.flat.defs.items():
            if definition.notation is None or ("def", name) not in self.seen:
                continue
            for place in read_template(definition.notation.value).places():
                if place.before is not None and place.before not in known:
                    self.report.error(
                        "unknown-function",
                        f"`{place.before}`, which this notation names, is no `def`",
                        definition.notation.span,
                        did_you_mean(place.before, known),
                    )

    # ---- slots, parts, rules

    def _slot(self, statement: tree.Slot) -> None:
        word = statement.slot.text
        if word not in SLOTS:
            self._unknown_word(statement.slot, " = …")
        elif self._once(("slot", word), statement.slot.span, f"`{word}`"):
            self.flat = replace(self.flat, inherited=self.flat.inherited - {("slot", word)})
            self.flat.slots[word] = statement

    def _part(self, statement: tree.Part | tree.Rule) -> None:
        word, name = statement.slot.text, statement.name.text
        form = "part" if isinstance(statement, tree.Part) else "rule"
        if word not in NAMED:
            self._unknown_word(statement.slot, " name = …" if form == "part" else " name where …")
        elif NAMED[word].form != form or NAMED[word].kept is not self._is_kept(statement):
            hint = f"write {NAMED[word].written(name)}"
            self.report.error("wrong-form", f"`{word}` is written differently", statement.span, hint)
        elif NAMED[word].kept and not self._may_be_kept(statement):
            return
        elif self._once(("part", f"{word}.{name}"), statement.name.span, f"`{word} {name}`"):
            own = (
                {("part", f"{word}.{name}"), ("memory", name)}
                if NAMED[word].kept
                else {("part", f"{word}.{name}")}
            )
            self.flat = replace(self.flat, inherited=self.flat.inherited - own)
            self.flat.parts[word, name] = statement

    @staticmethod
    def _is_kept(statement: tree.Part | tree.Rule) -> bool:
        return isinstance(statement, tree.Part) and statement.kept is not None

    def _may_be_kept(self, statement: tree.Part | tree.Rule) -> bool:
        """Whether a memory's name can be read, as it is by its batch's tensor too, and whether it is per something."""
        assert isinstance(statement, tree.Part) and statement.kept is not None
        name, per = statement.name, statement.kept.per
        taken = self._reserved(name.text, "memory")
        if not taken and name.text in {*TENSORS, *DERIVED_TENSORS, PROMPT_ID.name}:
            taken = "a tensor of the batch"
        if taken:
            message = f"`{name.text}` is already {taken}"
            self.report.error("shadowed-name", message, name.span, "choose another name")
        elif per.text not in KEPT_PER:
            message = f"a memory is kept per {' or '.join(KEPT_PER)}, not `{per.text}`"
            self.report.error("unknown-axis", message, per.span, did_you_mean(per.text, KEPT_PER))
        else:
            self.seen.setdefault(("memory", name.text), name.span)
            return True
        return False

    def _unknown_word(self, word: tree.Identifier, form: str) -> None:
        declarations = {TEACHER: f'{TEACHER} NAME "meaning"', SCOPE: f"{SCOPE} NAME by KEY, KEY"}
        if word.text in declarations:
            hint = f"write {declarations[word.text]}"
            self.report.error("wrong-form", f"`{word.text}` is written differently", word.span, hint)
            return
        if word.text in PART_WORDS:
            hint = f"write {PART_WORDS[word.text].written()}"
            self.report.error("wrong-form", f"`{word.text}` is written differently", word.span, hint)
            return
        if glued := joined_statement(word.text):
            self.report.error(
                "unknown-statement",
                f"no statement begins with `{word.text}`",
                word.span,
                f"did you mean `{glued}`?",
            )
            return
        hint = meant_statement(word.text) or did_you_mean(
            word.text, [*PART_WORDS, *EDIT_WORDS, *CLOSING_WORDS, TEACHER, SCOPE]
        )
        if form == " = …" and hint.startswith("known:"):
            hint = f"to name a value write: let {word.text} = …"
        self.report.error("unknown-statement", f"no statement begins with `{word.text}`", word.span, hint)

    def _allow(self, statement: tree.Allow, code: tree.Identifier) -> None:
        if code.text not in WARNINGS:
            self.report.error(
                "unknown-warning",
                f"no warning is named `{code.text}`",
                code.span,
                did_you_mean(code.text, WARNINGS),
            )
        elif self._once(("allow", code.text), code.span, f"`allow {code.text}`"):
            self.flat.allows[code.text] = statement
