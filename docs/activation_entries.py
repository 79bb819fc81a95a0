"""The activations on docs/activations.md: those of the table, and others that are not elementwise formulas."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import minidl as md
from minidl import functional as F
from minidl.ops.activations.table import ACTIVATIONS, ROWS

SHAPE = (2048, 128)  # what costs are measured on

Array = np.ndarray
Function = Callable[[Any], md.Tensor]


class Entry(NamedTuple):
    """One section of the page.

    Attributes:
        f: the function with its default parameters; this is what is timed.
        elementwise: f works element by element; otherwise give `curves` to draw, and `range`.
        curves: (label, function of one number) for the picture, explained by `caption`.
    """

    name: str
    layer: str
    formula: str
    paper: str
    use: str
    f: Function
    elementwise: bool = True
    kinks: tuple[float, ...] = ()
    curves: tuple[tuple[str, Callable[[Array], Array]], ...] = ()
    range: str = ""
    caption: str = ""


# What an activation is for, in half a line; for those that are not in the table it is given below.
USES = {
    "relu": "the default of hidden layers; a unit that is never positive stops learning",
    "leaky_relu": "ReLU whose units cannot die",
    "elu": "ReLU with outputs closer to zero mean",
    "selu": "keeps mean 0 and variance 1 through deep plain networks (with `init.LecunNormal`)",
    "celu": "ELU that is smooth at 0 for every alpha",
    "sigmoid": "probabilities and gates; saturates too soon for hidden layers",
    "logsigmoid": "the logarithm of sigmoid without its rounding to 0",
    "hardsigmoid": "sigmoid without exp",
    "tanh": "recurrent networks, outputs from -1 to 1",
    "hardtanh": "tanh without exp; keeps values in an interval",
    "relu6": "ReLU for arithmetic of few bits",
    "softsign": "tanh that saturates more slowly",
    "softplus": "positive outputs, such as a variance",
    "silu": "smooth ReLU; convolutional networks, and with a gate language models",
    "hardswish": "SiLU without exp, for small devices",
    "mish": "smooth ReLU, close to SiLU; object detectors",
    "gelu": "transformers",
    "tanhshrink": "what tanh takes away: small near 0",
    "softshrink": "sparse coding: the step that an absolute-value penalty asks for",
    "hardshrink": "sparse coding: drops what is small, keeps the rest as it is",
    "threshold": "ReLU with its corner elsewhere",
}


def entries() -> list[Entry]:
    """The rows of the table, then the activations that are more than a formula in one number."""
    made = []
    for row in ROWS:
        if row.class_name:
            f = partial(_with, getattr(F, row.name), tuple(row.params.values()))
            kinks = tuple(row.kinks(*row.params.values()))
            drawn = ", ".join(f"{name}={value:g}" for name, value in row.params.items())
            caption = f"In the picture: {drawn}." if row.required else ""
            other = "".join(
                f"\n    approximate={mode!r}: {ACTIVATIONS[name].formula}"
                for mode, name in row.approximate.items()
            )
            made.append(
                Entry(row.name, row.class_name, row.formula + other, row.paper, USES.get(row.name, ""), f,
                      kinks=kinks, caption=caption)
            )  # fmt: skip
    return made + OTHERS


def _with(function: Callable, values: tuple[float, ...], x: Any) -> md.Tensor:
    return function(x, *values)


def _softmax_of(function: Callable, place: int) -> Callable[[Array], Array]:
    return lambda x: function(np.stack([x, 0 * x, 0 * x + 1], axis=1)).data[:, place]


THREE = ("1st", "2nd", "3rd")
SLOPES = np.full(SHAPE[1], 0.25, np.float32)
OTHERS = [
    Entry(
        "prelu",
        "PReLU",
        "max(0, x) + slope * min(0, x), the slope is learned",
        "He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015",
        "ReLU that learns its negative slope ([its own page](prelu.md))",
        lambda x: F.prelu(x, SLOPES if x.ndim > 1 else 0.25),
        kinks=(0.0,),
        caption="In the picture: slope 0.25.",
    ),
    Entry(
        "rrelu",
        "RReLU",
        "x for x > 0, a * x otherwise; a is drawn from U(lower, upper) for each element while training, "
        "and is the mean otherwise",
        "Xu, Wang, Chen & Li, Empirical Evaluation of Rectified Activations in Convolutional Network, 2015",
        "leaky ReLU with noise, against overfitting",
        lambda x: F.rrelu(x, training=x.ndim > 1),
        kinks=(0.0,),
        caption="In the picture and the table: not training.",
    ),
    Entry(
        "crelu",
        "CReLU",
        "relu(x) and relu(-x) side by side along an axis",
        "Shang, Sohn, Almeida & Lee, Understanding and Improving Convolutional Neural Networks via "
        "Concatenated Rectified Linear Units, ICML 2016",
        "loses no sign; twice the channels",
        F.crelu,
        False,
        curves=(
            ("1st", lambda x: F.crelu(x[:, None]).data[:, 0]),
            ("2nd", lambda x: F.crelu(x[:, None]).data[:, 1]),
        ),
        range="[0, ∞)",
        caption="In the picture: the two numbers made from x.",
    ),
    Entry(
        "maxout",
        "Maxout",
        "the largest of each group of `pieces` channels",
        "Goodfellow, Warde-Farley, Mirza, Courville & Bengio, Maxout Networks, ICML 2013",
        "learns its own convex shape; `nn.Maxout` has `pieces` times the weights",
        lambda x: F.maxout(x, 2),
        False,
        curves=(
            (
                "value",
                lambda x: F.maxout(np.stack([-x - 2, x / 4, x - 1], axis=1), 3).data[:, 0],
            ),
        ),
        range="that of its inputs",
        caption="In the picture: the largest of the three lines -x - 2, x / 4 and x - 1.",
    ),
    Entry(
        "glu",
        "GLU",
        "a * sigmoid(b), where a and b are the two halves of x",
        "Dauphin, Fan, Auli & Grangier, Language Modeling with Gated Convolutional Networks, ICML 2017",
        "gates in language models; half the channels",
        F.glu,
        False,
        curves=(
            ("a = 3", lambda b: F.glu(np.stack([0 * b + 3, b], axis=1)).data[:, 0]),
            ("a = -1", lambda b: F.glu(np.stack([0 * b - 1, b], axis=1)).data[:, 0]),
        ),
        range="(-∞, ∞)",
        caption="In the picture: two values of a; b goes from -4 to 4.",
    ),
    Entry(
        "softmax",
        "Softmax",
        "exp(x) / Σ exp(x) along an axis",
        "Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
        "probabilities of classes, attention weights",
        F.softmax,
        False,
        curves=tuple((label, _softmax_of(F.softmax, i)) for i, label in enumerate(THREE)),
        range="(0, 1), sum 1",
        caption="In the picture: the three numbers of softmax([x, 0, 1]).",
    ),
    Entry(
        "log_softmax",
        "LogSoftmax",
        "x - log Σ exp(x) along an axis",
        "Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
        "the logarithm of softmax without its rounding to 0: likelihoods",
        F.log_softmax,
        False,
        curves=tuple((label, _softmax_of(F.log_softmax, i)) for i, label in enumerate(THREE)),
        range="(-∞, 0)",
        caption="In the picture: the three numbers of log_softmax([x, 0, 1]).",
    ),
    Entry("identity", "Identity", "x", "", "a place for a layer that may come later", F.identity),
]
