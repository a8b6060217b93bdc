"""How the training loss comes down, from what the loop itself records at every optimiser step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONG", "OF_BATCHES", "Descent", "describe_descent"]

Floats = NDArray[np.float64]
SMOOTH = 256  # samples averaged before the highest loss is looked for: a single batch may spike
DEAD = 0.9  # share of hidden units without gradient
OF_BATCHES = 1.2  # swings; the noise of batches alone makes 0.4 to 1.0, steps that are too long 1.5 and more
LONG = 5e-3  # update against weights; a noisy fine-tune stays below 1e-3, trainings that swing exceed 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """The course of the training loss.

    Levels are relative to `scale`: the loss of the first steps or the chance loss, whichever is higher.

    Parameters
    ----------
    loss : ndarray of shape (n_epochs,)
        Mean of the step losses of each epoch over its samples, nats.
    scale : float
        Nats.
    peak : float
        Highest loss of the run, averaged over about 256 samples.
    end : float
        Level of the last quarter of the epochs (median).
    above_chance : float
        The same over the chance loss; infinite where that is not comparable.
    progress : float
        Level of the last quarter over that of the second: 1 when the second half brought nothing.
    rise_share : float
        Share of epochs, the first fifth left out, whose mean is more than 2 % above the one before.
    backward : float
        Share of all movement between epochs, the first fifth left out, that went up.
    swing : float
        Moves between epochs, the first fifth left out, their trend removed: root mean square over what
        independent batches would make of it. About 1 or less where the noise of batches is all there is.
    fall_z : float
        Trend of the second half over its standard error; negative when the loss falls.
    gradient_cv : float
        Standard deviation over mean of the gradient norm within an epoch, median over epochs in which
        the network lives.
    update_ratio : float
        Length of an update over length of the weights, median over the second half of the steps.
    longest_update : float
        The same as median of each epoch, highest over the epochs: what blew up has large weights later.
    batch_size, learning_rate : float
        Medians over all steps.
    highest_rate : float
        Highest learning rate of any step: what a schedule began at, as a rule.
    broken_step : int
        First step whose loss is not finite; -1 when there is none.
    growth : float
        Largest gradient norm of the ten steps before `broken_step` over the median of all before.
    climb : float
        Last loss before `broken_step` over the one from which it rose at every step, if it did so for at
        least three steps; else 1.
    dead : tuple of float
        Share of hidden units without gradient in the first step looked at, which the initial weights
        made, and in the last steps; NaN if not known.
    """

    loss: Floats
    scale: float
    peak: float
    end: float
    above_chance: float
    progress: float
    rise_share: float
    backward: float
    swing: float
    fall_z: float
    gradient_cv: float
    update_ratio: float
    longest_update: float
    batch_size: float
    learning_rate: float
    highest_rate: float
    broken_step: int
    growth: float
    climb: float
    dead: tuple[float, float]

    @property
    def killed(self) -> bool:
        """Steps far beyond any ordinary length silenced the network, whose loss is that of guessing since.

        Its start is no measure where the first steps threw the loss thousands of times higher.
        """
        silent = self.dead[0] <= 0.5 and self.dead[1] > DEAD
        nothing = self.end > 0.9 or abs(self.above_chance - 1) < 0.1
        return silent and self.longest_update > 10 * LONG and nothing

    @property
    def blows_up(self) -> bool:
        """The loss stopped being a number in the way in which steps that are too long make it.

        Each step then throws the weights farther than the one before: the loss (or the gradient) grows
        over several steps. A broken sample or a logarithm of 0 comes out of an ordinary loss, in one.
        """
        thrown = self.climb > 10 and self.longest_update > 10 * LONG
        return self.broken_step >= 0 and (self.growth > 10 or thrown)

    @property
    def overshoots(self) -> bool:
        """The loss swung far above where it began, and did not come down steadily since."""
        # A trained model that meets new labels peaks as well, but then descends without a rise.
        steady = self.progress < 0.7 and self.backward < 0.15
        return self.peak > 1.3 and self.end > 0.25 and not steady

    @property
    def stalls_swinging(self) -> bool:
        """The second half brought nothing while the loss kept swinging up and down at a high level."""
        swings = self.rise_share > 0.25 and self.backward > 0.4
        # Few samples, dropout and wrong labels make a fine-tune swing as well, but not by its own steps.
        high = self.end > 0.25 and not self.guesses
        return swings and self.progress > 0.85 and high and self.longest_update > LONG

    @property
    def swings_by_itself(self) -> bool:
        """It stalls swinging, and farther than the noise of batches and of dropout swings any mean."""
        return self.stalls_swinging and self.swing > OF_BATCHES

    @property
    def guesses(self) -> bool:
        """The loss is that of stating the class proportions, around which it wobbles if nothing is learned.

        That there is nothing to learn then is as likely as any fault of the steps, unless these are far
        beyond any ordinary length.
        """
        return abs(self.above_chance - 1) < 0.1 and not self.longest_update > 10 * LONG

    @property
    def suspicious(self) -> bool:
        """A weaker form of the two above: enough to doubt, not enough to say so."""
        tiny = self.longest_update < 0.4 * LONG  # what is not known is not tiny
        swings = self.rise_share > 0.2 and self.backward > 0.3 and self.progress > 0.8 and not tiny
        # Ordinary steps that never leave the start: killed units and labels without a pattern look alike.
        stuck = min(self.end, self.progress) > 0.95 and self.update_ratio > 0.2 * LONG
        return self.end > 0.25 and ((self.peak > 1.15 and self.backward > 0.15) or swings or stuck)


def describe_descent(steps: Mapping[str, Floats], chance: float = 0.0) -> Descent | None:
    """Summarise the step records; None for fewer than eight epochs unless the loss broke before.

    Parameters
    ----------
    steps : mapping of str to ndarray of shape (n_steps,)
        Columns ``epoch, step, loss, n_samples, learning_rate, grad_norm, update_ratio``.
    chance : float
        Loss of stating the class proportions, nats; 0 where it is not comparable with the loss.

    Examples
    --------
    >>> epoch = np.repeat(np.arange(1.0, 9.0), 4)  # eight epochs of four steps; each halves the loss
    >>> steps = dict.fromkeys(("n_samples", "learning_rate", "grad_norm", "update_ratio"), np.full(32, 0.5))
    >>> steps |= {"epoch": epoch, "step": np.arange(32.0), "loss": 0.5 ** (epoch - 1)}
    >>> found = describe_descent(steps)
    >>> found.loss.round(3)
    array([1.   , 0.5  , 0.25 , 0.125, 0.062, 0.031, 0.016, 0.008])
    >>> round(found.progress, 4), found.rise_share, found.broken_step  # (2^-6 + 2^-7) / (2^-2 + 2^-3)
    (0.0625, 0.0, -1)
    """
    loss = np.asarray(steps.get("loss", ()), np.float64)
    epochs, index = np.unique(np.asarray(steps.get("epoch", ()), np.float64), return_inverse=True)
    norm = np.asarray(steps.get("grad_norm", np.full(len(loss), np.nan)), np.float64)
    broken, growth = _break(loss, norm)
    if len(epochs) < 8 and broken < 0:
        return None
    groups = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    size = np.asarray(steps["n_samples"], np.float64)
    mean = np.array([np.average(loss[g], weights=np.maximum(size[g], 1)) for g in groups])
    ratio = np.asarray(steps["update_ratio"], np.float64)
    lengths = np.array([_median(ratio[g]) for g in groups])
    batch = _median(steps["n_samples"])
    scale, peak = _peak(loss, batch, chance)
    quarter = max(len(mean) // 4, 1)
    last, second = float(np.median(mean[-quarter:])), float(np.median(mean[quarter : 2 * quarter]))
    late = mean[len(mean) // 5 :]
    with np.errstate(invalid="ignore"):  # a loss that is infinite all along moves by no number
        move = np.diff(late)
        backward = float(np.clip(move, 0, None).sum() / max(np.abs(move).sum(), 1e-300))
    return Descent(
        loss=mean,
        scale=scale,
        peak=peak,
        end=last / scale,
        above_chance=last / chance if chance > 0 else float("inf"),
        progress=last / second if second else float("nan"),
        rise_share=float((move > 0.02 * np.abs(late[:-1])).mean()) if len(move) else float("nan"),
        backward=backward,
        swing=_swing(late, [loss[g] for g in groups[len(mean) // 5 :]]),
        fall_z=_trend_z(mean[len(mean) // 2 :]),
        gradient_cv=_median([_cv(norm[g]) for g in _alive(steps, groups)]),
        update_ratio=_median(ratio[len(loss) // 2 :]),
        longest_update=_highest(lengths),
        batch_size=batch,
        learning_rate=_median(steps["learning_rate"]),
        highest_rate=_highest(steps["learning_rate"]),
        broken_step=int(steps["step"][broken]) if broken >= 0 else -1,
        growth=growth,
        climb=_climb(loss[:broken]) if broken >= 0 else float("nan"),
        dead=_dead(steps),
    )


def _dead(steps: Mapping[str, Floats]) -> tuple[float, float]:
    dead = np.asarray(steps.get("dead_unit_share", ()), np.float64)
    dead = dead[np.isfinite(dead)]
    return _median(dead[:1]), _median(dead[-20:])


def _alive(steps: Mapping[str, Floats], groups: list[NDArray[np.intp]]) -> list[NDArray[np.intp]]:
    """Return the epochs whose gradients tell of the data: the first fifth left out, and dead networks.

    Where all units are dead, what is left is the gradient of the last biases. A network that died in
    the first epochs is judged by these.
    """
    dead = np.asarray(steps.get("dead_unit_share", ()), np.float64)
    lives = [not len(dead) or not _median(dead[g]) > DEAD for g in groups]
    late = [g for i, g in enumerate(groups) if lives[i] and i >= len(groups) // 5]
    return late or [g for i, g in enumerate(groups) if lives[i]] or groups[:1]


def _peak(loss: Floats, batch: float, chance: float) -> tuple[float, float]:
    """Loss that the run began at (nats), and its highest level relative to that."""
    finite = loss[np.isfinite(loss)]
    width = int(np.clip(round(SMOOTH / max(batch, 1.0)), 1, max(len(finite), 1)))
    if not len(finite):
        return float("nan"), float("nan")
    smooth = np.convolve(finite, np.ones(width) / width, "valid")
    scale = max(float(smooth[0]), chance)
    return scale, float(smooth.max() / scale) if scale > 0 else float("nan")


def _swing(means: Floats, losses: list[Floats]) -> float:
    """Compare the moves between epochs with those that independent batches would make; inf without any."""
    errors = [part.std(ddof=1) / np.sqrt(len(part)) for part in losses if len(part) > 2]
    error = np.sqrt(2) * _median(errors)
    move = np.diff(means)
    spread = float(np.sqrt(np.mean((move - move.mean()) ** 2))) if len(move) else float("nan")
    return spread / error if error > 0 else float("inf")


def _trend_z(values: Floats) -> float:
    """Slope of a straight line over its standard error."""
    n = len(values)
    if n < 4 or not np.isfinite(values).all():
        return float("nan")
    t = np.arange(n) - (n - 1) / 2
    slope = t @ values / (t @ t)
    rest = values - values.mean() - slope * t
    error = np.sqrt(rest @ rest / (n - 2) / (t @ t))
    if error > 0:
        return float(slope / error)
    return float(np.copysign(np.inf, slope)) if slope else 0.0


def _cv(norm: Floats) -> float:
    kept = norm[np.isfinite(norm)]
    return float(kept.std() / kept.mean()) if len(kept) > 3 and kept.mean() > 0 else float("nan")


def _median(values: ArrayLike) -> float:
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    return float(np.median(kept)) if len(kept) else float("nan")


def _highest(values: ArrayLike) -> float:
    kept = np.asarray(values, np.float64)
    kept = kept[np.isfinite(kept)]
    return float(kept.max()) if len(kept) else float("nan")


def _climb(loss: Floats) -> float:
    """Return by what factor the loss grew in its last steps, each of which raised it (at least three)."""
    falls = np.flatnonzero(np.diff(loss) <= 0)
    start = int(falls[-1]) + 1 if len(falls) else 0
    if len(loss) - 1 - start < 3 or not loss[start] > 0:
        return 1.0
    return float(loss[-1] / loss[start])


def _break(loss: Floats, norm: Floats) -> tuple[int, float]:
    """Find the first loss that is not finite, and how much the gradient had grown before it."""
    bad = np.flatnonzero(~np.isfinite(loss))
    if not len(bad):
        return -1, float("nan")
    first = int(bad[0])
    before = norm[:first][np.isfinite(norm[:first])]
    if len(before) < 20:
        return first, float("nan")
    return first, float(before[-10:].max() / max(float(np.median(before[:-10])), 1e-300))
