"""Split overlap: the same samples stand in two splits."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, percent, spoken
from jupyter_lossacc.records import Episode, EpochSummary, Experiment, Finding, Predictions, Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAUSE", "examine"]

ID = "split_overlap"
MIN_SHARED = 20  # equal ids to compare; fewer may agree by accident
SAME = 0.95  # of equal ids, those with equal target and equal output
CODE = """import hashlib

def fingerprints(dataset):
    return [hashlib.sha1(x.numpy().tobytes()).hexdigest() for x, _ in dataset]

both = set(fingerprints(train_set)) & set(fingerprints(val_set))
print(len(both), "inputs stand in both")
"""


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Compare outputs of equal ids in two splits that the same weights evaluated."""
    if episode is not None:
        return None
    pairs = _comparable(recording)
    if not pairs:
        return not_tested(
            ID,
            "Overlap shows only where the same weights evaluated two splits with known sample ids (say, the "
            "training data in evaluation mode beside validation); paste the experiment to compare the "
            "inputs.",
        )
    found = [(a, b, *_shared(*ps)) for a, b, ps in pairs]
    a, b, n_equal_ids, same = max(found, key=lambda row: len(row[3]))
    if n_equal_ids >= MIN_SHARED and len(same) >= SAME * n_equal_ids:
        return _supported(a, b, same)
    if n_equal_ids == 0:
        return Finding(
            cause=ID,
            verdict="rejected",
            statement=f"{spoken(a.split).capitalize()} and {spoken(b.split)} share no sample id; if they "
            "read two different datasets, equal inputs under different ids would not show.",
            experiment=_experiment(),
        )
    return Finding(
        cause=ID,
        verdict="rejected" if len(same) < 0.05 * n_equal_ids else "undecided",
        statement=(
            f"Of {n_equal_ids} ids that stand in both {spoken(a.split)} and {spoken(b.split)}, {len(same)} "
            "have the same target and output: they number two different datasets."
            if len(same) < 0.05 * n_equal_ids
            else f"Of {n_equal_ids} ids that stand in both {spoken(a.split)} and {spoken(b.split)}, "
            f"{len(same)} have the same target and output: neither clearly one dataset nor clearly two."
        ),
        experiment=_experiment(),
    )


def _comparable(
    recording: Recording,
) -> list[tuple[EpochSummary, EpochSummary, tuple[Predictions, Predictions]]]:
    """Find pairs of splits evaluated by the same weights, the latest of each pair, with kept records."""
    found = []
    evaluated = [split for split in recording.splits() if split != "train"]
    for first, second in combinations(evaluated, 2):
        mine = {s.step: s for s in recording.series(first) if s.ids_known}
        shared = [s for s in recording.series(second) if s.ids_known and s.step in mine]
        if not shared:
            continue
        a, b = mine[shared[-1].step], shared[-1]
        try:
            found.append((a, b, (recording.load(a.key), recording.load(b.key))))
        except KeyError:
            continue
    return found


def _shared(a: Predictions, b: Predictions) -> tuple[int, NDArray[np.int64]]:
    """Count equal ids, and return those whose target and output are equal too."""
    ids, i, j = np.intersect1d(a.sample_ids, b.sample_ids, return_indices=True)
    # The same input under the same weights gives the same numbers up to the order of summation.
    close = np.isclose(a.nll[i], b.nll[j], rtol=1e-3, atol=1e-5) & np.isclose(
        a.confidence[i], b.confidence[j], rtol=1e-3, atol=1e-5
    )
    moving = np.unique(np.round(a.nll[i], 4)).size > len(ids) / 2 if len(ids) else False
    same = close & (a.targets[i] == b.targets[j]) & moving
    return len(ids), ids[same]


def _supported(a: EpochSummary, b: EpochSummary, same: NDArray[np.int64]) -> Finding:
    share = len(same) / min(a.n_samples, b.n_samples)
    names = spoken(a.split), spoken(b.split)
    return Finding(
        cause=ID,
        verdict="supported",
        statement=(
            f"{len(same)} samples ({percent(share)} of the smaller split) stand in both {names[0]} and "
            f"{names[1]}: same id, same target and the same output at epoch {a.epoch}."
        ),
        because=f"{len(same)} samples stand in both {names[0]} and {names[1]}",
        evidence=(
            evidence("samples in both splits", float(len(same)), "samples", f">= {MIN_SHARED}", True),
            evidence("share of the smaller split", share, "share", "", True),
        ),
        action="Split once, by whole groups, before anything else, and keep the index lists. Numbers "
        "measured on samples that were trained on say nothing about new ones.",
        experiment=_experiment(),
        sample_ids=same[:200],
        strength=min(1.0, share),
    )


def _experiment() -> Experiment:
    return Experiment(
        code=CODE,
        prediction="Clean splits share no input. Remove what is found from training, train again: the "
        "validation loss then is what new samples will show.",
    )


CAUSE = Cause(ID, examine, "run")
