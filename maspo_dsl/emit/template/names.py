"""Words that the modules of a generated file share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch

Tensors: TypeAlias = dict[str, torch.Tensor]
Batch: TypeAlias = Mapping[str, torch.Tensor]
Inputs: TypeAlias = Mapping[str, str]
Batches: TypeAlias = Sequence[Batch]
Function: TypeAlias = Callable[..., Tensors]
Measure: TypeAlias = Callable[[], tuple[Tensors, Tensors]]
Recorder: TypeAlias = Callable[..., None]
Anything: TypeAlias = Any
Names: TypeAlias = Iterator[str]
Move: TypeAlias = Callable[..., torch.nn.Module]
Condition: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Parts: TypeAlias = Sequence[Any]
Memories: TypeAlias = Mapping[str, Mapping[str, Any]]


class BatchError(ValueError):
    """A batch that the objective cannot use: a tensor is missing, or has the wrong shape or type."""
