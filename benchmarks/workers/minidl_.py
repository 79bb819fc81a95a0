"""minidl, as users write it."""

import contextlib
import io

import numpy as np
from base import main
from eager import ALONG_ROWS, EagerWorker
from networks import NCHW, NHWC

import minidl as md
from minidl import functional as F
from minidl import nn, ops, optim
from minidl.ops.activations.table import ROWS

# Activations that are not in the table, and the arguments that the benchmark passes.
OTHERS = {
    "prelu": {},
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "rrelu": {},
    "crelu": {"axis": 1},
    "glu": {"axis": -1},
    "maxout": {"pieces": 2, "axis": 1},
}

# What follows a convolution in a DCGAN.
AFTER = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    None: nn.Flatten,
}


def channels_last(array):
    """(N, C, H, W) with the channels of a pixel next to each other, as minidl's layers pass images on."""
    return np.ascontiguousarray(array.transpose(NHWC)).transpose(NCHW)


class Minidl(EagerWorker):
    library = "minidl"
    no_grad = staticmethod(md.no_grad)
    matmul = staticmethod(md.matmul)

    def versions(self) -> dict:
        return {"minidl": md.__version__, "numpy": np.__version__}

    def config(self) -> str:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            md.show_config()
        return text.getvalue()

    def activation_names(self) -> list:
        rows = {row.name: row.params for row in ROWS}
        others = {name: params for name, params in OTHERS.items() if hasattr(F, name)}
        return [{"name": name, "params": params} for name, params in {**rows, **others}.items()]

    def tensor(self, array, requires_grad=False):
        return md.Tensor(array, requires_grad=requires_grad)

    def array(self, tensor):
        return tensor.data

    def labels(self, array):
        return array

    def function(self, name):
        if name == "rrelu":
            return lambda x, **params: F.rrelu(x, **params, training=True)
        return getattr(F, name)

    def on_arrays(self, name):
        function = getattr(md, name)
        return (lambda x: function(x, axis=-1)) if name in ALONG_ROWS else function

    def cast(self, tensor, like):
        return tensor.astype(like.dtype)

    def namespace(self):
        return {"md": md, "ops": ops, "F": F}

    def set_threads(self, n):
        md.set_num_threads(n)

    def gradients(self, y, xs):
        return md.grad(y.sum(), xs, create_graph=True)

    def images(self, array, requires_grad=False):
        return self.tensor(channels_last(array), requires_grad)

    def network(self, layers):
        modules: list = []
        for each in layers:
            kind = nn.Conv if each.operation == "conv" else nn.ConvTranspose
            modules.append(kind(*each.channels, 4, each.stride, each.padding, bias=False))
            modules += [] if each.gain is None else [nn.BatchNorm(len(each.gain))]
            modules.append(AFTER[each.activation]())
        return nn.Sequential(*modules)

    def adam(self, parameters, lr, betas):
        return optim.Adam(parameters, lr, betas)

    def assign(self, parameter, array):
        parameter.data[...] = array

    def perceptron(self, data):
        activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[data.activation]
        layers: list = []
        for w in data.weights:
            layers += [nn.Affine(w.shape[1], w.shape[0]), activation()]
        return nn.Sequential(*layers[:-1]).astype(data.weights[0].dtype)

    def lenet5(self):
        return nn.Sequential(
            *(nn.Conv(1, 6, 5), nn.ReLU(), nn.MaxPool(2)),
            *(nn.Conv(6, 16, 5), nn.ReLU(), nn.MaxPool(2)),
            *(nn.Flatten(), nn.Affine(256, 120), nn.ReLU()),
            *(nn.Affine(120, 84), nn.ReLU(), nn.Affine(84, 10)),
        )

    def small_cnn(self):
        return nn.Sequential(
            *(nn.Conv(3, 16, 3, padding=1), nn.BatchNorm(16), nn.ReLU(), nn.MaxPool(2)),
            *(nn.Conv(16, 32, 3, padding=1), nn.BatchNorm(32), nn.ReLU(), nn.MaxPool(2)),
            *(nn.Flatten(), nn.Affine(2048, 10)),
        )

    def clear(self, leaf):
        leaf.zero_grad()

    def captured(self, step):
        return md.capture(step) if self.variant == "captured" else step


if __name__ == "__main__":
    main(Minidl)
