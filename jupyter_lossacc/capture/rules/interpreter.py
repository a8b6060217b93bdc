"""The rules: which run, phase and step an event belongs to, decided while the loop runs.

Events wait until what they need is known: whether a loss is trained on (backward), and which
optimiser then steps. They leave in the order in which they happened.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from jupyter_lossacc.capture.reading.events import LossEvent, OptimizerEvent, RootEvent, StepEvent
from jupyter_lossacc.capture.reading.plain import Pattern, PlainSteps, pattern_of
from jupyter_lossacc.capture.rules.attribution import Attribution
from jupyter_lossacc.capture.rules.limits import CHOSEN, HEADS, IN_LISTS, SEEN_BY_INPUT
from jupyter_lossacc.capture.rules.padding import without_padding
from jupyter_lossacc.capture.rules.passes import PassKeeper
from jupyter_lossacc.capture.rules.runs import Run
from jupyter_lossacc.capture.rules.sink import Counters, Sink
from jupyter_lossacc.capture.rules.splits import Splits, speaks_of_a_set
from jupyter_lossacc.capture.taps.loaders import LoaderPass
from jupyter_lossacc.capture.taps.units import UnitsEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from jupyter_lossacc.capture.reading.sample_ids import BatchBook, Origin
    from jupyter_lossacc.capture.rules.assembly import OpenPass

__all__ = ["Interpreter"]

_MAX_WAITING = 512


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
    mode_layers : callable
        Number of layers of that module that depend on its mode, None when unknown.
    model_name : callable
        Name of the class of the trained module, "" when unknown.
    names : callable
        What the user calls a tensor.
    called : callable
        Whether the module of that number was seen to give outputs.
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
        mode_layers: Callable[[], int | None] = lambda: None,
        names: Callable[[Tensor], tuple[str, ...]] = lambda _: (),
        called: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.sink, self.limit, self.explicit = sink, limit, explicit
        self.model_name, self.mode_layers, self.names = model_name, mode_layers, names
        self.called = called
        self.counters = Counters()
        self.began = time.monotonic()
        epoch, step = resume_from or (0, 0)
        self.attribution = Attribution(book, self.counters)
        self._candidate: OptimizerEvent | None = None
        self._runs: list[Run] = []
        self._started = False
        self._last_open: tuple[OpenPass, int] | None = None
        self._enter(Run(0, Splits(explicit), epoch, step))
        self._waiting: deque[Any] = deque()
        self._n_losses = 0  # among those that wait
        self._units: UnitsEvent | None = None  # a look whose loss comes next
        self._undecided: dict[int, LossEvent] = {}
        self._trained_until = -1  # order of the latest loss that backward reached
        self._trained_at = -1  # order of that backward
        self._last_step = -1
        self._free_steps = False  # losses are trained on without any optimiser of torch
        self._optimizers: dict[int, OptimizerEvent] = {}  # every optimiser seen
        self._trained: tuple[LossEvent, OpenPass] | None = None  # the last loss that was trained on
        self._stepping = -1  # the optimiser that stepped last
        self.uses_loaders: bool | None = None
        self.needs_inputs = True
        self.trained_on: set[tuple[int, Any]] = set()  # data that loaders gave and backward reached
        self._trained_source: LoaderPass | None = None

    @property
    def weights(self) -> frozenset[int]:
        """Ids of all weights that the optimisers seen so far have."""
        return frozenset().union(*(event.parameters for event in self._optimizers.values()))

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
        self.passes.finish_all(complete=complete)
        if self.attribution.by_input and self.attribution.inputs.stable is not False:
            self.limit(SEEN_BY_INPUT)
        if self.attribution.chosen:
            self.limit(CHOSEN)
        if self.attribution.heads:
            self.limit(HEADS)
        if any(run.pieces.mixed for run in self._runs):
            self.limit(IN_LISTS)

    def _take(self, item: Any) -> None:
        if isinstance(item, LossEvent):
            if not item.certain:
                return
            self.counters.losses += 1
            self.attribution.take(item)
            self._waiting.append(item)
            self._n_losses += 1
            if item.number >= 0:
                self._undecided[item.number] = item
        elif isinstance(item, RootEvent):
            self.counters.backwards += 1
            self._decide(item)
        elif isinstance(item, StepEvent):
            self.counters.steps += 1
            self._last_step = item.order
            self._waiting.append(item)
        elif isinstance(item, PlainSteps):
            n = len(item.rates)
            self.counters.losses += n
            self.counters.backwards += n
            self.counters.steps += n
            self._trained_until = self._trained_at = item.order - 1
            self._last_step = item.order
            self._waiting.append(item)
            self._n_losses += 1
        elif isinstance(item, (OptimizerEvent, LoaderPass, UnitsEvent)):
            self._waiting.append(item)

    def _decide(self, root: RootEvent) -> None:
        for number in root.numbers:
            event = self._undecided.pop(number, None)
            if event is None:
                continue
            event.phase, event.root = "train", root
            event.logits = event.targets = None
            root.events.append(event)
            if event.match is not None and event.match.batch.source is not self._trained_source:
                self._trained_source = source = event.match.batch.source
                self.trained_on.add((source.data.root, source.data.part))
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
                self._n_losses -= 1
                self._undecided.pop(item.number, None)
                self._assign(item)
            elif isinstance(item, StepEvent):
                self._stepped(item.optimizer)
                self.run.add_step(item)
            elif isinstance(item, PlainSteps):
                self._n_losses -= 1
                self._plain(item)
            elif isinstance(item, OptimizerEvent):
                self._optimizer(item)
            elif isinstance(item, LoaderPass):
                self._ended(item)
            elif isinstance(item, UnitsEvent):
                self._units = item
            else:
                self.counters.unseen += 1
                self.run.add_bare_root(item)
                self.passes.unseen_training(item.batch)

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
        if event.match is None and self._n_losses < 2:
            return False  # the next loss shows whether the user holds the targets
        if event.phase == "train":
            if len(self._waiting) > 64 and self._last_step < 0:
                self._free_steps = True
            crowded = len(self._waiting) > _MAX_WAITING // 2
            return self._last_step > event.order or self._free_steps or crowded
        return self._candidate is None or self._last_step > event.order

    # ------------------------------------------------------------------ runs
    def _optimizer(self, event: OptimizerEvent) -> None:
        """Remember an optimiser; one made late, with parameters of its own, may open a new run."""
        self._optimizers[event.optimizer] = event
        if self.run.optimizers and not self._shares_model(event.optimizer):
            self._candidate = event
            if self._next_step() == event.optimizer and not self.run.goes_on():
                self._new_run()

    def _may_open_run(self, event: LossEvent) -> None:
        """Open a new run where an optimiser of other parameters takes over with a new training pass."""
        following = self._next_step()
        if following is None or not self.run.optimizers or following in self.run.optimizers:
            return
        source = event.match.batch.source if event.match is not None else None
        if source is None and self.run.last_train_source is not None:
            return
        goes_on = source is not None and ("train", id(source)) in self.run.open
        if goes_on or self._shares_model(following):
            return
        earlier = next((run for run in self._runs if following in run.optimizers), None)
        self._new_run(earlier)

    def _shares_model(self, optimizer: int) -> bool:
        """Whether an optimiser trains what the run trains: the same weights, or a part of the same model.

        A container that is never called is no model: its parts may be trained one after the other.
        """
        event = self._optimizers.get(optimizer)
        if event is None:
            return False
        if event.parameters & self.run.parameters:
            return True
        others = (self._optimizers.get(known) for known in self.run.optimizers)
        together = event.owner is not None and any(o and o.owner == event.owner for o in others)
        return together and event.owner is not None and self.called(event.owner)

    def _next_step(self) -> int | None:
        return next((i.optimizer for i in self._waiting if isinstance(i, (StepEvent, PlainSteps))), None)

    def _new_run(self, earlier: Run | None = None) -> None:
        """Open a new run, or go on with an earlier one: models may be trained in turn."""
        self.passes.finish_all(complete=True)
        self.passes.flush_steps()
        self._enter(earlier or Run(len(self._runs), Splits(self.explicit)))
        self._started = earlier is not None

    def _enter(self, run: Run) -> None:
        self.run = run
        if run not in self._runs:
            self._runs.append(run)
        self.passes = PassKeeper(
            run, self.sink, self.limit, self.counters, self.began, self.mode_layers, self.names,
            lambda: self.attribution.inputs.stable,
        )  # fmt: skip
        self._candidate, self._started, self._last_open = None, False, None

    def _stepped(self, optimizer: int) -> None:
        self._candidate = None
        self._stepping = optimizer
        if optimizer not in self.run.optimizers:
            self.run.optimizers.add(optimizer)
            known = self._optimizers.get(optimizer)
            self.run.parameters |= known.parameters if known is not None else frozenset()
        self.start()

    def pattern(self) -> Pattern | None:
        """Describe the last training step; None where it was not plain."""
        if self._trained is None:
            return None
        event, opened = self._trained
        plain = opened.ids_known and not opened.secondary
        return pattern_of(event, self._stepping, opened.group) if plain else None

    def _plain(self, event: PlainSteps) -> None:
        """Take steps whose samples are not recorded."""
        run = self.run
        self._stepped(event.optimizer)
        opened = self.passes.plain(event)
        for place in np.flatnonzero(~np.isfinite(event.values)).tolist():
            self._not_finite("train", run.epoch + (0 if event.batches else place + 1), run.step + place)
        run.add_plain(event)
        opened.epoch, opened.step = run.epoch, run.step
        self._units = None
        self._last_open = (opened, opened.n_events)

    def damage(self) -> None:
        """Mark what is going on as not complete: something of it was lost."""
        for opened in self.run.open.values():
            opened.damaged = True

    def start(self) -> None:
        """Announce the run, once."""
        if not self._started:
            self._started = True
            self.sink.run_started(self.run.index, self.model_name())

    # ------------------------------------------------------------------ losses
    def _assign(self, event: LossEvent) -> None:
        """Put one loss into its pass."""
        if event.attack and self.attribution.of_attack(event, self._waiting):
            return
        attribution, run = self.attribution, self.run
        attribution.look_for_chosen(event, self._waiting)
        broken = not math.isfinite(event.value) and event.call.name != "unknown"
        if not attribution.classifies(event):
            if broken:
                self._not_finite(event.phase, run.epoch, run.step)
            self.passes.lost(attribution.lost(event))
            run.add_root(event, 0)
            return
        if event.match is None:
            event.match = attribution.late_match(event)
        if event.phase == "train":
            self._may_open_run(event)
            run = self.run
        self.start()
        columns, ids = attribution.samples(event, run, self._is_set)
        self.needs_inputs = event.match is None and (ids is None or attribution.by_input)
        if self._restates(event, columns) or not attribution.belongs(event, run):
            run.add_root(event, 0)
            return
        if event.phase == "train":
            run.add_root(event, columns.shape[1])
            root = event.root
            self.counters.unknown_criteria += event.call.name == "unknown"
            by_hand = event.call.reduction == "none" and math.isnan(event.criterion)
            run.combined |= by_hand and root is not None and root.value is not None
            opened = self.passes.training(event, ids, revisited=attribution.revisited)
        else:
            opened = self.passes.evaluation(event, ids, revisited=attribution.revisited)
            opened.units = opened.units or (() if self._units is None else self._units.shares)
        self._units = None
        if broken:
            self._not_finite(event.phase, opened.epoch, run.step)
        opened.add(event, *without_padding(event, columns, ids, attribution.value(event)))
        self.uses_loaders = event.match is not None
        self._last_open = (opened, opened.n_events)
        if event.phase == "train":
            self._trained = (event, opened)
            self.trained_on.add(opened.group[1:])  # where backward came before the batch was known

    def _is_set(self, origin: Origin) -> bool:
        """Whether the user's name for a tensor speaks of validation or test data."""
        return speaks_of_a_set(self.passes.tensor_names(origin))

    def _restates(self, event: LossEvent, columns: NDArray[np.float32]) -> bool:
        """Whether a loss is that of an evaluation as a whole, computed once its outputs were gathered."""
        whole = event.phase == "eval" and event.match is None
        return whole and any(o.restate(event, columns, event.value) for o in self.run.open.values())

    def _not_finite(self, phase: str | None, epoch: int, step: int) -> None:
        counters = self.counters
        counters.not_finite += 1
        if counters.first_not_finite is None:
            split = "train" if phase == "train" else "val"
            counters.first_not_finite = (split, epoch, step)

    # ------------------------------------------------------------------ end of a flush
    def _settle(self) -> None:
        for opened in self.run.open.values():
            opened.settle()
        self.passes.depart()
        self.passes.flush_steps()
        if self._last_open is not None and self._started:
            opened, batch = self._last_open
            split = "train" if opened.phase == "train" else self.run.splits.guess(opened)
            self.sink.progress(self.run.index, split, opened.epoch, self.run.step, batch, opened.n_batches)
