"""`maspo-dsl check SPEC` by a short way: nothing is imported for a spec that was fine and has not changed since.

An editor or a hook asks this of every file at every turn. A verdict is kept by what it is made of: the spec, the files
that it extends, and the compiler itself. What was wrong is looked at again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from maspo_dsl.language.cache_folder import cache_folder

_EXTENDS = re.compile(rb"^(?:\xef\xbb\xbf)?[ \t]*objective[ \t]+\w+[ \t]+extends[ \t]+(\w+)", re.MULTILINE)
_KEPT = 1000
"""Verdicts that are kept, the latest ones."""
_LONGEST = 2**20


def quick_check(arguments: Sequence[str]) -> bool:
    """Answer `check SPEC` where it is asked in this form; False where the long way has to. Exits as `check` does."""
    match arguments:
        case ["check", spec] if re.fullmatch(r"[\w./][\w./ -]*", spec, re.ASCII):
            return _checked(spec)
    return False


def _checked(spec: str) -> bool:
    key, known = _key(spec), _known()
    if key is None:
        return False
    if key in known:
        print(f"{spec}: fine")
        return True
    from typer import Exit

    from maspo_dsl.cli.check import answer, check_spec

    found = check_spec(spec)
    if found.verdict == "fine":
        _remember([*known, key])
    try:
        answer([found])
    except Exit as end:
        sys.exit(end.exit_code)
    return True


def _key(spec: str) -> str | None:
    """What a verdict on a spec is made of, as one number; None for what is no plain file of its own or shipped one."""
    import maspo_dsl.objectives

    digest = blake2b(spec.encode(), digest_size=16)
    try:
        for piece in _compiler():
            digest.update(piece)
        path = Path(spec)
        if path.is_file() or "/" in spec or spec.endswith(".obj"):
            for piece in _lineage(path):
                digest.update(piece)
        elif not (Path(str(maspo_dsl.objectives.__file__)).parent / f"{spec}.obj").is_file():
            return None
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def _lineage(path: Path) -> Iterator[bytes]:
    """The text of a spec and of those beside it that it extends. Raises ValueError where that is not plain."""
    seen: set[Path] = set()
    while path.is_file() or not seen:
        if path in seen or not path.is_file() or path.stat().st_size > _LONGEST:
            raise ValueError("the long way explains it")
        seen.add(path)
        text = path.read_bytes()
        if b"\r" in text:
            raise ValueError("its lines may end in another way")
        yield b"%d " % len(text) + text
        if (extends := _EXTENDS.search(text)) is None:
            return
        path = path.parent / f"{extends[1].decode()}.obj"


def _compiler() -> Iterator[bytes]:
    """Name, size and time of every file that a verdict depends on."""
    import maspo_dsl.grammars
    import maspo_dsl.objectives

    homes = {maspo_dsl.__file__, maspo_dsl.grammars.__file__, maspo_dsl.objectives.__file__}
    for home in sorted(Path(str(file)).parent for file in homes):
        for file in sorted((*home.rglob("*.py"), *home.rglob("*.obj"), *home.rglob("*.lark"))):
            status = file.stat()
            yield f"{file} {status.st_size} {status.st_mtime_ns}\n".encode()


def _file() -> Path | None:
    folder = cache_folder()
    return folder / "fine" if folder is not None else None


def _known() -> list[str]:
    file = _file()
    try:
        return file.read_text(encoding="ascii").split() if file is not None else []
    except (OSError, ValueError):
        return []


def _remember(keys: Sequence[str]) -> None:
    from maspo_dsl.language.writing import write_whole

    file = _file()
    try:
        if file is not None:
            write_whole(file, "\n".join(keys[-_KEPT:]))
    except OSError:
        return
