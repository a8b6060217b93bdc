"""Batches handed over by hand with ``recorder.log_batch(...)``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from jupyter_lossacc.capture.reading.criteria import Call, reduce_call
from jupyter_lossacc.capture.reading.events import LossEvent
from jupyter_lossacc.capture.rules.assembly import OpenPass

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from jupyter_lossacc.capture.rules.sink import Sink

__all__ = ["ManualPasses"]

_CALL = Call("cross_entropy", "mean")


class ManualPasses:
    """Collects such batches into passes; a pass ends when another split or epoch begins."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._open: tuple[int, str, OpenPass] | None = None
        self._began = time.monotonic()

    def add(
        self,
        run: int,
        split: str,
        epoch: int,
        step: int,
        logits: ArrayLike,
        targets: ArrayLike,
        ids: NDArray[np.int64] | None,
    ) -> None:
        """Add one batch; see `Capture.log_batch`.

        Raises
        ------
        ValueError
            When the shapes do not fit together, or a target is none of the classes.
        TypeError
            When `split` is no name or `epoch` no whole number.
        """
        if type(split) is not str or not hasattr(epoch, "__index__"):
            raise TypeError(
                f"Expected the name of a split and a whole number as its epoch, got {split!r} and {epoch!r}."
            )
        z = torch.as_tensor(logits).detach()
        y = torch.as_tensor(targets).detach().long()
        if z.dim() != 2 or y.shape != z.shape[:1] or (ids is not None and ids.shape != tuple(y.shape)):
            raise ValueError(
                "Expected logits of shape (n_samples, n_classes) and targets (and sample_ids) of shape "
                "(n_samples,), "
                f"got {tuple(z.shape)}, {tuple(y.shape)}" + (f" and {ids.shape}." if ids is not None else ".")
            )
        foreign = y[(y < 0) | (y >= z.shape[1])]
        if len(foreign):
            raise ValueError(
                f"Expected targets from 0 to {z.shape[1] - 1}, one for each column of the logits, got "
                f"{int(foreign[0])}."
            )
        key = (run, split, epoch)
        if self._open is None or (*self._open[:2], self._open[2].epoch) != key:
            self.finish(complete=True)
            self._open = (
                run,
                split,
                OpenPass(key, "train" if split == "train" else "eval", epoch, "", ("manual", split)),
            )
        opened = self._open[2]
        with torch.inference_mode(mode=False), torch.no_grad():
            reduced = reduce_call(_CALL, z.clone(), y)
            columns = reduced.columns.cpu().numpy()
            columns[6] = columns[2]  # the loss reported is the negative log-likelihood itself
            event = LossEvent(0, _CALL, -1, split == "train", 0, task="multiclass", n_classes=z.shape[1])
            event.columns, event.logits, event.targets = columns, reduced.logits, reduced.targets
            event.value = float(columns[2].mean(dtype=np.float64))
            opened.step = step
            opened.add(event, columns, ids, event.value)
            opened.settle()

    def finish(self, *, complete: bool) -> None:
        """Hand over the pass that is open."""
        if self._open is None:
            return
        run, split, opened = self._open
        self._open = None
        passed = opened.finish(split, complete=complete, seconds=time.monotonic() - self._began)
        self.sink.pass_finished(run, passed)
