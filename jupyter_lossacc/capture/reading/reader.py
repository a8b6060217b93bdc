"""Journal entries → events: matched, reduced, copied to the host.

All calls of one flush that share a criterion and a shape are reduced together, so that the cost of
the arithmetic is spread over many steps.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_lossacc.capture.reading.alike import reduce_alike
from jupyter_lossacc.capture.reading.criteria import Calls
from jupyter_lossacc.capture.reading.events import LossEvent, OptimizerEvent, RootEvent, StepEvent
from jupyter_lossacc.capture.reading.light import thinnable
from jupyter_lossacc.capture.reading.plain import ordinary, take_plain
from jupyter_lossacc.capture.reading.rewritten import is_rewritten
from jupyter_lossacc.capture.reading.sample_ids import BatchBook, Origins
from jupyter_lossacc.capture.reading.tensor_hits import TensorHits
from jupyter_lossacc.capture.reading.transfer import Chunk, host_number
from jupyter_lossacc.capture.reading.unseen import Made, UnseenLosses
from jupyter_lossacc.capture.taps.fingerprints import are_rows
from jupyter_lossacc.capture.taps.journal import (
    ATTACK,
    BACKWARD,
    BATCH,
    CRITERION,
    INDEX,
    INPUT,
    LOSS,
    OPTIMIZER,
    OUTPUT,
    PASS_END,
    PICKED,
    PLACE,
    PLAIN,
    STEP,
    Entry,
)
from jupyter_lossacc.capture.taps.units import want_units

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from jupyter_lossacc.capture.reading.governor import Governor

__all__ = ["Reader"]

_MAX_IN_FLIGHT = 64


class Reader:
    """Turns entries into events.

    Parameters
    ----------
    originals : dict
        The loss functions behind the taps, by name.
    deliver : callable
        Takes the events of a flush once their values are on the host.
    contain : callable
        As in `Journal`.
    governor : Governor
        Decides which training batches are recorded sample by sample.
    """

    def __init__(
        self,
        originals: dict[str, Callable[..., Any]],
        deliver: Callable[[list[Any]], None],
        contain: Callable[[str, Exception], None],
        governor: Governor,
    ) -> None:
        self.calls = Calls(originals)
        self.deliver = deliver
        self.contain = contain
        self.governor = governor
        self.book = BatchBook()
        self.origins = Origins()
        self.n_overwritten = 0
        self.relabelled = self.rewritten = False  # the user wrote into labels, into what a criterion returned
        self.unseen = UnseenLosses(self.book)
        self.hits = TensorHits(self.calls, self.origins)
        self._order = 0
        self._attack = False  # the model was last given an input that an attack changes
        self._place: tuple[int, str] = (-1, "")  # where evaluations run now, and what their split is called
        self._recent: list[LossEvent] = []  # losses since the last batch, output, backward or step
        self._prints: Tensor | None = None  # of the rows that the model was given last
        self._length = 1  # of these rows
        self._printed: list[tuple[LossEvent, Tensor]] = []
        self._trained: frozenset[int] = frozenset()  # losses of this flush that may do without their samples
        self._thinnable: dict[Any, bool] = {}
        self._pick_next = False  # the next training batch was picked to be recorded
        self._flying: deque[Chunk] = deque()

    def read(self, entries: list[Entry]) -> None:
        """Read the entries of one flush and deliver what has landed."""
        items: list[Any] = []
        chunk = Chunk(items)
        losses: list[tuple[LossEvent, Tensor, Tensor, Tensor]] = []
        scalars: list[tuple[Any, str, Any]] = []
        given, entries = entries, ordinary(entries)
        if self.governor.every > 1:
            self._trained = frozenset(n for e in entries if e[0] == BACKWARD for n in e[1])
        at = 0
        while at < len(entries):
            entry = entries[at]
            self._order += 1
            if self.hits.follows or entry[0] == OUTPUT:
                self._take_hits(self.hits.before(entry, self._order), items, losses, scalars)
            evaluated = self.unseen.before(entry, self._order)
            if evaluated is not None:
                items.append(evaluated[0])
                losses.append(evaluated)
                scalars.append(_criterion_of(evaluated))
                self._order += 1
            if entry[0] == PLAIN:
                at += self._plain(entries, at, chunk, scalars)
                continue
            at += 1
            item = self._item(entry, losses, scalars)
            if item is not None:
                items.append(item)
                trained = self.unseen.trained(item) if isinstance(item, RootEvent) else None
                if trained is not None:
                    trained[0].thin = self._thin(*trained[:3])
                    items.append(trained[0])
                    losses.append(trained)
                    scalars.append(_criterion_of(trained))
        reduce_alike(chunk, losses, self.contain)
        chunk.want_scalars(scalars)
        self._want_prints(chunk)
        self.hits.ask(chunk)
        self.unseen.rest()
        want_units(chunk.want, items)
        for read in (given, entries, losses, scalars):
            read.clear()
        chunk.start()
        self._flying.append(chunk)
        self.drain()

    def _plain(self, entries: list[Entry], at: int, chunk: Chunk, scalars: list[Any]) -> int:
        """Read the plain steps from entry `at` on at once; return how many entries they were."""
        found, wanted = take_plain(entries, at, partial(self._step, scalars=scalars))
        self.book.add_trained(found.batches)
        self._order += 4 * len(found.rates)  # batch, loss, backward, step
        found.order = self._order
        chunk.items.append(found)
        chunk.want(wanted, found.fill)
        self._recent.clear()
        self._prints = None
        return len(found.rates)

    def _take_hits(self, made: list[Made], items: list[Any], losses: list[Any], scalars: list[Any]) -> None:
        """Take evaluations that compute accuracies from tensors alone."""
        for evaluated in made:
            items.append(evaluated[0])
            losses.append(evaluated)
            scalars.append((evaluated[0], "certain", evaluated[3]))
            self._order += 1

    def close(self) -> None:
        """Read what still waits for a loss that does not come."""
        items: list[Any] = []
        losses: list[Any] = []
        scalars: list[Any] = []
        self._take_hits(self.hits.take(self._order + 1), items, losses, scalars)
        evaluated = self.unseen.take_evaluation(self._order + 1)
        if evaluated is not None:
            self._order += 1
            items.append(evaluated[0])
            losses.append(evaluated)
            scalars.append(_criterion_of(evaluated))
        if items:
            chunk = Chunk(items)
            reduce_alike(chunk, losses, self.contain)
            chunk.want_scalars(scalars)
            self.hits.ask(chunk)
            chunk.start()
            self._flying.append(chunk)

    def drain(self, *, wait: bool = False) -> None:
        """Deliver chunks whose values have landed, in order; `wait` only at the end."""
        while self._flying:
            chunk = self._flying[0]
            if not (wait or chunk.landing.ready()):
                if len(self._flying) > _MAX_IN_FLIGHT:
                    self._flying.popleft()  # bounded: values that never land are given up
                    self.n_overwritten += 1
                    continue
                break
            self._flying.popleft()
            host = chunk.landing.take(wait=wait)
            for fill in chunk.fill:
                fill(host)
            self.deliver(chunk.items)
        self.book.trim()

    def _item(self, entry: Entry, losses: list[Any], scalars: list[Any]) -> Any:
        """Return the event of an entry; None where it only changes what is known."""
        kind = entry[0]
        if kind == LOSS:
            item = self._loss(entry, losses, scalars)
            self._recent = [*self._recent[-7:], item]
            return item
        if kind in (ATTACK, CRITERION, INPUT, INDEX, PLACE, PICKED):
            self._learn(kind, entry[1:], scalars)
            return None
        self._recent.clear()
        self._prints = self._prints if kind == OUTPUT else None
        return self._event(kind, entry, scalars)

    def _learn(self, kind: int, entry: Entry, scalars: list[Any]) -> None:
        """Take an entry that only changes what is known."""
        if kind == CRITERION:
            self._criterion(entry[0], scalars)
        elif kind == INPUT:
            self._input(*entry)
        elif kind == INDEX:
            self.origins.indexed(*entry)
        elif kind == PICKED:
            self._pick_next = True
        elif kind == ATTACK:
            self._attack = True
        else:
            self._place = (entry[0], entry[1])

    def _input(self, prints: Tensor, output: int, length: int) -> None:
        """Connect an input with the next loss, or with the one that the model has just computed itself."""
        inside = self._recent and output and self.unseen.last_loss == output
        self._prints = None if inside else prints
        self._length = length
        if inside and are_rows(self._recent[-1].n_rows, prints, length):
            self._printed.append((self._recent[-1], prints))

    def _criterion(self, value: Tensor, scalars: list[Any]) -> None:
        if not self.unseen.criterion(value):
            mean = value.double().mean()
            scalars += [(event, "criterion", mean) for event in self._recent]

    def _event(self, kind: int, entry: Entry, scalars: list[Any]) -> Any:
        item: Any = None
        if kind == BACKWARD:
            item = self._root(entry, scalars)
        elif kind == STEP:
            item = self._step(entry, scalars)
        elif kind == OPTIMIZER:
            item = OptimizerEvent(self._order, *entry[1:])
        elif kind == OUTPUT:
            self.unseen.output(entry)
        else:  # BATCH, PASS_END and UNITS carry what they are about
            item = entry[1]
            if kind == BATCH:
                self.book.add(item)
            elif kind == PASS_END:
                self.book.end(item)
        return item

    def _step(self, entry: Entry, scalars: list[Any]) -> StepEvent:
        _, optimizer, rate, norm, ratio, dead = entry
        item = StepEvent(self._order, optimizer, float("nan"))
        if isinstance(rate, tuple):
            rate, item.other_rates = rate[0], tuple(map(host_number, rate[1:]))
        if isinstance(norm, tuple):
            norm, item.clipped_at = norm
        if type(rate) is float:
            item.learning_rate, rate = rate, None
        for name, value in (
            ("learning_rate", rate), ("grad_norm", norm), ("update_ratio", ratio), ("dead_share", dead)
        ):  # fmt: skip
            if value is not None:
                scalars.append((item, name, value))
        return item

    def _root(self, entry: Entry, scalars: list[Any]) -> RootEvent:
        root = RootEvent(self._order, entry[1], None, entry[3], self.book.newest())
        if entry[2] is not None:
            root.value = float("nan")
            if entry[2].numel() == 1:
                scalars.append((root, "value", entry[2]))
        return root

    def _loss(self, entry: Entry, losses: list[Any], scalars: list[Any]) -> LossEvent:
        _, name, number, logits, rest, output, version, target_version, training = entry
        target = rest[0].detach() if rest[0].requires_grad else rest[0]
        event = LossEvent(self._order, self.calls.of(name, rest), number, training, logits.data_ptr())
        event.attack, self._attack = self._attack, False
        if number < 0:
            event.phase, event.place = "eval", self.hits.place or self._place
        self.hits.place = None
        if number < 0 and self.unseen.elsewhere:
            event.training = None  # the mode noted is that of the trained module, which did not answer
        event.elsewhere = number < 0 and (self.unseen.elsewhere or self.unseen.copied)
        event.match = self.book.by_memory(rest[0])
        if event.match is not None:
            event.match.batch.used += 1
        else:
            event.candidates = self.book.recent()
            event.origin = self.origins.of(rest[0])
        event.n_rows = target.shape[0] if target.dim() else 1
        prints = self._prints
        if event.match is None and prints is not None and are_rows(event.n_rows, prints, self._length):
            self._printed.append((event, prints))
            self._prints = None  # a later loss is none of that input, or a second look at it
        event.rewritten = output.dim() == 0 and is_rewritten(name, output)
        self.rewritten |= event.rewritten
        if version >= 0 and (logits._version != version or rest[0]._version != target_version):
            event.dropped = True
            self.n_overwritten += 1
            self.relabelled |= event.match is None and logits._version == version
        else:
            # Its value can only be told from those of its samples.
            needed = event.rewritten or number not in self._trained
            event.thin = not needed and self._thin(event, logits, target)
            losses.append((event, logits, target, output))
        if output.dim() == 0:
            scalars += [] if event.rewritten else [(event, "value", output)]
        elif output.numel():
            scalars.append((event, "value", output.double().mean()))
        return event

    def _thin(self, event: LossEvent, logits: Tensor, target: Tensor) -> bool:
        """Whether a training batch is one of those whose samples are not recorded."""
        if self.governor.every == 1:
            return False
        if self._pick_next:
            self._pick_next = False
            return False
        kind = (event.call.key, logits.dim(), target.dim(), target.dtype)
        found = self._thinnable.get(kind)
        if found is None:
            if len(self._thinnable) > 64:
                self._thinnable.clear()
            found = self._thinnable[kind] = thinnable(event.call, logits, target)
        return found and not self.governor.takes()

    def _want_prints(self, chunk: Chunk) -> None:
        for event, prints in self._printed:
            chunk.want([prints], lambda host, event=event: setattr(event, "prints", host[0].numpy()))  # type: ignore[misc]
        self._printed = []


def _criterion_of(made: Made) -> tuple[LossEvent, str, Tensor]:
    return made[0], "criterion", made[3].double().mean()
