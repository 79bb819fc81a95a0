"""Two spirals: the same small network with each activation function, and the boundary that it finds.

    python examples/short/spirals.py        about 2 seconds; the picture is out/short/spirals.png

Source of the task: Lang & Witbrock, Learning to Tell Two Spirals Apart, 1988.
"""

import numpy as np
import page

import minidl as md
from minidl import functional as F
from minidl import nn, optim

SHOWN = ["Sigmoid", "Tanh", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Softsign"]


def spirals(rng: np.random.Generator, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """x (2 n, 2) in [-1, 1], and which spiral each point is on, 0 or 1."""
    t = np.sqrt(rng.uniform(0.02, 1, (2, n)))  # evenly spread along the spiral
    angle = 3.5 * np.pi * t + np.array([[0], [np.pi]])
    x = np.stack([t * np.cos(angle), t * np.sin(angle)], axis=-1)
    x += rng.normal(0, 0.015, x.shape)
    return x.reshape(-1, 2).astype(np.float32), np.repeat([0, 1], n)


def train(activation: str, steps: int, x: np.ndarray, labels: np.ndarray) -> nn.Sequential:
    layer = nn.LAYERS[activation]
    model = nn.Sequential(nn.Affine(2, 32), layer(), nn.Affine(32, 32), layer(), nn.Affine(32, 2))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    @md.capture
    def train_step(x, labels):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(steps):
        train_step(x, labels)
    return model


def accuracy(model: nn.Sequential, x: np.ndarray, labels: np.ndarray) -> float:
    with md.no_grad():
        return float((model(x).data.argmax(axis=1) == labels).mean())


def draw(models: dict[str, nn.Sequential], x: np.ndarray, labels: np.ndarray, test):
    line = np.linspace(-1.1, 1.1, 150, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    figure = page.figure(10, 5.4)
    for axes, (name, model) in zip(figure.subplots(2, 4).flat, models.items(), strict=True):
        with md.no_grad():
            chance = F.softmax(model(points)).data[:, 1].reshape(150, 150)
        axes.contourf(line, line, chance, 20, cmap="RdBu_r", vmin=-0.3, vmax=1.3)
        axes.scatter(*x.T, c=labels, s=5, cmap="RdBu_r")
        axes.set(title=f"{name}: {accuracy(model, *test):.1%}", xticks=[], yticks=[])
    figure.suptitle("Accuracy on points that were not trained on, and the boundary")
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=1500)
    rng = np.random.default_rng(args.seed)
    train_points, test_points = spirals(rng), spirals(rng, 1000)
    models = {}
    for name in SHOWN:
        md.manual_seed(args.seed)
        models[name] = train(name, args.steps, *train_points)
        print(f"{name:10} {accuracy(models[name], *test_points):.1%}")
    page.save(draw(models, *train_points, test_points), args.out, "spirals")
