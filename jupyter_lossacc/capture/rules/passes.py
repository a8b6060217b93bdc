"""The passes of one run: which one a batch belongs to, when one ends, and what it is called."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jupyter_lossacc.capture.reading.sample_ids import BY_INPUT, memory_of, part_of
from jupyter_lossacc.capture.reading.transfer import Landing
from jupyter_lossacc.capture.rules.assembly import OpenPass
from jupyter_lossacc.capture.rules.limits import ELSEWHERE, LATE, ONE_BY_ONE, SINGLE, WITH_REPEATS, limits_of
from jupyter_lossacc.capture.rules.runs import Run, Seen
from jupyter_lossacc.capture.rules.splits import speaks_of_a_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from jupyter_lossacc.capture.reading.events import LossEvent
    from jupyter_lossacc.capture.reading.plain import PlainSteps
    from jupyter_lossacc.capture.reading.reduction import Sums
    from jupyter_lossacc.capture.reading.sample_ids import Origin
    from jupyter_lossacc.capture.rules.sink import Counters, Sink
    from jupyter_lossacc.capture.taps.loaders import Batch, LoaderPass
    from jupyter_lossacc.records import Pass

__all__ = ["PassKeeper"]

Ids = NDArray[np.int64]


class PassKeeper:
    """Keeps the open passes of one run.

    Parameters
    ----------
    run : Run
    sink : Sink
    limit : callable
        Says a limit once.
    counters : Counters
    began : float
        ``time.monotonic()`` at the beginning of the recording.
    mode_layers : callable
        As in `Interpreter`.
    names : callable
        What the user calls a tensor.
    recurring : callable
        Whether inputs that samples are recognised by come again; None while that is not known.
    """

    def __init__(
        self,
        run: Run,
        sink: Sink,
        limit: Callable[[str], None],
        counters: Counters,
        began: float,
        mode_layers: Callable[[], int | None],
        names: Callable[[Tensor], tuple[str, ...]],
        recurring: Callable[[], bool | None],
    ) -> None:
        self.run, self.sink, self.limit, self.counters, self.began = run, sink, limit, counters, began
        self._leaving: deque[tuple[Pass, Sums | None, Landing]] = deque()
        self.mode_layers, self.names, self.recurring = mode_layers, names, recurring

    def training(self, event: LossEvent, ids: Ids | None, *, revisited: bool) -> OpenPass:
        """Return the training pass of a batch; `revisited`: it was recorded in an earlier pass."""
        run = self.run
        run.splits.training_goes_on()
        if event.match is not None:
            opened = self._train_with_loader(event.match.batch, revisited=revisited)
        else:
            opened = self._train_without_loader(event, ids)
            if event.n_rows == 1 and event.root is not None and len(event.root.events) > 1:
                self.limit(ONE_BY_ONE)
        if not opened.secondary:  # what is trained on beside may have classes of its own: domains, say
            run.n_classes = event.n_classes or run.n_classes
        run.splits.train_on(_root(opened), ids, opened.group)
        run.evaluated_since_train = False
        run.last_train = opened
        opened.step = run.step + 1
        return opened

    def plain(self, event: PlainSteps) -> OpenPass:
        """Return the training pass of plain steps; where each is a pass, none of them is kept."""
        run, group, batches = self.run, event.pattern.group, event.batches
        run.splits.training_goes_on()
        run.evaluated_since_train = False
        if not batches:
            before = run.open.get(("train", group[1]))
            if before is not None:
                self.finish(before, complete=True)
            self._finish_over()
            run.seen = Seen(replaced=run.seen.replaced)
            self.counters.train_passes += len(event.rates)
            return OpenPass(("train", group[1]), "train", run.epoch, "", group)
        opened = run.last_train = self._train_with_loader(batches[0], revisited=False)
        opened.last_number = batches[-1].number
        run.samples_drawn += sum(batch.size for batch in batches[1:])
        ids = batches[0].source.data.underlying([i for batch in batches for i in batch.indices])
        run.splits.train_on(_root(opened), ids, opened.group)
        opened.add_plain(event)
        return opened

    def lost(self, batch: Batch | None) -> None:
        """Go on with the training pass of a batch whose loss could not be read."""
        if batch is not None:
            self.run.splits.training_goes_on()
            self.run.last_train = self._train_with_loader(batch, revisited=False)

    def unseen_training(self, batch: Batch | None) -> None:
        """Count epochs of a training whose losses are not seen: a compiled step, say."""
        run = self.run
        if batch is not None and not batch.used:
            self._train_with_loader(batch, revisited=False)
        elif batch is None and run.last_train is None and (run.evaluated_since_train or not run.epoch):
            self._finish_over()
            run.epoch += 1
        else:
            return
        run.splits.training_goes_on()
        run.evaluated_since_train = False

    def evaluation(self, event: LossEvent, ids: Ids | None, *, revisited: bool) -> OpenPass:
        """Return the evaluation pass of a batch; `revisited` as in `training`."""
        run = self.run
        run.evaluated_since_train = True
        if event.elsewhere and run.index:
            self.limit(ELSEWHERE)
        if event.match is not None:
            counts = event.call.name == "unknown"
            opened = self._eval_with_loader(event.match.batch, revisited=revisited, counts=counts)
        else:
            opened = self._eval_without_loader(event, ids)
        opened.epoch, opened.step, opened.n_trained = run.epoch, run.step, run.n_classes
        return opened

    def finish_all(self, *, complete: bool) -> None:
        """End the run: nothing follows. Without `complete`, only exhausted loaders count as whole."""
        for opened in sorted(dict.fromkeys(self.run.open.values()), key=lambda o: o.step):
            source = self.run.sources.get(id(opened))
            whole = source is not None and source.exhausted
            self.finish(opened, complete=complete or whole, final=True)
        self.depart(wait=True)

    def finish(self, opened: OpenPass, *, complete: bool, final: bool = False) -> None:
        """End one pass and hand it over."""
        run = self.run
        for key in [k for k, o in run.open.items() if o is opened]:
            del run.open[key]
        source = run.sources.pop(id(opened), None)
        if not opened.n_samples or run.are_features(opened):
            return
        if opened.n_events == 1 and not opened.n_recorded:
            self.counters.train_passes += 1
            self.limit(SINGLE)
            return
        explicit = run.splits.named(source, opened.storage)
        if opened.phase == "train":
            split = explicit or self._train_name(opened)
            self.counters.train_passes += 1
        else:
            explicit = explicit or run.rebuilt(opened, source)
            split = run.splits.name(opened, root=_root(opened), explicit=explicit, final=final)
            self.counters.evaluations += 1
            if run.splits.groups[opened.group].late:
                self.limit(LATE)
            run.note_evaluated(split, opened, source)
        streamed = source is not None and source.streamed
        run.check_ids(split, opened, streamed=streamed, recurring=self.recurring() is True)
        if source is not None and opened.epoch == 0:
            complete &= not source.cut_short  # Lightning's sanity check reads two batches
        passed = opened.finish(split, complete=complete, seconds=time.monotonic() - self.began)
        if source is not None:
            passed = replace(passed, data=source.data.reference)
        told_apart = run.evaluations.tell_apart(passed, run.splits.taken, self.limit)
        if told_apart is None:
            return
        passed = told_apart
        run.sizes[opened.group] = opened.n_samples
        for sentence in limits_of(
            split, opened, unknown_criteria=self.counters.unknown_criteria > 0, combined=run.combined,
            ids_known=passed.predictions.ids_known,
        ):  # fmt: skip
            self.limit(sentence)
        sums = opened.device_sums
        self._leaving.append((passed, sums, Landing([] if sums is None else [sums.packed()])))
        self.depart()

    def depart(self, *, wait: bool = False) -> None:
        """Hand over the finished passes whose sums have reached the host, in order."""
        while self._leaving and (wait or self._leaving[0][2].ready()):
            passed, sums, landing = self._leaving.popleft()
            if sums is not None:
                passed = replace(passed, accumulators=sums.unpack(landing.take(wait=wait)[0]))
            self.flush_steps()
            self.sink.pass_finished(self.run.index, passed)

    def flush_steps(self) -> None:
        """Hand over the rows of the steps so far."""
        columns = self.run.take_rows()
        if columns:
            self.sink.steps(self.run.index, columns)

    def _eval_with_loader(self, batch: Batch, *, revisited: bool, counts: bool) -> OpenPass:
        run, source = self.run, batch.source
        key = ("eval", id(source))
        opened = run.open.get(key)
        if opened is not None and revisited and batch.number <= opened.last_number:
            self.finish(opened, complete=True)
            opened = None
        if opened is None:
            opened = self._open(key, "eval", source, ("data", source.data.root, source.data.part))
            if not counts:
                self._drop_count_before(opened)
            self._finish_over(but=opened)
        opened.last_number = batch.number
        return opened

    def _drop_count_before(self, opened: OpenPass) -> None:
        """Let go of a pass that only counted hits, where the same data are evaluated again at once."""
        run = self.run
        for key, old in list(run.open.items()):
            same = old.phase == "eval" and old.group == opened.group and old.step == run.step
            if same and old is not opened and old.without_criterion:
                del run.open[key]
                run.sources.pop(id(old), None)

    def _train_with_loader(self, batch: Batch, *, revisited: bool) -> OpenPass:
        run, source = self.run, batch.source
        key = ("train", id(source))
        opened = run.open.get(key)
        if opened is not None and revisited and batch.number <= opened.last_number:
            self.finish(opened, complete=True)  # the same batches come round again
            opened = None
        elif opened is None and (before := self._sampled_before(source)) is not None:
            if run.samples_drawn >= (source.data.size or math.inf):
                self.finish(before, complete=True)
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
        root = memory_of(origin, ids)
        key = ("train", root)
        opened = run.open.get(key)
        part = part_of(origin, ())
        if part is not None:
            run.rows_cut_from = part[1]
        n_rows = run.rows_cut_from or (0 if origin is None else origin.n_rows)
        # Inputs that may never come again tell nothing about epochs.
        told = ids if origin is not None or self.recurring() else None
        if told is not None and len(told) == 1 and run.epoch > 1 and not run.seen.replaced:
            run.seen.replaced = run.splits.is_new(root, int(told[0]))  # an epoch has ended before it was seen
            if run.seen.replaced:
                self.limit(WITH_REPEATS)
        if opened is None or run.begins_epoch_without_loader(told, n_rows):
            if opened is not None:
                self.finish(opened, complete=True)
            self._finish_over()
            run.epoch += 1
            run.seen = Seen(replaced=run.seen.replaced)
            opened = self._open(key, "train", None, ("memory", root))
            opened.storage = origin.storage.cdata if origin is not None else None
        if ids is not None:
            run.seen.add(ids)
        return opened

    def _eval_without_loader(self, event: LossEvent, ids: Ids | None) -> OpenPass:
        run, origin = self.run, event.origin
        root = memory_of(origin, ids)
        part = part_of(origin, run.splits.groups) if ids is not None else None
        placed = root == BY_INPUT or (part is None and event.place[0] >= 0)
        place = run.place_of(root, event.place, ids) if placed else None
        shared = part is None and root != BY_INPUT and root in run.splits.trained  # it holds several sets
        key = ("eval", root, part, place)
        opened = run.open.get(key)
        whole = origin is not None and origin.kept()
        if opened is not None and (
            opened.step != run.step
            or (whole and opened.whole_sets)
            or opened.n_samples >= run.sizes.get(opened.group, math.inf)
            or (ids is not None and opened.comes_again(ids))
        ):
            self.finish(opened, complete=True)
            opened = None
        if opened is None:
            first = int(ids[0]) if ids is not None and len(ids) and origin is not None else -1
            names = () if origin is None or ids is None else self.tensor_names(origin)
            if shared:
                names = tuple(name for name in names if speaks_of_a_set((name,)))
            names = (event.place[1], *names) if event.place[1] else names
            opened = self._open(key, "eval", None, ("memory", root, place or part or first), names)
            opened.storage = origin.storage.cdata if origin is not None else None
            self._finish_over(but=opened)
        opened.whole_sets &= whole
        opened.sliced |= shared and opened.n_events > 0 and not event.place[1]
        return opened

    def tensor_names(self, origin: Origin) -> tuple[str, ...]:
        """Return what the user calls the tensor that batches are cut out of."""
        held = origin.part.tensor() if origin.part is not None else None
        if held is None and origin.target is not None:
            held = origin.target()
        return () if held is None else self.names(held)

    def _open(
        self,
        key: tuple[Any, ...],
        phase: str,
        source: LoaderPass | None,
        group: tuple[Any, ...],
        names: tuple[str, ...] = (),
    ) -> OpenPass:
        run = self.run
        names = source.names if source is not None else names
        opened = OpenPass(key, phase, run.epoch, names[0] if names else "", group)
        opened.step = run.step
        opened.mode_layers = self.mode_layers()
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
                self.finish(opened, complete=True)

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


def _root(opened: OpenPass) -> int:
    """Return the number of the dataset or tensor that a pass reads."""
    return int(opened.group[1])
