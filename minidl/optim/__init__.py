"""Optimizers, learning-rate schedules and gradient clipping.

In the order of reading: `algorithms` (the formulas of SGD, Adam and AdamW), `base` (groups of parameters, settings,
state), `schedules`, `clipping`. ``Optimizer.step`` gathers what the kernel needs of all parameters with a gradient,
and steps all of them in one call.
"""

from typing import TYPE_CHECKING, Any

from minidl.optim import algorithms
from minidl.optim.algorithms import *
from minidl.optim.base import Optimizer
from minidl.optim.clipping import clip_grad_norm
from minidl.optim.schedules import CosineLR, ExponentialLR, MultiStepLR, Schedule, StepLR, WarmupLR
from minidl.porting import missing as _missing

__all__ = [
    *algorithms.__all__,
    "CosineLR",
    "ExponentialLR",
    "MultiStepLR",
    "Optimizer",
    "Schedule",
    "StepLR",
    "WarmupLR",
    "clip_grad_norm",
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("optim", name, globals())
