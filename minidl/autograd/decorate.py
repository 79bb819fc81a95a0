"""A context around every call of a function; of a generator or a coroutine, around every step, and not in between."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any


def decorated(owner: str, context: Callable[[], AbstractContextManager], fn: Any) -> Any:
    """fn with each call inside a new ``context()``; TypeError, in the name of `owner`, for what is no function."""
    if isinstance(fn, staticmethod | classmethod):
        return type(fn)(decorated(owner, context, fn.__func__))
    if isinstance(fn, type):
        raise TypeError(
            f"{owner}: decorates functions, got the class {fn.__name__}: decorate its methods"
        )
    if not callable(fn):
        raise TypeError(f"{owner}: expected a function to decorate, got {fn!r}")

    def function(*args: Any, **options: Any) -> Any:
        with context():
            return fn(*args, **options)

    def generator(*args: Any, **options: Any) -> Any:
        return (yield from _in_steps(context, fn(*args, **options)))

    async def coroutine(*args: Any, **options: Any) -> Any:
        return await _awaited(context, fn(*args, **options))

    async def async_generator(*args: Any, **options: Any) -> Any:
        inner = fn(*args, **options)
        try:
            item = await _awaited(context, inner.asend(None))
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await _awaited(context, inner.aclose())
                    raise
                except BaseException as error:
                    item = await _awaited(context, inner.athrow(error))
                else:
                    item = await _awaited(context, inner.asend(sent))
        except StopAsyncIteration:
            return

    kinds: list[tuple[Callable, Callable]] = [
        (inspect.isgeneratorfunction, generator),
        (inspect.iscoroutinefunction, coroutine),
        (inspect.isasyncgenfunction, async_generator),
    ]
    wrapper = next((wrapper for is_kind, wrapper in kinds if is_kind(fn)), function)
    return functools.wraps(fn)(wrapper)


def _in_steps(context: Callable[[], AbstractContextManager], inner: Any) -> Generator:
    """What ``yield from inner`` does, but inner runs inside the context, and the code that waits for it does not."""
    try:
        with context():
            item = inner.send(None)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                with context():
                    inner.close()
                raise
            except BaseException as error:
                with context():
                    item = inner.throw(error)
            else:
                with context():
                    item = inner.send(sent)
    except StopIteration as end:
        return end.value


_awaited: Callable[..., Awaitable] = types.coroutine(_in_steps)
