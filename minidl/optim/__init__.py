"""Optimizers, learning-rate schedules and gradient clipping.

In the order of reading: `algorithms` (the formulas of SGD, Adam and AdamW), `base` (groups of parameters, settings and
state), `schedules`. A step goes ``Optimizer.step`` -> the algorithm's kernel, which steps all parameters in one call.
"""

from minidl.optim.algorithms import SGD, Adam, AdamW, clip_grad_norm
from minidl.optim.base import Optimizer
from minidl.optim.schedules import CosineLR, ExponentialLR, MultiStepLR, Schedule, StepLR, WarmupLR

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineLR",
    "ExponentialLR",
    "MultiStepLR",
    "Optimizer",
    "Schedule",
    "StepLR",
    "WarmupLR",
    "clip_grad_norm",
]
