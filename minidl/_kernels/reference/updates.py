"""The NumPy definitions of the optimizer kernels."""

from __future__ import annotations

from operator import setitem

import numpy as np

from minidl.atomic import at_once, starmap

__all__ = [
    "adadelta_step",
    "adagrad_step",
    "adam_step",
    "clip_norm",
    "ema_step",
    "first_misfit",
    "nadam_step",
    "rmsprop_step",
    "sgd_step",
]


def _each(groups, most):
    """(p, g, *moments, count, lr, decay, settings) of each parameter; None for moments that are not needed."""
    for group in groups:
        lists, settings = group[: most + 5], group[most + 5 :]
        for k in range(len(lists[0])):
            yield *[values and values[k] for values in lists], settings


def sgd_step(groups):
    changes = []
    for p, g, m, count, lr, decay, settings in _each(groups, 1):
        momentum, nesterov, dampening = settings
        d = g + decay * p
        if m is not None:
            new_m = momentum * m + (d * (1 - dampening) if count else d)
            d = d + momentum * new_m if nesterov else new_m
            changes.append((m, ..., new_m))
        changes += [(p, ..., p - lr * d), (count, ..., count + 1)]
    at_once(starmap(setitem, changes))


def adam_step(groups):
    changes = []
    for p, g, m, v, greatest, count, lr, decay, settings in _each(groups, 3):
        beta1, beta2, eps, decoupled = settings
        t = int(count) + 1
        d = g if decoupled else g + decay * p
        new_m = m + (1 - beta1) * (d - m)
        new_v = beta2 * v + (1 - beta2) * d * d
        divisor = new_v if greatest is None else np.maximum(greatest, new_v)
        root = np.sqrt(divisor) / (1 - beta2**t) ** 0.5
        new_p = p * (1 - lr * decay) if decoupled else p
        new_p = new_p - lr / (1 - beta1**t) * new_m / (root + eps)
        changes += [(p, ..., new_p), (m, ..., new_m), (v, ..., new_v), (count, ..., t)]
        if greatest is not None:
            changes.append((greatest, ..., divisor))
    at_once(starmap(setitem, changes))


def nadam_step(groups):
    changes = []
    for p, g, m, v, count, lr, decay, settings in _each(groups, 2):
        beta1, beta2, eps, decoupled, momentum_decay = settings
        t = int(count) + 1
        mu = beta1 * (
            1 - 0.5 * 0.96 ** (momentum_decay * np.arange(1, t + 2))
        )  # of steps 1 to t + 1
        d = g if decoupled else g + decay * p
        new_m = m + (1 - beta1) * (d - m)
        new_v = beta2 * v + (1 - beta2) * d * d
        now = float(lr * (1 - mu[-2]) / (1 - mu[:-1].prod()))
        ahead = float(lr * mu[-1] / (1 - mu.prod()))
        new_p = p * (1 - lr * decay) if decoupled else p
        new_p = new_p - (now * d + ahead * new_m) / (np.sqrt(new_v) / (1 - beta2**t) ** 0.5 + eps)
        changes += [(p, ..., new_p), (m, ..., new_m), (v, ..., new_v), (count, ..., t)]
    at_once(starmap(setitem, changes))


def rmsprop_step(groups):
    changes = []
    for p, g, v, m, mean, count, lr, decay, settings in _each(groups, 3):
        alpha, eps, momentum = settings
        d = g + decay * p
        new_v = alpha * v + (1 - alpha) * d * d
        variance = new_v
        if mean is not None:
            new_mean = mean + (1 - alpha) * (d - mean)
            variance = new_v - new_mean * new_mean
            changes.append((mean, ..., new_mean))
        update = d / (np.sqrt(variance) + eps)
        if m is not None:
            update = momentum * m + update
            changes.append((m, ..., update))
        changes += [(p, ..., p - lr * update), (v, ..., new_v), (count, ..., count + 1)]
    at_once(starmap(setitem, changes))


def adagrad_step(groups):
    changes = []
    for p, g, v, count, lr, decay, settings in _each(groups, 1):
        lr_decay, initial, eps = settings
        d = g + decay * p
        new_v = v + d * d
        rate = lr / (1 + int(count) * lr_decay)
        new_p = p - rate * d / (np.sqrt(initial + new_v) + eps)
        changes += [(p, ..., new_p), (v, ..., new_v), (count, ..., count + 1)]
    at_once(starmap(setitem, changes))


def adadelta_step(groups):
    changes = []
    for p, g, v, s, count, lr, decay, settings in _each(groups, 2):
        rho, eps = settings
        d = g + decay * p
        new_v = rho * v + (1 - rho) * d * d
        update = np.sqrt(s + eps) / np.sqrt(new_v + eps) * d
        new_s = rho * s + (1 - rho) * update * update
        changes += [(p, ..., p - lr * update), (v, ..., new_v), (s, ..., new_s)]
        changes.append((count, ..., count + 1))
    at_once(starmap(setitem, changes))


def ema_step(groups):
    changes = []
    for average, weights, count, lr, _, _ in _each(groups, 0):
        changes.append((average, ..., average + lr * (weights - average)))
        changes.append((count, ..., count + 1))
    at_once(starmap(setitem, changes))


def first_misfit(params, grads):
    for k, (p, g) in enumerate(zip(params, grads, strict=True)):
        if not isinstance(g, np.ndarray) or g.shape != p.shape or g.dtype != p.dtype:
            return k
    return -1


def clip_norm(arrays, max_norm):
    norm = np.sqrt(sum([np.square(x, dtype=np.float64).sum() for x in arrays]))
    factor = float(max_norm / (norm + 1e-6))
    clipped = bool(np.isfinite(norm)) and factor < 1
    if clipped:
        at_once(starmap(setitem, [(x, ..., x * factor) for x in arrays]))
    return np.asarray(norm, np.float64), clipped
