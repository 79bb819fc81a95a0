"""XOR: the smallest problem that a single layer cannot solve, and a hidden layer of four units can.

    python examples/short/xor.py        a second; the picture is out/short/xor.png

Source: Rumelhart, Hinton & Williams, Learning Internal Representations by Error Propagation, 1986.
"""

import numpy as np
import page

import minidl as md
from minidl import functional as F
from minidl import nn, optim


def train(steps: int) -> nn.Sequential:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [1], [1], [0]], np.float32)
    model = nn.Sequential(nn.Affine(2, 4), nn.Tanh(), nn.Affine(4, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for step in range(1, steps + 1):
        loss = F.binary_cross_entropy_with_logits(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:4}  loss {loss.item():.4f}")
    for pair, score in zip(x, model(x).data, strict=True):
        print(f"{pair[0]:.0f} xor {pair[1]:.0f} = {int(score[0] > 0)}")
    return model


def draw(model: nn.Sequential):
    """The probability that the network gives to 1, for every point of the plane."""
    line = np.linspace(-0.5, 1.5, 201, dtype=np.float32)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    with md.no_grad():
        chance = F.sigmoid(model(points)).data.reshape(201, 201)
    figure = page.figure(4.6, 4)
    axes = figure.subplots()
    image = axes.imshow(
        chance, origin="lower", extent=(-0.5, 1.5, -0.5, 1.5), cmap="RdBu_r", vmin=0, vmax=1
    )
    axes.contour(line, line, chance, [0.5], colors="black")
    for a, b in np.ndindex(2, 2):
        axes.text(a, b, str(a ^ b), ha="center", va="center", size=18, weight="bold", color="white")
    axes.set(xlabel="first input", ylabel="second input", title="XOR: where the network says 1")
    figure.colorbar(image, label="probability of 1")
    return figure


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=500)
    md.manual_seed(args.seed)
    page.save(draw(train(args.steps)), args.out, "xor")
