"""The optimizers SGD, Adam and AdamW; their relatives are in `minidl/optim/adaptive.py`.

One call of a kernel (`minidl/_kernels/optim/updates.pyx`) steps all parameters of all groups; the loops are in
`formulas.pxd` beside it. What optimizers have in common, and which parameters take part, is in `minidl/optim/base.py`.

>>> from minidl import nn
>>> model = nn.Affine(2, 1)
>>> optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
>>> model([[1.0, 2.0]]).sum().backward()
>>> optimizer.step()
>>> optimizer.zero_grad()
"""

from __future__ import annotations

from typing import Any, ClassVar

from minidl.optim.base import Optimizer
from minidl.optim.groups import Group

__all__ = ["SGD", "Adam", "AdamW"]


class SGD(Optimizer):
    """Stochastic gradient descent: with d = g + weight_decay p,

        p -= lr d                                       (momentum = 0)
        m  = momentum m + d;  p -= lr m                 (momentum)
        m  = momentum m + d;  p -= lr (d + momentum m)  (nesterov)

    with lr times the parameter's ``lr_mult``, and m at first 0.

    Args:
        params: Parameters (or Tensors that are leaves), or groups ``[{"params": ..., "lr": ...}]``
            with settings of their own. Those that are frozen are left alone until they are thawed.
        dampening: m = momentum m + (1 - dampening) d; in a parameter's first step m = d, as in PyTorch.

    Raises:
        ValueError, TypeError: a setting that is negative or not finite; no parameters, one twice,
            or one that is the result of an op or no float; nesterov without momentum or with dampening.

    Source: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and momentum,
    ICML 2013.
    """

    MOMENTS, kernel = ("momentum",), "sgd_step"
    ADDED: ClassVar = {"dampening": 0.0}

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "nesterov": nesterov}
        super().__init__(params, options | {"weight_decay": weight_decay, "dampening": dampening})
        for group in self.groups:
            if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
                raise ValueError("SGD: nesterov=True needs momentum > 0 and dampening = 0")

    def _moments(self, group: Group) -> int:
        return 1 if group["momentum"] else 0

    def _settings(self, group: Group) -> tuple:
        return group["momentum"], group["nesterov"], group["dampening"]


class Adam(Optimizer):
    """Adam: with d = g + weight_decay p, at the parameter's t-th step,

        m = beta1 m + (1 - beta1) d
        v = beta2 v + (1 - beta2) d^2
        p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `SGD`; ValueError also for betas of 1 or
    more.

    Args:
        amsgrad: divides by the greatest v that the parameter has had, in place of v.

    Source: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015. amsgrad: Reddi, Kale & Kumar, On the
    Convergence of Adam and Beyond, ICLR 2018.
    """

    MOMENTS, kernel = ("mean", "square", "greatest_square"), "adam_step"
    ADDED: ClassVar = {"amsgrad": False}
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options | {"amsgrad": amsgrad})

    def _moments(self, group: Group) -> int:
        return 3 if group["amsgrad"] else 2

    def _settings(self, group: Group) -> tuple:
        return *group["betas"], group["eps"], self.decoupled


class AdamW(Adam):
    """Adam whose weight decay does not go through the moments: with g the gradient, at the parameter's t-th step,

        p -= lr weight_decay p
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `Adam`.

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization, ICLR 2019.
    """

    decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)
