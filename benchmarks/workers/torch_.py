"""PyTorch: with its defaults, with the fused Adam, through torch.compile, and with images channels last."""

import numpy as np
import torch
import torch.nn.functional as F
from base import MLPData, Task, main, training_task
from eager import EagerWorker

torch.set_num_threads(2)

# Functions whose name or call differs from that in torch.nn.functional.
FUNCTIONS = {
    "identity": lambda x: x,
    "crelu": lambda x, axis: torch.cat([F.relu(x), F.relu(-x)], dim=axis),
    "maxout": lambda x, pieces, axis: x.unflatten(axis, (-1, pieces)).amax(axis + 1),
    "softmax": lambda x, axis: F.softmax(x, dim=axis),
    "log_softmax": lambda x, axis: F.log_softmax(x, dim=axis),
    "glu": lambda x, axis: F.glu(x, dim=axis),
    "rrelu": lambda x, **params: F.rrelu(x, **params, training=True),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "conv": F.conv2d,
    "conv_transpose": F.conv_transpose2d,
}
# What follows a convolution in a DCGAN.
AFTER = {
    "relu": lambda: torch.nn.ReLU(inplace=True),
    "leaky_relu": lambda: torch.nn.LeakyReLU(0.2, inplace=True),
    "tanh": torch.nn.Tanh,
    None: torch.nn.Flatten,
}


class Torch(EagerWorker):
    no_grad = staticmethod(torch.no_grad)
    matmul = staticmethod(torch.matmul)

    def versions(self) -> dict:
        return {"torch": torch.__version__, "numpy": np.__version__}

    def tensor(self, array, requires_grad=False):
        return torch.from_numpy(array).requires_grad_(requires_grad)

    def array(self, tensor):
        return tensor.detach().numpy()

    def function(self, name):
        function = FUNCTIONS.get(name) or getattr(F, name, None)
        if function is None:
            raise NotImplementedError
        return function

    @property
    def layout(self):
        last = self.variant == "channels_last"
        return torch.channels_last if last else torch.contiguous_format

    def images(self, array, requires_grad=False):
        tensor = torch.from_numpy(array).contiguous(memory_format=self.layout)
        return tensor.requires_grad_(requires_grad)

    real = weight = images

    def network(self, layers):
        modules: list = []
        for each in layers:
            kind = torch.nn.Conv2d if each.operation == "conv" else torch.nn.ConvTranspose2d
            modules.append(kind(*each.channels, 4, each.stride, each.padding, bias=False))
            modules += [] if each.gain is None else [torch.nn.BatchNorm2d(len(each.gain))]
            modules.append(AFTER[each.activation]())
        return torch.nn.Sequential(*modules).to(memory_format=self.layout)

    def adam(self, parameters, lr, betas):
        return torch.optim.Adam(parameters, lr, betas)

    def assign(self, parameter, array):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(array))

    def mlp(self, case: dict) -> Task:
        data = MLPData(case)
        layers: list = []
        for w in data.weights:
            layers += [torch.nn.Linear(w.shape[1], w.shape[0]), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])

        def restore() -> None:
            with torch.no_grad():
                for layer, w, b in zip(layers[::2], data.weights, data.biases, strict=True):
                    layer.weight.copy_(torch.from_numpy(w))
                    layer.bias.copy_(torch.from_numpy(b))

        restore()
        fused = True if self.variant == "fused" else None  # None is the default
        optimizer = torch.optim.Adam(model.parameters(), lr=data.lr, fused=fused)
        xs = [torch.from_numpy(x) for x in data.x]
        ts = [torch.from_numpy(t.astype(np.int64)) for t in data.t]

        def forward(x, t):
            return F.cross_entropy(model(x), t)

        update = optimizer.step
        if self.variant == "compile":
            forward, update = torch.compile(forward), torch.compile(lambda: optimizer.step())

        def step(i: int):
            loss = forward(xs[i], ts[i])
            optimizer.zero_grad()
            loss.backward()
            update()
            return loss

        return training_task(step, lambda loss: loss.item(), data, restore)


if __name__ == "__main__":
    main(Torch)
