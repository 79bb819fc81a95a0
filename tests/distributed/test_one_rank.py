"""What holds with one rank, without mpi4py: the order of additions, shards, and steps that are taken in parts."""

import sys

import numpy as np
import pytest

import minidl as md
from minidl import distributed, nn, optim
from minidl import functional as F
from minidl._source import PURE
from minidl.data import DataLoader, split
from minidl.data.shards import cut, edges_of
from minidl.distributed import ranks
from minidl.distributed.flat import Flat
from minidl.distributed.reduction import TreeSum
from minidl.distributed.tree import additions, leaves, nodes, own_shards


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 7, 8, 13, 16])
def test_whoever_adds_the_tree_is_the_same(shards):
    """Sums of texts show their order."""

    def added(texts, blocks):
        stack = []
        for text, count in zip(texts, additions(shards, blocks)[0], strict=True):
            stack.append(text)
            for _ in range(count):
                stack[-2:] = [f"({stack[-2]}+{stack[-1]})"]
        return stack

    expected = added(map(str, range(shards)), leaves(range(shards)))
    assert len(expected) == 1
    for size in range(2, shards + 1):
        texts, blocks = [], []
        for rank in range(size):
            own = own_shards(shards, size, rank)
            assert len(own)
            texts += added(map(str, own), leaves(own))
            blocks += additions(shards, leaves(own))[1]
        assert added(texts, blocks) == expected


def test_the_tree_is_as_deep_as_it_must_be():
    assert nodes(8) == {(0, 8), (0, 4), (4, 8), (0, 2), (2, 4), (4, 6), (6, 8)}
    assert additions(8, leaves(range(8))) == ([0, 1, 0, 2, 0, 1, 0, 3], [(0, 8)])


def test_a_sum_of_one_rank():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((8, 1000)).astype("float32")
    total = TreeSum(distributed.world(), 8, 1000, np.float32)
    for row in rows:
        total.row()[...] = row
        total.added()
    assert total.poll()
    pairs = rows[0::2] + rows[1::2]
    fours = pairs[0::2] + pairs[1::2]
    np.testing.assert_array_equal(total.result, fours[0] + fours[1])


def test_a_bucket_is_summed_before_the_next_is_known():
    arrays = [np.ones((4, 8), "f4"), np.ones(3, "f8"), np.ones(20, "f4"), np.ones((), "f4")]
    flat = Flat(distributed.world(), 2, arrays, True, size=100)
    assert [its.length for its in flat.sums] == [32, 3, 21]
    flat.begin()
    for i, array in enumerate(arrays):
        flat.put(i, array)
    flat.end_shard()
    flat.put(3, 2.0)
    flat.put(1, arrays[1])
    assert [its.phase for its in flat.sums] == [
        0,
        0,
        0,
    ]  # the first is awaited: all ranks keep this order
    flat.put(0, arrays[0])
    assert [its.phase for its in flat.sums] == [3, 3, 0]
    flat.end_shard()  # the third array is zero in this shard
    assert [float(total.min()) for total in flat.results()] == [2, 2, 1, 3]
    assert [total.shape for total in flat.results()] == [array.shape for array in arrays]


@pytest.mark.parametrize("samples", range(1, 30))
@pytest.mark.parametrize("shards", [1, 3, 8])
def test_every_sample_is_in_one_shard_and_none_alone(samples, shards):
    edges = edges_of(samples, shards)
    sizes = np.diff(edges)
    assert len(sizes) == shards and sizes.sum() == samples and edges[0] == 0
    assert samples == 1 or 1 not in sizes
    assert sizes[sizes > 0].max() - sizes[sizes > 0].min() <= 1


def test_arrays_of_other_lengths():
    with pytest.raises(ValueError, match=r"shapes \(4, 2\), \(3,\)"):
        cut((np.zeros((4, 2)), np.zeros(3)), 2, range(2))


def model_and_batch():
    md.manual_seed(0)
    model = nn.Sequential(nn.Affine(6, 8), nn.Tanh(), nn.Affine(8, 3))
    rng = np.random.default_rng(0)
    return model, rng.standard_normal((16, 6)).astype("float32"), rng.integers(0, 3, 16)


def test_gradients_are_those_of_the_whole_batch():
    model, x, target = model_and_batch()
    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=5)
    loss = parallel.gradients(lambda x, t: F.cross_entropy(model(x), t), x, target)
    found = [p.grad.data.copy() for p in model.parameters()]
    model.zero_grad()
    whole = F.cross_entropy(model(x), target)
    whole.backward()
    assert loss == pytest.approx(whole.item(), rel=1e-6)
    for ours, p in zip(found, model.parameters(), strict=True):
        np.testing.assert_allclose(ours, p.grad.data, rtol=1e-4, atol=1e-7)


def test_a_shard_has_its_own_random_numbers_whatever_was_drawn_before():
    model, x, target = model_and_batch()
    drawn = []

    def loss(x, t):
        drawn.append(md.randn(1).item())
        return F.cross_entropy(model(x), t)

    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=4)
    md.manual_seed(5)
    parallel.step(loss, x, target)
    parallel.step(loss, x, target)
    first, drawn = drawn, []
    assert len(set(first)) == 8
    md.manual_seed(5)
    parallel.step(lambda x, t: (md.randn(3), loss(x, t))[1], x, target)
    parallel.step(loss, x, target)
    assert drawn[4:] == first[4:] and not set(drawn[:4]) & set(first)


def test_running_statistics_are_the_mean_of_those_of_shards():
    layer = nn.BatchNorm(3)
    model = nn.Sequential(layer, nn.Affine(3, 2))
    x = np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=4)
    parallel.step(lambda x: model(x).mean(), x)
    parts = x.reshape(4, 4, 3)
    np.testing.assert_allclose(layer.running_mean, 0.1 * parts.mean((0, 1)), rtol=1e-5)
    variance = 0.9 + 0.1 * parts.var(1, ddof=1).mean(0)
    np.testing.assert_allclose(layer.running_var, variance, rtol=1e-5)
    assert layer.num_batches_tracked == 1


def test_a_parameter_without_a_gradient_is_left_alone():
    model = nn.Sequential(nn.Affine(3, 2), nn.Affine(2, 2))
    parallel = distributed.DataParallel(model, optim.Adam(model.parameters()), shards=2)
    model[1].weight.requires_grad = False
    parallel.gradients(lambda x: model[0](x).mean(), np.ones((4, 3), "float32"))
    assert [p.grad is None for p in model.parameters()] == [False, False, True, True]


def test_what_a_function_raises_leaves_all_as_it_was():
    layer = nn.BatchNorm(3)
    calls = []

    def loss(x):
        y = layer(x)
        calls.append(y)
        if len(calls) == 2:
            raise ArithmeticError("here")
        return y.mean()

    parallel = distributed.DataParallel(layer, optim.SGD(layer.parameters(), 0.1), shards=4)
    x = np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
    with pytest.raises(ArithmeticError, match="here"):
        parallel.step(loss, x)
    assert not layer.running_mean.any() and layer.num_batches_tracked == 0
    parallel.step(loss, x)
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": nn.ReLU}, TypeError, "model"),
        ({"model": [1]}, TypeError, "expected an nn.Module, got int"),
        ({"model": []}, ValueError, "at least one Module"),
        ({"optimizer": 3}, TypeError, "expected one of minidl.optim, got int"),
        ({"shards": 0}, ValueError, "shards"),
        ({"check_every": 0}, ValueError, "check_every"),
        ({"bucket_mb": -1}, ValueError, "bucket_mb"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    model = nn.Affine(2, 2)
    usual = {"model": model, "optimizer": optim.SGD(model.parameters(), 0.1)}
    with pytest.raises(error, match=message):
        distributed.DataParallel(**{**usual, **arguments})


def test_a_shape_that_is_not_known_yet():
    model = nn.Sequential(nn.Affine(2, 2), nn.PReLU())
    optimizer = optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ValueError, match="call the model once before"):
        distributed.DataParallel(model, optimizer)


def test_a_batch_without_samples():
    model, _, _ = model_and_batch()
    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1))
    with pytest.raises(ValueError, match="without samples"):
        parallel.step(lambda x: model(x).mean(), np.zeros((0, 6), "float32"))


def test_a_function_must_return_a_loss():
    model = nn.Affine(2, 2)
    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=2)
    with pytest.raises(TypeError, match="must return the loss"):
        parallel.step(lambda x: model(x), np.ones((4, 2), "float32"))


def test_the_world_of_one_rank():
    world = distributed.world()
    assert world is distributed.world() and (world.rank, world.size, world.is_main) == (0, 1, True)
    assert world.gather("a") == ["a"] and world.from_main(3) == 3 and world.barrier() is None
    assert 'pip install "minidl[mpi]"' in repr(world)
    with pytest.raises(ValueError, match="rank"):
        world.send(1, 0)
    with pytest.raises(ValueError, match="one rank only"):
        world.receive()


def test_nobody_is_waited_for_where_rank_0_is_alone():
    world = distributed.World()
    with world.alone():
        for wait in (world.barrier, lambda: world.from_main(1)):
            with pytest.raises(RuntimeError, match="every_rank = True"):
                wait()
    world.barrier()


def test_a_loader_of_ones_own_may_have_an_attribute_shards():
    class Files(list):
        shards = 3  # how many files it reads

    model, (x, target) = nn.Affine(4, 2), (np.ones((8, 4), "float32"), np.arange(8) % 2)
    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=2)
    assert [batch.samples for batch in parallel.batches(Files([(x, target)] * 2))] == [8, 8]


def test_loaders_with_other_samples_have_other_keys():
    x, y = np.zeros((200, 3), "float32"), np.arange(200)
    key = DataLoader((x, y), 8).sample_key()
    assert key == DataLoader((x.copy(), y), 8, shuffle=True).sample_key()
    others = [((x + 1, y), 8), ((x, y[::-1]), 8), ((x[:199], y[:199]), 8), ((x, y), 9)]
    assert key not in [DataLoader(*its).sample_key() for its in others]
    assert DataLoader([(1, 2), (3, 4)], 2).sample_key() == (2, 2)
    parts, others = (split((x + i, y), (0.9, 0.1), rng=0)[0] for i in range(2))
    assert DataLoader(parts, 8).sample_key() != DataLoader(others, 8).sample_key()
    things = DataLoader(np.array([object(), object()]), 2).sample_key()
    assert things == DataLoader(np.array([object(), object()]), 2).sample_key()


def test_several_ranks_without_mpi4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert ranks._mpi() is None  # nobody has started several
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "1")
    assert ranks._mpi() is None
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minidl\[mpi\]"'):
        ranks._mpi()


@pytest.mark.skipif(PURE, reason="nothing is captured")
def test_a_step_cannot_be_captured():
    model, x, target = model_and_batch()
    parallel = distributed.DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=2)

    @md.capture
    def step(x, target):
        return parallel.step(lambda x, t: F.cross_entropy(model(x), t), x, target)

    with pytest.raises(md.CaptureError, match="DataParallel"):
        step(x, target)
