"""Rollouts as training data: each step samples completions, scores them, and cuts them into optimizer windows.

Whatever is fixed for a step is computed here, once, on the whole rollout: the log-probs of the old policy and of the
reference, the objective's `keep` rule and its advantages. An update sees only its share of the rollout.

The old policy's log-probs are the sampler's, as long as nothing can tell the two apart. Where products are rounded, and
where the objective also reads `rollout`, the model computes them again, from the very micro-batches of the updates.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from maspo_dsl.runtime.ranks import least_over_ranks, of_all_ranks, rank, rows_of_all_ranks

from .before import checked
from .config import RunConfig
from .config_error import ConfigError
from .generation import Rollout, generate, token_logp
from .memory import MemoryStore, prompt_ids
from .metrics import Sums
from .policies import Policy
from .prompt_choice import PromptChoice
from .rewards import RewardFunction, Rewards, Scores, Weighted, reward_name, score_all
from .rows import Note, Rows, Window, choose, cut, join, micro_batch
from .streams import Streams
from .tasks import Example, Task
from .teachers import REFERENCE, log_probs_of_teachers

if TYPE_CHECKING:
    from maspo_dsl import Objective, ObjectiveLoss


@dataclass(frozen=True)
class Sampled:
    """What sampling gave for a step on this rank.

    `rows` are those of the first prompts, before any was dropped or refilled; `completions` and `tokens` count
    all that were sampled, `kept` those that are trained on; `started` is the clock at the beginning of the
    step. A row whose reward failed has NaN.
    """

    rows: Rows
    completions: int
    tokens: int
    kept: int
    resamples: int
    started: float

    def add_to(self, sums: Sums) -> None:
        """Put the step's facts beside its metrics."""
        batch = self.rows.batch
        failed = batch["reward"].isnan()
        sums.add_sum("reward", batch["reward"].nansum(), (~failed).sum())
        sums.add_sum("reward_failures", failed.sum(), len(self.rows))
        for name in {name: None for note in self.rows.notes for name in note.rewards}:
            values = [note.rewards[name] for note in self.rows.notes if name in note.rewards]
            sums.add_sum(f"reward/{name}", sum(values), len(values))
        sums.add_sum("length", batch["mask"].sum(), len(self.rows))
        sums.add_sum("truncated", batch["truncated"].sum(), len(self.rows))
        sums.add_sum("kept", self.kept, self.completions)
        sums.add_sum("resamples", self.resamples, 1)


class RolloutData(LightningDataModule):
    """One rollout an epoch, as windows: lists of micro-batches for one optimizer update each.

    An epoch of Lightning is a step of ours. `finish_step` moves on to the next; until then, iterating again
    gives the same windows, because Lightning asks more than once where it resumes.
    """

    def __init__(
        self,
        policy: Policy,
        task: Task,
        reward: RewardFunction | Rewards,
        objective: Objective,
        loss: ObjectiveLoss,
        config: RunConfig,
        log: Callable[[str], None] = print,
        teachers: Mapping[str, nn.Module] = MappingProxyType({}),
        stage: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Keep the parts; copies the policy if the objective reads a reference.

        `teachers` are frozen models by the names that the objective has for them; `stage` shows what is being done.
        """
        super().__init__()
        self.policy, self.task, self.rewards = policy, task, named(reward)
        self.objective, self.loss, self.config, self.log = objective, loss, config, log
        self.stage = stage
        self.others = dict(teachers)
        if reads_reference(objective):
            self.others[REFERENCE] = copy.deepcopy(policy.model).requires_grad_(False).eval()
        tensors = {REFERENCE: "logp_ref", **log_probs_of_teachers(objective)}
        self._scoring = {tensors[name]: model for name, model in self.others.items()}
        reads_sampler = "logp_rollout" in objective.training_inputs
        rounds = config.trainer.precision != "32-true"
        self.recomputes = reads_sampler or rounds or policy.engine is not None
        self.steps_done = 0
        self.failed = False
        self.held_out: float | None = None
        self.trained: Rows | None = None
        self.cuts: list[list[Tensor]] = []
        self.sampled: Sampled | None = None
        self.memory = MemoryStore(objective.memories)
        self.choice = PromptChoice(objective, loss, config)
        self._rollout: list[Rows] = []
        self._windows: list[Window] | None = None
        self._streams: Streams | None = None
        self._warned: set[str] = set()
        self._checked = False

    @property
    def streams(self) -> Streams:
        """This rank's random streams; opened late, because a process learns its rank when training starts."""
        if self._streams is None:
            self._streams = Streams(self.task, self.config.seed + 1_000_003 * rank())
        return self._streams

    def train_dataloader(self) -> RolloutData:
        """Itself: every pass over it is one step."""
        return self

    def __iter__(self) -> Iterator[Window]:
        """The windows of the present step; one empty window if there is nothing to learn from."""
        if self._windows is None:
            self._check()
            self._windows = self._make_windows()
        yield from self._windows or [[]]

    def _check(self) -> None:
        """Look at the prompts and the models, once, when they are where they will be."""
        if self._checked:
            return
        others = {f"the model of `{name}`": model for name, model in self.others.items() if name != REFERENCE}
        self.policy = checked(self.policy, self.task, others, self.config, self.log)
        samples_itself = self.config.trainer.precision == "32-true" and self.policy.engine is None
        if samples_itself and "logp_rollout" in self.objective.training_inputs:
            self.log(
                f"objective {self.objective.name} reads `rollout`: here the sampler is the model itself, in "
                "float32, so that `old / rollout` is 1 but for rounding and corrects nothing"
            )
        self._checked = True

    def finish_step(self) -> None:
        """Drop the present rollout; the next iteration makes a new one."""
        self.steps_done += 1
        self._windows = None

    def state_dict(self) -> dict[str, Any]:
        """Where every rank's random streams stand; exact between steps."""
        return {
            "steps_done": self.steps_done,
            "warned": sorted(self._warned),
            "memory": self.memory.state(),
            "choice": self.choice.state(),
            "ranks": of_all_ranks(self.streams.state()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.steps_done = state["steps_done"]
        self._warned = set(state["warned"])
        self.memory.restore(state["memory"])
        self.choice.restore(state["choice"])
        self._go_back(state["ranks"][rank()])

    def _go_back(self, state: dict[str, Any]) -> None:
        """Open the streams again, where they stood; Lightning may ask twice, of its data and of its loader."""
        self._streams = None
        self.streams.restore(state)

    def _make_windows(self) -> list[Window]:
        """Sample this step's rollout, cut it, and remember what it tells."""
        self._rollout, self.trained = [], None
        windows = self._cut_windows(self._whole_rows())
        if self.memory:
            batch, _ = rows_of_all_ranks(join(self._rollout).batch)
            after = self.loss.memory({**self._remembering(batch), "logp": batch["logp_old"]})
            self.memory.update(after, batch["prompt_id"])
        self.choice.learn()
        return windows

    def _remembering(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch with what was kept from the rollouts before."""
        return {**batch, **self.memory.tensors(batch["prompt_id"])} if self.memory else batch

    def _cut_windows(self, rows: Rows) -> list[Window]:
        trainer = self.config.trainer
        groups = int(torch.unique(rows.batch["group"]).numel()) if bool(rows.batch["mask"].any()) else 0
        if not groups:
            reason = (
                "no completion has a trained token"
                if len(rows)
                else "the objective's `keep` rule kept no completion"
            )
            self.log(f"step {self.steps_done + 1}: {reason}; no update is made from this rollout")
        # Every rank must make as many updates as the others, or they wait for each other for ever.
        windows = least_over_ranks(min(groups, trainer.updates_per_rollout), rows.tokens.device)
        if not windows:
            return []
        cuts = [
            [part.to(rows.tokens.device) for part in parts]
            for parts in cut(rows.batch["group"], windows, trainer.micro_batches, self.streams.shuffler)
        ]
        if self.recomputes:
            for part in (part for parts in cuts for part in parts):
                self._recompute_old(rows, part)
        rows.batch["advantage"] = self._advantage(rows.batch)
        self.trained, self.cuts = rows, cuts
        self._warn_without_advantage(rows.batch)
        return [[self._remembering(micro_batch(rows, part)) for part in parts] for parts in cuts]

    def _recompute_old(self, rows: Rows, indices: Tensor) -> None:
        """The old policy's log-probs and entropies of some rows, in the shape in which an update reads them."""
        part = micro_batch(rows, indices)
        length = part["mask"].shape[1]
        found = self._logp(self.policy.model, part["tokens"], part["attention"], length, entropy=True)
        for name, value in zip(("logp_old", "entropy"), found, strict=True):
            rows.batch[name][indices, :length] = torch.where(part["mask"], value, 0.0)

    def _advantage(self, batch: dict[str, Tensor]) -> Tensor:
        """Advantages, from the rollout of all ranks, so that statistics over it mean the whole of it."""
        everything, own = rows_of_all_ranks(batch)
        advantage: Tensor = self.loss.advantage(self._remembering(everything))[own]
        return advantage[:, : batch["mask"].shape[1]] if advantage.ndim == 2 else advantage

    def _whole_rows(self) -> Rows:
        """The rows of this step, if every rank has them; else the streams go back, and ConfigError says why."""
        before, rows, failure = self.streams.state(), None, None
        try:
            rows = self._kept_rows()
        except ConfigError as error:
            failure = error
        reasons = [reason for reason in of_all_ranks(failure and str(failure)) if reason]
        if rows is None or reasons:
            self._go_back(before)
            self.failed = True
            raise failure or ConfigError(str(reasons[0]))
        return rows

    def _kept_rows(self) -> Rows:
        """A rollout; where the objective keeps only some rows, refilled with new prompts until it is full."""
        started = time.perf_counter()
        rollout = self.config.rollout
        if self.policy.engine is not None:
            self.policy.engine.load(self.policy.model)
        wanted = max(1, rollout.prompts // self.config.trainer.devices)
        first = rows = self._sample(wanted)
        completions, tokens, resamples = len(rows), int(rows.batch["mask"].sum()), 0
        if self.objective.keeps:
            rows = choose(rows, self.loss.keep(self._remembering(rows.batch)))
            while (missing := wanted - _group_count(rows)) > 0 and resamples < rollout.max_resamples:
                more = self._sample(missing)
                completions, tokens = completions + len(more), tokens + int(more.batch["mask"].sum())
                resamples += 1
                rows = join([rows, choose(more, self.loss.keep(self._remembering(more.batch)))])
            if missing > 0 and len(rows):
                self._warn_once(
                    "short",
                    f"step {self.steps_done + 1}: the objective's `keep` rule left {_group_count(rows)} of "
                    f"{wanted} prompts after {resamples} refills (rollout.max_resamples); training goes on "
                    "with those. Logged once.",
                )
        self.sampled = Sampled(first, completions, tokens, len(rows), resamples, started)
        self._warn_without_signal(first.batch["reward"])
        return rows

    def _sample(self, count: int) -> Rows:
        """Completions to the next `count` prompts, scored, with the log-probs that the objective reads."""
        first_group, candidates = self.streams.draw(count * self.choice.candidates)
        examples = self.choice.choose(self.policy, candidates, self.memory, self.streams.chooser)
        samples = self.config.rollout.samples
        each = [example for example in examples for _ in range(samples)]
        prompts = [example.prompt for example in each]
        rollout = generate(
            self.policy,
            prompts,
            max_new_tokens=self.config.rollout.max_new_tokens,
            temperature=self.config.rollout.temperature,
            generator=self.streams.sampler,
            precision=self.config.trainer.precision,
            told=lambda count: self.stage(f"sampling, token {count}"),
        )
        self.stage("rewards")
        self._warn_of_tokens_without_text(rollout)
        device, scores = rollout.tokens.device, self._rewards(each, rollout.texts)
        group = torch.arange(count, device=device).repeat_interleave(samples)
        batch = {
            "mask": rollout.mask,
            "truncated": rollout.truncated,
            **{
                name: torch.tensor(values, device=device)
                for name, values in self._read_rewards(scores).items()
            },
            # Ids that no other rank and no other rollout has.
            "group": (group + first_group) * self.config.trainer.devices + rank(),
        }
        self.stage("log-probs")
        self.choice.see(batch["reward"], samples)
        length = rollout.mask.shape[1]
        batch["logp_old"], batch["entropy"] = rollout.logp.clone(), rollout.entropy.clone()
        for tensor, model in self._scoring.items():
            if tensor in self.objective.training_inputs:
                model.to(device)
                batch[tensor], _ = self._logp(model, rollout.tokens, rollout.attention, length, entropy=False)
        if "logp_rollout" in self.objective.training_inputs:
            batch["logp_rollout"] = rollout.logp
        if self.memory:
            batch["prompt_id"] = prompt_ids(prompts).to(device)
        rows = Rows(rollout.tokens, rollout.attention, batch, prompts, rollout.texts, _notes(each, scores))
        if self.recomputes and self.objective.keeps:
            self._recompute_old(rows, torch.arange(len(rows), device=device))
        self._rollout += [rows] if self.memory else []
        return rows

    def _read_rewards(self, scores: Scores) -> dict[str, list[float]]:
        """The reward, and the named ones that the objective reads; a completion that lacks one of these is left out."""
        read = {
            name: values for name, values in scores.parts.items() if name in self.objective.training_inputs
        }
        lacking = [any(map(math.isnan, row)) for row in zip(*read.values(), strict=True)] or [False] * len(
            scores.values
        )
        values = [math.nan if lacks else value for value, lacks in zip(scores.values, lacking, strict=True)]
        if all(map(math.isnan, values)) and not scores.failures:
            names = ", ".join(f"`{reward_name(each.function)}`" for each in self.rewards.values())
            raise ConfigError(
                f"reward function {names} returned None where the objective needs a number, for all {len(values)} "
                "completions of a rollout: there is nothing to learn from"
            )
        return {"reward": values, **read}

    def _rewards(self, examples: Sequence[Example], texts: Sequence[str]) -> Scores:
        """A reward for each completion, NaN where it failed. Raises ConfigError: too many failed."""
        rollout = self.config.rollout
        most = int(rollout.reward_failures * len(texts))
        prompts = [example.prompt for example in examples]
        columns = columns_of(examples)
        scores = score_all(self.rewards, prompts, texts, columns, seconds=rollout.reward_timeout, most=most)
        if not scores.failures:
            return scores
        first = next(iter(scores.failures.values()))
        if len(scores.failures) > most:
            raise ConfigError(first)
        self.log(
            f"step {self.steps_done + 1}: {len(scores.failures)} of {len(texts)} completions have no reward and are "
            f"left out: {first}"
        )
        return scores

    @torch.no_grad()
    def _logp(
        self, model: nn.Module, tokens: Tensor, attention: Tensor, length: int, *, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        """Log-probs and entropies [N, T] without gradient."""
        temperature = self.config.rollout.temperature
        logp, entropies = token_logp(
            model,
            tokens,
            attention,
            length,
            temperature=temperature,
            entropy=entropy,
            precision=self.config.trainer.precision,
        )
        return logp, entropies if entropies is not None else logp

    def _warn_of_tokens_without_text(self, rollout: Rollout) -> None:
        """Warn once of sampled tokens that a model has and its tokenizer has not."""
        length, size = rollout.mask.shape[1], self.policy.tokenizer.size
        found = int(((rollout.tokens[:, -length:] >= size) & rollout.mask).sum())
        if found:
            self._warn_once(
                "textless",
                f"step {self.steps_done + 1}: {found} of {int(rollout.mask.sum())} sampled tokens have no text: model "
                f"{self.policy.name} has more tokens than the {size} of its tokenizer. Rewards read the completions "
                "without them. Logged once.",
            )

    def _warn_without_signal(self, reward: Tensor) -> None:
        """Warn once of a rollout whose rewards are all the same."""
        reward = reward[~reward.isnan()]
        if len(reward) > 1 and bool((reward == reward[0]).all()):
            self._warn_once(
                "flat",
                f"step {self.steps_done + 1}: all {len(reward)} rewards are {float(reward[0]):g}, so a "
                "relative advantage has no signal; an easier task or more samples may help. Logged once.",
            )

    def _warn_without_advantage(self, batch: dict[str, Tensor]) -> None:
        """Warn once of a rollout whose rewards differ, and whose advantages are all 0."""
        if not self.objective.estimates:
            return
        reward = batch["reward"][~batch["reward"].isnan()]
        if bool(batch["advantage"].any()) or bool((reward == reward[:1]).all()):
            return
        self._warn_once(
            "zero",
            f"step {self.steps_done + 1}: every advantage is 0, so nothing is learned from this rollout; an "
            f"advantage relative to a group needs completions to one prompt (rollout.samples="
            f"{self.config.rollout.samples}) whose rewards differ. Logged once.",
        )

    def _warn_once(self, name: str, text: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            self.log(text)


def named(reward: RewardFunction | Rewards) -> Rewards:
    """Rewards by name; one alone has none."""
    return {"": Weighted(reward)} if callable(reward) else reward


def _notes(examples: Sequence[Example], scores: Scores) -> list[Note]:
    """What is told of each completion."""
    parts = {name: values for name, values in scores.parts.items() if name}
    return [
        Note(
            example.columns.get("answer"),
            {name: values[index] for name, values in parts.items() if not math.isnan(values[index])},
        )
        for index, example in enumerate(examples)
    ]


def columns_of(examples: Sequence[Example]) -> dict[str, list[object]]:
    """The columns that reward functions read, one list a column; None where an example has no such column."""
    names = dict.fromkeys(name for example in examples for name in example.columns)
    return {name: [example.columns.get(name) for example in examples] for name in names}


def reads_reference(objective: Objective) -> bool:
    """Whether the policy as it was at the start is read, by log-probs of its tokens or by its distributions."""
    whole = objective.resolved.distributions.values()
    return "logp_ref" in objective.training_inputs or any(REFERENCE in each.policies for each in whole)


def _group_count(rows: Rows) -> int:
    return int(torch.unique(rows.batch["group"]).numel())
