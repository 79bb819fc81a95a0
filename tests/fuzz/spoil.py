"""Calls that cannot be right: they must raise an error that a reader of the call understands."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from typing import Any

import numpy as np
from case import Case, judge, listed, shown
from draw import Draw

import minidl as md

JUNK = [
    *(-1, 0, 7, 20, -100, 1.5, -0.5, 1e300, float("nan"), float("inf"), "same", "", b"x", True),
    *(
        None,
        (),
        [],
        {},
        (1, 2, 3, 4, 5, 6, 7),
        (1.5, 2),
        ("a", "b"),
        (None,),
        [[1, 2], [3, 4]],
        object(),
        1j,
        int,
    ),
    *(
        np.array([1, 2]),
        np.array(2.5),
        np.float32(2.5),
        np.int64(3),
        np.array("x"),
        range(2),
        slice(1),
        print,
    ),
]
# Sizes computed from these do not fit into 32 or 64 bits, or into memory.
HUGE = (
    2**20 + 1,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**400,
    -(2**31),
    -(2**63),
)
BAD_OPERANDS = [
    *("x", b"x", object(), {}, 1j, None, [[1.0], [1.0, 2.0]], ["a"], [None], int, print),
    *(
        np.array(["a"]),
        np.array([None]),
        np.ones(2, complex),
        np.ones(2, "M8[s]"),
        np.zeros(2, [("a", "f4")]),
    ),
]
NUMBERS = ("k", "exponent", "ddof")  # settings that need not be integers
MOST = 2**18  # elements of a result that is compared, as PyTorch takes its time
TAKEN = "was taken"
ALLOWED = (ValueError, TypeError, IndexError, RuntimeError, OverflowError)
# What Python and NumPy say of a value when nobody has looked at it before.
RAW = re.compile(
    r"not supported between|ufunc|only integer|only length-1|got 's'|is not iterable|unsupported operand|"
    r"has no attribute|could not convert|invalid literal|object of type|list indices|integer is required|"
    r"could not be broadcast|cannot be interpreted|must be real number|takes \d|is not subscriptable|"
    r"truth value|not callable|unhashable|bad operand type|can't multiply|setting an array element|"
    r"too many values|not enough values|cannot unpack|"
    r"integer argument expected|Python int too large|cannot convert float"
)


def spoiled(case: Case, draw: Draw) -> str | None:
    """Replaces one setting or operand by what does not belong there; says what is wrong with the answer, or None."""
    operands: list[Any] = list(case.operands)
    settings = dict(case.settings)
    must = False
    whole = [name for name, value in settings.items() if is_whole(value)]
    if whole and draw.chance(0.3):
        name = draw.choice(sorted(whole))
        settings[name] = with_huge(settings[name], draw)
        call = f"{case.name}({name}={settings[name]}), else as {case}"
        wrong = answer(case, operands, settings)
        if wrong == TAKEN:
            # The gradient of an infinite variance is NaN here, and PyTorch's that of a negative one.
            gradient = case.gradient and name != "ddof"
            wrong = judged(dataclasses.replace(case, settings=settings, gradient=gradient), draw)
        return wrong and f"{wrong}\n    {call}"
    if settings and (draw.chance(0.7) or not operands or not case.own):
        name = draw.choice(sorted(settings))
        junk = draw.choice(JUNK)
        must = never_fits(settings[name], junk)
        # What happens to be whole may be any number; and a type may be a dtype.
        if (name in NUMBERS and isinstance(junk, float)) or (name == "dtype" and junk is int):
            must = False
        if name == "padding" and isinstance(junk, str) and junk == "same":
            must = False
        settings[name] = junk
        call = f"{case.name}({name}={shown(junk)}), else as {case}"
    else:
        i = draw.integer(0, len(operands) - 1)
        if draw.chance(0.5):
            operands[i] = draw.choice(BAD_OPERANDS)
            must = operands[i] is not None or i == 0  # a bias or a weight may be left out
        else:
            shape = list(operands[i].shape)
            if shape and draw.chance(0.7):
                shape[draw.integer(0, len(shape) - 1)] = draw.choice([0, 1, 2, 11])
            else:
                shape.insert(0, draw.choice([0, 1, 2, 3]))
            operands[i] = (
                draw.array(shape, "normal")
                if operands[i].dtype.kind == "f"
                else draw.ids(shape, -3, 9)
            )
        call = f"{case.name}, operand {i} {shown(operands[i])}, else as {case}"
    wrong = answer(case, operands, settings)
    if wrong == TAKEN and not must:
        wrong = None
    return wrong and f"{wrong}\n    {call}"


def is_whole(value: Any) -> bool:
    """Whether it is an int, or a tuple of them."""
    items = value if isinstance(value, tuple) and value else (value,)
    return all(isinstance(item, int) and not isinstance(item, bool) for item in items)


def with_huge(value: Any, draw: Draw) -> Any:
    """The setting with a huge number in place of it, or of one of its numbers."""
    huge = draw.choice(HUGE)
    if not isinstance(value, tuple):
        return huge
    i = draw.integer(0, len(value) - 1)
    return (*value[:i], huge, *value[i + 1 :])


def judged(case: Case, draw: Draw) -> str | None:
    """What is wrong with the result and its gradients, or None. What does not fit into memory is not wrong."""
    try:
        ys = listed(case.function(*case.operands, **case.settings))
        if sum(np.size(y) for y in ys) > MOST:
            return None
        found = judge(case, draw)
    except (MemoryError, OverflowError, ValueError, TypeError, RuntimeError):
        return None  # of the reference, which need not take such numbers
    return None if found and found.startswith("raised MemoryError") else found


def never_fits(value: Any, junk: Any) -> bool:
    """Whether junk can in no way mean what `value` does."""
    if isinstance(value, bool):
        return False  # anything may be true or false
    if isinstance(junk, str | bytes | dict | complex | type):
        return not (isinstance(value, str) and isinstance(junk, str) and value == junk)
    items = junk if isinstance(junk, tuple | list) else [junk]
    return is_whole(value) and any(isinstance(v, float) for v in items)


def answer(case: Case, operands: list, settings: dict) -> str | None:
    """What is wrong with the error, TAKEN if there was none, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            xs = [
                md.Tensor(x, requires_grad=case.gradient)
                if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype.itemsize <= 8
                else x
                for x in operands
            ]
            if case.function(*xs, **settings) is NotImplemented:  # Python goes on with ==
                return None
    except MemoryError:
        return None
    except ALLOWED as error:
        return criticised(case, error)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    return TAKEN


def criticised(case: Case, error: Exception) -> str | None:
    """What is wrong with an error, or None."""
    message = str(error)
    try:
        arguments = set(inspect.signature(case.function).parameters)
    except (TypeError, ValueError):
        arguments = set()
    if "index" in case.free and isinstance(error, IndexError | ValueError):
        return None  # NumPy's own words about an index are what everyone knows
    names = {case.name, *case.settings, *arguments, *case.free, "Tensor", "dtype"} - {
        "xs",
        "args",
        "x",
        "a",
    }
    named = re.search(
        rf"(?i)(?<![a-z_])({'|'.join(map(re.escape, sorted(names)))})(?![a-z_])", message
    )
    if RAW.search(message) and not (named and message.startswith((f"{case.name}:", "Tensor:"))):
        return f"raised raw {type(error).__name__}: {message}"
    return None if named else f"raised nameless {type(error).__name__}: {message}"
