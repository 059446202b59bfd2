"""Trees to canonical text: idempotent, and reading it gives the same tree with the same comments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from maspo_dsl.language.alignment import WIDTH, Cell, Row, aligned
from maspo_dsl.language.comments import stages_of
from maspo_dsl.language.expression_text import (
    format_arithmetic,
    format_domain,
    format_expression,
    format_stage,
    format_stages,
    quoted,
)
from maspo_dsl.language.printing import Precedence
from maspo_dsl.language.tree import (
    NO_COMMENTS,
    Allow,
    Comments,
    Def,
    Drop,
    Expression,
    Header,
    Input,
    Insert,
    Kept,
    KeyedScope,
    Let,
    LibraryTree,
    ObjectiveTree,
    Param,
    Part,
    Pipe,
    Rule,
    Slot,
    Stage,
    Statement,
    Swap,
    Sweep,
    Teacher,
    Variant,
)

__all__ = ["format_expression", "format_library", "format_objective", "format_statement"]

_STAGE_INDENT = "  "
_BLOCK_INDENT = "    "


def format_objective(tree: ObjectiveTree) -> str:
    """The text of an objective file."""
    lines = [*_commented(_header_lines(tree.header), tree.header.comments)]
    lines += _block(tree.statements, "", WIDTH)
    lines += _comment_lines(tree.closing.above)
    return _file(lines)


def format_library(tree: LibraryTree) -> str:
    """The text of a library file."""
    lines: list[str] = [quoted(tree.doc)] if tree.doc is not None else []
    lines += _block(tree.definitions, "", WIDTH)
    lines += _comment_lines(tree.closing.above)
    return _file(lines)


def format_statement(statement: Statement) -> str:
    """One statement with its comments, outside of any table; several lines if it needs them."""
    return "\n".join(_block([statement], "", WIDTH))


def _file(lines: Iterable[str]) -> str:
    """Lines without blank ones at either end or twice in a row."""
    kept: list[str] = []
    for line in _without_outer_blanks(list(lines)):
        if line or kept[-1]:
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def _without_outer_blanks(lines: list[str]) -> list[str]:
    written = [index for index, line in enumerate(lines) if line]
    return lines[written[0] : written[-1] + 1] if written else []


def _header_lines(header: Header) -> list[str]:
    first = f"objective {header.name.text}"
    if header.extends is not None:
        first += f" extends {header.extends.text}"
    doc = [quoted(header.doc)] if header.doc is not None else []
    notes = [("source", text) for text in header.sources] + [("differs", text) for text in header.differs]
    width = max((len(word) for word, _ in notes), default=0)
    return [first, *doc, *(f"{word:<{width}} {quoted(text)}" for word, text in notes)]


def _commented(lines: Sequence[str], comments: Comments) -> list[str]:
    beside = [f"{lines[-1]}{_beside(comments.beside)}"]
    return [*_comment_lines(comments.above), *lines[:-1], *beside]


def _comment_lines(above: Iterable[str | None]) -> list[str]:
    return ["" if text is None else _comment(text) for text in above]


def _comment(text: str) -> str:
    return f"#{text}" if text[:1] in ("", "#", "!") else f"# {text}"


def _beside(text: str | None) -> str:
    return "" if text is None else f"  {_comment(text)}"


def _block(statements: Sequence[Statement], indent: str, width: int) -> list[str]:
    """The lines of statements that follow each other."""
    lines: list[str] = []
    for row in aligned([_row(statement, width) for statement in statements]):
        written = [row.line, *row.below]
        written[-1] += _beside(row.beside)
        lines += [indent + line if line else "" for line in [*_comment_lines(row.above), *written]]
    return lines


def _row(statement: Statement, width: int) -> Row:
    """A statement in cells; broken before every stage if its pipe is too long or has comments."""
    above, beside = statement.comments.above, statement.comments.beside
    if isinstance(statement, Variant):
        return _variant_row(statement, width)
    kind, cells = _cells(statement)
    stages = stages_of(statement)
    commented = any(stage.comments != NO_COMMENTS for stage in stages)
    row = Row(kind, cells, _text(statement), _below(statement), above, beside)
    if stages and (commented or len(row.line) > width):
        line, *below = _broken(statement, stages)
        return Row(None, (Cell(line),), "", (*below, *_below(statement)), above, beside)
    return row


def _text(statement: Statement) -> str:
    """The text that ends a statement, for people."""
    said = statement.kept if isinstance(statement, Part) else statement
    doc = said.doc if isinstance(said, Param | Def | Input | Teacher | KeyedScope | Kept) else None
    return "" if doc is None else quoted(doc)


def _below(statement: Statement) -> tuple[str, ...]:
    """What goes on below a statement: how a `def` is written in a formula."""
    notation = statement.notation if isinstance(statement, Def) else None
    return (f"{_STAGE_INDENT}notation {quoted(notation.value)}",) if notation is not None else ()


def _cells(statement: Statement) -> tuple[str | None, tuple[Cell, ...]]:
    """The table a statement belongs to, and its cells."""
    match statement:
        case Param():
            return "param", _param_cells(statement)
        case Let(name=name, value=value, neutral=neutral):
            end = f"neutral {format_expression(neutral)}" if neutral is not None else ""
            return "let", (Cell(f"let {name.text}"), Cell(f"= {format_expression(value)}"), Cell(end, 2))
        case Def(body=body):
            return "def", (Cell(_signature(statement)), Cell(f"= {format_expression(body)}"))
        case Input(name=name, axis=axis, kind=kind, domain=domain):
            words = axis.text if kind is None else f"{axis.text} {kind.text}"
            limits = f"in {format_domain(domain)}" if domain is not None else ""
            return "input", (Cell(f"input {name.text}"), Cell(f": {words}"), Cell(limits))
        case Teacher(name=name):
            return "teacher", (Cell(f"teacher {name.text}"),)
        case KeyedScope(name=name, keys=keys):
            listed = ", ".join(key.text for key in keys)
            return "scope", (Cell(f"scope {name.text}"), Cell(f"by {listed}"))
        case Slot(slot=slot, value=value):
            return "slot", (Cell(slot.text), Cell(f"= {format_expression(value)}"))
        case Part(slot=slot, name=name, value=value, kept=kept):
            cells = (Cell(f"{slot.text} {name.text}"), Cell(f"= {format_expression(value)}"))
            return "slot", cells if kept is None else (*cells, Cell(_kept(kept), 2))
        case Sweep(name=name, values=values):
            listed = ", ".join(map(format_arithmetic, values))
            return "sweep", (Cell(f"sweep {name.text}"), Cell(f"= {listed}"))
    return None, (Cell(_plain(statement)),)


def _plain(statement: Statement) -> str:
    """Statements that stand in no table."""
    match statement:
        case Rule(slot=slot, name=name, condition=condition):
            return f"{slot.text} {name.text} where {format_expression(condition)}"
        case Drop(targets=targets):
            return f"drop {', '.join(target.text for target in targets)}"
        case Insert(side=side, target=target, stages=stages):
            return f"{side} {target.text}{format_stages(stages)}"
        case Swap(target=target, stages=stages):
            return f"swap {target.text}{format_stages(stages)}"
        case Allow(code=code, why=why):
            return f"allow {code.text} {quoted(why)}"
    raise TypeError(f"{type(statement).__name__} is no statement of one line")


def _param_cells(param: Param) -> tuple[Cell, ...]:
    cells = []
    for index, binding in enumerate(param.bindings):
        comma = "," if index + 1 < len(param.bindings) else ""
        cells.append(Cell(binding.name.text if index else f"param {binding.name.text}"))
        cells.append(Cell(f"= {format_arithmetic(binding.value)}{comma}"))
    domain = f"in {format_domain(param.domain)}" if param.domain is not None else ""
    bind = f"bind {param.bind.text}" if param.bind is not None else ""
    return (*cells, Cell(domain), Cell(bind))


def _signature(definition: Def) -> str:
    parameters = (
        p.name.text if p.default is None else f"{p.name.text} = {format_arithmetic(p.default)}"
        for p in definition.parameters
    )
    return f"def {definition.name.text}({', '.join(parameters)})"


def _kept(kept: Kept) -> str:
    """What ends a memory."""
    return f"start {format_arithmetic(kept.start)} per {kept.per.text}"


def _broken(statement: Statement, stages: Sequence[Stage]) -> list[str]:
    """The head on a line, then every stage on its own, then what ends the statement."""
    before, after = _around_stages(statement)
    lines = [before]
    for index, stage in enumerate(stages):
        lines += [_STAGE_INDENT + _comment(text) for text in stage.comments.above if text is not None]
        end = after if index + 1 == len(stages) else ""
        lines.append(f"{_STAGE_INDENT}|> {format_stage(stage)}{end}{_beside(stage.comments.beside)}")
    return lines


def _around_stages(statement: Statement) -> tuple[str, str]:
    def head(value: Expression) -> str:
        return format_expression(value.head if isinstance(value, Pipe) else value, Precedence.SUM)

    match statement:
        case Insert(side=side, target=target):
            return f"{side} {target.text}", ""
        case Swap(target=target):
            return f"swap {target.text}", ""
        case Slot(slot=slot, value=value):
            return f"{slot.text} = {head(value)}", ""
        case Part(slot=slot, name=name, value=value, kept=kept):
            text = _text(statement)
            end = f" {_kept(kept)}" if kept is not None else ""
            return f"{slot.text} {name.text} = {head(value)}", f"{end}  {text}" if text else end
        case Let(name=name, value=value, neutral=neutral):
            return (
                f"let {name.text} = {head(value)}",
                f" neutral {format_expression(neutral)}" if neutral else "",
            )
        case Def(body=body):
            text = _text(statement)
            return f"{_signature(statement)} = {head(body)}", f"  {text}" if text else ""
    raise TypeError(f"{type(statement).__name__} has no stages")


def _variant_row(variant: Variant, width: int) -> Row:
    """On one line if it has at most one edit and no comment inside."""
    above, beside = variant.comments.above, variant.comments.beside
    opening = f"variant {variant.name.text}"
    inside = _block(variant.edits, "", width - len(_BLOCK_INDENT))
    inside += _comment_lines(variant.closing.above)
    inside = _without_outer_blanks(inside)
    notes = [*variant.closing.above, *(edit.comments.beside for edit in variant.edits)]
    quiet = all(note is None for note in notes)
    if quiet and len(inside) <= 1 and len(variant.edits) <= 1:
        body = f"{{ {inside[0]} }}" if inside else "{}"
        if len(opening) + len(body) < width:
            return Row("variant", (Cell(opening), Cell(body)), "", (), above, beside)
    indented = [_BLOCK_INDENT + line if line else "" for line in inside]
    return Row(None, (Cell(opening + " {"),), "", (*indented, "}"), above, beside)
