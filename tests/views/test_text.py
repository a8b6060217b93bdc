"""The diagnosis in words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from jupyter_lossacc.records import Diagnosis, Finding
from jupyter_lossacc.views.text import report, summary
from jupyter_lossacc.views.verdict import headline
from jupyter_lossacc.views.words import typeset
from tests.views.states import STATES, state_of


@pytest.mark.parametrize("name", STATES)
def test_every_run_can_be_told(name):
    shown = STATES[name]()
    told = summary(*shown.arguments)
    sentences = [line.removeprefix("- Whole run: ") for line in told.split("\n")]
    assert len(set(sentences)) == len(sentences)  # nothing is said twice
    assert told.splitlines()[1]
    assert "nan" not in told
    assert report(*shown.arguments).startswith("# ")


def test_the_report_has_causes_evidence_and_what_to_try():
    shown = STATES["both-rise"]()
    text = report(*shown.arguments)
    finding = next(d for d in shown.diagnoses if d.supported).supported[0]
    for part in (
        typeset(finding.statement),
        typeset(finding.action),
        finding.experiment.code.splitlines()[0],
        "| evidence |",
    ):
        assert part in text
    assert "## Which epoch to keep" in text
    assert "Also examined:" in text


def test_numbers_carry_units_and_real_signs():
    text = re.sub(r"```.*?```", "", report(*STATES["both-rise"]().arguments), flags=re.S)
    assert re.search(r"\| share of the rise[^|]* \| [\d.]+ % \| ≥ 50 % \|", text)
    assert not re.search(r"[ (|]-\d|>=|<=|->", text)


def test_a_name_cannot_make_markup():
    assert report(*STATES["class-names"]().arguments).startswith(r"# \<i>names\</i> & more")


def test_a_retracted_episode_is_not_counted_as_standing():
    shown = STATES["retracted"]()
    assert "no longer supported" in report(*shown.arguments)
    assert summary(*shown.arguments).count("loss and accuracy rise together") == 2  # test and validation


def test_limits_are_named():
    assert "Note: One." in _with_limits("One.")
    assert "1 more notes in run.limits" in _with_limits("One.", "Two.", "Three.", "Four.")


def _with_limits(*limits):
    shown = STATES["one-epoch"]()
    shown = replace(shown, recording=replace(shown.recording, limits=limits), diagnoses=())
    return summary(*shown.arguments)


def test_a_finding_about_the_run_leads_where_no_episode_does():
    shown = STATES["one-epoch"]()
    finding = Finding(cause="double_softmax", verdict="supported", statement="Softmax was applied twice.")
    whole = Diagnosis(episode=None, findings=(finding,), headline="Softmax was applied twice.")
    said = headline(shown.recording, (), (whole,))
    assert (said.text, said.tone) == ("Softmax was applied twice.", "problem")
    benign = replace(whole, findings=(replace(finding, cause="fluctuation"),))
    assert headline(shown.recording, (), (benign,)).tone == "good"


def test_conclusions_are_printed_as_what_is_read_first():
    shown = STATES["both-rise"]()
    about_run, about_val = shown.diagnoses[-1], shown.diagnoses[-2]
    assert repr(about_val).startswith("<Diagnosis of val, epochs ")
    assert re.fullmatch(
        r"<Episode val, epochs \d+-\d+, both_rise: loss \+[\d.]+ nats, accuracy \+[\d.]+ points along .*>",
        repr(about_val.episode),
    )
    assert about_val.headline in repr(about_val)
    assert "supported: overconfidence | rejected: " in repr(about_val)
    assert repr(about_run).startswith("<Diagnosis of the whole run: ")
    assert repr(about_val.findings[0]).startswith("<Finding overconfidence: supported. Validation loss")
    assert repr(shown.advice) == f"<CheckpointAdvice epoch={shown.advice.epoch}: {shown.advice.reason}>"
    assert len(repr(shown.diagnoses)) < 3000


def test_a_finding_about_the_run_leads_where_an_episode_is_not_explained():
    shown = STATES["both-rise"]()
    episode = shown.episodes[0]
    finding = Finding(cause="dead_activations", verdict="supported", statement="Nothing is let through.")
    whole = Diagnosis(
        episode=None, findings=(finding,), headline="Dead activations: -1 is said with a minus."
    )
    unknown = Diagnosis(episode=episode, findings=(), headline="Why is undecided.")
    assert headline(shown.recording, (episode,), (unknown, whole)).text.startswith("Dead activations: −1")
    explained = replace(unknown, findings=(replace(finding, cause="overfitting"),))
    assert headline(shown.recording, (episode,), (explained, whole)).text == "Why is undecided."
    benign = replace(whole, findings=(replace(finding, cause="growing_confidence"),))
    assert headline(shown.recording, (episode,), (unknown, benign)).text == "Why is undecided."


def test_causes_that_explain_other_movements_are_named_in_one_line():
    shown = STATES["both-rise"]()
    text = report(*shown.arguments)
    assert text.count("Not asked here, because they explain other movements: ") >= 1
    assert "Not in question here" not in text
    card = next(c for c in state_of(shown)["cards"] if c.get("kind") == "both_rise")
    (others,) = [line for line in card["limits"] if line.startswith("Not asked here")]
    listed = {cause["title"].lower() for cause in card["causes"]}
    assert not [title for title in others.partition(": ")[2].rstrip(".").split(", ") if title in listed]


def test_an_open_question_about_the_run_is_said_before_what_is_no_reason_to_worry():
    """Accuracy falls at a steady loss, while the training loss falls: the second is no news."""
    shown = STATES["both-rise"]()
    benign = replace(shown.episodes[0], split="train", kind="loss_falls_accuracy_flat")
    about_it = Diagnosis(episode=benign, findings=(), headline="No reason to worry.")
    finding = Finding(cause="fluctuation", verdict="undecided", statement="Accuracy has fallen.")
    whole = Diagnosis(episode=None, findings=(finding,), headline="Accuracy has fallen.")
    said = headline(shown.recording, (benign,), (about_it, whole))
    assert (said.text, said.tone) == ("Accuracy has fallen.", "watch")
    assert headline(shown.recording, (benign,), (about_it,)).text == "No reason to worry."


def test_a_broken_training_is_said_with_what_broke_it():
    shown = STATES["not-finite"]()
    finding = Finding(cause="learning_rate_too_high", verdict="supported", statement="Too high.")
    whole = Diagnosis(episode=None, findings=(finding,), headline="Too high.")
    assert headline(shown.recording, (), (whole,)).text.endswith(
        "since epoch 8: training has broken down there. Found in this run: learning rate too high."
    )
    assert headline(shown.recording, (), ()).text.endswith("training has broken down there.")


def test_a_regression_is_not_said_to_have_completed_no_epoch():
    shown = STATES["waiting"]()
    limit = "Expected class labels, but the targets are continuous numbers."
    for status in ("running", "finished"):
        said = headline(replace(shown.recording, status=status, limits=("Short.", limit)), (), ())
        assert (said.text, said.tone) == (limit, "quiet")
    assert headline(replace(shown.recording, status="finished"), (), ()).text == "No epoch was completed."
