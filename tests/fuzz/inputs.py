"""What a fuzzer starts from: every spec of this repository, the pieces that specs are made of, and what it found."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from maspo_dsl.language.keywords import RESERVED_WORDS
from maspo_dsl.semantics.part_words import PART_WORDS
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.shipped import library_definitions, shipped_names, shipped_source
from maspo_dsl.semantics.vocabulary import (
    PRIMITIVES,
    RUN_CONSTANTS,
    WARNINGS,
)

TESTS = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus" / "inputs.jsonl"

PUNCTUATION = [
    "|> ",
    "(",
    ")",
    "[",
    "]",
    "{ ",
    " }",
    ", ",
    " = ",
    " == ",
    " != ",
    " <= ",
    " < ",
    " > ",
    " >= ",
]
PUNCTUATION += [" + ", " - ", " * ", " / ", " ^ ", "..", ".", "#", '"', "\n", "\n  ", "\r\n", "\ufeff", ":"]
NUMBERS = ["0", "1", "2", "0.2", "1e-8", "1e999", "inf", "20480"]


def seeds() -> Iterator[bytes]:
    """Specs that ship, that tests read and that pages show; right ones and wrong ones."""
    for name in shipped_names():
        yield shipped_source(name).text.encode()
    for path in sorted(TESTS.rglob("*.obj")):
        yield path.read_bytes()
    for block in (TESTS / "semantics" / "fixtures" / "errors.txt").read_text().split("=== ")[1:]:
        yield re.sub(r"^ *\\^ .*\\n", "", block.partition("\n")[2], flags=re.MULTILINE).encode()
    for page in sorted((TESTS.parent / "docs").glob("*.md")):
        for example in re.findall(r"```(?:spec|obj)\n(.*?)```", page.read_text(), re.DOTALL):
            yield example.encode()


def dictionary() -> list[str]:
    """Words and signs of the language."""
    words = {*RESERVED_WORDS, *PART_WORDS, *QUANTITIES, *SCOPES, *PRIMITIVES, *RUN_CONSTANTS, *WARNINGS}
    words |= {*library_definitions(), *shipped_names()}
    return [*sorted(f"{word} " for word in words), *PUNCTUATION, *NUMBERS]


def corpus() -> list[bytes]:
    """What fuzzing has found worth keeping: inputs that reach what no other reaches, and those that broke something."""
    return [json.loads(line).encode("utf-8", "surrogateescape") for line in CORPUS.read_text().splitlines()]


def keep(found: list[bytes]) -> None:
    """Write the corpus, shortest first."""
    ordered = sorted(set(found), key=lambda content: (len(content), content))
    lines = [json.dumps(content.decode("utf-8", "surrogateescape")) for content in ordered]
    CORPUS.write_text("".join(f"{line}\n" for line in lines))
