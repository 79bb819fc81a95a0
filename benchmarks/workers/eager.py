"""What minidl and PyTorch share: tensors that know their gradient, and a tape that `backward`
walks.

Both have `requires_grad`, `.grad` and `y.backward(gy, retain_graph=...)`, so the timed loops are
the same lines.
"""

from base import Task, Worker, activation_input, normal, operands, prelu_slopes, repeat, sample


class EagerWorker(Worker):
    """A subclass says how its framework makes a tensor, reads one, switches recording off, and
    names its functions.
    """

    def tensor(self, array, requires_grad=False):
        raise NotImplementedError

    def array(self, tensor):
        raise NotImplementedError

    def no_grad(self):
        raise NotImplementedError

    def function(self, name):
        raise NotImplementedError

    def matmul(self, a, b):
        raise NotImplementedError

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

    def tiny(self, case: dict) -> Task:
        x = self.tensor(normal((4,), 1), requires_grad=True)
        a = self.tensor(1 + normal((4,), 2) / 100)
        b = self.tensor(normal((4,), 3))
        gy = self.tensor(normal((4,), 4))

        def call():
            y = x
            for _ in range(case["ops"] // 2):
                y = y * a + b
            x.grad = None
            y.backward(gy)
            return y

        return Task(repeat(call), sample(self.array(call()), self.array(x.grad)), units=case["ops"])

    def gemm(self, case: dict) -> Task:
        a, b = map(self.tensor, operands(case))

        def call():
            return self.matmul(a, b)

        return Task(repeat(call), sample(self.array(call())))

    def elementwise(self, elements: int):
        tanh, x = self.function("tanh"), self.tensor(normal((elements,), 3))

        def call():
            with self.no_grad():
                return tanh(x)

        return call
