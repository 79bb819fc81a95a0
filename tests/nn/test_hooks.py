"""Forward and backward hooks: what they see and may change, as in PyTorch; fused layers, captured steps, copies."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, nn
from minidl._source import PURE

X = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
W1 = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
W2 = np.random.default_rng(2).standard_normal((2, 5)).astype("float32")


def mlp():
    return nn.Sequential(
        nn.Affine(3, 5, bias=False, weight=W1), nn.ReLU(), nn.Affine(5, 2, bias=False, weight=W2)
    )


class Mixed(nn.Module):
    """Several inputs, one of them no tensor, and several outputs."""

    def __init__(self):
        self.a = nn.Affine(3, 5, bias=False, weight=W1)
        self.b = nn.Affine(3, 5, bias=False, weight=W1[::-1].copy())

    def forward(self, x, factor, z):
        return self.a(x), self.b(z) * factor


# ── Forward ───────────────────────────────────────────────────────────────────────────────────────


def test_forward_hooks_see_each_layer_where_layers_would_fuse():
    model, seen = mlp(), []
    handles = [
        layer.register_forward_hook(lambda m, xs, y: seen.append((m, xs, y))) for layer in model
    ]
    plain = mlp()(X).data
    np.testing.assert_array_equal(model(X).data, plain)
    assert [m for m, _, _ in seen] == list(model)
    np.testing.assert_array_equal(seen[0][2].data, (Tensor(X) @ W1.T).data)
    assert (seen[0][2].data < 0).any() and (seen[1][2].data >= 0).all()
    assert all(type(xs) is tuple and len(xs) == 1 for _, xs, _ in seen)
    for handle in handles:
        handle.remove()
        handle.remove()
    assert all(layer._hooks is None for layer in model) and model[0].fuses
    model(X)
    assert len(seen) == 3


@pytest.mark.parametrize("place", [0, 1])
def test_one_hook_is_enough_to_keep_a_layer_apart(place):
    model, seen = mlp(), []
    with model[place].register_forward_hook(lambda m, xs, y: seen.append(y.data)):
        model(X)
    before = (Tensor(X) @ W1.T).data
    np.testing.assert_array_equal(seen[0], before if place == 0 else np.maximum(before, 0))


def test_order_and_replaced_outputs():
    layer, order = nn.Identity(), []

    def add_one(module, inputs, output):
        order.append("add")
        return output + 1

    def double(module, inputs, output):
        order.append("double")
        return output * 2

    first, _ = layer.register_forward_hook(add_one), layer.register_forward_hook(double)
    assert float(layer(Tensor(3.0))) == 8.0 and order == ["add", "double"]
    first.remove()
    assert float(layer(Tensor(3.0))) == 6.0
    assert float(layer.forward(Tensor(3.0))) == 3.0  # hooks belong to calls


def test_a_hook_may_remove_itself_while_it_runs():
    layer, calls = nn.Identity(), []

    def once(module, inputs, output):
        calls.append(1)
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer.register_forward_hook(lambda *_: calls.append(2))
    layer(1.0), layer(1.0)
    assert calls == [1, 2, 2]


# ── Backward ──────────────────────────────────────────────────────────────────────────────────────


def values(tensors):
    """Copies of the arrays of Tensors, here or in PyTorch."""
    return [None if x is None else x.detach().numpy().copy() for x in tensors]


def seen_by_both(factory, torch_factory, run, replaced=lambda gxs: None):
    """What the hooks of the same modules see here and in PyTorch, and all gradients."""
    torch = pytest.importorskip("torch")
    both = (
        (factory(), "register_backward_hook", lambda a, g: Tensor(a.copy(), requires_grad=g)),
        (torch_factory(torch), "register_full_backward_hook", lambda a, g: torch.tensor(a, requires_grad=g)),
    )  # fmt: skip
    told = []
    for module, register, tensor in both:
        seen = []

        def see(m, gxs, gys, seen=seen):
            if any(g is not None for g in gys):  # PyTorch also calls hooks that no gradient passes
                seen.append(values([*gxs, *gys]))
            return replaced(gxs)

        for part in [module, *module.children()]:
            getattr(part, register)(see)
        leaves = [*run(module, tensor), *module.parameters()]
        told.append([seen, values([leaf.grad for leaf in leaves])])
    return told


def equal(mine, theirs):
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        if isinstance(a, list):
            equal(a, b)
        elif a is None or b is None:
            assert a is b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def torch_mlp(torch):
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 5, bias=False), torch.nn.ReLU(), torch.nn.Linear(5, 2, bias=False)
    )
    model[0].weight.data, model[2].weight.data = torch.tensor(W1), torch.tensor(W2)
    return model


def torch_mixed(torch):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(3, 5, bias=False)
            self.b = torch.nn.Linear(3, 5, bias=False)
            self.a.weight.data = torch.tensor(W1)
            self.b.weight.data = torch.tensor(W1[::-1].copy())

        forward = Mixed.forward

    return Theirs()


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("grad", [True, False])
def test_backward_hooks_see_what_pytorch_shows(grad):
    def run(model, tensor):
        x = tensor(X, grad)
        (model(x) ** 2).sum().backward()
        return [x]

    equal(*seen_by_both(mlp, torch_mlp, run))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("grads", [(True, True), (True, False), (False, False)])
def test_several_inputs_and_outputs_as_in_pytorch(used, grads):
    def run(model, tensor):
        x, z = tensor(X, grads[0]), tensor(X + 1, grads[1])
        ys = model(x, 3.0, z)
        sum((ys[i] ** 2).sum() for i in used).backward()
        return [x, z]

    mine, theirs = seen_by_both(Mixed, torch_mixed, run)
    if grads == (True, False):  # they show 0 for z, whose gradient nobody computes
        last = next(gs for gs in theirs[0] if len(gs) == 5)
        assert not last[2].any()
        last[2] = None
    equal(mine, theirs)


def test_replaced_gradients_as_in_pytorch():
    def run(model, tensor):
        x, z = tensor(X, True), tensor(X + 1, True)
        a, b = model(x, 3.0, z)
        ((a * b) ** 2).sum().backward()
        return [x, z]

    def replaced(gs):
        return (gs[0] * 2, None, gs[2] * 0) if len(gs) == 3 else None

    told = seen_by_both(Mixed, torch_mixed, run, replaced)
    equal(*told)
    gx, gz = told[0][1][:2]
    assert gx.any() and not gz.any()


def test_second_order_passes_through():
    model = nn.Sequential(nn.Affine(3, 5, weight=W1), nn.Tanh())
    expected = second_order(model)
    calls = []
    for module in model.modules():
        module.register_backward_hook(lambda m, gxs, gys: calls.append(m))
    for mine, other in zip(second_order(model), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    assert calls[:3] == [model[1], model[0], model]


def second_order(model):
    model.zero_grad()
    x = Tensor(X, requires_grad=True)
    slope = md.grad((model(x) ** 2).sum(), x, create_graph=True)
    (slope * slope).sum().backward()
    return [slope.data, model[0].weight.grad.data, x.grad.data]


def test_backward_twice_and_without_recording():
    layer, calls = nn.ReLU(), []
    layer.register_backward_hook(lambda m, gxs, gys: calls.append(float(gys[0].data.sum())))
    x = Tensor(X, requires_grad=True)
    y = layer(x).sum()
    y.backward(retain_graph=True)
    y.backward(2.0)
    assert calls == [12.0, 24.0]
    with md.no_grad():
        assert not layer(x).requires_grad
    layer(X)  # nothing requires a gradient


WRONG = {
    "number": (lambda gxs: (gxs[0],) * 2, ValueError, "expected 1 gradients"),
    "shape": (lambda gxs: gxs[0].sum(), ValueError, r"shape \(4, 3\), got \(\)"),
    "kind": (lambda gxs: 3, TypeError, "expected None, a Tensor or a tuple"),
    "item": (lambda gxs: (3,), TypeError, "input 0: expected a Tensor or None, got int"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_returns(name):
    returned, error, message = WRONG[name]
    layer, x = nn.ReLU(), Tensor(X, requires_grad=True)
    layer.register_backward_hook(lambda m, gxs, gys: returned(gxs))
    with pytest.raises(error, match=f"a backward hook of ReLU: .*{message}"):
        layer(x).sum().backward()
    assert x.grad is None


def test_other_errors():
    layer = nn.Affine(3, 2)
    for register in (layer.register_forward_hook, layer.register_backward_hook):
        with pytest.raises(TypeError, match=r"Affine.register_\w+_hook: fn: expected a function"):
            register(3)
    assert layer._hooks is None
    layer.register_backward_hook(lambda m, gxs, gys: gxs)
    with pytest.raises(ValueError, match="no input requires a gradient: expected None"):
        layer(X).sum().backward()

    class Dict(nn.Module):
        def forward(self, x):
            return {"y": x}

    module = Dict()
    module.register_backward_hook(lambda *_: None)
    with pytest.raises(TypeError, match=r"a backward hook of Dict: .*output, got dict"):
        module(Tensor(X, requires_grad=True))


# ── Copies, files, captured steps ─────────────────────────────────────────────────────────────────


def test_copies_have_hooks_and_pickles_do_not():
    model, seen = mlp(), []
    handle = model[0].register_forward_hook(lambda m, xs, y: seen.append(m))
    twin, stored = copy.deepcopy(model), copy.deepcopy(mlp())
    handle.remove()
    twin(X)
    assert seen == [twin[0]] and model[0]._hooks is None
    stored[0].register_forward_hook(lambda m, xs, y: seen.append(m))  # (a lambda: not picklable)
    again = pickle.loads(pickle.dumps(stored))
    again(X)
    assert len(seen) == 1 and again[0]._hooks is None and again[0].fuses
    assert list(stored.state_dict()) == ["0.weight", "2.weight"]


def test_a_callable_module_as_a_hook_is_no_child():
    layer = nn.Identity()
    layer.register_forward_hook(nn.Affine(1, 1))
    assert list(layer.named_modules()) == [("", layer)] and layer.num_parameters() == 0


@pytest.mark.skipif(PURE, reason="nothing is captured")
@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_captured_steps_name_the_hook(kind):
    model = mlp()
    step = md.capture(lambda x: model(x).sum())
    step(X), step(X)
    handle = getattr(model[0], f"register_{kind}_hook")(lambda *_: None)
    with pytest.raises(md.CaptureError, match="a hook of Affine"):
        step(X)
    handle.remove()
    records = step.records
    assert float(step(X)) == pytest.approx(float(model(X).sum()))
    assert step.records == records  # the plan from before fits again
