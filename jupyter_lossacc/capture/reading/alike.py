"""Losses of one flush → columns per sample: those that share a criterion and a shape are reduced together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jupyter_lossacc.capture.reading.criteria import Reduced, reduce_call
from jupyter_lossacc.capture.reading.light import reduce_light
from jupyter_lossacc.capture.reading.rewritten import value_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_lossacc.capture.reading.events import LossEvent
    from jupyter_lossacc.capture.reading.transfer import Chunk

__all__ = ["reduce_alike"]

Given = tuple["LossEvent", Tensor, Tensor, Tensor]


def reduce_alike(chunk: Chunk, losses: list[Given], contain: Callable[[str, Exception], None]) -> None:
    """Reduce the losses of a flush, those of the same kind and shape together.

    Parameters
    ----------
    chunk : Chunk
    losses : list of tuple
        Each an event, the predictions, the targets, and the criterion's value.
    contain : callable
        As in `Journal`.
    """
    groups: dict[Any, list[Given]] = {}
    for item in losses:
        event, logits, target, _ = item
        shape = (logits.shape[1:], target.shape[1:]) if logits.dim() > 1 or target.dim() else (event.order,)
        key = (
            event.thin,
            event.call.key,
            *shape,
            logits.dim(),
            target.dim(),
            logits.dtype,
            target.dtype,
            logits.device,
        )
        groups.setdefault(key, []).append(item)
    for group in groups.values():
        try:
            _reduce_group(chunk, group)
        except Exception as error:
            contain("reduction", error)
            for event, *_ in group:
                event.dropped = True


def _reduce_group(chunk: Chunk, group: list[Given]) -> None:
    first = group[0]
    joined = len(group) > 1
    thin = first[0].thin
    logits = torch.cat([item[1] for item in group]) if joined and not thin else first[1]
    target = torch.cat([item[2] for item in group]) if joined else first[2].clone()
    device = logits.device.type
    with torch.autocast(device if device != "meta" else "cpu", enabled=False):
        reduced = (reduce_light if thin else reduce_call)(first[0].call, logits, target)
    events = [item[0] for item in group]
    _keep_logits(events, reduced, logits is first[1])
    weight = first[0].call.class_weight
    wanted = [reduced.columns, reduced.flags, target] + ([weight.double()] if weight is not None else [])
    chunk.want(wanted, lambda host: _spread(events, reduced, host))


def _keep_logits(events: list[LossEvent], reduced: Reduced, shared: bool) -> None:
    """Give each event that may be an evaluation its part of the predictions."""
    if reduced.logits is None or reduced.targets is None:
        return
    if all(event.number >= 0 and event.phase == "train" for event in events):
        return
    logits = reduced.logits.clone() if shared else reduced.logits
    per_row = len(logits) // max(sum(e.n_rows for e in events), 1)
    at = 0
    for event in events:
        n = event.n_rows * max(per_row, 1)
        event.logits, event.targets = logits[at : at + n], reduced.targets[at : at + n]
        at += n


def _spread(events: list[LossEvent], reduced: Reduced, host: list[Tensor]) -> None:
    """Hand each event its part of the reduced columns."""
    columns, flags, target = host[0].numpy(), host[1].tolist(), host[2].detach()
    if target.dtype == torch.bfloat16:
        target = target.float()
    values = target.numpy()
    weights = host[3].numpy().astype(np.float64) if len(host) > 3 else None
    at = 0
    for event in events:
        n = event.n_rows
        event.task, event.n_classes = reduced.task, reduced.n_classes
        event.columns = columns[:, at : at + n]
        event.target = values[at : at + n] if values.ndim else values
        event.on_simplex, event.one_hot = flags[0] > 0, flags[1] > 0
        event.class_weights = weights
        if event.rewritten:
            event.value = value_of(event.call, event.columns)
        at += n
