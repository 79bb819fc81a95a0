# What threads without a GIL need where they meet: counts, and a moment alone with an object. With a GIL the code between
# two calls into Python is alone already: there all of this compiles to plain additions, or to nothing.


# A number that several threads change.
cdef class Count:
    cdef Py_ssize_t value


# (In C, because of a `cpdef inline` each module that knows it would have a wrapper for Python.)
cdef extern from *:
    """
    typedef struct { PyObject_HEAD Py_ssize_t value; } SharedCount;
    #ifdef Py_GIL_DISABLED
      static CYTHON_INLINE Py_ssize_t shared_add(PyObject* count, Py_ssize_t n) {
          return _Py_atomic_add_ssize(&((SharedCount*)count)->value, n) + n;
      }
      static CYTHON_INLINE Py_ssize_t shared_value_of(PyObject* count) {
          return _Py_atomic_load_ssize(&((SharedCount*)count)->value);
      }
      static CYTHON_INLINE void shared_hold(PyObject* x) { PyMutex_Lock(&x->ob_mutex); }
      static CYTHON_INLINE void shared_let_go(PyObject* x) { PyMutex_Unlock(&x->ob_mutex); }
    #else
      static CYTHON_INLINE Py_ssize_t shared_add(PyObject* count, Py_ssize_t n) {
          return ((SharedCount*)count)->value += n;
      }
      static CYTHON_INLINE Py_ssize_t shared_value_of(PyObject* count) { return ((SharedCount*)count)->value; }
      static CYTHON_INLINE void shared_hold(CYTHON_UNUSED PyObject* x) { }
      static CYTHON_INLINE void shared_let_go(CYTHON_UNUSED PyObject* x) { }
    #endif
    """
    # Adds n to a Count, and returns the sum.
    cpdef Py_ssize_t add "shared_add"(object count, Py_ssize_t n) noexcept
    cpdef Py_ssize_t value_of "shared_value_of"(object count) noexcept

    # Between the two no other thread reads or sets the attributes of x that a `.pxd` declares `public`, and none is in
    # such a block of x's. Nothing between them may raise, let go of an object's last reference, or call Python.
    cpdef void hold "shared_hold"(object x) noexcept
    cpdef void let_go "shared_let_go"(object x) noexcept
