"""Steps of training on the default model and task: beside TRL's GRPOTrainer, and where their time goes."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from maspo_dsl.trainers import generation, module, rollout_data
from maspo_dsl.trainers.config import RunConfig, default_cache
from maspo_dsl.trainers.policies import Policy, build_policy
from maspo_dsl.trainers.policies.tiny import ALPHABET
from maspo_dsl.trainers.run import train
from maspo_dsl.trainers.tasks import Task, build_task

from benchmarks.measure import seconds
from benchmarks.table import Row

PROMPTS, SAMPLES, TOKENS, UPDATES = 64, 8, 10, 4
STEPS, WARM_UP = 12, 3


def ours(folder: Path, say: Callable[[str], None]) -> tuple[float, dict[str, float]]:
    """Median seconds of a step of `bnpo`, and the medians of its phases."""
    phases = {"rollout": "generate"}
    with (
        _timed(rollout_data, phases) as spent,
        _timed(module.PolicyTrainer, {"updates": "training_step"}) as updates,
    ):
        config = RunConfig(
            run=folder, trainer={"max_steps": STEPS, "eval_every": 0, "checkpoint_every": STEPS}
        )
        result = train(config, "bnpo", console=None)
    took = [float(row["seconds"]) for row in result.rows if row["step"] > WARM_UP]
    step = statistics.median(took)
    medians = {name: statistics.median(values[WARM_UP:]) for name, values in spent.items()}
    medians["updates"] = UPDATES * statistics.median(updates["updates"][WARM_UP * UPDATES :])
    say(", ".join(f"{name} {100 * value / step:.0f} %" for name, value in medians.items()))
    return step, medians


@contextmanager
def _timed(owner: Any, names: dict[str, str]) -> Iterator[dict[str, list[float]]]:
    """Seconds of each call of some functions of a module or class, by what they are called here."""
    spent: dict[str, list[float]] = {name: [] for name in names}
    before = {attribute: getattr(owner, attribute) for attribute in names.values()}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent[name].append(time.perf_counter() - start)

        return run

    for name, attribute in names.items():
        setattr(owner, attribute, timed(name, before[attribute]))
    try:
        yield spent
    finally:
        for attribute, function in before.items():
            setattr(owner, attribute, function)


def theirs(policy: Policy, task: Task, folder: Path) -> float | None:
    """Median seconds of as much work by TRL's GRPOTrainer: one rollout and its updates. None without TRL."""
    try:
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl import GRPOConfig, GRPOTrainer
    except ImportError:
        return None
    rows = PROMPTS * SAMPLES
    examples = list(itertools.islice(task.train(0), PROMPTS * (STEPS + 1)))
    columns = examples[0].columns
    data = Dataset.from_list([{"prompt": each.prompt, **each.columns} for each in examples])
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **options: Any) -> None:
            ends.append(time.perf_counter())

    def reward(prompts: list[str], completions: list[str], **given: list[Any]) -> list[float]:
        own = {name: given[name] for name in columns}
        return [float(value) for value in task.reward(prompts=prompts, completions=completions, **own)]

    config = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=rows // UPDATES,
        gradient_accumulation_steps=1,
        steps_per_generation=UPDATES,
        num_generations=SAMPLES,
        max_completion_length=TOKENS,
        max_steps=STEPS * UPDATES,
        learning_rate=2e-4,
        beta=0.0,
        loss_type="bnpo",
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        gradient_checkpointing=False,
        logging_steps=STEPS * UPDATES,
    )
    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=reward,
        args=config,
        train_dataset=data,
        processing_class=_tokenizer(),
        callbacks=[Clock()],
    )
    trainer.train()
    rollouts = ends[UPDATES - 1 :: UPDATES]
    return statistics.median(later - sooner for sooner, later in itertools.pairwise(rollouts[WARM_UP - 1 :]))


def _tokenizer() -> Any:
    """The characters of the policy `tiny` as a tokenizer of transformers."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<end>": 1} | {character: i + 2 for i, character in enumerate(ALPHABET)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def sampling(policy: Policy, task: Task) -> dict[str, float]:
    """Median seconds of a rollout: ours, and `generate` of transformers with the log-probs it can return."""
    prompts = [each.prompt for each in itertools.islice(task.train(0), PROMPTS) for _ in range(SAMPLES)]
    ids, attention = generation.left_padded([policy.tokenizer.encode(each) for each in prompts], 0)

    def own() -> object:
        return generation.generate(
            policy, prompts, max_new_tokens=TOKENS, temperature=1.0, generator=torch.Generator()
        )

    @torch.no_grad()
    def plain() -> object:
        return policy.model.generate(
            input_ids=ids, attention_mask=attention.long(), max_new_tokens=TOKENS, do_sample=True, top_k=0
        )

    return seconds({"own": own, "generate": plain}, turns=9)


def rows(*, say: Callable[[str], None] = print) -> list[Row]:
    """The rows of the table; one thread, as runs of the default model have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        task = build_task("sort")
        policy = build_policy("tiny", task, seed=0, cache=default_cache())
        drawn = sampling(policy, task)
        with tempfile.TemporaryDirectory() as folder:
            step, _ = ours(Path(folder) / "ours", say)
            peer = theirs(policy, task, Path(folder) / "theirs")
    finally:
        torch.set_num_threads(threads)
    what = f"{PROMPTS} x {SAMPLES} answers of {TOKENS} tokens, default model"
    found = [Row(f"rollout of {what}", "`generate` of transformers", drawn["own"], drawn["generate"], 1.0)]
    if peer is not None:
        found.append(Row(f"step of {UPDATES} updates, {what}", "TRL's GRPOTrainer", step, peer, 1 / 1.5))
    return found
