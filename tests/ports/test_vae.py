"""PyTorch's variational autoencoder: binary cross-entropy and Kullback-Leibler divergence, summed; Adam."""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F

torch = pytest.importorskip("torch")
T = torch.nn
N, STEPS, CODE = 16, 12, 5


def batches():
    rng = np.random.default_rng(0)
    images, _ = data.digits()
    for i in range(STEPS):
        x = images[N * i : N * (i + 1)].reshape(N, 784) / np.float32(255)
        yield x, rng.standard_normal((N, CODE), np.float32)


class Theirs(T.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = T.Linear(784, 40), T.Linear(40, CODE), T.Linear(40, CODE)
        self.fc3, self.fc4 = T.Linear(CODE, 40), T.Linear(40, 784)

    def forward(self, x, noise):
        h = T.functional.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + noise * torch.exp(0.5 * logvar)
        h = T.functional.relu(self.fc3(z))
        return torch.sigmoid(self.fc4(h)), mu, logvar


class Ours(nn.Module):
    def __init__(self):
        self.fc1, self.fc21, self.fc22 = (
            nn.Affine(784, 40),
            nn.Affine(40, CODE),
            nn.Affine(40, CODE),
        )
        self.fc3, self.fc4 = nn.Affine(CODE, 40), nn.Affine(40, 784)

    def forward(self, x, noise):
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc21(h), self.fc22(h)
        z = mu + noise * md.exp(0.5 * logvar)
        h = F.relu(self.fc3(z))
        return F.sigmoid(self.fc4(h)), mu, logvar


def their_losses(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for x, noise in batches():
        x = torch.from_numpy(x)
        recon, mu, logvar = model(x, torch.from_numpy(noise))
        BCE = T.functional.binary_cross_entropy(recon, x, reduction="sum")
        KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        optimizer.zero_grad()
        (BCE + KLD).backward()
        optimizer.step()
        yield BCE.item(), KLD.item()


def our_losses(model):
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for x, noise in batches():
        recon, mu, logvar = model(x, noise)
        BCE = F.binary_cross_entropy(recon, x, reduction="sum")
        KLD = -0.5 * (1 + logvar - mu**2 - md.exp(logvar)).sum()
        optimizer.zero_grad()
        (BCE + KLD).backward()
        optimizer.step()
        yield BCE.item(), KLD.item()


def test_the_same_losses():
    torch.manual_seed(0)
    theirs, ours = Theirs(), Ours()
    ours.load_state_dict(theirs.state_dict())
    expected, found = np.array(list(their_losses(theirs))), np.array(list(our_losses(ours)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert expected[-1, 0] < 0.9 * expected[0, 0]
