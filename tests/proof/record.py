"""The result of the proof: printed, kept in `results.json`, and shown in docs/proof.md."""

import json
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .checks import shipped
from .equivalents import EQUIVALENT, patterns_for
from .proving import TABLES, TEMPLATE, Outcome

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[2] / "docs" / "proof.md"
ENDS = ("killed", "equivalent", "survived")
BLOCK = re.compile(r"(?<=<!-- proof -->\n).*?(?=<!-- end of proof -->)", re.DOTALL)

Record = dict[str, Any]


def counted(found: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """How the mutants of each objective, and of the template, ended."""
    counts: dict[str, Counter[str]] = {}
    for outcome in found:
        counts.setdefault(outcome.spec, Counter())[outcome.end] += 1
    return {name: {end: counts[name][end] for end in (*ENDS, "unchanged")} for name in in_order(counts)}


def recorded(found: list[Outcome], seconds: float, processes: int) -> Record:
    """What is kept of a run."""
    reasons = Counter(outcome.by for outcome in found if outcome.end == "equivalent")
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
        "numpy": np.__version__,
        "minutes": round(seconds / 60),
        "processes": processes,
        "runs": 1,
        "counts": counted(found),
        "reasons": {why: reasons[why] for why in dict.fromkeys(EQUIVALENT.values()) if reasons[why]},
        "hashes": {name: objective.hash for name, objective in sorted(shipped().items())},
    }


def extended(record: Record, found: Iterable[Outcome]) -> Record:
    """A record with objectives that it does not have yet, or not as they are now, whose mutants these are.

    Which of its reasons an objective had before is not kept: of one that is proven again the table of reasons stays
    what it was, and gains those that it lacked.
    """
    outcomes = list(found)
    names = sorted({outcome.spec for outcome in outcomes})
    new = [outcome for outcome in outcomes if outcome.spec not in record["counts"]]
    lacked = [o for o in outcomes if o not in new and o.by not in record["reasons"]]
    reasons = Counter(record["reasons"]) + Counter(o.by for o in (*new, *lacked) if o.end == "equivalent")
    again = {outcome.spec for outcome in outcomes} - {outcome.spec for outcome in new}
    counts = {**record["counts"], **counted(outcomes)}
    return {
        **record,
        "counts": {name: counts[name] for name in in_order(counts)},
        "reasons": {why: reasons[why] for why in dict.fromkeys([*record["reasons"], *reasons])},
        "hashes": dict(sorted((record["hashes"] | {name: shipped()[name].hash for name in names}).items())),
        "added": sorted({*record.get("added", []), *names}),
        "again": sorted({*record.get("again", []), *again}),
    }


def in_order(names: Iterable[str]) -> list[str]:
    """Objectives by name, then the tables and the template."""
    return sorted(names, key=lambda name: (name in (TABLES, TEMPLATE), name))


def stale(found: Iterable[Outcome]) -> list[str]:
    """Patterns of equivalent changes that no change needed: they would excuse what they were not written for."""
    used = {pattern for o in found if o.end == "equivalent" for pattern in patterns_for(str(o))[:1]}
    return [pattern for pattern in EQUIVALENT if pattern not in used]


def excused(found: Iterable[Outcome]) -> list[str]:
    """Mutants that were noticed and that a reason fits all the same: it would excuse a hole where this one was."""
    outcomes = list(found)
    alive = {str(o) for o in outcomes if o.end in ("equivalent", "survived")}
    return [str(o) for o in outcomes if o.end == "killed" and patterns_for(str(o)) and str(o) not in alive]


def read() -> Record:
    return json.loads(RESULTS.read_text())


def changed() -> list[str]:
    """Objectives that are not what was proven: of another hash than the one recorded, or of none."""
    hashes = read()["hashes"] if RESULTS.exists() else {}
    return [name for name, objective in sorted(shipped().items()) if hashes.get(name) != objective.hash]


def write(record: Record) -> None:
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    PAGE.write_text(written(PAGE.read_text(), record))


def written(page: str, record: Mapping[str, Any]) -> str:
    """The page with this result between its marks."""
    return BLOCK.sub(lambda _: shown(record), page)


def shown(record: Mapping[str, Any]) -> str:
    """The result in Markdown."""
    versions = ", ".join(f"{name} {record[name]}" for name in ("python", "torch", "numpy"))
    lines = [
        f"`make proof` on {record['date']} ({versions}; {record['processes']} processes, {record['minutes']} minutes"
        f"{'' if record['runs'] == 1 else ', one kind of mistake at a time'}): "
        f"{summary(record['counts'])}",
        *added(record.get("added", [])),
        "",
        *rows(record["counts"]),
        "",
        "Mutants that nothing can notice, and why:",
        *again(record.get("again", [])),
        "",
        "| mutants | reason |",
        "| --- | --- |",
        *(f"| {count} | {why} |" for why, count in record["reasons"].items()),
    ]
    return "\n".join(lines) + "\n"


def added(names: Sequence[str]) -> list[str]:
    """What was proven by itself since the whole run."""
    if not names:
        return []
    return [
        "",
        f"By themselves, since that run, or in one after it: {', '.join(f'`{name}`' for name in names)}.",
    ]


def again(names: Sequence[str]) -> list[str]:
    """Whose reasons are counted as they were before a change."""
    if not names:
        return []
    return ["", f"(Counted as it was before it was changed: {', '.join(f'`{name}`' for name in names)}.)"]


def rows(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A table with a row for each objective, one for the template and one for all together."""
    lines = ["| objective | mutants | killed | equivalent | survived |", "| --- | --- | --- | --- | --- |"]
    total = Counter[str]()
    for name, ends in counts.items():
        total.update(ends)
        lines.append(_row(name if name in (TABLES, TEMPLATE) else f"`{name}`", ends))
    return [*lines, _row("all", total)]


def _row(name: str, ends: Mapping[str, int]) -> str:
    cells = [name, str(sum(ends[end] for end in ENDS)), *(str(ends[end]) for end in ENDS)]
    return f"| {' | '.join(cells)} |"


def summary(counts: Mapping[str, Mapping[str, int]]) -> str:
    """The sums in one sentence."""
    total = Counter[str]()
    for ends in counts.values():
        total.update(ends)
    words = ", ".join(f"{total[end]} {end}" for end in ENDS)
    mutants = sum(total[end] for end in ENDS)
    return f"{mutants} mutants, {words}. {total['unchanged']} more changes left the simplified program as it was."
