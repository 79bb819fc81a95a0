"""md.draw: what is in the picture of a graph, that its gradients are right, and that the picture can be read."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, init, nn
from minidl import functional as F
from minidl._source import PURE
from minidl.autograd.op import Op
from minidl.drawing.graph import class_name, op_name
from minidl.drawing.layout import arrange

SVG = "{http://www.w3.org/2000/svg}"
LETTER = 7.83  # px: DejaVu Sans Mono and its like at 13 px


def x(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def mlp():
    model = nn.Sequential(
        nn.Flatten(), nn.Affine(12, 5), nn.ReLU(), nn.Affine(5, 5), nn.PReLU(), nn.Affine(5, 3)
    )
    images = x(4, 3, 4)
    loss = F.cross_entropy(model(images), np.array([0, 1, 2, 0]))
    return loss, {"model": model, "images": images}


def dcgan_block():
    model = nn.Sequential(
        nn.ConvTranspose(4, 6, 4, 2, 1, bias=False),
        nn.BatchNorm(6),
        nn.ReLU(),
        nn.Conv(6, 2, 4, 2, 1),
        nn.BatchNorm(2),
        nn.LeakyReLU(0.2),
    )
    return (model(x(2, 4, 4, 4)) ** 2).mean(), model


def gradient_penalty():
    points = Tensor(x(8, 2), requires_grad=True)
    D = nn.Sequential(nn.Affine(2, 6), nn.Tanh(), nn.Affine(6, 1))
    slope = md.grad(D(points).sum(), points, create_graph=True)
    norm = ((slope * slope).sum(axis=1) + 1e-12).sqrt()
    return ((norm - 1) ** 2).mean(), {"D": D, "points": points}


def used_often():
    a = Tensor(2.0, requires_grad=True)
    z = a * a + 3 * a
    return z * a.exp(), {"a": a, "z": z}


def wide():
    leaves = [Tensor(x(3), requires_grad=True) for _ in range(7)]
    y = leaves[0]
    for i, leaf in enumerate(leaves[1:], 1):
        y = F.tanh(y * leaf + leaves[i - 1])
    return (y * leaves[0] + md.concatenate([leaves[2][:1], leaves[3][:2]])).sum(), None


GRAPHS = {g.__name__: g for g in (mlp, dcgan_block, gradient_penalty, used_often, wide)}


@pytest.fixture(params=GRAPHS)
def graph(request):
    md.manual_seed(0)
    y, names = GRAPHS[request.param]()
    return y, md.draw(y, names=names)


def rectangles(root):
    """(box's class, left, top, right, bottom, its texts) of each box."""
    for box in root.iter(f"{SVG}g"):
        if box.get("class", "").startswith("box"):
            r = box.find(f"{SVG}rect")
            left, top, w, h = (float(r.get(key)) for key in ("x", "y", "width", "height"))
            yield box.get("class"), left, top, left + w, top + h, box.findall(f"{SVG}text")


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# ── The picture ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_boxes_and_no_gradients_overlap(graph):
    root = ET.fromstring(graph[1].svg)
    boxes = [rectangle[1:5] for rectangle in rectangles(root)]
    labels = []
    for text in root.iter(f"{SVG}text"):
        if text.get("class") == "g":
            half, y = len(text.text) * LETTER * 12 / 13 / 2, float(text.get("y"))
            labels.append((float(text.get("x")) - half, y - 10, float(text.get("x")) + half, y + 2))
    assert len(boxes) > 3 and labels
    for a, b in combinations(boxes + labels, 2):
        assert not overlap(a, b)


def test_text_is_inside_its_box_and_boxes_inside_the_picture(graph):
    root = ET.fromstring(graph[1].svg)
    width, height = float(root.get("width")), float(root.get("height"))
    shift = root.find(f"{SVG}g").get("transform")
    dx, dy = map(float, re.findall(r"[-\d.]+", shift))
    for _, left, top, right, bottom, texts in rectangles(root):
        assert left + dx >= 0 and right + dx <= width and top + dy >= 0 and bottom + dy <= height
        assert len(texts) == 2
        for text in texts:
            half = len(text.text) * LETTER / 2
            assert left <= float(text.get("x")) - half and float(text.get("x")) + half <= right
            assert top + 10 <= float(text.get("y")) <= bottom - 3


def test_every_arrow_leads_down_from_a_box_to_a_box(graph):
    root = ET.fromstring(graph[1].svg)
    boxes = list(rectangles(root))
    paths = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(paths) == sum(len(box.inputs) for box in graph[1].boxes)
    for path in paths:
        numbers = [float(n) for n in re.findall(r"[-\d.]+", path)]
        (x0, y0), (x1, y1) = numbers[:2], numbers[-2:]
        assert y0 < y1
        assert any(left <= x0 <= right and y0 == bottom for _, left, _, right, bottom, _ in boxes)
        assert any(left <= x1 <= right and y1 == top for _, left, top, right, *_ in boxes)


def test_arrows_that_skip_layers_go_around_boxes():
    """In the layers between, a long arrow has a place of its own."""
    layout = arrange("abcd", [("a", "b", 0), ("b", "c", 0), ("c", "d", 0), ("a", "d", 1)], [80] * 4)
    route = layout.routes["a", "d", 1]
    assert [place.item for place in route] == ["a", None, None, "d"]
    for bend in route[1:3]:
        (box,) = [place for place in layout.layers[bend.layer] if place.item is not None]
        assert abs(box.x - bend.x) > box.width / 2


def test_orders_are_untangled():
    crossed = [("a", "d", 0), ("b", "c", 0), ("c", "e", 0), ("d", "e", 1)]
    layers = arrange("abcde", crossed, [50] * 5).layers
    first, second = ([place.item for place in layer] for layer in layers[:2])
    assert (first, second) in ((["b", "a"], ["c", "d"]), (["a", "b"], ["d", "c"]))


# ── What is in it ────────────────────────────────────────────────────────────────────────────────────────────────────


def titles(drawing):
    return [box.title for box in drawing.boxes]


def test_an_mlp():
    y, names = mlp()
    drawing = md.draw(y, names)
    parts = [f"model.{name}" for name, _ in names["model"].named_parameters()]
    ops = ["affine + relu", "affine", "prelu", "affine", "cross_entropy"]
    assert titles(drawing) == ["images", *parts, *ops]
    assert [box.shape for box in drawing.boxes[-5:]] == [(4, 5), (4, 5), (4, 5), (4, 3), ()]
    assert drawing.boxes[0].kind == "data"
    assert {box.kind for box in drawing.boxes[1:8]} == {"parameter"}


def test_a_dcgan_block_has_no_running_statistics():
    y, model = dcgan_block()
    drawing = md.draw(y, model)
    assert [box.title for box in drawing.boxes if box.kind == "op"] == [
        "conv_transpose", "batch_norm + relu", "conv", "batch_norm + leaky_relu(0.2)", "** 2", "mean",
    ]  # fmt: skip
    assert not [name for name in titles(drawing) if "running" in name or "moving" in name]


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_are_those_of_grad(name):
    md.manual_seed(0)
    y, names = GRAPHS[name]()
    boxes = md.draw(y, names).boxes
    named = dict(nn.Module.named_parameters(names)) if isinstance(names, nn.Module) else {}
    for key, thing in {} if named or names is None else names.items():
        if isinstance(thing, nn.Module):
            named |= {f"{key}.{name}": p for name, p in thing.named_parameters()}
        elif isinstance(thing, Tensor):
            named[key] = thing
    known = {box.name: box for box in boxes}
    # (A slope does not depend on the bias of the last layer.)
    assert set(named) - set(known) == ({"D.2.bias"} if name == "gradient_penalty" else set())
    for title in set(named) & set(known):
        box, tensor = known[title], named[title]
        expected = md.grad(y, tensor, retain_graph=True).data
        np.testing.assert_allclose(box.gradient, expected, rtol=1e-5, atol=1e-7)
        assert tensor.grad is None


@pytest.mark.parametrize("name", GRAPHS)
def test_what_arrows_bring_adds_up(name):
    md.manual_seed(0)
    boxes = md.draw(GRAPHS[name]()[0]).boxes
    for box in boxes[:-1]:
        if box.kind != "data":
            parts = [a.gradient for b in boxes for a in b.inputs if a.source is box]
            np.testing.assert_allclose(sum(parts), box.gradient, rtol=1e-4, atol=1e-6)
    assert boxes[-1].gradient == 1


def test_values_that_are_used_twice():
    y, names = used_often()
    a, e2 = md.draw(y, names).boxes[0], np.exp(2.0)
    arrows = [arrow for box in md.draw(y, names).boxes for arrow in box.inputs]
    parts = sorted(float(arrow.gradient) for arrow in arrows if arrow.source.name == "a")
    np.testing.assert_allclose(parts, sorted([2 * e2, 2 * e2, 3 * e2, 10 * e2]), rtol=1e-5)
    np.testing.assert_allclose(a.gradient, 17 * e2, rtol=1e-5)


def test_broadcast_inputs_get_what_was_summed():
    w, x0 = Tensor(x(3), requires_grad=True), Tensor(x(4, 3), requires_grad=True)
    boxes = md.draw((x0 * w + w).sum(), {"w": w}).boxes
    (box,) = [box for box in boxes if box.name == "w"]
    parts = [a.gradient for b in boxes for a in b.inputs if a.source is box]
    np.testing.assert_allclose(parts, [x0.data.sum(0), [4, 4, 4]], rtol=1e-6)


def test_the_graph_is_left_as_it_was():
    y, names = mlp()
    expected = md.grad(y, list(names["model"].parameters()), retain_graph=True)
    md.draw(y)
    md.draw(y, depth=2)
    y.backward()
    for parameter, gradient in zip(names["model"].parameters(), expected, strict=True):
        np.testing.assert_array_equal(parameter.grad.data, gradient.data)


def test_depth_cuts_what_comes_before():
    y, names = mlp()
    whole, drawing = md.draw(y, names), md.draw(y, names, depth=2)
    assert titles(drawing) == ["...", "model.5.weight", "model.5.bias", "affine", "cross_entropy"]
    assert drawing.boxes[0].kind == "cut"
    np.testing.assert_array_equal(drawing.boxes[0].gradient, whole.boxes[-3].gradient)


def test_as_text():
    y, names = used_often()
    assert str(md.draw(y, names)) == "\n".join(
        [
            "a             = 2      input  gradient 126",
            "number        = 3      data",
            "%1 = *(a, a)  ()              gradient 7.39",
            "%2 = *(3, a)  ()              gradient 7.39",
            "z = +(%1, %2) = 10            gradient 7.39",
            "%3 = exp(a)   = 7.389         gradient 10",
            "%4 = *(z, %3) = 73.89         gradient 1",
        ]
    )


def test_without_gradients():
    w = Tensor(x(3), requires_grad=True)
    for drawing in (md.draw(w * w), md.draw((w * w).sum(), gradients=False)):
        assert all(box.gradient is None for box in drawing.boxes)
        assert 'class="g"' not in drawing.svg and "gradient" not in drawing.text.replace(
            "input", ""
        )


def test_a_slope_of_zero_is_zero():
    w = Tensor([1.0, -1.0], requires_grad=True)
    slope = md.grad(F.relu(w).sum(), w, create_graph=True)
    (box,) = [box for box in md.draw((slope * slope).sum(), {"w": w}).boxes if box.name == "w"]
    np.testing.assert_array_equal(box.gradient, [0, 0])


def test_names_are_escaped():
    w = Tensor(x(3), requires_grad=True)
    drawing = md.draw(w.sum(), {'<w & "v">': w})
    assert '<w & "v">' in [text.text for text in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def test_a_file(tmp_path):
    drawing = md.draw(mlp()[0])
    drawing.save(tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8").strip() == drawing._repr_svg_()
    with pytest.raises(ValueError, match=r"draw: save: expected a path that ends in .svg"):
        drawing.save(tmp_path / "graph.png")


# ── What it is called ────────────────────────────────────────────────────────────────────────────────────────────────

# What no function of F or md is called: operators, and what the engine calls by itself.
APART = {
    "+",
    "-",
    "*",
    "/",
    "**",
    "@",
    "getitem",
    "sum over broadcast axes",
    "sum over shards",
    "backward hook",
}
# Named after what an object was given, or only the base of others.
OTHERWISE = {
    "Activation", "ActivationFromY", "ActivationGrad", "ActivationInPlace", "ElementLoss", "Elementary",
    "Flat", "Gate", "PowNumber",
    "Recurrence", "RowNorm", "_Fused",
}  # fmt: skip


def classes(base=Op):
    for kind in base.__subclasses__():
        if kind.__module__.startswith("minidl."):
            yield kind.__name__
            yield from classes(kind)


@pytest.mark.parametrize("kind", sorted(set(classes()) - OTHERWISE))
def test_ops_have_names_that_users_know(kind):
    name = class_name(kind).removeprefix("second ")
    known = name.removeprefix("gradient of ").removesuffix("'s weight")
    assert hasattr(F, known) or hasattr(md, known) or known in APART


W = Tensor(x(2, 2), requires_grad=True)
IMAGE = Tensor(x(1, 2, 4, 4), requires_grad=True)


@pytest.mark.parametrize(
    ("y", "name"),
    [
        (F.relu(W), "relu"),
        (F.leaky_relu(W, 0.3), "leaky_relu(0.3)"),
        (F.relu(W * 1, inplace=True), "relu"),
        (F.prelu(W, W[0]), "prelu"),
        (W**3, "** 3"),
        (W**W, "**"),
        (W.mean(), "mean"),
        (W.sum(), "sum"),
        (W.max(), "max"),
        (W.min(axis=0), "min"),
        (W @ W, "@"),
        (-W, "neg"),
        (W[0], "getitem"),
        (W.T, "transpose"),
        (F.affine(W, W, W[0], "elu"), "affine + elu(1)"),
        (F.conv(IMAGE, IMAGE, padding=1, activation=("leaky_relu", 0.1)), "conv + leaky_relu(0.1)"),
        (F.max_pool(IMAGE, 2), "max_pool"),
        (F.rnn(IMAGE[0], md.zeros(4, 2), md.ones(2, 4), md.ones(2, 2))[0], "rnn"),
        (F.mse_loss(W, x(2, 2)), "mse_loss"),
        (F.dropout(W, 0.5, True), "dropout"),
        (md.grad(F.tanh(W).sum(), W, create_graph=True), "gradient of tanh"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_called(y, name):
    assert op_name(y._op) == name


def test_own_ops_keep_their_names():
    class Twice(Op):
        def forward(self, x):
            return 2 * x

        def backward(self, gy):
            return gy * 2

    w = Tensor(x(3), requires_grad=True)
    assert titles(md.draw(Twice()(w).sum())) == ["input", "Twice", "sum"]


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_graph_that_was_freed():
    y, _ = mlp()
    y.backward()
    with pytest.raises(
        RuntimeError, match=r"cross_entropy: the graph was freed.*retain_graph=True"
    ):
        md.draw(y)


def test_after_backward_that_kept_it():
    y, _ = mlp()
    y.backward(retain_graph=True)
    assert md.draw(y).boxes[-1].gradient == 1


def test_a_graph_that_is_too_large():
    w = Tensor(x(3), requires_grad=True)
    y = w
    for _ in range(300):
        y = y * w
    with pytest.raises(ValueError, match="301 boxes"):
        md.draw(y)
    assert len(md.draw(y, depth=10).boxes) == 12


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((x(2),), TypeError, "draw: y: expected a Tensor"),
        ((Tensor(x(2)),), RuntimeError, "draw: this tensor has no graph"),
        ((None, 3), TypeError, "draw: names: expected a Module or a dict"),
        ((None, {"a": 3}), TypeError, "draw: names: 'a': expected a Tensor"),
        ((None, {3: x(2)}), TypeError, "draw: names: a name must be a string"),
        ((None, None, True), ValueError, "draw: gradients: expected a result of one element"),
        ((None, None, None, 0), ValueError, "draw: depth must be an integer >= 1"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    y, *others = arguments
    y = Tensor(x(2), requires_grad=True) * 2 if y is None else y
    with pytest.raises(error, match=message):
        md.draw(y, *others)


@pytest.mark.skipif(PURE, reason="nothing is captured")
def test_nothing_is_read_while_a_step_is_captured():
    w = nn.Parameter(x(3))
    step = md.capture(lambda v: md.draw((w * v).sum()).text)
    with pytest.raises(md.CaptureError, match="draw"):
        step(Tensor(x(3)))


def test_initial_values_of_a_network_do_not_matter():
    """A dead network's gradients are 0, not NaN."""
    model = nn.Sequential(nn.Affine(2, 3, weight=init.Constant(0.0), bias=False), nn.ReLU())
    assert all(
        np.all(box.gradient == 0) for box in md.draw(model(x(2, 2)).sum(), model).boxes[1:-2]
    )
