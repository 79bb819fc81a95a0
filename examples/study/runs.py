"""Training the runs of the study, in several processes, and keeping their results."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import data, init, monitor, nn, optim
from minidl import functional as F
from minidl.training.fit import every_batch
from study import plan
from study.plan import Settings

Result = dict[str, Any]
GRADIENT_SAMPLES = 6  # how often in a training the gradients are measured
LOADERS = {"digits": data.digits, "mnist": data.mnist, "fashion": data.fashion_mnist}


# ── Data ──────────────────────────────────────────────────────────────────────────────────────────


@cache
def images(name: str, validation: int, root: str | None) -> tuple[np.ndarray, ...]:
    """(x, labels) for training, the same for validation. The split is the same for all seeds, so
    that runs can be compared in pairs.
    """
    pixels, labels = _load(name, True, root)
    rest = len(labels) - validation
    (train, y), (valid, valid_y) = data.split((pixels, labels), (rest, validation), rng=0)
    mean, std = np.float32(train.mean()), np.float32(train.std())
    return (*((x.reshape(-1, 784) - mean) / std for x in (train, valid)), y, valid_y, mean, std)


def test_images(name: str, validation: int, root: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The test images, scaled as the training images are."""
    mean, std = images(name, validation, root)[4:]
    pixels, labels = _load(name, False, root)
    return (pixels.reshape(-1, 784) - mean) / std, labels


def _load(name: str, train: bool, root: str | None) -> tuple[np.ndarray, np.ndarray]:
    return LOADERS[name](train, **({} if name == "digits" or root is None else {"root": root}))


# ── One run ───────────────────────────────────────────────────────────────────────────────────────


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
        weights: dict[str, Any] = {}
        if settings["initializer"] == "fitting":
            first = {} if layers else plan.FIRST_LAYER
            weights["weight"] = first.get(name, plan.INITIALIZERS[name])
            weights["bias"] = init.Constant(0.0)
        layers.append(nn.Affine(n_in, units, **weights))
        if settings["normalisation"]:
            layers.append(plan.NORMALISATIONS[settings["normalisation"]](units))
        slope = settings.get("slope")
        make = plan.ACTIVATIONS[name]
        layers.append(make(units) if slope is None else nn.LeakyReLU(slope))
    return nn.Sequential(*layers, nn.Affine(units, 10))


def run(settings: Settings, root: str | None = None) -> Result:
    """Trains one network; what it was like, in lists and numbers."""
    x, valid, y, valid_y = images(settings["data"], settings["validation"], root)[:4]
    x, y = x[: settings["train"]], y[: settings["train"]]
    seed, epochs = settings["seed"], settings["epochs"]
    md.manual_seed(seed)  # the initial weights; the same for all activations
    model = network(settings)
    loader = data.DataLoader((x, y), settings["batch"], shuffle=True, rng=seed)
    optimizer = optim.Adam(model.parameters(), settings["lr"])
    steps = epochs * len(loader)
    schedule = optim.CosineLR(optimizer, total=steps)

    probe = valid[: settings["probe"]]
    inside = Inside(probe)
    watching = [name for name, _ in model.named_children() if name in inside.layers(model)]
    dead = monitor.DeadUnits(probe, modules=watching)
    flat = monitor.Saturation(probe, modules=watching)
    norms = monitor.GradientNorms(by="parameter", every=max(1, -(-steps // GRADIENT_SAMPLES)))
    monitors = [inside, norms, dead]
    if settings["activation"] != "Maxout":
        monitors.append(flat)
    failed = None
    try:
        history = md.fit(
            model, loader, F.cross_entropy, optimizer, epochs, validation=(valid, valid_y),
            callbacks=[every_batch(schedule.step), *monitors], progress=False,
        ).history  # fmt: skip
    except FloatingPointError as error:
        failed, history = str(error), {}
    hidden = [f"{i}.weight" for i, layer in enumerate(model) if hasattr(layer, "weight")]
    hidden = [name for name in hidden if dict(model.named_parameters())[name].ndim >= 2][:-1]
    result = {
        "settings": settings,
        "parameters": model.num_parameters(),
        "failed": failed,
        "accuracy": history.get("accuracy", []),
        "val_accuracy": history.get("val_accuracy", []),
        "final": _accuracies(model, x, y, valid, valid_y),
        "dead": list(dead.history.values()),
        "saturated": list(flat.history.values()),
        "zeros": inside.zeros,
        "slopes": inside.slopes,
        "gradients": {"at": norms.at, "norms": [norms.history.get(name, []) for name in hidden]},
    }
    if settings.get("test"):
        result["test_accuracy"] = md.evaluate(
            model, test_images(settings["data"], settings["validation"], root)
        )["accuracy"]
    return result


def _accuracies(model: nn.Module, x: Any, y: Any, valid: Any, valid_y: Any) -> dict[str, float]:
    """At the end, in evaluation mode, on all images (those in the history are means over an epoch
    in which the model was still learning).
    """
    return {
        "train": md.evaluate(model, (x, y))["accuracy"],
        "validation": md.evaluate(model, (valid, valid_y))["accuracy"],
    }


class Inside:
    """A callback: the share of zeros in each activation's output, and PReLU's mean slope, per layer,
    before the first and after each epoch.
    """

    def __init__(self, probe: np.ndarray) -> None:
        self.probe = probe
        self.zeros: list[list[float]] = []
        self.slopes: list[list[float]] = []

    @staticmethod
    def layers(model: nn.Sequential) -> dict[str, nn.Module]:
        """The hidden activations by name; the last layer has none."""
        plain = (nn.Affine, *plan.NORMALISATIONS.values())
        return {name: m for name, m in model.named_children() if not isinstance(m, plain)}

    def on_train_begin(self, training: md.training.fit.Training) -> None:
        self.on_epoch_end(training)

    def on_epoch_end(self, training: md.training.fit.Training) -> None:
        layers = list(self.layers(training.model).values())
        shares: dict[int, float] = {}

        def see(layer: nn.Module, x: Any, y: md.Tensor) -> None:
            shares[id(layer)] = float(np.mean(y.data == 0))

        training.model.eval()
        with md.no_grad(), monitor.watch(layers, see):
            training.model(self.probe)
        training.model.train()
        self.zeros.append([shares[id(layer)] for layer in layers])
        self.slopes.append([float(m.slope.data.mean()) for m in layers if isinstance(m, nn.PReLU)])


# ── Many runs ─────────────────────────────────────────────────────────────────────────────────────


def file_of(folder: Path, settings: Settings) -> Path:
    """Where the result of these settings is kept. The name holds a hash of the settings, of minidl's
    version and of the code that trains: after a change in any of them nothing old is taken for new.
    """
    code = "".join((Path(__file__).parent / name).read_text("utf-8") for name in CODE)
    known = json.dumps([settings, md.__version__, code], sort_keys=True)
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    words = [settings["activation"], settings.get("slope", ""), settings["depth"]]
    words += [settings["initializer"], settings["normalisation"], settings["seed"]]
    return folder / ("-".join(str(word) for word in words if word != "") + f"-{digest}.json")


CODE = ("plan.py", "runs.py")


def kept(folder: Path, settings: Settings) -> Result | None:
    """The result of an earlier run with these settings."""
    path = file_of(folder, settings)
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def keep(folder: Path, result: Result) -> None:
    """Writes the result to its file, which never holds half of it."""
    path = file_of(folder, result["settings"])
    new = path.with_suffix(f".{os.getpid()}.tmp")
    new.write_text(json.dumps(result), "utf-8")
    os.replace(new, path)


def run_all(
    todo: list[Settings], folder: Path, jobs: int, root: str | None, done: Callable[[Result], None]
) -> None:
    """Trains these runs in `jobs` processes of one thread each; keeps each result in the folder and
    calls done(result). For small networks two processes get more done than two threads in one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for result in _results(todo, jobs, root):
        keep(folder, result)
        done(result)


def _results(todo: list[Settings], jobs: int, root: str | None) -> Iterator[Result]:
    if jobs == 1:
        threads = md.get_num_threads()
        md.set_num_threads(1)
        try:
            for settings in todo:
                yield run(settings, root)
        finally:
            md.set_num_threads(threads)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(todo) or 1), spawn, _begin, (list(sys.path),))
    try:
        # The children inherit this: from their first moment on, Ctrl-C is the parent's alone.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            futures = [pool.submit(run, settings, root) for settings in todo]
        finally:
            signal.signal(signal.SIGINT, before)
        for future in as_completed(futures):
            yield future.result()
    except BaseException:  # Ctrl-C: what is under way is given up, what is kept stays
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _begin(path: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows it is not inherited
    sys.path[:] = path
    md.set_num_threads(1)
