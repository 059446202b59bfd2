"""Steps of training on the default model and task beside TRL's GRPOTrainer."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from maspo_dsl.trainers import generation
from maspo_dsl.trainers.config import RunConfig, default_cache
from maspo_dsl.trainers.encoding import padded
from maspo_dsl.trainers.policies import Policy, build_policy
from maspo_dsl.trainers.policies.tiny import ALPHABET
from maspo_dsl.trainers.run import train
from maspo_dsl.trainers.tasks import Task, build_task
from rich.console import Console

from benchmarks.measure import seconds
from benchmarks.table import Row

PROMPTS, SAMPLES, TOKENS, UPDATES = 64, 8, 10, 4
STEPS, WARM_UP = 12, 3


def ours(folder: Path) -> float:
    """Median seconds of a step of `bnpo`."""
    config = RunConfig(run=folder, trainer={"max_steps": STEPS, "eval_every": 0, "checkpoint_every": STEPS})
    result = train(config, "bnpo", console=Console(quiet=True))
    return statistics.median(float(row["seconds"]) for row in result.rows if row["step"] > WARM_UP)


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
    ids, attention = padded([policy.tokenizer.encode(each) for each in prompts], 0, left=True)

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


def rows() -> list[Row]:
    """The rows of the table; one thread, as runs of the default model have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        task = build_task("sort")
        policy = build_policy("tiny", task, seed=0, cache=default_cache())
        drawn = sampling(policy, task)
        with tempfile.TemporaryDirectory() as folder:
            step = ours(Path(folder) / "ours")
            peer = theirs(policy, task, Path(folder) / "theirs")
    finally:
        torch.set_num_threads(threads)
    what = f"{PROMPTS} x {SAMPLES} completions of {TOKENS} tokens, default model"
    found = [Row(f"rollout of {what}", "`generate` of transformers", drawn["own"], drawn["generate"], 1.0)]
    if peer is not None:
        found.append(Row(f"step of {UPDATES} updates, {what}", "TRL's GRPOTrainer", step, peer, 1 / 1.5))
    return found
