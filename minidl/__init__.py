"""minidl: a deep learning framework that one person can read in an afternoon."""

import os

if os.environ.get("MINIDL_ENGINE") == "python":
    from minidl._source import prefer_source

    prefer_source()

from minidl import functional, init, nn, optim
from minidl._kernels import (
    get_num_threads,
    memory_stats,
    release_memory,
    set_memory_limit,
    set_num_threads,
)
from minidl.config import __version__, show_config
from minidl.engine import grad
from minidl.modes import detect_anomaly, no_grad
from minidl.op import Op
from minidl.ops import (
    abs,
    astype,
    broadcast_to,
    clip,
    concatenate,
    einsum,
    exp,
    expand_dims,
    flatten,
    log,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    pad,
    reshape,
    sqrt,
    squeeze,
    stack,
    std,
    sum,
    transpose,
    var,
    where,
)
from minidl.random import manual_seed
from minidl.serialize import load, save
from minidl.tensor import Tensor
from minidl.train import History, evaluate, fit

from minidl import data, testing  # isort: skip  (they stand above the rest)
