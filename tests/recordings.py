"""Real trainings recorded without the capture layer: ground truth for the floors above it.

`train_and_record` runs an ordinary loop and hands every evaluation's logits to the same reduction
that capture uses, so that statistics, causes and views can be tested on real runs alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from jupyter_lossacc.capture.reading.reduction import ROW_NAMES, Sums, reduce_rows
from jupyter_lossacc.diagnosis.summary import summarize
from jupyter_lossacc.records import STEP_COLUMNS, LossInfo, Pass, PassKey, Predictions, Recording, RunInfo
from jupyter_lossacc.stats.calibration import fold_of
from jupyter_lossacc.stats.order import runs_of_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RecordingBuilder", "predictions_from_logits", "train_and_record"]


def predictions_from_logits(
    logits: Tensor, targets: Tensor, sample_ids: np.ndarray | None = None, reported: np.ndarray | None = None
) -> Predictions:
    """Reduce logits of shape (n, n_classes) to per-sample records."""
    ids = np.arange(len(targets)) if sample_ids is None else np.asarray(sample_ids, np.int64)
    order = np.argsort(ids, kind="stable")
    rows = dict(zip(ROW_NAMES, reduce_rows(logits, targets).numpy(), strict=True))
    nll = rows["nll"][order].astype(np.float32)
    return Predictions(
        sample_ids=ids[order],
        targets=targets.numpy().astype(np.int32)[order],
        predicted=rows["predicted"].astype(np.int32)[order],
        correct=rows["correct"][order].copy(),
        nll=nll,
        reported_loss=nll.copy() if reported is None else np.asarray(reported, np.float32)[order],
        confidence=rows["confidence"][order].copy(),
        margin=rows["margin"][order].copy(),
    )


class RecordingBuilder:
    """Collects passes into a `Recording`."""

    def __init__(self, name: str = "test", loss: LossInfo | None = None) -> None:
        self.loss = loss or LossInfo(name="cross_entropy")
        self.name = name
        self.passes: list[Pass] = []
        self.steps: list[tuple[float, ...]] = []

    def add(
        self,
        split: str,
        epoch: int,
        step: int,
        logits: Tensor,
        targets: Tensor,
        *,
        training: bool = False,
        reported: np.ndarray | None = None,
        reported_mean: float | None = None,
        loss: LossInfo | None = None,
        order_runs: tuple[float, float] | None = None,
    ) -> None:
        """Add a complete pass over samples 0..n-1."""
        predictions = predictions_from_logits(logits, targets, reported=reported)
        sums = Sums.empty(logits.shape[1])
        folds = torch.as_tensor(fold_of(np.arange(len(targets))))
        if not training:  # else they are left out below
            sums.add(logits, targets, folds, reduce_rows(logits, targets))
        self.passes.append(
            Pass(
                split=split,
                epoch=epoch,
                step=step,
                complete=True,
                training=training,
                name=f"{split}_loader",
                reported_loss=float(predictions.reported_loss.mean())
                if reported_mean is None
                else reported_mean,
                loss=loss or self.loss,
                predictions=predictions,
                accumulators=None if training else sums.to_accumulators(),
                n_classes=logits.shape[1],
                seconds=float(len(self.passes)),
                order_runs=order_runs,
            )
        )

    def build(self, status: str = "finished", upto: int | None = None) -> Recording:
        """Return the recording; `upto` keeps only passes of epochs <= upto (as seen live)."""
        passes = [p for p in self.passes if upto is None or p.epoch <= upto]
        kept: dict[PassKey, Predictions] = {p.key: p.predictions for p in passes if p.split != "train"}
        columns = np.array(self.steps, dtype=np.float64).reshape(-1, len(STEP_COLUMNS)).T
        steps = dict(zip(STEP_COLUMNS, columns, strict=True))
        if upto is not None:
            steps = {k: v[steps["epoch"] <= upto] for k, v in steps.items()}
        return Recording(
            info=RunInfo(run_id=self.name, name=self.name, started="2026-01-01T00:00:00Z"),
            summaries=tuple(summarize(p) for p in passes),
            steps=steps,
            limits=(),
            load=kept.__getitem__,
            status=status,
        )


def dead_unit_share(model: nn.Module) -> float:
    """Share of hidden units whose incoming gradient is exactly zero at this step."""
    matrices = [p.grad for p in model.parameters() if p.grad is not None and p.dim() > 1][:-1]
    rows = [(g.flatten(1) == 0).all(dim=1) for g in matrices]
    return float(torch.cat(rows).float().mean()) if rows else float("nan")


def train_and_record(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    *,
    epochs: int,
    optimizer: torch.optim.Optimizer,
    batch_size: int = 64,
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
    loss: LossInfo | None = None,
    seed: int = 0,
    shuffle: bool = True,
    extra: Sequence[tuple[str, tuple[Tensor, Tensor]]] = (),
    on_epoch: Callable[[int], None] | None = None,
    name: str = "test",
    watch_steps: bool = True,
) -> RecordingBuilder:
    """Train with per-sample `criterion` (reduction none; cross-entropy by default) and record.

    Without `watch_steps` nothing is recorded of the optimiser, which is faster.
    """
    per_sample = criterion or nn.CrossEntropyLoss(reduction="none")
    builder = RecordingBuilder(name, loss)
    generator = torch.Generator().manual_seed(seed)
    step = 0
    x, y = train
    for epoch in range(1, epochs + 1):
        if on_epoch is not None:
            on_epoch(epoch)
        order = torch.randperm(len(x), generator=generator) if shuffle else torch.arange(len(x))
        seen: list[Tensor] = []
        model.train()
        for batch in order.split(batch_size):
            z = model(x[batch])
            value = per_sample(z, y[batch]).mean()
            optimizer.zero_grad()
            value.backward()
            if not watch_steps:
                optimizer.step()
                step += 1
                seen.append(z.detach())
                continue
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            norm = float(torch.stack([g.norm() for g in grads]).norm())
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
            moved = torch.stack(
                [(p.detach() - b).norm() for p, b in zip(model.parameters(), before, strict=True)]
            )
            size = torch.stack([b.norm() for b in before]).norm()
            ratio = float(moved.norm() / size)
            step += 1
            seen.append(z.detach())
            rate = optimizer.param_groups[0]["lr"]
            dead = dead_unit_share(model)
            builder.steps.append((epoch, step, float(value.detach()), len(batch), rate, norm, ratio, dead))
        logits = torch.cat(seen)[torch.argsort(order)]
        runs = runs_of_targets(y[order].numpy())
        builder.add("train", epoch, step, logits, y, training=True, order_runs=runs)
        model.eval()
        with torch.no_grad():
            for split, (xs, ys) in (("val", val), *extra):
                z = model(xs)
                builder.add(split, epoch, step, z, ys, reported=per_sample(z, ys).numpy())
    if loss is not None:
        builder.passes = [replace(p, loss=loss) for p in builder.passes]
    return builder
