"""Growing confidence: loss falls at constant accuracy because the model grows surer. Benign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import (
    Cause,
    Window,
    epochs_of,
    evidence,
    not_tested,
    percent,
    points,
    rounded,
    share_text,
    signed,
    spoken,
    window,
)
from jupyter_lossacc.causes.outcome import Outcomes, outcomes
from jupyter_lossacc.records import Episode, Evidence, Experiment, Finding, Recording, Verdict
from jupyter_lossacc.stats.estimate import Estimate
from jupyter_lossacc.stats.forecast import Forecast, crossing_forecast
from jupyter_lossacc.stats.noise import trend_with_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE"]

ID = "growing_confidence"
MIN_EPOCHS = 8  # of the later half
FLAT = (0.01, 0.03)  # bounds of a tenth of the error rate, up to which accuracy is flat
LONGEST = 24  # epochs read for the forecast and its back-test


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether a falling loss at constant accuracy comes from margins that grow."""
    if episode is not None and episode.kind != "loss_falls_accuracy_flat":
        return None
    w = window(recording, episode) if episode is not None else _later_half(recording)
    if episode is None and w is None:
        return None
    if w is None or w.before is None or w.after is None:
        why = w.unmatched if w is not None else "fewer than two complete passes lie in this stretch"
        return not_tested(
            ID, f"Whether the {spoken(w.split if w else 'val')} margins grow is not known: {why}."
        )
    o = outcomes(w.before, w.after)
    forecast = _forecast(w)
    return Finding(
        cause=ID,
        verdict=_verdict(w, o),
        share=o.right_share,
        statement=_statement(w, o, forecast),
        because=(
            f"the model grows surer of what it gets right ({share_text(o.right_share)} of the fall); that is "
            "benign"
        ),
        evidence=_evidence(w, o, forecast),
        action="Nothing to repair: go on as long as the calibrated loss falls.",
        experiment=Experiment(
            code="for epoch in range(epochs, epochs + 5):   # on\n    train_one_epoch()\n    evaluate()",
            prediction=_prediction(forecast, w),
        ),
        sample_ids=_next_to_cross(w),
        strength=0.3,
    )


def _later_half(recording: Recording) -> Window | None:
    """Return the later half of the run, if its loss clearly falls there at constant accuracy.

    The half is not chosen by what the curve does in it, so no stretches have to be accounted for, and a
    trend of five standard errors is beyond doubt. A fall by a tenth is one that a user sees.
    """
    w = window(recording, None)
    if w is None:
        return None
    half = recording.series(w.split)[len(recording.series(w.split)) // 2 :]
    loss, accuracy = (np.array([getattr(s, name) for s in half]) for name in ("nll", "accuracy"))
    if len(half) < MIN_EPOCHS or not np.isfinite(loss + accuracy).all():
        return None
    fall, error = trend_with_error(loss)
    moved, doubt = trend_with_error(accuracy)
    limit = float(np.clip(0.1 * (1 - accuracy.mean()), *FLAT))
    if fall > -max(0.01, 0.1 * loss.mean()) or fall > -5 * error or abs(moved) + 1.645 * doubt > limit:
        return None
    ends = Episode(
        split=w.split,
        start_epoch=half[0].epoch,
        end_epoch=half[-1].epoch,
        kind="loss_falls_accuracy_flat",
        loss_change=Estimate(fall, unit="nats"),
        accuracy_change=Estimate(moved, unit="share"),
        holds_on_new_data="undecided",
    )
    return window(recording, ends)


def _forecast(w: Window) -> Forecast | None:
    """Forecast from the last epochs of the split, only if that very forecast has proved itself."""
    series = w.recording.series(w.split)[-LONGEST:]
    if not series or series[-1].epoch != w.end.epoch:
        return None
    rows: list[NDArray[np.float32]] = []
    try:
        for s in series:
            p = w.recording.load(s.key)
            if not p.ids_known or (rows and len(p) != len(rows[0])):
                return None
            rows.append(p.margin)
    except KeyError:
        return None
    margins = np.array(rows)
    if not np.isfinite(margins).all():
        return None
    found = crossing_forecast(margins)
    return found if found is not None and found.useful else None


def _verdict(w: Window, o: Outcomes) -> Verdict:
    if w.loss_change >= 0:
        return "rejected"
    if o.right_share.high < 0.5:
        return "rejected"
    return "supported" if o.right_share.value >= 0.5 and o.margin_change > 0 else "undecided"


def _statement(w: Window, o: Outcomes, forecast: Forecast | None) -> str:
    known = np.isfinite(o.margin_change)
    margins = f", and the median margin moved by {signed(o.margin_change, 2)}" if known else ""
    text = (
        f"{spoken(w.split).capitalize()} loss falls by {rounded(-w.loss_change)} nats {epochs_of(w)} at "
        f"constant accuracy ({points(w.accuracy_change)}): {share_text(o.right_share)} of it are right "
        f"predictions that became surer{margins}."
    )
    if forecast is None:
        return text
    return (
        f"{text} Margins carried on along their slopes give an accuracy of {percent(forecast.accuracy, 1)} "
        f"in {forecast.ahead} epochs (in {forecast.n_tests} back-tests off by "
        f"{rounded(100 * forecast.error, 1)} "
        f"points, against {rounded(100 * forecast.no_change_error, 1)} for assuming no change)."
    )


def _evidence(w: Window, o: Outcomes, forecast: Forecast | None) -> tuple[Evidence, ...]:
    share = o.right_share.value
    rows = [
        evidence("share of the fall: right ones became surer", share, "share", ">= 0.5", share >= 0.5),
        evidence("change of the median margin", o.margin_change, "logits", "> 0", o.margin_change > 0),
        evidence("change of accuracy", w.accuracy_change, "share", "", True),
    ]
    if forecast is not None:
        rows.append(
            evidence("forecast error in back-tests", forecast.error, "share", "below no change", True)
        )
    return tuple(rows)


def _prediction(forecast: Forecast | None, w: Window) -> str:
    if forecast is None:
        return (
            "Loss goes on falling. When accuracy follows cannot be said: a forecast from the margins was no "
            "better in this run than assuming no change, or too few epochs are there to test it."
        )
    end = w.end.epoch + forecast.ahead
    error = f"{rounded(100 * forecast.error, 1)} points"
    return f"Accuracy near {percent(forecast.accuracy, 1)} at epoch {end}, give or take {error}."


def _next_to_cross(w: Window) -> NDArray[np.int64]:
    """Wrong samples whose margin rises, the nearest to the boundary first."""
    if w.before is None or w.after is None:
        return np.empty(0, np.int64)
    rows = np.flatnonzero((w.after.margin <= 0) & (w.after.margin > w.before.margin))
    return w.after.sample_ids[rows[np.argsort(-w.after.margin[rows], kind="stable")]][:200]


CAUSE = Cause(id=ID, examine=examine, scope="episode_or_run")
