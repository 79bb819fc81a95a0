"""A GAN on points in the plane, and what can be seen of the game: the Python side of the playground.

Two networks play against each other: G turns noise into points, D tells them from the real ones. All that the page
shows is computed here; it only draws. The module runs anywhere:

    game = Game({"data": "gaussians"})
    for _ in range(1000):
        game.step()
    print(game.frame()["covered"])
"""

import time

import numpy as np
import points

import minidl as md
from minidl import functional as F
from minidl import nn, optim

DEFAULTS = {
    "data": "gaussians",  # or "ring", "spiral"
    "activation": "leaky",  # of D: "relu" or "leaky"
    "loss": "standard",  # or "wasserstein"
    "penalty": 0.0,  # the weight of the gradient penalty
    "lr": 0.003,  # of G
    "ratio": 2.0,  # D's learning rate divided by G's
    "d_steps": 1,  # steps of D for one of G
    "noise": 2,  # how many random numbers G gets
    "width": 32,
    "seed": 0,
}
BATCH, SHOWN, CELLS = 64, 400, 40

# ── The two networks ──────────────────────────────────────────────────────────────────────────────


def generator(noise: int, width: int) -> nn.Sequential:
    """Noise (n, noise) -> points (n, 2)."""
    return nn.Sequential(
        nn.Affine(noise, width), nn.ReLU(), nn.Affine(width, width), nn.ReLU(), nn.Affine(width, 2)
    )


def discriminator(width: int, activation: str) -> nn.Sequential:
    """Points (n, 2) -> scores (n, 1), positive for real."""
    active = {"relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.2)}[activation]
    return nn.Sequential(
        nn.Affine(2, width), active(), nn.Affine(width, width), active(), nn.Affine(width, 1)
    )


# ── The game ──────────────────────────────────────────────────────────────────────────────────────


class Game:
    """Both networks, their optimizers, and the random numbers."""

    def __init__(self, settings: dict) -> None:
        self.settings = s = DEFAULTS | settings
        md.manual_seed(s["seed"])
        self.rng = np.random.default_rng(s["seed"])
        self.G = generator(s["noise"], s["width"])
        self.D = discriminator(s["width"], s["activation"])
        betas = (0.5, 0.9)  # a shorter memory than usual: what is right changes all the time
        self.G_optimizer = optim.Adam(self.G.parameters(), s["lr"], betas)
        self.D_optimizer = optim.Adam(self.D.parameters(), s["ratio"] * s["lr"], betas)
        self.centres = points.CENTRES[s["data"]]()
        self.steps, self.d_losses, self.g_losses = 0, [], []
        self.shown_noise = self.noise(
            SHOWN
        )  # the same in all frames: points move, they do not flicker
        self.shown_real = points.draw(self.centres, SHOWN, self.rng)
        self.cells = points.grid(CELLS)

    def noise(self, n: int) -> np.ndarray:
        return self.rng.standard_normal((n, self.settings["noise"]), np.float32)

    def step(self) -> None:
        """One step of G, after those of D."""
        for _ in range(self.settings["d_steps"]):
            self.d_step(points.draw(self.centres, BATCH, self.rng))
        self.g_step()
        self.steps += 1

    def d_step(self, real: np.ndarray) -> None:
        """D should give real points a high score, and those of G a low one."""
        with md.no_grad():  # this loss must not reach G
            fake = self.G(self.noise(BATCH)).data
        if self.settings["loss"] == "standard":
            loss = self.cross_entropy(real, 1.0) + self.cross_entropy(fake, 0.0)
        else:
            loss = self.D(fake).mean() - self.D(real).mean()
        self.d_losses.append(loss.item())
        if self.settings["penalty"]:
            loss = loss + self.settings["penalty"] * self.slope_penalty(real, fake)
        self.D_optimizer.zero_grad()
        loss.backward()
        self.D_optimizer.step()

    def g_step(self) -> None:
        """G should make points that D, as it is now, gives a high score. (D's gradients of this loss are not used.)"""
        made = self.G(self.noise(BATCH))
        if self.settings["loss"] == "standard":
            loss = self.cross_entropy(made, 1.0)
        else:
            loss = -self.D(made).mean()
        self.g_losses.append(loss.item())
        self.G_optimizer.zero_grad()
        loss.backward()
        self.G_optimizer.step()

    def cross_entropy(self, x, target: float) -> md.Tensor:
        return F.binary_cross_entropy_with_logits(
            self.D(x), np.full((BATCH, 1), target, np.float32)
        )

    def slope_penalty(self, real: np.ndarray, fake: np.ndarray) -> md.Tensor:
        """The mean of (|dD/dx| - 1)², at points x between real and generated ones."""
        share = self.rng.random((BATCH, 1), np.float32)
        x = md.Tensor(share * real + (1 - share) * fake, requires_grad=True)
        # create_graph: the slope itself is differentiated when the penalty is.
        slope = md.grad(self.D(x).sum(), x, create_graph=True)
        norm = ((slope * slope).sum(axis=1) + 1e-12).sqrt()
        return ((norm - 1) ** 2).mean()

    # ── What is shown ─────────────────────────────────────────────────────────────────────────────

    def train(self, seconds: float) -> None:
        """Steps for so long, at least one."""
        end = time.perf_counter() + seconds
        self.step()
        while time.perf_counter() < end:
            self.step()

    def frame(self) -> dict:
        """Numbers, and flat arrays, by name."""
        d_losses, self.d_losses = np.array(self.d_losses, np.float32), []
        g_losses, self.g_losses = np.array(self.g_losses, np.float32), []
        with md.no_grad():
            made = self.G(self.shown_noise).data
            scores = self.D(self.cells).data.ravel()
        if self.settings["loss"] == "wasserstein":  # any number: from the lowest to the highest one
            surface = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
        else:
            surface = F.sigmoid(scores).data  # the probability of "real"
        return {
            "steps": self.steps,
            "d_losses": d_losses,  # of the steps since the last frame
            "g_losses": g_losses,
            "real": self.shown_real.ravel(),
            "made": made.ravel(),
            "surface": (255 * np.nan_to_num(surface)).astype(np.uint8),
            **self.coverage(made),
        }

    def coverage(self, made: np.ndarray) -> dict:
        """How many of eight parts of the data the generated points reach, and the share of points that are on the data.

        A part is reached if at least a quarter of its fair share of all points lies within three standard deviations of
        its centres. Of a ring and a spiral a part is an eighth of its length.
        """
        distance = np.linalg.norm(made[:, None] - self.centres, axis=2)
        near = distance.min(axis=1) < 3 * points.NOISE
        part = distance.argmin(axis=1) * 8 // len(self.centres)
        counts = np.bincount(part[near], minlength=8)
        return {
            "parts": counts.astype(np.float32),
            "covered": int((counts >= len(made) / 8 / 4).sum()),
            "on_data": float(near.mean()),
        }
