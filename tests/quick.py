"""NumPy's assertions about arrays, in a tenth of the time where all is well: the tests make hundreds of thousands."""

import functools

import numpy as np


def asked_where_in_doubt(assertion):
    """Decorates a function that is true where the arrays are certainly right; else NumPy's assertion decides."""

    def decorate(certain):
        @functools.wraps(assertion)
        def asserts(actual, desired, *args, **options):
            if type(actual) is type(desired) is np.ndarray and actual.shape == desired.shape:
                with np.errstate(all="ignore"):
                    if certain(actual, desired, *args, **options):
                        return
            assertion(actual, desired, *args, **options)

        return asserts

    return decorate


@asked_where_in_doubt(np.testing.assert_array_equal)
def assert_array_equal(actual, desired, *args, **options):
    return actual.dtype == desired.dtype and (actual == desired).all()


@asked_where_in_doubt(np.testing.assert_allclose)
def assert_allclose(actual, desired, rtol=1e-7, atol=0, *args, **options):
    if actual.dtype.kind != "f" or actual.dtype != desired.dtype:
        return False
    limit = atol + rtol * np.abs(desired)
    return ((np.abs(actual - desired) <= limit) & (limit < np.inf)).all()


np.testing.assert_array_equal, np.testing.assert_allclose = assert_array_equal, assert_allclose
