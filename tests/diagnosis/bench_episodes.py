"""What one update of the detector costs: ``python -m tests.diagnosis.bench_episodes`` (also `make bench`).

Times `find_episodes` after the last epoch of runs in which loss and accuracy rise, so that a stretch is
found and judged with its samples; the update before has been shown. "read" takes every pass from the
store, as in a run whose passes no longer fit into memory. CPU seconds of one thread, the median of five.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.records import PassKey, Predictions, Recording
from jupyter_lossacc.store import tables
from tests.studies.simulated import planted

# Epochs, samples, from the store, and the most that an update may take.
CASES = (
    (60, 2_000, False, 0.03),
    (60, 50_000, False, 0.03),
    (60, 1_000_000, False, 1.0),
    (60, 1_000_000, True, 1.0),
    (150, 2_000, False, 0.03),
    (300, 2_000, False, 0.03),
    (1000, 2_000, False, 0.03),
    (1000, 50_000, False, 0.03),
)
TIMES = 5


def run(n_epochs: int, n: int, folder: Path | None) -> Recording:
    """Make a run of `n_epochs` over `n` samples; a few passes stand for all, to fit into memory."""
    generator = np.random.default_rng(0)
    base = planted(n_samples=50, accuracy_rise=0.0, before=1, epochs=1).summaries[-1]
    t = np.arange(1, n_epochs + 1)
    loss = 0.4 + 0.3 * t / n_epochs + generator.normal(0, 0.005, n_epochs)
    accuracy = 0.8 + 0.05 * t / n_epochs + generator.normal(0, 0.002, n_epochs)
    passes = [_predictions(generator, n) for _ in range(4)]
    paths = [folder / f"{i}.parquet" if folder else None for i in range(4)]
    for made, path in zip(passes, paths, strict=True):
        if path is not None:
            table, options = tables.predictions_table("bench", made)
            tables.write_table(path, table, **options)

    def load(key: PassKey) -> Predictions:
        path = paths[key[1] % 4]
        if path is None:
            return passes[key[1] % 4]
        return tables.predictions_from_table(tables.read_table(path), ids_known=True)

    summaries = tuple(
        replace(
            base,
            epoch=int(epoch),
            step=int(epoch),
            n_samples=n,
            reported_loss=float(a),
            nll=float(a),
            calibrated_nll=float(a),
            accuracy=float(b),
        )
        for epoch, a, b in zip(t, loss, accuracy, strict=True)
    )
    recording = planted(n_samples=50, accuracy_rise=0.0, before=1, epochs=1)
    return replace(recording, summaries=summaries, load=load)


def _predictions(generator: np.random.Generator, n: int) -> Predictions:
    labels = generator.integers(0, 10, (2, n)).astype(np.int32)
    nll = generator.exponential(0.5, n).astype(np.float32)
    return Predictions(
        sample_ids=np.arange(n),
        targets=labels[0],
        predicted=labels[1],
        correct=(generator.random(n) < 0.8).astype(np.float32),
        nll=nll,
        reported_loss=nll,
        confidence=np.full(n, 0.8, np.float32),
        margin=np.zeros(n, np.float32),
    )


def seconds(n_epochs: int, n: int, *, stored: bool) -> float:
    """Median CPU seconds of one update after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        recording = run(n_epochs, n, Path(folder) if stored else None)
        before = find_episodes(replace(recording, summaries=recording.summaries[:-1]))
        if not before:
            raise AssertionError("Expected an episode to time, found none.")
        times = []
        for _ in range(TIMES):
            start = time.process_time()
            find_episodes(recording, before)
            times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    """Print a row per case."""
    say = sys.stdout.write
    say("| epochs | samples | passes | one update, ms | at most, ms |\n| --- | --- | --- | --- | --- |\n")
    for n_epochs, n, stored, most in CASES:
        taken = seconds(n_epochs, n, stored=stored)
        where = "read" if stored else "in memory"
        say(f"| {n_epochs:,} | {n:,} | {where} | {1000 * taken:.0f} | {1000 * most:.0f} |\n")


if __name__ == "__main__":
    main()
