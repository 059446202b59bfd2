"""The words of the language: no user names anything with them."""

HEADER_WORDS = ("objective", "source", "differs")
"""What a spec says of itself, at its beginning."""

EDIT_WORDS = ("param", "let", "def", "input", "drop", "swap", "before", "after")
"""Words that open a statement anywhere, slots and parts aside."""

CLOSING_WORDS = ("variant", "sweep", "allow")
"""Words that open a statement outside of a `variant` alone."""

OPENING_WORDS = (*HEADER_WORDS, *EDIT_WORDS, *CLOSING_WORDS)
STATEMENT_WORDS = (*OPENING_WORDS, "extends")

EXPRESSION_WORDS = frozenset(
    "and or not if else in as when where least by neutral bind it".split()  # noqa: SIM905
)

RESERVED_WORDS = EXPRESSION_WORDS.union(STATEMENT_WORDS)

TEACHER, SCOPE = "teacher", "scope"
"""They open declarations where a name follows them, and are names like any other elsewhere."""
