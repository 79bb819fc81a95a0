"""A physics-informed network finds a solitary wave: it is trained on an equation, not on data.

    python examples/short/physics.py        about 8 seconds; the picture is out/short/physics.png

u(x, t) is a network, and the Korteweg-de Vries equation of waves in shallow water

    ∂u/∂t + 6 u ∂u/∂x + ∂³u/∂x³ = 0

is its loss, at random points, beside the wave at t = 0. The loss has third derivatives of the network, and its gradient
fourth ones. The exact solution is a wave that keeps its shape: u = c/2 sech²(½ √c (x - c t)).

Source: Raissi, Perdikaris & Karniadakis, Physics-Informed Neural Networks, 2019.
"""

import math

import numpy as np
import page

import minidl as md
from minidl import nn, optim

SPEED, LEFT, RIGHT, END = 1.0, -8.0, 8.0, 3.0
POINTS, AT_START = 512, 128


def exact(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return SPEED / 2 / np.cosh(math.sqrt(SPEED) / 2 * (x - SPEED * t)) ** 2


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Affine(2, 32),
        nn.Tanh(),
        nn.Affine(32, 32),
        nn.Tanh(),
        nn.Affine(32, 32),
        nn.Tanh(),
        nn.Affine(32, 1),
    )


def point(array: np.ndarray) -> md.Tensor:
    return md.Tensor(array, requires_grad=True)


def wave(model: nn.Sequential, x, t):
    return model(md.concatenate([x / RIGHT, t / END], axis=1))


def residual(model: nn.Sequential, x, t):
    """What the left side of the equation is, which should be 0, at points x, t (N, 1)."""
    u = wave(model, x, t)
    u_x, u_t = md.grad(u.sum(), [x, t], create_graph=True)
    u_xx = md.grad(u_x.sum(), x, create_graph=True)
    u_xxx = md.grad(u_xx.sum(), x, create_graph=True)
    return u_t + 6 * u * u_x + u_xxx


def train(steps: int, rng: np.random.Generator) -> nn.Sequential:
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    schedule = optim.CosineLR(optimizer, total=steps)

    @md.capture
    def train_step(x, t, x_start, u_start):
        equation = (residual(model, point(x), point(t)) ** 2).mean()
        start = ((wave(model, md.Tensor(x_start), 0 * md.Tensor(x_start)) - u_start) ** 2).mean()
        loss = equation + 10 * start
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return equation, start

    for step in range(1, steps + 1):
        x = rng.uniform(LEFT, RIGHT, (POINTS, 1)).astype(np.float32)
        t = rng.uniform(0, END, (POINTS, 1)).astype(np.float32)
        x_start = rng.uniform(LEFT, RIGHT, (AT_START, 1)).astype(np.float32)
        equation, start = train_step(x, t, x_start, exact(x_start, np.float32(0)))
        schedule.step()
        if step % 500 == 0:
            print(f"step {step:5}  equation {equation.item():.2e}  start {start.item():.2e}")
    return model


def draw(model: nn.Sequential):
    x = np.linspace(LEFT, RIGHT, 201, dtype=np.float32)[:, None]
    figure = page.figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    for t, colour in ((0, "#56B4E9"), (END / 2, "#0072B2"), (END, "#000080")):
        with md.no_grad():
            u = wave(model, md.Tensor(x), md.Tensor(np.full_like(x, t))).data
        left.plot(x, u, color=colour, label=f"network, t = {t}")
        left.plot(x, exact(x, t), "k:", lw=1.5)
        right.plot(x, u - exact(x, t), color=colour)
    left.set(xlabel="x", ylabel="u", title="the wave; dotted: exact")
    left.legend(fontsize=8)
    right.set(xlabel="x", ylabel="error of u", title="network minus exact")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=4000)
    md.manual_seed(args.seed)
    page.save(draw(train(args.steps, np.random.default_rng(args.seed))), args.out, "physics")
