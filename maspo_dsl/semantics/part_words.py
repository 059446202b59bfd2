"""The words that parts of an objective begin with, a row each: what a part accepts, and what it does to the loss."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

from maspo_dsl.semantics.types import Axis


class When(Enum):
    """When a part is computed."""

    BEFORE_ADVANTAGE = auto()
    """Once a rollout, before there is an advantage."""
    IN_LOSS = auto()
    PER_STEP = auto()
    """Once an optimizer step."""


class Role(Enum):
    """What the loss, or what comes before it, does with a part."""

    MEMORY = auto()
    """Its value is kept from rollout to rollout, and other parts read it by its name."""
    REWARD_TERM = auto()
    FILTER = auto()
    """Completions for which it does not hold are not trained on."""
    PROMPT_SCORE = auto()
    ADVANTAGE = auto()
    RATIO = auto()
    FACTOR = auto()
    """Multiplies the policy term."""
    REMOVES_POLICY_TERM = auto()
    REMOVES_TOKEN = auto()
    ADDED = auto()
    """To the loss of every token, or to the reduced loss if it is one number."""
    SUBTRACTED = auto()
    REDUCTION = auto()
    STEP_SCALE = auto()


@dataclass(frozen=True)
class PartWord:
    """One word that a part begins with.

    `form` is `slot` (one value, no name), `part` (named value) or `rule` (named condition); `axes` are allowed, and
    `axis_hint` says how to get there. `neutral` says in words what an absent or dropped one means, None when it must
    be given; `dropped` what dropping one does. `gradient` to the policy is `required`, `stopped` where a part may read
    the policy, or `none` where it must not; `without_gradient` is what a required one lacks. `note` and `adjective`
    stand beside a rule in formulas. `shaped`: `reward` is there what the reward terms make of it. `kept`: it ends with
    `start VALUE per KEY`. `none` is what `WORD = none` means, where that may be written. A part does nothing where
    there is none of the roles that it `acts_on`.
    """

    word: str
    form: Literal["slot", "part", "rule"]
    when: When
    role: Role
    axes: frozenset[Axis]
    doc: str
    neutral: str | None = None
    dropped: str = ""
    gradient: Literal["required", "stopped", "none"] = "none"
    without_gradient: str = "carries no gradient to the policy"
    axis_hint: str = ""
    note: str = ""
    adjective: str = ""
    shaped: bool = False
    kept: bool = False
    none: str = ""
    acts_on: tuple[Role, ...] = ()

    def written(self, name: str = "name") -> str:
        """How a statement with this word is written."""
        form = {"slot": " = …", "part": f" {name} = …", "rule": f" {name} where …"}[self.form]
        return self.word + form + (" start VALUE per prompt" if self.kept else "")


_SCALAR = frozenset({Axis.SCALAR})
_ROWS = frozenset({Axis.SCALAR, Axis.GROUP, Axis.SEQUENCE})
_TOKENS = frozenset({Axis.SCALAR, Axis.GROUP, Axis.SEQUENCE, Axis.TOKEN})
_REDUCE_TOKENS = "reduce tokens first: mean(…, sequence)"

_ALL = (
    PartWord(
        word="memory",
        form="part",
        when=When.BEFORE_ADVANTAGE,
        role=Role.MEMORY,
        axes=_ROWS,
        axis_hint=_REDUCE_TOKENS,
        doc="a value that is kept: what it will be after this rollout",
        neutral="its start",
        dropped="it stays at its start",
        shaped=True,
        kept=True,
    ),
    PartWord(
        word="reward",
        form="part",
        when=When.BEFORE_ADVANTAGE,
        role=Role.REWARD_TERM,
        axes=_ROWS,
        axis_hint=_REDUCE_TOKENS,
        acts_on=(Role.ADVANTAGE, Role.MEMORY),
        doc="added to the task's own reward",
        neutral="0",
        dropped="the term is not added to the reward",
    ),
    PartWord(
        word="keep",
        form="rule",
        when=When.BEFORE_ADVANTAGE,
        role=Role.FILTER,
        axes=_ROWS,
        axis_hint=_REDUCE_TOKENS,
        doc="which completions of a rollout are trained on",
        neutral="keep all",
        dropped="the rule keeps every completion",
        note="completions that are trained on",
        adjective="kept",
    ),
    PartWord(
        word="prompt",
        form="slot",
        when=When.BEFORE_ADVANTAGE,
        role=Role.PROMPT_SCORE,
        axes=_ROWS,
        doc="score of a prompt, for its selection",
        neutral="every prompt alike",
        dropped="every prompt alike",
    ),
    PartWord(
        word="advantage",
        form="slot",
        when=When.BEFORE_ADVANTAGE,
        role=Role.ADVANTAGE,
        axes=_TOKENS,
        shaped=True,
        doc="how much better a completion, or a token, was than expected",
    ),
    PartWord(
        word="ratio",
        form="slot",
        when=When.IN_LOSS,
        role=Role.RATIO,
        axes=frozenset({Axis.SEQUENCE, Axis.TOKEN}),
        axis_hint="the ratio is of tokens or of sequences",
        gradient="required",
        doc="what multiplies the advantage",
        none="there is no policy term; penalties and bonuses alone train",
    ),
    PartWord(
        word="weight",
        form="part",
        when=When.IN_LOSS,
        role=Role.FACTOR,
        axes=_TOKENS,
        gradient="stopped",
        acts_on=(Role.RATIO,),
        doc="multiplies the policy term, without gradient",
        neutral="1",
        dropped="its factor is 1",
    ),
    PartWord(
        word="mute",
        form="rule",
        when=When.IN_LOSS,
        role=Role.REMOVES_POLICY_TERM,
        axes=_TOKENS,
        acts_on=(Role.RATIO,),
        doc="removes the policy term; the token still counts",
        neutral="none",
        dropped="no token is muted by it",
        note="tokens without a policy term, counted all the same",
        adjective="muted",
    ),
    PartWord(
        word="exclude",
        form="rule",
        when=When.IN_LOSS,
        role=Role.REMOVES_TOKEN,
        axes=_TOKENS,
        acts_on=(Role.REDUCTION,),
        doc="removes the token, from denominators too",
        neutral="none",
        dropped="no token is excluded by it",
        note="tokens left out, of denominators too",
        adjective="excluded",
    ),
    PartWord(
        word="penalty",
        form="part",
        when=When.IN_LOSS,
        role=Role.ADDED,
        axes=_TOKENS,
        gradient="required",
        doc="added to the loss",
        neutral="0",
        dropped="the term is 0",
    ),
    PartWord(
        word="bonus",
        form="part",
        when=When.IN_LOSS,
        role=Role.SUBTRACTED,
        axes=_TOKENS,
        gradient="required",
        doc="subtracted from the loss",
        neutral="0",
        dropped="the term is 0",
    ),
    PartWord(
        word="reduce",
        form="slot",
        when=When.IN_LOSS,
        role=Role.REDUCTION,
        axes=_SCALAR,
        axis_hint="end with a reduction within `window`: loss |> mean(window)",
        gradient="required",
        without_gradient="does not read `loss`",
        doc="from the loss of every token to one number",
    ),
    PartWord(
        word="step",
        form="slot",
        when=When.PER_STEP,
        role=Role.STEP_SCALE,
        axes=_SCALAR,
        doc="scale of this optimizer step",
        neutral="1",
        dropped="1",
    ),
)

PART_WORDS: dict[str, PartWord] = {row.word: row for row in _ALL}
"""By word; the order is that of canonical text, and each row comes after those that it may read."""

SLOTS = {word: row for word, row in PART_WORDS.items() if row.form == "slot"}
NAMED = {word: row for word, row in PART_WORDS.items() if row.form != "slot"}


def before_advantage(slot: str) -> bool:
    """Whether what a slot or part says is computed once a rollout, before there is an advantage."""
    return slot in PART_WORDS and PART_WORDS[slot].when is When.BEFORE_ADVANTAGE
