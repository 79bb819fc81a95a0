"""PyTorch: with its defaults, with the fused Adam, through torch.compile, and with images channels last."""

import numpy as np
import torch
import torch.nn.functional as F
from base import main
from eager import ALONG_ROWS, EagerWorker

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
    "affine": F.linear,
    "conv": F.conv2d,
    "conv_transpose": F.conv_transpose2d,
    "max_pool": F.max_pool2d,
}
# What follows a convolution in a DCGAN.
AFTER = {
    "relu": lambda: torch.nn.ReLU(inplace=True),
    "leaky_relu": lambda: torch.nn.LeakyReLU(0.2, inplace=True),
    "tanh": torch.nn.Tanh,
    None: torch.nn.Flatten,
}


class Torch(EagerWorker):
    library = "torch"
    no_grad = staticmethod(torch.no_grad)
    matmul = staticmethod(torch.matmul)

    def versions(self) -> dict:
        return {"torch": torch.__version__, "numpy": np.__version__}

    def tensor(self, array, requires_grad=False):
        return torch.from_numpy(array).requires_grad_(requires_grad)

    def array(self, tensor):
        return tensor.detach().numpy()

    def labels(self, array):
        return torch.from_numpy(array.astype(np.int64))

    def function(self, name):
        function = FUNCTIONS.get(name) or getattr(F, name, None)
        if function is None:
            raise NotImplementedError
        return function

    def on_arrays(self, name):
        if name == "sort":
            return lambda x: torch.sort(x, dim=-1).values
        function = getattr(torch, {"concatenate": "cat"}.get(name, name))
        return (lambda x: function(x, dim=-1)) if name in ALONG_ROWS else function

    def operand(self, array, requires_grad):
        tensor = torch.from_numpy(array)
        return tensor.requires_grad_() if requires_grad else tensor

    def cast(self, tensor, like):
        return tensor.to(like.dtype)

    def namespace(self):
        return {"torch": torch, "G": F}

    def set_threads(self, n):
        torch.set_num_threads(n)

    def gradients(self, y, xs):
        return torch.autograd.grad(y.sum(), xs, create_graph=True)

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

    def perceptron(self, data):
        activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[data.activation]
        layers: list = []
        for w in data.weights:
            layers += [torch.nn.Linear(w.shape[1], w.shape[0]), activation()]
        return torch.nn.Sequential(*layers[:-1]).to(torch.from_numpy(data.weights[0]).dtype)

    def lenet5(self):
        conv, linear, relu = torch.nn.Conv2d, torch.nn.Linear, torch.nn.ReLU
        return torch.nn.Sequential(
            *(conv(1, 6, 5), relu(), torch.nn.MaxPool2d(2)),
            *(conv(6, 16, 5), relu(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Flatten(), linear(256, 120), relu()),
            *(linear(120, 84), relu(), linear(84, 10)),
        )

    def small_cnn(self):
        conv, norm, relu = torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU
        return torch.nn.Sequential(
            *(conv(3, 16, 3, padding=1), norm(16), relu(), torch.nn.MaxPool2d(2)),
            *(conv(16, 32, 3, padding=1), norm(32), relu(), torch.nn.MaxPool2d(2)),
            *(torch.nn.Flatten(), torch.nn.Linear(2048, 10)),
        )

    def adam(self, parameters, lr, betas):
        fused = True if self.variant == "fused" else None  # None is the default
        return torch.optim.Adam(parameters, lr, betas, fused=fused)

    def assign(self, parameter, array):
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(array))

    def compiled(self, function):
        return torch.compile(function) if self.variant == "compile" else function


if __name__ == "__main__":
    main(Torch)
