"""Losses with weights, ignored targets and smoothed labels against PyTorch: each combination, to second order."""

from itertools import product

import numpy as np
import pytest

from minidl import Tensor, nn
from minidl import functional as F

from .oracle import compare

torch = pytest.importorskip("torch")
G = torch.nn.functional

RNG = np.random.default_rng(0)
CLASSES = 4
WEIGHT = np.array([0.5, 2.0, 0.0, 3.0])
REDUCTIONS = ("mean", "sum", "none")


def every(*choices):
    return list(product(*choices))


@pytest.mark.parametrize(
    ("reduction", "weight", "ignored", "smoothing", "shape"),
    every(REDUCTIONS, (None, WEIGHT), (-100, 1, 7), (0.0, 0.3), ((6, CLASSES), (2, CLASSES, 3))),
)
def test_cross_entropy(reduction, weight, ignored, smoothing, shape):
    target = RNG.integers(0, CLASSES, shape[:1] + shape[2:])
    target.flat[::3] = ignored
    options = {"reduction": reduction, "ignore_index": ignored, "label_smoothing": smoothing}
    compare(
        lambda x: F.cross_entropy(x, target, weight=weight, **options),
        lambda x: G.cross_entropy(x, torch.tensor(target), weight=there(weight), **options),
        [RNG.standard_normal(shape)],
    )
    if not smoothing:
        del options["label_smoothing"]
        compare(
            lambda x: F.nll_loss(x, target, weight=weight, **options),
            lambda x: G.nll_loss(x, torch.tensor(target), weight=there(weight), **options),
            [RNG.standard_normal(shape)],
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_batch_of_ignored_targets_has_no_gradient(smoothing):
    """Its mean is NaN, but a step with it leaves the parameters as they are."""
    losses = [lambda x: F.cross_entropy(x, [-100, -100], label_smoothing=smoothing)]
    losses += [] if smoothing else [lambda x: F.nll_loss(x, [-100, -100])]
    for loss in losses:
        x = Tensor(RNG.standard_normal((2, CLASSES)), requires_grad=True)
        y = loss(x)
        y.backward()
        assert np.isnan(y.item())
        np.testing.assert_array_equal(x.grad.data, np.zeros((2, CLASSES)))


@pytest.mark.parametrize(
    ("reduction", "weight", "smoothing", "shape"),
    every(REDUCTIONS, (None, WEIGHT), (0.0, 0.3), ((5, 4), (2, 4, 3), (4,))),
)
def test_cross_entropy_of_probabilities(reduction, weight, smoothing, shape):
    axis = min(len(shape) - 1, 1)
    target = RNG.uniform(0.1, 1, shape)
    target /= target.sum(axis, keepdims=True)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    compare(
        lambda x, t: F.cross_entropy(x, t, weight=weight, **options),
        lambda x, t: G.cross_entropy(x, t, weight=there(weight), **options),
        [RNG.standard_normal(shape), target],
    )


def there(array):
    return None if array is None else torch.tensor(array)


@pytest.mark.parametrize(
    ("reduction", "weight", "positive"),
    every(REDUCTIONS, (None, (3,), (2, 1), (2, 3)), (None, (3,), (2, 3))),
)
def test_binary_cross_entropy(reduction, weight, positive):
    x, t = RNG.standard_normal((2, 3)), RNG.uniform(size=(2, 3))
    w = None if weight is None else RNG.uniform(0.1, 2, weight)
    p = None if positive is None else RNG.uniform(0.1, 4, positive)
    compare(
        lambda x: F.binary_cross_entropy_with_logits(x, t, reduction, w, p),
        lambda x: G.binary_cross_entropy_with_logits(
            x, torch.tensor(t), there(w), reduction=reduction, pos_weight=there(p)
        ),
        [x],
    )
    if p is None:
        compare(
            lambda x: F.binary_cross_entropy(x, t, reduction, w),
            lambda x: G.binary_cross_entropy(x, torch.tensor(t), there(w), reduction=reduction),
            [1 / (1 + np.exp(-x))],
        )


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(reduction, log_target):
    x = np.log(RNG.dirichlet(np.ones(4), 3))
    t = RNG.dirichlet(np.ones(4), 3)
    options = {"reduction": reduction, "log_target": log_target}
    compare(
        lambda x, t: F.kl_div(x, t, **options),
        lambda x, t: G.kl_div(x, t, **options),
        [x, np.log(t) if log_target else t],
    )


def test_kl_div_where_a_target_is_0():
    x = Tensor(np.array([[-np.inf, -1.0]]), requires_grad=True)
    loss = F.kl_div(x, np.array([[0.0, 1.0]]), "sum")
    loss.backward()
    assert loss.item() == 1 and x.grad.data.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_with_a_margin(reduction):
    x, y = RNG.standard_normal((2, 5, 3))
    signs = np.array([1, -1, 1, -1, -1])
    compare(
        lambda x: F.hinge_loss(x, np.sign(y), reduction, 0.7),
        lambda x: reduced(torch.clamp(0.7 - torch.tensor(np.sign(y)) * x, min=0), reduction),
        [x],
    )
    compare(
        lambda x, y: F.cosine_embedding_loss(x, y, signs, -0.4, reduction),
        lambda x, y: G.cosine_embedding_loss(
            x, y, torch.tensor(signs), margin=-0.4, reduction=reduction
        ),
        [x, y],
    )


def reduced(loss, reduction):
    return loss if reduction == "none" else getattr(loss, reduction)()


PROBABILITIES = RNG.dirichlet(np.ones(4), 5).astype("float32")
SCORES = RNG.standard_normal((5, 4)).astype("float32")
LABELS = np.array([0, 3, -100, 2, 1])
LAYERS = {
    "CrossEntropyLoss": ((WEIGHT.astype("f"),), {"label_smoothing": 0.1}, (SCORES, LABELS)),
    "NLLLoss": ((WEIGHT.astype("f"),), {"ignore_index": 3}, (SCORES, np.array([0, 3, 1, 2, 1]))),
    "BCELoss": ((WEIGHT.astype("f"),), {}, (PROBABILITIES, PROBABILITIES[::-1].copy())),
    "BCEWithLogitsLoss": (
        (WEIGHT.astype("f"),),
        {"pos_weight": WEIGHT.astype("f")},
        (SCORES, PROBABILITIES),
    ),
    "MSELoss": ((), {}, (SCORES, PROBABILITIES)),
    "L1Loss": ((), {"reduction": "sum"}, (SCORES, PROBABILITIES)),
    "HuberLoss": ((), {"delta": 0.4}, (SCORES, PROBABILITIES)),
    "KLDivLoss": ((), {"reduction": "batchmean"}, (SCORES, PROBABILITIES)),
    "CosineEmbeddingLoss": (
        (),
        {"margin": 0.2},
        (SCORES, PROBABILITIES, np.array([1, -1, 1, -1, 1])),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    arguments, options, inputs = LAYERS[name]
    tensors = {k: there(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(
        *[there(a) if isinstance(a, np.ndarray) else a for a in arguments], **tensors
    )
    expected = theirs(*[torch.tensor(x) for x in inputs]).numpy()
    np.testing.assert_allclose(ours(*inputs).data, expected, rtol=1e-5)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict({k: v.numpy() * 2 for k, v in theirs.state_dict().items()})
    for k, v in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[k], v.numpy() * 2)
