"""Optimizers, learning-rate schedules and gradient clipping.

In the order of reading: `algorithms` (SGD, Adam, AdamW), `adaptive` (their relatives), `base` (steps and state),
`groups` (of parameters, with their settings), `schedules`, `plateau` (the schedule that follows a measured value),
`clipping`, `ema` (averages of weights). ``Optimizer.step`` gathers what the kernel needs of all parameters with a
gradient, and steps all of them in one call.
"""

from typing import TYPE_CHECKING, Any

from minidl.optim import adaptive, algorithms
from minidl.optim.adaptive import *
from minidl.optim.algorithms import *
from minidl.optim.base import Optimizer
from minidl.optim.clipping import clip_grad_norm, clip_grad_value
from minidl.optim.ema import EMA
from minidl.optim.plateau import ReduceLROnPlateau
from minidl.optim.schedules import (
    CosineLR,
    CosineRestartsLR,
    ExponentialLR,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    Schedule,
    StepLR,
    WarmupLR,
)
from minidl.porting import missing as _missing

__all__ = [
    *adaptive.__all__,
    *algorithms.__all__,
    "EMA",
    "CosineLR",
    "CosineRestartsLR",
    "ExponentialLR",
    "LambdaLR",
    "MultiStepLR",
    "OneCycleLR",
    "Optimizer",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "WarmupLR",
    "clip_grad_norm",
    "clip_grad_value",
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("optim", name, globals())
