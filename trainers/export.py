"""The trained model as a folder that transformers, servers and `model=` take, with a card that says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maspo_dsl.language.writing import whole_folder
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines

from .checkpoint import best_checkpoint, last_checkpoint, step_of, trained_weights
from .config import RunConfig, as_yaml, read_config
from .config_error import ConfigError
from .curves import draw_curves
from .metrics import Row, read_rows
from .policies import Policy, configured_policy
from .policies.pretrained import without_progress_bars
from .run_folder import recorded_objective
from .tasks import build_task

if TYPE_CHECKING:
    from maspo_dsl import Objective

MODEL = "model"
"""The folder of a run that its model is in at the end."""


def export(run: Path, folder: Path, *, best: bool = False, merge: bool = True) -> int:
    """Write the model of a run, at any time after its first checkpoint; returns the step that it is of.

    `best`: the weights that did best on held-out prompts, instead of the last. Without `merge`, a model with LoRA is
    its adapter alone. Raises ConfigError: no run, nothing saved yet, a folder that holds something, another model.
    """
    config = read_config([f"resume={run}"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; name another folder")
    checkpoint = best_checkpoint(run) if best else last_checkpoint(run)
    if checkpoint is None:
        what = "no weights that were measured on held-out prompts" if best else "no checkpoint yet"
        raise ConfigError(f"{run} has {what}; nothing can be exported")
    weights = trained_weights(checkpoint)
    policy = configured_policy(config, build_task(config.task, **config.task_options))
    _load(policy, weights, run)
    step = step_of(checkpoint)
    write_model(policy, folder, recorded_objective(run), config, read_rows(run), step, merge=merge)
    return step


def write_model(
    policy: Policy,
    folder: Path,
    objective: Objective,
    config: RunConfig,
    rows: list[Row],
    step: int,
    *,
    merge: bool = True,
) -> None:
    """Write weights in float32, tokenizer and card. With `merge`, LoRA is merged into the policy itself, for good.

    Raises ConfigError for a model that transformers cannot save, and without `merge` for one without LoRA.
    """
    if not is_exportable(policy):
        raise ConfigError(
            f"model {policy.name} is no model of transformers, which alone are written as folders"
        )
    if not merge and policy.adapter is None:
        raise ConfigError(f"model {policy.name} was trained without LoRA: there is no adapter to write apart")
    with whole_folder(folder, replaces=True) as made:
        model: Any = policy.adapter if policy.adapter is not None else policy.model
        if policy.adapter is not None and merge:
            model = policy.adapter.merge_and_unload()
        if config.tokenizer.end is not None:  # it ends completions, for whoever samples the model
            model.generation_config.eos_token_id = list(policy.tokenizer.eos_ids)
        with without_progress_bars():
            model.save_pretrained(made)
        policy.tokenizer.hugging_face().save_pretrained(made)
        if rows:
            draw_curves(rows, made / "curves.png", f"{objective.name} on {config.task}, {config.model}")
        (made / "README.md").write_text(card(objective, config, rows, step), encoding="utf-8")


def is_exportable(policy: Policy) -> bool:
    """Whether transformers can save the model."""
    return hasattr(policy.model, "save_pretrained")


def card(objective: Objective, config: RunConfig, rows: list[Row], step: int) -> str:
    """A model card: the objective as text, formula and hash, how the run went, and every setting."""
    front = [
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [reinforcement-learning, maspo-dsl]",
    ]
    measured = [row for row in rows if int(row["step"] or 0) <= step]
    parts = [
        "\n".join(["---", *front, f"base_model: {json.dumps(config.model)}", "---"]),
        f"# {config.model}, trained with {objective.name}",
        f"{objective.resolved.doc}\n\n{step} steps with maspo-dsl on `{config.task}`, weights in float32.",
        "\n".join(["| | first | last | best |", "| --- | --- | --- | --- |", *_results(measured)]),
        *(["![curves](curves.png)"] if rows else []),
        "\n".join(
            ["## Objective", "", f"`{objective.name}@{objective.hash}`", "", "$$", *_formula(objective), "$$"]
        ),
        f"```obj\n{objective.text.rstrip()}\n```",
        f"## Settings\n\n```yaml\n{as_yaml(config).rstrip()}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _formula(objective: Objective) -> list[str]:
    return list(latex_lines(latex_formula(objective.resolved)))


def _results(rows: list[Row]) -> list[str]:
    """First, last and best value of what a run is judged by, a line each."""
    lines = []
    for name, label in (("reward", "reward of sampled completions"), ("eval/greedy", "held-out, greedy")):
        values = [float(value) for row in rows if (value := row.get(name)) is not None]
        if values:
            lines.append(f"| {label} | {values[0]:.3f} | {values[-1]:.3f} | {max(values):.3f} |")
    return lines


def _load(policy: Policy, weights: dict[str, Any], run: Path) -> None:
    """Put the weights of a checkpoint into a policy; frozen ones are not among them."""
    missing, unexpected = policy.model.load_state_dict(weights, strict=False)
    trained = {name for name, each in policy.model.named_parameters() if each.requires_grad}
    if unexpected or trained & set(missing):
        raise ConfigError(f"the weights of {run} do not fit its model {policy.name}; that has changed since")
