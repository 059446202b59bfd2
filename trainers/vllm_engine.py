"""Sampling by vLLM, in the process of the run and on its device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import nn

from .config_error import ConfigError
from .engine import Completion, Ways


class VllmEngine:
    """An engine of vLLM, for a model that it can load from a folder or from the hub.

    Args:
        model: as in the run.
        memory: share of the device's that vLLM may take.
        seed: of its generators.
    """

    def __init__(self, model: str, memory: float, seed: int) -> None:
        """Load the model. Raises ConfigError if vLLM is not installed, or cannot load it."""
        # Only a model of the same process can be given its weights; vLLM reads this when it is imported.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            import vllm
        except ImportError as error:
            raise ConfigError(
                'rollout.engine=vllm: vLLM is not installed; run\n    pip install "maspo-dsl[vllm]"'
            ) from error
        self._vllm: Any = vllm
        try:
            self._llm: Any = vllm.LLM(
                model=model,
                gpu_memory_utilization=memory,
                seed=seed,
                # After the temperature: its default is before it.
                logprobs_mode="processed_logprobs",
            )
        except Exception as error:  # of a library that raises what it likes
            raise ConfigError(f"rollout.engine=vllm: it cannot load {model} ({error})") from error

    def load(self, model: nn.Module) -> None:
        """Give it the weights, under the names that they have on the hub, and forget what it read with the old ones."""
        weights = [(name, weight.detach()) for name, weight in model.named_parameters()]
        self._llm.apply_model(lambda network: network.load_weights(iter(weights)))
        self._llm.reset_prefix_cache()

    def sample(self, prompts: Sequence[Sequence[int]], ways: Ways) -> list[Completion]:
        """From the whole distribution: each of the ways in which vLLM cuts or penalises it is switched off."""
        options = [
            self._vllm.SamplingParams(
                n=1,
                temperature=ways.temperature,
                top_p=1.0,
                top_k=0,
                min_p=0.0,
                repetition_penalty=1.0,
                max_tokens=ways.limit,
                stop_token_ids=list(ways.ends),
                logprobs=0,
                detokenize=False,
                # Equal prompts have completions of their own.
                seed=(ways.seed + number) % 2**31,
            )
            for number in range(len(prompts))
        ]
        given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        found = self._llm.generate(given, options, use_tqdm=False)
        return [_completion(each.outputs[0]) for each in found]


def _completion(output: Any) -> Completion:
    """What vLLM drew, with the log-prob of each token that it drew."""
    tokens = list(output.token_ids)
    logp = [float(step[token].logprob) for token, step in zip(tokens, output.logprobs, strict=True)]
    return Completion(tokens, logp)
