"""The differentiable operations, one file a family. Importing this package gives Tensor its methods."""

from minidl.autograd import tensor
from minidl.ops.activations.noise import dropout
from minidl.ops.arithmetic import (
    abs,
    add,
    astype,
    clip,
    div,
    equal,
    exp,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    maximum,
    minimum,
    mul,
    neg,
    not_equal,
    pow,
    sqrt,
    sub,
    where,
)
from minidl.ops.batch_norm import batch_norm
from minidl.ops.indexing import embedding
from minidl.ops.inplace import inplace
from minidl.ops.linalg import affine, einsum, matmul
from minidl.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
    one_hot,
)
from minidl.ops.norm import group_norm, instance_norm, layer_norm
from minidl.ops.reduction import max, mean, min, std, sum, var
from minidl.ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    getitem,
    pad,
    reshape,
    squeeze,
    stack,
    transpose,
)
from minidl.ops.spatial.conv import conv, conv_transpose
from minidl.ops.spatial.pooling import avg_pool, max_pool, pixel_shuffle, upsample

tensor.provide(globals())
