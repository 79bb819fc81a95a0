"""benchmarks/dcgan_quality.py: PyTorch plays the same game as examples/dcgan.py; the table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "benchmarks")]

import dcgan_quality  # noqa: E402
import dcgan_study  # noqa: E402

import minidl as md  # noqa: E402
from minidl import data  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads(), md.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    md.set_num_threads(before[1])


def test_the_same_game_in_pytorch():
    """Losses and means of the first steps; later rounding leads the two apart."""
    args = dcgan_study.arguments(["--ngf", "4", "--nz", "8"])
    ours, other = dcgan_study.game(args), dcgan_study.game(args)  # the other's noise is the same
    theirs = dcgan_quality.TorchGan(other, 8, 4)
    real = np.random.default_rng(0).uniform(-1, 1, (16, 1, 32, 32)).astype(np.float32)
    for _ in range(3):
        here, there = ours.step(real), theirs.step(real)
        assert [here[name] for name in there] == pytest.approx(list(there.values()), rel=1e-5)
    before = other.G.state_dict()
    theirs.hand_over(other)
    after = other.G.state_dict()
    noise = np.ones((2, 8, 1, 1), np.float32)
    assert any((after[name] != before[name]).any() for name in before)
    np.testing.assert_allclose(other.samples(noise), ours.samples(noise), atol=1e-4)


def test_a_run_is_kept_and_told(tmp_path, monkeypatch, capsys):
    """From the digits, the smallest run there is; a second start repeats nothing."""
    monkeypatch.setattr(data, "mnist", data.digits)
    path = tmp_path / "quality" / "q.json"
    short = ["--seeds", "1", "--epochs", "1", "--images", "64", "--ngf", "4", "--threads", "1"]
    command = ["dcgan_quality.py", *short, "--compared", "32", "--out", str(path)]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", command)
        dcgan_quality.main()
    monkeypatch.setattr(sys, "argv", [*command, "--compared", "33"])
    with pytest.raises(SystemExit, match="has runs of other settings"):
        dcgan_quality.main()
    assert capsys.readouterr().out.count("seed 0 epoch 1/1") == 2
    assert list(json.loads(path.read_text())["runs"]) == ["minidl-0", "torch-0"]
    table = path.with_suffix(".md").read_text()
    assert "| minidl, seed 0 | " in table and "| training images (the target level) | " in table


def test_means_and_deviations():
    def run(framework, seed, distance):
        row = {"frechet": distance, "precision": 0.5, "recall": 0.25, "classes_gap": 0.1}
        return {"framework": framework, "seed": seed, "epochs": [row]}

    settings = {"images": 60000, "epochs": 1, "ngf": 32, "torch": "9", "compared": 5, "accuracy": 1}
    runs = {str(i): run(f, i % 2, 10.0 + i) for i, f in enumerate(["minidl"] * 2 + ["torch"] * 2)}
    result = {"settings": settings, "runs": runs, "training_images": run("", 0, 1.0)["epochs"][0]}
    text = dcgan_quality.table(result)
    assert "| **minidl**, mean ± deviation | 10.50 ± 0.71 | 50.0% ± 0.0% | 25.0% ± 0.0% |" in text
    assert "| **torch**, mean ± deviation | 12.50 ± 0.71 |" in text
