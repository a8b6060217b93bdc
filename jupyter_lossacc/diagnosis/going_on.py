"""Whether going on pays: the trend of the loss by which epochs are chosen, looked at epoch by epoch.

Advice that changes with every epoch is none. So what was said stands until something clear speaks against
it; `tests/diagnosis/test_going_on.py` counts how often it changes and how often "stop now" is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.noise import epoch_noise

__all__ = ["Stop", "stop_or_go"]

Floats = NDArray[np.float64]
Stop = Literal["now", "keep going", "undecided"]
EARLIEST = 4  # evaluated epochs
PATIENCE = 0.15  # of the epochs so far; a tenth says "now" in the middle of slow noisy falls
SHORTEST_PATIENCE = 5  # epochs
SURE, SURER = 2.0, 3.0  # standard errors of the slope: to say "keep going", and to take "now" back
LOOKED_BACK = 200  # epochs: what was said before them no longer matters
REMEMBERED = 64  # answers, of the runs that go on: a look at every epoch anew takes 20 ms after 200 epochs
_said: dict[tuple[bytes, bytes], Stop] = {}  # by the epochs and losses so far


@dataclass(frozen=True, slots=True)
class _Look:
    """What the epochs until some epoch say."""

    patience: int
    low: int  # epoch of the lowest loss
    age: int  # epochs since then
    recent: int  # epochs of which `slope` is the trend
    slope: float
    error: float
    pays: bool  # whether `patience` epochs of that trend would be worth waiting for
    level: bool  # whether the loss no longer falls since its lowest

    def falls(self, sure: float) -> bool:
        return self.pays and self.slope < -sure * self.error

    @property
    def over(self) -> bool:
        return self.age >= self.patience and self.level and not self.pays


def stop_or_go(epochs: NDArray[np.int64], values: Floats, what: str) -> tuple[Stop, str]:
    """Say whether going on pays, and why.

    Parameters
    ----------
    epochs, values : ndarray of shape (n_epochs,)
        Ascending, and the loss by which epochs are chosen, NaN where it is not known.
    what : str
        Name of that loss.
    """
    if len(values) < EARLIEST or not np.isfinite(values).any():
        return "undecided", "Fewer than four evaluated epochs: too early to say."
    said = _say(epochs, values)
    return said, _why(said, _look(epochs, values), what)


def _say(epochs: NDArray[np.int64], values: Floats) -> Stop:
    """Go through the latest epochs as the reader did, from where the last call ended."""
    said: Stop = "undecided"
    first = max(EARLIEST, len(epochs) - LOOKED_BACK)
    for n in range(len(epochs), first - 1, -1):
        known = _said.get((epochs[:n].tobytes(), values[:n].tobytes()))
        if known is not None:
            said, first = known, n + 1
            break
    for n in range(first, len(epochs) + 1):
        if np.isfinite(values[:n]).any():
            said = _next(said, _look(epochs[:n], values[:n]))
    if len(_said) >= REMEMBERED:
        _said.clear()
    _said[epochs.tobytes(), values.tobytes()] = said
    return said


def _next(said: Stop, look: _Look) -> Stop:
    if said == "now":
        return "keep going" if look.falls(SURER) and look.age < look.patience else "now"
    if look.over:
        return "now"
    if said == "keep going":
        return "undecided" if look.age >= look.patience and not look.pays else "keep going"
    return "keep going" if look.falls(SURE) else "undecided"


def _look(epochs: NDArray[np.int64], values: Floats) -> _Look:
    patience = max(SHORTEST_PATIENCE, int(np.ceil(PATIENCE * epochs[-1])))
    lowest = int(np.nanargmin(values))
    recent = epochs > epochs[-1] - 2 * patience
    slope, error = _slope(epochs[recent], values[recent])
    slope_since, error_since = _slope(epochs[lowest:], values[lowest:])
    return _Look(
        patience=patience,
        low=int(epochs[lowest]),
        age=int(epochs[-1] - epochs[lowest]),
        recent=int(recent.sum()),
        slope=slope,
        error=error,
        pays=-slope * patience > max(0.001, 0.002 * abs(values[lowest])),
        level=slope_since > -error_since,
    )


def _why(said: Stop, look: _Look, what: str) -> str:
    # A live panel shows what was looked at some epochs ago: the sentence says until when.
    low = f"lowest at epoch {look.low} of {look.low + look.age}"
    settles = f"no new lowest until epoch {look.low + look.patience} would settle it."
    if said == "now":
        if look.age >= look.patience:
            return f"The {what} has not improved for {look.age} epochs ({low})."
        return f"The {what} does not clearly fall along its last {look.recent} epochs ({low})."
    if look.falls(SURE) and 4 * look.age <= look.recent:  # else the eye sees that it has turned
        speed = f"{-look.slope:.2g} nats per epoch"
        return f"Along its last {look.recent} epochs the {what} still falls, by {speed}."
    if said == "keep going":
        return f"The {what} has been falling ({low}); {settles}"
    if look.age >= look.patience:
        but = "its latest epochs still fall" if look.level else "it has been falling since its last jump"
        return (
            f"The {what} has had no new lowest for {look.age} epochs ({low}), but {but}: "
            "going on may still pay a little."
        )
    return f"The {what} is about level ({low}); {settles}"


def _slope(epochs: NDArray[np.int64], values: Floats) -> tuple[float, float]:
    """Least-squares slope per epoch and its standard error from the wobble around it."""
    kept = np.isfinite(values)
    x, y = epochs[kept].astype(np.float64), values[kept]
    if len(x) < 3:
        return 0.0, float("inf")
    centred = x - x.mean()
    weight = float((centred**2).sum())
    noise = epoch_noise(y)
    if np.isnan(noise):
        noise = float(np.std(y, ddof=1))
    return float(centred @ y / weight), noise / np.sqrt(weight)
