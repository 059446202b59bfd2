"""What is asked of an objective: its reference's numbers, on whole windows and in every form they can take."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product

import numpy as np
import torch

import maspo_dsl

from ..batches import Arrays, as_torch, packed, padded, ragged, rows_of, split
from ..loading import objective
from ..reference.catalogue import REFERENCES
from ..reference.reference import Reference
from .asking import Check, Cut, advises, evaluates, same
from .settings import ASKED_IN_LOSS, BY_PROMPT, MEAN_OF_MICRO, POOLED, SEARCHED_IN_MICRO, WITHIN_GROUPS
from .windows import complete, stale, windows, windows_of

Params = dict[str, float]


@cache
def checks(name: str, params: tuple[tuple[str, float], ...]) -> tuple[Check, ...]:
    """All questions about an objective with these parameters."""
    return tuple(_Checks(name, dict(params)).all())


class _Checks:
    def __init__(self, name: str, params: Params) -> None:
        self.reference: Reference = REFERENCES[name]
        self.params = params
        self.name = name
        self.by_parts = name in MEAN_OF_MICRO | SEARCHED_IN_MICRO
        text = shipped()[name].resolved.text
        self.excludes = "\nexclude " in text
        self.pooled = name in POOLED

    def all(self) -> Iterator[Check]:
        for window, batch in windows_of(self.name).items():
            yield from self.evaluations(window, batch)
        yield from self.forms()
        yield from self.gradients_elsewhere()
        yield from self.cuts()
        yield from self.estimates()
        yield from self.other_forms()
        yield from self.missing()
        yield self.tokens_alone()
        yield self.half_the_bits()
        yield self.counts()
        yield self.ranks()
        yield self.absent()
        if self.reference.keep is not None:
            yield from self.kept()
        if self.reference.step is not None:
            yield from self.steps()
        if self.reference.prompt is not None:
            yield from self.prompts()
        if self.reference.memory is not None:
            yield from self.memories()

    # ---- loss and gradient

    def evaluations(self, window: str, batch: Arrays) -> Iterator[Check]:
        """The window as it is, and packed."""
        loss, gradient = self.expected(batch)
        yield evaluates(window, batch, loss, gradient)
        flat = packed(batch)
        if "advantage" in batch:  # then it alone tells how many rows there are
            told = {key for key, value in batch.items() if value.ndim == 1} - {"advantage"}
            told -= {ASKED_IN_LOSS.get(self.name)}
            flat = {key: value for key, value in flat.items() if key not in told}
        unpacked = np.zeros(flat["mask"].shape)
        unpacked[flat["mask"]] = gradient[batch["mask"]]
        yield evaluates(f"{window}, packed", flat, loss, unpacked)

    def expected(self, batch: Arrays) -> tuple[float, np.ndarray]:
        return self.reference.loss(batch, self.params), self.reference.dloss_dlogp(batch, self.params)

    def forms(self) -> Iterator[Check]:
        """Padding changes nothing, nothing trained is loss 0, and mask and advantage may be of whole numbers."""
        whole = windows()["plain"]
        loss, gradient = self.expected(whole)
        wider = padded(whole, 4)
        yield evaluates("padding", wider, loss, np.pad(gradient, ((0, 0), (0, 4))))
        yield evaluates("a mask of numbers", {**whole, "mask": whole["mask"].astype(int)}, loss, gradient)
        empty = {**whole, "mask": np.zeros_like(whole["mask"])}
        yield evaluates("nothing trained", empty, 0.0, np.zeros(empty["mask"].shape))
        for name, shape in (("no column", (3, 0)), ("no row", (0, 4))):
            nothing = {key: np.zeros(shape[: value.ndim], value.dtype) for key, value in whole.items()}
            yield evaluates(name, nothing, 0.0, np.zeros(shape))
        signs = {**whole, "advantage": np.sign(whole["advantage"]).astype(int)}
        yield evaluates("an advantage of whole numbers", signs, *self.expected(signs))

    def gradients_elsewhere(self) -> Iterator[Check]:
        """On policy a caller may hand in `logp` itself for the other policies: no gradient goes that way."""
        whole = windows()["plain"]
        batch = {**whole, **dict.fromkeys(("logp_old", "logp_ref", "logp_rollout"), whole["logp"])}
        gradient = self.expected(batch)[1]

        def holds(module: torch.nn.Module) -> bool:
            tensors = as_torch(batch)
            entropy = tensors["entropy"].requires_grad_()
            others = dict.fromkeys(("logp_old", "logp_ref", "logp_rollout"), tensors["logp"])
            module({**tensors, **others}).loss.backward()
            stray = entropy.grad is not None and bool(entropy.grad.any())
            return same(tensors["logp"].grad, gradient) and not stray

        yield Check("the other policies are not trained", holds)

    def cuts(self) -> Iterator[Check]:
        """The parts of a window, one of them without a trained token, give its loss and its gradient."""
        for number, window in enumerate(("plain", "close", "estimated")):
            batch = windows()[window]
            if "advantage" not in batch:
                batch = {**batch, "advantage": self.reference.advantage(batch, self.params)}
            rows = [[row for row in part if row != 1] for part in self.split(batch, number)]
            cut = Cut(batch, [part for part in rows if part] + [[1]])
            yield cut.check(f"{window}, cut", *self.of_parts(cut))

    def split(self, batch: Arrays, seed: int) -> list[list[int]]:
        """The rows in three parts; groups stay whole where the loss is averaged over them."""
        if self.name not in BY_PROMPT | WITHIN_GROUPS:
            return split(batch, parts=3, seed=seed)
        names = np.random.default_rng(seed).permutation(np.unique(batch["group"]))
        return [np.flatnonzero(np.isin(batch["group"], part)).tolist() for part in np.array_split(names, 3)]

    def of_parts(self, cut: Cut) -> tuple[list[float], np.ndarray]:
        """The loss of each part and all their gradients; where a part is by itself, as the reference has it alone."""
        loss, gradient = self.expected(cut.whole)
        if not self.by_parts:
            return [loss], gradient
        losses = []
        counts = [self.reference.counted(part, self.params) for part in cut.parts]
        for part, rows, count in zip(cut.parts, cut.rows, counts, strict=True):
            share = 1 / len(cut.parts) if self.name in MEAN_OF_MICRO else count / sum(counts)
            loss, own = self.expected(part)
            losses.append(share * loss)
            gradient[rows] = share * own
        return losses, gradient

    def other_forms(self) -> Iterator[Check]:
        """As many packed tokens as rows, in another order: what an [N] then means, another tensor tells."""
        batch = {
            key: value[:, :1] if value.ndim == 2 else value
            for key, value in ragged(7, extreme=False, garbage=False).items()
        }
        batch = {**batch, "mask": np.ones((len(batch["group"]), 1), dtype=bool)}
        batch = complete(batch, 7)
        loss, gradient = self.expected(batch)
        order = np.random.default_rng(0).permutation(len(batch["group"]))
        flat = {key: value[order, 0] if value.ndim == 2 else value for key, value in batch.items()}
        flat["sequence"] = order
        yield evaluates("a token a row, packed", flat, loss, gradient[order, 0])
        estimate = self.reference.advantage(batch, self.params)
        given = estimate if estimate.ndim == 1 else estimate[order, 0]
        yield evaluates(
            "a token a row, with an advantage", {**flat, "advantage": given}, loss, gradient[order, 0]
        )

    def missing(self) -> Iterator[Check]:
        """Without a tensor an objective says so, or does as well without."""
        for window in ("plain", "estimated"):
            batch = windows()[window]
            loss, _ = self.expected(batch)

            def holds(module: torch.nn.Module, batch: Arrays = batch, loss: float = loss) -> bool:
                refusal = type(module).forward.__globals__["BatchError"]
                for name in batch:
                    tensors = as_torch({key: value for key, value in batch.items() if key != name})
                    try:
                        right = same(module(tensors).loss.item(), loss)
                    except refusal as error:
                        right = f"`{name}`" in str(error)
                    if not right and name not in (
                        "advantage",
                        "reward",
                    ):  # each replaces, or hides, the other
                        return False
                return True

            yield Check(f"{window}, a tensor missing", holds)

    def tokens_alone(self) -> Check:
        """The statistics of a window need no reward, unless the advantage is in them."""
        batch = windows()["plain"]
        bare = {name: value for name, value in batch.items() if value.ndim == 2}

        def holds(module: torch.nn.Module) -> bool:
            refusal = type(module).forward.__globals__["BatchError"]
            counted_in = not {"advantage", "correct", "group"}.isdisjoint(module.reads["window"])
            return refuses(refusal, lambda: module.window([as_torch(bare)])) is counted_in

        return Check("the window of tokens alone", holds)

    def half_the_bits(self) -> Check:
        """Rewards and greedy rewards in float32 beside log-probs in float64: the loss is computed in float64."""
        batch = windows()["estimated"]
        fewer = {name: batch[name].astype(np.float32) for name in ("reward", "reward_greedy", "value")}
        loss, gradient = self.expected({**batch, **{k: v.astype(float) for k, v in fewer.items()}})

        def holds(module: torch.nn.Module) -> bool:
            tensors = as_torch(batch) | {name: torch.as_tensor(value) for name, value in fewer.items()}
            out = module(tensors)
            out.loss.backward()
            return same(out.loss.item(), loss) and same(tensors["logp"].grad, gradient)

        return Check("rewards in half the bits", holds)

    def counts(self) -> Check:
        """The window's tokens and sequences, over its parts; an excluded token is a matter of the loss."""
        batch = windows()["missing rewards"]
        batch = {**batch, "advantage": self.reference.advantage(batch, self.params)}
        mask = counted(batch) if self.reference.reads_reward else batch["mask"]
        parts = [rows_of(batch, rows) for rows in self.split(batch, 2)]
        excludes = self.excludes

        def holds(module: torch.nn.Module) -> bool:
            found = module.window([as_torch(part) for part in parts])
            right = found["tokens"] == mask.sum() and found["sequences"] == mask.any(1).sum()
            return (bool(right) or excludes) and found["tokens"].dtype in (torch.int64, torch.float64)

        return Check("the counts of a window", holds)

    def ranks(self) -> Check:
        """On two ranks a call needs the window's denominators; a window is refused that ranks cannot add up."""
        batch, pooled = windows()["plain"], self.pooled

        def holds(module: torch.nn.Module) -> bool:
            refusal, tensors = type(module).forward.__globals__["BatchError"], as_torch(batch)
            denominators = module.window([tensors])
            with ranks_are(2):
                together = refuses(refusal, lambda: module.window([tensors]))
                without = refuses(refusal, lambda: module(tensors))
                module(tensors, denominators=denominators)
            with ranks_are(1):
                module(tensors)
            less = {key: value for key, value in denominators.items() if key != "tokens"}
            lacking = refuses(refusal, lambda: module(tensors, denominators=less))
            module(tensors, denominators={**denominators, "unknown": denominators["tokens"]})
            return together is pooled and without and lacking

        return Check("several ranks", holds)

    def absent(self) -> Check:
        """Without a `keep`, a `prompt` or a `step`, every completion is kept, every prompt alike, the step whole."""
        batch, reference = windows()["plain"], self.reference

        def holds(module: torch.nn.Module) -> bool:
            tensors = as_torch(batch)
            right = True
            if reference.prompt is None:
                right &= bool((module.prompt(tensors) == 1).all()) and module.prompt(tensors).shape == (16,)
            if reference.keep is None:
                right &= bool(module.keep(tensors).all()) and module.keep(tensors).shape == (16,)
            if reference.step is None:
                right &= module.step([tensors]).item() == 1
            return right

        return Check("parts that are not there", holds)

    # ---- advantage, keep and step

    def estimates(self) -> Iterator[Check]:
        for seed in range(4):
            batch = complete(ragged(seed), seed)
            yield self.estimated(f"advantage {seed}", batch)
        missing = windows()["missing rewards"]
        yield self.estimated("advantage, missing rewards", missing)
        yield self.estimated("advantage, alone", windows()["alone"])
        yield self.estimated("advantage, padded", windows()["padded"])
        yield self.estimated("advantage, equal rewards", equal_rewards(), exact=True)
        yield self.estimated("advantage, one apart", one_apart())
        yield self.estimated("advantage, a teacher far below", teacher_below())
        for name, shape in (("no column", (3, 0)), ("no row", (0, 4))):
            nothing = {key: np.zeros(shape[: value.ndim], value.dtype) for key, value in missing.items()}
            yield self.estimated(f"advantage, {name}", nothing)
        for name, lengths in (
            ("one token", [1]),
            ("two completions", [1, 1]),
            ("two and one tokens", [2, 1]),
        ):
            yield self.estimated(f"advantage, {name}", rollout_of(lengths))
        rows = complete(ragged(2, extreme=False), 2)
        expected = self.reference.advantage(rows, self.params)
        flat = packed(rows)
        yield advises("advantage, packed", flat, _flat(expected, rows, flat))
        whole = {**rows, "reward": np.round(np.nan_to_num(rows["reward"]) * 3)}
        expected = self.reference.advantage(whole, self.params)
        yield advises("advantage, whole rewards", {**whole, "reward": whole["reward"].astype(int)}, expected)

    def estimated(self, name: str, batch: Arrays, exact: bool = False) -> Check:
        batch = {key: value for key, value in batch.items() if key != "advantage"}
        return advises(name, batch, self.reference.advantage(batch, self.params), exact)

    def kept(self) -> Iterator[Check]:
        mixed, ragged_ = verdicts(), windows()["estimated"]
        told = {**mixed, "reward": np.full(8, 0.5), "correct": mixed["reward"] > 0}
        alone = {key: value for key, value in told.items() if key != "reward"}
        zero = {**mixed, "reward": np.maximum(mixed["reward"], 0.0)}
        absent = {**mixed, "reward": np.array([0.5, np.nan, 0.5, 0.5, -0.5, -0.5, np.nan, -0.5])}
        batches = {
            "absent": (absent, absent),
            "mixed": (mixed, mixed),
            "ragged": (ragged_, ragged_),
            "zero is wrong": (zero, mixed),
        }
        batches |= {
            "missing": (windows()["missing rewards"],) * 2,
            "told": (told, mixed),
            "told alone": (alone, mixed),
        }
        for name, (batch, judged) in batches.items():
            rows = counted(batch).any(1)
            expected = self.reference.kept(judged, self.params)[rows].tolist()

            def holds(
                module: torch.nn.Module,
                batch: Arrays = batch,
                rows: np.ndarray = rows,
                expected: list[bool] = expected,
            ) -> bool:
                return module.keep(as_torch(batch)).numpy()[rows].tolist() == expected

            yield Check(f"keep, {name}", holds)

    def prompts(self) -> Iterator[Check]:
        batch = {**windows()["plain"], "utility": np.linspace(0, 0.5, 16)}
        expected = self.reference.prompt(batch, self.params)

        def holds(module: torch.nn.Module) -> bool:
            return same(module.prompt(as_torch(batch)).numpy(), expected)

        yield Check("prompt", holds)

    def memories(self) -> Iterator[Check]:
        """What is known of prompts, at first and after a rollout: one has two groups, one nobody with a reward."""
        starts = self.reference.starts

        def begins(module: torch.nn.Module) -> bool:
            return {name: kept["start"] for name, kept in module.memories.items()} == starts

        yield Check("memory, at first", begins)
        for window in ("plain", "estimated", "missing rewards", "alone", "padded"):
            batch = of_prompts(windows()[window], starts)
            expected = self.reference.remembered(batch, self.params)
            gone = ~np.isin(batch["prompt_id"], batch["prompt_id"][counted(batch).any(1)])
            asked = counted(batch).any(1) | gone

            def holds(
                module: torch.nn.Module,
                batch: Arrays = batch,
                expected: dict[str, np.ndarray] = expected,
                asked: np.ndarray = asked,
            ) -> bool:
                found = module.memory(as_torch(batch))
                return found.keys() == expected.keys() and all(
                    same(found[name].numpy()[asked], value[asked]) for name, value in expected.items()
                )

            yield Check(f"memory, {window}", holds)

    def steps(self) -> Iterator[Check]:
        far = [window for window in windows() if window.startswith("rollout far")]
        batches = {
            window: windows()[window] for window in ("plain", "estimated", "missing rewards", "ties", *far)
        }
        batches |= {"stale above": stale([24, 18.5, 17.5]), "stale below": stale([-24, -19, -18])}
        for window, batch in batches.items():
            expected = self.reference.step(
                {**batch, "mask": counted(batch)}, self.reference.setting(self.params)
            )
            pieces = [rows_of(batch, rows) for rows in split(batch, parts=3, seed=1)]
            for form, parts in (("whole", [batch]), ("cut", pieces)):

                def holds(
                    module: torch.nn.Module, parts: list[Arrays] = parts, expected: float = expected
                ) -> bool:
                    return same(module.step([as_torch(part) for part in parts]), expected)

                yield Check(f"step, {window}, {form}", holds)


def refuses(refusal: type[Exception], call: Callable[[], object]) -> bool:
    """Whether a call says that it cannot be done, in the words of the module."""
    try:
        call()
    except refusal:
        return True
    return False


@contextmanager
def ranks_are(number: int) -> Iterator[None]:
    """As if this process were one of several."""
    group = torch.distributed
    before = group.is_initialized, group.get_world_size
    group.is_initialized, group.get_world_size = (lambda: True), (lambda: number)
    try:
        yield
    finally:
        group.is_initialized, group.get_world_size = before


def counted(batch: Arrays) -> np.ndarray:
    """The mask without the rows whose reward is missing."""
    return batch["mask"] & ~np.isnan(batch["reward"])[:, None] if "reward" in batch else batch["mask"]


def of_prompts(batch: Arrays, memories: Iterable[str]) -> Arrays:
    """A rollout in which two groups are of one prompt, and what is kept of each prompt is one number a memory."""
    known = {"reward": windows()["plain"]["reward"], "group": windows()["plain"]["group"], **batch}
    rows = len(batch["mask"])
    prompt = np.where(np.isin(known["group"][:rows], (3, 11)), 7, known["group"][:rows])
    seen = {name: 0.3 + (np.abs(prompt) + shift) % 5 for shift, name in enumerate(memories)}
    return {
        **batch,
        "reward": known["reward"][:rows],
        "group": known["group"][:rows],
        "prompt_id": prompt,
        **seen,
    }


def teacher_below() -> Arrays:
    """A rollout whose tokens a teacher finds e^19 to e^25 times less likely than the sampler."""
    batch = complete(ragged(1, extreme=False), 1)
    apart = 19.0 + np.arange(batch["mask"].size).reshape(batch["mask"].shape) % 7
    return {**batch, "logp_teacher": batch["logp_rollout"] - apart}


def equal_rewards() -> Arrays:
    """Groups of many sizes, each of one reward, whose mean does not round to it."""
    sizes = np.array([3, 5, 6, 7, 10, 11, 13, 16])
    reward = np.repeat([0.1, 0.2, 0.3, 0.35, 0.7, 1 / 3, 0.95, 1e3 / 7], sizes)
    rows = len(reward)
    random = np.random.default_rng(0)
    batch = {
        "logp": -random.exponential(size=(rows, 2)),
        "mask": np.ones((rows, 2), dtype=bool),
        "reward": reward,
        "group": np.repeat(np.arange(8), sizes),
    }
    batch["logp_old"] = batch["logp_ref"] = batch["logp"].copy()
    return complete(batch, 0)


def one_apart() -> Arrays:
    """Groups of 2 to 7 in which all but one have the same reward, whose mean does not round to it."""
    reward, group = [], []
    for number, (size, same_, other) in enumerate(product(range(2, 8), (0.1, 0.7, 1 / 3), (1.3, -0.45))):
        place = number % size
        reward += [other if row == place else same_ for row in range(size)]
        group += [number] * size
    return rollout_of([2] * len(reward), reward, group)


def rollout_of(
    lengths: list[int], reward: list[float] | None = None, group: list[int] | None = None
) -> Arrays:
    """Completions of these lengths; of one group, unless said otherwise."""
    rows, random = len(lengths), np.random.default_rng(len(lengths))
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    batch = {
        "logp": -random.exponential(size=mask.shape),
        "mask": mask,
        "reward": np.array(reward) if reward else random.normal(size=rows),
        "group": np.array(group) if group else np.zeros(rows, dtype=int),
    }
    batch["logp_old"], batch["logp_ref"] = (
        batch["logp"] - 0.1,
        batch["logp"] - random.exponential(size=mask.shape),
    )
    return complete(batch, rows)


def verdicts() -> Arrays:
    """Groups with right completions, with wrong ones and with both."""
    correct = np.array([1, 0, 1, 1, 0, 0, 1, 0])
    batch = {"reward": correct - 0.5, "group": np.array([9, 9, 4, 4, 1, 1, 2, 2])}
    return {**batch, "mask": np.ones((8, 2), dtype=bool)}


def _flat(advantage: np.ndarray, batch: Arrays, flat: Arrays) -> np.ndarray:
    """Advantages [N] as they are, [N, T] at the tokens of the packed batch."""
    if advantage.ndim == 1:
        return advantage
    result = np.zeros(flat["mask"].shape)
    result[flat["mask"]] = advantage[batch["mask"]]
    return result


@cache
def shipped() -> dict[str, maspo_dsl.Objective]:
    """The objectives that are proven: those with a reference."""
    return {name: objective(name) for name in maspo_dsl.shipped() if name in REFERENCES}
