"""What a transform is, and several as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.random import generator


class Transform:
    """A function of a batch of images. A class of your own overrides `apply`.

    ``transform(x, *others, rng=None)`` gives the changed x; or, if there are others, such as labels, a
    tuple of it and them. Random ones draw from `rng`: a numpy Generator (it may also be the last argument
    by position) or a seed; None takes the loader's generator within a loader, and the library's elsewhere.

    >>> class Invert(Transform):
    ...     def apply(self, x, rng):
    ...         return x.max() - x
    ...
    >>> Invert()(np.arange(4.0).reshape(1, 2, 2)).tolist()
    [[[3.0, 2.0], [1.0, 0.0]]]
    """

    random = False  # whether it draws from `rng`

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed images. x must be left as it is; where nothing changes, it may be returned."""
        raise NotImplementedError(f"{type(self).__name__}: apply(x, rng) is missing")

    def __call__(
        self, x: Any, *others: Any, rng: np.random.Generator | int | None = None
    ) -> np.ndarray | tuple:
        name = type(self).__name__
        if others and rng is None and isinstance(others[-1], np.random.Generator):
            *others, rng = others  # type: ignore[assignment]
        y = self.apply(_images(name, x), generator(rng, name))
        return (y, *others) if others else y

    def __repr__(self) -> str:
        settings = (f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({', '.join(settings)})"


class Compose(Transform):
    """One transform after the other.

    Args:
        transforms: transforms, and functions of a batch of images (see `Lambda`).

    Raises:
        TypeError: something else is among them.

    >>> Compose([np.negative, lambda x: x + 1])(np.ones((1, 1, 2))).tolist()
    [[[0.0, 0.0]]]
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        steps = check.items("Compose", "transforms", transforms, "transforms")
        for step in steps:
            check.function("Compose", "transforms", step)
        self.transforms = [t if isinstance(t, Transform) else Lambda(t) for t in steps]

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether one of them is."""
        return any(t.random for t in self.transforms)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            x = transform.apply(_images(type(transform).__name__, x), rng)
        return x  # what the last one gives may be something other than images

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"


class Lambda(Transform):
    """Any function of a batch of images that gives another, such as ``Lambda(lambda x: x[:, None])``.

    Raises:
        TypeError: `fn` cannot be called.
        ValueError: it gives another number of images, or something else.
    """

    random = True  # it may draw random numbers: nobody knows

    def __init__(self, fn: Callable[[np.ndarray], np.ndarray]) -> None:
        self.fn = check.function("Lambda", "fn", fn)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y = check.array("Lambda", "the function's result", self.fn(x))
        if y.ndim == 0 or len(y) != len(x):
            raise ValueError(
                f"Lambda: the function gave an array of shape {y.shape} for {len(x)} images"
            )
        return y


def _images(owner: str, x: Any) -> np.ndarray:
    x = check.array(owner, "x", x)
    if x.ndim not in (3, 4) or x.dtype.kind not in "buif":
        raise ValueError(
            f"{owner}: expected a batch of images, (N, C, H, W) or (N, H, W), got {x.dtype} of shape "
            f"{x.shape}" + ("; for one image: image[None]" if x.ndim == 2 else "")
        )
    return x
