"""States of the panel for tests and the gallery: simulated runs that behave like trainings.

Logits are made directly (a growing scale times signal and noise), then go the way of all records:
reduction, summary, episodes, diagnosis. `gallery.py --causes` adds real trainings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.diagnosis.diagnose import diagnose
from jupyter_lossacc.diagnosis.episodes import find_episodes
from jupyter_lossacc.records import (
    STEP_COLUMNS,
    CheckpointAdvice,
    Diagnosis,
    Episode,
    Recording,
    RunInfo,
)
from jupyter_lossacc.views.panel.state import panel_state
from tests.recordings import RecordingBuilder

if TYPE_CHECKING:
    from collections.abc import Callable

# More threads than cores would make these small tensors slower, not faster.
torch.set_num_threads(1)

__all__ = ["STATES", "Shown", "conclude", "simulate", "state_of"]

NAMES = (
    "<b>bold</b><script>window.hacked=1</script>",
    "a class name that is far longer than anyone would wish, and then goes on for a while",
    "قطة صغيرة",
    "naïve & “quoted”",
    "class_5",
)


@dataclass(frozen=True)
class Shown:
    """A recording and what was concluded from it."""

    recording: Recording
    episodes: tuple[Episode, ...]
    diagnoses: tuple[Diagnosis, ...]
    advice: CheckpointAdvice | None

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.recording, self.episodes, self.diagnoses, self.advice

    @property
    def limits(self) -> tuple[str, ...]:
        undecided = (line for d in self.diagnoses for line in d.limits)
        return tuple(dict.fromkeys((*self.recording.limits, *undecided)))


def simulate(
    *,
    epochs: int = 30,
    samples: int = 600,
    classes: int = 5,
    signal: Callable[[float], float] = lambda t: 0.6 + 0.9 * t,
    scale: Callable[[float], float] = lambda t: 1.0 + 1.5 * t,
    train: bool = True,
    test: bool = False,
    steps: int = 12,
    seed: int = 0,
    name: str = "simulated",
) -> RecordingBuilder:
    """Simulate a run; `signal` and `scale` are functions of the time in (0, 1]."""
    rng = np.random.default_rng(seed)
    builder = RecordingBuilder(name)
    splits = ["val", "test"] if test else ["val"]
    targets = {s: rng.integers(0, classes, samples) for s in splits}
    noise = {s: rng.normal(size=(samples, classes)) for s in splits}
    for epoch in range(1, epochs + 1):
        t = epoch / epochs
        for i in range(steps):
            loss = 1.6 * np.exp(-2.5 * (epoch - 1 + i / steps) / epochs) + 0.05 * rng.normal()
            rate = 0.01 if t < 0.6 else 0.001
            step = (epoch - 1) * steps + i + 1
            builder.steps.append((epoch, step, loss, 32, rate, 1.0, 0.01, float("nan")))
        if train:
            y = rng.integers(0, classes, samples)
            z = 2 * t * (3 * np.eye(classes)[y] + 0.8 * rng.normal(size=(samples, classes)))
            add(builder, "train", epoch, epoch * steps, z, y, training=True)
        for split in splits:
            wobble = 0.02 * rng.normal(size=(samples, classes))
            z = scale(t) * (signal(t) * np.eye(classes)[targets[split]] + 0.7 * noise[split] + wobble)
            add(builder, split, epoch, epoch * steps, z, targets[split])
    return builder


def add(builder: RecordingBuilder, split: str, epoch: int, step: int, z: Any, y: Any, **rest: Any) -> None:
    builder.add(split, epoch, step, torch.as_tensor(z, dtype=torch.float32), torch.as_tensor(y), **rest)


def conclude(recording: Recording, previous: tuple[Episode, ...] = ()) -> Shown:
    """Find episodes, diagnose and advise, as the session does."""
    episodes = find_episodes(recording, previous)
    standing = tuple(e for e in episodes if not e.retracted)
    advice = advise(recording, recording.status == "running")
    return Shown(recording, episodes, diagnose(recording, standing), advice)


def state_of(shown: Shown) -> dict[str, Any]:
    """Make the panel's state."""
    return panel_state(*shown.arguments, status=shown.recording.status, limits=shown.limits)


def _over(t: float) -> float:
    return 1.0 + 7.0 * t


@cache
def both_rise() -> Shown:
    """Logits grow much faster than knowledge does: loss and accuracy both rise."""
    return conclude(
        simulate(signal=lambda t: 1.0 + 0.25 * t, scale=_over, test=True, name="both rise").build()
    )


@cache
def connected() -> Shown:
    """The same run, with a kernel to ask (see `gallery`)."""
    shown = both_rise()
    recording = replace(shown.recording, info=replace(shown.recording.info, name="connected"))
    return replace(shown, recording=recording)


@cache
def healthy() -> Shown:
    return conclude(simulate(epochs=15, name="healthy").build())


@cache
def running() -> Shown:
    run = simulate(signal=lambda t: 1.0 + 0.25 * t, scale=_over, name="running")
    return conclude(run.build("running", upto=21))


@cache
def one_epoch() -> Shown:
    return conclude(simulate(epochs=1, name="one epoch").build())


@cache
def thousand_epochs() -> Shown:
    run = simulate(
        epochs=1000,
        samples=40,
        steps=4,
        train=False,
        signal=lambda t: 1.0 + 0.25 * t,
        scale=_over,
        name="1,000 epochs",
    )
    return conclude(run.build())


@cache
def not_finite() -> Shown:
    recording = simulate(epochs=12, name="not finite").build("failed")
    broken = tuple(
        replace(s, reported_loss=float("nan"), nll=float("nan"), calibrated_nll=float("nan"))
        if s.epoch >= 8
        else s
        for s in recording.summaries
    )
    loss = recording.steps["loss"].copy()
    loss[recording.steps["epoch"] >= 8] = np.nan
    loss[3] = np.inf
    return conclude(replace(recording, summaries=broken, steps={**recording.steps, "loss": loss}))


@cache
def interrupted() -> Shown:
    recording = simulate(epochs=9, name="interrupted").build("interrupted")
    limits = ("The last validation pass was interrupted; it is kept but enters no test.",)
    return conclude(replace(recording, limits=limits))


@cache
def class_names() -> Shown:
    """Names with markup, in another direction, and far too long are text like any other."""
    recording = simulate(signal=lambda t: 1.0 + 0.25 * t, scale=_over, name="<i>names</i>").build()
    return conclude(
        replace(recording, info=replace(recording.info, class_names=NAMES, name="<i>names</i> & more"))
    )


@cache
def no_validation() -> Shown:
    recording = simulate(epochs=6, name="no validation").build()
    train = tuple(s for s in recording.summaries if s.split == "train")
    limits = ("No validation pass was seen; put the validation loop into the same cell.",)
    return conclude(replace(recording, summaries=train, limits=limits))


@cache
def retracted() -> Shown:
    """A band that was shown and lost its support stays visible in grey."""
    shown = both_rise()
    gone = replace(shown.episodes[0], start_epoch=3, end_epoch=7, retracted=True)
    info = replace(shown.recording.info, name="retracted")
    recording = replace(shown.recording, info=info)
    return replace(shown, recording=recording, episodes=(gone, *shown.episodes))


@cache
def waiting() -> Shown:
    def load(key: object) -> Any:
        raise KeyError(key)

    recording = Recording(
        info=RunInfo(run_id="waiting", name="waiting", started="2026-01-01T00:00:00Z"),
        summaries=(),
        steps={c: np.empty(0) for c in STEP_COLUMNS},
        limits=(),
        load=load,
        status="running",
    )
    return Shown(recording, (), (), None)


STATES: dict[str, Callable[[], Shown]] = {
    "both-rise": both_rise,
    "connected": connected,
    "healthy": healthy,
    "running": running,
    "waiting": waiting,
    "one-epoch": one_epoch,
    "thousand-epochs": thousand_epochs,
    "not-finite": not_finite,
    "interrupted": interrupted,
    "class-names": class_names,
    "no-validation": no_validation,
    "retracted": retracted,
}
