"""Class divergence: some classes get worse while others still get better, hidden in the mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from jupyter_lossacc.causes.cause import (
    Cause,
    Window,
    epochs_of,
    evidence,
    not_tested,
    points,
    rounded,
    signed,
    spoken,
)
from jupyter_lossacc.causes.wording import Followed, follow_classes, name_classes
from jupyter_lossacc.records import (
    Counterfactual,
    Episode,
    Evidence,
    Experiment,
    Finding,
    Predictions,
    Recording,
    Verdict,
)

__all__ = ["CAUSE", "examine"]

ID = "class_divergence"
LEVEL = 0.05  # for all classes together (Bonferroni)
MIN_EPOCHS = 5
MIN_SUPPORT = 10  # evaluated samples of a class
MIN_FLOW = 0.01  # nats that the smaller of the two flows adds to or takes from the mean
MIN_PART = 0.02  # the same as a part of the loss: what counts as a change of the mean itself
MIN_BALANCE = 0.2  # smaller over larger flow, where recalls do not part as well
MIN_RECALL = 0.01

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trends:
    """Loss change of each class along its trend, with its z; arrays of shape (n_classes,)."""

    change: Floats  # nats, of the class mean
    recall: Floats
    z: Floats
    share: Floats  # of the samples
    critical: float
    least: float  # flow that counts, nats

    @property
    def worse(self) -> NDArray[np.intp]:
        """Classes whose loss rises beyond chance, the largest contribution first."""
        return self._sorted(self.z > self.critical)

    @property
    def better(self) -> NDArray[np.intp]:
        """Classes whose loss falls beyond chance, the largest contribution first."""
        return self._sorted(self.z < -self.critical)

    def _sorted(self, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        classes = np.flatnonzero(mask)
        return classes[np.argsort(-np.abs(self.share * self.change)[classes], kind="stable")]

    @property
    def leaning(self) -> NDArray[np.intp]:
        """Classes whose loss falls, beyond chance or not, the largest contribution first."""
        return self._sorted((self.z < 0) & (self.change < 0))

    def flow(self, classes: NDArray[np.intp]) -> float:
        """Return what these classes add to the change of the mean, nats."""
        return float((self.share * self.change)[classes].sum())


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask whether the losses of single classes move in opposite directions beyond chance."""
    followed = follow_classes(ID, recording, episode)
    if isinstance(followed, Finding):
        return followed
    w = followed.window
    if len(w.inside) < MIN_EPOCHS or any(s.classes is None for s in w.inside):
        return not_tested(ID, f"Fewer than {MIN_EPOCHS} epochs with results per class lie in this stretch.")
    t = _trends(followed)
    if np.isfinite(t.z).sum() < 3:
        return Finding(
            cause=ID,
            verdict="rejected",
            statement="Fewer than three classes have enough samples to part ways.",
        )
    return _finding(followed, t)


def _trends(followed: Followed) -> Trends:
    w, before, after = followed
    tables = [s.classes for s in w.inside if s.classes is not None]
    losses = np.stack([t.nll for t in tables])  # (n_epochs, n_classes)
    recalls = np.stack([t.recall for t in tables])
    support = tables[-1].support
    epochs = np.array([s.epoch for s in w.inside], np.float64)
    length, centred = epochs[-1] - epochs[0], epochs - epochs.mean()
    weights = centred / (centred @ centred) * length  # trend over the stretch = weights @ values
    change, recall = weights @ losses, weights @ recalls
    sampling = _sampling_error(before, after, len(support))
    # Second differences see the wobble but not the trend; Var(x'' ) = 6 Var(x) for white wobble.
    wobble = np.sqrt((np.diff(losses, 2, axis=0) ** 2).mean(axis=0) / 6)
    error = np.sqrt(sampling**2 + (weights @ weights) * wobble**2)
    enough = (support >= MIN_SUPPORT) & (error > 0)
    z = np.divide(change, error, out=np.full(len(support), np.nan), where=enough)
    tested = max(int(np.isfinite(z).sum()), 1)
    critical = float(norm.isf(LEVEL / 2 / tested))
    share = support / support.sum()
    least = max(MIN_FLOW, MIN_PART * w.start.nll)
    return Trends(np.nan_to_num(change), np.nan_to_num(recall), z, share, critical, least)


def _sampling_error(before: Predictions, after: Predictions, n_classes: int) -> Floats:
    """Return the standard error of each class's mean change over its samples."""
    change = after.nll.astype(np.float64) - before.nll
    n = np.bincount(after.targets, minlength=n_classes).astype(np.float64)
    safe = np.maximum(n, 1)
    mean = np.bincount(after.targets, weights=change, minlength=n_classes) / safe
    square = np.bincount(after.targets, weights=(change - mean[after.targets]) ** 2, minlength=n_classes)
    return np.sqrt(square / np.maximum(n - 1, 1) / safe)


def _verdict(t: Trends, loss_change: float) -> Verdict:
    if min(len(t.worse), len(t.better)) == 0:
        # Together the others fall by what would count, and no class alone by more than chance: not known.
        return "undecided" if len(t.worse) and -t.flow(t.leaning) >= t.least else "rejected"
    small, large = sorted((t.flow(t.worse), -t.flow(t.better)))
    if small < t.least / 2:
        return "rejected"
    if small < t.least or loss_change < -0.005:
        return "undecided"
    # Over-confidence raises some losses more than others while recall rises everywhere: not enough.
    return "supported" if _parted(t) or small > MIN_BALANCE * large else "undecided"


def _parted(t: Trends) -> bool:
    """Tell whether recall, too, moves in opposite directions."""
    return _mean(t.recall, t.worse) < -MIN_RECALL and _mean(t.recall, t.better) > MIN_RECALL


def _finding(followed: Followed, t: Trends) -> Finding:
    w = followed.window
    verdict = _verdict(t, w.loss_change)
    up, down = t.flow(t.worse), t.flow(t.better)
    return Finding(
        cause=ID,
        verdict=verdict,
        statement=_statement(w, t) + (_doubt(w, t) if verdict == "undecided" else ""),
        because=f"classes part ways: {name_classes(w.recording, t.worse.tolist())} add {signed(up)} nats"
        if len(t.worse)
        else "",
        evidence=_evidence(t),
        counterfactual=Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch}, had the classes that got worse stood still",
            value=w.end.nll - up,
            actual=w.end.nll,
        )
        if verdict == "supported"
        else None,
        action=(
            "Look at the classes that get worse: few or repeated training samples, wrong labels or a "
            "confusing neighbour. More varied samples or stronger augmentation for them, and a stop by the "
            "loss of all classes (calibrated), not by the mean alone."
            if verdict == "supported"
            else ""
        ),
        experiment=_experiment(w, t) if verdict == "supported" else None,
        sample_ids=_samples(followed, t.worse),
        strength=min(1.0, min(up, -down) / max(up, -down, 1e-12)) if verdict == "supported" else 0.0,
    )


def _statement(w: Window, t: Trends) -> str:
    if min(len(t.worse), len(t.better)) == 0:
        one = "rises" if len(t.worse) else "falls"
        who = t.worse if len(t.worse) else t.better
        which = f"of {name_classes(w.recording, who.tolist())} {one}" if len(who) else "of no class moves"
        where = f"On the {spoken(w.split)} samples, {epochs_of(w)}"
        return f"{where}: the loss {which} beyond chance, none the other way."
    up, down = t.flow(t.worse), t.flow(t.better)
    return (
        f"On the {spoken(w.split)} samples, {epochs_of(w)}: {name_classes(w.recording, t.worse.tolist())} "
        f"got worse and, along their trends, add {signed(up)} nats to the mean, "
        f"{name_classes(w.recording, t.better.tolist())} got better and add {signed(down)}; the recall of "
        f"the first group changed by {points(_mean(t.recall, t.worse))}, of the second by "
        f"{points(_mean(t.recall, t.better))}."
    )


def _doubt(w: Window, t: Trends) -> str:
    if not len(t.better):
        who = name_classes(w.recording, t.leaning.tolist())
        return (
            f" Whether others still get better is not known: the fall of {who}, "
            f"{rounded(-t.flow(t.leaning))} nats of the mean, is within chance class by class."
        )
    if min(t.flow(t.worse), -t.flow(t.better)) < t.least:
        return (
            f" One of the two is below {rounded(t.least)} nats, which is too little to say that classes part."
        )
    if w.loss_change < 0:
        return " The mean loss fell all the same."
    return " Over-confidence alone raises the losses of some classes more than those of others."


def _mean(values: Floats, classes: NDArray[np.intp]) -> float:
    return float(values[classes].mean()) if len(classes) else float("nan")


def _evidence(t: Trends) -> tuple[Evidence, ...]:
    up, down = t.flow(t.worse), -t.flow(t.better)
    small, large = min(up, down), max(up, down)
    balance = small / large if large > 0 else 0.0
    worse, better = _mean(t.recall, t.worse), _mean(t.recall, t.better)
    bar = f"|z| > {rounded(t.critical, 1)}"
    return (
        evidence("classes that get worse", float(len(t.worse)), "classes", bar, len(t.worse) > 0),
        evidence("classes that get better", float(len(t.better)), "classes", bar, len(t.better) > 0),
        evidence(
            "smaller of the two flows",
            small,
            "nats",
            f"> {MIN_FLOW} and {100 * MIN_PART:.0f} % of the loss",
            small > t.least,
        ),
        evidence(
            "change of recall, classes that get worse",
            worse,
            "share",
            f"< -{MIN_RECALL}",
            worse < -MIN_RECALL,
        ),
        evidence(
            "change of recall, classes that get better",
            better,
            "share",
            f"> {MIN_RECALL}",
            better > MIN_RECALL,
        ),
        evidence("smaller over larger flow", balance, "ratio", f"> {MIN_BALANCE}", balance > MIN_BALANCE),
    )


def _experiment(w: Window, t: Trends) -> Experiment:
    who = name_classes(w.recording, t.worse.tolist())
    return Experiment(
        code=(
            "# per-class loss after every epoch, to see who turns when\n"
            "nll = F.cross_entropy(logits, targets, reduction='none')\n"
            "per_class = torch.stack([nll[targets == k].mean() for k in range(logits.shape[1])])\n"
            f"# then train again with augmentation or more samples for {t.worse.tolist()[:10]}\n"
        ),
        prediction=f"With more varied samples of {who} their loss no longer rises while the others go on "
        "falling. If all classes rise as before, it is over-confidence of the whole model.",
    )


def _samples(followed: Followed, classes: NDArray[np.intp]) -> NDArray[np.int64]:
    _, before, after = followed
    rows = np.flatnonzero(np.isin(after.targets, classes))
    rise = after.nll[rows] - before.nll[rows]
    return after.sample_ids[rows[np.argsort(-rise, kind="stable")][:50]]


CAUSE = Cause(ID, examine, "both")
