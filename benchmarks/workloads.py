"""What is measured: for each section the cases, and the peers that take part.

A case is a dictionary that is sent to the workers: `kind` is the worker's method, the rest are its
arguments. `name` is the case's key in the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dcgans import DCGANS, LAYERS, dcgan_case, layer_case
from mlps import MLPS, mlp_case
from op_products import ROWS as PRODUCT_ROWS
from op_programs import CASES as PROGRAM_CASES
from op_rows import ROWS as OP_ROWS
from op_rows import activation_rows
from small import small_cases

SMALL = (
    "minidl",
    "minidl_captured",
    "numpy",
    "torch",
    "torch_fused",
    "torch_compile",
    "jax",
    "jax_scan",
    "tf",
)
ALL = (*SMALL, "nnabla")
IMAGES = ("minidl", "torch", "torch_channels_last", "jax", "tf")  # those with convolutions
ONE_EACH = ("minidl", "numpy", "torch", "jax", "tf", "nnabla")
# The DCGAN layers as matrix products (4x4 kernels, stride 2): rows are output pixels of the whole
# batch.
DCGAN_PRODUCTS = {
    "DCGAN 1x32x32 batch 64": [(16384, 16, 32), (4096, 512, 64), (1024, 1024, 128)],
    "DCGAN 3x64x64 batch 64": [
        (65536, 48, 64),
        (16384, 1024, 128),
        (4096, 2048, 256),
        (1024, 4096, 512),
    ],
}
ON_ARRAYS = ("sin", "cos", "erf", "expm1", "log1p", "rsqrt", "logsumexp", "cumsum", "prod", "sort")
EINSUMS = (
    ("ij,jk->ik", (128, 128)), ("bij,bjk->bik", (32, 64, 64)), ("bci,bcj->bij", (32, 64, 64)),
    ("bij,bjk->bik", (4096, 8, 8)), ("i,i->", (100_000,)),
)  # fmt: skip
BATCHES = [2**i for i in range(3, 13)]
WIDTHS = [2**i for i in range(5, 13)]


@dataclass(frozen=True)
class Section:
    """A group of cases measured by the same peers. `seconds` is the length of one measurement."""

    title: str
    peers: tuple[str, ...]
    cases: Callable[[Context], list[dict]]
    seconds: float


@dataclass(frozen=True)
class Context:
    """What cases are made from: the folder for inputs, the activations that minidl has, and whether
    only small cases are wanted.
    """

    inputs: Path
    activations: list[dict]
    quick: bool


def mlps(context: Context) -> list[dict]:
    return [mlp_case(context.inputs, name, *shape) for name, shape in MLPS.items()]


def activations(context: Context) -> list[dict]:
    """Every activation of minidl, forward and forward + backward, at three sizes; PReLU per
    channel; RReLU.
    """
    cases = []
    for size in (1_000, 100_000) if context.quick else (1_000, 100_000, 10_000_000):
        for row in context.activations:
            for mode in ("forward", "both"):
                cases.append(
                    activation_case(
                        row, (size // 100, 100), mode, f"{row['name']} {mode} {size:.0e}"
                    )
                )
    shape = (8, 64, 32, 32) if context.quick else (64, 64, 32, 32)
    for mode in ("forward", "backward", "both"):
        prelu = {"name": "prelu", "params": {}}
        cases.append(activation_case(prelu, shape, mode, f"prelu per channel {mode}", slopes=64))
    return cases


def activation_case(
    row: dict, shape: tuple[int, ...], mode: str, name: str, slopes: int = 1
) -> dict:
    return {
        "kind": "activation",
        "activation": row["name"],
        "params": row["params"],
        "shape": shape,
        "mode": mode,
        "name": name,
        "slopes": slopes,
        "elements": math.prod(shape),
    }


def tiny(context: Context) -> list[dict]:
    return [{"kind": "tiny", "name": "100 ops on shape (4,)", "ops": 100}]


def arrays(context: Context) -> list[dict]:
    """Elementary functions and reductions of rows of 100 at three sizes; parts of a tensor, tensors joined; einsum."""
    sizes = (1_000, 100_000) if context.quick else (1_000, 100_000, 10_000_000)
    cases = [
        array_case(name, (size // 100, 100), mode, f"{name} {mode} {size:.0e}")
        for size in sizes
        for name in ON_ARRAYS
        for mode in ("forward", "both")
    ]
    for name, count in (("parts", 400), ("stack", 100), ("concatenate", 100)):
        cases.append(array_case(name, (count, 32, 64), "both", f"{name} both, {count} of (32, 64)"))
    for equation, shape in EINSUMS:
        cases.append(array_case(equation, shape, "both", f"{equation} both, {shape}"))
    return cases


def array_case(function: str, shape: tuple[int, ...], mode: str, name: str) -> dict:
    return {"kind": "arrays", "function": function, "shape": shape, "mode": mode, "name": name}


def ops(context: Context) -> list[dict]:
    """Every public operation, products of powers of two and their neighbours, and programs of many small operations."""
    rows = [*OP_ROWS, *activation_rows(context.activations), *PRODUCT_ROWS]
    return [*[row.case() for row in (rows[::12] if context.quick else rows)], *PROGRAM_CASES]


def gemm(context: Context) -> list[dict]:
    """The products of the MLP steps with their layouts, those of the DCGANs, and 1024^3.

    Layouts: forward x W^T is "nt" (W is stored (out, in)), the input gradient gy W "nn", the
    weight gradient gy^T x "tn".
    """
    cases = [gemm_case("1024^3", (1024, 1024, 1024), "nn")]
    seen = set()
    for widths, batch in MLPS.values():
        for layer, (a, b) in enumerate(pairwise(widths)):
            products = [("forward", (batch, a, b), "nt"), ("weight gradient", (b, batch, a), "tn")]
            products += [] if layer == 0 else [("input gradient", (batch, b, a), "nn")]
            for what, mkn, layout in products:
                if (mkn, layout) not in seen:
                    seen.add((mkn, layout))
                    cases.append(gemm_case(f"MLP {what}", mkn, layout))
    for what, shapes in DCGAN_PRODUCTS.items():
        cases += [gemm_case(what, shape, "nn") for shape in shapes]
    return cases[::6] if context.quick else cases


def gemm_case(what: str, mkn: tuple[int, int, int], layout: str) -> dict:
    name = f"{what} {mkn[0]}x{mkn[1]}x{mkn[2]} {layout}"
    return {
        "kind": "gemm",
        "name": name,
        "mkn": mkn,
        "layout": layout,
        "flops": 2.0 * math.prod(mkn),
    }


def contention(context: Context) -> list[dict]:
    """Our elementwise op (tanh) and the user's own np.matmul, alternating, at three sizes."""
    grains = [(100_000, 128), (1_000_000, 256), (1_000_000, 512)]
    return [
        {
            "kind": "contention",
            "name": f"tanh on {e:,} and matmul {m}^3",
            "elements": e,
            "matmul": m,
        }
        for e, m in (grains[:1] if context.quick else grains)
    ]


def batches(context: Context) -> list[dict]:
    chosen = BATCHES[:3] if context.quick else BATCHES
    return [mlp_case(context.inputs, f"batch {b}", [784, 256, 256, 10], b, 5) for b in chosen]


def widths(context: Context) -> list[dict]:
    chosen = WIDTHS[:3] if context.quick else WIDTHS
    return [mlp_case(context.inputs, f"width {w}", [784, w, w, 10], 128, 5) for w in chosen]


def dcgans(context: Context) -> list[dict]:
    return [
        dcgan_case(context.inputs, name) for name in list(DCGANS)[: 1 if context.quick else None]
    ]


def layers(context: Context) -> list[dict]:
    return [layer_case(name) for name in LAYERS]


def small(context: Context) -> list[dict]:
    return small_cases(context.inputs, context.quick)


SECTIONS = {
    "mlp": Section("Training step of an MLP", ALL, mlps, 1.0),
    "activations": Section("Activations", ONE_EACH, activations, 0.12),
    "tiny": Section("A chain of tiny operations", ONE_EACH, tiny, 0.3),
    "arrays": Section("Functions on arrays", ("minidl", "torch"), arrays, 0.12),
    "gemm": Section("Matrix products", ("minidl", "numpy", "torch"), gemm, 0.15),
    "ops": Section("Every operation", ("minidl", "torch"), ops, 0.08),
    "contention": Section("Alternating with NumPy", ("minidl", "numpy", "torch"), contention, 0.4),
    "dcgan": Section(
        "Training step of a DCGAN", (*IMAGES, "minidl_captured", "nnabla"), dcgans, 1.0
    ),
    "layers": Section("Single layers", IMAGES, layers, 0.5),
    "small": Section("Small networks", SMALL, small, 0.1),
    "batches": Section("Cost against batch", ("minidl", "torch", "jax", "tf"), batches, 0.4),
    "widths": Section("Cost against width", ("minidl", "torch", "jax", "tf"), widths, 0.4),
}
