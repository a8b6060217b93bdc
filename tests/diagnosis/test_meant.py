"""With a weighted criterion it is always said which loss a sentence explains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jupyter_lossacc.causes.class_imbalance import examine
from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.meant import _OF_THE_REPORTED
from jupyter_lossacc.views.panel.state import panel_state
from tests.scenarios_classes import episode_of, imbalance

WEIGHTS = np.array([0.55, 5.5])


def weigh(recording, reduction="mean", also=0.0):
    """The recording as a criterion with class weights would report it (`also`: what else it adds)."""

    def reported(s):
        p = recording.load(s.key)
        f = WEIGHTS[p.targets]
        value = (f * p.nll).sum() / (f.sum() if reduction == "mean" else len(p)) + also * s.epoch
        return replace(
            s,
            reported_loss=float(value),
            loss=replace(s.loss, class_weights=WEIGHTS, reduction=reduction),
        )

    return replace(
        recording, summaries=tuple(reported(s) if s.split == "val" else s for s in recording.summaries)
    )


@pytest.fixture(scope="module")
def plain():
    return imbalance(0).build()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_class_imbalance_explains_the_loss_that_is_drawn(plain, reduction):
    run = weigh(plain, reduction)
    episode = episode_of(run)
    found = examine(run, episode)
    before, after = run.paired("val", episode.start_epoch, episode.end_epoch)
    change = WEIGHTS[after.targets] * (after.nll.astype(float) - before.nll)
    assert found.share.value == pytest.approx(change[after.targets == 1].sum() / change.sum())
    first, last = (run.summary("val", e) for e in (episode.start_epoch, episode.end_epoch))
    drawn = last.reported_loss - first.reported_loss
    assert found.counterfactual.actual == pytest.approx(last.reported_loss)
    assert found.counterfactual.value == pytest.approx(last.reported_loss - found.share.value * drawn)
    assert found.overlay[first.epoch] == pytest.approx(first.reported_loss, rel=1e-4)
    assert found.overlay[last.epoch] == pytest.approx(found.counterfactual.value, rel=1e-4)
    assert f"of the change of the weighted validation loss (+{drawn:.2f}" in found.statement
    assert found.because.endswith("of the change of the weighted loss")


def test_where_the_weights_do_not_give_the_drawn_loss_the_unweighted_one_is_explained_and_named(plain):
    run = weigh(plain, also=0.3)
    alone = examine(run, episode_of(run))
    assert alone.share == examine(plain, episode_of(plain)).share
    said = next(f for f in diagnose(run, [episode_of(run)])[0].findings if f.cause == "class_imbalance")
    assert "Meant is the unweighted loss" in said.statement
    assert "(unweighted loss, " in said.because


def test_no_two_numbers_for_the_loss_stand_side_by_side_without_a_name(plain):
    run = weigh(plain)
    episode = episode_of(run)
    diagnoses = diagnose(run, [episode])
    for finding in diagnoses[0].findings:
        if "loss" in finding.statement and finding.cause not in _OF_THE_REPORTED:
            assert "weighted" in finding.statement, finding.statement
            if finding.counterfactual and "loss" in finding.counterfactual.name:
                assert "weighted" in finding.counterfactual.name
            assert finding.overlay is None or finding.cause == "class_imbalance"
    advice = advise(run, True)
    assert "its unweighted validation loss" in advice.reason
    assert "unweighted calibrated loss" in advice.stop_reason
    state = panel_state(run, [episode], diagnoses, advice, status="finished", limits=())
    assert state["cards"][0]["facts"][0][0] == "weighted loss"
    assert state["words"]["calibrated"] == "unweighted and calibrated"
    assert (
        state["cards"][0]["causes"][0]["share"]["text"]
        .partition(" of the ")[2]
        .startswith("weighted loss change")
    )
    assert state["cards"][0]["waterfall"]["loss"] == "unweighted loss"
    assert "the weighted one, which is drawn, changed by" in state["cards"][0]["waterfall"]["aside"]


def test_an_unweighted_run_is_told_as_before(plain):
    said = diagnose(plain, [episode_of(plain)])
    assert not any("Meant is the" in f.statement for d in said for f in d.findings)
    assert not replace(plain.summaries[0].loss, class_weights=np.full(2, 0.5)).weighted
    assert advise(plain, True).reason.startswith("Keep epoch")
    assert "unweighted" not in advise(plain, True).reason
