"""An LSTM learns to continue Romeo and Juliet character by character.

    python examples/short/lstm.py        about 30 seconds; the picture is out/short/lstm.png

What the network knows of the characters so far is its state, which it takes from each place of the text to the next.
The gates of an LSTM decide what of it is kept, what is added, and what is shown; `nn.LSTM` has the formulas. gpt.py
does the same task with attention.

Sources: Hochreiter & Schmidhuber, Long Short-Term Memory, 1997; Karpathy, The Unreasonable Effectiveness of Recurrent
Neural Networks, 2015.
"""

import numpy as np
import page
import text

import minidl as md
from minidl import functional as F
from minidl import nn, optim

LENGTH, WIDTH = 64, 128


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(text.CHARACTERS), WIDTH)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.scores = nn.Affine(WIDTH, len(text.CHARACTERS))

    def forward(self, numbers, state=None):
        """Characters (N, T) -> scores (N, T, characters) of the one that follows each, and the last state."""
        y, state = self.lstm(self.characters(numbers), state)
        return self.scores(y), state


def loss(model: Model, x, y):
    scores, _ = model(x)
    return F.cross_entropy(scores.reshape(-1, len(text.CHARACTERS)), y.reshape(-1))


def train(steps: int, rng: np.random.Generator) -> tuple[Model, list[list[float]]]:
    """The model, and [step, loss on the training text, on the validation text] every 50 steps."""
    model = Model()
    optimizer = optim.Adam(model.parameters(), lr=0.005)
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


def continued(model: Model, start: str, n: int, rng: np.random.Generator) -> str:
    """The state goes from character to character, so that none is read twice."""
    numbers = list(text.encoded(start))
    with md.no_grad():
        scores, state = model(np.array([numbers]))
        for _ in range(n):
            numbers.append(text.draw_next(scores.data[0, -1], rng))
            scores, state = model(np.array([numbers[-1:]]), state)
    return text.decoded(numbers)


def draw(model: Model, curve: list[list[float]]):
    """The learning curve, and how 24 units of the state change along a text."""
    line = "ROMEO:\nIt is my lady, O, it is my love!\nO, that she knew she were!"
    with md.no_grad():
        states, _ = model.lstm(model.characters(text.encoded(line)[None]))
    figure = page.figure(13, 4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 2.2])
    steps, training, validation = np.array(curve).T
    left.plot(steps, training, label="training")
    left.plot(steps, validation, label="validation")
    left.set(xlabel="step", ylabel="loss (nats per character)", title="learning curve")
    left.legend()
    image = right.imshow(states.data[0, :, :24].T, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    right.set_xticks(range(len(line)), line.replace("\n", "¶"), fontsize=8)
    right.set(ylabel="unit", title="outputs of 24 units, character by character")
    figure.colorbar(image)
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=1000)
    md.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model, curve = train(args.steps, rng)
    print(continued(model, "ROMEO:\n", 300, rng))
    page.save(draw(model, curve), args.out, "lstm")
