"""What is done to images before a network sees them: conversion, sizes, random changes.

A transform is called with a batch of images, (N, C, H, W) or (N, H, W), and gives a batch. The loader
does so with each of its batches; labels and whatever else is in the batch pass through:

>>> from minidl import data
>>> images, labels = data.digits()
>>> augment = Compose([RandomCrop(28, padding=2), ToFloat(), Normalize(0.1307, 0.3081)])
>>> loader = data.DataLoader((images, labels), 100, shuffle=True, rng=0, transform=augment)
>>> x, y = next(iter(loader))
>>> x.shape, x.dtype, y.shape
((100, 28, 28), dtype('float32'), (100,))

Random transforms treat each image separately, and draw from the loader's generator: the same seed gives
the same batches. Outside of a loader they use the library's generator, or the `rng=` of the call.

A transform of your own derives from `Transform`; a `Compose` also takes functions of a batch of images.
"""

from typing import TYPE_CHECKING, Any

from minidl.data.transforms.base import Compose, Lambda, Transform
from minidl.data.transforms.sizes import CenterCrop, Pad, RandomCrop, RandomHorizontalFlip, Resize
from minidl.data.transforms.values import Grayscale, Normalize, ToFloat
from minidl.porting import missing as _missing

__all__ = [
    "CenterCrop",
    "Compose",
    "Grayscale",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "ToFloat",
    "Transform",
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("transforms", name, globals())
