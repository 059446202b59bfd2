"""Scopes: within what a reduction reduces. Two values share a cell if all its keys agree."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.semantics.types import Axis


@dataclass(frozen=True, eq=False)
class Scope:
    """Everything that is known of a scope.

    `keys` name what cells are told apart by: `sequence`, or a tensor `[N]` of ids in the batch. Without keys there is
    one cell. `rollout` and `update` say where it is known: before the advantage, when the whole rollout is there, and
    in the loss of one micro-batch. `gathered`: its values come from all micro-batches and ranks of an optimizer step,
    so the loss is given its statistics. `cell` is one of its cells in a sentence, `meaning` says what is in it. What it
    means in the loss of a window, it means `since` that version of the language.
    """

    name: str
    keys: tuple[str, ...]
    axis: Axis
    rollout: bool
    update: bool
    cell: str
    meaning: str
    gathered: bool = False
    since: int = 1

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tensors of the batch that say which cell a sequence is in."""
        return tuple(key for key in self.keys if key != "sequence")


SEQUENCE = Scope("sequence", ("sequence",), Axis.SEQUENCE, True, True, "its sequence", "its tokens")
GROUP = Scope(
    "group",
    ("group",),
    Axis.GROUP,
    True,
    True,
    "its group",
    "its sequences, or the tokens of its sequences",
)
ROLLOUT_BATCH = Scope(
    "rollout_batch",
    (),
    Axis.SCALAR,
    True,
    False,
    "the rollout batch",
    "the batch that `.advantage`, `.keep` or `.prompt` is called on",
)
PROMPT = Scope(
    "prompt",
    ("prompt_id",),
    Axis.GROUP,
    True,
    False,
    "its prompt",
    "its completions, whatever groups they are in",
)
WINDOW = Scope(
    "window",
    (),
    Axis.SCALAR,
    False,
    True,
    "the optimizer window, over all its micro-batches and ranks",
    "all micro-batches and ranks of one optimizer step",
    gathered=True,
)
MICRO = Scope(
    "micro",
    (),
    Axis.SCALAR,
    False,
    True,
    "the micro-batch",
    "this call alone, in `reduce` the mean over them: how a step is cut changes the result, and `check` warns",
    since=2,
)

SCOPES: dict[str, Scope] = {scope.name: scope for scope in (SEQUENCE, GROUP, ROLLOUT_BATCH, WINDOW, MICRO)}

# What a memory can be kept for, and what is reduced to its value; `group` in it is then all completions of a prompt.
KEPT_PER: dict[str, Scope] = {"prompt": PROMPT, "run": ROLLOUT_BATCH}
