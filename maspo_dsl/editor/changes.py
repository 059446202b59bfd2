"""Changes of a text: its canonical layout, another name for what it declares, what a hint says to write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from maspo_dsl.editor.document import Declared, Document
from maspo_dsl.editor.tokens import TextNames, Token
from maspo_dsl.editor.words import is_reserved, meaning_of
from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.formatter import format_library, format_objective
from maspo_dsl.language.parser import parse_library, parse_objective
from maspo_dsl.language.source import Source
from maspo_dsl.semantics.shipped import library_definitions

_NAME = re.compile(r"[A-Za-z_]\w*")
_MEANT = re.compile(r"did you mean ((?:`[^`]+`(?: or )?)+)\?")
_WRITE = re.compile(r"^(?:(?:this|power|division|equality|inequality)\b.*?\b)?(?:write|written) (\S+)$")
_QUOTED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Replacement:
    """New text for the characters from `start` up to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Action:
    """A change that mends a finding, by its title."""

    title: str
    finding: Diagnostic
    replacement: Replacement


class CannotRenameError(Exception):
    """Why a name stays what it is, in a sentence."""


def formatted(document: Document) -> str:
    """The text in canonical layout. Raises SpecError with its syntax errors."""
    if document.is_library:
        return format_library(parse_library(document.source))
    return format_objective(parse_objective(document.source))


def actions(document: Document, findings: list[Diagnostic]) -> Iterator[Action]:
    """What hints say to write instead; for a warning, the line that acknowledges it."""
    for finding in findings:
        if finding.span.source.name != document.source.name:
            continue
        for text in _written_instead(finding.hint):
            place = Replacement(finding.span.start, finding.span.end, text)
            yield Action(f"write `{text}`", finding, place)
        if finding.severity == "warning" and finding.code != "unused-allow":
            end = len(document.source.text)
            break_ = "" if document.source.text.endswith("\n") else "\n"
            line = f'{break_}allow {finding.code} "why"\n'
            yield Action(f"acknowledge it: allow {finding.code}", finding, Replacement(end, end, line))


def _written_instead(hint: str) -> list[str]:
    if (meant := _MEANT.search(hint)) is not None:
        return _QUOTED.findall(meant[1])
    if (write := _WRITE.search(hint)) is not None:
        return [write[1].strip("`")]
    return []


def renamed(document: Document, offset: int, new: str) -> list[Replacement]:
    """The changes that give what is named at an offset another name, wherever this text names it.

    Raises CannotRenameError: it is a word of the language or a base's, or the text would mean something else.
    """
    token = document.names.at(offset)
    if token is None or token.role in ("word", "objective"):
        raise CannotRenameError("there is no name here that the spec declares")
    if not _NAME.fullmatch(new) or is_reserved(new):
        raise CannotRenameError(f"`{new}` is no name: letters, digits and _, and no word of the language")
    if new == token.text:
        return []
    chosen = list(_same(document, token))
    if not any(each.declares or each.role == "argument" for each in chosen):
        raise CannotRenameError(_not_here(document, token))
    if any(each.text == new for each in document.names.tokens) or _taken(document, new, token):
        raise CannotRenameError(f"`{new}` is the name of something else")
    changes = [Replacement(each.start, each.end, new) for each in chosen]
    _ask_for_the_same(document, changes)
    return changes


def applied(text: str, changes: list[Replacement]) -> str:
    """The text with changes, which do not overlap."""
    for change in sorted(changes, key=lambda change: change.start, reverse=True):
        text = text[: change.start] + change.text + text[change.end :]
    return text


def _taken(document: Document, new: str, token: Token) -> bool:
    if token.role == "argument":
        return False
    return new in document.declared or new in library_definitions() or any(meaning_of(new))


def _not_here(document: Document, token: Token) -> str:
    found = document.declared.get(token.text)
    if found:
        return f"`{token.text}` is declared in {found[0].span.source.name}: rename it there"
    return f"`{token.text}` is a word of the language or its library"


def _ask_for_the_same(document: Document, changes: list[Replacement]) -> None:
    """Raise CannotRenameError where a text without mistakes would have some."""
    if document.errors:
        return
    after = Document(Source(document.source.name, applied(document.source.text, changes)), document.folder)
    if after.errors:
        raise CannotRenameError(f"the spec would no longer be right: {after.errors[0].message}")


def _same(document: Document, token: Token) -> Iterator[Token]:
    """Every place of a text that means the same by a name."""
    names = document.names
    if token.role == "argument":
        yield from (each for each in names.tokens if _is_argument(each, token))
        return
    sorts = {each.sort for each in document.declared.get(token.text, ())}
    role, as_target = token.role, True
    if role == "target":
        role = _role_of_target(document.declared.get(token.text, []), names, token)
    if role == "value":
        as_target = bool(sorts & {"let", "def", "memory"}) and not _has_part(names, token.text)
    roles = {role, "target"} if as_target and role != "variant" else {role}
    yield from (each for each in names.tokens if each.text == token.text and each.role in roles)


def _role_of_target(declared: list[Declared], names: TextNames, token: Token) -> str:
    roles = [each.role for each in names.tokens if each.text == token.text and each.declares]
    if roles:
        return roles[0]
    if declared:
        return "value" if declared[0].sort == "let" else "part"
    return "stage"


def _has_part(names: TextNames, text: str) -> bool:
    return any(each.role in ("part", "stage") and each.text == text for each in names.tokens)


def _is_argument(each: Token, token: Token) -> bool:
    return each.role == "argument" and (each.text, each.owner) == (token.text, token.owner)
