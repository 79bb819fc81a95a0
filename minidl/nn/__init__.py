"""Layers: they hold settings and parameters, and call `minidl.functional`."""

from typing import TYPE_CHECKING, Any

from minidl.nn.activation import LAYERS, LogSoftmax, PReLU, Softmax
from minidl.nn.conv import Conv, ConvTranspose
from minidl.nn.gates import GLU, CReLU, Maxout
from minidl.nn.layers import Flatten, Identity, Reshape
from minidl.nn.linear import Affine, Embedding
from minidl.nn.module import Module, ModuleList, Sequential
from minidl.nn.noise import Dropout, RReLU
from minidl.nn.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from minidl.nn.parameter import Parameter, ParameterMaker, ParameterScope
from minidl.nn.pooling import AvgPool, MaxPool, PixelShuffle, Upsample
from minidl.porting import missing as _missing

globals().update(LAYERS)  # ReLU, Sigmoid, ...: one for each row of the activation table

__all__ = [
    "GLU",
    "Affine",
    "CReLU",
    "Conv",
    "ConvTranspose",
    "AvgPool",
    "BatchNorm",
    "Dropout",
    "Embedding",
    "Flatten",
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "LayerNorm",
    "LogSoftmax",
    "Maxout",
    "MaxPool",
    "Module",
    "ModuleList",
    "PReLU",
    "Parameter",
    "ParameterMaker",
    "ParameterScope",
    "RReLU",
    "PixelShuffle",
    "Reshape",
    "Sequential",
    "Softmax",
    "Upsample",
    *LAYERS,
]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("nn", name, globals())
