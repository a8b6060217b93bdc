"""Findings are ranked, contained, explained away and summed up in one sentence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest

from jupyter_lossacc.causes import CAUSES
from jupyter_lossacc.causes.cause import Cause
from jupyter_lossacc.diagnosis import diagnose as module
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.headline import headline
from jupyter_lossacc.records import (
    Episode,
    EpisodeKind,
    Finding,
    Recording,
)
from jupyter_lossacc.stats.estimate import Estimate
from tests.causes.cases import case, over

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
    anything = replace(d.findings[0], share=Estimate(1.29, -1.51, 3.04, "share"))
    told = headline(recording, rising, (anything,))
    assert "perhaps overfitting. " in told, "a share that may be none of it says nothing"


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
    assert "undecided between over-confidence (50 % of it) and overfitting" in d.headline or (
        "undecided between overfitting and over-confidence (50 % of it)" in d.headline
    )
    benign = over(recording, "loss_falls_accuracy_flat", 20, 50)
    d = ask(monkeypatch, [fixed("growing_confidence", "not_tested")], recording, benign)
    assert "no reason to worry" in d.headline


def test_a_cause_without_a_clause_is_quoted(
    monkeypatch: pytest.MonkeyPatch, recording: Recording, rising: Episode
) -> None:
    d = ask(monkeypatch, [fixed("label_shift", "supported")], recording, rising)
    assert "Validation loss rises at constant accuracy: label_shift is supported." in d.headline


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
            assert run.headline.startswith("Validation loss rises because")
            assert "No stretch is marked" in run.headline
        # Where an episode is shown, its interval stands beside it.
        marked = diagnose(recording, (over(recording, "both_rise", 15, 50),))[0]
        assert marked.findings[0].verdict == "supported"


def test_how_far_the_loss_rises_is_said_once(monkeypatch: pytest.MonkeyPatch, recording: Recording) -> None:
    """Where two losses are named, each already has its rise beside it."""
    for because, said in (("it does", "because it does (+"), ("it does (one, and another)", "another). No")):
        found = replace(fixed("overconfidence", "supported").examine(recording, None), because=because)  # type: ignore[type-var]
        monkeypatch.setattr(module, "CAUSES", (Cause("overconfidence", lambda *_, f=found: f, "both"),))
        told = diagnose(recording, ())[-1].headline
        assert said in told
        assert told.count("(") == 1
