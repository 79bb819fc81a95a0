"""LeNet-5: the convolutional network that read cheques in the 1990s, on 5,000 digits that come with minidl.

    python examples/short/lenet.py        about 5 seconds; the picture is out/short/lenet.png

Source: LeCun, Bottou, Bengio & Haffner, Gradient-Based Learning Applied to Document Recognition, 1998. ReLU and
max pooling in the place of scaled tanh and average pooling, as is usual today.
"""

import numpy as np
import page

import minidl as md
from minidl import data, nn, optim
from minidl import functional as F


def lenet() -> nn.Sequential:
    """Images (N, 1, 28, 28) -> 10 scores, the greatest one wins."""
    return nn.Sequential(
        nn.Conv(1, 6, 5, padding=2),  # 28 x 28
        nn.ReLU(),
        nn.MaxPool(2),  # 14 x 14
        nn.Conv(6, 16, 5),  # 10 x 10
        nn.ReLU(),
        nn.MaxPool(2),  # 5 x 5
        nn.Flatten(),
        nn.Affine(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Affine(120, 84),
        nn.ReLU(),
        nn.Affine(84, 10),
    )


def digits(train: bool) -> tuple[np.ndarray, np.ndarray]:
    images, labels = data.digits(train=train)
    return images[:, None] / np.float32(255), labels


def train(steps: int, seed: int) -> nn.Sequential:
    model = lenet()
    optimizer = optim.AdamW(model.parameters(), lr=0.002)
    loader = data.DataLoader(digits(train=True), 64, shuffle=True, drop_last=True, rng=seed)
    schedule = optim.CosineLR(optimizer, total=steps)

    @md.capture
    def train_step(x, labels):
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    test = digits(train=False)
    for step, (x, labels) in enumerate(page.batches(loader, steps), 1):
        train_step(x, labels)
        schedule.step()
        if step % 100 == 0:
            right = (scores(model, test[0]).argmax(axis=1) == test[1]).mean()
            print(f"step {step:4}  test accuracy {right:.1%}")
    return model


def scores(model: nn.Module, x: np.ndarray) -> np.ndarray:
    model.eval()
    with md.no_grad():
        y = model(x).data
    model.train()
    return y


def draw(model: nn.Sequential, image: np.ndarray):
    """What the six filters of the first layer and the sixteen of the second make of one image."""
    with md.no_grad():
        first = model[:2](image[None]).data[0]
        second = model[:5](image[None]).data[0]
    figure = page.figure(8, 4.6)
    left, top, bottom = figure.subplot_mosaic([["image", "first"], ["image", "second"]],
                                              width_ratios=[1, 2.4]).values()  # fmt: skip
    left.imshow(image[0], cmap="gray_r")
    left.set(title="image", xticks=[], yticks=[])
    for axes, maps, columns, name in (
        (top, first, 6, "after the first convolution and ReLU: 6 maps of 28 x 28"),
        (bottom, second, 8, "after the second: 16 maps of 10 x 10"),
    ):
        axes.imshow(side_by_side(maps, columns), cmap="magma")
        axes.set(title=name, xticks=[], yticks=[])
    return figure


def side_by_side(maps: np.ndarray, columns: int) -> np.ndarray:
    k, h, w = maps.shape
    rows = maps.reshape(k // columns, columns, h, w).transpose(0, 2, 1, 3)
    return rows.reshape(k // columns * h, columns * w)


if __name__ == "__main__":
    args = page.arguments(__doc__, steps=800)
    md.manual_seed(args.seed)
    model = train(args.steps, args.seed)
    page.save(draw(model, digits(train=False)[0][4]), args.out, "lenet")
