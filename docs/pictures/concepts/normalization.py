"""The picture of docs/concepts/normalization.md."""

import numpy as np
import svg

SAMPLES, CHANNELS = 3, 4


def shared(name: str, belongs: np.ndarray) -> svg.Picture:
    """Samples down, channels across; a cell is all the pixels of a channel of a sample."""
    return svg.heat(belongs, name, texts=False, cell=34, xlabel="channel", ylabel="sample")


def groups() -> svg.Picture:
    """One group of values that share a mean, for each kind of normalisation."""
    sample, channel = np.indices((SAMPLES, CHANNELS))
    members = {
        "BatchNorm": channel == 0,
        "LayerNorm (all axes)": sample == 0,
        "GroupNorm (2 groups)": (sample == 0) & (channel < 2),
        "InstanceNorm": (sample == 0) & (channel == 0),
    }
    parts = [shared(name, np.where(inside, 1.0, 0.0)) for name, inside in members.items()]
    return svg.beside(*parts, title="Blue: values that share one mean and one variance")


def pictures() -> dict[str, svg.Picture]:
    return {"concepts/normalization": groups()}
