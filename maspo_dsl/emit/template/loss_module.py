"""The module around the functions of an objective; a generated file carries it as text."""

import torch

from maspo_dsl.emit.template.batch import (
    check_missing,
    check_names,
    check_shapes,
    computed_dtype,
    converted,
    dense,
    having,
    known_row_count,
    nothing_of,
    rows_present,
)
from maspo_dsl.emit.template.metrics import LossOutput, measured, nonfinite_tokens, outside_metrics
from maspo_dsl.emit.template.names import (
    Anything,
    Batch,
    BatchError,
    Batches,
    Function,
    Inputs,
    Memories,
    Move,
    Names,
    Parts,
    Tensors,
)
from maspo_dsl.emit.template.operations import masked, tokens


class Parameters:
    """Values of parameters by name, 0-d each: setting one sets it in the module, and nothing is compiled again."""

    def __init__(self, tensors: Tensors) -> None:
        """`tensors` are the module's own."""
        self.tensors = tensors

    def __getitem__(self, name: str) -> torch.Tensor:
        """A value, which may be changed in place."""
        return self.tensors[name]

    def __setitem__(self, name: str, value: float | torch.Tensor) -> None:
        """Set a value. Raises KeyError: there is no such parameter, or it was built in."""
        if name not in self.tensors:
            raise KeyError(
                f"no parameter `{name}` can be set; there are: {', '.join(self.tensors) or 'none'}"
            )
        self.tensors[name].fill_(value)

    def update(self, values: dict[str, float]) -> None:
        """Set several."""
        for name, value in values.items():
            self[name] = value

    def keys(self) -> list[str]:
        """Names of the parameters that can be set."""
        return list(self.tensors)

    def items(self) -> list[tuple[str, torch.Tensor]]:
        """Names and values."""
        return list(self.tensors.items())

    def __iter__(self) -> Names:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return repr({name: value.item() for name, value in self.tensors.items()})


class LossModule(torch.nn.Module):
    """An objective as a module without weights; the subclass at the end of the file names its functions.

    `batch` is a mapping of tensors (natural logs), whose names and axes are the `inputs`: token [N, T], sequence [N],
    either of both, scalar 0-d and the same in every part of a window. `mask` is true at trained tokens; `group` has any
    ids; `advantage` replaces the estimator. In packed form token tensors are [M] and `sequence` [M] says which row of
    the [N] tensors each token belongs to; an `advantage` [M] then is one a token, unless M is N. Computes
    in float32, or float64 if `logp` is.
    """

    values: torch.Tensor

    def __init__(
        self,
        name: str,
        params: dict[str, float],
        inputs: Inputs,
        reads: dict[str, dict[str, str]],
        functions: dict[str, Function],
        phases: tuple[Function, ...],
        whole: dict[str, list[str]],
        by_row: bool,
        memories: Memories | None = None,
    ) -> None:
        """`reads` says for each purpose which tensors are read, and by which term.

        `inputs` says of each tensor that a batch can hold its axis, and whether it is a number (with gradient: live), a
        condition, a whole number or an index.
        `whole` are the scopes that the estimator reduces within, with the ids that tell their cells apart. `by_row`: it
        gives one advantage a sequence. `memories` says of each value that the loop keeps what for, and its start.
        """
        super().__init__()
        self.name = name
        self.inputs = inputs
        self.whole = whole
        self.by_row = by_row
        self.reads = {**reads, "whole window": {**reads["window"], **reads["loss"]}}
        purposes = [wanted for purpose, wanted in reads.items() if purpose != "statistics"]
        self.reads_reward = any({"reward", "correct"} & set(wanted) for wanted in purposes)
        self.functions = functions
        self.phases = phases
        self.memories = memories or {}
        self.names = tuple(params)
        self.own_values = dict(params)
        # In one tensor, so that changing their dtype is one operation and not one for each.
        self.register_buffer(
            "values", torch.tensor(list(params.values()), dtype=torch.float64), persistent=False
        )

    @property
    def params(self) -> Parameters:
        """The parameters, 0-d; they may be set, and changed in place."""
        return Parameters(dict(zip(self.names, self.values.unbind(), strict=True)))

    def changed_params(self) -> dict[str, float]:
        """Values of the parameters that are no longer what the spec gave them."""
        now = dict(zip(self.names, self.values.tolist(), strict=True))
        return {name: value for name, value in now.items() if value != self.own_values[name]}

    def _save_to_state_dict(self, destination: Tensors, prefix: str, keep_vars: bool) -> None:
        """Changed values are part of the state, `params.NAME`; a module whose values are its own has none."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self.changed_params():
            destination[f"{prefix}params.{name}"] = self.params[name].clone()

    def _load_from_state_dict(self, state_dict: Tensors, prefix: str, *more: Anything) -> None:
        """What the state does not have is as the spec gave it."""
        keys = {name: f"{prefix}params.{name}" for name in self.names}
        for name, key in keys.items():
            self.params[name].fill_(state_dict.get(key, self.own_values[name]))
        others = {key: value for key, value in state_dict.items() if key not in keys.values()}
        super()._load_from_state_dict(others, prefix, *more)

    def _apply(self, *how: object, **options: object) -> torch.nn.Module:
        """Parameters go along to another device; half precision is for a model's weights."""
        exact = self.values
        move: Move = super()._apply
        move(*how, **options)
        self.values = exact.to(self.values.device)
        return self

    # ---- what a user calls

    def forward(self, batch: Batch, *, denominators: Batch | None = None) -> LossOutput:
        """The loss of a batch, or of a part of a window if `denominators` (from `window`) are given."""
        x = self.prepare(batch, "whole window" if denominators is None else "loss")
        if denominators is None:
            self.check_one_rank()
            d = self.statistics([x])
        else:
            d = dict(denominators)
        missing = sorted(self.window_keys() - set(d))
        if missing:
            raise BatchError(
                f"{self.name}: denominators lack {', '.join(missing)}; use what window(micro_batches) returns"
            )
        p = self.parameters_in(x)
        return LossOutput(self.evaluate(x, p, d), lambda: self.measure(x, p, d))

    def window(self, micro_batches: Batches) -> Tensors:
        """Statistics of one optimizer window, 0-d each; sums over micro-batches, to be added over ranks."""
        if isinstance(micro_batches, dict):
            raise BatchError(f"{self.name}: window() takes a list of micro-batches, not one batch")
        if not micro_batches:
            raise BatchError(f"{self.name}: a window needs at least one micro-batch")
        self.check_whole(micro_batches)
        together = [key for key, why in self.reads.get("statistics", {}).items() if why]
        if together and number_of_ranks() > 1:
            raise BatchError(
                f"{self.name}: {', '.join(together)} needs the values of the whole window, which ranks cannot add up"
            )
        return self.statistics([self.prepare(batch, "window") for batch in micro_batches])

    def advantage(self, batch: Batch) -> torch.Tensor:
        """The advantage of each sequence [N], or token [N, T]; 0 where nothing is trained."""
        x = self.prepare(batch, "advantage")
        return self.functions["advantage"](x, self.parameters_in(x), {})["advantage"]

    def keep(self, batch: Batch) -> torch.Tensor:
        """Which sequences [N] the `keep` rules let through; all of them when there is no rule."""
        x = self.prepare(batch, "keep")
        if "keep" not in self.functions:
            return torch.ones_like(x["present"])
        return self.functions["keep"](x, self.parameters_in(x), {})["keep"]

    def step(self, micro_batches: Batches, *, denominators: Batch | None = None) -> torch.Tensor:
        """The scale of this optimizer step, 0-d: 1 without a `step`; for the loop around the loss to apply.

        `denominators` are those of the whole window, added over ranks; without them these are all its micro-batches.
        """
        if denominators is None:
            self.check_one_rank()
        d = self.window(micro_batches) if denominators is None else dict(denominators)
        x = self.prepare(micro_batches[0], "window")
        p = self.parameters_in(x)
        return self.functions["step"](x, p, d)["step"] if "step" in self.functions else p["1"]

    def prompt(self, batch: Batch) -> torch.Tensor:
        """The score of each sequence's prompt [N], for selecting prompts; all 1 without a `prompt`."""
        x = self.prepare(batch, "prompt")
        p = self.parameters_in(x)
        if "prompt" not in self.functions:
            return torch.ones_like(x["present"], dtype=p["1"].dtype)
        return self.functions["prompt"](x, p, {})["prompt"]

    def memory(self, batch: Batch) -> Tensors:
        """What each memory is after a rollout, from the whole of it: 0-d, or [N] with the value of each row's prompt.

        `batch` is the rollout of all ranks, before a `keep` rule; a loop keeps the values, by `prompt_id`, and brings
        them with the batches of the next rollout, under the names of the memories.
        """
        if "memory" not in self.functions:
            return {}
        x = self.prepare(batch, "memory")
        return self.functions["memory"](x, self.parameters_in(x), {})

    # ---- evaluation

    def evaluate(self, x: Tensors, p: Tensors, d: Tensors) -> torch.Tensor:
        """The loss, 0-d, in the dtype of the computation."""
        if x["mask"].numel() == 0:
            return nothing_of(x, self.inputs)
        return self.functions["loss"](x, p, self.with_invariants(x, p, d))["loss"].to(p["1"].dtype)

    def with_invariants(self, x: Tensors, p: Tensors, d: Tensors) -> Tensors:
        """The window's statistics, and what the loss computes from them once a batch instead of once a token."""
        return {**d, **self.functions["once"](x, p, d)} if "once" in self.functions else d

    def statistics(self, parts: list[Tensors]) -> Tensors:
        """The window's statistics from its prepared micro-batches."""
        d: Tensors = {}
        with torch.no_grad():
            for phase in self.phases:
                found = [phase(x, self.parameters_in(x), d) for x in parts]
                d.update({key: pooled([part[key] for part in found]) for key in found[0]})
        return d

    def window_keys(self) -> set[str]:
        """Keys that `window` returns."""
        return set(self.reads.get("statistics", {}))

    def parameters_in(self, x: Tensors) -> Tensors:
        """The parameters as 0-d tensors in the dtype of the computation, and 1 under the name `1`."""
        dtype = computed_dtype(x)
        p = dict(zip(self.names, self.values.to(dtype).unbind(), strict=True))
        device = x["mask"].device
        p["1"] = torch.ones((), dtype=dtype, device=device)
        return p

    def check_one_rank(self) -> None:
        """Without denominators this batch must be the whole window, which no rank of several has."""
        ranks = number_of_ranks()
        if ranks > 1:
            raise BatchError(
                f"{self.name}: with {ranks} ranks the denominators of the window must be given: "
                "add the values of window(micro_batches) over ranks (all_reduce) and pass denominators="
            )

    def check_whole(self, micro_batches: Batches) -> None:
        """An advantage that is still to be computed, of each micro-batch by itself, must find its cells whole there."""
        reads = {"advantage", "advantage_rows"} & set(self.reads["whole window"])
        waiting = [batch for batch in micro_batches if "advantage" not in batch] if reads else []
        for scope, ids in self.whole.items():
            if not ids and waiting and (len(micro_batches) > 1 or number_of_ranks() > 1):
                found = "more than one part"
            elif ids and len(waiting) > 1 and cut_cells(waiting, ids, having("integer", self.inputs)):
                found = f"a {scope} in two of them"
            else:
                continue
            raise BatchError(
                f"{self.name}: `advantage` reduces within {scope}, and these micro-batches have {found}: "
                "call advantage() on the whole rollout and put `advantage` into them"
            )

    # ---- the batch

    def prepare(self, batch: Batch, purpose: str) -> Tensors:
        """The batch checked, in one dtype, with the advantage computed; nothing is copied that need not be.

        Raises BatchError: a tensor that a term needs is missing; a shape or type is wrong (all axes are printed).
        """
        wanted = dict(self.reads.get(purpose, {}))
        given = "advantage" in batch
        looked_for = {"mask", *wanted, *self.reads["advantage"]} if not given else {"mask", *wanted}
        check_names(self.name, batch, looked_for, self.inputs)
        if wanted.pop("advantage", None) is not None and not given and purpose != "advantage":
            wanted = {**self.reads["advantage"], **wanted}
        if wanted.pop("advantage_rows", None) is not None and not given:
            wanted = {**self.reads["advantage"], **wanted}
        if "correct" in wanted and "correct" not in batch:
            wanted["reward"] = wanted.pop("correct")
        check_missing(self.name, batch, wanted, self.inputs)
        check_shapes(self.name, batch, self.inputs)
        x = converted(batch, self.inputs)
        if not self.reads_reward:  # that it is missing says nothing then
            x.pop("reward", None)
        x.update(rows_present(x, self.inputs))
        for name, declared in self.inputs.items():
            if name in x and declared == "sequence index":
                x[name] = dense(x[name])
        if "reward" in x and "correct" not in x:
            x["correct"] = x["reward"] > 0
        read = {"advantage", "advantage_rows"} & set(self.reads[purpose])
        if read and purpose in ("loss", "window", "whole window"):
            self.add_advantage(x, given)
        return x

    def add_advantage(self, x: Tensors, given: bool) -> None:
        """Put `advantage` into the form that broadcasts over tokens, [N, 1], [N, T] or [M]."""
        if not given:
            with torch.no_grad():
                x["advantage"] = self.functions["advantage"](x, self.parameters_in(x), {})["advantage"]
        advantage = x["advantage"].detach()
        # Packed, [M] and [N] may be of one length: then it is what the estimator gives, where a tensor tells N.
        by_row = self.by_row and (not given or known_row_count(x, self.inputs) is not None)
        if advantage.shape == x["present"].shape and (by_row or advantage.shape != x["mask"].shape):
            x["advantage_rows"] = advantage
            x["advantage"] = tokens(advantage, x)
        elif "advantage_rows" in self.reads["loss"]:
            raise BatchError(f"{self.name} needs one advantage a sequence, [N]; the batch has one a token")
        else:  # what stands off the mask would meet the gradient of a completion's ratio: NaN times 0 is NaN
            x["advantage"] = masked(advantage, x["mask"])

    # ---- metrics

    def measure(self, x: Tensors, p: Tensors, d: Tensors) -> tuple[Tensors, Tensors]:
        """The parts of every metric that the batch allows, and what is not finite."""
        if x["mask"].numel() == 0:
            nothing = torch.zeros(2, dtype=torch.float64, device=x["mask"].device)
            return dict.fromkeys(("loss", "policy_loss", "nonfinite"), nothing), {}
        with torch.inference_mode(False), torch.enable_grad():
            x, p, d = (without_history(tensors) for tensors in (x, p, d))
            if "logp" in x:  # whole distributions may be all that a penalty reads
                x["logp"].requires_grad_()
            terms = self.functions["terms"](x, p, d)
            slope = torch.zeros_like(x["mask"], dtype=p["1"].dtype)
            policy = torch.where(terms["trained"], terms.get("policy", slope), 0.0)
            if policy.requires_grad:  # a ratio to the power of 0 carries none
                (slope,) = torch.autograd.grad(policy.sum(), x["logp"])
        x = {name: value.detach() for name, value in x.items()}
        terms = {name: value.detach() for name, value in terms.items()}
        bad = nonfinite_tokens(x, terms, self.inputs)
        parts = measured(x, d, terms, slope, self.inputs)
        if "outside" in self.functions:
            # An input that an estimator or a prompt's score reads need not be here with the loss.
            whole = {**dict.fromkeys(self.inputs, x["present"]), **x}
            parts |= outside_metrics(x, self.functions["outside"](whole, p, d), self.inputs)
        parts["nonfinite"] = torch.stack([bad.pop("any"), terms["trained"].sum()]).double()
        return parts, bad


def without_history(tensors: Tensors) -> Tensors:
    """Tensors from which a gradient can be taken anew, made under inference mode or not."""
    return {
        name: value.clone() if value.is_inference() else value.detach() for name, value in tensors.items()
    }


def cut_cells(micro_batches: Batches, ids: list[str], own: list[str]) -> bool:
    """Whether two micro-batches have sequences of the same cell; a negative id among `own` is of none."""
    if not all(name in batch for batch in micro_batches for name in ids):
        return False
    found = [cells_of(batch, ids) for batch in micro_batches]
    places = [place for place, name in enumerate(ids) if name in own]
    found = [torch.unique(cells[:, (cells[places] >= 0).all(0)], dim=1) for cells in found]
    cells = torch.cat(found, 1)
    part = torch.cat([torch.full_like(each[0], number) for number, each in enumerate(found)])
    same = (cells.unsqueeze(1) == cells.unsqueeze(2)).all(0)
    return bool((same & (part.unsqueeze(0) != part.unsqueeze(1))).any())


def cells_of(batch: Batch, ids: list[str]) -> torch.Tensor:
    """The cells of whatever a batch trains, [K, C]."""
    found = torch.stack([batch[name] for name in ids])
    mask = batch["mask"] != 0
    if mask.dim() == 2 and found.dim() == 2:
        mask = mask.any(1)
    return found[:, mask] if found.shape[1:] == mask.shape else found.flatten(1)


def number_of_ranks() -> int:
    """Processes that share an optimizer step."""
    group = torch.distributed
    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def pooled(parts: Parts) -> torch.Tensor:
    """A statistic of the window from what its micro-batches bring: terms of a sum, or values and how to end."""
    if isinstance(parts[0], torch.Tensor):
        return sum(parts[1:], start=parts[0])
    values = torch.cat([values for values, _ in parts])
    result: torch.Tensor = parts[0][1](values)
    return result
