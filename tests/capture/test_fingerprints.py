"""Fingerprints of inputs: the same for the same row, another for another one, anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jupyter_lossacc.capture.taps.fingerprints import InputIds, row_fingerprints


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
def test_a_row_has_one_fingerprint_in_every_batch(dtype: torch.dtype) -> None:
    rows = torch.randint(0, 255, (64, 5, 400), generator=torch.Generator().manual_seed(0)).to(dtype)
    rows[:, 0, 0] = torch.arange(64).to(dtype)
    if dtype is torch.bool:
        rows = torch.rand(64, 5, 400, generator=torch.Generator().manual_seed(0)) < 0.5
    whole = row_fingerprints(rows)
    assert whole is not None
    assert len(set(whole.tolist())) == 64
    order = torch.randperm(64)
    parts = [row_fingerprints(part) for part in rows[order].split(10)]
    assert torch.equal(torch.cat(parts), whole[order])  # type: ignore[arg-type]


def test_only_some_places_of_long_rows_are_read() -> None:
    x = torch.zeros(2, 100_000)
    before = row_fingerprints(x)
    x[0, 1] = 1.0  # between the places
    x[1, 99_999] = 1.0
    after = row_fingerprints(x)
    assert before is not None
    assert after is not None
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_permuted_values_are_another_row() -> None:
    a = torch.arange(32.0)
    prints = row_fingerprints(torch.stack([a, a.flip(0), a.roll(1), -a]))
    assert prints is not None
    assert len(set(prints.tolist())) == 4


def test_inputs_that_never_come_again_give_no_ids() -> None:
    ids, n = InputIds(), 0
    for phase, known in [("train", True), ("eval", True), ("train", True), ("eval", False), ("train", False)]:
        got = ids.ids(np.arange(n, n + 8), phase)
        assert (got is not None) == known
        n += 8
    assert ids.stable is False


def test_inputs_that_come_again_keep_their_ids() -> None:
    ids = InputIds()
    first = ids.ids(np.array([50, 30, 40]), "train")
    np.testing.assert_array_equal(first, [0, 1, 2])
    assert ids.stable is None
    np.testing.assert_array_equal(ids.ids(np.array([40, 50, 60]), "train"), [2, 0, 3])
    assert ids.stable is True
    assert ids.ids(np.zeros(8, np.int64), "train") is None  # rows that are all alike
