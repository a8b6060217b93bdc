"""The rules: which run, epoch, split and pass an event belongs to, decided while the loop runs.

Events wait until what they need is known: whether a loss is trained on (backward), and which
optimiser then steps. They leave in the order in which they happened.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.capture.assembly import OpenPass
from jupyter_lossacc.capture.criteria import fold_columns
from jupyter_lossacc.capture.events import LossEvent, OptimizerEvent, RootEvent, StepEvent
from jupyter_lossacc.capture.loaders import Batch, LoaderPass
from jupyter_lossacc.capture.runs import Run, Seen
from jupyter_lossacc.capture.sample_ids import BatchBook, Holding, Match
from jupyter_lossacc.capture.splits import Splits
from jupyter_lossacc.records import Pass

__all__ = ["Counters", "Interpreter", "Sink"]

Ids = NDArray[np.int64]
_MAX_WAITING = 512
_CLASSES = ("multiclass", "binary", "multilabel", "dense")


class Sink(Protocol):
    """Who receives what capture sees; called on the training thread, so each call must be cheap."""

    def run_started(self, run: int, name_hint: str) -> None:
        """Begin run number `run` (0, 1, ...)."""

    def pass_finished(self, run: int, passed: Pass) -> None:
        """Take a pass that has ended."""

    def steps(self, run: int, columns: dict[str, NDArray[np.float64]]) -> None:
        """Take the rows of ``STEP_COLUMNS`` since the last call."""

    def progress(
        self, run: int, split: str, epoch: int, step: int, batch: int, n_batches: int | None
    ) -> None:
        """Say where the training is."""

    def limit(self, sentence: str) -> None:
        """Take a sentence about what cannot be recorded; each distinct one comes once."""


@dataclass(slots=True)
class Counters:
    """What was seen, for the sentences of the session.

    Parameters
    ----------
    losses, backwards, steps : int
        Calls of criteria, of backward, of optimisers.
    evaluations, train_passes : int
        Finished passes by phase.
    regressions : int
        Criterion calls with continuous targets.
    unreadable : int
        Criterion calls whose predictions could not be read as classes.
    not_finite : int
        Criterion calls that returned NaN or infinity; `first_not_finite` is (split, epoch, step).
    empty_loaders : list of str
        Names of loaders that gave no batch ("" where no name was seen).
    """

    losses: int = 0
    backwards: int = 0
    steps: int = 0
    evaluations: int = 0
    train_passes: int = 0
    regressions: int = 0
    unreadable: int = 0
    not_finite: int = 0
    first_not_finite: tuple[str, int, int] | None = None
    empty_loaders: list[str] = field(default_factory=list)


class Interpreter:
    """Turns events into passes.

    Parameters
    ----------
    sink : Sink
    limit : callable
        Says a limit once.
    book : BatchBook
    explicit : mapping of str to object
        Loaders or datasets that the user named.
    resume_from : tuple of (epoch, step), optional
    model_name : callable
        Name of the class of the trained module, "" when unknown.
    """

    def __init__(
        self,
        sink: Sink,
        limit: Callable[[str], None],
        book: BatchBook,
        *,
        explicit: Mapping[str, object],
        resume_from: tuple[int, int] | None,
        model_name: Callable[[], str],
    ) -> None:
        self.sink, self.limit, self.book, self.explicit = sink, limit, book, explicit
        self.model_name = model_name
        self.counters = Counters()
        self.began = time.monotonic()
        epoch, step = resume_from or (0, 0)
        self.run = Run(0, Splits(explicit), epoch, step)
        self._started = False
        self._waiting: deque[Any] = deque()
        self._undecided: dict[int, LossEvent] = {}
        self._trained_until = -1  # order of the latest loss that backward reached
        self._trained_at = -1  # order of that backward
        self._last_step = -1
        self._free_steps = False  # losses are trained on without any optimiser of torch
        self._candidate: OptimizerEvent | None = None
        self._optimizers: dict[int, frozenset[int]] = {}  # parameters of every optimiser seen
        self._last_open: tuple[OpenPass, int] | None = None
        self._revisited = False  # the batch at hand was recorded in an earlier pass
        self._holding = Holding()
        self.uses_loaders: bool | None = None

    # ------------------------------------------------------------------ reading
    def read(self, items: list[Any]) -> None:
        """Take the events of one flush."""
        for item in items:
            self._take(item)
        self._release(final=False)
        self._settle()

    def finish(self, *, complete: bool) -> None:
        """Decide everything that still waits and end all passes."""
        self._release(final=True)
        self._settle()
        for opened in sorted(set(self.run.open.values()), key=lambda o: o.step):
            source = self.run.sources.get(id(opened))
            whole = source is not None and source.exhausted
            self._finish(opened, complete=complete or whole, final=True)
        self.run.open.clear()

    def _take(self, item: Any) -> None:
        if isinstance(item, LossEvent):
            self.counters.losses += 1
            self._match_values(item)
            if item.match is None and item.origin is not None:
                self._holding.note(item.origin, self.counters.steps)
            self._waiting.append(item)
            if item.number >= 0:
                self._undecided[item.number] = item
        elif isinstance(item, RootEvent):
            self.counters.backwards += 1
            self._decide(item)
        elif isinstance(item, StepEvent):
            self.counters.steps += 1
            self._last_step = item.order
            self._waiting.append(item)
        elif isinstance(item, OptimizerEvent):
            self._waiting.append(item)
        elif isinstance(item, LoaderPass):
            self._waiting.append(item)

    def _match_values(self, event: LossEvent) -> None:
        """Find the batch by the values of the target, now that they are on the host."""
        if event.match is None and event.candidates and event.target is not None:
            event.match = self.book.by_value(np.asarray(event.target), event.candidates)
            if event.match is not None:
                event.match.batch.used += 1
        if event.match is not None:
            event.match.batch.rows_used = event.match.first + event.n_rows

    def _decide(self, root: RootEvent) -> None:
        for number in root.numbers:
            event = self._undecided.pop(number, None)
            if event is None:
                continue
            event.phase, event.root = "train", root
            event.logits = event.targets = None
            root.events.append(event)
            self._trained_until = max(self._trained_until, event.order)
            self._trained_at = root.order
        if not root.events:
            self._waiting.append(root)

    # ------------------------------------------------------------------ order
    def _release(self, *, final: bool) -> None:
        while self._waiting:
            item = self._waiting[0]
            crowded = len(self._waiting) > _MAX_WAITING
            if isinstance(item, LossEvent) and not self._decided(item, final=final or crowded):
                break
            self._waiting.popleft()
            if isinstance(item, LossEvent):
                self._undecided.pop(item.number, None)
                self._assign(item)
            elif isinstance(item, StepEvent):
                self._step(item)
            elif isinstance(item, OptimizerEvent):
                self._optimizer(item)
            elif isinstance(item, LoaderPass):
                self._ended(item)
            else:
                self.run.add_bare_root(item)

    def _ended(self, source: LoaderPass) -> None:
        source.ended = True
        name = source.names[0] if source.names else ""
        if source.exhausted and not source.n_given and name not in self.counters.empty_loaders:
            self.counters.empty_loaders.append(name)

    def _decided(self, event: LossEvent, *, final: bool) -> bool:
        """Whether phase and run of an event are known; settles the phase where it can."""
        if event.phase is None:
            passed_over = event.order < self._trained_until and self._last_step > self._trained_at
            if not (passed_over or final):
                return False
            event.phase = "eval"
        if final:
            return True
        if event.match is None and not any(isinstance(item, LossEvent) for item in list(self._waiting)[1:]):
            return False  # the next loss shows whether the user holds the targets
        if event.phase == "train":
            if len(self._waiting) > 64 and self._last_step < 0:
                self._free_steps = True
            return self._last_step > event.order or self._free_steps or len(self._waiting) > _MAX_WAITING // 2
        return self._candidate is None or self._last_step > event.order

    # ------------------------------------------------------------------ runs
    def _optimizer(self, event: OptimizerEvent) -> None:
        """Remember an optimiser; one made late, with parameters of its own, may open a new run."""
        self._optimizers[event.optimizer] = event.parameters
        if self.run.step and not event.parameters & self.run.parameters:
            self._candidate = event
            if self._next_step() == event.optimizer:
                self._new_run()

    def _may_open_run(self, event: LossEvent) -> None:
        """Open a new run where an optimiser of other parameters takes over with a new training pass."""
        following = self._next_step()
        if following is None or not self.run.step or following in self.run.optimizers:
            return
        source = event.match.batch.source if event.match is not None else None
        if source is None and self.run.last_train_source is not None:
            return
        goes_on = source is not None and ("train", id(source)) in self.run.open
        if not goes_on and not self._optimizers.get(following, frozenset()) & self.run.parameters:
            self._new_run()

    def _next_step(self) -> int | None:
        return next((i.optimizer for i in self._waiting if isinstance(i, StepEvent)), None)

    def _new_run(self) -> None:
        for opened in sorted(set(self.run.open.values()), key=lambda o: o.step):
            self._finish(opened, complete=True, final=True)
        self._flush_steps()
        self.run = Run(self.run.index + 1, Splits(self.explicit))
        self._candidate, self._started, self._last_open = None, False, None

    def _step(self, event: StepEvent) -> None:
        self._candidate = None
        if event.optimizer not in self.run.optimizers:
            self.run.optimizers.add(event.optimizer)
            self.run.parameters |= self._optimizers.get(event.optimizer, frozenset())
        self.start()
        self.run.add_step(event)

    def damage(self) -> None:
        """Mark what is going on as not complete: something of it was lost."""
        for opened in self.run.open.values():
            opened.damaged = True

    def start(self) -> None:
        """Announce the run, once."""
        if not self._started:
            self._started = True
            self.sink.run_started(self.run.index, self.model_name())

    # ------------------------------------------------------------------ passes
    def _assign(self, event: LossEvent) -> None:
        """Put one loss into its pass."""
        if not math.isfinite(event.value):
            self._not_finite(event)
        if not self._classifies(event):
            self.run.add_root(event, 0)
            return
        if event.match is None:
            event.match = self._late_match(event)
        if event.phase == "train":
            self._may_open_run(event)
        self.start()
        columns, ids = self._samples(event)
        if not self._belongs(event):
            self.run.add_root(event, 0)
            return
        if event.phase == "train":
            self.run.add_root(event, columns.shape[1])
            opened = self._train_pass(event, ids)
            opened.step = self.run.step + 1
        else:
            opened = self._eval_pass(event, ids)
            opened.step = self.run.step
        opened.add(event, columns, ids, self._value(event))
        self.uses_loaders = event.match is not None
        self._last_open = (opened, opened.n_events)

    def _classifies(self, event: LossEvent) -> bool:
        """Whether the predictions can be read as classes; counts what cannot."""
        if event.dropped:
            return False
        squared = event.call.name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
        if event.task == "regression" or (squared and not event.one_hot):
            self.counters.regressions += 1
            return False
        if event.task not in _CLASSES:
            self.counters.unreadable += 1
            return False
        return True

    def _late_match(self, event: LossEvent) -> Match | None:
        """Match by a sibling under the same backward, or by order."""
        if event.root is not None:
            for other in event.root.events:
                match = other.match
                if other is not event and match is not None and other.n_rows == event.n_rows:
                    return Match(match.batch, match.first, "sibling")
        if self._held(event):
            return None
        found = self.book.by_order(event.n_rows, event.candidates)
        if found is not None:
            found.batch.used += 1
        return found

    def _held(self, event: LossEvent) -> bool:
        """Whether the targets are rows of a tensor that the user holds, and not a batch's own tensor.

        A tensor made for one batch is gone once the next loss is computed.
        """
        origin = event.origin
        if origin is None:
            return False
        if event.held is None:
            event.held = self._holding.holds(origin, event.phase or "eval")
        return event.held

    def _samples(self, event: LossEvent) -> tuple[NDArray[np.float32], Ids | None]:
        """Columns per sample, and sample ids where they are known."""
        columns = event.columns
        if event.match is None:
            origin = event.origin
            if origin is None or len(origin.ids) != columns.shape[1] or not self._held(event):
                return columns, None
            return columns, origin.ids
        batch, first = event.match.batch, event.match.first
        n = columns.shape[1]
        if n > batch.size and batch.size and n % batch.size == 0:
            columns, n = fold_columns(columns, batch.size), batch.size
            event.logits = event.targets = None
        ids = None if batch.indices is None else batch.source.data.underlying(batch.indices)
        if ids is not None:
            ids = ids[first : first + n]
        return columns, ids if ids is not None and len(ids) == n else None

    def _belongs(self, event: LossEvent) -> bool:
        """Whether a loss is the record of its batch, and not a second look at it or a side term."""
        if event.match is not None:
            # A term beside one whose batch is known for certain is never the record of that batch.
            return event.match.source != "sibling" and not self._again(event.match, event.phase or "eval")
        if self._held(event):
            return True
        if event.phase == "train":
            return self.run.last_train_source is None
        return not any(o.phase == "eval" and id(o) in self.run.sources for o in self.run.open.values())

    def _again(self, match: Match, phase: str) -> bool:
        """Whether the batch was recorded in this phase already (closures, second terms)."""
        batch = match.batch
        key = (phase, match.first)
        if key not in batch.seen:
            batch.seen.add(key)
            self._revisited = False
            return False
        opened = self.run.open.get((phase, id(batch.source)))
        self._revisited = match.source in ("identity", "memory") and (
            opened is None
            or opened.last_number != batch.number
            or (batch.source.n_given == 1 and opened.step < self.run.step + (phase == "train"))
        )
        return not self._revisited

    def _train_pass(self, event: LossEvent, ids: Ids | None) -> OpenPass:
        run = self.run
        run.splits.training_goes_on()
        if event.match is not None:
            opened = self._train_with_loader(event.match.batch)
        else:
            opened = self._train_without_loader(event, ids)
        run.splits.train_on(self._root(opened), ids, opened.group)
        run.evaluated_since_train = False
        run.last_train = opened
        return opened

    def _root(self, opened: OpenPass) -> int:
        return int(opened.group[1])

    def _train_with_loader(self, batch: Batch) -> OpenPass:
        run, source = self.run, batch.source
        key = ("train", id(source))
        opened = run.open.get(key)
        if opened is not None and self._revisited and batch.number <= opened.last_number:
            self._finish(opened, complete=True)  # the same batches come round again
            opened = None
        elif opened is None and (before := self._sampled_before(source)) is not None:
            if run.samples_drawn >= (source.data.size or math.inf):
                self._finish(before, complete=True)
            else:
                for old in [k for k, o in run.open.items() if o is before]:
                    del run.open[old]
                opened = run.open[key] = before
                run.sources[id(opened)] = source
        if opened is None:
            opened = self._begin_training(key, source)
        opened.last_number = batch.number
        run.last_train_source = source
        run.samples_drawn += batch.size
        return opened

    def _begin_training(self, key: tuple[Any, ...], source: LoaderPass) -> OpenPass:
        """Open a training pass: a new epoch, unless another training pass is still going on."""
        run = self.run
        self._finish_over()
        beside = any(o.phase == "train" and not o.secondary for o in run.open.values())
        if not beside:
            run.epoch += 1
            run.samples_drawn = 0
        opened = self._open(key, "train", source, ("data", source.data.root, source.data.part))
        opened.secondary = beside
        return opened

    def _sampled_before(self, source: LoaderPass) -> OpenPass | None:
        """Return the pass that ``next(iter(loader))`` continues: every iterator gave one batch only."""
        before = self.run.last_train_source
        if before is None or before is source or before.n_given != 1 or before.exhausted:
            return None
        same = before.data.root == source.data.root and before.data.part == source.data.part
        if not same or (before.n_batches or 0) <= 1:
            return None
        return self.run.last_train

    def _train_without_loader(self, event: LossEvent, ids: Ids | None) -> OpenPass:
        run, origin = self.run, event.origin
        root = -(origin.key if origin is not None and ids is not None else 1)
        key = ("train", root)
        opened = run.open.get(key)
        if opened is None or run.begins_epoch_without_loader(ids, origin.n_rows if origin is not None else 0):
            self._finish_over()
            if opened is not None:
                self._finish(opened, complete=True)
            run.epoch += 1
            run.seen = Seen(replaced=run.seen.replaced)
            opened = self._open(key, "train", None, ("memory", root))
        if ids is not None:
            run.seen.ids.update(ids.tolist())
            run.seen.n_drawn += len(ids)
        return opened

    def _eval_pass(self, event: LossEvent, ids: Ids | None) -> OpenPass:
        run = self.run
        run.evaluated_since_train = True
        if event.match is not None:
            batch = event.match.batch
            key: tuple[Any, ...] = ("eval", id(batch.source))
            opened = run.open.get(key)
            if opened is not None and self._revisited and batch.number <= opened.last_number:
                self._finish(opened, complete=True)
                opened = None
            if opened is None:
                source = batch.source
                opened = self._open(key, "eval", source, ("data", source.data.root, source.data.part))
                self._finish_over(but=opened)
            opened.last_number = batch.number
        else:
            opened = self._eval_without_loader(event, ids)
        opened.epoch = run.epoch
        return opened

    def _eval_without_loader(self, event: LossEvent, ids: Ids | None) -> OpenPass:
        run, origin = self.run, event.origin
        root = -(origin.key if origin is not None and ids is not None else 1)
        key = ("eval", root)
        opened = run.open.get(key)
        if opened is not None and (
            opened.step != run.step or (ids is not None and bool(np.isin(ids, opened.all_ids()).any()))
        ):
            self._finish(opened, complete=True)
            opened = None
        if opened is None:
            first = int(ids[0]) if ids is not None and len(ids) else -1
            opened = self._open(key, "eval", None, ("memory", root, first))
            self._finish_over(but=opened)
        return opened

    def _open(
        self, key: tuple[Any, ...], phase: str, source: LoaderPass | None, group: tuple[Any, ...]
    ) -> OpenPass:
        run = self.run
        names = source.names if source is not None else ()
        opened = OpenPass(key, phase, run.epoch, names[0] if names else "", group)
        opened.step = run.step
        if source is not None:
            opened.n_batches = source.n_batches
            run.sources[id(opened)] = source
        if phase == "eval":
            run.splits.enter(group, names, run.epoch)
        run.open[key] = opened
        return opened

    def _over(self, opened: OpenPass) -> bool:
        """Whether no further batch can join a pass."""
        source = self.run.sources.get(id(opened))
        if source is not None:
            # An iterator left after one batch may be ``next(iter(loader))``, which goes on.
            sampled = opened.phase == "train" and source.n_given == 1 and (source.n_batches or 0) > 1
            return source.ended and (source.exhausted or not sampled)
        return opened.phase == "eval"

    def _finish_over(self, but: OpenPass | None = None) -> None:
        """Finish the passes that have ended, in the order in which they began."""
        for opened in list(self.run.open.values()):
            if opened is not but and self._over(opened):
                self._finish(opened, complete=True)

    def _finish(self, opened: OpenPass, *, complete: bool, final: bool = False) -> None:
        run = self.run
        for key in [k for k, o in run.open.items() if o is opened]:
            del run.open[key]
        source = run.sources.pop(id(opened), None)
        if not opened.n_samples:
            return
        explicit = run.splits.named(source, None)
        if opened.phase == "train":
            split = explicit or self._train_name(opened)
            self.counters.train_passes += 1
        else:
            split = run.splits.name(opened, root=self._root(opened), explicit=explicit, final=final)
            self.counters.evaluations += 1
        self._check_ids(split, opened)
        passed = opened.finish(split, complete=complete, seconds=time.monotonic() - self.began)
        if passed.key in run.keys:
            self.limit(
                f"The {split!r} data were evaluated again at step {passed.step}, before another training step; "
                "the first evaluation is kept."
            )
            return
        run.keys.add(passed.key)
        if not passed.predictions.ids_known:
            self._unknown_ids(split)
        self._flush_steps()
        self.sink.pass_finished(run.index, passed)

    def _check_ids(self, split: str, opened: OpenPass) -> None:
        """Trust ids of a new tensor or dataset only if they come with the targets known for them."""
        if not opened.ids_known:
            return
        root, ids, targets = self._root(opened), opened.all_ids(), opened.targets_in_order()
        known = self.run.labels.get(split)
        if known is None:
            self.run.labels[split] = (root, dict(zip(ids.tolist(), targets.tolist(), strict=True)))
        elif known[0] != root:
            labels = known[1]
            pairs = [
                (labels[i], t) for i, t in zip(ids.tolist(), targets.tolist(), strict=True) if i in labels
            ]
            opened.ids_known = bool(pairs) and all(a == b for a, b in pairs)

    def _unknown_ids(self, split: str) -> None:
        self.limit(
            f"It is not known which samples the {split!r} batches contain, so nothing is said about single samples "
            f"between epochs. Way out: read them through a DataLoader, or name the data with --split {split}=EXPR."
        )

    def _train_name(self, opened: OpenPass) -> str:
        """``train``, or another name for a second loader that is trained on at the same time."""
        taken = self.run.splits.taken
        if not opened.secondary:
            taken.setdefault("train", opened.group)
            return "train"
        for split, group in taken.items():
            if group == opened.group and split != "train":
                return split
        name = opened.name if opened.name and opened.name not in taken else "train_2"
        taken[name] = opened.group
        return name

    # ------------------------------------------------------------------ values
    def _value(self, event: LossEvent) -> float:
        """Return the value to report for a batch: the criterion's, or that of the sum it is a term of."""
        root = event.root
        if root is None or root.value is None:
            return event.value
        terms = [e for e in root.events if e.logits_at == event.logits_at]
        if len(terms) > 1 and len({id(e.match.batch) for e in terms if e.match is not None}) <= 1:
            return root.value
        if event.call.reduction == "none":
            return root.value
        return event.value

    def _not_finite(self, event: LossEvent) -> None:
        counters = self.counters
        counters.not_finite += 1
        if counters.first_not_finite is None:
            split = "train" if event.phase == "train" else "val"
            counters.first_not_finite = (split, self.run.epoch, self.run.step)

    # ------------------------------------------------------------------ end of a flush
    def _settle(self) -> None:
        for opened in self.run.open.values():
            opened.settle()
        self._flush_steps()
        if self._last_open is not None and self._started:
            opened, batch = self._last_open
            split = "train" if opened.phase == "train" else self.run.splits.guess(opened)
            self.sink.progress(self.run.index, split, opened.epoch, self.run.step, batch, opened.n_batches)

    def _flush_steps(self) -> None:
        columns = self.run.take_rows()
        if columns:
            self.sink.steps(self.run.index, columns)
