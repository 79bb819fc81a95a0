"""Well-known claims, and whether they hold here. All sentences are made from the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from study import plan
from study.plan import Cure
from study.results import (
    CHANCE,
    Results,
    against,
    at_end,
    dead_share,
    deepest,
    first_epoch,
    gap,
    gradient_norms,
    groups,
    of_cure,
    percent,
)
from study.statistics import Comparison, paired

HOLDS, PARTLY, NOT, OPEN = "holds", "holds in part", "does not hold", "not decided"
LEVEL = 0.05  # of the adjusted p
LOSS = (
    0.10  # a deep network "trains" if its accuracy is at most so far below that of one hidden layer
)
VANISHED = 1000  # the gradient of the last hidden layer is so many times that of the second
FINAL, EARLY = "validation accuracy after training", "validation accuracy after one epoch"


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


def figures_of(test: Comparison, p: float, name: str = "adjusted p") -> str:
    """The figures behind a comparison, for the end of a sentence."""
    if test.n < 2:
        return f"{100 * test.mean:+.2f} percentage points, one seed: not tested"
    return (
        f"{100 * test.mean:+.2f} percentage points, 95% interval {interval(test)}, {name} "
        f"{_equals(p)}, exact sign-flip p {test.exact:.3g}, effect d {effect_text(test.effect)}, "
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
    """One sentence that compares a with b."""
    start = {
        OPEN: f"No difference between {a} and {b} in {what} is shown",
        HOLDS: f"{a} beats {b} in {what}",
        NOT: f"{a} falls behind {b} in {what}",
    }
    return f"{start[verdict(test, p)]} ({figures_of(test, p)})."


def overall(verdicts: list[str]) -> str:
    """The verdict on a claim about several things."""
    kinds = set(verdicts)
    if len(kinds) == 1:
        return kinds.pop()
    return PARTLY if HOLDS in kinds else NOT if NOT in kinds else OPEN


# ── One hidden layer ──────────────────────────────────────────────────────────────────────────────


def of_layer(layer: Results) -> list[Finding]:
    tests = {
        FINAL: against(groups(layer), "ReLU"),
        EARLY: against(groups(layer), "ReLU", first_epoch),
    }
    found = []

    def claim(text: str, names: list[str], what: str, relu_is_better: bool = False) -> None:
        verdicts, sentences = [], []
        for name in names:
            if name in tests[what]:
                test, p = tests[what][name]
                test, pair = (-test, ("ReLU", name)) if relu_is_better else (test, (name, "ReLU"))
                verdicts.append(verdict(test, p))
                sentences.append(said(*pair, what, test, p))
        if verdicts:
            found.append(Finding(text, overall(verdicts), " ".join(sentences)))

    claim("A hidden layer needs a nonlinearity", ["linear"], FINAL, True)
    claim("ReLU beats sigmoid and tanh", ["sigmoid", "tanh"], FINAL, True)
    claim("ReLU beats its smooth form, softplus", ["softplus"], FINAL, True)
    claim("ReLU learns faster than sigmoid and tanh", ["sigmoid", "tanh"], EARLY, True)
    claim("Leaky ReLU (0.01) beats ReLU", ["LeakyReLU"], FINAL)
    claim("PReLU beats ReLU", ["PReLU"], FINAL)
    claim("ELU learns faster than ReLU", ["ELU"], EARLY)
    claim("GELU, SiLU and Mish beat ReLU", ["GELU", "SiLU", "Mish"], FINAL)
    claim("Maxout beats ReLU with as many parameters", ["Maxout"], FINAL)
    return found


def of_slopes(slopes: Results) -> list[Finding]:
    values = sorted(slopes.values("slope"))
    if 0.0 not in values or len(values) < 2:
        return []
    runs = {f"{slope:g}": slopes.find(slope=slope) for slope in values}
    tests = against(runs, "0")
    verdicts = {name: verdict(*test) for name, test in tests.items()}
    best = max(runs, key=lambda name: at_end(runs[name]).mean())
    leaky = f"{min((s for s in values if s > 0), key=lambda s: abs(s - 0.18)):g}"

    def listed(kind: str) -> str:
        return ", ".join(name for name, found in verdicts.items() if found == kind) or "none"

    sentence = (
        f"{said(f'LeakyReLU({leaky})', 'ReLU', FINAL, *tests[leaky])} "
        f"The best mean is that of slope {best} ({percent(at_end(runs[best]))}%); significantly better "
        f"than slope 0: {listed(HOLDS)}; significantly worse: {listed(NOT)}."
    )
    return [Finding("A greater slope (about 0.2) beats ReLU", verdicts[leaky], sentence)]


def of_small(small: Results) -> list[Finding]:
    runs = groups(small)
    images = next(iter(runs.values()))[0]["settings"]["train"]
    end, gaps = against(runs, "ReLU"), against(runs, "ReLU", gap)
    found = []
    if "PReLU" in end:
        wider, better = verdict(*gaps["PReLU"]), verdict(*end["PReLU"])
        if wider == NOT or better == HOLDS:
            result = NOT
        else:
            result = {2: HOLDS, 1: PARTLY, 0: OPEN}[(wider == HOLDS) + (better == NOT)]
        accuracy = said("PReLU", "ReLU", "validation accuracy", *end["PReLU"])
        sentence = (
            f"With {images:,} images, the gap between training and validation accuracy of PReLU "
            f"minus that of ReLU is {figures_of(*gaps['PReLU'])}; "
            f"{accuracy.replace('No difference', 'no difference')}"
        )
        if all(at_end(runs[name], "train").min() == 1 for name in ("PReLU", "ReLU")):
            sentence += (
                " Both are right on every training image, so that the gap says no more than the "
                "validation accuracy."
            )
        found.append(Finding("PReLU overfits when data are few", result, sentence))
    if "RReLU" in end:
        order = sorted(runs, key=lambda name: -at_end(runs[name]).mean())
        place, result = order.index("RReLU") + 1, verdict(*end["RReLU"])
        sentence = (
            f"{said('RReLU', 'ReLU', f'validation accuracy with {images:,} images', *end['RReLU'])} "
            f"By its mean it ranks number {place} of {len(order)}; the best is {order[0]}."
        )
        result = PARTLY if result == HOLDS and place > 1 else result
        found.append(Finding("RReLU is the best when data are few", result, sentence))
    return found


# ── Depth ─────────────────────────────────────────────────────────────────────────────────────────


def trained(depth: Results, cure: Cure, name: str) -> int:
    """The greatest depth up to which all networks train: see LOSS."""
    depths = sorted(depth.values("depth"))
    one = at_end(of_cure(depth, plan.NONE, name, depths[0])).mean()
    reached = 0
    for d in depths:
        if at_end(of_cure(depth, cure, name, d)).mean() < one - LOSS:
            break
        reached = d
    return reached


def vanishing(depth: Results, cure: Cure, name: str) -> float:
    """How many times greater the last hidden layer's gradient is than the second's, in the first step
    of the deepest network. (The first layer's weights have another shape.)
    """
    norms = gradient_norms(of_cure(depth, cure, name, deepest(depth)))[:, 0]
    return float(norms[-1] / norms[min(1, len(norms) - 1)])


def of_depth(depth: Results) -> list[Finding]:
    most = deepest(depth)
    seeds = len(of_cure(depth, plan.NONE, "sigmoid", most))

    def accuracy(cure: Cure, name: str) -> str:
        return percent(at_end(of_cure(depth, cure, name, most)), 1) + "%"

    reach = trained(depth, plan.NONE, "sigmoid")
    found = [
        Finding(
            "Deep sigmoid networks do not train",
            NOT if reach == most else HOLDS,
            f"With the default initializer, of the depths that were tried sigmoid trains up to "
            f"{reach}; at {most} its validation accuracy is {accuracy(plan.NONE, 'sigmoid')} "
            f"(chance: {CHANCE:.0%}; {seeds} seeds).",
        ),
        _vanish(
            "The gradients of deep sigmoid networks vanish towards the pixels", depth, "sigmoid"
        ),
        _vanish("With ReLU they do not", depth, "ReLU"),
    ]
    failing = [name for name in plan.INITIALIZERS if trained(depth, plan.NONE, name) < most]
    some_train = "sigmoid" in failing and len(failing) < len(plan.INITIALIZERS)
    reached = "; ".join(f"{name} reaches {accuracy(plan.NONE, name)}" for name in plan.INITIALIZERS)
    found.append(
        Finding(
            "Another activation than sigmoid is the cure",
            HOLDS if failing == ["sigmoid"] else PARTLY if some_train else NOT,
            f"With the default initializer and {most} layers {reached}.",
        )
    )
    for cure in plan.CURES[1:]:
        healed = [name for name in failing if trained(depth, cure, name) == most]
        result = OPEN if not failing else HOLDS if healed == failing else PARTLY if healed else NOT
        figures = "; ".join(f"{name} {accuracy(cure, name)}" for name in plan.INITIALIZERS)
        found.append(
            Finding(
                f"{'A good initializer' if cure is plan.INITIALIZER else cure.name} cures it",
                result,
                f"{_cured(failing, healed, most)}. Validation accuracy at {most} layers: {figures} "
                f"({seeds} seeds).",
            )
        )
    return found


def _vanish(claim: str, depth: Results, name: str) -> Finding:
    ratio, most = vanishing(depth, plan.NONE, name), deepest(depth)
    return Finding(
        claim,
        HOLDS if (ratio > VANISHED) == (name == "sigmoid") else NOT,
        f"In the first step of {most} layers of {name}, with the default initializer, the gradient "
        f"of the last hidden layer is {ratio:.2g} times that of the second: a factor of "
        f"{ratio ** (1 / max(most - 2, 1)):.2f} per layer (counted as vanished from {VANISHED:,} on).",
    )


def _cured(failing: list[str], healed: list[str], most: int) -> str:
    if not failing:
        return "There was nothing to cure: all activations train without it"
    text = f"Of those that fail at {most} layers without it ({', '.join(failing)}), "
    text += f"{', '.join(healed) or 'none'} {'trains' if len(healed) == 1 else 'train'} with it"
    still = [name for name in failing if name not in healed]
    if healed and still:
        text += f", {', '.join(still)} still {'fail' if len(still) > 1 else 'fails'}"
    return text


# ── Inside ────────────────────────────────────────────────────────────────────────────────────────


def of_inside(layer: Results | None, depth: Results | None) -> list[Finding]:
    found = []
    if layer and depth:
        one, most = dead_share(layer.find(activation="ReLU")), deepest(depth)
        deep = {cure.name: dead_share(of_cure(depth, cure, "ReLU", most)) for cure in plan.CURES}
        die = [one.mean() > LEVEL, any(shares.mean() > LEVEL for shares in deep.values())]
        shares = "; ".join(f"{percent(share, 1)}% ({name})" for name, share in deep.items())
        found.append(
            Finding(
                "ReLU units die",
                HOLDS if all(die) else PARTLY if any(die) else NOT,
                f"After training, {percent(one, 1)}% of the units of one hidden layer fire for none "
                f"of the probe's images; with {most} layers it is {shares} (counted as dying from "
                f"{LEVEL:.0%} on).",
            )
        )
    if layer:
        zeros = np.array([run["zeros"] for run in layer.find(activation="ReLU")])[:, :, 0]
        start, end = zeros[:, 0], zeros[:, -1]
        test = paired(end, start)
        grows = {HOLDS: "more", NOT: "fewer", OPEN: "no significantly different number"}
        found.append(
            Finding(
                "About half of ReLU's outputs are 0 before training",
                HOLDS if 0.4 <= start.mean() <= 0.6 else NOT,
                f"{percent(start, 1)}% are 0 before training and {percent(end, 1)}% after it: "
                f"{grows[verdict(test, test.p)]} ({figures_of(test, test.p, 'p')}).",
            )
        )
    if depth and (shown := shown_depth(depth)) > 1:
        runs = of_cure(depth, plan.INITIALIZER, "PReLU", shown)
        slopes = np.array([run["slopes"][-1] for run in runs])
        first, later = slopes[:, 0], slopes[:, 1:].mean(axis=1)
        test = paired(first, later)
        found.append(
            Finding(
                "PReLU learns greater slopes in the first layer than in later ones",
                verdict(test, test.p),
                f"In {shown} layers with the fitting initializer the mean slope, 0.25 at the start, "
                f"ends at {first.mean():.3f} in the first layer and {later.mean():.3f} in the later "
                f"ones (difference {test.mean:+.3f}, p {_equals(test.p) if test.n > 1 else 'not tested'}, "
                f"{test.n} seeds).",
            )
        )
    return found


def shown_depth(depth: Results) -> int:
    """The depth at which slopes are shown layer by layer: deep, but not too deep to train."""
    return min(depth.values("depth"), key=lambda d: (abs(d - 7), d))


def of_all(results: dict[str, Results]) -> list[Finding]:
    """The findings of the experiments that were made, by their names."""
    parts = {"layer": of_layer, "slopes": of_slopes, "small": of_small, "depth": of_depth}
    found = [f for name, part in parts.items() if name in results for f in part(results[name])]
    return found + of_inside(results.get("layer"), results.get("depth"))
