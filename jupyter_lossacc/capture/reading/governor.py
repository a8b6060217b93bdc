"""Keeps the cost of recording below a share of the time, by recording fewer training samples.

Evaluations, the loss of every step and the loss of every pass stay complete. What is left out are
the per-sample values of training batches, picked at random without touching any stream of the user.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SENTENCE", "Governor"]

SHARE = 0.03  # of the wall time that recording may take
GRACE = 1.0  # seconds of recording that no run is spared: short ones are recorded in full
WINDOW = 1.0  # seconds between decisions: one flush that had to wait for a core decides nothing
MAX_EVERY = 8  # more would leave short epochs without any sample, and saves little: what remains are the taps
MAX_EVERY_PASS = 256  # where every step is a pass of its own, there are passes enough
# A tap in a training loop costs this many times "detach, append" in a loop of its own, because its
# code is cold there (examples/bench.py: 6 to 8 us per entry against 0.9 us).
_COLD = 8.0
_TRIALS = 64

SENTENCE = (
    "Recording every training sample would take more than "
    f"{100 * SHARE:.0f} % of the time of these short steps, so the samples and the accuracy of training "
    "passes come from a random part of their batches. The loss of every step (run.steps) and all "
    "evaluations are complete."
)


class Governor:
    """Decides which training batches are recorded sample by sample.

    Parameters
    ----------
    enabled : bool
        False where the user asked for all samples.
    clock : callable
        Wall time in seconds.
    entry_cost : float, optional
        Seconds that the taps take per entry of the journal; measured once when not given.
    grace : float, optional
        Seconds of recording before anything is left out; `GRACE` when not given.

    Attributes
    ----------
    every : int
        One of so many consecutive training batches is recorded sample by sample.
    spent : float
        Seconds that recording took on the training thread so far.
    """

    def __init__(
        self,
        *,
        enabled: bool = True,
        clock: Callable[[], float] = time.perf_counter,
        entry_cost: float | None = None,
        grace: float | None = None,
    ) -> None:
        self.enabled = enabled
        self.clock = clock
        self.every = 1
        self.spent = 0.0
        self.grace = GRACE if grace is None else grace
        self._entry_cost = entry_cost
        self._most = MAX_EVERY
        self._random = random.Random(0)  # noqa: S311 - and not the user's stream
        self._place = self._pick = 0
        self._window = (clock(), 0.0)

    def begin(self) -> None:
        """Note that the recording begins."""
        if self._entry_cost is None:
            self._entry_cost = _COLD * _detach_and_append()
        self._window = (self.clock(), self.spent)

    def takes(self) -> bool:
        """Whether the next training batch is recorded sample by sample: one at random of `every`."""
        if self.every == 1:
            return True
        if self._place == 0:
            self._pick = self._random.randrange(self.every)
        taken = self._place == self._pick
        self._place = (self._place + 1) % self.every
        return taken

    def took(self, seconds: float, n_entries: int) -> None:
        """Note that `n_entries` were written down and read, the reading in `seconds`."""
        self.spent += seconds + n_entries * (self._entry_cost or 0.0)
        now = self.clock()
        began, before = self._window
        wall = now - began
        if not self.enabled or self.spent < self.grace or wall < WINDOW:
            return
        share = (self.spent - before) / wall
        self._window = (now, self.spent)
        if share > SHARE:
            self._set(min(2 * self.every, self._most))
        elif share < SHARE / 3 and self.every > 1:
            self._set(self.every // 2)

    def passes_are(self, *, steps: bool) -> None:
        """Note whether every training step is a pass of its own, as with one batch that never changes."""
        self._most = MAX_EVERY_PASS if steps else MAX_EVERY
        self._set(min(self.every, self._most))

    def _set(self, every: int) -> None:
        if every != self.every:
            self.every, self._place = every, 0


def _detach_and_append() -> float:
    """Seconds of what every tap does at least: the fastest of some trials."""
    tensor = torch.zeros(1, requires_grad=True)
    entries: list[tuple[object, ...]] = []
    best = 1.0
    for _ in range(_TRIALS):
        began = time.perf_counter()
        entries.append((0, "", tensor.detach(), tensor._version))
        best = min(best, time.perf_counter() - began)
    return best
