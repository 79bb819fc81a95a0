"""The rows of the section `ops` for functions on arrays: elementwise ones, shapes, reductions."""

from __future__ import annotations

from op_row import ROWS_OF, Row, forward, row

ANY = "abs arctan cos cosh erf exp expm1 floor neg sign sin sinh tan"
ABOVE_0 = "log log1p log2 rsqrt sqrt"
TWO = "add sub mul maximum minimum"
COMPARISONS = "equal not_equal greater greater_equal less less_equal"
THEIR_COMPARISONS = "eq ne gt ge lt le"

ELEMENTWISE = [
    *[row(f"ops.{name}", ROWS_OF, f"ops.{name}(x)") for name in ANY.split()],
    *[row(f"ops.{name}", f"positive:{ROWS_OF}", f"ops.{name}(x)") for name in ABOVE_0.split()],
    *[row(f"ops.{name}", f"{ROWS_OF} {ROWS_OF}", f"ops.{name}(x, y)") for name in TWO.split()],
    *[
        forward(f"ops.{name}", f"{ROWS_OF} {ROWS_OF}", f"ops.{name}(x, y)", f"torch.{there}(x, y)")
        for name, there in zip(COMPARISONS.split(), THEIR_COMPARISONS.split(), strict=True)
    ],
    *[
        forward(
            f"ops.logical_{name}", f"mask:{ROWS_OF} mask:{ROWS_OF}", f"ops.logical_{name}(x, y)"
        )
        for name in ("and", "or")
    ],
    forward("ops.logical_not", f"mask:{ROWS_OF}", "ops.logical_not(x)"),
    row("ops.add", f"{ROWS_OF} 1000", "ops.add(x, y)", label="a row"),
    row("ops.mul", f"{ROWS_OF} 64x1", "ops.mul(x, y)", label="a column"),
    row("ops.mul", ROWS_OF, "x * 1.5", "x * 1.5", label="a number"),
    row("ops.div", f"{ROWS_OF} positive:{ROWS_OF}", "ops.div(x, y)"),
    row("ops.pow", f"positive:{ROWS_OF} {ROWS_OF}", "ops.pow(x, y)"),
    *[
        row("ops.pow", f"positive:{ROWS_OF}", f"x ** {p}", f"x ** {p}", label=f"to {p}")
        for p in (2, 3, -1, 0.5, 2.5)
    ],
    row("ops.clip", ROWS_OF, "ops.clip(x, -0.5, 0.5)"),
    row("ops.where", f"mask:{ROWS_OF} {ROWS_OF} {ROWS_OF}", "ops.where(x, y, z)"),
    row("ops.astype", ROWS_OF, "ops.astype(x, 'float64')", "x.double()"),
    forward("ops.floor_divide", f"{ROWS_OF} positive:{ROWS_OF}", "ops.floor_divide(x, y)"),
    forward("ops.remainder", f"{ROWS_OF} positive:{ROWS_OF}", "ops.remainder(x, y)"),
    forward(
        "ops.inplace",
        f"const:{ROWS_OF} const:{ROWS_OF}",
        "ops.inplace(x, y * 0, '+=')",
        "x.add_(y * 0)",
    ),
    row("ops.mul", ROWS_OF, "ops.tanh(x * x + x)", label="tanh(x * x + x)"),
]
CREATION = [
    forward("ops.zeros", "", "ops.zeros((64, 1000))", "torch.zeros((64, 1000))"),
    forward("ops.ones", "", "ops.ones((64, 1000))", "torch.ones((64, 1000))"),
    forward("ops.full", "", "ops.full((64, 1000), 2.0)", "torch.full((64, 1000), 2.0)"),
    forward("ops.arange", "", "ops.arange(64000)", "torch.arange(64000)"),
    forward("ops.randn", "", "ops.randn(64, 1000)", "torch.randn(64, 1000)", random=True),
    forward("F.one_hot", "ids<10>:256", "F.one_hot(x, 10)", "G.one_hot(x, 10).float()"),
]
SHAPES = [
    row("ops.reshape", ROWS_OF, "ops.reshape(x, 1000, 64)", "x.reshape(1000, 64)"),
    row("ops.transpose", ROWS_OF, "ops.transpose(x)", "x.T"),
    row(
        "ops.transpose",
        "16x3x32x32",
        "ops.transpose(x, 0, 2, 3, 1) * 1.0",
        "x.permute(0, 2, 3, 1) * 1.0",
        "and a copy",
    ),
    row("ops.flatten", "16x3x32x32", "ops.flatten(x, 1)"),
    row("ops.squeeze", "64x1x100", "ops.squeeze(x, 1)"),
    row("ops.expand_dims", "64x100", "ops.expand_dims(x, 1)", "x.unsqueeze(1)"),
    row("ops.broadcast_to", "64x1", "ops.broadcast_to(x, (64, 1000))"),
    row(
        "ops.pad",
        "16x3x32x32",
        "ops.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))",
        "G.pad(x, (2, 2, 2, 2))",
    ),
    *[
        row(
            "ops.pad",
            "16x3x32x32",
            f"ops.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)), mode='{mode}')",
            f"G.pad(x, (2, 2, 2, 2), mode='{mode}')",
            mode,
        )
        for mode in ("reflect", "replicate")
    ],
    row("ops.concatenate", "64x500 64x500", "ops.concatenate([x, y], 1)", "torch.cat([x, y], 1)"),
    row("ops.concatenate", "32x64", "ops.concatenate([x] * 100)", "torch.cat([x] * 100)", "of 100"),
    row("ops.stack", "64x500 64x500", "ops.stack([x, y], 1)"),
    row("ops.stack", "32x64", "ops.stack([x] * 100)", label="of 100"),
    row(
        "ops.split",
        ROWS_OF,
        "ops.concatenate(ops.split(x, 10, 1))",
        "torch.cat(torch.split(x, 100, 1))",
    ),
    row("ops.unstack", "100x32x64", "ops.stack(ops.unstack(x))", "torch.stack(torch.unbind(x))"),
    row("ops.repeat", ROWS_OF, "ops.repeat(x, 2, 1)", "x.repeat_interleave(2, 1)"),
    row("ops.tile", ROWS_OF, "ops.tile(x, (2, 1))"),
    row("ops.flip", ROWS_OF, "ops.flip(x, 1)", "torch.flip(x, (1,))"),
    row("ops.roll", ROWS_OF, "ops.roll(x, 5, 1)"),
    row("ops.tril", "256x256", "ops.tril(x)"),
    row("ops.triu", "256x256", "ops.triu(x, 1)"),
    row("ops.getitem", ROWS_OF, "x[8:56]", "x[8:56]", "slice"),
    row("ops.getitem", ROWS_OF, "x[:, ::2]", "x[:, ::2]", "every other column"),
    row("ops.getitem", "1000x64 ids<1000>:256", "x[y]", "x[y]", "ids"),
    row("ops.getitem", f"{ROWS_OF} mask:64x1000", "x[y]", "x[y]", "mask"),
    row("ops.getitem", "1000x64 mask:1000", "x[y]", "x[y]", "mask of rows"),
    row("F.embedding", "ids<1000>:32x64 1000x64", "F.embedding(x, y)"),
]


def folded(name: str, shape: str, axes: str, there: str = "") -> Row:
    """A reduction over axes, here and there."""
    there = there or f"torch.{name}(x, {axes})"
    return row(f"ops.{name}", shape, f"ops.{name}(x, {axes})", there, f"over {axes}")


FOLDED = (
    ("64x1000", "0"),
    ("64x1000", "1"),
    ("20000x4", "1"),
    ("4096x64", "1"),
    ("64x64x7x7", "(2, 3)"),
    ("32x64x14x14", "(0, 2, 3)"),
)
REDUCTIONS = [
    *[
        row(f"ops.{name}", ROWS_OF, f"ops.{name}(x)")
        for name in ("sum", "mean", "max", "min", "norm")
    ],
    *[folded(name, shape, axes) for name in ("sum", "mean") for shape, axes in FOLDED],
    # amax shares the gradient between equal elements, as max over one axis does not; of normal numbers few are equal.
    *[
        folded(
            name,
            shape,
            axes,
            f"torch.a{name}(x, {axes})" if "(" in axes else f"torch.{name}(x, {axes}).values",
        )
        for name in ("max", "min")
        for shape, axes in FOLDED
    ],
    *[
        row(
            f"ops.{name}",
            ROWS_OF,
            f"ops.{name}(x, 1)",
            f"torch.{name}(x, 1, correction=0)",
            "over 1",
        )
        for name in ("var", "std")
    ],
    *[
        folded("prod", shape, axis)
        for shape, axis in (("64x1000", "1"), ("20000x4", "1"), ("64x1000", "0"))
    ],
    *[
        folded("logsumexp", *case)
        for case in (("64x1000", "1"), ("20000x4", "1"), ("64x1000", "0"))
    ],
    *[folded("cumsum", *case) for case in (("64x1000", "1"), ("64x1000", "0"))],
    *[
        folded("sort", shape, axis, f"torch.sort(x, {axis}).values")
        for shape, axis in (("64x1000", "1"), ("20000x4", "1"))
    ],
    forward("ops.argsort", ROWS_OF, "ops.argsort(x, 1)"),
    *[
        forward(f"ops.{name}", shape, f"ops.{name}(x, 1)")
        for name in ("argmax", "argmin")
        for shape in ("64x1000", "20000x4")
    ],
]
ROWS = [*ELEMENTWISE, *CREATION, *SHAPES, *REDUCTIONS]
