"""What the test split says, which neither the loop nor the package has seen."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from jupyter_lossacc.causes.cause import rising_window, window
from jupyter_lossacc.stats.transitions import outcome_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jupyter_lossacc.records import Episode
    from tests.battery.loop import Ran

__all__ = ["HeldBack"]


class HeldBack:
    """The test split under the weights of every epoch (epoch 1 is the first)."""

    def __init__(self, ran: Ran) -> None:
        self.ran = ran
        self.targets = ran.setup.test[1]
        self._logits: dict[int, torch.Tensor] = {}

    def logits(self, epoch: int) -> torch.Tensor:
        """Return logits of shape (n, n_classes), in evaluation mode."""
        if epoch not in self._logits:
            self._logits[epoch] = self.logits_of(self.ran.setup.test[0], epoch)
        return self._logits[epoch]

    def logits_of(self, inputs: torch.Tensor, epoch: int) -> torch.Tensor:
        """Return the logits of any inputs under the weights of an epoch."""
        model = self.ran.setup.model
        model.load_state_dict(self.ran.weights[epoch - 1])
        model.eval()
        with torch.no_grad():
            z = model(inputs).double()
        return torch.cat([torch.zeros_like(z), z], dim=1) if self.ran.setup.says == "one logit" else z

    def nll(self, epoch: int, temperature: float = 1.0) -> NDArray[np.float64]:
        """Return the loss of each test sample, nats."""
        return F.cross_entropy(self.logits(epoch) / temperature, self.targets, reduction="none").numpy()

    def accuracy(self, epoch: int) -> float:
        """Return the share of test samples that are right."""
        return float((self.logits(epoch).argmax(1) == self.targets).double().mean())

    def refitted(self, epoch: int) -> float:
        """Return the test loss at the temperature that suits the test split best."""
        z = self.logits(epoch)

        def loss(log_t: float) -> float:
            return float(F.cross_entropy(z / np.exp(log_t), self.targets))

        return float(minimize_scalar(loss, bounds=(-3, 3), method="bounded").fun)

    @cached_property
    def curve(self) -> NDArray[np.float64]:
        """Test loss by epoch."""
        return np.array([self.nll(e).mean() for e in range(1, self.ran.setup.epochs + 1)])

    def ends(self, episode: Episode | None) -> tuple[int, int] | None:
        """Return the epochs that a finding about the episode (or the run) compares."""
        w = (rising_window if episode is None else window)(self.ran.recording, episode)
        return None if w is None or w.start.epoch < 1 else (w.start.epoch, w.end.epoch)

    def calibration_share(self, start: int, end: int) -> tuple[float, float, float]:
        """Return the change of the loss and of the refitted loss, and the share that refitting repairs."""
        rise = float(self.nll(end).mean() - self.nll(start).mean())
        left = self.refitted(end) - self.refitted(start)
        return rise, left, 1 - left / rise if rise else float("nan")

    def outcome_share(self, start: int, end: int, part: str) -> float:
        """Return the share of the change that right (or wrong) samples carry without changing sides."""
        right = [(self.logits(e).argmax(1) == self.targets).double().numpy() for e in (start, end)]
        parts = outcome_parts(self.nll(start), self.nll(end), *right)
        return float(getattr(parts, part) / sum(parts))

    def rare_share(self, start: int, end: int) -> float:
        """Return the share of the change that the rare class carries."""
        change = self.nll(end) - self.nll(start)
        counts = torch.bincount(self.targets)
        rare = (self.targets == int(counts.argmin())).numpy()
        return float(change[rare].sum() / change.sum())

    def true_of_a_rise(self) -> set[str]:
        """Say which explanations of a rising loss hold on the test split, from its lowest loss on."""
        if not np.isfinite(self.curve).all():
            return set()
        low = int(np.argmin(self.curve)) + 1
        found = set()
        rise, left, share = self.calibration_share(low, self.ran.setup.epochs)
        if rise > 0.01:
            found |= {"overconfidence"} if share >= 0.25 else set()
            found |= {"overfitting"} if left > 0.01 and 1 - share > 0.2 else set()
        return found
