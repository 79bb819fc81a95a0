"""Every loss over the whole range of numbers against mpmath: value, gradient and second derivative, in ulp.

An error is counted in ulp of the true value, or of the largest term of the sum that it is. Where the terms have one
sign, as in every loss with a target from 0 to 1, that is the value's own ulp or nearly so.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from minidl import Tensor
from minidl import functional as F
from minidl.autograd.engine import grad

mp = pytest.importorskip("mpmath")
INF = float("inf")
DTYPES = ["float32", "float64"]
MANTISSA = {"float32": 24, "float64": 53}
LEAST = {"float32": -149, "float64": -1074}
DELTA = 0.75
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(40):
        yield


class Truth(NamedTuple):
    """The loss of x and t, its slope and its curvature by x, each as the terms of a sum."""

    loss: Callable
    value: Callable
    slope: Callable
    curvature: Callable


def rare(x):
    """sigmoid(-|x|)."""
    return mp.exp(-abs(x)) / (1 + mp.exp(-abs(x)))


def spread(p):
    return max(p * (1 - p), mp.mpf("1e-12"))


DISTANCES = {
    "mse_loss": Truth(
        F.mse_loss, lambda x, t: [(x - t) ** 2], lambda x, t: [2 * (x - t)], lambda x, t: [2]
    ),
    "l1_loss": Truth(
        F.l1_loss, lambda x, t: [abs(x - t)], lambda x, t: [mp.sign(x - t)], lambda x, t: [0]
    ),
    "huber_loss": Truth(
        lambda x, t, how="mean": F.huber_loss(x, t, how, DELTA),
        lambda x, t: [
            (x - t) ** 2 / 2 if abs(x - t) <= DELTA else DELTA * (abs(x - t) - DELTA / 2)
        ],
        lambda x, t: [max(-DELTA, min(x - t, DELTA))],
        lambda x, t: [int(abs(x - t) <= DELTA)],
    ),
}
LOGITS = Truth(
    F.binary_cross_entropy_with_logits,
    lambda x, t: [(1 - t if x > 0 else t) * abs(x), mp.log1p(mp.exp(-abs(x)))],
    lambda x, t: [1 - t, -rare(x)] if x > 0 else [rare(x), -t],
    lambda x, t: [rare(x) * (1 - rare(x))],
)
PROBABILITIES = Truth(
    F.binary_cross_entropy,
    lambda p, t: [
        -t * max(mp.log(p), -100) if p else t * 100,
        (t - 1) * max(mp.log1p(-p), -100) if p < 1 else (1 - t) * 100,
    ],
    lambda p, t: [(p - t) / spread(p)],
    lambda p, t: [(1 - t) / (1 - p) ** 2, t / p**2] if p * (1 - p) > 1e-12 else [mp.mpf("1e12")],
)


def ulps(y: float, terms: list, dtype: str) -> float:
    true = mp.fsum(terms)
    largest = max(abs(mp.mpf(term)) for term in [true, *terms])
    top = float(np.finfo(dtype).max)
    if abs(true) > top:
        return 0.0 if y * float(mp.sign(true)) in (INF, top) else INF
    exponent = mp.frexp(largest)[1] - MANTISSA[dtype] if largest else LEAST[dtype]
    ulp = mp.mpf(2) ** max(exponent, LEAST[dtype])
    return float(abs(mp.mpf(float(y)) - true) / ulp) if np.isfinite(y) else INF


def numbers(dtype: str, count: int = 25) -> np.ndarray:
    """Finite numbers of both signs: the ends of the range, of everyday size, and any pattern of bits."""
    rng, info = np.random.default_rng(5), np.finfo(dtype)
    ends = [0, info.smallest_subnormal, info.tiny, info.eps, 1 - info.eps, 1, info.max]
    usual = [1e-3, 0.1, 0.5, 3, 10, 16, 17, 40, 88, 100, 104, 700, 745, 1e4, 1e30]
    bits = np.dtype(f"uint{info.bits}")
    random = rng.integers(0, 2**info.bits - 1, count, bits, endpoint=True).view(dtype)
    random = np.concatenate([random, np.exp(rng.uniform(-6, 5, count)).astype(dtype)])
    x = np.concatenate([np.array(ends + usual, dtype), random[np.isfinite(random)]])
    return np.concatenate([x, -x])


def probabilities(dtype: str) -> np.ndarray:
    """Numbers from 0 to 1, at both ends as dense as they are."""
    x = np.abs(numbers(dtype))
    x = x[(x <= 1) & ((x < 0.5e-12) | (x > 2e-12))]  # (not where a rounding decides the limit)
    return np.unique(np.concatenate([x, 1 - x, 1 - np.finfo(dtype).eps * np.arange(4)]))


def derivatives(loss: Callable, x: np.ndarray, t: np.ndarray) -> list[np.ndarray]:
    """Value, gradient of a plain backward, gradient that has one itself, second derivative."""
    plain, kept = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    y = loss(plain, t, "none")
    y.sum().backward()
    first = grad(loss(kept, t, "none").sum(), kept, create_graph=True)
    second = grad(first.sum(), kept).data if first.requires_grad else np.zeros_like(x)
    return [y.data, plain.grad.data, first.data, second]


def hold(truth: Truth, x: np.ndarray, targets: list, dtype: str, bounds: list) -> None:
    names = "value", "gradient", "recorded gradient", "second derivative"
    exact = [cache(truth.value), *[cache(truth.slope)] * 2, cache(truth.curvature)]
    for target in targets:
        t = np.broadcast_to(np.asarray(target, dtype), x.shape).copy()
        found = derivatives(truth.loss, x, t)
        for name, y, terms, bound in zip(names, found, exact, bounds, strict=True):
            for x_i, t_i, y_i in zip(x, t, y, strict=True):
                error = ulps(y_i, terms(mp.mpf(float(x_i)), mp.mpf(float(t_i))), dtype)
                assert error <= bound, f"{name} of {x_i!r}, {t_i!r}: {y_i!r} is {error:.3g} ulp off"


@pytest.mark.parametrize("name", DISTANCES)
@every_dtype
def test_distances(name, dtype, level):
    x = numbers(dtype)
    hold(DISTANCES[name], x, [0, 1, -2.5, x[::-1], x], dtype, [2, 2, 2, 2])


@every_dtype
def test_binary_cross_entropy_with_logits(dtype, level):
    hold(LOGITS, numbers(dtype), [0, 1, 0.25, 1e-3, 1.5, -0.5], dtype, [3, 4, 4, 6])


@every_dtype
def test_binary_cross_entropy(dtype, level):
    # A gradient that is recorded is the difference (1 - t) / (1 - p) - t / p.
    p = probabilities(dtype)
    hold(PROBABILITIES, p, [0, 1], dtype, [3, 3, 3, 5])
    hold(PROBABILITIES, p, [0.25, 1e-3], dtype, [3, 3, INF, 5])


def test_what_the_issue_reported(level):
    loss = lambda x: F.binary_cross_entropy_with_logits(np.float32(x), np.float32(1)).item()  # noqa: E731
    np.testing.assert_allclose(
        [loss(10), loss(16), loss(40)], np.log1p(np.exp([-10.0, -16, -40])), rtol=3e-7
    )
    scores, target = np.array([[-INF, 0]], "float32"), np.array([[0, 1]], "float32")
    assert F.cross_entropy(scores, target).item() == 0


# ── Infinities, and what overflows on the way ────────────────────────────────────────────────────────────────────────


@every_dtype
def test_infinite_logits(dtype, level):
    x, t = np.array([INF, INF, INF, -INF, -INF, -INF], dtype), np.array([0, 1, 0.5] * 2, dtype)
    y, plain, recorded, second = derivatives(F.binary_cross_entropy_with_logits, x, t)
    np.testing.assert_array_equal(y, [INF, 0, INF, 0, INF, INF])
    for gx in (plain, recorded):
        np.testing.assert_array_equal(gx, [1, 0, 0.5, 0, -1, -0.5])
    np.testing.assert_array_equal(second, np.zeros(6))


@every_dtype
def test_infinite_distances(dtype, level):
    x, t = np.array([INF, -INF, 1, INF], dtype), np.array([0, 0, INF, INF], dtype)
    for loss, slope in ((F.mse_loss, INF), (F.l1_loss, 1), (F.huber_loss, 1)):
        y, gx, recorded, _ = derivatives(loss, x, t)
        np.testing.assert_array_equal(y, [INF, INF, INF, np.nan])
        for g in (gx, recorded):
            np.testing.assert_array_equal(g, [slope, -slope, -slope, np.nan])


@every_dtype
def test_a_mean_of_finite_losses_is_finite(dtype, level):
    top = np.finfo(dtype).max / 2
    x, zero = np.full(1000, top, dtype), np.zeros(1000, dtype)
    np.testing.assert_allclose(F.l1_loss(x, zero).item(), top, rtol=1e-6)
    assert F.l1_loss(x, zero, "sum").item() == INF
    np.testing.assert_allclose(F.huber_loss(x, zero).item(), top, rtol=1e-6)
    np.testing.assert_allclose(
        F.mse_loss(np.sqrt(x), zero).item(), top, rtol=4 * np.finfo(dtype).eps
    )
    np.testing.assert_allclose(F.binary_cross_entropy_with_logits(x, zero).item(), top, rtol=1e-6)
    scores = np.stack([x, zero], 1)
    np.testing.assert_allclose(F.cross_entropy(scores, np.ones(1000, int)).item(), top, rtol=1e-6)
    for loss in (F.mse_loss, lambda *args: F.mse_loss(*args) * 1.0):
        t = Tensor(x, requires_grad=True)
        loss(t, zero).backward()
        np.testing.assert_allclose(t.grad.data, top / 500, rtol=1e-6)


# ── Classes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Row(NamedTuple):
    """Scores, their probabilities p and -log p; `bound`: ulp allowed.

    x - max is rounded to half an ulp. That is as if each score were, and no probability can tell more.
    """

    x: np.ndarray
    p: list
    surprise: list
    bound: float


@cache
def rows(dtype: str) -> list[Row]:
    """Of 1 to 40 scores: alike, far apart, infinite, at the ends of the range."""
    rng, top = np.random.default_rng(6), np.finfo(dtype).max
    xs = [rng.standard_normal(n) * size for n in (2, 3, 10, 16, 17, 40) for size in (1e-3, 1, 30)]
    xs += [0.01 * rng.standard_normal(n) + 25 * (np.arange(n) == n // 2) for n in (2, 10, 16, 33)]
    xs += [[7.0], [20, 0], [0, 20, 0], [1, 1], [5, 5, -90], [0, -100], [0, -104, -800]]
    xs += [[-INF, 0], [-INF, 0, 1, -INF], [top, 0], [-top, 0], [top, -top], [top, top, -top]]
    return [exact_row(np.array(x, dtype)) for x in xs]


def exact_row(x: np.ndarray) -> Row:
    v = [mp.mpf(float(score)) for score in x]
    top = v.index(max(v))
    e = [mp.exp(score - v[top]) for score in v]
    rest = mp.fsum(e[:top] + e[top + 1 :])
    apart = float(v[top]) - min(float(score) for score in x if np.isfinite(score))
    surprise = [v[top] - score + mp.log1p(rest) for score in v]
    return Row(x, [q / (1 + rest) for q in e], surprise, 8 + min(apart, 800))


def class_derivatives(x: np.ndarray, targets: np.ndarray, dtype: str) -> list[np.ndarray]:
    """As `derivatives`, for all targets of one row; the second is that of Σ i gx[i]."""
    many = np.repeat(x[None], len(targets), 0)
    plain, kept = Tensor(many, requires_grad=True), Tensor(many, requires_grad=True)
    y = F.cross_entropy(plain, targets, "none")
    y.sum().backward()
    first = grad(F.cross_entropy(kept, targets, "none").sum(), kept, create_graph=True)
    second = grad((first * np.arange(len(x), dtype=dtype)).sum(), kept).data
    return [y.data, plain.grad.data, first.data, second]


@every_dtype
def test_cross_entropy(dtype, level):
    for x, p, surprise, bound in rows(dtype):
        mean = mp.fsum(i * q for i, q in enumerate(p))
        curvature = np.array([float(q * (i - mean)) for i, q in enumerate(p)])
        targets = np.unique([0, len(x) // 2, len(x) - 1])
        y, *slopes, second = class_derivatives(x, targets, dtype)
        for k, t in enumerate(targets):
            assert ulps(y[k], [surprise[t]], dtype) <= bound, f"{x}, {t}: {y[k]}"
            for i, q in enumerate(p):
                true = -mp.fsum(p[:t] + p[t + 1 :]) if i == t else q
                for gx in slopes:
                    assert ulps(gx[k, i], [true], dtype) <= bound, f"{x}, {t}: {i}: {gx[k, i]}"
            allowed = 4 * bound * len(x) * np.finfo(dtype).eps
            np.testing.assert_allclose(second[k], curvature, rtol=0, atol=allowed)


@every_dtype
def test_cross_entropy_of_probabilities(dtype, level):
    """A target of 0 adds nothing, whatever its logarithm; the gradient is right to ulps of p and t."""
    rng = np.random.default_rng(8)
    for x, p, surprise, bound in rows(dtype):
        soft = rng.dirichlet(np.ones(len(x))) * (np.abs(x) < 1e30)
        targets = np.stack([*np.eye(len(x))[[0, len(x) // 2, len(x) - 1]], soft]).astype(dtype)
        y, *slopes, second = class_derivatives(x, targets, dtype)
        assert np.isfinite(second).all()
        for k, t in enumerate(targets):
            exact = [mp.mpf(float(w)) for w in t]
            terms = [w * v for w, v in zip(exact, surprise, strict=True) if w] or [0]
            assert ulps(y[k], terms, dtype) <= bound, f"{x}, {t}: {y[k]}"
            for i, (q, w) in enumerate(zip(p, exact, strict=True)):
                for gx in slopes:
                    error = ulps(gx[k, i], [q * mp.fsum(exact), -w], dtype)
                    assert error <= bound, f"{x}, {t}: {i}: {gx[k, i]}"


@every_dtype
def test_log_softmax_and_nll_loss(dtype, level):
    for x, _, surprise, bound in rows(dtype):
        log_p = F.log_softmax(x[None])
        for t, v in enumerate(surprise):
            y = F.nll_loss(log_p, [t]).item()
            assert y == -log_p.data[0, t]
            assert ulps(y, [v], dtype) <= bound, f"{x}, {t}: {y}"


def test_the_meter_sees_five_ulp():
    y = np.float32(1) + 5 * np.finfo("float32").eps
    assert ulps(y, [1], "float32") == 5 and ulps(INF, [1], "float32") == INF
