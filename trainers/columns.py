"""The columns of metrics.csv, in their order: one row each, with what it means and where else it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A metric of a step.

    Those `by` the loss are pooled over micro-batches, updates and ranks, the others are numbers of the trainer.
    `progress` is how a line of a run shows it;
    `figure` names its figure in a report, `note` says how to read it. A figure of `…_pos` has `…_neg` beside it.
    """

    name: str
    meaning: str
    by: Literal["loss", "trainer", "clock"] = "loss"
    progress: str = ""
    figure: str = ""
    note: str = ""


_GATED = "a token is gated whose weight in the gradient is not A times its ratio: for PPO's clip, the clip fraction"
_ROWS = (
    Column("step", "rollouts so far, each with its updates", "trainer"),
    Column(
        "reward",
        "mean reward of the sampled completions",
        "trainer",
        progress="  reward {:.3f}",
        figure="reward of the sampled completions",
    ),
    Column(
        "eval/greedy",
        "mean reward of greedy completions of held-out prompts",
        "trainer",
        progress="  greedy {:.3f}",
        figure="held-out greedy reward",
    ),
    Column(
        "eval/avg@k", "mean reward of `trainer.eval_samples` completions to each held-out prompt", "trainer"
    ),
    Column("eval/pass@k", "share of held-out prompts with one among them whose reward is above 0", "trainer"),
    Column("loss", "with penalties and bonuses", progress="  loss {:+.3f}"),
    Column("policy_loss", "without penalties and bonuses"),
    Column("kl", "mean of `k3(policy, reference)`"),
    Column("entropy", "mean, in nats a token", progress="  entropy {:.2f}", figure="entropy, nats a token"),
    Column("ratio_mean", "mean of `policy / old`, before clips and gates"),
    Column("ratio_max", "the largest `policy / old`"),
    Column(
        "gated_pos",
        f"share of gated tokens among those with A > 0; {_GATED}",
        progress="  gated {:.0%}",
        figure="share of gated tokens",
        note="A token is gated whose weight in the gradient is not A times its ratio.",
    ),
    Column("gated_neg", "share of gated tokens among those with A < 0", progress="|{:.0%}"),
    Column(
        "mass_pos",
        "mean of `log(old)` of tokens with A > 0",
        figure="mean log-prob under the old policy",
        note="The mass that the old policy gave to the sampled tokens.",
    ),
    Column("mass_neg", "mean of `log(old)` of tokens with A < 0"),
    Column(
        "zero_signal_groups",
        "share of groups whose advantages are all 0, mostly because their rewards are equal",
    ),
    Column("ess", "effective sample size of `policy / old`, as a share of the tokens"),
    Column("clamped", "share of tokens whose log-ratio of policy and old is beyond ±20"),
    Column("above_zero", "share of tokens with a log-prob above 0: what was given is no log-prob"),
    Column("nonfinite", "share of tokens with a term that is NaN or infinite"),
    Column("learning_rate", "mean over the updates", "trainer"),
    Column("grad_norm", "mean over the updates, before the gradient is clipped", "trainer"),
    Column("updates", "optimizer updates of the step", "trainer"),
    Column("length", "mean tokens of a completion", "trainer"),
    Column("truncated", "share of completions that hit the generation limit", "trainer"),
    Column("reward_failures", "share of completions without a reward, because it failed", "trainer"),
    Column("kept", "share of completions that the `keep` rules let through", "trainer"),
    Column("resamples", "how often the rollout was refilled", "trainer"),
    Column(
        "tokens_per_second",
        "tokens of the rollout by the seconds of the step",
        "clock",
        progress="  {:.0f} tok/s",
    ),
    Column("seconds", "the rollout and its updates", "clock"),
)
COLUMNS = {column.name: column for column in _ROWS}
