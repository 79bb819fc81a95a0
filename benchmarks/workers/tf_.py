"""TensorFlow: every case a tf.function; Adam is TensorFlow's own fused kernel."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from base import (
    ClassifierData,
    Task,
    Worker,
    activation_input,
    affine_operands,
    main,
    normal,
    prelu_slopes,
    repeat,
    sample,
    training_task,
)
from networks import NCHW, NHWC, PASSES, DCGANData, layer_operands

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


def calling(function, *inputs, axes=()) -> Task:
    """The Task of a compiled function; `axes` transposes the outputs to the others' order."""
    graph = tf.function(function)
    outputs = [v.numpy() for v in tf.nest.flatten(graph(*inputs))]
    outputs = [v.transpose(a) for v, a in zip(outputs, axes, strict=True)] if axes else outputs
    return Task(repeat(lambda: graph(*inputs)), sample(*outputs))


# Images are (N, H, W, C); weights (KH, KW, in, out), and those of a transposed convolution
# (KH, KW, out, in): these PyTorch axes in either case.
KERNEL, KERNEL_BACK = (2, 3, 1, 0), (3, 2, 0, 1)


def convolve(operation, x, w, stride, padding):
    padding = "SAME" if padding else "VALID"  # with these sizes, the same padding on all sides
    if operation == "conv":
        return tf.nn.conv2d(x, w, stride, padding)
    n, size = x.shape[0], x.shape[1]
    size = size * stride if padding == "SAME" else (size - 1) * stride + w.shape[0]
    return tf.nn.conv2d_transpose(x, w, (n, size, size, w.shape[2]), stride, padding)


def network(layers):
    """A function of images, and its variables."""
    values = [[v.transpose(KERNEL) if v.ndim == 4 else v for v in each.initial] for each in layers]
    variables = [[tf.Variable(v) for v in group] for group in values]

    def forward(x):
        for each, (w, *norm) in zip(layers, variables, strict=True):
            x = convolve(each.operation, x, w, each.stride, each.padding)
            if norm:
                x = tf.compat.v1.nn.fused_batch_norm(x, *norm, epsilon=1e-5, is_training=True)[0]
            x = AFTER[each.activation](x)
        return x

    return (
        forward,
        [v for group in variables for v in group],
        [v for group in values for v in group],
    )


AFTER = {
    "relu": tf.nn.relu,
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, 0.2),
    "tanh": tf.tanh,
    None: lambda x: x,
}


class Adam:
    """TensorFlow's fused kernel, with eps added after the bias correction as in Adam's paper (the
    kernel adds it before).
    """

    def __init__(self, params, lr, betas=(0.9, 0.999)):
        self.params, self.lr, self.betas = params, lr, betas
        self.m = [tf.Variable(tf.zeros_like(p)) for p in params]
        self.v = [tf.Variable(tf.zeros_like(p)) for p in params]
        self.powers = tf.Variable(1.0), tf.Variable(1.0)

    def step(self, gradients):
        p1, p2 = (power.assign(power * b) for power, b in zip(self.powers, self.betas, strict=True))
        epsilon = 1e-8 * tf.sqrt(1 - p2)
        for p, m, v, g in zip(self.params, self.m, self.v, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle, m=m.handle, v=v.handle, beta1_power=p1, beta2_power=p2, lr=self.lr,
                beta1=self.betas[0], beta2=self.betas[1], epsilon=epsilon, grad=g,
            )  # fmt: skip


class TensorFlow(Worker):
    def versions(self) -> dict:
        return {"tensorflow": tf.__version__, "numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        data = ClassifierData(case)
        activation = {"relu": tf.nn.relu, "tanh": tf.tanh}[data.activation]
        initial = [v.T for v in data.initial]  # TensorFlow's layout: (in, out)

        def scores(params, x):
            for i in range(0, len(params), 2):
                x = tf.nn.bias_add(tf.matmul(x, params[i]), params[i + 1])
                x = activation(x) if i + 2 < len(params) else x
            return x

        task, gradients = self.training(scores, initial, data)
        if not data.trains:  # the others' weights are (out, in)
            task.check += sample(*(g.numpy().T for g in gradients))
        return task

    def lenet(self, case: dict) -> Task:
        data = ClassifierData(case)
        w1, b1, w2, b2, w3, *others = data.initial
        # A row of the first matrix is a pixel's channels here, a channel's pixels in the file.
        w3 = w3.reshape(len(w3), 16, 4, 4).transpose(0, 2, 3, 1).reshape(len(w3), -1)
        initial = [w1.transpose(KERNEL), b1, w2.transpose(KERNEL), b2, w3.T, *(v.T for v in others)]
        data.x = [x.transpose(NHWC) for x in data.x]

        def scores(params, x):
            for i in (0, 2):
                x = tf.nn.relu(
                    tf.nn.bias_add(tf.nn.conv2d(x, params[i], 1, "VALID"), params[i + 1])
                )
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            x = tf.reshape(x, (x.shape[0], -1))
            for i in (4, 6, 8):
                x = tf.nn.bias_add(tf.matmul(x, params[i]), params[i + 1])
                x = tf.nn.relu(x) if i < 8 else x
            return x

        return self.training(scores, initial, data)[0]

    def training(self, scores, initial, data) -> tuple:
        """The Task of a classifier, scores(params, x) of its classes; and its last gradients."""
        params = [tf.Variable(v) for v in initial]
        adam = Adam(params, data.lr) if data.trains else None

        @tf.function
        def train(x, t):
            with tf.GradientTape() as tape:
                y = scores(params, x)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(t, y))
            gradients = tape.gradient(loss, params)
            if adam is None:
                return loss, gradients
            adam.step(gradients)
            return loss, []

        def restore() -> None:
            for p, value in zip(params, initial, strict=True):
                p.assign(value)

        xs = [tf.constant(x) for x in data.x]
        ts = [tf.constant(t, tf.int32) for t in data.t]

        def loss_of(out):
            return float(out[0])

        task = training_task(lambda i: train(xs[i], ts[i]), loss_of, data, restore, wait=loss_of)
        last = (data.steps_checked - 1) % len(data)
        return task, [] if data.trains else train(xs[last], ts[last])[1]

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

    def layer(self, case: dict) -> Task:
        x, w, gy = layer_operands(case)
        x, w, gy = (tf.constant(v.transpose(a)) for v, a in ((x, NHWC), (w, KERNEL), (gy, NHWC)))

        def both(x, w, gy):
            with tf.GradientTape() as tape:
                tape.watch((x, w))
                y = convolve(case["operation"], x, w, case["stride"], case["padding"])
            return y, *tape.gradient(y, (x, w), gy)

        axes = (NCHW, NCHW, KERNEL_BACK)
        if "pass" not in case:
            return calling(both, x, w, gy, axes=axes)
        which = PASSES.index(case["pass"])
        return calling(lambda *inputs: both(*inputs)[which], x, w, gy, axes=axes[which : which + 1])

    def affine(self, case: dict) -> Task:
        x, w, b, gy = affine_operands(case)
        x, w, b, gy = map(tf.constant, (x, w.T.copy(), b, gy))
        if case["pass"] == "forward":
            return calling(lambda x, w, b: tf.nn.bias_add(tf.matmul(x, w), b), x, w, b)
        if case["pass"] == "input gradient":
            return calling(lambda gy, w: tf.matmul(gy, w, transpose_b=True), gy, w)

        def weight_gradient(x, gy):
            return tf.matmul(x, gy, transpose_a=True), tf.reduce_sum(gy, 0)

        return calling(weight_gradient, x, gy, axes=((1, 0), (0,)))

    def max_pool(self, case: dict) -> Task:
        x = tf.constant(normal(tuple(case["shape"]), 1).transpose(NHWC))
        task = calling(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), x, axes=(NCHW,))
        n, c, h, w = case["shape"]
        task.units = n * c * h * w // 4
        return task

    def dcgan(self, case: dict) -> Task:
        data = DCGANData(case)
        (G, G_params, G_initial), (D, D_params, D_initial) = map(
            network, (data.generator, data.discriminator)
        )
        G_adam, D_adam = (Adam(params, data.lr, data.betas) for params in (G_params, D_params))
        bce = tf.nn.sigmoid_cross_entropy_with_logits

        def loss(scores, label):
            return tf.reduce_mean(bce(tf.fill(tf.shape(scores), label), scores))

        @tf.function
        def train(real, z):
            with tf.GradientTape() as G_tape:
                fake = G(z)
            with tf.GradientTape() as D_tape:
                D_loss = loss(D(real), 1.0) + loss(D(tf.stop_gradient(fake)), 0.0)
            D_adam.step(D_tape.gradient(D_loss, D_params))
            with tf.GradientTape() as tape:
                tape.watch(fake)
                G_loss = loss(D(fake), 1.0)
            G_adam.step(G_tape.gradient(fake, G_params, tape.gradient(G_loss, fake)))
            return D_loss, G_loss

        def restore() -> None:
            for p, value in zip(G_params + D_params, G_initial + D_initial, strict=True):
                p.assign(value)

        reals = [tf.constant(x.transpose(NHWC)) for x in data.real]
        noise = [tf.constant(z.transpose(NHWC)) for z in data.noise]

        def floats(losses):
            return [float(v) for v in losses]

        return training_task(
            lambda i: train(reals[i], noise[i]), floats, data, restore, wait=floats
        )


if __name__ == "__main__":
    main(TensorFlow)
