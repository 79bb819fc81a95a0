"""Data sets, and the loader that cuts them into batches."""

from typing import TYPE_CHECKING, Any

from minidl.data import transforms
from minidl.data.datasets import cifar10, digits, fashion_mnist, mnist
from minidl.data.folder import ImageFolder
from minidl.data.idx import read_idx
from minidl.data.loader import DataLoader
from minidl.data.samplers import WeightedSampler
from minidl.data.sources import Subset, TensorDataset, split
from minidl.data.table import Table, read_csv
from minidl.porting import missing as _missing

__all__ = [
    "DataLoader",
    "ImageFolder",
    "Subset",
    "Table",
    "TensorDataset",
    "WeightedSampler",
    "cifar10",
    "digits",
    "fashion_mnist",
    "mnist",
    "read_csv",
    "read_idx",
    "split",
    "transforms",
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("data", name, globals())
