"""The NumPy definitions of pooling.pyx: window after window, all images and channels at once."""

from __future__ import annotations

import itertools
import math

import numpy as np

from minidl._kernels.reference.conv import _channels_last

LIMIT = 2**31 - 1


def max_pool_forward(x, kernel, stride, padding):
    return max_pool_gather(x, max_pool_places(x, kernel, stride, padding))


def max_pool_places(x, kernel, stride, padding):
    out = _result_size("max_pool", x.shape[2:], kernel, stride, padding)
    index = _like(x, out, np.int32)
    numbers = np.arange(np.prod(x.shape[2:], dtype=int), dtype=np.int32).reshape(x.shape[2:])
    for at, window in _windows(x.shape[2:], out, kernel, stride, padding):
        values = x[..., *window].reshape(*x.shape[:2], numbers[window].size)
        best = values.argmax(axis=2)  # the first NaN, or the first maximum
        index[..., *at] = numbers[window].reshape(-1)[best]
    return index


def max_pool_backward(x, gy, kernel, stride, padding):
    return max_pool_scatter(gy, max_pool_places(x, kernel, stride, padding), x.shape[2:])


def max_pool_scatter(gy, index, size):
    gx = _like(gy, size, gy.dtype)
    n, c = np.ogrid[: gy.shape[0], : gy.shape[1]]
    places = np.unravel_index(index, size)
    lead = (n.reshape(-1, 1, *[1] * len(size)), c.reshape(1, -1, *[1] * len(size)))
    np.add.at(gx, (*lead, *places), gy)
    return gx


def max_pool_gather(x, index):
    flat = index.reshape(*index.shape[:2], int(np.prod(index.shape[2:])))
    places = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))
    y = _like(x, index.shape[2:], x.dtype)
    y[...] = np.take_along_axis(places, flat, 2).reshape(index.shape)
    return y


def avg_pool_forward(x, kernel, stride, padding):
    out = _result_size("avg_pool", x.shape[2:], kernel, stride, padding)
    y, axes = _like(x, out, x.dtype), tuple(range(2, x.ndim))
    for at, window in _windows(x.shape[2:], out, kernel, stride, padding):
        y[..., *at] = x[..., *window].sum(axis=axes) / math.prod(kernel)
    return y


def avg_pool_backward(gy, size, kernel, stride, padding):
    gx = _like(gy, size, gy.dtype)
    for at, window in _windows(size, gy.shape[2:], kernel, stride, padding):
        share = gy[..., *at] / math.prod(kernel)
        gx[..., *window] += share.reshape(*gy.shape[:2], *(1,) * len(size))
    return gx


def _like(x, size, dtype):
    """Zeros in x's layout, with other places."""
    y = np.zeros((*x.shape[:2], *size), dtype)
    return (
        y
        if x.flags.c_contiguous or not np.moveaxis(x, 1, -1).flags.c_contiguous
        else _channels_last(y)
    )


def _result_size(name, size, kernel, stride, padding):
    for n, k, s, p in zip(size, kernel, stride, padding, strict=True):
        if not 1 <= k <= LIMIT or not 1 <= s <= LIMIT or p < 0 or 2 * p > k or n + 2 * p < k:
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
