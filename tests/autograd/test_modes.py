"""no_grad, enable_grad and detect_anomaly: where they hold, and where not."""

import asyncio
import functools
import gc
import inspect
import threading
from contextlib import nullcontext

import pytest

import minidl as md
from minidl.autograd import modes


def recorded():
    return (md.Tensor(1.0, requires_grad=True) * 2).requires_grad


HELD = {
    "no_grad": (modes.no_grad, lambda: not recorded()),
    "enable_grad": (modes.enable_grad, recorded),
    "detect_anomaly": (modes.detect_anomaly, modes.watching),
}
both_ways = pytest.mark.parametrize("called", [True, False], ids=["with ()", "without ()"])


def mode_and_test(name, called=True):
    """The decorator, and what is true inside of it and false where it is tested."""
    mode, holds = HELD[name]
    return (mode() if called else mode), holds


@pytest.fixture(params=HELD)
def name(request):
    """A mode, where it does not hold yet: enable_grad is noticed inside of no_grad only."""
    with md.no_grad() if request.param == "enable_grad" else nullcontext():
        yield request.param
    assert recorded() and not modes.watching(), "the test has left a mode behind"


@both_ways
def test_a_function(name, called):
    mode, holds = mode_and_test(name, called)

    @mode
    def fn(a, *, b):
        """What it is for."""
        return holds(), a, b

    assert fn(1, b=2) == (True, 1, 2) and not holds()
    assert fn.__name__ == "fn" and fn.__doc__ == "What it is for."


@both_ways
def test_a_generator_runs_inside_and_its_caller_does_not(name, called):
    mode, holds = mode_and_test(name, called)
    seen = []

    @mode
    def steps(first):
        seen.append(holds())
        try:
            sent = yield first
            seen.append((holds(), sent))
            try:
                yield 2
            except KeyError:
                seen.append(holds())
                yield 3
        finally:
            seen.append(holds())
        return "end"

    assert inspect.isgeneratorfunction(steps) and steps.__name__ == "steps"
    running = steps(1)
    assert next(running) == 1 and not holds()
    assert running.send("x") == 2 and not holds()
    assert running.throw(KeyError()) == 3 and not holds()
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value == "end" and seen == [True, (True, "x"), True, True]

    running = steps(1)
    next(running)
    running.close()
    assert seen[-1] is True and not holds()
    next(steps(1))  # collected where it waits
    gc.collect()
    assert seen[-1] is True and not holds()
    assert list(steps(7)) == [7, 2]


@both_ways
def test_coroutines_and_async_generators(name, called):
    mode, holds = mode_and_test(name, called)

    @mode
    async def work():
        before = holds()
        await asyncio.sleep(0)
        return before, holds()

    @mode
    async def items():
        try:
            sent = yield holds()
            await asyncio.sleep(0)
            yield holds(), sent
        finally:
            assert holds()

    async def other():
        for _ in range(4):
            assert not holds()
            await asyncio.sleep(0)

    async def main():
        assert not holds()
        results = await asyncio.gather(work(), other())
        assert results[0] == (True, True) and not holds()
        running = items()
        assert await running.asend(None) is True and not holds()
        assert await running.asend("x") == (True, "x") and not holds()
        with pytest.raises(KeyError):
            await running.athrow(KeyError())
        assert [item async for item in items()] == [True, (True, None)]
        running = items()
        await running.asend(None)
        await running.aclose()
        assert not holds()

    assert inspect.iscoroutinefunction(work) and inspect.isasyncgenfunction(items)
    asyncio.run(main())

    waiting = work()  # driven by hand, in the context of the caller
    waiting.send(None)
    assert not holds()
    with pytest.raises(StopIteration):
        waiting.send(None)


def test_methods(name):
    mode, holds = mode_and_test(name)

    class Thing:
        @mode
        def method(self):
            return self, holds()

        @mode
        @staticmethod
        def static(a):
            return a, holds()

        @mode
        @classmethod
        def of_class(cls):
            return cls, holds()

        @classmethod
        @mode
        def around(cls):
            return cls, holds()

    thing = Thing()
    assert thing.method() == (thing, True) and Thing.static(1) == (1, True)
    assert thing.of_class() == (Thing, True) and thing.around() == (Thing, True)
    assert mode(functools.partial(thing.method))() == (thing, True)


@both_ways
@pytest.mark.parametrize("given", [int, "text", 0, False])
def test_what_cannot_be_decorated(name, called, given):
    mode, _ = mode_and_test(name, called)
    with pytest.raises(
        TypeError, match=f"^{name}: .*(decorate its methods|a function to decorate)"
    ):
        mode(given)


def test_a_generator_with_the_block_inside_leaves_its_own_entry():
    def steps():
        with md.no_grad():
            yield 1

    first, second = steps(), steps()
    next(first)
    next(second)
    assert not recorded()  # as in PyTorch: the block is open while the generator waits
    with modes.enable_grad():
        first.close()
        assert recorded()
        second.close()
        assert recorded()
    assert recorded()
    many = [steps() for _ in range(50_000)]
    for each in many:
        next(each)
    for each in many:  # the oldest first
        each.close()
    assert recorded()


def test_a_generator_that_ends_in_another_thread():
    def steps():
        with md.no_grad():
            yield

    seen = []

    def end(running):
        running.close()
        seen.append(recorded())

    with modes.enable_grad():  # somebody has a mode: all threads look at their own
        running = steps()
        next(running)
        thread = threading.Thread(target=end, args=(running,))
        thread.start()
        thread.join()
        assert recorded() and seen == [True]


def test_one_object_in_many_threads():
    quiet, barrier = md.no_grad(), threading.Barrier(2)
    seen = []

    def run(first):
        with quiet:
            barrier.wait()
            if first:
                barrier.wait()  # until the other has left
            seen.append((first, recorded()))
        seen.append((first, recorded()))
        if not first:
            barrier.wait()

    threads = [threading.Thread(target=run, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [(False, False), (False, True), (True, False), (True, True)]
    assert not quiet.entries
