"""save and load: everything comes back as it was, and a bad file or state changes nothing."""

import json
import os
import zipfile
from collections import OrderedDict
from importlib.util import find_spec

import numpy as np
import pytest

from minidl.io import files
from minidl.io.saving import load, save
from minidl.io.state import StateDict

ENDINGS = [".npz", *([".safetensors"] if find_spec("safetensors") else [])]
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = ["bool", *INTEGERS, "float16", "float32", "float64"]


@pytest.fixture(params=ENDINGS)
def path(request, tmp_path):
    return tmp_path / f"state{request.param}"


class Tensor:
    """Stands for minidl's Tensor, as far as save looks at it."""

    def __init__(self, data):
        self.data = np.asarray(data)


class ArrayLike:
    def __array__(self, dtype=None, copy=None):
        return np.arange(3.0)


def same(a, b):
    """Equal in values, types, dtypes, shapes and order."""
    if isinstance(a, np.ndarray | np.generic):
        assert type(a) is type(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()
    elif isinstance(a, dict):
        assert type(a) is type(b)
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert type(a) is type(b)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert type(a) is type(b)
        assert repr(a) == repr(b)


# --- What comes back -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_shape(path, dtype):
    rng = np.random.default_rng(0)
    state = {
        "matrix": rng.integers(0, 100, (3, 4)).astype(dtype),
        "scalar": np.array(1, dtype),
        "empty": np.zeros((0, 3), dtype),
        "number": np.ones(1, dtype)[0],
    }
    save(state, path)
    same(load(path), state)


def test_layouts_and_byte_orders(path):
    base = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    state = {
        "transposed": base.T,
        "strided": base[::2, ::-3],
        "fortran": np.asfortranarray(base),
        "broadcast": np.broadcast_to(base[0], (3, 6)),
        "big_endian": base.astype(">f4"),
        "big_endian_0d": np.array(7, ">i8"),
        "nan_inf": np.array([np.nan, np.inf, -np.inf, -0.0]),
    }
    save(state, path)
    loaded = load(path)
    assert set(loaded) == set(state)
    for name, array in state.items():
        assert loaded[name].dtype.isnative
        assert loaded[name].dtype == array.dtype.newbyteorder("=")
        assert loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name], array)
        loaded[name][...] = 0  # its own memory, writable


def test_nested_state(path):
    rng = np.random.default_rng(3)
    state = {
        "model": {"layers.0.weight": np.ones((2, 3), np.float32), "empty": {}},
        "optimizer": {"m": [np.zeros(2), np.ones(3)], "betas": (0.9, 0.999), "step": 12},
        "rng": rng.bit_generator.state,
        "nothing": None,
        "flags": [True, False, [], (), {}],
        "text": 'ünï\n"quoted" \U0001f600',
        "floats": [0.1, -0.0, float("nan"), float("inf"), -float("inf"), 5e-324, 1e308],
        "ints": [0, -1, 2**63, 2**128 - 1, -(2**200)],
        "numpy": [np.float32(0.1), np.int8(-3), np.bool_(True), np.float64(0.1)],
        "": {"": np.arange(2)},
    }
    save(state, path)
    same(load(path), state)
    again = np.random.default_rng()
    again.bit_generator.state = load(path)["rng"]
    assert again.random() == rng.random()


@pytest.mark.parametrize(
    "state",
    [[np.ones(2), {"a": np.zeros(1)}], (1, 2), np.arange(3), 3.5, "text", None, {}, []],
    ids=repr,
)
def test_the_top_may_be_anything(path, state):
    save(state, path)
    same(load(path), state)


def test_numpy_and_other_subclasses_of_plain_types(path):
    save({"text": np.str_("abc"), "ordered": OrderedDict(a=1)}, path)
    same(load(path), {"text": "abc", "ordered": {"a": 1}})


def test_tensors_become_arrays(path):
    save({"t": Tensor([1.0, 2.0]), "like": [ArrayLike()]}, path)
    same(load(path), {"t": np.array([1.0, 2.0]), "like": [np.arange(3.0)]})


def test_state_dict_keeps_its_multipliers(path):
    multipliers = {"slope": {"lr_mult": 0.1, "decay": False}, "w": {"lr_mult": 1.0, "decay": True}}
    state = StateDict({"slope": np.ones(1), "w": np.zeros((2, 2))}, multipliers)
    for saved, get in ((state, lambda x: x), ({"model": state, "epoch": 1}, lambda x: x["model"])):
        save(saved, path)
        loaded = get(load(path))
        same(loaded, state)
        assert loaded.multipliers == multipliers
    save(StateDict({"w": np.zeros(1)}), path)
    assert type(load(path)) is StateDict
    copy = state.copy()
    copy.multipliers["w"]["lr_mult"] = 5.0
    assert state.multipliers["w"]["lr_mult"] == 1.0
    assert type(copy) is StateDict


# --- Names, and other programs ---------------------------------------------------------


def test_npz_names(tmp_path):
    flat = {
        "layers.0.weight": np.ones(2),
        "file": np.zeros(1),
        "a/b": np.arange(3),
        "x.npy": np.ones(1),
    }
    save(flat, tmp_path / "flat.npz")
    with np.load(tmp_path / "flat.npz", allow_pickle=False) as npz:
        assert npz.files == list(flat)
    same(load(tmp_path / "flat.npz"), flat)

    save({"model": {"b": np.ones(1)}, "l": [np.ones(2)]}, tmp_path / "nested.npz")
    with np.load(tmp_path / "nested.npz", allow_pickle=False) as npz:
        assert npz.files == ["model/b", "l/0", "__minidl__"]
        assert json.loads(npz["__minidl__"].item())["version"] == 1


def test_a_flat_dict_of_tensors_has_no_extra_entry(tmp_path):
    save({"w": Tensor([1.0])}, tmp_path / "flat.npz")
    assert zipfile.ZipFile(tmp_path / "flat.npz").namelist() == ["w.npy"]


def test_reads_npz_of_numpy(tmp_path):
    arrays = {"w": np.ones((2, 2), np.float32), "text": np.array(["a", "bc"])}
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "theirs.npz", **arrays)
        same(load(tmp_path / "theirs.npz"), arrays)


def test_safetensors_with_torch_both_ways(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    path = tmp_path / "model.safetensors"
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.PReLU(4), torch.nn.BatchNorm1d(4))
    theirs.save_file(model.state_dict(), path)
    ours = load(path)
    assert type(ours) is dict
    for name, value in model.state_dict().items():
        same(ours[name], value.numpy())

    changed = StateDict(
        {name: np.asarray(array + 1) for name, array in ours.items()},
        {"1.weight": {"lr_mult": 2.0}},
    )
    save(changed, path)
    model.load_state_dict(theirs.load_file(path))
    for name, value in model.state_dict().items():
        same(value.numpy(), changed[name])

    save({"tensor": torch.arange(3.0)}, path)  # a torch tensor has __array__
    assert theirs.load_file(path)["tensor"].tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match=r"state\['p'\] does not turn into an array"):
        save({"p": torch.ones(1, requires_grad=True)}, path)


def test_bfloat16_and_dtypes_that_numpy_does_not_have(tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("safetensors.torch")
    path = tmp_path / "theirs.safetensors"
    values = torch.tensor([[1.5, -0.1], [3e38, float("inf")]]).bfloat16()
    theirs.save_file({"b": values}, path)
    same(load(path), {"b": values.float().numpy()})
    theirs.save_file({"f8": values.to(torch.float8_e4m3fn)}, path)
    with pytest.raises(ValueError, match=r"theirs\.safetensors .* f8 has the dtype F8_E4M3"):
        load(path)


def test_same_state_same_bytes(path):
    state = {"a": np.ones(3), "b": [1, np.zeros(2)]}
    save(state, path)
    first = path.read_bytes()
    path.unlink()
    save(state, path)
    assert path.read_bytes() == first


# --- Errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"a": {"b": [1, object()]}}, TypeError, r"state\['a'\]\['b'\]\['1'\] is of type object"),
        ({"a": {1, 2}}, TypeError, r"state\['a'\] is of type set"),
        ({"a": b"bytes"}, TypeError, r"state\['a'\] is of type bytes"),
        ({"a": 1j}, TypeError, r"state\['a'\] is of type complex"),
        ({"a": np.array([{}, 1], object)}, TypeError, r"state\['a'\] has the dtype object"),
        ({"a": np.zeros(2, complex)}, TypeError, r"state\['a'\] has the dtype complex128"),
        ({"a": np.zeros(2, "datetime64[s]")}, TypeError, r"dtype datetime64"),
        ({"a": np.array(["x"])}, TypeError, r"state\['a'\] has the dtype <U1"),
        ({"a": np.zeros(2, "f4,i4")}, TypeError, r"state\['a'\] has the dtype"),
        ({"a": {3: np.ones(1)}}, TypeError, r"state\['a'\] has the key 3: keys must be strings"),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError, "two arrays are named 'a/b'"),
        ({"__minidl__": np.ones(1)}, ValueError, "'__minidl__' is reserved"),
        ({"__metadata__": np.ones(1)}, ValueError, "'__metadata__' is reserved"),
        ({"a\0b": np.ones(1)}, ValueError, "reserved"),
        (len, TypeError, "state is of type builtin_function_or_method"),
    ],
)
def test_states_that_cannot_be_saved_change_nothing(path, state, error, message):
    save({"old": np.arange(3)}, path)
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        save(state, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_model_gets_a_hint(path):
    class Model:
        def state_dict(self):
            return {}

    with pytest.raises(TypeError, match=r"state is of type Model.*pass its state_dict\(\)"):
        save(Model(), path)


@pytest.mark.parametrize("name", ["state.pt", "state", "state.npy", ".npz"])
def test_unknown_endings(tmp_path, name):
    for call in (lambda p: save({}, p), load):
        with pytest.raises(ValueError, match=r"must end in \.npz or \.safetensors"):
            call(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_endings_in_capitals_and_paths_as_strings(path):
    name = str(path.with_suffix(path.suffix.upper()))
    save({"a": np.ones(2)}, name)
    same(load(name), {"a": np.ones(2)})


def test_missing_files_and_folders(path):
    with pytest.raises(FileNotFoundError, match=rf"load: .*{path.name} is not there"):
        load(path)
    with pytest.raises(FileNotFoundError, match=r"its folder .*nowhere is not there"):
        save({}, path.parent / "nowhere" / path.name)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        save({}, path)


def test_truncated_files(path):
    state = {"a": np.arange(40.0), "n": {"b": np.ones((3, 3), np.float32), "epoch": 3}}
    save(state, path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 9), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"load: .*{path.name} is truncated, damaged or no "):
            load(path)


def test_damaged_files_never_raise_anything_else(path):
    state = {"a": np.arange(40.0), "n": {"b": np.ones((3, 3), np.float32), "epoch": 3}}
    save(state, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, len(whole), 400):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path)
        except ValueError as error:
            assert path.name in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "content", [b"", b"not a file of this kind", b"PK\x03\x04", b"\x80\x04K\x01."]
)
def test_files_of_another_kind(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} is truncated, damaged or no {path.suffix}"):
        load(path)


def test_pickled_objects_are_never_loaded(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.savez(tmp_path / "trap.npz", a=np.array([Trap()], object))
    with pytest.raises(ValueError, match=r"trap\.npz .*a\.npy: Object arrays cannot be loaded"):
        load(tmp_path / "trap.npz")
    assert not (tmp_path / "sprung").exists()


def test_files_of_a_later_version(tmp_path):
    text = json.dumps({"version": 99, "tree": {}}).encode()
    np.savez(tmp_path / "later.npz", __minidl__=np.array(text))
    with pytest.raises(ValueError, match=r"later\.npz .*version 99; this minidl reads up to 1"):
        load(tmp_path / "later.npz")


# --- Replacing the file ----------------------------------------------------------------


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["write", "replace"])
def test_the_old_file_survives_any_failure(path, monkeypatch, failure, where):
    save({"old": np.arange(1000)}, path)
    before = path.read_bytes()

    def fail(*args):
        raise failure

    if where == "replace":
        monkeypatch.setattr(files.os, "replace", fail)
    else:
        monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(type(failure)):
        save({"new": np.arange(1000)}, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_failure_in_the_middle_of_an_npz(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    save({"old": np.ones(3)}, path)
    write_array, calls = np.lib.format.write_array, []

    def fail_second(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write_array(*args, **options)

    monkeypatch.setattr(np.lib.format, "write_array", fail_second)
    with pytest.raises(KeyboardInterrupt):
        save({"a": np.ones(3), "b": np.ones(3)}, path)
    same(load(path), {"old": np.ones(3)})
    assert os.listdir(tmp_path) == ["a.npz"]


def test_the_new_file_is_never_seen_half_written(path, monkeypatch):
    """Nothing ever opens the file itself for writing."""
    save({"old": np.ones(3)}, path)
    opened, original = [], os.open

    def recorded(name, flags, *mode):
        opened.append((str(name), flags))
        return original(name, flags, *mode)

    monkeypatch.setattr(os, "open", recorded)
    save({"new": np.ones(3)}, path)
    written = [name for name, flags in opened if flags & (os.O_WRONLY | os.O_RDWR)]
    assert len(written) == 1 and written[0] != str(path)
    assert os.path.dirname(written[0]) == str(path.parent)  # os.replace needs one file system


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links(path):
    old = os.umask(0o022)
    try:
        save({}, path)
        assert path.stat().st_mode & 0o777 == 0o644
        path.chmod(0o600)
        save({"new": 1}, path)
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old)
    link = path.with_name(f"link{path.suffix}")
    link.symlink_to(path)
    save({"through": "link"}, link)
    assert link.is_symlink()
    same(load(path), {"through": "link"})
