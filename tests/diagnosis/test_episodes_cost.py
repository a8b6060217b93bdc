"""The cost of one update is bounded whatever the length of the run and the size of the split."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.diagnosis.sampling import MOST_EPOCHS, MOST_SAMPLES, sampling_error
from jupyter_lossacc.diagnosis.windows import SHORTEST, stretches
from tests.studies.simulated import planted


@pytest.mark.parametrize("n_epochs", [8, 60, 96, 97, 300, 1000, 20_000])
def test_stretches_are_bounded_and_reach_now(n_epochs):
    first, last = stretches(n_epochs)
    assert len(first) <= 98 * 98 / 2
    assert last.max() == n_epochs - 1
    assert (last - first + 1 >= SHORTEST).all()
    if n_epochs <= 96:
        assert len(first) == (n_epochs - SHORTEST + 1) * (n_epochs - SHORTEST + 2) // 2


def test_passes_are_loaded_only_for_what_was_found():
    recording = planted(n_samples=1000, accuracy_rise=0.05, before=30, epochs=120, seed=1)
    loaded: Counter[tuple[str, int, int]] = Counter()

    def load(key):
        loaded[key] += 1
        return recording.load(key)

    episodes = find_episodes(replace(recording, load=load))
    assert episodes
    assert loaded.total() <= MOST_EPOCHS * len(episodes)


def test_a_large_split_is_judged_from_a_fixed_part_of_it():
    recording = planted(n_samples=2000, accuracy_rise=0.03, seed=1)
    passes = recording.series("val")[20:]
    whole = sampling_error(recording, passes)
    copies = 3 * MOST_SAMPLES // 2000
    names = ("targets", "predicted", "correct", "nll", "reported_loss", "confidence", "margin")

    def load(key):
        p = recording.load(key)
        ids = np.arange(2000 * copies)
        return replace(p, sample_ids=ids, **{name: np.tile(getattr(p, name), copies) for name in names})

    part = sampling_error(replace(recording, load=load), passes)
    assert part.n_samples == 2000 * copies
    assert part.loss * np.sqrt(copies) == pytest.approx(whole.loss, rel=0.03)
    assert part.accuracy * np.sqrt(copies) == pytest.approx(whole.accuracy, rel=0.03)


def test_a_longer_run_costs_no_more_loads():
    short, long = (planted(n_samples=500, accuracy_rise=0.05, before=10, epochs=n, seed=1) for n in (60, 400))
    counts = []
    for recording in (short, long):
        loaded: list[object] = []
        find_episodes(
            replace(recording, load=lambda key, r=recording, seen=loaded: seen.append(key) or r.load(key))
        )
        counts.append(len(loaded))
    assert max(counts) <= 4 * MOST_EPOCHS
