"""The estimators with scikit-learn's interface: its own checks, its searches and pipelines, and what they promise."""

import pickle
import sys
import warnings

import numpy as np
import pytest

import minidl as md
from minidl import nn

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from minidl.sklearn import MLPClassifier, MLPRegressor
from minidl.sklearn.mlp import ACTIVATIONS

IRIS = load_iris(return_X_y=True)
LINE = make_regression(60, 5, n_targets=2, noise=1.0, random_state=0)
LINE = (LINE[0], LINE[1] / LINE[1].std(axis=0))


# The first wants an environment variable, the others (of scikit-learn 1.6) pandas.
MAY_BE_SKIPPED = {
    "check_array_api_input",
    "check_classifier_data_not_an_array",
    "check_regressor_data_not_an_array",
}


def classifier(**settings):
    return MLPClassifier(**{"hidden_layer_sizes": (16,), "lr": 0.01, "random_state": 0} | settings)


def regressor(**settings):
    return MLPRegressor(**{"hidden_layer_sizes": (16,), "lr": 0.01, "random_state": 0} | settings)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_scikit_learns_own_checks(estimator):
    # With a small network, which trains within 30 epochs: with default settings the same takes 3 s each.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some checks warn on purpose
        told = check_estimator(estimator((16,), lr=0.01, max_iter=30), on_skip=None)
    assert {check["status"] for check in told} <= {"passed", "skipped"}
    skipped = {check["check_name"] for check in told if check["status"] == "skipped"}
    assert skipped <= MAY_BE_SKIPPED


def test_a_search_over_all_activations():
    for name in nn.LAYERS:
        row = getattr(nn.LAYERS[name], "row", None)
        assert row is None or row.name in ACTIVATIONS
    plain = [name for name in ACTIVATIONS if name != "threshold"]
    grid = {"mlpclassifier__activation": [*plain, ("threshold", 0.5, 0.0), ("elu", 0.5)]}
    model = make_pipeline(StandardScaler(), classifier(max_iter=15, batch_size=32))
    search = GridSearchCV(model, grid, cv=2).fit(*IRIS)
    scores = search.cv_results_["mean_test_score"]
    assert len(scores) == len(ACTIVATIONS) + 1 and scores.min() > 0.5
    assert search.best_score_ > 0.9 and search.score(*IRIS) > 0.9


def test_labels_and_probabilities():
    X, ids = IRIS
    y = np.array(["setosa", "versicolor", "virginica"])[ids]
    model = classifier(max_iter=60, activation="mish").fit(X, y)
    assert model.score(X, y) > 0.95 and set(model.predict(X)) == set(y)
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.log(p), model.predict_log_proba(X), rtol=1e-4, atol=1e-5)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(X)).all()
    assert len(model.loss_curve_) == model.n_iter_ == 60 and not model.model_.training


def test_regression_of_one_and_several_columns():
    X, y = LINE
    model = regressor(max_iter=150).fit(X, y)
    assert model.score(X, y) > 0.9 and model.predict(X).shape == y.shape
    for loss in ("mse_loss", "l1_loss", "huber_loss"):
        one = regressor(max_iter=150, loss=loss, optimizer="adamw").fit(X, y[:, 0])
        assert one.score(X, y[:, 0]) > 0.9 and one.predict(X).shape == (60,)


@pytest.mark.parametrize("make", [classifier, regressor])
def test_a_seed_repeats_all_and_touches_nothing(make):
    X, y = IRIS
    md.manual_seed(5)
    expected = md.random.generator().random()
    md.manual_seed(5)
    first = make(max_iter=3).fit(X, y)
    assert md.random.generator().random() == expected
    again, other = make(max_iter=3).fit(X, y), make(max_iter=3, random_state=1).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert first.loss_curve_ == again.loss_curve_ != other.loss_curve_


@pytest.mark.parametrize("make", [classifier, regressor])
def test_fitted_estimators_are_pickled_and_cloned(make):
    X, y = IRIS
    model = make(max_iter=3, hidden_layer_sizes=(4, 3)).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    again.partial_fit(X, y)
    assert again.n_iter_ == 4 and model.n_iter_ == 3
    with pytest.raises(NotFittedError):
        clone(model).predict(X)


def test_training_in_parts():
    X, y = IRIS
    model = classifier(batch_size=30)
    for _ in range(40):
        model.partial_fit(X[:140], y[:140], classes=[0, 1, 2])
    assert model.score(X, y) > 0.9 and len(model.loss_curve_) == 40
    fresh = classifier(max_iter=2).fit(X, y)
    assert fresh.fit(X, y).n_iter_ == 2  # fit starts anew
    with pytest.raises(ValueError, match=r"MLPClassifier: y has classes \[3\]"):
        model.partial_fit(X[:2], [0, 3])


def test_training_ends_where_nothing_is_gained():
    X, y = IRIS
    waiting = classifier(max_iter=50, tol=10.0, n_iter_no_change=3).fit(X, y)
    assert waiting.n_iter_ == 4  # the first epoch is better than none
    stopped = classifier(max_iter=500, lr=0.1, early_stopping=True, n_iter_no_change=5).fit(X, y)
    losses = stopped.history_["val_loss"]
    assert 5 < stopped.n_iter_ < 500
    assert min(losses) < losses[-1]  # the best epoch was not the last one, and its weights are kept
    assert stopped.score(X, y) > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "logistic"}, "activation: expected one of relu, .*got 'logistic'"),
        ({"activation": 3}, "activation: expected one of"),
        ({"activation": ("elu", "a")}, "alpha must be a number"),
        ({"optimizer": "lbfgs"}, "optimizer: expected one of adam, adamw, sgd, got 'lbfgs'"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must be an integer >= 1"),
        ({"batch_size": "all"}, "batch_size must be an integer"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1"),
        ({"lr": -1}, "lr"),
        ({"tol": None}, "tol must be a number"),
        ({"early_stopping": 3}, "early_stopping must be True or False"),
    ],
)
def test_settings_are_checked_in_fit(settings, message):
    model = classifier(**settings)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(*IRIS)


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match="MLPRegressor: loss: expected one of mse_loss"):
        regressor(loss="cross_entropy").fit(*LINE)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("minidl.sklearn", "minidl.sklearn.mlp"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(vars(md), "sklearn", raising=False)
    with pytest.raises(ImportError, match=r"minidl\.sklearn needs: pip install .minidl\[sklearn\]"):
        md.sklearn  # noqa: B018
