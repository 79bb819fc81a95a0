"""The NumPy definitions of the optimizer kernels."""

from __future__ import annotations

from operator import setitem

import numpy as np

from minidl.atomic import at_once, starmap

__all__ = ["adam_step", "clip_norm", "first_misfit", "sgd_step"]


def sgd_step(groups):
    changes = []
    for params, grads, moments, counts, lrs, decays, momentum, nesterov in groups:
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            d = g + decays[k] * p
            if moments is not None:
                m = momentum * moments[k] + d
                d = d + momentum * m if nesterov else m
                changes.append((moments[k], ..., m))
            changes += [(p, ..., p - lrs[k] * d), (counts[k], ..., counts[k] + 1)]
    at_once(starmap(setitem, changes))


def adam_step(groups):
    changes = []
    for *lists, beta1, beta2, eps, decoupled in groups:
        if not lists[0]:
            continue  # no parameters, and so no lists of their moments
        for p, g, m, v, count, lr, decay in zip(*lists, strict=True):
            t = int(count) + 1
            d = g if decoupled else g + decay * p
            new_m = m + (1 - beta1) * (d - m)
            new_v = beta2 * v + (1 - beta2) * d * d
            root = np.sqrt(new_v) / (1 - beta2**t) ** 0.5
            new_p = p * (1 - lr * decay) if decoupled else p
            new_p = new_p - lr / (1 - beta1**t) * new_m / (root + eps)
            changes += [(p, ..., new_p), (m, ..., new_m), (v, ..., new_v), (count, ..., t)]
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
