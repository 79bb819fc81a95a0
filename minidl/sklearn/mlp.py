"""`MLPClassifier` and `MLPRegressor`: multi-layer perceptrons as scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import check, init, nn, optim
from minidl import functional as F
from minidl.autograd.modes import no_grad
from minidl.data import DataLoader
from minidl.ops.activations.table import ROWS
from minidl.training.fit import fit

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError:
    raise ImportError('minidl.sklearn needs: pip install "minidl[sklearn]"') from None

# Layers of activations by the name of their function.
ACTIVATIONS: dict[str, Any] = {
    row.name: nn.LAYERS[row.class_name] for row in ROWS if row.class_name
}
ACTIVATIONS |= {
    "gelu_tanh": lambda: nn.LAYERS["GELU"]("tanh"),
    "identity": nn.Identity,
    "prelu": nn.PReLU,
}
OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}
REGRESSION_LOSSES = ("mse_loss", "l1_loss", "huber_loss")


class _Patience:
    """A callback: stops when the watched value did not fall by `tol` for `epochs` epochs, and keeps the best state.

    As scikit-learn counts: the best value is the lowest one, also where it fell by less than `tol`. (That of
    `callbacks.EarlyStopping` changes only when it is beaten by ``min_delta``.)
    """

    def __init__(self, value: str, epochs: int, tol: float, restore: bool) -> None:
        self.value, self.epochs, self.tol, self.restore = value, epochs, tol, restore
        self.best, self.since, self.state = np.inf, 0, None

    def on_epoch_end(self, training: Any) -> None:
        now = training.history[self.value][-1]
        self.since = 0 if now < self.best - self.tol else self.since + 1
        if now < self.best:
            self.best = now
            self.state = training.model.state_dict() if self.restore else None
        if self.since >= self.epochs:
            training.stop()

    def on_train_end(self, training: Any) -> None:
        if self.state is not None:
            training.model.load_state_dict(self.state)


class _MLP(BaseEstimator):
    """What the classifier and the regressor share. (scikit-learn finds the settings by the signature of a class's own
    constructor: it lists them all, and stores them unchecked.)
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        optimizer: str = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Any:
        """Trains from new initial weights; returns itself.

        X: (samples, features), y: (samples,). ValueError: NaN or infinite values, or shapes that do not fit.
        """
        early = check.flag(self._name, "early_stopping", self.early_stopping)
        epochs = check.integer(self._name, "max_iter", self.max_iter, 1)
        patience = check.integer(self._name, "n_iter_no_change", self.n_iter_no_change, 1)
        tol = check.number(self._name, "tol", self.tol)
        X, target, outputs = self._data(X, y, None, first=True)
        held_out = None
        if early:
            X, held_x, target, held_target = train_test_split(
                X, target, test_size=self.validation_fraction, random_state=self._random_state(),
                stratify=target if target.dtype.kind == "i" else None,
            )  # fmt: skip
            held_out = (held_x, held_target)
        self._build(X.shape[1], outputs)
        stop = _Patience("val_loss" if early else "loss", patience, tol, restore=early)
        self._train(X, target, epochs, held_out, [stop])
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any) -> Any:
        first = not hasattr(self, "model_")
        X, target, outputs = self._data(X, y, classes, first)
        if first:
            self._build(X.shape[1], outputs)
        self._train(X, target, 1, None, [])
        return self

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _random_state(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31))

    def _data(self, X: Any, y: Any, classes: Any, first: bool) -> tuple[Any, np.ndarray, int]:
        """X and what the loss compares the outputs with, checked, and the number of outputs."""
        raise NotImplementedError

    def _loss(self) -> str:
        raise NotImplementedError

    def _build(self, features: int, outputs: int) -> None:
        """The model with its first weights, and its optimizer."""
        sizes = self.hidden_layer_sizes
        sizes = check.integers(self._name, "hidden_layer_sizes", sizes, 1) if np.size(sizes) else ()
        rng = np.random.default_rng(self._random_state())
        layers: list[nn.Module] = []
        for inputs, size in zip((features, *sizes), (*sizes, outputs), strict=True):
            weight = init.GlorotUniform()((size, inputs), rng)
            layers += [nn.Affine(inputs, size, weight=weight, bias=init.Constant(0.0))]
            layers += [self._activation()]
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"{self._name}: optimizer: expected one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}"
            )
        model = nn.Sequential(*layers[:-1]).eval()
        self.optimizer_ = OPTIMIZERS[self.optimizer](
            model.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )
        self.model_, self.n_outputs_, self.n_iter_ = model, outputs, 0
        self.loss_curve_: list[float] = []
        self._rng = rng

    def _activation(self) -> nn.Module:
        given = self.activation
        name, *parameters = given if isinstance(given, tuple) and given else (given,)
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise ValueError(
                f"{self._name}: activation: expected one of {', '.join(ACTIVATIONS)}, or a tuple of a name and its "
                f"parameters, got {given!r}"
            )
        return ACTIVATIONS[name](*parameters)

    def _train(self, X: Any, target: Any, epochs: int, held_out: Any, callbacks: list) -> None:
        size = self.batch_size
        size = (
            min(200, len(X)) if size == "auto" else check.integer(self._name, "batch_size", size, 1)
        )
        loader = DataLoader((X, target), min(size, len(X)), shuffle=True, rng=self._rng)
        verbose = check.flag(self._name, "verbose", self.verbose)
        history = fit(
            self.model_, loader, self._loss(), self.optimizer_, epochs, held_out, (), callbacks, verbose
        )  # fmt: skip
        self.history_ = history.history
        self.loss_curve_ += self.history_["loss"]
        self.n_iter_ += len(self.history_["loss"])

    def _outputs(self, X: Any) -> Any:
        """The model's outputs for each sample, as a Tensor."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        with no_grad():
            return self.model_(X)


class MLPClassifier(ClassifierMixin, _MLP):
    """A multi-layer perceptron that tells classes apart: softmax and cross-entropy behind its last layer.

    Args:
        hidden_layer_sizes: the width of each hidden layer; () means none.
        activation: behind each hidden layer: the name of any activation function in `minidl.functional` that works
            element by element, or a tuple of a name and its parameters, such as ``("leaky_relu", 0.2)``.
        optimizer: "adam", "adamw" or "sgd".
        lr: the learning rate. weight_decay: as in `minidl.optim`.
        batch_size: "auto" means 200, or all samples if there are fewer.
        max_iter: the greatest number of epochs. Training ends sooner if the loss of an epoch did not fall by `tol` for
            `n_iter_no_change` epochs.
        early_stopping: set `validation_fraction` of the samples aside and watch their loss instead; the weights with
            the lowest one are kept.
        random_state: for first weights, the order of samples and the split: an int repeats them exactly.
        verbose: show progress.

    Attributes:
        classes_, n_features_in_, n_outputs_: of the data. model_: an `nn.Sequential` (`minidl.export_onnx` writes it).
        optimizer_, n_iter_ (epochs), loss_curve_, history_.

    Raises:
        ValueError: a setting that does not fit (in `fit`, as scikit-learn has it); data with NaN, or one class alone.
    """

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> MLPClassifier:
        """One epoch over X, from where training is now; returns itself.

        classes: all classes that will ever come; needed in the first call.
        """
        return self._partial_fit(X, y, classes)

    def _data(self, X: Any, y: Any, classes: Any, first: bool) -> tuple[Any, np.ndarray, int]:
        X, y = validate_data(self, X, y, dtype=np.float32, reset=first)
        check_classification_targets(y)
        if first:
            encoder = LabelEncoder().fit(y if classes is None else classes)
            self.classes_ = encoder.classes_
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(f"{self._name}: y has classes {unknown} that `classes` did not name")
        if len(self.classes_) < 2:
            raise ValueError(
                f"{self._name}: expected at least two classes, y has one class: {self.classes_}"
            )
        return X, np.searchsorted(self.classes_, y), len(self.classes_)

    def _loss(self) -> str:
        return "cross_entropy"

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each sample."""
        best = self._outputs(X).data.argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class for each sample: (samples, classes), in the order of ``classes_``."""
        return F.softmax(self._outputs(X)).data

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithm of `predict_proba`, without its rounding to 0."""
        return F.log_softmax(self._outputs(X)).data


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron for numbers: one output for each column of y.

    Args:
        loss: "mse_loss", "l1_loss" or "huber_loss" (of `minidl.functional`).
        The others are those of `MLPClassifier`.

    Attributes:
        n_features_in_, n_outputs_, model_, optimizer_, n_iter_, loss_curve_, history_: as for `MLPClassifier`.

    Raises:
        ValueError: a setting that does not fit (in `fit`, as scikit-learn has it); data with NaN.
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        loss: str = "mse_loss",
        optimizer: str = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_iter=max_iter,
            tol=tol,
            n_iter_no_change=n_iter_no_change,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            random_state=random_state,
            verbose=verbose,
        )
        self.loss = loss

    def partial_fit(self, X: Any, y: Any) -> MLPRegressor:
        """One epoch over X, from where training is now; returns itself."""
        return self._partial_fit(X, y, None)

    def _data(self, X: Any, y: Any, classes: Any, first: bool) -> tuple[Any, np.ndarray, int]:
        X, y = validate_data(
            self, X, y, dtype=np.float32, reset=first, multi_output=True, y_numeric=True
        )
        target = np.asarray(y, np.float32)
        if first:
            self._flat = target.ndim == 1  # as `predict` answers
        columns = 1 if target.ndim == 1 else target.shape[1]
        if not first and columns != self.n_outputs_:
            raise ValueError(f"{self._name}: y has {columns} columns, expected {self.n_outputs_}")
        return X, target.reshape(len(target), columns), columns

    def _loss(self) -> str:
        if self.loss not in REGRESSION_LOSSES:
            raise ValueError(
                f"{self._name}: loss: expected one of {', '.join(REGRESSION_LOSSES)}, got {self.loss!r}"
            )
        return self.loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """(samples,), or (samples, columns) if y had columns; float64, as scikit-learn expects."""
        y = self._outputs(X).data.astype(np.float64)
        return y.reshape(-1) if self._flat else y
