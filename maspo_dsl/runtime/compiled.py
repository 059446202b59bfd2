"""Value and gradient in one compiled graph behind a small autograd function."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch._inductor.compile_fx import compile_fx
from torch.fx.experimental import _config as shape_config

from maspo_dsl.emit.template.batch import having, nothing_of
from maspo_dsl.emit.template.loss_module import LossModule, without_history
from maspo_dsl.emit.template.names import Function
from maspo_dsl.runtime.exponential import decompositions

# (batch, parameters, denominators) to the loss and its gradient by live tensor.
Gradient: TypeAlias = Callable[
    [dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]], tuple[Tensor, dict[str, Tensor]]
]

INDUCTOR_OPTIONS = {
    # Folding a constant of unknown size asks whether the size is 0, which an unbacked one cannot answer.
    "joint_graph_constant_folding": False,
    # A product and a sum in one instruction, rounded once and not twice.
    "cpp.enable_floating_point_contract_flag": "fast",
}

_warned: set[str] = set()


def warn_once(message: str) -> None:
    """One line on stderr, the first time only."""
    if message not in _warned:
        _warned.add(message)
        print(message, file=sys.stderr)


class CompiledLoss:
    """Evaluates a module's loss through `torch.compile`, one graph for every `[N, T]`.

    Falls back to eager, with one line, where there is no C++ compiler.
    """

    def __init__(self, module: LossModule, backend: str) -> None:
        self.module, self.eagerly = module, eager_gradient(module)
        self.live = live_tensors(module)
        # Nothing else goes into the graph: a tensor that is not read would only make another graph.
        self.rest = [*sorted(set(module.reads["loss"]) - set(self.live)), "mask", "present", "sequence"]
        self.by_row = module.by_row
        self.backend = backend
        self.compilations = 0
        self._able: dict[str, bool] = {}
        self._graph: Any = None
        self._forms: set[tuple[tuple[str, torch.dtype, int, bool], ...]] = set()

    def __call__(self, x: dict[str, Tensor], p: dict[str, Tensor], d: dict[str, Tensor]) -> Tensor:
        """The loss, 0-d, with gradient to the live tensors of `x`."""
        if x["mask"].numel() == 0:
            return nothing_of(x, self.module.inputs)
        if torch.compiler.is_compiling() or not self._compiles(x["mask"].device):
            return type(self.module).evaluate(self.module, x, p, d)
        live = [x[name] for name in self.live]
        return _JointGraph.apply(self.value_and_gradient, x, p, d, self.live, *live)  # type: ignore[no-any-return, no-untyped-call]

    def value_and_gradient(
        self, x: dict[str, Tensor], p: dict[str, Tensor], d: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, 0-d, and its gradient by live tensor, both without history."""
        if not self._compiles(x["mask"].device):
            return self.eagerly(x, p, d)
        live = {name: x[name].detach() for name in self.live}
        # In one dtype: a float64 number among float32 tensors makes torch.compile trace everything twice.
        d = {name: value.to(p["1"].dtype) for name, value in d.items()}
        d = self.module.with_invariants(x, p, d)
        return self._from_graph(live, {name: x[name].detach() for name in self.rest if name in x}, p, d)

    def _compiles(self, device: torch.device) -> bool:
        if device.type not in self._able:  # looking for a compiler takes longer than a small graph
            self._able[device.type] = can_compile(self.backend, device)
        return self._able[device.type]

    def _from_graph(
        self, live: dict[str, Tensor], x: dict[str, Tensor], p: dict[str, Tensor], d: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self._graph is None:
            self._graph = torch.compile(self._joint(), fullgraph=True, backend=self._counting_backend())
        mask = x["mask"]
        shapes = {name: value.shape for name, value in live.items()}
        live, x = (without_length_one(part, mask, by_row=self.by_row) for part in (live, x))
        x["mask"] = x["mask"].view(torch.uint8).to(mask_dtype(mask.device))
        both = {**live, **x}
        form = tuple(
            (name, value.dtype, value.dim(), _is_column(name, value)) for name, value in both.items()
        )
        if form in self._forms:
            loss, gradients = self._graph(live, x, p, d)
        else:
            self._forms.add(form)
            _mark_lengths(both)
            loss, gradients = self._traced(live, x, p, d)
        return loss, {name: value[tuple(map(slice, shapes[name]))] for name, value in gradients.items()}

    def _traced(self, *arguments: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The first call for a form of the batch: lengths that happen to be equal are not taken for one length."""
        with warnings.catch_warnings(), shape_config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            warnings.filterwarnings("ignore", message=".*TensorFloat32.*")
            return self._graph(*arguments)  # type: ignore[no-any-return]

    def _joint(self) -> Any:
        loss = self.module.functions["loss"]

        def joint(
            live: dict[str, Tensor], x: dict[str, Tensor], p: dict[str, Tensor], d: dict[str, Tensor]
        ) -> Any:
            # Numbers that are compared as floats are read many times faster than truth values.
            return value_and_gradient(loss, live, {**x, "mask": x["mask"].to(torch.float32) > 0}, p, d)

        # torch.compile keeps its graphs by code object, eight at most: each objective gets its own.
        return FunctionType(
            joint.__code__.replace(co_name=f"joint_{id(self)}"), globals(), "joint", None, joint.__closure__
        )

    def _counting_backend(self) -> Any:
        def backend(graph: Any, inputs: Any) -> Any:
            self.compilations += 1
            if self.backend == "aot_eager":
                return aot_eager(graph, inputs)
            return compile_fx(graph, inputs, config_patches=INDUCTOR_OPTIONS, decompositions=decompositions())

        return backend


def live_tensors(module: LossModule) -> list[str]:
    """Tensors that the loss has gradient to, as far as it reads them."""
    return [name for name in having("live", module.inputs) if name in module.reads["loss"]]


def value_and_gradient(
    loss: Function, live: dict[str, Tensor], x: dict[str, Tensor], p: dict[str, Tensor], d: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, 0-d, and its gradient by live tensor."""

    def value(live: dict[str, Tensor]) -> Tensor:
        return loss({**x, **live}, p, d)["loss"]

    gradient, result = torch.func.grad_and_value(value)(live)
    return result, gradient


def mask_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which a graph reads a mask fastest, its conversion included.

    Vectors of AVX-512 load as many bytes as they have floats in one instruction; others put them together in memory.
    """
    bytewise = device.type != "cpu" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.uint8 if bytewise else torch.float32


def eager_gradient(module: LossModule) -> Gradient:
    """Value and gradient of a module's loss without compilation."""
    loss, live = module.functions["loss"], live_tensors(module)

    def gradient(
        x: dict[str, Tensor], p: dict[str, Tensor], d: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # Not torch.func, which forbids hooks on saved tensors, and so activation checkpointing around the loss.
        with torch.inference_mode(False), torch.enable_grad():
            x, p, d = (without_history(tensors) for tensors in (x, p, d))
            leaves = {name: x[name].requires_grad_() for name in live}
            value = loss({**x, **leaves}, p, module.with_invariants(x, p, d))["loss"]
            found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
        gradients = [
            torch.zeros_like(leaf) if each is None else each
            for leaf, each in zip(leaves.values(), found, strict=True)
        ]
        return value.detach(), dict(zip(live, gradients, strict=True))

    return gradient


def can_compile(backend: str, device: torch.device) -> bool:
    """Whether a backend can compile for a device; says so once if it was told not to, or has no C++ compiler."""
    if torch._dynamo.config.disable:
        warn_once("maspo-dsl: torch.compile is disabled (TORCH_COMPILE_DISABLE), so the loss runs eagerly")
        return False
    if backend != "inductor" or device.type != "cpu":
        return True
    from torch._inductor import config

    compilers = config.cpp.cxx if isinstance(config.cpp.cxx, (tuple, list)) else (config.cpp.cxx,)
    if any(name and shutil.which(name) for name in compilers):
        return True
    warn_once(
        "maspo-dsl: no C++ compiler was found, so the loss runs eagerly (install g++ or clang++ for the fused one)"
    )
    return False


def without_length_one(x: dict[str, Tensor], mask: Tensor, *, by_row: bool) -> dict[str, Tensor]:
    """Tensors of a batch with rows, and tokens, of which there is one repeated; the second are not trained.

    A length of 1 would be another graph, since torch.compile takes it for something to broadcast. `by_row`: the
    estimator gives one advantage a sequence, so that [N, 1] stands for whole rows, of one token or of more.
    """
    if mask.dim() == 2 and mask.shape[1] == 1:
        columns = {"advantage"} if by_row else set[str]()
        wide = {name for name in x if x[name].shape == mask.shape and name not in columns}
        x = {name: _twice(name, value, 1) if name in wide else value for name, value in x.items()}
    single = {name for name in x if x[name].dim() and len(x[name]) == 1}
    return {name: _twice(name, value, 0) if name in single else value for name, value in x.items()}


def _twice(name: str, value: Tensor, axis: int) -> Tensor:
    second = torch.zeros_like(value) if name in ("mask", "present") else value
    return torch.cat([value, second], axis)


def _mark_lengths(x: dict[str, Tensor]) -> None:
    """Tell torch.compile which sizes are lengths, so that one graph serves them all."""
    shape = x["mask"].shape
    for name, value in x.items():
        for axis in range(value.dim()):
            if axis == 0 or (value.shape == shape and not _is_column(name, value)):
                torch._dynamo.decorators.maybe_mark_dynamic(value, axis)


def _is_column(name: str, value: Tensor) -> bool:
    """Whether [N, 1] stands for a whole row: its 1 is known, it is no length, be the rows of one token or not."""
    return name == "advantage" and value.dim() == 2 and value.shape[1] == 1


class _JointGraph(torch.autograd.Function):
    """Runs the joint graph forward and hands out its gradients backward."""

    @staticmethod
    def forward(ctx: Any, run: Any, x: Any, p: Any, d: Any, names: list[str], *live: Tensor) -> Tensor:
        """The loss; gradients are kept for the backward pass."""
        loss, gradients = run(x, p, d)
        ctx.save_for_backward(*(gradients[name] for name in names))
        return loss.to(live[0].dtype)  # type: ignore[no-any-return]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> Any:
        """The kept gradients times what comes from above: mostly 1, as a CPU can see for free."""
        if incoming.device.type == "cpu" and incoming == 1:
            return (None, None, None, None, None, *ctx.saved_tensors)
        return (None, None, None, None, None, *(gradient * incoming for gradient in ctx.saved_tensors))
