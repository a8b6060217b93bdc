"""What is measured: each study is a list of jobs, a function that does one, and the code that decides it."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, replace
from math import pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.diagnosis.episodes import find_episodes, settled
from tests.studies import baselines, simulated
from tests.studies.live import HARMFUL, first_shown, shown_of_curves, watch, without
from tests.studies.trainings import HEALTHY, POSITIVE, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jupyter_lossacc.records import Episode, PassKey, Predictions

# Seeds that no bar and no rule was ever looked at with; README.md says which are spent.
HEALTHY_SEEDS = range(200, 230)
NULL_SEEDS = range(20_000, 20_200)
LONG_SEEDS = range(80_000, 80_060)  # nulls of more than 60 epochs
MANY_SEEDS = range(200_000, 203_000)
STUCK_SEEDS = range(30_000, 30_200)
PLANTED_SEEDS = range(1000, 1012)
LATE_SEEDS = range(2000, 2004)
KEPT_SEEDS = range(6000, 6004)
TURNOVER_SEEDS = range(1000, 1030)
POSITIVE_SEEDS = range(200, 202)
RISES = (0.0, 0.01, 0.02, 0.03, 0.05)
SIZES = (200, 500, 1000, 3000)
TURNOVER = pi / 3
LATE_SIZES = (200, 1000)
LATE_RISES = (0.0, 0.02, 0.05)
KEPT_RISES = (0.02, 0.05)
KEPT_SIZES = (1000, 3000)
KEPT_TURNS = (20, 60)
ENDS = (60, 70, 80, 100, 150)  # epochs after which such a run might have ended
BEFORE = 60  # epochs before the turn of a long run, which goes on for 90
# Epochs, autocorrelation of the wobble, and how many runs of each null: most where most is at stake.
LENGTHS = ((60, 0.5, 200), (60, 0.3, 60), (60, 0.0, 60), (20, 0.5, 100), (150, 0.5, 60), (300, 0.5, 40))
STUCK_LENGTHS = ((60, 0.5, 100), (60, 0.3, 40), (60, 0.0, 40), (20, 0.5, 100))
# So many that an upper bound tells 4 % from 5 %.
MANY_LENGTHS = ((60, 0.5, 3000), (60, 0.3, 600), (60, 0.0, 600), (20, 0.5, 1000), (150, 0.5, 200))
MANY_STUCK_LENGTHS = ((60, 0.5, 2400), (20, 0.5, 1000))
BLOCK = 100  # runs of one job
LONG = (("rises", "stays"), ("stays", "falls"), ("stays", "stays"), ("learns", "learns"))

_ROOT = Path(__file__).parents[2]
_CURVES = (
    "jupyter_lossacc/stats/wobble.py",
    "jupyter_lossacc/stats/series.py",
    "jupyter_lossacc/diagnosis/curves.py",
    "jupyter_lossacc/diagnosis/windows.py",
    "tests/studies/live.py",
)
_SAMPLES = (
    *_CURVES,
    "jupyter_lossacc/diagnosis/sampling.py",
    "jupyter_lossacc/diagnosis/episodes.py",
)


@dataclass(frozen=True)
class Study:
    """Jobs (what JSON can hold), what does one of them, and the files that decide the result."""

    jobs: tuple[tuple[Any, ...], ...]
    run: Callable[..., Any]
    code: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Short hash of the code, whatever its comments and docstrings say."""
        return hashlib.sha256(b"\0".join(_meaning(_ROOT / path) for path in self.code)).hexdigest()[:12]


def _meaning(path: Path) -> bytes:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[:1] = [ast.Pass()]
    return ast.dump(tree).encode()


def healthy_run(index: int, seed: int) -> dict[str, Any]:
    """Train one healthy run and watch training and validation; the test split is not looked at."""
    training = HEALTHY[index]
    recording = train(training, seed)
    shown = first_shown(without(recording, "test"))
    test = [s.reported_loss for s in recording.series("test")]
    smooth = np.convolve(test, np.ones(3) / 3, "valid") if test else np.zeros(1)
    return {
        "harmful": sorted(
            f"{split}: {kind} at {epoch}" for (split, kind), epoch in shown.items() if kind in HARMFUL
        ),
        "growing surer": any(kind == "loss_falls_accuracy_flat" for _, kind in shown),
        "test loss rises": bool(smooth[-1] > smooth.min() + max(0.01, 0.02 * smooth.min())),
        **baselines.fires(recording),
    }


def null_run(loss: str, accuracy: str, rho: float, n_epochs: int, seed: int) -> dict[str, int]:
    """Kinds that were shown though one of their movements is absent, and the epoch when each first was."""
    n = simulated.SIZES[seed % len(simulated.SIZES)]
    curves = simulated.null_curves(loss, accuracy, n_epochs=n_epochs, rho=rho, n_samples=n, seed=seed)
    high = np.ones(n_epochs, bool) if loss == "high" else None
    kinds = (simulated.NULLS | simulated.STUCK)[loss, accuracy]
    return {str(kind): n for kind, n in sorted(shown_of_curves(*curves, n, kinds, high).items())}


def many_null_runs(
    loss: str, accuracy: str, rho: float, n_epochs: int, first_seed: int
) -> dict[str, dict[str, int]]:
    """Of a hundred runs those that were shown something false, by seed, as `null_run` says it."""
    seeds = range(first_seed, first_seed + BLOCK)
    found = {str(seed): null_run(loss, accuracy, rho, n_epochs, seed) for seed in seeds}
    return {seed: kinds for seed, kinds in found.items() if kinds}


def _outcome(recording: Any) -> dict[str, Any]:
    """What was shown of the rise of both, when, and whether it ever held on new data."""
    seen = watch(recording)
    standing = [(epoch, e) for epoch, episodes in seen for e in episodes if not e.retracted]
    rises = [(epoch, e) for epoch, e in standing if e.kind == "both_rise"]
    alarms = [epoch for epoch, e in standing if e.harmful]
    return {
        "shown": bool(rises),
        "anything harmful": bool(alarms),
        "first alarm": alarms[0] if alarms else None,
        "first": rises[0][0] if rises else None,
        "start": rises[-1][1].start_epoch if rises else None,
        "holds": any(e.holds_on_new_data == "yes" for _, e in rises),
        "grey at the end": sum(e.retracted and e.harmful for e in seen[-1][1]),
    }


def planted_run(n: int, rise: float, seed: int) -> dict[str, Any]:
    """Watch a simulated run in which both rise over the last twenty epochs."""
    return _outcome(simulated.planted(n_samples=n, accuracy_rise=rise, seed=seed))


def late_run(n: int, rise: float, seed: int) -> dict[str, Any]:
    """Watch a simulated run of 150 epochs in which both rise over the last ninety."""
    return _outcome(simulated.planted(n_samples=n, accuracy_rise=rise, before=BEFORE, epochs=90, seed=seed))


def kept_run(n: int, rise: float, turn: int, seed: int) -> dict[str, Any]:
    """Watch both rise from a turn to epoch 150: is what was shown still there, epoch by epoch and at an end?

    Bands do not depend on the samples, so these are not read.
    """

    def load(key: PassKey) -> Predictions:
        raise KeyError(key)

    run = simulated.planted(n_samples=n, accuracy_rise=rise, before=turn, epochs=150 - turn, seed=seed)
    run = replace(run, load=load)
    live = [_stands(episodes) for _, episodes in watch(run)]
    first = live.index(True) + 1 if any(live) else None
    ended = {t: replace(run, summaries=run.summaries[:t]) for t in ENDS}
    return {
        "first alarm": first,
        "dark": live[first:].count(False) if first else 0,
        "on the screen": [live[t - 1] for t in ENDS],
        "after the end": [_stands(settled(part)) for part in ended.values()],
        "at once": [_stands(find_episodes(part)) for part in ended.values()],
    }


def _stands(episodes: Iterable[Episode]) -> bool:
    return any(e.harmful and not e.retracted for e in episodes)


def turnover_run(loss: str, n: int, seed: int) -> dict[str, Any]:
    """Watch a run whose samples trade places: its accuracy moves, that of the population does not."""
    recording = simulated.planted(
        n_samples=n,
        accuracy_rise=0.0,
        loss_rise=simulated.LOSS_RISE if loss == "rises" else 0.0,
        turnover=TURNOVER,
        seed=seed,
    )
    false = simulated.NULLS[loss, "stays"]
    seen = [e for _, episodes in watch(recording) for e in episodes if not e.retracted and e.kind in false]
    return {
        "shown": sorted({e.kind for e in seen}),
        "holds": sorted({e.kind for e in seen if e.holds_on_new_data == "yes"}),
    }


def positive_run(index: int, seed: int) -> list[dict[str, Any]]:
    """Train one run with a cause built in and watch it with validation sets of several sizes."""
    recording = train(POSITIVE[index], seed)
    n_all = recording.series("val")[0].n_samples
    return [
        {"n": n, **_outcome(simulated.part(recording, n, seed)), **baselines.fires(recording)}
        for n in SIZES
        if n <= n_all
    ]


def _null_jobs() -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (*path, rho, n_epochs, seed)
        for n_epochs, rho, runs in LENGTHS
        for path in (simulated.NULLS if n_epochs <= 60 else LONG)
        for seed in (NULL_SEEDS if n_epochs <= 60 else LONG_SEEDS)[:runs]
    )


def _many_jobs() -> tuple[tuple[Any, ...], ...]:
    ordinary = ((n, rho, runs, simulated.NULLS if n <= 60 else LONG) for n, rho, runs in MANY_LENGTHS)
    high = ((n, rho, runs, simulated.STUCK) for n, rho, runs in MANY_STUCK_LENGTHS)
    return tuple(
        (*path, rho, n_epochs, seed)
        for n_epochs, rho, runs, paths in (*ordinary, *high)
        for path in paths
        for seed in MANY_SEEDS[:runs:BLOCK]
    )


STUDIES = {
    "nulls": Study(_null_jobs(), null_run, (*_CURVES, "tests/studies/simulated.py")),
    "stuck": Study(
        tuple(
            (*path, rho, n_epochs, seed)
            for n_epochs, rho, runs in STUCK_LENGTHS
            for path in simulated.STUCK
            for seed in STUCK_SEEDS[:runs]
        ),
        null_run,
        (*_CURVES, "tests/studies/simulated.py"),
    ),
    "many": Study(_many_jobs(), many_null_runs, (*_CURVES, "tests/studies/simulated.py")),
    "healthy": Study(
        tuple((i, seed) for seed in HEALTHY_SEEDS for i in range(len(HEALTHY))),
        healthy_run,
        (*_SAMPLES, "tests/recordings.py", "tests/studies/trainings.py", "tests/studies/baselines.py"),
    ),
    "planted": Study(
        tuple((n, rise, seed) for seed in PLANTED_SEEDS for n in SIZES for rise in RISES),
        planted_run,
        (*_SAMPLES, "tests/recordings.py", "tests/studies/simulated.py"),
    ),
    "late": Study(
        tuple((n, rise, seed) for seed in LATE_SEEDS for n in LATE_SIZES for rise in LATE_RISES),
        late_run,
        (*_SAMPLES, "tests/recordings.py", "tests/studies/simulated.py"),
    ),
    "kept": Study(
        tuple(
            (n, r, turn, s) for s in KEPT_SEEDS for turn in KEPT_TURNS for n in KEPT_SIZES for r in KEPT_RISES
        ),
        kept_run,
        (*_SAMPLES, "tests/recordings.py", "tests/studies/simulated.py"),
    ),
    "turnover": Study(
        tuple((loss, n, s) for s in TURNOVER_SEEDS for loss in ("rises", "stays") for n in (200, 1000, 3000)),
        turnover_run,
        (*_SAMPLES, "tests/recordings.py", "tests/studies/simulated.py"),
    ),
    "positive": Study(
        tuple((i, seed) for seed in POSITIVE_SEEDS for i in range(len(POSITIVE))),
        positive_run,
        (*_SAMPLES, "tests/recordings.py", "tests/studies/trainings.py", "tests/studies/simulated.py"),
    ),
}
