# How many elements a task takes where a loop simply runs over all of them. By the size of the array
# alone, so that the bits do not depend on the number of threads.

cdef enum:
    SERIAL = 16384      # as many are not worth a second thread
    LARGE = 1 << 20     # elements of an array that no cache holds: memory is read faster in
    LONG_RUN = 65536    # long runs


cdef inline Py_ssize_t elements_a_task(Py_ssize_t size, Py_ssize_t usual) noexcept nogil:
    """All of a small array, long runs of a large one, and `usual` elements of what is between."""
    return SERIAL if size <= SERIAL else usual if size < LARGE else LONG_RUN
