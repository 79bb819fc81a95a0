"""The optimizers: SGD, Adam, AdamW.

One call of a kernel (`minidl/_kernels/optim/updates.pyx`) steps all parameters of all groups. What
optimizers have in common, and which parameters take part, is in `minidl/optim/base.py`.

>>> from minidl import nn
>>> model = nn.Affine(2, 1)
>>> optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
>>> model([[1.0, 2.0]]).sum().backward()
>>> optimizer.step()
>>> optimizer.zero_grad()
"""

from __future__ import annotations

from typing import Any, ClassVar

from minidl.optim.base import Group, Optimizer

__all__ = ["SGD", "Adam", "AdamW"]


class SGD(Optimizer):
    """Stochastic gradient descent: with d = g + weight_decay p,

        p -= lr d                                       (momentum = 0)
        m  = momentum m + d;  p -= lr m                 (momentum)
        m  = momentum m + d;  p -= lr (d + momentum m)  (nesterov)

    with lr times the parameter's ``lr_mult``. As in PyTorch, m is not damped.

    Args:
        params: Parameters (or Tensors that are leaves), or groups ``[{"params": ..., "lr": ...}]``
            with settings of their own. Those that are frozen are left alone until they are thawed.

    Raises:
        ValueError, TypeError: a setting that is negative or not finite; no parameters, one twice,
            or one that is the result of an op or no float; nesterov without momentum.

    Source: Sutskever, Martens, Dahl & Hinton, On the importance of initialization and momentum,
    ICML 2013.
    """

    MOMENTS, kernel = ("momentum",), "sgd_step"

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "nesterov": nesterov}
        super().__init__(params, options | {"weight_decay": weight_decay})
        for group in self.groups:
            if group["nesterov"] and group["momentum"] == 0:
                raise ValueError("SGD: nesterov=True needs momentum > 0")

    def _moments(self, group: Group) -> int:
        return 1 if group["momentum"] else 0

    def _settings(self, group: Group) -> tuple:
        return group["momentum"], group["nesterov"]


class Adam(Optimizer):
    """Adam: with d = g + weight_decay p, at the parameter's t-th step,

        m = beta1 m + (1 - beta1) d
        v = beta2 v + (1 - beta2) d^2
        p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `SGD`.

    Source: Kingma & Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.
    """

    MOMENTS, kernel = ("mean", "square"), "adam_step"
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options)

    def _settings(self, group: Group) -> tuple:
        return *group["betas"], group["eps"], self.decoupled


class AdamW(Adam):
    """Adam whose weight decay does not go through the moments: with g the gradient, at the parameter's t-th step,

        p -= lr weight_decay p
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `SGD`; ValueError also for betas of 1 or
    more.

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
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
