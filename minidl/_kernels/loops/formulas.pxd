# The formulas of elementwise.pyx: each operation is a tag and one line of `rule`.
#
# The gradients of operations with one operand are here as operations with two: what was saved, and gy.

from libc.math cimport sqrt, sqrtf
from minidl._kernels.math.elementary cimport real, abs_, exp_, log_, pow_

cdef extern from *:  # tags
    ctypedef struct Add "char"
    ctypedef struct Sub "char"
    ctypedef struct Mul "char"
    ctypedef struct Weigh "char"
    ctypedef struct Div "char"
    ctypedef struct Maximum "char"
    ctypedef struct Minimum "char"
    ctypedef struct Pow "char"
    ctypedef struct Equal "char"
    ctypedef struct Neg "char"
    ctypedef struct Abs "char"
    ctypedef struct Sign "char"
    ctypedef struct Square "char"
    ctypedef struct Cube "char"
    ctypedef struct Reciprocal "char"
    ctypedef struct Sqrt "char"
    ctypedef struct Exp "char"
    ctypedef struct Log "char"
    ctypedef struct AbsBackward "char"
    ctypedef struct SquareBackward "char"
    ctypedef struct CubeBackward "char"
    ctypedef struct ReciprocalBackward "char"
    ctypedef struct SqrtBackward "char"

ctypedef fused Rule:
    Add
    Sub
    Mul
    Weigh
    Div
    Maximum
    Minimum
    Pow
    Equal
    Neg
    Abs
    Sign
    Square
    Cube
    Reciprocal
    Sqrt
    Exp
    Log
    AbsBackward
    SquareBackward
    CubeBackward
    ReciprocalBackward
    SqrtBackward


cdef inline real rule(Rule* tag, real x, real z) noexcept nogil:
    """The result for the operands x and z; the operations of one operand leave z alone."""
    cdef real one = 1
    if Rule is Add: return x + z
    elif Rule is Sub: return x - z
    elif Rule is Mul: return x * z
    elif Rule is Weigh: return <real>0 if x == 0 else x * z  # 0 for a weight of 0, whatever it meets
    elif Rule is Div: return x / z
    elif Rule is Maximum: return z if (x < z) | (z != z) else x  # NaN in either is kept
    elif Rule is Minimum: return z if (z < x) | (z != z) else x
    elif Rule is Pow: return pow_(x, z)
    elif Rule is Equal: return one if x == z else 0
    elif Rule is Neg: return -x
    elif Rule is Abs: return abs_(x)
    elif Rule is AbsBackward: return z if x > 0 else (-z if x < 0 else x * z)
    elif Rule is Sign: return one if x > 0 else (-one if x < 0 else x)
    elif Rule is Square: return x * x
    elif Rule is SquareBackward: return z * (<real>2 * x)
    elif Rule is Cube: return x * x * x
    elif Rule is CubeBackward: return z * (<real>3 * x * x)
    elif Rule is Reciprocal: return one / x
    elif Rule is ReciprocalBackward: return -z / (x * x)
    elif Rule is Sqrt: return sqrtf(x) if real is float else sqrt(x)
    elif Rule is SqrtBackward: return z / (<real>2 * x)  # x is the root
    elif Rule is Exp: return exp_(x)
    elif Rule is Log: return log_(x)
