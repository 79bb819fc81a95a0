"""NumPy, as written by hand by somebody who knows the formulas: results go into preallocated arrays,
nothing wasted.
"""

import numpy as np
from base import (
    EARLY_EPS,
    ClassifierData,
    Task,
    Worker,
    activation_input,
    affine_operands,
    main,
    normal,
    operands,
    prelu_slopes,
    repeat,
    sample,
    training_task,
)


def sigmoid(x, out=None):
    """1 / (1 + exp(-x)), written so that exp cannot overflow: tanh does it in one call."""
    y = np.multiply(x, 0.5, out=out)
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def normal_cdf(x):
    """Φ(x) through tanh (NumPy has no erf): the approximate form of GELU only."""
    return 0.5 * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))


def where_positive(x, value, out):
    np.copyto(out, x)
    np.copyto(out, value, where=x <= 0)


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def shrink(x, lambd):
    return np.sign(x) * np.maximum(np.abs(x) - lambd, 0)


# name: (y(x), slope(x, y)); both take the parameters last.
FORMULAS = {
    "leaky_relu": (
        lambda x, a: np.maximum(x, a * x),
        lambda x, y, a: np.where(x <= 0, np.float32(a), 1),
    ),
    "elu": (
        lambda x, a: np.where(x <= 0, a * np.expm1(np.minimum(x, 0)), x),
        lambda x, y, a: np.where(x <= 0, y + a, 1),
    ),
    "celu": (
        lambda x, a: np.where(x <= 0, a * np.expm1(np.minimum(x, 0) / a), x),
        lambda x, y, a: np.where(x <= 0, y / a + 1, 1),
    ),
    "selu": (
        lambda x: SELU_SCALE * np.where(x <= 0, SELU_ALPHA * np.expm1(np.minimum(x, 0)), x),
        lambda x, y: np.where(x <= 0, y + SELU_SCALE * SELU_ALPHA, SELU_SCALE),
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x, y: sigmoid(x) * (1 - y) + y),
    "mish": (
        lambda x: x * np.tanh(softplus(x)),
        lambda x, y: (t := np.tanh(softplus(x))) + x * sigmoid(x) * (1 - t * t),
    ),
    "softplus": (lambda x, b: softplus(b * x) / b, lambda x, y, b: sigmoid(b * x)),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x, y: 1 / np.square(1 + np.abs(x))),
    "logsigmoid": (lambda x: -softplus(-x), lambda x, y: sigmoid(-x)),
    "hardsigmoid": (
        lambda x: np.clip(x / 6 + 0.5, 0, 1),
        lambda x, y: ((y > 0) & (y < 1)) * np.float32(1 / 6),
    ),
    "hardswish": (
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x, y: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)),
    ),
    "hardtanh": (lambda x, lo, hi: np.clip(x, lo, hi), lambda x, y, lo, hi: (x > lo) & (x < hi)),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x, y: (x > 0) & (x < 6)),
    "tanhshrink": (lambda x: x - np.tanh(x), lambda x, y: np.square(x - y)),
    "softshrink": (shrink, lambda x, y, lambd: y != 0),
    "hardshrink": (lambda x, lambd: x * (np.abs(x) > lambd), lambda x, y, lambd: y != 0),
    "threshold": (lambda x, t, value: np.where(x > t, x, value), lambda x, y, t, value: x > t),
    "gelu_tanh": (
        lambda x: x * normal_cdf(x),
        lambda x, y: (
            (c := normal_cdf(x)) + x * 2 * c * (1 - c) * 0.7978845608 * (1 + 3 * 0.044715 * x * x)
        ),
    ),
}


class ByFormula:
    """An activation of the table: forward(), then backward() into preallocated arrays."""

    def __init__(self, case: dict):
        self.params = tuple(case["params"].values())
        self.value, self.slope = FORMULAS[case["activation"]]
        self.x, self.gy = activation_input(case)
        self.gx = np.empty_like(self.x)

    def forward(self):
        self.y = self.value(self.x, *self.params)

    def backward(self):
        np.multiply(self.gy, self.slope(self.x, self.y, *self.params), out=self.gx)

    def gradients(self):
        return (self.gx,)


class Kept(ByFormula):
    """Those that get more care: every result goes into a preallocated array."""

    def __init__(self, case: dict):
        self.x, self.gy = activation_input(case)
        self.y, self.gx = np.empty_like(self.x), np.empty_like(self.x)


class Relu(Kept):
    def forward(self):
        np.maximum(self.x, 0, out=self.y)

    def backward(self):
        np.multiply(self.gy, self.y > 0, out=self.gx)


class Tanh(Kept):
    def forward(self):
        np.tanh(self.x, out=self.y)

    def backward(self):
        np.multiply(self.y, self.y, out=self.gx)
        np.subtract(1, self.gx, out=self.gx)
        self.gx *= self.gy


class Sigmoid(Kept):
    def forward(self):
        sigmoid(self.x, out=self.y)

    def backward(self):
        np.subtract(1, self.y, out=self.gx)
        self.gx *= self.y
        self.gx *= self.gy


class Softmax(Kept):
    def forward(self):
        np.subtract(self.x, self.x.max(1, keepdims=True), out=self.y)
        np.exp(self.y, out=self.y)
        self.y /= self.y.sum(1, keepdims=True)

    def backward(self):
        np.multiply(self.gy, self.y, out=self.gx)
        self.gx -= self.y * self.gx.sum(1, keepdims=True)


class LogSoftmax(Kept):
    def forward(self):
        np.subtract(self.x, self.x.max(1, keepdims=True), out=self.y)
        self.y -= np.log(np.exp(self.y).sum(1, keepdims=True))

    def backward(self):
        np.exp(self.y, out=self.gx)
        self.gx *= self.gy.sum(1, keepdims=True)
        np.subtract(self.gy, self.gx, out=self.gx)


class PRelu(Kept):
    def __init__(self, case: dict):
        super().__init__(case)
        slopes = prelu_slopes(case)
        inner = [1] * (self.x.ndim - 2)
        self.slope = slopes if len(slopes) == 1 else slopes.reshape(-1, *inner)
        self.axes = None if len(slopes) == 1 else (0, *range(2, self.x.ndim))

    def forward(self):
        np.multiply(self.x, np.where(self.x <= 0, self.slope, 1), out=self.y)

    def backward(self):
        negative = self.x <= 0
        np.multiply(self.gy, np.where(negative, self.slope, 1), out=self.gx)
        self.gslope = np.sum(self.gy * self.x * negative, axis=self.axes)

    def gradients(self):
        return self.gx, self.gslope


class RRelu(Kept):
    def __init__(self, case: dict):
        super().__init__(case)
        self.bounds = tuple(case["params"].values()) or (1 / 8, 1 / 3)
        self.rng = np.random.default_rng(0)

    def forward(self):
        low, high = self.bounds
        slopes = self.rng.random(self.x.shape, dtype=np.float32)
        slopes *= np.float32(high - low)
        slopes += np.float32(low)
        self.slopes = np.where(self.x <= 0, slopes, np.float32(1))
        np.multiply(self.x, self.slopes, out=self.y)

    def backward(self):
        np.multiply(self.gy, self.slopes, out=self.gx)


BY_HAND = {
    "relu": Relu,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "log_softmax": LogSoftmax,
    "prelu": PRelu,
    "rrelu": RRelu,
}


class NumPy(Worker):
    def versions(self) -> dict:
        return {"numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        task = self.training(case)
        task.check = {"": task.check, EARLY_EPS: self.training(case, early_eps=True).check}
        return task

    def training(self, case: dict, early_eps: bool = False) -> Task:
        data = ClassifierData(case)
        # All parameters in one array, so that Adam is a few calls whatever the number of layers.
        pieces = [p for w, b in zip(data.weights, data.biases, strict=True) for p in (w, b)]
        flat = np.concatenate([p.ravel() for p in pieces])
        g, m, v, scratch = (np.zeros_like(flat) for _ in range(4))
        initial = flat.copy()
        ends = np.cumsum([p.size for p in pieces])
        params = [flat[e - p.size : e].reshape(p.shape) for e, p in zip(ends, pieces, strict=True)]
        grads = [g[e - p.size : e].reshape(p.shape) for e, p in zip(ends, pieces, strict=True)]
        rows = np.arange(case["batch"])
        ts = [t.astype(np.intp) for t in data.t]
        count = [0]

        activate, slope = {
            "relu": (lambda z: np.maximum(z, 0, out=z), lambda y: y > 0),
            "tanh": (lambda z: np.tanh(z, out=z), lambda y: 1 - y * y),
        }[data.activation]

        def step(i: int):
            hidden = [data.x[i]]
            for k in range(0, len(params), 2):
                z = hidden[-1] @ params[k].T
                z += params[k + 1]
                if k + 2 < len(params):
                    activate(z)
                hidden.append(z)
            p = hidden.pop()
            p -= p.max(1, keepdims=True)
            picked = p[rows, ts[i]]
            np.exp(p, out=p)
            total = p.sum(1, keepdims=True)
            loss = (np.log(total).sum() - picked.sum()) / len(rows)
            p /= total
            p[rows, ts[i]] -= 1
            p *= p.dtype.type(1 / len(rows))
            gz = p
            for k in range(len(params) - 2, -1, -2):
                x = hidden.pop()
                np.matmul(gz.T, x, out=grads[k])
                np.sum(gz, axis=0, out=grads[k + 1])
                if k:
                    gz = gz @ params[k]
                    gz *= slope(x)
            if data.trains:
                adam()
            return loss

        def adam() -> None:
            count[0] += 1
            c1, c2 = 1 - 0.9 ** count[0], 1 - 0.999 ** count[0]
            np.subtract(g, m, out=scratch)
            np.multiply(scratch, np.float32(0.1), out=scratch)
            np.add(m, scratch, out=m)
            np.multiply(g, g, out=g)
            np.multiply(v, np.float32(0.999), out=v)
            np.multiply(g, np.float32(0.001), out=g)
            np.add(v, g, out=v)
            np.sqrt(v, out=scratch)
            np.multiply(scratch, np.float32(c2**-0.5), out=scratch)
            np.add(scratch, np.float32(1e-8 * c2**-0.5 if early_eps else 1e-8), out=scratch)
            np.divide(m, scratch, out=scratch)
            np.multiply(scratch, np.float32(data.lr / c1), out=scratch)
            np.subtract(flat, scratch, out=flat)

        def restore() -> None:
            flat[:] = initial

        task = training_task(step, float, data, restore)
        if not data.trains:
            task.check += sample(*grads)
        return task

    def activation(self, case: dict) -> Task:
        name, mode = case["activation"], case["mode"]
        if name not in BY_HAND and name not in FORMULAS:
            raise NotImplementedError
        work = BY_HAND.get(name, ByFormula)(case)

        def both():
            work.forward()
            work.backward()

        both()
        outputs = {
            "forward": (work.y,),
            "both": (work.y, *work.gradients()),
            "backward": work.gradients(),
        }[mode]
        call = {"forward": work.forward, "both": both, "backward": work.backward}[mode]
        return Task(repeat(call), None if name == "rrelu" else sample(*outputs))

    def tiny(self, case: dict) -> Task:
        x, gy = normal((4,), 1), normal((4,), 4)
        a, b = 1 + normal((4,), 2) / 100, normal((4,), 3)

        def call():
            y, gx = x, gy
            for _ in range(case["ops"] // 2):
                y = y * a + b
            for _ in range(case["ops"] // 2):
                gx = gx * a
            return y, gx

        return Task(repeat(call), sample(*call()), units=case["ops"])

    def gemm(self, case: dict) -> Task:
        a, b = operands(case)

        def call():
            return np.matmul(a, b)

        return Task(repeat(call), sample(call()))

    def affine(self, case: dict) -> Task:
        x, w, b, gy = affine_operands(case)
        y, gx, gw, gb = (np.empty_like(a) for a in (gy, x, w, b))

        def forward():
            np.matmul(x, w.T, out=y)
            np.add(y, b, out=y)

        def weight_gradient():
            np.matmul(gy.T, x, out=gw)
            np.sum(gy, axis=0, out=gb)

        call, outputs = {
            "forward": (forward, (y,)),
            "input gradient": (lambda: np.matmul(gy, w, out=gx), (gx,)),
            "weight gradient": (weight_gradient, (gw, gb)),
        }[case["pass"]]
        call()
        return Task(repeat(call), sample(*outputs))

    def elementwise(self, elements: int):
        x = normal((elements,), 3)

        def call():
            return np.tanh(x)

        return call


if __name__ == "__main__":
    main(NumPy)
