"""Makes docs/activations.md and its pictures from the table of activations.

    python docs/make_activations.py            the page and the pictures
    python docs/make_activations.py --measure  the costs as well (about a minute)

All values, slopes and ranges are computed by minidl. Costs are kept in activations_cost.json, so that
the page can be made again without measuring.
"""

from __future__ import annotations

import argparse
import datetime
import inspect
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from activation_entries import SHAPE, Entry, Function, entries
from curve_picture import BLUE, GREEN, ORANGE, curve, svg

import minidl as md
from minidl import functional as F
from minidl import nn

HERE = Path(__file__).resolve().parent
PAGE = HERE / "activations.md"
COSTS = HERE / "activations_cost.json"
PICTURES = HERE / "images" / "activations"

FAR = 1e4  # where saturation is checked
NEAR = 8.0  # a bound that is not reached up to here is only approached

Array = np.ndarray


# ── What is computed ─────────────────────────────────────────────────────────────────────────────


def value(f: Function, x: Any) -> Array:
    """f(x) in float64."""
    with md.no_grad():
        return np.array(f(md.Tensor(np.asarray(x, np.float64))).data)


def slope(f: Function, x: Any) -> Array:
    """f'(x) in float64, from the backward pass."""
    t = md.Tensor(np.asarray(x, np.float64), requires_grad=True)
    y = f(t)
    return md.grad(y, t, md.Tensor(np.ones(y.shape))).data


def number(v: float) -> str:
    """Four digits, and the signs for infinity."""
    if np.isinf(v):
        return "∞" if v > 0 else "-∞"
    return f"{0.0 if abs(v) < 1e-6 else v:.4g}"


def range_of(entry: Entry) -> str:
    """The values it takes; round brackets where a bound is approached and not reached."""
    y = value(entry.f, np.linspace(-NEAR, NEAR, 16001))
    limits = value(entry.f, [-np.inf, np.inf])
    low, high = min(y.min(), *limits), max(y.max(), *limits)
    opening = "[" if y.min() == low else "("
    closing = "]" if y.max() == high else ")"
    jumps = [k for k in entry.kinks if _differ(*_around(partial(value, entry.f), k))]
    gaps = f", jumps at {' and '.join(map(number, jumps))}" if jumps else ""
    return f"{opening}{number(low)}, {number(high)}{closing}{gaps}"


def _around(f: Callable[[Any], Array], kink: float) -> list[float]:
    """Just left of it, just right of it, and at it."""
    places = [np.nextafter(kink, -np.inf), np.nextafter(kink, np.inf), kink]
    return [float(v) for v in f(places)]


def _differ(left: float, right: float, at: float) -> bool:
    return max(abs(left - at), abs(right - at)) > 1e-6


def at_kinks(entry: Entry) -> str:
    """Value and slope at the kinks, and on both sides where they differ; at 0 if there is no kink."""

    def told(what: str, f: Callable[[Any], Array], x: float) -> str:
        left, right, at = _around(f, x)
        beside = (
            f" (left {number(left)}, right {number(right)})" if _differ(left, right, at) else ""
        )
        return f"{what} {number(at)}{beside}"

    both = ("value", partial(value, entry.f)), ("slope", partial(slope, entry.f))
    lines = [
        f"{'' if entry.kinks else 'smooth, '}at {number(x)}: "
        + ", ".join(told(what, f, x) for what, f in both)
        for x in entry.kinks or (0.0,)
    ]
    return "<br>".join(lines)


def far(entry: Entry) -> str:
    """The slopes far out."""
    return ", ".join(number(v) for v in slope(entry.f, [-FAR, FAR]))


# ── Cost ─────────────────────────────────────────────────────────────────────────────────────────


def measure(rounds: int = 60) -> dict:
    """The fastest forward and backward of each on one thread, divided by relu's."""
    md.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = md.Tensor(rng.normal(size=SHAPE).astype(np.float32), requires_grad=True)

    def seconds(f: Function, repeats: int = 10) -> float:
        gy = md.Tensor(np.ones(f(x).shape, np.float32))
        fastest = np.inf
        for _ in range(repeats):
            start = time.perf_counter()
            f(x).backward(gy)
            fastest = min(fastest, time.perf_counter() - start)
            x.grad = None
        return fastest

    listed = [entry for entry in entries() if entry.name != "identity"]  # returns x itself
    taken: dict[str, float] = {}
    for _ in range(rounds):  # interleaved: what slows the machine slows all of them
        for entry in listed:
            taken[entry.name] = min(taken.get(entry.name, np.inf), seconds(entry.f))
    return {
        "date": datetime.date.today().isoformat(),
        "machine": _processor(),
        "level": md._kernels.active,
        "shape": list(SHAPE),
        "cost": {name: round(t / taken["relu"], 2) for name, t in taken.items()},
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else "unknown"


# ── The page ─────────────────────────────────────────────────────────────────────────────────────

INTRODUCTION = """# Activations

Made by `python docs/make_activations.py` from the table in `minidl/ops`; not edited by hand. Every
curve, slope and range here is computed by minidl, in float64.

In the pictures the value is blue and the slope orange and dashed; both axes have the same scale.
Where a curve jumps, the filled dot is what minidl returns there.

- **Range**: at [ ] the bound is reached, at ( ) it is only approached.
- **At kinks**: value and slope where two formulas meet, and on both sides if they differ. Where the
  slope jumps, it is the one that PyTorch gives. For a smooth function: at 0.
- **Slope far out**: at x = -10,000 and 10,000. Where it is 0, the activation saturates: a unit that
  gets there no longer learns.
- **Cost**: time of forward and backward, divided by relu's. {cost}
"""


def page(costs: dict) -> str:
    """The text of the page."""
    rows, columns = costs["shape"]
    cost = (
        f"Measured on {rows}x{columns} float32 numbers,\n  one thread, on {costs['machine']} (kernels: "
        f"{costs['level']}), {costs['date']}; the fastest of many."
    )
    lines = [
        INTRODUCTION.format(cost=cost),
        "| | range | at kinks | slope far out | cost | what it is for |",
        "|---|---|---|---|---|---|",
    ]
    listed = entries()
    for entry in listed:
        facts = (
            (range_of(entry), at_kinks(entry), far(entry))
            if entry.elementwise
            else (entry.range, "", "")
        )
        paid = costs["cost"].get(entry.name)
        cells = [f"[{entry.name}](#{entry.name})", *facts, f"{paid:.1f}" if paid else "", entry.use]
        lines.append("| " + " | ".join(cells) + " |")
    for entry in listed:
        lines += [
            "",
            f"## {entry.name}",
            "",
            f"![{entry.name}](images/activations/{entry.name}.svg)",
            "",
            f"`{call('F', entry.name, getattr(F, entry.name))}`, "
            f"`{call('nn', entry.layer, getattr(nn, entry.layer))}`",
            "",
            f"    y = {entry.formula}",
        ]
        lines += [text for paragraph in (entry.caption, entry.paper) if paragraph
                  for text in ("", paragraph.rstrip(".") + ".")]  # fmt: skip
    return "\n".join(lines) + "\n"


def call(space: str, name: str, thing: Callable) -> str:
    """How it is called: its arguments and their defaults."""
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    text = f"{space}.{name}{inspect.Signature(plain)}"
    return text.replace("slope=None", "slope")  # no default: left out, F.prelu asks for it by name


def pictures() -> dict[str, str]:
    """Each picture by the name of its file."""
    drawn = {}
    for entry in entries():
        reach = max([4.0, *(abs(k) + 1 for k in entry.kinks)])
        low, high = -4.0, reach
        if entry.elementwise:
            curves = [
                curve("value", partial(value, entry.f), entry.kinks, low, high, BLUE),
                curve("slope", partial(slope, entry.f), entry.kinks, low, high, ORANGE, True),
            ]
        else:
            styles = (BLUE, False), (ORANGE, True), (GREEN, True)
            curves = [
                curve(label, f, (), low, high, *style)
                for (label, f), style in zip(entry.curves, styles, strict=False)
            ]
        drawn[f"{entry.name}.svg"] = svg(entry.name, curves, low, high)
    return drawn


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure the costs again")
    if parser.parse_args().measure:
        COSTS.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(COSTS.read_text(encoding="utf-8"))), encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    drawn = pictures()
    for old in PICTURES.glob("*.svg"):
        if old.name not in drawn:
            old.unlink()
    for name, text in drawn.items():
        (PICTURES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
