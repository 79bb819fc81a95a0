"""The results of a finished training: figures, and the pictures that are drawn at the end."""

import json
from itertools import pairwise

import numpy as np

from gan import quality
from gan.images import flat, pixels, scaled
from gan.run import SHOWN, Run, drawing

FAR = 10  # times the Fréchet distance of training images
Figures = dict[str, dict[str, float]]


def finish(run: Run) -> Figures:
    """Measures the samples, prints the figures and saves them in results.json; draws the pictures."""
    rng = np.random.default_rng([run.args.seed, 3])
    n = len(run.held_out)
    noise = rng.standard_normal((max(n, SHOWN), run.args.nz, 1, 1), np.float32)
    fake = run.gan.samples(noise)
    shares, features = None, None
    if run.eye is not None:
        found, features = run.eye.look(fake[:n])
        shares = quality.class_shares(found, len(run.names))
    figures = measure(run, fake, features)
    show(run, figures, shares)
    result = {"figures": figures, "history": run.history, "warnings": run.warnings}
    if shares is not None:
        result["classes"] = dict(zip(run.names, shares.tolist(), strict=True))
    if run.skipped:
        result["skipped"] = run.skipped
    (run.folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    if run.draws:
        draw(run, fake, shares, rng)
    elif not run.args.no_plots:
        print('no pictures: matplotlib is missing; install it with: pip install "minidl[plot]"')
    return figures


def measure(run: Run, fake: np.ndarray, features: np.ndarray | None) -> Figures:
    """Samples against held-out images, and the same for training images: the target level.

    All sets have the same size, as the figures depend on it.
    (The classifier has seen the training images: it sets them apart a little more than it should.)
    """
    figures: Figures = {}
    if run.eye is not None:
        n = len(run.held_out)
        some = run.images[np.random.default_rng(0).permutation(len(run.images))[:n]]
        _, train_features = run.eye.look(scaled(some))
        for name, rows in (("samples", features), ("training images", train_features)):
            precision, recall = quality.precision_recall(run.real_features, rows)
            distance = quality.frechet_distance(run.real_features, rows)
            figures[name] = {"frechet": distance, "precision": precision, "recall": recall}
    # Samples that are much closer to training images than held-out images are were memorised.
    for name, images in (("samples", pixels(fake[:500])), ("held-out images", run.held_out[:500])):
        _, distances = quality.nearest(flat(images), flat(run.images))
        figures.setdefault(name, {})["nearest"] = float(np.median(distances)) / 255
    return figures


def show(run: Run, figures: Figures, shares: np.ndarray | None) -> None:
    if shares is None:
        print("\nno Fréchet distance, precision and recall: they need a classifier's features,")
        print("and there are no classes (if all pictures are in subfolders, those are classes)")
    else:
        print(f"\nagainst {len(run.held_out):,} held-out images, by features of a classifier")
        print(f"({run.eye_accuracy:.1%} of these right):    Fréchet distance   precision   recall")
        for name in ("samples", "training images"):
            row = figures[name]
            print(f"  {name:<24}{row['frechet']:19.2f}{row['precision']:12.1%}{row['recall']:9.1%}")
        print(f"  {first_to_look_at(figures)}")
    near = {name: figures[name]["nearest"] for name in ("samples", "held-out images")}
    print(f"distance to the nearest training image, median: {near['samples']:.2f}; ", end="")
    print(f"of held-out images {near['held-out images']:.2f}")
    if shares is not None:
        counts = ", ".join(f"{n} {s:.0%}" for n, s in zip(run.names, shares, strict=True))
        print(f"classes of the samples: {counts}")
    if run.warnings:
        print(f"warnings: {len(run.warnings)}, the last one in {run.warnings[-1]}")


def first_to_look_at(figures: Figures) -> str:
    """The Fréchet distance: precision only asks of each sample whether some real image is near."""
    times = figures["samples"]["frechet"] / figures["training images"]["frechet"]
    if times > FAR:
        return (
            f"look at the Fréchet distance first: {times:.0f} times that of training images; as a whole the samples "
            "are unlike real images, however high precision is"
        )
    return f"the Fréchet distance says most: {times:.1f} times that of training images"


def draw(run: Run, fake: np.ndarray, shares: np.ndarray | None, rng: np.random.Generator) -> None:
    folder = run.folder
    drawing.picture(folder / "samples.png", drawing.page(pixels(fake[:SHOWN]), 8), "samples")
    pages = [run.page_of(epoch) for epoch in range(1, run.epoch + 1)]
    pages = [page for page in pages if page.is_file()]
    if pages:
        drawing.animation(folder / "training.gif", pages, 200, 2000)

    # From one point of the latent space to the next: a row of the picture. Turning (cos, sin)
    # instead of a straight line keeps the noise normal with variance 1 on the way.
    ends = rng.standard_normal((9, run.args.nz, 1, 1), np.float32)
    turns = np.linspace(0, np.pi / 2, 12)
    noise = [between(a, b, t) for a, b in pairwise(ends) for t in turns]
    walk = pixels(run.gan.samples(np.stack(noise)))
    title = "each row: samples on the way from one point of the noise to another"
    drawing.picture(folder / "walk.png", drawing.page(walk, len(turns)), title)
    # Sixteen walks at once, each in a circle.
    a, b = rng.standard_normal((2, 16, run.args.nz, 1, 1), np.float32)
    circle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    frames = [drawing.page(pixels(run.gan.samples(between(a, b, t))), 4) for t in circle]
    drawing.animation(folder / "walk.gif", frames, 120)

    some = pixels(fake[:32])
    rows, _ = quality.nearest(flat(some), flat(run.images))
    drawing.pairs(folder / "nearest.png", some, run.images[rows])
    drawing.curves(folder / "curves.png", run.history, run.args.wgan_gp)
    if shares is not None:
        drawing.class_bars(folder / "classes.png", shares, run.real_shares, run.names)
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".gif"))
    print(f"pictures: {', '.join(names)}, and a page of samples per epoch in {folder}/")


def between(a: np.ndarray, b: np.ndarray, turn: float) -> np.ndarray:
    return np.float32(np.cos(turn)) * a + np.float32(np.sin(turn)) * b
