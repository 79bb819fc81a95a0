"""Measures the loops on docs/build/5_the_loop.md: python docs/make_loop_times.py [--render]

The Cython code is taken out of the page, compiled twice and timed, all variants by turns. The figures go to
docs/build/loop_times.json and from there, with gcc's report about vectors, into the page. `--render` only writes the
page from that file. Needs Cython and a C compiler.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PAGE, FIGURES = HERE / "build" / "5_the_loop.md", HERE / "build" / "loop_times.json"
SIZES = {"96,000": 96_000, "4 million": 4_000_000}
BUILDS = {"O3": ["-O3"], "v3": ["-O3", "-march=x86-64-v3"]}
NAMES = {
    "python": "Python, a loop over a list",
    "numpy": "NumPy, `gy * (x > 0)`",
    "plain O3": "`plain`, `-O3`",
    "piece O3": "`piece`, `-O3`",
    "piece v3": "`piece`, `-O3 -march=x86-64-v3`",
    "threads": "the same in pieces on two threads, from Python",
    "minidl": "minidl's kernel, one thread",
    "minidl 2": "minidl's kernel, two threads",
    "total": "`total` (a sum), `-O3 -march=x86-64-v3`",
    "lanes": "`total_in_lanes`, the same flags",
}


def cython_code(page: str) -> str:
    """All Cython blocks of the page, one after the other."""
    return "\n".join(re.findall(r"^```cython\n(.*?)^```", page, re.MULTILINE | re.DOTALL))


def build(code: str, folder: Path, flags: list[str]) -> tuple[Any, str]:
    """The compiled module, and what gcc says about vectors, by lines of the Cython code."""
    from Cython.Compiler.Main import compile_single
    from Cython.Compiler.Options import CompilationOptions

    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "loop.pyx"
    source.write_text(code, encoding="utf-8")
    options = CompilationOptions(emit_linenums=True, output_file=str(source.with_suffix(".c")))
    compile_single(str(source), options=options, full_module_name="loop")
    made = folder / f"loop{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [
        "gcc",
        "-shared",
        "-fPIC",
        "-w",
        "-fopt-info-vec",
        *flags,
        f"-I{sysconfig.get_path('include')}",
    ]
    done = subprocess.run(
        [*command, str(source.with_suffix(".c")), "-o", str(made)], capture_output=True, text=True, check=True
    )  # fmt: skip
    spec = importlib.util.spec_from_file_location("loop", made)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, done.stderr


def vector_lines(report: str, code: str) -> list[str]:
    """What gcc says about the loops of each function of the Cython code."""
    vectors: dict[int, set[str]] = {}
    for line, size in re.findall(
        r"loop\.pyx:(\d+):\d+: optimized: loop vectorized using (\d+)", report
    ):
        vectors.setdefault(int(line), set()).add(size)
    found, name = [], ""
    for number, line in enumerate(code.splitlines(), 1):
        name = (re.match(r"(?:cdef|def) (?:void )?(\w+)\(", line) or (None, name))[1]
        if line.lstrip().startswith("for "):
            sizes = sorted(vectors.get(number, ()), key=int, reverse=True)
            what = f"vectorized, {' and '.join(sizes)} bytes" if sizes else "not vectorized"
            found.append(f"{name + ':':16}{line.strip():40}{what}")
    return found


def variants(modules: dict[str, Any], n: int) -> dict[str, Callable[[], Any]]:
    from minidl import _kernels as K

    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal(n, np.float32) for _ in range(2))
    gx = np.empty_like(x)
    pool, best = ThreadPoolExecutor(2), list(modules.values())[-1]

    def threaded() -> None:
        list(pool.map(lambda a: best.piece(x, gy, gx, a, min(a + 65536, n)), range(0, n, 65536)))

    def kernel() -> Any:
        return K.activation_backward("relu", x, gy, 0.0, 0.0, True)

    calls: dict[str, Callable[[], Any]] = {
        "numpy": lambda: gy * (x > 0),
        "plain O3": lambda: modules["O3"].plain(x, gy, gx),
        **{f"piece {name}": (lambda m=m: m.piece(x, gy, gx, 0, n)) for name, m in modules.items()},
        "threads": threaded,
        "minidl": kernel,
        "minidl 2": kernel,
        "total": lambda: best.total(x),
        "lanes": lambda: best.total_in_lanes(x),
    }
    if n < 1_000_000:
        xs, gys = x.tolist(), gy.tolist()
        calls["python"] = lambda: [g if v > 0 else 0.0 for v, g in zip(xs, gys, strict=True)]
    return calls


def measure(rounds: int = 60) -> dict[str, Any]:
    """The least time of each variant over the rounds, in microseconds, at each size."""
    import minidl as md

    code = cython_code(PAGE.read_text(encoding="utf-8"))
    builds = BUILDS if platform.machine() in ("x86_64", "AMD64") else {"O3": BUILDS["O3"]}
    with tempfile.TemporaryDirectory() as folder:
        built = {name: build(code, Path(folder) / name, flags) for name, flags in builds.items()}
        modules = {name: module for name, (module, _) in built.items()}
        figures: dict[str, Any] = {
            "machine": cpu_name(),
            "report": {name: vector_lines(report, code) for name, (_, report) in built.items()},
            "microseconds": {},
        }
        for label, n in SIZES.items():
            calls = variants(modules, n)
            times: dict[str, list[float]] = {name: [] for name in calls}
            for _ in range(rounds):
                for name, call in calls.items():
                    md.set_num_threads(2 if name == "minidl 2" else 1)
                    call()  # once for the caches
                    begin = time.perf_counter()
                    call()
                    times[name].append(time.perf_counter() - begin)
            figures["microseconds"][label] = {k: round(min(v) * 1e6, 1) for k, v in times.items()}  # fmt: skip
    return figures


def cpu_name() -> str:
    """What /proc/cpuinfo calls the processor; elsewhere what Python knows."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def rendered(page: str, figures: dict[str, Any]) -> str:
    """The page with these figures."""
    sizes = list(figures["microseconds"])
    rows = [
        f"| µs for | {' | '.join(f'{size} elements' for size in sizes)} |",
        "|---|" + "---:|" * len(sizes),
    ]
    for name, label in NAMES.items():
        cells = [figures["microseconds"][size].get(name) for size in sizes]
        if any(cells):
            shown = ["" if v is None else f"{v:,.0f}" if v >= 10 else f"{v:.1f}" for v in cells]
            rows.append(f"| {label} | {' | '.join(shown)} |")
    note = (
        f"The least of 60 times on two cores of a machine that was shared ({figures['machine']}), float32, variants by "
        "turns. Small differences mean nothing."
    )
    for mark, text in (
        ("times", "\n".join([*rows, "", note])),
        *(
            (f"report {k}", "\n".join(["```", *lines, "```"]))
            for k, lines in figures["report"].items()
        ),
    ):
        page = re.sub(
            rf"<!-- {mark} -->\n.*?<!-- end -->",
            lambda _, text=text, mark=mark: f"<!-- {mark} -->\n{text}\n<!-- end -->",
            page,
            flags=re.DOTALL,
        )
    return page


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--render", action="store_true")
    if not parser.parse_args(arguments).render:
        FIGURES.write_text(json.dumps(measure(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")  # fmt: skip
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
