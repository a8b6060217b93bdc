"""Nothing in the records may make an examination, the advice or a decomposition fail."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch

from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.decompose import WAYS, decompose
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import settled
from jupyter_lossacc.errors import DiagnosisError
from jupyter_lossacc.records import EpisodeKind, EpochSummary, PassKey, Predictions, Recording
from tests.causes.cases import over
from tests.recordings import RecordingBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: tuple[EpisodeKind, ...] = get_args(EpisodeKind)


def noise(
    n: int = 40,
    classes: int = 3,
    epochs: int = 12,
    change: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
) -> RecordingBuilder:
    g = torch.Generator().manual_seed(0)
    builder = RecordingBuilder()
    targets = torch.randint(0, classes, (n,), generator=g)
    for epoch in range(1, epochs + 1):
        z = torch.randn(n, classes, generator=g) * epoch
        z = z if change is None else change(epoch, z)
        builder.add("train", epoch, epoch, z, targets, training=True)
        builder.add("val", epoch, epoch, z, targets)
    return builder


def without_samples(r: Recording) -> Recording:
    def load(key: PassKey) -> Predictions:
        raise KeyError(key)

    return replace(r, load=load)


def unknown_ids(r: Recording) -> Recording:
    return replace(r, load=lambda key: replace(r.load(key), ids_known=False))


def duplicate_ids(r: Recording) -> Recording:
    """As when a sampler draws with replacement."""
    return replace(r, load=lambda key: replace(r.load(key), sample_ids=r.load(key).sample_ids // 2))


def other_samples(r: Recording) -> Recording:
    """A validation set drawn anew in every epoch."""

    def load(key: PassKey) -> Predictions:
        p = r.load(key)
        return replace(p, sample_ids=p.sample_ids + 1000 * key[1])

    return replace(r, load=load)


def no_margin(r: Recording) -> Recording:
    """As for tasks in which a margin has no meaning."""
    return replace(
        r, load=lambda key: replace(r.load(key), margin=np.full(len(r.load(key)), np.nan, np.float32))
    )


def no_sums(r: Recording) -> Recording:
    gone = {"accumulators": None, "calibrated_nll": np.nan, "temperature": np.nan}
    return replace(r, summaries=tuple(replace(s, **gone) for s in r.summaries))


def broken_down(r: Recording, value: float) -> Recording:
    """Losses that are no number from the seventh epoch on, as after a step that blew up."""

    def spoil(s: EpochSummary) -> EpochSummary:
        if s.epoch <= 6:
            return s
        sums = s.accumulators
        if sums is not None:
            bad = {name: np.full_like(getattr(sums, name), value) for name in ("nll", "slope", "noise_nll")}
            sums = replace(sums, score_sum=value, score_square=value, **bad)
        return replace(
            s, nll=value, reported_loss=value, calibrated_nll=np.nan, temperature=np.nan, accumulators=sums
        )

    def load(key: PassKey) -> Predictions:
        p = r.load(key)
        if key[1] <= 6:
            return p
        bad = np.full(len(p), value, np.float32)
        return replace(p, nll=bad, reported_loss=bad.copy(), margin=np.full(len(p), np.nan, np.float32))

    return replace(r, summaries=tuple(spoil(s) for s in r.summaries), load=load)


EDGES: dict[str, Callable[[], Recording]] = {
    "one epoch": lambda: noise(epochs=1).build(),
    "two epochs": lambda: noise(epochs=2).build(),
    "two samples": lambda: noise(n=2).build(),
    "one sample": lambda: noise(n=1).build(),
    "one class seen": lambda: noise(classes=1).build(),
    "two classes": lambda: noise(classes=2).build(),
    "many classes": lambda: noise(classes=300).build(),
    "ten thousand classes": lambda: noise(n=20, classes=10_000, epochs=9).build(),
    "a class absent": lambda: noise(change=lambda epoch, z: torch.nn.functional.pad(z, (0, 2))).build(),
    "duplicate ids": lambda: duplicate_ids(noise().build()),
    "nan loss": lambda: broken_down(noise().build(), float("nan")),
    "infinite loss": lambda: broken_down(noise().build(), float("inf")),
    "huge logits": lambda: noise(change=lambda epoch, z: z * 1e6).build(),
    "zero logits": lambda: noise(change=lambda epoch, z: z * 0).build(),
    "samples not kept": lambda: without_samples(noise().build()),
    "ids unknown": lambda: unknown_ids(noise().build()),
    "samples change": lambda: other_samples(noise().build()),
    "no margins": lambda: no_margin(noise().build()),
    "no sums": lambda: no_sums(noise().build()),
    "still running": lambda: noise().build(status="running", upto=7),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.filterwarnings("error")
def test_odd_records_are_examined_without_failing(edge: str) -> None:
    r = EDGES[edge]()
    epochs = [s.epoch for s in r.series("val")]
    episodes = [over(r, kind, epochs[0], epochs[-1], split) for kind in KINDS for split in ("val", "train")]
    for d in (*diagnose(r, episodes), *diagnose(r, ())):
        assert not [line for line in d.limits if "could not be examined" in line]
        for f in d.findings:
            assert f.verdict in ("supported", "undecided", "rejected", "not_tested")
            assert "nan" not in f.because.split(), f.because
            assert not re.search(r"\b(nan|inf)\b", f.statement), f.statement
        assert isinstance(d.headline, str)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.filterwarnings("error")
def test_odd_records_get_advice_in_words(edge: str, running: bool) -> None:
    """Which epoch to keep, or that none can be named; what is shown does not fail either."""
    r = EDGES[edge]()
    advice = advise(r, running)
    said = [advice.reason, advice.stop_reason, advice.optimism, *(a.cost for a in advice.alternatives)]
    assert advice.reason
    assert not re.search(r"\b(nan|inf)\b", " ".join(said)), said
    assert isinstance(settled(r), tuple)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("by", [by for by in WAYS if by != "weights"])
@pytest.mark.filterwarnings("error")
def test_odd_records_are_decomposed_exactly_or_it_is_said_why_not(edge: str, by: str) -> None:
    r = EDGES[edge]()
    first, last = (r.series("val")[i] for i in (0, -1))
    try:
        parts = decompose(r, "val", first.epoch, last.epoch, by)
    except DiagnosisError as error:
        why = str(error)
    else:
        why = ""
        assert parts["loss_change"].sum() == pytest.approx(last.nll - first.nll, abs=1e-9, rel=1e-12)
    assert not why or why.endswith(".")


@pytest.mark.parametrize(
    "edge", ["samples not kept", "ids unknown", "samples change", "no margins", "no sums"]
)
def test_less_is_known_from_less(edge: str) -> None:
    r = EDGES[edge]()
    d = diagnose(r, (over(r, "loss_rises_accuracy_flat", 1, 12),))[0]
    verdicts = {f.cause: f.verdict for f in d.findings}
    if edge in ("samples not kept", "ids unknown", "samples change"):
        assert verdicts["confident_errors"] == "not_tested"
    if edge in ("no sums", "samples change"):
        assert verdicts["overconfidence"] == "not_tested"
    if edge == "no sums":
        assert verdicts["label_noise"] == "not_tested"
    if edge in ("samples not kept", "no margins"):
        assert verdicts["outlier_inputs"] == "not_tested"
