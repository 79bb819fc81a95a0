"""RNN, LSTM, GRU and MultiheadAttention: as PyTorch's layers with the same weights."""

from itertools import product

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl._source import PURE

RNG = np.random.default_rng(0)
KINDS = ("RNN", "LSTM", "GRU")


def draw(*shape):
    return RNG.standard_normal(shape)


def both(torch, name, *args, **options):
    """A layer here and there with the same weights, in float64."""
    ours = getattr(nn, name)(*args, **options).astype("float64")
    theirs = getattr(torch.nn, name)(*args, **options).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def same(ours, theirs, rtol=1e-9):
    ours, theirs = (x.data if isinstance(x, md.Tensor) else x for x in (ours, theirs.detach()))
    assert ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=rtol, atol=1e-10)


def flat(result):
    """The tensors of (y, state)."""
    y, state = result
    return [y, *state] if isinstance(state, tuple) else [y, state]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "batch_first": True, "bias": False},
        {"bidirectional": True, "batch_first": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("given", [False, True])
def test_recurrent_layers_as_in_pytorch(kind, options, given):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, kind, 3, 4, **options)
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    x = draw(2, 5, 3) if options.get("batch_first") else draw(5, 2, 3)
    state = draw(count, 2, 4), draw(count, 2, 4)
    xs = [x, *state[: 1 + (kind == "LSTM")]] if given else [x]
    mine = [md.Tensor(a, requires_grad=True) for a in xs]
    others = [torch.tensor(a, requires_grad=True) for a in xs]
    results = []
    for model, tensors in ((ours, mine), (theirs, others)):
        start = [] if not given else [tuple(tensors[1:]) if kind == "LSTM" else tensors[1]]
        results.append(flat(model(tensors[0], *start)))
    for y, z in zip(*results, strict=True):
        same(y, z)
    for result in results:
        sum((y * y).sum() * (i + 1) for i, y in enumerate(result)).backward()
    for a, b in zip(mine, others, strict=True):
        same(a.grad, b.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        same(p.grad, q.grad)


@pytest.mark.parametrize("kind", KINDS)
def test_second_order_as_in_pytorch(kind):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, kind, 3, 2, bidirectional=True)
    x = draw(4, 2, 3)
    a, b = md.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    (ga,) = [md.grad((ours(a)[0] ** 3).sum(), a, create_graph=True)]
    (gb,) = torch.autograd.grad((theirs(b)[0] ** 3).sum(), b, create_graph=True)
    same(ga, gb)
    for p, q in zip(
        md.grad((ga * ga).sum(), list(ours.parameters()), allow_unused=True),
        torch.autograd.grad((gb * gb).sum(), list(theirs.parameters()), allow_unused=True),
        strict=True,
    ):
        same(p, q)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_without_a_batch(kind):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, kind, 3, 4, num_layers=2)
    for y, z in zip(
        flat(ours(draw_once := draw(5, 3))), flat(theirs(torch.tensor(draw_once))), strict=True
    ):
        same(y, z)


def test_relu_and_dropout_between_layers():
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, "RNN", 3, 4, 2, nonlinearity="relu")
    x = draw(5, 2, 3)
    same(ours(x)[0], theirs(torch.tensor(x))[0])
    layer = nn.GRU(3, 4, num_layers=2, dropout=1.0)
    nothing = nn.GRU(3, 4, num_layers=2, dropout=1.0)
    nothing.load_state_dict(layer.state_dict())
    x = x.astype("float32")
    upper = F.gru(np.zeros((5, 2, 4), "float32"), None, *list(layer.parameters())[4:])[0]
    np.testing.assert_array_equal(
        layer(x)[0].data, upper.data
    )  # all that the upper layer gets is dropped
    assert not np.array_equal(layer.eval()(x)[0].data, upper.data)
    seeded = [nn.LSTM(3, 4, num_layers=2, dropout=0.5, rng=1) for _ in range(2)]
    seeded[1].load_state_dict(seeded[0].state_dict())
    np.testing.assert_array_equal(seeded[0](x)[0].data, seeded[1](x)[0].data)


def test_how_they_start_and_what_they_say():
    layer = nn.LSTM(3, 400, num_layers=2, bidirectional=True, lr_mult={"bias_hh_l1": 0.0})
    assert all(0.04 < np.abs(p.data).max() <= 0.05 for p in layer.parameters())
    assert layer.bias_hh_l1.lr_mult == 0 and layer.bias_hh_l1_reverse.lr_mult == 1
    assert repr(layer).startswith(
        "LSTM(3, 400, num_layers=2, bidirectional=True; weight_ih_l0 (1600, 3)"
    )
    assert "nonlinearity='relu'" in repr(nn.RNN(2, 2, nonlinearity="relu"))
    assert [n for n, _ in nn.GRU(2, 3, bias=False).named_parameters()] == [
        "weight_ih_l0",
        "weight_hh_l0",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_step_has_the_same_bits(kind):
    md.manual_seed(0)
    models = [getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [optim.Adam(model.parameters(), 0.05) for model in models]

    def steps(model, optimizer):
        def step(x):
            optimizer.zero_grad()
            loss = (model(x)[0] ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    plain, captured = steps(models[0], optimizers[0]), md.capture(steps(models[1], optimizers[1]))
    for _ in range(4):
        x = md.Tensor(draw(5, 2, 3).astype("float32"))
        assert plain(x).item() == captured(x).item()
    assert captured.records == 1 or PURE


def test_a_weight_of_a_recurrent_layer_can_be_normalised():
    layer = nn.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    layer(draw(5, 2, 3).astype("float32"))[0].sum().backward()
    assert layer.weight_hh_l0_g.grad is not None and layer.weight_hh_l0_v.grad is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LSTM(3, 4)(draw(5, 2, 4)), r"LSTM: expected x \(T, N, C\) .*C = 3, got .*5, 2, 4"),
        (lambda: nn.LSTM(3, 4)(draw(5, 2, 3), draw(1, 2, 4)), r"LSTM: state: expected \(h, c\)"),
        (lambda: nn.LSTM(3, 4)(draw(5, 2, 3), (draw(1, 2, 4), draw(1, 1, 4))), "LSTM: state: c: exp"),
        (lambda: nn.GRU(3, 4)(draw(5, 2, 3), draw(2, 2, 4)), r"GRU: state: expected shape \(1, 2, 4\)"),
        (lambda: nn.GRU(3, 4)(draw(0, 2, 3)), "gru: x: expected .* one step or more"),
        (lambda: nn.RNN(3, 4, nonlinearity="elu"), "RNN: nonlinearity: expected"),
        (lambda: F.lstm(draw(2, 2, 3), None, draw(16, 3), draw(12, 4)), r"lstm: weight_hh: expected shape \(4 H"),
        (lambda: F.gru(draw(2, 2, 3), None, draw(12, 4), draw(12, 4)), "gru: weight_ih: expected shape"),
        (lambda: nn.MultiheadAttention(6, 4), "num_heads=4 does not divide embed_dim=6"),
        (lambda: nn.MultiheadAttention(4, 2)(draw(5, 2, 3)), "MultiheadAttention: query: expected 3 axes"),
        (lambda: nn.MultiheadAttention(4, 2)(draw(5, 2, 4), draw(5, 3, 4)), "key: expected 2 samples"),
        (
            lambda: nn.MultiheadAttention(4, 2)(draw(5, 2, 4), attn_mask=np.ones((5, 4), bool)),
            r"attn_mask: expected shape \(5, 5\), got \(5, 4\)",
        ),
        (lambda: F.scaled_dot_product_attention(draw(2, 3), draw(4, 2), draw(4, 2)), "k: expected 3 fe"),
        (lambda: F.scaled_dot_product_attention(draw(2, 3), draw(4, 3), draw(5, 2)), "v: expected as many"),
        (
            lambda: F.scaled_dot_product_attention(draw(2, 3), draw(4, 3), draw(4, 3), np.ones((2, 3), bool)),
            r"mask: expected a shape that broadcasts to \(2, 4\)",
        ),
    ],
)  # fmt: skip
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ── Attention ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kind", [None, "bool", "float"])
def test_attention_as_in_pytorch(kind, is_causal):
    torch = pytest.importorskip("torch")
    q, k, v = draw(2, 3, 5, 4), draw(2, 3, 5, 4), draw(2, 3, 5, 6)
    mask = {None: None, "bool": draw(2, 1, 5, 5) > -0.5, "float": draw(5, 5)}[kind]
    given = None if mask is None else torch.tensor(mask)
    if is_causal and mask is not None:  # there one or the other
        causal = torch.ones(5, 5, dtype=torch.bool).tril()
        given = given & causal if kind == "bool" else given.masked_fill(~causal, -torch.inf)
    mine = [md.Tensor(a, requires_grad=True) for a in (q, k, v)]
    others = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    attend = torch.nn.functional.scaled_dot_product_attention
    y = F.scaled_dot_product_attention(*mine, mask, is_causal)
    z = attend(*others, given, is_causal=is_causal and mask is None)
    same(y, z)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for a, b in zip(mine, others, strict=True):
        same(a.grad, b.grad)


def test_a_query_that_may_attend_to_nothing():
    q = md.Tensor(draw(2, 3), requires_grad=True)
    allowed = np.array([[True, False], [False, False]])
    y = F.scaled_dot_product_attention(q, draw(2, 3), np.ones((2, 1)), allowed)
    assert y.data.tolist() == [[1.0], [0.0]]
    y.sum().backward()
    assert np.isfinite(q.grad.data).all()


@pytest.mark.parametrize(
    ("options", "masks"),
    list(
        product(
            [{}, {"batch_first": True, "bias": False}, {"kdim": 3, "vdim": 5, "batch_first": True}],
            [
                (),
                ("key_padding_mask",),
                ("attn_mask",),
                ("key_padding_mask", "attn_mask"),
                ("each head",),
            ],
        )
    ),
)
def test_multihead_attention_as_in_pytorch(options, masks):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, "MultiheadAttention", 8, 2, **options)
    shapes = [(3, 4, 8), (3, 6, options.get("kdim", 8)), (3, 6, options.get("vdim", 8))]
    if not options.get("batch_first"):
        shapes = [(n, b, e) for b, n, e in shapes]
    inputs = [draw(*shape) for shape in shapes]
    given = {}
    if "key_padding_mask" in masks:
        given["key_padding_mask"] = np.arange(6) >= np.array([[6], [4], [1]])
    if "attn_mask" in masks:
        given["attn_mask"] = np.arange(6) > np.arange(4)[:, None] + 1
    if "each head" in masks:
        given["attn_mask"] = draw(6, 4, 6)
    there = {name: torch.tensor(mask) for name, mask in given.items()}
    for average in (True, False):
        y, weights = ours(*inputs, average_attn_weights=average, **given)
        z, others = theirs(
            *[torch.tensor(a) for a in inputs], average_attn_weights=average, **there
        )
        same(y, z)
        same(weights, others)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        same(p.grad, q.grad)


def test_self_attention_of_one_sequence():
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, "MultiheadAttention", 6, 3)
    x = draw(4, 6)
    y, weights = ours(x, is_causal=True)
    mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
    z, others = theirs(*[torch.tensor(x)] * 3, attn_mask=mask)
    same(y, z)
    same(weights, others)
    assert ours(x, need_weights=False)[1] is None
    assert ours.in_proj_bias.data.max() == 0 and "num_heads=3" in repr(ours)
    dropping = nn.MultiheadAttention(6, 3, dropout=1.0)
    assert (dropping(x.astype("float32"))[0].data == dropping.out_proj.bias.data).all()
    assert not (dropping.eval()(x.astype("float32"))[0].data == 0).all()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)])
def test_attention_of_no_samples_or_no_places(shape):
    x = md.Tensor(np.zeros(shape, "float32"), requires_grad=True)
    y, weights = nn.MultiheadAttention(4, 2, batch_first=True)(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape and weights.shape == (*shape[:2], shape[1])


def test_attention_is_captured():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def step(x, padding):
        layer.zero_grad()
        loss = (layer(x, key_padding_mask=padding)[0] ** 2).sum()
        loss.backward()
        return loss

    captured = md.capture(step)
    for i in range(3):
        x = md.Tensor(draw(3, 4, 8).astype("float32"))
        padding = md.Tensor(np.arange(4) > np.array([[3], [1 + i], [2]]))
        expected = step(x, padding).item()
        grads = [p.grad.data.copy() for p in layer.parameters()]
        assert captured(x, padding).item() == expected
        for p, g in zip(layer.parameters(), grads, strict=True):
            np.testing.assert_array_equal(p.grad.data, g)
    assert captured.records == 1 or PURE


@pytest.mark.parametrize("shape", [(2, 3, 256, 8), (1, 129, 4), (64, 5), (300, 2)])
@pytest.mark.parametrize("keys", [None, 40, 400])
def test_causal_attention_in_blocks_is_that_of_the_mask(shape, keys):
    """Blocks of queries leave out keys that none of them may attend to; the mask says so to each of them."""
    lengths = (shape, *[(*shape[:-2], keys or shape[-2], shape[-1])] * 2)
    found = []
    for how in (
        {"is_causal": True},
        {"mask": np.tril(np.ones((shape[-2], keys or shape[-2]), bool))},
    ):
        rng = np.random.default_rng(1)
        leaves = [md.Tensor(rng.normal(size=s), requires_grad=True) for s in lengths]
        y = F.scaled_dot_product_attention(*leaves, **how)
        y.backward(rng.normal(size=y.shape))
        found.append([y.numpy(), *[leaf.grad.numpy() for leaf in leaves]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 600, 4), (40, 70, 4), (2, 3, 65, 4), (9, 4)])
@pytest.mark.parametrize("keys", [None, 30, 700])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_attention_in_blocks_is_that_of_a_mask(shape, keys, dtype):
    """Some queries, or some matrices, at a time; with a mask all scores are there at once. Captured, the same bits."""
    keys = keys or shape[-2]
    lengths = (shape, (*shape[:-2], keys, shape[-1]), (*shape[:-2], keys, 5))
    rng, found = np.random.default_rng(1), []
    arrays = [rng.normal(size=s).astype(dtype) for s in lengths]
    gy = rng.normal(size=(*shape[:-1], 5)).astype(dtype)

    def step(q, k, v, **how):
        y = F.scaled_dot_product_attention(q, k, v, **how)
        return [y, *md.grad(y, (q, k, v), md.Tensor(gy))]

    for how in ({}, {"mask": np.ones((shape[-2], keys), bool)}):
        leaves = [md.Tensor(x, requires_grad=True) for x in arrays]
        found.append([t.numpy() for t in step(*leaves, **how)])
    rtol, atol = (1e-4, 1e-5) if dtype == "float32" else (1e-10, 1e-12)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)
    leaves = [md.Tensor(x, requires_grad=True) for x in arrays]

    def causal(gy):
        y = F.scaled_dot_product_attention(*leaves, is_causal=True)
        return [y, *md.grad(y, leaves, gy)]

    captured, expected = md.capture(causal), causal(md.Tensor(gy))
    for _ in range(2):
        for one, other in zip(captured(md.Tensor(gy)), expected, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_attention_of_heads_that_share_their_keys():
    """The axes before the last two broadcast; each gradient is summed over what was repeated."""
    q, k, v = draw(2, 3, 7, 4), draw(2, 1, 5, 4), draw(5, 6)
    both = []
    for mask in (None, np.ones((7, 5), bool)):
        leaves = [md.Tensor(x, requires_grad=True) for x in (q, k, v)]
        y = F.scaled_dot_product_attention(*leaves, mask)
        (y * y).sum().backward()
        both.append([y.numpy(), *[leaf.grad.numpy() for leaf in leaves]])
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_operands_and_gradients_may_lie_in_memory_as_they_like(kind):
    """Those of a sum have no memory of their own; transposed ones no rows."""
    gates, rng = {"rnn": 1, "lstm": 4, "gru": 3}[kind], np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((6, 3, 4), (5, 3), (4, gates * 5), (5, gates * 5))]
    bias = rng.standard_normal((gates * 5, 2))
    results = []
    for copy in (np.ascontiguousarray, lambda x: x):
        x, h, w, wh = (
            md.Tensor(copy(a.T if a.ndim == 2 else a[::2]), requires_grad=True) for a in arrays
        )
        b = md.Tensor(copy(bias[:, 0]), requires_grad=True)
        state = (h, h) if kind == "lstm" else h
        y = getattr(F, kind)(x, state, w, wh, b, b)[0]
        y.sum().backward()
        results.append([y.data, *[p.grad.data for p in (x, h, w, wh, b)]])
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, 1e-11, 1e-12)
