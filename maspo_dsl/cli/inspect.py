"""`maspo-dsl inspect`: why a token of a batch was pushed as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from maspo_dsl.cli.output import InputError, invalid_input_exits, print_line, write_file
from maspo_dsl.cli.overrides import OverridesArgument, SpecArgument, load_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maspo_dsl.analysis.inspection import Reason
    from maspo_dsl.objective import Objective

Counts: TypeAlias = "Sequence[tuple[int, Reason]]"

SUFFIXES = (".safetensors", ".npz")


def inspect(
    spec: SpecArgument,
    batch: Annotated[
        Path,
        typer.Argument(
            metavar="BATCH", help="A batch, BATCH.npz or BATCH.safetensors, or the folder of a run."
        ),
    ],
    overrides: OverridesArgument = None,
    step: Annotated[
        int | None, typer.Option(metavar="N", help="Of a run: which step; the last, unless told.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page.")] = Path(
        "tokens.html"
    ),
) -> None:
    """Show why each token got its gradient.

    Writes one HTML page: tokens coloured by their weight, with ratio, advantage, gate, mask and the line of the spec
    that decided; groups, and what was dropped. `tokens` or `token_text` [N, T] in the batch are shown as the tokens.
    Of a run: the completions of a step that its samples.jsonl shows, as the update saw them that trained on them.
    """
    with invalid_input_exits():
        objective = load_with(spec, overrides)
        page, counts = _of_run(objective, batch, step) if batch.is_dir() else _of_batch(objective, batch)
        write_file(output, page)
    for count, reason in counts:
        where = "" if reason.span is None else f"  {reason.span.source.name}:{reason.span.line}"
        print_line(f"{count:>7}  {reason.text}{where}")
    print_line(f"written to {output}")


def _of_batch(objective: Objective, path: Path) -> tuple[str, Counts]:
    """The page of a batch, and what decided how often."""
    found = _checked(objective, path, read_batch(path))
    from maspo_dsl.analysis.inspection import decided, inspect_batch
    from maspo_dsl.pictures.tokens_page import tokens_page

    inspected = inspect_batch(objective.resolved, objective.graph, found)
    return tokens_page(objective, inspected), decided(inspected)


def _of_run(objective: Objective, run: Path, step: int | None) -> tuple[str, Counts]:
    """The page of the samples of a step, and what decided how often as far as the run kept it."""
    from maspo_dsl.analysis.inspection import decided
    from maspo_dsl.cli.run_samples import read_samples
    from maspo_dsl.pictures.tokens_page import samples_page

    samples = read_samples(objective, run, step)
    tokens = samples.tokens
    return samples_page(objective, samples), [] if tokens is None else decided(tokens, tokens.mask)


def read_batch(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file. Raises InputError: it is not there, of no known kind, or damaged."""
    import numpy as np

    if path.suffix not in SUFFIXES:
        raise InputError(f"`{path}` has no suffix of a batch: expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"there is no file `{path}`")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        from safetensors.torch import load_file

        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
            for name, tensor in load_file(path).items()
        }
    except Exception as error:  # whatever numpy or safetensors raise for a damaged file
        raise InputError(f"`{path}` cannot be read: {str(error).splitlines()[0]}") from None


def _checked(objective: Objective, path: Path, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The batch, if the objective can be computed of it. Raises InputError that names everything that is wrong."""
    from maspo_dsl.analysis.inspection import missing_tensors
    from maspo_dsl.semantics.types import Axis

    if "mask" in batch and batch["mask"].ndim != 2:
        raise InputError(f"`mask` of `{path}` has shape {batch['mask'].shape}; expected [N, T], padded")
    missing = missing_tensors(objective.resolved, objective.graph, batch)
    wrong = [
        f"`{path}` lacks `{name}`: {meaning or 'which tokens are trained'}"
        for name, meaning in missing.items()
    ]
    if not wrong:
        count, length = batch["mask"].shape
        for name, row in objective.resolved.tensors.items():
            if name not in batch:
                continue
            by_axis: dict[Axis, list[tuple[int, ...]]] = {
                Axis.TOKEN: [(count, length)],
                Axis.SEQUENCE: [(count,)],
            }
            shapes = by_axis.get(row.axis, [()])
            if row.per_token or name == "advantage":
                shapes = [(count,), (count, length)]
            if batch[name].shape not in shapes:
                expected = " or ".join(map(str, shapes))
                wrong.append(f"`{name}` of `{path}` has shape {batch[name].shape}; expected {expected}")
    if wrong:
        raise InputError("\n       ".join(wrong))
    return batch
