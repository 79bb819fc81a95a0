"""Winograd's algorithm against the plain sums over taps: what it gains, shape by shape.

    python benchmarks/winograd.py                  one thread, float32
    MINIDL_NUM_THREADS=2 python benchmarks/winograd.py --rounds 40

Each figure is the fastest of many calls, with and without by turns in one process. A gain of 1.50 means that the sums
without Winograd's algorithm take 1.5 times as long; "-" that it does not run at this shape.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time

os.environ.setdefault("MINIDL_NUM_THREADS", "1")

# name: batch, channels, outputs, size of the image, kernel, stride, padding
SHAPES = {
    "3x3: 3-32 at 32": (16, 3, 32, 32, 3, 1, 1),
    "3x3: 8-8 at 28": (16, 8, 8, 28, 3, 1, 1),
    "3x3: 16-16 at 32": (16, 16, 16, 32, 3, 1, 1),
    "3x3: 32-32 at 16": (16, 32, 32, 16, 3, 1, 1),
    "3x3: 64-64 at 14": (16, 64, 64, 14, 3, 1, 1),
    "3x3: 64-64 at 32": (64, 64, 64, 32, 3, 1, 1),
    "3x3: 128-128 at 16": (64, 128, 128, 16, 3, 1, 1),
    "3x3: 256-256 at 8": (16, 256, 256, 8, 3, 1, 1),
    "3x3: 512-512 at 4": (16, 512, 512, 4, 3, 1, 1),
    "DCGAN-32: 32-64 at 16": (64, 32, 64, 16, 4, 2, 1),
    "DCGAN-32: 64-128 at 8": (64, 64, 128, 8, 4, 2, 1),
    "DCGAN-64: 64-128 at 32": (64, 64, 128, 32, 4, 2, 1),
    "DCGAN-64: 128-256 at 16": (64, 128, 256, 16, 4, 2, 1),
    "DCGAN-64: 256-512 at 8": (64, 256, 512, 8, 4, 2, 1),
    "4x4/2: 8-16 at 28": (16, 8, 16, 28, 4, 2, 1),
    "4x4/2: 32-64 at 16, batch 16": (16, 32, 64, 16, 4, 2, 1),
    "4x4/2: 64-128 at 8, batch 1": (1, 64, 128, 8, 4, 2, 1),
    "3x3: 64-64 at 8, batch 1": (1, 64, 64, 8, 3, 1, 1),
}


def sums(kernels, shape, dtype: str) -> dict:
    """The three sums of a convolution, as functions of nothing."""
    import numpy as np

    n, channels, outputs, size, kernel, stride, padding = shape
    rng = np.random.default_rng(0)

    def image(c, pixels):  # channels innermost in memory, as minidl's layers hand them on
        return rng.standard_normal((n, pixels, pixels, c)).astype(dtype).transpose(0, 3, 1, 2)

    x, gy = image(channels, size), image(outputs, (size + 2 * padding - kernel) // stride + 1)
    w = rng.standard_normal((outputs, channels, kernel, kernel)).astype(dtype)
    settings = (stride, stride), (padding, padding)
    return {
        "forward": lambda: kernels.conv_forward(x, w, None, *settings),
        "input gradient": lambda: kernels.conv_input_grad(gy, w, (size, size), *settings),
        "weight gradient": lambda: kernels.conv_weight_grad(x, gy, (kernel, kernel), *settings),
    }


def seconds(call, switch, rounds: int) -> tuple[float, float]:
    """Of one call with Winograd's algorithm and of one without, in the fastest rounds."""
    best = {True: float("inf"), False: float("inf")}
    for number in range(2 * rounds + 2):
        on = number % 2 == 0
        switch(on)
        start = time.perf_counter()
        call()
        if number > 1:
            best[on] = min(best[on], time.perf_counter() - start)
    switch(True)
    return best[True], best[False]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--level", help="of the kernels; default: the one that minidl chooses")
    args = parser.parse_args()

    import numpy as np

    from minidl import _kernels as K

    level = args.level or K.active
    kernels = importlib.import_module(f"minidl._kernels.{level}.conv")
    print(f"{level}, {args.dtype}, {K.get_num_threads()} threads: milliseconds with, gain\n")
    names = ("forward", "input gradient", "weight gradient")
    print(f"| {'shape':28} | " + " | ".join(f"{name:>15}" for name in names) + " |")
    print(f"|{'-' * 30}|" + "|".join("-" * 16 + ":" for _ in names) + "|")
    for title, shape in SHAPES.items():
        cells = []
        for call in sums(kernels, shape, args.dtype).values():
            one, other = seconds(call, kernels._use_winograd, args.rounds)
            kernels._use_winograd(True)
            with_it = call()
            kernels._use_winograd(False)
            runs = not np.array_equal(with_it, call())
            cells.append(
                f"{1e3 * one:8.3f}  {other / one:5.2f}" if runs else f"{1e3 * one:8.3f}      -"
            )
        kernels._use_winograd(True)
        print(f"| {title:28} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
