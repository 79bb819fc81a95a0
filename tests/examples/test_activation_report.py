"""The report on activations: its runs resume and repeat, its statistics are right, its sentences follow
the figures.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import minidl as md

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import activation_report  # noqa: E402
from study import findings, plan, run, runs, statistics  # noqa: E402
from study.page import Page  # noqa: E402
from study.results import Results  # noqa: E402

TINY = replace(
    plan.QUICK, train=200, seeds=2, units=8, epochs=2, slopes=(0.0, 0.2, 1.0), small=100,
    small_epochs=1, depths=(1, 3), depth_units=6, depth_epochs=2, depth_seeds=2, probe=20,
)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(plan.SCALES, "digits", TINY)
    some = {name: plan.ACTIVATIONS[name] for name in plan.INITIALIZERS}
    monkeypatch.setattr(plan, "ACTIVATIONS", some)
    monkeypatch.setattr(plan, "CURES", plan.CURES[:2])


def settings(count=4, **more):
    chosen = plan.experiments("digits", TINY)["depth"][:: len(plan.INITIALIZERS)]
    return [one | more for one in chosen[:count]]


# ── Runs ────────────────────────────────────────────────────────────────────────────────────────


def test_results_do_not_depend_on_the_number_of_processes(tmp_path):
    todo = settings(3)
    found = {}
    for jobs in (1, 2):
        runs.run_all(todo, tmp_path / f"{jobs}", jobs, None, lambda result: None)
        files = sorted((tmp_path / f"{jobs}").iterdir())
        found[jobs] = {path.name: path.read_bytes() for path in files}
    assert len(found[1]) == 3 and found[1] == found[2]


def test_a_run_that_is_interrupted_has_no_result(monkeypatch):
    """`md.fit` ends quietly at Ctrl-C: what it has learned until then is not the result of these settings."""
    step = run.optim.CosineLR.step

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        step(self)

    monkeypatch.setattr(run.optim.CosineLR, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(settings(1)[0])


def test_an_interrupted_study_goes_on_where_it_was(tmp_path, capsys):
    todo = settings(4)
    count = 0

    def interrupt(result):
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run_all(todo, tmp_path, 1, None, interrupt)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(before) == 2
    runs.train(todo, tmp_path, 1, None)
    assert "2 of 4 runs are there already" in capsys.readouterr().out
    assert len(runs.results(todo, tmp_path)) == 4
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    threads = md.get_num_threads()
    runs.train(todo, tmp_path, 1, None)  # nothing is left to do
    assert capsys.readouterr().out == "" and md.get_num_threads() == threads


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "activation_report.py"), "--quick", "--jobs"]
    command += ["2", "--only", "slopes", "--seeds", "2", "--epochs", "1", "--out", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.getenv("PYTHONPATH", "")])}
    options = {"cwd": tmp_path, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, text=True, start_new_session=True, **options)
    folder = tmp_path / "activation_study" / "digits-quick" / "runs"
    deadline = time.monotonic() + 100
    while not list(folder.glob("*.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    output, _ = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("it was done before it could be interrupted")
    assert process.returncode == 130 and "finished runs are kept" in output, output
    assert "Traceback" not in output, output
    kept = list(folder.glob("*.json"))
    assert kept and all(json.loads(path.read_text())["settings"] for path in kept)


def test_what_changed_is_not_taken_from_an_earlier_run(tmp_path, monkeypatch):
    (one,) = settings(1)
    name = runs.file_of(tmp_path, one)
    assert name == runs.file_of(tmp_path, dict(reversed(one.items())))
    for key, value in (("epochs", 9), ("lr", 0.1), ("train", None), ("seed", 5), ("data", "mnist")):
        assert runs.file_of(tmp_path, one | {key: value}) != name, key
    with monkeypatch.context() as patch:
        patch.setattr(md, "__version__", "another")
        assert runs.file_of(tmp_path, one) != name
    with monkeypatch.context() as patch:  # other code
        patch.setattr(runs, "CODE", ("plan.py",))
        assert runs.file_of(tmp_path, one) != name
    assert runs.kept(tmp_path, one) is None


def test_a_run_measures_what_is_asked():
    (one,) = settings(1, activation="PReLU", depth=3, normalisation="LayerNorm")
    result = run.run(one)
    assert len(result["val_accuracy"]) == len(result["accuracy"]) == TINY.depth_epochs
    assert np.shape(result["dead"]) == np.shape(result["saturated"]) == (3, 3)  # layers, 0 + epochs
    assert np.shape(result["zeros"]) == np.shape(result["slopes"]) == (3, 3)
    assert result["slopes"][0] == [0.25] * 3 and result["slopes"][-1] != [0.25] * 3
    assert result["gradients"]["at"][0] == 1 and len(result["gradients"]["norms"]) == 3
    assert all(norm > 0 for row in result["gradients"]["norms"] for norm in row)
    json.dumps(result)


def test_a_training_that_breaks_off_is_a_result_too():
    (one,) = settings(1, lr=1e30, activation="ReLU")
    result = run.run(one)
    assert "loss is" in result["failed"] and 0 <= result["final"]["validation"] <= 1


def test_all_activations_start_from_the_same_weights_and_maxout_has_as_many_parameters():
    counts, first = {}, {}
    for one in plan.experiments("digits", TINY)["layer"]:
        if one["seed"] == 0:
            md.manual_seed(0)
            model = run.network(one | {"units": 128})
            counts[one["activation"]] = model.num_parameters()
            first[one["activation"]] = next(model.parameters()).data
    assert counts["ReLU"] == counts["tanh"] == counts["PReLU"] - 128
    assert np.array_equal(first["ReLU"], first["PReLU"])
    assert abs(counts["Maxout"] / counts["ReLU"] - 1) < 0.01


def test_a_slope_of_0_is_relu_and_of_1_is_linear():
    one = next(s for s in plan.experiments("digits", TINY)["layer"] if s["activation"] == "ReLU")
    relu, linear = run.run(one), run.run(one | {"activation": "linear"})
    leaky = one | {"activation": "LeakyReLU"}
    assert run.run(leaky | {"slope": 0.0})["final"] == relu["final"]
    assert run.run(leaky | {"slope": 1.0})["val_accuracy"] == linear["val_accuracy"]


# ── Statistics ──────────────────────────────────────────────────────────────────────────────────


def test_t_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    for df in range(1, 13):
        for t in (0.0, 0.3, 1.0, 2.5, 7.0, 40.0):
            assert statistics.t_tail(t, df) == pytest.approx(stats.t.sf(t, df), rel=1e-6, abs=1e-15)
        assert statistics.t_quantile(0.975, df) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-9)


def test_comparisons_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 8):
        a, b = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
        ours, theirs = statistics.paired(a, b), stats.ttest_rel(a, b)
        assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9) and ours.n == n
        low, high = theirs.confidence_interval()
        assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9)
        exact = stats.permutation_test(
            (a - b,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert ours.exact == pytest.approx(exact.pvalue, rel=1e-9)
        assert ours.effect == pytest.approx(np.mean(a - b) / np.std(a - b, ddof=1))


def test_comparisons_at_the_edges():
    same = statistics.paired([0.5, 0.6], [0.5, 0.6])
    assert same.p == same.exact == 1 and same.effect == same.mean == 0
    shifted = statistics.paired([0.5, 0.6, 0.7], [0.4, 0.5, 0.6])  # no variance: no t-test
    assert shifted.p == shifted.exact == 0.25
    one = statistics.paired([0.5], [0.4])
    assert np.isnan(one.p) and findings.verdict(one, one.p) == findings.OPEN
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, float("nan"), 0.02])[::2] == pytest.approx([0.9, 0.04])


# ── Findings ────────────────────────────────────────────────────────────────────────────────────


def layer_results(**means):
    """Results as if each activation had reached such accuracies, with a little noise."""
    rng = np.random.default_rng(0)
    one = plan.experiments("digits", TINY)["layer"][0]
    made = []
    for name, mean in means.items():
        for seed in range(5):
            end = mean + rng.normal(0, 0.001)
            made.append(
                {
                    "settings": one | {"activation": name, "seed": seed},
                    "final": {"validation": end, "train": 1.0},
                    "val_accuracy": [end - 0.1, end],
                }
            )
    return Results(made)


@pytest.mark.parametrize(
    ("sigmoid", "tanh", "expected"),
    [
        (0.90, 0.92, "holds"),
        (0.99, 0.98, "does not hold"),
        (0.95, 0.95, "not decided"),
        (0.90, 0.95, "holds in part"),
    ],
)
def test_verdicts_follow_the_figures(sigmoid, tanh, expected):
    results = layer_results(ReLU=0.95, sigmoid=sigmoid, tanh=tanh)
    found = {f.claim: f for f in findings.of_layer(results)}
    claim = found["ReLU beats sigmoid and tanh"]
    assert claim.verdict == expected
    assert ("ReLU beats sigmoid in" in claim.sentence) == (sigmoid < 0.95)
    assert ("ReLU falls behind sigmoid in" in claim.sentence) == (sigmoid > 0.95)
    assert "Leaky ReLU (0.01) beats ReLU" not in found  # it was not there


def test_few_data_and_prelu():
    def verdict(**means):
        found = findings.of_small(layer_results(ReLU=0.9, **means))
        return {f.claim.split()[0]: f.verdict for f in found}

    assert verdict(PReLU=0.8, RReLU=0.95) == {"PReLU": "holds", "RReLU": "holds"}
    assert verdict(PReLU=0.95, RReLU=0.93) == {"PReLU": "does not hold", "RReLU": "holds in part"}
    assert verdict(PReLU=0.9, RReLU=0.85) == {"PReLU": "not decided", "RReLU": "does not hold"}


def depth_results(healed):
    """Deep sigmoid fails without a cure; with one it trains if `healed`."""
    made = []
    for one in plan.experiments("digits", TINY)["depth"]:
        deep = one["depth"] == 3
        cured = one["initializer"] != "default" or one["normalisation"]
        fails = one["activation"] == "sigmoid" and deep and not (cured and healed)
        norms = [[1e-6 if fails else 1.0]] * (one["depth"] - 1) + [[1.0]]
        made.append(
            {
                "settings": one,
                "final": {"validation": 0.1 if fails else 0.9},
                "gradients": {"at": [1], "norms": norms},
            }
        )
    return Results(made)


@pytest.mark.parametrize(("healed", "expected"), [(True, "holds"), (False, "does not hold")])
def test_cures(healed, expected):
    found = {f.claim: f.verdict for f in findings.of_depth(depth_results(healed))}
    assert found["Deep sigmoid networks do not train"] == "holds"
    assert found["The gradients of deep sigmoid networks vanish towards the pixels"] == "holds"
    assert found["With ReLU they do not"] == "holds"
    assert found["Another activation than sigmoid is the cure"] == "holds"
    assert found["A good initializer cures it"] == found["LayerNorm cures it"] == expected


# ── All of it ───────────────────────────────────────────────────────────────────────────────────


def test_the_whole_study(tmp_path, monkeypatch, capsys, tiny):
    pytest.importorskip("matplotlib")
    looked = []
    real = run.test_images
    monkeypatch.setattr(run, "test_images", lambda *a: looked.append(a) or real(*a))
    argv = ["--jobs", "1", "--out", str(tmp_path), f"--publish={tmp_path / 'docs'}"]
    assert activation_report.main(argv) == 0
    folder = tmp_path / "activation_study" / "digits"
    page = (folder / "activation_study.html").read_text("utf-8")
    pictures = {path.name for path in folder.glob("*.png")}
    assert len(pictures) == 10 and page.count("data:image/png;base64,") == 10
    assert "ReLU beats sigmoid and tanh" in page and "On the test images" in page
    assert "Made by <code>python examples/activation_report.py</code>" in page
    published = {path.name for path in (tmp_path / "docs").iterdir()}
    assert published == pictures | {"README.md"}
    text = (tmp_path / "docs" / "README.md").read_text("utf-8")
    assert all(f"({name})" in text for name in pictures)
    # The test images are looked at once per seed of the configuration that is named, at the end.
    assert len(looked) == 2
    results = [json.loads(path.read_text()) for path in (folder / "runs").glob("*.json")]
    assert sum("test_accuracy" in result for result in results) == 2
    assert "left; " in capsys.readouterr().out


def test_the_page_names_the_command_that_makes_it_again():
    def said(*argv):
        return activation_report.command(activation_report.arguments(list(argv)))

    assert said("--jobs=3", "--out", "x", "--data-root", "y") == said()
    assert said("--data", "mnist") == "python examples/activation_report.py --data mnist"
    words = ["--quick", "--only", "slopes", "depth", "--seeds", "2"]
    assert said(*words, "--publish", "z") == " ".join([said(), *words])


def test_without_matplotlib_the_tables_are_written(tmp_path, monkeypatch, capsys, tiny):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "study.figures", raising=False)
    monkeypatch.delattr(sys.modules["study"], "figures", raising=False)
    argv = ["--only", "layer", "--jobs", "1", "--epochs", "1", "--out", str(tmp_path)]
    assert activation_report.main(argv) == 0
    assert 'pip install "minidl[plot]"' in capsys.readouterr().out
    assert "| ReLU |" in (tmp_path / "activation_study" / "digits" / "README.md").read_text("utf-8")


def test_a_page_in_both_forms(tmp_path):
    page = Page("A & B")
    page.text("`x < 1` is **bold**")
    page.table(["a", "b"], [[1, "<"]])
    page.list(["one"])
    assert "| a | b |\n| --- | --- |\n| 1 | < |" in page.markdown()
    text = page.html(tmp_path)
    assert "<code>x &lt; 1</code> is <strong>bold</strong>" in text
    assert "<h1>A &amp; B</h1>" in text and "<td>&lt;</td>" in text and "<li>one</li>" in text
