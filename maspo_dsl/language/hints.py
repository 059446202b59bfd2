"""What to write instead: hints keyed on the offending text, for habits from Python, C and word processors."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from maspo_dsl.language.diagnostics import nearest
from maspo_dsl.language.keywords import STATEMENT_WORDS


@dataclass(frozen=True)
class ErrorSite:
    """Where the parser stopped: the line before and from that place, and the terminals that may follow."""

    before: str
    here: str
    accepts: frozenset[str]


@dataclass(frozen=True)
class Hint:
    """A hint, and how many characters before and from the place it is about."""

    text: str
    back: int = 0
    length: int = 0


@dataclass(frozen=True)
class _Habit:
    """`here` matches the text from the place, `before` the text up to it, `accepts` are terminals that fit.

    The part of `before` in a group belongs to the offending text. In `text`, `{0}` is what `here` matched,
    `{1}` what the group did, `{2}` both without underscores. Patterns are compiled when a file has a mistake.
    """

    here: str
    text: str
    before: str | None = None
    accepts: frozenset[str] = frozenset()
    refuses: frozenset[str] = frozenset()

    def at(self, place: ErrorSite) -> Hint | None:
        """The hint, if the habit shows here."""
        here = re.match(self.here, place.here)
        before = re.search(self.before, place.before) if self.before is not None else None
        if here is None or (self.before is not None and before is None):
            return None
        if not self.accepts <= place.accepts or self.refuses & place.accepts:
            return None
        wide = before.group(1) if before is not None and before.re.groups else ""
        return Hint(
            self.text.format(here.group(), wide, (wide + here.group()).replace("_", "")),
            len(wide),
            len(here.group()),
        )


def _habit(
    here: str,
    text: str,
    *,
    before: str | None = None,
    accepts: Collection[str] = (),
    refuses: Collection[str] = (),
) -> _Habit:
    pattern = before + r"\Z" if before is not None else None
    return _Habit(here, text, pattern, frozenset(accepts), frozenset(refuses))


_NOTES = "`source` and `differs` lines stand directly under the name and text of the objective"
_BRACKET_THE_HEAD = "put brackets around what is piped: (…) |> stage"
_CONDITION = r"(?:[<>]|==|!=|\belse\b|\band\b|\bor\b|\bnot\b).*"
_DECLARES = r"(?:objective|extends|variant|param|let)\b.*\w"
_CHOICE = "a choice is written: x if condition else y"

_HABITS = (
    # numbers
    _habit(r"_[\d_]+", "write {2}", before=r"\b(\d[\d_]*)"),
    _habit(r"\.\d+", "write 0{0}", accepts={"NUMBER"}),
    _habit(r"\.(?!\.)", "write {1}.0", before=r"(?<![\w.])(\d+)"),
    _habit(r"[A-Za-z]\w*", "a product is written: {1} * {0}", before=r"(?<![\w.])([\d.]+)"),
    _habit(r"\d", "a decimal point is written .", before=r"\d,"),
    _habit(r"\d+", "a name starts with a letter", accepts={"NAME"}, refuses={"NUMBER"}),
    # operators of other languages
    _habit(r"\*", "power is written ^", before=r"(\*)"),
    _habit(r"/", "division is written /; a comment starts with #", before=r"(/)"),
    _habit(r"&&?", "write `and`"),
    _habit(r"\|\|", "write `or`"),
    _habit(r"\|[ \t]+>", "the pipe is written |> without a space"),
    _habit(r"\|(?!>)", "a pipe is written |>, a choice of conditions `or`"),
    _habit(r"!", "write `not`"),
    _habit(r">", "inequality is written !=", before=r"(<)"),
    _habit(r"[>=]", "write {0}{1}", before=r"([=])", accepts={"NUMBER"}),
    _habit(r"=", "equality is written ==", accepts={"COMPARISON"}),
    _habit(r":=?", "write =", accepts={"EQUAL"}),
    _habit(r"\?", _CHOICE),
    _habit(r"%", "there is no remainder; write a percentage as a fraction"),
    _habit(r";", "one statement a line"),
    _habit(r"'", 'texts stand in double quotes: "…"'),
    # typography
    _habit(r"[\u2212\u2010-\u2015]", "this is a typographic minus; write -"),
    _habit(r"[\u201c-\u201f\u00ab\u00bb]", 'this is a typographic quotation mark; write "'),
    _habit(r"[\u2018-\u201b]", 'texts stand in double quotes: "…"'),
    _habit(r"[×·⋅∙]", "write *"),
    _habit(r"÷", "write /"),
    _habit(r"≤", "write <="),
    _habit(r"≥", "write >="),
    _habit(r"≠", "write !="),
    _habit(r"∞", "write inf"),
    _habit(r"…", "a range is written .."),
    _habit(r"[²³]", "power is written ^"),
    _habit(r"(?![A-Za-z0-9_])\w", "names are written in plain Latin letters: alpha, beta"),
    _habit(
        r"[\u00a0\u2000-\u200f\u202f\u2060\u3000\ufeff]",
        "an invisible character stands here; type a plain space",
    ),
    # words
    _habit(r"(when|if)\b", "a rule is written with `where`", accepts={"WHERE", "EQUAL"}),
    _habit(r"otherwise\b", "write `neutral`", accepts={"NEUTRAL"}),
    _habit(r"default\b", "write `neutral`", accepts={"NEUTRAL"}),
    _habit(r"\w", _CHOICE, before=r"\bif[ \t]+"),
    _habit(r"(then|elif|if|else)\b", _CHOICE),
    _habit(r"when\b", "a bracket is still open; `when` stands behind it", accepts={"RPAR"}),
    _habit(r"when\b", "`when` guards a stage: x |> stage when condition"),
    _habit(r"", "one objective a file", before=r"^[ \t]*objective\b.*", accepts={"EQUAL", "WHERE"}),
    _habit(r"", _NOTES, before=r"^[ \t]*(?:source|differs)[ \t]*", accepts={"EQUAL"}),
    _habit(r"(source|differs)\b", _NOTES),
    _habit(r"=", "its text follows without =", before=r"^[ \t]*(?:source|differs)[ \t]*"),
    _habit(r'"', "the meaning is one text, directly under the name", before=r"^[ \t]*", accepts={"PARAM"}),
    _habit(r"extends\b", "a base stands on the first line: objective NAME extends BASE"),
    _habit(r"", "an edit is written: before NAME |> stage", before=r"^[ \t]*insert\b.*"),
    _habit(r"", "write `drop`", before=r"^[ \t]*(?:remove|delete|without|del)[ \t]+\w+"),
    _habit(r"for\b", "a part is swapped with: swap NAME |> stage", before=r"^[ \t]*swap\b.*"),
    _habit(r"(insert|remove|delete)\b", "edits are: before, after, swap, drop"),
    _habit(r"[\w(]", "an operator or `,` is missing", before=r"[\w)][ \t]+", accepts={"TIMES", "COMMA"}),
    _habit(r"[\w(]", "an operator is missing", before=r"[\w)][ \t]+", accepts={"TIMES"}),
    _habit(r"[A-Za-z_]", "a `,` is missing", before=r"\w[ \t]+", accepts={"COMMA"}),
    _habit(r"\(", "an operator is missing", before=r"[\d)]", accepts={"TIMES"}),
    # form
    _habit(
        r"", "a variant holds edits alone", before=r"^[ \t]*(?:sweep|variant|allow)\b.*", accepts={"RBRACE"}
    ),
    _habit(r"\|>", _BRACKET_THE_HEAD, refuses={"NUMBER"}, before=_CONDITION),
    _habit(r"-", "a name has letters, digits and _", refuses={"NUMBER", "SIGN"}, before=_DECLARES),
    _habit(
        r",",
        "a domain holds for all values of its line: another `param` line for another domain",
        before=r"^[ \t]*param\b.*\bin[ \t].*[\])}][ \t]*",
        refuses={"NUMBER", "RPAR"},
    ),
    _habit(r",", "one `let` a line", before=r"^[ \t]*let\b.*", refuses={"NUMBER", "RPAR"}),
    _habit(r"$", "a sweep has two values or more", before=r"^[ \t]*sweep\b[^,]*"),
    _habit(r"[\[{]", "expressions are grouped with ( )", accepts={"NUMBER"}),
    _habit(r'"', "the text stands on a line of its own", accepts={"EXTENDS"}),
    _habit(
        r'"[^"]*"',
        "the meaning of a `def` stands before its notation",
        before=r'\bnotation[ \t]*"[^"]*"[ \t]*',
    ),
    _habit(r"\w", "a code is written in small letters with hyphens: live-gate", accepts={"CODE"}),
    _habit(r"[)\]}]", "no bracket is open here", refuses={"RPAR", "RSQB", "RBRACE", "NUMBER"}),
)


def find_hint(place: ErrorSite) -> Hint | None:
    """What to say about this place, if the mistake is a known one."""
    word = place.before.strip()
    meant = (_misspelt_note(word) if place.here.startswith('"') else None) or joined_statement(word)
    if meant is not None:
        return Hint(f"did you mean `{meant}`?")
    found = (habit.at(place) for habit in _HABITS)
    return next((hint for hint in found if hint is not None), None)


def joined_statement(word: str) -> str | None:
    """`drop kl` for `dropkl`: a statement's word that has run into the next."""
    if not word.isidentifier():
        return None
    start = next((w for w in STATEMENT_WORDS if word.startswith(w) and len(word) > len(w)), None)
    return f"{start} {word[len(start) :].lstrip('_')}" if start is not None else None


def _misspelt_note(word: str) -> str | None:
    """`differs` for `differ`, in front of a text."""
    return misspelt_statement(word) if word.isidentifier() and word not in STATEMENT_WORDS else None


def misspelt_statement(word: str) -> str | None:
    """`let` for `lets`. Closer than a name needs to be: the word may be that of a part, whose own hint is better."""
    return nearest(word, STATEMENT_WORDS, closeness=0.8)
