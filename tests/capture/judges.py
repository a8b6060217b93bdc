"""Independent verdicts on predictions that are not one class per sample; NumPy and SciPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_expit, log_softmax, logsumexp

from tests.capture.truth import Judged

if TYPE_CHECKING:
    from tests.capture.truth import Judge

Targets = np.ndarray


def ignoring(targets: Targets, ignored: int, weights: np.ndarray | None = None) -> Judge:
    """Classes of which some are left out: dense (n, ...) or one per sample (n,)."""

    def judge(ids: np.ndarray, logits: np.ndarray) -> Judged:
        y = targets[ids].reshape(len(ids), -1)
        z = np.moveaxis(logits, 1, -1).reshape(*y.shape, -1)
        kept = y != ignored
        safe = np.where(kept, y, 0)
        nll = -np.take_along_axis(log_softmax(z, axis=2), safe[..., None], axis=2)[..., 0]
        n = kept.sum(axis=1)
        some = n > 0
        mean = lambda v: ((v * kept).sum(axis=1) / np.maximum(n, 1))[some]  # noqa: E731
        weight = kept.sum() if weights is None else (weights[safe] * kept).sum()
        return Judged(ids[some], mean(nll), mean(z.argmax(axis=2) == y), float(weight))

    return judge


def labels(targets: Targets) -> Judge:
    """Yes-or-no labels, (n, ...): means over the labels of a sample."""

    def judge(ids: np.ndarray, logits: np.ndarray) -> Judged:
        y = targets[ids].reshape(len(ids), -1)
        z = logits.reshape(y.shape)
        nll = -np.where(y > 0.5, log_expit(z), log_expit(-z)).mean(axis=1)
        correct = ((z > 0) == (y > 0.5)).mean(axis=1)
        return Judged(ids, nll, correct, len(ids))

    return judge


def distributions(targets: Targets, *, by_id: bool = True) -> Judge:
    """Soft targets (n, n_classes), by sample id or those of this batch."""

    def judge(ids: np.ndarray, logits: np.ndarray) -> Judged:
        y = targets[ids] if by_id else targets
        nll = -(y * log_softmax(logits, axis=1)).sum(axis=1)
        return Judged(ids, nll, (logits.argmax(1) == y.argmax(1)).astype(float), len(ids))

    return judge


def next_tokens(tokens: Targets) -> Judge:
    """Logits (n, length, vocabulary) for the token after each position."""

    def judge(ids: np.ndarray, logits: np.ndarray) -> Judged:
        z, y = logits[:, :-1], tokens[ids][:, 1:]
        gap = logsumexp(z, axis=2) - np.take_along_axis(z, y[..., None], axis=2)[..., 0]
        return Judged(ids, gap.mean(axis=1), (z.argmax(2) == y).mean(axis=1), y.size)

    return judge
