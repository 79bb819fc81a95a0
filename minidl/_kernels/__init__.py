"""The compiled loops, chosen once for this processor, in one flat namespace.

``K.activation_forward`` and all the others are functions of the level in ``K.active``: "v4" (AVX-512), "v3" (AVX2 and
FMA) or "baseline". ``MINIDL_KERNELS=baseline`` forces one; ``MINIDL_KERNELS=reference`` runs NumPy instead.
``MINIDL_WINOGRAD=0`` computes all convolutions without Winograd's algorithm.
Tests reach any level through ``K.load(level)``. Where nothing is compiled (minidl/_source.py), NumPy is all there is.
"""

import os
import sys
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from minidl._source import LEVELS, PURE, is_compiled

if PURE:
    from minidl._kernels import uncompiled

    for _module in uncompiled.STANDS_FOR:
        sys.modules[f"{__name__}.{_module}"] = uncompiled

from minidl._kernels.arrays.copying import assign, copy, evenly, join, reshape, set_all
from minidl._kernels.arrays.padding import fold_padding, pad, triangle
from minidl._kernels.arrays.sorting import extremum_places, permute_rows, sort_rows
from minidl._kernels.runtime.memory import (
    empty,
    empty_like,
    memory_stats,
    release_memory,
    set_memory_limit,
)
from minidl._kernels.runtime.pool import get_num_threads, set_num_threads
from minidl._kernels.runtime.prepared import by_numpy

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...  # the entry points, which mypy cannot see


MODULES = (
    "activations",
    "batch_norm",
    "conv",
    "elementwise",
    "gates",
    "gemm",
    "losses",
    "noise",
    "normalization",
    "pooling",
    "prelu",
    "reduction",
    "scan",
    "scatter",
    "selection",
    "softmax",
    "updates",
)
# (There PReLU is with the activations, scan with reduction, and scatter with selection.)
REFERENCE = tuple(name for name in MODULES if name not in ("prelu", "scan", "scatter"))


def _entry_points(module) -> dict:
    public = getattr(module, "__all__", None)
    return {
        name: value
        for name, value in vars(module).items()
        if (name in public if public else not name.startswith("_"))
        and callable(value)
        and not isinstance(value, type)
    }


def load(level: str, modules: tuple[str, ...] = MODULES) -> SimpleNamespace:
    """All kernels of one level, "reference" included, as attributes.

    modules: which; besides these there are those of the tests, which are not in the wheel (tests/kernels/*.pyx).
    """
    if level == "reference":
        modules = REFERENCE
    found: dict = {}
    if level != "reference":
        from minidl._kernels.product.steps import in_steps

        found["in_steps"] = partial(in_steps, f"minidl._kernels.{level}.gemm")
    for name in modules:
        module = import_module(f"minidl._kernels.{level}.{name}")
        if name == "gemm" and not getattr(module, "TILE_WINS", True):
            # Without fused multiply-adds NumPy's BLAS, which looks at the CPU itself, is faster than the register
            # tile (benchmarks/gemm.py). The activation of an affine layer is the level's own.
            module = import_module("minidl._kernels.reference.gemm")
            affine = partial(module.affine_forward, activate=found["activation_forward"])
            found["affine_forward"] = partial(by_numpy, affine)
            found["affine_weight_grad"] = partial(by_numpy, module.affine_weight_grad)
            found["matmul"] = partial(by_numpy, module.matmul)
        if name == "conv" and level != "reference":
            module._use_winograd(winograd)
        found = _entry_points(module) | found
    return SimpleNamespace(**found)


def _choose() -> str:
    forced = os.environ.get("MINIDL_KERNELS")
    if not forced:
        return available[-1] if available else "reference"
    if forced != "reference" and forced not in available:
        choices = ", ".join(("reference", *available))
        raise ImportError(f"MINIDL_KERNELS={forced!r} does not run here; choose one of: {choices}")
    return forced


def _available() -> tuple[str, ...]:
    """The levels that were compiled and that this machine runs."""
    if PURE:
        return ()
    from minidl._kernels.runtime.cpu import best_level

    runs = LEVELS[: LEVELS.index(best_level()) + 1]
    return tuple(level for level in runs if is_compiled(f"_kernels/{level}/activations"))


available = _available()
active = _choose()
_asked = os.environ.get("MINIDL_WINOGRAD") or "1"
if _asked not in ("0", "1"):
    raise ImportError(f"MINIDL_WINOGRAD={_asked!r}: expected 0 or 1")
winograd = _asked == "1"
globals().update(vars(load(active)))
