"""Calls: a def of the spec or of the library inlined, a primitive typed, a reduction given its scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.language.source import Span
from maspo_dsl.semantics import typing_rules as rules
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.context import Context, Elaborate, Members, Names, Value
from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS, DistributionWord
from maspo_dsl.semantics.elsewhere import meant
from maspo_dsl.semantics.operations import FUNCTIONS
from maspo_dsl.semantics.poison import fail, poison, poisoned
from maspo_dsl.semantics.reduction_rules import reduction, scope_is_known
from maspo_dsl.semantics.reductions import OF, REDUCTION_WORDS, REDUCTIONS, Reduction, ReductionArgument
from maspo_dsl.semantics.scopes import GROUP, PROMPT, SCOPES, SEQUENCE
from maspo_dsl.semantics.terms import Term, constant
from maspo_dsl.semantics.types import Axis, Kind
from maspo_dsl.semantics.vocabulary import PRIMITIVES, SPECIAL

MAX_CALL_DEPTH = 50

# Keyword, expression and place of each argument.
Arguments: TypeAlias = list[tuple[str | None, tree.Expression, Span]]


class Calls:
    """Elaborates calls: `elaborate` is asked for arguments and bodies, `read` gets the names of the defs called."""

    def __init__(
        self, names: Names, report: DiagnosticCollector, read: set[str], elaborate: Elaborate
    ) -> None:
        self.names = names
        self.report = report
        self.read = read
        self.elaborate = elaborate

    def call(
        self,
        function: tree.Name,
        piped: Term | None,
        arguments: Arguments,
        span: Span,
        context: Context,
    ) -> Term:
        """The value of a call, or of a stage whose `piped` value comes first."""
        if len(function.path) > 1:
            return dotted(self.report, function)
        name = function.path[0]
        if name in self.names.defs:
            return self._inline(self.names.defs[name], piped, arguments, span, context)
        if name in DISTRIBUTION_WORDS:
            return self._distribution(DISTRIBUTION_WORDS[name], piped, arguments, span, context)
        if name in PRIMITIVES:
            return self._primitive(name, function.span, piped, arguments, span, context)
        known = [*self.names.defs, *PRIMITIVES]
        if name in self.names.lets or name in self.names.params or name in self.names.quantities:
            return self._fail("not-a-function", f"`{name}` is a value, not a function", function.span)
        what = "stage" if piped is not None else "function"
        return self._fail(
            "unknown-function", f"no {what} is named `{name}`", function.span, meant(name, known)
        )

    def _value(self, node: tree.Expression, context: Context) -> Value:
        if isinstance(node, tree.Name) and len(node.path) == 1:
            local = context.locals.get(node.path[0])
            if isinstance(local, Members):
                return local
            if node.path[0] in self.names.scopes:
                return self._declared(node.path[0])
            if node.path[0] in SCOPES:
                scope = SCOPES[node.path[0]]
                # A prompt may have several groups in a rollout, and has one value.
                return Members(PROMPT if scope is GROUP and context.kept is PROMPT else scope)
        return self.elaborate(node, context)

    def _declared(self, name: str) -> Value:
        """A scope of the spec, which reads its keys."""
        found = self.names.scopes[name]
        if isinstance(found, Members):
            self.read.update((name, *found.scope.own))
        return found

    def _inline(
        self, definition: tree.Def, piped: Term | None, arguments: Arguments, span: Span, context: Context
    ) -> Term:
        """The body of a def with its arguments in place."""
        name = definition.name.text
        if name in context.calls or len(context.calls) > MAX_CALL_DEPTH:
            chain = " → ".join([*context.calls, name])
            return self._fail("recursive-def", f"`{name}` calls itself: {chain}", definition.name.span)
        self.read.add(name)
        site = context.site or span
        outer = replace(context, locals={}, it=None, calls=(*context.calls, name), site=site)
        bound = self._bind(definition, piped, arguments, span, context, outer)
        if bound is None or any(isinstance(v, Term) and poisoned(v) for v in bound.values()):
            return poison(span)
        before = len(self.report.diagnostics)
        result = self.elaborate(definition.body, replace(outer, locals=bound))
        for given in bound.values():
            if isinstance(given, Members) and given not in context.locals.values():
                result = self._where_there_are_members(result, given, bound, span)
        self._blame_the_call(before, definition, span, site)
        if result.op in ("input", "param", "const"):
            return result
        return replace(result, span=span, label=result.label or name)

    def _where_there_are_members(
        self, result: Term, members: Members, bound: Mapping[str, Value], span: Span
    ) -> Term:
        """What a def gives each value of a scope, and 0 where none of them is a member; a statistic is 0 by itself."""
        x = next((value for value in bound.values() if isinstance(value, Term)), None)
        if members.of is None or x is None or poisoned(result) or result.kind is Kind.BOOL:
            return result
        if result.axis <= members.scope.axis or x.axis <= members.scope.axis:
            return result
        count = reduction(self.report, REDUCTIONS["count"], x, {}, members, span, "count")
        some = rules.compare(self.report, ">", count, constant(0.0, span), span)
        return rules.choose(self.report, some, result, constant(0.0, span), span)

    def _bind(
        self,
        definition: tree.Def,
        piped: Term | None,
        arguments: Arguments,
        span: Span,
        context: Context,
        outer: Context,
    ) -> dict[str, Value] | None:
        """Each parameter with its value; None after a mistake. Defaults are of the def's own place, `outer`."""
        name, parameters = definition.name.text, [p.name.text for p in definition.parameters]
        positional: list[Value] = [] if piped is None else [piped]
        bound: dict[str, Value] = {}
        mistakes = len(self.report.diagnostics)
        for keyword, node, place in arguments:
            value = self._value(node, context)
            if keyword is None:
                positional.append(value)
            elif keyword not in (*parameters, OF.name):
                message = f"`{name}` has no argument `{keyword}`"
                self._fail("unknown-argument", message, place, did_you_mean(keyword, parameters))
            elif keyword in bound:
                self._fail("repeated-argument", f"`{keyword}` is given twice", place)
            else:
                bound[keyword] = value
        if len(positional) > len(parameters):
            message = f"`{name}` takes {len(parameters)} arguments, not {len(positional)}"
            self._fail("too-many-arguments", message, span, signature(definition))
            return None
        for parameter, value in zip(parameters, positional, strict=False):
            if parameter in bound:
                message = f"`{parameter}` is given twice"
                self._fail("repeated-argument", message, span, signature(definition))
            bound[parameter] = value
        if len(self.report.diagnostics) > mistakes:
            return None
        if OF.name in bound and OF.name not in parameters:
            bound = self._with_members(name, bound, span)
        return self._with_defaults(definition, bound, span, outer)

    def _with_members(self, name: str, bound: Mapping[str, Value], span: Span) -> dict[str, Value]:
        """The values of the parameters of a def that has no `of`: its scopes are of those where `of` holds."""
        result = {parameter: value for parameter, value in bound.items() if parameter != OF.name}
        of = bound[OF.name]
        scopes = {parameter: value for parameter, value in result.items() if isinstance(value, Members)}
        if not scopes or isinstance(of, Members):
            message = f"`{OF.name}` is a condition of the values within a scope; `{name}` is given "
            message += "a scope for it" if scopes else "no scope"
            self._fail("unknown-argument", message, span)
            return {**result, OF.name: poison(span)}
        for parameter, members in scopes.items():
            result[parameter] = self._restricted(members, of, span)
        return result if not poisoned(of) else {**result, OF.name: of}

    def _restricted(self, members: Members, of: Term, span: Span) -> Members:
        """The members for which a condition holds, too."""
        if members.of is not None:
            of = rules.logical(self.report, "and", [members.of, of], span)
        return Members(members.scope, of)

    def _with_defaults(
        self, definition: tree.Def, bound: dict[str, Value], span: Span, outer: Context
    ) -> dict[str, Value] | None:
        for declared in definition.parameters:
            if declared.name.text in bound:
                continue
            if declared.default is None:
                message = f"`{definition.name.text}` needs `{declared.name.text}`"
                self._fail("missing-argument", message, span, signature(definition))
                return None
            bound[declared.name.text] = self._value(declared.default, outer)
        return bound

    def _blame_the_call(self, before: int, definition: tree.Def, span: Span, site: Span) -> None:
        """A type error inside a library def is the caller's: show the call first, the library line second.

        The library itself is right, so whatever fails in it comes from the one call.
        """
        own = span.source
        if definition.span.source is not own:
            del self.report.diagnostics[before + 1 :]
        for index in range(before, len(self.report.diagnostics)):
            found = self.report.diagnostics[index]
            if found.span.source not in (own, site.source):
                inside = (found.span, f"inside `{definition.name.text}`")
                related = found.related or (inside,)
                self.report.diagnostics[index] = replace(found, span=span, related=related)

    def _primitive(
        self,
        name: str,
        place: Span,
        piped: Term | None,
        arguments: Arguments,
        span: Span,
        context: Context,
    ) -> Term:
        row = REDUCTION_WORDS.get(name)
        by_keyword = {} if row is None else {a.name: a for a in row.given if a.default is not None}
        positional: list[Value] = [] if piped is None else [piped]
        keywords: dict[str, Term] = {}
        for keyword, node, where in arguments:
            if keyword is None:
                positional.append(self._value(node, context))
            elif keyword in by_keyword:
                keywords[keyword] = self._keyword(by_keyword[keyword], node, context)
            else:
                return self._fail("unknown-argument", f"`{name}` has no argument `{keyword}`", where)
        if any(isinstance(v, Term) and poisoned(v) for v in [*positional, *keywords.values()]):
            return poison(span)
        values = [value for value in positional if isinstance(value, Term)]
        scopes = [value for value in positional if isinstance(value, Members)]
        if name == "is_member":
            return self._is_member(positional, span)
        if row is not None and not row.along and (scopes or name not in FUNCTIONS):
            return self._reduction(row, values, scopes, keywords, span, context)
        if scopes:
            return self._fail("scope-as-value", f"`{name}` takes values, not a scope", span)
        if keywords:
            message = f"`{OF.name}` is a condition of the values within a scope; `{name}` is given no scope"
            return self._fail("unknown-argument", message, span)
        wanted = FUNCTIONS[name].arity if name in FUNCTIONS else 1 + (len(row.given) if row else 0)
        if len(values) != wanted:
            message = f"`{name}` takes {wanted} argument{'s' * (wanted > 1)}, not {len(values)}"
            return self._fail("wrong-arguments", message, span)
        if row is not None and row.along:
            given = dict(zip((argument.name for argument in row.given), values[1:], strict=True))
            site = context.site or span
            return reduction(self.report, row, values[0], given, Members(SEQUENCE), site, name)
        if name in SPECIAL:
            return rules.special(self.report, name, values[0], span)
        result = rules.arithmetic(self.report, name, values, span)
        return result if context.site is None else replace(result, span=context.site)

    def _is_member(self, given: list[Value], span: Span) -> Term:
        """The condition under which a value takes part in what is reduced within a scope."""
        if len(given) != 1 or not isinstance(given[0], Members):
            hint = f"write is_member(scope); scopes: {', '.join(SCOPES)}"
            return self._fail("missing-scope", "`is_member` needs to know within what", span, hint)
        always = Term("const", (), Axis.SCALAR, Kind.BOOL, False, span, (("value", True),))
        return given[0].of or always

    def _distribution(
        self, row: DistributionWord, piped: Term | None, arguments: Arguments, span: Span, context: Context
    ) -> Term:
        """A function of whole distributions: its policies, and a weight after them or by its name."""
        values = [] if piped is None else [piped]
        weight: Term | None = None
        for keyword, node, where in arguments:
            if keyword not in (None, "weight") or (keyword is not None and not row.weighted):
                return self._fail("unknown-argument", f"`{row.word}` has no argument `{keyword}`", where)
            value = self.elaborate(node, context)
            if keyword is None:
                values.append(value)
            else:
                weight = value
        if row.weighted and weight is None and len(values) > row.policies:
            weight = values.pop()
        if any(poisoned(value) for value in (*values, *([] if weight is None else [weight]))):
            return poison(span)
        if len(values) != row.policies:
            wanted = f"{row.policies} polic{'y' if row.policies == 1 else 'ies'}"
            message = f"`{row.word}` is of {wanted}; {len(values)} value{'s are' if len(values) != 1 else ' is'} given"
            return self._fail("wrong-arguments", message, span, f"write {row.form}")
        found = rules.distribution(self.report, row, values, weight, context.site or span)
        if not poisoned(found) and str(found.attribute("name")) in self.names.inputs:
            message = f"the tensor of `{row.word}`, `{found.label}`, is an `input` of this spec"
            return self._fail("shadowed-name", message, span, "give the input another name")
        return found

    def _keyword(self, argument: ReductionArgument, node: tree.Expression, context: Context) -> Term:
        """What is given for an argument by its name: a number with a default may be infinite."""
        if argument.sort == "number":
            match node:
                case tree.Name(path=("inf",)):
                    return constant(float("inf"), node.span)
                case tree.Negate(operand=tree.Name(path=("inf",))):
                    return constant(float("-inf"), node.span)
        return self.elaborate(node, context)

    def _reduction(
        self,
        row: Reduction,
        values: list[Term],
        scopes: list[Members],
        keywords: dict[str, Term],
        span: Span,
        context: Context,
    ) -> Term:
        span = context.site or span
        written = context.calls[0] if context.calls else row.word
        positional = [argument.name for argument in row.given if argument.default is None]
        if len(scopes) != 1 or len(values) != 1 + len(positional):
            stray = next((value for value in values[1:] if value.label), None) if not scopes else None
            message = f"`{written}` needs to know within what"
            form = row.form if written == row.word else f"{written}(x, scope)"
            hint = f"write {form}; scopes: {', '.join((*SCOPES, *self.names.scopes))}"
            if stray is not None:
                message = f"{message}; `{stray.label}` is no scope"
                if ("declared", True) in stray.attributes:
                    hint = f"declare one: scope NAME by sequence, {stray.label}"
            return self._fail("missing-scope", message, span, hint)
        members = scopes[0]
        if not scope_is_known(self.report, row, members.scope, context.slot, span):
            return poison(span)
        if (of := keywords.pop(OF.name, None)) is not None:
            for argument in row.given:
                if argument.with_of and argument.name not in keywords:
                    message = f"nothing may satisfy `{OF.name}`: say what the {row.word} is then"
                    return self._fail("missing-argument", message, span, f"add {argument.name} = …")
            members = self._restricted(members, of, span)
            if members.of is not None and poisoned(members.of):
                return poison(span)
        given = {**dict(zip(positional, values[1:], strict=True)), **keywords}
        return reduction(self.report, row, values[0], given, members, span, written)

    def _fail(self, code: str, message: str, span: Span, hint: str = "") -> Term:
        return fail(self.report, code, message, span, hint)


def dotted(report: DiagnosticCollector, node: tree.Name) -> Term:
    """The mistake of a name with dots, which is no value."""
    head, last = node.path[0], node.path[-1]
    hint = (
        f"the language has no methods: write {last}({head})"
        if last in PRIMITIVES
        else "names in expressions have no dots"
    )
    return fail(report, "no-methods", f"`{node.text}` is not a value", node.span, hint)


def signature(definition: tree.Def) -> str:
    """How a def is called."""
    from maspo_dsl.language.formatter import format_expression

    parts = [
        p.name.text if p.default is None else f"{p.name.text} = {format_expression(p.default)}"
        for p in definition.parameters
    ]
    return f"it is called {definition.name.text}({', '.join(parts)})"
