"""Dead activations: hidden units through which no gradient passes."""

from __future__ import annotations

import numpy as np

from jupyter_lossacc.causes.cause import Cause, evidence, not_tested, percent
from jupyter_lossacc.records import Episode, Experiment, Finding, Recording, Verdict

__all__ = ["CAUSE", "examine"]

ID = "dead_activations"
MANY = 0.5
FIRST, LAST = 3, 20  # steps with a value that are averaged at either end
SMALL_BATCH = 16.0  # in a smaller batch a healthy unit is often silent for all its samples


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
    verdict, doubt = _verdict(first, last, batch, loss)
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=(
            f"{percent(first)} of the hidden units let no gradient through in the first steps, "
            f"{percent(last)} in "
            f"the last ones.{doubt}"
        ),
        because=f"{percent(last)} of the hidden units let no gradient through",
        evidence=(
            evidence("units without gradient in the first steps", first, "share", f"> {MANY}", first > MANY),
            evidence("units without gradient in the last steps", last, "share", f"> {MANY}", last > MANY),
            evidence("batch size", batch, "samples", f">= {SMALL_BATCH:g}", batch >= SMALL_BATCH),
        ),
        action=(
            "Use the framework's default initialisation (or He initialisation with zero biases), "
            "standardise the "
            "inputs, replace ReLU by LeakyReLU or GELU, and lower the learning rate if the units died on "
            "the way."
            if verdict != "rejected"
            else ""
        ),
        experiment=_experiment(loss) if verdict != "rejected" else None,
        strength=last,
    )


def _experiment(loss: float) -> Experiment:
    return Experiment(
        code=(
            "def leaky(module):\n"
            "    for name, child in module.named_children():\n"
            "        if isinstance(child, nn.ReLU):\n"
            "            setattr(module, name, nn.LeakyReLU(0.01))\n"
            "        leaky(child)\n"
            "leaky(model)\n"
        ),
        prediction="With LeakyReLU and otherwise the same code, the training loss falls below "
        f"{loss:.3f}. If it "
        "stays there, the units are not what holds it up.",
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
            " They died during training, which is more often the consequence of too long steps or of "
            "sorted data "
            "than a cause of its own."
        )
    return "supported", " They never took part in the training."


CAUSE = Cause(ID, examine, "run")
