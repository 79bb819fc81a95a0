"""Ignored targets in captured steps: expected where the recording says so, and refused in so many words elsewhere."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F


def scores(seed):
    return md.Tensor(np.random.default_rng(seed).standard_normal((4, 3)).astype("float32"))


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize(
    "options", [{"weight": np.ones(3)}, {"ignore_index": -1}, {"ignore_index": 2}]
)
def test_later_batches_may_have_other_ignored_targets(loss, options):
    ignored = options.get("ignore_index", -100)
    step = md.capture(lambda x, t: loss(x, t, **options))
    for i in range(3):
        target = np.array([0, 1, 1, 0])
        target[:i] = ignored
        assert step(scores(i), target).item() == loss(scores(i), target, **options).item()
    assert step.records == 1
    target[1] = 5
    with pytest.raises(ValueError, match=r"target 5 of row 1 is out of range for 3 classes$"):
        step(scores(0), target)


def test_the_first_ignored_target_comes_late():
    step = md.capture(lambda x, t: F.cross_entropy(x, t))
    step(scores(0), np.array([0, 1, 1, 0]))
    with pytest.raises(ValueError, match="recorded with a batch that had no ignored target"):
        step(scores(1), np.array([0, -100, 1, 0]))
    step = md.capture(lambda x, t: F.cross_entropy(x, t))
    for target in ([0, -100, 1, 0], [0, 1, 1, 0], [-100, -100, 2, 0]):
        target = np.array(target)
        assert step(scores(2), target).item() == F.cross_entropy(scores(2), target).item()
