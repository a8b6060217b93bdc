"""The parts add up, are what their names say, and a question without an answer says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_lossacc.diagnosis.decompose import WAYS, decompose
from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.records import LossInfo, Recording
from jupyter_lossacc.stats.transitions import (
    TAIL_PARTS,
    TRANSITIONS,
    outcome_parts,
    tail_groups,
    weight_parts,
)
from tests.recordings import RecordingBuilder

SETTINGS = settings(max_examples=25, deadline=None, derandomize=True)


@st.composite
def two_passes(draw: st.DrawFn) -> RecordingBuilder:
    """Two passes over the same samples with logits of any scale, sometimes all right or all wrong."""
    seed = draw(st.integers(0, 2**31 - 1))
    n, k = draw(st.integers(2, 60)), draw(st.integers(2, 5))
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, k, (n,), generator=generator)
    builder = RecordingBuilder()
    for epoch in (1, 2):
        scale = draw(st.sampled_from([0.01, 1.0, 30.0]))
        logits = scale * torch.randn(n, k, generator=generator)
        pull = draw(st.sampled_from([-1e3, 0.0, 0.0, 1e3]))
        logits[torch.arange(n), targets] += pull
        builder.add("val", epoch, epoch, logits, targets)
    return builder


def mean_nll(recording: Recording, epoch: int) -> float:
    return float(recording.predictions("val", epoch).nll.mean(dtype=np.float64))


@SETTINGS
@given(builder=two_passes())
def test_parts_add_up_to_the_change(builder: RecordingBuilder) -> None:
    recording = builder.build()
    for by in WAYS:
        check_sums(recording, by)


def check_sums(recording: Recording, by: str) -> None:
    columns = decompose(recording, "val", 1, 2, by)
    assert next(iter(columns)) == "part"
    assert len({len(column) for column in columns.values()}) == 1
    change = mean_nll(recording, 2) - mean_nll(recording, 1)
    if by == "weights":
        change = recording.summary("val", 2).reported_loss - recording.summary("val", 1).reported_loss
    assert columns["loss_change"].sum() == pytest.approx(change, abs=1e-9, rel=1e-12)
    if "accuracy_change" in columns:
        gained = recording.summary("val", 2).accuracy - recording.summary("val", 1).accuracy
        assert columns["accuracy_change"].sum() == pytest.approx(gained, abs=1e-9)


@SETTINGS
@given(builder=two_passes())
def test_swapping_the_ends_flips_every_sign(builder: RecordingBuilder) -> None:
    recording = builder.build()
    for by in ("outcome", "class", "calibration", "weights"):
        there, back = (decompose(recording, "val", a, b, by)["loss_change"] for a, b in ((1, 2), (2, 1)))
        np.testing.assert_allclose(there, -back, atol=1e-12)


@SETTINGS
@given(builder=two_passes())
def test_a_pass_against_itself_changes_nothing(builder: RecordingBuilder) -> None:
    recording = builder.build()
    for by in WAYS:
        np.testing.assert_allclose(decompose(recording, "val", 1, 1, by)["loss_change"], 0.0, atol=1e-12)


@SETTINGS
@given(builder=two_passes())
def test_transitions_count_every_sample_once(builder: RecordingBuilder) -> None:
    recording = builder.build()
    columns = decompose(recording, "val", 1, 2, "transitions")
    a, b = recording.paired("val", 1, 2)
    right_a, right_b = a.correct > 0, b.correct > 0
    expected = [right_a & right_b, ~right_a & right_b, right_a & ~right_b, ~right_a & ~right_b]
    assert columns["part"].tolist() == list(TRANSITIONS)
    assert columns["samples"].tolist() == [int(mask.sum()) for mask in expected]
    np.testing.assert_allclose(
        columns["loss_rises"] + columns["loss_falls"], columns["loss_change"], atol=1e-12
    )


def test_outcome_by_hand() -> None:
    """Right 1 of 2 to 2 of 2: the arrival of a side is composition, not a jump from zero."""
    parts = outcome_parts([0.2, 2.0], [0.1, 0.3], [1, 0], [1, 1])
    # c: 0.2 -> 0.2, w: 2.0 -> (none, kept) 2.0, A: 0.5 -> 1
    assert parts == pytest.approx((0.5 * (0.2 - 2.0), 0.0, 0.0))


def test_outcome_of_shares() -> None:
    """Multi-label samples are right by a share; the identity holds for shares as well."""
    rng = np.random.default_rng(0)
    losses, shares = rng.exponential(size=(2, 50)), rng.random((2, 50))
    assert sum(outcome_parts(*losses, *shares)) == pytest.approx(
        losses[1].mean() - losses[0].mean(), abs=1e-12
    )


def test_weights_by_hand() -> None:
    """Two samples with losses 0.2 and 2.0 whose weights go from 1:1 to 1:4 while losses stay."""
    weights, samples = weight_parts([0.2, 2.0], [0.2, 2.0], [0.5, 0.5], [0.2, 0.8])
    assert weights == pytest.approx(1.64 - 1.1)
    assert samples == 0.0


def test_tail_ranks_by_contribution() -> None:
    change = np.concatenate([[50.0], np.full(9, 1.0), np.full(90, -0.1)])
    counts = np.bincount(tail_groups(change), minlength=len(TAIL_PARTS))
    assert counts.tolist() == [1, 4, 5, 0, 90]
    assert tail_groups(-change).tolist() == tail_groups(change).tolist()


def weighted_recording() -> Recording:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 2, (400,), generator=generator)
    builder = RecordingBuilder()
    for epoch, weight in ((1, 1.0), (2, 5.0)):
        logits = torch.randn(400, 2, generator=generator)
        w = torch.tensor([1.0, weight])
        builder.add(
            "val",
            epoch,
            epoch,
            logits,
            targets,
            reported_mean=float(
                torch.nn.functional.cross_entropy(logits.double(), targets, weight=w.double())
            ),
            loss=LossInfo(name="cross_entropy", class_weights=w.numpy().astype(np.float64)),
        )
    return builder.build()


def test_class_weights_explain_torchs_weighted_mean() -> None:
    """With plain weighted cross-entropy nothing is left over beside weights and samples."""
    columns = decompose(weighted_recording(), "val", 1, 2, "weights")
    assert columns["part"].tolist() == ["weights", "samples", "other"]
    assert columns["loss_change"][2] == pytest.approx(0.0, abs=1e-6)
    assert abs(columns["loss_change"][0]) > 1e-4


def test_calibration_follows_the_temperature() -> None:
    """Tripling the logits of a calibrated model is a change of calibration alone."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(4000, 3, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    builder = RecordingBuilder()
    builder.add("val", 1, 1, logits, targets)
    builder.add("val", 2, 2, 3 * logits, targets)
    recording = builder.build()
    columns = decompose(recording, "val", 1, 2, "calibration")
    change = mean_nll(recording, 2) - mean_nll(recording, 1)
    assert columns["loss_change"][0] / change == pytest.approx(1.0, abs=0.02)
    scale = decompose(recording, "val", 1, 2, "scale")
    assert scale["loss_change"][0] / change == pytest.approx(1.0, abs=0.01)
    assert scale["temperature_end"][0] / scale["temperature_start"][0] == pytest.approx(3.0, rel=0.02)


def test_class_names_and_absent_classes() -> None:
    recording = weighted_recording()
    named = replace(recording, info=replace(recording.info, class_names=("fine", "fraud")))
    columns = decompose(named, "val", -2, -1, "class")
    assert columns["part"].tolist() == ["fine", "fraud"]
    share = columns["samples"] / columns["samples"].sum()
    np.testing.assert_allclose(columns["loss_change"], share * columns["class_loss_change"], atol=1e-12)


@pytest.mark.parametrize(
    ("split", "start", "end", "by", "words"),
    [
        ("val", 1, 2, "magic", "cannot decompose by 'magic'; choose one of: transitions"),
        ("val", 1, 9, "class", "at epoch 9; epochs recorded: 1..2"),
        ("test", 1, 2, "class", "splits recorded: val"),
    ],
)
def test_a_wrong_question_names_what_exists(split: str, start: int, end: int, by: str, words: str) -> None:
    with pytest.raises(DiagnosisError, match=words):
        decompose(weighted_recording(), split, start, end, by)


def test_records_that_cannot_answer_say_so() -> None:
    recording = weighted_recording()

    def nothing(key: object) -> None:
        raise KeyError(key)

    with pytest.raises(DiagnosisError, match="not kept"):
        decompose(replace(recording, load=nothing), "val", 1, 2, "outcome")

    def anonymous(key: tuple[str, int, int]) -> object:
        return replace(recording.load(key), ids_known=False)

    with pytest.raises(DiagnosisError, match="ids of split 'val' are not known"):
        decompose(replace(recording, load=anonymous), "val", 1, 2, "outcome")

    def disjoint(key: tuple[str, int, int]) -> object:
        found = recording.load(key)
        return replace(found, sample_ids=found.sample_ids + 1000 * key[1])

    with pytest.raises(DiagnosisError, match="no sample in common"):
        decompose(replace(recording, load=disjoint), "val", 1, 2, "transitions")

    def infinite(key: tuple[str, int, int]) -> object:
        found = recording.load(key)
        nll = found.nll.copy()
        nll[:3] = np.inf
        return replace(found, nll=nll)

    with pytest.raises(DiagnosisError, match="3 of 400 samples"):
        decompose(replace(recording, load=infinite), "val", 1, 2, "tail")

    def relabelled(key: tuple[str, int, int]) -> object:
        found = recording.load(key)
        return replace(found, targets=found.targets if key[1] == 1 else 1 - found.targets)

    with pytest.raises(DiagnosisError, match="another target"):
        decompose(replace(recording, load=relabelled), "val", 1, 2, "class")

    bare = tuple(replace(s, accumulators=None, calibrated_nll=float("nan")) for s in recording.summaries)
    for by in ("calibration", "scale"):
        with pytest.raises(DiagnosisError, match="calibration sums"):
            decompose(replace(recording, summaries=bare), "val", 1, 2, by)
