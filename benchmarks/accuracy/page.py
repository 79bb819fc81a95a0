"""docs/accuracy.md: the tables of what was found, and the words around them, which say what was compared."""

from __future__ import annotations

import math
import textwrap

from accuracy.compare import PYTORCH_EVERY, Compared, pytorch_version
from accuracy.definitions import ACTIVATIONS, MONOTONE, SLOPE_LIMIT, limit
from accuracy.sample import Sample

HEAD = """# Accuracy of the activations and of the elementary functions

{compared}

* *monotone*: whether the result never becomes smaller from one number to the next; else how often it does, and where.
  Empty: the function itself falls somewhere. float64: for the numbers tried, each with its successor.
* *zeros, infinities*: whether those of the result are where the true value, rounded, has them, with its sign; and
  whether all levels have NaN, 0, -0 and infinities at the same numbers. (Where the true value lies between 0 and the
  least subnormal number, a level may have either.)
* *slope*: the largest error of the gradient at any level, in ulp of the slope or of 1, whichever is larger.

Made by `python benchmarks/ulp.py {command} --write docs/accuracy.md` in {minutes:.0f} minutes of one core.

## What to expect

{verdict}

PyTorch: torch {torch}, on one in {pytorch_every} of the same numbers, with the instructions it chose on this machine
({capability}).

Most of them are sums, and each sum that is rounded before it is used costs half an ulp. So what was lost is kept next
to it and added last (`minidl/_kernels/math/compensated.pxd` says how), or the sum is arranged as an exact number and a
smaller one: tanh(x) is x - x^3 / q(x^2) near 0 and 3/4 - (2 - u / 4) / u from there on, u = exp(2x) + 1; mish(x) is
x / 2 + x (d / 2 - 2) / d, d = 1 + (1 + exp(x))^2; softplus(x) near 0 is ln 2 + x / 2 and an even function of x. Where
the textbook's formula loses digits, the kernel uses another one: tanhshrink is x^3 / q(x^2) below 1, the tails of silu,
mish and gelu avoid multiplying x by a number that is already subnormal, and gelu_tanh computes its exponent in two
parts.

**NaN.** The value at NaN is NaN, and so is the slope: also that of relu and the others whose slope is 0 or 1 elsewhere,
and that of PReLU, RReLU, CReLU and GLU. A NaN in the forward pass never becomes a finite gradient.

"""
COMPARED = """The largest error found, in ulp (units in the last place of the true value), and where. Half an ulp is
the best possible: the true value, rounded. float32: {floats}, from -inf to inf, subnormal ones among them. float64:
{doubles} numbers of all sizes, either sign, half of them of size 0.001 to 40. Values, and slopes of activations, were
compared on all of them, at every level, with a wider type, whose own error, against mpmath, is at most
{reference}."""
LIMITS = """With their default parameters (threshold: 0.5 and -0.25). The limits are 1 ulp for tanh, sigmoid, softplus,
logsigmoid, elu, celu, softsign and hardsigmoid, and 2 ulp for all other activations and for slopes, which
`tests/kernels/test_activation_accuracy.py` checks on samples. The levels differ because v3 and v4 round a product and a
sum once where the baseline rounds twice."""
Found = dict[tuple[str, str], Compared]  # by function and dtype


def _number(error: float) -> str:
    if math.isinf(error):
        return "inf"
    return f"{error:.2f}" if error < 100 else f"{error:.1e}"


def steps_down(name: str, found: Compared) -> str:
    worst = max(found.values.values(), key=lambda v: v["falls"])
    if name not in MONOTONE:
        return ""
    return f"no: {worst['falls']:,} ({worst['fall_at']:.9g})" if worst["falls"] else "yes"


def wrong_places(found: Compared) -> str:
    """Zeros and infinities where there should be none, and levels that do not agree."""
    counts = [(v["zeros"], "zeros", v["zero_at"]) for v in found.values.values()]
    counts += [(v["infinities"], "infinities", v["infinity_at"]) for v in found.values.values()]
    counts.append((found.levels["differ"], "where levels differ", found.levels["at"]))
    count, what, at = max(counts)
    return f"{count:,} {what} ({at:.9g})" if count else "right"


def line(name: str, dtype: str, found: Compared) -> str:
    """A row of the table."""
    cells = [f"{_number(v['error'])} at {v['at']:.9g}" for v in found.values.values()]
    if found.torch:
        cells.append(f"{_number(found.torch['error'])} at {found.torch['at']:.9g}")
    slope = max(found.slopes.values(), key=lambda v: v["near_1"], default=None)
    cells += [steps_down(name, found), wrong_places(found)]
    cells.append(f"{_number(slope['near_1'])} at {slope['near_1_at']:.6g}" if slope else "")
    return f"| {name} | " + " | ".join(cells) + " |"


def tables(groups: dict[str, list[str]], found: Found) -> str:
    text = ""
    for title, names in groups.items():
        for dtype in ("float32", "float64") if names else ():
            first = found[names[0], dtype]
            torch_column = ["PyTorch"] if first.torch else []
            head = ["function", *first.values, *torch_column, "monotone", "zeros, infinities"]
            head.append("slope")
            text += f"## {title}, {dtype}\n\n| " + " | ".join(head) + " |\n"
            text += "|---" * len(head) + "|\n"
            text += "".join(line(name, dtype, found[name, dtype]) + "\n" for name in names) + "\n"
    return text


def beyond(found: Found) -> list[str]:
    """What of activations does not hold: an error above its limit, a step down, a wrong zero or infinity."""
    wrong = []
    for (name, dtype), one in found.items():
        if name not in ACTIVATIONS:
            continue
        for level, v in one.values.items():
            if v["error"] > limit(name):
                wrong.append(f"{name} of {dtype} ({level}): {v['error']:.3f} ulp at {v['at']!r}")
        for level, v in one.slopes.items():
            if v["near_1"] > SLOPE_LIMIT:
                at = v["near_1_at"]
                wrong.append(f"slope of {name}, {dtype} ({level}): {v['near_1']:.3f} ulp at {at!r}")
        if steps_down(name, one).startswith("no"):
            wrong.append(f"{name} of {dtype} is not monotone")
        if wrong_places(one) != "right":
            wrong.append(f"{name} of {dtype}: {wrong_places(one)}")
    return wrong


def verdict(found: Found) -> str:
    wrong = beyond(found)
    said = "No activation lies above its limit, in value or slope, at any level; none steps down where it should not, "
    said += "and no zero or infinity is wrong."
    if wrong:
        said = "These do not hold: " + "; ".join(wrong) + "."
    rough: dict[str, list[str]] = {}
    for (name, dtype), one in found.items():
        worst = max(v["error"] for v in one.values.values())
        if name not in ACTIVATIONS and worst > 2:
            rough.setdefault(name, []).append(f"{worst:.2f} in {dtype}")
    if rough:
        listed = ", ".join(f"{name} ({', '.join(errors)})" for name, errors in rough.items())
        said += f" Of the elementary functions these are beyond 2 ulp: {listed}."
    return paragraph(f"{LIMITS} {said}")


def paragraph(text: str) -> str:
    return "\n".join(textwrap.wrap(text.replace("\n", " "), 120, break_on_hyphens=False))


def numbers(samples: dict[str, Sample]) -> dict[str, str]:
    """What was compared, in words; the groups have as many of float64, but maybe not of float32."""
    first, *others = samples.items()
    said = first[1].floats()
    for title, sample in others:
        if sample != first[1]:
            said = f"of the {first[0].lower()} {said}, of the {title.lower()} {sample.floats()}"
    return {"floats": said, "doubles": f"{first[1].doubles:,}"}


def page(
    groups: dict[str, list[str]],
    found: Found,
    samples: dict[str, Sample],
    reference: str,
    command: str,
) -> str:
    """samples: by group"""
    compared = COMPARED.format(**numbers(samples), reference=reference)
    head = HEAD.format(
        compared=paragraph(compared),
        command=command,
        minutes=sum(one.seconds for one in found.values()) / 60,
        verdict=verdict(found),
        pytorch_every=PYTORCH_EVERY,
        **pytorch_version(),
    )
    return head + tables(groups, found).rstrip() + "\n"
