"""The build: declared versions, what a machine lacks, what earlier builds left, and the choice of a CPU level."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from minidl import _source, config
from minidl._kernels.runtime import cpu

ROOT = Path(__file__).resolve().parent.parent


def load(path: str):
    name = Path(path).name.partition(".")[0]
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


minima = load("tools/minima.py")


# ── Declared versions ────────────────────────────────────────────────────────────────────────────


def test_every_requirement_has_an_oldest_version():
    """Except those of "dev", which the Makefile pins, and minidl's own extras."""
    for purpose, lines in minima.requirements().items():
        for line in lines:
            if not line.startswith("minidl["):
                assert minima.minima([line]) or (purpose, line) in {
                    ("dev", "ruff"),
                    ("dev", "mypy"),
                }


def test_one_oldest_version_for_all_purposes():
    found = {}
    for lines in minima.requirements().values():
        for name, version in minima.minima(lines).items():
            assert found.setdefault(name, version) == version, name
    # 3.1 and 3.2 made a broken minidl; numpy.asarray(tensor) needs NumPy 2.
    assert minima.numbers(found["cython"]) >= (3, 3)
    assert minima.numbers(found["numpy"]) >= (2, 0)


def test_the_tool_prints_constraints():
    lines = subprocess.check_output([sys.executable, ROOT / "tools/minima.py"], text=True).split()
    assert f"cython=={minima.minima(minima.requirements()['build'])['cython']}" in lines
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+", line) for line in lines)


@pytest.mark.parametrize(
    "found, fits",
    [
        ("3.2.9", False),
        ("3.3", True),
        ("3.3.0", True),
        ("3.3.0a1", True),
        ("3.10", True),
        ("2", False),
    ],
)
def test_an_old_tool_is_told_apart(found, fits):
    assert (minima.outdated({"cython": "3.3"}, lambda name: found) is None) == fits


def test_a_sentence_for_an_old_or_a_missing_tool():
    sentence = (
        'building minidl needs cython 3.3 or newer, and there is {}: pip install "cython>=3.3"'
    )
    assert minima.outdated({"cython": "3.3"}, lambda name: "3.2.9") == sentence.format("3.2.9")

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    assert minima.outdated({"cython": "3.3"}, missing) == sentence.format("none")


# ── A copy of what setup.py needs ────────────────────────────────────────────────────────────────

LEAVE = shutil.ignore_patterns(
    "v3", "v4", "baseline", "__pycache__", "*.so", "*.pyd", "*.gz", "*.npz"
)


@pytest.fixture
def checkout(tmp_path):
    """Sources, uncompiled."""
    pytest.importorskip("Cython")
    if not (ROOT / "setup.py").exists():
        pytest.skip("no source")
    for name in ("minidl", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=LEAVE)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    return tmp_path


def run_setup(checkout, *command, **env):
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *command],
        cwd=checkout,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(os.name != "posix", reason="MSVC is not found through these")
@pytest.mark.parametrize(
    "env, named",
    [
        ({"CC": "/nonexistent/cc"}, "no C compiler (/nonexistent/cc);"),
        ({"PATH": "/nonexistent", "CC": "gcc"}, "no C compiler (gcc);"),
        ({"CC": "false"}, "the C compiler (false) cannot compile a file that includes Python.h;"),
    ],
)
@pytest.mark.parametrize("command", [("build_ext", "--inplace"), ("bdist_wheel",)])
def test_no_compiler_is_one_sentence(checkout, env, named, command):
    done = run_setup(checkout, *command, **env)
    assert done.returncode == 1
    *others, sentence = done.stderr.strip().splitlines()
    assert sentence.startswith("error: minidl needs to be compiled, but ") and named in sentence
    assert all("byte-compiling is disabled" in line for line in filter(None, others))
    assert not (checkout / "build/cython").exists()


def test_an_sdist_needs_no_compiler(checkout):
    done = run_setup(checkout, "egg_info", CC="/nonexistent/cc")
    assert done.returncode == 0, done.stderr
    assert not (checkout / "build/cython").exists()
    listed = (checkout / "minidl.egg-info/SOURCES.txt").read_text().splitlines()
    assert {
        "minidl/_kernels/product/gemm.pyx",
        "minidl/autograd/op.py",
        "minidl/autograd/op.pxd",
    } <= set(listed)


def test_an_old_cython_is_one_sentence(checkout):
    pyproject = checkout / "pyproject.toml"
    pyproject.write_text(re.sub(r"cython>=[\d.]+", "cython>=99.0", pyproject.read_text()))
    done = run_setup(checkout, "build_ext", "--inplace")
    assert done.returncode == 1
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith("error: building minidl needs cython 99.0 or newer, and there is 3.")


# ── What earlier builds left ─────────────────────────────────────────────────────────────────────

# setup.py as it is, but with one small kernel and one module of the engine, compiled in little time.
SMALL = """
import os
import sys
sys.path.insert(0, "")
import setup
setup.modules = lambda: [setup.module("minidl/_kernels/loops/toy.pyx"), setup.module("minidl/autograd/modes.py")]
setup.GNU_LEVELS["baseline"], setup.LEAN = ["-O0"], [os.environ.get("OF_THE_ENGINE", "-O0")]
setup.FREE_THREADED = setup.FREE_THREADED or "FREE_THREADED" in os.environ
sys.argv = ["setup.py", "-q", *sys.argv[1:]]
setup.main()
"""
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
MADE = {f"minidl/_kernels/baseline/toy{SUFFIX}", f"minidl/autograd/modes{SUFFIX}"}
LINKED = {f"minidl/_kernels/baseline/linked{SUFFIX}", f"minidl/linked{SUFFIX}"}


@pytest.fixture
def used(checkout):
    """A checkout in which other things were built before, for other Pythons too, and its builder."""
    (checkout / "minidl/_kernels/loops/toy.pyx").write_text("def one(): return 1\n")
    lib = f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    stale = [f"minidl/_kernels/v4/toy{SUFFIX}", f"minidl/_kernels/baseline/gone{SUFFIX}"]
    stale += [f"minidl/autograd/tensor{SUFFIX}", "minidl/autograd/tensor.of-another-python.so"]
    for name in (*stale, *(f"{lib}/{name}" for name in (*stale, "minidl/gone.py"))):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(b"stale")

    def build(*command, **env):
        done = subprocess.run(
            [sys.executable, "-c", SMALL, *command],
            cwd=checkout,
            env=os.environ | {"MINIDL_LEVELS": "baseline"} | env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return checkout, build


def test_in_place_only_what_this_build_made_can_be_imported(used):
    checkout, build = used
    build("build_ext", "--inplace")
    found = {path.relative_to(checkout).as_posix() for path in (checkout / "minidl").rglob("*.so")}
    assert found == MADE | {"minidl/autograd/tensor.of-another-python.so"}

    module = checkout / f"minidl/autograd/modes{SUFFIX}"
    module.write_bytes(b"")
    (stamp,) = (checkout / "build").glob("made-with-*.txt")
    stamp.write_text("another Cython")
    build("build_ext", "--inplace")
    assert module.read_bytes()  # nothing is taken over that was made with other tools


@pytest.mark.skipif(os.name != "posix", reason="the flags are gcc's and clang's")
@pytest.mark.parametrize("command", [("build_ext", "--inplace"), ("bdist_wheel",)])
def test_a_module_is_compiled_again_if_its_flags_have_changed(used, command):
    checkout, build = used

    def compiled():
        return {path.stem: path.stat().st_mtime_ns for path in (checkout / "build").rglob("*.o")}

    build(*command)
    before = compiled()
    build(*command)
    assert compiled() == before
    build(*command, OF_THE_ENGINE="-O1")
    after = compiled()
    assert after["toy"] == before["toy"] and after["modes"] != before["modes"]


@pytest.mark.skipif(os.name != "posix", reason="the flags are gcc's and clang's")
def test_without_the_gil_functions_count_the_references_of_what_need_not_be_quick(used):
    checkout, build = used
    build("build_ext", "--inplace", FREE_THREADED="1")
    flags = {path.name: path.read_text() for path in (checkout / "build").rglob("*.o.flags")}
    counted = {name for name, its in flags.items() if "tools/counting.h" in its}
    assert counted == {"toy.o.flags"} and "modes.o.flags" in flags
    place = checkout / f"minidl/_kernels/baseline/toy{SUFFIX}"
    assert load(str(place)).one() == 1


# What a wheel's own files say of where its modules are: without all the others they cannot be imported.
FIND = """
import sys
from importlib.util import module_from_spec, spec_from_file_location

def load(name, path):
    spec = spec_from_file_location(name, path, submodule_search_locations=["minidl"] * (name == "minidl"))
    sys.modules[name] = module_from_spec(spec)
    if name != "minidl":
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]

load("minidl", "minidl/__init__.py")
source = load("minidl._source", "minidl/_source.py")
(finder,) = [f for f in sys.meta_path if type(f).__module__ == "minidl._source"]
for name in ("minidl", "minidl.config", "minidl.autograd.modes", "minidl._kernels.baseline.toy",
             "minidl._kernels.v3.toy", "minidl._kernels.reference.conv", "other.autograd.modes"):
    spec = finder.find_spec(name)
    print(name, spec and spec.origin)
toy = module_from_spec(finder.find_spec("minidl._kernels.baseline.toy"))
toy.__spec__.loader.exec_module(toy)
print(toy.one())
"""


def test_a_wheel_holds_what_this_build_made_and_finds_it(used, tmp_path_factory):
    checkout, build = used
    build("bdist_wheel")
    (wheel,) = (checkout / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info/" not in name}
        unpacked = tmp_path_factory.mktemp("unpacked")
        file.extractall(unpacked)
    sources = {
        path.relative_to(checkout).as_posix()
        for pattern in ("*.py", "py.typed", "README.md")
        for path in (checkout / "minidl").rglob(pattern)
    }
    assert found == LINKED | sources
    done = subprocess.run(
        [sys.executable, "-c", FIND], cwd=unpacked, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    once, level = (str(unpacked / file) for file in sorted(LINKED)[::-1])
    assert done.stdout.splitlines() == [
        "minidl None",
        "minidl.config None",
        f"minidl.autograd.modes {once}",
        f"minidl._kernels.baseline.toy {level}",
        "minidl._kernels.v3.toy None",
        "minidl._kernels.reference.conv None",
        "other.autograd.modes None",
        "1",
    ]


def test_a_module_built_for_another_python_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(_source, "_HERE", str(tmp_path))
    (tmp_path / "v3").mkdir()
    (tmp_path / "v3/activations.of-another-python.so").touch()
    assert not _source.is_compiled("v3/activations")
    (tmp_path / f"v3/activations{SUFFIX}").touch()
    assert _source.is_compiled("v3/activations")


def test_a_wheel_of_another_python_is_not_taken_for_pure_python(monkeypatch, tmp_path):
    monkeypatch.setattr(_source, "_HERE", str(tmp_path))
    monkeypatch.setattr(_source, "_linked", {})
    (tmp_path / "_kernels/runtime").mkdir(parents=True)
    assert _source._is_pure(False)
    (tmp_path / "linked.of-another-python.so").touch()
    with pytest.raises(ImportError, match="not compiled for this Python"):
        _source._is_pure(False)
    assert _source._is_pure(True)


def test_one_version_everywhere():
    """It stands in minidl/config.py; what cannot read it from there says the same."""
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changes, re.MULTILINE)[0] == config.__version__
    assert re.findall(r"^version: (\S+)", citation, re.MULTILINE) == [config.__version__]


def test_wheels_are_made_for_every_python_that_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {
        name.rpartition(" ")[2].replace(".", "")
        for name in project["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", name)
    }
    built = project["tool"]["cibuildwheel"]["build"]
    assert set(re.findall(r"cp(\d+)-", built)) == declared
    oldest = project["project"]["requires-python"].removeprefix(">=").replace(".", "")
    assert min(declared) == oldest


def test_the_size_of_a_wheel(tmp_path):
    tool = load("tools/wheel_size.py")
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for name in ("linked.so", "_kernels/v3/linked.pyd", "data/digits.gz", "nn/module.py"):
            file.writestr(f"minidl/{name}", b"1234")
    sizes = tool.parts(wheel)
    assert sizes["kernels, v3"] == sizes["digits"] == sizes[".py"] == 4
    assert sizes.total() == wheel.stat().st_size and tool.main([wheel]) is None
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr("minidl/large.so", bytes(tool.LIMIT))
    assert "more than 5.5 MB" in tool.main([wheel])


# ── The level ────────────────────────────────────────────────────────────────────────────────────

HASWELL = (0x7FFAFBFF, 0x000037AB, 0x00000021, 0x7)
SKYLAKE_X = (0x7FFEFBFF, 0xD39FFFFB, 0x00000121, 0x2E7)
SANDY_BRIDGE = (0x1FBAE3FF, 0x00000000, 0x00000001, 0x7)


def without(words, index, bit):
    return tuple(word & ~(1 << bit) if i == index else word for i, word in enumerate(words))


@pytest.mark.parametrize(
    "words, level",
    [
        ((0, 0, 0, 0), "baseline"),  # another processor, or a very old one
        (SANDY_BRIDGE, "baseline"),
        (HASWELL, "v3"),
        (SKYLAKE_X, "v4"),
        ((0xFFFFFFFF,) * 4, "v4"),
        *((without(SKYLAKE_X, 0, bit), "baseline") for bit in (12, 22, 27, 28, 29)),
        *((without(SKYLAKE_X, 1, bit), "baseline") for bit in (3, 5, 8)),
        (without(SKYLAKE_X, 2, 5), "baseline"),  # lzcnt, which a virtual machine may hide
        *((without(SKYLAKE_X, 3, bit), "baseline") for bit in (1, 2)),  # the system saves no ymm
        *((without(SKYLAKE_X, 1, bit), "v3") for bit in (16, 17, 28, 30, 31)),
        *((without(SKYLAKE_X, 3, bit), "v3") for bit in (5, 6, 7)),  # ... no zmm
    ],
)
def test_level_of_the_words_of_cpuid(words, level):
    assert cpu.level_of(*words) == level


def test_linux_says_the_same_of_this_machine():
    try:
        flags = set(
            re.search(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.M)[1].split()
        )
    except (OSError, TypeError):
        pytest.skip("no /proc/cpuinfo with flags")
    v3 = {"fma", "movbe", "avx", "f16c", "bmi1", "avx2", "bmi2", "abm"}
    v4 = v3 | {f"avx512{part}" for part in ("f", "dq", "cd", "bw", "vl")}
    expected = "v4" if v4 <= flags else "v3" if v3 <= flags else "baseline"
    assert cpu.best_level() == expected


def test_the_benchmarks_copy_everything_that_the_build_needs(tmp_path):
    """`make bench` measures a wheel that is built in a copy of the checkout."""
    copy = "import environments, pathlib, sys; environments.copy_sources(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", copy, tmp_path], cwd=ROOT / "benchmarks", check=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=tmp_path,
        env=os.environ | {"MINIDL_PURE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(config.__version__)
