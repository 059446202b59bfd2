"""The proof by mutation: every mistake made on purpose in a shipped objective is noticed by its reference.

`python -m tests.proof` makes them all (`make proof`); docs/proof.md says what they are and what came of it.
"""
