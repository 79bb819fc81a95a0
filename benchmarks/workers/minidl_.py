"""minidl, as users write it."""

import contextlib
import io

import numpy as np
from base import MLPData, Task, main, training_task
from eager import EagerWorker
from networks import NCHW, NHWC

import minidl as md
from minidl import functional as F
from minidl import nn, optim
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

    def function(self, name):
        if name == "rrelu":
            return lambda x, **params: F.rrelu(x, **params, training=True)
        return getattr(F, name)

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

    def mlp(self, case: dict) -> Task:
        data = MLPData(case)
        layers: list = []
        for w, b in zip(data.weights, data.biases, strict=True):
            layers += [nn.Affine(w.shape[1], w.shape[0], weight=w.copy(), bias=b.copy()), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])

        def restore() -> None:
            for layer, w, b in zip(layers[::2], data.weights, data.biases, strict=True):
                layer.weight.data[...] = w
                layer.bias.data[...] = b

        optimizer = optim.Adam(model.parameters(), lr=data.lr)
        xs, ts = [md.Tensor(x) for x in data.x], data.t

        def step(i: int):
            loss = F.cross_entropy(model(xs[i]), ts[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return training_task(step, lambda loss: loss.item(), data, restore)


if __name__ == "__main__":
    main(Minidl)
