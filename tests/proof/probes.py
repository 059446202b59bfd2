"""Objectives that nobody would train with: between them they use all of the template, as no shipped one does.

They have no reference. What the template makes of them is compared with the float64 interpreter of their graphs,
which shares no code with it.
"""

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import torch

import maspo_dsl
from maspo_dsl.graph.interpret import Interpretation
from maspo_dsl.semantics.types import Axis

from ..batches import Arrays, as_torch, given_advantage, packed, split
from .asking import Check, Cut, advises, evaluates, same
from .windows import complete, windows

PROBES: dict[str, str] = {
    "quantiles": """
advantage = reward - quantile(reward, 0.45, group) + 0.1 * quantile(length, 0.6, group, of = correct, empty = 0.25)
weight own   = 1 + quantile(old, 0.3, sequence) + quantile(old, 0.6, sequence, of = value > 0.4, empty = -0.75)
weight all   = 2 + quantile(old, 0.4, group) - quantile(value, 0.8, group, of = old > 0.3, empty = 0.4)
weight whole = 1 + quantile(value, 0.35, micro, of = value > 0.9, empty = 0.3) + quantile(old, 0.55, micro)
""",
    "extremes": """
let width = (max(value, rollout_batch) - min(value, sequence)) / 5
advantage = reward - max(reward, group) / 3 + min(length, group) / 7 + width
weight own   = 1 + max(value, sequence) / 3 - min(old, sequence)
weight all   = 1 + (max(value, group) - min(value, group)) / 5
weight whole = 1 + (max(value, micro) - min(value, micro)) / 9
""",
    "window": """
advantage = reward
weight half  = 1 + quantile(value, 0.35, window) - quantile(old, 0.6, window, of = value > 0.2, empty = 0.4)
weight whole = 1 + (max(value, window) - min(value, window)) / 9 + std(value, window) + mean(length, window) / 7
exclude low where value < quantile(value, 0.1, window)
""",
    "neighbours": """
param gamma = 0.9
advantage = reward + discounted_sum(value, gamma) - next(value) + 0.1 * position + discounted_sum(old, 0.5)
weight far  = discounted_sum(old, 1 / (1 + length)) + next(old) * position
mute last where position == length and value > 0
""",
    "choices": """
advantage = rank(reward, group) - 2 * kth(reward, group, 1) + kth(reward, group, 2) + kth(length, group, 3) / 9
weight some = 1 + (1 if pick(value > -0.5, 0.3, micro) else 0) + (0.5 if pick(old > 0.1, 0.2, micro, seed = 1) else 0)
weight best = 1 + (1 if top(value, 0.25, micro) else 0) + (0.5 if top(value, 1e-4, micro) else 0)
weight tied = 1 + (1 if top(per_token(length), 0.4, micro) else 0)
""",
    "searches": """
advantage = reward
weight each = 1 + (least c in 0.05 .. 0.95 by 0.15 where c * (1 + abs(value)) >= old else 2)
weight own  = 1 + (least c in 0.1 .. 1.9 by 0.3 where mean(min(abs(value), c), sequence) >= 0.43 else 3)
weight all  = 1 + (least c in 0.1 .. 1.9 by 0.3 where mean(min(abs(value), c), group) >= 0.52 else 3)
step        = 1 / (1 + mean(reference ^ 2, window))
""",
    "lengths": """
advantage = length - 4.5
weight all = 1 + abs(A) / 3
""",
    "rows": """
input weighting : sequence
advantage = reward * (1 + 0.1 * length)
weight all = 1 + abs(mean(A, window)) + mean(weighting, window) / 3
""",
    "inputs": """
input weighting : sequence
input noise : token
advantage = reward * weighting + (1 if truncated else 0.25)
weight rows = 1 + abs(mean(A, group)) + mean(noise, sequence) / 3
penalty whole = 0.3 * mean(weighting * k3(policy, reference), window)
bonus entropy = 0.2 * entropy(policy)
keep some where correct or weighting > 0.5
prompt = mean(reward, group) + mean(weighting, group)
step = 1 / (1 + mean(noise ^ 2, window))
""",
}


@cache
def probe(name: str) -> maspo_dsl.Objective:
    """A probe as an objective."""
    body = PROBES[name].strip() + "\nratio = policy / old |> clip(0.7, 1.4)\nreduce = loss |> mean(window)\n"
    return maspo_dsl.parse(f'objective {name} extends group_ppo\n{body}allow micro-scope "on purpose"\n')


@cache
def probe_checks(name: str) -> tuple[Check, ...]:
    """Whether a module does what the interpreter does."""
    return tuple(_checks(name))


def _checks(name: str) -> Iterator[Check]:
    graph = probe(name).graph
    for window, batch in batches(name):
        try:
            oracle = Interpretation(graph, batch)
            loss, gradient = float(oracle.output("loss")), oracle.gradient("loss")
        except KeyError:  # one advantage a token, where it needs one a sequence
            continue
        yield evaluates(window, batch, loss, gradient)
        flat = packed(batch)
        unpacked = np.zeros(flat["mask"].shape)
        unpacked[flat["mask"]] = gradient[batch["mask"]]
        yield evaluates(f"{window}, packed", flat, loss, unpacked)
        bare = {key: value for key, value in batch.items() if key != "advantage"}
        if "reward" in bare:
            yield from before_the_loss(window, bare, Interpretation(graph, bare))
    yield from empty(name)
    if name == "rows":
        yield from told_by(name)
    if name in ("window", "inputs", "rows"):
        yield from cuts(name)
    if name == "lengths":
        yield told_by_nothing()
        yield from counts()
    if name == "searches":
        yield needed_by_the_step()
    if name == "neighbours":
        yield endless()
    if name == "choices":
        yield from draws()


def batches(name: str) -> Iterator[tuple[str, Arrays]]:
    for number, (window, batch) in enumerate(windows().items()):
        if "far" not in window:
            yield window, with_inputs(batch, number)
    long = given_advantage(21, columns=700, extreme=False)
    yield "long completions", with_inputs(complete({key: value[5:8] for key, value in long.items()}, 21), 21)
    few = given_advantage(22, extreme=False)
    few["value"] = np.where(np.isnan(few["value"]), few["value"], -1.0)
    yield "nothing chosen", with_inputs(complete(few, 22), 22)
    alike = given_advantage(23, extreme=False)
    alike["value"], alike["logp_old"] = np.ones(alike["mask"].shape), np.full(alike["mask"].shape, -0.5)
    yield "all alike", with_inputs(complete(alike, 23), 23)


def with_inputs(batch: Mapping[str, np.ndarray], seed: int) -> Arrays:
    """The batch with the tensors that probes declare, and with rewards and groups."""
    random, shape = np.random.default_rng(200 + seed), batch["mask"].shape
    more = {
        "weighting": random.normal(size=shape[0]),
        "noise": np.where(batch["mask"], random.normal(size=shape), np.nan),
        "reward": random.normal(size=shape[0]),
        "group": np.arange(shape[0]) % 3,
    }
    return {**more, **batch}


def before_the_loss(window: str, batch: Arrays, oracle: Interpretation) -> Iterator[Check]:
    """Advantage, `keep` and `prompt` of the rows that take part."""
    yield advises(f"advantage, {window}", batch, trained_only(oracle.output("advantage"), batch))
    present = batch["mask"].any(1) & ~np.isnan(batch["reward"])
    for name in ("keep", "prompt"):
        if name in oracle.graph.outputs:
            expected = np.broadcast_to(oracle.output(name), present.shape)[present]
            yield Check(f"{name}, {window}", _gives(name, batch, present, expected))
    if "step" in oracle.graph.outputs:
        step = float(oracle.output("step"))
        yield Check(f"step, {window}", lambda module: same(module.step([as_torch(batch)]), step))


def trained_only(advantage: np.ndarray, batch: Arrays) -> np.ndarray:
    return advantage if advantage.ndim == 1 else np.where(batch["mask"], advantage, 0.0)


def _gives(name: str, batch: Arrays, present: np.ndarray, expected: np.ndarray):
    return lambda module: same(getattr(module, name)(as_torch(batch)).numpy()[present], expected)


def cuts(name: str) -> Iterator[Check]:
    """Parts of a window, one of them without a token that a quantile is of."""
    batch = with_inputs(windows()["plain"], 0)
    batch["group"] = np.arange(len(batch["group"]))
    oracle = Interpretation(probe(name).graph, batch)
    loss, gradient = float(oracle.output("loss")), oracle.gradient("loss")
    yield Cut(batch, split(batch, parts=4, seed=5)).check("cut", [loss], gradient)


def empty(name: str) -> Iterator[Check]:
    """Rollouts without a token, or without a completion."""
    whole = with_inputs(windows()["estimated"], 0)
    for words, shape in (("no column", (3, 0)), ("no row", (0, 4))):
        nothing = {key: np.zeros(shape[: value.ndim], value.dtype) for key, value in whole.items()}
        by_token = probe(name).resolved.parts["advantage"].axis is Axis.TOKEN
        yield advises(f"advantage, {words}", nothing, np.zeros(shape if by_token else shape[:1]))
        yield evaluates(words, {**nothing, "advantage": np.zeros(shape[0])}, 0.0, np.zeros(shape))


def told_by(name: str) -> Iterator[Check]:
    """As many packed tokens as completions: only the spec's own tensor, or nothing at all, tells that there are two."""
    batch = with_inputs(windows()["on policy"], 3)
    batch = {key: batch[key] for key in ("logp", "logp_old", "mask", "advantage", "weighting")}
    oracle = Interpretation(probe(name).graph, batch)
    loss, gradient = float(oracle.output("loss")), oracle.gradient("loss")
    order = np.array([1, 0])
    flat = {key: value[order, 0] if value.ndim == 2 else value for key, value in batch.items()}
    yield evaluates("a token a row, packed", {**flat, "sequence": order}, loss, gradient[order, 0])
    alone = {"logp": flat["logp"], "mask": flat["mask"], "sequence": order, "reward": np.array([0.5, -1.5])}
    yield advises("rewards alone, packed", alone, 1.1 * alone["reward"])


def told_by_nothing() -> Check:
    """Packed tokens alone: no tensor tells how many completions there are, and yet an advantage is a completion's."""
    batch = {key: windows()["plain"][key][:4] for key in ("logp", "logp_old", "mask")}
    graph, flat = probe("lengths").graph, packed(batch)
    oracle = Interpretation(graph, {**batch, "advantage": Interpretation(graph, batch).output("advantage")})
    unpacked = np.zeros(flat["mask"].shape)
    unpacked[flat["mask"]] = oracle.gradient("loss")[batch["mask"]]
    return evaluates("tokens alone, packed", flat, float(oracle.output("loss")), unpacked)


def needed_by_the_step() -> Check:
    """The loss of a whole window comes with all its statistics, so what only the step reads must be there.

    The loss of a part does not ask for it.
    """
    whole = as_torch(with_inputs(windows()["plain"], 0))
    lacking = {name: value for name, value in whole.items() if name != "logp_ref"}

    def holds(module: torch.nn.Module) -> bool:
        part = module(lacking, denominators=module.window([whole]))
        try:
            module(lacking)
        except ValueError as error:
            named = "the batch lacks `logp_ref` [N, T], needed by the window's statistics" in str(error)
            return named and same(part.loss.item(), module(whole).loss.item())
        return False

    return Check("a tensor of the step's is missing", holds)


def counts() -> Iterator[Check]:
    """Members are counted in words of eight, whatever their number, and wherever in memory they begin."""
    some = torch.rand(3, 1309, generator=torch.Generator().manual_seed(0)) < 0.7
    masks = {
        "more than a byte holds": torch.ones(2, 70_000, dtype=torch.bool),
        "a sum less one": torch.ones(1, 511, dtype=torch.bool),
        "a sum and one": torch.ones(1, 513, dtype=torch.bool),
        "not at a word's beginning": some[1:],
    }
    for words, mask in masks.items():
        yield Check(f"count, {words}", _counts(mask))


def _counts(mask: torch.Tensor):
    batch = {"mask": mask, **dict.fromkeys(("logp", "logp_old"), torch.zeros(mask.shape))}
    return lambda module: same(module.window([batch])["tokens"], float(mask.sum()))


def hashed(keys: np.ndarray, seed: int) -> np.ndarray:
    """What orders the draw: two rounds of multiplication and a last shift, of the 32 bits of each key."""
    bits = [int(bits) for bits in keys.view(np.uint32)]
    mixed = [(value + 0x9E3779B9 * (seed + 1)) % 2**32 for value in bits]
    for _ in range(2):
        mixed = [(value ^ value >> 16) * 0x45D9F3B % 2**32 for value in mixed]
    return np.array([value ^ value >> 16 for value in mixed])


def draws() -> Iterator[Check]:
    """The order of 64 tokens whose hashes are next to each other, the larger first; two differ in the last bit."""
    random = np.random.default_rng(0)
    many = (random.normal(size=200_000) * 10.0 ** random.integers(-30, 30, 200_000)).astype(np.float32)
    for seed in (0, 1):
        hashes = hashed(many, seed)
        order = hashes.argsort()
        ranked = hashes[order]
        pair = np.flatnonzero((np.diff(ranked) == 1) & (ranked[:-1] % 2 == 0))[0]
        chosen = order[pair - 31 : pair + 33][::-1].copy()
        yield Check(f"the draw, seed {seed}", _drawn_in_order(many[chosen], hashes[chosen], seed))


def _drawn_in_order(keys: np.ndarray, hashes: np.ndarray, seed: int):
    place = hashes.argsort().argsort()

    def holds(module: torch.nn.Module) -> bool:
        known = type(module).forward.__globals__
        function, everything = known["pick_within"], known["everything"]
        every, key = torch.ones(1, len(keys), dtype=torch.bool), torch.as_tensor(keys).unsqueeze(0)
        cells = everything({"mask": every})
        drawn = (function(every, every, cells, share / 64, key, seed)[0].numpy() for share in range(1, 64))
        return all(((place < share) == found).all() for share, found in enumerate(drawn, 1))

    return holds


def endless() -> Check:
    """One completion of 270 000 tokens: a geometric series, added up from its end."""
    count, gamma = 270_000, 1 - 2.0**-20
    ones = torch.ones(1, count, dtype=torch.float64)
    left = torch.arange(count, 0, -1, dtype=torch.float64)
    expected = (1 - gamma**left) / (1 - gamma)

    def holds(module: torch.nn.Module) -> bool:
        known = type(module).forward.__globals__
        cells = known["tokens_by"]({"mask": ones > 0, "present": torch.ones(1, dtype=torch.bool)}, "sequence")
        got = known["discounted_sum_within"](ones, ones > 0, cells, torch.tensor(gamma, dtype=torch.float64))
        return torch.allclose(got[0], expected, rtol=1e-8)

    return Check("a completion of 270 000 tokens", holds)
