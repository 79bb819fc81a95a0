"""BatchNorm over the whole batch: gradients and statistics are those of one batch that is not divided."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import distributed, nn, optim
from minidl import functional as F


def network(sync, spatial):
    md.manual_seed(0)
    first = nn.Conv(2, 4, 3) if spatial else nn.Affine(2, 4)
    model = nn.Sequential(
        first, nn.BatchNorm(4), nn.LeakyReLU(0.1), nn.Flatten(), nn.Affine(36 if spatial else 4, 3),
        nn.BatchNorm(3, affine=False, activation="tanh"),
    ).astype("float64")  # fmt: skip
    optimizer = optim.SGD(model.parameters(), 0.1)
    parallel = distributed.DataParallel(model, optimizer, shards=4, sync_batch_norm=sync)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((10, 2, 5, 5) if spatial else (10, 2))
    return model, parallel, x, rng.standard_normal((10, 3))


def state(model):
    return {name: value.copy() for name, value in model.buffers.items()} | {
        name: p.grad.data.copy() for name, p in model.named_parameters()
    }


@pytest.mark.parametrize("spatial", [False, True])
def test_as_one_batch(spatial):
    model, parallel, x, target = network(True, spatial)
    loss = parallel.gradients(lambda x, t: F.mse_loss(model(x), t), x, target)
    found = state(model)
    model, _, _, _ = network(True, spatial)
    whole = F.mse_loss(model(x), target)
    whole.backward()
    assert loss == pytest.approx(whole.item(), rel=1e-12)
    for name, expected in state(model).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_each_shard_alone_is_something_else():
    model, parallel, x, target = network(False, False)
    loss = parallel.gradients(lambda x, t: F.mse_loss(model(x), t), x, target)
    assert abs(loss - F.mse_loss(model(x), target).item()) > 1e-3


def test_gradients_of_gradients():
    """The slope of all outputs at a sample, through statistics that all samples share."""

    def penalty(x, target):
        x = md.Tensor(x, requires_grad=True)
        slope = md.grad((model(x) * target).sum(), x, create_graph=True)
        return (slope * slope).sum(1).mean()

    model, parallel, x, target = network(True, False)
    loss = parallel.gradients(penalty, x, target)
    found = state(model)
    model, _, _, _ = network(True, False)
    whole = penalty(x, target)
    whole.backward()
    assert loss == pytest.approx(whole.item(), rel=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name], p.grad.data, rtol=1e-6, atol=1e-9, err_msg=name)


def test_evaluation_uses_the_running_statistics():
    model, parallel, x, target = network(True, False)
    model.eval()
    loss = parallel.gradients(lambda x, t: F.mse_loss(model(x), t), x, target)
    assert loss == pytest.approx(F.mse_loss(model(x), target).item(), rel=1e-12)


def test_what_one_shard_raises_ends_all():
    model, parallel, x, target = network(True, False)
    calls = []

    def loss(x, t):
        y = model(x)
        calls.append(len(x))
        if len(calls) == 3:
            raise ArithmeticError("here")
        return F.mse_loss(y, t)

    before = threading.active_count()
    with pytest.raises(ArithmeticError, match="here"):
        parallel.step(loss, x, target)
    assert threading.active_count() == before
    assert not any(value.any() for name, value in model.buffers.items() if "mean" in name)
    assert "forward" not in vars(model[1])
    parallel.step(loss, x, target)


OTHER_WAYS = {  # what the second shard does in the place of `F.mse_loss(model(x), t)`
    "another layer": lambda model, x, t: F.mse_loss(model[5](t), t),
    "one of the same width": lambda model, x, t: F.mse_loss(
        model[4](model[1](model[1](model[0](x)))), t
    ),
    "no layer": lambda model, x, t: F.mse_loss(model[4](model[0](x)), t),
    "a loss without it": lambda model, x, t: (model(x), F.mse_loss(model[4](model[0](x)), t))[1],
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_shards_that_take_different_ways(way):
    model, parallel, x, target = network(True, False)
    before = [p.data.copy() for p in model.parameters()]
    calls = []

    def loss(x, t):
        calls.append(x)
        return OTHER_WAYS[way](model, x, t) if len(calls) == 2 else F.mse_loss(model(x), t)

    with pytest.raises(RuntimeError, match=r"they came to shard 0: .*BatchNorm [01], shard 1: "):
        parallel.step(loss, x, target)
    for p, was in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, was)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 5), "expected 4 channels"),
        ((6,), r"expected x \(N, C\)"),
        ((1, 4), "more than one value per channel"),
    ],
)
def test_a_batch_that_does_not_fit(shape, message):
    layer = nn.BatchNorm(4)
    optimizer = optim.SGD(layer.parameters(), 0.1)
    parallel = distributed.DataParallel(layer, optimizer, shards=2, sync_batch_norm=True)
    with pytest.raises(ValueError, match=message):
        parallel.step(lambda x: layer(x).mean(), np.ones(shape, "float32"))
    assert layer.num_batches_tracked == 0 and layer.running_var.tolist() == [1] * 4
