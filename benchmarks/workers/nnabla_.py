"""NNabla on its CPU backend, with static graphs and its own Adam solver."""

import nnabla as nn
import nnabla.functions as F
import nnabla.solvers as S
import numpy as np
from base import (
    EARLY_EPS,
    ClassifierData,
    Task,
    Worker,
    activation_input,
    main,
    normal,
    prelu_slopes,
    repeat,
    sample,
    training_task,
)
from networks import DCGANData

nn.logger.setLevel("ERROR")

FUNCTIONS = {
    "identity": F.identity,
    "relu": F.relu,
    "leaky_relu": lambda x, negative_slope: F.leaky_relu(x, negative_slope),
    "prelu": lambda x, slope: F.prelu(x, slope, base_axis=1),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "selu": F.selu,
    "crelu": lambda x, axis: F.crelu(x, axis),
    "gelu_tanh": F.gelu,
    "silu": F.swish,
    "mish": F.mish,
    "softplus": lambda x, beta: F.softplus(x, beta),
    "softsign": F.softsign,
    "sigmoid": F.sigmoid,
    "logsigmoid": F.log_sigmoid,
    "relu6": F.relu6,
    "tanh": F.tanh,
    "tanhshrink": F.tanh_shrink,
    "softshrink": lambda x, lambd: F.softshrink(x, lambd),
    "softmax": lambda x, axis: F.softmax(x, axis % 2),
    "log_softmax": lambda x, axis: F.log_softmax(x, axis % 2),
}

# What follows a convolution in a DCGAN.
AFTER = {
    "relu": lambda x: F.relu(x, inplace=True),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2, inplace=True),
    "tanh": F.tanh,
    None: lambda x: x,
}


class Network:
    """A DCGAN's network: its parameters, and the graph that it builds for an input."""

    def __init__(self, layers):
        self.layers = layers
        self.groups = [[variable(v, need_grad=True) for v in initial(each)] for each in layers]
        self.params = {
            f"{i}.{j}": p for i, group in enumerate(self.groups) for j, p in enumerate(group)
        }

    def __call__(self, x):
        for each, (w, *norm) in zip(self.layers, self.groups, strict=True):
            convolve = F.convolution if each.operation == "conv" else F.deconvolution
            x = convolve(x, w, pad=(each.padding,) * 2, stride=(each.stride,) * 2)
            if norm:
                gain, shift = norm
                running = [variable(np.full_like(gain.d, v)) for v in (0, 1)]
                x = F.batch_normalization(
                    x, shift, gain, *running, eps=1e-5, decay_rate=0.9, batch_stat=True
                )
            x = AFTER[each.activation](x)
        return x

    def restore(self):
        for each, group in zip(self.layers, self.groups, strict=True):
            for p, value in zip(group, initial(each), strict=True):
                p.d = value


def initial(layer):
    """The values of a layer's parameters, in NNabla's shapes: those of BatchNorm are (1, C, 1, 1)."""
    return [v if v.ndim == 4 else v.reshape(1, -1, 1, 1) for v in layer.initial]


class NNabla(Worker):
    def versions(self) -> dict:
        return {"nnabla": nn.__version__, "numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        data = ClassifierData(case)
        x = nn.Variable(data.x[0].shape)
        t = nn.Variable((case["batch"], 1))
        initial = [
            (np.ascontiguousarray(w.T), b) for w, b in zip(data.weights, data.biases, strict=True)
        ]
        params = [tuple(variable(v, need_grad=True) for v in pair) for pair in initial]
        h = x
        for i, (w, b) in enumerate(params):
            h = F.affine(h, w, b)
            h = F.relu(h) if i + 1 < len(params) else h
        loss = F.mean(F.softmax_cross_entropy(h, t))
        solver = S.Adam(alpha=data.lr)
        solver.set_parameters(
            {f"p{i}{j}": v for i, p in enumerate(params) for j, v in enumerate(p)}
        )
        ts = [labels.astype(np.int32)[:, None] for labels in data.t]

        def step(i: int):
            x.d, t.d = data.x[i], ts[i]
            loss.forward(clear_no_need_grad=True)
            solver.zero_grad()
            loss.backward(clear_buffer=True)
            solver.update()
            return loss

        def restore() -> None:
            for pair, values in zip(params, initial, strict=True):
                for v, value in zip(pair, values, strict=True):
                    v.d = value

        task = training_task(step, lambda loss: float(loss.d), data, restore)
        task.check = {EARLY_EPS: task.check}
        return task

    def activation(self, case: dict) -> Task:
        name, mode = case["activation"], case["mode"]
        if name not in FUNCTIONS:
            raise NotImplementedError
        arrays = [activation_input(case)[0], *([prelu_slopes(case)] if name == "prelu" else [])]
        inputs = [variable(a, need_grad=mode != "forward") for a in arrays]
        y = FUNCTIONS[name](*inputs, **case["params"])
        y.forward()
        gy = normal(tuple(y.shape), 2)

        def backward():
            for v in inputs:
                v.grad.zero()
            y.backward(gy)

        def both():
            y.forward()
            backward()

        call = {"forward": y.forward, "both": both, "backward": backward}[mode]
        call()
        outputs = [] if mode == "backward" else [y.d]
        outputs += [] if mode == "forward" else [v.g for v in inputs]
        return Task(repeat(call), sample(*outputs))

    def tiny(self, case: dict) -> Task:
        x = variable(normal((4,), 1), need_grad=True)
        a, b = variable(1 + normal((4,), 2) / 100), variable(normal((4,), 3))
        gy = normal((4,), 4)
        y = x
        for _ in range(case["ops"] // 2):
            y = y * a + b

        def call():
            y.forward()
            x.grad.zero()
            y.backward(gy)

        call()
        return Task(repeat(call), sample(y.d, x.g), units=case["ops"])

    def dcgan(self, case: dict) -> Task:
        if case["flops"] > 1e10:
            raise NotImplementedError  # its plain loops would take minutes
        data = DCGANData(case)
        G, D = Network(data.generator), Network(data.discriminator)
        real, z = nn.Variable(data.real[0].shape), nn.Variable(data.noise[0].shape)
        fake = G(z)
        fake.persistent = True
        # Two leaves that share fake's values: what is detached, and where G's gradient arrives.
        detached = fake.get_unlinked_variable(need_grad=False)
        arrived = fake.get_unlinked_variable(need_grad=True)

        def loss(scores, label):
            return F.mean(F.sigmoid_cross_entropy(scores, F.constant(label, scores.shape)))

        D_loss = loss(D(real), 1) + loss(D(detached), 0)
        G_loss = loss(D(arrived), 1)
        solvers = [S.Adam(data.lr, *data.betas) for _ in range(2)]
        G_adam, D_adam = solvers
        G_adam.set_parameters(G.params)
        D_adam.set_parameters(D.params)

        def step(i: int):
            real.d, z.d = data.real[i], data.noise[i]
            fake.forward()
            D_loss.forward(clear_no_need_grad=True)
            D_adam.zero_grad()
            D_loss.backward(clear_buffer=True)
            D_adam.update()
            G_loss.forward(clear_no_need_grad=True)
            G_adam.zero_grad()
            arrived.grad.zero()
            G_loss.backward()
            fake.backward(None, clear_buffer=True)
            G_adam.update()
            return D_loss, G_loss

        def restore() -> None:
            G.restore()
            D.restore()

        return training_task(step, lambda losses: [float(v.d) for v in losses], data, restore)


def variable(value, need_grad=False):
    made = nn.Variable(value.shape, need_grad=need_grad)
    made.d = value
    return made


if __name__ == "__main__":
    main(NNabla)
