# What threads without a GIL need where they meet: counts, and a moment alone with an object. With a GIL the code between
# two calls into Python is alone already: there all of this compiles to plain additions, or to nothing.

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
      #define shared_add(place, n) (_Py_atomic_add_ssize(place, n) + (n))
      #define shared_read(place) _Py_atomic_load_ssize(place)
      #define shared_hold(x) PyMutex_Lock(&((PyObject*)(x))->ob_mutex)
      #define shared_let_go(x) PyMutex_Unlock(&((PyObject*)(x))->ob_mutex)
    #else
      #define shared_add(place, n) (*(place) += (n))
      #define shared_read(place) (*(place))
      #define shared_hold(x) ((void)(x))
      #define shared_let_go(x) ((void)(x))
    #endif
    """
    Py_ssize_t shared_add(Py_ssize_t* place, Py_ssize_t n) noexcept
    Py_ssize_t shared_read(Py_ssize_t* place) noexcept
    void shared_hold(object x) noexcept
    void shared_let_go(object x) noexcept


# A number that several threads change.
cdef class Count:
    cdef Py_ssize_t value


# Adds n, and returns the sum.
cpdef inline Py_ssize_t add(Count count, Py_ssize_t n) noexcept:
    return shared_add(&count.value, n)


cpdef inline Py_ssize_t value_of(Count count) noexcept:
    return shared_read(&count.value)


# Between the two no other thread reads or sets the attributes of x that a `.pxd` declares `public`, and none is in
# such a block of x's. Nothing between them may raise, let go of an object's last reference, or call Python.
cpdef inline void hold(object x) noexcept:
    shared_hold(x)


cpdef inline void let_go(object x) noexcept:
    shared_let_go(x)
