"""A Wasserstein GAN with clipped weights: RMSprop, five steps of the critic for one of the generator.

Source: Arjovsky, Chintala & Bottou, Wasserstein GAN, 2017.
"""

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim

torch = pytest.importorskip("torch")
T = torch.nn
N, NOISE, STEPS = 16, 4, 4


def draws():
    """Real points and noise of each step, five times for the critic; then noise for the generator."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        critic = [
            (
                rng.normal(2, 0.5, (N, 2)).astype(np.float32),
                rng.standard_normal((N, NOISE), np.float32),
            )
            for _ in range(5)
        ]
        yield critic, rng.standard_normal((N, NOISE), np.float32)


def their_networks():
    G = T.Sequential(T.Linear(NOISE, 16), T.BatchNorm1d(16, 0.8), T.LeakyReLU(0.2), T.Linear(16, 2))
    D = T.Sequential(
        T.Linear(2, 16), T.LeakyReLU(0.2), T.Linear(16, 8), T.LeakyReLU(0.2), T.Linear(8, 1)
    )
    return G, D


def our_networks():
    G = nn.Sequential(
        nn.Affine(NOISE, 16), nn.BatchNorm(16, eps=0.8), nn.LeakyReLU(0.2), nn.Affine(16, 2)
    )
    D = nn.Sequential(
        nn.Affine(2, 16), nn.LeakyReLU(0.2), nn.Affine(16, 8), nn.LeakyReLU(0.2), nn.Affine(8, 1)
    )
    return G, D


def their_losses(G, D):
    optimizer_G = torch.optim.RMSprop(G.parameters(), lr=0.005)
    optimizer_D = torch.optim.RMSprop(D.parameters(), lr=0.005)
    for critic, z in draws():
        for real, noise in critic:
            optimizer_D.zero_grad()
            fake = G(torch.from_numpy(noise)).detach()
            loss_D = -torch.mean(D(torch.from_numpy(real))) + torch.mean(D(fake))
            loss_D.backward()
            optimizer_D.step()
            for p in D.parameters():
                p.data.clamp_(-0.1, 0.1)
        optimizer_G.zero_grad()
        loss_G = -torch.mean(D(G(torch.from_numpy(z))))
        loss_G.backward()
        optimizer_G.step()
        yield loss_D.item(), loss_G.item()


def our_losses(G, D):
    optimizer_G = optim.RMSprop(G.parameters(), lr=0.005)
    optimizer_D = optim.RMSprop(D.parameters(), lr=0.005)
    for critic, z in draws():
        for real, noise in critic:
            optimizer_D.zero_grad()
            fake = G(noise).detach()
            loss_D = -md.mean(D(real)) + md.mean(D(fake))
            loss_D.backward()
            optimizer_D.step()
            for p in D.parameters():
                p.data = p.data.clip(-0.1, 0.1)
        optimizer_G.zero_grad()
        loss_G = -md.mean(D(G(z)))
        loss_G.backward()
        optimizer_G.step()
        yield loss_D.item(), loss_G.item()


def test_the_same_losses():
    torch.manual_seed(0)
    theirs, ours = their_networks(), our_networks()
    for mine, net in zip(ours, theirs, strict=True):
        mine.load_state_dict(net.state_dict())
    expected, found = np.array(list(their_losses(*theirs))), np.array(list(our_losses(*ours)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert expected[-1, 0] < expected[0, 0]
