"""The NumPy definitions of pooling.pyx: one place in the windows after another, all windows at once."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from minidl._kernels.reference.conv import _channels_last

LIMIT = 2**31 - 1


def max_pool_forward(x, kernel, stride, padding):
    return max_pool_places(x, kernel, stride, padding)[0]


def max_pool_places(x, kernel, stride, padding, always=True):
    out = _result_size("max_pool", x.shape[2:], kernel, stride, padding)
    best, index = _like(x, out, x.dtype), _like(x, out, np.int32)
    index -= 1  # none yet
    numbers = np.arange(np.prod(x.shape[2:], dtype=int), dtype=np.int32).reshape(x.shape[2:])
    for windows, pixels in _taps(x.shape[2:], out, kernel, stride, padding):
        value, before = x[..., *pixels], best[..., *windows]
        # The first maximum, or the first NaN, which is neither less than another nor equal to itself.
        better = ~((value <= before) | (before != before)) | (index[..., *windows] < 0)
        np.copyto(before, value, where=better)
        np.copyto(index[..., *windows], numbers[pixels], where=better)
    return best, index


def max_pool_backward(x, gy, kernel, stride, padding):
    return max_pool_scatter(gy, max_pool_places(x, kernel, stride, padding)[1], x.shape[2:])


def max_pool_scatter(gy, index, size):
    gx, images, pixels = _like(gy, size, gy.dtype), math.prod(gy.shape[:2]), math.prod(size)
    places = index.reshape(images, math.prod(index.shape[2:])) + pixels * np.arange(images)[:, None]
    gx[...] = np.bincount(places.reshape(-1), gy.reshape(-1), images * pixels).reshape(gx.shape)
    return gx


def max_pool_gather(x, index):
    flat = index.reshape(*index.shape[:2], int(np.prod(index.shape[2:])))
    places = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))
    y = _like(x, index.shape[2:], x.dtype)
    y[...] = np.take_along_axis(places, flat, 2).reshape(index.shape)
    return y


def avg_pool_forward(x, kernel, stride, padding):
    out = _result_size("avg_pool", x.shape[2:], kernel, stride, padding)
    y = _like(x, out, x.dtype)
    for windows, pixels in _taps(x.shape[2:], out, kernel, stride, padding):
        y[..., *windows] += x[..., *pixels]
    y /= math.prod(kernel)
    return y


def avg_pool_backward(gy, size, kernel, stride, padding):
    gx = _like(gy, size, gy.dtype)
    for windows, pixels in _taps(size, gy.shape[2:], kernel, stride, padding):
        gx[..., *pixels] += gy[..., *windows] / math.prod(kernel)
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


def _taps(size, out, kernel, stride, padding):
    """For each place in a window: slices of the windows in which it lies in the image, and of the pixels that it is."""
    rows = zip(size, out, kernel, stride, padding, strict=True)
    # Of the places of a window far larger than the image, most lie beside it in every window.
    near = [range(max(0, p - s * (o - 1)), min(k, n + p)) for n, o, k, s, p in rows]
    for tap in product(*near):
        windows, pixels = [], []
        for t, n, o, s, p in zip(tap, size, out, stride, padding, strict=True):
            # In window i it is pixel s i + t - p, of 0 to n - 1.
            start = max(0, -((t - p) // s))
            stop = max(start, min(o, (n - 1 + p - t) // s + 1))
            windows.append(slice(start, stop))
            pixels.append(slice(s * start + t - p, max(0, s * (stop - 1) + t - p + 1), s))
        yield tuple(windows), tuple(pixels)
