"""The quantities of the language and the tensors of a batch: one row each, which everything else reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from maspo_dsl.language import tree
from maspo_dsl.semantics.domains import Values
from maspo_dsl.semantics.scopes import Scope
from maspo_dsl.semantics.types import Axis, Kind


class Domain(Enum):
    """Which values a tensor can hold: what the loss expects of it, and what tests and probes draw for it."""

    LOG_PROB = "natural log of a probability"
    NONNEGATIVE = "0 or more"
    PROBABILITY = "from 0 to 1"
    REAL = "any number"
    CONDITION = "true or false"
    INPUT = "a spec's own input, whose meaning is not known"
    MASK = "true at trained tokens"
    INDEX = "ids, which nothing but equality is known of"
    INTEGER = "whole numbers"


@dataclass(frozen=True)
class Quantity:
    """A name of the language, a tensor of the batch, or both.

    `tensor` is the batch key that it reads, None for what is computed. With `per_token` a batch may bring one value a
    token instead of one a sequence. `live` values carry gradient. `typical` is what an unremarkable token has where
    an analysis asks about one token alone. `values` are those that an input of a spec may have, if that says. A `key`
    tells the cells of a scope apart.
    """

    name: str
    axis: Axis
    kind: Kind
    domain: Domain
    tensor: str | None
    doc: str
    live: bool = False
    per_token: bool = False
    typical: float = 0.0
    values: Values | None = None
    key: bool = False

    @property
    def policy(self) -> bool:
        """Whether it is the probability that some policy gives to the sampled token."""
        return self.kind is Kind.PROB

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return self.domain is Domain.INTEGER

    @property
    def shape(self) -> str:
        """The shape and type of its tensor, in words."""
        return _SHAPES[self.axis] + _TYPES.get(self.domain, "")

    @property
    def meaning(self) -> str:
        """What its tensor holds."""
        return f"log-prob of the sampled token: {self.doc}" if self.policy else self.doc

    @property
    def declaration(self) -> str:
        """What a generated file says of its tensor: the axis, what it holds, and whether it is live."""
        axis = "either" if self.per_token else self.axis.word
        words = [axis, _HELD.get(self.domain, "number")]
        words += ["log-prob"] if self.domain is Domain.LOG_PROB else []
        return " ".join([*words, *(["live"] if self.live else [])])


_SHAPES = {Axis.TOKEN: "[N, T]", Axis.SEQUENCE: "[N]", Axis.SCALAR: "0-d"}
_TYPES = {
    Domain.CONDITION: " bool",
    Domain.MASK: " bool",
    Domain.INDEX: " int",
    Domain.INTEGER: " int",
}
_HELD = {
    Domain.CONDITION: "condition",
    Domain.MASK: "condition",
    Domain.INDEX: "index",
    Domain.INTEGER: "integer",
}


def _policy(name: str, tensor: str, doc: str, *, live: bool = False) -> Quantity:
    return Quantity(name, Axis.TOKEN, Kind.PROB, Domain.LOG_PROB, tensor, doc, live)


ENTROPY = "entropy"
"""The tensor of the entropy of the policy that is trained."""

_TOKEN, _SEQUENCE = Axis.TOKEN, Axis.SEQUENCE
_REAL, _BOOL = (Kind.REAL, Domain.REAL), (Kind.BOOL, Domain.CONDITION)

_ROWS = (
    _policy("policy", "logp", "the policy being trained", live=True),
    _policy("old", "logp_old", "the policy at rollout time, recomputed"),
    _policy("rollout", "logp_rollout", "the policy as the sampler computed it"),
    _policy("reference", "logp_ref", "the frozen reference policy"),
    Quantity("reward", _SEQUENCE, *_REAL, "reward", "the task's reward of a completion"),
    Quantity("token_reward", _TOKEN, *_REAL, "token_reward", "a reward of a token: of a process, or a KL"),
    Quantity("correct", _SEQUENCE, *_BOOL, "correct", "reward > 0, unless the batch says"),
    Quantity("truncated", _SEQUENCE, *_BOOL, "truncated", "the completion hit the generation limit"),
    Quantity("reward_greedy", _SEQUENCE, *_REAL, "reward_greedy", "reward of the greedy completion"),
    Quantity("length", _SEQUENCE, *_REAL, None, "trained tokens of a completion"),
    Quantity(
        "position", _TOKEN, *_REAL, None, "1 for the first trained token of a completion, up to `length`"
    ),
    Quantity("value", _TOKEN, *_REAL, "value", "a critic's value, for GAE"),
    Quantity("A", _SEQUENCE, *_REAL, "advantage", "the advantage", per_token=True),
    Quantity("loss", _TOKEN, *_REAL, None, "the loss of every token; in `reduce` alone", live=True),
)
QUANTITIES: dict[str, Quantity] = {row.name: row for row in _ROWS}

_WITHOUT_NAME = (
    Quantity("mask", _TOKEN, Kind.BOOL, Domain.MASK, "mask", "trained tokens"),
    Quantity(
        "group",
        _SEQUENCE,
        Kind.REAL,
        Domain.INDEX,
        "group",
        "whole numbers: which completions share a prompt",
    ),
    Quantity("sequence", _TOKEN, Kind.REAL, Domain.INDEX, "sequence", "packed form: the row of each token"),
    Quantity(
        ENTROPY,
        _TOKEN,
        Kind.REAL,
        Domain.NONNEGATIVE,
        ENTROPY,
        "of the policy's distribution, in nats",
        live=True,
    ),
)

PROMPT_ID = Quantity(
    "prompt_id",
    _SEQUENCE,
    Kind.REAL,
    Domain.INDEX,
    "prompt_id",
    "whole numbers: which prompt it is, the same in every rollout",
)
"""A tensor of batches for a spec that keeps something for each prompt."""

# Every tensor that a batch can hold, by its key.
TENSORS: dict[str, Quantity] = {row.tensor: row for row in (*_ROWS, *_WITHOUT_NAME) if row.tensor is not None}
LIVE_TENSORS = tuple(name for name, row in TENSORS.items() if row.live)
# What the loss adds to a batch: the advantage for each sequence, and which sequences count.
DERIVED_TENSORS = frozenset({"advantage_rows", "present"})


def teacher(name: str, doc: str | None = None) -> Quantity:
    """The row of a policy that a spec declares: it is frozen, as `reference` is."""
    return _policy(name, f"logp_{name}", doc or "a teacher")


def other_policies(tensors: Mapping[str, Quantity]) -> tuple[str, ...]:
    """Log-probs of the policies that are not trained, of those that a batch can hold."""
    return tuple(name for name, row in tensors.items() if row.policy and not row.live)


@dataclass(frozen=True)
class InputKind:
    """What the second word of an input's declaration says: what its tensor holds."""

    kind: Kind
    domain: Domain
    doc: str
    live: bool = False

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return self.domain is Domain.INTEGER


_REAL_INPUT = InputKind(Kind.REAL, Domain.INPUT, "a real number without gradient")
INPUT_KINDS: dict[str, InputKind] = {
    "condition": InputKind(Kind.BOOL, Domain.CONDITION, "true or false; it stands wherever a condition does"),
    "live": InputKind(
        Kind.REAL,
        Domain.INPUT,
        "a real number with gradient to whoever brings it, a critic's value say",
        live=True,
    ),
    "integer": InputKind(Kind.REAL, Domain.INTEGER, "a whole number, an id say"),
}
INPUT_AXES = {axis.word: axis for axis in (Axis.TOKEN, Axis.SEQUENCE, Axis.SCALAR)}


def input_kind(word: tree.Identifier | None) -> InputKind:
    """The kind of an input, by the second word of its declaration."""
    return _REAL_INPUT if word is None else INPUT_KINDS[word.text]


def own_tensor(declared: tree.Input, values: Values | None = None, *, key: bool = False) -> Quantity:
    """The row of a spec's own input; one that is the key of a scope is of whole numbers."""
    name, kind = declared.name.text, input_kind(declared.kind)
    axis, doc = INPUT_AXES[declared.axis.text], declared.doc or "declared by the spec"
    typical = 1.0 if values is None or 1.0 in values else values.typical
    domain = Domain.INTEGER if key else kind.domain
    return Quantity(
        name, axis, kind.kind, domain, name, doc, kind.live, typical=typical, values=values, key=key
    )


def kept_tensor(name: str, cells: Scope, start: float, doc: str) -> Quantity:
    """The row of a memory: one number, or one for each sequence, that a loop kept from the rollout before."""
    axis = _SEQUENCE if cells.axis is Axis.GROUP else cells.axis
    return Quantity(
        name,
        axis,
        Kind.REAL,
        Domain.INPUT,
        name,
        doc or f"kept from rollout to rollout, {start:g} at first",
        typical=start,
    )
