"""What `maspo-dsl inspect RUN` asks: the tensors behind the completions of a step that samples.jsonl shows.

Each is trained on in one update of its step. Kept are its log-probs under the policy before that update, whatever else
the loss reads, and of what stands beside it as much as its numbers need: the rewards of its group, or whole groups,
micro-batches or windows where the objective looks at them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maspo_dsl.analysis.surroundings import Surroundings, surroundings
from maspo_dsl.language.writing import write_whole
from maspo_dsl.runtime.ranks import world_size

from .rows import MicroBatch, Rows, Window

if TYPE_CHECKING:
    from maspo_dsl import Objective

    from .module import PolicyTrainer
    from .policies.policy import Tokenizer

Arrays = dict[str, NDArray[Any]]
FOLDER = "tokens"
MOST_TOKENS = 65_536
"""Trained tokens that are kept of a step; where more would be needed, none are."""
_OF_ROWS = ("mask", "reward", "group", "advantage")


@dataclass
class KeptTokens:
    """Gathers the batches of a step, each to be looked at alone; `names` are the tensors that the loss reads.

    A batch has, besides those, `row`, the place of a shown completion among those that were trained on and -1 of
    others, `token_text` of the shown ones, and the window's counts as `window/NAME`.
    """

    objective: Objective
    tokenizer: Tokenizer
    batches: list[Arrays] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.objective.graph
        self.needs = surroundings(graph)
        self.names = {*graph.inputs(["loss"]), *_OF_ROWS, "logp", "logp_old"}

    @property
    def possible(self) -> bool:
        """Whether this process has all that is needed: not a window that is spread over several."""
        return self.needs is not Surroundings.WINDOW or world_size() == 1

    def look(
        self,
        module: PolicyTrainer,
        window: Window,
        cuts: Sequence[Tensor],
        shown: Tensor,
        denominators: Mapping[str, Tensor],
    ) -> None:
        """A window before its update; `cuts` are the rows [n] of its micro-batches, `shown` those to be shown."""
        given = {
            f"window/{name}": value.detach().double().cpu().numpy() for name, value in denominators.items()
        }
        parts = [
            (part, indices, torch.isin(indices, shown)) for part, indices in zip(window, cuts, strict=True)
        ]
        for those in ([part] for part in parts) if self.needs is Surroundings.MICRO_BATCH else (parts,):
            if any(bool(here.any()) for _, _, here in those):
                self.batches.append({**_stacked(list(self._chosen(module, those))), **given})

    def _chosen(
        self, module: PolicyTrainer, parts: Sequence[tuple[MicroBatch, Tensor, Tensor]]
    ) -> Iterator[Arrays]:
        groups = torch.cat([part["group"][here] for part, _, here in parts])
        for part, indices, here in parts:
            whole = self.needs >= Surroundings.MICRO_BATCH
            wanted = torch.ones_like(here) if whole else torch.isin(part["group"], groups)
            read = wanted if self.needs > Surroundings.COMPLETION else here
            if bool(wanted.any()):
                yield self._arrays(module, part, indices, wanted, read, here)

    @torch.no_grad()
    def _arrays(
        self,
        module: PolicyTrainer,
        part: MicroBatch,
        indices: Tensor,
        wanted: Tensor,
        read: Tensor,
        here: Tensor,
    ) -> Arrays:
        """The `wanted` rows of a micro-batch; those that are not `read` have no tokens, only what is one a row."""
        mask = part["mask"] & read[:, None]
        found = {
            name: value[wanted]
            if value.ndim == 1 and len(value) == len(here)
            else torch.where(mask, value, torch.zeros_like(value))[wanted]
            if value.ndim == 2
            else value
            for name, value in part.items()
            if name in self.names
        }
        rows = {name: _rows(value, read) for name, value in part.items()}
        of_policy = module.with_policy(rows) if bool(read.any()) else {}
        for name in ("logp", "entropy"):
            if name in self.names:
                values = torch.zeros(mask.shape, device=mask.device)
                if name in of_policy:
                    values[read] = of_policy[name].float()
                found[name] = torch.where(mask, values, 0.0)[wanted]
        found["mask"] = mask[wanted]
        found["row"] = torch.where(here, indices, -1)[wanted]
        arrays = {name: value.detach().cpu().numpy() for name, value in found.items()}
        return {**arrays, "token_text": self._texts(part, wanted, here)}

    def _texts(self, part: MicroBatch, wanted: Tensor, here: Tensor) -> NDArray[Any]:
        tokens, mask = part["tokens"][:, -part["mask"].shape[1] :], part["mask"] & here[:, None]
        texts = [
            [self._text(token) if trained else "" for token, trained in zip(*row, strict=True)]
            for row in zip(tokens[wanted].tolist(), mask[wanted].tolist(), strict=True)
        ]
        return np.array(texts, dtype=str).reshape(int(wanted.sum()), mask.shape[1])

    def _text(self, token: int) -> str:
        """A token as a reader knows it; one that ends a completion has no text but its number."""
        return self.tokenizer.decode([token]) or f"[{token}]"

    def write(self, folder: Path, step: int) -> None:
        """Write the batches of a step, if they are not too many, and forget them."""
        count = sum(int(batch["mask"].sum()) for batch in self.batches)
        if self.batches and count <= MOST_TOKENS:
            arrays = {
                f"{place}/{name}": value
                for place, batch in enumerate(self.batches)
                for name, value in batch.items()
            }
            content = BytesIO()
            np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
            (folder / FOLDER).mkdir(exist_ok=True)
            write_whole(folder / FOLDER / f"{step}.npz", content.getvalue())
        self.batches = []


def shown_rows(rows: Rows, count: int) -> Tensor:
    """Places of a few completions, spread over all."""
    return torch.arange(0, len(rows), max(1, -(-len(rows) // count)))


def _rows(value: Tensor, rows: Tensor) -> Tensor:
    return value[rows] if value.ndim and len(value) == len(rows) else value


def _stacked(parts: Sequence[Arrays]) -> Arrays:
    """Rows of micro-batches below each other, those of tokens padded to one length."""
    length = max(part["mask"].shape[1] for part in parts)
    return {
        name: np.concatenate([_padded(part[name], length) for part in parts]) if value.ndim else value
        for name, value in parts[0].items()
    }


def _padded(value: NDArray[Any], length: int) -> NDArray[Any]:
    if value.ndim == 1:
        return value
    whole = np.zeros((len(value), length), value.dtype)
    whole[:, : value.shape[1]] = value
    return whole
