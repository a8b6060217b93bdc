"""`Run`: what a person asks a finished (or running) recording.

Everything is computed from the records when it is first asked for; nothing here is stored.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.errors import DiagnosisError, StoreError
from jupyter_lossacc.views.live import Findings
from jupyter_lossacc.views.words import epochs_seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from jupyter_lossacc.records import (
        CheckpointAdvice,
        Diagnosis,
        Episode,
        EpochSummary,
        Predictions,
        Recording,
    )
    from jupyter_lossacc.views.samples import Portraits

__all__ = ["Run"]

METRIC_COLUMNS = (
    *("split", "epoch", "step", "complete", "training", "n_samples", "reported_loss", "nll", "accuracy"),
    *("balanced_accuracy", "macro_f1", "temperature", "calibrated_nll", "ece", "seconds"),
)
SAMPLE_COLUMNS = (
    *("target", "predicted", "correct", "nll", "reported_loss"),
    *("target_probability", "confidence", "margin"),
)


class Run:
    """One recorded training run.

    Parameters
    ----------
    recording : Recording
        What was recorded, as of now: a running run gives a new `Run` each time it is asked for.
    path : Path, optional
        Folder of the run in the store; None when it was kept in memory only.
    data : mapping of str to callable, optional
        Gives the dataset of a split while the user still has it.

    Examples
    --------
    >>> run = load_run("baseline")          # doctest: +SKIP
    >>> run.metrics.query("split == 'val'") # doctest: +SKIP
    """

    def __init__(
        self,
        recording: Recording,
        *,
        path: Path | None = None,
        data: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self.recording = recording
        self.path = path
        self._data = dict(data or {})

    @property
    def id(self) -> str:
        """The run's id, also the name of its folder."""
        return self.recording.info.run_id

    @property
    def name(self) -> str:
        """The name given after ``%%lossacc``, or the default one."""
        return self.recording.info.name

    @property
    def status(self) -> str:
        """``"running"``, ``"finished"``, ``"interrupted"``, ``"failed"`` or ``"cut off"``."""
        return self.recording.status

    @cached_property
    def findings(self) -> Findings:
        """The records and everything concluded from them, as the views take it."""
        said, advice = self.diagnose(), self.checkpoint
        return Findings(
            recording=self.recording, episodes=self.episodes, diagnoses=said, advice=advice, look=self.look
        )

    @property
    def limits(self) -> tuple[str, ...]:
        """What could not be recorded or decided, in sentences."""
        return self.findings.limits

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """A row per pass over a split, in order of time: a training pass before the evaluations that end it.

        Returns
        -------
        DataFrame
            `split`, `epoch`, `step` (optimiser steps taken so far), `complete`, `training` (mode of the
            model), `n_samples`; `reported_loss` (of your criterion, as its reduction means it; NaN if none
            was seen), `nll` (unweighted, from the predictions) in nats; `accuracy`, `balanced_accuracy` and
            `macro_f1` in [0, 1]; `temperature`, `calibrated_nll`, `ece`, NaN in training mode; `seconds`.
        """
        import pandas as pd

        # Without a loader a training pass is known to have ended when the next one begins: it comes late.
        ordered = sorted(self.recording.summaries, key=lambda s: (s.epoch, s.step, s.split != "train"))
        frame = pd.DataFrame({c: [getattr(s, c) for s in ordered] for c in METRIC_COLUMNS})
        frame.loc[[s.loss.name == "none" for s in ordered], "reported_loss"] = float("nan")
        return frame

    @cached_property
    def steps(self) -> pd.DataFrame:
        """A row per optimiser step; NaN where a value was not taken at that step.

        Returns
        -------
        DataFrame
            `epoch`, `step`, `loss` (as it was backpropagated), `n_samples`, `learning_rate` (and
            `learning_rate_2`, ... where the optimiser has several groups), `grad_norm` (before the
            step), `update_ratio` (norm of the update over norm of the weights),
            `dead_unit_share` (hidden units without any gradient, in [0, 1]), ...
        """
        import pandas as pd

        frame = pd.DataFrame(dict(self.recording.steps))
        whole = [c for c in ("epoch", "step") if c in frame]
        return frame.astype(dict.fromkeys(whole, "int64"))

    @cached_property
    def units(self) -> pd.DataFrame:
        """A row per activation module and evaluation looked at: its dead and saturated units in one batch.

        `dead_share` and `saturated_share` are in [0, 1]; NaN where the function has no such state.
        """
        import pandas as pd

        from jupyter_lossacc.diagnosis.units import COLUMNS, unit_rows

        return pd.DataFrame(unit_rows(self.recording), columns=list(COLUMNS))

    def samples(self, split: str = "val", epoch: int = -1) -> pd.DataFrame:
        """Per-sample records of one pass, by `sample_id`, or by `position` in it where ids are unknown.

        Parameters
        ----------
        split : str
        epoch : int
            Epoch number; negative counts from the last epoch of that split.

        Returns
        -------
        DataFrame
            `target`, `predicted`, `correct`, `nll` and `reported_loss` (nats),
            `target_probability` and `confidence` in [0, 1], `margin` (logits).

        Raises
        ------
        DiagnosisError
            When that pass does not exist or its per-sample records were not kept.
        """
        import pandas as pd

        summary = self._summary(split, epoch)
        predictions = self._predictions(summary)
        fields = {c: "targets" if c == "target" else c for c in SAMPLE_COLUMNS}
        columns: dict[str, Any] = {c: getattr(predictions, field) for c, field in fields.items()}
        if summary.loss.task in ("multiclass", "binary"):
            columns["correct"] = predictions.correct.astype(bool)
        name = "sample_id" if predictions.ids_known else "position"
        return pd.DataFrame(columns, index=pd.Index(predictions.sample_ids, name=name))

    def classes(self, split: str = "val", epoch: int = -1) -> pd.DataFrame:
        """Results per class of one pass, indexed by class (name where given).

        Returns
        -------
        DataFrame
            `support` (samples), `recall`, `precision`, `f1` in [0, 1], `nll` in nats; NaN where
            undefined.

        Raises
        ------
        DiagnosisError
            When the pass does not exist, or the task has no single class per sample.
        """
        import pandas as pd

        from jupyter_lossacc.diagnosis.summary import class_table

        summary = self._summary(split, epoch)
        if summary.loss.task not in ("multiclass", "binary"):
            raise DiagnosisError(
                f"Expected a task with one class per sample, got {summary.loss.task!r}: "
                "a table by class has no meaning here. Use run.samples() instead."
            )
        table = summary.classes or class_table(self._predictions(summary), summary.n_classes)
        names = self.recording.info.class_names
        index = list(names) if len(names) == len(table.support) else list(range(len(table.support)))
        columns = {c: getattr(table, c) for c in ("support", "recall", "precision", "f1", "nll")}
        return pd.DataFrame(columns, index=pd.Index(index, name="class"))

    def look(
        self, sample_ids: Sequence[int], split: str = "val", epoch: int = -1, data: object = None
    ) -> Portraits:
        """Show samples as they are: pictures, texts or rows of numbers, read from your own dataset.

        ``dataset[id]`` is read as your loader reads it; random numbers that it draws are given back.

        Parameters
        ----------
        sample_ids : sequence of int
        split : str
        epoch : int
            Whose predictions stand below the samples.
        data : dataset or DataLoader, optional
            Where to read; by default what was read during the training, if you still have it.

        Raises
        ------
        DiagnosisError
            When the run is still going on, or its dataset cannot be found or read by number.
        """
        from jupyter_lossacc.capture.originals import originals
        from jupyter_lossacc.views.samples import no_data, portraits

        if self.status == "running":
            raise DiagnosisError("Samples are fetched after the training cell has ended, not while it runs.")
        found = data if data is not None else self._data.get(split, lambda: None)()
        if found is None:
            raise DiagnosisError(no_data(split, known=split in self._data))
        predictions = self._predictions(self._summary(split, epoch))
        items = dict(zip(sample_ids, originals(found, sample_ids), strict=True))
        return portraits(self.recording, predictions, items)

    @cached_property
    def episodes(self) -> tuple[Episode, ...]:
        """Stretches in which loss and accuracy move together, in order of time; as on the screen."""
        from jupyter_lossacc.diagnosis.episodes import settled

        return settled(self.recording)

    @cached_property
    def _diagnoses(self) -> tuple[Diagnosis, ...]:
        from jupyter_lossacc.diagnosis.diagnose import diagnose

        return diagnose(self.recording, self.episodes)

    def diagnose(self) -> tuple[Diagnosis, ...]:
        """One diagnosis per episode, and one about the whole run (``episode=None``)."""
        return self._diagnoses

    def decompose(
        self, split: str = "val", start: int | None = None, end: int | None = None, by: str = "transitions"
    ) -> pd.DataFrame:
        """Split the change of `nll` (by weights: of the reported loss) and of accuracy into its parts.

        Parameters
        ----------
        split : str
        start, end : int, optional
            Epochs; the first and the last recorded ones by default.
        by : {"transitions", "outcome", "class", "calibration", "weights", "tail", "scale"}
            Whether samples stayed or became right or wrong; right or wrong at the end; class;
            calibration against refinement; class weights against samples; how far out in the
            tail; scale of the logits against their direction.

        Returns
        -------
        DataFrame
            A row per part, with `loss_change` in nats; the rows add up to the whole change.

        Raises
        ------
        DiagnosisError
            When the epochs or their per-sample records are missing, or `by` is not one of these.
        """
        import pandas as pd

        from jupyter_lossacc.diagnosis.decompose import decompose

        series = self.recording.series(split)
        if not series:
            raise DiagnosisError(self._no_split(split))
        first = series[0].epoch if start is None else start
        last = series[-1].epoch if end is None else end
        return pd.DataFrame(decompose(self.recording, split, first, last, by))

    @cached_property
    def checkpoint(self) -> CheckpointAdvice:
        """Which epoch to keep, at which temperature, and whether to stop."""
        from jupyter_lossacc.diagnosis.checkpoint import advise

        return advise(self.recording, self.status == "running")

    def restore(self, model: nn.Module, epoch: int | None = None) -> int:
        """Load recorded weights into `model`.

        Parameters
        ----------
        model : torch.nn.Module
        epoch : int, optional
            The advised epoch by default.

        Returns
        -------
        int
            The epoch whose weights were loaded.

        Raises
        ------
        DiagnosisError
            When no weights of that epoch were kept (says which were), or they are not this model's.
        """
        from jupyter_lossacc.store import restore_weights

        try:
            return restore_weights(model, self.path, self.checkpoint.epoch if epoch is None else epoch)
        except StoreError as error:
            raise DiagnosisError(str(error)) from None

    def figure(self, kind: str = "curves", theme: str = "light") -> Figure:
        """Draw a matplotlib figure for a paper or a page.

        Parameters
        ----------
        kind : {"curves", "waterfall", "transitions", "reliability", "classes"}
        theme : {"light", "dark"}

        Raises
        ------
        ValueError
            When `kind` or `theme` is none of these.
        """
        from jupyter_lossacc.views.figures import figure

        return figure(self.recording, self.episodes, self._diagnoses, self.checkpoint, kind=kind, theme=theme)

    def report(self) -> str:
        """Return the diagnosis in words, as Markdown."""
        from jupyter_lossacc.views.text import report

        return report(self.recording, self.episodes, self._diagnoses, self.checkpoint)

    def state(self) -> dict[str, Any]:
        """Return what the panel shows, as plain data that JSON can hold."""
        from jupyter_lossacc.views.panel.state import panel_state

        told = (self.recording, self.episodes, self._diagnoses, self.checkpoint)
        return panel_state(*told, status=self.status, limits=self.limits)

    def png(self, dpi: int = 80) -> bytes:
        """Return the curves as a PNG picture."""
        from jupyter_lossacc.views.figures import figure_png

        return figure_png(self.recording, self.episodes, self.diagnose(), self.checkpoint, dpi)

    def to_html(self) -> str:
        """Return a standalone page with the interactive panel; it opens offline."""
        from jupyter_lossacc.views.panel.frozen import standalone_html

        return standalone_html(self.state(), self.png())

    def _summary(self, split: str, epoch: int) -> EpochSummary:
        try:
            return self.recording.summary(split, epoch)
        except KeyError as error:
            if split not in self.recording.splits():
                raise DiagnosisError(self._no_split(split)) from None
            raise DiagnosisError(str(error.args[0])) from None

    def _predictions(self, summary: EpochSummary) -> Predictions:
        try:
            return self.recording.load(summary.key)
        except KeyError:
            raise DiagnosisError(
                f"Per-sample records of split {summary.split!r} at epoch {summary.epoch} were not kept. "
                "Record with `--keep all` (in Python keep='all') to keep those of every split."
            ) from None

    def _no_split(self, split: str) -> str:
        have = ", ".join(self.recording.splits()) or "none"
        return f"No complete pass of a split called {split!r}; this run has: {have}."

    def __repr__(self) -> str:
        """Name, state and size; the diagnosis itself is `report()`."""
        splits = ", ".join(self.recording.splits()) or "none"
        return (
            f"<Run {self.name!r} ({self.id}): {self.status}, {epochs_seen(self.recording)}, splits {splits}>"
        )
