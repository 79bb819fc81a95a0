"""What each kernel means, in a line or two of NumPy: the same names and signatures, one file per family.

The tests compare each compiled kernel with its definition; ``MINIDL_KERNELS=reference`` runs the whole library on them.
"""
