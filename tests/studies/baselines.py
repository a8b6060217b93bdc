"""Rules of other tools, on the same curves: does each fire at any epoch?

* naive: validation loss and accuracy both higher than an epoch before.
* UMLAUT (Schoop et al., CHI 2021): validation loss rises while training loss does not, in one epoch.
* SageMaker Debugger, Overfit: (validation - training loss) / training loss above 0.1 (patience 1).
* SageMaker Debugger, Overtraining: no lower validation loss for 5 epochs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jupyter_lossacc.records import Recording

NAMES = ("naive", "UMLAUT", "SageMaker Overfit", "SageMaker Overtraining")


def fires(recording: Recording) -> dict[str, bool]:
    """Whether each rule fires at any epoch."""
    val, train = recording.series("val"), recording.series("train")
    loss = np.array([s.reported_loss for s in val])
    accuracy = np.array([s.accuracy for s in val])
    fitted = np.array([s.reported_loss for s in train])
    since_best = np.arange(len(loss)) - np.array([int(np.argmin(loss[: i + 1])) for i in range(len(loss))])
    return {
        "naive": bool(((np.diff(loss) > 0) & (np.diff(accuracy) > 0)).any()),
        "UMLAUT": bool(((np.diff(loss) > 0) & (np.diff(fitted) <= 0)).any()),
        "SageMaker Overfit": bool(((loss - fitted) / fitted > 0.1).any()),
        "SageMaker Overtraining": bool((since_best >= 5).any()),
    }
