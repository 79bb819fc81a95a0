"""MAML: a network that learns a new sine curve from ten points, because it was trained to learn quickly.

    python examples/short/maml.py        about 6 seconds; the picture is out/short/maml.png

A task is a sine curve of random amplitude and phase. The inner loop takes one gradient step on ten points of it; the
outer loss is that of the weights after this step, on ten other points. Its gradient goes through the inner step, so it
is a gradient of a gradient. The tasks of a step are computed at once: each has its own copy of the weights, along a
first axis.

Source: Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017.
"""

from itertools import pairwise

import numpy as np
import page

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim

TASKS, POINTS, INNER_LR, SIZES = 25, 10, 0.01, (1, 40, 40, 1)


def initial_weights() -> list[nn.Parameter]:
    """W and b of each layer."""
    weights = []
    for n_in, n_out in pairwise(SIZES):
        W = init.HeNormal()((n_in, n_out), fan=(n_in, n_out))
        weights += [nn.Parameter(W), nn.Parameter(np.zeros((1, n_out), np.float32))]
    return weights


def network(x, weights):
    """x (..., N, 1) -> (..., N, 1)."""
    for i in range(0, len(weights), 2):
        x = x @ weights[i] + weights[i + 1]
        x = F.relu(x) if i + 2 < len(weights) else x
    return x


def adapted(weights, x, y, steps: int = 1, create_graph: bool = False):
    """The weights of each task after `steps` of gradient descent on its own points x, y (tasks, N, 1)."""
    own = [md.broadcast_to(w, (len(x), *w.shape)) for w in weights]
    for _ in range(steps):
        # The mean over the points, the sum over the tasks: no task's weights are in another one's loss.
        loss = ((network(x, own) - y) ** 2).mean(axis=(1, 2)).sum()
        slopes = md.grad(loss, own, create_graph=create_graph)
        own = [w - INNER_LR * g for w, g in zip(own, slopes, strict=True)]
    return own


def tasks(rng: np.random.Generator, n: int):
    """Two sets of points x, y (tasks, n, 1) of each of the TASKS curves."""
    amplitude, phase = rng.uniform(0.1, 5, (TASKS, 1, 1)), rng.uniform(0, np.pi, (TASKS, 1, 1))
    sets = []
    for _ in range(2):
        x = rng.uniform(-5, 5, (TASKS, n, 1))
        sets += [x.astype(np.float32), (amplitude * np.sin(x - phase)).astype(np.float32)]
    return sets


def train(steps: int, rng: np.random.Generator) -> list[nn.Parameter]:
    weights = initial_weights()
    optimizer = optim.Adam(weights, lr=0.001)

    @md.capture
    def train_step(x, y, x_new, y_new):
        own = adapted(weights, x, y, create_graph=True)
        loss = ((network(x_new, own) - y_new) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for step in range(1, steps + 1):
        losses.append(train_step(*tasks(rng, POINTS)).item())
        if step % 1000 == 0:
            print(f"step {step:5}  loss after one inner step {np.mean(losses[-1000:]):.3f}")
    return weights


def draw(weights: list[nn.Parameter], rng: np.random.Generator):
    """Three new curves: the network before it has seen points of them, and after one and ten steps."""
    line = np.linspace(-5, 5, 201, dtype=np.float32)[:, None]
    figure = page.figure(11, 3.6)
    for axes in figure.subplots(1, 3, sharey=True):
        amplitude, phase = rng.uniform(1, 5), rng.uniform(0, np.pi)
        x = rng.uniform(-5, 5, (1, POINTS, 1)).astype(np.float32)
        y = (amplitude * np.sin(x - phase)).astype(np.float32)
        axes.plot(line, amplitude * np.sin(line - phase), "k--", lw=1, label="curve")
        for steps, colour in ((0, "#bbbbbb"), (1, "#56B4E9"), (10, "#0072B2")):
            own = adapted(weights, x, y, steps)
            label = "1 step" if steps == 1 else f"{steps} steps"
            axes.plot(line, network(line, own).data[0], color=colour, label=label)
        axes.scatter(x, y, color="black", s=12, zorder=3, label="ten points")
        axes.set(xlabel="x")
        axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=8)
    figure.suptitle("Curves that the network has not seen, learned from ten points")
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=10000)
    md.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    page.save(draw(train(args.steps, rng), rng), args.out, "maml")
