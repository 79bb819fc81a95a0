/* Included first into each module that need not be quick, where Python has no GIL: CPython's functions count references.
   Inlined, each count asks which thread owns the object, and a wheel is a tenth of a megabyte larger. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#undef Py_INCREF
#undef Py_DECREF
#undef Py_XINCREF
#undef Py_XDECREF
#define Py_INCREF(op) Py_IncRef(_PyObject_CAST(op))
#define Py_DECREF(op) Py_DecRef(_PyObject_CAST(op))
#define Py_XINCREF(op) Py_IncRef(_PyObject_CAST(op))
#define Py_XDECREF(op) Py_DecRef(_PyObject_CAST(op))
