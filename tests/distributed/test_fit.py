"""`md.fit` on several ranks: the same bits, each sample once, one progress bar, and a resumed run with other ranks."""

import re
import signal

import numpy as np
import pytest

from minidl import data, nn, optim
from minidl._source import PURE
from minidl.distributed import DataParallel
from minidl.training.fit import fit

from . import ranks, training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of three epochs in this process."""
    return training.fit(tmp_path_factory.mktemp("whole"), 3)


def result(said):
    return re.search(r"found (\w+)", said)[1]


@ranks.needs_mpi
@pytest.mark.parametrize("size", [2, 4, 8])
def test_same_bits(size, whole, tmp_path):
    said = ranks.run(size, "training", tmp_path, 3)
    assert result(said) == whole
    assert len(re.findall(r"^epoch", said, re.MULTILINE)) == 3  # one rank shows progress


@ranks.needs_mpi
@pytest.mark.parametrize(("before", "after"), [(3, 4), (4, 1)])
def test_resumed_with_another_number_of_ranks(before, after, whole, tmp_path):
    ranks.run(before, "training", tmp_path, 3, 1)
    assert result(ranks.run(after, "training", tmp_path, 3)) == whole


@ranks.needs_mpi
def test_gradients_of_several_batches(tmp_path):
    expected = training.fit(tmp_path, 2, None, 3)
    (tmp_path / "run.npz").unlink()
    assert result(ranks.run(4, "training", tmp_path, 2, -1, 3)) == expected


@pytest.mark.skipif(PURE, reason="there is nothing to capture")
def test_a_captured_step_has_the_same_bits(tmp_path):
    whole = training.fit(tmp_path, 3)
    (tmp_path / "run.npz").unlink()
    assert training.fit(tmp_path, 3, None, 1, True) == whole


@ranks.needs_mpi
def test_a_callback_changes_layers_on_all_ranks():
    assert result(ranks.run(3, "training", "freezes")) == training.freezes()


@ranks.needs_mpi
def test_captured_steps_on_ranks(whole, tmp_path):
    assert result(ranks.run(3, "training", tmp_path, 3, -1, 1, 1)) == whole


@pytest.mark.parametrize("prefetch", [0, 2])
def test_every_rank_makes_its_own_rows(prefetch):
    made = []

    def transform(x):
        made.append(x.tolist())
        return x + np.random.default_rng(0).random()

    x = np.arange(50)
    loader = data.DataLoader(x, 16, shuffle=True, rng=3, transform=transform, prefetch=prefetch)
    whole = list(loader.shards(4, range(4)))
    rows = [row for part in made for row in part]
    assert sorted(rows) == x.tolist() and rows != x.tolist()
    assert [batch.samples for batch in whole] == [16, 16, 16, 2]
    made.clear()
    state = loader.state_dict()
    half = [batch.parts for batch in loader.shards(4, range(1, 3))]
    assert all(set(parts) <= {1, 2} for parts in half) and sum(map(len, made)) == 24
    loader.load_state_dict(state)
    again = [batch.parts for batch in loader.shards(4, range(4))]
    for parts, all_parts in zip(half, again, strict=True):
        for shard, (its,) in parts.items():
            np.testing.assert_array_equal(its, all_parts[shard][0])


def parallel_and_loader(**options):
    model = nn.Affine(2, 2)
    parallel = DataParallel(model, optim.SGD(model.parameters(), 0.1), shards=2, **options)
    return model, parallel, [(np.ones((4, 2), "float32"), np.array([0, 1, 0, 1]))]


def test_batches_of_a_list():
    model, parallel, loader = parallel_and_loader()
    seen = []
    history = fit(
        model, loader, "cross_entropy", parallel, 3, callbacks=[seen.append], progress=False
    )
    assert history["loss"][0] > history["loss"][-1] and seen[0].optimizer is parallel.optimizer


def test_shards_that_meet_are_not_captured():
    model, parallel, loader = parallel_and_loader(sync_batch_norm=True)
    with pytest.raises(ValueError, match="capture"):
        fit(model, loader, "cross_entropy", parallel, 1, capture=True)


def test_another_model():
    _, parallel, loader = parallel_and_loader()
    with pytest.raises(ValueError, match="none of its"):
        fit(nn.Affine(2, 2), loader, "cross_entropy", parallel, 1)


def test_a_loss_that_is_not_finite_changes_nothing():
    model, parallel, _ = parallel_and_loader()
    before = model.weight.data.copy()
    loader = [(np.full((4, 2), np.nan, "float32"), np.array([0, 1, 0, 1]))]
    with pytest.raises(FloatingPointError, match="epoch 1, batch 1"):
        fit(model, loader, "cross_entropy", parallel, 1)
    np.testing.assert_array_equal(model.weight.data, before)


def test_ctrl_c_ends_a_validation():
    model, parallel, loader = parallel_and_loader()
    measured = []

    class Validation:
        def __iter__(self):
            for batch in loader * 3:
                measured.append(batch)
                signal.raise_signal(signal.SIGINT)
                yield batch

    history = fit(model, loader, "cross_entropy", parallel, 2, Validation(), progress=False)
    assert history.interrupted and len(measured) == 1
