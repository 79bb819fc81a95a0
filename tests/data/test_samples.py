"""Datasets of samples one by one, samplers, and batches that are made ahead in threads."""

import gc
import signal
import subprocess
import sys
import threading
import time
import traceback

import numpy as np
import pytest

import minidl as md
import minidl.random
from minidl import functional as F
from minidl import nn, optim
from minidl.data import DataLoader, Subset, TensorDataset, WeightedSampler, split, transforms


class Noisy:
    """Samples (noise, i): random, and slow where it is told so."""

    def __init__(self, rows=10, wait=()):
        self.rows, self.wait = rows, wait
        self.threads = set()

    def __len__(self):
        return self.rows

    def __getitem__(self, i):
        assert type(i) is int
        self.threads.add(threading.current_thread().name)
        if i in self.wait:
            time.sleep(0.01)
        return minidl.random.generator().standard_normal(2, np.float32), i


def listed(batches):
    return [[part.tolist() for part in batch] for batch in batches]


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("minidl-prefetch")]


# ── Samples ───────────────────────────────────────────────────────────────────────────────────────


def test_a_list_of_pairs_is_samples_not_columns():
    pairs = [(np.full(3, i, np.uint8), i) for i in range(4)]
    batches = list(DataLoader(pairs, 3))
    assert [(x.shape, x.dtype, y.tolist()) for x, y in batches] == [
        ((3, 3), np.uint8, [0, 1, 2]),
        ((1, 3), np.uint8, [3]),
    ]
    train, rest = split(pairs, (3, 1), shuffle=False)
    assert isinstance(train, list) and [y for _, y in train] == [0, 1, 2] and rest == [pairs[3]]
    assert listed(DataLoader(tuple(zip(*pairs, strict=True)), 3)) == listed(batches)  # columns


@pytest.mark.parametrize(
    ("part", "dtype"),
    [
        (1.5, np.float32),
        ([1.5, 2.5], np.float32),
        (3, np.int64),
        (True, np.bool_),
        (np.float64(1.5), np.float64),
        (np.uint8(7), np.uint8),
        (md.Tensor([1.0]), np.float32),
    ],
)
def test_types_of_stacked_samples(part, dtype):
    ((first, second),) = DataLoader([(part, 0), (part, 1)], 2)
    assert first.dtype == dtype and len(first) == 2 and second.tolist() == [0, 1]


def test_subsets_of_samples():
    loader = DataLoader(Subset(Subset(Noisy(), np.array([7, 3, 5, 1])), np.array([3, 1])), 2)
    assert [y.tolist() for _, y in loader] == [[1, 3]]
    train, rest = split(Noisy(), (8, 2), rng=0)
    rows = [part[i][1] for part in (train, rest) for i in range(len(part))]
    assert sorted(rows) == list(range(10)) and (len(train), len(rest)) == (8, 2)


def test_a_subset_needs_row_numbers():
    assert len(Subset(np.zeros(5), [4, 1])) == 2 and len(Subset(np.zeros(5), [])) == 0
    for wrong in ([0.5], [True, False], 3, [[1]]):
        with pytest.raises(TypeError, match="Subset: index: expected row numbers"):
            Subset(np.zeros(5), wrong)


def named(*samples):
    class Named:
        def __len__(self):
            return len(samples)

        def __getitem__(self, i):
            return samples[i]

        def describe(self, i):
            return f"file{i}.png"

    return Named()


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (
            [(np.ones(2), 0), (np.ones(2), 1), (np.ones(3), 2)],
            ValueError,
            r"sample 0 has shape \(2,\), sample 2 \(3,\): they cannot be one batch",
        ),
        (
            named(np.ones((2, 2)), np.ones((3, 2))),
            ValueError,
            r"file0.png has shape \(2, 2\), file1.png \(3, 2\): they cannot be one batch.*resizes",
        ),
        ([(1, 2), (1,)], ValueError, "sample 0 has 2 parts, sample 1 has 1"),
        (
            named({"x": 1}),
            TypeError,
            "a sample must be an array, a number, or a tuple of them, given dict",
        ),
        ([(1, None)], TypeError, "given NoneType"),
    ],
)
def test_samples_that_are_no_batch(dataset, error, message):
    with pytest.raises(error, match=f"DataLoader: .*{message}"):
        list(DataLoader(dataset, 3))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_what_a_sample_raises_arrives_with_its_traceback(prefetch):
    class Broken(Noisy):
        def __getitem__(self, i):
            if i == 5:
                raise RuntimeError("the cable is loose")
            return super().__getitem__(i)

    seen = []
    with pytest.raises(RuntimeError, match="the cable is loose") as caught:
        for _, y in DataLoader(Broken(), 2, prefetch=prefetch):
            seen.append(y.tolist())
    assert seen == [[0, 1], [2, 3]]
    text = "".join(traceback.format_exception(caught.value))
    assert "in __getitem__" in text and 'raise RuntimeError("the cable is loose")' in text
    assert "raised by sample 5 of Broken" in text
    assert not prefetch_threads()


# ── Prefetching ───────────────────────────────────────────────────────────────────────────────────

MAKERS = {
    "samples": lambda **k: DataLoader(Noisy(wait=(0, 3)), 3, shuffle=True, rng=0, **k),
    "samples in order": lambda **k: DataLoader(Noisy(wait=(0, 3)), 3, rng=0, **k),
    "transform": lambda **k: DataLoader(
        (np.arange(160.0).reshape(10, 4, 4), np.arange(10)),
        3,
        rng=0,
        transform=transforms.Compose([transforms.RandomCrop(3), transforms.RandomHorizontalFlip()]),
        **k,
    ),
    "weights": lambda **k: DataLoader(
        Noisy(), 3, rng=0, sampler=WeightedSampler(np.arange(10), 8), **k
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_batches_are_the_same_with_and_without(name):
    make = MAKERS[name]
    plain = make()
    epochs = [listed(plain), listed(plain)]
    assert epochs[0] != epochs[1]
    for prefetch in (1, 2, 20):
        ahead = make(prefetch=prefetch)
        assert [listed(ahead), listed(ahead)] == epochs
    assert not prefetch_threads()


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("name", MAKERS)
def test_resumes_in_the_middle(name, prefetch):
    whole = listed(plain := MAKERS[name]()) + listed(plain)
    loader, seen = MAKERS[name](prefetch=prefetch), []
    for batch in loader:
        seen.append([part.tolist() for part in batch])
        if len(seen) == 2:
            state = loader.state_dict()
            break
    assert not prefetch_threads()
    resumed = MAKERS[name](prefetch=prefetch)
    resumed.load_state_dict(state)
    assert seen + listed(resumed) + listed(resumed) == whole


def test_the_librarys_seed_repeats_runs_too():
    def run(prefetch):
        md.manual_seed(3)
        loader = DataLoader(Noisy(), 4, prefetch=prefetch)
        return [listed(loader), listed(loader)]

    assert run(0) == run(2) and run(0)[0] != run(0)[1]
    # Where nothing can be random, nothing is drawn: the generator goes on as if the loader were not there.
    md.manual_seed(3)
    expected = minidl.random.generator().random()
    md.manual_seed(3)
    list(DataLoader((np.zeros((4, 2, 2)), np.zeros(4)), 2, transform=transforms.ToFloat()))
    list(DataLoader([(1, 2)], 2))
    assert minidl.random.generator().random() == expected


def test_it_is_ahead_and_not_further():
    class Counting(Noisy):
        def __getitem__(self, i):
            made.append(i)
            return super().__getitem__(i)

    made = []
    batches = iter(DataLoader(Counting(20), 1, prefetch=3))
    next(batches)
    for _ in range(2000):
        if len(made) == 4:
            break
        time.sleep(0.005)
    time.sleep(0.01)
    assert sorted(made) == [0, 1, 2, 3]
    assert prefetch_threads()
    del batches
    gc.collect()
    assert not prefetch_threads()


def test_as_many_threads_as_batches_ahead():
    class Meeting(Noisy):
        """Each sample waits for another one, in another thread."""

        def __getitem__(self, i):
            barrier.wait(timeout=30)
            return super().__getitem__(i)

    barrier = threading.Barrier(2)
    dataset = Meeting(6)
    assert [y.tolist() for _, y in DataLoader(dataset, 1, prefetch=2)] == [[i] for i in range(6)]
    assert len(dataset.threads) == 2
    assert all(name.startswith("minidl-prefetch") for name in dataset.threads)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_a_loop_that_waits(tmp_path):
    script = """
import time
from minidl.data import DataLoader
class Slow:
    def __len__(self): return 1000
    def __getitem__(self, i):
        if i == 1: print("waiting", flush=True)
        time.sleep(0.05)
        return i
for _ in DataLoader(Slow(), 1, prefetch=2): pass
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode != 0 and said.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("capture", [False, True])
def test_a_transform_may_compute_with_tensors_in_its_thread(capture):
    """Without recording in one thread while the other records; dropout draws from the batch's generator."""
    x = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)

    def features(x, y):
        with md.no_grad():
            return F.dropout(F.affine(x, weight, activation="relu"), 0.5).numpy(), y

    def losses(prefetch):
        md.manual_seed(0)
        model = nn.Affine(4, 2)
        loader = DataLoader(
            (x, np.arange(64) % 2), 8, shuffle=True, transform=features, prefetch=prefetch
        )
        steps = optim.SGD(model.parameters(), 0.1)
        return md.fit(model, loader, "cross_entropy", steps, 2, progress=False, capture=capture)[
            "loss"
        ]

    assert losses(0) == losses(2)


def test_fit_takes_it():
    md.manual_seed(0)
    data = [(np.array([i % 2, 1 - i % 2], np.float32), i % 2) for i in range(20)]
    model = nn.Affine(2, 2)
    loader = DataLoader(data, 5, shuffle=True, prefetch=2)
    history = md.fit(
        model, loader, "cross_entropy", optim.SGD(model.parameters(), 1.0), 3, progress=False
    )
    assert history["loss"][2] < history["loss"][0]


# ── Samplers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_given_order():
    data = TensorDataset(np.arange(5) * 10)
    for order in ([4, 0, 0], np.array([4, 0, 0], np.uint8), (4, 0, 0)):
        loader = DataLoader(data, 2, sampler=order)
        assert len(loader) == 2 and listed(loader) == listed(loader) == [[[40, 0]], [[0]]]
    assert listed(DataLoader(data, 2, sampler=range(1, 4), drop_last=True)) == [[[10, 20]]]
    assert "sampler=GivenOrder(3 rows)" in repr(loader)


def test_weights():
    loader = DataLoader(np.arange(3), 4000, sampler=WeightedSampler([1, 0, 3], 4000), rng=0)
    ((rows,),) = loader
    shares = np.bincount(rows, minlength=3) / 4000
    assert shares[1] == 0 and abs(shares[2] - 0.75) < 0.03
    sampler = WeightedSampler([1, 2, 0, 4], 3, replacement=False)
    for _ in range(3):
        ((rows,),) = DataLoader(np.arange(4), 10, sampler=sampler, rng=1)
        assert sorted(rows) == [0, 1, 3]


def test_a_sampler_of_ones_own():
    class Halves:
        def __init__(self, claims=2):
            self.claims = claims

        def __len__(self):
            return self.claims

        def order(self, rng):
            return rng.permutation(4)[:2]

    loader = DataLoader(np.arange(4), 2, sampler=Halves(), rng=0)
    epochs = [listed(loader)[0][0] for _ in range(8)]
    assert {row for rows in epochs for row in rows} == {0, 1, 2, 3}
    with pytest.raises(ValueError, match=r"sampler: order\(rng\) gave 2 rows, its length is 3"):
        list(DataLoader(np.arange(4), 2, sampler=Halves(3)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: DataLoader(np.arange(4), 2, shuffle=True, sampler=[0]),
            ValueError,
            "shuffle=True",
        ),
        (
            lambda: DataLoader(np.arange(4), 2, sampler=[0, 4]),
            ValueError,
            "row 4 .* 4 rows, 0 to 3",
        ),
        (lambda: DataLoader(np.arange(4), 2, sampler=[-1]), ValueError, "row -1 is not one of"),
        (lambda: DataLoader(np.arange(4), 2, sampler=[0.5]), TypeError, "expected integers"),
        (lambda: DataLoader(np.arange(4), 2, sampler=[True] * 4), TypeError, "expected integers"),
        (lambda: DataLoader(np.arange(4), 2, sampler="0"), TypeError, "sampler: .* given '0'"),
        (lambda: DataLoader(np.arange(4), 2, sampler=WeightedSampler), TypeError, "given <class"),
        (lambda: DataLoader(Noisy, 2), TypeError, "given the class Noisy"),
        (
            lambda: DataLoader(np.arange(4), 2, transform=transforms.ToFloat),
            TypeError,
            r"transform: ToFloat is a class: expected ToFloat\(...\)",
        ),
        (
            lambda: DataLoader(np.arange(4), 2, sampler=WeightedSampler([1, 1], 2)),
            ValueError,
            "sampler has 2 weights, the dataset has 4 rows",
        ),
        (lambda: DataLoader(np.arange(4), 2, prefetch=-1), ValueError, "prefetch must be"),
        (lambda: DataLoader(np.arange(4), 2, prefetch=True), TypeError, "prefetch must be"),
        (lambda: WeightedSampler([1, -1], 2), ValueError, "finite and not negative"),
        (lambda: WeightedSampler([0, 0], 2), ValueError, "none of the 2 weights"),
        (lambda: WeightedSampler([1, 0], 2, False), ValueError, "only 1 rows have a weight"),
        (lambda: WeightedSampler([1], 0), ValueError, "num_samples"),
    ],
)
def test_wrong_samplers(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_state_knows_the_samplers_length():
    def loader(order):
        return DataLoader(np.arange(9), 2, sampler=order)

    with pytest.raises(ValueError, match="samples is 4, in the state 5"):
        loader([1] * 4).load_state_dict(loader([1] * 5).state_dict())
    old = DataLoader(np.arange(9), 2).state_dict()
    del old["samples"]  # as it was written before there were samplers
    DataLoader(np.arange(9), 2).load_state_dict(old)


def test_a_last_batch_of_one_before_batch_norm():
    model = nn.Sequential(nn.Affine(2, 3), nn.BatchNorm(3))
    x = np.ones((5, 2), np.float32)
    with pytest.raises(ValueError, match=r"batch_norm.*\(1, 3\): a batch of 1 .*drop_last=True"):
        for (rows,) in DataLoader(x, 2):
            model(rows)
    for (rows,) in DataLoader(x, 2, drop_last=True):
        model(rows)
