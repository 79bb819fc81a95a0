"""Activation functions, and a small network that uses them: the Python side of the playground.

`curves` gives an activation's value, slope and curvature; `Network` learns to tell two classes of points in the plane
apart, and shows what goes on in it. All that the page shows is computed here; it only draws. The module runs anywhere:

    network = Network({"data": "circles", "activation": "tanh", "depth": 2})
    for _ in range(300):
        network.step()
    print(network.frame()["accuracy"])
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import points

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim

# ── The activations ───────────────────────────────────────────────────────────────────────────────


class Choice(NamedTuple):
    """An activation that can be chosen.

    make: its layer, from the parameters.
    params: {name: (default, lowest, highest)}.
    """

    make: Callable[..., nn.Module]
    params: dict[str, tuple[float, float, float]] = {}


def _maxout(pieces: float) -> nn.Module:
    return nn.Maxout(1, 1, int(pieces))  # (a network takes one of its own width: see `hidden`)


ACTIVATIONS = {
    "relu": Choice(nn.ReLU),
    "leaky_relu": Choice(nn.LeakyReLU, {"negative_slope": (0.01, 0.0, 1.0)}),
    "prelu": Choice(
        lambda slope: nn.PReLU(slope=init.Constant(slope)), {"slope": (0.25, 0.0, 1.0)}
    ),
    "rrelu": Choice(nn.RReLU, {"lower": (0.125, 0.0, 0.3), "upper": (0.333, 0.3, 1.0)}),
    "relu6": Choice(nn.ReLU6),
    "elu": Choice(nn.ELU, {"alpha": (1.0, 0.1, 3.0)}),
    "selu": Choice(nn.SELU),
    "celu": Choice(nn.CELU, {"alpha": (1.0, 0.1, 3.0)}),
    "gelu": Choice(nn.GELU),
    "silu": Choice(nn.SiLU),
    "mish": Choice(nn.Mish),
    "hardswish": Choice(nn.Hardswish),
    "sigmoid": Choice(nn.Sigmoid),
    "logsigmoid": Choice(nn.LogSigmoid),
    "hardsigmoid": Choice(nn.Hardsigmoid),
    "tanh": Choice(nn.Tanh),
    "hardtanh": Choice(nn.Hardtanh, {"min_val": (-1.0, -3.0, -0.1), "max_val": (1.0, 0.1, 3.0)}),
    "tanhshrink": Choice(nn.Tanhshrink),
    "softsign": Choice(nn.Softsign),
    "softplus": Choice(nn.Softplus, {"beta": (1.0, 0.2, 5.0)}),
    "softshrink": Choice(nn.Softshrink, {"lambd": (0.5, 0.0, 2.0)}),
    "hardshrink": Choice(nn.Hardshrink, {"lambd": (0.5, 0.0, 2.0)}),
    "threshold": Choice(nn.Threshold, {"threshold": (0.5, -2.0, 2.0), "value": (-0.25, -1.0, 1.0)}),
    "crelu": Choice(nn.CReLU),
    "maxout": Choice(_maxout, {"pieces": (2, 2, 4)}),
    "glu": Choice(nn.GLU),
    "softmax": Choice(lambda: nn.Softmax(axis=1)),
    "log_softmax": Choice(lambda: nn.LogSoftmax(axis=1)),
    "identity": Choice(nn.Identity),
}
FROM, TO, POINTS = -5.0, 5.0, 251


def curves(name: str, params: dict | None = None) -> dict[str, np.ndarray]:
    """Value, slope and curvature over x from -5 to 5, each (curves, POINTS).

    The slope is differentiated again: `create_graph` records how it was computed. Where an activation has a kink the
    curvature is that of the two sides, not the infinite one of the kink. Those that take more than one number are drawn
    as functions of one of them; `inputs_for` says which.
    """
    layer = layer_of(name, params or {}).eval()  # rrelu: the mean of its slopes
    x = md.Tensor(np.linspace(FROM, TO, POINTS)[:, None], requires_grad=True)
    drawn = []
    for inputs, output in inputs_for(name, x):
        if name == "maxout":
            y = F.maxout(inputs, inputs.shape[1], axis=1)
        else:
            y = layer.astype("float64")(inputs)[:, output]
        slope = md.grad(y.sum(), x, create_graph=True)
        curvature = None  # of straight lines: their slope does not depend on x
        if slope.requires_grad:
            curvature = md.grad(slope.sum(), x, allow_unused=True)
        drawn.append([y.data.ravel(), slope.data.ravel()])
        drawn[-1].append(0 * slope.data.ravel() if curvature is None else curvature.data.ravel())
    value, slope, curvature = (np.array(part, np.float32) for part in zip(*drawn, strict=True))
    return {"value": value, "slope": slope, "curvature": curvature}


def inputs_for(name: str, x: md.Tensor) -> list[tuple[md.Tensor, int]]:
    """(what the activation is given, which of its outputs is drawn), a pair for each curve."""
    zero, one = md.Tensor(0 * x.data), md.Tensor(0 * x.data + 1)
    if name in ("softmax", "log_softmax"):  # of x, 0 and 1
        return [(md.concatenate([x, zero, one], axis=1), output) for output in range(3)]
    if name == "glu":  # x through an open gate; 1 through a gate that x opens
        return [(md.concatenate(pair, axis=1), 0) for pair in ([x, 4 * one], [one, x])]
    if name == "crelu":
        return [(x, 0), (x, 1)]
    if name == "maxout":  # of three straight lines
        return [(md.concatenate([-x - 1, 0.3 * x, x - 1], axis=1), 0)]
    return [(x, 0)]


def layer_of(name: str, params: dict) -> nn.Module:
    """The layer of an activation; parameters that are not given have their defaults."""
    choice = ACTIVATIONS[name]
    return choice.make(**{key: params.get(key, value[0]) for key, value in choice.params.items()})


# ── The network ───────────────────────────────────────────────────────────────────────────────────

INITIALIZERS = {
    "default": None,  # U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as in PyTorch
    "glorot": init.GlorotUniform(),
    "he": init.HeNormal(),
    "lecun": init.LecunNormal(),
    "orthogonal": init.Orthogonal(),
    "small": init.Normal(0.0, 0.05),
    "large": init.Normal(0.0, 3.0),
}
NORMS = {"none": None, "batch": nn.BatchNorm, "layer": nn.LayerNorm}
OPTIMIZERS = {
    "sgd": optim.SGD,
    "momentum": lambda params, lr: optim.SGD(params, lr, momentum=0.9),
    "adam": optim.Adam,
}
DEFAULTS = {
    "data": "circles",  # or "moons", "spirals", "own"
    "own": [],  # the points of "own": (x, y, class)
    "activation": "relu",
    "params": {},
    "depth": 2,  # hidden layers
    "width": 8,  # units in each
    "init": "default",
    "norm": "none",
    "optimizer": "adam",
    "lr": 0.01,
    "seed": 0,
}
TRAINED, HELD_BACK, BATCH = 240, 120, 40
CELLS, UNIT_CELLS = (
    48,
    24,
)  # the pictures of the whole network and of a unit have so many cells a side


def hidden(settings: dict, n_in: int) -> list[nn.Module]:
    """A hidden layer: affine, normalisation if asked for, activation."""
    name, width = settings["activation"], settings["width"]
    weight = INITIALIZERS[settings["init"]]
    if name == "maxout":  # has its own affine map
        pieces = int(settings["params"].get("pieces", 2))
        layers: list[nn.Module] = [nn.Maxout(n_in, width, pieces, weight=weight)]
        return [*layers, NORMS[settings["norm"]](width)] if NORMS[settings["norm"]] else layers
    # As many outputs as it takes for `width` after the activation.
    n = {"glu": 2 * width, "crelu": width // 2}.get(name, width)
    layers = [nn.Affine(n_in, n, weight=weight)]
    if NORMS[settings["norm"]]:
        layers.append(NORMS[settings["norm"]](n))
    return [*layers, layer_of(name, settings["params"])]


class Network:
    """A network, its data and its optimizer."""

    def __init__(self, settings: dict) -> None:
        self.settings = s = DEFAULTS | settings
        md.manual_seed(s["seed"])
        self.rng = np.random.default_rng(s["seed"])
        self.x, self.label, self.x_held, self.label_held = self._data()
        self.hidden = [nn.Sequential(*hidden(s, s["width"] if i else 2)) for i in range(s["depth"])]
        weight = INITIALIZERS[s["init"]]
        self.model = nn.Sequential(*self.hidden, nn.Affine(s["width"], 1, weight=weight))
        self.model(self.x[:2])  # (a PReLU learns its shape from the first batch)
        self.optimizer = OPTIMIZERS[s["optimizer"]](self.model.parameters(), s["lr"])
        self.steps, self.losses = 0, []
        self.cells = points.grid(CELLS)

    def _data(self) -> tuple:
        if self.settings["data"] != "own":
            draw = points.TWO_CLASSES[self.settings["data"]]
            return (*draw(TRAINED, self.rng), *draw(HELD_BACK, self.rng))
        own = np.array(self.settings["own"], np.float32).reshape(-1, 3)
        if len(own) < 4:
            raise ValueError("own points: click at least four into the picture, of both classes")
        x, label = own[:, :2].copy(), own[:, 2:].copy()
        return x, label, x, label  # none are held back: there are few

    def step(self) -> None:
        """A batch: forward, loss, backward, new weights."""
        chosen = self.rng.integers(len(self.x), size=min(BATCH, len(self.x)))
        loss = F.binary_cross_entropy_with_logits(self.model(self.x[chosen]), self.label[chosen])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        self.losses.append(loss.item())

    def train(self, seconds: float) -> None:
        """Steps for so long, at least one."""
        end = time.perf_counter() + seconds
        self.step()
        while time.perf_counter() < end:
            self.step()

    # ── What is shown ─────────────────────────────────────────────────────────────────────────────

    def frame(self) -> dict:
        """Numbers, and flat arrays, by name."""
        losses, self.losses = np.array(self.losses, np.float32), []
        self.model.eval()
        with md.no_grad():
            units = self.outputs(np.concatenate([self.cells, self.x]))
            score = self.model[-1](units[-1]).data[: len(self.cells)]
            held = self.model(self.x_held).data
            learned = self.model(self.x).data
        self.model.train()
        return {
            "steps": self.steps,
            "losses": losses,  # of the steps since the last frame
            "accuracy": float(((learned > 0) == self.label).mean()),
            "held_accuracy": float(((held > 0) == self.label_held).mean()),
            "boundary": _bytes(F.sigmoid(score).data),
            "points": np.concatenate([self.x, self.label], axis=1).ravel(),
            "units": self.unit_pictures([y.data[: len(self.cells)] for y in units]),
            "constant": self.constant([y.data[len(self.cells) :] for y in units]),
            "gradients": self.gradient_norms(),
        }

    def outputs(self, x: np.ndarray) -> list[md.Tensor]:
        """The outputs of every hidden layer, (points, units)."""
        outputs, y = [], md.Tensor(x)
        for layer in self.hidden:
            y = layer(y)
            outputs.append(y)
        return outputs

    def unit_pictures(self, outputs: list[np.ndarray]) -> np.ndarray:
        """Bytes, (depth, units, cells): 128 is 0, and the greatest absolute value of a unit is 1 or 255."""
        every = CELLS // UNIT_CELLS
        y = np.stack(outputs).reshape(len(outputs), CELLS, CELLS, -1)[:, ::every, ::every]
        y = np.nan_to_num(y / np.maximum(np.abs(y).max(axis=(1, 2), keepdims=True), 1e-12))
        return (128 + 127 * y).astype(np.uint8).transpose(0, 3, 1, 2).ravel()

    def constant(self, outputs: list[np.ndarray]) -> np.ndarray:
        """1 for each unit that has the same output for all points, (depth, units): a dead ReLU, or a signal lost."""
        spread = np.ptp(np.stack(outputs), axis=1)
        return (spread < 1e-6).astype(np.uint8).ravel()

    def gradient_norms(self) -> np.ndarray:
        """The norm of the gradient of each layer's weights, on all points: (depth + 1,)."""
        weights = [layer[0].weight for layer in self.hidden] + [self.model[-1].weight]
        loss = F.binary_cross_entropy_with_logits(self.model(self.x), self.label)
        grads = md.grad(loss, weights)
        return np.array([np.linalg.norm(g.data) for g in grads], np.float32)


def _bytes(share: np.ndarray) -> np.ndarray:
    return (255 * np.nan_to_num(share)).astype(np.uint8).ravel()
