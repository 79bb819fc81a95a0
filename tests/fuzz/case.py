"""One random call, and the verdict on it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from draw import Draw

import minidl as md

try:
    import torch
except ImportError:
    torch = None

FAMILIES: dict[str, tuple[Callable[[Draw], Case], float]] = {}  # name -> (generator, weight)


@dataclass
class Case:
    """A call of `function` with operands and settings, and what it must give.

    Attributes:
        name: the public name; an error must say it, or the name of an argument.
        function: called with the operands (floats as Tensors) and settings; returns one or more Tensors or arrays.
        reference: the same on PyTorch tensors in float64. None, or no PyTorch: `function` itself in float64 on plain
            memory.
        eps: the error allowed, in units of the dtype's rounding error.
        floor: results smaller than this need be no more exact than it.
        sums: the error is relative to the largest element, and grows with the condition of the problem.
        gradient: compare the gradients of the float operands, too.
        own: the operands go to the function under test as they are, not as what the call makes of them: those that
            cannot be right may be tried.
        free: names that an error may say as well, and errors of NumPy's indexing pass.
    """

    name: str
    function: Callable[..., Any]
    operands: list[np.ndarray]
    settings: dict[str, Any] = field(default_factory=dict)
    reference: Callable[..., Any] | None = None
    eps: float = 8
    floor: float = 0
    sums: bool = False
    gradient: bool = True
    own: bool = True
    free: tuple[str, ...] = ()

    def __str__(self) -> str:
        settings = [f"{name}={value!r}" for name, value in self.settings.items()]
        return f"{self.name}({', '.join([*map(shown, self.operands), *settings])})"


def family(name: str, weight: float = 1.0) -> Callable:
    """Registers a generator of cases; `weight`: how often its turn comes."""

    def register(generator: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
        FAMILIES[name] = generator, weight
        return generator

    return register


def shown(x: Any) -> str:
    if not isinstance(x, np.ndarray):
        return repr(x)
    flags = "" if x.flags.aligned else " unaligned"
    layout = "" if x.flags.c_contiguous else f" strides {x.strides}"
    values = f" {x.tolist()}" if x.size <= 4 else ""
    return f"<{x.dtype} {x.shape}{layout}{flags}{values}>"


def judge(case: Case, draw: Draw) -> str | None:
    """What is wrong with the result, or None."""
    before = [x.tobytes() for x in case.operands]
    gy: list[np.ndarray] = []

    def upstream(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if not gy:
            gy.append(draw.array(shape, "normal").astype(dtype, copy=False))
        return gy[0]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ours = ours_of(case, case.operands, upstream)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    for i, (x, old) in enumerate(zip(case.operands, before, strict=True)):
        if x.tobytes() != old:
            return f"operand {i} has changed"
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compared(case, draw, ours, gy)


def ours_of(case: Case, operands: list[np.ndarray], upstream: Callable) -> list[np.ndarray]:
    """The results of the call and, behind them, the gradients of its operands."""
    xs = [md.Tensor(x, requires_grad=case.gradient) if x.dtype.kind == "f" else x for x in operands]
    ys = listed(case.function(*xs, **case.settings))
    found = [np.asarray(y) for y in ys]
    y = ys[0]
    if case.gradient and isinstance(y, md.Tensor) and y.requires_grad:
        gy = md.Tensor(upstream(y.shape, y.dtype))
        floats = [x for x in xs if isinstance(x, md.Tensor)]
        grads = md.grad(y, floats, grad_outputs=gy, allow_unused=True)
        found += [
            np.zeros(x.shape, x.dtype) if g is None else g.numpy()
            for g, x in zip(grads, floats, strict=True)
        ]
    return found


def theirs_of(
    case: Case, operands: list[np.ndarray], gy: list[np.ndarray], dtype: Any
) -> list[np.ndarray]:
    """What the results and gradients must be, computed in `dtype`."""
    cast = [
        np.ascontiguousarray(
            x.astype(dtype if x.dtype.kind == "f" else x.dtype.newbyteorder("="))
        ).reshape(x.shape)
        for x in operands
    ]
    if torch is None or case.reference is None:
        return ours_of(case, cast, lambda shape, _: np.asarray(gy[0], dtype))
    xs = [torch.from_numpy(x) for x in cast]
    floats = [x.requires_grad_() for x in xs if x.is_floating_point() and case.gradient]
    ys = [torch.as_tensor(y) for y in listed(case.reference(*xs, **case.settings))]
    found = [y.detach().numpy() for y in ys]
    if gy:
        up = torch.from_numpy(np.ascontiguousarray(gy[0].astype(dtype))).reshape(ys[0].shape)
        grads = torch.autograd.grad(ys[0], floats, up, allow_unused=True)
        found += [
            np.zeros(x.shape) if g is None else g.numpy()
            for g, x in zip(grads, floats, strict=True)
        ]
    return found


def listed(y: Any) -> list:
    return list(y) if isinstance(y, tuple | list) else [y]


def compared(case: Case, draw: Draw, ours: list[np.ndarray], gy: list[np.ndarray]) -> str | None:
    try:
        theirs = theirs_of(case, case.operands, gy, np.float64)
    except RuntimeError:  # what PyTorch does not take (most often, nothing at all)
        case.reference = None
        theirs = theirs_of(case, case.operands, gy, np.float64)
    if len(ours) != len(theirs):
        return f"{len(ours)} results, expected {len(theirs)}"
    for i, (y, t) in enumerate(zip(ours, theirs, strict=True)):
        if y.shape != t.shape:
            return f"result {i} has shape {y.shape}, expected {t.shape}"
    good = [close(case, y, t) for y, t in zip(ours, theirs, strict=True)]
    if not all(
        map(np.all, good)
    ):  # what overflows or vanishes on the way, in this dtype, may do so here
        narrow = theirs_of(case, case.operands, gy, draw.dtype)
        good = [g | close(case, y, t) for g, y, t in zip(good, ours, narrow, strict=True)]
    if case.sums and not all(map(np.all, good)):
        room = sensitivity(case, draw, theirs, gy)
        good = [
            g | (abs(y - t) <= 8 * r) for g, y, t, r in zip(good, ours, theirs, room, strict=True)
        ]
    for i, (g, y, t) in enumerate(zip(good, ours, theirs, strict=True)):
        if not np.all(g):
            at = tuple(np.argwhere(~np.asarray(g))[0].tolist())
            what = (
                f"result {i}"
                if i < len(ours) - count(case, gy)
                else f"gradient {i - len(ours) + count(case, gy)}"
            )
            return (
                f"{what} at {at} is {y[at]!r}, expected {t[at]!r} ({(~g).sum()} of {y.size} wrong)"
            )
    return None


def count(case: Case, gy: list) -> int:
    """How many of the results are gradients."""
    return sum(x.dtype.kind == "f" for x in case.operands) if gy else 0


def close(case: Case, y: np.ndarray, t: np.ndarray) -> np.ndarray:
    if y.dtype.kind != "f":
        return np.asarray(y == t)
    info = np.finfo(y.dtype)
    t = t.astype(y.dtype).astype(np.float64)  # what overflows here is inf
    y = y.astype(np.float64)
    size = np.maximum(abs(t), case.floor)
    if case.sums:
        finite = size[np.isfinite(size)]
        size = np.maximum(size, finite.max(initial=0.0))
    allowed = case.eps * float(info.eps) * size + 4 * float(info.tiny)
    return np.asarray((y == t) | (np.isnan(y) & np.isnan(t)) | (abs(y - t) <= allowed))


def sensitivity(
    case: Case, draw: Draw, theirs: list[np.ndarray], gy: list[np.ndarray]
) -> list[np.ndarray]:
    """How far the results move when the operands do by a rounding error of the dtype."""
    eps = float(np.finfo(draw.dtype).eps)
    moved = [np.zeros(t.shape) for t in theirs]
    for _ in range(6):
        operands, up = [
            [
                x.astype(np.float64) * (1 + eps * draw.rng.uniform(-1, 1, x.shape))
                if x.dtype.kind == "f"
                else x
                for x in arrays
            ]
            for arrays in (case.operands, gy)
        ]
        for m, t, other in zip(
            moved, theirs, theirs_of(case, operands, up, np.float64), strict=True
        ):
            np.maximum(m, np.nan_to_num(abs(other - t), nan=0.0, posinf=0.0), out=m)
    return [np.maximum(m, m.mean() if m.size else 0.0) for m in moved]
