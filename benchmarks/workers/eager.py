"""What minidl and PyTorch share: tensors that have gradients, and a graph that `backward` walks.

Both have `requires_grad`, `.grad` and `y.backward(gy, retain_graph=...)`, modules and optimizers with
the same methods, so the timed loops are the same lines.
"""

import numpy as np
from base import (
    ClassifierData,
    Task,
    Worker,
    activation_input,
    affine_operands,
    normal,
    operands,
    prelu_slopes,
    repeat,
    sample,
    training_task,
)
from calls import CallTask
from networks import DCGANData, layer_operands
from programs import ProgramTask

ALONG_ROWS = ("logsumexp", "cumsum", "prod", "sort")  # of the functions in `arrays`


def sum_of_parts(x):
    total = None
    for part in x:
        total = part if total is None else total + part
    return total


class EagerWorker(Worker):
    """A subclass defines how its framework makes a tensor, reads one, switches recording off, and calls
    its functions.
    """

    library = ""  # its key in the calls of the section `ops`

    def tensor(self, array, requires_grad=False):
        raise NotImplementedError

    def array(self, tensor):
        raise NotImplementedError

    def labels(self, array):
        """Class indices (int32) as the framework's cross-entropy takes them."""
        raise NotImplementedError

    def no_grad(self):
        raise NotImplementedError

    def function(self, name):
        raise NotImplementedError

    def matmul(self, a, b):
        raise NotImplementedError

    def on_arrays(self, name):
        """The function of `arrays`; of reductions and scans, along the last axis."""
        raise NotImplementedError

    def images(self, array, requires_grad=False):
        """A tensor in the memory layout that the framework, or its variant, uses between layers."""
        raise NotImplementedError

    def real(self, array):
        """Real images as a user of the framework loads them; mostly (N, C, H, W)."""
        return self.tensor(array)

    def weight(self, array, requires_grad=False):
        """A layer's weight in the framework's layout."""
        return self.tensor(array, requires_grad)

    def network(self, layers):
        """A Sequential of a DCGAN's layers."""
        raise NotImplementedError

    def perceptron(self, data):
        """A Sequential of an MLP's layers."""
        raise NotImplementedError

    def lenet5(self):
        """A Sequential of LeNet-5's layers."""
        raise NotImplementedError

    def adam(self, parameters, lr, betas):
        raise NotImplementedError

    def assign(self, parameter, array):
        raise NotImplementedError

    def clear(self, leaf):
        """Takes a leaf's gradient away."""
        leaf.grad = None

    def operand(self, array, requires_grad):
        """An operand of a call: floats, class indices, or booleans."""
        return self.tensor(array, requires_grad)

    def cast(self, tensor, like):
        """`tensor` in the dtype of another."""
        raise NotImplementedError

    def namespace(self) -> dict:
        """What a call of the section `ops` may name."""
        raise NotImplementedError

    def set_threads(self, n: int) -> None:
        raise NotImplementedError

    def gradients(self, y, xs: list) -> list:
        """Of y's sum, with gradients of their own."""
        raise NotImplementedError

    def compiled(self, function):
        """A part of a step, as the variant compiles it."""
        return function

    def captured(self, step):
        """A whole step, as the variant captures it."""
        return step

    def mlp(self, case: dict) -> Task:
        data = ClassifierData(case)
        return self.training(self.perceptron(data), data)

    def lenet(self, case: dict) -> Task:
        return self.training(self.lenet5(), ClassifierData(case))

    def training(self, model, data) -> Task:
        parameters = list(model.parameters())

        def restore() -> None:
            for p, value in zip(parameters, data.initial, strict=True):
                self.assign(p, value)

        restore()
        optimizer = self.adam(parameters, data.lr, (0.9, 0.999))
        cross_entropy = self.function("cross_entropy")
        loss_of = self.compiled(lambda x, t: cross_entropy(model(x), t))
        update = self.compiled(lambda: optimizer.step())

        def train(x, t):
            loss = loss_of(x, t)
            optimizer.zero_grad()
            loss.backward()
            if data.trains:
                update()
            return loss

        train = self.captured(train)
        xs, ts = [self.tensor(x) for x in data.x], [self.labels(t) for t in data.t]
        task = training_task(lambda i: train(xs[i], ts[i]), lambda loss: loss.item(), data, restore)
        if not data.trains:
            task.check += sample(*(self.array(p.grad) for p in parameters))
        return task

    def activation(self, case: dict) -> Task:
        function, params, mode = self.function(case["activation"]), case["params"], case["mode"]
        x_array, gy_array = activation_input(case)
        arrays = [x_array, *([prelu_slopes(case)] if case["activation"] == "prelu" else [])]
        leaves = [self.tensor(a, requires_grad=mode != "forward") for a in arrays]

        def forward():
            with self.no_grad():
                return function(*leaves, **params)

        y = forward()
        gy = self.tensor(gy_array if tuple(y.shape) == x_array.shape else normal(tuple(y.shape), 2))

        def backward(y, retain_graph=False):
            for leaf in leaves:
                leaf.grad = None
            y.backward(gy, retain_graph=retain_graph)
            return y

        def both():
            return backward(function(*leaves, **params))

        y = None if mode != "backward" else function(*leaves, **params)

        def again():
            return backward(y, retain_graph=True)

        call = {"forward": forward, "both": both, "backward": again}[mode]
        outputs = [call()] if mode != "backward" else [call()][1:]
        outputs += [leaf.grad for leaf in leaves if mode != "forward"]
        check = None if case["activation"] == "rrelu" else sample(*map(self.array, outputs))
        return Task(repeat(call), check)

    def of_one(self, name):
        """The function of `arrays`; an einsum is of an array and itself."""
        if "->" in name:
            einsum = self.on_arrays("einsum")
            return lambda x: einsum(name, x, x)
        return self.on_arrays(name)

    def arrays(self, case: dict) -> Task:
        name, both = case["function"], case["mode"] == "both"
        x, joins = np.abs(normal(tuple(case["shape"]), 1)), name in ("stack", "concatenate")
        leaves = [self.tensor(part, requires_grad=both) for part in (x if joins else [x])]
        function = sum_of_parts if name == "parts" else self.of_one(name)

        def forward():
            return function(leaves if joins else leaves[0])

        gy = self.tensor(normal(tuple(forward().shape), 2))

        def call():
            y = forward()
            if both:
                for leaf in leaves:
                    self.clear(leaf)
                y.backward(gy)
            return y

        outputs = [call(), *[leaf.grad for leaf in leaves if both]]
        return Task(repeat(call), sample(*map(self.array, outputs)))

    def call(self, case: dict) -> CallTask:
        return CallTask(self, case)

    def program(self, case: dict) -> ProgramTask:
        return ProgramTask(self, case)

    def tiny(self, case: dict) -> Task:
        x = self.tensor(normal((4,), 1), requires_grad=True)
        a = self.tensor(1 + normal((4,), 2) / 100)
        b = self.tensor(normal((4,), 3))
        gy = self.tensor(normal((4,), 4))

        def call():
            y = x
            for _ in range(case["ops"] // 2):
                y = y * a + b
            self.clear(x)
            y.backward(gy)
            return y

        call = self.captured(call)
        return Task(repeat(call), sample(self.array(call()), self.array(x.grad)), units=case["ops"])

    def gemm(self, case: dict) -> Task:
        a, b = map(self.tensor, operands(case))

        def call():
            return self.matmul(a, b)

        return Task(repeat(call), sample(self.array(call())))

    def layer(self, case: dict) -> Task:
        """A layer as it is inside a network: forward, gradients of input and weight; or one of the three."""
        what = case.get("pass")
        x, w, gy = layer_operands(case)
        x = self.images(x, requires_grad=what in (None, "input gradient"))
        w = self.weight(w, requires_grad=what in (None, "weight gradient"))
        gy = self.images(gy)
        function = self.function(case["operation"])
        window = {"stride": case["stride"], "padding": case["padding"]}

        def forward():
            return function(x, w, **window)

        if what is not None:
            return self.one_pass(forward, gy, [leaf for leaf in (x, w) if leaf.requires_grad])

        def call():
            y = forward()
            x.grad = w.grad = None
            y.backward(gy)
            return y

        return Task(repeat(call), sample(*map(self.array, (call(), x.grad, w.grad))))

    def affine(self, case: dict) -> Task:
        x, w, b, gy = affine_operands(case)
        x = self.tensor(x, requires_grad=case["pass"] == "input gradient")
        w, b = (self.tensor(v, requires_grad=case["pass"] == "weight gradient") for v in (w, b))
        function, gy = self.function("affine"), self.tensor(gy)
        leaves = [leaf for leaf in (x, w, b) if leaf.requires_grad]
        return self.one_pass(lambda: function(x, w, b), gy, leaves)

    def one_pass(self, forward, gy, leaves) -> Task:
        """The gradients of the leaves alone, or the forward pass if there are none."""
        if leaves:
            y = forward()

            def call():
                for leaf in leaves:
                    leaf.grad = None
                y.backward(gy, retain_graph=True)
                return [leaf.grad for leaf in leaves]

        else:

            def call():
                with self.no_grad():
                    return [forward()]

        return Task(repeat(call), sample(*map(self.array, call())))

    def max_pool(self, case: dict) -> Task:
        x, function = self.images(normal(tuple(case["shape"]), 1)), self.function("max_pool")

        def call():
            with self.no_grad():
                return function(x, case["window"])

        y = self.array(call())
        return Task(repeat(call), sample(y), units=y.size)

    def dcgan(self, case: dict) -> Task:
        data = DCGANData(case)
        G, D = self.network(data.generator), self.network(data.discriminator)
        G_adam = self.adam(G.parameters(), data.lr, data.betas)
        D_adam = self.adam(D.parameters(), data.lr, data.betas)
        bce = self.function("binary_cross_entropy_with_logits")
        reals = [self.real(x) for x in data.real]
        noise = [self.tensor(z) for z in data.noise]
        ones, zeros = (self.tensor(np.full((case["batch"], 1), v, np.float32)) for v in (1, 0))

        def train(real, z):
            fake = G(z)
            D_loss = bce(D(real), ones) + bce(D(fake.detach()), zeros)
            D_adam.zero_grad()
            D_loss.backward()
            D_adam.step()
            G_loss = bce(D(fake), ones)
            G_adam.zero_grad()
            G_loss.backward()
            G_adam.step()
            return D_loss, G_loss

        train = self.captured(train)

        def restore() -> None:
            values = [v for each in data.generator + data.discriminator for v in each.initial]
            for p, value in zip([*G.parameters(), *D.parameters()], values, strict=True):
                self.assign(p, value)

        restore()
        return training_task(
            lambda i: train(reals[i], noise[i]),
            lambda losses: [v.item() for v in losses],
            data,
            restore,
        )

    def elementwise(self, elements: int):
        tanh, x = self.function("tanh"), self.tensor(normal((elements,), 3))

        def call():
            with self.no_grad():
                return tanh(x)

        return call
