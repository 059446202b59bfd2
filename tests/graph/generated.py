"""Specs made at random: small ones from the library, and rich ones with everything that the grammar can say."""

from dataclasses import dataclass

from hypothesis import strategies as st

from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.types import Axis, Kind

NUMBERS = st.sampled_from(["0.2", "0.5", "0.8", "1", "1.3", "2", "3", "0", "eps_low", "1 + eps_high", "soft"])
POSITIVE = st.sampled_from(["0.2", "0.5", "0.8", "1.3", "2", "3", "1 + eps_high", "soft"])
CONDITIONS = st.sampled_from(
    [
        "A > 0",
        "A < 0",
        "moving_away(it)",
        "it > 1.1",
        "old < 0.3 and A > 0",
        "not it > 0.9",
        "length > 3",
        "eps_low > 0.1",
        "top(old, 0.3, micro)",
        "position == length",
        "old < quantile(old, 0.4, sequence)",
    ]
)
STAGES = st.one_of(
    st.builds(
        "clip({}, {})".format, st.sampled_from(["0.8", "1 - eps_low"]), st.sampled_from(["1.2", "soft"])
    ),
    st.builds("min({})".format, POSITIVE),
    st.builds("max({})".format, NUMBERS),
    st.builds("clamp(0.5, {})".format, POSITIVE),
    st.builds("gaussian_gate({})".format, POSITIVE),
    st.builds("sigmoid_gate({})".format, POSITIVE),
    st.builds("gamma_gate({}, {})".format, POSITIVE, POSITIVE),
    st.just("geomean(sequence)"),
    st.just("prod(sequence) |> clamp(1e-6, 1e6)"),
    st.just("score"),
    st.just("straight_through"),
)
HEADS = st.sampled_from(
    [
        "policy / old",
        "policy / rollout",
        "policy / detach(policy)",
    ]
)
LAST = {"score", "straight_through"}

ADVANTAGES = st.sampled_from(
    [
        "reward |> center(group) |> scale(group, ddof = 1, eps = 1e-4)",
        "reward |> leave_one_out(group)",
        "reward |> leave_one_out(group, of = correct) |> scale(group, of = not truncated)",
        "reward |> center(group) |> per_token |> whiten(rollout_batch)",
        "reward - mean(reward, rollout_batch)",
        "(reward - kth(reward, group, 1)) * (2 if correct else 1)",
        "rank(reward, group) - mean(rank(reward, group), group)",
        "reward * exp(mean(log(old), sequence))",
        "reward |> leave_one_out(group) |> leave_one_out_scale(group)",
        "reward |> at_end |> gae(0.9, 0.8) |> whiten(rollout_batch)",
        "at_end(reward) - 0.1 * k1(old, reference) |> discounted_sum(0.95)",
    ]
)
REDUCTIONS = st.sampled_from(
    [
        "loss |> mean(window)",
        "loss |> mean(sequence) |> mean(window)",
        "loss |> sum(sequence) |> mean(window)",
        "loss / 32 |> sum(sequence) |> mean(window)",
        "loss |> mean(group) |> mean(window)",
        "loss |> mean(group, of = old < 0.5) |> mean(window, of = max(A, group) > 0.1)",
        "loss |> mean(sequence, of = old < 0.5) |> sum(group) |> mean(window)",
        "loss |> sum(window)",
        "sum(loss * length, window) / sum(length, window)",
    ]
)
PARTS = st.sampled_from(
    [
        "penalty kl = 0.04 * k3(policy, reference)",
        "penalty drift = eps_low * k2(policy, old)",
        "penalty coin = 0.1 * binary_kl(policy, old)",
        "bonus entropy = 0.01 * entropy(policy)",
        "weight mismatch = old / rollout |> min(2)",
        "weight mass = clamp(soft / old ^ 0.3, soft, 10)",
        "weight root = sqrt(old) if A > 0 else exp(log(old) / 2)",
        "mute far where abs(log(policy / old)) > 0.5",
        "mute stale where A < 0 and mean(k1(old, policy), sequence) > 0.05",
        "exclude rare where policy < quantile(old, 0.2, window, of = A > 0, empty = 0)",
        "exclude long where length > 5",
        "exclude first where position == 1 and length > 1",
        "weight later = 1 + next(old) * discounted_sum(old, soft / 2)",
        "mute sure where entropy(policy) < quantile(entropy(policy), 0.3, group)",
        "mute large where top(abs(log(policy / old)), eps_low, micro)",
        "reward length = -0.01 * length",
        "reward shaped = overlong(length, 6, 3)",
        "keep mixed where 0 < mean(correct, group) < 1",
    ]
)


@st.composite
def specs(draw: st.DrawFn) -> str:
    """The text of a spec that resolves, unless its ratio carries no gradient."""
    pipe = [draw(HEADS)]
    for number in range(draw(st.integers(0, 3))):
        stage = draw(STAGES)
        if "sequence" in stage and any("sequence" in before for before in pipe):
            continue
        guard = f" when {draw(CONDITIONS)}" if "|>" not in stage and draw(st.booleans()) else ""
        pipe.append(f"{stage} as stage_{number}{guard}")
        if stage in LAST:
            break
    parts = draw(st.lists(PARTS, max_size=3, unique_by=lambda part: part.split(" ")[1]))
    lines = [
        "objective generated extends group_ppo",
        "param bound = 1.4 in (1, inf)",
        "let soft = bound + 0.1 * eps_high",
        f"advantage = {draw(ADVANTAGES)}",
        "ratio = " + " |> ".join(pipe),
        f"reduce = {draw(REDUCTIONS)}",
        "weight used = soft / soft",
        *parts,
    ]
    return "\n".join(lines) + "\n"


# ---- everything that the grammar can say


@dataclass(frozen=True)
class Place:
    """Where an expression stands: what it may read."""

    axis: str
    """`scalar`, `sequence` or `token`: the finest axis its value may have."""
    before_advantage: bool = False


GIVEN = [row for row in QUANTITIES.values() if row.tensor is not None and not row.live and row.name != "A"]
REWARDS = [row.name for row in GIVEN if row.axis is Axis.SEQUENCE and row.kind is Kind.REAL]
GIVEN_CONDITIONS = [row.name for row in GIVEN if row.kind is Kind.BOOL]
OF_TOKENS = [row.name for row in GIVEN if row.axis is Axis.TOKEN]

Names = tuple[str, ...]
"""Arguments of a `def`, which then is all that its body reads."""

BEFORE, AFTER = ("sequence", "group", "rollout_batch"), ("sequence", "group", "window", "micro")


@st.composite
def rich_specs(draw: st.DrawFn) -> str:
    """The text of a spec that resolves: every statement, every kind of expression, every primitive."""
    return _Rich(draw).text()


class _Rich:
    """Writes one spec. Whatever it declares is read, since an unread name is an error."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.estimate = self.one(*ESTIMATES_OF_TOKENS, *ESTIMATES_OF_COMPLETIONS)

    def one(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def often(self, share: float = 0.5) -> bool:
        return self.draw(st.integers(0, 99)) < 100 * share

    # ---- statements

    def text(self) -> str:
        stages, lines = self.ratio()
        lines = [
            "objective generated extends " + self.one("group_ppo", "gspo_token"),
            '"what it is"',
            'source "a paper"',
            'differs "another program: otherwise"',
            "",
            'param bound = 1.4, half = bound / 2 in (0, inf) "a bound"',
            "param limit = 6 in [1, inf) bind generation_limit",
            "param kind  = 4 in {1, 2, 4}",
            "param eps_high = 0.3",
            'input weighting : sequence "given"',
            "input noise : token",
            *self.definitions(),
            *self.lets(),
            f"advantage = {self.advantage()}",
            *lines,
            f"reduce = {self.reduction()}",
            "weight everything = bound * half * limit * kind * eps_low * eps_high * weighting * used / used * noise",
            *self.parts(),
            *self.edits(stages),
            f"variant other {{ {self.one('reduce = loss |> mean(window)', 'param bound = 2', 'weight more = 0.5')} }}",
            "sweep bound = 1.2, 1.4, 2",
            'allow micro-scope "on purpose"',
        ]
        return "\n".join(lines) + "\n"

    def definitions(self) -> list[str]:
        """Functions of the spec, one of which calls the other with its default."""
        body = self.real(Place("scalar", before_advantage=True), 2, ("x", "y"))
        return [f"def inner(x, y = 0.5) = 0 * x * y + {body}", "def outer(x) = inner(x) + inner(x, y = 2)"]

    def lets(self) -> list[str]:
        """Values that a drop makes neutral, or that others read."""
        plain = self.real(Place("token"), 3)
        return [
            f"let used = 1 + abs({plain})",
            f"let dropped = {self.real(Place('token'), 2)} neutral {self.one('1', '0.5', 'bound')}",
            "let kept = outer(dropped) neutral dropped",
            "penalty of_lets = 0 * kept * policy",
            *(["drop dropped"] if self.often(0.3) else []),
        ]

    def advantage(self) -> str:
        return f"({self.estimate} |> clamp(-3, 3)) + {self.real(Place('sequence', before_advantage=True), 3)}"

    def ratio(self) -> tuple[list[str], list[str]]:
        """The pipe of the ratio with the names of its stages; gates of every sort, in any order."""
        head = self.one(
            "policy / old",
            "policy / rollout",
            "exp(log(policy) - log(old))",
            "(1 if A > 0 else 2) * (policy / old)",
        )
        names = [f"stage_{number}" for number in range(self.draw(st.integers(1, 3)))]
        pipe = "".join(f"\n  |> {self.gate()} as {name}{self.guard()}" for name in names)
        return names, [f"ratio = {head}{pipe}"]

    def gate(self) -> str:
        width = self.real(Place("token"), 1)
        return self.one(
            "clip(1 - eps_low, 1 + eps_high)",
            "min(bound)",
            "max(half)",
            f"gaussian_gate(0.5 + abs({width}))",
            f"sigmoid_gate(0.5 + abs({width}))",
            "gamma_gate(1.5, 0.5)",
            f"clamp(0.1, 1 + abs({width}))",
        )

    def guard(self) -> str:
        return f" when {self.condition(Place('token'), 2)}" if self.often() else ""

    def reduction(self) -> str:
        return self.one(
            *REDUCTION_TEXTS,
            f"loss * (1 + abs({self.real(Place('sequence'), 1)})) |> mean(sequence) |> mean(window)",
        )

    def parts(self) -> list[str]:
        row, token = Place("sequence", before_advantage=True), Place("token")
        every = [
            f"reward shaped = 0.1 * {self.real(row, 2)}",
            f"keep some where {self.condition(row, 2)}",
            f"prompt = {self.real(row, 2)}",
            f"step = 1 / (1 + abs({self.real(Place('scalar'), 2)}))",
            f"weight own = {self.real(token, 3)}",
            f"mute bad where {self.condition(token, 2)} and old < 0.9",
            f"exclude worse where {self.condition(token, 2)} and position > 2",
            f"penalty far = 0.1 * {self.divergence()} * {self.real(token, 2)}",
            f"penalty whole = 0.1 * mean(k3(policy, reference) * {self.real(token, 1)}, window)",
            "bonus entropy = 0.01 * entropy(policy)",
        ]
        return [line for line in every if self.often()]

    def divergence(self) -> str:
        return f"{self.one('k2', 'k3')}(policy, {self.one('old', 'reference', 'rollout')})"

    def edits(self, stages: list[str]) -> list[str]:
        target = self.draw(st.sampled_from(stages))
        every = [
            f"before {target} |> max(0.05) as before_it",
            f"after ratio.{target} |> min(50) as after_it when it > 1 or A < 0",
            f"swap {target} |> min(30) |> max(0.01) as new",
        ]
        return [line for line in every[:2] if self.often(0.3)] + ([every[2]] if self.often(0.2) else [])

    # ---- expressions

    def real(self, place: Place, depth: int, names: Names = ()) -> str:
        """A finite number of an axis no finer than the place's, that can be differentiated."""
        if depth == 0 or self.often(0.2):
            return self.leaf(place, names)
        forms = [self.arithmetic, self.function, self.choice]
        if not names:
            forms += [self.call, self.reduction_of, self.reduction_of]
        return self.draw(st.sampled_from(forms))(place, depth - 1, names)

    def leaf(self, place: Place, names: Names) -> str:
        """A number, a parameter, or a quantity that is known here."""
        found = ["0.3", "1.5", "2", "1e-2", "bound", "half", "kind", *names]
        if names:
            return self.one(*found)
        if place.axis in ("sequence", "token"):
            found += [*REWARDS, "length / limit", "weighting"]
        if place.axis == "token" or (place.axis == "sequence" and self.estimate in ESTIMATES_OF_COMPLETIONS):
            found += [] if place.before_advantage else ["A"]
        if place.axis == "token":
            found += [*OF_TOKENS, "noise", "position / limit", "log(old)"]
            found += [] if place.before_advantage else ["detach(policy)", "log(detach(policy) / old)"]
        return self.one(*found)

    def arithmetic(self, place: Place, depth: int, names: Names) -> str:
        x = self.real(place, depth, names)
        match self.one("sum", "quotient", "power", "minus"):
            case "sum":
                return f"({x} {self.one('+', '-', '*')} {self.real(place, depth, names)})"
            case "quotient":
                return f"{self.atom(x)} / (1 + abs({self.real(place, depth, names)}))"
            case "power":
                return f"(0.5 + abs({x})) ^ {self.one('2', '0.5', '-1', 'half')}"
        return f"(-{self.atom(x)} ^ 2)"

    @staticmethod
    def atom(text: str) -> str:
        return f"({text})"

    def function(self, place: Place, depth: int, names: Names) -> str:
        x = self.real(place, depth, names)
        form = self.one(
            "sigmoid({})",
            "tanh({})",
            "erf({})",
            "atan({})",
            "abs({})",
            "detach({})",
            "exp(-abs({}))",
            "log(0.5 + abs({}))",
            "sqrt(0.5 + abs({}))",
            "min({}, 0.4)",
            "max(bound, {})",
        )
        return form.format(x)

    def choice(self, place: Place, depth: int, names: Names) -> str:
        x = self.real(place, depth, names)
        return f"({x} if {self.condition(place, depth, names)} else {self.real(place, depth, names)})"

    def call(self, place: Place, depth: int, names: Names) -> str:
        x = self.real(place, depth, names)
        form = self.one(
            "outer({})",
            "({} |> clamp(-2, 2) as bounded |> max(it / 2) when it > 0.1)",
            "(least c in 0.25 .. half by 0.25 where {} < c else bound)",
        )
        return form.format(x)

    def reduction_of(self, place: Place, depth: int, names: Names) -> str:
        """A reduction to the place's axis, or to one above it; or what goes along the tokens of a completion."""
        before = place.before_advantage
        known = (
            ("rollout_batch",) if before else ("window",) if place.axis == "scalar" else ("window", "micro")
        )
        whole = self.one(*known)
        within = self.one(*((whole,) if place.axis == "scalar" else BEFORE if before else AFTER))
        token = f"({self.real(Place('token', before), depth, names)} * old)"
        row = f"({self.real(Place('sequence', before), depth, names)} + reward)"
        some = f"({self.condition(Place('token', before), 1)} or old < 0.05)"
        forms = [
            f"{self.one('sum', 'mean', 'std', 'min', 'max')}({token}, {within}) / 5",
            f"count({self.one(token, some)}, {within}) / 20",
            f"mean({some}, {within})",
            f"quantile({token}, 0.3, {whole})",
            f"quantile(old, 0.7, {whole}, of = {some}, empty = 0.5)",
        ]
        if place.axis != "scalar":
            forms += [
                f"{self.one('rank', 'center')}({row}, group)",
                f"kth({row}, group, {self.one('1', '2')})",
            ]
        if place.axis == "token":
            forms += [
                f"next({token})",
                f"discounted_sum({token}, {self.one('0.5', 'half')})",
                f"per_token({row})",
            ]
        return self.one(*forms)

    def condition(self, place: Place, depth: int, names: Names = ()) -> str:
        """A condition of an axis no finer than the place's."""
        kinds = ["comparison", "chain"]
        kinds += ["completion"] if not names and place.axis != "scalar" else []
        kinds += ["token"] if not names and place.axis == "token" and not place.before_advantage else []
        kinds += ["and", "or", "not"] if depth > 0 else []
        match self.one(*kinds):
            case "comparison":
                sign, bound = self.one("<", "<=", ">", ">=", "!="), self.one("0.31", "0.77", "bound")
                return f"{self.real(place, max(depth - 1, 0), names)} {sign} {bound}"
            case "chain":
                return f"0.11 < {self.real(place, max(depth - 1, 0), names)} < 1.71"
            case "completion":
                return self.one(*GIVEN_CONDITIONS)
            case "token":
                return self.one("pick(old > 0.2, 0.3, micro, seed = 7)", "top(value, 0.3, micro)", "A > 0")
            case "not":
                return f"(not {self.condition(place, depth - 1, names)})"
            case word:
                return f"({self.condition(place, depth - 1, names)} {word} {self.condition(place, depth - 1, names)})"


ESTIMATES_OF_COMPLETIONS = (
    "reward |> center(group) |> scale(group, ddof = 1, eps = 1e-4)",
    "reward |> leave_one_out(group)",
)
ESTIMATES_OF_TOKENS = ("reward |> center(group) |> per_token |> whiten(rollout_batch)", "reward - value")
REDUCTION_TEXTS = (
    "loss |> mean(window)",
    "loss |> mean(sequence) |> mean(window)",
    "loss |> sum(sequence) |> mean(window)",
    "loss |> mean(group) |> mean(window)",
    "loss |> sum(window)",
)
