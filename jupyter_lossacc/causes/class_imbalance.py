"""Class imbalance: the few samples of rare classes carry the loss, the many others the accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.causes.cause import (
    Cause,
    Window,
    epochs_of,
    evidence,
    not_tested,
    percent,
    rounded,
    share_text,
    signed,
    spoken,
)
from jupyter_lossacc.causes.threshold import moved_threshold
from jupyter_lossacc.causes.wording import (
    CLASS_TASKS,
    Followed,
    follow_classes,
    name_classes,
    support_of,
    trained_support,
)
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
from jupyter_lossacc.stats.transitions import share_of_change

if TYPE_CHECKING:
    from jupyter_lossacc.stats.estimate import Estimate

__all__ = ["CAUSE", "examine", "rare_classes"]

Floats = NDArray[np.float64]

MIN_RATIO = 3.0  # largest to smallest class; below it the classes count as balanced
MIN_RARE = 20  # evaluated samples of rare classes; fewer say little about them
MIN_Z = 2.6  # the rare classes' own loss change against its sampling error (1 % two-sided)
MOST_SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Rare:
    """What the rare classes did between the two ends of a window.

    Losses and recalls are means over the samples of rare classes, at start and end. `change` is that of the
    explained loss: the one that is drawn, with the criterion's class weights, where they are known.
    """

    classes: NDArray[np.intp]
    ratio: float  # largest to smallest trained class
    trained: float  # share of the training samples
    evaluated: float  # share of the evaluated samples
    share: Estimate  # of the loss change (of the loss itself where that does not move)
    z: float
    loss: tuple[float, float]
    recall: tuple[float, float]
    other_recall: tuple[float, float]
    other_loss: tuple[float, float]
    weights: Floats | None  # of the classes; None where the explained loss is the unweighted one
    change: float  # of the explained loss
    carried: float  # of that, by the rare classes

    @property
    def threshold(self) -> float:
        """Share that is out of proportion: more than half, and three times the share of samples."""
        return max(0.5, min(3 * self.evaluated, 0.9))


def rare_classes(support: NDArray[np.int64]) -> NDArray[np.intp]:
    """Classes with less than half of an equal share of the samples; absent classes do not count.

    Examples
    --------
    >>> rare_classes(np.array([90, 10])).tolist()
    [1]
    """
    present = support > 0
    equal = support.sum() / max(int(present.sum()), 1)
    return np.flatnonzero(present & (support < 0.5 * equal))


def examine(recording: Recording, episode: Episode | None) -> Finding | None:
    """Ask which share of the loss change falls on the classes that training saw rarely."""
    if episode is None or episode.kind == "loss_falls_accuracy_flat":
        return None
    followed = follow_classes(CAUSE.id, recording, episode)
    if isinstance(followed, Finding):
        return followed
    support = trained_support(recording)
    if support is None:
        support = support_of(recording, followed.window.end)
    if support is None:
        return not_tested(CAUSE.id, "How many samples of each class were trained on is not known.")
    ratio = _ratio(support)
    if ratio < MIN_RATIO or not rare_classes(support).size:
        return _balanced(ratio)
    return _weigh(followed, episode, support)


def _ratio(support: NDArray[np.int64]) -> float:
    present = support[support > 0]
    return float(present.max() / present.min()) if present.size else 1.0


def _balanced(ratio: float) -> Finding:
    return Finding(
        cause=CAUSE.id,
        verdict="rejected",
        statement=f"The classes trained on are balanced: the largest has {rounded(ratio, 1)} times the "
        "samples of the smallest.",
        evidence=(evidence("largest to smallest class trained on", ratio, "1", f">= {MIN_RATIO:g}", False),),
    )


def _mean(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    return float(values[mask].mean(dtype=np.float64)) if mask.any() else float("nan")


def _class_weights(w: Window, before: Predictions, after: Predictions) -> Floats | None:
    """Weights that give the drawn loss at both ends from the samples' own; None where there are none such."""
    first, last = w.start.loss, w.end.loss
    if not last.weighted or not np.array_equal(first.class_weights, last.class_weights):  # type: ignore[arg-type]
        return None
    weights = np.asarray(last.class_weights, np.float64)
    if last.task not in CLASS_TASKS or after.targets.max() >= len(weights):
        return None
    for summary, p in ((w.start, before), (w.end, after)):
        made = float(np.mean(_factors(weights, p.targets, last.reduction) * p.nll))
        if not abs(made - summary.reported_loss) <= 0.02 * abs(summary.reported_loss):
            return None
    return weights


def _factors(weights: Floats | None, targets: NDArray[np.int32], reduction: str) -> Floats:
    """How much more than an equal part each sample counts in the loss."""
    if weights is None:
        return np.ones(len(targets))
    factors = weights[targets]
    return factors if reduction in ("sum", "none") else factors / factors.mean()


def _measure(
    w: Window, before: Predictions, after: Predictions, support: NDArray[np.int64], levels: bool
) -> Rare:
    """Compare the rare classes with the others; `levels` asks about the loss itself, not its change."""
    classes = rare_classes(support)
    mask = np.isin(after.targets, classes)
    weights = _class_weights(w, before, after)
    factors = _factors(weights, after.targets, w.end.loss.reduction)
    loss = factors * after.nll
    change = loss - factors * before.nll
    mine, total = (loss, loss) if levels else (change, change)
    n = int(mask.sum())
    spread = change[mask].std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Rare(
        classes=classes,
        ratio=_ratio(support),
        trained=float(support[classes].sum() / support.sum()),
        evaluated=float(mask.mean()),
        share=share_of_change(np.where(mask, mine, 0.0), total),
        z=float(change[mask].mean() / spread) if n > 1 and spread > 0 else float("nan"),
        loss=(_mean(before.nll, mask), _mean(after.nll, mask)),
        other_loss=(_mean(before.nll, ~mask), _mean(after.nll, ~mask)),
        recall=(_mean(before.correct, mask), _mean(after.correct, mask)),
        other_recall=(_mean(before.correct, ~mask), _mean(after.correct, ~mask)),
        weights=weights,
        change=w.loss_change if weights is None else w.end.reported_loss - w.start.reported_loss,
        carried=float(np.where(mask, change, 0.0).mean()),
    )


def _weigh(followed: Followed, episode: Episode, support: NDArray[np.int64]) -> Finding:
    w, before, after = followed
    stuck = episode.kind == "accuracy_stuck_loss_high"
    rare = _measure(w, before, after, support, levels=stuck)
    n_rare = round(rare.evaluated * len(after))
    if n_rare < MIN_RARE:
        return Finding(
            cause=CAUSE.id,
            verdict="undecided",
            statement=f"Only {n_rare} {spoken(w.split)} samples are of the classes that training saw rarely; "
            f"at least {MIN_RARE} are needed to weigh their share.",
        )
    return Finding(
        cause=CAUSE.id,
        verdict=_verdict(rare, episode),
        statement=_statement(rare, w, stuck),
        because=_because(rare, w, stuck),
        share=rare.share,
        evidence=_evidence(rare, w, stuck),
        counterfactual=_counterfactual(rare, w, stuck),
        action=_action(w),
        experiment=_experiment(rare, w, after, support),
        sample_ids=_samples(rare, before, after, stuck),
        overlay=_overlay(rare, w),
        strength=float(np.clip(rare.share.value, 0, 1)) if np.isfinite(rare.share.value) else 0.0,
    )


def _because(rare: Rare, w: Window, stuck: bool) -> str:
    carry = "carries" if rare.classes.size == 1 else "carry"
    return (
        f"{name_classes(w.recording, rare.classes.tolist())}, with {percent(rare.trained)} of the training "
        f"samples, {carry} {share_text(rare.share)} of {_what(rare, stuck)}"
    )


def _what(rare: Rare, stuck: bool, split: str = "") -> str:
    """Name what is shared out; of a weighted criterion it is the loss that is drawn."""
    split = f"{split} " if split else ""
    if rare.weights is None:
        return f"the {split}loss" if stuck else f"the {split}loss change"
    return f"the weighted {split}loss" if stuck else f"the change of the weighted {split}loss"


def _verdict(rare: Rare, episode: Episode) -> Verdict:
    share, bar = rare.share, rare.threshold
    if not np.isfinite(share.value + share.low):
        return "undecided"
    if share.high < bar:
        return "rejected"
    if episode.kind == "accuracy_stuck_loss_high":
        held = rare.recall[1] < 0.5 * rare.other_recall[1]
        return "supported" if held and share.low > bar else "undecided"
    moved = abs(rare.z) > MIN_Z and np.sign(rare.z) == np.sign(rare.change)
    if not moved:
        return "undecided"
    if episode.kind == "both_fall" and rare.other_recall[1] >= rare.other_recall[0]:
        return "rejected"  # the accuracy falls in the rare classes themselves: no trade against them
    return "supported" if share.value > bar and share.low > 2 * rare.evaluated else "undecided"


def _statement(rare: Rare, w: Window, stuck: bool) -> str:
    who = name_classes(w.recording, rare.classes.tolist())
    have, carry = ("has", "carries") if rare.classes.size == 1 else ("have", "carry")
    head = f"{who[0].upper()}{who[1:]} {have} {percent(rare.trained)} of the training samples and {carry} "
    what = _what(rare, stuck, spoken(w.split))
    if stuck:
        return (
            f"{head}{share_text(rare.share)} of {what} at epoch {w.end.epoch}: only "
            f"{percent(rare.recall[1])} of these samples are found, against {percent(rare.other_recall[1])} "
            "elsewhere."
        )
    moved, when = "", epochs_of(w)
    if rare.weights is not None:
        moved, when = f" ({signed(rare.change)} nats)", f"from epoch {w.start.epoch} to {w.end.epoch}"
    own = "" if rare.weights is None else ", without weights,"
    return (
        f"{head}{share_text(rare.share)} of {what}{moved} {when}: there the "
        f"mean loss{own} went from {rounded(rare.loss[0], 2)} to {rounded(rare.loss[1], 2)} (elsewhere "
        f"{rounded(rare.other_loss[0], 2)} to {rounded(rare.other_loss[1], 2)}), while "
        f"{percent(rare.recall[1])} of these samples are found at the end, against "
        f"{percent(rare.other_recall[1])} elsewhere."
    )


def _evidence(rare: Rare, w: Window, stuck: bool) -> tuple[Evidence, ...]:
    bar, what = rare.threshold, _what(rare, stuck)
    behind = rare.other_recall[1] > rare.recall[1]
    moved = abs(rare.z) > MIN_Z and np.sign(rare.z) == np.sign(rare.change)
    carried, z_bar = rare.share.value > bar, f"beyond {MIN_Z:g} in the direction of the mean"
    return (
        evidence("largest to smallest class trained on", rare.ratio, "1", f">= {MIN_RATIO:g}", True),
        evidence("rare classes' share of evaluated samples", rare.evaluated, "share", "", True),
        evidence(
            f"rare classes' share of {what}", rare.share.value, "share", f"> {rounded(bar, 2)}", carried
        ),
        evidence("rare classes' loss change against its sampling error", rare.z, "z", z_bar, moved),
        evidence("recall of rare classes at the start", rare.recall[0], "share", "", behind),
        evidence("recall of rare classes at the end", rare.recall[1], "share", "", behind),
        evidence("recall of the other classes at the end", rare.other_recall[1], "share", "", behind),
        evidence("balanced accuracy at the end", w.end.balanced_accuracy, "share", "", behind),
        evidence("macro F1 at the end", w.end.macro_f1, "share", "", behind),
    )


def _counterfactual(rare: Rare, w: Window, stuck: bool) -> Counterfactual:
    if stuck:
        return Counterfactual(
            name=f"{spoken(w.split)} loss at epoch {w.end.epoch} over the other classes alone",
            value=rare.other_loss[1],
            actual=w.end.nll,
        )
    weighted, actual = ("", w.end.nll) if rare.weights is None else ("weighted ", w.end.reported_loss)
    return Counterfactual(
        name=f"{weighted}{spoken(w.split)} loss at epoch {w.end.epoch}, had the rare classes kept their loss "
        f"of epoch {w.start.epoch}",
        value=actual - rare.carried,
        actual=actual,
    )


def _action(w: Window) -> str:
    return (
        "Weight the criterion by class, or draw rare classes more often, and regularise (a rare class is the "
        f"first to be memorised). Watch balanced accuracy ({percent(w.end.balanced_accuracy, 1)} here) and "
        f"F1 per class beside accuracy ({percent(w.end.accuracy, 1)}), and split with stratification."
    )


def _experiment(rare: Rare, w: Window, after: Predictions, support: NDArray[np.int64]) -> Experiment:
    who = name_classes(w.recording, rare.classes.tolist())
    moved = moved_threshold(after, w.end)
    present = np.maximum(support, 1)
    weights = np.sqrt(present.sum() / (len(present) * present))
    values = ", ".join(f"{x:.3g}" for x in weights) if len(weights) <= 20 else "..."
    counts = "" if len(weights) <= 20 else "  # sqrt(n / (K * count)) per class"
    return Experiment(
        code=(
            f"# square root of the inverse frequency: a mild correction\n"
            f"weight = torch.tensor([{values}]){counts}\n"
            f"criterion = nn.CrossEntropyLoss(weight=weight.to(device))\n"
            f"# evaluate with the unweighted loss, so that the curves stay comparable\n"
        ),
        prediction=(
            f"Recall of {who} ends above {percent(rare.recall[1])} and balanced accuracy above "
            f"{percent(w.end.balanced_accuracy, 1)}. If neither moves, rarity is not what holds it back: "
            "other data or features are needed."
        ),
        result="" if moved is None else moved.text(w.recording),
    )


def _samples(rare: Rare, before: Predictions, after: Predictions, stuck: bool) -> NDArray[np.int64]:
    mask = np.isin(after.targets, rare.classes)
    rise = after.nll - (0.0 if stuck else before.nll)
    order = np.argsort(-np.abs(rise[mask]), kind="stable")[:MOST_SAMPLES]
    return after.sample_ids[mask][order]


def _overlay(rare: Rare, w: Window) -> dict[int, float] | None:
    """Loss per epoch with the rare classes held at their loss of the first epoch."""
    found: dict[int, float] = {}
    tables = [s.classes for s in w.inside]
    if tables[0] is None:
        return None
    held = np.nan_to_num(tables[0].nll[rare.classes].astype(np.float64))
    for summary, table in zip(w.inside, tables, strict=True):
        if table is None:
            return None
        counts, total = table.support.astype(np.float64), float(summary.n_samples)
        if rare.weights is not None:
            counts *= rare.weights[: len(counts)]
            total = total if w.end.loss.reduction in ("sum", "none") else float(counts.sum())
        part = counts[rare.classes]
        losses = np.where(part > 0, table.nll[rare.classes], held)
        drawn = summary.nll if rare.weights is None else summary.reported_loss
        found[summary.epoch] = drawn + float(part @ (held - losses)) / total
    return found


CAUSE = Cause("class_imbalance", examine)
