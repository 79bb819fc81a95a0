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


@ranks.needs_mpi
@pytest.mark.parametrize("bucket_mb", [0, 0.002])
def test_the_size_of_buckets_does_not_matter(bucket_mb):
    said = ranks.run(3, "programs", "mlp", "dcgan", f"bucket_mb={bucket_mb}")
    assert said.split() == [f"{name}={alone()[name]}" for name in ("mlp", "dcgan")]


@functools.cache
def synchronised():
    return programs.run(["mlp", "dcgan"], sync_batch_norm=True)


@ranks.needs_mpi
@pytest.mark.parametrize("size", [3, 8])
def test_batch_norm_over_the_whole_batch(size):
    expected = synchronised()
    said = ranks.run(size, "programs", *expected, "sync_batch_norm=true")
    assert dict(pair.split("=") for pair in said.split()) == expected
    assert not set(expected.values()) & set(alone().values())


@ranks.needs_mpi
@pytest.mark.parametrize("bucket_mb", [0.002, 1])
def test_a_plain_allreduce(bucket_mb):
    """All ranks have the same parameters (the program compares them), which need not be those of one rank."""
    ranks.run(4, "programs", "mlp", "reproducible=false", f"bucket_mb={bucket_mb}")
