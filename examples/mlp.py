"""A multilayer perceptron learns to read handwritten digits, or to tell clothes apart.

    python examples/mlp.py                    5,000 digits that come with minidl: a few seconds
    python examples/mlp.py --data mnist       all 60,000 of MNIST
    python examples/mlp.py --data fashion --activation ELU --hidden 1024 512
    python examples/mlp.py --seeds 5          five runs: mean and spread of the test accuracy

It prints the accuracy on the training and the validation images after each epoch, and at the end
that on the test images, which are used for nothing else. The pictures go to out/mlp/.
"""

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F
from minidl.train import every_batch

try:
    import pictures
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    pictures = None

DIGITS = [str(digit) for digit in range(10)]
CLOTHES = ["T-shirt", "trouser", "pullover", "dress", "coat"]
CLOTHES += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]

# What is loaded, the names of the classes, and settings that work well. Clothes need more units than
# digits. Digits may be moved by a pixel; clothes fill the picture.
SMALL = {"hidden": [256, 128], "lr": 0.002, "dropout": 0.0, "shift": 1}
LARGE = {"hidden": [1024, 512], "lr": 0.001, "dropout": 0.2, "shift": 0}
DATA = {
    "digits": (data.digits, DIGITS, SMALL | {"epochs": 20}),
    "mnist": (data.mnist, DIGITS, SMALL | {"epochs": 10}),
    "fashion": (data.fashion_mnist, CLOTHES, LARGE | {"epochs": 10}),
}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    layers = {name.lower(): layer for name, layer in nn.LAYERS.items()} | {"prelu": nn.PReLU}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", choices=DATA, default="digits")
    add("--activation", type=str.lower, choices=layers, default="relu", metavar="NAME",
        help=f"one of {', '.join(layers)}; default relu")  # fmt: skip
    add("--hidden", type=int, nargs="*", metavar="N", help="units of each hidden layer")
    add("--epochs", type=int)
    add("--batch-size", type=int, default=128)
    add("--optimizer", choices=["sgd", "adam", "adamw"], default="adamw")
    add("--lr", type=float, help="learning rate at the start")
    add("--dropout", type=float, metavar="P", help="share of hidden units left out in training")
    add("--shift", type=int, metavar="PIXELS", help="how far training images are moved at random")
    add("--seed", type=int, default=0)
    add(
        "--seeds", type=int, default=1, metavar="N", help="train N times, with seeds from --seed on"
    )
    add("--steps", type=int, help="stop after so many steps (to see that everything works)")
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="pictures go to FOLDER/mlp")
    add("--no-plots", action="store_true", help="draw no pictures")
    args = parser.parse_args(argv)

    if args.lr is None and args.optimizer == "sgd":
        args.lr = 0.1
    for name, value in DATA[args.data][2].items():  # the default is what works well
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.activation = layers[args.activation]
    return args


def mlp(args: argparse.Namespace) -> nn.Module:
    """784 pixels -> hidden layers with an activation each -> 10 scores, the greatest one wins."""
    layers: list[nn.Module] = [nn.Flatten()]
    sizes = [28 * 28, *args.hidden]
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Affine(n_in, n_out), args.activation()]
        if args.dropout:
            layers.append(nn.Dropout(args.dropout))
    return nn.Sequential(*layers, nn.Affine(sizes[-1], 10))


def make_optimizer(args: argparse.Namespace, model: nn.Module) -> optim.Optimizer:
    if args.optimizer == "sgd":
        return optim.SGD(model.parameters(), args.lr, momentum=0.9, nesterov=True)
    kind = {"adam": optim.Adam, "adamw": optim.AdamW}[args.optimizer]
    return kind(model.parameters(), args.lr)


def train(args: argparse.Namespace, seed: int, x: np.ndarray, labels: np.ndarray):
    """A model trained on nine tenths of the images, and its history; the last tenth validates."""
    md.manual_seed(seed)
    rng = np.random.default_rng(seed)
    part, rest = data.split((x, labels), (0.9, 0.1), rng=rng)

    def moved(x: np.ndarray, y: np.ndarray):
        # Moves each batch by a pixel or so in a random direction, which is as good as more images.
        step = rng.integers(-args.shift, args.shift + 1, size=2)
        return np.roll(x, step, axis=(1, 2)), y

    loader = data.DataLoader(
        part, args.batch_size, shuffle=True, transform=moved if args.shift else None
    )
    model = mlp(args)
    optimizer = make_optimizer(args, model)
    # The learning rate falls to 0 along a cosine: big steps first, fine ones at the end.
    schedule = optim.CosineLR(optimizer, total=max(args.epochs * len(loader), 1))
    callbacks = [every_batch(schedule.step)]
    if args.steps:
        callbacks.append(StopAfter(args.steps))
    history = md.fit(
        model,
        loader,
        F.cross_entropy,
        optimizer,
        args.epochs,
        validation=rest,
        callbacks=callbacks,
        capture=True,  # the same bits, sooner
    )
    return model, history


class StopAfter:
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_batch_end(self, training) -> None:
        if training.step >= self.steps:
            training.stop()


def classes(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """The class that the model sees in each image."""
    model.eval()
    with md.no_grad():
        return model(x).data.argmax(axis=1)


def main(argv: list[str] | None = None) -> float:
    """Trains as the arguments say; returns the mean test accuracy."""
    args = arguments(argv)
    load, names, _ = DATA[args.data]
    images, labels = load()
    test_images, test_labels = load(train=False)

    # Pixels from 0 to 255 become numbers with mean 0 and deviation 1, which networks learn from best.
    mean, std = np.float32(images.mean()), np.float32(images.std())
    x, test_x = (images - mean) / std, (test_images - mean) / std

    accuracies = []
    for seed in range(args.seed, args.seed + args.seeds):
        print(f"\n{args.data}: {len(images):,} images, {args.activation.__name__}, seed {seed}")
        model, history = train(args, seed, x, labels)
        found = classes(model, test_x)
        accuracies.append(float((found == test_labels).mean()))
        print(f"test accuracy {accuracies[-1]:.2%} on {len(test_images):,} images")
        if seed == args.seed and not args.no_plots:
            draw(args.out / "mlp", model, history, test_images, test_labels, found, names)
        if history.interrupted:
            break
    if len(accuracies) > 1:
        mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1)
        print(f"\ntest accuracy over {len(accuracies)} seeds: mean {mean:.2%}, ", end="")
        print(f"standard deviation {spread:.2%}, {min(accuracies):.2%} to {max(accuracies):.2%}")
    return float(np.mean(accuracies))


def draw(folder: Path, model: nn.Module, history: md.History, images, labels, found, names) -> None:
    if pictures is None:
        print('no pictures: matplotlib is missing; install it with: pip install "minidl[plot]"')
        return
    folder.mkdir(parents=True, exist_ok=True)
    history.plot(folder / "learning_curves.png")
    pictures.confusion_matrix(folder / "confusion_matrix.png", labels, found, names)
    pictures.predictions(folder / "predictions.png", images, labels, found, names)
    weight = next(model.parameters()).data
    pictures.first_layer(folder / "first_layer.png", weight.reshape(-1, 28, 28))
    print(f"pictures: {', '.join(sorted(p.name for p in folder.glob('*.png')))} in {folder}/")


if __name__ == "__main__":
    main()
