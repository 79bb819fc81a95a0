"""Parts that run kernels' tests on processors that are not here, by qemu: an ARM one, x86-64 ones of 2008 and 2013."""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
from pathlib import Path

import numpy._core._multiarray_umath as multiarray
from part import ROOT, Failed, Missing, Part, Work, last_line

# What a processor may do differently: instructions, rounding, memory order. (Other tests of the folder watch Python, or
# the clock, which runs ten times too fast for an emulated processor.)
TESTS = [
    f"tests/kernels/test_{name}.py"
    for name in ("against_reference", "copying", "memory", "narrow_products", "pool", "reduction",
                 "selection", "winograd")
]  # fmt: skip
NOT_EMULATED = "not sleep and not signals and not affinity and not ctrl_c and not fork"
QEMU = {"qemu-x86_64-static": "apt-get install qemu-user-static"}
ARM = {
    "qemu-aarch64-static": "apt-get install qemu-user-static",
    "aarch64-linux-gnu-gcc": "apt-get install gcc-aarch64-linux-gnu",
    "apt-get": "a Debian system, which has ARM's Python",
    "dpkg-deb": "a Debian system",
}


def emulated(work: Work, *command: str | Path, site: Path | None = None) -> Path:
    """A folder for PYTHONPATH, after `work.python` was made a script that runs a Python under qemu.

    Tests start further Pythons by sys.executable: there, too, it is that script.
    """
    script = work.folder / "python"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
    script.chmod(0o755)
    site = site or work.folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(script)!r}\n")
    work.python = script
    return site


def x86(model: str, expected: str):
    def run(work: Work) -> str:
        if platform.machine() not in ("x86_64", "AMD64"):
            raise Missing("an x86-64 processor, whose build this is about")
        site = emulated(work, "qemu-x86_64-static", "-cpu", model, sys.executable)
        path = f"{ROOT}:{site}"
        code = "from minidl import _kernels as K; print(*K.available)"
        found = last_line(work.run(work.python, "-c", code, PYTHONPATH=path))
        if found != expected:
            raise Failed(f"{model} runs the levels {found}, expected {expected}")
        # With AVX2, NumPy's own maximum and where are wrong under qemu 7.2, and may crash: it is to do without.
        dispatched = set(multiarray.__cpu_dispatch__) & {"X86_V3", "AVX2", "FMA3"}
        settings = {"NPY_DISABLE_CPU_FEATURES": " ".join(dispatched)} if "v3" in expected else {}
        tests = work.pytest(*TESTS, "-k", NOT_EMULATED, PYTHONPATH=path, **settings)
        return f"levels {found}: {tests}"

    return run


def aarch64(work: Work) -> str:
    """Debian's Python and PyPI's NumPy for ARM run under qemu; a cross compiler makes the modules."""
    root = work.folder / "root"
    debian(work, root)
    release = next((root / "usr/include").glob("python3.*")).name.removeprefix("python")
    site = work.folder / f"site-{release}"
    if not site.exists():
        packages = ["numpy", "cython", "setuptools", "pytest", "mpmath"]
        platforms = [f"--platform=manylinux{name}_aarch64" for name in ("2014", "_2_17", "_2_28")]
        work.run(
            sys.executable, "-m", "pip", "-q", "install", "--target", site, "--only-binary=:all:",
            f"--python-version={release}", *platforms, *packages,
        )  # fmt: skip
    work.copy()
    # Cython's part is the same for all processors, and quick only outside of qemu.
    work.run(sys.executable, "-c", "import setup; setup.translate(setup.modules(), False)")
    emulated(work, "qemu-aarch64-static", "-L", root, root / f"usr/bin/python{release}", site=site)
    path = {"PYTHONPATH": f"{work.source}:{site}"}
    work.build(CC=f"aarch64-linux-gnu-gcc --sysroot={root}", **path)
    work.check_import(**path)
    machine = last_line(
        work.run(work.python, "-c", "import platform; print(platform.machine())", **path)
    )
    tests = work.pytest(*TESTS, "-k", NOT_EMULATED, **path)
    return f"{machine}, Python {release}: {tests}"


def debian(work: Work, root: Path) -> None:
    """Unpacks ARM's Python of this Debian release, by an apt that knows nothing of this machine's."""
    if (root / "done").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    apt = work.folder / "apt"
    for name in ("lists/partial", "archives/partial", "parts"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    signed = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(
        f"deb [{signed}] http://deb.debian.org/debian {codename} main\n"
    )
    settings = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "Dir::State": apt,
        "Dir::State::status": apt / "status", "Dir::State::lists": apt / "lists", "Dir::Cache": apt,
        "Dir::Etc::sourcelist": apt / "sources.list", "Dir::Etc::sourceparts": apt / "parts",
        "Debug::NoLocking": "1", "APT::Sandbox::User": "root",
    }  # fmt: skip
    options = [f"-o{name}={value}" for name, value in settings.items()]
    work.run("apt-get", *options, "update")
    work.run(
        "apt-get", *options, "install", "--yes", "--download-only", "--no-install-recommends",
        "python3-dev", "libstdc++6",
    )  # fmt: skip
    for package in sorted((apt / "archives").glob("*.deb")):
        work.run("dpkg-deb", "-x", package, root)
    (root / "done").touch()


OLD = "baseline only, and no instruction that this processor of 2008 lacks"
# Without what qemu does not have: it says so in each process, to those who read its errors.
HASWELL = "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-rtm,-invpcid"
PROCESSORS = [
    Part("aarch64", "an ARM processor: kernels' tests", 15.0, aarch64, ARM),
    Part("nehalem", OLD, 10.0, x86("Nehalem", "baseline"), QEMU),
    Part("haswell", "level v3 on a processor of 2013", 10.0, x86(HASWELL, "baseline v3"), QEMU),
]
