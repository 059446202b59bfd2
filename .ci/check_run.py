"""That a run folder holds what the README promises, with finite numbers in it."""

import csv
import json
import math
import sys
from pathlib import Path

FILES = ("spec.obj", "config.yaml", "metrics.csv", "metrics.jsonl", "curves.png", "samples.jsonl")


def main() -> None:
    """Read the run folder named on the command line; raise on the first thing that is wrong."""
    run = Path(sys.argv[1])
    missing = [name for name in FILES if not (run / name).is_file() or not (run / name).stat().st_size]
    if missing:
        sys.exit(
            f"{run} lacks {', '.join(missing)}; it holds {', '.join(sorted(p.name for p in run.iterdir()))}"
        )
    with (run / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for column in ("step", "reward", "loss", "eval/greedy"):
        values = [float(row[column]) for row in rows if row.get(column)]
        if not values or not all(map(math.isfinite, values)):
            sys.exit(f"{run}/metrics.csv: column {column} has {values}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    print(f"{len(rows)} rows, {len(lines)} lines; last: {rows[-1]}")


if __name__ == "__main__":
    main()
