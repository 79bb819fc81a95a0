"""Fields: places in Python objects that must still hold the objects they held when a step was recorded.

Each call of a captured step asks some fifty of them. Where an object has its fields at fixed offsets (`__slots__`, the cell
of a closure), asking is a comparison of two addresses.
"""

from types import CellType, MemberDescriptorType

from cpython.dict cimport PyDict_GetItemWithError
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject

cdef extern from "structmember.h":
    ctypedef struct PyMemberDef:
        Py_ssize_t offset

cdef extern from "Python.h":
    ctypedef struct PyMemberDescrObject:
        PyMemberDef* d_member
    ctypedef struct PyCellObject:
        PyObject* ob_ref


cdef class Fields:
    """What some places hold now; `same` says whether all of them still do."""

    def __cinit__(self):
        self.kept = []  # owners and values: one that died would leave its address to another object

    def __dealloc__(self):
        PyMem_Free(self.all)

    cdef int add(self, PyObject** place, object owner, object name, object value) except -1:
        cdef Field* more
        if self.count == self.room:
            more = <Field*>PyMem_Realloc(self.all, 2 * (self.room + 4) * sizeof(Field))
            if more == NULL:
                raise MemoryError("capture: no memory for what a step must find unchanged")
            self.all, self.room = more, 2 * (self.room + 4)
        self.kept += [owner, name, value]
        self.all[self.count] = Field(place, <PyObject*>owner, <PyObject*>name, <PyObject*>value)
        self.count += 1
        return 0

    def attribute(self, owner, str name):
        """The attribute of an object, which must have it."""
        cdef PyObject** place = NULL
        kind = getattr(type(owner), name, None)
        if type(kind) is MemberDescriptorType:
            place = <PyObject**>(<char*><PyObject*>owner + (<PyMemberDescrObject*><PyObject*>kind).d_member.offset)
        self.add(place, owner, name, getattr(owner, name))

    def entry(self, owner, name):
        """The entry of a dict, which must have it."""
        if not isinstance(owner, dict):
            raise TypeError(f"Fields.entry: expected a dict, got {owner!r}")
        self.add(NULL, owner, name, owner[name])

    def cell(self, owner):
        """The variable of a closure, which must have a value."""
        if type(owner) is not CellType:
            raise TypeError(f"Fields.cell: expected the cell of a closure, got {owner!r}")
        self.add(&(<PyCellObject*><PyObject*>owner).ob_ref, owner, None, owner.cell_contents)

    cpdef bint same(self) except -1:
        cdef Py_ssize_t i
        cdef Field* field
        cdef PyObject* found
        for i in range(self.count):
            field = &self.all[i]
            if field.place != NULL:
                found = field.place[0]
            elif isinstance(<object>field.owner, dict):
                found = PyDict_GetItemWithError(<object>field.owner, <object>field.name)
            elif getattr(<object>field.owner, <object>field.name, self) is <object>field.value:
                continue
            else:
                return False
            if found != field.value:
                return False
        return True


cdef class Effect:
    cpdef bint ready(self) except -1:
        """Whether the step may be replayed."""
        raise NotImplementedError
