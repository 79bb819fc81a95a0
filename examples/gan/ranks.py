"""A `dcgan.Gan` played over MPI ranks: docs/distributed.md says how it works.

A batch is cut into shards, which the ranks share. The images have the same bits for any number of ranks; they are not
those of a run without ranks, because BatchNorm looks at a shard at a time, not at the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mpi_start
import numpy as np

import minidl as md
from minidl import distributed
from minidl import functional as F

if TYPE_CHECKING:
    from dcgan import Gan


class Ranks:
    """Plays a step of both networks over all ranks; to the training loop it looks like the Gan itself."""

    def __init__(self, gan: Gan, shards: int = 8) -> None:
        self.gan = gan
        both = [gan.G, gan.D]  # the running statistics of both change in each step
        self.D_ranks = distributed.DataParallel(both, gan.D_optimizer, shards)
        self.G_ranks = distributed.DataParallel(both, gan.G_optimizer, shards)
        self.noise, self.samples = gan.noise, gan.samples

    def step(self, real: np.ndarray) -> dict[str, float]:
        """One step of D, then one of G, as `Gan.step`. All ranks get the whole batch and draw the same noise."""
        noise = self.noise(len(real))
        d_loss, real_said, fake_said = self.D_ranks.step(self.d_loss, real, noise)
        g_loss = self.G_ranks.step(self.g_loss, noise)
        return {"d_loss": d_loss, "g_loss": g_loss, "real": real_said, "fake": fake_said}

    def d_loss(self, real: np.ndarray, noise: np.ndarray) -> tuple[md.Tensor, ...]:
        """D's loss on one shard, and what D said of real and of generated images."""
        with md.no_grad():
            fake = self.gan.G(noise)
        real_score, fake_score = self.gan.D(real), self.gan.D(fake)
        loss = F.binary_cross_entropy_with_logits(real_score, _all(1, real))
        loss = loss + F.binary_cross_entropy_with_logits(fake_score, _all(0, real))
        return loss, F.sigmoid(real_score.detach()).mean(), F.sigmoid(fake_score.detach()).mean()

    def g_loss(self, noise: np.ndarray) -> md.Tensor:
        """G's loss on one shard."""
        score = self.gan.D(self.gan.G(noise))
        return F.binary_cross_entropy_with_logits(score, _all(1, noise))


def _all(value: float, batch: np.ndarray) -> np.ndarray:
    return np.full((len(batch), 1), value, np.float32)


def over_ranks(gan: Gan, count: int | None) -> Any:
    """The Gan played by the ranks that there are, or by so many on this machine (`mpi_start.ranks`)."""
    mpi_start.ranks(count)
    return Ranks(gan)
