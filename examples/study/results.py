"""The results of the runs by settings, and the numbers that tables, figures and findings are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import numpy as np

from study.plan import Cure
from study.run import Result
from study.statistics import Comparison, holm, paired

CHANCE = 0.1  # ten classes of about the same size


class Results:
    """Results of an experiment, in groups that differ only in the seed."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.groups: dict[str, dict[int, Result]] = {}
        for result in results:
            settings = dict(result["settings"])
            seed = settings.pop("seed")
            self.groups.setdefault(json.dumps(settings, sort_keys=True), {})[seed] = result

    def __bool__(self) -> bool:
        return bool(self.groups)

    def find(self, **wanted: object) -> list[Result]:
        """The runs with these settings, in order of seeds; they must be one group."""
        found = [
            runs
            for key, runs in self.groups.items()
            if all(json.loads(key).get(name) == value for name, value in wanted.items())
        ]
        if len(found) != 1:
            raise LookupError(f"{len(found)} groups of runs with {wanted}")
        return [found[0][seed] for seed in sorted(found[0])]

    def values(self, name: str) -> list:
        """The different values of this setting, in order of appearance."""
        return list(dict.fromkeys(json.loads(key).get(name) for key in self.groups))


def groups(results: Results) -> dict[str, list[Result]]:
    """The runs of each activation."""
    return {name: results.find(activation=name) for name in results.values("activation")}


def at_end(runs: Iterable[Result], part: str = "validation") -> np.ndarray:
    """The accuracy after training, one number per seed."""
    return np.array([run["final"][part] for run in runs])


def first_epoch(runs: list[Result]) -> np.ndarray:
    """The validation accuracy after one epoch, one number per seed."""
    return curves(runs, "val_accuracy")[:, 0]


def gap(runs: list[Result]) -> np.ndarray:
    """Training minus validation accuracy after training, one number per seed."""
    return at_end(runs, "train") - at_end(runs)


def dead_share(runs: list[Result]) -> np.ndarray:
    """Units that never fire, after training: the mean over the layers, one number per seed."""
    return np.array([np.mean([shares[-1] for shares in run["dead"]]) for run in runs])


def curves(runs: Iterable[Result], name: str) -> np.ndarray:
    """(seeds, epochs): "accuracy" or "val_accuracy"; NaN after a run that failed."""
    rows = [run[name] for run in runs]
    longest = max(map(len, rows), default=0)
    return np.array([row + [np.nan] * (longest - len(row)) for row in rows], float)


def of_cure(depth: Results, cure: Cure, name: str, layers: int) -> list[Result]:
    """The runs of the depth study with this cure, activation and number of hidden layers."""
    _, initializer, normalisation = cure
    return depth.find(
        initializer=initializer, normalisation=normalisation, activation=name, depth=layers
    )


def deepest(depth: Results) -> int:
    return max(depth.values("depth"))


def gradient_norms(runs: list[Result]) -> np.ndarray:
    """(hidden layers, samples): geometric means over the seeds; 0 where all are 0."""
    longest = min(len(run["gradients"]["at"]) for run in runs)
    norms = np.array([[row[:longest] for row in run["gradients"]["norms"]] for run in runs])
    return np.exp(np.log(np.maximum(norms, 1e-45)).mean(axis=0))


def percent(values: np.ndarray, digits: int = 2) -> str:
    """Mean and standard deviation: "97.12 ± 0.08"."""
    values = np.asarray(values, float) * 100
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def against(
    groups: dict[str, list[Result]], reference: str, value: Callable = at_end
) -> dict[str, tuple[Comparison, float]]:
    """Each group compared with the reference, paired by seed: the comparison and Holm's p."""
    names = [name for name in groups if name != reference]
    tests = [paired(value(groups[name]), value(groups[reference])) for name in names]
    adjusted = holm([test.p for test in tests])
    return {name: (test, p) for name, test, p in zip(names, tests, adjusted, strict=True)}
