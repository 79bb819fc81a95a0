"""TensorFlow: every case a tf.function; Adam is TensorFlow's own fused kernel."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from base import (
    MLPData,
    Task,
    Worker,
    activation_input,
    main,
    mlp_task,
    normal,
    prelu_slopes,
    repeat,
    sample,
)

tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)

FUNCTIONS = {
    "identity": tf.identity,
    "relu": tf.nn.relu,
    "leaky_relu": lambda x, negative_slope: tf.nn.leaky_relu(x, negative_slope),
    "prelu": lambda x, slope: tf.where(x > 0, x, channels(slope, x) * x),
    "rrelu": lambda x, lower=1 / 8, upper=1 / 3: tf.where(
        x > 0, x, x * tf.random.uniform(tf.shape(x), lower, upper)
    ),
    "elu": lambda x, alpha: (
        tf.nn.elu(x) if alpha == 1 else tf.where(x > 0, x, alpha * tf.math.expm1(x))
    ),
    "selu": tf.nn.selu,
    "celu": lambda x, alpha: tf.where(x > 0, x, alpha * tf.math.expm1(tf.minimum(x, 0.0) / alpha)),
    "crelu": lambda x, axis: tf.concat([tf.nn.relu(x), tf.nn.relu(-x)], axis),
    "gelu": lambda x, approximate="none": tf.nn.gelu(x, approximate == "tanh"),
    "gelu_tanh": lambda x: tf.nn.gelu(x, True),
    "silu": tf.nn.silu,
    "mish": lambda x: x * tf.tanh(tf.nn.softplus(x)),
    "softplus": lambda x, beta: tf.nn.softplus(beta * x) / beta if beta != 1 else tf.nn.softplus(x),
    "softsign": tf.nn.softsign,
    "sigmoid": tf.sigmoid,
    "logsigmoid": tf.math.log_sigmoid,
    "hardsigmoid": lambda x: tf.nn.relu6(x + 3) / 6,
    "hardswish": lambda x: x * (tf.nn.relu6(x + 3) / 6),
    "hardtanh": lambda x, min_val, max_val: tf.clip_by_value(x, min_val, max_val),
    "relu6": tf.nn.relu6,
    "tanh": tf.tanh,
    "tanhshrink": lambda x: x - tf.tanh(x),
    "softshrink": lambda x, lambd: tf.where(
        x > lambd, x - lambd, tf.where(x < -lambd, x + lambd, 0.0)
    ),
    "hardshrink": lambda x, lambd: tf.where(tf.abs(x) > lambd, x, 0.0),
    "threshold": lambda x, threshold, value: tf.where(x > threshold, x, value),
    "softmax": lambda x, axis: tf.nn.softmax(x, axis),
    "log_softmax": lambda x, axis: tf.nn.log_softmax(x, axis),
    "glu": lambda x, axis: tf.multiply(
        *(f(h) for f, h in zip((tf.identity, tf.sigmoid), tf.split(x, 2, axis), strict=True))
    ),
    "maxout": lambda x, pieces, axis: tf.reduce_max(
        tf.reshape(x, (*x.shape[:axis], -1, pieces, *x.shape[axis + 1 :])), axis + 1
    ),
}


def channels(slope, x):
    """The slopes along axis 1 of x."""
    return slope if slope.shape[0] == 1 else tf.reshape(slope, (-1, *[1] * (len(x.shape) - 2)))


def calling(function, *inputs) -> Task:
    graph = tf.function(function)
    outputs = tf.nest.flatten(graph(*inputs))
    return Task(repeat(lambda: graph(*inputs)), sample(*(v.numpy() for v in outputs)))


class TensorFlow(Worker):
    def versions(self) -> dict:
        return {"tensorflow": tf.__version__, "numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        data = MLPData(case)
        initial = [
            (w.T, b) for w, b in zip(data.weights, data.biases, strict=True)
        ]  # TensorFlow's layout: (in, out)
        params = [tf.Variable(v) for pair in initial for v in pair]
        m = [tf.Variable(tf.zeros_like(p)) for p in params]
        v = [tf.Variable(tf.zeros_like(p)) for p in params]
        beta1, beta2 = tf.Variable(1.0), tf.Variable(1.0)  # their powers

        @tf.function
        def train(x, t):
            with tf.GradientTape() as tape:
                for i in range(0, len(params), 2):
                    x = tf.nn.bias_add(tf.matmul(x, params[i]), params[i + 1])
                    x = tf.nn.relu(x) if i + 2 < len(params) else x
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(t, x))
            gradients = tape.gradient(loss, params)
            p1, p2 = beta1.assign(beta1 * 0.9), beta2.assign(beta2 * 0.999)
            epsilon = 1e-8 * tf.sqrt(
                1 - p2
            )  # the kernel adds it before the bias correction, Adam's paper after
            for p, mp, vp, g in zip(params, m, v, gradients, strict=True):
                tf.raw_ops.ResourceApplyAdam(
                    var=p.handle, m=mp.handle, v=vp.handle, beta1_power=p1, beta2_power=p2,
                    lr=data.lr, beta1=0.9, beta2=0.999, epsilon=epsilon, grad=g,
                )  # fmt: skip
            return loss

        def restore() -> None:
            for p, value in zip(params, [v for pair in initial for v in pair], strict=True):
                p.assign(value)

        xs = [tf.constant(x) for x in data.x]
        ts = [tf.constant(t, tf.int32) for t in data.t]
        return mlp_task(lambda i: train(xs[i], ts[i]), float, data, restore, wait=float)

    def activation(self, case: dict) -> Task:
        name, mode, params = case["activation"], case["mode"], case["params"]
        if name not in FUNCTIONS:
            raise NotImplementedError
        arrays = activation_input(case)
        x, gy = map(tf.constant, arrays)
        inputs = [x, *([tf.constant(prelu_slopes(case))] if name == "prelu" else [])]

        def forward(*inputs):
            return FUNCTIONS[name](*inputs, **params)

        y = forward(*inputs)
        gy = gy if y.shape == x.shape else tf.constant(normal(tuple(y.shape), 2))

        def both(gy, *inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                y = forward(*inputs)
            return y, tape.gradient(y, inputs, gy)

        def backward(*inputs):
            return both(*inputs)[1]

        if mode == "forward":
            task = calling(forward, *inputs)
        else:
            task = calling(both if mode == "both" else backward, gy, *inputs)
        if name == "rrelu":
            task.check = None
        return task

    def tiny(self, case: dict) -> Task:
        x, gy = tf.constant(normal((4,), 1)), tf.constant(normal((4,), 4))
        a, b = tf.constant(1 + normal((4,), 2) / 100), tf.constant(normal((4,), 3))

        def both(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = x
                for _ in range(case["ops"] // 2):
                    y = y * a + b
            return y, tape.gradient(y, x, gy)

        task = calling(both, x)
        task.units = case["ops"]
        return task


if __name__ == "__main__":
    main(TensorFlow)
