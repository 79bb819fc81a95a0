"""A small GPT: it learns to continue Romeo and Juliet character by character.

    python examples/short/gpt.py        about 40 seconds; the picture is out/short/gpt.png

A character's vector is changed by blocks of two parts: attention, in which each place takes something from the places
before it, and a small network, in which each place is on its own. For the queries Q, keys K and values V of a head,

    attention = softmax(Q Kᵀ / √d + mask) V,     mask = -∞ where the key is later than the query.

Sources: Vaswani et al., Attention Is All You Need, 2017; Radford et al., Language Models are Unsupervised Multitask
Learners, 2019.
"""

import numpy as np
import page
import text

import minidl as md
from minidl import functional as F
from minidl import init, nn, optim

LENGTH, WIDTH, HEADS, BLOCKS = 64, 64, 4, 3


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Affine(WIDTH, 3 * WIDTH), nn.Affine(WIDTH, WIDTH)
        self.mask = md.Tensor(np.triu(np.full((LENGTH, LENGTH), -np.inf, np.float32), 1))

    def weights(self, x):
        """How much each place takes from each, (N, heads, T, T), and the values, (N, heads, T, C / heads)."""
        n, t, c = x.shape
        split = self.qkv(x).reshape(n, t, 3, HEADS, c // HEADS)
        q, k, v = (split[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = q @ k.transpose(0, 1, 3, 2) / (c / HEADS) ** 0.5
        return F.softmax(scores + self.mask[:t, :t]), v

    def forward(self, x):
        """(N, T, C) -> (N, T, C)."""
        weights, v = self.weights(x)
        return self.out((weights @ v).transpose(0, 2, 1, 3).reshape(x.shape))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.network = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Affine(WIDTH, 4 * WIDTH), nn.GELU(), nn.Affine(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.network(x)


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(text.CHARACTERS), WIDTH)
        self.places = nn.Parameter(init.Normal(0, 0.02)((LENGTH, WIDTH)))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.scores = nn.Sequential(nn.LayerNorm(WIDTH), nn.Affine(WIDTH, len(text.CHARACTERS)))

    def forward(self, numbers):
        """Characters (N, T) -> scores (N, T, characters) of the one that follows each."""
        return self.scores(self.blocks(self.vectors(numbers)))

    def vectors(self, numbers):
        return self.characters(numbers) + self.places[: numbers.shape[1]]


def loss(model: GPT, x, y):
    return F.cross_entropy(model(x).reshape(-1, len(text.CHARACTERS)), y.reshape(-1))


def train(steps: int, rng: np.random.Generator) -> tuple[GPT, list[list[float]]]:
    """The model, and [step, loss on the training text, on the validation text] every 50 steps."""
    model = GPT()
    optimizer = optim.AdamW(model.parameters(), lr=0.003)
    schedule = optim.CosineLR(optimizer, total=steps)
    learned, new = text.parts()

    @md.capture
    def train_step(x, y):
        value = loss(model, x, y)
        optimizer.zero_grad()
        value.backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return value

    curve, losses = [], []
    for step in range(1, steps + 1):
        losses.append(train_step(*text.batch(learned, 32, LENGTH, rng)).item())
        schedule.step()
        if step % 50 == 0 or step == steps:
            with md.no_grad():
                validation = loss(model, *text.batch(new, 128, LENGTH, rng)).item()
            curve.append([step, np.mean(losses[-50:]), validation])
            print("step {:4}  loss {:.3f}  validation {:.3f}".format(*curve[-1]))
    return model, curve


def continued(model: GPT, start: str, n: int, rng: np.random.Generator) -> str:
    numbers = list(text.encoded(start))
    with md.no_grad():
        for _ in range(n):
            scores = model(np.array([numbers[-LENGTH:]]))
            numbers.append(text.draw_next(scores.data[0, -1], rng))
    return text.decoded(numbers)


def draw(model: GPT, curve: list[list[float]]):
    """The learning curve, and what the first head of each block looks at in one line."""
    line = "But, soft! what light through"
    x, seen = model.vectors(text.encoded(line)[None]), []
    for block in model.blocks:
        seen.append(block.attention.weights(block.norm(x))[0].data[0, 0])
        x = block(x)
    figure = page.figure(14, 3.9)
    left, *rest = figure.subplots(1, 1 + BLOCKS, width_ratios=[1.3] + [1] * BLOCKS)
    steps, training, validation = np.array(curve).T
    left.plot(steps, training, label="training")
    left.plot(steps, validation, label="validation")
    left.set(xlabel="step", ylabel="loss (nats per character)", title="learning curve")
    left.legend()
    for number, axes in enumerate(rest):
        axes.imshow(seen[number], cmap="Blues")
        axes.set_xticks(range(len(line)), line, fontsize=7)
        axes.set_yticks(range(len(line)), line, fontsize=7)
        axes.set(title=f"block {number + 1}, first head", xlabel="looked at", ylabel="from")
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=1000)
    md.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model, curve = train(args.steps, rng)
    print(continued(model, "ROMEO:\n", 300, rng))
    page.save(draw(model, curve), args.out, "gpt")
