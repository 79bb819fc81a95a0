"""The GAN example: it runs, resumes with the same bits, warns; its measures are right."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import dcgan  # noqa: E402
import dcgan_study  # noqa: E402
from gan import game, images, quality  # noqa: E402

TINY = ["--images", "64", "--batch-size", "16", "--ngf", "4", "--nz", "8"]
FOLDER = Path("dcgan") / "digits"


@pytest.fixture(autouse=True)
def short_classifier(monkeypatch):
    load, names, epochs, _ = images.DATA["digits"]
    monkeypatch.setitem(images.DATA, "digits", (load, names, epochs, 1))


def run(out, *more):
    return dcgan_study.main([*TINY, "--no-plots", "--out", str(out), *more])


def checkpoint(out, folder=FOLDER):
    return (out / folder / "checkpoint.npz").read_bytes()


# ── Runs ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["digits", "digits-wgan-gp"])
def test_from_the_noise_to_the_pictures(tmp_path, capsys, kind):
    pytest.importorskip("matplotlib")
    more = ["--wgan-gp"] if "wgan" in kind else []
    assert dcgan_study.main([*TINY, "--epochs", "2", "--out", str(tmp_path), *more]) == 0
    folder = tmp_path / "dcgan" / kind
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "checkpoint.npz", "classes.png", "curves.png", "nearest.png", "results.json",
        "samples", "samples.png", "training.gif", "walk.gif", "walk.png",
    }  # fmt: skip
    pages = sorted(path.name for path in (folder / "samples").iterdir())
    assert pages == ["epoch_001.png", "epoch_002.png"]
    result = json.loads((folder / "results.json").read_text())
    assert all(len(values) == 2 for values in result["history"].values())
    assert sum(result["classes"].values()) == pytest.approx(1)
    assert result["figures"]["training images"]["frechet"] < result["figures"]["samples"]["frechet"]
    assert "left" in capsys.readouterr().out


@pytest.mark.parametrize("more", [(), ("--wgan-gp",)], ids=["gan", "wgan-gp"])
def test_resumed_is_bit_for_bit_as_uninterrupted(tmp_path, monkeypatch, more):
    """Stopped after an epoch, and by Ctrl-C within one."""
    folder = Path("dcgan") / ("digits-wgan-gp" if more else "digits")
    assert run(tmp_path / "whole", "--epochs", "3", *more) == 0
    assert run(tmp_path / "parts", "--epochs", "1", *more) == 0

    kind = game.WassersteinGame if more else game.Game
    step = kind.step

    def stopped(self, real):
        values = step(self, real)
        if self.steps == 6:  # the second of the second epoch
            signal.raise_signal(signal.SIGINT)
        return values

    monkeypatch.setattr(kind, "step", stopped)
    assert run(tmp_path / "parts", "--epochs", "3", "--resume", *more) == 130
    state = md.load(tmp_path / "parts" / folder / "checkpoint.npz")
    assert (state["epoch"], state["batches"], state["gan"]["steps"]) == (1, 2, 6)
    monkeypatch.setattr(kind, "step", step)
    assert run(tmp_path / "parts", "--epochs", "3", "--resume", *more) == 0
    assert checkpoint(tmp_path / "parts", folder) == checkpoint(tmp_path / "whole", folder)
    assert run(tmp_path / "other", "--epochs", "3", "--seed", "1", *more) == 0
    assert checkpoint(tmp_path / "other", folder) != checkpoint(tmp_path / "whole", folder)


def test_resume_tells_what_does_not_fit(tmp_path):
    with pytest.raises(SystemExit, match=r"checkpoint\.npz is not there"):
        run(tmp_path, "--resume")
    run(tmp_path, "--epochs", "1")
    with pytest.raises(SystemExit, match="made with nz 8, not 9"):
        run(tmp_path, "--resume", "--nz", "9")
    with pytest.raises(SystemExit, match=r"8 images, and a batch \(64\)"):
        run(tmp_path, "--images", "8", "--batch-size", "64")


def test_ctrl_c_leaves_the_handler_as_it_was(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    run(tmp_path, "--epochs", "1")
    assert signal.getsignal(signal.SIGINT) is before


def test_without_matplotlib_it_trains_and_says_so(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "matplotlib.py").write_text(
        "raise ModuleNotFoundError('No module named matplotlib', name='matplotlib')"
    )
    paths = [str(hidden), str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "dcgan_study.py"), *TINY, "--epochs", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert 'pip install "minidl[plot]"' in done.stdout
    assert not list((tmp_path / "out").rglob("*.png"))


# ── The page ──────────────────────────────────────────────────────────────────────────────────────


def test_the_page_trains_and_draws(tmp_path, capsys):
    dcgan.main(["--epochs", "1", "--images", "128", "--out", str(tmp_path)])
    assert "epoch  1/1" in capsys.readouterr().out
    assert (tmp_path / "dcgan" / "samples.png").stat().st_size > 10_000


# ── The networks and their game ─────────────────────────────────────────────────────────────────


def gan(*more):
    args = dcgan_study.arguments([*TINY, *more])
    return dcgan_study.game(args)


def real(n=16):
    return images.scaled(images.DATA["digits"][0]()[0][:n])


def test_networks_are_those_of_the_paper():
    g, d = dcgan.generator(64, 32), dcgan.discriminator(32)
    assert g(np.zeros((2, 64, 1, 1), np.float32)).shape == (2, 1, 32, 32)
    assert d(np.zeros((2, 1, 32, 32), np.float32)).shape == (2, 1)
    for net in (g, d):
        for name, value in net.named_parameters():
            if value.ndim == 4:
                assert value.data.std() == pytest.approx(0.02, rel=0.1), name
                assert abs(value.data.mean()) < 0.003, name
            elif "weight" in name:
                assert value.data.mean() == pytest.approx(1, abs=0.01), name
                assert value.data.std() == pytest.approx(0.02, rel=0.4), name
            else:
                assert not value.data.any(), name
    # A kernel has as many weights as PyTorch's tutorial network of that width; no conv has a bias.
    assert [v.shape for _, v in d.named_parameters() if v.ndim == 4] == [
        (32, 1, 4, 4), (64, 32, 4, 4), (128, 64, 4, 4), (1, 128, 4, 4),
    ]  # fmt: skip
    assert [v.shape for _, v in g.named_parameters() if v.ndim == 4] == [
        (64, 128, 4, 4), (128, 64, 4, 4), (64, 32, 4, 4), (32, 1, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize("more", [(), ("--wgan-gp",)], ids=["gan", "wgan-gp"])
def test_the_discriminator_learns_and_both_networks_change(more):
    one = gan(*more)
    before = one.state()
    first = one.step(real())
    for _ in range(19):
        last = one.step(real())
    after = one.state()
    assert last["d_loss"] < first["d_loss"]
    for net in ("G", "D"):
        for name, value in after[net].items():
            assert np.isfinite(value).all()
            if more and net == "D" and name.endswith("bias") and not value.any():
                continue
            assert (value != before[net][name]).any(), f"{net} {name}"


@pytest.mark.parametrize("more", [(), ("--wgan-gp",)], ids=["gan", "wgan-gp"])
def test_captured_steps_have_the_bits_of_the_plain_ones(more):
    captured, plain = gan(*more), gan(*more)
    plain.captured = plain.play
    if more:
        plain.critic, plain.generator = plain.play_critic, plain.play_generator
    for i in range(11):
        x = real(32)[i : i + 16]
        assert captured.step(x) == plain.step(x)
        if i == 4:
            captured.samples(captured.noise(3)), plain.samples(plain.noise(3))
    for ours, other in zip(flat(captured.state()), flat(plain.state()), strict=True):
        np.testing.assert_array_equal(ours, other)
    steps = (captured.critic, captured.generator) if more else (captured.captured,)
    assert [step.records for step in steps] == [1] * len(steps)


def flat(state):
    """All that is in a tree of dicts and lists."""
    if isinstance(state, dict | list):
        values = state.values() if isinstance(state, dict) else state
        return [leaf for value in values for leaf in flat(value)]
    return [state]


def test_a_loss_that_is_no_number_is_an_error():
    one = gan()
    next(one.D.parameters()).data[:] = np.nan
    with pytest.raises(FloatingPointError, match="step 1: the losses are nan"):
        one.step(real())


def test_slope_penalty_of_a_linear_critic():
    """The slope of <w, x> is w everywhere: the penalty is (|w| - 1)², its slope 2 (|w| - 1) w/|w|."""
    one = gan("--wgan-gp")
    w = md.Tensor(np.full((1, 1, 32, 32), 3 / 32, np.float32), requires_grad=True)  # |w| = 3
    one.D = lambda x: (x * w).sum(axis=(1, 2, 3))
    x, share = md.Tensor(real()), np.random.default_rng(0).random((16, 1, 1, 1), np.float32)
    penalty = one.slope_penalty(x, x * 0, md.Tensor(share))
    assert penalty.item() == pytest.approx(4, rel=1e-5)
    penalty.backward()
    np.testing.assert_allclose(w.grad.data, 2 * 2 * w.data / 3, rtol=1e-5)


def test_slope_penalty_reaches_the_critics_weights():
    """A weight moved by little changes the penalty as its gradient says (float64)."""
    one = gan("--wgan-gp")
    one.D.astype(np.float64)
    x = md.Tensor(real(4), dtype=np.float64)
    share = md.Tensor(np.random.default_rng(0).random((4, 1, 1, 1)))

    def penalty():
        return one.slope_penalty(x, x[::-1] * 0.5, share)

    weight = next(one.D.parameters())
    weight.data[:] *= 20  # away from where all slopes are next to 0
    penalty().backward()
    direction = np.random.default_rng(1).standard_normal(weight.shape)
    start, eps, found = weight.data.copy(), 1e-6, []
    for sign in (1, -1):
        weight.data[:] = start + sign * eps * direction
        found.append(penalty().item())
    expected = (weight.grad.data * direction).sum()
    assert (found[0] - found[1]) / (2 * eps) == pytest.approx(expected, rel=1e-3)


def test_samples_depend_on_their_own_noise_alone_and_change_nothing():
    one = gan()
    one.step(real())
    before = one.state()
    noise = np.random.default_rng(0).standard_normal((10, 8, 1, 1), np.float32)
    whole, parts = one.samples(noise), one.samples(noise, batch=3)
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    after = one.state()
    assert all((after["G"][name] == value).all() for name, value in before["G"].items())
    assert after["rng"] == before["rng"] and one.G.training


def test_a_dead_discriminator_is_told():
    assert "dead" in gan().troubles({"real": 0.5, "fake": 0.495})[0]
    assert "wins" in gan().troubles({"real": 0.999, "fake": 0.001})[0]
    assert not gan().troubles({"real": 0.7, "fake": 0.2})
    assert "dead" in gan("--wgan-gp").troubles({"real": -3.0, "fake": -3.0001})[0]


def test_warnings_come_once_the_warm_up_is_over(tmp_path, monkeypatch, capsys):
    run(tmp_path, "--epochs", "1")
    assert "WARNING" not in capsys.readouterr().out
    monkeypatch.setattr(game.Game, "warm_up", 1)
    run(tmp_path, "--epochs", "1")  # nothing is learned yet: all samples are the same
    assert "WARNING: samples differ" in capsys.readouterr().out
    result = json.loads((tmp_path / FOLDER / "results.json").read_text())
    assert result["warnings"][0].startswith("epoch 1: ")


# ── Images and measures ─────────────────────────────────────────────────────────────────────────


def test_scaled_and_back():
    given = np.arange(2 * 28 * 28).reshape(2, 28, 28).astype(np.uint8)
    x = images.scaled(given)
    assert x.shape == (2, 1, 32, 32) and x.dtype == np.float32
    assert x.min() == -1 and x.max() == 1 and (x[:, :, :2] == -1).all()
    assert (images.pixels(x) == given).all()


def test_frechet_distance_by_hand():
    # Variances 4 and 1 (unbiased) around 0 and 3: 3² + 4 + 1 - 2·sqrt(4·1) = 10.
    a, b = np.array([[-2.0], [0], [2]]), np.array([[2.0], [3], [4]])
    assert quality.frechet_distance(a, b) == pytest.approx(10)
    # Two columns that do not go together: variances (4/3, 0) and (0, 4/3), no overlap at all.
    x = np.array([[-1.0, 0], [1, 0], [-1, 0], [1, 0]])
    assert quality.frechet_distance(x, x[:, ::-1]) == pytest.approx(8 / 3)
    assert quality.frechet_distance(x, x) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_of_covariances_that_do_not_commute():
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200, 5)) @ rng.standard_normal((5, 5))
    b = rng.standard_normal((100, 5)) @ rng.standard_normal((5, 5)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    gap = a.mean(axis=0) - b.mean(axis=0)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = gap @ gap + np.trace(cov_a + cov_b - 2 * root)
    assert quality.frechet_distance(a, b) == pytest.approx(expected)
    assert quality.frechet_distance(b, a) == pytest.approx(expected)


def test_precision_and_recall_by_hand():
    # Balls to the nearest other (k=1): real 0, 1, 10, 11 reach 1 each; fake 0.5, 2.5, 30 reach 2, 2, 27.5.
    real_points = np.array([[0.0], [1], [10], [11]])
    fake_points = np.array([[0.5], [2.5], [30]])
    # 0.5 lies in a real ball, 2.5 (ball of 1 ends at 2) and 30 do not. Of the real ones 0 and 1 lie
    # in the ball of 0.5, and 10 and 11 in that of 30 (from 2.5 on).
    found = quality.precision_recall(real_points, fake_points, k=1)
    assert found == (pytest.approx(1 / 3), 1.0)
    # A generator that always draws the same: all real, but next to nothing is covered.
    same = np.full((4, 1), 10.0)
    assert quality.precision_recall(real_points, same, k=1) == (1.0, 0.25)


def test_measures_in_blocks_are_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((50, 3)), rng.standard_normal((70, 3)) + 0.5
    whole = quality.precision_recall(a, b), quality.nearest(a, b)
    monkeypatch.setattr(quality, "BLOCK", 7)
    parts = quality.precision_recall(a, b), quality.nearest(a, b)
    assert whole[0] == parts[0]
    table = np.linalg.norm(a[:, None] - b, axis=2)
    for rows, distances in (whole[1], parts[1]):
        assert (rows == table.argmin(axis=1)).all()
        np.testing.assert_allclose(distances, table.min(axis=1))


def test_nearest_takes_bytes():
    rows, distances = quality.nearest(np.uint8([[250, 0]]), np.uint8([[0, 0], [255, 0]]))
    assert rows.tolist() == [1] and distances.tolist() == [5]


def test_a_high_precision_far_from_real_images_is_called_so():
    from gan import results

    def line(distance):
        row = {"precision": 0.77, "recall": 0.5}
        return results.first_to_look_at(
            {"samples": {"frechet": distance, **row}, "training images": {"frechet": 10.0, **row}}
        )

    assert "look at the Fréchet distance first: 51 times" in line(514.0)
    assert "says most: 4.2 times" in line(42.0)


def test_measures_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="frechet_distance: expected two tables"):
        quality.frechet_distance(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="precision_recall: expected at least 4 rows"):
        quality.precision_recall(np.zeros((3, 2)), np.zeros((5, 2)))


def test_spread_and_shares():
    assert quality.spread(np.ones((3, 1, 4, 4))) == 0
    assert quality.spread(np.array([[1.0], [-1]])) == 1
    assert quality.class_shares(np.array([0, 0, 3, 1]), 4).tolist() == [0.5, 0.25, 0, 0.25]


@pytest.mark.parametrize(
    "shares, relative_spread, said",
    [
        (np.full(10, 0.1), 1.0, None),
        (np.array([0.3, 0, 0.3, 0, 0.2, 0, 0.2, 0.0, 0, 0]), 1.0, "6 of 10 classes"),
        (
            np.array([0.5, *[0.5 / 9] * 9]),
            1.0,
            "50% of the samples are of class 0, of the real images 10%",
        ),
        (np.full(10, 0.1), 0.2, "samples differ 20%"),
    ],
)
def test_collapse_is_told(shares, relative_spread, said):
    found = quality.troubles(relative_spread, shares, np.full(10, 0.1))
    assert (said in found[0] and len(found) == 1) if said else not found
