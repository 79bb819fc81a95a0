"""Metrics by name: what they are for each kind of output, from totals over all batches."""

import math
from functools import partial

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn
from minidl.training.fit import evaluate

RNG = np.random.default_rng(0)
N, C = 60, 7
SCORES = RNG.standard_normal((N, C)).astype("float32")
IDS = RNG.integers(0, C - 1, N)  # one class never occurs
LABELS = RNG.random((N, 4)) < np.array([0.5, 0.2, 0.8, 0.0])  # one label is never there
P = RNG.random((N, 4)).astype("float32")
P[:, 1] = 0.1  # one label is never named
NAMES = ("accuracy", "precision", "recall", "f1")
BCE, LOGITS = "binary_cross_entropy", "binary_cross_entropy_with_logits"


def measure(y, target, loss, metrics, size=N):
    """Measured in batches of so many samples."""
    batches = [(y[i : i + size], target[i : i + size]) for i in range(0, len(y), size)]
    return evaluate(nn.Identity(), batches, loss, metrics)


@pytest.mark.parametrize("size", [N, 13, 1])
@pytest.mark.parametrize(
    ("y", "target", "loss", "found", "options"),
    [
        (SCORES, IDS, "cross_entropy", SCORES.argmax(1), {"average": "macro"}),
        (SCORES, IDS, None, SCORES.argmax(1), {"average": "macro"}),
        (SCORES[:, :2], IDS % 2, nn.CrossEntropyLoss(), SCORES[:, 0] < SCORES[:, 1], {"average": "macro"}),
        (P, LABELS.astype("float32"), BCE, P > 0.5, {"average": "macro"}),
        (P - 0.5, LABELS.astype("float32"), LOGITS, P > 0.5, {"average": "macro"}),
        (P[:, 0], LABELS[:, 0].astype("float32"), BCE, P[:, 0] > 0.5, {}),
        (P[:, :1] - 0.5, LABELS[:, :1].astype("float32"), nn.BCEWithLogitsLoss(), P[:, 0] > 0.5, {}),
        (P[:, 0] - 0.5, LABELS[:, 0], None, P[:, 0] > 0.5, {}),
    ],
)  # fmt: skip
def test_as_scikit_learn_for_batches_of_any_size(y, target, loss, found, options, size):
    metrics = pytest.importorskip("sklearn.metrics")
    right = target.astype(int)
    measured = measure(y, target, loss, NAMES, size)
    expected = {"accuracy": np.mean(found.reshape(right.shape) == right)}
    for name in NAMES[1:]:
        score = getattr(metrics, f"{name}_score")
        expected[name] = score(right.squeeze(), found.astype(int), zero_division=0, **options)
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-12), name
    assert 0 < measured["f1"] < 1


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("shape", [(N, C), (4, C, 3, 5)])
def test_top_k_as_pytorch(k, shape):
    torch = pytest.importorskip("torch")
    scores = RNG.standard_normal(shape)
    target = RNG.integers(0, C, shape[:1] + shape[2:])
    best = torch.tensor(scores).topk(k, dim=1).indices.numpy()
    expected = (best == target[:, None]).any(axis=1).mean()
    for right in (target, np.moveaxis(np.eye(C)[target], -1, 1)):  # ids, probabilities
        measured = measure(scores, right, "cross_entropy", (f"top{k}", "accuracy"), size=3)
        assert measured[f"top{k}"] == pytest.approx(expected, rel=1e-12)
        assert (
            (measured["accuracy"] == measured["top1"])
            if k == 1
            else measured["accuracy"] < expected
        )


def test_scores_that_are_nan_find_nothing():
    scores = np.array([[np.nan, 1.0, 0.0], [0.0, np.nan, 1.0]])
    assert measure(scores, np.array([0, 1]), None, "top2")["top2"] == 0
    assert measure(scores, np.array([1, 2]), None, "top2")["top2"] == 1


@pytest.mark.parametrize(
    ("loss", "ignored"),
    [
        ("cross_entropy", -100),
        (F.nll_loss, -100),
        (nn.CrossEntropyLoss(ignore_index=2), 2),
        (partial(F.cross_entropy, ignore_index=2), 2),
        (None, -100),
    ],
)
def test_targets_that_are_ignored_do_not_count(loss, ignored):
    target = np.where(IDS % 3 == 0, ignored, IDS)
    kept = target != ignored
    names = (*NAMES, "top3")
    expected, measured = (
        measure(y, right, loss, names, size=7)
        for y, right in ((SCORES[kept], target[kept]), (SCORES, target))
    )
    for name in names:
        assert measured[name] == pytest.approx(expected[name], rel=1e-12)


def test_fit_measures_training_and_validation():
    md.manual_seed(0)
    model = nn.Affine(C, C)
    history = md.fit(
        model, [(SCORES[:40], IDS[:40]), (SCORES[40:], IDS[40:])], "cross_entropy",
        md.optim.SGD(model.parameters(), 0.0), 1, validation=(SCORES, IDS),
        metrics=("top5", "f1", "accuracy"), progress=False,
    )  # fmt: skip
    names = ["loss", "top5", "f1", "accuracy"]
    assert list(history.history) == [*names, *(f"val_{name}" for name in names), "lr", "time"]
    for name in names:
        assert history[name] == pytest.approx(history[f"val_{name}"], rel=1e-6)
    f1 = [
        evaluate(model, batch, None, "f1")["f1"]
        for batch in ((SCORES[:40], IDS[:40]), (SCORES[40:], IDS[40:]))
    ]
    assert abs(np.dot(f1, [40 / N, 20 / N]) - history["f1"][0]) > 0.001  # no mean over batches


@pytest.mark.parametrize(
    ("loss", "metrics", "message"),
    [
        ("mse_loss", "f1", "'f1' needs classes or labels, which mse_loss does not have"),
        (nn.L1Loss(), "top5", "'top5' needs class scores, which l1_loss does not have"),
        (BCE, "top5", "'top5' needs class scores, which binary_cross_entropy does not have"),
        (
            nn.BCEWithLogitsLoss(),
            "top2",
            "'top2' needs class scores, which binary_cross_entropy_with_logits does",
        ),
        ("cross_entropy", "top0", "'top0' is neither a function nor one of accuracy, top5"),
        ("cross_entropy", "auc", "'auc' is neither a function nor one of accuracy, top5"),
        ("cross_entropy", [3], "3 is neither"),
    ],
)
def test_what_a_loss_does_not_have_is_refused_before_anything_is_done(loss, metrics, message):
    with pytest.raises(ValueError, match=f"evaluate: metrics: {message}"):
        evaluate(nn.Identity(), (SCORES, IDS), loss, metrics)


@pytest.mark.parametrize(
    ("y", "target", "loss", "metric", "message"),
    [
        (SCORES, IDS, "cross_entropy", "top7", "top7: there are 7 classes: it would always be 1"),
        (P[:, 0], LABELS[:, 0], None, "top2", r"top2: expected scores \(N, C, ...\), got shape"),
        (SCORES, IDS + 2, None, "f1", "f1: targets are ids from 0 to 6, got 7"),
        (SCORES, IDS - 1, None, "accuracy", "accuracy: targets are ids from 0 to 6, got -1"),
        (SCORES, IDS / 2, None, "recall", r"recall: targets of shape \(60,\), float64"),
    ],
)
def test_what_does_not_fit_the_scores(y, target, loss, metric, message):
    with pytest.raises(ValueError, match=message):
        evaluate(nn.Identity(), (y, target), loss, metric)


def test_a_loss_that_cannot_be_hashed():
    class Own:
        __hash__ = None

        def __call__(self, y, target):
            return F.cross_entropy(y, target)

    measured = evaluate(nn.Identity(), (SCORES, IDS), Own(), NAMES)
    assert measured == evaluate(nn.Identity(), (SCORES, IDS), "cross_entropy", NAMES)


def test_real_numbers_leave_accuracy_out():
    assert evaluate(nn.Identity(), (SCORES, SCORES), "mse_loss") == {"loss": 0.0}


def test_confusion_matrix():
    metrics = pytest.importorskip("sklearn.metrics")
    expected = metrics.confusion_matrix(IDS, SCORES.argmax(1), labels=range(C))
    for y in (SCORES, md.Tensor(SCORES), SCORES.argmax(1)):
        np.testing.assert_array_equal(md.confusion_matrix(y, IDS), expected)
    ignored = np.where(IDS == 3, -100, IDS)
    np.testing.assert_array_equal(md.confusion_matrix(SCORES, ignored)[3], 0)
    assert md.confusion_matrix(P[:, 0] > 0.5, LABELS[:, 0]).shape == (2, 2)
    nothing = np.zeros(0, int)
    assert md.confusion_matrix(nothing, nothing, classes=2).tolist() == [[0, 0], [0, 0]]
    assert md.confusion_matrix(np.array([1]), np.array([0]), classes=3).tolist()[0] == [0, 1, 0]
    for y, target, error, message in (
        (P[:, 0], LABELS[:, 0], TypeError, "y: expected class ids, got dtype float32"),
        (SCORES, IDS[:5], ValueError, r"y gives \(60,\) ids, target has \(5,\)"),
        (SCORES, IDS + 2, ValueError, "ids must be from 0 to 6"),
        (IDS - 1, IDS, ValueError, "ids must be from 0 to"),
    ):
        with pytest.raises(error, match=f"confusion_matrix: {message}"):
            md.confusion_matrix(y, target)


def test_metrics_of_nothing_that_counts():
    measured = evaluate(nn.Identity(), (SCORES, np.full(N, -100)), None, (*NAMES, "top3"))
    assert measured == dict.fromkeys((*NAMES, "top3"), 0.0)
    assert not any(math.isnan(value) for value in measured.values())
