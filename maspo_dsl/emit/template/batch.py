"""The batch: checked, in one dtype, with the rows that count."""

import torch

from maspo_dsl.emit.template.names import Batch, BatchError, Inputs, Tensors
from maspo_dsl.emit.template.operations import tokens


def check_missing(objective: str, batch: Batch, wanted: dict[str, str], inputs: Inputs) -> None:
    """Name each missing tensor with the term that needs it."""
    have = ", ".join(sorted(batch)) or "nothing"
    wanted = {"mask": "every objective", **wanted}
    missing = [name for name in wanted if name not in batch and name != "present"]
    if missing:
        lines = [f"`{name}` {shape_word(name, inputs)}, needed by {wanted[name]}" for name in missing]
        raise BatchError(f"{objective}: the batch lacks {'; '.join(lines)}; it has {have}")


def check_names(objective: str, batch: Batch, wanted: set[str], inputs: Inputs) -> None:
    """A name that nothing reads, like one that is looked for and not there, is a mistake."""
    others = [name for name in batch if name not in inputs]
    looked_for = sorted(wanted - set(batch)) if others else []
    meant = {other: name for other in others for name in looked_for if resembles(other, name)}
    if meant:
        lines = [f"`{other}`, which nothing reads; did you mean `{name}`?" for other, name in meant.items()]
        raise BatchError(f"{objective}: the batch has {' '.join(lines)}")


def resembles(one: str, other: str) -> bool:
    """Whether two names have the same words in any order, but for their number, or differ by one letter."""
    if same_words(one) == same_words(other):
        return True
    start = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    rest, another = one[start:], other[start:]
    swapped = rest[:2] == another[1::-1] and rest[2:] == another[2:]
    return swapped or rest[1:] == another[1:] or rest == another[1:] or rest[1:] == another


def same_words(name: str) -> set[str]:
    """The words of a name as other libraries have them, too: old_log_probs is logp_old."""
    plain = name.lower().replace("log_prob", "logp").replace("logprob", "logp")
    alike = {"sampling": "rollout", "sampler": "rollout", "reference": "ref", "adv": "advantage"}
    words = [word.removesuffix("s") for word in plain.split("_")]
    return {alike.get(word, word) for word in words} - {
        "",
        "per",
        "token",
        "level",
        "policy",
        "completion",
        "response",
        "id",
    }


def check_shapes(objective: str, batch: Batch, inputs: Inputs) -> None:
    """Every tensor must fit the mask; all axes are printed when one does not."""
    packed = "sequence" in batch
    mask = batch["mask"]
    problems = [
        f"`{name}` is not a tensor" for name, value in batch.items() if not isinstance(value, torch.Tensor)
    ]
    if problems:
        raise BatchError(f"{objective}: {'; '.join(problems)}")
    if mask.dim() != (1 if packed else 2):
        problems.append(f"`mask` must be {'[M] (packed)' if packed else '[N, T]'}")
    rows = None if packed else mask.shape[0]
    for name, value in batch.items():
        declared = inputs.get(name, "")
        if value.shape != mask.shape and "token" in declared:
            problems.append(f"`{name}` must have the shape of `mask`")
        elif "scalar" in declared and value.dim():
            problems.append(f"`{name}` must be one number, 0-d")
        elif "sequence" in declared or (value.shape != mask.shape and "either" in declared):
            rows = value.shape[0] if rows is None and value.dim() == 1 else rows
            if value.dim() != 1 or value.shape[0] != rows:
                of_tokens = f"; one value a token is `token_{name}`" if f"token_{name}" in inputs else ""
                problems.append(f"`{name}` must be [N]{' or [N, T]' if 'either' in declared else of_tokens}")
    problems += [
        f"`{name}` must be whole numbers"
        for name in having("index", inputs) + having("integer", inputs)
        if is_fractional(batch.get(name))
    ]
    problems += (
        ["`sequence` must name rows of the [N] tensors: 0 to N - 1"]
        if packed and off_rows(batch["sequence"], rows)
        else []
    )
    problems += ["`mask` must be true or false, not weights"] if is_fractional(mask) else []
    if problems:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in batch.items())
        raise BatchError(f"{objective}: {'; '.join(problems)}. The batch has {shapes}")


def off_rows(sequence: torch.Tensor, rows: int | None) -> bool:
    """Whether packed tokens name rows that are not there; looked at on the CPU alone, where looking is free."""
    if sequence.device.type != "cpu" or not sequence.numel() or sequence.is_floating_point():
        return False
    limit = sequence.shape[0] if rows is None else rows
    return bool((sequence < 0).any() | (sequence >= limit).any())


def shape_word(name: str, inputs: Inputs) -> str:
    """The shape of a tensor of the batch in words."""
    return {"token": "[N, T]", "scalar": "0-d"}.get(inputs[name].split()[0], "[N]")


def having(word: str, inputs: Inputs) -> list[str]:
    """Names of the tensors that are declared with a word."""
    return [name for name, declared in inputs.items() if word in declared]


def nothing_of(x: Tensors, inputs: Inputs) -> torch.Tensor:
    """The loss of a batch without a column: 0, with gradient 0 to whatever carries one."""
    return torch.stack([(x[name] * 0.0).sum() for name in having("live", inputs) if name in x]).sum()


def computed_dtype(x: Batch) -> torch.dtype:
    """float32, or wider if `logp` is: rewards in float64 do not slow the loss down. Without it, any tensor counts."""
    dtype = torch.float32
    for value in [x["logp"]] if "logp" in x else x.values():
        if value.is_floating_point():
            dtype = torch.promote_types(dtype, value.dtype)
    return dtype


def converted(batch: Batch, inputs: Inputs) -> Tensors:
    """The tensors an objective can read: floats in one dtype, gradient to the live ones alone."""
    dtype = computed_dtype({name: value for name, value in batch.items() if name in inputs})
    x: Tensors = {}
    for name in set(batch) & set(inputs):
        declared = inputs[name]
        value = batch[name] if "live" in declared else batch[name].detach()
        if "condition" in declared:
            x[name] = value if value.dtype == torch.bool else value != 0
        else:
            x[name] = value.to(dtype) if "number" in declared else value
    return x


def known_row_count(x: Tensors, inputs: Inputs) -> int | None:
    """How many sequences there are, if a tensor says: packed tokens alone do not."""
    mask = x["mask"]
    if "sequence" not in x:
        return mask.shape[0]
    certain = having("sequence", inputs)
    certain += [name for name in having("either", inputs) if name in x and x[name].shape != mask.shape]
    return next((x[name].shape[0] for name in certain if name in x), None)


def rows_present(x: Tensors, inputs: Inputs) -> Tensors:
    """`present` [N]: sequences with a trained token and a reward; `mask` without the others."""
    mask = x["mask"]
    if "sequence" not in x:
        # The largest byte of a row is found many times faster than whether one of them is true.
        present = mask.view(torch.uint8).amax(-1) > 0 if mask.shape[-1] else mask.any(-1)
    else:
        rows = known_row_count(x, inputs)
        count = torch.zeros(len(mask) if rows is None else rows, dtype=torch.long, device=mask.device)
        present = count.index_add(0, x["sequence"], mask.long()) > 0
    if "reward" not in x:
        return {"present": present}
    present = present & ~torch.isnan(x["reward"])
    return {"present": present, "mask": mask & tokens(present, x)}


def dense(group: torch.Tensor) -> torch.Tensor:
    """Any ids as 0 … groups - 1, without asking the device how many there are."""
    order = torch.argsort(group, stable=True)
    ordered = group[order]
    new = torch.ones_like(ordered)
    new[1:] = (ordered[1:] != ordered[:-1]).to(new.dtype)
    return torch.zeros_like(group, dtype=torch.long).scatter(0, order, new.long().cumsum(0) - 1)


def is_fractional(value: torch.Tensor | None) -> bool:
    """Whether a tensor holds numbers that need not be whole."""
    return value is not None and value.is_floating_point()
