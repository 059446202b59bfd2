"""A teacher that learns while a run goes on how much each prompt has to teach (Goldilocks RL, arXiv:2602.14868)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from .encoding import encode, padded
from .policies.policy import Policy
from .precision import computing_in
from .prompts import Prompt

UTILITY = "utility"
"""What a spec calls the prediction as its input: `input utility : sequence`."""
_REMEMBERED = 1024
"""Prompts in the replay buffer; the newest push the oldest out."""
_FITS, _AT_ONCE, _RATE = 32, 128, 0.05
"""Steps of Adam after a rollout, prompts of each, and its learning rate. The paper does not give its own."""


class UtilityTeacher:
    """Predicts the spread of a prompt's rewards: 0.5 sigmoid(w x + b), x the mean of the policy's last states.

    With rewards of 0 and 1 the spread is sqrt(p (1 - p)), p the share of right completions: in [0, 0.5], and what the
    gradient of a group is proportional to (arXiv:2602.14868). The teacher reads the present policy without a gradient;
    the paper has a model of its own for it. It is the same on every rank if `learn` is given what all ranks saw.
    """

    def __init__(self, seed: int) -> None:
        """Before it has seen a prompt it predicts 0.25 for each."""
        self._generator = torch.Generator().manual_seed(seed)
        self._seen = torch.zeros(0, 0)
        self._spread = torch.zeros(0)
        self._weight = torch.zeros(0)
        self._moments: dict[str, Any] = {}

    @torch.no_grad()
    def features(self, policy: Policy, prompts: Sequence[Prompt], longest: int, precision: str) -> Tensor:
        """The mean of the last states over a prompt's tokens, and 1: [N, H + 1]."""
        device = next(policy.model.parameters()).device
        # Padded on the right, where a causal model does not see it.
        tokens, attention = padded(encode(policy, prompts, longest), policy.tokenizer.pad_id, left=False)
        tokens, attention = tokens.to(device), attention.to(device)
        with computing_in(precision, device):
            output = policy.model(
                input_ids=tokens, attention_mask=attention.long(), output_hidden_states=True, use_cache=False
            )
        states = output.hidden_states[-1].float() * attention[:, :, None]
        mean = states.sum(dim=1) / attention.sum(dim=1, keepdim=True)
        return torch.cat([mean, torch.ones_like(mean[:, :1])], dim=1).cpu()

    def predict(self, features: Tensor) -> Tensor:
        """The spread that each prompt's rewards are expected to have, [N] in (0, 0.5)."""
        if not self._weight.numel():
            return torch.full((len(features),), 0.25)
        return 0.5 * torch.sigmoid(features @ self._weight)

    def learn(self, features: Tensor, spread: Tensor) -> None:
        """Remember prompts with the spreads [N] of their rewards, and fit what is remembered."""
        if not self._weight.numel():
            self._weight = torch.zeros(features.shape[1])
            self._seen = features[:0]
        self._seen = torch.cat([self._seen, features])[-_REMEMBERED:]
        self._spread = torch.cat([self._spread, spread.clamp(0, 0.5)])[-_REMEMBERED:]
        weight = self._weight.requires_grad_()
        optimizer = torch.optim.Adam([weight], lr=_RATE)
        if self._moments:
            optimizer.load_state_dict(self._moments)
        with torch.enable_grad():
            for _ in range(_FITS):
                some = torch.randint(len(self._seen), (_AT_ONCE,), generator=self._generator)
                optimizer.zero_grad()
                torch.autograd.backward(mse_loss(self.predict(self._seen[some]), self._spread[some]))
                optimizer.step()
        self._weight, self._moments = weight.detach(), optimizer.state_dict()

    def state(self) -> dict[str, Any]:
        """Everything that it has learned and remembers."""
        return {
            "generator": self._generator.get_state(),
            "seen": self._seen,
            "spread": self._spread,
            "weight": self._weight,
            "moments": self._moments,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._generator.set_state(state["generator"].cpu())
        self._seen, self._spread, self._weight, self._moments = (
            state[name] for name in ("seen", "spread", "weight", "moments")
        )
