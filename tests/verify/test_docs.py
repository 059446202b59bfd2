"""docs/verify.md lists every line with its meaning. `python -m tests.verify.test_docs` writes the table anew."""

import re
from pathlib import Path

from maspo_dsl.verification.verify import CHECKS

PAGE = Path(__file__).parents[2] / "docs" / "verify.md"
TABLE = re.compile(r"(<!-- table: lines -->\n)(?:\n(?:\|[^\n]*\n)+)?")


def written() -> str:
    rows = "".join(f"| `{check.name}` | {check.meaning} |\n" for check in CHECKS)
    return TABLE.sub(
        lambda found: f"{found[1]}\n| line | what holds |\n| --- | --- |\n{rows}", PAGE.read_text()
    )


def test_the_table_is_complete():
    assert PAGE.read_text() == written(), "python -m tests.verify.test_docs writes it anew"


def test_every_line_has_a_name_and_a_meaning_of_its_own():
    assert len({check.name for check in CHECKS}) == len({check.meaning for check in CHECKS}) == len(CHECKS)
    assert all(check.meaning.endswith(".") for check in CHECKS)


if __name__ == "__main__":
    PAGE.write_text(written())
