"""Multi-layer perceptrons with scikit-learn's interface: for its pipelines, searches and cross-validation.

>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> MLPClassifier((16,), activation="mish", lr=0.01, max_iter=100, random_state=0).fit(X, y).score(X, y) > 0.95
True
"""

from minidl.sklearn.mlp import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
