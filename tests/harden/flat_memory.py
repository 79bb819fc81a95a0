"""20,000 training steps at flat memory: several models, plain and captured, with the cycle collector off.

    python tests/harden/flat_memory.py --steps 20000          of each model
    python tests/harden/flat_memory.py --only captured

After a quarter of the steps the process must grow no more: by 1 MiB and a hundred Python objects at most.
"""

import argparse
import gc
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import minidl as md
from minidl import functional as F
from minidl import nn, optim

ROOM = 1 << 20
OBJECTS = 100  # (a deque or a cache that still grows a little)
RNG = np.random.default_rng(0)
Step = Callable[[int], object]


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def classifier(model: nn.Module, x: np.ndarray, classes: int, captured: bool) -> Step:
    """Adam, clipped gradients and a schedule."""
    optimizer = optim.Adam(model.parameters(), 1e-4)
    schedule = optim.CosineLR(optimizer, 10**6)
    target = np.arange(len(x)) % classes

    def gradients(x, target):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        loss.backward()
        return loss

    run = md.capture(gradients) if captured else gradients

    def step(number: int) -> float:
        value = run(x, target).item()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        return value

    return step


def mlp(captured: bool) -> Step:
    layers = [nn.Affine(20, 32), nn.BatchNorm(32), nn.PReLU(), nn.Dropout(0.1), nn.Affine(32, 5)]
    return classifier(nn.Sequential(*layers), normal(16, 20), 5, captured)


def convolutions(captured: bool) -> Step:
    layers = [nn.Conv(1, 4, (3, 3)), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool((2, 2)), nn.Flatten()]
    return classifier(nn.Sequential(*layers, nn.Affine(36, 5)), normal(4, 1, 8, 8), 5, captured)


def sizes_that_vary(captured: bool) -> Step:
    """A batch of another size each time: a captured step keeps 8 records and makes the others anew."""
    model = nn.Sequential(nn.Affine(6, 8), nn.GELU(), nn.Affine(8, 3))
    steps = [classifier(model, normal(n, 6), 3, False) for n in range(1, 33)]
    if captured:
        optimizer = optim.SGD(model.parameters(), 1e-3, momentum=0.9)

        @md.capture
        def run(x, target):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), target)
            loss.backward()
            optimizer.step()
            return loss

        data = [(normal(n, 6), np.arange(n) % 3) for n in range(1, 33)]
        return lambda number: run(*data[number * 7 % 32]).item()
    return lambda number: steps[number * 7 % 32](number)


def gan(captured: bool) -> Step:
    """A critic with a gradient penalty: gradients of gradients."""
    draw, judge = nn.Sequential(nn.Affine(4, 8), nn.ReLU(), nn.Affine(8, 2)), nn.Sequential(
        nn.Affine(2, 8), nn.Tanh(), nn.Affine(8, 1)
    )  # fmt: skip
    of_draw, of_judge = (optim.Adam(m.parameters(), 1e-4) for m in (draw, judge))
    real = normal(8, 2)

    def gradients(noise, mix):
        of_judge.zero_grad()
        fake = draw(noise).data
        between = md.Tensor(mix * real + (1 - mix) * fake, requires_grad=True)
        slope = md.grad(judge(between).sum(), between, create_graph=True)
        penalty = (((slope**2).sum(1) + 1e-8).sqrt() - 1) ** 2
        loss = judge(fake).mean() - judge(real).mean() + 10 * penalty.mean()
        loss.backward()
        of_judge.step()
        of_draw.zero_grad()
        (-judge(draw(noise)).mean()).backward()
        of_draw.step()
        return loss

    def plain(noise):
        gradients(noise, md.Tensor(RNG.random((8, 1)).astype(np.float32)).data)

    if captured:
        raise NotImplementedError
    return lambda number: plain(normal(8, 4))


def recurrent(captured: bool) -> Step:
    class Last(nn.Module):
        def __init__(self):
            self.rnn, self.head = nn.LSTM(5, 8), nn.Affine(8, 3)

        def forward(self, x):
            y = self.rnn(x)
            y = y[0] if isinstance(y, tuple) else y
            return self.head(y[:, -1])

    return classifier(Last(), normal(4, 6, 5), 3, captured)


def fitted(captured: bool) -> Step:
    """Epochs of `md.fit` with validation and a file saved after each."""
    model = nn.Sequential(nn.Affine(6, 8), nn.BatchNorm(8), nn.ELU(), nn.Affine(8, 3))
    optimizer = optim.AdamW(model.parameters(), 1e-4)
    x, target = normal(80, 6), np.arange(80) % 3
    loader = md.data.DataLoader((x, target), 8, shuffle=True, rng=0)
    folder = tempfile.TemporaryDirectory()  # removed with `step`, which refers to it

    def step(number: int) -> None:
        if number % 10 == 0:
            md.fit(
                model, loader, "cross_entropy", optimizer, 1, (x, target), progress=False,
                capture=captured, callbacks=[md.callbacks.Checkpoint(Path(folder.name, "run.npz"))],
            )  # fmt: skip

    return step


def tensors(captured: bool) -> Step:
    """What a loop of one's own does with tensors: views, arithmetic in place, errors that are caught."""
    w = md.Tensor(normal(6, 6), requires_grad=True)

    def step(number: int) -> None:
        x = md.Tensor(normal(number % 5 + 1, 6))
        y = md.concatenate([x @ w, x.reshape(-1, 6) * 2], 0)
        y[1:].sum().backward()
        for wrong in (lambda: x @ w.data[:5], lambda: F.affine(x, w[:, :5])):
            try:
                wrong()
            except ValueError:
                pass
            else:
                raise AssertionError("no error")
        w.grad = None

    if captured:
        raise NotImplementedError
    return step


MODELS = (mlp, convolutions, sizes_that_vary, gan, recurrent, fitted, tensors)


def used() -> int:
    """Bytes of the process that are in memory and its own."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
    return (int(resident) - int(shared)) * resource.getpagesize()


def measure(step: Step, steps: int) -> str:
    gc.collect()
    gc.disable()
    begun = time.monotonic()
    for number in range(steps // 4):
        step(number)
    memory, objects = used(), len(gc.get_objects())
    for number in range(steps // 4, steps):
        step(number)
    more = used() - memory, len(gc.get_objects()) - objects
    figures = f"{more[0] / 1024:+.0f} KiB, {more[1]:+} objects, {time.monotonic() - begun:.0f} s"
    assert more[0] <= ROOM and more[1] <= OBJECTS, figures
    return figures


def kinds() -> Iterator[tuple[str, Callable[[], Step]]]:
    for model in MODELS:
        for captured in (False, True):
            if captured and model in (gan, tensors):  # a step of theirs reads values
                continue
            yield (
                f"{model.__name__} {'captured' if captured else 'plain'}",
                lambda m=model, c=captured: m(c),
            )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = {name: make for name, make in kinds() if options.only in name}
    if options.here:
        md.manual_seed(0)
        print(measure(chosen[options.only](), options.steps))
        return 0
    failed = 0
    for name in chosen:  # each in a process of its own
        command = [sys.executable, __file__, "--here", f"--only={name}", f"--steps={options.steps}"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        failed += done.returncode != 0
        print(f"{name}: {done.stdout.strip() or done.stderr.strip()[-600:]}", flush=True)
    print(f"{len(chosen)} models, {failed} grow; {options.steps} steps of each")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
