"""Parameters that are computed from others at each use: weight normalisation, spectral normalisation.

The layer's class is replaced by one that has a property in the parameter's place. What the optimizer, `state_dict` and
``lr_mult`` see are the parameters beneath: ``weight_g`` and ``weight_v``, or ``weight_orig``, with PyTorch's names.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from minidl import check, ops
from minidl.autograd.modes import no_grad
from minidl.autograd.tensor import Tensor
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.nn.spatial.conv import ConvTranspose
from minidl.ops.linalg import greatest_singular_value
from minidl.random import generator
from minidl.replay.watch import outside_of_steps


class WeightNorm:
    """w = g v / |v|, with a length for each index of one axis."""

    function = "weight_norm"

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, dim
        self.length, self.beneath = f"{name}_g", f"{name}_v"

    def parts(self, weight: Parameter) -> dict[str, Any]:
        """What the layer has in place of the parameter, by name; `beneath` is that parameter."""
        with no_grad():
            length = Parameter(
                self._length(weight)._data, weight.lr_mult, weight.decay, weight.name
            )
        return {self.length: length, self.beneath: weight}

    def value(self, module: Module, training: bool) -> Tensor:
        """The parameter, computed."""
        g, v = getattr(module, self.length), getattr(module, self.beneath)
        return v * (g / self._length(v))

    def _length(self, v: Tensor) -> Tensor:
        axes = tuple([axis for axis in range(v.ndim) if axis != self.dim])
        return ops.sqrt(ops.sum(v * v, axes, self.dim is not None)) if axes else ops.abs(v)


class SpectralNorm:
    """w = v / σ, where σ is the greatest singular value of v as a matrix: estimated by power iteration."""

    function = "spectral_norm"

    def __init__(self, name: str, steps: int, eps: float, dim: int) -> None:
        self.name, self.steps, self.eps, self.dim = name, steps, eps, dim
        self.beneath, self.left, self.right = f"{name}_orig", f"{name}_u", f"{name}_v"

    def parts(self, weight: Parameter) -> dict[str, Any]:
        with no_grad():
            matrix = self._matrix(weight)
            rng = generator(None, self.function)
            u, v = (rng.standard_normal(n).astype(weight.dtype) for n in matrix.shape)
            greatest_singular_value(matrix, u, v, 15, self.eps)  # (as many as PyTorch takes)
        return {self.beneath: weight, self.left: u, self.right: v}

    def value(self, module: Module, training: bool) -> Tensor:
        weight = getattr(module, self.beneath)
        u, v = getattr(module, self.left), getattr(module, self.right)
        steps = self.steps if training else 0
        return weight / greatest_singular_value(self._matrix(weight), u, v, steps, self.eps)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim:
            rest = [axis for axis in range(weight.ndim) if axis != self.dim]
            weight = ops.transpose(weight, (self.dim, *rest))
        return ops.reshape(weight, (weight.shape[0], -1))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Makes a parameter of a layer w = g v / |v|: its length and its direction are trained apart.

    The layer then has ``weight_g``, a length for each index of axis `dim` (for Affine and Conv: each output), and
    ``weight_v``, which is the Parameter that was there; w is computed from them at each use. Both keep its ``lr_mult``
    and ``decay``. Build the optimizer afterwards, so that it has g, too.

    Args:
        module: a layer; it is changed, and returned.
        name: which of its parameters.
        dim: the axis; None means one length for all.

    Raises:
        ValueError: no such parameter, one that is computed already, whose shape is not known yet, or without that axis.

    Source: Salimans & Kingma, Weight Normalization, NeurIPS 2016.

    >>> from minidl.nn import Affine
    >>> weight_norm(Affine(4, 2))
    Affine(4, 2; weight_g (2, 1), weight_v (2, 4), bias (2,))
    """
    weight = _parameter("weight_norm", module, name)
    if dim is not None:
        dim = _axis("weight_norm", weight, dim)
    return _computed(module, WeightNorm(name, dim))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Makes a parameter of a layer w = v / σ(v), whose greatest singular value is 1: the layer is 1-Lipschitz.

    v is ``weight_orig``, the Parameter that was there; σ = uᵀ v' w' with unit vectors in the buffers ``weight_u`` and
    ``weight_v``, which are saved with the layer. At each use of the weight in training mode they are improved by power
    iteration: v' ← Wᵀu, u ← W v'; in evaluation mode they stay. σ's gradient takes u and v' as constants.

    Args:
        module: a layer; it is changed, and returned.
        name: which of its parameters.
        n_power_iterations: steps at each use.
        eps: the least length that a vector is divided by.
        dim: the axis of the outputs, the rows of the matrix; None means 1 for ConvTranspose and 0 for others.

    Raises:
        ValueError: no such parameter, one that is computed already, whose shape is not known yet, or with fewer than
            two axes.

    Source: Miyato, Kataoka, Koyama & Yoshida, Spectral Normalization for Generative Adversarial Networks, ICLR 2018.

    >>> from minidl.nn import Affine
    >>> spectral_norm(Affine(4, 2))
    Affine(4, 2; weight_orig (2, 4), bias (2,))
    """
    owner = "spectral_norm"
    weight = _parameter(owner, module, name)
    steps = check.integer(owner, "n_power_iterations", n_power_iterations, 1)
    eps = check.number(owner, "eps", eps, 0.0)
    if weight.ndim < 2:
        raise ValueError(f"{owner}: {name}: expected two axes or more, got shape {weight.shape}")
    dim = int(isinstance(module, ConvTranspose)) if dim is None else _axis(owner, weight, dim)
    return _computed(module, SpectralNorm(name, steps, eps, dim))


def remove_parametrization(module: Module, name: str = "weight") -> Module:
    """Undoes `weight_norm` or `spectral_norm`: the parameter is a Parameter again, with the value that it had last.

    It is the object that was there before, and an optimizer may still hold it. Returns the module.

    Raises:
        ValueError: the module has no such parameter that is computed.
    """
    outside_of_steps("remove_parametrization")
    rules = vars(module).get("_computed", {}) if isinstance(module, Module) else {}
    if not isinstance(name, str) or name not in rules:
        raise ValueError(
            f"remove_parametrization: {type(module).__name__} has no parameter {name!r} that is computed"
        )
    rule = rules[name]
    with no_grad():
        value = rule.value(module, False)
        weight = getattr(module, rule.beneath)
        parts = rule.parts(weight)
    weight.data = value._data
    _replace(module, parts, {name: weight})
    _set_rules(module, {key: rules[key] for key in rules if key != name})
    return module


def _parameter(owner: str, module: Any, name: Any) -> Parameter:
    """The parameter that is to be computed, if it can be."""
    outside_of_steps(owner)
    if not isinstance(module, Module):
        raise TypeError(f"{owner}: module: expected an nn.Module, got {type(module).__name__}")
    if not isinstance(name, str):
        raise TypeError(f"{owner}: name must be a string, got {name!r}")
    if name in vars(module).get("_computed", {}):
        raise ValueError(f"{owner}: {type(module).__name__}.{name} is computed already")
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter) or weight.waits_for_shape:
        why = "whose shape is known" if isinstance(weight, Parameter) else f"{name!r}"
        raise ValueError(f"{owner}: {type(module).__name__} has no parameter {why}")
    return weight


def _axis(owner: str, weight: Parameter, dim: Any) -> int:
    dim = check.integer(owner, "dim", dim)
    if not -weight.ndim <= dim < weight.ndim:
        raise ValueError(f"{owner}: dim {dim} is out of range for a parameter of {weight.shape}")
    return dim % weight.ndim


def _computed(module: Module, rule: WeightNorm | SpectralNorm) -> Module:
    """The module, with a parameter that is computed by a rule."""
    parts = rule.parts(vars(module)[rule.name])
    _replace(module, {rule.name: None}, parts)
    _set_rules(module, vars(module).get("_computed", {}) | {rule.name: rule})
    return module


def _replace(module: Module, old: dict[str, Any], new: dict[str, Any]) -> None:
    """New attributes in the place of old ones: the order of parameters stays."""
    first = next(name for name in vars(module) if name in old)
    items = []
    for name, value in vars(module).items():
        if name == first:
            items += list(new.items())
        if name not in old:
            items.append((name, value))
    vars(module).clear()
    vars(module).update(items)


def _set_rules(module: Module, rules: dict[str, Any]) -> None:
    """The class that computes these parameters, and the rules; of a module without rules, its own class."""
    kind: Any = getattr(type(module), "_plain", type(module))
    module.__class__ = _class_of(kind, tuple(rules)) if rules else kind
    module._computed = rules


@cache
def _class_of(kind: Any, names: tuple[str, ...]) -> type:
    """A subclass whose parameters of these names are computed. It has the same name, as it is the same layer."""
    content: dict[str, Any] = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    content |= {name: _property(name) for name in names}
    content |= {"_plain": kind, "__reduce__": _reduced}
    return type(kind.__name__, (kind,), content)


def _property(name: str) -> property:
    def value(self: Any) -> Tensor:
        return vars(self)["_computed"][name].value(self, self.training)

    def refuse(self: Any, _: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__}.{name} is computed by {vars(self)['_computed'][name].function}: "
            "undo that with nn.remove_parametrization first"
        )

    return property(value, refuse)


def _reduced(self: Any) -> tuple:
    """How it is copied and pickled: the class is made anew."""
    return _empty, (self._plain, tuple(self._computed)), vars(self)


def _empty(kind: type, names: tuple[str, ...]) -> Any:
    return object.__new__(_class_of(kind, names))
