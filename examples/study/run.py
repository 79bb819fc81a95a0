"""One run of the study: the images, the network, its training, and what is measured meanwhile."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import minidl as md
from minidl import data, init, monitor, nn, optim
from minidl import functional as F
from minidl.training.fit import Training, every_batch
from study import plan
from study.plan import Settings

Result = dict[str, Any]
Images = tuple[np.ndarray, np.ndarray]  # pixels (N, 784) and labels (N,)
GRADIENT_SAMPLES = 6  # how often in a training the gradients are measured
LOADERS = {"digits": data.digits, "mnist": data.mnist, "fashion": data.fashion_mnist}


@cache
def images(name: str, validation: int, root: str | None) -> tuple[Images, Images]:
    """The images for training and for validation, scaled. The split is the same for all seeds, so that
    runs can be compared in pairs.
    """
    train, valid, mean, std = _parts(name, validation, root)
    return _scaled(train, mean, std), _scaled(valid, mean, std)


def test_images(name: str, validation: int, root: str | None) -> Images:
    """The test images, scaled as the training images are."""
    _, _, mean, std = _parts(name, validation, root)
    return _scaled(_load(name, False, root), mean, std)


def _parts(name: str, validation: int, root: str | None) -> tuple[Images, Images, Any, Any]:
    """Training and validation images as they are in the files; mean and deviation of the former."""
    pixels, labels = _load(name, True, root)
    train, valid = data.split((pixels, labels), (len(labels) - validation, validation), rng=0)
    return train, valid, np.float32(train[0].mean()), np.float32(train[0].std())


def _scaled(part: Images, mean: np.float32, std: np.float32) -> Images:
    return (part[0].reshape(-1, 784) - mean) / std, part[1]


def _load(name: str, train: bool, root: str | None) -> Images:
    return LOADERS[name](train, **({} if name == "digits" or root is None else {"root": root}))


def network(settings: Settings) -> nn.Sequential:
    """784 pixels -> hidden layers: weights, normalisation, activation -> 10 scores."""
    name, units = settings["activation"], settings["units"]
    if name == "Maxout":  # as many parameters as the others have
        units = round(units * (784 + 1 + 10) / (plan.PIECES * (784 + 1) + 10))
    layers: list[nn.Module] = []
    for n_in in [784, *[units] * (settings["depth"] - 1)]:
        if name == "Maxout":
            layers.append(nn.Maxout(n_in, units, plan.PIECES))
            continue
        initial = {}
        if settings["initializer"] == "fitting":
            first = {} if layers else plan.FIRST_LAYER
            weight = first.get(name, plan.INITIALIZERS[name])
            initial = {"weight": weight, "bias": init.Constant(0.0)}
        layers.append(nn.Affine(n_in, units, **initial))
        if settings["normalisation"]:
            layers.append(plan.NORMALISATIONS[settings["normalisation"]](units))
        arguments = {"PReLU": [units], "LeakyReLU": [settings.get("slope")]}.get(name, [])
        layers.append(plan.ACTIVATIONS[name](*arguments))
    return nn.Sequential(*layers, nn.Affine(units, 10))


def run(settings: Settings, root: str | None = None) -> Result:
    """Trains one network; returns what was measured, as lists and numbers."""
    source = (settings["data"], settings["validation"], root)
    (x, y), valid = images(*source)
    train = x[: settings["train"]], y[: settings["train"]]
    seed, epochs = settings["seed"], settings["epochs"]
    md.manual_seed(seed)  # the initial weights; the same for all activations
    model = network(settings)
    loader = data.DataLoader(train, settings["batch"], shuffle=True, rng=seed)
    optimizer = optim.Adam(model.parameters(), settings["lr"])
    steps = epochs * len(loader)
    schedule = optim.CosineLR(optimizer, total=steps)

    probe = valid[0][: settings["probe"]]
    inside = Inside(probe)
    watched = list(hidden_activations(model))
    dead = monitor.DeadUnits(probe, modules=watched)
    flat = monitor.Saturation(probe, modules=watched)
    norms = monitor.GradientNorms(by="parameter", every=max(1, -(-steps // GRADIENT_SAMPLES)))
    monitors = [inside, norms, dead, *([flat] if settings["activation"] != "Maxout" else [])]
    failed, history = None, {}
    try:
        trained = md.fit(
            model, loader, F.cross_entropy, optimizer, epochs, validation=valid,
            callbacks=[every_batch(schedule.step), *monitors], progress=False,
        )  # fmt: skip
        if trained.interrupted:  # what is there is not the result of these settings
            raise KeyboardInterrupt
        history = trained.history
    except FloatingPointError as error:
        failed = str(error)
    weights = [i for i, layer in enumerate(model) if isinstance(layer, nn.Affine | nn.Maxout)]
    result = {
        "settings": settings,
        "parameters": model.num_parameters(),
        "failed": failed,
        "accuracy": history.get("accuracy", []),
        "val_accuracy": history.get("val_accuracy", []),
        # In evaluation mode, on all images; "accuracy" is a mean over an epoch of training.
        "final": {
            "train": md.evaluate(model, train)["accuracy"],
            "validation": md.evaluate(model, valid)["accuracy"],
        },
        "dead": list(dead.history.values()),
        "saturated": list(flat.history.values()),
        "zeros": inside.zeros,
        "slopes": inside.slopes,
        "gradients": {
            "at": norms.at,
            "norms": [norms.history.get(f"{i}.weight", []) for i in weights[:-1]],
        },
    }
    if settings.get("test"):
        result["test_accuracy"] = md.evaluate(model, test_images(*source))["accuracy"]
    return result


def hidden_activations(model: nn.Sequential) -> dict[str, nn.Module]:
    """The activations by name."""
    others = (nn.Affine, *plan.NORMALISATIONS.values())
    return {name: m for name, m in model.named_children() if not isinstance(m, others)}


class Inside:
    """A callback: the share of zeros in each activation's output, and PReLU's mean slope, per layer,
    before the first and after each epoch.
    """

    def __init__(self, probe: np.ndarray) -> None:
        self.probe = probe
        self.zeros: list[list[float]] = []
        self.slopes: list[list[float]] = []

    def on_train_begin(self, training: Training) -> None:
        self.on_epoch_end(training)

    def on_epoch_end(self, training: Training) -> None:
        model, zeros = training.model, []
        layers = list(hidden_activations(model).values())
        model.eval()
        with md.no_grad(), monitor.watch(layers, lambda _, x, y: zeros.append(_zeros(y))):
            model(self.probe)
        model.train()
        self.zeros.append(zeros)
        self.slopes.append([float(m.slope.data.mean()) for m in layers if isinstance(m, nn.PReLU)])


def _zeros(y: md.Tensor) -> float:
    return float(np.mean(y.data == 0))
