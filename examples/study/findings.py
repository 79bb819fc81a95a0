"""What the results say: well-known claims, and whether they hold here. Every sentence follows from the
figures: none is written beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from study import plan
from study.results import CHANCE, Results, against, at_end, curves, gradient_norms, of_cure, percent
from study.statistics import Comparison, paired

HOLDS, PARTLY, NOT, OPEN = "holds", "holds in part", "does not hold", "not decided"
LEVEL = 0.05  # of the adjusted p
LOSS = 0.10  # a deep network "trains" if its accuracy is so close to that of one hidden layer
VANISHED = 1000  # how many times smaller the gradient of the second layer is than that of the last


@dataclass(frozen=True)
class Finding:
    claim: str
    verdict: str
    sentence: str


# ── Comparisons ───────────────────────────────────────────────────────────────────────────────────


def p_text(p: float) -> str:
    if math.isnan(p):
        return "not tested"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def effect_text(effect: float) -> str:
    return "-" if math.isnan(effect) else f"{effect:+.1f}" if math.isfinite(effect) else "all equal"


def interval(test: Comparison) -> str:
    if math.isnan(test.low):
        return "-"
    return f"{100 * test.low:+.2f} to {100 * test.high:+.2f}"


def figures_of(test: Comparison, p: float) -> str:
    """The figures behind a comparison, for the end of a sentence."""
    if test.n < 2:
        return f"{100 * test.mean:+.2f} percentage points, one seed: not tested"
    return (
        f"{100 * test.mean:+.2f} percentage points, 95% interval {interval(test)}, adjusted "
        f"p {_equals(p)}, exact sign-flip p {test.exact:.3g}, effect d {effect_text(test.effect)}, "
        f"{test.n} seeds"
    )


def _equals(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def verdict(test: Comparison, p: float) -> str:
    """Of the claim that a - b > 0."""
    if test.n < 2 or math.isnan(p) or p >= LEVEL:
        return OPEN
    return HOLDS if test.mean > 0 else NOT


def said(a: str, b: str, what: str, test: Comparison, p: float) -> str:
    """One sentence on a against b."""
    found = verdict(test, p)
    if found == OPEN:
        start = f"No difference between {a} and {b} in {what} is shown"
    else:
        start = f"{a} {'beats' if found == HOLDS else 'falls behind'} {b} in {what}"
    return f"{start} ({figures_of(test, p)})."


def worst(verdicts: list[str]) -> str:
    """The verdict on a claim about several things."""
    kinds = set(verdicts)
    if len(kinds) == 1:
        return kinds.pop()
    return PARTLY if HOLDS in kinds else NOT if NOT in kinds else OPEN


# ── One hidden layer ──────────────────────────────────────────────────────────────────────────────


def groups(results: Results) -> dict[str, list]:
    return {name: results.find(activation=name) for name in results.values("activation")}


def first_epoch(runs: list) -> np.ndarray:
    return curves(runs, "val_accuracy")[:, 0]


def gap(runs: list) -> np.ndarray:
    return at_end(runs, "train") - at_end(runs)


def of_layer(layer: Results) -> list[Finding]:
    end = against(groups(layer), "ReLU")
    first = against(groups(layer), "ReLU", first_epoch)
    found = []

    def claim(text: str, names: list[str], tests: dict, what: str, relu_is_better: bool) -> None:
        names = [name for name in names if name in tests]
        verdicts, sentences = [], []
        for name in names:
            test, p = tests[name]
            if relu_is_better:
                test = _turned(test)
            pair = ("ReLU", name) if relu_is_better else (name, "ReLU")
            verdicts.append(verdict(test, p))
            sentences.append(said(*pair, what, test, p))
        if names:
            found.append(Finding(text, worst(verdicts), " ".join(sentences)))

    final, early = "validation accuracy after training", "validation accuracy after one epoch"
    claim("A hidden layer needs a nonlinearity", ["linear"], end, final, True)
    claim("ReLU beats sigmoid and tanh", ["sigmoid", "tanh"], end, final, True)
    claim("ReLU beats its smooth form, softplus", ["softplus"], end, final, True)
    claim("ReLU learns faster than sigmoid and tanh", ["sigmoid", "tanh"], first, early, True)
    claim("Leaky ReLU (0.01) beats ReLU", ["LeakyReLU"], end, final, False)
    claim("PReLU beats ReLU", ["PReLU"], end, final, False)
    claim("ELU learns faster than ReLU", ["ELU"], first, early, False)
    claim("GELU, SiLU and Mish beat ReLU", ["GELU", "SiLU", "Mish"], end, final, False)
    claim("Maxout beats ReLU with as many parameters", ["Maxout"], end, final, False)
    return found


def _turned(test: Comparison) -> Comparison:
    """The comparison of b with a."""
    return Comparison(
        -test.mean, test.std, -test.high, -test.low, test.p, test.exact, -test.effect, test.n
    )


def of_slopes(slopes: Results) -> list[Finding]:
    values = sorted(slopes.values("slope"))
    runs = {f"slope {slope:g}": slopes.find(slope=slope) for slope in values}
    if 0.0 not in values or len(values) < 2:
        return []
    tests = against(runs, "slope 0")
    best = max(runs, key=lambda name: at_end(runs[name]).mean())
    leaky = min((s for s in values if s > 0), key=lambda s: abs(s - 0.18))
    test, p = tests[f"slope {leaky:g}"]
    better = [name for name, (t, q) in tests.items() if verdict(t, q) == HOLDS]
    worse = [name for name, (t, q) in tests.items() if verdict(t, q) == NOT]
    sentence = (
        f"{said(f'LeakyReLU({leaky:g})', 'ReLU', 'validation accuracy after training', test, p)} "
        f"The best mean is that of {best} ({percent(at_end(runs[best]))}%); significantly better "
        f"than slope 0: {_listed(better)}; significantly worse: {_listed(worse)}."
    )
    return [Finding("A greater slope (about 0.2) beats ReLU", verdict(test, p), sentence)]


def _listed(names: list[str]) -> str:
    return ", ".join(name.removeprefix("slope ") for name in names) or "none"


def of_small(small: Results) -> list[Finding]:
    all_groups = groups(small)
    images = next(iter(all_groups.values()))[0]["settings"]["train"]
    end, gaps = against(all_groups, "ReLU"), against(all_groups, "ReLU", gap)
    found = []
    if "PReLU" in end:
        (test, p), (wider, q) = end["PReLU"], gaps["PReLU"]
        overfits, lower = verdict(wider, q) == HOLDS, verdict(test, p) == NOT
        result = HOLDS if overfits and lower else PARTLY if overfits or lower else OPEN
        if verdict(wider, q) == NOT or verdict(test, p) == HOLDS:
            result = NOT
        sentence = (
            f"With {images:,} images, the gap between training and validation accuracy of PReLU "
            f"minus that of ReLU is {figures_of(wider, q)}; "
            f"{_lower(said('PReLU', 'ReLU', 'validation accuracy', test, p))}"
        )
        if all(at_end(all_groups[name], "train").min() == 1 for name in ("PReLU", "ReLU")):
            sentence += (
                " Both are right on every training image, so that the gap says no more than the "
                "validation accuracy."
            )
        found.append(Finding("PReLU overfits when data are few", result, sentence))
    if "RReLU" in end:
        test, p = end["RReLU"]
        order = sorted(all_groups, key=lambda name: -at_end(all_groups[name]).mean())
        place = order.index("RReLU") + 1
        sentence = (
            f"{said('RReLU', 'ReLU', f'validation accuracy with {images:,} images', test, p)} "
            f"By its mean it stands at place {place} of {len(order)}; first is {order[0]}."
        )
        result = verdict(test, p)
        result = PARTLY if result == HOLDS and place > 1 else result
        found.append(Finding("RReLU is the best when data are few", result, sentence))
    return found


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[0].lower() + text[1:]


# ── Depth ─────────────────────────────────────────────────────────────────────────────────────────


def trained(depth: Results, cure: tuple[str, str, str], name: str) -> int:
    """The greatest depth up to which all networks train: see LOSS."""
    depths = sorted(depth.values("depth"))
    one = at_end(of_cure(depth, plan.CURES[0], depth=depths[0], activation=name)).mean()
    reached = 0
    for d in depths:
        if at_end(of_cure(depth, cure, depth=d, activation=name)).mean() < one - LOSS:
            break
        reached = d
    return reached


def vanishing(depth: Results, cure: tuple[str, str, str], name: str) -> float:
    """How many times greater the last hidden layer's gradient is than the second's, in the first step
    of the deepest network. (The first layer has other shapes.)
    """
    runs = of_cure(depth, cure, depth=max(depth.values("depth")), activation=name)
    norms = gradient_norms(runs)[:, 0]
    return float(norms[-1] / norms[min(1, len(norms) - 1)])


def of_depth(depth: Results) -> list[Finding]:
    none, deepest = plan.CURES[0], max(depth.values("depth"))
    seeds = len(of_cure(depth, none, depth=deepest, activation="sigmoid"))

    def accuracy(cure: tuple[str, str, str], name: str) -> str:
        return percent(at_end(of_cure(depth, cure, depth=deepest, activation=name)), 1) + "%"

    found = []
    reach = trained(depth, none, "sigmoid")
    found.append(
        Finding(
            "Deep sigmoid networks do not train",
            NOT if reach == deepest else HOLDS,
            f"With the default initializer, of the depths that were tried sigmoid trains up to "
            f"{reach}; at {deepest} its validation accuracy is {accuracy(none, 'sigmoid')} "
            f"(chance: {CHANCE:.0%}; {seeds} seeds).",
        )
    )
    for name in ("sigmoid", "ReLU"):
        ratio = vanishing(depth, none, name)
        layers = max(deepest - 2, 1)
        claims = {
            "sigmoid": "The gradients of deep sigmoid networks vanish towards the pixels",
            "ReLU": "With ReLU they do not",
        }
        vanish = ratio > VANISHED
        found.append(
            Finding(
                claims[name],
                HOLDS if vanish == (name == "sigmoid") else NOT,
                f"In the first step of {deepest} layers of {name}, with the default initializer, "
                f"the gradient of the last hidden layer is {ratio:.2g} times that of the second: a "
                f"factor of {ratio ** (1 / layers):.2f} per layer (counted as vanished from "
                f"{VANISHED:,} on).",
            )
        )
    failing = [name for name in plan.INITIALIZERS if trained(depth, none, name) < deepest]
    found.append(
        Finding(
            "Another activation than sigmoid is the cure",
            HOLDS if failing == ["sigmoid"] else NOT if "sigmoid" not in failing else PARTLY
            if len(failing) < len(plan.INITIALIZERS) else NOT,
            f"With the default initializer and {deepest} layers "
            + "; ".join(f"{name} reaches {accuracy(none, name)}" for name in plan.INITIALIZERS)
            + ".",
        )
    )  # fmt: skip
    titles = {"initializer": "A good initializer cures it"}
    for cure in plan.CURES[1:]:
        healed = [name for name in failing if trained(depth, cure, name) == deepest]
        if not failing:
            result, start = OPEN, "Nothing was there to cure: all activations train without"
        else:
            result = HOLDS if healed == failing else PARTLY if healed else NOT
            still = [name for name in failing if name not in healed]
            start = (
                f"Of those that fail at {deepest} layers without it ({', '.join(failing)}), "
                f"{', '.join(healed) or 'none'} {'train' if len(healed) != 1 else 'trains'} with it"
                + (f", {', '.join(still)} still {'fail' if len(still) > 1 else 'fails'}" if still and healed else "")
            )  # fmt: skip
        figures = "; ".join(f"{name} {accuracy(cure, name)}" for name in plan.INITIALIZERS)
        found.append(
            Finding(
                titles.get(cure[0], f"{cure[0]} cures it"),
                result,
                f"{start}. Validation accuracy at {deepest} layers: {figures} ({seeds} seeds).",
            )
        )
    return found


# ── Inside ────────────────────────────────────────────────────────────────────────────────────────


def dead_share(runs: list) -> np.ndarray:
    """After training, mean over the layers, one number per seed."""
    return np.array([np.mean([shares[-1] for shares in run["dead"]]) for run in runs])


def of_inside(layer: Results | None, depth: Results | None) -> list[Finding]:
    found = []
    if layer and depth:
        one = dead_share(layer.find(activation="ReLU"))
        deepest = max(depth.values("depth"))
        deep = {
            cure[0]: dead_share(of_cure(depth, cure, depth=deepest, activation="ReLU"))
            for cure in plan.CURES
        }
        often = [name for name, shares in deep.items() if shares.mean() > LEVEL]
        wide = one.mean() > LEVEL
        found.append(
            Finding(
                "ReLU units die",
                HOLDS if wide and often else PARTLY if wide or often else NOT,
                f"After training, {percent(one, 1)}% of the units of one hidden layer fire for none "
                f"of the probe's images; with {deepest} layers it is "
                + "; ".join(f"{percent(s, 1)}% ({_cure(name)})" for name, s in deep.items())
                + f" (counted as dying from {LEVEL:.0%} on).",
            )
        )
    if layer:
        zeros = np.array([run["zeros"] for run in layer.find(activation="ReLU")])[:, :, 0]
        start, end = zeros[:, 0], zeros[:, -1]
        half = 0.4 <= start.mean() <= 0.6
        test = paired(end, start)
        grows = "more" if test.mean > 0 else "fewer"
        found.append(
            Finding(
                "About half of ReLU's outputs are 0 before training",
                HOLDS if half else NOT,
                f"{percent(start, 1)}% are 0 before training and {percent(end, 1)}% after it: "
                f"{grows if test.p < LEVEL else 'no significantly different number'} "
                f"({figures_of(test, test.p).replace('adjusted p', 'p')}).",
            )
        )
    if depth:
        shown = shown_depth(depth)
        last = np.array(
            [
                run["slopes"][-1]
                for run in of_cure(depth, plan.CURES[1], depth=shown, activation="PReLU")
            ]
        )
        if shown > 1:
            test = paired(last[:, 0], last[:, 1:].mean(axis=1))
            found.append(
                Finding(
                    "PReLU learns greater slopes in the first layer than in later ones",
                    verdict(test, test.p),
                    f"In {shown} layers with the fitting initializer the mean slope, 0.25 at the "
                    f"start, ends at {last[:, 0].mean():.3f} in the first layer and "
                    f"{last[:, 1:].mean():.3f} in the later ones (difference {test.mean:+.3f}, "
                    f"p {_equals(test.p) if test.n > 1 else 'not tested'}, {test.n} seeds).",
                )
            )
    return found


def shown_depth(depth: Results) -> int:
    """Where slopes are looked at layer by layer: deep, but not too deep to train."""
    depths = sorted(depth.values("depth"))
    return min(depths, key=lambda d: (abs(d - 7), d))


def _cure(name: str) -> str:
    return {"none": "no cure", "initializer": "fitting initializer"}.get(name, name)


OF: dict[str, Callable[[Results], list[Finding]]] = {
    "layer": of_layer,
    "slopes": of_slopes,
    "small": of_small,
    "depth": of_depth,
}
