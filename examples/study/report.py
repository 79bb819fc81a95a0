"""The page of the study: settings, tables, pictures and findings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import minidl as md
from study import findings, plan
from study.findings import effect_text, interval, p_text
from study.page import Page
from study.results import (
    Results,
    against,
    at_end,
    deepest,
    first_epoch,
    gap,
    groups,
    of_cure,
    percent,
)

NAMES = {"digits": "digits (part of MNIST)", "mnist": "MNIST", "fashion": "Fashion-MNIST"}
AGAINST = ["difference", "95% interval", "adjusted p", "exact p", "d"]


def write(
    folder: Path,
    command: str,
    data: str,
    scale: plan.Scale,
    results: dict[str, Results],
    best: tuple[str, list],
) -> Path:
    """Draws the pictures and writes the page: activation_study.html, which contains them, and README.md,
    which links to them. Returns the path of the former.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page, figures = Page(f"Activation functions on {NAMES[data]}"), _figures()

    def picture(draw: str, caption: str, *arguments: object, file: str = "") -> None:
        if figures is not None:
            file = f"{file or draw}.png"
            getattr(figures, draw)(folder / file, *arguments)
            page.picture(file, caption)

    layer, depth = results.get("layer"), results.get("depth")
    _summary(page, command, *best)
    _settings(page, data, scale, results)
    _claims(page, results)
    if layer:
        _one_layer(page, picture, layer, scale)
    if "slopes" in results:
        _slopes(page, picture, results["slopes"])
    if "small" in results:
        _small(page, picture, results["small"], scale)
    if depth:
        _depth(page, picture, depth)
    if layer:
        page.heading("Dead units and zeros")
        page.text(
            f"A unit is dead if it fires (is above 0) for none of {scale.probe} validation images. "
            "Sigmoid and softplus are always above 0. A leaky unit that never fires still learns; a "
            "dead ReLU unit does not."
        )
        picture("dead_units", "Units that never fire", layer, depth)
        picture("zeros", "Zeros in ReLU's output", layer, depth)
    if depth:
        shown = findings.shown_depth(depth)
        caption = f"Mean slope of each of {shown} layers after each epoch (0.25 at the start)"
        page.heading("PReLU's slopes")
        picture("prelu_slopes", caption, depth, shown)
    _limits(page, scale)
    (folder / "README.md").write_text(page.markdown(), "utf-8")
    path = folder / "activation_study.html"
    path.write_text(page.html(folder), "utf-8")
    return path


def _figures():
    try:
        from study import figures
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("matplotlib"):
            raise
        print('no pictures: matplotlib is missing; install it with: pip install "minidl[plot]"')
        return None
    return figures


def _summary(page: Page, command: str, name: str, runs: list) -> None:
    test = [run["test_accuracy"] for run in runs]
    page.text(f"Made by `{command}` with minidl {md.__version__}.")
    page.text(
        f"The best mean validation accuracy is that of **{name}**, "
        f"{percent(at_end(runs))}%. On the test images, which were used only once, with this "
        f"configuration, it classifies **{percent(test)}%** correctly ({len(test)} seeds, mean ± "
        "standard deviation)."
    )


def _settings(page: Page, data: str, scale: plan.Scale, results: dict[str, Results]) -> None:
    group = next(iter(next(iter(results.values())).groups.values()))
    training = next(iter(group.values()))["settings"]["train"]
    page.heading("Settings")
    items = [
        f"Data: {NAMES[data]}; {scale.validation:,} of its training images are the validation set "
        "(the same for all seeds), "
        + (f"{training:,}" if training else "all other")
        + " are for training. Pixels are scaled to mean 0 and standard deviation 1.",
        f"Training: Adam, learning rate {scale.lr:g} falling to 0 along a cosine, batches of "
        f"{scale.batch}, cross entropy; no weight decay, no dropout, the same for all activations. A "
        "seed gives the initial weights, the order of the batches and RReLU's draws.",
    ]
    if "layer" in results:
        items.append(
            f"One hidden layer: {scale.units} units, {scale.epochs} epochs, {scale.seeds} seeds. "
            "Maxout takes the greatest of 2 linear maps and has fewer units, so that the number of "
            "parameters matches. LeakyReLU's slope is 0.01, PReLU has one slope per unit."
        )
    if "slopes" in results:
        items.append(f"Slopes: LeakyReLU in the same network, {scale.seeds} seeds each.")
    if "small" in results:
        items.append(
            f"Few data: the same network, {scale.small:,} images, {scale.small_epochs} epochs, "
            f"batches of 32, {scale.seeds} seeds."
        )
    if "depth" in results:
        items.append(
            f"Depth: {', '.join(map(str, scale.depths))} hidden layers of {scale.depth_units} units, "
            f"{scale.depth_epochs} epochs, {scale.depth_seeds} seeds. The default initializer is "
            "PyTorch's, U(±1/sqrt(fan_in)); the fitting one is He's normal for the ReLU family (with "
            "the slope counted in), Glorot's normal for tanh, and for sigmoid, whose slope at 0 is "
            "1/4, four times that after the first layer; biases are then 0. Normalisation comes "
            "between the weights and the activation."
        )
    page.list(items)


def _claims(page: Page, results: dict[str, Results]) -> None:
    found = findings.of_all(results)
    page.heading("Which claims hold here")
    page.text(
        "A comparison counts if its p, adjusted for all comparisons of the same experiment (Holm), is "
        f"below {findings.LEVEL}. The sentences are written by the program from the figures."
    )
    page.table(
        ["claim", "verdict", "what was measured"],
        [[f.claim, f"**{f.verdict}**", f.sentence] for f in found],
    )


def _one_layer(page: Page, picture: Callable, layer: Results, scale: plan.Scale) -> None:
    page.heading("One hidden layer")
    head = ["activation", "parameters", "training (%)", "validation (%)", "after 1 epoch (%)"]
    page.table(
        [*head, *AGAINST, "dead units (%)", "saturated outputs (%)"],
        [
            [
                name,
                f"{runs[0]['parameters']:,}",
                percent(at_end(runs, "train")),
                percent(at_end(runs)),
                percent(first_epoch(runs)),
                *test,
                _share(runs, "dead"),
                _share(runs, "saturated"),
            ]
            for name, runs, test in _ranked(layer)
        ],
    )
    page.text(
        f"Mean ± standard deviation over {scale.seeds} seeds; differences are to ReLU, paired by "
        "seed, in percentage points of validation accuracy. p: paired t-test, adjusted by Holm's "
        f"method; exact p: sign-flip permutation test, which cannot be below {2 / 2**scale.seeds:g} with "
        "so many seeds; d: mean difference divided by its standard deviation. Saturated: the slope is "
        "less than a hundredth of the activation's greatest."
    )
    picture(
        "learning_curves",
        "Accuracy after each epoch: mean and one standard deviation over the seeds; in grey the "
        "validation curves of all activations",
        layer,
    )
    caption = "Accuracy after training: a dot per seed, mean and one standard deviation"
    picture("ranking", caption, layer, "one hidden layer")


def _ranked(results: Results) -> list[tuple[str, list, list[str]]]:
    """(name, runs, comparison with ReLU) of the activations, the most accurate first."""
    runs = groups(results)
    tests = against(runs, "ReLU") if "ReLU" in runs else {}
    order = sorted(runs, key=lambda name: -at_end(runs[name]).mean())
    return [(name, runs[name], _against(tests.get(name))) for name in order]


def _against(test: tuple | None) -> list[str]:
    if test is None:
        return [""] * len(AGAINST)
    comparison, p = test
    exact = f"{comparison.exact:.3g}" if comparison.n > 1 else "-"
    difference = f"{100 * comparison.mean:+.2f}"
    return [difference, interval(comparison), p_text(p), exact, effect_text(comparison.effect)]


def _share(runs: list, name: str) -> str:
    shares = [run[name][0][-1] for run in runs if run[name]]
    return percent(shares, 1) if shares else "-"


def _slopes(page: Page, picture: Callable, slopes: Results) -> None:
    page.heading("LeakyReLU's slope")
    runs = {slope: slopes.find(slope=slope) for slope in sorted(slopes.values("slope"))}
    tests = against(runs, 0.0) if 0.0 in runs else {}
    page.table(
        ["slope", "training (%)", "validation (%)", *AGAINST],
        [
            [f"{slope:g}", percent(at_end(group, "train")), percent(at_end(group)), *test]
            for slope, group in runs.items()
            for test in [_against(tests.get(slope))]
        ],
    )
    page.text("Differences are to slope 0, which is ReLU; slope 1 makes the network linear.")
    caption = "Accuracy against the slope for negative inputs: mean and one standard deviation"
    picture("slope_sweep", caption, slopes)


def _small(page: Page, picture: Callable, small: Results, scale: plan.Scale) -> None:
    page.heading("Few data")
    page.table(
        ["activation", "training (%)", "validation (%)", "gap", *AGAINST],
        [
            [name, percent(at_end(runs, "train")), percent(at_end(runs)), percent(gap(runs)), *test]
            for name, runs, test in _ranked(small)
        ],
    )
    caption = f"Accuracy after training on {scale.small:,} images"
    picture("ranking", caption, small, f"{scale.small:,} training images", file="small_data")


def _depth(page: Page, picture: Callable, depth: Results) -> None:
    page.heading("Depth and vanishing gradients")
    last, names = deepest(depth), list(plan.INITIALIZERS)

    def table(cell: Callable[[plan.Cure, str], str]) -> None:
        rows = [[cure.name, *(cell(cure, name) for name in names)] for cure in plan.CURES]
        page.table(["", *names], rows)

    def reached(cure: plan.Cure, name: str) -> str:
        end = percent(at_end(of_cure(depth, cure, name, last)), 1)
        return f"{findings.trained(depth, cure, name)} ({end})"

    page.text(
        f"The greatest depth that trains: validation accuracy at most {100 * findings.LOSS:.0f} "
        "percentage points below that of one hidden layer without a cure, there and in all shallower "
        f"networks. In brackets the accuracy at {last} layers, in percent."
    )
    table(reached)
    page.text(
        f"The gradient of the last hidden layer over that of the second, in the first step at {last} "
        "layers: 1 means that nothing is lost on the way."
    )
    table(lambda cure, name: f"{findings.vanishing(depth, cure, name):.2g}")
    picture("depth_accuracy", "Validation accuracy against the number of hidden layers", depth)
    picture(
        "gradients_at_start",
        "The norm of each hidden layer's weight gradient in the first step of the deepest network "
        "(geometric mean over the seeds)",
        depth,
    )
    caption = "The same during training: one line per step; a row per cure, a column per activation"
    picture("gradients_during", caption, depth)


def _limits(page: Page, scale: plan.Scale) -> None:
    page.heading("What this does not show")
    page.list(
        [
            "One learning rate, one optimizer and one size of network for all: an activation that "
            "needs another learning rate is at a disadvantage.",
            "The spread over seeds is that of weights and batches, not of images: all are measured on "
            f"the same {scale.validation:,} validation images, whose own sampling error "
            f"is about {100 * (0.97 * 0.03 / scale.validation) ** 0.5:.2f} percentage points at 97%.",
            "The t-test assumes that the differences are normally distributed, which so few seeds cannot show.",
            "Fully connected networks on small grey images: convolutions and larger images may differ.",
        ]
    )
