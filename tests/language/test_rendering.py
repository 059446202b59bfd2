"""How mistakes are shown: the frame, the caret, one line each, records for machines."""

import json
import textwrap

from maspo_dsl.language.diagnostics import Diagnostic
from maspo_dsl.language.parser import parse_objective_partial
from maspo_dsl.language.rendering import render, to_json
from maspo_dsl.language.source import Source, Span


def shown(text: str, **options: bool) -> str:
    _, diagnostics = parse_objective_partial(Source("objectives/x.obj", text))
    return render(diagnostics, **options)


def caret_below(line: str, start: int, end: int) -> tuple[str, str]:
    """The source line and the caret line of a diagnostic about part of a line."""
    source = Source("x.obj", f"first\n{line}\nlast")
    frame = render([Diagnostic("c", "m", Span(source, 6 + start, 6 + end))]).splitlines()
    return frame[3].removeprefix("2 | "), frame[4].removeprefix("  | ")


def test_frame():
    text = "objective x\nlet y = 2 ** 3\n"
    assert shown(text) == textwrap.dedent(
        """\
        error[syntax]: unexpected `**`; expected an expression
         --> objectives/x.obj:2:11
          |
        2 | let y = 2 ** 3
          |           ^^
        help: power is written ^"""
    )


def test_label_severity_and_related_places():
    source = Source("x.obj", "one\n" * 8 + "two\n" + "three\n")
    place, other = Span(source, 36, 41), Span(source, 32, 35)
    warning = Diagnostic("two-ones", "twice", place, "drop one", "again", "warning", ((other, "first here"),))
    assert render([warning]) == textwrap.dedent(
        """\
        warning[two-ones]: twice
          --> x.obj:10:1
           |
        10 | three
           | ^^^^^ again
          ::: x.obj:9:1
           |
         9 | two
           | ^^^ first here
        help: drop one"""
    )


def test_several_are_separated_by_a_blank_line():
    assert shown("objective x\nlet y =\nlet z =\n").count("\n\nerror[syntax]") == 1


def test_the_caret_stands_below_tabs_and_wide_characters():
    assert caret_below("\tab", 1, 2) == ("    ab", "    ^")
    assert caret_below('"日本" b', 5, 6) == ('"日本" b', " " * 7 + "^")
    assert caret_below("e\u0301 b", 3, 4) == ("e\u0301 b", "  ^")


def test_a_place_at_the_end_of_a_line_or_file_has_one_caret():
    assert caret_below("let y =", 7, 7) == ("let y =", "       ^")
    assert shown("objective x\nlet y =").splitlines()[-1] == "  |        ^"


def test_a_span_of_several_lines_is_marked_on_its_first():
    assert caret_below("let y", 4, 30) == ("let y", "    ^")


def test_long_lines_are_cut_around_the_place():
    line, caret = caret_below("a" * 500 + "!" + "b" * 500, 500, 501)
    assert len(line) <= 100
    assert line[caret.index("^")] == "!"
    assert line.startswith("…")
    assert line.endswith("…")
    line, caret = caret_below("a" * 1000, 3, 900)
    assert len(line) <= 100
    assert len(caret) <= 100


def test_a_file_without_text_has_no_lines():
    missing = Diagnostic("missing-file", "there is no file `x.obj`", Span(Source("x.obj", ""), 0, 0))
    assert render([missing]) == "error[missing-file]: there is no file `x.obj`\n --> x.obj"


def test_control_characters_never_reach_the_terminal():
    frame = shown("objective x\nlet y = \x7f\x9b31m\u202e\n")
    assert all(character.isprintable() or character == "\n" for character in frame)


def test_colour_changes_nothing_but_colour():
    text = "objective x\nlet y = f(1,\n  2\nlet z = 3"
    coloured = shown(text, color=True)
    assert "\x1b[" in coloured
    for code in ("1;31", "1;33", "34", "36", "1", "0"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured == shown(text)
    assert "\x1b[" not in shown(text)


def test_records():
    _, diagnostics = parse_objective_partial(Source("x.obj", "objective x\nlet y = 2 ** 3\n"))
    assert json.loads(json.dumps(to_json(diagnostics))) == [
        {
            "file": "x.obj",
            "line": 2,
            "column": 11,
            "end_line": 2,
            "end_column": 13,
            "severity": "error",
            "code": "syntax",
            "message": "unexpected `**`; expected an expression",
            "hint": "power is written ^",
        }
    ]
