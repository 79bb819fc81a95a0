"""What tests of kernels share."""

import pytest

from minidl._kernels.runtime import pool


@pytest.fixture
def keep_thread_count():
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)
