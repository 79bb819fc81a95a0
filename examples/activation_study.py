"""Activation functions compared: the same small network learns to read digits with each of them.

    python examples/activation_study.py                5,000 digits that come with minidl: about 15 seconds
    python examples/activation_study.py --data mnist   all 60,000 of MNIST: a few minutes
    python examples/activation_study.py --depth 12     deeper: sigmoid learns nothing
    python examples/activation_study.py --only ReLU GELU --seeds 10

For each activation it prints the accuracy on images that the network was not trained on, how many of the
hidden units are dead, and how long the training took. out/activation_study/comparison.png shows each
function, and below it how its network learned (needs matplotlib).

examples/activation_report.py is the full study: more experiments, statistics, and a page on what was found.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    Figure = None

DATA = {"digits": data.digits, "mnist": data.mnist, "fashion": data.fashion_mnist}
ACTIVATIONS = {
    "linear": nn.Identity,  # none at all: however deep, the network is one linear map
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,  # learns its slope for x < 0
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Mish": nn.Mish,
}
Images = tuple[np.ndarray, np.ndarray]  # pixels (N, 784) and labels (N,)

# ── The network and its training ──────────────────────────────────────────────────────────────────


def network(activation: str, depth: int, units: int) -> nn.Sequential:
    """784 pixels -> hidden layers with the activation -> 10 scores, one per class: the highest wins."""
    layers: list[nn.Module] = []
    for n_in in [784, *[units] * (depth - 1)]:
        layers += [nn.Affine(n_in, units), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Affine(units, 10))


def train(model: nn.Module, images: Images, valid: Images, epochs: int, seed: int) -> list[float]:
    """The accuracy on the validation images after each epoch."""
    loader = data.DataLoader(images, 64, shuffle=True, rng=seed)
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    history = []
    for _ in range(epochs):
        for x, labels in loader:
            loss = F.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        history.append(accuracy(model, valid))
    return history


def accuracy(model: nn.Module, images: Images) -> float:
    x, labels = images
    with md.no_grad():
        return float((model(x).data.argmax(axis=1) == labels).mean())


def dead_units(model: nn.Sequential, x: np.ndarray) -> float:
    """The share of hidden units whose output is above 0 for none of the images x. Such a ReLU unit gets
    no gradient from any of them and no longer learns; a leaky one still does.
    """
    shares, y = [], md.Tensor(x)
    with md.no_grad():
        for layer in list(model)[:-1]:  # the last one gives the scores
            y = layer(y)
            if not isinstance(layer, nn.Affine):
                shares.append((y.data <= 0).all(axis=0).mean())
    return float(np.mean(shares))


# ── The comparison ────────────────────────────────────────────────────────────────────────────────


def compare(args: argparse.Namespace, images: Images, valid: Images) -> dict[str, np.ndarray]:
    """Prints a line per activation; returns the accuracies, (seeds, epochs), of each."""
    curves = {}
    print(f"{'activation':12} {'accuracy (%)':>14} {'dead units (%)':>16} {'seconds':>9}")
    for name in args.only:
        histories, dead, begun = [], [], time.perf_counter()
        for seed in range(args.seeds):
            md.manual_seed(seed)  # the initial weights: with one seed they are the same for all
            model = network(name, args.depth, args.units)
            histories.append(train(model, images, valid, args.epochs, seed))
            dead.append(dead_units(model, valid[0]))
        seconds = (time.perf_counter() - begun) / args.seeds
        curves[name] = np.array(histories)
        final = 100 * curves[name][:, -1]
        spread = f"± {final.std(ddof=1):.2f}" if args.seeds > 1 else ""
        print(
            f"{name:12} {final.mean():7.2f} {spread:6} {100 * np.mean(dead):16.1f} {seconds:9.2f}"
        )
    return curves


def draw(path: Path, curves: dict[str, np.ndarray]) -> None:
    """A column per activation: the function; the accuracy after each epoch, that of the others in grey."""
    figure = Figure(figsize=(1.6 * len(curves) + 0.6, 4.2), layout="constrained")
    tops, bottoms = figure.subplots(2, len(curves), sharey="row", squeeze=False)
    x = np.linspace(-4, 4, 201, dtype=np.float32)[:, None]
    means = {name: 100 * curve.mean(axis=0) for name, curve in curves.items()}
    for name, top, bottom in zip(curves, tops, bottoms, strict=True):
        top.plot(x, ACTIVATIONS[name]()(x).data, color="black")
        top.set(title=name, xticks=[-4, 0, 4], ylim=(-1.5, 4.2))
        top.grid(alpha=0.4)
        epochs = range(1, len(means[name]) + 1)
        for mean in means.values():
            bottom.plot(epochs, mean, color="#d0d0d0", lw=0.8)
        bottom.plot(epochs, means[name], color="#0072B2")
        bottom.set(xlabel="epoch")
        bottom.grid(alpha=0.4)
    tops[0].set_ylabel("y")
    bottoms[0].set_ylabel("validation accuracy (%)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", choices=DATA, default="digits")
    add("--only", nargs="+", choices=ACTIVATIONS, default=list(ACTIVATIONS), metavar="NAME",
        help=f"of {', '.join(ACTIVATIONS)}")  # fmt: skip
    add("--depth", type=int, default=2, help="hidden layers")
    add("--units", type=int, default=100, help="in each of them")
    add("--epochs", type=int, default=10)
    add(
        "--seeds",
        type=int,
        default=3,
        help="runs per activation: their spread tells what is chance",
    )
    add("--out", type=Path, default=Path("out"), metavar="FOLDER")
    args = parser.parse_args(argv)

    pixels, labels = DATA[args.data]()
    x = (pixels.reshape(-1, 784) - np.float32(pixels.mean())) / np.float32(pixels.std())
    images, valid = data.split((x, labels), (0.8, 0.2), rng=0)
    curves = compare(args, images, valid)
    if Figure is None:
        print('no picture: matplotlib is missing; install it with: pip install "minidl[plot]"')
        return
    path = args.out / "activation_study" / "comparison.png"
    draw(path, curves)
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
