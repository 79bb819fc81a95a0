"""What the study trains: its experiments as lists of settings, one for each run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from minidl import init, nn

Settings = dict[str, Any]

# The activations, by their names in the tables. (Maxout is a layer with weights of its own.)
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "PReLU": nn.PReLU,
    "RReLU": nn.RReLU,
    "Maxout": nn.Maxout,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Mish": nn.Mish,
}
PIECES = 2  # of Maxout: y is the greatest of so many linear maps

# The initializer that fits each activation of the depth study. Sigmoid's slope at 0 is 1/4, hence its
# gain; its first layer needs none, as the pixels have not been through a sigmoid.
INITIALIZERS = {
    "sigmoid": init.GlorotNormal(gain=4.0),
    "tanh": init.GlorotNormal(),
    "ReLU": init.HeNormal(),
    "LeakyReLU": init.HeNormal(0.01),
    "PReLU": init.HeNormal(0.25),
}
FIRST_LAYER = {"sigmoid": init.GlorotNormal()}
NORMALISATIONS = {"LayerNorm": nn.LayerNorm, "BatchNorm": nn.BatchNorm}


class Cure(NamedTuple):
    """What may help against vanishing gradients: settings of a run."""

    name: str
    initializer: str = "default"
    normalisation: str = ""


NONE, INITIALIZER = Cure("no cure"), Cure("fitting initializer", initializer="fitting")
CURES = [NONE, INITIALIZER, *(Cure(name, normalisation=name) for name in NORMALISATIONS)]


@dataclass(frozen=True)
class Scale:
    """How much is trained."""

    train: int | None  # training images; None: all that are not for validation
    validation: int
    batch: int
    seeds: int
    units: int  # in the one hidden layer
    epochs: int
    slopes: tuple[float, ...]
    small: int  # images of the study with few of them
    small_epochs: int
    depths: tuple[int, ...]
    depth_units: int
    depth_epochs: int
    depth_seeds: int
    lr: float = 0.001
    probe: int = 500  # validation images on which units are watched


FULL = Scale(
    train=None, validation=10_000, batch=128, seeds=5, units=128, epochs=8,
    slopes=(0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    small=1000, small_epochs=40, depths=(1, 2, 4, 7, 10, 14, 20), depth_units=64,
    depth_epochs=3, depth_seeds=5,
)  # fmt: skip
DIGITS = replace(
    FULL, validation=1000, batch=64, epochs=12, slopes=(0.0, 0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
    small=500, small_epochs=30, depths=(1, 2, 5, 10, 20), depth_epochs=5, depth_seeds=3,
)  # fmt: skip
QUICK = replace(
    DIGITS, train=2000, seeds=3, epochs=6, slopes=(0.0, 0.01, 0.1, 0.3, 0.6, 1.0),
    small_epochs=20, depths=(1, 5, 20), depth_epochs=3, depth_seeds=2,
)  # fmt: skip
SCALES = {"digits": DIGITS, "mnist": FULL, "fashion": FULL, "quick": QUICK}


def experiments(data: str, scale: Scale) -> dict[str, list[Settings]]:
    """The runs of each experiment. Two experiments may share a run: it is trained once."""
    base = {"data": data, "depth": 1, "initializer": "default", "normalisation": ""}
    same = ("train", "validation", "probe", "batch", "lr", "epochs", "units")
    base |= {name: getattr(scale, name) for name in same}

    def run(activation: str, seed: int, slope: float = 0.01, **more: object) -> Settings:
        leaky = {"slope": slope} if activation == "LeakyReLU" else {}
        return base | {"activation": activation, "seed": seed} | leaky | more

    layer = [run(name, seed) for name in ACTIVATIONS for seed in range(scale.seeds)]
    few = {"train": scale.small, "epochs": scale.small_epochs, "batch": 32}
    deep = {"units": scale.depth_units, "epochs": scale.depth_epochs}
    depth = [
        run(name, seed, **deep, depth=d, initializer=initializer, normalisation=normalisation)
        for _, initializer, normalisation in CURES
        for d in scale.depths
        for name in INITIALIZERS
        for seed in range(scale.depth_seeds)
    ]
    return {
        "layer": layer,
        "slopes": [run("LeakyReLU", seed, s) for s in scale.slopes for seed in range(scale.seeds)],
        "small": [settings | few for settings in layer],
        "depth": depth,
    }


def title(settings: Settings) -> str:
    """The run in a few words."""
    words = [settings["activation"]]
    if "slope" in settings:
        words[0] += f"({settings['slope']:g})"
    size = f"{settings['depth']}x{settings['units']} units"
    words.append(f"as large as {size}" if words[0] == "Maxout" else size)
    if settings["initializer"] != "default":
        words.append("fitting initializer")
    if settings["normalisation"]:
        words.append(settings["normalisation"])
    return ", ".join([*words, f"seed {settings['seed']}"])


def cost(settings: Settings) -> float:
    """Roughly the seconds that a run takes; the time left is computed from it."""
    images = settings["train"] or {"digits": 4000}.get(settings["data"], 50_000)
    units, depth = settings["units"], settings["depth"]
    weights = 784 * units + (depth - 1) * units**2
    step = 1.5e-9 * weights * settings["batch"] / 20 + 15e-6 * (depth + 5)
    step += 100e-6 * depth if settings["normalisation"] else 0.0
    return settings["epochs"] * (images / settings["batch"] * step + 0.01 + 0.002 * depth) + 0.01
