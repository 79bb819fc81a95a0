"""What the study trains: its experiments as lists of settings, one for each run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from minidl import init, nn

Settings = dict[str, Any]

# The activations, by their names in the tables; each is called with the number of units.
# (Maxout is a layer with weights of its own: runs.py makes it.)
ACTIVATIONS = {
    "linear": lambda units: nn.Identity(),
    "softplus": lambda units: nn.Softplus(),
    "sigmoid": lambda units: nn.Sigmoid(),
    "tanh": lambda units: nn.Tanh(),
    "ReLU": lambda units: nn.ReLU(),
    "LeakyReLU": lambda units: nn.LeakyReLU(0.01),
    "PReLU": lambda units: nn.PReLU(units),
    "RReLU": lambda units: nn.RReLU(),
    "Maxout": None,
    "ELU": lambda units: nn.ELU(),
    "GELU": lambda units: nn.GELU(),
    "SiLU": lambda units: nn.SiLU(),
    "Mish": lambda units: nn.Mish(),
}
PIECES = 2  # of Maxout: y is the greatest of so many linear maps

# The initializer that each activation of the depth study asks for: sigmoid's slope at 0 is 1/4,
# hence its gain. Pixels have not been through a sigmoid: its first layer goes without.
INITIALIZERS = {
    "sigmoid": init.GlorotNormal(gain=4.0),
    "tanh": init.GlorotNormal(),
    "ReLU": init.HeNormal(),
    "LeakyReLU": init.HeNormal(0.01),
    "PReLU": init.HeNormal(0.25),
}
FIRST_LAYER = {"sigmoid": init.GlorotNormal()}
NORMALISATIONS = {
    name: getattr(nn, name) for name in ("LayerNorm", "BatchNorm") if hasattr(nn, name)
}
# What is done against vanishing gradients, one thing at a time: (name, initializer, normalisation).
CURES = [("none", "default", ""), ("initializer", "fitting", "")]
CURES += [(name, "default", name) for name in NORMALISATIONS]


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


SLOPES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FULL = Scale(
    train=None, validation=10_000, batch=128, seeds=5, units=128, epochs=8, slopes=SLOPES,
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
NAMES = ("digits", "mnist", "fashion")
SCALES = {"digits": DIGITS, "mnist": FULL, "fashion": FULL, "quick": QUICK}


def activations() -> list[str]:
    """Those of the list that this minidl has."""
    names = {"linear": "Identity", "softplus": "Softplus", "sigmoid": "Sigmoid", "tanh": "Tanh"}
    return [name for name in ACTIVATIONS if hasattr(nn, names.get(name, name))]


def experiments(data: str, scale: Scale) -> dict[str, list[Settings]]:
    """The runs of each experiment. Two experiments may share a run: it is trained once."""
    one = {
        "data": data,
        "train": scale.train,
        "validation": scale.validation,
        "probe": scale.probe,
        "batch": scale.batch,
        "lr": scale.lr,
        "epochs": scale.epochs,
        "units": scale.units,
        "depth": 1,
        "initializer": "default",
        "normalisation": "",
    }
    seeds = range(scale.seeds)
    layer = [one | {"activation": name, "seed": s} for name in activations() for s in seeds]
    slopes = [
        one | {"activation": "LeakyReLU", "slope": slope, "seed": seed}
        for slope in scale.slopes
        for seed in seeds
    ]
    few = {"train": scale.small, "epochs": scale.small_epochs, "batch": 32}
    deep = {"units": scale.depth_units, "epochs": scale.depth_epochs}
    depth = [
        one
        | deep
        | {
            "activation": name,
            "depth": depth,
            "initializer": initializer,
            "normalisation": norm,
            "seed": seed,
        }
        for _, initializer, norm in CURES
        for depth in scale.depths
        for name in INITIALIZERS
        for seed in range(scale.depth_seeds)
    ]
    for settings in layer:
        if settings["activation"] == "LeakyReLU":
            settings["slope"] = 0.01
    for settings in depth:
        if settings["activation"] == "LeakyReLU":
            settings["slope"] = 0.01
    return {
        "layer": layer,
        "slopes": slopes,
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
    """About how long a run takes, in a unit of its own: for the time left."""
    images = settings["train"] or {"digits": 4000}.get(settings["data"], 50_000)
    units, depth = settings["units"], settings["depth"]
    weights = 784 * units + (depth - 1) * units**2
    step = 1.5e-9 * weights * settings["batch"] / 20 + 15e-6 * (depth + 5)
    step += 100e-6 * depth if settings["normalisation"] else 0.0
    return settings["epochs"] * (images / settings["batch"] * step + 0.01 + 0.002 * depth) + 0.01
