"""`python -m tests.proof`: make every mistake, say what was not noticed, and exit with 1 if that is anything."""

import argparse
import sys
import time

import torch

from . import record
from .checks import shipped
from .killing import itself_fails
from .probes import PROBES
from .proving import Outcome, prove

OF_AN_OBJECTIVE = ("source", "spec", "library")
ORIGINS = (*OF_AN_OBJECTIVE, "template", "table")


def main() -> int:
    torch.set_num_threads(1)
    options = parser().parse_args()
    names = options.names or sorted(shipped())
    if unknown := sorted(set(names) - set(shipped())):
        print(f"no reference, or no such objective: {', '.join(unknown)}", file=sys.stderr)
        return 2
    if options.write and options.names and set(options.only or ()) != set(OF_AN_OBJECTIVE):
        print(f"of single objectives, --write needs --only {' '.join(OF_AN_OBJECTIVE)}", file=sys.stderr)
        return 2
    started = time.monotonic()
    # A probe that fails by itself would notice every mutant of the template.
    probes = PROBES if "template" in (options.only or ORIGINS) else ()
    wrong = [name for name in (*names, *probes) if not passes(name)]
    found: list[Outcome] = []
    for outcomes in prove(set(names) - set(wrong), options.only or ORIGINS, options.processes):
        found += outcomes
        for outcome in outcomes:
            if outcome.end == "survived":
                print(f"survived ({outcome.origin}): {outcome}", flush=True)
    seconds = time.monotonic() - started
    print("\n".join(record.rows(record.counted(found))))
    print(f"{record.summary(record.counted(found))} {seconds:.0f} s")
    whole = not options.names and not options.only
    wrong_reasons = [f"a reason for what is noticed: {mutant}" for mutant in record.excused(found)]
    if whole:
        wrong_reasons += [f"a reason that no mutant needs: {pattern}" for pattern in record.stale(found)]
    for line in wrong_reasons:
        print(line)
    if options.write and whole:
        record.write(record.recorded(found, seconds, options.processes))
    elif options.write:
        alive = {outcome.spec for outcome in found if outcome.end == "survived"}
        record.write(record.extended(record.read(), [o for o in found if o.spec not in alive]))
    return 1 if wrong or wrong_reasons or any(outcome.end == "survived" for outcome in found) else 0


def passes(name: str) -> bool:
    """Whether the unchanged objective does what its reference does: else there is nothing to prove."""
    failures = itself_fails(name)
    if failures:
        print(
            f"{name} differs from its reference: {'; '.join(failures[:3])} … {len(failures)} in all",
            flush=True,
        )
    return not failures


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    found.add_argument("names", nargs="*", help="objectives; all without")
    found.add_argument(
        "--only", nargs="+", choices=ORIGINS, help="where mistakes are made; everywhere without"
    )
    found.add_argument("--processes", type=int, default=2)
    found.add_argument(
        "--write",
        action="store_true",
        help="keep the result of a whole run, or of new and changed objectives without survivors, in docs/proof.md too",
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
