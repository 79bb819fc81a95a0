"""The rows of the section `ops`: every public operation, how it is called in minidl and in PyTorch, and on what.

A test asks for a row for every public function (tests/ops/test_measured.py). Those of functions on arrays are in
op_arrays.py; those of activations follow from minidl's own table. Operands are called x, y, z, u, v, w in the calls;
"64x1000" is drawn from N(0, 1), and another way to draw is written before a colon: see `drawn` in workers/calls.py.
PyTorch's call is the same, unless it is given.
"""

from __future__ import annotations

from op_arrays import ROWS as ARRAY_ROWS
from op_row import ROWS_OF, Row, row

LOSSES_TO_TARGETS = "mse_loss l1_loss huber_loss"
PRODUCTS = [
    row("ops.matmul", "64x256x32 64x32x256", "x @ y", "x @ y", "batch"),
    row("ops.matmul", "4096x8x8 4096x8x8", "x @ y", "x @ y", "batch"),
    row("ops.matmul", "32x64x64 64x64", "x @ y", "x @ y", "batch and a matrix"),
    row("ops.matmul", "1000x1000 1000", "x @ y", "x @ y", "a vector"),
    row("ops.matmul", "100000 100000", "x @ y", "x @ y", "of vectors"),
    row(
        "ops.matmul",
        "4096x16 4096x16x16",
        "(x[:, None] @ y)[:, 0]",
        "(x[:, None] @ y)[:, 0]",
        "a vector each",
    ),
    row("ops.outer", "256 256", "ops.outer(x, y)"),
    row("ops.einsum", "32x64x64 32x64x64", "ops.einsum('bij,bjk->bik', x, y)"),
    row("ops.einsum", "32x64x64 32x64x64", "ops.einsum('bci,bcj->bij', x, y)", label="turned"),
    row("F.affine", "64x256 256x256 256", "F.affine(x, y, z)", "G.linear(x, y, z)"),
    row("F.affine", "1x256 256x256 256", "F.affine(x, y, z)", "G.linear(x, y, z)", "one sample"),
    row("F.bilinear", "64x32 64x32 16x32x32 16", "F.bilinear(x, y, z, u)"),
]
SOFT = [
    *[
        row(f"F.{name}", shape, f"F.{name}(x, axis={axis})", f"G.{name}(x, {axis})", f"over {axis}")
        for name in ("softmax", "log_softmax")
        for shape, axis in (("64x1000", 1), ("20000x4", 1), ("16x21x32x32", 1))
    ],
    row("F.prelu", "16x64x14x14 64", "F.prelu(x, y)"),
    row("F.rrelu", ROWS_OF, "F.rrelu(x, training=True)", random=True),
    row("F.dropout", ROWS_OF, "F.dropout(x)", random=True),
    row("F.dropout2d", "16x64x14x14", "F.dropout2d(x)", random=True),
    row("F.crelu", "16x64x14x14", "F.crelu(x)", "torch.cat([G.relu(x), G.relu(-x)], 1)"),
    row("F.glu", ROWS_OF, "F.glu(x)"),
    row("F.maxout", ROWS_OF, "F.maxout(x, 2)", "x.unflatten(1, (-1, 2)).max(2).values"),
    row("F.identity", ROWS_OF, "F.identity(x)", "torch.nn.Identity()(x)"),
]
LOSSES = [
    *[
        row(f"F.{name}", f"{ROWS_OF} const:{ROWS_OF}", f"F.{name}(x, y)")
        for name in LOSSES_TO_TARGETS.split()
    ],
    row(
        "F.binary_cross_entropy",
        f"unit:{ROWS_OF} mask:{ROWS_OF}",
        "F.binary_cross_entropy(x, y)",
        "G.binary_cross_entropy(x, y.float())",
    ),
    row(
        "F.binary_cross_entropy_with_logits",
        f"{ROWS_OF} mask:{ROWS_OF}",
        "F.binary_cross_entropy_with_logits(x, y)",
        "G.binary_cross_entropy_with_logits(x, y.float())",
    ),
    *[
        row(
            "F.cross_entropy", f"{shape} ids<{shape.split('x')[1]}>:{rows}", "F.cross_entropy(x, y)"
        )
        for shape, rows in (("64x1000", "64"), ("4096x10", "4096"), ("4x21x64x64", "4x64x64"))
    ],
    row("F.nll_loss", "4096x10 ids<10>:4096", "F.nll_loss(x, y)"),
    row("F.kl_div", f"{ROWS_OF} probabilities:{ROWS_OF}", "F.kl_div(x, y)", "G.kl_div(x, y)"),
    row(
        "F.hinge_loss",
        f"{ROWS_OF} signs:{ROWS_OF}",
        "F.hinge_loss(x, y)",
        "torch.clamp(1 - x * y, min=0).mean()",
    ),
    row("F.cosine_embedding_loss", "256x128 256x128 signs:256", "F.cosine_embedding_loss(x, y, z)"),
]
NORMS = [
    row("F.batch_norm", "64x1000 1000 1000", "F.batch_norm(x, None, None, y, z, training=True)"),
    row("F.batch_norm", "16x64x14x14 64 64", "F.batch_norm(x, None, None, y, z, training=True)"),
    row(
        "F.batch_norm",
        "16x64x14x14 zeros:64 variances:64 64 64",
        "F.batch_norm(x, y.data, z.data, u, v)",
        "G.batch_norm(x, y, z, u, v)",
        "evaluating",
    ),
    row(
        "F.layer_norm",
        "512x128 128 128",
        "F.layer_norm(x, 128, y, z)",
        "G.layer_norm(x, (128,), y, z)",
    ),
    row("F.layer_norm", "20000x4 4 4", "F.layer_norm(x, 4, y, z)", "G.layer_norm(x, (4,), y, z)"),
    row("F.group_norm", "16x64x14x14 64 64", "F.group_norm(x, 8, y, z)"),
    row(
        "F.instance_norm",
        "16x64x14x14 64 64",
        "F.instance_norm(x, y, z)",
        "G.instance_norm(x, weight=y, bias=z)",
    ),
]


def conv(shape: str, weight: str, options: str = "", label: str = "") -> Row:
    """A convolution of images; `options` are named alike in both."""
    bias = weight.split("x")[0]
    options = options and f", {options}"
    return row(
        "F.conv",
        f"{shape} {weight} {bias}",
        f"F.conv(x, y, z{options})",
        f"G.conv2d(x, y, z{options})",
        label,
    )


def transposed(shape: str, weight: str, options: str) -> Row:
    bias = weight.split("x")[1]
    return row(
        "F.conv_transpose",
        f"{shape} {weight} {bias}",
        f"F.conv_transpose(x, y, z, {options})",
        f"G.conv_transpose2d(x, y, z, {options})",
    )


def pooled(kind: str, shape: str, window: str) -> Row:
    return row(
        f"F.{kind}_pool",
        shape,
        f"F.{kind}_pool(x, {window})",
        f"G.{kind}_pool2d(x, {window})",
        f"window {window}",
    )


IMAGES = [
    conv("64x16x28x28", "32x16x3x3", "padding=1"),
    conv("128x1x28x28", "16x1x5x5"),
    conv("32x64x14x14", "64x64x3x3", "padding=1"),
    conv("32x64x28x28", "128x64x1x1"),
    conv("16x32x32x32", "64x32x4x4", "stride=2, padding=1"),
    conv("1x16x28x28", "32x16x3x3", "padding=1"),
    conv("16x64x28x28", "64x1x3x3", "padding=1, groups=64", "depthwise"),
    conv("16x64x28x28", "64x1x5x5", "stride=2, padding=2, groups=64", "depthwise"),
    conv("16x64x28x28", "64x16x3x3", "padding=1, groups=4", "grouped"),
    conv("16x128x14x14", "128x4x3x3", "padding=1, groups=32", "grouped"),
    conv("16x16x28x28", "16x16x3x3", "padding=2, dilation=2"),
    transposed("16x64x14x14", "64x32x4x4", "stride=2, padding=1"),
    transposed("16x32x14x14", "32x16x3x3", "padding=1"),
    *[
        pooled(kind, shape, window)
        for kind in ("max", "avg")
        for shape, window in (
            ("64x16x28x28", "2"),
            ("64x16x28x28", "3, 2, 1"),
            ("64x64x14x14", "14"),
            ("64x64x7x7", "7"),
        )
    ],
    row(
        "F.adaptive_avg_pool",
        "64x64x7x7",
        "F.adaptive_avg_pool(x, 1)",
        "G.adaptive_avg_pool2d(x, 1)",
    ),
    row(
        "F.adaptive_max_pool",
        "16x64x14x14",
        "F.adaptive_max_pool(x, 7)",
        "G.adaptive_max_pool2d(x, 7)",
    ),
    *[
        row(
            "F.upsample",
            "16x16x16x16",
            f"F.upsample(x, 2, '{mode}')",
            f"G.interpolate(x, scale_factor=2, mode='{mode}'{'' if mode == 'nearest' else ', align_corners=False'})",
            mode,
        )
        for mode in ("nearest", "bilinear", "bicubic")
    ],
    row("F.pixel_shuffle", "16x64x14x14", "F.pixel_shuffle(x, 2)"),
    row("F.pixel_unshuffle", "16x16x28x28", "F.pixel_unshuffle(x, 2)"),
]
LSTM = "{}(x, {}, [z, u, v, w], True, 1, 0.0, True, False, False)[0]"
SEQUENCES = [
    row(
        "F.lstm",
        "32x64x32 zeros:1x64x64 small:256x32 small:256x64 256 256",
        "F.lstm(x, None, z, u, v, w)[0]",
        LSTM.format("torch.lstm", "[y, y]"),
    ),
    row(
        "F.gru",
        "32x64x32 zeros:1x64x64 small:192x32 small:192x64 192 192",
        "F.gru(x, None, z, u, v, w)[0]",
        LSTM.format("torch.gru", "y"),
    ),
    row(
        "F.rnn",
        "32x64x32 zeros:1x64x64 small:64x32 small:64x64 64 64",
        "F.rnn(x, None, z, u, v, w)[0]",
        LSTM.format("torch.rnn_tanh", "y"),
    ),
    *[
        row(
            "F.scaled_dot_product_attention",
            " ".join([shape] * 3),
            f"F.scaled_dot_product_attention(x, y, z, is_causal={causal})",
            label="causal" * causal,
        )
        for shape in ("8x4x256x32", "32x4x64x16")
        for causal in (False, True)
    ],
]
ROWS = [*ARRAY_ROWS, *PRODUCTS, *SOFT, *LOSSES, *NORMS, *IMAGES, *SEQUENCES]
THEIR_ACTIVATIONS = {
    "sigmoid": "torch.sigmoid(x)",
    "tanh": "torch.tanh(x)",
    "gelu_tanh": "G.gelu(x, approximate='tanh')",
}


def activation_rows(activations: list[dict]) -> list[Row]:
    """A row for each activation of minidl's table that has no row of its own."""
    known = {row.covers for row in ROWS}
    rows = []
    for each in activations:
        name, params = each["name"], "".join(f", {k}={v}" for k, v in each["params"].items())
        if f"F.{name}" not in known:
            theirs = THEIR_ACTIVATIONS.get(name, f"G.{name}(x{params})")
            rows.append(row(f"F.{name}", ROWS_OF, f"F.{name}(x{params})", theirs))
    return rows
