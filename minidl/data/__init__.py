"""Data sets, and the loader that cuts them into batches."""

from typing import TYPE_CHECKING, Any

from minidl.data.datasets import digits, fashion_mnist, mnist
from minidl.data.idx import read_idx
from minidl.data.loader import DataLoader, Subset, TensorDataset, split
from minidl.porting import missing as _missing

__all__ = [
    "DataLoader",
    "Subset",
    "TensorDataset",
    "digits",
    "fashion_mnist",
    "mnist",
    "read_idx",
    "split",
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("data", name, globals())
