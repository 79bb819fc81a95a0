"""A small GPT as in minGPT: causal self-attention, AdamW that spares biases and norms, warm-up of the learning rate."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim

torch = pytest.importorskip("torch")
T = torch.nn
K, C, HEADS, LENGTH, N, STEPS = 11, 16, 2, 12, 6, 12


def batches():
    """Sequences that count on from a random number, modulo K."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        x = (rng.integers(0, K, (N, 1)) + np.arange(LENGTH + 1)) % K
        yield x[:, :-1], x[:, 1:]


class TheirBlock(T.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = T.LayerNorm(C), T.LayerNorm(C)
        self.qkv, self.proj = T.Linear(C, 3 * C), T.Linear(C, C)
        self.mlp = T.Sequential(T.Linear(C, 4 * C), T.GELU(), T.Linear(4 * C, C))

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(self.ln1(x)).split(C, dim=2)
        q, k, v = (a.view(n, t, HEADS, C // HEADS).transpose(1, 2) for a in (q, k, v))
        att = q @ k.transpose(-2, -1) / math.sqrt(C // HEADS)
        att = att.masked_fill(torch.triu(torch.ones(t, t, dtype=torch.bool), 1), float("-inf"))
        y = (torch.softmax(att, dim=-1) @ v).transpose(1, 2).reshape(n, t, C)
        x = x + self.proj(y)
        return x + self.mlp(self.ln2(x))


class OurBlock(nn.Module):
    def __init__(self):
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Affine(C, 3 * C), nn.Affine(C, C)
        self.mlp = nn.Sequential(nn.Affine(C, 4 * C), nn.GELU(), nn.Affine(4 * C, C))

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = md.split(self.qkv(self.ln1(x)), 3, axis=2)
        q, k, v = (a.reshape(n, t, HEADS, C // HEADS).transpose(0, 2, 1, 3) for a in (q, k, v))
        att = q @ k.transpose(0, 1, 3, 2) / math.sqrt(C // HEADS)
        att = md.where(np.triu(np.ones((t, t), bool), 1), -np.inf, att)
        y = (F.softmax(att) @ v).transpose(0, 2, 1, 3).reshape(n, t, C)
        x = x + self.proj(y)
        return x + self.mlp(self.ln2(x))


class Theirs(T.Module):
    def __init__(self):
        super().__init__()
        self.token, self.place = T.Embedding(K, C), T.Parameter(0.1 * torch.randn(LENGTH, C))
        self.blocks = T.Sequential(TheirBlock(), TheirBlock())
        self.ln, self.head = T.LayerNorm(C), T.Linear(C, K, bias=False)

    def forward(self, x):
        return self.head(self.ln(self.blocks(self.token(x) + self.place)))


class Ours(nn.Module):
    def __init__(self):
        self.token, self.place = nn.Embedding(K, C), nn.Parameter(init.Normal()((LENGTH, C)))
        self.blocks = nn.Sequential(OurBlock(), OurBlock())
        self.ln, self.head = nn.LayerNorm(C), nn.Affine(C, K, bias=False)

    def forward(self, x):
        return self.head(self.ln(self.blocks(self.token(x) + self.place)))


def groups(model):
    """Weight decay for matrices alone."""
    decayed = [p for p in model.parameters() if len(p.shape) >= 2]
    others = [p for p in model.parameters() if len(p.shape) < 2]
    return [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]


def their_losses(model):
    optimizer = torch.optim.AdamW(groups(model), lr=0.01, betas=(0.9, 0.95))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5))
    for x, y in batches():
        loss = T.functional.cross_entropy(
            model(torch.from_numpy(x)).view(-1, K), torch.from_numpy(y).reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        yield loss.item()


def our_losses(model):
    optimizer = optim.AdamW(groups(model), lr=0.01, betas=(0.9, 0.95))
    scheduler = optim.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 5))
    for x, y in batches():
        loss = F.cross_entropy(model(x).reshape(-1, K), y.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        yield loss.item()


def test_the_same_losses():
    torch.manual_seed(0)
    theirs, ours = Theirs(), Ours()
    ours.load_state_dict(theirs.state_dict())
    expected, found = list(their_losses(theirs)), list(our_losses(ours))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert expected[-1] < 0.95 * expected[0]
