"""Layers: they hold settings and parameters, and call `minidl.functional`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minidl.nn.activation import LAYERS, LogSoftmax, PReLU, Softmax
from minidl.nn.containers import ModuleDict, ModuleList, Sequential
from minidl.nn.gates import GLU, CReLU, Maxout
from minidl.nn.layers import Flatten, Identity, Reshape
from minidl.nn.linear import Affine, Bilinear, Embedding
from minidl.nn.module import Module
from minidl.nn.noise import Dropout, Dropout2d, RReLU
from minidl.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from minidl.nn.parameter import Parameter, ParameterMaker, ParameterScope
from minidl.nn.spatial.conv import Conv, ConvTranspose
from minidl.nn.spatial.pooling import AdaptiveAvgPool, AdaptiveMaxPool, AvgPool, MaxPool
from minidl.nn.spatial.resizing import PixelShuffle, PixelUnshuffle, Upsample
from minidl.porting import missing as _missing

if TYPE_CHECKING:
    from minidl.nn.losses import (
        BCELoss,
        BCEWithLogitsLoss,
        CosineEmbeddingLoss,
        CrossEntropyLoss,
        HingeLoss,
        HuberLoss,
        KLDivLoss,
        L1Loss,
        MSELoss,
        NLLLoss,
    )
    from minidl.nn.parametrization import remove_parametrization, spectral_norm, weight_norm
    from minidl.nn.sequence.attention import MultiheadAttention
    from minidl.nn.sequence.recurrent import GRU, LSTM, RNN

# Where the layers are that are imported when they are first used: many models need none of them.
_LATE = {
    "losses": "BCELoss BCEWithLogitsLoss CosineEmbeddingLoss CrossEntropyLoss HingeLoss HuberLoss KLDivLoss "
    "L1Loss MSELoss NLLLoss",
    "parametrization": "remove_parametrization spectral_norm weight_norm",
    "sequence.attention": "MultiheadAttention",
    "sequence.recurrent": "GRU LSTM RNN",
}
_PLACES = {name: module for module, names in _LATE.items() for name in names.split()}

globals().update(LAYERS)  # ReLU, Sigmoid, ...: one for each row of the activation table

__all__ = [
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
    "Affine",
    "AvgPool",
    "BatchNorm",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Bilinear",
    "Conv",
    "ConvTranspose",
    "CosineEmbeddingLoss",
    "CReLU",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "GLU",
    "GroupNorm",
    "GRU",
    "HingeLoss",
    "HuberLoss",
    "Identity",
    "InstanceNorm",
    "KLDivLoss",
    "L1Loss",
    "LayerNorm",
    "LogSoftmax",
    "LSTM",
    "Maxout",
    "MaxPool",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MSELoss",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "ParameterMaker",
    "ParameterScope",
    "PixelShuffle",
    "PixelUnshuffle",
    "PReLU",
    "Reshape",
    "RNN",
    "RReLU",
    "Sequential",
    "Softmax",
    "Upsample",
    "remove_parametrization",
    "spectral_norm",
    "weight_norm",
    *LAYERS,
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise _missing("nn", name, __all__)
        value = getattr(import_module(f"minidl.nn.{_PLACES[name]}"), name)
        globals()[name] = value
        return value
