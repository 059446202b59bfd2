"""A loss as a program that torch alone loads: value and gradient, for any number of completions and tokens.

torch.export traces no `autograd.grad`, so `make_fx` writes value and gradient down as one graph of simple operations
first, and that is exported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from maspo_dsl.emit.standalone import NotInAFileError
from maspo_dsl.emit.template.loss_module import LossModule
from maspo_dsl.objective import Objective
from maspo_dsl.runtime.compiled import can_compile, live_tensors
from maspo_dsl.runtime.loss import loss_module

DESCRIPTION = "maspo_dsl.json"
"""The file within a `.pt2` that says which objective it is, and what it takes and gives."""


def _program(graph: nn.Module, values: Tensor, names: Collection[str]) -> nn.Module:
    """A module that takes tensors under some names and has the parameters as a buffer.

    torch.export reads the names of what it takes from the signature of `forward`.
    """

    class LossAndGradient(nn.Module):
        def forward(self, **tensors: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return graph(tensors, self.values)  # type: ignore[no-any-return]

    named = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", *names)]
    LossAndGradient.forward.__signature__ = Signature(named)  # type: ignore[attr-defined]
    module = LossAndGradient()
    module.register_buffer("values", values.clone())
    return module


def exported(objective: Objective) -> torch.export.ExportedProgram:
    """The loss of a padded batch whose advantage is given, as a program in float32.

    It takes what `description` lists by keyword, [N, T], [N] or 0-d, where N and T are any lengths. Raises
    NotInAFileError: torch cannot export it.
    """
    module = loss_module(objective)
    tensors, sizes = _example(objective, module), _sizes(module)
    lengths = dict(zip(sizes, (torch.export.Dim("N"), torch.export.Dim("T")), strict=True))
    shapes = {
        name: {axis: lengths[size] for axis, size in enumerate(value.shape)}
        for name, value in tensors.items()
    }
    values = module.values
    try:
        graph = make_fx(_joint(module), tracing_mode="symbolic")(tensors, values)
        return torch.export.export(
            _program(graph, values, tensors), (), tensors, dynamic_shapes=shapes, strict=False
        )
    except Exception as error:  # torch names no class for what it cannot trace
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotInAFileError(
            f"{objective.name} cannot be exported by torch {torch.__version__}: {reason}"
        ) from error


def description(objective: Objective) -> dict[str, Any]:
    """What a program takes and gives: the objective, tensors with their shapes, denominators, gradients."""
    module = loss_module(objective)
    return {
        "objective": objective.name,
        "hash": objective.hash,
        "batch": {name: _shape(module, name) for name in _read(objective, module)},
        "denominators": sorted(module.window_keys()),
        "gradients": live_tensors(module),
        "parameters": objective.params,
        "spec": objective.text,
    }


def write_exported(objective: Objective, path: Path | str) -> None:
    """Write a program that `torch.export.load(path).module()` calls. Raises NotInAFileError."""
    about = json.dumps(description(objective))
    program = exported(objective)
    with _made_whole(path) as file:
        torch.export.save(program, file, extra_files={DESCRIPTION: about})


def write_package(objective: Objective, path: Path | str) -> None:
    """Write compiled code for this machine, which `torch._inductor.aoti_load_package(path)` calls without a compiler.

    Raises NotInAFileError: there is no C++ compiler to make it with, or torch cannot compile it.
    """
    if not can_compile("inductor", torch.device("cpu")):
        raise NotInAFileError(
            f"{objective.name}: `aoti` compiles, and there is no C++ compiler here (install g++)"
        )
    about = {name: json.dumps(value) for name, value in description(objective).items()}
    program = exported(objective)
    with _made_whole(path) as file:
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(file), inductor_configs={"aot_inductor.metadata": about}
        )


@contextmanager
def _made_whole(path: Path | str) -> Iterator[Path]:
    """A file beside the one to write, which takes its place once it is whole."""
    path = Path(path)
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        file = Path(folder) / path.name
        yield file
        file.replace(path)


def _joint(module: LossModule) -> Callable[..., Any]:
    live, keys = live_tensors(module), sorted(module.window_keys())

    def joint(tensors: dict[str, Tensor], values: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        module.values = values
        x = module.prepare({name: each for name, each in tensors.items() if name not in keys}, "loss")
        p = module.parameters_in(x)
        d = module.with_invariants(x, p, {key: tensors[key] for key in keys})
        leaves = {name: x[name].detach().requires_grad_() for name in live}
        loss = module.functions["loss"]({**x, **leaves}, p, d)["loss"].to(p["1"].dtype)
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        gradients = [
            torch.zeros_like(leaf) if each is None else each
            for leaf, each in zip(leaves.values(), found, strict=True)
        ]
        return loss.detach(), dict(zip(live, gradients, strict=True))

    return joint


def _read(objective: Objective, module: LossModule) -> list[str]:
    """Tensors of the batch, the advantage among them where the loss reads it."""
    read = objective.reads("loss", given=["advantage"])
    advantage = {"advantage", "advantage_rows"} & set(module.reads["loss"])
    return sorted(read | ({"advantage"} if advantage else set()))


def _shape(module: LossModule, name: str) -> str:
    axis = module.inputs[name].split()[0]
    if axis == "either":
        axis = "sequence" if module.by_row else "token"
    return {"token": "[N, T]", "sequence": "[N]"}.get(axis, "0-d")


def _sizes(module: LossModule) -> tuple[int, int]:
    """N and T of the example: no two sizes are equal, for torch would take them for one length."""
    return len(module.names) + 5, len(module.names) + 7


def _example(objective: Objective, module: LossModule) -> dict[str, Tensor]:
    n, t = _sizes(module)
    tensors = {}
    for name in _read(objective, module):
        size = {"[N, T]": (n, t), "[N]": (n,), "0-d": ()}[_shape(module, name)]
        words = module.inputs[name].split()
        dtype = (
            torch.bool if "condition" in words else torch.int64 if {"index", "integer"} & set(words) else None
        )
        tensors[name] = torch.ones(size, dtype=dtype) if dtype else torch.full(size, -0.5)
    denominators = sorted(module.window_keys())
    if both := set(tensors) & set(denominators):
        raise NotInAFileError(
            f"{objective.name}: {', '.join(sorted(both))} would name a tensor and a denominator"
        )
    return tensors | {key: torch.ones((), dtype=torch.float64) for key in denominators}
