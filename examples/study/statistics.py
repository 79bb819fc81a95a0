"""Paired comparisons over seeds, in a few lines each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """Differences a - b of n pairs.

    Attributes:
        mean, std: of the differences.
        low, high: the 95% confidence interval of their mean.
        p: of the paired t-test, two-sided. If all differences are equal (accuracies are counts of
            images, so this happens), there is no variance for a t-test, and p is `exact`.
        exact: p of the sign-flip permutation test, two-sided; it cannot be below 2 / 2^n.
        effect: Cohen's d of paired samples, mean / std.
    """

    mean: float
    std: float
    low: float
    high: float
    p: float
    exact: float
    effect: float
    n: int

    def __neg__(self) -> Comparison:
        """The comparison of b with a."""
        return replace(self, mean=-self.mean, low=-self.high, high=-self.low, effect=-self.effect)


def paired(a: Sequence[float], b: Sequence[float]) -> Comparison:
    """Compares a and b pair by pair: a[i] and b[i] had the same seed."""
    d = np.subtract(a, b)
    n, mean = len(d), float(np.mean(d))
    if n < 2:
        return Comparison(mean, math.nan, math.nan, math.nan, math.nan, 1.0, math.nan, n)
    std = float(np.std(d, ddof=1))
    error = std / math.sqrt(n)
    exact = sign_flip(d)
    if error <= 1e-9 * abs(mean):
        p, effect = exact, math.copysign(math.inf, mean) if mean else 0.0
    else:
        p, effect = 2 * t_tail(abs(mean / error), n - 1), mean / std
    half = t_quantile(0.975, n - 1) * error
    return Comparison(mean, std, mean - half, mean + half, p, exact, effect, n)


def t_tail(t: float, df: int) -> float:
    """P(T > t) for Student's t with df degrees of freedom, t >= 0 (Abramowitz & Stegun, 26.7.3-4)."""
    angle = math.atan2(t, math.sqrt(df))
    sin, cos2 = math.sin(angle), math.cos(angle) ** 2
    term, total = 1.0, 0.0
    for k in range(df % 2 + 1, df, 2):  # 1 + 1/2 cos² + 1·3/(2·4) cos⁴ ..., or with 2/3, 2·4/(3·5)
        total += term
        term *= cos2 * k / (k + 1)
    if df % 2 == 0:
        inside = sin * total
    else:
        inside = 2 / math.pi * (angle + sin * math.cos(angle) * total)
    return (1 - inside) / 2


def t_quantile(share: float, df: int) -> float:
    """The t with P(T < t) = share, for a share of at least one half."""
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - t_tail(middle, df) < share else (low, middle)
    return low


def sign_flip(d: Sequence[float]) -> float:
    """The share of all 2^n choices of signs that bring the sum of the differences at least as far from 0."""
    d = np.asarray(d, float)
    if len(d) > 16:
        return math.nan  # too many to try
    sums = np.abs(np.array(list(product((-1, 1), repeat=len(d)))) @ d)
    return float(np.mean(sums >= abs(d.sum()) * (1 - 1e-12)))


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for the number of tests (Holm 1979); NaN stays NaN and is not counted."""
    adjusted = [math.nan] * len(ps)
    order = sorted((i for i, p in enumerate(ps) if not math.isnan(p)), key=lambda i: ps[i])
    least = 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * ps[i]))
        adjusted[i] = least
    return adjusted
