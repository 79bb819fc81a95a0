"""JAX: every case compiled with jit; the variant "scan" compiles the loop over the batches as
well.
"""

import jax
import jax.numpy as jnp
import numpy as np
from base import (
    BIG,
    MLPData,
    Task,
    Worker,
    activation_input,
    main,
    mlp_task,
    normal,
    prelu_slopes,
    sample,
)

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


def calling(function, *inputs) -> Task:
    """The Task of a compiled function.

    Small calls may overlap, as JAX's asynchronous dispatch has them; big ones wait, so that their
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

    return Task(run, sample(*(np.asarray(v) for v in jax.tree.leaves(outputs))))


class Jax(Worker):
    def versions(self) -> dict:
        return {"jax": jax.__version__, "numpy": np.__version__}

    def mlp(self, case: dict) -> Task:
        data = MLPData(case)
        # Transposed once, outside the clock: the layout in which XLA multiplies without a copy.
        initial = [(w.T.copy(), b) for w, b in zip(data.weights, data.biases, strict=True)]

        def loss_of(params, x, t):
            *hidden, (w_last, b_last) = params
            for w, b in hidden:
                x = jax.nn.relu(x @ w + b)
            logp = jax.nn.log_softmax(x @ w_last + b_last)
            return -(jax.nn.one_hot(t, logp.shape[1]) * logp).sum(1).mean()

        def train(state, batch):
            params, m, v, t = state
            loss, g = jax.value_and_grad(loss_of)(params, *batch)
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            c1, c2 = 1 - 0.9**t, 1 - 0.999**t
            params = jax.tree.map(
                lambda p, m, v: p - data.lr / c1 * m / (jnp.sqrt(v / c2) + 1e-8), params, m, v
            )
            return (params, m, v, t), loss

        def start():
            params = [(jnp.array(w), jnp.array(b)) for w, b in initial]
            zeros = jax.tree.map(jnp.zeros_like, params)
            return params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.float32)

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

        task = mlp_task(
            step, float, data, restore, wait=lambda out: jax.block_until_ready(state[0])
        )
        if self.variant != "scan":
            return task
        epoch = jax.jit(lambda state, xs: jax.lax.scan(train, state, xs), donate_argnums=0)
        stacked = (jnp.stack([x for x, _ in batches]), jnp.stack([t for _, t in batches]))

        def run(n: int) -> None:
            for _ in range(n):
                state[0], _ = epoch(state[0], stacked)
            jax.block_until_ready(state[0])

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


if __name__ == "__main__":
    main(Jax)
