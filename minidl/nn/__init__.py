"""Layers: they hold settings and parameters, and call `minidl.functional`."""

from minidl.nn.activation import LAYERS, LogSoftmax, PReLU, Softmax
from minidl.nn.layers import Dropout, Flatten, Identity, Reshape
from minidl.nn.linear import Affine, Embedding
from minidl.nn.module import Module, ModuleList, Sequential
from minidl.nn.normalization import LayerNorm
from minidl.nn.parameter import Parameter, ParameterMaker, ParameterScope

globals().update(LAYERS)  # ReLU, Sigmoid, ...: one for each row of the activation table

__all__ = [
    "Affine",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "LogSoftmax",
    "Module",
    "ModuleList",
    "PReLU",
    "Parameter",
    "ParameterMaker",
    "ParameterScope",
    "Reshape",
    "Sequential",
    "Softmax",
    *LAYERS,
]
