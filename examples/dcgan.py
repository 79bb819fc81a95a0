"""A generative adversarial network (DCGAN) learns to draw digits or clothes.

    python examples/dcgan.py                    5,000 digits that come with minidl: a few minutes
    python examples/dcgan.py --data fashion     60,000 pieces of clothing
    python examples/dcgan.py --data folder:PATH any pictures, in colour, 64x64: hours
    python examples/dcgan.py --resume           goes on where the last run was stopped (Ctrl-C)
    python examples/dcgan.py --wgan-gp          a critic with gradient penalty instead
    python examples/dcgan.py --quick            only to see that it works

Two networks play against each other: the generator G turns noise into images, the discriminator D
tells them from real ones. Each learns from the other; what comes out are images that never existed.
After each epoch a page of samples is drawn from the same noise. At the end come animations, curves,
the nearest training images, and quality in numbers. All of it lands in out/dcgan/.

Source: Radford, Metz & Chintala, Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks, ICLR 2016. The penalty: Gulrajani et al., Improved Training of
Wasserstein GANs, NeurIPS 2017.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from gan import results
from gan.images import DATA, FOLDER
from gan.run import Run

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=source, default="digits", help=f"{', '.join(DATA)}, or {FOLDER}PATH")
    add("--epochs", type=positive, help="40 for digits, mnist 10, fashion 15, folders 5 to 200")
    add("--images", type=positive, metavar="N", help="train on the first N images; default all")
    add("--batch-size", type=positive, default=64)
    add("--nz", type=positive, help="numbers of noise an image is made from; 64, folders 100")
    add("--ngf", type=positive, help="width of both networks; 32, folders 64")
    add(
        "--wgan-gp",
        action="store_true",
        help="Wasserstein loss with gradient penalty; G steps once in 5: give it more --epochs",
    )
    add("--seed", type=int, default=0)
    add("--resume", action="store_true", help="go on from the checkpoint in the folder")
    add("--quick", action="store_true", help="640 images, 2 epochs, narrow networks")
    add("--out", type=Path, default=Path("out"), metavar="FOLDER", help="all goes to FOLDER/dcgan")
    add("--no-plots", action="store_true", help="draw no pictures")
    args = parser.parse_args(argv)
    args.channels, args.size = (1, 32) if args.data in DATA else (3, 64)
    nz, ngf = (64, 32) if args.data in DATA else (100, 64)
    args.nz, args.ngf = args.nz or nz, args.ngf or ngf
    if args.quick:
        args.images, args.ngf = args.images or 640, min(args.ngf, 8)
        args.epochs = args.epochs or 2
    return args


def source(text: str) -> str:
    if text not in DATA and not text.startswith(FOLDER):
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(DATA)}, {FOLDER}PATH")
    if text == FOLDER:
        raise argparse.ArgumentTypeError(f"the path is missing: {FOLDER}PATH")
    return text


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


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

    A critic with gradient penalty goes without BatchNorm: the penalty is on each image alone, and
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


# ── Their game ────────────────────────────────────────────────────────────────────────────────────


class Gan:
    """Both networks, their optimizers, and the noise: all that training changes."""

    rates = (2e-4, (0.5, 0.999))  # learning rate, and betas of Adam
    norm = True  # BatchNorm in D
    warm_up = 300  # steps before collapse is looked for: until then samples are alike anyway

    def __init__(self, args: argparse.Namespace) -> None:
        md.manual_seed(args.seed)
        self.nz = args.nz
        self.rng = np.random.default_rng([args.seed, 1])
        self.G = generator(args.nz, args.ngf, args.channels, args.size)
        self.D = discriminator(args.ngf, args.channels, args.size, self.norm)
        rate, betas = self.rates
        self.G_optimizer = optim.Adam(self.G.parameters(), rate, betas)
        self.D_optimizer = optim.Adam(self.D.parameters(), rate, betas)
        self.steps = 0

    def noise(self, n: int) -> np.ndarray:
        return self.rng.standard_normal((n, self.nz, 1, 1), np.float32)

    def step(self, real: np.ndarray) -> dict[str, float]:
        """One step of D, then one of G; returns the losses, and D's means before."""
        ones, zeros = np.ones((len(real), 1), np.float32), np.zeros((len(real), 1), np.float32)
        fake = self.G(self.noise(len(real)))

        # D: real images are to be called real, generated ones not. G is left out: detach.
        real_score, fake_score = self.D(real), self.D(fake.detach())
        d_loss = F.binary_cross_entropy_with_logits(real_score, ones)
        d_loss = d_loss + F.binary_cross_entropy_with_logits(fake_score, zeros)
        self.D_optimizer.zero_grad()
        d_loss.backward()
        self.D_optimizer.step()

        # G: its images are to be called real by D as it is now.
        g_loss = F.binary_cross_entropy_with_logits(self.D(fake), ones)
        self.G_optimizer.zero_grad()
        g_loss.backward()
        self.G_optimizer.step()

        self.steps += 1
        means = [
            float(F.sigmoid(score.detach()).mean().item()) for score in (real_score, fake_score)
        ]
        return self.checked(d_loss.item(), g_loss.item(), *means)

    def checked(self, d_loss: float, g_loss: float, real: float, fake: float) -> dict[str, float]:
        if not math.isfinite(d_loss + g_loss):
            raise FloatingPointError(
                f"step {self.steps}: the losses are {d_loss} (D) and {g_loss} (G); "
                "the checkpoint, if there is one, is from before"
            )
        return {"d_loss": d_loss, "g_loss": g_loss, "real": real, "fake": fake}

    def samples(self, noise: np.ndarray, batch: int = 250) -> np.ndarray:
        """Images from noise, with BatchNorm's running statistics: an image depends on its own noise."""
        self.G.eval()
        with md.no_grad():
            parts = [self.G(noise[i : i + batch]).numpy() for i in range(0, len(noise), batch)]
        self.G.train()
        return np.concatenate(parts)

    def troubles(self, means: dict[str, float]) -> list[str]:
        """What is wrong with D, by its means over an epoch."""
        if abs(means["real"] - means["fake"]) < 0.01:
            return ["the discriminator is dead: it says the same of real and generated images"]
        if means["real"] > 0.98 and means["fake"] < 0.02:
            return ["the discriminator wins outright: the generator hardly learns from it"]
        return []

    def state(self) -> dict:
        return {
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "G_optimizer": self.G_optimizer.state_dict(),
            "D_optimizer": self.D_optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
            "steps": self.steps,
        }

    def restore(self, state: dict) -> None:
        for name in ("G", "D", "G_optimizer", "D_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.rng.bit_generator.state = state["rng"]
        self.steps = state["steps"]


class WassersteinGan(Gan):
    """D is a critic: its scores are to be far apart, its slope 1 between real and generated images."""

    rates = (1e-4, (0.0, 0.9))
    norm = False
    warm_up = 1500
    penalty = 10.0
    critic_steps = 5  # G steps once in so many

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.g_loss = 0.0  # the latest one

    def slope_penalty(self, real: np.ndarray, fake: np.ndarray) -> md.Tensor:
        """The mean of (|dD/dx| - 1)², at points x between real and generated images."""
        share = self.rng.random((len(real), 1, 1, 1), np.float32)
        x = md.Tensor(share * real + (1 - share) * fake, requires_grad=True)
        # create_graph: the slope itself is differentiated when the penalty is.
        slope = md.grad(self.D(x).sum(), x, create_graph=True)
        norm = ((slope * slope).sum(axis=(1, 2, 3)) + 1e-12).sqrt()
        return ((norm - 1) ** 2).mean()

    def step(self, real: np.ndarray) -> dict[str, float]:
        with md.no_grad():
            fake = self.G(self.noise(len(real))).numpy()
        real_score, fake_score = self.D(real).mean(), self.D(fake).mean()
        d_loss = fake_score - real_score + self.penalty * self.slope_penalty(real, fake)
        self.D_optimizer.zero_grad()
        d_loss.backward()
        self.D_optimizer.step()
        self.steps += 1
        if self.steps % self.critic_steps == 0:
            g_loss = -self.D(self.G(self.noise(len(real)))).mean()
            self.G_optimizer.zero_grad()
            g_loss.backward()
            self.G_optimizer.step()
            self.g_loss = g_loss.item()
        return self.checked(d_loss.item(), self.g_loss, real_score.item(), fake_score.item())

    def troubles(self, means: dict[str, float]) -> list[str]:
        if abs(means["real"] - means["fake"]) < 1e-3:
            return ["the critic is dead: it says the same of real and generated images"]
        return []

    def state(self) -> dict:
        return super().state() | {"g_loss": self.g_loss}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.g_loss = state["g_loss"]


# ── All of it ─────────────────────────────────────────────────────────────────────────────────────


def main(argv: list[str] | None = None) -> int:
    """Trains as the arguments say, and shows what came out; 130 if it was interrupted."""
    args = arguments(argv)
    try:
        run = Run(args, WassersteinGan if args.wgan_gp else Gan)
        sizes = [net.num_parameters() for net in (run.gan.G, run.gan.D)]
        print(
            f"{args.data}: {len(run.images):,} images; G has {sizes[0]:,} parameters, "
            f"D {sizes[1]:,}; seed {args.seed}"
        )
        if args.resume:
            print(f"going on after epoch {run.epoch}, batch {run.batches}")
        elif run.checkpoint.is_file():
            print(f"starting anew; {run.checkpoint} will be replaced")
        if not run.train():
            return 130
        results.finish(run)
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
