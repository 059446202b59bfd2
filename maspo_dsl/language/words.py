"""The words of the language: no user names anything with them."""

STATEMENT_WORDS = frozenset(
    "objective extends source differs param let def input drop swap before after variant sweep allow".split()  # noqa: SIM905
)
"""Words that open a statement, and `extends`."""

EXPRESSION_WORDS = frozenset(
    "and or not if else in as when where least by neutral bind it".split()  # noqa: SIM905
)

RESERVED_WORDS = STATEMENT_WORDS | EXPRESSION_WORDS
