"""minidl: a deep learning framework that one person can read in an afternoon."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minidl import _source

if _source.PLAIN:
    _source.prefer_source()

from minidl import functional, init, nn, ops, optim
from minidl._kernels import (
    get_num_threads,
    memory_stats,
    release_memory,
    set_memory_limit,
    set_num_threads,
)
from minidl.autograd.engine import grad
from minidl.autograd.engine import walk as _walk
from minidl.autograd.modes import detect_anomaly, enable_grad, no_grad
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.autograd.tensor import connect as _connect
from minidl.config import __version__, show_config
from minidl.ops import einsum, matmul
from minidl.ops.arithmetic import *
from minidl.ops.arrays.creation import *
from minidl.ops.arrays.elementary import *
from minidl.ops.arrays.joining import *
from minidl.ops.arrays.logic import *
from minidl.ops.arrays.order import *
from minidl.ops.arrays.rearranging import *
from minidl.ops.reduction import *
from minidl.ops.shape import (
    broadcast_to,
    expand_dims,
    flatten,
    reshape,
    squeeze,
    transpose,
)
from minidl.ops.spatial.padding import pad
from minidl.porting import missing as _missing
from minidl.random import manual_seed
from minidl.replay.capture import CaptureError, capture

_connect(vars(ops), _walk)  # x + y is ops.add(x, y); x.backward() walks back from x

if TYPE_CHECKING:
    from minidl import callbacks, data, distributed, images, monitor, sklearn, testing, train
    from minidl.drawing.picture import draw
    from minidl.inspection.profile import profile
    from minidl.inspection.summary import summary
    from minidl.io.dlpack import from_dlpack
    from minidl.io.saving import load, save
    from minidl.onnx.export import export_onnx
    from minidl.onnx.model import import_onnx
    from minidl.training.fit import History, evaluate, fit
    from minidl.training.metrics import confusion_matrix

# Imported when first used: they bring half of the standard library with them.
_LATE = {
    "callbacks": "minidl.callbacks",
    "data": "minidl.data",
    "distributed": "minidl.distributed",
    "images": "minidl.images",
    "monitor": "minidl.monitor",
    "sklearn": "minidl.sklearn",
    "testing": "minidl.testing",
    "train": "minidl.train",
    "draw": "minidl.drawing.picture",
    "export_onnx": "minidl.onnx.export",
    "from_dlpack": "minidl.io.dlpack",
    "import_onnx": "minidl.onnx.model",
    "load": "minidl.io.saving",
    "save": "minidl.io.saving",
    "profile": "minidl.inspection.profile",
    "summary": "minidl.inspection.summary",
    "History": "minidl.training.fit",
    "confusion_matrix": "minidl.training.metrics",
    "evaluate": "minidl.training.fit",
    "fit": "minidl.training.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise _missing("md", name, __dir__())
    module = import_module(_LATE[name])
    value = module if module.__name__ == f"minidl.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # (Whoever walks over all names does not need scikit-learn for it.)
    return sorted({*globals(), *_LATE} - {"sklearn"})
