"""What happens around the updates: the records of a run, its checkpoints, and its graceful end."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from maspo_dsl.analysis.surroundings import Surroundings
from maspo_dsl.runtime.ranks import world_size

from .checkpoint import best_checkpoint, checkpoint_path, save_best, save_checkpoint, step_of
from .config_error import ConfigError
from .export import is_exportable
from .kept_tokens import KeptTokens, shown_rows
from .loggers import Loggers
from .metrics import Records, Row, Sums, read_rows
from .module import PolicyTrainer
from .progress import Progress
from .rollout_data import RolloutData
from .rows import Rows, Window

SAMPLES_A_STEP = 4


class Recorder(Callback):
    """Writes a row of metrics and some completions for each logged step, and shows the row.

    Row 0 holds the state before training: the reward of the first rollout and the held-out reward. Row k
    holds the held-out reward after step k, the reward of the rollout that step k trained on, and the
    metrics of its updates.

    Args:
        data: makes the rollouts.
        open_records: makes the run folder. Called once the first rollout has been sampled and scored, so
            that a run which cannot start leaves nothing behind.
        evaluate: what the present policy does on held-out prompts, by column.
        progress: shows the rows.
    """

    def __init__(
        self,
        data: RolloutData,
        open_records: Callable[[], tuple[Records, Loggers]],
        evaluate: Callable[[], Mapping[str, float]],
        progress: Progress,
    ) -> None:
        """Keep the parts; nothing is written yet."""
        self.data, self.progress = data, progress
        self._open_records, self._evaluate = open_records, evaluate
        self._tokens = KeptTokens(data.objective, data.policy.tokenizer)
        self.records: Records | None = None
        self.loggers: Loggers | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the run folder and write row 0, unless the run goes on."""
        assert isinstance(pl_module, PolicyTrainer)
        started = self.data.steps_done
        evaluates = not started and self.data.config.trainer.eval_every
        held_out = self._evaluate() if evaluates else {}
        reward = self._measured(Sums()).get("reward")
        if trainer.is_global_zero:
            self.records, self.loggers = self._open_records()
        self.progress.start(started)
        if not started:
            self._record({"step": 0, "reward": reward, "eval/greedy": None, **held_out})

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Window, batch_idx: int
    ) -> None:
        """Keep what is asked of the shown completions, before the update that trains on them."""
        assert isinstance(pl_module, PolicyTrainer)
        alone = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if alone and batch and pl_module.logs_this_step() and self._tokens.possible:
            whole = self._tokens.needs is Surroundings.WINDOW
            denominators = {} if whole else pl_module.denominators(batch)
            if trainer.is_global_zero:
                assert self.data.trained is not None
                shown = shown_rows(self.data.trained, SAMPLES_A_STEP).to(batch[0]["mask"].device)
                self._tokens.look(pl_module, batch, self.data.cuts[batch_idx], shown, denominators)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the step that ends, and let the data move on."""
        assert isinstance(pl_module, PolicyTrainer)
        config, step, sampled = self.data.config.trainer, self.data.steps_done + 1, self.data.sampled
        assert sampled is not None
        seconds = time.perf_counter() - sampled.started
        last = step == config.max_steps
        evaluates = config.eval_every and (last or step % config.eval_every == 0)
        failure = None
        held_out: Mapping[str, float] = {}
        try:
            held_out = self._evaluate() if evaluates else {}
        except ConfigError as error:  # of a reward; the step is made, and is saved
            failure = error
        self.data.held_out = held_out.get("eval/greedy")
        if pl_module.logs_this_step() or evaluates:
            timing = {"tokens_per_second": sampled.tokens * world_size() / seconds, "seconds": seconds}
            updates = {"updates": pl_module.sums.updates}
            means = self._measured(pl_module.sums)
            self._record({"step": step, **means, "eval/greedy": None, **held_out, **updates, **timing})
            self._record_samples(step)
        self.data.finish_step()
        if failure is not None:
            self.data.failed = True
            raise failure

    def _measured(self, sums: Sums) -> dict[str, float]:
        """The metrics of a step with the facts of its rollout, over all ranks."""
        assert self.data.sampled is not None
        self.data.sampled.add_to(sums)
        return sums.means()

    def _record(self, row: Row) -> None:
        if self.records is not None:
            self.records.add(row)
            self.progress.show(row)
        if self.loggers is not None:
            self.loggers.add(row)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the loggers of a run that fails, which Lightning does not tear down."""
        self._end("failed")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the loggers."""
        self._end("success")

    def _end(self, status: str) -> None:
        if self.loggers is not None:
            self.loggers.close(status)
            self.loggers = None

    def _record_samples(self, step: int) -> None:
        """Write a few completions, spread over the rows that were trained on, or over all if none was."""
        assert self.data.sampled is not None
        rows = self.data.trained or self.data.sampled.rows
        advantages = _advantages(rows)
        if self.records is not None:
            self._tokens.write(self.records.folder, step)
        for index in shown_rows(rows, SAMPLES_A_STEP).tolist():
            if self.records is not None:
                self.records.add_sample(
                    {
                        "step": step,
                        "prompt": rows.prompts[index],
                        "completion": rows.texts[index],
                        "answer": _plain(rows.notes[index].answer),
                        "reward": float(rows.batch["reward"][index]),
                        **{f"reward/{name}": value for name, value in rows.notes[index].rewards.items()},
                        "advantage": advantages[index],
                        "truncated": bool(rows.batch["truncated"][index]),
                    }
                )


def _advantages(rows: Rows) -> list[float | None]:
    """The advantage of each completion, the mean over its tokens where each has its own; None where there is none."""
    advantage, mask = rows.batch.get("advantage"), rows.batch["mask"]
    if advantage is None:
        return [None] * len(rows)
    if advantage.ndim == 2:
        advantage = (advantage * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return [float(value) for value in advantage]


def _plain(value: object) -> object:
    """A value that JSON can say, else its text."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


class Checkpoints(Callback):
    """Saves every so many steps, at the last, and when the run is asked to stop; stops it then.

    The weights that did best on held-out prompts are kept too, of models that can be exported.
    """

    def __init__(self, data: RolloutData, run: Path, interrupt: Interrupt) -> None:
        """Keep the parts."""
        self.data, self.run, self.interrupt = data, run, interrupt
        self._keeps_best = is_exportable(data.policy)
        self._best = -math.inf

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From now on a stop waits for the end of its step. All processes write into the folder of the first."""
        self.run = Path(trainer.strategy.broadcast(str(self.run)))
        self.interrupt.take()
        self.interrupt.graceful = True
        best = best_checkpoint(self.run)
        if best is not None:
            found = [row.get("eval/greedy") for row in read_rows(self.run) if row["step"] == step_of(best)]
            self._best = found[0] if found and found[0] is not None else -math.inf

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time; runs after the Recorder, so that a checkpoint's rows are written before it."""
        step, config = self.data.steps_done, self.data.config.trainer
        greedy = self.data.held_out
        if self._keeps_best and greedy is not None and greedy > self._best:
            self._best = greedy
            save_best(trainer, self.run, step)
        stops = trainer.strategy.reduce_boolean_decision(self.interrupt.requested, all=False)
        if stops or step == config.max_steps or step % config.checkpoint_every == 0:
            save_checkpoint(trainer, self.run, step)
        if stops:
            trainer.should_stop = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the steps that were done before a rollout that could not be made."""
        step = self.data.steps_done
        if self.data.failed and step and not checkpoint_path(self.run, step).exists():
            save_checkpoint(trainer, self.run, step)


class Interrupt:
    """Turns the first Ctrl-C or SIGTERM of a run into a request to stop after the present step; the second stops at
    once.

    Before the run has anything to lose, the first stops at once too. A process that only waits for those that it has
    started passes the request on to them, by SIGUSR1, which asks for nothing else however often it comes. Does nothing
    outside the main thread, where Python allows no signal handlers.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        """Nothing has been requested."""
        self.requested = False
        self.graceful = False
        self.launcher: Any = None
        """What starts other processes, of Lightning; None where none are started."""
        self._log = log
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        """Take over the signals."""
        self._before = self.take()
        return self

    def take(self) -> dict[signal.Signals, Any]:
        """Handle the signals, again where Lightning has taken SIGTERM meanwhile; returns who did before."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, self._handle) for number in _SIGNALS}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        started = getattr(self.launcher, "procs", [])
        waits = any(isinstance(each, BaseProcess) and each.is_alive() for each in started)
        again = self.requested and number != _PASSED_ON
        if again or not (self.graceful or waits):
            if waits:
                self.launcher.kill(signal.SIGKILL)
            raise KeyboardInterrupt
        if waits:
            self.launcher.kill(_PASSED_ON)
        self.requested = True
        if number != _PASSED_ON:
            self._log("stopping after this step; Ctrl-C again stops now, without saving")


# Windows has no SIGUSR1, nor processes that are forked.
_PASSED_ON = getattr(signal, "SIGUSR1", None)
_SIGNALS = [each for each in (signal.SIGINT, signal.SIGTERM, _PASSED_ON) if each is not None]
