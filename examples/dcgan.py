"""A generative adversarial network (DCGAN) learns to draw digits: two networks and their training loop.

    python examples/dcgan.py                 5,000 digits that come with minidl: about two minutes
    python examples/dcgan.py --epochs 5      less of it
    python examples/dcgan.py --ranks 2       in two processes, over MPI: docs/distributed.md
    mpirun python examples/dcgan.py          on all the machines that mpirun is told of

Two networks play against each other: the generator G turns noise into images, the discriminator D
tells them from real ones. Each learns from the other, and the result is images that never existed.
After each epoch the same 64 points of noise are drawn again: out/dcgan/samples.png.

examples/dcgan_study.py trains the same networks on other data and on folders of pictures, measures how
good the samples are, can be interrupted and resumed, and has a Wasserstein loss with gradient penalty.

Source: Radford, Metz & Chintala, Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks, ICLR 2016.
"""

import argparse
from pathlib import Path

import numpy as np

import minidl as md
from minidl import data, distributed, images, init, nn, optim
from minidl import functional as F

# ── The two networks ──────────────────────────────────────────────────────────────────────────────


def generator(nz: int, ngf: int, channels: int = 1, size: int = 32) -> nn.Sequential:
    """Noise (N, nz, 1, 1) -> images (N, channels, size, size) with pixels from -1 to 1."""
    if size == 32:
        first = up(nz, 4 * ngf, 1, 0)  # 4 x 4
    else:  # 64, as in the paper: one block more
        first = [*up(nz, 8 * ngf, 1, 0), *up(8 * ngf, 4 * ngf, 2, 1)]  # 4 x 4, 8 x 8
    return nn.Sequential(
        *first,
        *up(4 * ngf, 2 * ngf, 2, 1),  # a quarter of the size
        *up(2 * ngf, ngf, 2, 1),  # half
        nn.ConvTranspose(ngf, channels, 4, 2, 1, bias=False, weight=init.Normal(0, 0.02)),
        nn.Tanh(),
    )


def up(n_in: int, n_out: int, stride: int, padding: int) -> list[nn.Module]:
    weight, gain = init.Normal(0, 0.02), init.Normal(1, 0.02)
    return [
        nn.ConvTranspose(n_in, n_out, 4, stride, padding, bias=False, weight=weight),
        nn.BatchNorm(n_out, weight=gain),
        nn.ReLU(inplace=True),
    ]


def discriminator(ndf: int, channels: int = 1, size: int = 32, norm: bool = True) -> nn.Sequential:
    """Images (N, channels, size, size) -> scores (N, 1), positive for real.

    A critic with gradient penalty does without BatchNorm: the penalty is on each image alone, and
    BatchNorm mixes those of a batch.
    """
    if size == 32:
        last, width = [], 4 * ndf  # at 4 x 4 already
    else:  # 64: one block more
        last, width = down(4 * ndf, 8 * ndf, norm, not norm), 8 * ndf  # 8 x 8 -> 4 x 4
    return nn.Sequential(
        *down(channels, ndf, False, not norm),  # half the size
        *down(ndf, 2 * ndf, norm, not norm),  # a quarter
        *down(2 * ndf, 4 * ndf, norm, not norm),  # an eighth
        *last,
        nn.Conv(width, 1, 4, bias=False, weight=init.Normal(0, 0.02)),
        nn.Flatten(),
    )


def down(n_in: int, n_out: int, norm: bool, bias: bool) -> list[nn.Module]:
    layers = [nn.Conv(n_in, n_out, 4, 2, 1, bias=bias, weight=init.Normal(0, 0.02))]
    if norm:
        layers.append(nn.BatchNorm(n_out, weight=init.Normal(1, 0.02)))
    return [*layers, nn.LeakyReLU(0.2)]


# ── One step of each ──────────────────────────────────────────────────────────────────────────────


class Gan:
    """Both networks, their optimizers, and the noise: all that training changes."""

    lr, betas = 2e-4, (0.5, 0.999)  # of Adam, as in the paper
    norm = True  # BatchNorm in D

    def __init__(
        self, nz: int = 64, width: int = 32, channels: int = 1, size: int = 32, seed: int = 0
    ) -> None:
        md.manual_seed(seed)  # the initial weights
        self.nz, self.rng = nz, np.random.default_rng([seed, 1])
        self.G = generator(nz, width, channels, size)
        self.D = discriminator(width, channels, size, self.norm)
        self.G_optimizer = optim.Adam(self.G.parameters(), self.lr, self.betas)
        self.D_optimizer = optim.Adam(self.D.parameters(), self.lr, self.betas)
        self.captured = md.capture(self.play)  # the same bits, sooner: Python runs play but once

    def noise(self, n: int) -> np.ndarray:
        return self.rng.standard_normal((n, self.nz, 1, 1), np.float32)

    def step(self, real: np.ndarray) -> dict[str, float]:
        """One step of D, then one of G; returns both losses, and what D said before."""
        ones, zeros = np.ones((len(real), 1), np.float32), np.zeros((len(real), 1), np.float32)
        results = self.captured(real, self.noise(len(real)), ones, zeros)
        return dict(zip(("d_loss", "g_loss", "real", "fake"), map(float, results), strict=True))

    def play(
        self, real: np.ndarray, noise: np.ndarray, ones: np.ndarray, zeros: np.ndarray
    ) -> list[md.Tensor]:
        fake = self.G(noise)

        # D should call real images real and generated ones not. detach() keeps this loss from reaching G.
        real_score, fake_score = self.D(real), self.D(fake.detach())
        d_loss = F.binary_cross_entropy_with_logits(real_score, ones)
        d_loss = d_loss + F.binary_cross_entropy_with_logits(fake_score, zeros)
        self.D_optimizer.zero_grad()
        d_loss.backward()
        self.D_optimizer.step()

        # G should draw images that D, as it is now, calls real. (D's gradients of this loss are not used.)
        g_loss = F.binary_cross_entropy_with_logits(self.D(fake), ones)
        self.G_optimizer.zero_grad()
        g_loss.backward()
        self.G_optimizer.step()

        said = [F.sigmoid(s.detach()).mean() for s in (real_score, fake_score)]
        return [d_loss, g_loss, *said]

    def samples(self, noise: np.ndarray, batch: int = 250) -> np.ndarray:
        """Images from noise, with BatchNorm's running statistics: an image depends on its own noise."""
        self.G.eval()
        with md.no_grad():
            parts = [self.G(noise[i : i + batch]).numpy() for i in range(0, len(noise), batch)]
        self.G.train()
        return np.concatenate(parts)


# ── The loop ──────────────────────────────────────────────────────────────────────────────────────


def scaled(images: np.ndarray) -> np.ndarray:
    """Bytes (N, 28, 28) -> (N, 1, 32, 32), with a margin, from -1 to 1: the range of tanh."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]
    return padded.astype(np.float32) / np.float32(127.5) - np.float32(1)


def train(gan: Gan, digits: np.ndarray, epochs: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    loader = data.DataLoader(digits, 64, shuffle=True, drop_last=True, rng=0, transform=scaled)
    noise = gan.noise(64)  # the same for all pages, so that they can be compared
    for epoch in range(1, epochs + 1):
        values = [gan.step(real) for (real,) in loader]
        if not distributed.world().is_main:  # one of several processes shows and saves for all
            continue
        means = {name: np.mean([v[name] for v in values]) for name in values[0]}
        print(
            f"epoch {epoch:2}/{epochs}  loss of D {means['d_loss']:.3f}, of G {means['g_loss']:.3f}  "
            f"D(x) {means['real']:.2f}  D(G(z)) {means['fake']:.2f}"
        )
        large = gan.samples(noise).repeat(3, axis=2).repeat(3, axis=3)
        images.save_image(large, folder / "samples.png", padding=0, value_range=(-1, 1))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--images", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="FOLDER")
    parser.add_argument("--ranks", type=int, metavar="N", help="N processes, over MPI")
    args = parser.parse_args(argv)
    gan = Gan(seed=args.seed)
    if args.ranks or distributed.world().size > 1:
        from gan.ranks import over_ranks  # a file beside this one

        gan = over_ranks(gan, args.ranks)
    digits, _ = data.digits()
    train(gan, digits[: args.images], args.epochs, args.out / "dcgan")


if __name__ == "__main__":
    main()
