"""Small specs made at random from the library: ratio pipes, lets, weights, penalties, rules and reductions."""

from hypothesis import strategies as st

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
        "reward |> center(group) |> per_token |> whiten(rollout_batch)",
        "reward - mean(reward, rollout_batch)",
        "(reward - kth(reward, group, 1)) * (2 if correct else 1)",
        "rank(reward, group) - mean(rank(reward, group), group)",
        "reward * exp(mean(log(old), sequence))",
    ]
)
REDUCTIONS = st.sampled_from(
    [
        "loss |> mean(window)",
        "loss |> mean(sequence) |> mean(window)",
        "loss |> sum(sequence) |> mean(window)",
        "loss / 32 |> sum(sequence) |> mean(window)",
        "loss |> mean(group) |> mean(window)",
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
