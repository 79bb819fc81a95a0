"""What a longer run needs of a GAN beyond `dcgan.Gan`: its state, warnings, and a Wasserstein loss.

Source: Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017.
"""

import math

import numpy as np
from dcgan import Gan

import minidl as md


class Game(Gan):
    """A `dcgan.Gan` that counts its steps, can be saved and restored, and reports problems."""

    warm_up = 300  # steps before checking for mode collapse: until then samples are alike anyway

    def __init__(self, *args: int, **settings: int) -> None:
        super().__init__(*args, **settings)
        self.steps = 0

    def step(self, real: np.ndarray) -> dict[str, float]:
        """A step of D and one of G.

        Raises:
            FloatingPointError: a loss is inf or NaN.
        """
        values = self.play(real)
        self.steps += 1
        if not math.isfinite(values["d_loss"] + values["g_loss"]):
            raise FloatingPointError(
                f"step {self.steps}: the losses are {values['d_loss']} (D) and {values['g_loss']} (G); "
                "the checkpoint, if there is one, is from an earlier step"
            )
        return values

    def play(self, real: np.ndarray) -> dict[str, float]:
        return super().step(real)

    def troubles(self, means: dict[str, float]) -> list[str]:
        """Problems of D that its means over an epoch show."""
        if abs(means["real"] - means["fake"]) < 0.01:
            return ["the discriminator is dead: real and generated images get the same score"]
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


class WassersteinGame(Game):
    """D is a critic: it should score real images high and generated ones low, with slope 1 in between."""

    lr, betas = 1e-4, (0.0, 0.9)
    norm = False
    warm_up = 1500
    penalty = 10.0
    critic_steps = 5  # steps of D for one of G

    def __init__(self, *args: int, **settings: int) -> None:
        super().__init__(*args, **settings)
        self.g_loss = 0.0  # the latest one

    def slope_penalty(self, real: np.ndarray, fake: np.ndarray) -> md.Tensor:
        """The mean of (|dD/dx| - 1)², at points x between real and generated images."""
        share = self.rng.random((len(real), 1, 1, 1), np.float32)
        x = md.Tensor(share * real + (1 - share) * fake, requires_grad=True)
        # create_graph: the slope itself is differentiated when the penalty is.
        slope = md.grad(self.D(x).sum(), x, create_graph=True)
        norm = ((slope * slope).sum(axis=(1, 2, 3)) + 1e-12).sqrt()
        return ((norm - 1) ** 2).mean()

    def play(self, real: np.ndarray) -> dict[str, float]:
        with md.no_grad():
            fake = self.G(self.noise(len(real))).numpy()
        real_score, fake_score = self.D(real).mean(), self.D(fake).mean()
        d_loss = fake_score - real_score + self.penalty * self.slope_penalty(real, fake)
        self.D_optimizer.zero_grad()
        d_loss.backward()
        self.D_optimizer.step()
        if (self.steps + 1) % self.critic_steps == 0:
            g_loss = -self.D(self.G(self.noise(len(real)))).mean()
            self.G_optimizer.zero_grad()
            g_loss.backward()
            self.G_optimizer.step()
            self.g_loss = g_loss.item()
        return {
            "d_loss": d_loss.item(),
            "g_loss": self.g_loss,
            "real": real_score.item(),
            "fake": fake_score.item(),
        }

    def troubles(self, means: dict[str, float]) -> list[str]:
        if abs(means["real"] - means["fake"]) < 1e-3:
            return ["the critic is dead: real and generated images get the same score"]
        return []

    def state(self) -> dict:
        return super().state() | {"g_loss": self.g_loss}

    def restore(self, state: dict) -> None:
        super().restore(state)
        self.g_loss = state["g_loss"]
