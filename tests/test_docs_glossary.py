"""The glossary knows every word of a spec and every metric, so that a newcomer finds what TRL and verl call it."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
LANGUAGE, GLOSSARY = (DOCS / "language.md").read_text(), (DOCS / "glossary.md").read_text()


def first_column(heading: str) -> list[str]:
    """The words in the first column of a table of the language page: `NAME` in `NAME` and in `NAME NAME = …`."""
    after = LANGUAGE[LANGUAGE.index(heading) :]
    rows = after[after.index("|") :].split("\n\n")[0].splitlines()[2:]
    return [word for row in rows for word in re.findall(r"`(\w+)[^`]*`", row.split("|")[1])]


@pytest.mark.parametrize(
    "heading", ["<!-- table: slots -->", "<!-- table: run constants -->", "<!-- table: metrics -->"]
)
def test_every_word_is_in_the_glossary(heading):
    words = first_column(heading)
    assert len(words) > 1
    missing = [word for word in words if f"`{word}`" not in GLOSSARY]
    assert not missing, f"docs/glossary.md lacks {', '.join(missing)}"


def test_every_row_has_the_columns_of_its_table():
    for table in re.findall(r"(?:^\|[^\n]*\n)+", GLOSSARY, re.MULTILINE):
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
