"""What a forward pass changes besides gradients: buffers, which must be put back if the batch fails,
and the generators of layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import call, setitem

import numpy as np

from minidl.atomic import at_once, starmap
from minidl.nn.module import Module
from minidl.replay.watch import changed


class KeptBuffers:
    """Copies of all buffers of a model, to be put back.

    >>> from minidl.nn import BatchNorm
    >>> layer = BatchNorm(1)
    >>> kept = KeptBuffers(layer)
    >>> kept.keep()
    >>> layer.running_mean[:] = np.nan
    >>> kept.restore()
    >>> layer.running_mean
    array([0.], dtype=float32)
    """

    def __init__(self, model: Module) -> None:
        self.places = [
            (module, name)
            for module in model.modules()
            for name, value in module._own()
            if isinstance(value, np.ndarray)
        ]
        self.kept: list[tuple] = []

    def keep(self) -> None:
        """Copies them as they are now."""
        if self.places:
            arrays = [(module, name, getattr(module, name)) for module, name in self.places]
            self.kept = [(module, name, array, array.copy()) for module, name, array in arrays]

    def restore(self) -> None:
        """Puts back what was kept: each buffer is the array that it was, with the values of then."""
        changes: list[tuple] = []
        for module, name, array, values in self.kept:
            changes += [(setitem, array, ..., values), (object.__setattr__, module, name, array)]
        changed()
        at_once(starmap(call, changes))


def generators_of(model: Module) -> Iterator[tuple[str, np.random.Generator]]:
    """The generators that layers have to themselves, such as a Dropout's, by name."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, np.random.Generator):
                yield f"{name}.{attribute}", value
