"""The loops of the activations, by CPU level and name: how gemm, conv and batch_norm find the one that they apply. And
the products of each level.

The modules of a level cannot cimport one another, for each is compiled once per level; they meet here. Python has no
part in it: it passes the activation's name and parameters.
"""

cdef dict levels = {}
cdef dict products = {}


cdef dict activations_of(str module):
    return levels.setdefault(module.rpartition(".")[0], {})


cdef Loops find(dict activations, str name):
    loops = activations.get(name)
    if loops is None:
        raise ValueError(f"activation: expected one of {', '.join(activations)}, got {name!r}")
    return <Loops>loops


cdef Products products_of(str module):
    return products.setdefault(module.rpartition(".")[0], Products())
