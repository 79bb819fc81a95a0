"""A Wasserstein GAN with gradient penalty learns eight clouds of points in the plane.

    python examples/short/wgan_gp.py        about 30 seconds; the picture is out/short/wgan_gp.png

The critic C is to score real points higher than generated ones, with slopes no steeper than 1. The penalty

    10 (‖∂C(x)/∂x‖ - 1)²     at random points x between real and generated ones

sees to that; its gradient is a gradient of a gradient.

Source: Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville, Improved Training of Wasserstein GANs, 2017.
"""

import numpy as np
import page

import minidl as md
from minidl import nn, optim

N, NOISE = 256, 8


def network(n_in: int, n_out: int, hidden: int = 128) -> nn.Sequential:
    return nn.Sequential(
        nn.Affine(n_in, hidden), nn.ReLU(), nn.Affine(hidden, hidden), nn.ReLU(),
        nn.Affine(hidden, hidden), nn.ReLU(), nn.Affine(hidden, n_out),
    )  # fmt: skip


def clouds(rng: np.random.Generator, n: int) -> np.ndarray:
    """Points (n, 2) of eight small clouds on a circle of radius 2."""
    angle = rng.integers(0, 8, n) * (np.pi / 4)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (centres + rng.normal(0, 0.1, (n, 2))).astype(np.float32)


class Game:
    def __init__(self, seed: int) -> None:
        md.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.G, self.C = network(NOISE, 2), network(2, 1)
        self.G_optimizer = optim.Adam(self.G.parameters(), 5e-4, betas=(0.5, 0.9))
        self.C_optimizer = optim.Adam(self.C.parameters(), 5e-4, betas=(0.5, 0.9))
        self.critic_step, self.generator_step = (
            md.capture(self._critic),
            md.capture(self._generator),
        )

    def noise(self, n: int) -> np.ndarray:
        return self.rng.standard_normal((n, NOISE), np.float32)

    def _critic(self, real, noise, t):
        with md.no_grad():
            fake = self.G(noise)
        x = md.Tensor(real) * t + fake * (1 - md.Tensor(t))
        x.requires_grad = True
        slope = md.grad(self.C(x).sum(), x, create_graph=True)
        penalty = ((md.sqrt((slope**2).sum(axis=1)) - 1) ** 2).mean()
        distance = self.C(real).mean() - self.C(fake).mean()
        self.C_optimizer.zero_grad()
        (10 * penalty - distance).backward()
        self.C_optimizer.step()
        return distance

    def _generator(self, noise):
        loss = -self.C(self.G(noise)).mean()
        self.G_optimizer.zero_grad()
        loss.backward()
        self.G_optimizer.step()

    def train(self, steps: int) -> list[float]:
        """The distances between real and generated points, as the critic estimates them."""
        distances = []
        for step in range(1, steps + 1):
            for _ in range(5):
                t = self.rng.random((N, 1), np.float32)
                distance = self.critic_step(clouds(self.rng, N), self.noise(N), t)
            self.generator_step(self.noise(N))
            distances.append(distance.item())
            if step % 200 == 0:
                print(f"step {step:4}  distance {np.mean(distances[-100:]):.3f}")
        return distances


def draw(game: Game, distances: list[float]):
    line = np.linspace(-3, 3, 121, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    with md.no_grad():
        points = game.G(game.noise(1000)).data
        score = game.C(plane).data.reshape(121, 121)
    figure = page.figure(10, 4.4)
    left, right = figure.subplots(1, 2)
    left.contourf(line, line, score, 30, cmap="Greys")
    left.scatter(*clouds(game.rng, 1000).T, s=3, color="#E69F00", label="real")
    left.scatter(*points.T, s=3, color="#0072B2", label="generated")
    left.set(title="points, and the critic's score (darker is higher)", xlim=(-3, 3), ylim=(-3, 3))
    left.legend(loc="upper right")
    right.plot(distances, color="#0072B2", lw=0.8)
    right.set(
        title="distance to the real points", xlabel="step", ylim=(-1, 3), ylabel="critic's estimate"
    )
    right.grid(alpha=0.4)
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=2000)
    game = Game(args.seed)
    page.save(draw(game, game.train(args.steps)), args.out, "wgan_gp")
