"""A character-level language model with two LSTM layers: truncated backpropagation through time, clipped gradients."""

import numpy as np
import pytest

from minidl import functional as F
from minidl import nn, optim

torch = pytest.importorskip("torch")
T = torch.nn
TEXT = "the quick brown fox jumps over the lazy dog. " * 12
CHARACTERS = sorted(set(TEXT))
NUMBERS = np.array([CHARACTERS.index(c) for c in TEXT], np.int64).reshape(6, -1)  # six streams
K, H, LENGTH = len(CHARACTERS), 24, 11


def batches():
    for _ in range(2):
        for begin in range(0, NUMBERS.shape[1] - LENGTH - 1, LENGTH):
            end = begin + LENGTH
            yield NUMBERS[:, begin:end], NUMBERS[:, begin + 1 : end + 1]


class Theirs(T.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = T.Embedding(K, H), T.Linear(H, K)
        self.rnn = T.LSTM(H, H, num_layers=2, batch_first=True)

    def forward(self, x, state):
        y, state = self.rnn(self.encoder(x), state)
        return self.decoder(y), state


class Ours(nn.Module):
    def __init__(self):
        self.encoder, self.decoder = nn.Embedding(K, H), nn.Affine(H, K)
        self.rnn = nn.LSTM(H, H, num_layers=2, batch_first=True)

    def forward(self, x, state):
        y, state = self.rnn(self.encoder(x), state)
        return self.decoder(y), state


def their_losses(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    state = None
    for x, y in batches():
        scores, state = model(torch.from_numpy(x), state)
        loss = T.functional.cross_entropy(scores.reshape(-1, K), torch.from_numpy(y).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        T.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        state = tuple(s.detach() for s in state)
        yield loss.item()


def our_losses(model):
    optimizer = optim.SGD(model.parameters(), lr=2.0)
    state = None
    for x, y in batches():
        scores, state = model(x, state)
        loss = F.cross_entropy(scores.reshape(-1, K), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 0.5)
        optimizer.step()
        state = tuple(s.detach() for s in state)
        yield loss.item()


def test_the_same_losses():
    torch.manual_seed(0)
    theirs, ours = Theirs(), Ours()
    ours.load_state_dict(theirs.state_dict())
    expected, found = list(their_losses(theirs)), list(our_losses(ours))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert expected[-1] < 0.95 * expected[0]
