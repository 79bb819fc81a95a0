"""Counts and objects that several threads change at once; `shared.pxd` has the code, which is inlined where it is used."""


cdef class Count:
    """A number that several threads change: see `add` and `value_of`."""


def _hold(x):
    """Nothing: in plain Python, other threads may come in between."""


# In this file the plain names are the C functions that the engine calls.
globals().update(hold=_hold, let_go=_hold)
