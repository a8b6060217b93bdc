"""The demos of the causes, each trained once per test session."""

from __future__ import annotations

from functools import cache

import torch

import jupyter_lossacc as la
from jupyter_lossacc.diagnosis.checkpoint import advise
from jupyter_lossacc.magic.demos import DEMOS
from jupyter_lossacc.records import Diagnosis, Recording
from tests.recordings import RecordingBuilder
from tests.scenarios_classes import episode_of
from tests.views.states import Shown

__all__ = ["cause_state", "demo"]


@cache
def demo(cause: str) -> la.Run:
    """The run of ``%lossacc demo CAUSE``."""
    with torch.random.fork_rng(), la.record(f"demo {cause}", store="none", view="none"):
        exec(compile(DEMOS[cause].source, "demo", "exec"), {})
    return la.last_run()


def cause_state(cause: str) -> Shown:
    """What the panel shows where `cause` is the answer."""
    if cause not in DEMOS:
        return _ragged_batch()
    run = demo(cause)
    return Shown(run.recording, run.episodes, run.diagnose(), run.checkpoint)


def _ragged_batch() -> Shown:
    """200 samples in batches of 199: the last one counts as much as all others together."""
    from jupyter_lossacc.causes import averaging_artifact

    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 3, (200,), generator=generator)
    logits = torch.randn(200, 3, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 3)
    builder = RecordingBuilder("demo averaging_artifact")
    for epoch, last in ((1, 0.0), (2, -9.0)):
        z = logits.clone()
        z[-1, targets[-1]] += last
        loss = torch.nn.functional.cross_entropy(z, targets, reduction="none")
        mean = float((loss[:-1].mean() + loss[-1]) / 2)
        builder.add("val", epoch, epoch, z, targets, reported_mean=mean)
    recording: Recording = builder.build()
    episode = episode_of(recording, start=1, end=2)
    finding = averaging_artifact.examine(recording, episode)
    diagnosis = Diagnosis(episode=episode, findings=(finding,), headline=finding.statement)
    return Shown(recording, (episode,), (diagnosis,), advise(recording, False))
