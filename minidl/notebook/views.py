"""The HTML of a Tensor, a Module and a History. All that is not written here is escaped.

This package imports nothing of minidl: the classes hand themselves in, as their ``_repr_html_``.
"""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from minidl.notebook.svg import FAMILY, curves, histogram, number

MOST_CELLS, MOST_COLUMNS = 100, 12  # of an array that is shown whole
CELL = "padding:1px 8px;text-align:right"
MONO = f"{FAMILY};font-size:12px"


def _block(body: str) -> str:
    return f'<div style="{MONO}">{body}</div>'


# ── Tensor ────────────────────────────────────────────────────────────────────────────────────────


def tensor_html(x: Any) -> str:
    """The values of a small array as a table; of a large one their range and histogram."""
    array = x._read()
    notes = [f"shape {array.shape}", str(array.dtype)]
    if x._op is not None:
        notes.append(f"op={type(x._op).__name__}")
    elif x.requires_grad:
        notes.append("requires_grad=True")
    if getattr(x, "lr_mult", 1.0) != 1.0:
        notes.append(f"lr_mult={x.lr_mult:g}")
    if getattr(x, "waits_for_shape", False):
        notes.append("its shape is inferred from the first batch")
    if x.grad is not None:
        notes.append(f"grad: {_range(x.grad._read())}")
    head = f"<b>{escape(type(x).__name__)}</b> {escape(', '.join(notes))}"
    return _block(f"{head}<br>{_values(array)}")


def _values(array: np.ndarray) -> str:
    columns = array.shape[-1] if array.ndim else 1
    if array.ndim <= 2 and 0 < array.size <= MOST_CELLS and columns <= MOST_COLUMNS:
        rows = array.reshape(-1, columns).tolist()
        cells = ["".join(f'<td style="{CELL}">{_cell(v)}</td>' for v in row) for row in rows]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
    if array.size <= MOST_CELLS:
        return f"<pre>{escape(np.array2string(array, precision=4))}</pre>"
    if array.dtype == np.bool_:
        return f"{np.count_nonzero(array):,} of {array.size:,} are True"
    finite = array[np.isfinite(array)]
    return escape(_range(array)) + (f"<br>{histogram(finite)}" if finite.size else "")


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else escape(str(value))


def _range(array: np.ndarray) -> str:
    """Least, mean and largest value; NaN and infinities are counted apart."""
    finite = array[np.isfinite(array)]
    told = []
    if finite.size:
        mean = finite.mean(dtype=np.float64)
        told.append(f"min {number(finite.min())}, mean {number(mean)}, max {number(finite.max())}")
    for name, n in (
        ("NaN", np.count_nonzero(np.isnan(array))),
        ("infinite", np.count_nonzero(np.isinf(array))),
    ):
        if n:
            told.append(f"{n:,} of {array.size:,} {name}")
    return "; ".join(told) or "empty"


# ── Module ────────────────────────────────────────────────────────────────────────────────────────


def module_html(module: Any) -> str:
    """The tree of a module: each can be opened to show its parameters and children."""
    return _block(_node("", module, ()))


def _node(name: str, module: Any, above: tuple) -> str:
    own = [(key, value) for key, value in module._own() if hasattr(value, "lr_mult")]
    children = [pair for pair in module.named_children() if pair[1] not in above]
    label = f"({name}): " if name else ""
    settings = module.extra_repr()
    count = module.num_parameters()
    head = (
        f"{escape(label)}<b>{escape(type(module).__name__)}</b>"
        f"{escape(f'({settings})') if settings else ''}"
        f"{f' <small>{count:,} parameters</small>' if count else ''}"
    )
    if not own and not children:
        return f'<div style="margin-left:1.1em">{head}</div>'
    rows = "".join(f'<div style="margin-left:1.1em">{_parameter(*pair)}</div>' for pair in own)
    inside = "".join(_node(key, child, (*above, module)) for key, child in children)
    opened = " open" if children else ""
    return f'<details{opened} style="margin-left:1.1em"><summary>{head}</summary>{rows}{inside}</details>'


def _parameter(name: str, parameter: Any) -> str:
    shape = "inferred from the first batch" if parameter.waits_for_shape else parameter.shape
    told = [f"{name} {shape} {parameter.dtype}"]
    if parameter.lr_mult != 1:
        told.append(f"lr_mult={parameter.lr_mult:g}")
    if parameter.lr_mult == 0 or not parameter.requires_grad:
        told.append("frozen")
    return escape(", ".join(told))


# ── History ───────────────────────────────────────────────────────────────────────────────────────


def history_html(history: Any) -> str:
    """The curves of each quantity, training and validation together, and the last values."""
    columns = history.history
    names = [name for name in columns if name not in ("time", "lr") and not name.startswith("val_")]
    pictures = []
    for name in names:
        series = {"training": columns[name]}
        if f"val_{name}" in columns:
            series["validation"] = columns[f"val_{name}"]
        pictures.append(curves(name, series))
    return _block(f"{escape(repr(history))}<br>{' '.join(pictures)}")
