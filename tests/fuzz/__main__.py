"""`python -m tests.fuzz`: atheris mutates the corpus and the specs, and keeps what reaches new code.

An input for which something does not hold is left in the present folder as `crash-…`, and the run ends with it.
Afterwards `--merge FOLDER` makes the corpus the smallest part of that folder, and of itself, that reaches as much.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["maspo_dsl"]):
    from .target import examine

from .inputs import CORPUS, corpus, dictionary, keep, seeds

SIZE = 1024
"""Bytes of a generated input."""
LIMITS = (f"-max_len={SIZE}", "-timeout=20", "-rss_limit_mb=4096")


def main() -> None:
    options, more = parser().parse_known_args()
    if options.merge:
        merge(Path(options.merge))
    elif options.bare:
        fuzz(more, options.bare)
    else:
        work = Path(tempfile.mkdtemp(prefix="maspo-corpus-"))
        for number, content in enumerate([*corpus(), *seeds()]):
            (work / f"seed-{number:04}").write_bytes(content)
        words = work.with_suffix(".dict")
        words.write_text("".join(f"{_quoted(word)}\n" for word in dictionary()))
        print(f"the corpus grows in {work}", flush=True)
        fuzz([*LIMITS, f"-dict={words}", f"-max_total_time={options.seconds}", *more, str(work)])


def fuzz(arguments: list[str], program: str = sys.argv[0]) -> None:
    """libFuzzer, which ends the process when it is done; a merge starts `program` again for each part of its work."""
    atheris.Setup([program, *arguments], lambda content: examine(content, thorough=False) and None)
    atheris.Fuzz()


def merge(found: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before, smallest, program = (Path(folder) / name for name in ("before", "smallest", "program"))
        before.mkdir()
        smallest.mkdir()
        for number, content in enumerate(corpus()):
            (before / f"{number:04}").write_bytes(content)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz --bare {program} "$@"\n')
        program.chmod(0o700)
        subprocess.run([program, "-merge=1", *LIMITS, smallest, before, found], check=True)
        keep([path.read_bytes() for path in smallest.iterdir()])
    print(f"{len(corpus())} inputs, {CORPUS.stat().st_size} bytes")


def _quoted(word: str) -> str:
    """A word as a dictionary of libFuzzer has it."""
    plain = (33 <= byte < 127 and byte not in b'"\\' for byte in word.encode())
    pairs = zip(word.encode(), plain, strict=True)
    return '"' + "".join(chr(byte) if is_plain else f"\\x{byte:02x}" for byte, is_plain in pairs) + '"'


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    found.add_argument("--seconds", type=int, default=600)
    found.add_argument("--merge", metavar="FOLDER", help="keep what a run has found, and fuzz no more")
    found.add_argument("--bare", help=argparse.SUPPRESS)
    return found


if __name__ == "__main__":
    main()
