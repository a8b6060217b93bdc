"""Dead activations: hidden units through which no gradient passes."""

from __future__ import annotations

import numpy as np

from jupyter_lossacc.causes.cause import Cause, default_split, evidence, not_tested, percent, rounded
from jupyter_lossacc.records import (
    Episode,
    EpochSummary,
    Evidence,
    Experiment,
    Finding,
    Recording,
    UnitShare,
    Verdict,
)

__all__ = ["CAUSE", "examine"]

ID = "dead_activations"
MANY = 0.5
FIRST, LAST = 3, 20  # steps with a value that are averaged at either end
SMALL_BATCH = 16.0  # in a smaller batch a healthy unit is often silent for all its samples
STANDS = 0.9  # training loss at the end against its start, above which nothing was learned
NAMED = 3  # layers that are named


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask which share of hidden units got an exactly zero gradient, at the start and now."""
    if episode is not None:
        return None
    steps = recording.steps
    share = np.asarray(steps.get("dead_unit_share", ()), np.float64)
    known = np.flatnonzero(np.isfinite(share))
    if not len(known):
        return not_tested(ID, "No gradient of a hidden unit was looked at in this run.")
    if len(known) < FIRST + 2:
        return not_tested(ID, f"Hidden units were looked at in only {len(known)} steps.")
    first, last = float(np.median(share[known[:FIRST]])), float(np.median(share[known[-LAST:]]))
    batch = float(np.median(np.asarray(steps["n_samples"])[known]))
    loss = float(np.median(np.asarray(steps["loss"])[known[-LAST:]]))
    born = float(share[known[0]])  # by the initial weights; the next look may already see what a step did
    verdict, doubt = _verdict(min(first, born), last, batch, loss)
    looks = _looks(recording)
    stuck = _stuck_saturated(recording, looks) if verdict == "rejected" else ""
    if stuck:
        verdict, doubt = "undecided", stuck
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=(
            f"{percent(first)} of the hidden units let no gradient through in the first steps, "
            f"{percent(last)} in the last ones.{doubt}"
        ),
        because=f"{percent(last)} of the hidden units let no gradient through",
        evidence=(
            evidence("units without gradient in the first steps", first, "share", f"> {MANY}", first > MANY),
            evidence("units without gradient in the last steps", last, "share", f"> {MANY}", last > MANY),
            evidence("batch size", batch, "samples", f">= {SMALL_BATCH:g}", batch >= SMALL_BATCH),
            *_layers(looks),
        ),
        action=(
            "Use the framework's default initialisation (or He initialisation with zero biases), standardise "
            f"the inputs, replace {'tanh and sigmoid' if stuck else 'ReLU'} by LeakyReLU or GELU, and lower "
            "the learning rate if the units died on the way."
            if verdict != "rejected"
            else ""
        ),
        experiment=_experiment(loss, "(nn.Tanh, nn.Sigmoid)" if stuck else "nn.ReLU")
        if verdict != "rejected"
        else None,
        strength=last,
    )


def _looks(recording: Recording) -> tuple[EpochSummary, ...]:
    """Return the evaluations in which enough samples passed the activation modules, in order of time."""
    split = default_split(recording)
    passes = [s for s in recording.summaries if s.split == split and s.complete and s.units]
    return tuple(s for s in passes if min(u.n_samples for u in s.units) >= SMALL_BATCH)


def _layers(looks: tuple[EpochSummary, ...]) -> list[Evidence]:
    """Name the layers that are mostly dead or saturated in the last evaluation that was looked at."""
    if not looks:
        return []
    found = []
    for unit in looks[-1].units:
        for state, n in (("dead", unit.dead), ("saturated", unit.saturated)):
            if n is not None and n > MANY * unit.n_units:
                found.append((n / unit.n_units, f"{state} units of {unit.kind} {unit.layer!r}"))
    found.sort(key=lambda pair: -pair[0])
    return [evidence(name, share, "share", f"> {MANY}", True) for share, name in found[:NAMED]]


def _stuck_saturated(recording: Recording, looks: tuple[EpochSummary, ...]) -> str:
    """Say that most units were saturated from the first epoch on and nothing was learned; else ""."""
    if len(looks) < 2 or looks[0].epoch > 1:
        return ""
    share = min(_saturated(s.units) for s in looks)
    loss = np.asarray(recording.steps["loss"], np.float64)
    loss = loss[np.isfinite(loss)]
    if share <= MANY or len(loss) < 2 * LAST or not np.median(loss[-LAST:]) > STANDS * np.median(loss[:LAST]):
        return ""
    return (
        f" But at least {percent(share)} of the units behind activation modules are saturated from the first "
        "evaluation on, and the training loss has not fallen: what does pass is small."
    )


def _saturated(units: tuple[UnitShare, ...]) -> float:
    return sum(u.saturated or 0 for u in units) / sum(u.n_units for u in units)


def _experiment(loss: float, kinds: str) -> Experiment:
    return Experiment(
        code=(
            "def leaky(module):\n"
            "    for name, child in module.named_children():\n"
            f"        if isinstance(child, {kinds}):\n"
            "            setattr(module, name, nn.LeakyReLU(0.01))\n"
            "        leaky(child)\n"
            "leaky(model)\n"
        ),
        prediction="With LeakyReLU and otherwise the same code, the training loss falls below "
        f"{rounded(loss)}. If it stays there, the units are not what holds it up.",
    )


def _verdict(first: float, last: float, batch: float, loss: float) -> tuple[Verdict, str]:
    if last <= MANY:
        return "rejected", ""
    if loss < 1e-3:
        return "rejected", " The training loss is practically zero, so no gradient is due."
    if batch < SMALL_BATCH:
        return "undecided", f" In batches of {batch:.0f} a healthy unit is often silent, too."
    if first <= MANY:
        return "undecided", (
            " They died during training, which is more often the consequence of too long steps or of sorted "
            "data than a cause of its own."
        )
    return "supported", " They never took part in the training."


CAUSE = Cause(ID, examine, "run")
