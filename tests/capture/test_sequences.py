"""To watch ``tensor[index]`` must not make sequences of tensors, during a recording or after it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jupyter_lossacc.capture.capture import Capture
from jupyter_lossacc.capture.taps import sequences
from tests.capture import loops
from tests.capture.truth import TRUTH, Sink

if TYPE_CHECKING:
    import pytest

SEQUENCE_ITEM = 44  # of the stable ABI


class Plain(Tensor):
    """A kind of tensor that existed before."""


class Indexed(Tensor):
    """A kind of tensor with an index of its own: a sequence, by its author's will."""

    def __getitem__(self, index: object) -> str:
        return "mine"


def is_sequence(kind: type) -> bool:
    return bool(ctypes.pythonapi.PyType_GetSlot(ctypes.py_object(kind), SEQUENCE_ITEM))


def values_become_a_tensor() -> None:
    losses = [torch.tensor(1.0), torch.tensor(2.0)]
    for made in (torch.tensor(losses), torch.FloatTensor(losses), torch.tensor([losses, losses])[0]):
        assert made.tolist() == [1.0, 2.0]


def test_tensors_without_a_dimension_still_make_a_tensor() -> None:
    values_become_a_tensor()
    with Capture(Sink()):
        values_become_a_tensor()
        TRUTH.reset()
        loops.LOOPS["permuted_indices"]()  # reads without loaders: the index is watched until the end
        assert "__getitem__" in vars(Tensor)
        values_become_a_tensor()
        Late = type("Late", (Tensor,), {})
    assert "__getitem__" not in vars(Tensor)
    values_become_a_tensor()
    assert not any(map(is_sequence, (Tensor, nn.Parameter, Plain, Late)))
    assert is_sequence(Indexed)


def test_where_the_slot_is_not_found_no_index_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "_AS_SEQUENCE", sequences._AS_SEQUENCE - 8)  # another layout
    assert not sequences.can_be_mended(Tensor)
    with Capture(Sink()):
        assert "__getitem__" not in vars(Tensor)
        TRUTH.reset()
        loops.LOOPS["permuted_indices"]()
        values_become_a_tensor()
