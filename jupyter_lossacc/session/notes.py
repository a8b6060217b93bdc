"""Sentences that a finished cell owes its reader: what was expected, what came, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_lossacc.views.words import epochs_seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_lossacc.capture.capture import Counters
    from jupyter_lossacc.records import Recording

__all__ = ["closing_notes", "is_expectation"]

_BY_HAND = "hand batches over with recorder.log_batch(...) in `with jupyter_lossacc.record(...) as recorder:`"


def is_expectation(sentence: str) -> bool:
    """Whether a sentence says what a cell lacked: a cell that resumes its run may bring it."""
    return sentence.startswith("Expected ")


def closing_notes(
    counters: Counters, recordings: Sequence[Recording], status: str, *, resumed: bool = False
) -> list[tuple[str, ...]]:
    """Say what was not seen, run by run (what is about the cell, with the last); empty when all is well.

    Parameters
    ----------
    counters : Counters
        What capture saw.
    recordings : sequence of Recording
        One per run.
    status : str
        How the cell ended.
    resumed : bool
        The cell continues an earlier run, and may only evaluate.
    """
    about_runs = [_about_run(recording, counters) for recording in recordings] or [()]
    training = () if resumed and counters.losses else tuple(_about_training(counters, status))
    about_runs[-1] = (*training, *_about_values(counters), *about_runs[-1])
    return about_runs


def _about_training(counters: Counters, status: str) -> Iterator[str]:
    if counters.losses == 0:
        early = " The cell ended early." if status != "finished" else ""
        yield (
            f"Expected a PyTorch training in this cell, but no loss function of torch was called.{early} Put "
            f"%%lossacc above the cell that runs the training loop; for a loss computed by hand, {_BY_HAND}."
        )
    elif counters.backwards == 0:
        yield (
            f"Expected a training, but none of the {counters.losses} losses computed here was followed by "
            "backward(): this cell only evaluates. Put %%lossacc above the cell that trains, or continue "
            "its run here with `%%lossacc --resume`."
        )
    if counters.regressions and counters.regressions >= counters.losses - counters.unreadable:
        yield (
            "Expected class labels, but the targets are continuous numbers: this is a regression, which "
            "has no accuracy. Loss and accuracy cannot be compared here."
        )


def _about_values(counters: Counters) -> Iterator[str]:
    if counters.first_not_finite is not None:
        split, epoch, step = counters.first_not_finite
        yield (
            f"The loss became NaN or infinite {counters.not_finite} times, first in epoch {epoch} "
            f"({split}, after step {step}). Try a lower learning rate, and look for divisions or "
            "logarithms of zero in the loss."
        )
    if counters.outputs_apart:
        yield (
            "The criterion is called several times on a batch, each time for another output (one per label, "
            "say): only the first of them is recorded. Way out: call it once on all of them."
        )
    for name in counters.empty_loaders:
        loader = f"The loader {name!r}" if name else "A loader"
        yield f"{loader} gave no batch: expected samples to evaluate. Check its dataset, and drop_last."


def _about_run(recording: Recording, counters: Counters) -> tuple[str, ...]:
    said = counters.empty_loaders  # with its reason
    missing = () if said else _about_validation(recording, counters)
    return (*missing, *_about_names(recording))


def _about_names(recording: Recording) -> Iterator[str]:
    names = len(recording.info.class_names)
    found = max(
        (s.n_classes for s in recording.summaries if s.loss.task in ("multiclass", "binary")), default=0
    )
    if names and found and names != found:
        yield (
            f"Expected a name for each of the {found} classes, got {names} (--classes): tables by class are "
            "numbered instead. Give one name per class, in order of their index."
        )


def _about_validation(recording: Recording, counters: Counters) -> Iterator[str]:
    trained = any(s.split == "train" and s.training for s in recording.summaries)
    splits = recording.splits()
    others = not counters.evaluations and not {"val", "test", "train_eval"} & {*splits}  # trained on as well
    if trained and (splits == ("train",) or others):
        yield (
            "Expected an evaluation on held-out data, but only training was seen in this cell "
            f"({epochs_seen(recording)}): validation loss and accuracy cannot be compared. Evaluate once per "
            "epoch in the loop, with a loss or through a DataLoader (an accuracy computed from tensors alone "
            "is seen where labels and predictions of one forward are cut out by the same mask or index); if "
            "the evaluation is in the next cell, put `%%lossacc --resume` above it."
        )
