"""minidl, as its users write it."""

import contextlib
import io

import numpy as np
from base import MLPData, Task, main, mlp_task
from eager import EagerWorker

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl.ops.activation_table import ROWS

# Activations that are ops of their own, and the arguments that the benchmark gives them.
OTHERS = {
    "prelu": {},
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "rrelu": {},
    "crelu": {"axis": 1},
    "glu": {"axis": -1},
    "maxout": {"pieces": 2, "axis": 1},
}


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

        return mlp_task(step, lambda loss: loss.item(), data, restore)


if __name__ == "__main__":
    main(Minidl)
