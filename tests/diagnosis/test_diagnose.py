"""Findings are ranked, contained, explained away and summed up in one sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch

from jupyter_lossacc.causes import CAUSES
from jupyter_lossacc.causes.cause import Cause
from jupyter_lossacc.diagnosis import diagnose as module
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.records import (
    Episode,
    EpisodeKind,
    EpochSummary,
    Finding,
    PassKey,
    Predictions,
    Recording,
)
from jupyter_lossacc.stats.estimate import Estimate
from tests.causes.cases import case, over
from tests.recordings import RecordingBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: tuple[EpisodeKind, ...] = get_args(EpisodeKind)


def fixed(
    cause: str, verdict: str, strength: float = 1.0, share: float | None = None, **rest: object
) -> Cause:
    """A cause that always answers the same."""
    finding = Finding(
        cause=cause,
        verdict=verdict,  # type: ignore[arg-type]
        statement=str(rest.pop("statement", f"{cause} is {verdict}.")),
        strength=strength,
        share=None if share is None else Estimate(share, unit="share"),
        **rest,  # type: ignore[arg-type]
    )
    return Cause(cause, lambda recording, episode: finding, "both")


@pytest.fixture
def recording() -> Recording:
    return case("overconfidence").recording


@pytest.fixture
def rising(recording: Recording) -> Episode:
    return over(recording, "loss_rises_accuracy_flat", 20, 50)


def ask(monkeypatch: pytest.MonkeyPatch, causes: list[Cause], recording: Recording, episode: Episode):
    monkeypatch.setattr(module, "CAUSES", tuple(causes))
    return diagnose(recording, (episode,))[0]


def test_one_diagnosis_per_standing_episode_and_one_about_the_run(
    recording: Recording, rising: Episode
) -> None:
    gone = replace(rising, retracted=True, start_epoch=5)
    found = diagnose(recording, (rising, gone))
    assert [d.episode for d in found] == [rising, None]
    assert [d.episode for d in diagnose(recording, ())] == [None]


def test_the_headline_has_the_cause_its_share_and_what_to_do(recording: Recording, rising: Episode) -> None:
    line = diagnose(recording, (rising,))[0].headline
    best = min(recording.series("val"), key=lambda s: s.calibrated_nll).epoch
    pattern = (
        r"Validation loss rises at constant accuracy because the model is over-confident: "
        rf"\d+ % \[\d+, \d+\] of the rise is miscalibration\. Keep epoch {best}\."
    )
    assert re.fullmatch(pattern, line), line
    running = diagnose(replace(recording, status="running"), (rising,))[0].headline
    assert running.endswith(f"Stop now; keep epoch {best} so far.")


def test_both_rise_says_that_accuracy_improves(recording: Recording) -> None:
    line = diagnose(recording, (over(recording, "both_rise", 20, 50),))[0].headline
    assert "; accuracy rises all the same." in line


@pytest.mark.parametrize("kind", KINDS)
def test_every_cause_has_an_answer_about_every_kind_of_stretch(kind: EpisodeKind) -> None:
    """What it explains is there or not; a cause of the whole run is answered there."""
    r = case("overconfidence").recording
    stretch, run = diagnose(r, (over(r, kind, 10, 50),))
    assert {f.cause for f in (*stretch.findings, *run.findings)} == {c.id for c in CAUSES}
    for f in stretch.findings:
        if f.statement.startswith("Not in question here"):
            assert f.verdict == "rejected"
            assert "something else" not in f.statement
            rises = "rises" in f.statement
            assert not rises or kind in ("both_fall", "loss_falls_accuracy_flat", "accuracy_stuck_loss_high")


def test_a_cause_that_fails_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    def broken(recording: Recording, episode: Episode | None) -> Finding:
        raise ZeroDivisionError("float division by zero")

    d = ask(
        monkeypatch, [Cause("overfitting", broken), fixed("overconfidence", "supported")], recording, rising
    )
    assert [(f.cause, f.verdict) for f in d.findings] == [
        ("overconfidence", "supported"),
        ("overfitting", "not_tested"),
    ]
    assert d.limits[0] == (
        "The cause overfitting could not be examined (ZeroDivisionError: float division by zero)."
    )


def test_supported_first_then_by_what_rests_on_what(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    causes = [
        fixed("tail_relief", "rejected", 9.0),
        fixed("confident_errors", "supported", 9.0, 1.2),
        fixed("overconfidence", "supported", 0.5, 0.9),
        fixed("label_shift", "supported", 0.1),
        fixed("class_divergence", "undecided", 0.1),
        fixed("overfitting", "supported", 0.1, 0.1),
    ]
    d = ask(monkeypatch, causes, recording, rising)
    assert [f.cause for f in d.findings] == [
        "label_shift",
        "confident_errors",  # where the samples are, before how sure the model is
        "overconfidence",
        "overfitting",  # a tenth of the change is a side effect, whatever its kind
        "class_divergence",
        "tail_relief",
    ]
    assert len(d.supported) == 4


def test_a_bad_optimiser_leaves_calibration_undecided(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    causes = [fixed("learning_rate_too_high", "supported"), fixed("overconfidence", "supported", share=0.9)]
    d = ask(monkeypatch, causes, recording, rising)
    explained = next(f for f in d.findings if f.cause == "overconfidence")
    assert explained.verdict == "undecided"
    assert "learning rate too high" in explained.statement


def test_what_is_left_is_stated(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    d = ask(monkeypatch, [fixed("overconfidence", "supported", share=0.6)], recording, rising)
    assert any(line.startswith("About 40 % of the rise is not explained") for line in d.limits)
    causes = [fixed("overconfidence", "supported", share=0.6), fixed("overfitting", "supported", share=0.4)]
    d = ask(monkeypatch, causes, recording, rising)
    assert not any("not explained" in line for line in d.limits)
    d = ask(monkeypatch, [fixed("overfitting", "undecided", share=0.4)], recording, rising)
    assert "No cause examined is supported for this episode." in d.limits
    assert any(line == "Undecided with these records: overfitting." for line in d.limits)
    assert "why is undecided: perhaps overfitting (40 % of it)" in d.headline


def test_an_episode_without_a_cause_names_that_of_the_run(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    whole = replace(fixed("dead_activations", "supported"), scope="run")
    d = ask(monkeypatch, [fixed("overconfidence", "rejected"), whole], recording, rising)
    assert "found in the run as a whole: dead activations" in d.headline
    assert "none of the causes" not in d.headline
    assert "No cause examined is supported for this episode." not in d.limits
    calm = replace(fixed("fluctuation", "supported"), scope="run")
    d = ask(monkeypatch, [fixed("overconfidence", "rejected"), calm], recording, rising)
    assert "none of the causes examined explains it" in d.headline


def test_a_cause_of_the_loss_is_not_said_to_be_one_of_the_accuracy(recording: Recording) -> None:
    """Over-confidence raises the loss; it changes no prediction."""
    (d, *_) = diagnose(recording, (over(recording, "loss_rises_accuracy_falls", 20, 50),))
    assert d.supported
    assert re.match(r"Validation loss rises because .*; accuracy falls too\. ", d.headline)


def test_headlines_without_a_cause_are_honest(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    d = ask(monkeypatch, [fixed("overconfidence", "not_tested")], recording, rising)
    assert "could not be tested" in d.headline
    d = ask(monkeypatch, [fixed("overconfidence", "rejected")], recording, rising)
    assert "none of the causes examined explains it" in d.headline
    two = [fixed("overconfidence", "undecided", share=0.5), fixed("overfitting", "undecided")]
    d = ask(monkeypatch, two, recording, rising)
    assert "undecided between overconfidence (50 % of it) and overfitting" in d.headline or (
        "undecided between overfitting and overconfidence (50 % of it)" in d.headline
    )
    benign = over(recording, "loss_falls_accuracy_flat", 20, 50)
    d = ask(monkeypatch, [fixed("growing_confidence", "not_tested")], recording, benign)
    assert "no reason to worry" in d.headline


def test_a_cause_without_a_clause_is_quoted(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    d = ask(monkeypatch, [fixed("label_shift", "supported")], recording, rising)
    assert "Validation loss rises at constant accuracy: label_shift is supported." in d.headline


# ---- nothing in the records may make an examination fail


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
    for d in diagnose(r, episodes):
        assert not [line for line in d.limits if "could not be examined" in line]
        for f in d.findings:
            assert f.verdict in ("supported", "undecided", "rejected", "not_tested")
            assert "nan" not in f.because.split(), f.because
            assert not re.search(r"\b(nan|inf)\b", f.statement), f.statement
        assert isinstance(d.headline, str)


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


def test_every_cause_of_this_floor_is_registered_once() -> None:
    names = [c.id for c in CAUSES]
    assert len(set(names)) == len(names)
    assert len(names) == 26


def test_an_episode_of_training_alone_leaves_the_question_about_validation_open() -> None:
    """What is shown on the training passes must not hide a rise of the validation loss."""
    r = case("overconfidence").recording
    shown = over(r, "both_rise", 5, 50, split="train")
    run = diagnose(r, (shown,))[-1]
    assert run.episode is None
    asked = {f.cause: f.verdict for f in run.findings}
    assert asked["overconfidence"] == "supported"
    assert "overconfidence" not in {f.cause for f in diagnose(r, (over(r, "both_rise", 5, 50),))[-1].findings}


def test_a_share_that_could_be_nearly_anything_names_no_cause_without_an_episode(
    monkeypatch: pytest.MonkeyPatch, recording: Recording
) -> None:
    wide, narrow = (Estimate(1.0, low, high, "share") for low, high in ((0.3, 1.9), (0.8, 1.2)))
    for share, verdict in ((wide, "undecided"), (narrow, "supported")):
        cause = fixed("overconfidence", "supported", statement="It rises.")
        finding = replace(cause.examine(recording, None), share=share)  # type: ignore[type-var]
        monkeypatch.setattr(module, "CAUSES", (Cause("overconfidence", lambda *_, f=finding: f, "both"),))
        run = diagnose(recording, ())[-1]
        assert run.findings[0].verdict == verdict
        if verdict == "supported":
            assert "No stretch is marked" in run.headline
        # Where an episode is shown, its interval stands beside it.
        marked = diagnose(recording, (over(recording, "both_rise", 15, 50),))[0]
        assert marked.findings[0].verdict == "supported"
