"""Fixtures for all tests."""

import signal

import pytest

from minidl import _kernels as K

LEVELS = (*K.available, "reference")

# A shell starts what runs in its background with Ctrl-C ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Every CPU level, and the NumPy twins: ops look kernels up in K at each call."""
    for name, entry_point in vars(K.load(request.param)).items():
        monkeypatch.setattr(K, name, entry_point, raising=False)
    return request.param
