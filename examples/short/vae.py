"""A variational autoencoder: digits on a map of two coordinates, and new ones in between.

    python examples/short/vae.py        about 15 seconds; the picture is out/short/vae.png

The encoder gives a normal distribution over the map for each image, N(m, exp(s)²), the decoder an image for each
point. The loss is the expected reconstruction error plus the Kullback-Leibler divergence to N(0, 1),

    KL = ½ Σ (m² + exp(2 s) - 1) - s,

and the point is drawn as m + exp(s) ε with ε from N(0, 1), so that gradients reach m and s.

Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014.
"""

import numpy as np
import page

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F


class VAE(nn.Module):
    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Affine(784, hidden),
            nn.ReLU(),
            nn.Affine(hidden, hidden),
            nn.ReLU(),
            nn.Affine(hidden, 4),
        )
        self.decoder = nn.Sequential(
            nn.Affine(2, hidden),
            nn.ReLU(),
            nn.Affine(hidden, hidden),
            nn.ReLU(),
            nn.Affine(hidden, 784),
        )

    def encode(self, x):
        out = self.encoder(x)
        return out[:, :2], out[:, 2:]

    def forward(self, x, noise):
        """The loss of images x, (N, 784), in nats per image."""
        m, s = self.encode(x)
        scores = self.decoder(m + md.exp(s) * noise)
        error = F.binary_cross_entropy_with_logits(scores, x, reduction="sum")
        divergence = ((m**2 + md.exp(2 * s) - 1) / 2 - s).sum()
        return (error + divergence) / len(x)


def train(steps: int, seed: int) -> VAE:
    images, _ = data.digits()
    x = images.reshape(-1, 784) / np.float32(255)
    rng = np.random.default_rng(seed)
    loader = data.DataLoader(x, 100, shuffle=True, drop_last=True, rng=seed)
    model = VAE()
    optimizer = optim.Adam(model.parameters(), lr=0.001)

    @md.capture
    def train_step(x, noise):
        loss = model(x, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for step, (x,) in enumerate(page.batches(loader, steps), 1):
        losses.append(train_step(x, rng.standard_normal((len(x), 2), np.float32)).item())
        if step % 500 == 0:
            print(f"step {step:4}  loss {np.mean(losses[-500:]):.1f} nats per image")
    return model


def draw(model: VAE):
    """Where the test images are on the map, and what the decoder draws all over it."""
    images, labels = data.digits(train=False)
    n = 18
    line = np.linspace(-2.5, 2.5, n, dtype=np.float32)
    points = np.stack(np.meshgrid(line, -line), axis=-1).reshape(-1, 2)
    with md.no_grad():
        places = model.encode(images.reshape(-1, 784) / np.float32(255))[0].data
        drawn = F.sigmoid(model.decoder(points)).data
    figure = page.figure(10, 4.8)
    left, right = figure.subplots(1, 2)
    shown = left.scatter(*places.T, c=labels, s=6, cmap="tab10", vmin=-0.5, vmax=9.5)
    left.set(
        title="test images", xlabel="first coordinate", ylabel="second", xlim=(-4, 4), ylim=(-4, 4)
    )
    figure.colorbar(shown, ticks=range(10), label="digit")
    mosaic = drawn.reshape(n, n, 28, 28).transpose(0, 2, 1, 3).reshape(n * 28, n * 28)
    right.imshow(mosaic, cmap="gray_r", extent=(-2.5, 2.5, -2.5, 2.5))
    right.set(title="what the decoder draws", xlabel="first coordinate", ylabel="second")
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=3000)
    md.manual_seed(args.seed)
    page.save(draw(train(args.steps, args.seed)), args.out, "vae")
