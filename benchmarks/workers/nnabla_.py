"""NNabla on its CPU backend, with static graphs and its own Adam solver."""

import nnabla as nn
import nnabla.functions as F
import nnabla.solvers as S
import numpy as np
from base import (
    EARLY_EPS,
    MLPData,
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


class NNabla(Worker):
    def versions(self) -> dict:
        return {"nnabla": nn.__version__, "numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        data = MLPData(case)
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


def variable(value, need_grad=False):
    made = nn.Variable(value.shape, need_grad=need_grad)
    made.d = value
    return made


if __name__ == "__main__":
    main(NNabla)
