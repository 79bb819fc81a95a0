"""Parameters, optimizers and losses have the same bits for any number of ranks: MLP, LeNet, DCGAN, WGAN-GP."""

import functools

import pytest

from . import programs, ranks


@functools.cache
def alone():
    """The hash of each program in this process, which goes through all shards itself."""
    return programs.run(programs.PROGRAMS)


@ranks.needs_mpi
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_same_bits(size):
    said = ranks.run(size, "programs")
    assert dict(pair.split("=") for pair in said.split()) == alone()
