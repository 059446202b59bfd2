"""TRL's GRPOTrainer with an objective in the place of its losses.

TRL samples, asks for rewards, logs, accumulates and saves as ever. What it is not asked for is the advantage, which is
the objective's, of the gathered generation batch, and the loss, whose parts divide by what the whole optimizer step
has, over micro-batches and ranks. Read at TRL 1.16.0.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from maspo_dsl.emit.template.metrics import LossOutput, metric_value, pooled_parts
from maspo_dsl.hosts.shared import Host, HostError, denominators, lacking, lines, says
from maspo_dsl.importing.options import About, Option
from maspo_dsl.importing.trl_options import OPTIONS
from maspo_dsl.objective import Objective, SpecLike, load
from maspo_dsl.runtime.loss import Backend, ObjectiveLoss
from maspo_dsl.runtime.model_head import in_the_place_of, linear_head
from maspo_dsl.runtime.pooling import parts_of_all_ranks
from maspo_dsl.runtime.ranks import rows_of_all_ranks

TRL = Host(
    "TRL",
    "trl",
    versions=((1, 16), (1, 17)),
    tensors={
        "advantage": "advantages",
        "logp_old": "old_per_token_logps",
        "logp_ref": "ref_per_token_logps",
        "logp_rollout": "sampling_per_token_logps",
        "mask": "trained",
        "reward": "reward",
        "truncated": "truncated",
    },
)
TRL.check_version()

from trl import GRPOConfig, GRPOTrainer  # noqa: E402  (only where the version is one that was tried)

Inputs: TypeAlias = "dict[str, Any]"
AtHead: TypeAlias = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]

# Metrics that are TRL's own, under TRL's name too.
TRLS_OWN_METRICS = frozenset({"entropy"})
# Tensors of the model's own, beside tokens and attention.
MODEL_INPUTS = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)

_log = logging.getLogger(__name__)


class ObjectiveGRPOTrainer(GRPOTrainer):
    """GRPOTrainer that trains with an objective.

    `objective` is a shipped name, a path or an Objective, `params` sets its parameters, and `backend` is that of
    `maspo_dsl.compile`; everything else is GRPOTrainer's. Parameters that are bound to the run get
    `max_completion_length` and `num_generations`. The reward functions reach the objective as `reward`, their weighted
    sum, and as inputs `reward_1`, `reward_2`, …, unweighted, in TRL's order. Raises HostError, a ValueError, where an
    option contradicts the spec or TRL does not bring what the spec reads, and SpecError.
    """

    def __init__(
        self,
        *positional: Any,
        objective: SpecLike,
        params: Mapping[str, float] | None = None,
        backend: Backend = "inductor",
        **named: Any,
    ) -> None:
        """Check everything that can be checked before a model is loaded."""
        given = inspect.signature(GRPOTrainer.__init__).bind(self, *positional, **named)
        args = copy.copy(given.arguments.get("args") or _default_arguments(given.arguments["model"]))
        objectives = _objectives(objective, params, args)
        check(objectives["train"], args, given.arguments)
        needs_reference = "logp_ref" in objectives["train"].reads("loss", "keep", "window")
        args.beta = 1.0 if needs_reference else 0.0  # to TRL: whether there is a reference
        args.vllm_importance_sampling_correction = False
        given.arguments["args"] = args
        self.losses = {mode: ObjectiveLoss(each, backend) for mode, each in objectives.items()}
        self._denominators: dict[str, Tensor] = {}
        self._place = 0
        self._said = False
        self._micro_batches: list[Mapping[str, Tensor]] = []
        self._pooled: dict[str, dict[str, Tensor]] = defaultdict(dict)
        super().__init__(*given.args[1:], **given.kwargs)
        self._linear_head = self._finds_linear_head()
        if self.is_world_process_zero():
            for line in remarks(objectives["train"], args):
                _log.warning(line)
            text = objectives["train"].text
            Path(args.output_dir, f"{objectives['train'].name}.obj").write_text(text, encoding="utf-8")

    @property
    def objective(self) -> Objective:
        """What is trained with."""
        return self.losses["train"].objective

    # ---- the generation batch

    def _calculate_rewards(self, *positional: Any, **named: Any) -> Tensor:
        rewards: Tensor = super()._calculate_rewards(*positional, **named)
        self._rewards = rewards
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> Inputs:
        output: Inputs = super()._generate_and_score_completions(inputs)
        loss, mode = self.losses[self._mode()], self._mode()
        mask = output["completion_mask"] * output.get("tool_mask", 1) != 0
        output |= {"trained": mask, "truncated": self._truncated(output)}
        self._bring_old(output, loss)
        local = TRL.batch(output) | {name: output[name] for name in ("logp", "entropy") if name in output}
        del local["advantage"]
        rows, own = rows_of_all_ranks(local)
        rows |= self._scores(len(rows["mask"]), loss.objective)
        advantage = loss.advantage(rows)
        self._show_advantages(advantage)
        if loss.objective.keeps:
            kept = loss.keep(rows)
            self._count_kept(kept, rows["group"], mode)
            output["trained"] = mask & kept[own, None]
        output["advantages"] = advantage[own] if advantage.dim() == 1 else advantage[own, : mask.shape[1]]
        output |= {name: value[own] for name, value in rows.items() if name.startswith("reward")}
        for name in ("logp", "entropy"):
            output.pop(name, None)
        return output

    def _truncated(self, output: Inputs) -> Tensor:
        """Completions [N] that hit the limit, as TRL finds them: their last token ends nothing."""
        last = (output["completion_mask"].sum(1) - 1).clamp(min=0)
        token = output["completion_ids"].gather(1, last[:, None])[:, 0]
        ends = torch.tensor([*self.eos_token_ids, self._tokenizer.pad_token_id], device=token.device)
        return ~torch.isin(token, ends)

    def _bring_old(self, output: Inputs, loss: ObjectiveLoss) -> None:
        """The policy's log-probs where the objective needs them before the first update, and TRL had no need of them.

        A token that vLLM could not score has NaN: what the policy gives it stands for what the sampler gave it.
        """
        rollout = output.get("sampling_per_token_logps")
        unscored = None if rollout is None else rollout.isnan()
        early = {"logp", "logp_old", "entropy"} & loss.objective.reads("advantage", "keep")
        if early - {"logp_old"} or (
            "old_per_token_logps" not in output and (early or (unscored is not None and bool(unscored.any())))
        ):
            size = self.args.per_device_train_batch_size
            with torch.no_grad():
                logp, entropy, _ = self._log_probs(self.model, output, entropy="entropy" in early, rows=size)
            output.setdefault("old_per_token_logps", logp)
            output |= {"logp": logp} | ({} if entropy is None else {"entropy": entropy})
        if rollout is not None and "old_per_token_logps" in output:
            output["sampling_per_token_logps"] = torch.where(
                rollout.isnan(), output["old_per_token_logps"], rollout
            )

    def _scores(self, rows: int, objective: Objective) -> dict[str, Tensor]:
        """Rewards and groups of the completions of all ranks; a completion that no function scored has NaN."""
        each, weights = self._rewards, self.reward_weights.to(self._rewards.device)
        nobody = each.isnan().all(1)
        scores = {"reward": (each * weights).nansum(1).masked_fill(nobody, torch.nan)}
        for number, column in enumerate(each.unbind(1), 1):
            name = f"reward_{number}"
            if name in objective.reads("loss", "keep"):
                if bool((column.isnan() & ~nobody).any()):
                    raise HostError(
                        f"{objective.name}: `{name}`, {self.reward_func_names[number - 1]}, has no reward for a "
                        "completion that others have scored: return a number, or None from all of them"
                    )
                scores[name] = column
        size = self.num_generations if self._mode() == "train" else self.num_generations_eval
        scores["group"] = torch.arange(rows, device=each.device) // size
        return scores

    def _count_kept(self, kept: Tensor, group: Tensor, mode: str) -> None:
        """Note how many completions and groups are trained on; TRL samples no others in their place."""
        groups = torch.unique(group[kept])
        counts = {
            "kept": torch.stack([kept.sum(), torch.tensor(len(kept), device=kept.device)]).double().cpu(),
            "kept_groups": torch.tensor([len(groups), int(group.max()) + 1]).double(),
        }
        self._pooled[mode] = pooled_parts([self._pooled[mode], counts])
        if not len(groups) and self.is_world_process_zero():
            rules = "; ".join(lines(self.objective, "keep"))
            _log.warning(f"{self.objective.name}: no group of this generation batch is kept, by {rules}")

    def _show_advantages(self, advantage: Tensor) -> None:
        """Put the objective's advantages into TRL's table of completions, in the place of TRL's own."""
        shown = self._logs["advantages"]
        for _ in range(min(len(advantage), len(shown))):
            shown.pop()
        shown.extend((advantage if advantage.dim() == 1 else advantage.mean(1)).tolist())

    # ---- the loss

    def _compute_loss(self, model: nn.Module, inputs: Inputs) -> Tensor:
        mode = self._mode()
        loss, steps = self.losses[mode], self.current_gradient_accumulation_steps if mode == "train" else 1
        if mode == "eval" or self._place == 0:
            window = [inputs] if mode == "eval" else self._window(steps)
            self._denominators = denominators(loss, [self._counted(model, part, loss) for part in window])
        value, output, auxiliary = self._evaluated(model, inputs, loss)
        self._micro_batches.append(output.metric_parts)
        self._place = (self._place + 1) % steps if mode == "train" else self._place
        if self._place == 0:
            parts = parts_of_all_ranks(pooled_parts(self._micro_batches))
            self._pooled[mode] = pooled_parts([self._pooled[mode], parts])
            self._micro_batches = []
        # Gradients are averaged over ranks: the factor makes the mean of their parts a sum.
        total: Tensor = value * self.accelerator.num_processes
        if auxiliary is not None:  # the load balance of experts is the model's and not the objective's
            total = total + self.router_aux_loss_coef * auxiliary / steps
            self._metrics[mode]["aux_loss"].append(self.accelerator.gather(auxiliary.detach()).mean().item())
        return total

    def _window(self, steps: int) -> list[Inputs]:
        """The micro-batches of the optimizer step that begins."""
        period = self.args.steps_per_generation * self.num_iterations
        if self._step % period + steps > period:
            raise HostError(
                f"{self.objective.name}: an optimizer step goes over two generations, and what its losses divide by "
                "is not known at its first micro-batch"
            )
        return [
            self._buffered_inputs[number % self.args.steps_per_generation]
            for number in range(self._step, self._step + steps)
        ]

    def _counted(self, model: nn.Module, inputs: Inputs, loss: ObjectiveLoss) -> dict[str, Tensor]:
        """A micro-batch as the statistics of the window read it."""
        batch = self._batch(inputs, loss)
        reads = loss.objective.reads("window", given=["advantage"])
        if {"logp", "logp_old", "entropy"} & reads - set(batch):
            with torch.no_grad():
                logp, entropy, _ = self._log_probs(model, inputs, entropy="entropy" in reads)
            batch = {"logp_old": logp, **batch, "logp": logp} | (
                {} if entropy is None else {"entropy": entropy}
            )
        return batch

    def _batch(self, inputs: Inputs, loss: ObjectiveLoss) -> dict[str, Tensor]:
        """What the loss reads of a micro-batch."""
        wanted = {
            *loss.objective.reads("loss", given=["advantage"]),
            "advantage",
            "reward",
            "logp_old",
            "mask",
        }
        own = {name: value for name, value in inputs.items() if name.startswith("reward_")}
        return {name: value for name, value in {**own, **TRL.batch(inputs)}.items() if name in wanted}

    def _evaluated(
        self, model: nn.Module, inputs: Inputs, loss: ObjectiveLoss
    ) -> tuple[Tensor, LossOutput, Tensor | None]:
        """The loss with its gradient, its output, and the auxiliary loss of experts, if there are any."""
        batch = self._batch(inputs, loss)
        on_policy = "logp_old" not in batch
        if not self._linear_head:
            logp, entropy, auxiliary = self._log_probs(model, inputs, entropy=True, auxiliary=True)
            batch |= {"logp": logp} | ({} if entropy is None else {"entropy": entropy})
            batch |= {"logp_old": logp.detach()} if on_policy else {}
            output = loss(batch, denominators=self._denominators)
            return output.loss, output, auxiliary
        found: list[LossOutput] = []

        def compute(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            found.append(
                loss.from_hidden(
                    states,
                    weight,
                    inputs["completion_ids"],
                    batch,
                    bias=bias,
                    temperature=self.temperature,
                    denominators=self._denominators,
                    on_policy=on_policy,
                    entropy=True,
                )
            )
            found[0].metric_parts  # noqa: B018  (here, where a sharded weight is whole)
            return found[0].loss

        through = partial(self._at_head, model, inputs["completion_ids"].shape[1], compute)
        value, _, auxiliary = self._log_probs(through, inputs, auxiliary=True)
        return value.squeeze(), found[0], auxiliary

    def _at_head(
        self,
        model: nn.Module,
        length: int,
        compute: AtHead,
        *,
        labels: Tensor,
        fused_lm_head: bool,
        **inputs: Any,
    ) -> SimpleNamespace:
        """The model called as TRL calls it, with a loss in the place of its head, which comes out as its log-probs."""
        head = self._base(model).get_output_embeddings()

        def instead(states: Tensor) -> Tensor:
            states = states[:, -length - 1 : -1]
            if not self.args.cast_lm_head_to_fp32:
                return compute(states, head.weight, head.bias)
            with torch.autocast(states.device.type, enabled=False):
                return compute(states.float(), head.weight, head.bias)

        with in_the_place_of(head, instead):
            outputs = model(**inputs, use_cache=False, logits_to_keep=length + 1)
        # Through the model's own output, where wrappers that look for unused weights see what the loss depends on.
        return SimpleNamespace(
            log_probs=outputs.logits.reshape(1, 1), aux_loss=getattr(outputs, "aux_loss", None)
        )

    def _log_probs(
        self,
        model: Callable[..., Any],
        inputs: Inputs,
        *,
        entropy: bool = False,
        auxiliary: bool = False,
        rows: int | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Log-probs [N, T], entropies and auxiliary loss by TRL's own way to call a model."""
        found: tuple[Tensor, Tensor | None, Tensor | None] = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1),
            torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1),
            inputs["completion_ids"].shape[1],
            batch_size=rows,
            compute_entropy=entropy,
            compute_aux_loss=auxiliary and self.aux_loss_enabled,
            **{name: inputs.get(name) for name in MODEL_INPUTS},
        )
        return found

    def _finds_linear_head(self) -> bool:
        """Whether the model's logits are its states times a weight that is whole in its forward, and no more."""
        if self._is_vlm or self.is_deepspeed_enabled:
            return False
        base = self._base(self.model)
        accepts = inspect.signature(base.forward).parameters
        return "logits_to_keep" in accepts and linear_head(base) is not None

    def _base(self, model: nn.Module) -> Any:
        """The model below wrappers and adapters."""
        bare: Any = self.accelerator.unwrap_model(model)
        return bare.get_base_model() if hasattr(bare, "get_base_model") else bare

    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    # ---- what is logged

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """TRL's logs with the objective's metrics, pooled since the last ones; its name and hash in the first."""
        mode = self._mode()
        for name, parts in self._pooled.pop(mode, {}).items():
            self._metrics[mode][f"objective/{name}"] = [metric_value(parts).item()]
            if name in TRLS_OWN_METRICS:
                self._metrics[mode][name] = [metric_value(parts).item()]
        if not self._said:
            self._said = True
            logs = {**logs, "objective/name": self.objective.name, "objective/hash": self.objective.hash}
        super().log(logs, start_time)


# ---- what can be said before anything is loaded


def check(objective: Objective, args: GRPOConfig, given: Mapping[str, Any]) -> None:
    """Raise HostError with everything that TRL does not bring, and every option that the spec decides."""
    problems = [*_not_brought(objective, args, given), *_contradicted(objective, args)]
    if problems:
        raise HostError(f"{objective.name} in TRL: " + "\n  ".join(["", *problems]).lstrip(" "))


def remarks(objective: Objective, args: GRPOConfig) -> list[str]:
    """What is no mistake, and changes what is trained."""
    found = []
    changed = [
        f"{option.name}={getattr(args, option.name)!r}"
        for option in OPTIONS.values()
        if option.about is About.SAMPLER and getattr(args, option.name) not in (option.default, None)
    ]
    if changed:
        found.append(
            f"{', '.join(changed)}: completions are not sampled from the policy that the ratios are of"
        )
    if args.use_vllm and "logp_rollout" not in objective.reads("loss", "keep"):
        found.append(
            "nothing corrects for what vLLM computes otherwise: no line reads `rollout` (see `tis`, `mis`)"
        )
    if objective.keeps:
        found.append(
            f"TRL samples nothing in the place of what is not kept: {'; '.join(lines(objective, 'keep'))}"
        )
    return [f"{objective.name}: {line}" for line in found]


def _not_brought(objective: Objective, args: GRPOConfig, given: Mapping[str, Any]) -> list[str]:
    functions = given.get("reward_funcs")
    several = len(functions) if isinstance(functions, list) else 1
    brings = {"logp", "entropy", "correct", "group", *TRL.tensors} - {"logp_rollout"}
    brings |= {f"reward_{number}" for number in range(1, several + 1)}
    if args.use_vllm or given.get("rollout_func") is not None:
        brings.add("logp_rollout")
    problems = [
        f"TRL does not bring {each}" for each in lacking(objective, brings, "loss", "keep", "window").values()
    ]
    problems += [f"TRL has no place for it: {line}" for line in lines(objective, "step", "prompt", "memory")]
    if split := objective.scopes("loss") - {"sequence", "window", "micro"}:
        problems.append(
            f"TRL shuffles completions over micro-batches, and the loss reduces within {', '.join(sorted(split))}"
        )
    if args.steps_per_generation * args.num_iterations % args.gradient_accumulation_steps:
        problems.append(
            f"steps_per_generation * num_iterations = {args.steps_per_generation * args.num_iterations} is no multiple "
            f"of gradient_accumulation_steps = {args.gradient_accumulation_steps}: an optimizer step would go over two "
            "generations, and what its losses divide by is not known at its first micro-batch"
        )
    return problems


def _contradicted(objective: Objective, args: GRPOConfig) -> list[str]:
    changed = [
        (option, getattr(args, option.name))
        for option in OPTIONS.values()
        if option.parts and getattr(args, option.name) != option.default
    ]
    return [
        f"`{option.name}={value!r}` would do nothing: {says(objective, option.parts)}; {_meant(option, value)}"
        for option, value in changed
    ]


def _meant(option: Option, value: object) -> str:
    """The line of a spec that the option would be."""
    if option.about is About.REFUSED:
        return f"{option.about.value}: {option.line(value)}"
    return f"as a line it would be: {option.line(value)}"


def _objectives(
    source: SpecLike, params: Mapping[str, float] | None, args: GRPOConfig
) -> dict[str, Objective]:
    """The objective of training and of evaluation, whose groups may have other sizes."""
    sizes = {"train": args.num_generations, "eval": args.num_generations_eval or args.num_generations}
    limit = args.max_completion_length
    run = {} if limit is None else {"generation_limit": limit}
    objective = load(source, params)
    return {mode: load(objective, run={**run, "group_size": size}) for mode, size in sizes.items()}


def _default_arguments(model: Any) -> GRPOConfig:
    """What GRPOTrainer takes where it is given no configuration."""
    name = model if isinstance(model, str) else str(getattr(model.config, "_name_or_path", "") or "model")
    return GRPOConfig(f"{name.rpartition('/')[2]}-GRPO")
