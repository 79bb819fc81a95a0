"""What a forward pass changes besides gradients: buffers, such as running statistics, and random generators.

Each shard begins with the same buffers, and with generators that depend on the step and the shard alone. In the end
the buffers are the means over shards of what each shard has made of them, weighted by samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import call, setitem
from typing import Any

import numpy as np

from minidl.atomic import at_once, starmap
from minidl.nn import Module
from minidl.nn.buffers import generators_of
from minidl.random import drawing_from, generator
from minidl.replay.watch import changed


class Buffers:
    """The buffers of some modules. Those of floats are averaged; of the others, the first shard's values are taken."""

    def __init__(self, models: Sequence[Module]) -> None:
        modules = {id(module): module for model in models for module in model.modules()}
        places = {
            id(value): (module, name, value)
            for module in modules.values()
            for name, value in module._own()
            if isinstance(value, np.ndarray)
        }
        self.arrays = [value for _, _, value in places.values()]
        self.places = [(module, name) for module, name, _ in places.values()]
        self.averaged = [i for i, a in enumerate(self.arrays) if a.dtype.kind == "f" and a.size]
        self.taken = [i for i in range(len(self.arrays)) if i not in set(self.averaged)]

    def keep(self) -> None:
        """Remembers them as they are, before the first shard."""
        self.arrays = [getattr(module, name) for module, name in self.places]
        self.kept = [array.copy() for array in self.arrays]

    def changes(self, share: float) -> list[np.ndarray]:
        """What a shard has added to each of the averaged ones, times its share."""
        kept = [(i, self.kept[i]) for i in self.averaged]
        return [(getattr(*self.places[i]) - array) * array.dtype.type(share) for i, array in kept]

    def values(self) -> list[np.ndarray]:
        """Copies of those that are taken from the first shard."""
        return [getattr(*self.places[i]).copy() for i in self.taken]

    def restore(self, changes: Sequence[np.ndarray] = (), taken: Sequence[np.ndarray] = ()) -> None:
        """Each is again the array that it was, with the values that it had; then the sums of `changes` are added."""
        new = list(self.kept)
        for i, change in zip(self.averaged, changes, strict=bool(changes)):
            new[i] = new[i] + change
        for i, value in zip(self.taken, taken, strict=bool(taken)):
            new[i] = value
        done: list[tuple] = []
        for (module, name), array, value in zip(self.places, self.arrays, new, strict=True):
            done.append((setitem, array, ..., value))
            if getattr(module, name) is not array:
                done.append((object.__setattr__, module, name, array))
                changed()
        at_once(starmap(call, done))


def own_generators(models: Sequence[Module]) -> list[np.random.Generator]:
    """The generators that layers have to themselves."""
    return list({id(rng): rng for model in models for _, rng in generators_of(model)}.values())


class Draws:
    """The random numbers of one step: a key for each generator, drawn once a step on every rank, from which those of
    each shard follow.
    """

    def __init__(self, models: Sequence[Module]) -> None:
        self.generators = own_generators(models)
        self.key = int(generator().integers(2**63))
        self.keys = [int(rng.integers(2**63)) for rng in self.generators]
        self.states = [rng.bit_generator.state for rng in self.generators]

    @contextmanager
    def of(self, shard: int) -> Iterator[None]:
        """Inside, the library's generator and those of layers are this shard's; afterwards as before."""
        try:
            for rng, key in zip(self.generators, self.keys, strict=True):
                kind: Any = type(rng.bit_generator)
                rng.bit_generator.state = kind(_seed(key, shard)).state
            with drawing_from(np.random.default_rng(_seed(self.key, shard))):
                yield
        finally:
            for rng, state in zip(self.generators, self.states, strict=True):
                rng.bit_generator.state = state


def _seed(key: int, shard: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(key, spawn_key=(shard,))
