"""The picture of docs/concepts/floating_point.md."""

import numpy as np
import svg


def error(dtype: type[np.floating], h: float) -> float:
    """The mean relative error of central differences of exp between 1 and 2."""
    x = np.linspace(1, 2, 500).astype(dtype)
    more, less = x + dtype(h), x - dtype(h)
    slope = (np.exp(more) - np.exp(less)) / (more - less)
    return float(np.mean(abs(slope / np.exp(x.astype(np.float64)) - 1)))


def difference() -> svg.Picture:
    steps = 10.0 ** np.arange(-9, 0, 0.25)
    lines = {
        "float32": (steps[18:], [error(np.float32, h) for h in steps[18:]]),
        "float64": (steps, [error(np.float64, h) for h in steps]),
        "h²/6": (steps[12:], steps[12:] ** 2 / 6),
    }
    return svg.plot(
        lines,
        "h",
        "relative error",
        "Left: rounding, ε/h. Right: the series, h²/6",
        logx=True,
        logy=True,
    )


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/difference": difference()}
