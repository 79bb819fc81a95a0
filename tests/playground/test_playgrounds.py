"""The Python side of the playgrounds: it trains to what the pages say, and the pages' links are settings that exist."""

import base64
import importlib.util
import json
import re
import sys
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest

import minidl as md

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "playground"
sys.path[:0] = [str(FOLDER), str(ROOT / "docs")]

import activation_entries  # noqa: E402
import activations  # noqa: E402
import page  # noqa: E402
import points  # noqa: E402

# (examples/ has a package of this name, which other tests import.)
_spec = importlib.util.spec_from_file_location("playground_gan", FOLDER / "gan.py")
gan = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gan)

pytestmark = pytest.mark.filterwarnings("ignore:.*(overflow|invalid value):RuntimeWarning")


def trained(steps, settings):
    network = activations.Network(settings)
    for _ in range(steps):
        network.step()
    return network.frame()


# ── Activations ──────────────────────────────────────────────────────────────────────────────────


def test_all_activations_can_be_chosen():
    names = {entry.name for entry in activation_entries.entries()}
    assert set(activations.ACTIVATIONS) == names
    assert len(names) == 29


def test_the_page_has_the_parameters_that_python_has():
    text = (FOLDER / "activations.js").read_text(encoding="utf-8")
    table = json.loads(re.search(r"const PARAMS = (\{.*?\n\});", text, re.DOTALL)[1])
    expected = {
        name: {key: list(bounds) for key, bounds in choice.params.items()}
        for name, choice in activations.ACTIVATIONS.items()
    }
    assert table == expected


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_every_activation_trains(name):
    """The linear one cannot tell a disc from the ring around it; those that jump or are flat at 0 find it hard."""
    frame = trained(600, {"data": "circles", "activation": name})
    least, most = {"identity": (0.4, 0.8), "hardshrink": (0.6, 1.0)}.get(name, (0.95, 1.0))
    assert least <= frame["accuracy"] <= most
    assert np.isfinite(frame["gradients"]).all()


@pytest.mark.parametrize("norm", activations.NORMS)
@pytest.mark.parametrize("name", ["relu", "maxout", "glu", "crelu", "prelu", "softmax"])
def test_every_kind_of_layer_can_be_normalised(name, norm):
    settings = {"activation": name, "norm": norm, "width": 6, "depth": 3}
    frame = trained(2, settings)
    assert frame["units"].shape == (3 * 6 * activations.UNIT_CELLS**2,)
    assert frame["constant"].shape == (18,) and frame["gradients"].shape == (4,)


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_slope_and_curvature_are_those_of_the_value(name):
    """Against differences of the curves, where the neighbours are on the same side of a kink."""
    params = {"negative_slope": 0.2}
    given = {k: v for k, v in params.items() if k in activations.ACTIVATIONS[name].params}
    curves = {k: v.astype(float) for k, v in activations.curves(name, given).items()}
    h = (activations.TO - activations.FROM) / (activations.POINTS - 1)
    for lower, upper in (("value", "slope"), ("slope", "curvature")):
        difference = (curves[lower][:, 2:] - curves[lower][:, :-2]) / (2 * h)
        wrong = np.abs(difference - curves[upper][:, 1:-1]) > 1e-2
        assert wrong.sum(axis=1).max() <= 6, (name, upper)  # at most three kinks, each seen twice
    assert curves["value"].shape == curves["curvature"].shape


def test_parameters_change_the_curve():
    slope = activations.curves("leaky_relu", {"negative_slope": 0.3})["slope"]
    np.testing.assert_allclose(slope[0, [0, -1]], [0.3, 1.0], rtol=1e-6)


def test_own_points():
    own = [[-1, -1, 0], [-1.2, -0.8, 0], [1, 1, 1], [1.1, 0.7, 1]]
    frame = trained(200, {"data": "own", "own": own})
    assert frame["accuracy"] == 1.0
    np.testing.assert_allclose(frame["points"].reshape(-1, 3), own, rtol=1e-6)
    boundary = frame["boundary"].reshape(48, 48)  # from the top left
    assert boundary[40, 8] < 50 and boundary[8, 40] > 200
    with pytest.raises(ValueError, match="own points"):
        activations.Network({"data": "own", "own": []})


def test_dead_units_are_found():
    network = activations.Network({"depth": 1, "width": 4})
    network.hidden[0][0].bias.data[:2] = -100
    assert list(network.frame()["constant"]) == [1, 1, 0, 0]


def test_a_seed_gives_the_same_training():
    first, second = (trained(50, {"seed": 3}) for _ in range(2))
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])
    assert trained(50, {"seed": 4})["losses"][0] != first["losses"][0]


# ── The GAN ──────────────────────────────────────────────────────────────────────────────────────


def played(steps, settings):
    """(parts reached, share on the data): the means of the last five looks."""
    game, looks = gan.Game(settings), []
    for step in range(1, steps + 1):
        game.step()
        if step > steps - 250 and step % 50 == 0:
            frame = game.frame()
            looks.append((frame["covered"], frame["on_data"]))
    return np.mean(looks, axis=0)


@pytest.mark.parametrize("data", points.CENTRES)
def test_g_learns_the_data(data):
    covered, on_data = played(1000, {"data": data})
    assert covered >= 6.5 and on_data >= 0.55


def test_coverage_counts_what_it_says():
    game = gan.Game({})
    centres = game.centres.astype(np.float32)
    made = centres[[0] * 200 + [3] * 190 + [5] * 10]
    told = game.coverage(made)
    assert list(told["parts"]) == [200, 0, 0, 190, 0, 10, 0, 0]
    assert told["covered"] == 2 and told["on_data"] == 1.0  # ten are less than 400 / 8 / 4
    assert game.coverage(made + 1.0)["on_data"] == 0.0


def test_the_penalty_is_that_of_the_slope():
    """For a linear D, whose slope is known."""
    game = gan.Game({})
    linear = md.nn.Affine(2, 1, weight=np.array([[3.0, 4.0]]))
    game.D = linear
    penalty = game.slope_penalty(np.zeros((64, 2), np.float32), np.ones((64, 2), np.float32))
    np.testing.assert_allclose(penalty.item(), (5 - 1) ** 2, rtol=1e-5)
    penalty.backward()
    # d (|w| - 1)² / dw = 2 (|w| - 1) w / |w|
    np.testing.assert_allclose(linear.weight.grad.data, [[8 * 0.6, 8 * 0.8]], rtol=1e-5)


# ── What the pages say ───────────────────────────────────────────────────────────────────────────


def links(name):
    """{fragment: settings} of a page's links to settings."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    fragments = re.findall(r'data-settings="([^"]*)"', text)
    return {
        one.replace("&amp;", "&"): dict(parse_qsl(one.replace("&amp;", "&"))) for one in fragments
    }


def settings_of(given, defaults, params=()):
    """A fragment's settings in the types of the defaults."""
    made = {}
    for name, text in given.items():
        if name in params:
            made.setdefault("params", {})[name] = float(text)
        else:
            assert name in defaults, f"there is no setting {name}"
            made[name] = type(defaults[name])(text)
    return made


def network_settings(given):
    name = given.get("activation", activations.DEFAULTS["activation"])
    made = settings_of(given, activations.DEFAULTS, activations.ACTIVATIONS[name].params)
    return made


@pytest.mark.parametrize("fragment", links("activations"))
def test_links_are_settings_of_the_network(fragment):
    frame = trained(1, network_settings(links("activations")[fragment]))
    assert frame["steps"] == 1


@pytest.mark.parametrize("fragment", links("gan"))
def test_links_are_settings_of_the_game(fragment):
    game = gan.Game(settings_of(links("gan")[fragment], gan.DEFAULTS))
    game.step()
    assert game.frame()["steps"] == 1


VANISHES = "activation=sigmoid&init=glorot&depth=8&optimizer=sgd&lr=0.3"
LEARNS = {  # fragment: accuracy that most of three seeds reach after 800 steps
    "activation=tanh&init=glorot&depth=8&optimizer=sgd&lr=0.3": 0.97,
    "activation=relu&init=he&depth=8&optimizer=sgd&lr=0.1": 0.97,
    "activation=sigmoid&init=glorot&norm=batch&depth=8&optimizer=sgd&lr=0.3": 0.8,
    "activation=sigmoid&init=glorot&depth=2&optimizer=sgd&lr=1": 0.97,
    "init=large&depth=8&optimizer=sgd&lr=0.1&norm=layer": 0.97,
    "activation=leaky_relu&negative_slope=0.1&depth=3&lr=0.1": 0.97,
}


def frames(fragment, steps):
    settings = network_settings(links("activations")[fragment])
    return [trained(steps, settings | {"seed": seed}) for seed in range(3)]


@pytest.mark.parametrize("fragment", LEARNS)
def test_the_cures_cure(fragment):
    accuracies = [frame["accuracy"] for frame in frames(fragment, 800)]
    assert np.median(accuracies) >= LEARNS[fragment]


def test_the_gradient_vanishes():
    for seed in range(3):
        network = activations.Network(
            network_settings(links("activations")[VANISHES]) | {"seed": seed}
        )
        norms = network.gradient_norms()
        assert 3e4 < norms[-1] / norms[0] < 1e7
    for frame in frames(VANISHES, 800):
        assert frame["accuracy"] < 0.6


def test_default_weights_are_too_small_for_eight_layers():
    for frame in frames("activation=relu&depth=8&optimizer=sgd&lr=0.1", 800):
        assert frame["accuracy"] < 0.6


def test_large_weights_explode():
    for frame in frames("init=large&depth=8&optimizer=sgd&lr=0.1", 100):
        assert not np.isfinite(frame["losses"][-1]) or frame["constant"].mean() > 0.5


def test_large_steps_kill_units_and_a_leak_saves_them():
    dead = [frame["constant"].mean() for frame in frames("depth=3&lr=0.3", 600)]
    assert min(dead) > 1 / 4
    leaky = frames("activation=leaky_relu&negative_slope=0.1&depth=3&lr=0.1", 600)
    assert all(frame["constant"].sum() == 0 for frame in leaky)


def test_without_an_activation_the_boundary_is_straight():
    (frame, *_) = frames("activation=identity&depth=8&data=moons", 400)
    blue = frame["boundary"].reshape(48, 48) > 127
    rows, columns = np.nonzero(blue[:, 1:] != blue[:, :-1])
    line = np.polyfit(rows, columns, 1)
    assert np.abs(np.polyval(line, rows) - columns).max() < 1.5


COLLAPSES = "ratio=0.25&lr=0.01"
GAN = {  # fragment: (fewest parts reached, most)
    "data=gaussians": (7, 8),
    COLLAPSES: (0, 3.5),
    "loss=wasserstein": (0, 3),
    "loss=wasserstein&penalty=1&d_steps=3": (6.5, 8),
    "penalty=10": (0, 3),
    "data=ring": (6, 8),
    "data=spiral": (6, 8),
    "width=8": (0, 4),
}


@pytest.mark.parametrize("fragment", GAN)
def test_what_the_page_says_of_the_game(fragment):
    settings = settings_of(links("gan")[fragment], gan.DEFAULTS)
    covered = np.median([played(1200, settings | {"seed": seed})[0] for seed in range(3)])
    fewest, most = GAN[fragment]
    assert fewest <= covered <= most


def test_relu_in_d_loses_gaussians_that_a_leak_keeps():
    covered = {
        name: [played(1500, {"activation": name, "seed": seed})[0] for seed in range(3)]
        for name in ("relu", "leaky")
    }
    assert np.mean(covered["relu"]) + 0.5 < np.mean(covered["leaky"])
    assert min(covered["leaky"]) >= 7


# ── The way to the page ──────────────────────────────────────────────────────────────────────────


def test_messages_are_json():
    made = json.loads(
        repr(page.Message({"x": np.array([1, 2], np.float32), "n": 3, "nan": np.nan}))
    )
    assert made["n"] == 3 and made["nan"] is None
    assert list(np.frombuffer(base64.b64decode(made["x"]["data"]), made["x"]["type"])) == [1, 2]


@pytest.mark.parametrize("player", [activations.Network, gan.Game])
def test_a_player_can_be_advanced(player):
    made = player({})
    before = json.loads(repr(page.advance(made, 0)))
    after = json.loads(repr(page.advance(made, 0.01)))
    assert before["steps"] == 0 and after["steps"] >= 1
