"""docs/full.md has a row for each step of `make full`, and keeps those that are not run anew."""

import pytest

from . import full


def test_every_step_has_a_row():
    page = full.PAGE.read_text()
    assert full.written(page, {}) == page, (
        "python -c 'from tests.full import *; PAGE.write_text(written(PAGE.read_text(), {}))'"
    )


def test_a_row_is_of_the_step_that_ran(tmp_path, monkeypatch):
    monkeypatch.setattr(full, "PAGE", tmp_path / "full.md")
    # The tests may run in a copy of the tracked files, which is no repository.
    monkeypatch.setattr(full, "commit", lambda: "1234567")
    steps = (
        full.Step("good", 1, ("true",), "this"),
        full.Step("bad", 1, ("false",), "that"),
        full.Step("other", 1, ("false",), "more"),
    )
    monkeypatch.setattr(full, "STEPS", steps)
    full.PAGE.write_text("before\n<!-- results -->\n<!-- end of results -->\nafter\n")
    assert [full.run(step) for step in steps[:2]] == ["good: passed", "bad: failed"]
    page = full.PAGE.read_text()
    assert page.startswith("before\n") and page.endswith("after\n")
    rows = [line.split("|")[1:5] for line in page.splitlines() if line.startswith("| `")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["`good`", "this", "passed", "0.0"],
        ["`bad`", "that", "failed", "0.0"],
        ["`other`", "more", "not run", ""],
    ]


@pytest.mark.parametrize("steps", [["slwo"], ["slow", "prof"]])
def test_a_step_that_there_is_not(steps, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["full", *steps])
    with pytest.raises(SystemExit):
        full.main()
    assert "no step" in capsys.readouterr().err
