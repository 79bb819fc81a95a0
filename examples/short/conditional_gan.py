"""A conditional GAN draws the digit that is asked for.

    python examples/short/conditional_gan.py        about 20 seconds; the picture is out/short/conditional_gan.png

Both networks are told the digit, as a vector with a one in its place: the generator beside its noise, the
discriminator beside the image.

Source: Mirza & Osindero, Conditional Generative Adversarial Nets, 2014.
"""

import numpy as np
import page

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F

NOISE = 32


def generator() -> nn.Sequential:
    """Noise and digit (N, 42) -> pixels (N, 784) from -1 to 1."""
    return nn.Sequential(
        nn.Affine(NOISE + 10, 256), nn.BatchNorm(256), nn.ReLU(),
        nn.Affine(256, 256), nn.BatchNorm(256), nn.ReLU(),
        nn.Affine(256, 784), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Sequential:
    """Pixels and digit (N, 794) -> score (N, 1), positive for real."""
    return nn.Sequential(
        nn.Affine(794, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Affine(256, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3),
        nn.Affine(256, 1),
    )  # fmt: skip


def train(steps: int, seed: int) -> nn.Sequential:
    images, labels = data.digits()
    x = images.reshape(-1, 784) / np.float32(127.5) - np.float32(1)
    digits = np.eye(10, dtype=np.float32)[labels]
    loader = data.DataLoader((x, digits), 64, shuffle=True, drop_last=True, rng=seed)
    rng = np.random.default_rng(seed)
    G, D = generator(), discriminator()
    G_optimizer = optim.Adam(G.parameters(), 2e-4, betas=(0.5, 0.999))
    D_optimizer = optim.Adam(D.parameters(), 2e-4, betas=(0.5, 0.999))
    ones, zeros = np.ones((64, 1), np.float32), np.zeros((64, 1), np.float32)

    @md.capture
    def play(real, digits, noise, ones, zeros):
        fake = md.concatenate([G(md.concatenate([noise, digits], 1)), digits], 1)
        real = md.concatenate([real, digits], 1)

        d_loss = F.binary_cross_entropy_with_logits(D(real), ones)
        d_loss = d_loss + F.binary_cross_entropy_with_logits(D(fake.detach()), zeros)
        D_optimizer.zero_grad()
        d_loss.backward()
        D_optimizer.step()

        g_loss = F.binary_cross_entropy_with_logits(D(fake), ones)
        G_optimizer.zero_grad()
        g_loss.backward()
        G_optimizer.step()
        return d_loss, g_loss

    losses = []
    for step, (x, wanted) in enumerate(page.batches(loader, steps), 1):
        noise = rng.standard_normal((64, NOISE), np.float32)
        losses.append([loss.item() for loss in play(x, wanted, noise, ones, zeros)])
        if step % 500 == 0:
            d_loss, g_loss = np.mean(losses[-500:], axis=0)
            print(f"step {step:4}  loss of D {d_loss:.3f}, of G {g_loss:.3f}")
    return G


def draw(G: nn.Sequential, rng: np.random.Generator):
    """A row for each digit that was asked for."""
    digits = np.repeat(np.eye(10, dtype=np.float32), 12, axis=0)
    noise = rng.standard_normal((120, NOISE), np.float32)
    G.eval()
    with md.no_grad():
        drawn = G(np.concatenate([noise, digits], 1)).data
    mosaic = drawn.reshape(10, 12, 28, 28).transpose(0, 2, 1, 3).reshape(280, 336)
    figure = page.figure(6, 5.2)
    axes = figure.subplots()
    axes.imshow(mosaic, cmap="gray_r", vmin=-1, vmax=1)
    axes.set(xticks=[], ylabel="digit that was asked for", title="Twelve of each")
    axes.set_yticks(np.arange(14, 280, 28), range(10))
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=4000)
    md.manual_seed(args.seed)
    G = train(args.steps, args.seed)
    page.save(draw(G, np.random.default_rng(args.seed)), args.out, "conditional_gan")
