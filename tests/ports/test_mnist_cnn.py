"""PyTorch's MNIST example: two convolutions, Adadelta, a learning rate that falls after each epoch."""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F

torch = pytest.importorskip("torch")
T = torch.nn
N, BATCHES, EPOCHS = 16, 6, 2


def digits(dtype):
    images, labels = data.digits()
    x = ((images[: N * BATCHES, None] / 255 - 0.1307) / 0.3081).astype(dtype)
    return [(x[i : i + N], labels[i : i + N].astype(np.int64)) for i in range(0, N * BATCHES, N)]


class Theirs(T.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = T.Conv2d(1, 8, 3, 1), T.Conv2d(8, 16, 3, 1)
        self.fc1, self.fc2 = T.Linear(2304, 32), T.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        x = torch.flatten(T.functional.max_pool2d(x, 2), 1)
        return T.functional.log_softmax(self.fc2(torch.relu(self.fc1(x))), dim=1)


class Ours(nn.Module):
    def __init__(self):
        self.conv1, self.conv2 = nn.Conv(1, 8, 3), nn.Conv(8, 16, 3)
        self.fc1, self.fc2 = nn.Affine(2304, 32), nn.Affine(32, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = md.flatten(F.max_pool(x, 2), 1)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), axis=1)


def their_losses(model, dtype):
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(EPOCHS):
        for x, labels in digits(dtype):
            optimizer.zero_grad()
            loss = T.functional.nll_loss(model(torch.from_numpy(x)), torch.from_numpy(labels))
            loss.backward()
            optimizer.step()
            yield loss.item()
        scheduler.step()


def our_losses(model, dtype):
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = optim.StepLR(optimizer, 1, 0.7)
    for _ in range(EPOCHS):
        for x, labels in digits(dtype):
            optimizer.zero_grad()
            loss = F.nll_loss(model(x), labels)
            loss.backward()
            optimizer.step()
            yield loss.item()
        scheduler.step()


# In float32 rounding decides which of two elements of a window is the greatest where they differ by 2e-8; then the
# losses part by some 3e-4 in these steps.
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-3), ("float64", 1e-9)])
def test_the_same_losses(dtype, rtol):
    torch.manual_seed(0)
    theirs, ours = Theirs(), Ours()
    ours.load_state_dict(theirs.state_dict())
    ours.astype(dtype)
    theirs.to(getattr(torch, dtype))
    expected, found = list(their_losses(theirs, dtype)), list(our_losses(ours, dtype))
    np.testing.assert_allclose(found, expected, rtol=rtol)
    assert expected[-1] < 0.8 * expected[0]
