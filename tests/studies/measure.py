"""The three measurements: false alarms on real and on simulated runs, and power."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests.studies import baselines, simulated
from tests.studies.live import HARMFUL, first_shown, shown_of_curves, watch, without
from tests.studies.trainings import HEALTHY, POSITIVE, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HEALTHY_SEEDS = range(16)
NULL_SEEDS = range(200)
PLANTED_SEEDS = range(40)
POSITIVE_SEEDS = range(5)
NULL_EPOCHS = 60
RISES = (0.0, 0.01, 0.02, 0.03, 0.05)
SIZES = (200, 500, 1000, 3000)

_ROOT = Path(__file__).parents[2]
_CODE = (
    "jupyter_lossacc/stats/series.py",
    "jupyter_lossacc/diagnosis/curves.py",
    "jupyter_lossacc/diagnosis/windows.py",
    "jupyter_lossacc/diagnosis/sampling.py",
    "jupyter_lossacc/diagnosis/episodes.py",
    *(f"tests/studies/{name}.py" for name in ("measure", "trainings", "simulated", "live", "baselines")),
)


def code_hash() -> str:
    """Short hash of the detector and of the studies."""
    return hashlib.sha256(b"\0".join((_ROOT / path).read_bytes() for path in _CODE)).hexdigest()[:16]


def parallel(function: Callable[[Any], Any], jobs: Iterable[Any], processes: int) -> list[Any]:
    """Results in the order of the jobs."""
    if processes == 1:
        return [function(job) for job in jobs]
    with ProcessPoolExecutor(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, jobs))


def healthy_run(job: tuple[int, int]) -> dict[str, Any]:
    """Train one healthy run and watch it: once with train and val, once with the test split too."""
    index, seed = job
    training = HEALTHY[index]
    recording = train(training, seed)
    seen = without(recording, "test")
    shown = first_shown(seen)
    test = [s.reported_loss for s in recording.series("test")]
    smooth = np.convolve(test, np.ones(3) / 3, "valid") if test else np.zeros(1)
    return {
        "training": index,
        "data": training.data,
        "seed": seed,
        "harmful": sorted(
            f"{split}: {kind} at {epoch}" for (split, kind), epoch in shown.items() if kind in HARMFUL
        ),
        "growing surer": any(kind == "loss_falls_accuracy_flat" for _, kind in shown),
        "test loss rises": bool(smooth[-1] > smooth.min() + max(0.01, 0.02 * smooth.min())),
        **baselines.fires(recording),
    }


def null_run(job: tuple[str, str, float, int]) -> list[str]:
    """Kinds that were shown though one of their movements is absent."""
    loss, accuracy, rho, seed = job
    n = simulated.SIZES[seed % len(simulated.SIZES)]
    curves = simulated.null_curves(loss, accuracy, n_epochs=NULL_EPOCHS, rho=rho, n_samples=n, seed=seed)
    shown = shown_of_curves(*curves, n)
    return sorted(set(shown) & set(simulated.NULLS[loss, accuracy]))


def _outcome(recording: Any) -> dict[str, Any]:
    """What was shown of the rise of both, when, and whether it ever held on new data."""
    seen = watch(recording)
    standing = [(epoch, e) for epoch, episodes in seen for e in episodes if not e.retracted]
    rises = [(epoch, e) for epoch, e in standing if e.kind == "both_rise"]
    return {
        "shown": bool(rises),
        "anything harmful": any(e.harmful for _, e in standing),
        "first": rises[0][0] if rises else None,
        "start": rises[-1][1].start_epoch if rises else None,
        "holds": any(e.holds_on_new_data == "yes" for _, e in rises),
    }


def planted_run(job: tuple[int, float, int]) -> dict[str, Any]:
    """Watch a simulated run in which both rise over the last twenty epochs."""
    n, rise, seed = job
    return _outcome(simulated.planted(n_samples=n, accuracy_rise=rise, seed=seed))


def positive_run(job: tuple[int, int]) -> list[dict[str, Any]]:
    """Train one run with a cause built in and watch it with validation sets of several sizes."""
    index, seed = job
    recording = train(POSITIVE[index], seed)
    n_all = recording.series("val")[0].n_samples
    sizes = [n for n in SIZES if n <= n_all]
    return [
        {"training": index, "n": n, "seed": seed, **_outcome(simulated.part(recording, n, seed))}
        for n in sizes
    ]


def measure(processes: int, *, fraction: float = 1.0) -> dict[str, Any]:
    """Run everything; `fraction` takes the first seeds only."""
    warnings.simplefilter("ignore", RuntimeWarning)

    def some(seeds: range) -> range:
        return seeds[: max(1, round(fraction * len(seeds)))]

    healthy = parallel(
        healthy_run, [(i, s) for s in some(HEALTHY_SEEDS) for i in range(len(HEALTHY))], processes
    )
    cells = [(*path, rho) for path in simulated.NULLS for rho in simulated.RHOS]
    nulls = []
    for cell in cells:
        shown = parallel(null_run, [(*cell, s) for s in some(NULL_SEEDS)], processes)
        counts = Counter(kind for kinds in shown for kind in kinds)
        nulls.append(
            {
                "loss": cell[0],
                "accuracy": cell[1],
                "rho": cell[2],
                "runs": len(shown),
                "any": sum(map(bool, shown)),
                "kinds": dict(sorted(counts.items())),
                "seeds shown": [seed for seed, kinds in enumerate(shown) if kinds],
            }
        )
    planted = []
    for n in SIZES:
        for rise in RISES:
            rows = parallel(planted_run, [(n, rise, s) for s in some(PLANTED_SEEDS)], processes)
            planted.append({"n": n, "rise": rise, "runs": len(rows), "rows": rows})
    positive = parallel(
        positive_run, [(i, s) for s in some(POSITIVE_SEEDS) for i in range(len(POSITIVE))], processes
    )
    return {
        "code": code_hash(),
        "healthy": healthy,
        "nulls": nulls,
        "planted": planted,
        "positive": [row for rows in positive for row in rows],
    }
