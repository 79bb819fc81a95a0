"""The differentiable operations, one file per family. They are Tensor's methods and operators, too.

In the order of reading: `arithmetic`, `reduction`, `shape` (indexing too), `linalg` and `einsum` (products), `losses`,
`batch_norm` and `norm` (normalisation), `spatial` (convolution, pooling), `sequence` (recurrence, attention),
`activations`, `arrays` (sin, stack, sort and others); `inplace` has the in-place operators, `args` what several ops ask
of their arguments. A family offers what its `__all__` lists.
"""

from minidl.autograd.tensor import Tensor
from minidl.ops.activations.noise import dropout, dropout2d
from minidl.ops.arithmetic import *
from minidl.ops.arrays.creation import *
from minidl.ops.arrays.elementary import *
from minidl.ops.arrays.joining import *
from minidl.ops.arrays.logic import *
from minidl.ops.arrays.order import *
from minidl.ops.arrays.rearranging import *
from minidl.ops.batch_norm import batch_norm
from minidl.ops.einsum import einsum
from minidl.ops.inplace import inplace
from minidl.ops.linalg import affine, bilinear, matmul
from minidl.ops.losses.composed import *
from minidl.ops.losses.likelihood import *
from minidl.ops.losses.loss import *
from minidl.ops.norm import group_norm, instance_norm, layer_norm
from minidl.ops.reduction import *
from minidl.ops.shape import (
    broadcast_to,
    embedding,
    expand_dims,
    flatten,
    getitem,
    reshape,
    squeeze,
    transpose,
)
from minidl.ops.spatial.adaptive import adaptive_avg_pool, adaptive_max_pool
from minidl.ops.spatial.conv import conv, conv_transpose
from minidl.ops.spatial.padding import pad
from minidl.ops.spatial.pooling import avg_pool, max_pool
from minidl.ops.spatial.resizing import pixel_shuffle, pixel_unshuffle, upsample

for _name, _method in vars(Tensor).items():
    if callable(_method) and _name in globals():
        _method.__doc__ = globals()[_name].__doc__  # x.sum() is documented as sum(x)
