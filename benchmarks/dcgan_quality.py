"""Does a DCGAN trained in minidl draw as well as the same one trained in PyTorch? Needs torch.

    python benchmarks/dcgan_quality.py                     3 seeds, 10 epochs of MNIST: an hour or two
    python benchmarks/dcgan_quality.py --report            only the table, of the finished runs

Both train as in examples/dcgan.py: the same networks with the same initial weights, the same batches
and noise, Adam, losses. After some hundred steps they differ by rounding as much as with another seed,
so figures are compared over several seeds. All samples are drawn by minidl from the trained weights
and measured by the same classifier and code (examples/gan), against MNIST's test images.

Finished runs are saved in benchmarks/quality/dcgan.json and not repeated; the table is dcgan.md.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as TF

import minidl as md
from minidl import data

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))

import dcgan  # noqa: E402
import dcgan_study  # noqa: E402
from gan import classifier, quality  # noqa: E402
from gan.images import scaled  # noqa: E402

FIGURES = ("frechet", "precision", "recall", "classes_gap")
CLASSIFIER_EPOCHS = 3


class TorchGan:
    """`dcgan.Gan` in PyTorch: takes its initial weights from one, and its noise."""

    def __init__(self, ours: dcgan.Gan, nz: int, ngf: int) -> None:
        self.noise = ours.noise
        self.G = nn.Sequential(
            nn.ConvTranspose2d(nz, 4 * ngf, 4, 1, 0, bias=False),
            nn.BatchNorm2d(4 * ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(4 * ngf, 2 * ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * ngf, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
        self.D = nn.Sequential(
            nn.Conv2d(1, ngf, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(ngf, 2 * ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * ngf),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * ngf, 4 * ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4 * ngf),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * ngf, 1, 4, bias=False),
            nn.Flatten(),
        )
        for net, source in ((self.G, ours.G), (self.D, ours.D)):
            state = {name: torch.from_numpy(value) for name, value in source.state_dict().items()}
            net.load_state_dict(state)
        rate, betas = ours.lr, ours.betas
        self.G_optimizer = torch.optim.Adam(self.G.parameters(), rate, betas)
        self.D_optimizer = torch.optim.Adam(self.D.parameters(), rate, betas)

    def step(self, real: np.ndarray) -> dict[str, float]:
        n, loss = len(real), TF.binary_cross_entropy_with_logits
        fake = self.G(torch.from_numpy(self.noise(n)))
        d_loss = loss(self.D(torch.from_numpy(real)), torch.ones(n, 1))
        d_loss = d_loss + loss(self.D(fake.detach()), torch.zeros(n, 1))
        self.D_optimizer.zero_grad()
        d_loss.backward()
        self.D_optimizer.step()
        g_loss = loss(self.D(fake), torch.ones(n, 1))
        self.G_optimizer.zero_grad()
        g_loss.backward()
        self.G_optimizer.step()
        return {"d_loss": d_loss.item(), "g_loss": g_loss.item()}

    def hand_over(self, ours: dcgan.Gan) -> None:
        """Copies the generator as it is now, including running statistics, for minidl to draw with."""
        ours.G.load_state_dict(self.G.state_dict())


class Judge:
    """Measures a generator: its samples against the test images, by a classifier's features."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, most: int) -> None:
        self.eye = classifier.trained(scaled, images, labels, CLASSIFIER_EPOCHS, 0)
        test_images, test_labels = data.mnist(train=False)
        self.real = scaled(test_images[:most])
        found, self.features = self.eye.look(self.real)
        self.accuracy = float((found == test_labels[:most]).mean())
        self.shares = quality.class_shares(found)
        rows = np.random.default_rng(0).permutation(len(images))[:most]
        self.training_images = self.measured(scaled(images[rows]), whole=True)

    def of(self, gan: dcgan.Gan, nz: int, whole: bool) -> dict:
        noise = np.random.default_rng(0).standard_normal((len(self.real), nz, 1, 1), np.float32)
        return self.measured(gan.samples(noise), whole)

    def measured(self, images: np.ndarray, whole: bool) -> dict:
        found, features = self.eye.look(images)
        figures: dict = {"frechet": quality.frechet_distance(self.features, features)}
        if whole:
            shares = quality.class_shares(found)
            precision, recall = quality.precision_recall(self.features, features)
            figures |= {"precision": precision, "recall": recall, "classes": shares.tolist()}
            figures["classes_gap"] = float(abs(shares - self.shares).sum() / 2)
        return figures


def train(framework: str, seed: int, args: argparse.Namespace, images: np.ndarray, judge: Judge):
    """One training, and the quality of its samples after each epoch."""
    settings = dcgan_study.arguments(
        ["--data", "mnist", "--seed", str(seed), "--ngf", str(args.ngf)]
    )
    ours = dcgan_study.game(settings)
    gan = ours if framework == "minidl" else TorchGan(ours, settings.nz, settings.ngf)
    loader = data.DataLoader(
        images, settings.batch_size, shuffle=True, drop_last=True, rng=seed, transform=scaled
    )
    begun, epochs = time.perf_counter(), []
    for epoch in range(1, args.epochs + 1):
        sums: dict[str, float] = {}
        for (real,) in loader:
            for name, value in gan.step(real).items():
                sums[name] = sums.get(name, 0.0) + value / len(loader)
        if isinstance(gan, TorchGan):
            gan.hand_over(ours)
        figures = judge.of(ours, settings.nz, whole=epoch == args.epochs)
        epochs.append({k: round(v, 4) for k, v in sums.items() if "loss" in k} | figures)
        minutes = (time.perf_counter() - begun) / 60
        print(
            f"{framework} seed {seed} epoch {epoch}/{args.epochs}: D {sums['d_loss']:.3f}, "
            f"G {sums['g_loss']:.3f}, Fréchet {figures['frechet']:.2f}, {minutes:.1f} min",
            flush=True,
        )
    return {"framework": framework, "seed": seed, "epochs": epochs}


def table(result: dict) -> str:
    """The runs as Markdown, and the mean and spread of each framework."""
    settings, runs = result["settings"], result["runs"]
    lines = [
        "# A DCGAN trained in minidl and in PyTorch",
        "",
        f"`python benchmarks/dcgan_quality.py`: MNIST, {settings['images']:,} images, "
        f"{settings['epochs']} epochs, 1x32x32, ngf {settings['ngf']}, batch 64. "
        "The same networks, initial weights, batches,",
        "noise, Adam and losses in both; PyTorch "
        f"{settings['torch']}. {settings['compared']:,} samples of each against as many test images, "
        f"by the features of a classifier ({settings['accuracy']:.1%} right).",
        "Classes off: the share of samples that would have to be of another class for the shares of "
        "the real images.",
        "",
        "| run | Fréchet distance | precision | recall | classes off |",
        "|---|---|---|---|---|",
    ]
    final = {key: run["epochs"][-1] for key, run in runs.items()}
    for key, run in runs.items():
        lines.append(f"| {run['framework']}, seed {run['seed']} | {cells(final[key])} |")
    means = {}
    for framework in ("minidl", "torch"):
        rows = [final[key] for key, run in runs.items() if run["framework"] == framework]
        if not rows:
            continue
        means[framework] = {f: np.mean([row[f] for row in rows]) for f in FIGURES}
        if len(rows) > 1:
            spread = {f: np.std([row[f] for row in rows], ddof=1) for f in FIGURES}
            both = zip(
                cells(means[framework]).split(" | "), cells(spread).split(" | "), strict=True
            )
            text = " | ".join(f"{mean} ± {deviation}" for mean, deviation in both)
            lines.append(f"| **{framework}**, mean ± deviation | {text} |")
    lines.append(f"| training images (the target level) | {cells(result['training_images'])} |")
    lines += ["", "Fréchet distance after each epoch:", ""]
    lines.append(f"| run | {' | '.join(str(e + 1) for e in range(settings['epochs']))} |")
    lines.append("|---" * (settings["epochs"] + 1) + "|")
    for run in runs.values():
        values = " | ".join(f"{epoch['frechet']:.1f}" for epoch in run["epochs"])
        lines.append(f"| {run['framework']}, seed {run['seed']} | {values} |")
    return "\n".join(lines) + "\n"


def cells(row: dict) -> str:
    shares = " | ".join(f"{row[name]:.1%}" for name in FIGURES[1:])
    return f"{row['frechet']:.2f} | {shares}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, default=3)
    add("--epochs", type=int, default=10)
    add("--images", type=int, help="train on the first of them only; default all 60,000")
    add("--compared", type=int, default=5000, help="samples, and test images")
    add("--ngf", type=int, default=32)
    add("--threads", type=int, default=2)
    add("--report", action="store_true", help="write the table again, without training")
    add("--out", type=Path, default=HERE / "quality" / "dcgan.json", metavar="FILE.json")
    args = parser.parse_args()
    result = json.loads(args.out.read_text()) if args.out.is_file() else {}
    if not args.report:
        md.set_num_threads(args.threads)
        torch.set_num_threads(args.threads)
        images, labels = data.mnist()
        images, labels = images[: args.images], labels[: args.images]
        settings = {name: getattr(args, name) for name in ("epochs", "ngf", "compared")}
        settings |= {"images": len(images), "torch": torch.__version__}
        judge = Judge(images, labels, args.compared)
        settings["accuracy"] = judge.accuracy
        if not result:
            result = {"settings": settings, "training_images": judge.training_images, "runs": {}}
        elif result["settings"] != settings:
            raise SystemExit(f"{args.out} has runs of other settings: {result['settings']}")
        for seed in range(args.seeds):
            for framework in ("minidl", "torch"):
                key = f"{framework}-{seed}"
                if key not in result["runs"]:
                    result["runs"][key] = train(framework, seed, args, images, judge)
                    args.out.parent.mkdir(parents=True, exist_ok=True)
                    args.out.write_text(json.dumps(result, indent=1) + "\n")
                    args.out.with_suffix(".md").write_text(table(result))
    args.out.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
