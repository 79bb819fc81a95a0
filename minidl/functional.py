"""F: every stateless function by its name, no logic. ``from minidl import functional as F; F.relu(x)``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minidl.ops.activations.gates import crelu, glu, maxout
from minidl.ops.activations.noise import dropout, dropout2d, rrelu
from minidl.ops.activations.prelu import prelu
from minidl.ops.activations.softmax import log_softmax, softmax
from minidl.ops.activations.table import FUNCTIONS, identity
from minidl.ops.batch_norm import batch_norm
from minidl.ops.linalg import affine, bilinear
from minidl.ops.losses import composed, likelihood, loss
from minidl.ops.losses.composed import *  # noqa: F403  (what its __all__ lists)
from minidl.ops.losses.likelihood import *  # noqa: F403
from minidl.ops.losses.loss import *  # noqa: F403
from minidl.ops.norm import group_norm, instance_norm, layer_norm
from minidl.ops.shape import embedding
from minidl.ops.spatial.adaptive import adaptive_avg_pool, adaptive_max_pool
from minidl.ops.spatial.conv import conv, conv_transpose
from minidl.ops.spatial.pooling import avg_pool, max_pool
from minidl.ops.spatial.resizing import pixel_shuffle, pixel_unshuffle, upsample
from minidl.porting import missing as _missing

# Of a result and its target: `md.fit` takes them by name.
LOSSES = tuple(
    name
    for name in (*loss.__all__, *likelihood.__all__, *composed.__all__)
    if name not in ("one_hot", "cosine_embedding_loss")
)

if TYPE_CHECKING:
    from minidl.ops.sequence.attention import scaled_dot_product_attention
    from minidl.ops.sequence.recurrent import gru, lstm, rnn

# Imported when first used: many models need none of them.
_LATE = {
    "scaled_dot_product_attention": "minidl.ops.sequence.attention",
    "gru": "minidl.ops.sequence.recurrent",
    "lstm": "minidl.ops.sequence.recurrent",
    "rnn": "minidl.ops.sequence.recurrent",
}

globals().update(FUNCTIONS)  # relu, sigmoid, ...: what ops/activations declares

__all__ = [
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "affine",
    "avg_pool",
    "batch_norm",
    "bilinear",
    "conv",
    "conv_transpose",
    "crelu",
    "dropout",
    "dropout2d",
    "embedding",
    "glu",
    "group_norm",
    "gru",
    "identity",
    "instance_norm",
    "layer_norm",
    "log_softmax",
    "lstm",
    "maxout",
    "max_pool",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "rnn",
    "rrelu",
    "scaled_dot_product_attention",
    "softmax",
    "upsample",
    *FUNCTIONS,
    *loss.__all__,
    *likelihood.__all__,
    *composed.__all__,
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise _missing("functional", name, __all__)
        value = getattr(import_module(_LATE[name]), name)
        globals()[name] = value
        return value
