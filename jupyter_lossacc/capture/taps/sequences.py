"""A tensor is no sequence to C code, and must not become one because its ``[]`` is watched.

To set ``Tensor.__getitem__`` from Python fills two slots of the type: the one behind ``tensor[index]``,
and ``sq_item``, by which C code tells sequences. Deleting the attribute leaves the second one filled. A
tensor of no dimension is then a sequence without a length, and ``torch.tensor([loss, loss])`` fails, until
the kernel is restarted. Python has no way to empty a slot, so it is written to where it lies, and only if
what lies around it is what the interpreter says it is.
"""

from __future__ import annotations

import ctypes

__all__ = ["can_be_mended", "mend"]

_SQ_ITEM, _SQ_LENGTH = 44, 45  # numbers of the stable ABI (typeslots.h)
_WORD = ctypes.sizeof(ctypes.c_void_p)
# PyTypeObject: a header of the size of `object` and a length, then ten words until `tp_as_sequence`;
# PySequenceMethods: length, concat, repeat, item.
_AS_SEQUENCE, _LENGTH, _ITEM = object.__basicsize__ + 11 * _WORD, 0, 3 * _WORD
_get_slot = ctypes.pythonapi.PyType_GetSlot
_get_slot.restype, _get_slot.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_int)


def _item_slot(kind: type) -> ctypes.c_void_p | None:
    """Where the slot lies; None where memory is not laid out as expected."""
    if object.__basicsize__ != 2 * _WORD:  # another build of Python: debugging, without a lock
        return None
    methods = ctypes.c_void_p.from_address(id(kind) + _AS_SEQUENCE).value
    if not methods:
        return None
    slot = ctypes.c_void_p.from_address(methods + _ITEM)
    length = ctypes.c_void_p.from_address(methods + _LENGTH).value
    known = length is not None and length == _get_slot(kind, _SQ_LENGTH)
    return slot if known and slot.value == _get_slot(kind, _SQ_ITEM) else None


def can_be_mended(kind: type) -> bool:
    """Whether `mend` knows where to write."""
    return _item_slot(kind) is not None


def mend(kind: type) -> None:
    """Make `kind` and its subclasses no sequences again, but for those with a ``[]`` of their own."""
    slot = _item_slot(kind)
    if slot is not None:
        slot.value = None
    children: list[type] = type.__subclasses__(kind)
    for child in children:
        if "__getitem__" not in vars(child):
            mend(child)
