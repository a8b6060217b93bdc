"""The two curves of one split, and what a stretch of them must reach to be shown.

How the critical values were found, and what they cost, stands in tests/studies/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.stats.series import Moments
from jupyter_lossacc.stats.wobble import running_median, wobble, wobble_rho

__all__ = ["FIRST_EPOCHS", "Bars", "Curves", "bars_for"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

FIRST_EPOCHS = 60  # bars and autocorrelation are calibrated for so many; longer runs are granted more
_STANDING = 1.4  # score at which a movement that was shown is no longer one


@dataclass(frozen=True, slots=True)
class Bars:
    """What a stretch must reach to be shown.

    Parameters
    ----------
    scan : float
        Critical value of the change of loss or accuracy over a very long stretch, in standard errors
        of the wobble.
    short : float
        What is added for a stretch of m epochs: ``short / m``. Short stretches are many, and the
        wobble may have been quiet by chance just there.
    anchored : float
        Critical value for accuracy over a stretch that the loss alone has chosen.
    loss_share, loss_least : float
        Smallest change of the loss that counts: share of its mean, and nats.
    accuracy_least : float
        Smallest change of accuracy that counts.
    flat : tuple of float
        Accuracy is flat when its change, with its 90 % interval, stays within the first of these times
        the error rate, and within no less than the second and no more than the third; and the change
        itself within half of that.
    moved : float, optional
        Score from which on accuracy is no longer flat; by default that at which its change is shown.
    open : tuple of float
        Beside a loss that rises by the first of these times its mean (that is, doubles along its line),
        accuracy counts as flat as long as its 90 % interval stays within the second.
    """

    scan: float
    short: float
    anchored: float
    loss_share: float = 0.02
    loss_least: float = 0.01
    accuracy_least: float = 0.005
    flat: tuple[float, float, float] = (0.1, 0.01, 0.03)
    moved: float | None = None
    open: tuple[float, float] = (2 / 3, 0.1)

    def critical(self, first: Ints, last: Ints, *, anchored: bool = False) -> Floats:
        """Critical value of each stretch."""
        length = np.asarray(last - first + 1, dtype=np.float64)
        return np.full(length.shape, self.anchored) if anchored else self.scan + self.short / length

    def flat_limit(self, accuracy: Floats) -> Floats:
        """Largest change at which accuracy counts as flat, by its mean over the stretch."""
        share, low, high = self.flat
        return np.asarray(np.clip(share * (1 - accuracy), low, high))

    def relaxed(self) -> Bars:
        """Bars for a part, or for more, of a stretch that was found."""
        return self._lowered(0.6 * self.anchored)

    def standing(self) -> Bars:
        """Bars for a stretch that is on the screen already: lower still, and no higher in a longer run.

        What was shown is withdrawn by what speaks against it, not by the run going on. So a change of
        accuracy that would not be shown does not end a stretch in which it was flat, either.
        """
        return replace(self._lowered(_STANDING), moved=self.anchored)

    def _lowered(self, score: float) -> Bars:
        return replace(
            self,
            scan=score,
            short=0.0,
            anchored=score,
            loss_share=0.5 * self.loss_share,
            loss_least=0.5 * self.loss_least,
            accuracy_least=0.5 * self.accuracy_least,
            flat=(1.5 * self.flat[0], 1.5 * self.flat[1], 1.5 * self.flat[2]),
            open=(0.5 * self.open[0], 1.5 * self.open[1]),
        )


def bars_for(n_epochs: int) -> Bars:
    r"""Critical values for a series of `n_epochs` that is judged anew after every epoch.

    For a run of T > 60 epochs :math:`g = \sqrt{\log(T / 60)}` is taken: 2 g is added to ``scan`` and
    0.75 g to ``anchored``. The largest of so many looks grows with the root of a logarithm, fast at
    first, and what the first 60 epochs let through has used up most of the error that is allowed. The
    loss is granted more, because its rises are clear as a rule where those of accuracy are not.
    """
    growth = sqrt(log(max(n_epochs, FIRST_EPOCHS) / FIRST_EPOCHS))
    return Bars(scan=3.8 + 2.0 * growth, short=20.0, anchored=3.5 + 0.75 * growth)


@dataclass(frozen=True)
class Curves:
    """Loss and accuracy of one split, an entry per evaluated epoch.

    Parameters
    ----------
    loss : ndarray of shape (n_epochs,)
        Nats.
    accuracy : ndarray of shape (n_epochs,)
        In [0, 1].
    n_samples : int
        Samples behind each entry.
    high : ndarray of bool, shape (n_epochs,), optional
        Where the loss is high for the accuracy it comes with.
    """

    loss: Floats
    accuracy: Floats
    n_samples: int
    high: Mask | None = None

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.loss)

    @cached_property
    def _rhos(self) -> tuple[float, float]:
        """Autocorrelation granted to loss and accuracy.

        Beyond 60 epochs both are granted the larger of the two. The estimate is made anew after every
        epoch, and in a long run one of so many is too low, for one curve; the same weights move both.
        """
        loss, accuracy = wobble_rho(self.loss), wobble_rho(self.accuracy)
        return (loss, accuracy) if len(self) <= FIRST_EPOCHS else (max(loss, accuracy),) * 2

    @property
    def loss_rho(self) -> float:
        """Autocorrelation granted to the loss between epochs."""
        return self._rhos[0]

    @property
    def accuracy_rho(self) -> float:
        """Autocorrelation granted to accuracy between epochs."""
        return self._rhos[1]

    @cached_property
    def loss_wobble(self) -> Floats:
        """Standard deviation of the loss between epochs, nats."""
        floor = 1e-6 * max(float(np.mean(np.abs(self.loss))), 1e-6)
        return wobble(self.loss, rho=self.loss_rho, floor=floor)

    @cached_property
    def accuracy_wobble(self) -> Floats:
        """Standard deviation of accuracy between epochs; at least half a sample."""
        return wobble(self.accuracy, rho=self.accuracy_rho, floor=0.5 / max(self.n_samples, 1))

    @cached_property
    def loss_moments(self) -> Moments:
        """Sums from which the loss trend of any stretch follows."""
        return Moments(self.loss, self.loss_wobble, self.loss_rho)

    @cached_property
    def accuracy_moments(self) -> Moments:
        """Sums from which the accuracy trend of any stretch follows."""
        return Moments(self.accuracy, self.accuracy_wobble, self.accuracy_rho)

    @cached_property
    def loss_sums(self) -> tuple[Moments, Moments]:
        """`loss_moments`, and those of the loss without its bursts of three epochs or fewer."""
        return self.loss_moments, Moments(running_median(self.loss), self.loss_wobble, self.loss_rho)

    @cached_property
    def accuracy_sums(self) -> tuple[Moments, Moments]:
        """`accuracy_moments`, and those of accuracy without its bursts of three epochs or fewer."""
        steady = running_median(self.accuracy)
        return self.accuracy_moments, Moments(steady, self.accuracy_wobble, self.accuracy_rho)

    def until(self, n_epochs: int) -> Curves:
        """Return the curves as they were after so many epochs."""
        high = None if self.high is None else self.high[:n_epochs]
        return Curves(self.loss[:n_epochs], self.accuracy[:n_epochs], self.n_samples, high)

    def high_share(self, first: Ints, last: Ints) -> Floats:
        """Share of each stretch's epochs at which the loss is high."""
        if self.high is None:
            return np.zeros(np.shape(first))
        total = np.concatenate([[0.0], np.cumsum(self.high, dtype=np.float64)])
        return np.asarray((total[last + 1] - total[first]) / (last - first + 1))
