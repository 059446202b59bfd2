"""Scopes: within what a reduction reduces. Two values share a cell if all its keys agree."""

from __future__ import annotations

from dataclasses import dataclass

from maspo_dsl.semantics.types import Axis


@dataclass(frozen=True, eq=False)
class Scope:
    """Everything that is known of a scope.

    `keys` name what cells are told apart by: `sequence`, `position`, or a tensor of ids in the batch; those that stand
    in `of_tokens` have one a token. Without keys there is one cell. A spec has `declared` some, of whose keys it has
    the inputs in `own`: a value whose id is negative is in no cell. `rollout` and `update` say where a scope is known:
    before the advantage, when the whole rollout is there, and in the loss of one micro-batch. `gathered`: its values
    come from all micro-batches and ranks of an optimizer step, so the loss is given its statistics. `cell` is one of
    its cells in a sentence, `meaning` says what is in it. What it means in the loss of a window, it means
    `since` that version of the language.
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
    declared: bool = False
    own: tuple[str, ...] = ()
    of_tokens: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tensors of the batch that say which cell a value is in."""
        return tuple(key for key in self.keys if key not in ("sequence", "position"))

    @property
    def together(self) -> tuple[str, ...]:
        """Tensors of ids whose sequences must not be parted, for cells to stay whole."""
        if "sequence" in self.keys:
            return ()
        if "group" in self.keys:
            return ("group",)
        return tuple(key for key in self.tensors if key not in self.of_tokens) or self.tensors

    @property
    def ordered(self) -> bool:
        """Whether the order of a completion's tokens matters."""
        return "position" in self.keys

    def lies_in(self, other: Scope) -> bool:
        """Whether each of its cells is within one of the other's."""
        whole = "sequence" in self.keys
        return all(key in self.keys or (whole and key not in other.of_tokens) for key in other.keys)


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

KEYS: dict[str, Axis] = {"sequence": Axis.SEQUENCE, "group": Axis.SEQUENCE, "position": Axis.TOKEN}
"""What a spec can tell cells apart by besides its own inputs, and of what there is one id."""


def keyed(name: str, keys: tuple[str, ...], own: dict[str, Axis]) -> Scope:
    """The scope of the values that agree in all keys; `own` has the axes of a spec's inputs.

    Micro-batches have whole sequences, and whole groups where that matters: other cells are known in a rollout alone.
    """
    of_tokens = tuple(key for key in keys if {**KEYS, **own}[key] is Axis.TOKEN)
    within = "sequence" in keys
    axis = Axis.CELL if of_tokens else Axis.SEQUENCE if within else Axis.GROUP
    meaning = f"values that agree in {' and '.join(keys)}"
    return Scope(
        name,
        keys,
        axis,
        rollout=True,
        update=within or "group" in keys,
        cell=f"its {name}",
        meaning=meaning,
        declared=True,
        own=tuple(key for key in keys if key in own),
        of_tokens=of_tokens,
    )


SCOPES: dict[str, Scope] = {scope.name: scope for scope in (SEQUENCE, GROUP, ROLLOUT_BATCH, WINDOW, MICRO)}

# What a memory can be kept for, and what is reduced to its value; `group` in it is then all completions of a prompt.
KEPT_PER: dict[str, Scope] = {"prompt": PROMPT, "run": ROLLOUT_BATCH}
