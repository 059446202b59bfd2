"""The loss from the states before a linear head; a file made with `--head linear` carries it as text."""

import torch

from maspo_dsl.emit.template.loss_module import LossModule
from maspo_dsl.emit.template.metrics import LossOutput
from maspo_dsl.emit.template.names import Anything, Batch, BatchError


class HeadLoss(LossModule):
    """A loss that can be called with hidden states and the head's weight instead of log-probs.

    `head_memory` is what the logits of a chunk of tokens may take, in bytes; None is 96 MiB on a CPU and 1 GiB
    elsewhere.
    """

    head_memory: int | None = None
    distributions: tuple[str, ...] = ()
    """Tensors of whole distributions that the loss has gradient to, which are computed and not brought."""

    def from_hidden(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        tokens: torch.Tensor,
        batch: Batch,
        *,
        bias: torch.Tensor | None = None,
        temperature: float = 1.0,
        denominators: Batch | None = None,
        on_policy: bool = False,
        entropy: bool = False,
    ) -> LossOutput:
        """The loss of a batch without log-probs; logits are formed for a chunk of tokens at a time, forth and back.

        `hidden` is [N, T, H], or packed [M, H]; row t predicts `tokens[t]` of [N, T] or [M]. `weight` is [V, H],
        `bias` [V]; log-probs are of softmax((hidden weight^T + bias) / temperature). `on_policy`: the old policy is
        the present one, and the batch has no `logp_old`. Entropies are computed where the loss reads them and the batch
        has none, or `entropy` asks for them.
        """
        problems = hidden_problems(hidden, tokens, batch, on_policy=on_policy)
        problems = problems or head_problems(hidden, weight, tokens, batch["mask"], bias, temperature)
        problems += brought_with_gradient(self.distributions, batch)
        if problems:
            raise BatchError(f"{self.name}: {'; '.join(problems)}{shapes_given(hidden, tokens, batch)}")
        reads = {**self.reads["loss"], **({} if "advantage" in batch else self.reads["advantage"])}
        wanted = "entropy" not in batch and (entropy or "entropy" in reads)
        hidden, weight, bias = as_autocast(hidden, weight, bias)
        with torch.autocast(hidden.device.type, enabled=False):
            memory = self.head_memory or room_for_logits(hidden.device)
            count = max(1, memory // (len(weight) * head_dtype(weight).itemsize))
            rows = torch.split(batch["mask"].reshape(-1).nonzero()[:, 0], count)
            log_probs: Anything = HeadLogProbs.apply
            logp, entropies = log_probs(hidden, weight, bias, tokens, rows, temperature, wanted)
            x = {**batch, "logp": logp, **({"entropy": entropies} if wanted else {})}
            if on_policy:
                x["logp_old"] = logp.detach()
            output: LossOutput = self(x, denominators=denominators)
        return output


class HeadLogProbs(torch.autograd.Function):
    """Log-probs and entropies of tokens, as `hidden` without its last axis; 0 for those in no chunk.

    With z the logits of a token y, p = softmax(z) and H their entropy:

        dlogp / dz = onehot(y) - p        dH / dz = -p (log p + H)
    """

    @staticmethod
    def forward(
        ctx: Anything,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        tokens: torch.Tensor,
        rows: tuple[torch.Tensor, ...],
        temperature: float,
        entropy: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A chunk of tokens after the other; nothing of the size of the vocabulary is kept."""
        ctx.save_for_backward(hidden, weight, bias, tokens)
        ctx.rows, ctx.temperature = rows, temperature
        logp = torch.zeros(tokens.numel(), dtype=head_dtype(weight), device=tokens.device)
        entropies = torch.zeros_like(logp) if entropy else None
        for chunk in rows:
            logs = log_softmax_at(hidden, weight, bias, chunk, temperature)
            logp[chunk] = logs.gather(1, tokens.reshape(-1)[chunk].long()[:, None])[:, 0]
            if entropies is not None:
                entropies[chunk] = entropy_of(logs)
        return logp.view(tokens.shape), None if entropies is None else entropies.view(tokens.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Anything, slope: torch.Tensor, entropy_slope: torch.Tensor | None) -> Anything:
        """The logits of a chunk once more, turned into their gradient in place; tokens without one are left out."""
        hidden, weight, bias, tokens = ctx.saved_tensors
        slopes = [None if each is None else each.reshape(-1) for each in (slope, entropy_slope)]
        shape, dtype = hidden.shape, head_dtype(weight)
        hidden = hidden.reshape(-1, shape[-1])
        wanted = [
            torch.zeros_like(each, dtype=dtype) if needed and each is not None else None
            for each, needed in zip((hidden, weight, bias), ctx.needs_input_grad, strict=False)
        ]
        for chunk in ctx.rows:
            used = torch.stack([each[chunk] != 0 for each in slopes if each is not None]).any(0)
            add_gradients(ctx, wanted, hidden, weight, bias, tokens.reshape(-1), chunk[used], slopes)
        of_hidden = None if wanted[0] is None else wanted[0].to(hidden.dtype).view(shape)
        given = [
            None if each is None or own is None else each.to(own.dtype)
            for each, own in zip(wanted[1:], (weight, bias), strict=True)
        ]
        return (of_hidden, *given, None, None, None, None)


def add_gradients(
    ctx: Anything,
    wanted: list[torch.Tensor | None],
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    tokens: torch.Tensor,
    rows: torch.Tensor,
    slopes: list[torch.Tensor | None],
) -> None:
    """Add what some tokens bring to the gradients of states, weight and bias, as far as they are wanted."""
    logs = log_softmax_at(hidden, weight, bias, rows, ctx.temperature)
    slope, entropy_slope = (None if each is None else each[rows, None] for each in slopes)
    residual = torch.zeros_like(logs)
    if slope is not None:
        residual -= slope * logs.exp()
        residual.scatter_add_(1, tokens[rows].long()[:, None], slope)
    if entropy_slope is not None:
        residual -= entropy_slope * logs.exp() * (logs.clamp(min=-1000.0) + entropy_of(logs)[:, None])
    residual /= ctx.temperature
    of_hidden, of_weight, of_bias = wanted
    if of_hidden is not None:
        of_hidden.index_add_(0, rows, product(residual, weight, logs.dtype))
    if of_weight is not None:
        of_weight += product(residual.t(), hidden[rows].to(weight.dtype), logs.dtype)
    if of_bias is not None:
        of_bias += residual.sum(0)


def log_softmax_at(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    rows: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Log-probs [C, V] of the whole vocabulary after some states."""
    logits = product(hidden.reshape(-1, hidden.shape[-1])[rows], weight.t(), head_dtype(weight))
    logits = logits if bias is None else logits + bias
    return torch.log_softmax(logits / temperature, 1)


def entropy_of(logs: torch.Tensor) -> torch.Tensor:
    """Entropies [C] of distributions by their log-probs; a forbidden token has no share in them."""
    return -(logs.exp() * logs.clamp(min=-1000.0)).sum(1)


def product(left: torch.Tensor, right: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """left @ right, summed in `dtype`; the factors are in it or, on an accelerator that can, in that of `right`."""
    if right.dtype == dtype or not right.is_cuda:
        return left.to(dtype) @ right.to(dtype)
    return torch.mm(left.to(right.dtype), right, out_dtype=dtype)


def head_dtype(weight: torch.Tensor) -> torch.dtype:
    """What logits and gradients are computed in: float32, or float64 if the weight is."""
    return torch.promote_types(torch.float32, weight.dtype)


def room_for_logits(device: torch.device) -> int:
    """What the logits of a chunk may take, in bytes: 512 tokens of a vocabulary of 49,152; a GPU wants more."""
    return 96 * 2**20 if device.type == "cpu" else 2**30


def as_autocast(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What a linear layer would take of states, weight and bias under the present autocast, if there is one."""
    if not torch.is_autocast_enabled(hidden.device.type):
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(hidden.device.type)
    return hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def hidden_problems(
    hidden: torch.Tensor, tokens: torch.Tensor, batch: Batch, *, on_policy: bool
) -> list[str]:
    """Why states, tokens and a batch do not go together, in words."""
    mask = batch.get("mask")
    if mask is None:
        return ["the batch lacks `mask` [N, T], needed by every objective"]
    problems = []
    axes = "[M]" if "sequence" in batch else "[N, T]"
    if tokens.shape != mask.shape:
        problems.append(f"`tokens` must have the shape of `mask`, {axes}")
    if hidden.shape[:-1] != mask.shape:
        problems.append(f"`hidden` must be {axes[:-1]}, H] with the axes of `mask`")
    if tokens.dtype not in (torch.int32, torch.int64):
        problems.append(f"`tokens` must be whole numbers (int64), not {tokens.dtype}")
    if "logp" in batch:
        problems.append("`logp` must not be in the batch: it is computed from `hidden`")
    if on_policy and "logp_old" in batch:
        problems.append(
            "`logp_old` must not be in the batch: with on_policy it is what is computed, detached"
        )
    return problems


def head_problems(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    tokens: torch.Tensor,
    mask: torch.Tensor,
    bias: torch.Tensor | None,
    temperature: float,
) -> list[str]:
    """Why a head does not fit the states, or has no row for a token, in words."""
    problems = []
    if hasattr(weight, "full_tensor"):
        problems.append(
            "`weight` is sharded (a DTensor): call from_hidden inside the forward of the module that shards it, "
            "where it is whole, or pass weight.full_tensor(grad_placements=[Partial()])"
        )
    if weight.dim() != 2 or hidden.shape[-1] != weight.shape[1]:
        problems.append(f"`weight` must be [V, {hidden.shape[-1]}], and is {list(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        problems.append(f"`bias` must be [{weight.shape[0]}], and is {list(bias.shape)}")
    if not temperature > 0:
        problems.append(f"`temperature` must be above 0, not {temperature}")
    if tokens.device.type == "cpu":  # where looking is free
        trained = tokens[mask != 0]
        if len(trained) and not 0 <= int(trained.min()) <= int(trained.max()) < len(weight):
            problems.append(f"trained `tokens` must be 0 to {len(weight) - 1}")
    return problems


def brought_with_gradient(distributions: tuple[str, ...], batch: Batch) -> list[str]:
    """Why the batch must not have what the loss has gradient to, in words."""
    return [
        f"`{name}` must not be in the batch: the objective has gradient to it, so it is computed from `hidden`"
        for name in distributions
        if name in batch
    ]


def shapes_given(hidden: torch.Tensor, tokens: torch.Tensor, batch: Batch) -> str:
    """All shapes, for a message."""
    given = {"hidden": hidden, "tokens": tokens, **batch}
    shapes = [
        f"{name} {list(value.shape)}" for name, value in given.items() if isinstance(value, torch.Tensor)
    ]
    return f". Given were {', '.join(shapes)}"
