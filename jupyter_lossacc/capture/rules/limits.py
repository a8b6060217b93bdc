"""What is said about a pass of which a part cannot be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_lossacc.capture.reading.sample_ids import BY_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_lossacc.capture.rules.assembly import OpenPass

__all__ = [
    "CHOSEN",
    "ELSEWHERE",
    "HEADS",
    "IN_LISTS",
    "LATE",
    "ONE_BY_ONE",
    "SEEN_BY_INPUT",
    "SINGLE",
    "WITH_REPEATS",
    "limits_of",
]

CHOSEN = (
    "In training only chosen samples of each batch are trained on: the loss shown for a batch is theirs, and "
    "its samples are all of them, as the model answered before the choice."
)
ELSEWHERE = (
    "Of several models that are trained here another one is evaluated (averaged weights or a global model, "
    "say): its evaluations stand in the run of the model that was trained last before them."
)
HEADS = (
    "In training several predictions for the same labels have a loss each (heads or exits of the model, "
    "say): recorded are those of the first. Way out: recorder.log_batch(...)."
)
LATE = (
    "Data that are evaluated for the first time late, as those of later tasks or windows, are splits of "
    "their own, numbered in the order in which they were met: val, val_2, ... Way out: --split."
)
SEEN_BY_INPUT = (
    "Samples are told apart by their inputs, because no loader and no tensor tells their places: ids count "
    "in the order in which they were first seen, and sets evaluated in one place of the code count as one. "
    "Way out: read them through a DataLoader."
)
IN_LISTS = (
    "Evaluated batches are tensors of their own, in a list: ids count in the order in which they were first "
    "seen, and sets evaluated one right after the other count as one. Way out: read them through a "
    "DataLoader."
)
WITH_REPEATS = (
    "Training samples come one at a time, and some again before all were seen: what an epoch is cannot be "
    "told. A new one is counted only where an evaluation came before it. Way out: read them through a "
    "DataLoader."
)
SINGLE = (
    "Of training passes of a single batch, those whose samples are not recorded are left out of run.metrics; "
    "run.steps has the loss of all."
)
ONE_BY_ONE = (
    "Losses of one row each are added up before backward: each counts as a sample, whether it is one or a "
    "step of a longer one (a letter of a word, say). Way out: compute the loss of all rows in one call."
)
_SLICED = (
    "Evaluated batches are cut out of one tensor that holds several sets: those evaluated in one place of "
    "the code count as one set. Way out: cut the sets first, as in x_val, x_test = x[800:900], x[900:]."
)
_RECOMPUTED = (
    "Evaluations that compute nothing but an accuracy, from tensors: their loss is recomputed as the "
    "criterion of the training ({name}) from what the model returned."
)


def limits_of(
    split: str, opened: OpenPass, *, unknown_criteria: bool, combined: bool, ids_known: bool
) -> Iterator[str]:
    """Give the sentences about a pass that has ended.

    Parameters
    ----------
    split : str
    opened : OpenPass
    unknown_criteria : bool
        Whether training used a criterion that could not be seen.
    combined : bool
        Whether training combined unreduced values of the criterion by hand.
    ids_known : bool
    """
    info = opened.info
    if opened.without_criterion and unknown_criteria:
        yield (
            f"The criterion is computed by hand or inside a compiled function, and its value on the "
            f"{split!r} data cannot be seen from outside; the loss shown for them is the negative "
            "log-likelihood of the predictions. Way out: compute it in a function of its own."
        )
    if combined and info is not None and info.reduction == "none" and opened.phase == "eval":
        yield (
            "In training the values of the criterion are combined by hand. How they are combined in "
            "evaluation cannot be seen; the loss shown there is their plain mean."
        )
    if opened.sliced:
        yield _SLICED
    if opened.recomputed:
        yield _RECOMPUTED.format(name="the loss of the training" if info is None else info.name)
    if not ids_known:
        yield _unknown_samples(split, opened)


def _unknown_samples(split: str, opened: OpenPass) -> str:
    way_out, mixed = "read them through a DataLoader", ""
    if opened.group[0] == "data":
        way_out = (
            "a dataset with numbered samples, made once and not anew for every epoch, and a collate_fn that "
            "keeps all of them in their order"
        )
    elif opened.phase == "eval" and opened.key[1] == BY_INPUT:
        mixed = ", and sets evaluated in one place of the code count as one"
    elif opened.phase == "train":
        mixed = ", and a new epoch is seen only where an evaluation came before it"
    return (
        f"It is not known which samples the {split!r} batches contain, so nothing is said about single "
        f"samples between epochs{mixed}. Way out: {way_out}."
    )
