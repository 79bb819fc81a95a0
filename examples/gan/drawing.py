"""The pictures and animations of the GAN example. Needs matplotlib, which installs Pillow."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from minidl import images

SCALE = 3  # screen pixels per pixel of a grey image; the larger coloured ones stay as they are
GAP = 2  # pixels between images
GREY = 64
TITLE = 26  # rows of pixels above a picture that has one
SIXTEEN = [value // 17 * 17 for value in range(256)]


def page(samples: np.ndarray, columns: int) -> np.ndarray:
    """Images of bytes (N, H, W) or (N, H, W, 3) side by side in one."""
    batch = samples if samples.ndim == 3 else samples.transpose(0, 3, 1, 2)
    return images.make_grid(batch, columns, GAP, background=GREY)


def enlarged(sheet: np.ndarray) -> np.ndarray:
    return sheet if sheet.ndim == 3 else sheet.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def picture(path: Path, sheet: np.ndarray, title: str = "") -> None:
    sheet = enlarged(sheet)
    images.write(np.concatenate([heading(title, sheet), sheet]) if title else sheet, path)


def heading(title: str, sheet: np.ndarray) -> np.ndarray:
    """The title, white on grey, as wide as the sheet; small enough to fit."""
    band = Image.new("L", (sheet.shape[1], TITLE), GREY)
    name, size = findfont("DejaVu Sans"), 14  # which matplotlib brings along
    font = ImageFont.truetype(name, size)
    while size > 6 and font.getlength(title) > sheet.shape[1] - 8:
        size -= 1
        font = ImageFont.truetype(name, size)
    ImageDraw.Draw(band).text((4, TITLE // 2), title, 255, font, anchor="lm")
    rows = np.asarray(band)
    return rows if sheet.ndim == 2 else np.stack([rows] * 3, axis=2)


def animation(path: Path, sheets: list, pause: int, rest: int | None = None) -> None:
    """A GIF of the sheets (arrays, or picture files), over and over.

    Args:
        pause: milliseconds from one to the next; the last one stays for `rest`.
    """
    frames = []
    for sheet in sheets:
        if isinstance(sheet, Path):
            with Image.open(sheet) as image:
                frame = image.copy()
        else:
            frame = Image.fromarray(enlarged(sheet))
        # Sixteen greys, or 64 colours: the file is much smaller, as noise hardly compresses.
        frames.append(frame.quantize(64) if frame.mode == "RGB" else frame.point(SIXTEEN))
    pauses = [pause] * (len(frames) - 1) + [rest or pause]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=pauses, loop=0)


def pairs(path: Path, samples: np.ndarray, real: np.ndarray) -> None:
    """Four columns of pairs, a sample and a real image next to it, with light lines between the columns."""
    both = np.stack([samples, real], axis=1).reshape(-1, *samples.shape[1:])
    sheet = page(both, 8)
    width = samples.shape[2] + GAP
    for column in range(0, 8, 2):  # a light line left of each pair
        sheet[:, column * width : column * width + GAP] = 255
    sheet[:, -GAP:] = 255
    picture(path, sheet, "of each pair, left: a sample; right: the training image nearest to it")


def curves(path: Path, history: dict[str, list[float]], wasserstein: bool) -> None:
    """Losses, what the discriminator says, and how varied the samples are, epoch by epoch."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    losses, scores, variety = figure.subplots(1, 3)
    epochs = range(1, len(history["d_loss"]) + 1)
    losses.plot(epochs, history["d_loss"], ".-", label="discriminator")
    losses.plot(epochs, history["g_loss"], ".-", label="generator")
    losses.set(ylabel="loss")
    scores.plot(epochs, history["real"], ".-", label="D(x): real images")
    scores.plot(epochs, history["fake"], ".-", label="D(G(z)): generated")
    if wasserstein:
        scores.set(ylabel="the critic's score")
    else:
        scores.set(ylabel="probability of being real", ylim=(0, 1))
    variety.plot(epochs, history["spread"], ".-", label="spread, as a share of the real one")
    if "classes" in history:
        variety.plot(epochs, history["classes"], ".-", label="classes seen, as a share of all")
    variety.set(ylabel="variety of the samples", ylim=(0, None))
    for axes in (losses, scores, variety):
        axes.set(xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def class_bars(path: Path, fake: np.ndarray, real: np.ndarray, names: list[str]) -> None:
    """The share of each class among samples and among real images."""
    figure = Figure(figsize=(max(8, 0.25 * len(names)), 3.5), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(names))
    axes.bar(at - 0.2, fake, 0.4, label="samples")
    axes.bar(at + 0.2, real, 0.4, label="held-out images")
    long = max(map(len, names)) > 1
    axes.set_xticks(at, names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set(ylabel="share", title="classes, as the classifier sees them")
    figure.legend(fontsize=8, loc="outside upper right", ncols=2)  # it would hide bars
    figure.savefig(path, dpi=100)
