"""A small residual network: BatchNorm, adaptive pooling, label smoothing, SGD with momentum, one cycle.

Source: He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition, 2016.
"""

import numpy as np
import pytest

from minidl import data, nn, optim
from minidl import functional as F

torch = pytest.importorskip("torch")
T = torch.nn
N, STEPS = 16, 8


def batches():
    images, labels = data.digits()
    for i in range(STEPS):
        part = slice(N * i, N * (i + 1))
        yield images[part, None, ::2, ::2] / np.float32(255), labels[part].astype(np.int64)


class TheirBlock(T.Module):
    def __init__(self, n_in, n_out, stride=1):
        super().__init__()
        self.conv1 = T.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.conv2 = T.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = T.BatchNorm2d(n_out), T.BatchNorm2d(n_out)
        self.shortcut = T.Sequential()
        if stride != 1 or n_in != n_out:
            self.shortcut = T.Sequential(
                T.Conv2d(n_in, n_out, 1, stride, bias=False), T.BatchNorm2d(n_out)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class OurBlock(nn.Module):
    def __init__(self, n_in, n_out, stride=1):
        self.conv1 = nn.Conv(n_in, n_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv(n_out, n_out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm(n_out), nn.BatchNorm(n_out)
        self.shortcut = nn.Sequential()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv(n_in, n_out, 1, stride, bias=False), nn.BatchNorm(n_out)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def their_network():
    return T.Sequential(
        T.Conv2d(1, 8, 3, 1, 1, bias=False), T.BatchNorm2d(8), T.ReLU(),
        TheirBlock(8, 8), TheirBlock(8, 16, 2), TheirBlock(16, 32, 2),
        T.AdaptiveAvgPool2d(1), T.Flatten(), T.Linear(32, 10),
    )  # fmt: skip


def our_network():
    return nn.Sequential(
        nn.Conv(1, 8, 3, 1, 1, bias=False), nn.BatchNorm(8), nn.ReLU(),
        OurBlock(8, 8), OurBlock(8, 16, 2), OurBlock(16, 32, 2),
        nn.AdaptiveAvgPool(1), nn.Flatten(), nn.Affine(32, 10),
    )  # fmt: skip


def their_losses(model):
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, STEPS)
    for x, labels in batches():
        loss = T.functional.cross_entropy(
            model(torch.from_numpy(x)), torch.from_numpy(labels), label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        yield loss.item()


def our_losses(model):
    optimizer = optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    scheduler = optim.OneCycleLR(optimizer, 0.1, STEPS)
    for x, labels in batches():
        loss = F.cross_entropy(model(x), labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        yield loss.item()


def test_the_same_losses():
    torch.manual_seed(0)
    theirs, ours = their_network(), our_network()
    ours.load_state_dict(theirs.state_dict())
    expected, found = list(their_losses(theirs)), list(our_losses(ours))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert min(expected) < expected[0]
    for name, value in theirs.named_buffers():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_allclose(ours.state_dict()[name], value, rtol=1e-3, atol=1e-5)
