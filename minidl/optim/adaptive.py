"""The relatives of Adam: RMSprop, Adagrad and Adadelta, which came before it, and NAdam."""

from __future__ import annotations

from typing import Any

from minidl.optim.base import Optimizer
from minidl.optim.groups import Group

__all__ = ["Adadelta", "Adagrad", "NAdam", "RMSprop"]


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: with d = g + weight_decay p and mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2),
    at the parameter's t-th step,

        m = beta1 m + (1 - beta1) d
        v = beta2 v + (1 - beta2) d^2
        u = (1 - mu_t) d / (1 - mu_1 ... mu_t) + mu_(t+1) m / (1 - mu_1 ... mu_(t+1))
        p -= lr u / (sqrt(v / (1 - beta2^t)) + eps)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `Adam`. All mu are those of the present
    beta1: where a schedule changes it (`OneCycleLR`), the first steps are not quite PyTorch's, which keeps the product.

    Args:
        momentum_decay: how fast mu rises from about beta1 / 2 to beta1.
        decoupled_weight_decay: weight decay as in `AdamW`: d = g, and before the step p -= lr weight_decay p.

    Source: Dozat, Incorporating Nesterov Momentum into Adam, ICLR workshop 2016.
    """

    MOMENTS, kernel = ("mean", "square"), "nadam_step"

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        options |= {"momentum_decay": momentum_decay}
        super().__init__(params, options | {"decoupled_weight_decay": decoupled_weight_decay})

    def _settings(self, group: Group) -> tuple:
        decoupled = group["decoupled_weight_decay"]
        return *group["betas"], group["eps"], decoupled, group["momentum_decay"]


class RMSprop(Optimizer):
    """RMSprop: with d = g + weight_decay p,

        v = alpha v + (1 - alpha) d^2
        p -= lr d / (sqrt(v) + eps)                                     (momentum = 0)
        m = momentum m + d / (sqrt(v) + eps);  p -= lr m                (momentum)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `SGD`; alpha is from 0 to 1.

    Args:
        centered: divides by the standard deviation: v less the square of a = alpha a + (1 - alpha) d. (It then keeps
            m too, whatever the momentum.)

    Source: Tieleman & Hinton, Lecture 6.5, COURSERA: Neural Networks for Machine Learning, 2012. centered: Graves,
    Generating Sequences with Recurrent Neural Networks, 2013.
    """

    MOMENTS, kernel = ("square", "momentum", "mean"), "rmsprop_step"

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options | {"momentum": momentum, "centered": centered})

    def _moments(self, group: Group) -> int:
        if group["centered"]:
            return 3
        return 2 if group["momentum"] else 1

    def _settings(self, group: Group) -> tuple:
        return group["alpha"], group["eps"], group["momentum"]


class Adagrad(Optimizer):
    """Adagrad: with d = g + weight_decay p, at the parameter's t-th step,

        v += d^2
        p -= lr / (1 + (t - 1) lr_decay) d / (sqrt(initial_accumulator_value + v) + eps)

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `SGD`.

    Source: Duchi, Hazan & Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, JMLR
    2011.
    """

    MOMENTS, kernel = ("sum_of_squares",), "adagrad_step"

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, options | {"initial_accumulator_value": initial_accumulator_value})

    def _settings(self, group: Group) -> tuple:
        return group["lr_decay"], group["initial_accumulator_value"], group["eps"]


class Adadelta(Optimizer):
    """Adadelta: with d = g + weight_decay p,

        v = rho v + (1 - rho) d^2
        u = sqrt(s + eps) / sqrt(v + eps) d
        s = rho s + (1 - rho) u^2
        p -= lr u

    with lr times the parameter's ``lr_mult``. Arguments and errors as for `SGD`; rho is from 0 to 1.

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012.
    """

    MOMENTS, kernel = ("square", "squared_update"), "adadelta_step"

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options)

    def _settings(self, group: Group) -> tuple:
        return group["rho"], group["eps"]
