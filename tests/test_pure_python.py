"""minidl without compiled modules: the py3-none-any wheel, and MINIDL_PURE=1.

(.ci/run runs the tests of whole packages on that wheel.)
"""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import _kernels as K
from minidl import functional as F
from minidl import nn, optim
from minidl._kernels import uncompiled
from minidl._kernels.arrays import copying
from minidl._kernels.runtime import memory
from minidl._source import PURE

ROOT = Path(__file__).resolve().parent.parent
LEAVE = shutil.ignore_patterns("v3", "v4", "baseline", "__pycache__", "*.so", "*.pyd")


def python(code, path, **env):
    """What a new process prints, and what it says on stderr."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MINIDL_PURE", "MINIDL_KERNELS")
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"PYTHONPATH": str(path)} | env,
        cwd=path,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The sources, uncompiled."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("no source")
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("minidl", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=LEAVE)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout):
    """The wheel, made where there is no compiler."""
    subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel"],
        cwd=checkout,
        env=os.environ | {"MINIDL_PURE": "1", "CC": "false"},
        check=True,
    )
    (file,) = (checkout / "dist").iterdir()
    return file


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


# ── The wheel ────────────────────────────────────────────────────────────────────────────────────


def test_the_wheel_is_for_any_machine_and_has_all_python_files(checkout, wheel):
    assert wheel.name == f"minidl-{md.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info/" not in name}
    kinds = ("*.py", "*.gz", "py.typed", "README.md")
    there = {
        path.relative_to(checkout).as_posix()
        for kind in kinds
        for path in (checkout / "minidl").rglob(kind)
    }
    assert found == there


def test_it_warns_once_and_show_config_says_it(unpacked):
    done = python("import minidl as md; md.show_config(); import minidl.nn", unpacked)
    assert done.stderr.count("UserWarning: minidl runs without compiled modules") == 1
    assert "kernels   NumPy; nothing is compiled" in done.stdout
    assert "<string>:1: UserWarning" in done.stderr  # the user's line, not one of minidl's
    assert not python("import minidl", unpacked, MINIDL_PURE="1").stderr


def test_sources_that_are_not_compiled_are_no_pure_python_by_accident(checkout):
    done = python("import minidl", checkout)
    assert done.returncode == 1
    assert "ImportError: minidl is not compiled for this Python" in done.stderr
    assert python("import minidl", checkout, MINIDL_PURE="1").returncode == 0
    refused = python("import minidl", checkout, MINIDL_PURE="yes").stderr
    assert "MINIDL_PURE='yes': expected 0 or 1" in refused


def test_kernels_that_are_not_there_are_refused(unpacked):
    assert (
        "choose one of: reference" in python("import minidl", unpacked, MINIDL_KERNELS="v3").stderr
    )


@pytest.mark.skipif(os.name != "posix", reason="MSVC is looked for elsewhere")
def test_who_has_no_compiler_is_told_of_it(checkout):
    def check_machine(**env):
        command = [sys.executable, checkout / "tools/check_machine.py"]
        without = {k: v for k, v in os.environ.items() if k != "MINIDL_PURE"}
        return subprocess.run(command, env=without | env, capture_output=True, text=True)

    told = check_machine(CC="/nonexistent/cc")
    assert told.returncode == 1 and "MINIDL_PURE=1 pip install ." in told.stderr
    assert check_machine(CC="/nonexistent/cc", MINIDL_PURE="1").returncode == 0


# ── What runs on it ──────────────────────────────────────────────────────────────────────────────

LOADED = """
import sys, minidl
from importlib.machinery import ExtensionFileLoader
import minidl.testing, minidl.monitor, minidl.train, minidl.data
specs = [m.__spec__ for name, m in sys.modules.items() if name.split(".")[0] == "minidl"]
print(len(specs), [s.name for s in specs if isinstance(s.loader, ExtensionFileLoader)])
"""


def test_nothing_compiled_is_loaded_even_where_it_is_there():
    done = python(LOADED, ROOT, MINIDL_PURE="1")
    count, compiled = done.stdout.split(maxsplit=1)
    assert int(count) > 50 and compiled.strip() == "[]", done.stderr


def train():
    """Losses and random numbers of a small training run."""
    md.manual_seed(0)
    model = nn.Sequential(
        nn.Conv(1, 4, 3, padding=1), nn.BatchNorm(4), nn.PReLU(4), nn.MaxPool(2), nn.Flatten(),
        nn.Affine(64, 16), nn.GELU(), nn.RReLU(), nn.Dropout(0.25), nn.Affine(16, 3),
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((32, 1, 8, 8)).astype("float32"), rng.integers(0, 3, 32)

    def step(x, target):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        return loss

    losses = [step(x, target).item() for _ in range(20)]
    z = md.Tensor(np.linspace(-2, 2, 9), requires_grad=True)
    slope = md.grad((F.tanh(z) * F.softplus(z)).sum(), z, create_graph=True)
    curvature = md.grad(slope.sum(), z).numpy()
    dropped = F.dropout(np.ones(64, "float32"), 0.5, rng=7).numpy()
    return losses, curvature.tolist(), dropped.tolist()


def test_it_trains_as_the_compiled_one_does(unpacked):
    """The same up to rounding; the same random numbers; second derivatives, too."""
    source = Path(__file__).read_text(encoding="utf-8")
    train_source = ast.get_source_segment(
        source, next(n for n in ast.parse(source).body if getattr(n, "name", "") == "train")
    )
    code = (
        "import numpy as np, minidl as md\nfrom minidl import functional as F, nn, optim\n"
        + train_source
        + "\nprint(train())"
    )
    done = python(code, unpacked)
    assert done.returncode == 0, done.stderr
    losses, curvature, dropped = ast.literal_eval(done.stdout)
    expected = train()
    np.testing.assert_allclose(losses, expected[0], rtol=2e-4)
    assert losses[-1] < losses[0] / 2
    np.testing.assert_allclose(curvature, expected[1], rtol=1e-12, atol=1e-12)
    assert dropped == expected[2]


CAPTURED = """
import warnings
warnings.simplefilter("always")
import numpy as np, minidl as md
calls = []
def double(x):
    calls.append(0)
    return 2 * x
step = md.capture(double)
print([step(md.Tensor([float(i)])).item() for i in range(3)], len(calls), step.records, step.plan())
"""


def test_a_captured_step_runs_uncaptured_and_says_so_once(unpacked):
    done = python(CAPTURED, unpacked)
    assert done.stdout.strip() == "[0.0, 2.0, 4.0] 3 0 None", done.stderr
    assert done.stderr.count("UserWarning: capture: runs uncaptured: minidl runs without") == 1


SETTINGS = """
import minidl as md
md.set_memory_limit(10); md.release_memory(); md.set_num_threads(1)
print(md.get_num_threads(), md.memory_stats())
md.set_num_threads(4)
print(md.get_num_threads())
"""


def test_one_thread_and_no_memory_of_its_own(unpacked):
    done = python(SETTINGS, unpacked)
    zeros = {"kept": 0, "used": 0, "hits": 0, "misses": 0, "limit": 0}
    assert done.stdout.splitlines() == [f"1 {zeros}", "1"]
    assert "compiled modules: set_num_threads(4) leaves it at 1 thread" in done.stderr
    assert "set_num_threads(1)" not in done.stderr


# ── The stand-ins, beside what they stand for ────────────────────────────────────────────────────


def test_all_that_is_imported_of_the_compiled_modules_is_there():
    wanted = set()
    for path in (ROOT / "minidl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in {
                f"minidl._kernels.{name}" for name in uncompiled.STANDS_FOR
            }:
                wanted |= {alias.name for alias in node.names}
    assert len(wanted) > 20
    assert [name for name in sorted(wanted) if not hasattr(uncompiled, name)] == []


def arrays():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    frozen = x.copy()
    frozen.flags.writeable = False
    return {
        "plain": x,
        "double": x.astype(np.float64),
        "int": x.astype(np.int64),
        "transposed": x.T,
        "cut": x[:, 1:3],
        "reversed": x[::-1],
        "read-only": frozen,
        "swapped": x.astype(x.dtype.newbyteorder()),
        "scalar": np.array(1.0, np.float32),
        "empty": x[:0],
        "channels last": np.zeros((2, 4, 4, 3), np.float32).transpose(0, 3, 1, 2),
    }


needs_both = pytest.mark.skipif(PURE, reason="the compiled modules are the measure")


@needs_both
@pytest.mark.parametrize("name", arrays())
def test_questions_about_an_array(name):
    x = arrays()[name]
    assert uncompiled.steppable(x) == memory.steppable(x)
    assert uncompiled.owner(x) is memory.owner(x)
    for y in arrays().values():
        for question in ("same_dtype", "same_floats", "alike"):
            ours, theirs = getattr(uncompiled, question), getattr(memory, question)
            assert bool(ours(x, y)) == bool(theirs(x, y)), (question, y.dtype, y.shape)


@pytest.mark.parametrize("name", arrays())
def test_copies(name):
    x = arrays()[name]
    copy = uncompiled.copy(x)
    assert copy.flags.c_contiguous and copy.dtype == x.dtype and not np.shares_memory(copy, x)
    np.testing.assert_array_equal(copy, x)
    flat = uncompiled.reshape(x, (-1,))
    assert np.shares_memory(flat, x) == np.shares_memory(copying.reshape(x, (-1,)), x)
    y = np.ones(x.shape)
    uncompiled.assign(y, x)
    np.testing.assert_array_equal(y, x)
    uncompiled.set_all(y, 5)
    assert (y == 5).all()


def test_a_fingerprint_changes_with_any_byte():
    x = np.arange(100, dtype=np.float32)
    before = uncompiled.fingerprint(x)
    for place in range(100):
        y = x.copy()
        y[place] += 1
        assert uncompiled.fingerprint(y) != before
    assert uncompiled.fingerprint(x[::-1]) != before == uncompiled.fingerprint(x.copy())


@needs_both
@pytest.mark.parametrize("function", ["set_num_threads", "set_memory_limit"])
@pytest.mark.parametrize("given", [-1, 0.5, True, "4", None, np.ones(1, int), [2]])
def test_wrong_settings_get_the_same_words(function, given):
    with pytest.raises((TypeError, ValueError)) as theirs:
        getattr(K, function)(given)
    with pytest.raises(theirs.type) as ours:
        getattr(uncompiled, function)(given)
    assert str(ours.value) == str(theirs.value)
