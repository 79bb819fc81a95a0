"""benchmarks/ulp.py: what it compares with what, what it keeps, and that its page says what was compared."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import ulp
from accuracy import compare, kept, page, truth
from accuracy.definitions import ROWS, TRUTH
from accuracy.sample import BLOCK, Sample, blocks, doubles

if shutil.which("cc") is None or np.finfo(np.longdouble).nmant < 63:
    pytest.skip("needs a C compiler and a long double of 64 bits", allow_module_level=True)

INF, NAN = np.inf, np.nan


def test_every_float_is_tried_once_and_in_order():
    starts = Sample(1, 0, 0).starts()
    assert starts == list(range(0, truth.FLOATS, BLOCK))
    first, last = truth.floats(0, 3), truth.floats(truth.FLOATS - 3, 3)
    assert first[0] == -INF and last[-1] == INF and np.isfinite([*first[1:], *last[:2]]).all()
    zero = truth.FLOATS // 2
    np.testing.assert_array_equal(np.signbit(truth.floats(zero - 1, 2)), [True, False])
    goes_on = [on for _, on in blocks("float32", Sample(16384, 8192, 0))]
    assert len(goes_on) >= 2 and not any(goes_on)


def test_doubles_are_as_many_as_asked_for_and_next_to_one_another():
    assert [len(x) for x, _ in blocks("float64", Sample(1, 0, BLOCK + 100))] == [BLOCK, 100]
    x = doubles(BLOCK, 3)
    assert (np.diff(x[1:-1]) >= 0).all() and x[0] == -INF and x[-1] == INF
    pairs = np.isin(np.nextafter(x[:-2], INF), x).mean()
    assert pairs >= 0.5 and not np.array_equal(x, doubles(BLOCK, 4))


def findings(error):
    found = truth.Findings()
    found.error = found.near_1 = error
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "at", "wrong", "what"),
    [
        ("tanh", 0.25, NAN, "error"),
        ("tanh", 0.25, INF, "infinities"),
        ("tanh", 0.0, -0.0, "zeros"),
        ("tanh", 30.0, 0.9, "falls"),
        ("exp", 1000.0, 3e38, "infinities"),
        ("exp", -1000.0, -0.0, "zeros"),
        ("relu", -1.0, -0.0, "zeros"),
        ("relu", -1.0, 1e-45, "error"),
        ("relu", 1e-40, 0.0, "error"),
        ("log", -1.0, 1.0, "error"),
        ("log", 1.0, NAN, "error"),
    ],
)
def test_a_wrong_result_is_found_among_right_ones(name, at, wrong, what, dtype):
    """Also after something worse, which leaves the error as it is."""
    x = np.sort(np.append(np.linspace(-20, 29, 2000), at)).astype(dtype)
    t = truth.true(name, x)
    with np.errstate(over="ignore"):
        y = t.astype(dtype)
    right = truth.Findings()
    truth.judge(x, y, t, right)
    assert right.error <= 0.5 and not (right.falls or right.zeros or right.infinities)
    y[x == x.dtype.type(at)] = wrong
    truth.judge(x, y, t, found := findings(0.5))
    assert getattr(found, what) >= (0.99 if what == "error" else 1)
    if what in ("zeros", "infinities"):
        truth.judge(x, y, t, found := findings(INF))
        assert getattr(found, what) == 1 and found.error == INF


def test_levels_with_the_same_bits_are_compared_once_until_they_differ():
    x = np.array([1, 2, 3], "float32")
    t, levels = x.astype(np.float64), compare.Levels(["baseline", "v3", "v4"])
    levels.judge(x, {"baseline": x, "v3": x, "v4": x}, t)
    off = x + np.array([0, 0, 1], "float32")
    levels.judge(x, {"baseline": x, "v3": off, "v4": x}, t)
    levels.judge(x, {"baseline": x, "v3": x, "v4": off + off}, t)
    errors = {name: found["error"] for name, found in levels.found().items()}
    assert errors["baseline"] == 0 and 0 < errors["v3"] < errors["v4"]


@pytest.mark.parametrize(
    ("y", "other", "differ"),
    [
        *((y, other, 1) for y in (NAN, INF, -INF, -0.0) for other in (0.0, 5e-324, 1.0)),
        *((0.0, y, 1) for y in (-5e-324, 1e-323, 1.0)),
        *((y, y, 0) for y in (NAN, INF, 0.0, 1.0)),
        *((0.0, 5e-324, 0), (5e-324, 1e-323, 0), (-0.0, -5e-324, 0), (1.0, 2.0, 0)),
    ],
)
def test_results_of_other_classes(y, other, differ):
    x, ys = np.linspace(0, 1, 9), np.ones(9)
    others = ys.copy()
    ys[4], others[4] = y, other
    assert truth.classes_differ(x, ys, others) == (differ, 0.5 if differ else 0)
    assert truth.classes_differ(x, others, ys) == (differ, 0.5 if differ else 0)


def test_what_a_function_is_made_of():
    for name in [row.name for row in ROWS] + list(TRUTH):
        assert len(kept.own_lines(name)) > 10, name
    parts = {  # of each a function that its value calls, and one that its slope or an in-place slope needs
        "tanh": ("tanh_begun(real", "tanh_ended(real", "(one - y) * (one + y)"),
        "elu": ("expm1_below_ended(real", "real exp_below_(", "y + a if y <= 0"),
        "softplus": ("softplus_ended(real", "real expm1_below_(", "softplus_begun(x, a"),
        "gelu": ("real gelu_(", "real gelu_slope_("),
        "exp": ("real exp_(",),
    }
    for name, texts in parts.items():
        source = kept.source(name).replace("real x", "real")
        assert [text for text in texts if text not in source] == [], name
    assert "tanh_" not in kept.source("elu")


def test_a_run_writes_its_page_and_keeps_what_it_found(tmp_path, monkeypatch, capfd):
    file, written = tmp_path / "kept.json", tmp_path / "page.md"
    options = [
        "--every",
        "4096",
        "--doubles",
        "3e3",
        "--only",
        "tanh,exp",
        "--workers",
        "1",
        "--kept",
    ]
    monkeypatch.setattr(sys, "argv", ["ulp.py", *options, str(file), "--write", str(written)])
    monkeypatch.setattr(ulp, "check_reference", lambda: "1e-9 ulp")  # it takes seconds

    def run():
        ulp.main()
        return capfd.readouterr().err, written.read_text(encoding="utf-8")

    said, text = run()
    assert "100%" in said and "| tanh |" in said and "No activation lies above its limit" in text
    assert "one block of 131,072 numbers in 4096" in text and "3,000 numbers" in text.replace(
        "\n", " "
    )
    assert "at most 1e-9 ulp" in " ".join(text.split()) and "\n| relu |" not in text
    assert text.count("\n| tanh |") == text.count("\n| exp |") == 2
    said, again = run()
    assert "%" not in said and again == text
    there = json.loads(file.read_text())
    there["tanh float32"]["key"] = "of other kernels"
    there["tanh float64"]["found"]["values"]["baseline"]["error"] = 1.25
    file.write_text(json.dumps(there))
    said, text = run()
    assert "| tanh |" in said and "| exp |" not in said
    assert "tanh of float64 (baseline): 1.250 ulp" in text


def test_the_page_says_which_numbers_of_which_functions():
    everything, some = Sample(1, 0, 10**8), Sample(64, 1, 10**8)
    alike = page.numbers({"Activations": everything, "Elementary functions": everything})
    assert alike == {"floats": "every number", "doubles": "100,000,000"}
    said = page.numbers({"Activations": everything, "Elementary functions": some})["floats"]
    assert said.startswith("of the activations every number, of the elementary functions every")
    assert "2^-14 to 192, and one block of 131,072 numbers in 64 of the others" in said


def test_what_is_beyond_a_limit_is_named():
    found = compare.compare("tanh", "float32", Sample(8192, 0, 0))
    assert page.beyond({("tanh", "float32"): found}) == []
    found.slopes["baseline"]["near_1"] = 2.5
    found.values["baseline"]["falls"] = found.levels["differ"] = 1
    said = page.beyond({("tanh", "float32"): found})
    assert len(said) == 3 and "2.500 ulp" in said[0] and "not monotone" in said[1]
