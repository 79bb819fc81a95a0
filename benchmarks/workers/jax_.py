"""JAX: every case compiled with jit; the variant "scan" compiles the loop over the batches as
well.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from base import (
    BIG,
    ClassifierData,
    Task,
    Worker,
    activation_input,
    affine_operands,
    main,
    normal,
    prelu_slopes,
    sample,
    training_task,
)
from networks import NCHW, NHWC, PASSES, DCGANData, layer_operands

FUNCTIONS = {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "leaky_relu": lambda x, negative_slope: jax.nn.leaky_relu(x, negative_slope),
    "prelu": lambda x, slope: jnp.where(x > 0, x, channels(slope, x) * x),
    "elu": lambda x, alpha: jax.nn.elu(x, alpha),
    "selu": jax.nn.selu,
    "celu": lambda x, alpha: jax.nn.celu(x, alpha),
    "crelu": lambda x, axis: jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)], axis),
    "gelu": lambda x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": lambda x, beta: jax.nn.softplus(beta * x) / beta,
    "softsign": jax.nn.soft_sign,
    "sigmoid": jax.nn.sigmoid,
    "logsigmoid": jax.nn.log_sigmoid,
    "hardsigmoid": jax.nn.hard_sigmoid,
    "hardswish": jax.nn.hard_swish,
    "hardtanh": lambda x, min_val, max_val: jnp.clip(x, min_val, max_val),
    "relu6": jax.nn.relu6,
    "tanh": jnp.tanh,
    "tanhshrink": lambda x: x - jnp.tanh(x),
    "softshrink": lambda x, lambd: jnp.where(
        x > lambd, x - lambd, jnp.where(x < -lambd, x + lambd, 0)
    ),
    "hardshrink": lambda x, lambd: jnp.where(jnp.abs(x) > lambd, x, 0),
    "threshold": lambda x, threshold, value: jnp.where(x > threshold, x, value),
    "softmax": lambda x, axis: jax.nn.softmax(x, axis),
    "log_softmax": lambda x, axis: jax.nn.log_softmax(x, axis),
    "rrelu": lambda x, key, lower=1 / 8, upper=1 / 3: jnp.where(
        x > 0, x, x * jax.random.uniform(key, x.shape, x.dtype, lower, upper)
    ),
    "glu": lambda x, axis: jax.nn.glu(x, axis),
    "maxout": lambda x, pieces, axis: x.reshape(
        *x.shape[:axis], -1, pieces, *x.shape[axis + 1 :]
    ).max(axis + 1),
}


def channels(slope, x):
    """The slopes along axis 1 of x."""
    return slope if slope.size == 1 else slope.reshape(-1, *[1] * (x.ndim - 2))


def calling(function, *inputs, views=()) -> Task:
    """The Task of a compiled function; `views` transpose its outputs to the others' order.

    Small calls may overlap, as JAX dispatches them asynchronously; big ones wait, so that their
    results do not pile up in memory.
    """
    function = jax.jit(function)
    wait = sum(v.size for v in jax.tree.leaves(inputs)) >= BIG
    outputs = jax.block_until_ready(function(*inputs))

    def run(n: int) -> None:
        for _ in range(n):
            out = function(*inputs)
            if wait:
                jax.block_until_ready(out)
        jax.block_until_ready(out)

    arrays = [np.asarray(v) for v in jax.tree.leaves(outputs)]
    arrays = [view(v) for view, v in zip(views, arrays, strict=True)] if views else arrays
    return Task(run, sample(*arrays))


# ── convolutions: images (N, H, W, C), weights (KH, KW, in, out) ─────────────────────────────────


def kernel(operation, w):
    """PyTorch's weight in XLA's layout; a transposed convolution is a convolution of an image with zeros
    between its pixels, with the kernel reversed.
    """
    return w.transpose(2, 3, 1, 0) if operation == "conv" else w.transpose(2, 3, 0, 1)[::-1, ::-1]


def kernel_back(operation, w):
    return w.transpose(3, 2, 0, 1) if operation == "conv" else w[::-1, ::-1].transpose(2, 3, 0, 1)


def convolve(operation, x, w, stride, padding):
    dilation = 1
    if operation == "conv_transpose":
        stride, dilation, padding = 1, stride, w.shape[0] - 1 - padding
    return jax.lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        [(padding, padding)] * 2,
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def pooled(x):
    """The largest of each 2x2 pixels."""
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def forward(layers, params, x):
    """A DCGAN's network. BatchNorm's running statistics are left out: no result depends on them."""
    for each, (w, *norm) in zip(layers, params, strict=True):
        x = convolve(each.operation, x, w, each.stride, each.padding)
        if norm:
            mean = x.mean((0, 1, 2))
            variance = (x * x).mean((0, 1, 2)) - mean * mean
            x = (x - mean) * (norm[0] * jax.lax.rsqrt(variance + 1e-5)) + norm[1]
        x = AFTER[each.activation](x)
    return x


AFTER = {
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
    None: lambda x: x,
}


def adam(state, g, lr, betas=(0.9, 0.999)):
    """One step: (params, m, v, t) and gradients to the same."""
    (params, m, v, t), (b1, b2) = state, betas
    t = t + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, g)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
    c1, c2 = 1 - b1**t, 1 - b2**t
    params = jax.tree.map(lambda p, m, v: p - lr / c1 * m / (jnp.sqrt(v / c2) + 1e-8), params, m, v)
    return params, m, v, t


def adam_start(values):
    """The state of Adam before the first step, with parameters of these values."""
    params = jax.tree.map(jnp.array, values)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.float32)


class Jax(Worker):
    def versions(self) -> dict:
        return {"jax": jax.__version__, "numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        jax.config.update("jax_enable_x64", case["dtype"] == "float64")
        data = ClassifierData(case)
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[data.activation]
        # Transposed once, outside the clock: the layout in which XLA multiplies without a copy.
        initial = [(w.T.copy(), b) for w, b in zip(data.weights, data.biases, strict=True)]

        def scores(params, x):
            *hidden, (w_last, b_last) = params
            for w, b in hidden:
                x = activation(x @ w + b)
            return x @ w_last + b_last

        task = self.training(scores, initial, data)
        if not data.trains:  # the others' weights are (out, in)
            task.check += sample(*(np.asarray(g).T for pair in self.gradients for g in pair))
        return task

    def lenet(self, case: dict) -> Task:
        data = ClassifierData(case)
        (w1, w2, w3, w4, w5), biases = data.weights, data.biases
        # A row of the first matrix is a pixel's channels here, a channel's pixels in the file.
        w3 = w3.reshape(len(w3), 16, 4, 4).transpose(0, 2, 3, 1).reshape(len(w3), -1)
        weights = [*(kernel("conv", w) for w in (w1, w2)), *(w.T.copy() for w in (w3, w4, w5))]
        data.x = [x.transpose(NHWC) for x in data.x]

        def scores(params, x):
            for w, b in params[:2]:
                x = pooled(jax.nn.relu(convolve("conv", x, w, 1, 0) + b))
            x = x.reshape(len(x), -1)
            for w, b in params[2:4]:
                x = jax.nn.relu(x @ w + b)
            w, b = params[4]
            return x @ w + b

        return self.training(scores, list(zip(weights, biases, strict=True)), data)

    def training(self, scores, initial, data) -> Task:
        """The Task of a classifier: scores(params, x) of its classes."""

        def loss_of(params, x, t):
            logp = jax.nn.log_softmax(scores(params, x))
            return -(jax.nn.one_hot(t, logp.shape[1], dtype=logp.dtype) * logp).sum(1).mean()

        def train(state, batch):
            loss, g = jax.value_and_grad(loss_of)(state[0], *batch)
            return (adam(state, g, data.lr), loss) if data.trains else (state, (loss, g))

        def start():
            return adam_start(initial)

        state = [start()]

        def restore() -> None:
            state[0] = start()

        batches = [
            (jnp.array(x), jnp.array(t, jnp.int32)) for x, t in zip(data.x, data.t, strict=True)
        ]
        jitted = jax.jit(train, donate_argnums=0)

        def step(i: int):
            state[0], loss = jitted(state[0], batches[i])
            return loss

        task = training_task(
            step,
            lambda out: float(out if data.trains else out[0]),
            data,
            restore,
            wait=lambda out: jax.block_until_ready((state[0], out)),
        )
        if not data.trains:
            self.gradients = step((data.steps_checked - 1) % len(data))[1]
        if self.variant != "scan":
            return task
        epoch = jax.jit(lambda state, xs: jax.lax.scan(train, state, xs), donate_argnums=0)
        stacked = (jnp.array(np.stack(data.x)), jnp.array(np.stack(data.t), jnp.int32))

        def run(n: int) -> None:
            for _ in range(n):
                state[0], out = epoch(state[0], stacked)
            jax.block_until_ready((state[0], out))

        return Task(run, task.check, units=len(batches), restore=restore)

    def activation(self, case: dict) -> Task:
        name, mode, params = case["activation"], case["mode"], case["params"]
        if name not in FUNCTIONS:
            raise NotImplementedError
        x, gy = map(jnp.array, activation_input(case))
        inputs = [x, *([jnp.array(prelu_slopes(case))] if name == "prelu" else [])]
        extra = (
            {"key": jax.random.key(0)} if name == "rrelu" else {}
        )  # an input: not folded at compile time

        def forward(extra, *inputs):
            return FUNCTIONS[name](*inputs, **params, **extra)

        y = jax.eval_shape(forward, extra, *inputs)
        gy = gy if y.shape == x.shape else jnp.array(normal(y.shape, 2))

        def both(extra, gy, *inputs):
            y, vjp = jax.vjp(lambda *inputs: forward(extra, *inputs), *inputs)
            return y, vjp(gy)

        def backward(*inputs):
            return both(*inputs)[1]

        if mode == "forward":
            task = calling(forward, extra, *inputs)
        else:
            task = calling(both if mode == "both" else backward, extra, gy, *inputs)
        if name == "rrelu":
            task.check = None
        return task

    def tiny(self, case: dict) -> Task:
        x, gy = jnp.array(normal((4,), 1)), jnp.array(normal((4,), 4))
        a, b = jnp.array(1 + normal((4,), 2) / 100), jnp.array(normal((4,), 3))

        def chain(x):
            for _ in range(case["ops"] // 2):
                x = x * a + b
            return x

        def both(x):
            y, vjp = jax.vjp(chain, x)
            return y, vjp(gy)

        task = calling(both, x)
        task.units = case["ops"]
        return task

    def layer(self, case: dict) -> Task:
        operation = case["operation"]
        x, w, gy = layer_operands(case)

        def both(x, w, gy):
            y, vjp = jax.vjp(
                lambda x, w: convolve(operation, x, w, case["stride"], case["padding"]), x, w
            )
            return y, *vjp(gy)

        inputs = (x.transpose(NHWC), kernel(operation, w), gy.transpose(NHWC))

        def back(x):
            return x.transpose(NCHW)

        views = (back, back, lambda w: kernel_back(operation, w))
        if "pass" not in case:
            return calling(both, *map(jnp.array, inputs), views=views)
        which = PASSES.index(case["pass"])
        inputs = tuple(map(jnp.array, inputs))
        return calling(lambda *inputs: both(*inputs)[which], *inputs, views=(views[which],))

    def affine(self, case: dict) -> Task:
        x, w, b, gy = affine_operands(case)

        def forward(x, w, b, gy):
            return x @ w + b

        def input_gradient(x, w, b, gy):
            return gy @ w.T

        def weight_gradient(x, w, b, gy):
            return x.T @ gy, gy.sum(0)

        function = (forward, input_gradient, weight_gradient)[PASSES.index(case["pass"])]
        views = (np.transpose, np.asarray) if function is weight_gradient else ()
        return calling(function, *map(jnp.array, (x, w.T.copy(), b, gy)), views=views)

    def max_pool(self, case: dict) -> Task:
        x = normal(tuple(case["shape"]), 1).transpose(NHWC)
        task = calling(pooled, jnp.array(x), views=(lambda y: y.transpose(NCHW),))
        n, c, h, w = case["shape"]
        task.units = n * c * h * w // 4
        return task

    def dcgan(self, case: dict) -> Task:
        data = DCGANData(case)
        described = data.generator, data.discriminator
        G, D = (functools.partial(forward, layers) for layers in described)
        initial = [
            [(kernel(each.operation, each.weight), *each.initial[1:]) for each in layers]
            for layers in described
        ]

        def bce(scores, label):
            return jax.nn.softplus(-scores if label else scores).mean()

        def train(state, real, z):
            g, d = state
            fake, pull = jax.vjp(lambda params: G(params, z), g[0])

            def D_loss_of(params):
                return bce(D(params, real), 1) + bce(D(params, fake), 0)

            D_loss, grads = jax.value_and_grad(D_loss_of)(d[0])
            d = adam(d, grads, data.lr, data.betas)
            G_loss, gfake = jax.value_and_grad(lambda fake: bce(D(d[0], fake), 1))(fake)
            g = adam(g, pull(gfake)[0], data.lr, data.betas)
            return (g, d), (D_loss, G_loss)

        state = [None]

        def restore() -> None:
            state[0] = tuple(map(adam_start, initial))

        restore()
        jitted = jax.jit(train, donate_argnums=0)
        reals = [jnp.array(x.transpose(NHWC)) for x in data.real]
        noise = [jnp.array(z.transpose(NHWC)) for z in data.noise]

        def step(i: int):
            state[0], losses = jitted(state[0], reals[i], noise[i])
            return losses

        return training_task(
            step,
            lambda losses: [float(v) for v in losses],
            data,
            restore,
            wait=lambda out: jax.block_until_ready(state[0]),
        )


if __name__ == "__main__":
    main(Jax)
