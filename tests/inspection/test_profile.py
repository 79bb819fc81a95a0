"""md.profile: which calls it counts, that times add up, its trace's format; and that it leaves nothing behind."""

import json
import threading
import time

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl._source import PURE
from minidl.autograd.tape import all_declarations
from minidl.inspection.report import Event, Plan, Report
from minidl.replay.capture import Step

X = np.random.default_rng(0).standard_normal((8, 3)).astype("float32")
Y = np.zeros(8, int)


def mlp():
    md.manual_seed(0)
    return nn.Sequential(nn.Affine(3, 4), nn.ReLU(), nn.BatchNorm(4), nn.Affine(4, 2))


def counts(profile, *fields):
    found = {}
    for event in profile.events:
        key = tuple(getattr(event, field) for field in fields or ("name", "phase"))
        found[key] = found.get(key, 0) + 1
    return found


def train(model, optimizer, loader):
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def test_each_call_is_counted_in_its_phase():
    model = mlp()
    optimizer, loader = optim.Adam(model.parameters()), data.DataLoader((X, Y), 4)
    with md.profile() as p:
        train(model, optimizer, loader)
    both = {(name, phase): 2 for name in ("affine + relu", "affine", "batch_norm", "cross_entropy")
            for phase in ("forward", "backward")}  # fmt: skip
    assert counts(p) == both | {
        ("walk", "backward"): 2, ("Adam.step", "optimizer"): 2, ("DataLoader", "data"): 3,
    }  # fmt: skip


def test_gradients_that_are_added_in_place_are_calls_too():
    x = Tensor(X, requires_grad=True)
    with md.profile() as p:
        (x[0] * x[1] * x[2]).sum().backward()
    assert counts(p)["getitem", "backward"] == counts(p)["getitem", "forward"] == 3


def test_layers():
    model = mlp()
    with md.profile(model) as p:
        F.mse_loss(model(X) * 2, np.zeros((8, 2), "float32")).backward()
    found = {key for key in counts(p, "layer", "name", "phase") if key[1] != "walk"}
    for phase in ("forward", "backward"):
        assert {key[:2] for key in found if key[2] == phase} == {
            ("0 Affine", "affine + relu"), ("2 BatchNorm", "batch_norm"), ("3 Affine", "affine"),
            ("", "*"), ("", "mse_loss"),
        }  # fmt: skip
    table = p.table(by="layer")
    assert "0 Affine" in table and "(no layer)" in table and "affine" not in table


def test_a_layers_own_ops_and_its_childrens():
    class Net(nn.Module):
        def __init__(self):
            self.inner = nn.Affine(3, 3)

        def forward(self, x):
            return self.inner(x).exp()

    with md.profile(Net()) as p:
        p._model(X)
    assert counts(p, "layer", "name") == {("inner Affine", "affine"): 1, ("Net", "exp"): 1}


def test_gradients_of_gradients_are_backward():
    model, x = nn.Sequential(nn.Affine(3, 4), nn.Tanh()), Tensor(X, requires_grad=True)
    with md.profile(model) as p:
        slope = md.grad(model(x).sum(), x, create_graph=True)
        forward = len([e for e in p.events if e.phase == "forward"])
        (slope * slope).sum().backward()
    names = counts(p)
    assert forward == 2 and ("affine + tanh", "forward") in names and ("sum", "forward") in names
    assert names["walk", "backward"] == 2 and ("@", "backward") in names
    assert {e.layer for e in p.events if e.name == "@"} == {"0 Affine"}


def test_times_add_up():
    model, x = mlp(), Tensor(X, requires_grad=True)
    with md.profile() as p:
        slope = md.grad(model(x).sum(), x, create_graph=True)
        (slope * slope).sum().backward()
        time.sleep(0.01)
    assert all(0 <= e.own <= e.duration for e in p.events)
    own = sum(e.own for e in p.events) / 1e9
    assert own + p.overhead <= p.wall and p.wall - own - p.overhead >= 0.01
    tops = [e for e in p.events if e.name == "walk" or e.phase == "forward"]
    assert own <= sum(e.duration for e in tops) / 1e9
    for outer in (e for e in p.events if e.name == "walk"):  # what is inside is subtracted
        inner = [e for e in p.events if outer.start <= e.start < outer.start + outer.duration]
        assert sum(e.own for e in inner) <= outer.duration


def test_sizes():
    with md.profile() as p:
        x = Tensor(np.ones((4, 6), "float32"), requires_grad=True)
        (x.exp().reshape(6, 4)[0]).sum().backward()
    made = {(e.name, e.phase): e.nbytes for e in p.events}
    assert made["exp", "forward"] == made["exp", "backward"] == 96
    assert (
        made["reshape", "forward"] == made["getitem", "forward"] == 0
        and made["sum", "forward"] == 4
    )


def replaced():
    """What has something else in its place inside."""
    return md.grad, optim.Optimizer.step, data.DataLoader.__iter__, Step.__call__


def test_it_leaves_nothing_behind():
    model = mlp()
    optimizer = optim.SGD(model.parameters(), 0.1)
    train(model, optimizer, [(X, Y)])
    before = {kind: (d.forward, d.backward, d.fused) for kind, d in all_declarations().items()}
    patched = replaced()
    with md.profile():
        assert not any(a is b for a, b in zip(patched, replaced(), strict=True))
    with pytest.raises(ZeroDivisionError), md.profile() as p:

        class Own(md.Op):
            def forward(self, x):
                return x * 2

            def backward(self, gy):
                return gy * 2

        x = Tensor(X, requires_grad=True)
        Own()(x).sum().backward()
        raise ZeroDivisionError
    assert counts(p)["Own", "forward"] == counts(p)["Own", "backward"] == 1
    n = len(p.events)
    after = {kind: (d.forward, d.backward, d.fused) for kind, d in all_declarations().items()}
    assert after.pop(Own)[0] is Own.forward
    assert {kind: after[kind] for kind in before} == before
    assert patched == replaced()
    train(model, optimizer, [(X, Y)])
    md.grad(Own()(x).sum(), x)
    assert len(p.events) == n and md.profile.active is None


def test_a_loader_that_outlives_the_block():
    with md.profile() as p:
        batches = iter(data.DataLoader((X, Y), 2))
        next(batches)
    assert len(list(batches)) == 3 and counts(p) == {("DataLoader", "data"): 1}


def test_the_same_bits():
    def run():
        model = mlp()
        train(
            model,
            optim.SGD(model.parameters(), 0.1),
            data.DataLoader((X, Y), 4, shuffle=True, rng=0),
        )
        return model.state_dict()

    plain = run()
    with md.profile():
        timed = run()
    assert all(plain[name].tobytes() == timed[name].tobytes() for name in plain)


def test_entered_again_and_other_threads():
    p, x = md.profile(), Tensor(X)
    with p:
        x.exp()
    with p:
        thread = threading.Thread(target=x.exp)
        thread.start()
        thread.join()
    assert counts(p) == {("exp", "forward"): 2} and len(counts(p, "thread")) == 2


@pytest.mark.skipif(PURE, reason="nothing is captured")
def test_captured_steps():
    model = mlp()
    optimizer = optim.Adam(model.parameters())

    @md.capture
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    with md.profile() as p:
        for _ in range(9):
            step(X, Y)
    found = counts(p)
    assert found["captured step", "captured"] == 9 and found["affine", "forward"] == 1
    (plan,) = p.plans
    assert plan.name == "step" and plan.replays == 8 and plan.time > 0
    assert plan.calls["Adam"][0] == 1 and all(t >= 0 for _, t in plan.calls.values())
    assert sum(n for n, _ in plan.calls.values()) == step.plan().count
    assert "captured step: 8 replays" in p.table() and "ActivatedAffine backward" in p.table()
    step(X[:4], Y[:4])
    with md.profile() as again:
        step(X, Y), step(X[:4], Y[:4])
        with md.detect_anomaly():
            step(X, Y)
    assert again.plans[0].replays == 2 and counts(again)["captured step", "captured"] == 3


@pytest.mark.skipif(PURE, reason="nothing is captured")
def test_not_in_a_captured_step():
    def step(x):
        with md.profile():
            return x * 2

    with pytest.raises(md.CaptureError, match="profile"):
        md.capture(step)(X)
    assert md.profile.active is None


def test_the_plans_text_is_read():
    text = "     1.50 us  Affine                            float32[2, 2]\n     2.25 us  Adam\n"
    text += "     0.50 us  Affine                            float32[2, 2]\n     4.25 us  3 calls, 8 bytes, 2 replays"
    plan = Plan.read("step", 2, 1e-5, text)
    assert plan.calls == {"Affine": (2, pytest.approx(2e-6)), "Adam": (1, pytest.approx(2.25e-6))}
    assert plan.lines()[-1].split() == ["all", "3", "4.25"]
    assert plan.lines()[2:4] == ["op      calls    us  share", "Adam        1  2.25  52.9%"]


def test_the_table():
    report = Report()
    report.wall, report.overhead, report._thread = 1e-3, 1e-4, 1
    for i, own in enumerate((100_000, 300_000, 50_000)):
        report.events.append(Event("ab"[i % 2], "forward", i, own, own, 1, "", 1000))
    assert report.table(most=1) == (
        "op              phase    calls  total ms  own ms   share  made\n"
        "b               forward      1     0.300   0.300   30.0%  1 kB\n"
        "(1 more)                     2             0.150   15.0%\n"
        "outside of ops                             0.450   45.0%\n"
        "profile itself                             0.100   10.0%\n"
        "all                                        1.000  100.0%"
    )
    assert len(report.table(most=None).splitlines()) == 6 and repr(report) == report.table()
    assert "0.0%" in Report().table()


def test_the_trace(tmp_path):
    model = mlp()
    with md.profile(model) as p:
        F.cross_entropy(model(X), Y).backward()
    p.save(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text("utf-8"))
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(events) == len(p.events)
    for event in events:
        assert {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"} == set(event)
        assert event["ts"] >= 0 and event["dur"] >= 0 and isinstance(event["tid"], int)
    names = [e for e in trace["traceEvents"] if e["ph"] == "M"]
    assert names[0]["name"] == "thread_name" and {e["tid"] for e in events} == {names[0]["tid"]}
    spans = sorted((e["ts"], -e["dur"]) for e in events)  # one thread: nested or apart
    open_until: list[float] = []
    for start, minus in spans:
        while open_until and open_until[-1] <= start:
            open_until.pop()
        assert not open_until or start - minus <= open_until[-1]
        open_until.append(start - minus)
    assert any(e["args"].get("layer") == "0 Affine" and e["args"]["bytes"] == 128 for e in events)


WRONG = {
    "model": (lambda p: md.profile(F.relu), TypeError, "profile: model: expected a Module"),
    "by": (lambda p: p.table("name"), ValueError, "by: expected one of 'op', 'layer'"),
    "most": (lambda p: p.table(most=0), ValueError, "most must be an integer >= 1"),
    "path": (lambda p: p.save("trace.svg"), ValueError, r"ends in \.json"),
    "nested": (lambda p: p.__enter__(), RuntimeError, "another profile is active"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    call, error, message = WRONG[name]
    with md.profile() as p, pytest.raises(error, match=message):
        call(p)
    assert md.profile.active is None
