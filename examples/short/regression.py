"""Regression: a network learns a curve, and how far off its own answers are, from noisy points.

    python examples/short/regression.py        about 2 seconds; the picture is out/short/regression.png

The network has two outputs for each x: the mean m and the logarithm s of the standard deviation of a normal
distribution. The loss is minus the logarithm of the density of y under it, without the constant:

    (y - m)² / (2 exp(2 s)) + s

Source: Nix & Weigend, Estimating the Mean and Variance of the Target Probability Distribution, 1994.
"""

import numpy as np
import page

import minidl as md
from minidl import nn, optim


def curve(x: np.ndarray) -> np.ndarray:
    return np.sin(2 * x) + 0.3 * x


def points(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """x and y, (n, 1): the noise grows from left to right. There are no points between 0.3 and 1."""
    x = rng.uniform(-3, 3, (4 * n, 1))
    x = x[(x < 0.3) | (x > 1)][:n, None]
    y = curve(x) + rng.normal(size=x.shape) * (0.05 + 0.08 * (x + 3))
    return x.astype(np.float32), y.astype(np.float32)


def train(steps: int, x: np.ndarray, y: np.ndarray) -> nn.Sequential:
    model = nn.Sequential(
        nn.Affine(1, 64), nn.Tanh(), nn.Affine(64, 64), nn.Tanh(), nn.Affine(64, 2)
    )
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    schedule = optim.CosineLR(optimizer, total=steps)

    @md.capture  # the same bits, sooner: from the second call on nothing of this runs in Python
    def train_step(x, y):
        m, s = mean_and_log_deviation(model, x)
        loss = ((y - m) ** 2 / (2 * md.exp(2 * s)) + s).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for step in range(1, steps + 1):
        loss = train_step(x, y)
        schedule.step()
        if step % 500 == 0:
            print(f"step {step:4}  loss {loss.item():.3f}")
    return model


def mean_and_log_deviation(model: nn.Sequential, x) -> tuple[md.Tensor, md.Tensor]:
    out = model(x)
    return out[:, :1], out[:, 1:]


def draw(model: nn.Sequential, x: np.ndarray, y: np.ndarray):
    line = np.linspace(-3.5, 3.5, 301, dtype=np.float32)[:, None]
    with md.no_grad():
        m, s = (part.data[:, 0] for part in mean_and_log_deviation(model, line))
    figure = page.figure(7, 4)
    axes = figure.subplots()
    axes.scatter(x, y, s=6, color="#888888", label="training data")
    axes.plot(line, curve(line), "k--", lw=1, label="true curve")
    axes.plot(line, m, color="#0072B2", label="mean")
    axes.fill_between(
        line[:, 0], m - 2 * np.exp(s), m + 2 * np.exp(s), alpha=0.2, label="± 2 deviations"
    )
    axes.set(xlabel="x", ylabel="y", ylim=(-3, 3.5), title="A mean and a deviation for each x")
    axes.legend(loc="upper left")
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=3000)
    md.manual_seed(args.seed)
    data = points(np.random.default_rng(args.seed))
    page.save(draw(train(args.steps, *data), *data), args.out, "regression")
