"""Losses as somebody else writes them: right ones, forks with a mistake, and functions that cannot be compared."""

import torch


def vanilla(
    old_log_prob,
    log_prob,
    advantages,
    response_mask,
    loss_agg_mode="token-mean",
    config=None,
    rollout_is_weights=None,
):
    """PPO with a dual clip and a token mean, with the signature of verl's policy losses."""
    ratio = torch.exp((log_prob - old_log_prob).clamp(-20, 20))
    low, high = 1 - config.clip_ratio_low, 1 + config.clip_ratio_high
    losses = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(low, high))
    bounded = torch.minimum(losses, -advantages * config.get("clip_ratio_c", 3.0))
    losses = torch.where(advantages < 0, bounded, losses)
    tokens = config.global_batch_info.get("batch_num_tokens") or response_mask.sum()
    return (losses * response_mask).sum() / tokens, {}


def cispo_capped_low(batch):
    """TRL's cispo as it is by default."""
    weight = torch.exp(batch["logp"] - batch["logp_old"]).clamp(max=0.2).detach()
    losses = -weight * batch["advantage"][:, None] * batch["logp"] * batch["mask"]
    return losses.sum() / batch["mask"].sum()


def sapo(batch):
    """SAPO with other temperatures."""
    advantage, mask = batch["advantage"][:, None], batch["mask"].double()
    tau = torch.where(advantage > 0, 1.7, 0.6).double()
    gate = 4 / tau * torch.sigmoid(tau * (torch.exp(batch["logp"] - batch["logp_old"]) - 1))
    rows = mask.any(1)
    return (-(gate * advantage * mask).sum(1)[rows] / mask.sum(1)[rows]).mean()


def from_rewards(batch):
    """REINFORCE with a group baseline that it computes itself."""
    same = (batch["group"][:, None] == batch["group"][None, :]) & batch["mask"].any(1)
    mean = (same * batch["reward"]).sum(1) / same.sum(1).clamp(min=1)
    losses = -(batch["reward"] - mean)[:, None] * batch["logp"] * batch["mask"]
    return losses.sum() / batch["mask"].sum()


def product_of_everything(batch):
    """Nothing that anybody ships."""
    mask = batch["mask"]
    return -(batch["advantage"][:, None] * torch.tanh(3 * batch["logp"]) * mask).sum() / mask.sum()


def prints(batch):
    """Right, and talks."""
    print("what a user prints")
    return cispo_capped_low(batch)


def raises(batch):
    """Fails."""
    raise ValueError("no such thing\nand more")


def a_row_each(batch):
    """No number."""
    return batch["logp"].sum(1)


def a_float(batch):
    """No tensor."""
    return float(batch["logp"].sum())


def not_a_number(batch):
    """NaN."""
    return batch["logp"].sum() * float("nan")


def detached(batch):
    """No gradient."""
    return batch["logp"].detach().sum()


def changes_the_mask(batch):
    """Spoils what it is given."""
    batch["mask"][:] = True
    return batch["logp"].sum()


def changes_a_leaf(batch):
    """In place, where autograd forbids it."""
    batch["logp"].mul_(2)
    return batch["logp"].sum()


def misspells(batch):
    """A tensor that no batch has."""
    return batch["advantages"].sum()


def two_batches(batch, other):
    """Neither of the signatures."""
    return batch["logp"].sum()


NOT_A_FUNCTION = 3


def leave_one_out(token_level_rewards, response_mask, index=None, config=None, **others):
    """RLOO, with the signature of verl's estimators."""
    scores = token_level_rewards.sum(-1)
    advantages = torch.zeros_like(scores)
    for place, group in enumerate(index):
        rows = [
            row for row, one in enumerate(index) if one == group and row != place and response_mask[row].any()
        ]
        advantages[place] = scores[place] - scores[rows].mean() if rows else 0.0
    spread = advantages[:, None] * response_mask
    return spread, spread


def half_normalised(token_level_rewards, response_mask, index, epsilon, scale=1.0):
    """GRPO's centre over a constant: nobody's."""
    scores = token_level_rewards.sum(-1)
    same = torch.tensor([[one == other for other in index] for one in index]) & response_mask.bool().any(1)
    mean = (same * scores).sum(1) / same.sum(1).clamp(min=1)
    return (scale * (scores - mean) / (0.37 + epsilon))[:, None] * response_mask
