"""Pictures of docs/concepts/exp_log_tanh.md."""

import numpy as np
import svg

f = np.float32
SOURCE = np.array([0.5, 1.6666543e-01, 4.166686e-02, 8.366677e-03, 1.3898407e-03])


def polynomials() -> svg.Picture:
    """Relative errors for exp(r) = 1 + r + r² q(r)."""
    half = np.log(2) / 2
    nodes = half * np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    columns = np.stack([nodes ** (2 + j) for j in range(5)], axis=1)
    fitted = np.linalg.lstsq(columns, np.expm1(nodes) - nodes, rcond=None)[0]
    taylor = np.array([1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720])
    r = np.linspace(-half, half, 121)
    lines = {}
    for name, q in (("Taylor", taylor), ("fitted", fitted), ("minidl's", SOURCE)):
        value = 1 + r + r * r * np.polynomial.polynomial.polyval(r, q)
        lines[name] = (r, (value / np.exp(r) - 1) * 1e9)
    return svg.plot(
        lines,
        "r",
        "relative error · 10⁹",
        "exp(r) with q of degree 4",
        ylim=(-20, 15),
        size=(460, 340),
    )


def reductions() -> svg.Picture:
    """Errors in ulp of exp, with ln 2 in one part and in two: the largest of each of 40 stretches."""
    rounder = f(1.5 * 2**23)
    x = np.linspace(-80, 80, 40 * 500).astype(f)
    exact = np.exp(x.astype(np.float64))
    lines = {}
    for name, parts in (
        ("ln 2 in one part", [f(np.log(2))]),
        ("in two parts", [f(0.693145751953125), f(1.42860682e-06)]),
    ):
        k = (x * f(1.4426950408889634) + rounder) - rounder
        r = x
        for part in parts:
            r = r - k * part
        c = SOURCE.astype(f)
        q = (((c[4] * r + c[3]) * r + c[2]) * r + c[1]) * r + c[0]
        y = (f(1) + (r + r * r * q)) * np.ldexp(f(1), k.astype(int))
        error = abs(y - exact) / np.spacing(exact.astype(f))
        lines[name] = (x[250::500], error.reshape(40, 500).max(axis=1))
    return svg.plot(
        lines, "x", "largest error in ulp", "exp(x) in float32", logy=True, size=(460, 340)
    )


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/exp": svg.beside(polynomials(), reductions())}
