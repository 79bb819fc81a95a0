"""The NumPy twins of pooling.pyx: window after window, all images and channels at once."""

from __future__ import annotations

import itertools

import numpy as np


def max_pool_forward(x, kernel, stride, padding):
    out = _result_size("max_pool", x.shape[2:], kernel, stride, padding)
    y, index = np.empty((*x.shape[:2], *out), x.dtype), np.empty((*x.shape[:2], *out), np.int32)
    numbers = np.arange(np.prod(x.shape[2:], dtype=int), dtype=np.int32).reshape(x.shape[2:])
    for at, window in _windows(x.shape[2:], out, kernel, stride, padding):
        count = numbers[window].size
        values = x[..., *window].reshape(*x.shape[:2], count)
        best = values.argmax(axis=2)  # the first NaN, or the first maximum
        y[..., *at] = np.take_along_axis(values, best[..., None], 2)[..., 0]
        index[..., *at] = numbers[window].reshape(-1)[best]
    return y, index


def max_pool_scatter(gy, index, size):
    gx = np.zeros((*gy.shape[:2], int(np.prod(size))), gy.dtype)
    n, c = np.ogrid[: gy.shape[0], : gy.shape[1]]
    flat = index.reshape(*gy.shape[:2], int(np.prod(index.shape[2:])))
    np.add.at(gx, (n[..., None], c[..., None], flat), gy.reshape(flat.shape))
    return gx.reshape(*gy.shape[:2], *size)


def max_pool_gather(x, index):
    flat = index.reshape(*index.shape[:2], int(np.prod(index.shape[2:])))
    places = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))
    return np.take_along_axis(places, flat, 2).reshape(index.shape)


def avg_pool_forward(x, kernel, stride, padding):
    out = _result_size("avg_pool", x.shape[2:], kernel, stride, padding)
    y, axes = np.empty((*x.shape[:2], *out), x.dtype), tuple(range(2, x.ndim))
    for at, window in _windows(x.shape[2:], out, kernel, stride, padding):
        y[..., *at] = x[..., *window].sum(axis=axes) / np.prod(kernel)
    return y


def avg_pool_backward(gy, size, kernel, stride, padding):
    gx = np.zeros((*gy.shape[:2], *size), gy.dtype)
    for at, window in _windows(size, gy.shape[2:], kernel, stride, padding):
        share = gy[..., *at] / np.prod(kernel)
        gx[..., *window] += share.reshape(*gy.shape[:2], *(1,) * len(size))
    return gx


def _result_size(name, size, kernel, stride, padding):
    for n, k, s, p in zip(size, kernel, stride, padding, strict=True):
        if k < 1 or s < 1 or p < 0 or 2 * p > k or n + 2 * p < k:
            raise ValueError(
                f"{name}: a kernel of {k}, stride {s}, padding {p} does not fit {n} places"
            )
    sizes = zip(size, kernel, stride, padding, strict=True)
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)


def _windows(size, out, kernel, stride, padding):
    """(place in the result, slices of the image) for each window, cut off at the borders."""
    for at in itertools.product(*map(range, out)):
        starts = [o * s - p for o, s, p in zip(at, stride, padding, strict=True)]
        yield (
            at,
            tuple(
                slice(max(a, 0), min(a + k, n))
                for a, k, n in zip(starts, kernel, size, strict=True)
            ),
        )
