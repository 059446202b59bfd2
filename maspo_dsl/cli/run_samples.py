"""The completions of a step that a run shows, with what it kept of their tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maspo_dsl.cli.output import InputError
from maspo_dsl.pictures.tokens_page import Samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maspo_dsl.objective import Objective

Batch = dict[str, "NDArray[Any]"]


def read_samples(objective: Objective, run: Path, step: int | None) -> Samples:
    """The samples of a step of a run, the last unless told.

    Raises InputError: there are none, the run was trained with another objective, or a file is damaged.
    """
    records, wanted = _records(run, step)
    _check_objective(objective, run)
    file = run / "tokens" / f"{wanted}.npz"
    if not file.is_file():
        why = "The run kept no log-probs of this step, so that what a token weighed cannot be told."
        return Samples(wanted, records, why=why)
    batches = _batches(file)
    lacking = sorted({name for batch in batches for name in _lacking(objective, batch)})
    if lacking:
        why = f"The run did not keep {', '.join(f'`{name}`' for name in lacking)}, which the loss reads."
        return Samples(wanted, records, why=f"{why} What a token weighed cannot be told without.")
    return _with_tokens(objective, wanted, records, batches, file)


def _records(run: Path, step: int | None) -> tuple[list[Mapping[str, Any]], int]:
    try:
        lines = (run / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        samples = [json.loads(line) for line in lines]
        steps = sorted({int(each["step"]) for each in samples})
        for each in samples:
            each["prompt"], each["completion"]
    except OSError:
        raise InputError(f"`{run}` is no run: it has no samples.jsonl") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"`{run / 'samples.jsonl'}` cannot be read: {error}") from None
    wanted = steps[-1] if step is None and steps else step
    if wanted is None or wanted not in steps:
        kept = ", ".join(map(str, steps)) or "none"
        raise InputError(f"`{run}` kept no samples of step {wanted}; of these it did: {kept}")
    return [each for each in samples if each["step"] == wanted], wanted


def _check_objective(objective: Objective, run: Path) -> None:
    """Raise InputError where the run's advantages and updates are those of another objective."""
    try:
        trained = json.loads((run / "run.json").read_text(encoding="utf-8"))["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if trained != objective.hash:
        raise InputError(
            f"`{run}` was trained with an objective of hash {trained}, and `{objective.name}` has {objective.hash}; "
            f"its own is `{run / 'spec.obj'}`"
        )


def _batches(file: Path) -> list[Batch]:
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as kept:
            found: dict[int, Batch] = {}
            for key in kept.files:
                place, _, name = key.partition("/")
                found.setdefault(int(place), {})[name] = kept[key]
    except Exception as error:  # whatever numpy raises for a damaged file
        raise InputError(f"`{file}` cannot be read: {str(error).splitlines()[0]}") from None
    return [found[place] for place in sorted(found)]


def _lacking(objective: Objective, batch: Batch) -> list[str]:
    from maspo_dsl.analysis.inspection import missing_tensors

    return list(missing_tensors(objective.resolved, objective.graph, batch))


def _with_tokens(
    objective: Objective,
    step: int,
    records: Sequence[Mapping[str, Any]],
    batches: Sequence[Batch],
    file: Path,
) -> Samples:
    import numpy as np

    from maspo_dsl.analysis.inspection import inspect_batch, joined, rows_of

    parts = []
    for batch in batches:
        given = {
            name.removeprefix("window/"): float(batch.pop(name))
            for name in [*batch]
            if name.startswith("window/")
        }
        parts.append(
            inspect_batch(objective.resolved, objective.graph, batch, denominators=given, filtered=True)
        )
    everything = joined(parts)
    row = everything.batch["row"]
    places = [int(place) for place in np.argsort(row, kind="stable") if row[place] >= 0]
    if len(places) != len(records):
        raise InputError(
            f"`{file}` is not of the samples that `{file.parents[1] / 'samples.jsonl'}` has of step {step}"
        )
    beside = everything.batch["group"], everything.batch["reward"]
    return Samples(step, records, rows_of(everything, places), beside)
