"""The one source of randomness: a `numpy.random.Generator`, passed to a function or taken from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

# The library's generator, made when it is first asked for. In a dict, whose setdefault is one step for all threads: a
# lock would stay taken where Ctrl-C comes after it is taken and before its block begins, as it may in Python 3.14.
_library: dict[str, np.random.Generator] = {}
_lent: ContextVar[np.random.Generator | None] = ContextVar("minidl.random", default=None)


def manual_seed(n: int) -> None:
    """Starts the library's generator anew from seed n: initial weights, dropout, shuffling repeat exactly.

    It is ``numpy.random.default_rng(n)``, one for the whole process. Functions that are given an `rng` do not use it.

    Raises:
        ValueError: n < 0.
        TypeError: what `default_rng` takes for no seed, such as 1.5 or text.

    Source: O'Neill, PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number
    Generation, 2014 (the generator behind it).
    """
    _library["generator"] = _seeded("manual_seed: n", n)


def _seeded(what: str, n: Any) -> np.random.Generator:
    try:
        return np.random.default_rng(n)
    except (TypeError, ValueError):
        raise (ValueError if isinstance(n, int | np.integer) else TypeError)(
            f"{what}: expected an integer >= 0 as the seed, got {n!r}"
        ) from None


def generator(rng: np.random.Generator | int | None = None, owner: str = "") -> np.random.Generator:
    """For `owner`: rng itself, a generator seeded with rng if it is an int, or the library's own if it is None
    (inside of `drawing_from`: that one).
    """
    if rng is None:
        if (lent := _lent.get()) is not None:
            return lent
        if (made := _library.get("generator")) is not None:
            return made
        return _library.setdefault("generator", np.random.default_rng())
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, int | np.integer):
        return _seeded(f"{owner}: rng", int(rng))
    raise TypeError(
        f"{owner}: rng: expected a numpy Generator, an int seed or None, got {type(rng).__name__}"
    )


@contextmanager
def drawing_from(rng: np.random.Generator) -> Iterator[None]:
    """In this block, and in this thread alone, `rng` takes the place of the library's generator: what is drawn does
    not depend on what other threads draw meanwhile.
    """
    token = _lent.set(rng)
    try:
        yield
    finally:
        _lent.reset(token)
