"""DataLoader, TensorDataset and split."""

import numpy as np
import pytest

import minidl.random
from minidl.data import DataLoader, TensorDataset, split


def arrays(rows=10):
    return np.arange(rows * 3, dtype=np.float32).reshape(rows, 3), np.arange(rows)


def labels(loader):
    return [y.tolist() for _, y in loader]


def flat(batches):
    return [label for batch in batches for label in batch]


class Squares:
    """A dataset of one array that is computed when asked for; takes index arrays only."""

    batched = True

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 7

    def __getitem__(self, index):
        assert isinstance(index, np.ndarray)
        self.asked.append(index.tolist())
        return index**2


# --- TensorDataset ---------------------------------------------------------------------


def test_tensor_dataset():
    x, y = arrays()
    dataset = TensorDataset(x, y)
    assert len(dataset) == 10
    rows = dataset[np.array([3, 1, 3])]
    np.testing.assert_array_equal(rows[0], x[[3, 1, 3]])
    assert rows[1].tolist() == [3, 1, 3]
    assert dataset[2:4][1].tolist() == [2, 3]
    assert dataset[-1][1] == 9
    assert dataset[y > 7][1].tolist() == [8, 9]
    assert "float32(10, 3)" in repr(dataset)


def test_tensor_dataset_errors():
    with pytest.raises(ValueError, match=r"given \[10, 9\].*\(10, 3\), \(9,\)"):
        TensorDataset(np.zeros((10, 3)), np.zeros(9))
    with pytest.raises(ValueError, match="at least one"):
        TensorDataset()
    with pytest.raises(ValueError, match="array 1 has no axes"):
        TensorDataset(np.zeros(3), 5)


# --- DataLoader ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "batch", "drop_last", "sizes"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (8, 4, True, [4, 4]),
        (3, 4, False, [3]),
        (3, 4, True, []),
        (0, 4, False, []),
        (3, 1, True, [1, 1, 1]),
    ],
)
def test_batch_sizes_and_len(rows, batch, drop_last, sizes):
    for shuffle in (False, True):
        loader = DataLoader(arrays(rows), batch, shuffle=shuffle, drop_last=drop_last, rng=0)
        assert len(loader) == len(sizes)
        for _ in range(2):
            assert [len(y) for y in labels(loader)] == sizes


def test_order_and_content_without_shuffle():
    x, y = arrays()
    batches = list(DataLoader((x, y), 4))
    assert all(isinstance(batch, tuple) for batch in batches)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches]), x)
    assert [batch[0].dtype for batch in batches] == [np.float32] * 3


def test_shuffle_keeps_rows_together_and_changes_every_epoch():
    x, y = arrays(50)
    loader = DataLoader(TensorDataset(x, y), 8, shuffle=True, rng=3)
    epochs = []
    for _ in range(3):
        batches = list(loader)
        for rows, numbers in batches:
            np.testing.assert_array_equal(rows[:, 0], 3 * numbers)
        epochs.append(flat(numbers.tolist() for _, numbers in batches))
        assert sorted(epochs[-1]) == list(range(50))
        assert epochs[-1] != list(range(50))
    assert epochs[0] != epochs[1] != epochs[2]


def test_seed_generator_and_library_generator():
    def epochs(rng):
        loader = DataLoader(arrays(30), 4, shuffle=True, rng=rng)
        return [labels(loader), labels(loader)]

    assert epochs(5) == epochs(5) != epochs(6)
    assert epochs(np.random.default_rng(5)) == epochs(5)
    minidl.random.manual_seed(7)
    first = epochs(None)
    assert epochs(None) != first
    minidl.random.manual_seed(7)
    assert epochs(None) == first
    # The generator is looked up when an epoch starts: seeding after construction counts.
    loader = DataLoader(arrays(30), 4, shuffle=True)
    minidl.random.manual_seed(7)
    assert labels(loader) == first[0]


def test_two_iterators_at_once_do_not_disturb_each_other():
    loader = DataLoader(arrays(20), 3, shuffle=True, rng=0)
    pairs = list(zip(loader, loader, strict=True))
    assert sorted(flat(a[1].tolist() for a, _ in pairs)) == list(range(20))
    assert sorted(flat(b[1].tolist() for _, b in pairs)) == list(range(20))


def test_batches_are_copies():
    x, y = arrays()
    for loader in (DataLoader((x, y), 10), DataLoader((x, y), 3, shuffle=True, rng=0)):
        for rows, numbers in loader:
            rows[:] = -1
            numbers[:] = -1
    assert x.min() == 0
    assert y.tolist() == list(range(10))


def test_transform_is_applied_once_a_batch():
    calls = []

    def halve(x, y):
        calls.append(len(y))
        return x / 2, y

    x, y = arrays()
    batches = list(DataLoader((x, y), 4, transform=halve))
    assert calls == [4, 4, 2]
    np.testing.assert_array_equal(batches[0][0], x[:4] / 2)
    only_one = DataLoader((x, y), 4, transform=lambda x, y: y)
    assert [len(batch) for batch in only_one] == [1, 1, 1]


def test_kinds_of_datasets():
    x, y = arrays()
    assert [len(batch) for batch in DataLoader(x, 5)] == [1, 1]
    assert labels(DataLoader([x, y], 5)) == labels(DataLoader((x, y), 5))
    squares = Squares()
    batches = list(DataLoader(squares, 3))
    assert [batch[0].tolist() for batch in batches] == [[0, 1, 4], [9, 16, 25], [36]]
    assert squares.asked == [[0, 1, 2], [3, 4, 5], [6]]  # one call a batch


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batch_size_below_one(batch_size):
    with pytest.raises(ValueError, match=rf"DataLoader: batch_size .* given {batch_size}"):
        DataLoader(arrays(), batch_size)


@pytest.mark.parametrize("batch_size", [2.0, "4", None, True])
def test_batch_size_of_another_type(batch_size):
    with pytest.raises(TypeError, match="DataLoader: batch_size must be an int"):
        DataLoader(arrays(), batch_size)


def test_other_arguments_are_checked():
    assert len(DataLoader(arrays(), np.int64(4))) == 3
    with pytest.raises(TypeError, match="transform"):
        DataLoader(arrays(), 4, transform=3)
    with pytest.raises(TypeError, match="rng"):
        DataLoader(arrays(), 4, rng="seed")
    for wrong in (None, 5, {"x": 1}, "text"):
        with pytest.raises(TypeError, match="DataLoader: expected a dataset"):
            DataLoader(wrong, 4)
    with pytest.raises(ValueError, match="equal lengths"):
        DataLoader((np.zeros(3), np.zeros(4)), 2)


# --- Resuming --------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 6])
def test_resumes_in_lock_step(shuffle, stop):
    """Saved in the loop after `stop` batches (4 an epoch), it goes on as if nothing had been."""

    def run(loader, epochs):
        for _ in range(epochs):
            for _, y in loader:
                yield y.tolist()

    def fresh(rng):
        return DataLoader(arrays(10), 3, shuffle=shuffle, rng=rng)

    whole = list(run(fresh(0), 3))
    loader, seen, state = fresh(0), [], {}
    for batch in run(loader, 3):
        seen.append(batch)
        if len(seen) == stop:
            state = loader.state_dict()
            break
    resumed = fresh(99)
    resumed.load_state_dict(state)
    epoch = stop // 4  # after its last batch an epoch is done
    assert seen + list(run(resumed, 3 - epoch)) == whole


def test_resumes_between_epochs():
    loader = DataLoader(arrays(10), 3, shuffle=True, rng=0)
    labels(loader)
    state = loader.state_dict()
    expected = [labels(loader), labels(loader)]
    resumed = DataLoader(arrays(10), 3, shuffle=True, rng=1)
    resumed.load_state_dict(state)
    assert [labels(resumed), labels(resumed)] == expected


def test_state_of_another_dataset_is_refused():
    state = DataLoader(arrays(10), 3).state_dict()
    with pytest.raises(ValueError, match="rows is 11, in the state 10"):
        DataLoader(arrays(11), 3).load_state_dict(state)
    with pytest.raises(ValueError, match="batch_size is 4, in the state 3"):
        DataLoader(arrays(10), 4).load_state_dict(state)


# --- split -----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(0.7, 0.2, 0.1), (70, 20, 10), [70, 20, 10]])
@pytest.mark.parametrize("shuffle", [True, False])
def test_split_covers_every_row_once(parts, shuffle):
    x, y = arrays(100)
    pieces = split((x, y), parts, rng=0, shuffle=shuffle)
    assert [len(piece[1]) for piece in pieces] == [70, 20, 10]
    for rows, numbers in pieces:
        np.testing.assert_array_equal(rows, x[numbers])
    order = np.concatenate([numbers for _, numbers in pieces]).tolist()
    assert sorted(order) == list(range(100))
    assert (order == list(range(100))) == (not shuffle)


def test_split_fractions_that_do_not_divide():
    for rows in range(3, 40):
        sizes = [len(piece) for piece in split(np.arange(rows), (1 / 3, 1 / 3, 1 / 3))]
        assert sum(sizes) == rows
        assert max(sizes) - min(sizes) <= 1


def test_split_gives_what_it_was_given():
    x, y = arrays()
    train, valid = split(TensorDataset(x, y), (0.8, 0.2), rng=0)
    assert isinstance(train, TensorDataset)
    assert (len(train), len(valid)) == (8, 2)
    first, second = split(x, (4, 6), shuffle=False)
    np.testing.assert_array_equal(first, x[:4])
    np.testing.assert_array_equal(second, x[4:])
    parts = split(Squares(), (5, 2), shuffle=False)
    assert [batch[0].tolist() for batch in DataLoader(parts[1], 2)] == [[25, 36]]
    assert [len(part) for part in parts] == [5, 2]


def test_split_is_seeded():
    def order(rng):
        return split(np.arange(50), (25, 25), rng=rng)[0].tolist()

    assert order(1) == order(1) != order(2)
    minidl.random.manual_seed(3)
    first = order(None)
    minidl.random.manual_seed(3)
    assert order(None) == first


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((0.5, 0.6), "sum to 1.1, expected 1"),
        ((5, 4), "sum to 9, expected 10"),
        ((-0.5, 1.5), "at least 0"),
        ((float("nan"), 0.5), "at least 0"),
        ((0.99, 0.01), r"part 1 \(0.01 of 10 rows\) would be empty"),
        ((), "at least 0"),
    ],
)
def test_split_errors(parts, message):
    with pytest.raises(ValueError, match=f"split: .*{message}"):
        split(np.arange(10), parts)
