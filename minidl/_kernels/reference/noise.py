"""The NumPy definitions of the kernels that draw random numbers."""

from __future__ import annotations

import math

import numpy as np

LANES = 16  # counters side by side in a block, which serves 4 LANES elements
ROTATIONS = ((10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20))


def _threefry(counter, key, rounds=13):
    """Threefry-4x32 (Salmon et al., SC 2011): 4 words from 4 words, each of which may be a uint32 array."""
    ks = [np.uint32(k) for k in key]
    ks.append(ks[0] ^ ks[1] ^ ks[2] ^ ks[3] ^ np.uint32(0x1BD11BDA))
    x = [np.array(c, np.uint32, ndmin=1) for c in counter]

    def add_key(time):
        for i in range(4):
            x[i] = x[i] + ks[(time + i) % 5]
        x[3] = x[3] + np.uint32(time)

    def mix(a, b, turn):
        x[a] = x[a] + x[b]
        x[b] = (x[b] << np.uint32(turn) | x[b] >> np.uint32(32 - turn)) ^ x[a]

    add_key(0)
    for r in range(rounds):
        first, second = ROTATIONS[r % 8]
        mix(0, 1 if r % 2 == 0 else 3, first)
        mix(2, 3 if r % 2 == 0 else 1, second)
        if r % 4 == 3:
            add_key(r // 4 + 1)
    return x


def standard_normal(y, key):
    """Box and Muller: elements i and i + 2 LANES of a draw are the coordinates of one point."""
    draws = -(-y.size // (4 * LANES))
    high, low = (_words(4 * LANES * draws, key, k).reshape(draws, 2, 2 * LANES) for k in (0, 1))
    u = (high[:, 0] // 2 * 2.0**22 + low[:, 0] // 2**10 + 0.5) * 2.0**-53
    octant = high[:, 1] >> np.uint32(29)
    angle = (high[:, 1] % 2**29 * 2.0**26 + low[:, 1] // 2**6 + 0.5) * 2.0**-55 * (math.pi / 4)
    point = np.where(octant & 4, [np.sin(angle), np.cos(angle)], [np.cos(angle), np.sin(angle)])
    signs = 1.0 - np.stack([octant & 2, 2 * (octant & 1)])
    z = (np.sqrt(-2 * np.log(u)) * point * signs).transpose(1, 0, 2)
    y[...] = z.reshape(-1)[: y.size].reshape(y.shape)
    return y


def random_words(given):
    first, *others = given[:4].tolist()
    lanes = np.arange(first, first + LANES, dtype=np.uint64).astype(np.uint32)  # modulo 2^32
    words = _threefry((lanes, *others), given[4:])
    return np.stack([np.broadcast_to(w, LANES) for w in words])


def _words(size, key, stream):
    """One word an element, from one stream of counters."""
    blocks = -(-size // (4 * LANES))
    counters = np.arange(blocks * LANES, dtype=np.uint64)
    low, high = counters.astype(np.uint32), (counters >> np.uint64(32)).astype(np.uint32)
    words = _threefry((low, high, stream, 0), (key & 0xFFFFFFFF, key >> 32, 0, 0))
    return np.stack(words).reshape(4, blocks, LANES).transpose(1, 0, 2).reshape(-1)[:size]


def _uniform(size, key, dtype):
    high = _words(size, key, 0)
    if dtype == np.float32:
        return (high >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    low = _words(size, key, 1)
    return ((high >> np.uint32(5)) * 67108864.0 + (low >> np.uint32(6))) * 2.0**-53


def rrelu_forward(x, lower, upper, key, keep=True, out=None):
    u = _uniform(x.size, key, x.dtype).reshape(x.shape)
    slope = np.minimum(x.dtype.type(lower) + x.dtype.type(upper - lower) * u, x.dtype.type(upper))
    factor = np.where(x <= 0, slope, np.where(x > 0, x.dtype.type(1), x))  # NaN where x is
    y = noise_backward(factor, x)
    if out is not None:
        out[...] = y
        y = out
    return y, factor if keep else None


def dropout_forward(x, p, key, keep=True):
    if not 0 < p <= 1:
        raise ValueError(f"dropout: expected p in (0, 1], got {p}")
    kept = _words(x.size, key, 0) > np.uint32(math.ceil(p * 2**32) - 1)
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)
    factor = np.where(kept, scale, x.dtype.type(0)).reshape(x.shape)
    return noise_backward(factor, x), factor if keep else None


def noise_backward(factor, gy):
    with np.errstate(all="ignore"):
        return np.where(factor != 0, gy * factor, factor)
