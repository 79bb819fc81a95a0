"""Parameter, and where a layer's parameters come from."""

import copy
import gc
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import init, nn

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class Untouched(init.Initializer):
    """Fails the test if it runs."""

    def draw(self, shape, rng, fan):
        pytest.fail("the initializer ran")


def test_parameter_attributes():
    p = nn.Parameter(ARRAY.copy(), lr_mult=2, decay=False, name="weight")
    assert (p.lr_mult, p.decay, p.name, p.requires_grad) == (2.0, False, "weight", True)
    assert isinstance(p, md.Tensor)
    assert nn.Parameter([1.0]).dtype == np.float32
    assert nn.Parameter(np.ones(2)).dtype == np.float64
    shared = ARRAY.copy()
    assert nn.Parameter(shared).data is shared
    assert nn.Parameter(np.broadcast_to(1.0, (2, 2))).data.flags.writeable


@pytest.mark.parametrize("lr_mult", [-1, np.nan, np.inf])
def test_bad_lr_mult(lr_mult):
    with pytest.raises(ValueError, match="lr_mult"):
        nn.Parameter([1.0], lr_mult=lr_mult)
    p = nn.Parameter([1.0])
    with pytest.raises(ValueError, match="lr_mult"):
        p.lr_mult = lr_mult
    assert p.lr_mult == 1.0


@pytest.mark.parametrize("lr_mult", ["2", None, True])
def test_lr_mult_that_is_no_number(lr_mult):
    with pytest.raises(TypeError, match="lr_mult"):
        nn.Parameter([1.0], lr_mult=lr_mult)


def test_integers_cannot_be_trained():
    with pytest.raises(TypeError, match="float"):
        nn.Parameter(np.arange(3))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_keep_everything(again):
    p = nn.Parameter(np.ones((2, 2)), lr_mult=3.0, decay=False, name="w")
    p.requires_grad = False
    q = again(p)
    assert (q.lr_mult, q.decay, q.name, q.requires_grad) == (3.0, False, "w", False)
    assert type(q) is nn.Parameter and q.data is not p.data
    np.testing.assert_array_equal(q.data, p.data)


# ── Sources ──────────────────────────────────────────────────────────────────────────────────────


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, **values)
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file(values, path)
    else:
        path.write_bytes(values if isinstance(values, bytes) else values.encode())
    return path


FILES = [
    ("w.npy", ARRAY),
    ("w.npy", ARRAY.astype(np.float64)),
    ("w.npy", ARRAY.astype(np.int16)),
    ("w.npz", {"anything": ARRAY}),
    ("w.npz", {"weight": ARRAY, "bias": np.zeros(2)}),
    ("w.safetensors", {"weight": ARRAY, "bias": np.zeros(2, np.float32)}),
    ("w.safetensors", {"anything": ARRAY}),
    ("w.csv", "0,1,2\n3,4,5\n"),
    ("w.txt", "# comment\n0 1 2\n3 4 5"),
    ("w.txt", "\ufeff0, 1, 2\n3, 4, 5\n"),
    ("w.CSV", "0,1,2\n\n3,4,5\n"),
]


@pytest.mark.parametrize(("name", "values"), FILES)
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_files(tmp_path, name, values, kind):
    path = write(tmp_path / name, values)
    make = nn.ParameterMaker("Layer", ("weight",))
    p = make("weight", kind(path), Untouched(), (2, 3))
    np.testing.assert_array_equal(p.data, ARRAY)
    assert p.dtype == np.float32 and p.data.flags.writeable
    np.testing.assert_array_equal(make("weight", path, Untouched(), None).data, ARRAY)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("1,2,3", (3,)),
        ("1\n2\n3", (3,)),
        ("7", ()),
        ("7", (1,)),
        ("1,2,3,4\n5,6,7,8", (2, 2, 2)),
        ("1\n2", (2, 1, 1)),
    ],
)
def test_tables_in_the_shape_of_the_parameter(tmp_path, text, shape):
    path = write(tmp_path / "x.csv", text)
    p = nn.ParameterMaker("Layer", ("x",))("x", path, Untouched(), shape)
    numbers = [float(cell) for cell in text.replace("\n", ",").split(",")]
    np.testing.assert_array_equal(p.data, np.array(numbers).reshape(shape))


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("w.npy", ARRAY.T, ValueError, r"expected shape \(2, 3\), the file .*w.npy has \(3, 2\)"),
        ("w.csv", "1,2,3,4,5,6", ValueError, r"expected shape \(2, 3\)"),
        ("w.csv", "1,2\n\n3", ValueError, r"no \.csv file .*: line 3 has 1 numbers, expected 2"),
        ("w.csv", "1,2,3\na,b,c", ValueError, "line 2: could not convert .*'a'"),
        ("w.csv", "1,,3\n4,,6", ValueError, "line 1: a cell is empty"),
        ("w.csv", "1" * (1 << 24) + ",2", ValueError, "line 1 has more than 16,777,216 char"),
        ("w.csv", b"1,2,\xff", ValueError, "can't decode byte 0xff"),
        ("w.txt", "", ValueError, "shape"),
        ("w.npz", {"a": ARRAY, "b": ARRAY}, ValueError, r"no array 'weight' but \['a', 'b'\]"),
        ("w.npz", {"weight": ARRAY[0]}, ValueError, "expected shape"),
        ("w.npy", np.array([{}], object), ValueError, "Object arrays cannot be loaded"),
        ("w.npy", np.ones((2, 3), complex), TypeError, "complex"),
        ("w.pkl", "", ValueError, "ends in none of"),
    ],
)
def test_bad_files_name_layer_and_parameter(tmp_path, name, values, error, message):
    path = write(tmp_path / name, values)
    with pytest.raises(error, match=message) as raised:
        nn.Affine(3, 2, weight=path)
    assert str(raised.value).startswith("Affine.weight:")


@pytest.mark.parametrize("name", ["w.npy", "w.npz", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00 nonsense", b"PK\x03\x04broken"])
def test_broken_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Affine.weight: .*w\..* is truncated, damaged or no \."):
        nn.Affine(3, 2, weight=path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Affine.bias: .*none.npy is not there"):
        nn.Affine(3, 2, bias=tmp_path / "none.npy")


def test_arrays_and_initializers():
    for source in (ARRAY, ARRAY.tolist(), md.Tensor(ARRAY), ARRAY.astype(np.float64)):
        layer = nn.Affine(3, 2, weight=source)
        np.testing.assert_array_equal(layer.weight.data, ARRAY)
        assert layer.weight.dtype == np.float32
    layer.weight.data[...] = 0
    assert ARRAY.any()  # a copy: two layers made from one array are not tied
    for source in (init.Constant(2.0), lambda shape, dtype: np.full(shape, 2.0, dtype)):
        assert (nn.Affine(3, 2, weight=source).weight.data == 2).all()
    assert nn.Affine(3, 2, weight=init.Normal).weight.shape == (2, 3)
    # The layer tells the fans: a bias alone could not.
    limit = np.abs(nn.Affine(100, 1000, bias=init.HeUniform()).bias.data).max()
    assert limit == pytest.approx(np.sqrt(6 / 100), rel=0.02)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (ARRAY.T, ValueError, r"Affine.weight: expected shape \(2, 3\), the array has \(3, 2\)"),
        (lambda shape, dtype: np.zeros(1), ValueError, "the initializer"),
        (nn.Parameter([1.0]), ValueError, r"the given Parameter has \(1,\)"),
        (0.25, TypeError, r"init.Constant\(0.25\)"),
        (True, TypeError, "expected an initializer"),
        (False, TypeError, "expected an initializer"),
        ({}, TypeError, "expected an initializer"),
        ([["a"]], TypeError, "expected numbers"),
    ],
)
def test_bad_sources(source, error, message):
    with pytest.raises(error, match=message):
        nn.Affine(3, 2, weight=source)


def test_an_initializer_that_needs_fans_names_the_layer():
    with pytest.raises(ValueError, match=r"PReLU.slope: HeNormal"):
        nn.PReLU(3, slope=init.HeNormal())


def test_no_bias():
    for source in (False, None, np.False_):
        layer = nn.Affine(3, 2, bias=source)
        assert layer.bias is None
        assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_another_parameter_is_shared():
    first = nn.Affine(3, 2)
    second = nn.Affine(3, 2, weight=first.weight)
    assert second.weight is first.weight
    assert len(list(nn.Sequential(first, second).parameters())) == 3


def test_lr_mult_of_a_layer():
    layer = nn.Affine(3, 2, lr_mult=3)
    assert (layer.weight.lr_mult, layer.bias.lr_mult) == (3.0, 3.0)
    layer = nn.Affine(3, 2, lr_mult={"bias": 0})
    assert (layer.weight.lr_mult, layer.bias.lr_mult) == (1.0, 0.0)
    with pytest.raises(ValueError, match=r"Affine: lr_mult names \['slope'\]"):
        nn.Affine(3, 2, lr_mult={"slope": 1})
    with pytest.raises(ValueError, match=r"Affine.bias: lr_mult"):
        nn.Affine(3, 2, lr_mult={"bias": -1})
    with pytest.raises(ValueError, match="shared"):
        nn.Affine(3, 2, weight=layer.weight, lr_mult=2)


# ── Scopes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_scope_name_shares():
    a, b = nn.Affine(3, 2, scope="shared"), nn.Affine(3, 2, weight=Untouched(), scope="shared")
    other = nn.Affine(3, 2, scope="other")
    assert a.weight is b.weight and a.bias is b.bias
    assert other.weight is not a.weight


def test_shapes_that_differ_raise():
    a = nn.PReLU(4, scope="s")
    with pytest.raises(ValueError, match=r"shape \(4,\) that PReLU made; this layer needs \(5,\)"):
        nn.PReLU(5, scope="s")
    assert a.slope.shape == (4,)
    with pytest.raises(ValueError, match="lr_mult=2"):
        nn.PReLU(4, scope="s", lr_mult=2)
    with pytest.raises(TypeError, match="scope"):
        nn.PReLU(4, scope=3)


def test_parameter_scope_keeps_names_apart():
    a = nn.PReLU(4, scope="s")
    scope = nn.ParameterScope()
    with scope:
        b = nn.PReLU(4, scope="s")
        with nn.ParameterScope():
            c = nn.PReLU(5, scope="s")
        d = nn.PReLU(4, scope="s")
    with scope:
        e = nn.PReLU(4, scope="s")
    f = nn.PReLU(4, scope="s")
    assert b.slope is d.slope is e.slope
    assert a.slope is f.slope
    assert len({id(x.slope) for x in (a, b, c)}) == 3


def test_a_name_is_forgotten_with_its_last_layer():
    nn.PReLU(4, scope="gone")
    gc.collect()
    assert nn.PReLU(5, scope="gone").slope.shape == (5,)


def test_an_error_in_a_scope_leaves_it():
    with pytest.raises(ZeroDivisionError), nn.ParameterScope():
        inside = nn.PReLU(4, scope="e")
        raise ZeroDivisionError
    assert nn.PReLU(5, scope="e").slope is not inside.slope
