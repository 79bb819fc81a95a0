"""A small convolutional classifier of the same data: generated images are judged by its features."""

from collections.abc import Callable

import numpy as np

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F


class Classifier(nn.Module):
    """Images (N, C, 32, 32) or (N, C, 64, 64) -> 64 features -> scores of the classes."""

    def __init__(self, classes: int = 10, channels: int = 1, size: int = 32) -> None:
        halving = [nn.Conv(32, 32, 4, 2, 1), nn.ReLU()] if size == 64 else []
        self.body = nn.Sequential(
            nn.Conv(channels, 16, 4, 2, 1),
            nn.ReLU(),
            nn.Conv(16, 32, 4, 2, 1),
            nn.ReLU(),
            *halving,
            nn.Flatten(),
            nn.Affine(32 * 8 * 8, 64),
            nn.ReLU(),
        )
        self.head = nn.Affine(64, classes)

    def forward(self, x):
        return self.head(self.body(x))

    def look(self, images: np.ndarray, batch: int = 500) -> tuple[np.ndarray, np.ndarray]:
        """The class that it predicts for each image, and the features (N, 64) that this is based on."""
        found, features = [], []
        with md.no_grad():
            for start in range(0, len(images), batch):
                rows = self.body(images[start : start + batch])
                features.append(rows.numpy())
                found.append(self.head(rows).numpy().argmax(axis=1))
        return np.concatenate(found), np.concatenate(features)


def trained(
    transform: Callable,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    seed: int,
    classes: int = 10,
) -> Classifier:
    """A classifier that has learned from these images; the same seed gives the same one."""
    md.manual_seed(seed)
    _, channels, _, size = transform(images[:1]).shape
    model = Classifier(classes, channels, size)
    loader = data.DataLoader(
        (images, labels), 64, shuffle=True, rng=seed, transform=lambda x, y: (transform(x), y)
    )
    optimizer = optim.Adam(model.parameters(), 1e-3)
    history = md.fit(model, loader, F.cross_entropy, optimizer, epochs, progress=False)
    if history.interrupted:
        raise KeyboardInterrupt
    model.eval()
    return model
