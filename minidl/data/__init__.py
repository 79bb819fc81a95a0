"""Data sets, and the loader that cuts them into batches."""

from minidl.data.datasets import digits, fashion_mnist, mnist
from minidl.data.idx import read_idx
from minidl.data.loader import DataLoader, Subset, TensorDataset, split

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
