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
        # In a dict: `play` would be recorded anew after each step that sets an attribute.
        self.progress = {"steps": 0}

    @property
    def steps(self) -> int:
        """How many there were."""
        return int(self.progress["steps"])

    def step(self, real: np.ndarray) -> dict[str, float]:
        """A step of D and one of G.

        Raises:
            FloatingPointError: a loss is inf or NaN.
        """
        values = self.losses(real)
        self.progress["steps"] += 1
        if not math.isfinite(values["d_loss"] + values["g_loss"]):
            raise FloatingPointError(
                f"step {self.steps}: the losses are {values['d_loss']} (D) and {values['g_loss']} (G); "
                "the checkpoint, if there is one, is from an earlier step"
            )
        return values

    def losses(self, real: np.ndarray) -> dict[str, float]:
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
            **self.progress,
        }

    def restore(self, state: dict) -> None:
        for name in ("G", "D", "G_optimizer", "D_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.rng.bit_generator.state = state["rng"]
        self.progress.update({name: state[name] for name in self.progress})


class WassersteinGame(Game):
    """D is a critic: it should score real images high and generated ones low, with slope 1 in between."""

    lr, betas = 1e-4, (0.0, 0.9)
    norm = False
    warm_up = 1500
    penalty = 10.0
    critic_steps = 5  # steps of D for one of G

    def __init__(self, *args: int, **settings: int) -> None:
        super().__init__(*args, **settings)
        self.progress["g_loss"] = 0.0  # the latest one
        self.critic = md.capture(self.play_critic)
        self.generator = md.capture(self.play_generator)

    def slope_penalty(self, real: md.Tensor, fake: md.Tensor, share: md.Tensor) -> md.Tensor:
        """The mean of (|dD/dx| - 1)², at points x between real and generated images."""
        x = (share * real + (1 - share) * fake).detach()
        x.requires_grad = True
        # create_graph: the slope itself is differentiated when the penalty is.
        slope = md.grad(self.D(x).sum(), x, create_graph=True)
        norm = ((slope * slope).sum(axis=(1, 2, 3)) + 1e-12).sqrt()
        return ((norm - 1) ** 2).mean()

    def play_critic(
        self, real: md.Tensor, noise: md.Tensor, share: md.Tensor
    ) -> tuple[md.Tensor, ...]:
        with md.no_grad():
            fake = self.G(noise)
        real_score, fake_score = self.D(real).mean(), self.D(fake).mean()
        d_loss = fake_score - real_score + self.penalty * self.slope_penalty(real, fake, share)
        self.D_optimizer.zero_grad()
        d_loss.backward()
        self.D_optimizer.step()
        return d_loss, real_score.detach(), fake_score.detach()

    def play_generator(self, noise: md.Tensor) -> md.Tensor:
        g_loss = -self.D(self.G(noise)).mean()
        self.G_optimizer.zero_grad()
        g_loss.backward()
        self.G_optimizer.step()
        return g_loss

    def losses(self, real: np.ndarray) -> dict[str, float]:
        n = len(real)
        noise, share = self.noise(n), self.rng.random((n, 1, 1, 1), np.float32)
        d_loss, on_real, on_fake = self.critic(*map(md.Tensor, (real, noise, share)))
        if (self.steps + 1) % self.critic_steps == 0:
            self.progress["g_loss"] = self.generator(md.Tensor(self.noise(n))).item()
        return {
            "d_loss": d_loss.item(),
            "g_loss": self.progress["g_loss"],
            "real": on_real.item(),
            "fake": on_fake.item(),
        }

    def troubles(self, means: dict[str, float]) -> list[str]:
        if abs(means["real"] - means["fake"]) < 1e-3:
            return ["the critic is dead: real and generated images get the same score"]
        return []
