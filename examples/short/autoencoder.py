"""A convolutional autoencoder takes the noise out of digits.

    python examples/short/autoencoder.py        about 8 seconds; the picture is out/short/autoencoder.png

It is given an image with noise and is to return the one without. All that it knows of an image has to pass through 32
numbers, so that there is no room for the noise.

Source: Vincent, Larochelle, Bengio & Manzagol, Extracting and Composing Robust Features with Denoising Autoencoders,
2008.
"""

import numpy as np
import page

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F


def autoencoder(code: int = 32) -> nn.Sequential:
    """Images (N, 1, 28, 28) -> `code` numbers -> scores (N, 1, 28, 28); their sigmoid is the image."""
    return nn.Sequential(
        nn.Conv(1, 16, 4, stride=2, padding=1),  # 14 x 14
        nn.ReLU(),
        nn.Conv(16, 32, 4, stride=2, padding=1),  # 7 x 7
        nn.ReLU(),
        nn.Flatten(),
        nn.Affine(32 * 7 * 7, code),
        nn.Affine(code, 32 * 7 * 7),
        nn.ReLU(),
        nn.Reshape(32, 7, 7),
        nn.ConvTranspose(32, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose(16, 1, 4, stride=2, padding=1),
    )


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(x + rng.normal(0, 0.5, x.shape), 0, 1).astype(np.float32)


def train(steps: int, seed: int) -> nn.Sequential:
    images, _ = data.digits()
    rng = np.random.default_rng(seed)

    def with_noise(batch: np.ndarray):
        clean = batch[:, None] / np.float32(255)
        return noisy(clean, rng), clean

    loader = data.DataLoader(
        images, 64, shuffle=True, drop_last=True, rng=seed, transform=with_noise
    )
    model = autoencoder()
    optimizer = optim.Adam(model.parameters(), lr=0.002)

    @md.capture
    def train_step(x, y):
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    for step, (x, y) in enumerate(page.batches(loader, steps), 1):
        loss = train_step(x, y)
        if step % 100 == 0:
            print(f"step {step:4}  loss {loss.item():.4f}")
    return model


def draw(model: nn.Sequential, rng: np.random.Generator):
    """One test image of each digit: with noise, what the network makes of it, and without."""
    images, labels = data.digits(train=False)
    chosen = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
    clean = images[chosen, None] / np.float32(255)
    given = noisy(clean, rng)
    with md.no_grad():
        found = F.sigmoid(model(given)).data
    figure = page.figure(9, 3.1)
    rows = {"with noise": given, "network": found, "original": clean}
    for axes, (name, row) in zip(figure.subplots(3, 1), rows.items(), strict=True):
        axes.imshow(np.concatenate(row[:, 0], axis=1), cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[], ylabel=name)
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=800)
    md.manual_seed(args.seed)
    model = train(args.steps, args.seed)
    page.save(draw(model, np.random.default_rng(args.seed)), args.out, "autoencoder")
