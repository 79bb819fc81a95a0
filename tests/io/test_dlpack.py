"""DLPack: memory that is shared with PyTorch, JAX and NumPy, in both directions."""

import gc

import numpy as np
import pytest

import minidl as md
from minidl import Tensor


def with_torch():
    torch = pytest.importorskip("torch")
    return torch.from_dlpack, lambda values: torch.tensor(values), lambda x: x.data_ptr()


def with_jax():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_platforms", "cpu")
    return (
        jax.numpy.from_dlpack,
        lambda values: jax.numpy.asarray(values),
        lambda x: x.unsafe_buffer_pointer(),
    )


def with_numpy():
    return np.from_dlpack, lambda values: np.array(values), lambda x: x.ctypes.data


LIBRARIES = {"torch": with_torch, "jax": with_jax, "numpy": with_numpy}


@pytest.fixture(params=LIBRARIES)
def library(request):
    return LIBRARIES[request.param]()


def test_out_without_a_copy(library):
    reads, _, address = library
    x = (
        Tensor(np.arange(6, dtype=np.float32).reshape(2, 3)) * 2
    )  # (in minidl's own, aligned memory)
    there = reads(x)
    assert address(there) == x.data.ctypes.data and there.shape == (2, 3)
    x.data[0, 0] = 7
    assert float(there[0, 0]) == 7


def test_in_without_a_copy(library):
    _, makes, address = library
    there = makes([[1.0, 2.0], [3.0, 4.0]])
    x = md.from_dlpack(there)
    assert x.data.ctypes.data == address(there)
    assert not x.requires_grad and x.shape == (2, 2)
    np.testing.assert_array_equal(x.data, [[1, 2], [3, 4]])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"])
def test_torch_both_ways(dtype):
    torch = pytest.importorskip("torch")
    there = torch.zeros(2, 3, dtype=getattr(torch, dtype)).T  # not one dense block
    x = md.from_dlpack(there)
    again = torch.from_dlpack(x)
    assert x.shape == (3, 2) and x.dtype == dtype and again.dtype == there.dtype
    x.data[2, 0] = 1
    again[0, 1] = 1
    assert there[2, 0] == 1 and x.data[0, 1] == 1 and there.data_ptr() == again.data_ptr()


def test_memory_lives_as_long_as_the_last_that_shares_it(library):
    reads, makes, _ = library
    there = reads(Tensor(np.ones(1000, np.float32)) * 3)  # the tensor is gone
    x = md.from_dlpack(makes([5.0] * 1000))  # and so is the other library's array
    gc.collect()
    others = [Tensor(np.ones(1000, np.float32)) * 0 for _ in range(20)]
    assert float(there.sum()) == 3000 and x.sum().item() == 5000
    del others


def test_what_is_shared_can_be_trained_on():
    torch = pytest.importorskip("torch")
    there = torch.tensor([1.0, 2.0])
    x = md.from_dlpack(there)
    x.requires_grad = True
    (x * x).sum().backward()
    np.testing.assert_array_equal(torch.from_dlpack(x.grad), [2, 4])


def test_a_gradient_does_not_get_lost():
    x = Tensor([1.0, 2.0], requires_grad=True)
    for tensor in (x, x * 2, md.nn.Parameter([1.0])):
        with pytest.raises(BufferError, match=r"requires a gradient.*detach\(\)"):
            tensor.__dlpack__()
        assert np.from_dlpack(tensor.detach())[0] == tensor.data[0]
    torch = pytest.importorskip("torch")
    with pytest.raises(BufferError, match="detach"):
        torch.from_dlpack(x)
    with pytest.raises(BufferError, match=r"from_dlpack: .*gradient"):
        md.from_dlpack(torch.ones(2, requires_grad=True))


def test_read_only_memory():
    constant = md.broadcast_to(Tensor([1.0]), (3,))
    with pytest.raises(BufferError, match=r"\(3,\).*read-only.*copy"):
        constant.__dlpack__()
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    x = md.from_dlpack(array)
    assert np.from_dlpack(x.detach() * 1)[0] == 1
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # (before, it had no copy=)
        assert np.from_dlpack(x, copy=True).flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        x += 1


def test_jax_arrays_are_immutable():
    jax = pytest.importorskip("jax")
    x = md.from_dlpack(jax.numpy.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        x += 1


def test_what_cannot_be_shared_is_named():
    for wrong in (3, [1.0], None, object()):
        with pytest.raises(TypeError, match="from_dlpack: expected an array with __dlpack__"):
            md.from_dlpack(wrong)
    with pytest.raises(TypeError, match="from_dlpack: dtype float16 is not supported"):
        md.from_dlpack(np.ones(2, np.float16))
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="from_dlpack: dtype complex64"):
        md.from_dlpack(torch.ones(2, dtype=torch.complex64))
    with pytest.raises(TypeError, match=r"from_dlpack: .*dtype.*\(of a Tensor\)"):
        md.from_dlpack(torch.ones(2, dtype=torch.bfloat16))
    with pytest.raises(BufferError, match="from_dlpack: "):
        md.from_dlpack(torch.ones(2, device="meta"))
