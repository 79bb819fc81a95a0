"""Fixtures for all tests."""

import pytest

from minidl import _kernels as K

LEVELS = (*K.available, "reference")


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    """Every CPU level, and the NumPy twins: ops look kernels up in K at each call."""
    for name, face in vars(K.load(request.param)).items():
        monkeypatch.setattr(K, name, face, raising=False)
    return request.param
