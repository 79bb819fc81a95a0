"""Fixtures for all tests."""

import gc
import signal
import sys

import pytest

from minidl import _kernels as K

from . import quick  # noqa: F401  (replaces two of NumPy's assertions)

LEVELS = (*K.available, "reference")

# A shell starts what runs in its background with Ctrl-C ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """What has been imported by now stays: a gc.collect() in a test need not walk through all of it, 0.2 s each."""
    gc.collect()
    gc.freeze()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # for a few numbers; threads would only spin until the next call


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Every CPU level, and the NumPy reference: ops look kernels up in K at each call."""
    for name, entry_point in vars(K.load(request.param)).items():
        monkeypatch.setattr(K, name, entry_point, raising=False)
    return request.param
